//! Databases when a commit is put back. They stay as they are, whatever the commit has of them and of their side
//! files; asked for, they come from the commit where git tracks them and else from the backup of that time, and
//! everybody who has them open sees the restored rows.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use support::child::{Journal, Locker, Observer, delete_and_crash};
use support::compare::{repository, repository_differences, rows};
use support::dated::{self, Mould};
use support::framework::write;
use support::tree::{Fingerprint, differences, fingerprint, without_sidecars};
use support::{Output, Sandbox, git, git_at};

const NONE: Vec<String> = Vec::new();
const DAY: i64 = 86_400;
/// 2025-11-20, 12:00 UTC.
const FIRST: i64 = 1_763_640_000;

fn change(database: &Path, sql: &str) {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// A database with so many rows of `learnings`.
fn make(database: &Path, journal: Journal, rows: usize) {
    fs::create_dir_all(database.parent().unwrap()).unwrap();
    change(
        database,
        &format!(
            "PRAGMA journal_mode = {journal:?}; PRAGMA synchronous = OFF;
             CREATE TABLE IF NOT EXISTS learnings(id INTEGER PRIMARY KEY, title);
             CREATE TABLE IF NOT EXISTS metrics(name); DELETE FROM learnings;
             WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows})
             INSERT INTO learnings SELECT x, 'learning ' || x FROM c"
        ),
    );
}

/// What a process that opens the database now sees.
fn learnings(database: &Path) -> i64 {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection.query_row("SELECT count(*) FROM learnings", [], |row| row.get(0)).unwrap()
}

fn commit(project: &Path, moment: i64, name: &str) -> String {
    write(project, "state", &format!("{name}\n"));
    git_at(project, moment, &["add", "."]);
    git_at(project, moment, &["commit", "-q", "-m", name]);
    git(project, &["rev-parse", "HEAD"])
}

/// Three commits, of 20, 25 and 30 November 2025. `data/catalog.db` is tracked and has 1, 2 and 3 rows in them;
/// `memory/index.db`, which git ignores, had 10, 20 and 30 then.
fn three(journal: Journal, mut after_each: impl FnMut(&Sandbox)) -> Sandbox {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    git_at(&project, FIRST, &["init", "-q", "-b", "main"]);
    write(&project, ".gitignore", "/memory/\n*-wal\n*-shm\n");
    for (n, name) in ["One", "Two", "Three"].into_iter().enumerate() {
        make(&project.join("data/catalog.db"), Journal::Delete, n + 1);
        make(&project.join("memory/index.db"), journal, 10 * (n + 1));
        commit(&project, FIRST + 5 * DAY * i64::try_from(n).unwrap(), name);
        after_each(&sandbox);
    }
    sandbox
}

fn backed_up(journal: Journal) -> Sandbox {
    three(journal, |sandbox| drop(sandbox.run(&["backup"]).ok()))
}

fn state(project: &Path) -> (String, i64, i64) {
    let text = fs::read_to_string(project.join("state")).unwrap().trim().to_owned();
    (text, learnings(&project.join("data/catalog.db")), learnings(&project.join("memory/index.db")))
}

fn was(name: &str, catalog: i64, index: i64) -> (String, i64, i64) {
    (name.to_owned(), catalog, index)
}

fn restore(sandbox: &Sandbox, more: &[&str]) -> Output {
    sandbox.run(&[&["restore-git", "--force"], more].concat())
}

/// All bytes but those of SQLite's own side files, which looking at a database makes.
fn bytes(project: &Path) -> Fingerprint {
    without_sidecars(fingerprint(project, false))
}

