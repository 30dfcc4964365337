//! A database that is damaged when a backup is taken: the backup is taken all the same, says which tables and
//! what to do, and counts as a good one nowhere. And what proves that a dump is the database: dumps that were
//! changed are found out, and databases that need what only their application has are saved and said.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use support::dated::{project, run, store};
use support::forge::{self, Forge};
use support::framework::write;
use support::{Sandbox, archives};

/// Codes and paths of all findings, problems with `!`.
fn codes(document: &Value) -> Vec<String> {
    let findings = document["findings"].as_array().unwrap();
    let mark = |finding: &Value| if finding["level"] == "problem" { "!" } else { "" };
    findings.iter().map(|one| format!("{}{}", mark(one), one["code"].as_str().unwrap())).collect()
}

fn finding<'a>(document: &'a Value, code: &str) -> (&'a str, &'a str) {
    let all = document["findings"].as_array().unwrap();
    let one = all.iter().find(|one| one["code"] == code).unwrap_or_else(|| panic!("no {code}: {document}"));
    (one["message"].as_str().unwrap(), one["hint"].as_str().unwrap_or_default())
}

/// Three tables, of which one can be damaged.
fn big_database(file: &Path) {
    let connection = Connection::open(file).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE whole(a); CREATE TABLE notes(a); CREATE TABLE rest(a);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000) INSERT INTO notes SELECT 'note number ' || i FROM n;
             INSERT INTO whole SELECT 'w' || a FROM notes; INSERT INTO rest SELECT 'r' || a FROM notes;",
        )
        .unwrap();
}

/// Overwrites the page of a database that holds a text.
fn damage(file: &Path, text: &[u8]) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.chunks(4096).position(|page| page.windows(text.len()).any(|w| w == text)).unwrap() * 4096;
    bytes[at..at + 4096].fill(0xee);
    fs::write(file, bytes).unwrap();
}

