//! The whole floor against real databases: pin, image, check, facts, dump, load, and the shell as a second
//! opinion. The project's files must be the same bytes afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use rusqlite::Connection;
use tempfile::TempDir;

use super::check::check;
use super::dump::{DumpSink, dump};
use super::facts::facts;
use super::load::load;
use super::pin::{PinOutcome, pin};
use crate::base::digest::Digest;
use crate::base::safe_path::SafePath;

mod compare;
mod damage;
mod features;
mod generated;
mod looks;
mod overwrite;
mod partial;
mod same;

/// Databases with everything that is easily lost.
const FEATURES: &[(&str, &str)] = &[
    (
        "plain.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, data BLOB, real REAL);
         INSERT INTO t(name, data, real) VALUES('it''s', x'00ff', 0.1), ('', x'', -1e300), (NULL, NULL, 3.0);
         INSERT INTO t VALUES(9223372036854775807, 'last', 1, 5e-324); DELETE FROM t WHERE id > 9;
         CREATE INDEX i ON t(name); CREATE VIEW v AS SELECT * FROM t; ANALYZE;
         CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE t SET name = ';' WHERE id = new.id; END;
         CREATE TRIGGER tv INSTEAD OF INSERT ON v BEGIN SELECT 1; END;
         PRAGMA user_version = -7; PRAGMA application_id = 1234567;",
    ),
    (
        "wal.db",
        "PRAGMA page_size = 1024; PRAGMA auto_vacuum = 2; PRAGMA journal_mode = wal;
         CREATE TABLE doc(title, body); CREATE VIRTUAL TABLE fts USING fts5(title, body, content='doc');
         INSERT INTO doc(rowid, title, body) VALUES(5, 'five', 'a'), (99, 'nine', 'b b'), (-3, 'neg', 'c');
         INSERT INTO fts(rowid, title, body) SELECT rowid, title, body FROM doc;
         CREATE VIRTUAL TABLE own USING fts5(x); INSERT INTO own VALUES('hello world');
         CREATE VIRTUAL TABLE less USING fts5(x, content=''); INSERT INTO less(rowid, x) VALUES(4, 'gone');
         CREATE VIRTUAL TABLE box USING rtree(id, a, b); INSERT INTO box VALUES(1, 0.5, 1.5);
         CREATE VIRTUAL TABLE old USING fts4(z); INSERT INTO old VALUES('four');",
    ),
    (
        "odd.db",
        "CREATE TABLE \"we\"\"ird na'me\"(\"sel ect\" TEXT, rowid TEXT, \"a;b\" INT);
         INSERT INTO \"we\"\"ird na'me\" VALUES('x', 'shadow', 1), ('y', NULL, 2);
         CREATE TABLE hidden(rowid, oid, _rowid_); INSERT INTO hidden VALUES(3, 2, 1), (6, 5, 4);
         CREATE TABLE wr(a TEXT, b INT, c, PRIMARY KEY(b, a)) WITHOUT ROWID;
         INSERT INTO wr VALUES('z', 1, NULL), ('a', 2, 2.5), ('b', -9223372036854775808, x'01');
         CREATE TABLE strict(a INT, b ANY, c REAL) STRICT; INSERT INTO strict VALUES(1, '1', 1), (2, 2.0, 2.5);
         CREATE TABLE gen(a, b AS (a * 2), c AS (a || 'x') STORED, d); INSERT INTO gen VALUES(1, 2), ('q', 3);
         CREATE TABLE de(a INTEGER PRIMARY KEY DESC, b); INSERT INTO de VALUES(5, 1), (1, 2);
         CREATE TABLE ends(a -- a comment
         , b -- ;'\n         ); INSERT INTO ends VALUES(cast(x'610062' AS TEXT), cast(x'ff41' AS TEXT));
         INSERT INTO ends VALUES('a' || char(13,10) || 'b', '\\r' || char(13)), (0.0 * -1, 9e999), (-9e999, 1e23);
         INSERT INTO ends VALUES('line' || char(10) || '.quit' || char(10) || ';' || char(10), '/');
         CREATE TABLE gone(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO gone VALUES(70); DROP TABLE gone;
         CREATE UNIQUE INDEX partial ON wr(c) WHERE c IS NOT NULL; CREATE INDEX cover ON wr(c, b, a);
         PRAGMA ignore_check_constraints = ON; CREATE TABLE chk(a CHECK (a > 0)); INSERT INTO chk VALUES(-1);",
    ),
    (
        "wide.db",
        "PRAGMA encoding = 'UTF-16be'; CREATE TABLE t(a TEXT, b);
         INSERT INTO t VALUES('ümläut 😀', x'00'), (cast(x'd80000410000' AS TEXT), 1), ('a''b', 2.5);
         INSERT INTO t VALUES('c' || char(13,10), NULL), (char(65279) || 'bom', 3);
         CREATE TABLE wr(k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO wr VALUES('é', 'è');",
    ),
    ("empty.db", ""),
    ("dropped.db", "CREATE TABLE t(a); DROP TABLE t;"),
];

/// The features plus a schema with carriage returns, which can't stand in the table above.
fn make_databases(folder: &Path) -> Vec<(SafePath, PathBuf)> {
    let mut made = Vec::new();
    for (name, sql) in FEATURES {
        let file = folder.join(name);
        // A connection that does not checkpoint leaves a -wal, as a crashed program does.
        let connection = Connection::open(&file).unwrap();
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        connection.execute_batch(sql).unwrap();
        if *name == "odd.db" {
            connection.execute_batch("CREATE TABLE crlf(a,\r\n b DEFAULT 'x\r\ny')").unwrap();
        }
        made.push((SafePath::new(*name).unwrap(), file));
    }
    made
}

/// Every file of a folder but shared memory, by name, with its digest.
fn hashes(folder: &Path) -> BTreeMap<String, Digest> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| !path.to_str().unwrap().ends_with("-shm"))
        .map(|path| (path.display().to_string(), Digest::of(&fs::read(&path).unwrap())))
        .collect()
}

#[derive(Default)]
struct Gather {
    sql: Vec<u8>,
    cuts: Vec<(usize, u64)>,
}

impl DumpSink for Gather {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sql.extend_from_slice(bytes);
        Ok(())
    }
    fn row_end(&mut self, key_hash: u64) -> Result<()> {
        self.cuts.push((self.sql.len(), key_hash));
        Ok(())
    }
}

