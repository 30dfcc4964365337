//! What becomes of the pages: any image over any live database.

use super::*;

#[test]
fn every_kind_of_database_is_put_over_every_other() {
    let folder = tempfile::tempdir().unwrap();
    let databases = make_databases(folder.path());
    let outcome = pinned(&databases);
    let (_images, images) = images(&outcome);
    drop(outcome);
    for image in &images {
        for (name, _) in FEATURES {
            let copy = tempfile::tempdir().unwrap();
            for file in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
                if file.file_name().to_str().unwrap().starts_with(name) {
                    fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
                }
            }
            let live = copy.path().join(name);
            let case = Case { folder: copy, live, image: image.clone() };
            let what = format!("{} over {name}", image.display());
            let same = image.ends_with(name);
            let changed = case.overwrite().unwrap();
            assert!(holds_image(&case.live, image).unwrap(), "{what}");
            if fs::metadata(image).unwrap().len() > 0 {
                case.is_image();
            } else if !same {
                assert_eq!(value(&case.live, "SELECT count(*) FROM sqlite_schema"), "0", "{what}");
                assert_eq!(value(&case.live, "PRAGMA page_count"), "1", "{what}");
            }
            assert_eq!(changed == 0, same, "{what}");
            // The live file keeps its journal mode; an empty one has none.
            let mode = if *name == "wal.db" || *name == "empty.db" && image.ends_with("wal.db") {
                "wal"
            } else {
                "delete"
            };
            assert_eq!(value(&case.live, "PRAGMA journal_mode"), mode, "{what}");
            assert_eq!(case.overwrite().unwrap(), 0, "{what}: nothing is left to do");
        }
    }
}

#[test]
fn nothing_is_written_where_only_counters_differ() {
    for mode in MODES {
        let case = Case::new(
            &(table(mode) + &rows(50, 1)),
            "INSERT INTO t VALUES(99, 1); DELETE FROM t WHERE id=99",
        );
        // The row is gone and its bytes are not, so once it has something to do.
        case.overwrite().unwrap();
        run(&case.live, "CREATE TABLE u(a); DROP TABLE u; PRAGMA user_version=1; PRAGMA user_version=0");
        case.overwrite().unwrap();
        let before = hashes(case.folder.path());
        let told = std::cell::Cell::new(0);
        let mut held = case.held(PATIENCE);
        assert_eq!(
            held.write(&safe("live.db"), &case.image, &|bytes| told.set(told.get() + bytes)).unwrap(),
            0
        );
        assert_eq!(told.get(), fs::metadata(&case.image).unwrap().len());
        held.commit().unwrap();
        let mut after = hashes(case.folder.path());
        // Opening a database in WAL mode makes an empty log.
        after.retain(|name, digest| !name.ends_with("-wal") || *digest != Digest::of(b""));
        assert_eq!(after, before);
    }
}

#[test]
fn images_smaller_and_larger_than_the_live_database() {
    for mode in MODES {
        for auto_vacuum in ["none", "full", "incremental"] {
            let start = format!("PRAGMA auto_vacuum={auto_vacuum};{}", table(mode));
            let small = Case::new(&(start.clone() + &rows(30, 1)), &rows(3000, 100));
            let mut opener = Opener::start(&small.live);
            assert_eq!(opener.ask("SELECT count(*) FROM t"), "3030");
            small.overwrite().unwrap();
            small.is_image();
            assert_eq!(opener.ask("SELECT count(*) FROM t"), "30");
            let large = Case::new(&(start + &rows(3000, 1)), "DELETE FROM t WHERE id > 5; VACUUM");
            let mut opener = Opener::start(&large.live);
            assert_eq!(opener.ask("SELECT count(*) FROM t"), "5");
            large.overwrite().unwrap();
            large.is_image();
            assert_eq!(opener.ask("SELECT count(*) FROM t"), "3000");
            opener.ask("DELETE FROM t WHERE id % 3 = 0");
            assert_eq!(opener.ask("PRAGMA integrity_check"), "ok");
        }
    }
}

/// With `auto_vacuum=full` a commit of SQLite's own would move pages about as the old first page asks for.
#[test]
fn a_live_database_that_cuts_itself_leaves_the_image_as_it_is() {
    for mode in MODES {
        let loose = Case::new(&(table(mode) + &rows(2000, 1) + "DELETE FROM t WHERE id % 100 > 3;"), "");
        let tight = Case::new(&format!("PRAGMA auto_vacuum=full;{}{}", table(mode), rows(2500, 1)), "");
        for (from, into) in [(&loose, &tight), (&tight, &loose)] {
            let mut opener = Opener::start(&into.live);
            opener.ask("SELECT count(*) FROM t");
            let image = from.folder.path().join("image");
            let case = Case { folder: tempfile::tempdir().unwrap(), live: into.live.clone(), image };
            case.overwrite().unwrap();
            case.is_image();
            // The old connection writes on by the new rules.
            opener.ask("DELETE FROM t WHERE id % 2 = 0");
            assert_eq!(opener.ask("PRAGMA integrity_check"), "ok");
        }
    }
}

