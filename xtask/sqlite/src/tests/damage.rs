//! What is damaged, hostile or broken is found, and every change of a value shows.

use super::*;

/// Whether a dump is made that passes for a whole one.
fn is_dumped(image: &Path) -> bool {
    let mut gather = Gather::default();
    let whole = dump(image, &mut gather).is_ok_and(|dumped| dumped.gaps.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&mut gather.sql.as_slice(), &folder.path().join("new")).is_ok();
    assert_eq!(whole, loaded);
    whole
}

#[test]
fn damage_is_found_and_no_dump_of_it_passes_for_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let made = Connection::open(&file).unwrap();
    made.execute_batch(
        "CREATE TABLE t(a); CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000)
         INSERT INTO t SELECT hex(randomblob(40)) FROM n;
         PRAGMA foreign_keys=OFF; INSERT INTO c VALUES(5), (6); CREATE TABLE k(a, b); CREATE INDEX ki ON k(a);",
    )
    .unwrap();
    drop(made);
    let report = check(&file).unwrap();
    assert!(report.is_sound() && report.foreign_keys == 2);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 4096 / 2 * 4096;
    bytes[middle..middle + 4096].fill(0xee);
    let damaged = folder.path().join("damaged.db");
    fs::write(&damaged, &bytes).unwrap();
    assert!(!check(&damaged).unwrap().is_sound());
    assert!(!is_dumped(&damaged));
    assert!(facts(&damaged).is_err());
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    assert!(!check(&damaged).unwrap().is_sound());
    assert!(!is_dumped(&damaged));
    fs::write(&damaged, "SQLite format 3\0 and no more").unwrap();
    assert!(!check(&damaged).unwrap().is_sound());
    assert!(!is_dumped(&damaged));
}

#[test]
fn a_full_text_index_that_lost_its_content_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let made = Connection::open(&file).unwrap();
    made.execute_batch(
        "PRAGMA journal_mode=wal; CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('one'), ('two');",
    )
    .unwrap();
    drop(made);
    assert!(check(&file).unwrap().is_sound());
    let made = Connection::open(&file).unwrap();
    made.execute_batch("UPDATE f_content SET c0 = 'three' WHERE id = 2").unwrap();
    drop(made);
    let before = Digest::of(&fs::read(&file).unwrap());
    assert!(!check(&file).unwrap().is_sound());
    assert_eq!(Digest::of(&fs::read(&file).unwrap()), before);
}

#[test]
fn every_single_change_changes_the_logical_hash() {
    let folder = tempfile::tempdir().unwrap();
    let hash = |sql: &str| {
        let file = tempfile::Builder::new().tempfile_in(folder.path()).unwrap().into_temp_path();
        let made = Connection::open(&file).unwrap();
        made.execute_batch(
            "CREATE TABLE t(a, b); INSERT INTO t(rowid, a, b) VALUES(1, 1, 'x'), (2, 2, NULL);",
        )
        .unwrap();
        made.execute_batch(sql).unwrap();
        drop(made);
        facts(&file).unwrap().logical
    };
    let same = hash("");
    assert_eq!(
        hash(
            "CREATE TABLE u(a); DROP TABLE u; DELETE FROM t WHERE a=2; INSERT INTO t VALUES(2, NULL); VACUUM"
        ),
        same
    );
    for change in [
        "UPDATE t SET a = 1.0 WHERE a = 1",
        "UPDATE t SET a = '1' WHERE a = 1",
        "UPDATE t SET b = x'78' WHERE a = 1",
        "UPDATE t SET b = '' WHERE a = 2",
        "UPDATE t SET rowid = 3 WHERE a = 2",
        "UPDATE t SET a = b, b = a",
        "DELETE FROM t WHERE a = 2",
        "CREATE INDEX i ON t(a)",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 1",
        "ANALYZE",
    ] {
        assert_ne!(hash(change), same, "{change}");
    }
}