struct Discard;

impl DumpSink for Discard {
    fn write(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn row_end(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

/// The dump of a database that is whole, whose facts are those that a second reading gives.
fn dumped(image: &Path) -> Gather {
    let mut gather = Gather::default();
    let dumped = dump(image, &mut gather).unwrap();
    assert!(dumped.gaps.is_empty(), "{:?}", dumped.gaps);
    assert_eq!(dumped.facts.unwrap(), facts(image).unwrap());
    gather
}

fn pinned(databases: &[(SafePath, PathBuf)]) -> PinOutcome {
    pin(databases, Duration::from_secs(10)).unwrap()
}

/// An image of each database, in a new folder.
fn images(outcome: &PinOutcome) -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for pinned in &outcome.pinned {
        let to = folder.path().join(pinned.path().to_string());
        let copied = std::cell::Cell::new(0);
        pinned.copy_image(&to, &|bytes| copied.set(copied.get() + bytes)).unwrap();
        assert_eq!(copied.get(), fs::metadata(&to).unwrap().len());
        files.push(to);
    }
    (folder, files)
}

/// Loads SQL with the system's shell; false when there is none.
fn shell_load(sql: &[u8], to: &Path) -> bool {
    let child = Command::new("sqlite3")
        .arg("-bail")
        .arg(to)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: there is no sqlite3 shell on this system");
        return false;
    };
    // A shell that stops early closes the pipe; its own message below says why.
    let _ = child.stdin.take().unwrap().write_all(sql);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn everything_survives_image_dump_and_load_and_the_project_does_not_change() {
    let project = tempfile::tempdir().unwrap();
    let databases = make_databases(project.path());
    let before = hashes(project.path());
    assert!(before.keys().any(|name| name.ends_with("wal.db-wal")));
    let outcome = pinned(&databases);
    assert!(outcome.unreadable.is_empty() && outcome.findings.is_empty());
    let (folder, files) = images(&outcome);
    let (_again, second) = images(&outcome);
    drop(outcome);
    assert_eq!(hashes(project.path()), before);
    for (image, second) in files.iter().zip(&second) {
        let name = image.file_name().unwrap().to_str().unwrap();
        assert_eq!(fs::read(image).unwrap(), fs::read(second).unwrap(), "{name}: two images differ");
        let report = check(image).unwrap();
        assert!(report.is_sound() && report.unchecked.is_empty(), "{name}: {report:?}");
        let wanted = facts(image).unwrap();
        let digest = Digest::of(&fs::read(image).unwrap());
        let gather = dumped(image);
        assert_eq!(gather.cuts.len() as u64, wanted.rows(), "{name}: one cut per row");
        assert!(gather.cuts.iter().all(|(at, _)| gather.sql[..*at].ends_with(b");\n")));
        let shown = String::from_utf8_lossy(&gather.sql).into_owned();
        let ours = folder.path().join(format!("ours-{name}"));
        load(&mut BufReader::with_capacity(61, gather.sql.as_slice()), &ours).unwrap();
        let mut loaded = vec![ours];
        let theirs = folder.path().join(format!("theirs-{name}"));
        if shell_load(&gather.sql, &theirs) {
            loaded.push(theirs);
        }
        for loaded in loaded {
            let got = facts(&loaded).unwrap();
            assert_eq!(got.tables, wanted.tables, "{}\n{shown}", loaded.display());
            assert_eq!(got.logical, wanted.logical, "{}\n{shown}", loaded.display());
            assert_eq!(got.page_size, wanted.page_size, "{name}");
            assert_eq!(got.journal_mode, wanted.journal_mode, "{name}");
            assert!(check(&loaded).unwrap().is_sound(), "{name}");
            assert_eq!(dumped(&loaded).cuts.len(), gather.cuts.len());
        }
        assert_eq!(Digest::of(&fs::read(image).unwrap()), digest, "{name}: a copy was changed by reading it");
    }
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|n| n.to_str().unwrap().contains(".db-")), "sidecars: {names:?}");
}

