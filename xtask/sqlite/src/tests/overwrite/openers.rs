//! What others see who have the database open, and what happens when they are in the way.

use super::*;

#[test]
fn an_idle_connection_sees_new_rows_and_a_new_schema() {
    for mode in MODES {
        let case = Case::new(
            &(table(mode)
                + "INSERT INTO t VALUES(1, 'old'); CREATE TABLE gone(x); INSERT INTO gone VALUES(7);"),
            "DROP TABLE gone; ALTER TABLE t ADD COLUMN b DEFAULT 'b'; UPDATE t SET a='new'; CREATE TABLE later(y);",
        );
        let openers = [Some(Opener::start(&case.live)), Opener::shell(&case.live)];
        for mut opener in openers.into_iter().flatten() {
            run(&case.live, "UPDATE t SET a = 'newer'"); // something to restore again
            assert_eq!(opener.ask("SELECT * FROM t"), "1|newer|b");
            assert_eq!(opener.ask("SELECT count(*) FROM later"), "0");
            assert!(case.overwrite().unwrap() > 0);
            assert_eq!(opener.ask("SELECT * FROM t"), "1|old", "{mode}");
            assert_eq!(opener.ask("SELECT x FROM gone"), "7", "{mode}");
            if !opener.shell {
                assert!(opener.ask("SELECT count(*) FROM later").contains("no such table"));
            }
            opener.ask("INSERT INTO t VALUES(2, 'after')");
            assert_eq!(opener.ask("PRAGMA integrity_check"), "ok");
            assert!(!holds_image(&case.live, &case.image).unwrap());
            assert_eq!(case.overwrite().unwrap(), 2, "{mode}: the page with the row, and page 1");
            case.is_image();
            assert_eq!(opener.ask("PRAGMA journal_mode"), mode);
            run(&case.live, "ALTER TABLE t ADD COLUMN b DEFAULT 'b'; CREATE TABLE later(y);");
        }
    }
}

#[test]
fn a_schema_under_the_same_cookie_is_read_again() {
    for mode in MODES {
        // Both histories make one table after the image: the same cookie, and another schema.
        let start = table(mode) + "INSERT INTO t VALUES(1, 'a');";
        let case = Case::new(&start, "CREATE TABLE later(y, z); INSERT INTO later VALUES('y', 'z');");
        let cookie = value(&case.live, "PRAGMA schema_version");
        let other = Case::new(&start, "CREATE TABLE later(x); INSERT INTO later VALUES('x');");
        other.take_image(&other.folder.path().join("image2"));
        assert_eq!(value(&other.live, "PRAGMA schema_version"), cookie);
        let mut opener = Opener::start(&case.live);
        assert_eq!(opener.ask("SELECT * FROM later"), "y|z");
        let image = other.folder.path().join("image2");
        let case = Case { image, ..case };
        case.overwrite().unwrap();
        assert_eq!(opener.ask("SELECT * FROM later"), "x");
        assert!(opener.ask("SELECT y FROM later").contains("no such column"));
        case.is_image();
        assert_ne!(value(&case.live, "PRAGMA schema_version"), cookie);
    }
}

#[test]
fn a_reader_in_wal_mode_keeps_what_it_sees_and_then_sees_the_image() {
    let case =
        Case::new(&(table("wal") + &rows(500, 1)), "DELETE FROM t WHERE id > 10; UPDATE t SET a = 'x'");
    let mut reader = Opener::start(&case.live);
    reader.ask("BEGIN");
    assert_eq!(reader.ask("SELECT count(*), max(a) FROM t"), "10|x");
    case.overwrite().unwrap();
    assert_eq!(reader.ask("SELECT count(*), max(a) FROM t"), "10|x");
    reader.ask("COMMIT");
    assert_eq!(reader.ask("SELECT count(*), max(a)='x' FROM t"), "500|0");
    case.is_image();
}

