//! A database for each feature that a dump can lose: dumped, loaded by the stock shell and by us, and the same
//! afterwards by our own facts and by a reading that shares no code with them.

use rusqlite::config::DbConfig;

use super::same::{assert_same, portrait};
use super::*;
use crate::dump::Dumped;

/// Names and the SQL that makes each, with foreign keys off.
const PLAIN: &[(&str, &str)] = &[
    (
        "auto_vacuum full",
        "PRAGMA auto_vacuum=1; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(9000)), (2); DELETE FROM t WHERE a=2;",
    ),
    ("auto_vacuum incremental", "PRAGMA auto_vacuum=2; CREATE TABLE t(a); INSERT INTO t VALUES(1); DROP TABLE t;"),
    ("header numbers", "PRAGMA user_version=2147483647; PRAGMA application_id=-2147483648; CREATE TABLE t(a);"),
    ("journal mode", "PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);"),
    ("pragmas alone", "PRAGMA user_version=5; PRAGMA application_id=6;"),
    (
        "foreign keys with violations",
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id, p REFERENCES p ON DELETE CASCADE, q REFERENCES gone(x));
         INSERT INTO p VALUES(1); INSERT INTO c VALUES(1, 1, 5), (2, 99, 6);
         CREATE TABLE self(a INTEGER PRIMARY KEY, b REFERENCES self DEFERRABLE INITIALLY DEFERRED); INSERT INTO self VALUES(1, 2), (2, 1), (3, 44);",
    ),
    (
        "triggers that would fire",
        "CREATE TABLE t(a); CREATE TABLE log(a); INSERT INTO t VALUES(1), (2); INSERT INTO log VALUES(7);
         CREATE TRIGGER b1 BEFORE INSERT ON t BEGIN SELECT raise(ABORT, 'no more'); END;
         CREATE TRIGGER a1 AFTER INSERT ON log BEGIN DELETE FROM log; DELETE FROM t; END;
         CREATE TRIGGER a2 AFTER INSERT ON t WHEN new.a IN (SELECT ';' FROM t) BEGIN INSERT INTO log VALUES(new.a); END;
         CREATE TRIGGER bad AFTER DELETE ON t BEGIN INSERT INTO not_there VALUES(no_such_function(1)); END;
         DROP TRIGGER b1; CREATE TRIGGER b2 BEFORE INSERT ON log BEGIN SELECT raise(IGNORE); END;",
    ),
    (
        "views on views",
        "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 2); CREATE VIEW z AS SELECT a AS x FROM t; CREATE VIEW a(q) AS SELECT x+1 FROM z;
         CREATE VIEW m AS SELECT * FROM a JOIN z ON q > x; CREATE VIEW lost AS SELECT * FROM no_table; CREATE VIEW f AS SELECT app_function(a) FROM t;
         CREATE TRIGGER ti INSTEAD OF INSERT ON m BEGIN INSERT INTO t VALUES(new.q, 0); END;
         CREATE TRIGGER td INSTEAD OF DELETE ON lost BEGIN SELECT 1; END;
         CREATE TRIGGER tu INSTEAD OF UPDATE OF x ON z BEGIN UPDATE t SET a = new.x WHERE a = old.x; END;
         CREATE VIEW circle1 AS SELECT * FROM circle2; CREATE VIEW circle2 AS SELECT * FROM circle1;",
    ),
    (
        "indexes of every kind",
        "CREATE TABLE t(a, b TEXT COLLATE NOCASE, c, d, UNIQUE(a, b), UNIQUE(c COLLATE RTRIM DESC));
         INSERT INTO t VALUES(1, 'x', 'q ', 1), (1, 'Y', NULL, 2), (2, 'x', NULL, NULL);
         CREATE INDEX part ON t(d) WHERE d > 1 AND b IS NOT 'z'; CREATE INDEX expr ON t(lower(b), a+1, substr(c, 2)) ;
         CREATE INDEX down ON t(a DESC, b COLLATE BINARY ASC, c DESC); CREATE UNIQUE INDEX un ON t(b, a, d) WHERE d;
         CREATE INDEX \"in\ndex\" ON t(\"d\");",
    ),
    (
        "generated columns",
        "CREATE TABLE g(a INTEGER PRIMARY KEY, b AS (a*2) VIRTUAL, c TEXT AS (hex(d)) STORED NOT NULL, d, e AS (c||b) UNIQUE);
         INSERT INTO g(a, d) VALUES(1, x'00ff'), (7, 'x'), (-3, 1.5); CREATE INDEX gi ON g(b); CREATE INDEX gj ON g(c, a) WHERE b > 2;
         CREATE TABLE w(k, v AS (k+1) STORED, x AS (v+1), PRIMARY KEY(k)) WITHOUT ROWID; INSERT INTO w(k) VALUES(1), (2.5);
         CREATE TABLE s(a INT, b INT AS (a) STORED, c TEXT GENERATED ALWAYS AS ('q') VIRTUAL) STRICT; INSERT INTO s(a) VALUES(4);",
    ),
    (
        "strict",
        "CREATE TABLE s(i INT, j INTEGER, r REAL, t TEXT, b BLOB, a ANY, PRIMARY KEY(t, a)) STRICT, WITHOUT ROWID;
         INSERT INTO s VALUES(1, -9223372036854775808, 5, 'x', x'', 1), (NULL, 2, -0.0, '1', x'00', '1'), (3, 3, 9e999, 'x', NULL, 1.5), (3, 3, 1e-310, 'x', NULL, x'31');
         CREATE TABLE k(id INTEGER PRIMARY KEY, v ANY) STRICT; INSERT INTO k VALUES(5, 5), (6, 5.0), (7, '5'), (8, x'35');",
    ),
    (
        "without rowid",
        "CREATE TABLE w(a, b TEXT COLLATE NOCASE, c, PRIMARY KEY(c DESC, b)) WITHOUT ROWID; INSERT INTO w VALUES(1, 'A', 1), (2, 'b', 1), (3, 'C', 2.5), (4, 'a', '1');
         CREATE TABLE v(rowid TEXT PRIMARY KEY, oid, _rowid_ UNIQUE) WITHOUT ROWID; INSERT INTO v VALUES('r', 1, 2), ('s', 3, 4); CREATE INDEX wi ON w(a DESC);
         CREATE TABLE big(k BLOB PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO big VALUES(zeroblob(5000), 1), (x'01', zeroblob(9000));",
    ),
    (
        "rowids",
        "CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES(-9223372036854775808, 1), (9223372036854775807, 2), (0, 3), (17, 4);
         CREATE TABLE o(rowid, a); INSERT INTO o(_rowid_, rowid, a) VALUES(9, 'x', 1), (4, 'y', 2);
         CREATE TABLE oo(rowid, _rowid_); INSERT INTO oo(oid, rowid) VALUES(5, 1); CREATE TABLE all_hidden(rowid, oid, _rowid_, x); INSERT INTO all_hidden VALUES(1, 2, 3, 4);
         CREATE TABLE alias(OID INTEGER PRIMARY KEY, x); INSERT INTO alias VALUES(44, 1); CREATE TABLE ints(a INT PRIMARY KEY); INSERT INTO ints(rowid, a) VALUES(8, 1), (3, NULL);",
    ),
    (
        "sequence with gaps",
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a); INSERT INTO t VALUES(5, 1), (900, 2); DELETE FROM t WHERE id = 900;
         CREATE TABLE e(id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE gone(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO gone VALUES(33); DROP TABLE gone;
         INSERT INTO sqlite_sequence VALUES('nowhere', 7), ('t', 12), (NULL, 'odd'), (x'00', -1.5); DELETE FROM sqlite_sequence WHERE rowid = 1;",
    ),
    (
        "statistics",
        "CREATE TABLE t(a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 500) INSERT INTO t SELECT i, i % 7 FROM n;
         CREATE INDEX i ON t(b, a); CREATE INDEX p ON t(a) WHERE b = 1; ANALYZE; UPDATE sqlite_stat1 SET stat = 'edited 5' WHERE idx = 'p'; INSERT INTO sqlite_stat1 VALUES('nowhere', NULL, x'00');",
    ),
    (
        "rtree",
        "CREATE VIRTUAL TABLE box USING rtree(id, a, b, +note TEXT); INSERT INTO box VALUES(1, 0.5, 1.5, 'n'), (2, -1e30, 1e30, NULL);
         CREATE VIRTUAL TABLE whole USING rtree_i32(id, x0, x1); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 300) INSERT INTO whole SELECT i, i, i+5 FROM n;",
    ),
    (
        "fts",
        "CREATE VIRTUAL TABLE own USING fts5(x, y UNINDEXED, tokenize='porter ascii', prefix='2 3'); INSERT INTO own VALUES('hello world', 1), ('it''s', NULL);
         DELETE FROM own WHERE y = 1; CREATE TABLE doc(id INTEGER PRIMARY KEY, t); INSERT INTO doc VALUES(10, 'ten'), (20, 'twenty');
         CREATE VIRTUAL TABLE ext USING fts5(t, content='doc', content_rowid='id'); INSERT INTO ext(ext) VALUES('rebuild');
         CREATE TRIGGER doc_ai AFTER INSERT ON doc BEGIN INSERT INTO ext(rowid, t) VALUES(new.id, new.t); END;
         CREATE TABLE loose(t); INSERT INTO loose(rowid, t) VALUES(7, 'seven'), (99, 'many'); CREATE VIRTUAL TABLE ext2 USING fts5(t, content='loose'); INSERT INTO ext2(ext2) VALUES('rebuild');
         CREATE VIRTUAL TABLE less USING fts5(x, content=''); INSERT INTO less(rowid, x) VALUES(4, 'gone');
         CREATE VIRTUAL TABLE less2 USING fts5(x, content='', contentless_delete=1, detail=none, columnsize=1); INSERT INTO less2(rowid, x) VALUES(4, 'gone'), (5, 'more'); DELETE FROM less2 WHERE rowid=4;
         CREATE VIRTUAL TABLE four USING fts4(z, tokenize=unicode61); INSERT INTO four VALUES('four'); CREATE VIRTUAL TABLE words USING fts5vocab(own, 'row');",
    ),
    (
        "names",
        "CREATE TABLE \"a\"\"b'c`d[e]f\ng;h--i/*j\"(\"x\"\"y\", 'z z', [br ack], `tick`, \"semi;colon\", \"new\nline\", \"\" INT, \"select\" , \"values\", \"--\", \"/*\");
         INSERT INTO \"a\"\"b'c`d[e]f\ng;h--i/*j\" VALUES(1,2,3,4,5,6,7,8,9,10,11);
         CREATE INDEX \"i\"\"x'\" ON \"a\"\"b'c`d[e]f\ng;h--i/*j\"(\"new\nline\", \"--\"); CREATE TABLE \"\"(\"\"); INSERT INTO \"\" VALUES(5); CREATE TABLE \"ta ble\"(\"ta ble\" PRIMARY KEY) WITHOUT ROWID;
         INSERT INTO \"ta ble\" VALUES('ta ble'); CREATE TABLE \"select\"(\"from\" INTEGER PRIMARY KEY, \"where\"); INSERT INTO \"select\" VALUES(1, 2); CREATE VIEW \"order\" AS SELECT \"from\" AS \"group\" FROM \"select\";
         CREATE TABLE sqlite(sqlite); CREATE TABLE sqlitestat1(tbl, idx, stat); CREATE TABLE main(temp, main); INSERT INTO main VALUES(1, 2); CREATE TABLE temp(sqlite_schema, sqlite_master); INSERT INTO temp VALUES(3, 4);
         CREATE TABLE dbstat(pgno, data); INSERT INTO dbstat VALUES(1, 2); CREATE TABLE \"sqlité_x\"(a) ; CREATE TABLE \"ü😀\"(\"é\" DEFAULT 'ö'); INSERT INTO \"ü😀\" DEFAULT VALUES; CREATE TRIGGER \"end\" AFTER INSERT ON \"select\" BEGIN SELECT \"end\" FROM (SELECT 1 AS \"end\"); END;
         CREATE TABLE ints(\"1\" INT, \"-2\" TEXT); INSERT INTO ints VALUES(1, '1'); CREATE TABLE \"5\"(a); INSERT INTO \"5\" VALUES(1);",
    ),
    (
        "lines that the shell takes for the end",
        "CREATE TABLE t(a,\n go\n , b UNIQUE);INSERT INTO t VALUES(1, 2, 3);CREATE TABLE u(a,\n GO \n, PRIMARY KEY(\ngo\n)) WITHOUT ROWID;INSERT INTO u VALUES(1, 2); CREATE VIEW v AS SELECT 1\n/\n2; CREATE VIEW w AS SELECT 1 AS\ngo\n, 2;",
    ),
    (
        "comments",
        "CREATE TABLE t(a -- the first ;\n, b /* and ' \" ; */ DEFAULT (1) -- )\n);INSERT INTO t VALUES(1, 2);CREATE INDEX i ON t(a -- x\n);
         CREATE VIEW v AS SELECT 1 -- last\n;CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; -- end;\n END;",
    ),
    (
        "carriage returns",
        "CREATE TABLE t(a,\r\n b DEFAULT 'x\r\ny',\r\n\"c\r\nd\" UNIQUE); INSERT INTO t(a, \"c\r\nd\") VALUES(1, 2), (3, 'v\r\n'); CREATE TABLE \"e\r\nf\"(a PRIMARY KEY, b UNIQUE); INSERT INTO \"e\r\nf\" VALUES('p', 'q');
         CREATE VIEW \"g\r\nh\" AS SELECT 'i\r\nj'; CREATE TRIGGER \"k\r\nl\" INSTEAD OF INSERT ON \"g\r\nh\" BEGIN\r\n SELECT 1;\r\nEND; CREATE VIEW m AS\r\nSELECT 1; CREATE INDEX n ON t(a,\r\n b); CREATE TABLE \"o\rp\"(\"q\rr\"); INSERT INTO \"o\rp\" VALUES(1);",
    ),
    (
        "strings in double quotes",
        "CREATE TABLE t(a CHECK(a IN (\"x\", 'y')), b DEFAULT \"q\", c AS (a || \"z\") STORED); INSERT INTO t(a) VALUES('x'); CREATE INDEX i ON t(a) WHERE b <> \"w\";",
    ),
    (
        "conflict clauses",
        "CREATE TABLE t(a NOT NULL ON CONFLICT IGNORE, b UNIQUE ON CONFLICT REPLACE, c CHECK(c > 0) , d DEFAULT 7); INSERT INTO t VALUES(1, 2, 3, NULL), (2, NULL, NULL, NULL), (3, NULL, 1, 1);
         PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES(5, 6, -1, 0); CREATE TABLE r(id INTEGER PRIMARY KEY ON CONFLICT REPLACE, x); INSERT INTO r VALUES(1, 1), (2, 2);",
    ),
    (
        "columns that came later",
        "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2); ALTER TABLE t ADD COLUMN b DEFAULT 5; ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT 'x'; INSERT INTO t VALUES(3, NULL, 'y'); ALTER TABLE t RENAME COLUMN a TO z;
         CREATE TABLE u(a, b, c); INSERT INTO u VALUES(1, 2, 3); ALTER TABLE u DROP COLUMN b; ALTER TABLE u RENAME TO u2; CREATE TABLE \"as\" AS SELECT 1 AS a, 'x' AS b, 2.0 AS c, NULL AS d, x'00' AS e;",
    ),
    (
        "values",
        "CREATE TABLE t(i INTEGER, r REAL, n NUMERIC, t TEXT, b BLOB, x); INSERT INTO t VALUES(1, 1, 1, 1, 1, 1), (1.5, 1.5, 1.5, 1.5, 1.5, 1.5), ('a', 'a', '2024-01-01', 'a', 'a', '1'), (x'31', x'31', x'31', x'31', x'31', x'31'),
         (9223372036854775807, 9223372036854775807, 9e999, -9e999, 5e-324, -0.0), (-9223372036854775808, 1e-310, 0.1, '', x'', 2.2250738585072014e-308), (NULL, 1e308, 1e22, char(0), zeroblob(3), 123456789012345678),
         (0, 3.0, 3.0, cast(x'ff' AS TEXT), 3.0, 3.0), (1, 0.30000000000000004, 1e15, 'a' || char(0) || 'b', x'0d0a', 9007199254740993.0), ('1e', '0x1', '1_0', char(13,10), x'00', '1e3'), (1, 2, 3, char(55296), 5, char(1114111));",
    ),
    ("an empty database", ""),
    ("everything dropped", "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(20000)); DROP TABLE t;"),
    ("tables without rows", "CREATE TABLE t(a PRIMARY KEY, b UNIQUE); CREATE TABLE w(a PRIMARY KEY) WITHOUT ROWID; CREATE VIRTUAL TABLE f USING fts5(x);"),
];

/// Schemas edited below their rows, as SQLite's manual shows it. The second part runs with the schema open.
const EDITED: &[(&str, &str, &str)] = &[
    (
        "NOT NULL over NULL",
        "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 2), (NULL, 3), (4, NULL); CREATE INDEX i ON t(a); CREATE TABLE w(k PRIMARY KEY, v, x AS (v) STORED) WITHOUT ROWID; INSERT INTO w VALUES(1, NULL), (2, 2);",
        "UPDATE sqlite_schema SET sql='CREATE TABLE t(a NOT NULL ON CONFLICT IGNORE, b NOT NULL)' WHERE name='t';
         UPDATE sqlite_schema SET sql='CREATE TABLE w(k PRIMARY KEY, v NOT NULL, x AS (v) STORED) WITHOUT ROWID' WHERE name='w';",
    ),
    (
        "types changed",
        "CREATE TABLE t(a TEXT, b, c INT, d, e TEXT UNIQUE, f); INSERT INTO t VALUES('1', 2.0, 3, '1e3', '5', -0.0), ('x', 'y', 4, ' 12 ', '6', 1.5), (NULL, x'31', 5, '2024-01-01', '7', '0.5');",
        "UPDATE sqlite_schema SET sql='CREATE TABLE t(a INTEGER, b INT, c TEXT, d NUMERIC, e INT UNIQUE, f INT)' WHERE name='t';",
    ),
    (
        "each change alone",
        "CREATE TABLE n(a TEXT); INSERT INTO n VALUES('x'), (NULL); CREATE TABLE i(a); INSERT INTO i VALUES(1), (2.0);
         CREATE TABLE z(a); INSERT INTO z VALUES(1.5), (-0.0); CREATE TABLE t(a); INSERT INTO t VALUES('x'), (7); CREATE TABLE q(a TEXT); INSERT INTO q VALUES('x'), ('12');
         CREATE TABLE s(a); INSERT INTO s VALUES(x'00'), ('x'); CREATE TABLE r(a); INSERT INTO r VALUES(1.5), ('2.5');",
        "UPDATE sqlite_schema SET sql='CREATE TABLE n(a TEXT NOT NULL ON CONFLICT IGNORE)' WHERE name='n'; UPDATE sqlite_schema SET sql='CREATE TABLE i(a INTEGER)' WHERE name='i';
         UPDATE sqlite_schema SET sql='CREATE TABLE z(a REAL)' WHERE name='z'; UPDATE sqlite_schema SET sql='CREATE TABLE t(a TEXT)' WHERE name='t'; UPDATE sqlite_schema SET sql='CREATE TABLE q(a NUMERIC)' WHERE name='q';
         UPDATE sqlite_schema SET sql='CREATE TABLE s(a BLOB) STRICT' WHERE name='s'; UPDATE sqlite_schema SET sql='CREATE TABLE r(a REAL)' WHERE name='r';",
    ),
    (
        "strict came later",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT); INSERT INTO t VALUES(1, 'x', 5.0), (2, 2, 'y'), (3, x'00', x'01');",
        "UPDATE sqlite_schema SET sql='CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT) STRICT' WHERE name='t';",
    ),
    (
        "fewer and more columns than values",
        "CREATE TABLE t(a, b, c); INSERT INTO t VALUES(1, 2, 3); CREATE TABLE u(a); INSERT INTO u VALUES(1);",
        "UPDATE sqlite_schema SET sql='CREATE TABLE t(a)' WHERE name='t'; UPDATE sqlite_schema SET sql='CREATE TABLE u(a, b DEFAULT ''later'', c NOT NULL DEFAULT 7)' WHERE name='u';",
    ),
    (
        "names of SQLite's own",
        "CREATE TABLE mine(a PRIMARY KEY, b); INSERT INTO mine VALUES(1, 2), ('x', NULL); CREATE VIEW vx AS SELECT 1; CREATE TABLE plain(a); INSERT INTO plain VALUES(5); CREATE INDEX ip ON plain(a); CREATE TRIGGER tx AFTER INSERT ON plain BEGIN SELECT 1; END;",
        "UPDATE sqlite_schema SET name='sqlite_mine', tbl_name='sqlite_mine', sql='CREATE TABLE sqlite_mine(a PRIMARY KEY, b)' WHERE name='mine';
         UPDATE sqlite_schema SET name='sqlite_autoindex_sqlite_mine_1', tbl_name='sqlite_mine' WHERE name='sqlite_autoindex_mine_1'; UPDATE sqlite_schema SET name='sqlite_ip', sql='CREATE INDEX sqlite_ip ON plain(a)' WHERE name='ip';
         UPDATE sqlite_schema SET name='sqlite_vx', tbl_name='sqlite_vx', sql='CREATE VIEW sqlite_vx AS SELECT 1' WHERE name='vx';
         UPDATE sqlite_schema SET name='sqlite_tx', sql='CREATE TRIGGER sqlite_tx AFTER INSERT ON plain BEGIN SELECT 1; END' WHERE name='tx';",
    ),
    (
        "functions that only the application has",
        "CREATE TABLE t(a, b AS (a) STORED, c AS (a), d, UNIQUE(a, d DESC)); INSERT INTO t(a, d) VALUES(1, 2), ('x', NULL); CREATE INDEX i ON t(d);",
        "UPDATE sqlite_schema SET sql='CREATE TABLE t(a CHECK(app_check(a)), b AS (app_make(a)) STORED, c AS (app_other(a)), d DEFAULT (app_id()), UNIQUE(a, d DESC))' WHERE name='t';",
    ),
    (
        "odd spelling",
        "CREATE TABLE t(a); INSERT INTO t VALUES(1); CREATE VIEW v AS SELECT 1; CREATE INDEX i ON t(a);",
        "UPDATE sqlite_schema SET sql='create   TABLE IF NOT EXISTS t /* odd */ (a) -- end' WHERE name='t'; UPDATE sqlite_schema SET sql='CREATE VIEW v AS SELECT 1 -- tail' WHERE name='v'; UPDATE sqlite_schema SET sql='CREATE INDEX  IF NOT EXISTS i ON t(a)' WHERE name='i';",
    ),
];