#[test]
fn an_image_is_what_a_checkpoint_would_leave() {
    let project = tempfile::tempdir().unwrap();
    let databases = make_databases(project.path());
    let outcome = pinned(&databases);
    let (_folder, files) = images(&outcome);
    drop(outcome);
    for ((_, live), image) in databases.iter().zip(sorted_like(&files, &databases)) {
        Connection::open(live).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        assert!(fs::read(live).unwrap() == fs::read(&image).unwrap(), "{}", live.display());
    }
}

/// The images in the order of the databases; pinning sorts them.
fn sorted_like(files: &[PathBuf], databases: &[(SafePath, PathBuf)]) -> Vec<PathBuf> {
    let name = |path: &Path| path.file_name().unwrap().to_owned();
    databases.iter().map(|(_, db)| files.iter().find(|f| name(f) == name(db)).unwrap().clone()).collect()
}

#[test]
fn what_is_written_after_the_pin_is_not_in_the_image() {
    let project = tempfile::tempdir().unwrap();
    let file = project.path().join("a.db");
    let writer = Connection::open(&file).unwrap();
    writer.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)").unwrap();
    let outcome = pinned(&[(SafePath::new("a.db").unwrap(), file)]);
    writer.execute_batch("INSERT INTO t VALUES(2); CREATE TABLE late(b)").unwrap();
    let (_folder, files) = images(&outcome);
    let facts = facts(&files[0]).unwrap();
    assert_eq!((facts.rows(), facts.tables.len()), (1, 1));
}

#[test]
fn what_cannot_be_read_is_listed_with_its_reason() {
    let project = tempfile::tempdir().unwrap();
    let at = |name: &str| (SafePath::new(name).unwrap(), project.path().join(name));
    fs::write(at("text.db").1, "no database at all, but long enough to be read as one page".repeat(20))
        .unwrap();
    Connection::open(at("held.db").1).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    Connection::open(at("good.db").1).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    let holder = Connection::open(at("held.db").1).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let all = ["text.db", "held.db", "good.db", "absent.db"].map(at);
    let outcome = pin(&all, Duration::from_millis(80)).unwrap();
    let names = |list: Vec<&SafePath>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(outcome.pinned.iter().map(|p| p.path()).collect()), ["good.db"]);
    assert_eq!(
        names(outcome.unreadable.iter().map(|u| &u.path).collect()),
        ["absent.db", "held.db", "text.db"]
    );
    let locked: Vec<bool> = outcome.unreadable.iter().map(|u| u.locked).collect();
    assert_eq!(locked, [false, true, false], "{:?}", outcome.unreadable);
    assert!(!at("absent.db").1.exists());
    assert!(outcome.findings.is_empty(), "only one database is left, so there is nothing to tear");
}

