//! A kill at any moment leaves each database old or new.

use super::*;

const VICTIM: &str = "XTASK_TEST_OVERWRITE_VICTIM";

/// Not a test by itself: the process that is killed. It writes into both databases, again and again, and
/// tells of every step.
#[test]
fn child_that_overwrites() {
    let Some(folder) = std::env::var_os(VICTIM) else { return };
    let folder = PathBuf::from(folder);
    let both = ["a.db", "b.db"].map(|name| (safe(name), folder.join(name)));
    for round in 0.. {
        let (mut held, _) = hold(&both, PATIENCE).unwrap();
        for (path, _) in &both {
            held.write(path, &folder.join(format!("image{}", round % 2)), &|_| ()).unwrap();
        }
        println!("\n{ANSWER}written");
        held.commit().unwrap();
        println!("\n{ANSWER}committed");
    }
}

#[test]
fn killed_at_any_moment_each_database_is_old_or_new() {
    for mode in MODES {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let images = [0, 1].map(|i| {
            let case = Case::new(&(table(mode) + &rows(20_000, i * 5) + &rows(i * 9000 + 10, 40_000)), "");
            fs::rename(&case.image, at(&format!("image{i}"))).unwrap();
            at(&format!("image{i}"))
        });
        for name in ["a.db", "b.db"] {
            fs::copy(&images[1], at(name)).unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..12_u32 {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let name = "tests::overwrite::kill::child_that_overwrites";
            command.args(["--exact", name, "--nocapture"]).env(VICTIM, folder.path());
            let mut victim = Opener::spawn(&mut command, false).unwrap();
            // At some line, and a little later each time, so that every step is hit.
            let mut lines = 0;
            while lines < 1 + round % 3 {
                let mut line = String::new();
                assert_ne!(victim.stdout.read_line(&mut line).unwrap(), 0, "the child ended");
                lines += u32::from(line.starts_with(ANSWER));
            }
            std::thread::sleep(Duration::from_micros(u64::from(round) * 1700));
            drop(victim); // kills it
            let state = ["a.db", "b.db"].map(|name| {
                let held: Vec<usize> =
                    (0..2).filter(|i| holds_image(&at(name), &images[*i]).unwrap()).collect();
                assert_eq!(held.len(), 1, "{mode}: {name} is neither old nor new");
                assert_eq!(value(&at(name), "PRAGMA integrity_check"), "ok");
                held[0]
            });
            seen.insert(state);
        }
        assert!(seen.len() > 1, "{mode}: always killed at the same moment: {seen:?}");
    }
}