#[test]
fn a_hostile_or_broken_dump_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("new.db");
    let victim = folder.path().join("victim.db");
    Connection::open(&victim).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    let try_load = |sql: &str| {
        let error = load(&mut sql.as_bytes(), &to).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{sql}: something is left");
        format!("{error:#}")
    };
    let attach = format!("BEGIN;\nCOMMIT;\n\nATTACH '{}' AS v;", victim.display());
    assert!(try_load(&attach).contains("line 4"), "{}", try_load(&attach));
    for bad in [
        "",
        "BEGIN; CREATE TABLE t(a);",
        "BEGIN; CREATE TABLE t(a); COMM",
        "BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES('; COMMIT;",
        "BEGIN; CREATE TABLE t(a); ROLLBACK; -- due to errors\n",
        "BEGIN; CREATE TABLE t(a); INSERT INTO nowhere VALUES(1); COMMIT;",
        "BEGIN; SELECT load_extension('x'); COMMIT;",
        "BEGIN; CREATE TABLE t(a DEFAULT (load_extension('x'))); INSERT INTO t DEFAULT VALUES; COMMIT;",
        "BEGIN; COMMIT; PRAGMA temp_store_directory='/';",
        "BEGIN; COMMIT; PRAGMA foreign_keys=ON;",
        "BEGIN; COMMIT; PRAGMA journal_mode=MEMORY;",
        "BEGIN; COMMIT; VACUUM INTO 'elsewhere.db';",
        "BEGIN; CREATE VIRTUAL TABLE d USING dbstat; COMMIT;",
        "BEGIN; UPDATE sqlite_dbpage SET data=zeroblob(4096); COMMIT;",
        "BEGIN; CREATE TABLE t(a); DROP TABLE t; COMMIT;",
    ] {
        try_load(bad);
    }
    load(&mut "BEGIN; CREATE TABLE t(a);; -- nothing\n; INSERT INTO t VALUES(1); COMMIT;".as_bytes(), &to)
        .unwrap();
    assert_eq!(facts(&to).unwrap().rows(), 1);
    fs::remove_file(&to).unwrap();
    fs::write(&to, "mine").unwrap();
    assert!(load(&mut "BEGIN;COMMIT;".as_bytes(), &to).is_err());
    assert_eq!(fs::read(&to).unwrap(), b"mine");
}
#[test]
fn an_index_that_does_not_fit_is_damage_and_a_broken_rule_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let made = Connection::open(&file).unwrap();
    made.execute_batch(
        "CREATE TABLE t(a, b); CREATE INDEX i ON t(a); INSERT INTO t VALUES(1, NULL);
         PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE TABLE t(a, b NOT NULL)' WHERE name='t';",
    )
    .unwrap();
    let report = check(&file).unwrap();
    assert!(report.is_sound() && report.violations.len() == 1, "{report:?}");
    made.execute_batch("UPDATE sqlite_schema SET sql='CREATE INDEX i ON t(b)' WHERE name='i'").unwrap();
    assert!(!check(&file).unwrap().is_sound());
}

/// Not part of the suite: `cargo test --bin xtask speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let folder = tempfile::tempdir().unwrap();
    for (name, sql) in [
        ("text", "SELECT i, replace(hex(randomblob(100)), 'A', ' it''s ') , i * 0.37 FROM n LIMIT 90000"),
        ("blob", "SELECT i, 'x', randomblob(1536) FROM n LIMIT 13000"),
    ] {
        let file = folder.path().join(name);
        let made = Connection::open(&file).unwrap();
        made.execute_batch(&format!(
            "CREATE TABLE t(a, b, c); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) INSERT INTO t {sql}"
        ))
        .unwrap();
        drop(made);
        let size = fs::metadata(&file).unwrap().len() as f64 / 1e6;
        let timed = |what: &str, work: &mut dyn FnMut()| {
            let start = std::time::Instant::now();
            work();
            let seconds = start.elapsed().as_secs_f64();
            eprintln!("{name} {what}: {size:.0} MB in {seconds:.3} s, {:.0} MB/s", size / seconds);
        };
        timed("facts", &mut || drop(facts(&file).unwrap()));
        let sql = dumped(&file).sql;
        timed("dump", &mut || drop(dump(&file, &mut Discard).unwrap()));
        timed("shell .dump", &mut || drop(Command::new("sqlite3").arg(&file).arg(".dump").output().unwrap()));
        timed("load", &mut || load(&mut sql.as_slice(), &folder.path().join("new")).map(|_| ()).unwrap());
        timed("shell load", &mut || assert!(shell_load(&sql, &folder.path().join("shell"))));
        let outcome = pinned(&[(SafePath::new("x").unwrap(), file.clone())]);
        timed("image", &mut || outcome.pinned[0].copy_image(&folder.path().join("image"), &|_| ()).unwrap());
        for used in ["new", "shell", "image"] {
            fs::remove_file(folder.path().join(used)).unwrap();
        }
    }
}
