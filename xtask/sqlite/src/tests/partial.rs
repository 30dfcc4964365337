//! Dumps of damaged databases: as far as it goes, and never passing for a whole one.

use super::*;

/// A database with three tables and an index on one, and where the pages of each table begin.
fn make(file: &Path) {
    let made = Connection::open(file).unwrap();
    made.execute_batch(
        "CREATE TABLE first(a); CREATE TABLE \"mid\ndle\"(id INTEGER PRIMARY KEY, a); CREATE TABLE last(a UNIQUE);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 900)
         INSERT INTO first SELECT 'first ' || i FROM n;
         INSERT INTO \"mid\ndle\" SELECT rowid, a || hex(zeroblob(60)) FROM first; INSERT INTO last SELECT 'last ' || rowid FROM first;
         CREATE INDEX i ON first(a); CREATE VIEW v AS SELECT 1; PRAGMA user_version=9;",
    )
    .unwrap();
}

/// Overwrites the first page that holds this text: tables come before their indexes.
fn damage(file: &Path, text: &str) {
    let mut bytes = fs::read(file).unwrap();
    let has = |page: &[u8]| page.windows(text.len()).any(|window| window == text.as_bytes());
    let at = bytes.chunks(4096).position(has).unwrap() * 4096;
    bytes[at..at + 4096].fill(0xee);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_dump_of_a_damaged_table_holds_all_others_and_can_not_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    make(&file);
    assert!(check(&file).unwrap().tables.is_empty());
    damage(&file, &format!("first 789{}", "0".repeat(100)));
    let report = check(&file).unwrap();
    assert_eq!(report.tables, ["mid\ndle"], "{report:?}");
    let mut gather = Gather::default();
    let dumped = dump(&file, &mut gather).unwrap();
    assert!(dumped.facts.is_none());
    let [gap] = dumped.gaps.as_slice() else { panic!("{:?}", dumped.gaps) };
    assert!(gap.table == "mid\ndle" && gap.rows > 100 && gap.rows < 789, "{gap:?}");
    let sql = String::from_utf8(gather.sql).unwrap();
    let count = |table: &str| sql.matches(&format!("INSERT INTO \"{table}\"")).count() as u64;
    assert_eq!((count("first"), count("mid\ndle"), count("last")), (900, gap.rows, 900));
    assert!(sql.contains("CREATE INDEX i") && sql.contains("CREATE VIEW v") && !sql.contains("COMMIT;"));

    // Neither we nor the shell take it for a database, and the shell says so in its exit code.
    let error = load(&mut sql.as_bytes(), &folder.path().join("ours.db")).unwrap_err();
    assert!(format!("{error:#}").contains("this dump is not whole"), "{error:#}");
    for arguments in [&["-bail"][..], &[]] {
        let to = folder.path().join("theirs.db");
        let child = Command::new("sqlite3")
            .args(arguments)
            .arg(&to)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("SKIPPED: there is no sqlite3 shell on this system");
            return;
        };
        let mut stdin = child.stdin.take().unwrap();
        let text = sql.clone();
        let feeding = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("this dump is not whole"), "{said}");
        let tables: i64 = Connection::open(&to)
            .unwrap()
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
        fs::remove_file(&to).unwrap();
    }

    // Whoever wants what is there all the same, ends it himself.
    let (rows, _) = sql.rsplit_once("INSERT INTO").unwrap();
    let forced = folder.path().join("forced.db");
    load(&mut format!("{rows}COMMIT;").as_bytes(), &forced).unwrap();
    let forced = facts(&forced).unwrap();
    assert_eq!(forced.tables.iter().map(|table| table.rows).sum::<u64>(), 1800 + gap.rows);
}

#[test]
fn damage_in_an_index_alone_names_its_table_and_leaves_the_dump_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    make(&file);
    let whole = dumped(&file).sql;
    let made = Connection::open(&file).unwrap();
    let root: i64 =
        made.query_row("SELECT rootpage FROM sqlite_schema WHERE name='i'", [], |row| row.get(0)).unwrap();
    drop(made);
    let mut bytes = fs::read(&file).unwrap();
    let at = (root as usize - 1) * 4096;
    bytes[at..at + 4096].fill(0);
    fs::write(&file, bytes).unwrap();
    let report = check(&file).unwrap();
    assert_eq!(report.tables, ["first"], "{report:?}");
    assert!(dumped(&file).sql == whole);
}

#[test]
fn every_damaged_table_is_a_gap_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    make(&file);
    damage(&file, "first 789000");
    damage(&file, "last 30");
    let report = check(&file).unwrap();
    let mut gather = Gather::default();
    let dumped = dump(&file, &mut gather).unwrap();
    let gaps: Vec<&str> = dumped.gaps.iter().map(|gap| gap.table.as_str()).collect();
    assert_eq!(gaps, ["mid\ndle", "last"]);
    assert_eq!(report.tables, gaps, "{report:?}");
    assert!(load(&mut gather.sql.as_slice(), &folder.path().join("ours.db")).is_err());
}

/// Lines of a schema that SQLite does not understand keep it from every table; not so us.
#[test]
fn a_schema_with_a_line_that_makes_no_sense_costs_that_line_only() {
    for (edit, damaged, missing) in [
        ("UPDATE sqlite_schema SET sql='CREATE TABLE last(a NONSENSE(((' WHERE name='last'", "last", 900),
        ("UPDATE sqlite_schema SET sql=NULL WHERE name='last'", "last", 900),
        ("DELETE FROM sqlite_schema WHERE name='first'", "sqlite_schema", 900), // its index is left
        ("UPDATE sqlite_schema SET sql='CREATE VIEW v AS SELEC' WHERE name='v'", "sqlite_schema", 0),
        (
            "INSERT INTO sqlite_schema VALUES('trigger','tr','gone',0,'CREATE TRIGGER tr AFTER INSERT ON gone BEGIN SELECT 1; END')",
            "sqlite_schema",
            0,
        ),
    ] {
        let project = tempfile::tempdir().unwrap();
        let file = project.path().join("a.db");
        make(&file);
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch(&format!("PRAGMA writable_schema=ON; {edit}")).unwrap();
        drop(connection);
        let before = fs::read(&file).unwrap();
        let outcome = pinned(&[(SafePath::new("a.db").unwrap(), file.clone())]);
        assert!(outcome.unreadable.is_empty(), "{edit}: {:?}", outcome.unreadable);
        let (folder, files) = images(&outcome);
        drop(outcome);
        assert!(fs::read(&file).unwrap() == before && fs::read(&files[0]).unwrap() == before, "{edit}");
        let report = check(&files[0]).unwrap();
        assert!(!report.is_sound(), "{edit}");
        let mut gather = Gather::default();
        let dumped = dump(&files[0], &mut gather).unwrap_or_else(|error| panic!("{edit}: {error:#}"));
        let gaps: Vec<&str> = dumped.gaps.iter().map(|gap| gap.table.as_str()).collect();
        assert_eq!(gaps, [damaged], "{edit}");
        assert_eq!(
            report.tables.iter().any(|table| table == damaged),
            damaged == "last",
            "{edit}: {report:?}"
        );
        assert_eq!(gather.cuts.len(), 2700 - missing, "{edit}");
        assert!(load(&mut gather.sql.as_slice(), &folder.path().join("ours.db")).is_err(), "{edit}");
    }
}