fn latest(sandbox: &Sandbox) -> String {
    run(sandbox, &["show", "latest", "--json"]).ok().json()["manifest"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_damaged_database_is_saved_as_far_as_it_goes_and_counts_as_good_nowhere() {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    write(
        &project,
        "Cargo.toml",
        "[workspace.metadata.backup]\nkeep = { daily = 1, weekly = 1, monthly = 1 }\n",
    );
    fs::create_dir(project.join("memory")).unwrap();
    let file = project.join("memory/it's.db");
    big_database(&file);
    big_database(&project.join("other.db"));
    let good = run(&sandbox, &["backup", "--kind", "scheduled", "--json"]).ok().json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    damage(&file, b"\x2dnote number 1234"); // no other table has it after its type
    let bytes = fs::read(&file).unwrap();

    let output = run(&sandbox, &["backup", "--kind", "scheduled", "--json"]).code(3);
    let document = output.json();
    let id = document["id"].as_str().unwrap().to_owned();
    assert_eq!(codes(&document), ["no-git", "!database-damaged", "!dump-partial"], "{document}");
    let (message, hint) = finding(&document, "database-damaged");
    assert!(message.contains("in the table notes: "), "{message}");
    assert!(hint.contains("cargo xtask salvage 'memory/it's.db' --to FILE"), "{hint}");
    assert!(hint.ends_with("cargo xtask restore latest --only 'memory/it's.db'"), "{hint}");
    let (message, _) = finding(&document, "dump-partial");
    assert!(message.contains("of the table notes it holds the"), "{message}");
    let databases = document["manifest"]["databases"].as_array().unwrap();
    let [line, other] = databases.as_slice() else { panic!("{databases:?}") };
    assert_eq!(line["damaged_tables"], serde_json::json!(["notes"]));
    assert_eq!((&line["dump"], &line["dump_partial"]), (&Value::Bool(true), &Value::Bool(true)));
    assert!(other["dump"] == true && other["dump_partial"].is_null() && other["damage"].is_null(), "{other}");

    // Nowhere is it a good one.
    assert_eq!(latest(&sandbox), good);
    let status = run(&sandbox, &["status", "--json"]).code(3).json();
    assert_eq!(
        (&status["newest"]["id"], &status["backups"]["damaged"]),
        (&Value::from(good.as_str()), &Value::from(1))
    );
    let list = run(&sandbox, &["list"]).ok().stdout;
    assert!(list.lines().any(|line| line.contains(&id) && line.contains("DAMAGED")), "{list}");
    let shown = run(&sandbox, &["show", &id]).ok().stdout;
    assert!(shown.contains("with a dump of what could be read") && shown.contains("DAMAGED"), "{shown}");
    for option in ["--quiet", "--full-test"] {
        let verified = run(&sandbox, &["verify", &id, option, "--json"]).code(3).json();
        let damage = verified["backups"][0]["damage"].as_array().unwrap().clone();
        assert_eq!(damage.len(), 1, "{verified}");
        assert!(
            damage[0].as_str().unwrap().contains("was damaged or unreadable when it was saved"),
            "{verified}"
        );
    }

    // Its dump is never taken for a whole one; its image comes back as it was; the other database is untouched
    // by all that.
    let to = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    let output =
        run(&sandbox, &["restore", &id, "--sql-only", "--only", "memory", "--to", &to("sql")]).code(1);
    assert!(output.stderr.contains("the SQL dump of memory/it's.db has gaps"), "{output:?}");
    assert!(!sandbox.path("sql").exists());
    run(&sandbox, &["restore", &id, "--sql-only", "--only", "other.db", "--to", &to("other")]).ok();
    run(&sandbox, &["restore", &id, "--to", &to("back")]).code(3).says("it was damaged when it was saved");
    assert!(fs::read(sandbox.path("back/memory/it's.db")).unwrap() == bytes);
    let archive = store(&sandbox).join(format!("{id}.tar.gz"));
    let dump = Forge::open(&archive).record("backup/sql/memory/it's.db.sql").content.clone();
    let dump = String::from_utf8(dump).unwrap();
    let rows = |table: &str| dump.matches(&format!("INSERT INTO \"{table}\"")).count();
    assert_eq!((rows("whole"), rows("rest")), (2000, 2000));
    assert!((1..1234).contains(&rows("notes")) && !dump.contains("COMMIT;"), "{}", rows("notes"));

    // Rotation: one more damaged one, and the good one is still there. It goes with the next good one.
    run(&sandbox, &["backup", "--kind", "scheduled"]).code(3);
    run(&sandbox, &["prune"]).ok();
    assert_eq!(latest(&sandbox), good);
    let hinted = run(&sandbox, &["restore", "latest", "--only", "memory/it's.db", "--force", "--no-backup"]);
    hinted.ok();
    let checked =
        "SELECT (SELECT integrity_check FROM pragma_integrity_check) || (SELECT count(*) FROM notes)";
    let back: String = Connection::open(&file).unwrap().query_row(checked, [], |row| row.get(0)).unwrap();
    assert_eq!(back, "ok2000");
    let newest = run(&sandbox, &["backup", "--kind", "scheduled", "--json"]).ok().json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(latest(&sandbox), newest);
    let left: Vec<String> =
        archives(&store(&sandbox)).iter().map(|archive| archive.display().to_string()).collect();
    assert!(left.iter().all(|archive| !archive.ends_with(&format!("{good}.tar.gz"))), "{left:?}");
}

#[test]
fn a_dump_that_makes_another_database_is_found_by_a_full_test_and_never_restored() {
    let (sandbox, _) = project();
    let id = run(&sandbox, &["backup", "--json"]).ok().json()["id"].as_str().unwrap().to_owned();
    let archive = store(&sandbox).join(format!("{id}.tar.gz"));
    let good = fs::read(&archive).unwrap();
    run(&sandbox, &["verify", &id, "--full-test"]).ok();
    let target = sandbox.path("target");
    for (from, to, said) in [
        // A value, its type, a row, a rowid, a number of the header, an index more, and no end.
        ("VALUES(2,2)", "VALUES(2,3)", "does not hold the saved values"),
        ("VALUES(2,2)", "VALUES(2,2.0)", "does not hold the saved values"),
        ("INSERT INTO \"t\"(rowid,\"a\") VALUES(2,2);\n", "", "has 2 rows in t, not 3"),
        ("VALUES(3,3)", "VALUES(4,3)", "does not hold the saved values"),
        ("PRAGMA user_version=0", "PRAGMA user_version=1", "does not hold the saved values"),
        (
            "PRAGMA user_version=0",
            "CREATE INDEX i ON t(a);PRAGMA user_version=0",
            "does not hold the saved values",
        ),
        ("COMMIT;\n", "", "without its COMMIT"),
    ] {
        fs::write(&archive, &good).unwrap();
        let mut forge = Forge::open(&archive);
        let record = forge.record("backup/sql/index.db.sql");
        let sql = String::from_utf8(record.content.clone()).unwrap();
        assert!(sql.contains(from), "{sql}");
        record.replace(sql.replace(from, to).as_bytes());
        forge::plant(&archive, &forge.bytes());
        // What is checked without a restore fits together.
        run(&sandbox, &["verify", &id]).ok();
        let output = run(&sandbox, &["verify", &id, "--full-test"]).code(3);
        assert!(output.stdout.contains(said), "{from} → {to}: {output:?}");
        let words = ["restore", &id, "--sql-only", "--to", target.to_str().unwrap()];
        run(&sandbox, &words).code(1).says(said);
        assert!(!target.exists());
    }
}

#[test]
fn what_only_the_application_has_is_saved_and_said() {
    let sandbox = Sandbox::new();
    let file = sandbox.project().join("app.db");
    let connection = Connection::open(&file).unwrap();
    connection.create_collation("uca", |a: &str, b: &str| b.cmp(a)).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE words(w TEXT COLLATE uca PRIMARY KEY, n) WITHOUT ROWID; INSERT INTO words VALUES('a', 1), ('b', 2);
             CREATE TABLE t(a COLLATE uca); CREATE INDEX i ON t(a); INSERT INTO t VALUES('x'), ('y');
             CREATE TABLE vec_rows(id INTEGER PRIMARY KEY, v); INSERT INTO vec_rows VALUES(1, x'00');
             PRAGMA writable_schema=ON; INSERT INTO sqlite_schema VALUES('table', 'vec', 'vec', 0, 'CREATE VIRTUAL TABLE vec USING vec0(a)');",
        )
        .unwrap();
    drop(connection);
    let document = run(&sandbox, &["backup", "--json"]).ok().json();
    let said = ["database-unchecked", "dump-without-index", "dump-order", "module-missing"];
    let told: Vec<String> =
        codes(&document).into_iter().filter(|code| said.contains(&code.as_str())).collect();
    assert_eq!(told, said, "{document}");
    assert!(finding(&document, "dump-without-index").0.contains("the index i of the table t"));
    assert!(finding(&document, "dump-order").0.contains("keys of the table words are in the order of uca"));
    let (module, _) = finding(&document, "module-missing");
    assert!(module.contains("vec0") && module.contains("as the tables vec_rows"), "{module}");
    assert_eq!(document["manifest"]["databases"][0]["facts"]["tables"].as_array().unwrap().len(), 3);
    // It is a good backup, both ways back are proven, and from the dump comes what is in it.
    run(&sandbox, &["verify", "--full-test"]).ok();
    let target = sandbox.path("target");
    run(&sandbox, &["restore", "latest", "--to", target.to_str().unwrap()]).ok();
    assert!(fs::read(target.join("app.db")).unwrap() == fs::read(&file).unwrap());
    let words =
        ["restore", "latest", "--sql-only", "--to", sandbox.path("sql").to_str().unwrap()].map(str::to_owned);
    run(&sandbox, &words.each_ref().map(String::as_str)).ok();
    let loaded = Connection::open(sandbox.path("sql/app.db")).unwrap();
    loaded.create_collation("uca", |a: &str, b: &str| b.cmp(a)).unwrap();
    loaded.execute_batch("REINDEX; CREATE INDEX i ON t(a)").unwrap();
    let count: i64 =
        loaded.query_row("SELECT sum(n) FROM words WHERE w > 'a' OR w <= 'a'", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 3);
}

#[test]
fn names_that_are_no_text_cost_neither_the_backup_nor_the_silence() {
    let sandbox = Sandbox::new();
    let file = sandbox.project().join("latin.db");
    let connection = Connection::open(&file).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE good(a); INSERT INTO good VALUES(1); CREATE TABLE cafe(a); INSERT INTO cafe VALUES(2); PRAGMA writable_schema=ON;
             UPDATE sqlite_schema SET name=CAST(x'636166e9' AS TEXT), tbl_name=CAST(x'636166e9' AS TEXT), sql=CAST(x'435245415445205441424c4520636166e9286129' AS TEXT) WHERE name='cafe';",
        )
        .unwrap();
    drop(connection);
    let document = run(&sandbox, &["backup", "--json"]).code(3).json();
    let told = codes(&document);
    assert!(
        told.starts_with(&["no-git", "!database-unread", "!dump-failed"].map(str::to_owned)),
        "{document}"
    );
    let (message, hint) = finding(&document, "database-unread");
    assert!(
        message.contains("SQLite knows no table of that name") && hint.ends_with("cargo xtask backup"),
        "{message}: {hint}"
    );
    let target = sandbox.path("target");
    let id = document["id"].as_str().unwrap();
    run(&sandbox, &["restore", id, "--to", target.to_str().unwrap()]);
    assert!(fs::read(target.join("latin.db")).unwrap() == fs::read(&file).unwrap());
}