#[test]
fn reserved_bytes_come_along_with_an_old_connection_in_it() {
    for mode in MODES {
        let case = Case::new(&(table(mode) + &rows(300, 1)), "DELETE FROM t");
        // The same page size with reserved bytes can only be had from a VACUUM that was told so: by hand.
        let other = case.folder.path().join("reserved.db");
        let made = Connection::open(&other).unwrap();
        set_reserved(&made);
        made.execute_batch(&(table("delete") + &rows(400, 1))).unwrap();
        drop(made);
        assert_eq!(fs::read(&other).unwrap()[20], 32);
        let mut opener = Opener::start(&case.live);
        assert_eq!(opener.ask("SELECT count(*) FROM t"), "0");
        let case = Case { image: other, ..case };
        case.overwrite().unwrap();
        case.is_image();
        assert_eq!(opener.ask("SELECT count(*) FROM t"), "400");
        opener.ask("DELETE FROM t WHERE id % 3 = 0");
        opener.ask("UPDATE t SET a = a || a");
        assert_eq!(opener.ask("PRAGMA integrity_check"), "ok");
        assert_eq!(value(&case.live, "PRAGMA integrity_check"), "ok");
    }
}

/// There is no SQL for it, and a database without pages takes it from its first page.
fn set_reserved(connection: &Connection) {
    use rusqlite::config::DbConfig;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    connection.execute_batch("CREATE TABLE x(a); DROP TABLE x; VACUUM").unwrap();
    let mut page: Vec<u8> = connection
        .query_row("SELECT data FROM sqlite_dbpage('main') WHERE pgno=1", [], |row| row.get(0))
        .unwrap();
    page[20] = 32;
    let usable = page.len() as u16 - 32;
    page[105..107].copy_from_slice(&usable.to_be_bytes());
    connection.execute("INSERT INTO sqlite_dbpage(pgno, data) VALUES(1, ?1)", [page]).unwrap();
}

#[test]
fn a_stale_log_is_taken_in_and_a_hot_journal_taken_back() {
    for mode in MODES {
        let case = Case::new(&(table(mode) + &rows(200, 1)), "");
        let mut opener = Opener::start(&case.live);
        opener.ask("PRAGMA cache_size=5");
        opener.ask("DELETE FROM t WHERE id > 100");
        opener.ask("BEGIN");
        opener.ask("UPDATE t SET a = 'not committed' || a");
        opener.ask(&rows(5000, 1000).replace('\n', " ")); // more than the cache, so it is in the file
        drop(opener); // killed
        let side = if mode == "wal" { "-wal" } else { "-journal" };
        let mut name = case.live.as_os_str().to_owned();
        name.push(side);
        assert!(PathBuf::from(name).exists());
        let held = case.held(PATIENCE);
        let safety = case.folder.path().join("safety");
        held.copy_image(&safe("live.db"), &safety, &|_| ()).unwrap();
        drop(held);
        assert_eq!(facts(&safety).unwrap().rows(), 100);
        case.overwrite().unwrap();
        case.is_image();
    }
}

#[test]
fn a_copy_under_the_lock_is_the_image_of_a_pin() {
    let folder = tempfile::tempdir().unwrap();
    let databases = make_databases(folder.path());
    let before = hashes(folder.path());
    let outcome = pinned(&databases);
    let (_folder, files) = images(&outcome);
    drop(outcome);
    let (held, not_held) = hold(&databases, PATIENCE).unwrap();
    assert!(not_held.is_empty());
    let to = tempfile::tempdir().unwrap();
    for ((path, _), image) in databases.iter().zip(sorted_like(&files, &databases)) {
        let copy = to.path().join(path.to_string());
        held.copy_image(path, &copy, &|_| ()).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), fs::read(image).unwrap(), "{path}");
    }
    drop(held);
    assert_eq!(hashes(folder.path()), before, "holding changes nothing");
}

