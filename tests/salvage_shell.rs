//! `salvage` and the user's `sqlite3`: what only its `.recover` reads comes in as doubtful, once, and nothing deleted
//! with it; whatever the shell prints, or stands in the database, nothing of it is run; and no shell remains.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use support::system::recover_shell;
use support::{Output, Sandbox};

const WHY: &str = "only the .recover of sqlite3 reads it";

fn open(path: &Path) -> Connection {
    let uri = format!("file:{}?immutable=1", path.display());
    Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI).unwrap()
}

fn rows(path: &Path, table: &str) -> Vec<String> {
    let connection = open(path);
    let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
    let columns = statement.column_count();
    let found = statement.query_map([], |row| {
        let value = |i| row.get_ref(i).map(|value| format!("{value:?}"));
        (0..columns).map(value).collect::<rusqlite::Result<Vec<_>>>().map(|values| values.join("|"))
    });
    found.unwrap().map(Result::unwrap).collect()
}

fn page_size(bytes: &[u8]) -> usize {
    match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => 65536,
        size => usize::from(size),
    }
}

/// The pages of a table or index, as `dbstat` tells them: number and whether it is a leaf.
fn pages(path: &Path, name: &str) -> Vec<(usize, bool)> {
    let connection = open(path);
    let sql = "SELECT pageno, pagetype = 'leaf' FROM dbstat WHERE name = ?1 AND pagetype != 'overflow' ORDER BY path";
    let mut statement = connection.prepare(sql).unwrap();
    let found =
        statement.query_map([name], |row| Ok((row.get::<_, i64>(0)? as usize, row.get::<_, bool>(1)?)));
    found.unwrap().map(Result::unwrap).collect()
}

/// A write that went to the wrong place: the content of one page is on another one, too.
fn misplace(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).unwrap();
    let size = page_size(&bytes);
    bytes.copy_within((from - 1) * size..from * size, (to - 1) * size);
    fs::write(path, bytes).unwrap();
}

/// Puts this folder before all others on the search path.
fn with_shell(sandbox: &mut Sandbox, folder: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = [folder.to_path_buf()].into_iter().chain(std::env::split_paths(&path));
    sandbox.env("PATH", std::env::join_paths(all).unwrap());
}

/// A program of that name which does what the script says.
fn made_shell(sandbox: &mut Sandbox, script: &str) {
    let folder = sandbox.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("sqlite3");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    with_shell(sandbox, &folder);
}

fn salvage(sandbox: &Sandbox, file: &Path, to: &Path, more: &[&str]) -> Output {
    for old in [to.to_path_buf(), PathBuf::from(format!("{}.report.json", to.display()))] {
        drop(fs::remove_file(old));
    }
    let mut words = vec!["salvage", file.to_str().unwrap(), "--to", to.to_str().unwrap(), "--json"];
    words.extend(more);
    let output = sandbox.run(&words);
    if [0, 3].contains(&output.code) {
        let told: String = open(to).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(told, "ok");
    }
    output
}

fn notes(report: &Value) -> String {
    report["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| note.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

fn of_table<'r>(report: &'r Value, name: &str) -> &'r Value {
    report["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).unwrap()
}

/// Two tables. When a page of the second comes to lie on the first leaf of the first one, that leads to all of the
/// second: found among thousands of random copies as what the shell reads and the salvage itself does not.
const TWO: &str = "
    CREATE TABLE first(id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INTEGER);
    CREATE TABLE second(id INTEGER PRIMARY KEY, v TEXT, r REAL, b BLOB);
    WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 600)
    INSERT INTO second SELECT i, CASE i % 3 WHEN 0 THEN 'it''s' || char(13, 10) || '\\u000a ä €' || i
        WHEN 1 THEN 'row ' || i ELSE NULL END, i / 8.0, zeroblob(i % 5) FROM c;
    INSERT INTO first SELECT id * 1000, 'name ' || id, id % 7 FROM second;
    UPDATE second SET r = 1e300 * 1e300 WHERE id = 5; UPDATE second SET r = 12345678901234567 WHERE id = 6;";