/// Makes a database; what would be lost at the end of the connection (a log) is not kept.
fn make(file: &Path, before: &str, sql: &str, edits: &str) {
    let connection = Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA foreign_keys=OFF").unwrap();
    connection.execute_batch(before).unwrap();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    if !edits.is_empty() {
        connection.execute_batch("PRAGMA writable_schema=ON").unwrap();
        connection.execute_batch(edits).unwrap_or_else(|error| panic!("{edits}: {error}"));
    }
}

/// Dumps it, loads it twice, and compares. What was said while dumping comes back.
#[track_caller]
pub fn round(file: &Path, what: &str, collations: &[&str]) -> (Dumped, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let before = fs::read(file).unwrap();
    let mut gather = Gather::default();
    let dumped = dump(file, &mut gather).unwrap_or_else(|error| panic!("{what}: {error:#}"));
    assert!(fs::read(file).unwrap() == before, "{what}: dumping changed the database");
    let shown = String::from_utf8_lossy(&gather.sql).into_owned();
    let wanted = facts(file).unwrap_or_else(|error| panic!("{what}: {error:#}"));
    assert_eq!(dumped.facts.as_ref(), Some(&wanted), "{what}: {:?}\n{shown}", dumped.gaps);
    let logical = dumped.logical.unwrap_or(wanted.logical);
    // A view or function of the application keeps nobody from reading tables.
    let mut portrait_wanted = portrait(file, collations);
    for lack in &dumped.lacks {
        let name = data_encoding::HEXLOWER.encode(lack.index.as_bytes());
        portrait_wanted.get_mut("schema").unwrap().retain(|line| !line.contains(&format!(" t{name} ")));
    }
    let (ours, theirs) = (folder.path().join("ours.db"), folder.path().join("theirs.db"));
    load(&mut gather.sql.as_slice(), &ours).unwrap_or_else(|error| panic!("{what}: {error:#}\n{shown}"));
    let mut loaded = vec![ours];
    if shell_load(&gather.sql, &theirs) {
        loaded.push(theirs);
    }
    for loaded in loaded {
        let what = format!("{what}, loaded as {}\n{shown}", loaded.file_name().unwrap().display());
        let got = facts(&loaded).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert_eq!(got.tables, wanted.tables, "{what}");
        assert_eq!(got.logical, logical, "{what}");
        assert_eq!((got.page_size, &got.journal_mode), (wanted.page_size, &wanted.journal_mode), "{what}");
        assert_same(&portrait_wanted, &portrait(&loaded, collations), &what);
        let report = check(&loaded).unwrap();
        assert!(report.is_sound(), "{what}: {report:?}");
    }
    (dumped, gather.sql)
}