#[test]
fn damage_inside_a_live_database_is_no_obstacle() {
    for mode in MODES {
        for damage in ["schema", "middle", "short", "cookie"] {
            let case = Case::new(&(table(mode) + "CREATE INDEX i ON t(a);" + &rows(2000, 1)), "");
            let mut bytes = fs::read(&case.live).unwrap();
            let half = bytes.len() / 4096 / 2 * 4096;
            match damage {
                "schema" => bytes[100..4096].fill(0xee),
                "middle" => bytes[half..half + 8192].fill(0xee),
                "short" => bytes.truncate(half + 100),
                _ => bytes[40..44].fill(0xff),
            }
            fs::write(&case.live, &bytes).unwrap();
            let held = case.held(PATIENCE);
            let raw = case.folder.path().join("raw");
            held.copy_image(&safe("live.db"), &raw, &|_| ()).unwrap();
            drop(held);
            case.overwrite().unwrap();
            case.is_image();
            assert_eq!(value(&case.live, "PRAGMA integrity_check"), "ok", "{mode} {damage}");
        }
    }
}

/// SQLite takes its locks on the page at 1 GiB, which can be neither read nor written.
#[test]
fn a_database_beyond_the_page_with_the_locks() {
    if std::env::var_os("XTASK_TEST_FULL").is_none_or(|value| value != "1") {
        return; // it writes some gigabytes
    }
    for mode in MODES {
        let large =
            format!("{}INSERT INTO t VALUES(1, zeroblob(560000000)), (2, zeroblob(560000000));", table(mode));
        let case = Case::new(&large, "DELETE FROM t WHERE id = 2; VACUUM");
        let mut opener = Opener::start(&case.live);
        assert_eq!(opener.ask("SELECT count(*) FROM t"), "1");
        assert!(case.overwrite().unwrap() > 100_000);
        assert_eq!(opener.ask("SELECT count(*) FROM t"), "2");
        case.is_image();
        let small = case.folder.path().join("small");
        run(&case.live, "DELETE FROM t; VACUUM");
        case.take_image(&small);
        run(&case.live, "INSERT INTO t VALUES(1, zeroblob(560000000)), (2, zeroblob(560000000))");
        let case = Case { image: small, ..case };
        case.overwrite().unwrap();
        case.is_image();
        assert_eq!(opener.ask("SELECT count(*) FROM t"), "0");
    }
}

#[test]
fn what_sqlite_can_not_begin_with_is_unopenable() {
    for (at, with) in [(0, 0xee), (16, 0xff), (19, 0x09), (21, 0x01), (47, 0x09)] {
        let case = Case::new(&table("delete"), "");
        let mut bytes = fs::read(&case.live).unwrap();
        bytes[at] = with;
        fs::write(&case.live, &bytes).unwrap();
        let (_, not_held) = case.hold(PATIENCE);
        assert_eq!(not_held.first().map(|n| n.obstacle), Some(Obstacle::Unopenable), "byte {at}");
        assert_eq!(fs::read(&case.live).unwrap(), bytes);
    }
}

/// A table with that name would take what is meant for the pages.
#[test]
fn a_database_that_takes_the_name_of_the_page_table_is_not_written_to() {
    let case = Case::new(&table("delete"), "");
    run(
        &case.live,
        "PRAGMA writable_schema=ON; CREATE TABLE x(pgno, data, schema);
         UPDATE sqlite_schema SET name='sqlite_dbpage', tbl_name='sqlite_dbpage',
           sql='CREATE TABLE sqlite_dbpage(pgno, data, schema)' WHERE name='x'",
    );
    let (_, not_held) = case.hold(PATIENCE);
    assert_eq!(not_held.first().map(|n| n.obstacle), Some(Obstacle::Unopenable), "{not_held:?}");
}

#[test]
fn an_image_that_is_no_whole_database_is_refused() {
    let case = Case::new(&(table("wal") + &rows(20, 1)), "DELETE FROM t");
    for bytes in [&fs::read(&case.image).unwrap()[..5000], b"SQLite format 3\0", &[0; 4096]] {
        fs::write(&case.image, bytes).unwrap();
        let mut held = case.held(PATIENCE);
        assert!(held.write(&safe("live.db"), &case.image, &|_| ()).is_err());
        assert!(held.commit().unwrap_err().committed.is_empty());
        assert_eq!(value(&case.live, "SELECT count(*) FROM t"), "0");
    }
}

#[cfg(unix)]
#[test]
fn two_names_of_one_file_are_one_lock() {
    let case = Case::new(&(table("wal") + &rows(20, 1)), "DELETE FROM t");
    let link = case.folder.path().join("link.db");
    std::os::unix::fs::symlink(&case.live, &link).unwrap();
    let both = [(safe("live.db"), case.live.clone()), (safe("link.db"), link)];
    let (mut held, not_held) = hold(&both, SHORT).unwrap();
    assert!(not_held.is_empty());
    held.write(&safe("link.db"), &case.image, &|_| ()).unwrap();
    assert!(held.write(&safe("live.db"), &case.image, &|_| ()).is_err());
    held.commit().unwrap();
    case.is_image();
}