#[test]
fn a_reader_in_rollback_mode_is_waited_for_and_not_forever() {
    // The second case writes page 1 alone.
    for change in ["DELETE FROM t WHERE id > 10", "PRAGMA user_version = 5"] {
        let case = Case::new(&(table("delete") + &rows(500, 1)), change);
        let before = fs::read(&case.live).unwrap();
        let mut reader = Opener::start(&case.live);
        reader.ask("BEGIN");
        let seen = reader.ask("SELECT count(*) FROM t");
        let mut held = case.held(SHORT);
        let error = held.write(&safe("live.db"), &case.image, &|_| ()).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Refused, "{error:#}");
        assert!(held.commit().unwrap_err().committed.is_empty(), "what is half written is never committed");
        assert_eq!(fs::read(&case.live).unwrap(), before);
        assert_eq!(reader.ask("SELECT count(*) FROM t"), seen);
        let mut held = case.held(PATIENCE);
        let waited = std::thread::scope(|scope| {
            let write = scope.spawn(|| held.write(&safe("live.db"), &case.image, &|_| ()));
            // It has to wait: this reader ends only when nobody new can begin, which is what waiting does.
            let mut second = Opener::start(&case.live);
            while !second.ask("SELECT count(*) FROM t").contains("locked") {}
            reader.ask("COMMIT");
            write.join().unwrap()
        });
        assert!(waited.unwrap() > 0);
        held.commit().unwrap();
        assert_eq!(reader.ask("SELECT count(*) FROM t"), "500");
        case.is_image();
    }
}

#[test]
fn a_writer_keeps_us_out_and_then_we_keep_it_out() {
    for mode in MODES {
        let case = Case::new(&table(mode), "INSERT INTO t VALUES(1, 1)");
        let second = case.folder.path().join("second.db");
        run(&second, &table(mode));
        let both = [(safe("live.db"), case.live.clone()), (safe("second.db"), second.clone())];
        let mut writer = Opener::start(&second);
        writer.ask("BEGIN IMMEDIATE");
        let (held, not_held) = hold(&both, SHORT).unwrap();
        assert_eq!((not_held.len(), not_held[0].obstacle), (1, Obstacle::Busy), "{not_held:?}");
        assert_eq!(not_held[0].path, safe("second.db"));
        // The one that was free stays held.
        let mut other = Opener::start(&case.live);
        assert!(other.ask("INSERT INTO t VALUES(2, 2)").contains("locked"));
        assert_eq!(other.ask("SELECT count(*) FROM t"), "1");
        drop(held);
        assert_eq!(other.ask("INSERT INTO t VALUES(2, 2)"), "");
        writer.ask("COMMIT");
        let (held, not_held) = hold(&both, PATIENCE).unwrap();
        assert!(not_held.is_empty());
        assert!(writer.ask("INSERT INTO t VALUES(2, 2)").contains("locked"));
        drop(held);
        assert_eq!(writer.ask("INSERT INTO t VALUES(2, 2)"), "");
    }
}

#[test]
fn of_two_databases_none_is_committed_when_the_second_can_not_be_written() {
    let case = Case::new(&(table("wal") + &rows(200, 1)), "DELETE FROM t");
    let second = Case::new(&(table("delete") + &rows(200, 1)), "DELETE FROM t");
    let both = [(safe("a.db"), case.live.clone()), (safe("b.db"), second.live.clone())];
    let mut reader = Opener::start(&second.live);
    reader.ask("BEGIN");
    reader.ask("SELECT count(*) FROM t");
    let (mut held, not_held) = hold(&both, SHORT).unwrap();
    assert!(not_held.is_empty());
    assert!(held.write(&safe("a.db"), &case.image, &|_| ()).unwrap() > 0);
    assert!(held.write(&safe("b.db"), &second.image, &|_| ()).is_err());
    drop(held);
    assert_eq!(value(&case.live, "SELECT count(*) FROM t"), "0");
    drop(reader);
    assert_eq!(value(&second.live, "SELECT count(*) FROM t"), "0");
    let (mut held, _) = hold(&both, SHORT).unwrap();
    held.write(&safe("a.db"), &case.image, &|_| ()).unwrap();
    held.write(&safe("b.db"), &second.image, &|_| ()).unwrap();
    held.commit().unwrap();
    case.is_image();
    second.is_image();
}