fn said(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn the_rows_of_that_time_come_back_while_somebody_reads() {
    for journal in [Journal::Wal, Journal::Delete] {
        let sandbox = backed_up(journal);
        let project = sandbox.project();
        let listed = sandbox.run(&["restore-git", "list", "--json"]).ok().json();
        let backup = &listed["commits"][1]["backup"];
        assert_eq!(backup["names_commit"], true, "{listed:#}");
        let mut idle = Observer::start(&project.join("memory/index.db"), false);
        let mut of_catalog = Observer::start(&project.join("data/catalog.db"), false);
        let before = bytes(&project);
        let told = restore(&sandbox, &["HEAD~1", "--restore-databases"]).ok();
        assert!(said(&told).contains(backup["id"].as_str().unwrap()), "{backup} {told:?}");
        assert_eq!((idle.rows(), of_catalog.rows()), (20, 2), "{journal:?}");
        assert_eq!(state(&project), was("Two", 2, 20), "{journal:?}");
        // Whoever has it open goes on, and everybody sees that.
        change(&project.join("memory/index.db"), "INSERT INTO learnings VALUES (5000, 'after')");
        assert_eq!(idle.rows(), 21);
        change(&project.join("memory/index.db"), "DELETE FROM learnings WHERE id = 5000");
        sandbox.run(&["undo", "--force"]).ok();
        assert_eq!((idle.rows(), of_catalog.rows()), (30, 3), "{journal:?}");
        drop((idle, of_catalog));
        assert_eq!(state(&project), was("Three", 3, 30), "{journal:?}");
        let mut now = bytes(&project);
        let mut before = before;
        for name in ["memory/index.db", "data/catalog.db"] {
            now.remove(name.as_bytes()).and(before.remove(name.as_bytes())).unwrap();
        }
        assert_eq!(differences(&before, &now), NONE, "{journal:?}");
    }
}

#[test]
fn a_writer_that_does_not_leave_is_named_and_nothing_has_changed() {
    let sandbox = backed_up(Journal::Wal);
    let project = sandbox.project();
    let before = bytes(&project);
    let locker = Locker::start(&project.join("memory/index.db"), false);
    restore(&sandbox, &["HEAD~1", "--restore-databases", "--no-backup"]).code(6).says("memory/index.db");
    assert_eq!(differences(&before, &bytes(&project)), NONE);
    drop(locker);
    restore(&sandbox, &["HEAD~1", "--restore-databases", "--no-backup"]).ok();
    assert_eq!(state(&project), was("Two", 2, 20));
}

/// Changed, tracked, with a log beside it, not in the commit at all: what is there stays, and that is told.
#[test]
fn databases_are_kept() {
    let sandbox = backed_up(Journal::Wal);
    let project = sandbox.project();
    make(&project.join("data/late.db"), Journal::Delete, 4);
    commit(&project, FIRST + 11 * DAY, "Four");
    make(&project.join("data/staged.db"), Journal::Delete, 5);
    git(&project, &["add", "data/staged.db"]);
    change(&project.join("data/catalog.db"), "DELETE FROM learnings WHERE id > 2; PRAGMA journal_mode = WAL");
    for name in ["data/catalog.db", "memory/index.db"] {
        delete_and_crash(&project.join(name));
    }
    let there = || {
        let mut files = fingerprint(&project, true);
        files.retain(|name, _| name.ends_with(b".db") || name.ends_with(b"-wal"));
        files
    };
    let before = there();
    assert_eq!(before.len(), 6, "{before:?}");
    for more in [&[][..], &["--keep-databases"], &["--checkout"]] {
        let told = restore(&sandbox, &[&["HEAD~2"], more].concat()).ok();
        assert_eq!(differences(&before, &there()), NONE, "{more:?}");
        assert_eq!(fs::read_to_string(project.join("state")).unwrap(), "Two\n");
        assert!(said(&told).contains("data/catalog.db"), "{told:?}");
        if more == ["--checkout"] {
            let status = git(&project, &["status", "--porcelain", "-uall"]);
            let lines: Vec<&str> = status.lines().collect();
            assert_eq!(lines, [" M data/catalog.db", "?? data/late.db", "?? data/staged.db"]);
        } else {
            assert!(said(&told).contains("--restore-databases"), "{told:?}");
        }
        sandbox.run(&["undo", "--force"]).ok();
        assert_eq!(differences(&before, &there()), NONE, "undo of {more:?}");
    }
    assert_eq!(
        (learnings(&project.join("data/late.db")), learnings(&project.join("data/staged.db"))),
        (4, 5)
    );
    // What is not there can't be kept: it comes with the commit.
    for end in ["", "-wal", "-shm"] {
        drop(fs::remove_file(project.join(format!("data/catalog.db{end}"))));
    }
    restore(&sandbox, &["HEAD~2"]).ok();
    assert_eq!(learnings(&project.join("data/catalog.db")), 2);
}

/// The log beside it is of a later time than what comes back.
#[test]
fn a_stale_log_does_not_change_what_comes_back() {
    for tracked in ["data/catalog.db", "memory/index.db"] {
        let sandbox = three(Journal::Wal, |_| {});
        let project = sandbox.project();
        change(&project.join("data/catalog.db"), "PRAGMA journal_mode = WAL");
        make(&project.join("data/catalog.db"), Journal::Wal, 100);
        make(&project.join("memory/index.db"), Journal::Wal, 100);
        commit(&project, FIRST + 11 * DAY, "Four");
        sandbox.run(&["backup"]).ok();
        let database = project.join(tracked);
        delete_and_crash(&database);
        assert!(fs::metadata(format!("{}-wal", database.display())).unwrap().len() > 0);
        restore(&sandbox, &["HEAD", "--restore-databases"]).ok();
        assert_eq!(state(&project), was("Four", 100, 100), "{tracked}");
        // And it stays so when the log is written back.
        change(&database, "PRAGMA wal_checkpoint(TRUNCATE)");
        assert_eq!(rows(&database)["learnings"].len(), 100, "{tracked}");
        sandbox.run(&["undo", "--force"]).ok();
        assert_eq!(learnings(&database), 50, "{tracked}");
    }
}

/// Somebody has committed a log, as of a database that was in use. Beside another state of the database it would
/// change rows or destroy it.
#[test]
fn a_log_that_was_committed_never_lands_beside_a_kept_database() {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    let database = project.join("x.db");
    let log = project.join("x.db-wal");
    git(&project, &["init", "-q", "-b", "main"]);
    make(&database, Journal::Wal, 100);
    delete_and_crash(&database);
    drop(fs::remove_file(project.join("x.db-shm")));
    make(&project.join("y.db"), Journal::Delete, 5);
    write(&project, "y.db-journal", "no journal of this database\n");
    commit(&project, FIRST, "One");
    let committed = fs::read(&log).unwrap();
    assert!(committed.len() > 1000);
    fs::remove_file(project.join("y.db-journal")).unwrap();
    change(&database, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE");
    make(&database, Journal::Delete, 70);
    make(&database, Journal::Wal, 70);
    commit(&project, FIRST + DAY, "Two");
    assert!(!git(&project, &["ls-files"]).contains("-wal"));
    let before = fs::read(&database).unwrap();
    for words in [&["HEAD~1"][..], &["HEAD~1", "--checkout"], &["HEAD~1", "--only", "*.db-*"]] {
        let told = restore(&sandbox, words);
        // Where only the log was named there is nothing to do.
        assert!(matches!(told.code, 0 | 3 | 4), "{words:?}: {told:?}");
        assert!(fs::read(&log).is_err() || fs::metadata(&log).unwrap().len() == 0, "{words:?}: {told:?}");
        assert!(!project.join("y.db-journal").exists(), "{words:?}: {told:?}");
        assert_eq!(fs::read(&database).unwrap(), before, "{words:?}");
        assert_eq!(learnings(&database), 70, "{words:?}");
        assert!(matches!(sandbox.run(&["undo", "--force"]).code, 0 | 4), "{words:?}");
        assert_eq!(learnings(&database), 70, "{words:?}");
    }
    // One that is there now, with the newest rows in it, stays too, although git tracks it and the commit does not
    // have it or has another.
    delete_and_crash(&database);
    git(&project, &["add", "-f", "x.db-wal"]);
    let now = fs::read(&log).unwrap();
    for rev in ["HEAD", "HEAD~1"] {
        let told = restore(&sandbox, &[rev]);
        assert!(matches!(told.code, 0 | 3), "{rev}: {told:?}");
        assert_eq!(fs::read(&log).unwrap(), now, "{rev}: {told:?}");
        assert_eq!(rows(&database)["learnings"].len(), 35, "{rev}: {told:?}");
    }
    // With the databases the log comes as well: it is a part of what was committed.
    restore(&sandbox, &["HEAD~1", "--restore-databases"]).ok();
    assert_eq!(learnings(&database), 50);
}

/// A file of the commit where a database's folder is, below a database, or where a tracked one's folder is.
#[test]
fn a_database_in_the_way_stays_and_is_named() {
    for (of_commit, there) in [("way", "way/x.db"), ("x.db/inside", "x.db")] {
        for (ignored, staged) in [(false, false), (true, false), (false, true)] {
            let sandbox = Sandbox::in_memory();
            let project = sandbox.project();
            let when = format!("{of_commit}, ignored: {ignored}, staged: {staged}");
            git(&project, &["init", "-q", "-b", "main"]);
            write(&project, of_commit, "of the commit\n");
            write(&project, "other", "of the commit\n");
            commit(&project, FIRST, "One");
            git(&project, &["rm", "-q", "-r", "--", of_commit, "other"]);
            write(&project, ".gitignore", if ignored { "*.db\n" } else { "" });
            commit(&project, FIRST + DAY, "Two");
            make(&project.join(there), Journal::Delete, 10);
            if staged {
                git(&project, &["add", there]);
            }
            let before = bytes(&project);
            let told = restore(&sandbox, &["HEAD~1"]);
            assert_eq!(told.code, 3, "{when}: {told:?}");
            assert!(told.stderr.contains(there), "{when}: {told:?}");
            assert_eq!(learnings(&project.join(there)), 10, "{when}");
            // All the rest comes.
            assert!(project.join("other").exists(), "{when}");
            sandbox.run(&["undo", "--force"]).ok();
            assert_eq!(differences(&before, &bytes(&project)), NONE, "{when}");
        }
    }
}

#[test]
fn a_time_takes_the_backup_of_that_time() {
    let mut moulds = Vec::new();
    let sandbox = three(Journal::Delete, |sandbox| {
        dated::run(sandbox, &["backup"]).ok();
        moulds.push(Mould::cast(&dated::store(sandbox)));
    });
    let project = sandbox.project();
    let plant = |of: usize, id: &str| {
        let nobody = json!("0123456789012345678901234567890123456789");
        moulds[of].plant_changed(id, "manual", &|manifest| manifest["git"]["commit"] = nobody.clone());
    };
    plant(0, "20251121_120000");
    plant(1, "20251127_120000");
    plant(0, "20251128_120000");
    let damaged = dated::store(&sandbox).join("20251128_120000.tar.gz");
    let content = fs::read(&damaged).unwrap();
    fs::write(&damaged, &content[..content.len() - 9]).unwrap();
    plant(2, "20251129_120000");
    let run = |words: &[&str]| {
        let words = [&["restore-git", "--force", "--restore-databases"], words].concat();
        let told = dated::run(&sandbox, &words).ok();
        let found = state(&project);
        dated::run(&sandbox, &["undo", "--force"]).ok();
        assert_eq!(state(&project), was("Three", 3, 30), "{words:?}");
        (found, told)
    };
    // Of that moment.
    let (found, told) = run(&["--at", "2025-11-28 15:00"]);
    assert_eq!(found, was("Two", 2, 20));
    assert!(said(&told).contains("20251127_120000"), "{told:?}");
    // Of the commit's time: nothing names it, and so the last one before it.
    let (found, told) = run(&["HEAD~1"]);
    assert_eq!(found, was("Two", 2, 10));
    assert!(said(&told).contains("20251121_120000") && said(&told).contains("day"), "{told:?}");
    // One that names it is nearer than any other.
    moulds[1].plant("20251205_120000", "manual");
    let (found, told) = run(&["HEAD~1"]);
    assert_eq!(found, was("Two", 2, 20));
    assert!(said(&told).contains("20251205_120000"), "{told:?}");
    // But it is not of that moment.
    let (found, told) = run(&["--at", "2025-11-28 15:00"]);
    assert_eq!(found, was("Two", 2, 20));
    assert!(said(&told).contains("20251127_120000"), "{told:?}");
    assert_eq!(run(&["--at", "2025-11-25 12:00"]).0, was("Two", 2, 10));
}

#[test]
fn without_a_backup_for_the_databases_nothing_changes() {
    let sandbox = three(Journal::Delete, |_| {});
    let project = sandbox.project();
    let refused = |words: &[&str]| {
        let before = fingerprint(&project, true);
        let told = restore(&sandbox, &[words, &["--restore-databases"]].concat());
        assert!(matches!(told.code, 4 | 6), "{words:?}: {told:?}");
        assert!(told.stderr.contains("error: ") && told.stderr.contains("hint: "), "{words:?}: {told:?}");
        assert!(told.stderr.contains("backup"), "{words:?}: {told:?}");
        let mut before = before;
        let mut after = fingerprint(&project, true);
        // Whoever looks whether somebody else is at work makes and removes a lock there.
        before
            .values_mut()
            .chain(after.values_mut())
            .filter(|e| e.kind == "dir")
            .for_each(|e| e.mtime_ns = None);
        assert_eq!(differences(&before, &after), NONE, "{words:?}");
    };
    refused(&["HEAD~1"]);
    refused(&["HEAD~1", "--dry-run"]);
    refused(&["HEAD~1", "--checkout", "--no-backup"]);
    refused(&["--at", "2025-11-27"]);
    // A safety copy is of the state that somebody wanted to leave.
    restore(&sandbox, &["HEAD~1"]).ok();
    sandbox.run(&["undo", "--force"]).ok();
    refused(&["HEAD~1"]);
    // All backups are of a later time.
    sandbox.run(&["backup"]).ok();
    refused(&["HEAD~1"]);
    refused(&["--at", "2025-11-27"]);
    // Where none is needed it works all the same.
    restore(&sandbox, &["HEAD~1", "--restore-databases", "--only", "data", "--only", "state"]).ok();
    assert_eq!(state(&project), was("Two", 2, 30));
}

#[test]
fn databases_that_are_all_tracked_need_no_backup() {
    let sandbox = three(Journal::Delete, |_| {});
    let project = sandbox.project();
    fs::remove_dir_all(project.join("memory")).unwrap();
    let before = repository(&project);
    restore(&sandbox, &["HEAD~1", "--restore-databases", "--checkout"]).ok();
    assert_eq!(learnings(&project.join("data/catalog.db")), 2);
    // SQLite counts changes in the header, so that whoever has it open reads it again: to git it is another file.
    let status = git(&project, &["status", "--porcelain"]);
    assert!(matches!(status.as_str(), "" | " M data/catalog.db"), "{status}");
    sandbox.run(&["undo", "--force"]).ok();
    assert_eq!(learnings(&project.join("data/catalog.db")), 3);
    let mut after = repository(&project);
    let mut before = before;
    for part in ["status", "unstaged"] {
        before.remove(part).and(after.remove(part)).unwrap();
    }
    assert_eq!(repository_differences(&before, &after), NONE);
}