#[track_caller]
fn says_nothing(dumped: &Dumped, what: &str) {
    assert!(
        dumped.lacks.is_empty() && dumped.reorder.is_empty() && dumped.foreign.is_empty(),
        "{what}: {dumped:?}"
    );
    assert!(dumped.logical.is_none(), "{what}");
}

#[test]
fn every_feature_survives_a_dump() {
    let folder = tempfile::tempdir().unwrap();
    for (what, sql) in PLAIN {
        for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
            let file = folder.path().join(format!("{what} {encoding}.db"));
            make(&file, &format!("PRAGMA encoding='{encoding}'"), sql, "");
            let (dumped, _) = round(&file, &format!("{what}, {encoding}"), &[]);
            says_nothing(&dumped, what);
        }
    }
}

#[test]
fn every_page_size_survives_a_dump() {
    let folder = tempfile::tempdir().unwrap();
    let find = |name: &str| PLAIN.iter().find(|(what, _)| *what == name).unwrap().1;
    for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        for (name, more) in
            [("fts", ""), ("journal mode", ""), ("auto_vacuum full", ""), ("an empty database", "")]
        {
            let file = folder.path().join(format!("{name} {page_size}.db"));
            make(&file, &format!("PRAGMA page_size={page_size}"), find(name), more);
            let what = format!("{name}, pages of {page_size}");
            says_nothing(&round(&file, &what, &[]).0, &what);
        }
    }
}