#[test]
fn rows_that_only_the_shell_reads_come_in_as_doubtful() {
    let Some(folder) = recover_shell() else { return };
    for settings in [
        "PRAGMA page_size = 1024",
        "PRAGMA page_size = 65536",
        "PRAGMA page_size = 4096; PRAGMA encoding = 'UTF-16le'",
        "PRAGMA page_size = 1024; PRAGMA encoding = 'UTF-16be'; PRAGMA auto_vacuum = 1",
    ] {
        let mut sandbox = Sandbox::new();
        let (file, alone, helped) =
            (sandbox.path("a.db"), sandbox.path("alone.db"), sandbox.path("helped.db"));
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch(settings).unwrap();
        connection.execute_batch(TWO).unwrap();
        if settings.contains("65536") {
            // Enough that there is an interior page.
            connection.execute("UPDATE second SET v = ifnull(v, '') || hex(randomblob(300))", []).unwrap();
            connection.execute("UPDATE first SET name = hex(randomblob(300))", []).unwrap();
        }
        drop(connection);
        let wanted = rows(&file, "second");
        let is_leaf = |(_, leaf): &&(usize, bool)| *leaf;
        let leaf = pages(&file, "first").iter().find(is_leaf).unwrap().0;
        misplace(&file, pages(&file, "second")[0].0, leaf);
        sandbox.env("PATH", "/nowhere");
        let report = salvage(&sandbox, &file, &alone, &[]).code(3).json();
        assert!(notes(&report).contains("no sqlite3 is installed"), "{}", notes(&report));
        let own = rows(&alone, "second");
        assert!(own.len() < wanted.len() / 2, "{settings}: {} rows without the shell", own.len());

        // What the user has set for the shell is not for us.
        fs::write(sandbox.path("home/.sqliterc"), ".shell touch ran\n.mode box\n.print hello\n").unwrap();
        with_shell(&mut sandbox, &folder);
        let report = salvage(&sandbox, &file, &helped, &[]).code(3).json();
        assert!(!sandbox.project().join("ran").exists());
        let table = of_table(&report, "second");
        assert_eq!(rows(&helped, "second"), wanted, "{settings}");
        assert_eq!(rows(&helped, "first"), rows(&alone, "first"), "{settings}");
        let gave = table["doubts"].as_array().unwrap().iter().find(|doubt| doubt["why"] == WHY).unwrap();
        assert_eq!(gave["rows"].as_u64().unwrap() as usize, wanted.len() - own.len(), "{settings}: {table}");
        assert_eq!(table["lost"], 0);
        let said = format!("asked for the rest: it gave {} rows", gave["rows"]);
        assert!(notes(&report).contains(&said), "{}", notes(&report));
        let people = sandbox.run(&["salvage", file.to_str().unwrap(), "--to", "people.db"]).code(3);
        assert!(people.stdout.contains(&said), "{}", people.stdout);
    }
}

#[test]
fn without_a_rowid_the_key_decides() {
    let Some(folder) = recover_shell() else { return };
    let mut sandbox = Sandbox::new();
    let (file, alone, helped) = (sandbox.path("a.db"), sandbox.path("alone.db"), sandbox.path("helped.db"));
    let connection = Connection::open(&file).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE first(a INT, b, c, PRIMARY KEY (b, a)) WITHOUT ROWID;
             CREATE TABLE second(v, k TEXT, PRIMARY KEY (k)) WITHOUT ROWID;
             WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 900)
             INSERT INTO first SELECT i, 'b' || i, 'some text' FROM c;
             INSERT INTO second SELECT a, b || 'k' FROM first;",
        )
        .unwrap();
    drop(connection);
    let wanted = rows(&file, "second");
    let own_pages = pages(&file, "first");
    let leaf = own_pages.iter().find(|(_, leaf)| *leaf).unwrap().0;
    misplace(&file, pages(&file, "second")[0].0, leaf);
    sandbox.env("PATH", "/nowhere");
    salvage(&sandbox, &file, &alone, &[]).code(3);
    with_shell(&mut sandbox, &folder);
    let report = salvage(&sandbox, &file, &helped, &[]).code(3).json();
    let (own, got) = (rows(&alone, "second"), rows(&helped, "second"));
    assert!(own.len() < wanted.len(), "the shell has nothing to add");
    assert_eq!(got, wanted, "{}", notes(&report));
    assert_eq!(of_table(&report, "second")["doubtful"].as_u64().unwrap() as usize, wanted.len() - own.len());
}

