//! Honest dumps that look like hostile ones are loaded: large rows, much that is computed, large schemas, dumps of
//! the `sqlite3` shell. Memory stays flat.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;

use super::child::load_in_child;
use crate::check::check;
use crate::facts::facts;
use crate::load::load;

/// Loads a dump in this process, and opens it.
#[track_caller]
fn loaded(folder: &Path, sql: &str) -> Connection {
    let to = folder.join("new.db");
    load(&mut sql.as_bytes(), &to).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(check(&to).unwrap().is_sound());
    Connection::open(to).unwrap()
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn large_documents_with_columns_and_indexes_computed_from_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut sql = "BEGIN;\nCREATE TABLE d(id INTEGER PRIMARY KEY, doc TEXT CHECK (json_valid(doc) AND doc LIKE '{%}'),
        kind AS (json_extract(doc, '$.kind')), words AS (length(doc) - length(replace(doc, ' ', ''))) STORED,
        twice AS (doc || doc), big AS (upper(hex(substr(doc, 1, 1000)))) STORED, at DEFAULT (datetime('now')));\n"
        .to_owned();
    for (id, bytes) in [(1, 10), (2, 3_000_000), (3, 1_000)] {
        let text = "word ".repeat(bytes / 5);
        writeln!(sql, "INSERT INTO \"d\"(\"id\",\"doc\",\"at\") VALUES({id},'{{\"kind\":\"k{id}\",\"text\":\"{text}\"}}','now');").unwrap();
    }
    sql.push_str("CREATE INDEX by_kind ON d(kind);\nCREATE INDEX low ON d(lower(doc) COLLATE NOCASE);\n");
    sql.push_str("CREATE INDEX some ON d(instr(doc, 'x'), twice) WHERE instr(doc, 'word') > 0;\nCOMMIT;\n");
    let connection = loaded(folder.path(), &sql);
    assert_eq!(number(&connection, "SELECT sum(words) FROM d"), 2 + 600_000 + 200);
    assert_eq!(number(&connection, "SELECT count(*) FROM d WHERE kind = 'k2'"), 1);
}

#[test]
fn schemas_as_large_as_they_get() {
    let folder = tempfile::tempdir().unwrap();
    let mut sql = "BEGIN;\n".to_owned();
    let list = |range: std::ops::Range<usize>, item: fn(usize) -> String| -> String {
        range.map(item).collect::<Vec<_>>().join(",")
    };
    writeln!(sql, "CREATE TABLE wide({});", list(0..2000, |n| format!("c{n}"))).unwrap();
    writeln!(sql, "INSERT INTO wide VALUES({});", list(0..2000, |n| format!("'{n}'"))).unwrap();
    let columns = list(0..300, |n| format!("g{n} AS (a || '{n}') STORED, CHECK (length(g{n}) < 999)"));
    writeln!(sql, "CREATE TABLE computed(a, {});", columns.replace(", CHECK", " CHECK")).unwrap();
    writeln!(sql, "INSERT INTO computed(a) VALUES('{}');", "x".repeat(100)).unwrap();
    for n in 0..2000 {
        writeln!(
            sql,
            "CREATE TABLE t{n}(a INTEGER PRIMARY KEY, b TEXT UNIQUE);\nINSERT INTO t{n} VALUES(1,'x');"
        )
        .unwrap();
    }
    for n in 0..500 {
        writeln!(sql, "CREATE INDEX i{n} ON wide(c{n}, c{});", n + 1).unwrap();
    }
    writeln!(sql, "CREATE VIEW long AS SELECT 1 WHERE 1 IN ({});", list(0..90_000, |n| n.to_string()))
        .unwrap();
    sql.push_str("CREATE VIEW endless AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x FROM c;\n");
    sql.push_str("CREATE TRIGGER r AFTER INSERT ON t1 BEGIN INSERT INTO t2 SELECT randomblob(x), x FROM endless; END;\n");
    sql.push_str("CREATE VIEW itself AS SELECT * FROM itself;\nCOMMIT;\n");
    let connection = loaded(folder.path(), &sql);
    assert_eq!(number(&connection, "SELECT count(*) FROM sqlite_schema"), 2 + 2 * 2000 + 500 + 4);
}