#[test]
fn edited_schemas_survive_a_dump() {
    let folder = tempfile::tempdir().unwrap();
    for (what, sql, edits) in EDITED {
        for encoding in ["UTF-8", "UTF-16be"] {
            let file = folder.path().join(format!("{what} {encoding}.db"));
            make(&file, &format!("PRAGMA encoding='{encoding}'"), sql, edits);
            let (dumped, _) = round(&file, &format!("{what}, {encoding}"), &[]);
            says_nothing(&dumped, what);
        }
    }
}

#[test]
fn a_file_of_no_bytes_survives_a_dump() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.db");
    fs::write(&file, "").unwrap();
    let (dumped, _) = round(&file, "no bytes", &[]);
    says_nothing(&dumped, "no bytes");
}

#[test]
fn collations_of_the_application_are_stood_in_for_and_said() {
    let folder = tempfile::tempdir().unwrap();
    for encoding in ["UTF-8", "UTF-16le"] {
        let file = folder.path().join(format!("{encoding}.db"));
        let connection = Connection::open(&file).unwrap();
        // Backwards: no order that anybody would guess.
        for name in ["uca", "my words"] {
            connection.create_collation(name, |a: &str, b: &str| b.cmp(a)).unwrap();
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA encoding='{encoding}'; CREATE TABLE seen(a TEXT COLLATE uca, b); INSERT INTO seen VALUES('x', 1), ('y', 2);
                 CREATE INDEX by_a ON seen(a); CREATE INDEX by_b ON seen(b); CREATE UNIQUE INDEX by_c ON seen(b, a COLLATE \"my words\" DESC);
                 CREATE TABLE key(w TEXT COLLATE uca, n INT, v, PRIMARY KEY(n, w)) WITHOUT ROWID;
                 INSERT INTO key VALUES('a', 1, 'va'), ('B', 1, 'vb'), ('é', 1, NULL), ('a', 0, 'n'), (5, 1, 'number'), (x'00', 1, 'blob');
                 CREATE TABLE uniq(a TEXT UNIQUE COLLATE \"my words\", b UNIQUE); INSERT INTO uniq VALUES('p', 1), ('q', 2), ('r', NULL);
                 CREATE TABLE plain(a PRIMARY KEY); INSERT INTO plain VALUES(1); CREATE VIEW v AS SELECT a FROM seen ORDER BY a COLLATE uca;"
            ))
            .unwrap();
        drop(connection);
        let (dumped, _) = round(&file, encoding, &["uca", "my words"]);
        let lacks: Vec<&str> = dumped.lacks.iter().map(|lack| lack.index.as_str()).collect();
        assert_eq!(lacks, ["by_a", "by_c"]);
        assert!(
            dumped.lacks.iter().all(|lack| lack.table == "seen" && lack.reason.contains("no such collation"))
        );
        let order: Vec<(&str, String)> =
            dumped.reorder.iter().map(|r| (r.table.as_str(), r.collations.join())).collect();
        assert_eq!(order, [("key", "uca".to_owned()), ("uniq", "my words".to_owned())]);
        let report = check(&file).unwrap();
        assert!(report.is_sound() && !report.unchecked.is_empty(), "{report:?}");
    }
}

trait Join {
    fn join(&self) -> String;
}

impl Join for Vec<String> {
    fn join(&self) -> String {
        self.as_slice().join(", ")
    }
}

#[test]
fn after_a_reindex_by_the_application_a_loaded_database_is_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let (file, to) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let backwards = |connection: &Connection| {
        connection.create_collation("uca", |a: &str, b: &str| b.cmp(a)).unwrap();
    };
    let connection = Connection::open(&file).unwrap();
    backwards(&connection);
    connection
        .execute_batch(
            "CREATE TABLE key(w TEXT COLLATE uca PRIMARY KEY) WITHOUT ROWID; CREATE TABLE u(a UNIQUE COLLATE uca);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 900) INSERT INTO key SELECT 'w' || i FROM n;
             INSERT INTO u SELECT w FROM key;",
        )
        .unwrap();
    drop(connection);
    load(&mut dumped(&file).sql.as_slice(), &to).unwrap();
    let loaded = Connection::open(&to).unwrap();
    backwards(&loaded);
    let checked = |connection: &Connection| -> String {
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).unwrap()
    };
    assert_ne!(checked(&loaded), "ok");
    loaded.execute_batch("REINDEX").unwrap();
    assert_eq!(checked(&loaded), "ok");
    assert_eq!(
        loaded.query_row("SELECT count(*) FROM key WHERE w = 'w7'", [], |row| row.get::<_, i64>(0)).unwrap(),
        1
    );
}