/// What the file itself holds comes first, then the backup: of a doubtful row it says whether it was so.
#[test]
fn the_backup_confirms_what_the_shell_reads_and_adds_what_it_does_not() {
    let Some(folder) = recover_shell() else { return };
    let mut sandbox = Sandbox::new();
    let (file, to) = (sandbox.project().join("a.db"), sandbox.path("new.db"));
    Connection::open(&file).unwrap().execute_batch(&format!("PRAGMA page_size = 1024; {TWO}")).unwrap();
    sandbox.run(&["backup"]).ok();
    Connection::open(&file)
        .unwrap()
        .execute_batch(
            "UPDATE second SET v = 'newer' WHERE id = 300; INSERT INTO second VALUES (601, 'new', 0.5, NULL)",
        )
        .unwrap();
    let wanted = rows(&file, "second");
    let leaf = pages(&file, "first").iter().find(|(_, leaf)| *leaf).unwrap().0;
    misplace(&file, pages(&file, "second")[0].0, leaf);
    with_shell(&mut sandbox, &folder);
    let report = salvage(&sandbox, &file, &to, &["--merge", "latest"]).code(3).json();
    let table = of_table(&report, "second");
    assert_eq!(rows(&to, "second"), wanted);
    assert_eq!(table["doubtful_rowids"], serde_json::json!([[300, 300], [601, 601]]), "{table}");
    let aside = "SELECT count(*) FROM lost_and_found WHERE \"table\" = 'second' AND rowid_was = 300 AND why LIKE 'of the backup%'";
    assert_eq!(open(&to).query_row(aside, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

/// A page as it was before its last write, and damaged as well, leads to pages that are free since.
#[test]
fn deleted_rows_stay_deleted() {
    let Some(folder) = recover_shell() else { return };
    let mut sandbox = Sandbox::new();
    let (file, to) = (sandbox.path("a.db"), sandbox.path("new.db"));
    let connection = Connection::open(&file).unwrap();
    connection.execute_batch(&format!("PRAGMA page_size = 1024; PRAGMA secure_delete = OFF; {TWO}")).unwrap();
    let root = pages(&file, "second")[0].0;
    let before = fs::read(&file).unwrap();
    connection.execute("DELETE FROM second WHERE id BETWEEN 200 AND 400", []).unwrap();
    let left = rows(&file, "second");
    drop(connection);
    let mut bytes = fs::read(&file).unwrap();
    let place = (root - 1) * 1024..root * 1024;
    assert_ne!(bytes[place.clone()], before[place.clone()]);
    bytes[place.clone()].copy_from_slice(&before[place.clone()]);
    bytes[place.start + 1] = 0xff;
    fs::write(&file, bytes).unwrap();
    let naive = Command::new(folder.join("sqlite3")).arg(&file).arg(".recover").output().unwrap();
    let naive = String::from_utf8_lossy(&naive.stdout).matches("'second'('id'").count();
    assert!(naive > left.len(), "the shell by itself brings back none of the deleted rows: {naive}");
    with_shell(&mut sandbox, &folder);
    let report = salvage(&sandbox, &file, &to, &[]).code(3).json();
    assert!(notes(&report).contains("was asked for the rest"), "{}", notes(&report));
    let got = rows(&to, "second");
    let deleted: Vec<&String> = got.iter().filter(|row| !left.contains(row)).collect();
    assert!(deleted.is_empty(), "{} deleted rows, such as {:?}", deleted.len(), deleted[0]);
}

/// The shell runs what stands in the schema that it recovers.
#[test]
fn a_schema_that_does_harm_never_reaches_the_shell() {
    let Some(folder) = recover_shell() else { return };
    let mut sandbox = Sandbox::new();
    let (file, to, owned) = (sandbox.path("a.db"), sandbox.path("new.db"), sandbox.path("owned.db"));
    let connection = Connection::open(&file).unwrap();
    connection.execute_batch(&format!("PRAGMA page_size = 1024; {TWO} CREATE TABLE third(a)")).unwrap();
    let sql = format!(
        "CREATE TABLE third(a); ATTACH '{}' AS o; CREATE TABLE o.t(a); INSERT INTO o.t VALUES (1)",
        owned.display()
    );
    connection.execute_batch("PRAGMA writable_schema = ON").unwrap();
    connection.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'third'", [sql]).unwrap();
    drop(connection);
    let leaf = {
        // Its schema can't be read any more, so `dbstat` can't be asked: a leaf of the first table.
        let bytes = fs::read(&file).unwrap();
        (2..bytes.len() / 1024).find(|page| bytes[page * 1024] == 13).unwrap() + 1
    };
    let mut bytes = fs::read(&file).unwrap();
    bytes[(leaf - 1) * 1024..leaf * 1024].fill(0);
    fs::write(&file, bytes).unwrap();
    Command::new(folder.join("sqlite3"))
        .args(["-readonly", "-safe", file.to_str().unwrap(), ".recover"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(owned.exists(), "the shell by itself does no harm any more");
    fs::remove_file(&owned).unwrap();
    with_shell(&mut sandbox, &folder);
    let report = salvage(&sandbox, &file, &to, &[]).code(3).json();
    assert!(notes(&report).contains("was asked for the rest"), "{}", notes(&report));
    assert!(!owned.exists());
}

/// What a shell must say before it is asked.
const KNOWS: &str = r#"case "$*" in
*--version*) echo '9.9.9 of today'; exit;;
*can-recover*) printf '%s\n' 'BEGIN;' "INSERT OR IGNORE INTO 't0'(_rowid_, 'c0') VALUES (1, replace('it''s\\nhere','\\n', char(10)));"; exit;;
esac
"#;

/// A table that misses the rows from 100 to 199 or so; the lowest and highest of them.
fn with_hole(sandbox: &Sandbox) -> PathBuf {
    let file = sandbox.path("a.db");
    Connection::open(&file)
        .unwrap()
        .execute_batch(
            "PRAGMA page_size = 1024; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT NOT NULL, n UNIQUE);
             WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 600)
             INSERT INTO t SELECT i, 'row ' || i, 1000 + i FROM c;",
        )
        .unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let leaves: Vec<usize> =
        pages(&file, "t").iter().filter(|(_, leaf)| *leaf).map(|(page, _)| *page).collect();
    for (page, _) in pages(&file, "sqlite_autoindex_t_1") {
        bytes[(page - 1) * 1024..page * 1024].fill(0);
    }
    bytes[(leaves[3] - 1) * 1024..leaves[3] * 1024].fill(0);
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn a_shell_that_lies_changes_nothing() {
    let mut sandbox = Sandbox::new();
    let (file, alone, to) = (with_hole(&sandbox), sandbox.path("alone.db"), sandbox.path("new.db"));
    sandbox.env("PATH", "/nowhere");
    let report = salvage(&sandbox, &file, &alone, &[]).code(3).json();
    let hole = &of_table(&report, "t")["maybe_lost_rowids"][0];
    let (low, high) = (hole[0].as_i64().unwrap(), hole[1].as_i64().unwrap());
    let line =
        |values: &str| format!("INSERT OR IGNORE INTO 't0'(_rowid_, 'c0', 'c1', 'c2') VALUES ({values});\n");
    let (a, b, c) = (low, low + 1, low + 2);
    let says = [
        line(&format!("{a}, NULL, 'good', 5")),
        line(&format!("{a}, NULL, 'again', 6")),
        line(&format!("{}, NULL, 'outside', 7", high + 1)),
        line("1, NULL, 'replaced', 8"),
        line("700, NULL, 'deleted', 9"),
        line(&format!("{b}, NULL, NULL, 10")),
        line(&format!("{b}, 3, 'an id of its own', 11")),
        line(&format!("{b}, NULL, 12, 12")),
        line(&format!("{b}, NULL, 'not unique', 1001")),
        line(&format!("{c}, NULL, readfile('/etc/passwd'), 13")),
        line(&format!("{c}, NULL, (SELECT 'x'), 14")),
        format!(
            "INSERT OR IGNORE INTO 't0'(_rowid_, 'c0', 'c1', 'c2', 'c3') VALUES ({c}, NULL, 'too many', 15, 16);\n"
        ),
        format!("INSERT OR IGNORE INTO 't7'(_rowid_, 'c0') VALUES ({c}, 1);\n"),
        format!(
            "ATTACH '{}' AS x; CREATE TABLE x.y(a); DELETE FROM t;\n",
            sandbox.path("owned.db").display()
        ),
        "DELETE FROM t0;\nDROP TABLE t;\n".to_owned(),
        line(&format!("{c}, NULL, 'cut of")).replace(");\n", ""),
    ];
    fs::write(sandbox.path("says"), says.concat()).unwrap();
    let script = format!("{KNOWS}cat '{}'", sandbox.path("says").display());
    made_shell(&mut sandbox, &script);
    let report = salvage(&sandbox, &file, &to, &[]).code(3).json();
    let mut wanted = rows(&alone, "t");
    let new: Vec<String> = rows(&to, "t").into_iter().filter(|row| !wanted.contains(row)).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    wanted.extend(new.clone());
    wanted.sort();
    let mut all = rows(&to, "t");
    all.sort();
    assert_eq!(all, wanted);
    let row = open(&to).query_row("SELECT v, n FROM t WHERE id = ?1", [a], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    });
    assert_eq!(row.unwrap(), ("good".to_owned(), 5));
    assert!(
        notes(&report).contains("sqlite3 9.9.9 was asked for the rest: it gave 1 row"),
        "{}",
        notes(&report)
    );
    let sql = "SELECT count(*) FROM lost_and_found WHERE why LIKE 'of the .recover of sqlite3: UNIQUE%'";
    assert_eq!(open(&to).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    assert!(!sandbox.path("owned.db").exists());
}

#[test]
fn a_shell_that_cant_or_has_no_end_is_told_and_a_whole_database_needs_none() {
    let mut sandbox = Sandbox::new();
    let (file, to) = (with_hole(&sandbox), sandbox.path("new.db"));
    let whole = sandbox.path("whole.db");
    Connection::open(&whole).unwrap().execute_batch(TWO).unwrap();
    let asked = sandbox.path("asked");
    for (script, said) in [
        (
            "echo '3.1.4 of old'; echo 'sql error: SQL logic error (1)' >&2",
            "sqlite3 3.1.4, which is installed, can't .recover",
        ),
        ("exit 1", "which is installed, can't .recover"),
        (
            &format!("{KNOWS}echo \"INSERT OR IGNORE INTO 't0'(_rowid_, 'c0') VALUES (1, NULL);\"; exit 1"),
            "it has none of it; it did not come to its end",
        ),
        // More than the database can justify.
        (&format!("{KNOWS}exec cat /dev/zero"), "it has none of it; it did not come to its end"),
        (&format!("{KNOWS}kill -9 $$"), "it did not come to its end"),
    ] {
        made_shell(&mut sandbox, &format!("touch '{}'\n{script}", asked.display()));
        drop(fs::remove_file(&asked));
        salvage(&sandbox, &whole, &to, &[]).code(0);
        assert!(!asked.exists(), "a whole database needs no shell");
        let started = Instant::now();
        let report = salvage(&sandbox, &file, &to, &[]).code(3).json();
        assert!(asked.exists() && notes(&report).contains(said), "{script}: {}", notes(&report));
        assert!(started.elapsed() < Duration::from_secs(30), "{script}");
    }
}

fn is_alive(pid: i32) -> bool {
    // One that nobody has buried yet is dead.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::test_kill_process(pid).is_ok() && !state.contains(") Z ")
}

#[test]
fn no_shell_remains_of_a_run_that_is_stopped_or_killed() {
    let mut sandbox = Sandbox::new();
    let (file, to, told) = (with_hole(&sandbox), sandbox.path("new.db"), sandbox.path("pid"));
    // One that says nothing can only be ended; one that goes on talking has nobody to talk to.
    let row = "INSERT OR IGNORE INTO ''t0''(_rowid_, ''c0'') VALUES (1, NULL);".replace("''", "'");
    for (rest, signal, code) in [
        ("exec sleep 500".to_owned(), rustix::process::Signal::INT, Some(130)),
        ("exec sleep 500".to_owned(), rustix::process::Signal::TERM, Some(130)),
        (format!("while :; do echo \"{row}\"; sleep 0.1; done"), rustix::process::Signal::KILL, None),
    ] {
        drop(fs::remove_file(&told));
        let place = told.display();
        made_shell(
            &mut sandbox,
            &format!("{KNOWS}echo $$ >'{place}.new'; mv '{place}.new' '{place}'\n{rest}"),
        );
        let words = ["salvage", file.to_str().unwrap(), "--to", to.to_str().unwrap()];
        let mut run = sandbox.command(sandbox.program());
        let mut run = run.args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let wait = |done: &dyn Fn() -> bool| {
            while !done() {
                assert!(Instant::now() < until, "{rest}: waited too long");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        wait(&|| told.exists());
        let shell: i32 = fs::read_to_string(&told).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(run.wait().unwrap().code(), code, "{rest}");
        wait(&|| !is_alive(shell));
        assert!(!to.exists(), "{rest}");
    }
}
