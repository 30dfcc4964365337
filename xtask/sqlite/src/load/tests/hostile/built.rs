//! Hostile dumps that are put together: expensive ones, broken ones, endless ones.

use super::{Case, START, inside, says, with};

/// Time and memory, in what runs while rows are loaded: generated columns, defaults, indexes on expressions.
pub fn expensive() -> Vec<Case> {
    let slow = "instr(hex(zeroblob(30000)),hex(zeroblob(15000))||'1')";
    let slower = vec![slow; 20].join("+");
    let large = vec!["hex(zeroblob(30000))"; 900].join(",");
    let columns = (0..1500).map(|n| format!("c{n} AS (a||hex(zeroblob(30000))) STORED")).collect::<Vec<_>>();
    let doubled = (1..60).map(|n| format!("c{n} AS (c{}||c{})", n - 1, n - 1)).collect::<Vec<_>>().join(",");
    let time = "longer than";
    let mut cases = vec![
        with(
            &format!("CREATE TABLE g(a, b AS (max({large})) STORED);"),
            "INSERT INTO g VALUES(1);",
            "too big",
        ),
        with(&format!("CREATE TABLE g(a, {});", columns.join(",")), "INSERT INTO g VALUES(1);", "too big"),
        with("CREATE TABLE w(a);", &format!("CREATE TABLE g(c0, {doubled});"), "out of memory"),
        with("CREATE TABLE w(a);", "CREATE TABLE g(a, b AS (randomblob(a)));", "non-deterministic"),
        with("CREATE TABLE g(a, b AS (zeroblob(a)) STORED);", "INSERT INTO g VALUES(900000000);", "too big"),
        with(
            "CREATE TABLE g(a, b AS (hex(zeroblob(a))) STORED);",
            "INSERT INTO g VALUES(400000000);",
            "too big",
        ),
        with(
            "CREATE TABLE g(a, b AS (printf('%*d',a,1)) STORED);",
            "INSERT INTO g VALUES(900000000);",
            "too big",
        ),
        with(
            "CREATE TABLE g(a, b AS (replace(hex(zeroblob(9000)),'0',hex(zeroblob(9000)))) STORED);",
            "INSERT INTO g VALUES(1);",
            "too big",
        ),
        with("CREATE TABLE w(a);", "CREATE TABLE g(a, b AS (c), c AS (b));", "loop"),
    ];
    // A single step of SQLite, which nothing can interrupt: the thread is left behind.
    let long = "a".repeat(2_000_000);
    cases.push(with(
        "CREATE TABLE g(a, b AS (instr(a, substr(a, 1, 1000000)||'b')) STORED);",
        &format!("INSERT INTO g VALUES('{long}');"),
        time,
    ));
    // What is computed once is cheap enough; for all rows it is not (a constant is computed once for all).
    for (table, row) in [
        (format!("CREATE TABLE g(a, b AS ({slower}) STORED);"), "INSERT INTO g VALUES(1);"),
        (format!("CREATE TABLE g(a, b DEFAULT ({slower}));"), "INSERT INTO g(a) VALUES(1);"),
        (
            format!("CREATE TABLE g(a, b NOT NULL ON CONFLICT REPLACE DEFAULT ({slower}));"),
            "INSERT INTO g VALUES(1,NULL);",
        ),
        (format!("CREATE TABLE g(a); CREATE INDEX i ON g(a) WHERE {slower};"), "INSERT INTO g VALUES(1);"),
    ] {
        let rows = format!("{row}\n").repeat(200);
        cases.push(Case {
            dump: format!("BEGIN;\n{table}\n{rows}COMMIT;\n").into_bytes(),
            line: 0,
            says: time,
        });
    }
    // Nobody evaluates a CHECK while rows are loaded, but whoever checks the database does.
    let rows = "INSERT INTO g VALUES(1);\n".repeat(200);
    for (check, says) in [(slower.as_str(), time), ("length(hex(zeroblob(400000000*a)))", "too big")] {
        let dump = format!("BEGIN;\nCREATE TABLE g(a, CHECK ({check}));\n{rows}COMMIT;\n");
        cases.push(Case { dump: dump.into_bytes(), line: 2, says });
    }
    let rows = "INSERT INTO t VALUES(1,'x');\n".repeat(200);
    for statement in ["CREATE INDEX i ON t(a, {});", "CREATE INDEX i ON t(a) WHERE {} = 5;"] {
        let statement = statement.replace("{}", &slower.replace("30000", "30000*a"));
        let dump = format!("{START}{rows}{statement}\nCOMMIT;\n");
        cases.push(Case { dump: dump.into_bytes(), line: 205, says: time });
    }
    cases
}

