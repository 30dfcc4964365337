//! A forged backup whose dump wants more than to be loaded: `restore --sql-only` refuses it with the line, into
//! another folder and over the project, and neither changes. The full list of such dumps is tested where they are
//! loaded, in the crate; here are some of each kind, through the program.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::forge::{self, Forge};
use support::framework::write;
use support::tree::{differences, fingerprint, without_sidecars};
use support::{Output, Sandbox, archives, git};

/// What stands at line 5 of the dump, within its transaction, and what is said of it.
const STATEMENTS: &[(&str, &str)] = &[
    ("ATTACH 'OUTSIDE' AS o;", "ATTACH has no place in a dump"),
    ("VACUUM INTO 'OUTSIDE';", "VACUUM has no place in a dump"),
    ("SELECT writefile('OUTSIDE', 'x');", "SELECT has no place in a dump"),
    ("SELECT load_extension('OUTSIDE');", "SELECT has no place in a dump"),
    (".output OUTSIDE\nx;", "no statement of a dump begins like this"),
    ("PRAGMA temp_store_directory='OUTSIDE';", "a dump may not do this: Pragma"),
    ("PRAGMA hard_heap_limit=1;", "a dump may not do this: Pragma"),
    ("INSERT INTO t VALUES(9,writefile('OUTSIDE','x'));", "its values are not those of one row"),
    ("INSERT INTO t VALUES(9,randomblob(1000000000));", "its values are not those of one row"),
    ("INSERT INTO t SELECT a.a, b.b FROM t a, t b, t c;", "no INSERT INTO a table, VALUES of one row"),
    ("INSERT INTO sqlite_dbpage VALUES(1,X'00');", "the dump has made no table"),
    ("CREATE TABLE o AS SELECT * FROM t;", "a dump may not do this: Select"),
    ("CREATE VIRTUAL TABLE o USING sqlite_dbpage;", "a dump may not do this: CreateVtable"),
    ("CREATE TEMP TABLE o(a);", "a dump may not do this: Insert"),
    ("COMMIT;BEGIN;", "it stands after COMMIT"),
    ("INSERT INTO t VALUES(9,'open);", "in the middle of the statement"),
];

struct Forged {
    sandbox: Sandbox,
    archive: PathBuf,
    good: Forge,
}

impl Forged {
    fn new() -> Forged {
        let sandbox = Sandbox::new();
        let project = sandbox.project();
        git(&project, &["init", "-q", "-b", "main"]);
        write(&project, "a.md", "a\n");
        git(&project, &["add", "."]);
        git(&project, &["commit", "-q", "-m", "First"]);
        fs::create_dir(project.join("memory")).unwrap();
        Connection::open(project.join("memory/index.db"))
            .unwrap()
            .execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1,'x'), (2,'y')")
            .unwrap();
        let store = sandbox.path("store");
        sandbox.run(&["backup", "--store", store.to_str().unwrap()]).ok();
        let archive = archives(&store).remove(0);
        let good = Forge::open(&archive);
        Forged { sandbox, archive, good }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let store = self.sandbox.path("store");
        self.sandbox.run(&[arguments, &["--store", store.to_str().unwrap()]].concat())
    }

    /// The backup with this dump in place of its own; all its digests fit.
    fn plant(&self, dump: &[u8]) {
        let mut forge = self.good.clone();
        forge.record("backup/sql/memory/index.db.sql").replace(dump);
        forge::plant(&self.archive, &forge.bytes());
    }

    /// It is refused with its line, and nothing but the store's own log differs afterwards.
    #[track_caller]
    fn refused(&self, dump: &[u8], says: &str) {
        self.plant(dump);
        let project = self.sandbox.project();
        let before = fingerprint(&project, true);
        let to = self.sandbox.path("elsewhere");
        let began = Instant::now();
        let to_text = to.to_str().unwrap();
        for words in [
            &["restore", "latest", "--sql-only", "--to", to_text][..],
            &["restore", "latest", "--sql-only", "--force", "--no-backup"],
        ] {
            let output = self.run(words);
            assert_eq!(output.code, 1, "{says}: {output:?}");
            assert!(output.stderr.contains("line 5"), "{says}: {output:?}");
            assert!(output.stderr.contains(says), "{says}: {output:?}");
            assert!(output.stderr.len() < 2000, "{says}: {} bytes", output.stderr.len());
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{says}: {:?}", began.elapsed());
        assert!(!to.join("memory/index.db").exists(), "{says}");
        let after = without_sidecars(fingerprint(&project, true));
        assert_eq!(differences(&without_sidecars(before), &after), Vec::<String>::new(), "{says}");
        assert!(!self.sandbox.path("outside").exists(), "{says}");
        if to.exists() {
            fs::remove_dir_all(&to).unwrap();
        }
    }
}

fn dump(statement: &str) -> Vec<u8> {
    let start = "PRAGMA foreign_keys=OFF;\nBEGIN;\nCREATE TABLE t(a INTEGER PRIMARY KEY, b);\nINSERT INTO t VALUES(1,'x');\n";
    format!("{start}{statement}\nCOMMIT;\n").into_bytes()
}

#[test]
fn a_dump_does_nothing_but_make_its_database() {
    let forged = Forged::new();
    // The forged backup is a good one as long as its dump is.
    forged.plant(&dump("INSERT INTO t VALUES(2,'y');"));
    forged.run(&["restore", "latest", "--sql-only", "--to", "good"]).ok();
    let outside = forged.sandbox.path("outside");
    for (statement, says) in STATEMENTS {
        forged.refused(&dump(&statement.replace("OUTSIDE", outside.to_str().unwrap())), says);
    }
    let broken: Vec<u8> =
        dump("INSERT INTO t VALUES(2,'?');").iter().map(|b| if *b == b'?' { 0xff } else { *b }).collect();
    forged.refused(&broken, "it is not UTF-8");
}

/// Computing that never ends, while rows are loaded and after: each ends within seconds.
#[test]
fn what_never_ends_is_ended() {
    let forged = Forged::new();
    let slow = vec!["instr(hex(zeroblob(30000*a)),hex(zeroblob(15000))||'1')"; 20].join("+");
    let too_long = "it takes far longer than the rows of a dump can need";
    let rows: String = (100..300).map(|n| format!("INSERT INTO g VALUES({n});")).collect();
    let long = "a".repeat(2_000_000);
    let single = format!(
        "CREATE TABLE g(a, b AS (instr(a, substr(a, 1, 1000000)||'b')) STORED);INSERT INTO g VALUES('{long}');"
    );
    for (statements, says) in [
        (format!("CREATE TABLE g(a, CHECK ({}));{}", slow.replace("*a", "+a%2"), rows), too_long),
        (single, too_long),
    ] {
        forged.refused(&dump(&statements), says);
    }
    // A view that never ends behind a full-text index, which SQLite's own check looks into.
    let endless = "CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x AS rowid, x FROM c;";
    let named = "PRAGMA writable_schema=ON;INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table','f','f',0,'CREATE VIRTUAL TABLE f USING fts5(x, content=v)');";
    let shadows = "CREATE TABLE f_data(id INTEGER PRIMARY KEY, block BLOB);CREATE TABLE f_idx(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID;CREATE TABLE f_docsize(id INTEGER PRIMARY KEY, sz BLOB);CREATE TABLE f_config(k PRIMARY KEY, v) WITHOUT ROWID;INSERT INTO f_config VALUES('version',4);";
    forged.plant(&dump(&format!("{shadows}{endless}{named}")));
    let began = Instant::now();
    let output = forged.run(&["restore", "latest", "--sql-only", "--to", "elsewhere"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