#[test]
fn another_page_size_or_encoding_needs_the_database_alone() {
    let differing = [
        ("PRAGMA page_size=1024;", "PRAGMA page_size=8192;"),
        ("PRAGMA page_size=8192;", "PRAGMA page_size=1024;"),
        ("PRAGMA encoding='UTF-8';", "PRAGMA encoding='UTF-16le';"),
        ("PRAGMA encoding='UTF-16be';", "PRAGMA encoding='UTF-8';"),
    ];
    for (old, new) in differing {
        for (image_mode, live_mode) in
            [("wal", "wal"), ("wal", "delete"), ("delete", "wal"), ("delete", "delete")]
        {
            let what = format!("{old} {image_mode} over {new} {live_mode}");
            let made = Case::new(&(old.to_owned() + &table(image_mode) + &rows(300, 1)), "");
            let live =
                Case::new(&(new.to_owned() + &table(live_mode) + &rows(900, 7)), "CREATE INDEX i ON t(a)");
            let case = Case { image: made.image.clone(), ..live };
            let mut opener = Opener::start(&case.live);
            assert_eq!(opener.ask("SELECT count(*) FROM t"), "900");
            let mut held = case.held(SHORT);
            let written = held.write(&safe("live.db"), &case.image, &|_| ());
            if live_mode == "wal" {
                let error = written.unwrap_err();
                assert_eq!(kind_of(&error), Kind::Refused, "{what}: {error:#}");
                drop(held);
                assert_eq!(opener.ask("SELECT count(*) FROM t"), "900", "{what}");
                assert_eq!(opener.ask("PRAGMA journal_mode"), "wal");
                drop(opener);
                // Not committed: all is given back.
                let mut held = case.held(PATIENCE);
                held.write(&safe("live.db"), &case.image, &|_| ()).unwrap();
                drop(held);
                assert_eq!(value(&case.live, "SELECT count(*) FROM t"), "900", "{what}");
                assert_eq!(value(&case.live, "PRAGMA journal_mode"), "wal");
                case.overwrite().unwrap();
            } else {
                assert!(written.unwrap() > 0);
                assert!(opener.ask("SELECT count(*) FROM t").contains("locked"), "{what}");
                held.commit().unwrap();
                if old.contains("page_size") {
                    assert_eq!(opener.ask("SELECT count(*) FROM t"), "300", "{what}");
                    opener.ask("INSERT INTO t VALUES(0, 'x')");
                    assert_eq!(opener.ask("PRAGMA integrity_check"), "ok", "{what}");
                    opener.ask("DELETE FROM t WHERE id = 0");
                } else {
                    // Never old rows: it has to open the database again.
                    assert!(opener.ask("SELECT count(*) FROM t").contains("text encoding"), "{what}");
                }
            }
            assert_eq!(value(&case.live, "SELECT count(*) FROM t"), "300", "{what}");
            assert_eq!(value(&case.live, "PRAGMA journal_mode"), live_mode, "{what}");
            let copy = case.folder.path().join("copy");
            case.take_image(&copy);
            assert_eq!(facts(&copy).unwrap().logical, facts(&case.image).unwrap().logical, "{what}");
            fs::remove_file(copy).unwrap();
            if !old.contains("page_size") || live_mode == "wal" {
                assert!(holds_image(&case.live, &case.image).unwrap(), "{what}");
            }
            assert_eq!(case.overwrite().unwrap() > 0, old.contains("page_size") && live_mode == "delete");
            case.is_image();
        }
    }
}

