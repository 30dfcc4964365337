//! What a pin says of the files of a database, by which a later backup knows that they did not change.

use super::*;

/// It must be what the read transaction sees.
#[test]
fn files_are_looked_at_only_under_the_lock_of_the_one_that_is_open() {
    let project = tempfile::tempdir().unwrap();
    let make = |name: &str, mode: &str| {
        fs::create_dir_all(project.path().join(name).parent().unwrap()).unwrap();
        let made = Connection::open(project.path().join(name)).unwrap();
        made.execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(a)")).unwrap();
        made
    };
    let at = |name: &str| (SafePath::new(name).unwrap(), project.path().join(name));
    let seen = |all: &[(SafePath, PathBuf)]| -> Vec<bool> {
        let outcome = pin(all, Duration::from_secs(5)).unwrap();
        outcome.pinned.iter().map(|pinned| pinned.seen().is_some()).collect()
    };
    let writer = make("m/a.db", "delete");
    let one = [at("m/a.db")];
    assert_eq!(seen(&one), [cfg!(unix)]);
    // A commit could come between the transaction and the look, also where there is one database only.
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(seen(&one), [false]);
    let two = [at("m/a.db"), at("m/b.db")];
    let other = make("m/b.db", "delete");
    assert_eq!(seen(&two), [false, cfg!(unix)]);
    // Another folder comes in the place of theirs while their locks are waited for.
    drop(make("n/a.db", "wal"));
    drop(make("n/b.db", "delete"));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let swap = || {
        std::thread::sleep(Duration::from_millis(300));
        fs::rename(project.path().join("m"), project.path().join("old")).unwrap();
        fs::rename(project.path().join("n"), project.path().join("m")).unwrap();
        writer.execute_batch("ROLLBACK").unwrap();
        other.execute_batch("ROLLBACK").unwrap();
        drop((writer, other));
    };
    std::thread::scope(|scope| {
        let swapping = scope.spawn(swap);
        assert_eq!(seen(&two), [false, false]);
        swapping.join().unwrap();
    });
    assert_eq!(seen(&two), [cfg!(unix); 2]);
}