#[test]
fn a_module_that_is_not_there_is_named_with_the_tables_that_hold_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    make(
        &file,
        "",
        "CREATE TABLE vec_data(id INTEGER PRIMARY KEY, v BLOB); INSERT INTO vec_data VALUES(1, x'0102'), (9, NULL); CREATE TABLE vec_info(k PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO vec_info VALUES('dim', 2);
         CREATE VIEW near AS SELECT * FROM vec; CREATE VIRTUAL TABLE known USING fts5(x);",
        "INSERT INTO sqlite_schema VALUES('table', 'vec', 'vec', 0, 'CREATE VIRTUAL TABLE vec USING \"vec0\"(a float[2])');
         INSERT INTO sqlite_schema VALUES('table', 'log', 'log', 0, 'CREATE VIRTUAL TABLE log USING csvfile(''/var/log/x'')');",
    );
    let (dumped, _) = round(&file, "modules", &[]);
    let foreign: Vec<(&str, &str, String)> =
        dumped.foreign.iter().map(|f| (f.table.as_str(), f.module.as_str(), f.parts.join())).collect();
    assert_eq!(
        foreign,
        [("vec", "vec0", "vec_data, vec_info".to_owned()), ("log", "csvfile", String::new())]
    );
}

#[test]
fn an_index_that_only_the_application_can_make_is_left_out_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let connection = Connection::open(&file).unwrap();
    make(
        &file,
        "",
        "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 2); CREATE INDEX whole ON t(b); CREATE INDEX part ON t(a) WHERE b > 9; CREATE INDEX expr ON t(abs(a))",
        "UPDATE sqlite_schema SET sql='CREATE INDEX part ON t(a) WHERE app_wants(b)' WHERE name='part'; UPDATE sqlite_schema SET sql='CREATE INDEX expr ON t(app_abs(a))' WHERE name='expr';",
    );
    drop(connection);
    let (dumped, _) = round(&file, "functions", &[]);
    let lacks: Vec<&str> = dumped.lacks.iter().map(|lack| lack.index.as_str()).collect();
    assert_eq!(lacks, ["part", "expr"]);
    assert!(dumped.lacks.iter().all(|lack| lack.reason.contains("no such function")), "{dumped:?}");
    assert!(dumped.logical.is_some_and(|logical| logical != facts(&file).unwrap().logical));
}

#[test]
fn an_index_whose_text_the_shell_would_change_is_left_out_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    make(
        &file,
        "",
        "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 'x\r\n'), (2, 'x\n'), (3, 'y'); CREATE INDEX i ON t(a) WHERE b <> 'x\r\n'; CREATE INDEX j\r\nON t(b,\r\n a);",
        "",
    );
    let (dumped, _) = round(&file, "a line end in a string", &[]);
    let lacks: Vec<&str> = dumped.lacks.iter().map(|lack| lack.index.as_str()).collect();
    assert_eq!(lacks, ["i"]);
    assert!(dumped.lacks[0].reason.contains("carriage return"), "{dumped:?}");
}