#[test]
fn files_that_are_no_databases_do_not_make_anybody_wait() {
    let project = tempfile::tempdir().unwrap();
    let at = |name: &str| (SafePath::new(name).unwrap(), project.path().join(name));
    let all = ["a.db", "b.db", "c.db", "d.db"].map(at);
    for (_, file) in &all[..2] {
        fs::write(file, "SQLite format 3\0 but then nothing that makes sense".repeat(100)).unwrap();
    }
    for (_, file) in &all[2..] {
        Connection::open(file).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    }
    let started = std::time::Instant::now();
    let outcome = pinned(&all);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!((outcome.pinned.len(), outcome.unreadable.len(), outcome.findings.len()), (2, 2, 0));
}

#[cfg(unix)]
#[test]
fn two_names_of_one_file_do_not_wait_for_each_other() {
    let project = tempfile::tempdir().unwrap();
    let at = |name: &str| (SafePath::new(name).unwrap(), project.path().join(name));
    let all = ["a.db", "b.db", "link1.db", "link2.db"].map(at);
    for (_, file) in &all[..2] {
        Connection::open(file).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    }
    std::os::unix::fs::symlink("a.db", &all[2].1).unwrap();
    std::os::unix::fs::symlink("b.db", &all[3].1).unwrap();
    let started = std::time::Instant::now();
    let outcome = pinned(&all);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!((outcome.pinned.len(), outcome.findings.len()), (4, 0));
}

#[test]
fn two_missing_locks_are_a_problem_and_one_is_none() {
    let project = tempfile::tempdir().unwrap();
    let at = |name: &str| (SafePath::new(name).unwrap(), project.path().join(name));
    let all = ["a.db", "b.db", "c.db"].map(at);
    let mut writers = Vec::new();
    for (_, file) in &all {
        let writer = Connection::open(file).unwrap();
        writer.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(a)").unwrap();
        writers.push(writer);
    }
    writers[0].execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = std::time::Instant::now();
    let outcome = pin(&all, Duration::from_millis(500)).unwrap();
    assert!(outcome.findings.is_empty() && outcome.pinned.len() == 3);
    assert!(started.elapsed() < Duration::from_millis(400), "all but one are enough at once");
    drop(outcome);
    writers[2].execute_batch("BEGIN IMMEDIATE").unwrap();
    let outcome = pin(&all, Duration::from_millis(60)).unwrap();
    assert_eq!(outcome.pinned.len(), 3);
    assert_eq!(outcome.findings[0].code, "not-one-instant");
    assert!(outcome.findings[0].message.contains("a.db, c.db"), "{}", outcome.findings[0].message);
    // No lock is left behind.
    writers[1].execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES(1); COMMIT").unwrap();
}