/// Broken or endless text.
pub fn broken() -> Vec<Case> {
    let raw = |dump: &str, line: u64, says: &'static str| Case { dump: dump.as_bytes().to_vec(), line, says };
    let end = "in the middle of";
    let deep = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    let list = vec!["1"; 400_000].join(",");
    let mut cases = vec![
        raw("", 1, "without its COMMIT"),
        raw("\n\n\n", 4, "without its COMMIT"),
        raw("PRAGMA foreign_keys=OFF;\n", 2, "without its COMMIT"),
        raw("BEGIN;\nCREATE TABLE t(a);\n", 3, "without its COMMIT"),
        raw("COMMIT;\n", 1, "before BEGIN"),
        raw("END;\n", 1, "before BEGIN"),
        raw("CREATE TABLE t(a);\n", 1, "before BEGIN"),
        raw("\n\nINSERT INTO t VALUES(1);\n", 3, "before BEGIN"),
        raw("PRAGMA journal_mode=WAL;\nBEGIN;\nCOMMIT;\n", 1, ""),
        raw("BEGIN;\nCOMMIT;\nBEGIN;\nCOMMIT;\n", 3, "after COMMIT"),
        raw("BEGIN;\nCOMMIT;\nCREATE TABLE t(a);\n", 3, "after COMMIT"),
        raw("BEGIN;\nCOMMIT;\nCOMMIT;\n", 3, "after COMMIT"),
        raw("BEGIN;\nCOMMIT;\nSELECT 1;\n", 3, "SELECT"),
        raw("BEGIN;\nCOMMIT;\nPRAGMA journal_mode=OFF;\n", 3, ""),
        raw("BEGIN;\nCOMMIT;\nPRAGMA wal_checkpoint;\n", 3, ""),
        raw("BEGIN;\nCOMMIT;\nVACUUM;\n", 3, ""),
        raw("BEGIN;\nCOMMIT;\nx", 3, end),
        raw("BEGIN;\nCREATE TABLE t(a);\nINSERT INTO t VALUES('open\n\n;\nCOMMIT;\n", 3, end),
        raw("BEGIN;\nCREATE TABLE \"t(a);\nCOMMIT;\n", 2, end),
        raw("BEGIN;\nCREATE TABLE [t(a);\nCOMMIT;\n", 2, end),
        raw("BEGIN;\nCREATE TABLE `t(a);\nCOMMIT;\n", 2, end),
        raw("BEGIN;\n/* open\nCOMMIT;\n", 2, end),
        raw(
            "BEGIN;\nCREATE TABLE t(a);\nCREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1;\nCOMMIT;\n",
            3,
            end,
        ),
        raw("BEGIN;\nCREATE TABLE t(a);\nINSERT INTO t VALUES(1)\nCOMMIT;\n", 3, "values"),
        raw("BEGIN;\r\nCREATE TABLE t(a);\r\nINSERT INTO t VALUES('a', a);\r\nCOMMIT;\r\n", 3, "values"),
        raw(
            "BEGIN;\n-- not whole\nINSERT INTO \"not whole\" VALUES(NULL);\nCOMMIT;\n",
            2,
            "made no table \"not whole\"",
        ),
        raw("\u{feff}BEGIN;\nCOMMIT;\n", 1, "begins like this"),
        raw("SQLite format 3\0;", 1, "NUL"),
        raw("BEGIN;\nCREATE TABLE t(a);\0COMMIT;\n", 2, ""),
        raw("BEGIN;\nCREATE TABLE t(a\0);\nCOMMIT;\n", 2, "NUL"),
        Case {
            dump: b"BEGIN;\nCREATE TABLE t(a);\nINSERT INTO t VALUES('\xff\xfe');\nCOMMIT;\n".to_vec(),
            line: 3,
            says: "UTF-8",
        },
        Case { dump: b"BEGIN;\nCREATE TABLE \xc0\x80(a);\nCOMMIT;\n".to_vec(), line: 2, says: "UTF-8" },
        inside(&format!("CREATE TABLE v(a CHECK ({}));", deep("(", ")", 100_000))),
        inside(&format!("CREATE TABLE v(a CHECK ({}));", deep("-", "", 100_000))),
        inside(&format!("CREATE TABLE v(a CHECK ({}));", deep("abs(", ")", 20_000))),
        inside(&format!("CREATE TABLE v(a CHECK ({}1));", "1+".repeat(200_000))),
        inside(&format!("CREATE VIEW v AS SELECT {};", deep("(SELECT ", ")", 20_000))),
        inside(&format!("CREATE VIEW v AS SELECT 1{};", " UNION ALL SELECT 1".repeat(100_000))),
        inside(&format!("INSERT INTO t VALUES(1,{});", deep("(", ")", 100_000))),
        inside(&format!("INSERT INTO t VALUES(1,{});", deep("replace(", ",'a','b')", 100_000))),
        inside(&format!("INSERT INTO t VALUES(1{});", ",1".repeat(100_000))),
        inside(&format!("INSERT INTO t({}a) VALUES(1);", "a,".repeat(100_000))),
        inside(&format!(
            "CREATE TABLE v({});",
            (0..40_000).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",")
        )),
        inside(&format!("CREATE INDEX i ON t({}a);", "a,".repeat(50_000))),
        with(
            "CREATE TABLE w(a, b);",
            &format!("CREATE INDEX i ON w(a) WHERE b IN ({list}) AND random();"),
            "",
        ),
        says(&format!("CREATE VIEW v AS SELECT '{}';", "x".repeat(5 << 20)), "longer than"),
        says(&format!("--{}\nCREATE TABLE v(a);", "x".repeat(5 << 20)), "longer than"),
        says(&format!("/*{}*/CREATE TABLE v(a);", "\n".repeat(5 << 20)), "longer than"),
        says(&format!("INSERT INTO t VALUES(1,'{}'||'');", "x".repeat(8 << 20)), "values"),
        says(&format!("INSERT INTO t VALUES(1,X'{}');", "0".repeat((8 << 20) + 1)), "values"),
        raw(&format!("BEGIN;\n{}ROLLBACK;\n", ";".repeat(1_000_000)), 2, "ROLLBACK"),
        raw(&format!("BEGIN;\n{}VACUUM;\n", "PRAGMA user_version=1;\n".repeat(50_000)), 50_002, "VACUUM"),
        raw(&format!("{START}{}x;\n", "INSERT INTO t VALUES('\n',2);\n".repeat(50_000)), 100_005, ""),
    ];
    // Virtual tables that get in through the schema: made again, or given rows.
    let named = "PRAGMA writable_schema=ON;INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table','v','u',0,'CREATE VIRTUAL TABLE v USING sqlite_dbpage');";
    for statement in [
        "CREATE TABLE u(a);",
        "CREATE TABLE V(a);",
        "CREATE VIEW u AS SELECT 1;",
        "INSERT INTO v VALUES(1,X'00');",
        "PRAGMA writable_schema=RESET;",
    ] {
        cases.push(with(named, statement, ""));
    }
    cases
}