#[test]
fn a_schema_with_a_line_that_makes_no_sense_is_saved_as_an_image_and_named() {
    let sandbox = Sandbox::new();
    let file = sandbox.project().join("a.db");
    big_database(&file);
    let connection = Connection::open(&file).unwrap();
    let edit = "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE TABLE rest(a NONSENSE((' WHERE name='rest'";
    connection.execute_batch(edit).unwrap();
    drop(connection);
    let before = fs::read(&file).unwrap();
    let document = run(&sandbox, &["backup", "--json"]).code(3).json();
    let database = &document["manifest"]["databases"][0];
    assert_eq!((&database["form"], &database["damaged_tables"][0]), (&"image".into(), &"rest".into()));
    assert!(
        finding(&document, "database-damaged").0.contains("in the table rest: malformed database schema")
    );
    assert!(finding(&document, "dump-partial").0.contains("of the table rest it holds the 0 rows"));
    assert!(fs::read(&file).unwrap() == before);
    run(&sandbox, &["show", "latest"]).code(4);
    let (id, target) = (document["id"].as_str().unwrap(), sandbox.path("target"));
    run(&sandbox, &["restore", id, "--to", target.to_str().unwrap()]).code(3);
    assert!(fs::read(target.join("a.db")).unwrap() == before);
    // Put over it in place, a good one is back, and the bad one can be had again.
    fs::remove_file(&file).unwrap();
    big_database(&file);
    let good = run(&sandbox, &["backup", "--json"]).ok().json()["id"].as_str().unwrap().to_owned();
    fs::write(&file, &before).unwrap();
    run(&sandbox, &["restore", &good, "--force"]).ok();
    let connection = Connection::open(&file).unwrap();
    assert_eq!(
        connection.query_row("SELECT count(*) FROM rest", [], |row| row.get::<_, i64>(0)).unwrap(),
        2000
    );
    drop(connection);
    run(&sandbox, &["undo", "--force"]);
    assert!(Connection::open(&file).unwrap().query_row("SELECT count(*) FROM rest", [], |_| Ok(())).is_err());
}