/// Root may write everywhere, so as root this test runs itself again as somebody else.
#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_can_be_read() {
    const NAME: &str = "tests::a_folder_that_may_not_be_written_can_be_read";
    if rustix::process::geteuid().is_root() {
        let run = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env("TMPDIR", "/tmp")
            .output();
        match run {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
            }
            Err(error) => eprintln!("SKIPPED: can't become somebody else: {error}"),
        }
        return;
    }
    let project = tempfile::tempdir().unwrap();
    let inner = project.path().join("p");
    fs::create_dir(&inner).unwrap();
    let at = |name: &str| (SafePath::new(name).unwrap(), inner.join(name));
    let all = ["left.db", "plain.db", "wal.db"].map(at);
    let made = all.clone().map(|(path, file)| {
        let made = Connection::open(file).unwrap();
        let mode = if path.bytes() == b"plain.db" { "delete" } else { "wal" };
        made.execute_batch(&format!(
            "PRAGMA journal_mode={mode}; CREATE TABLE t(a); INSERT INTO t VALUES(1)"
        ))
        .unwrap();
        made
    });
    // The first one leaves its -wal, which nobody could read here without an -shm.
    use rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    made[0].set_db_config(SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    drop(made);
    fs::remove_file(inner.join("left.db-shm")).unwrap();
    let modes = |folder: u32, file: u32| {
        let set = |path: &Path, mode| crate::base::file_facts::set_mode(path, mode).unwrap();
        set(&inner, 0o700);
        fs::read_dir(&inner).unwrap().for_each(|entry| set(&entry.unwrap().path(), file));
        set(&inner, folder);
    };
    for file_mode in [0o444, 0o644] {
        modes(0o555, file_mode);
        let before = hashes(&inner);
        let outcome = pin(&all, Duration::from_millis(200)).unwrap();
        let names: Vec<String> = outcome.pinned.iter().map(|p| p.path().to_string()).collect();
        assert_eq!(names, ["plain.db", "wal.db"], "{:?}", outcome.unreadable);
        assert!(!outcome.unreadable[0].locked);
        let (_folder, files) = images(&outcome);
        assert!(files.iter().all(|image| facts(image).unwrap().rows() == 1));
        // A writer with more rights comes while we read without a lock: no torn copy, but an error.
        modes(0o700, 0o644);
        Connection::open(&all[2].1)
            .unwrap()
            .execute_batch("INSERT INTO t VALUES(2); DELETE FROM t WHERE a=2")
            .unwrap();
        let torn = outcome.pinned[1].copy_image(&project.path().join("torn"), &|_| ());
        assert!(torn.is_err() && !project.path().join("torn").exists());
        drop(outcome);
        modes(0o555, file_mode);
        assert_eq!(hashes(&inner).len(), before.len());
    }
    modes(0o755, 0o644);
}

/// A shell that changes two databases in one transaction, for as long as it lives.
fn spanning_writer(a: &Path, b: &Path) -> Option<Child> {
    let script = format!(
        ".timeout 2000\nATTACH '{}' AS two;\nPRAGMA synchronous=OFF;\nPRAGMA two.synchronous=OFF;\n",
        b.display()
    );
    let mut child =
        Command::new("sqlite3").arg(a).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().ok()?;
    let mut stdin = child.stdin.take().unwrap();
    std::thread::spawn(move || {
        let step = "BEGIN IMMEDIATE; UPDATE main.t SET n=n+1; UPDATE two.t SET n=n+1; COMMIT;\n".repeat(50);
        if stdin.write_all(script.as_bytes()).is_ok() {
            while stdin.write_all(step.as_bytes()).is_ok() {} // until the shell is gone
        }
    });
    Some(child)
}

#[test]
fn a_transaction_of_another_process_across_two_databases_is_never_torn() {
    for mode in ["wal", "delete"] {
        let project = tempfile::tempdir().unwrap();
        let at = |name: &str| (SafePath::new(name).unwrap(), project.path().join(name));
        let both = ["a.db", "b.db"].map(at);
        for (_, file) in &both {
            let made = Connection::open(file).unwrap();
            made.execute_batch(&format!(
                "PRAGMA journal_mode={mode}; CREATE TABLE t(n); INSERT INTO t VALUES(0)"
            ))
            .unwrap();
        }
        let Some(mut child) = spanning_writer(&both[0].1, &both[1].1) else {
            eprintln!("SKIPPED: there is no sqlite3 shell on this system");
            return;
        };
        let (mut first, mut last) = (None, 0);
        let until = std::time::Instant::now() + Duration::from_millis(1500);
        let mut rounds = 0;
        // At least so many rounds, however busy the machine is.
        while std::time::Instant::now() < until || rounds < 6 {
            let outcome = pinned(&both);
            assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
            assert!(outcome.unreadable.is_empty(), "{:?}", outcome.unreadable);
            let (_folder, files) = images(&outcome);
            drop(outcome);
            let n = |file: &PathBuf| -> i64 {
                let image = super::open::immutable(file).unwrap();
                image.query_row("SELECT n FROM t", [], |row| row.get(0)).unwrap()
            };
            let (a, b) = (n(&files[0]), n(&files[1]));
            assert_eq!(a, b, "torn in {mode} mode, round {rounds}");
            first.get_or_insert(a);
            last = a;
            rounds += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(last > first.unwrap() + 5, "{mode}: {rounds} rounds, {first:?} to {last}");
    }
}