/// What a dump does that has no other way to make a schema: a table of another kind takes the rows, and its statement
/// is replaced afterwards.
#[test]
fn a_schema_that_is_put_right_after_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(200_000);
    let connection = loaded(
        folder.path(),
        &format!(
            "PRAGMA encoding='UTF-16le';\nBEGIN;\nCREATE TABLE t(a INTEGER);\nINSERT INTO t VALUES(1);\nDELETE FROM \"t\";
PRAGMA writable_schema=ON;\nUPDATE sqlite_schema SET sql='CREATE TABLE \"t\"(\"a\")' WHERE type='table' AND name IN ('t');
PRAGMA writable_schema=RESET;\nINSERT INTO t VALUES('one');\nCREATE TABLE \"stand-in 5\"(\"column 1\");
INSERT INTO \"stand-in 5\" VALUES('two');\nCREATE VIEW long AS SELECT '{long}';\nPRAGMA writable_schema=ON;
UPDATE sqlite_schema SET name='u',tbl_name='u',sql=replace('CREATE TABLE u(b,\\r c AS (b || b))','\\r',char(13)) WHERE type='table' AND name IN ('stand-in 5');
UPDATE sqlite_schema SET sql='CREATE TABLE \"t\"(\"a\" INT CHECK (a > 0 || a))' WHERE type='table' AND name='t';
PRAGMA writable_schema=RESET;\nCREATE INDEX i ON u(c);\nPRAGMA writable_schema=ON;
INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table','v','v',0,'CREATE VIRTUAL TABLE v USING gone(a)');
INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('view','w','w',0,CAST(X'43005200450041005400450020005600490045005700200077002000410053002000530045004C0045004300540020003100' AS TEXT));
PRAGMA writable_schema=OFF;\nCOMMIT;\nPRAGMA journal_mode=WAL;\n"
        ),
    );
    assert_eq!(number(&connection, "SELECT count(*) FROM t, u WHERE a = 'one' AND c = 'twotwo'"), 1);
}

#[test]
fn a_dump_of_the_shell_itself() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("old.db");
    let made = Connection::open(&from).unwrap();
    made.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT, b REAL, c BLOB);
         INSERT INTO t VALUES(1, 'it''s' || char(10, 13, 10) || '\\r', 0.1, x'00ff'), (7, NULL, 1e100, zeroblob(9));
         INSERT INTO t VALUES(8, 'x', 9e999, -0.5), (9, 3, 123456789.123456789, 5e-5); DELETE FROM t WHERE id = 9;
         CREATE INDEX i ON t(a); CREATE VIEW v AS SELECT * FROM t;
         CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = ';'; END; ANALYZE;
         CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('hello world');",
    )
    .unwrap();
    drop(made);
    let shell = Command::new("sqlite3").arg(&from).arg(".dump").stderr(Stdio::inherit()).output();
    let Ok(shell) = shell else {
        eprintln!("SKIPPED: there is no sqlite3 shell on this system");
        return;
    };
    let to = folder.path().join("new.db");
    load(&mut shell.stdout.as_slice(), &to).unwrap_or_else(|error| panic!("{error:#}"));
    let (from, to) = (facts(&from).unwrap(), facts(&to).unwrap());
    let count = |facts: &crate::base::facts::DatabaseFacts| -> Vec<(String, u64)> {
        facts.tables.iter().map(|table| (table.name.clone(), table.rows)).collect()
    };
    assert_eq!(count(&from), count(&to));
    let same = |name: &str| {
        let find = |facts: &crate::base::facts::DatabaseFacts| {
            facts.tables.iter().find(|table| table.name == name).unwrap().logical
        };
        find(&from) == find(&to)
    };
    assert!(same("t") && same("sqlite_sequence") && same("f_data"));
}

#[test]
fn memory_is_flat_but_for_the_longest_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut dump = std::io::BufWriter::new(fs::File::create(folder.path().join("dump.sql")).unwrap());
    dump.write_all(b"BEGIN;\nCREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE, b BLOB, c REAL);\n")
        .unwrap();
    let row = |n: u32| format!("INSERT INTO t VALUES({n},'{n:08} text','{}',0.5);\n", "x".repeat(900));
    (0..100_000).for_each(|n| dump.write_all(row(n).as_bytes()).unwrap());
    dump.write_all(b"CREATE INDEX i ON t(c, a, b);\nCOMMIT;\n").unwrap();
    dump.into_inner().unwrap();
    let told = load_in_child(folder.path());
    assert_eq!(told.error, None);
    assert!(told.memory < 64 << 20, "{} MiB", told.memory >> 20);
    fs::remove_file(folder.path().join("new.db")).unwrap();
    // Large values, in the form in which dumps have them: never more than twice what the largest takes.
    let digits = "C3".repeat(40 << 20);
    let text = "it''s long\\r".repeat(4 << 20);
    for values in [
        format!("1,X'{digits}','last',2.5"),
        format!("1,'text',X'{digits}',0.12345678901234567"),
        format!("1,CAST(X'{digits}' AS TEXT),NULL,7"),
        format!("1,'{text}',NULL,7"),
        format!("1,replace('{text}','\\r',char(13)),NULL,7"),
    ] {
        let sql = format!(
            "BEGIN;\nCREATE TABLE t(a,b,c,d);\nINSERT INTO t VALUES({values});\nINSERT INTO t VALUES(0,0,0,0);\nCOMMIT;\n"
        );
        fs::write(folder.path().join("dump.sql"), sql).unwrap();
        let told = load_in_child(folder.path());
        assert_eq!(told.error, None);
        assert!(told.memory < (64 << 20) + 2 * (44 << 20), "{} MiB: {}", told.memory >> 20, &values[..30]);
        let made = Connection::open(folder.path().join("new.db")).unwrap();
        let length =
            "SELECT max(length(CAST(coalesce(b, '') AS BLOB)), length(coalesce(c, ''))) FROM t WHERE a = 1";
        assert!(number(&made, length) >= 40 << 20 && number(&made, "SELECT count(*) FROM t") == 2);
        drop(made);
        fs::remove_file(folder.path().join("new.db")).unwrap();
    }
}