#[test]
fn the_cookie_is_new_too_where_a_database_is_replaced_as_a_whole() {
    for mode in MODES {
        let made =
            Case::new(&format!("PRAGMA page_size=1024; {} PRAGMA schema_version=41;", table("delete")), "");
        let case = Case::new(&format!("{} PRAGMA schema_version=40;", table(mode)), "");
        let case = Case { image: made.image.clone(), ..case };
        case.overwrite().unwrap();
        case.is_image();
        assert_eq!(value(&case.live, "PRAGMA schema_version"), "42");
    }
}

#[test]
fn what_can_not_be_held_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| (safe(name), folder.path().join(name));
    let all = ["absent.db", "folder.db", "good.db", "text.db"].map(at);
    fs::create_dir(&all[1].1).unwrap();
    run(&all[2].1, "CREATE TABLE t(a)");
    fs::write(&all[3].1, "no database at all, but long enough to be taken for one".repeat(30)).unwrap();
    let started = std::time::Instant::now();
    let (held, not_held) = hold(&all, PATIENCE).unwrap();
    assert!(started.elapsed() < PATIENCE / 4, "nothing of it gets better by waiting");
    let names: Vec<String> = not_held.iter().map(|n| n.path.to_string()).collect();
    assert_eq!(names, ["absent.db", "folder.db", "text.db"]);
    assert!(not_held.iter().all(|n| n.obstacle == Obstacle::Unopenable), "{not_held:?}");
    let reasons: Vec<&str> = not_held.iter().map(|n| n.reason.as_str()).collect();
    assert!(reasons[1].contains("not a file") && reasons[2].contains("not a database"), "{reasons:?}");
    assert!(!all[0].1.exists());
    let mut other = Opener::start(&all[2].1);
    assert!(other.ask("INSERT INTO t VALUES(1)").contains("locked"));
    drop(held);
}

/// Root may write everywhere, so as root this test runs itself again as somebody else.
#[cfg(unix)]
#[test]
fn what_may_not_be_written_is_read_only() {
    const NAME: &str = "tests::overwrite::openers::what_may_not_be_written_is_read_only";
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(std::env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]);
        match command.env("TMPDIR", "/tmp").output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
            }
            Err(error) => eprintln!("SKIPPED: can't become somebody else: {error}"),
        }
        return;
    }
    for mode in MODES {
        for (folder_mode, file_mode) in [(0o755, 0o444), (0o555, 0o644), (0o555, 0o444), (0o755, 0o000)] {
            let case = Case::new(&table(mode), "INSERT INTO t VALUES(1, 1)");
            let set = |path: &Path, mode| crate::base::file_facts::set_mode(path, mode).unwrap();
            set(&case.live, file_mode);
            set(case.folder.path(), folder_mode);
            let (_, not_held) = case.hold(PATIENCE);
            set(case.folder.path(), 0o755);
            assert_eq!(not_held.len(), 1, "{mode} {folder_mode:o} {file_mode:o}");
            assert_eq!(
                not_held[0].obstacle,
                Obstacle::ReadOnly,
                "{mode} {folder_mode:o} {file_mode:o} {not_held:?}"
            );
        }
    }
}

#[test]
fn who_wrote_after_the_commit_is_told_apart() {
    for mode in ["wal", "delete"] {
        let case = Case::new(&(table(mode) + &rows(50, 1)), "DELETE FROM t WHERE id > 10");
        let mut held = case.held(PATIENCE);
        held.write(&safe("live.db"), &case.image, &|_| ()).unwrap();
        let committed = held.commit().unwrap();
        assert!(!committed.is_written_since(&safe("live.db")), "{mode}: nobody has");
        assert_eq!(Opener::start(&case.live).ask("SELECT count(*) FROM t"), "50");
        assert!(!committed.is_written_since(&safe("live.db")), "{mode}: reading is no writing");
        Opener::start(&case.live).ask("DELETE FROM t WHERE id = 1");
        assert!(committed.is_written_since(&safe("live.db")), "{mode}: somebody has");
        assert!(committed.is_written_since(&safe("other.db")), "not known");
    }
}
