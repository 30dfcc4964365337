//! What did not change since the newest backup is not read again, and no change is ever missed.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use support::dice::Dice;
use support::framework::{noise, write};
use support::killing::is_full;
use support::tree::{differences, fingerprint};
use support::{Output, Sandbox, archives, git, side_by_side};

/// Times this fresh are never trusted.
fn settle() {
    std::thread::sleep(Duration::from_millis(3100));
}

const FILES: u64 = 203;

/// A project with two databases, one of which has rows that are only in its log, and files of every size.
fn project(sandbox: &Sandbox) -> PathBuf {
    let project = sandbox.project();
    fs::create_dir_all(project.join("memory/private")).unwrap();
    git(&project, &["init", "-q"]);
    write(&project, ".gitignore", "memory/\n");
    for number in 0..200 {
        write(&project, &format!("src/part{number}.rs"), &format!("// {number}\n").repeat(200));
    }
    fs::write(project.join("memory/noise.bin"), noise(1_500_000, 5)).unwrap();
    write(&project, "memory/private/note", "mine\n");
    git(&project, &["add", "."]);
    git(&project, &["commit", "-qm", "all"]);
    for (name, mode) in [("index", "wal"), ("vectors", "delete")] {
        let database = Connection::open(project.join(format!("memory/{name}.db"))).unwrap();
        let script = format!("PRAGMA journal_mode={mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT);");
        database.execute_batch(&script).unwrap();
        insert(&project, name, 3000);
        if name == "index" {
            database
                .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .unwrap();
        }
    }
    assert!(fs::metadata(project.join("memory/index.db-wal")).unwrap().len() > 0);
    project
}

fn insert(project: &Path, name: &str, rows: u32) {
    let database = Connection::open(project.join(format!("memory/{name}.db"))).unwrap();
    database.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ?1)
               INSERT INTO t(x) SELECT hex(randomblob(200)) FROM n";
    database.execute(sql, [rows]).unwrap();
}

fn back_up(sandbox: &Sandbox, more: &[&str]) -> Output {
    sandbox.run(&[&["backup", "--json", "--store", "../store"], more].concat())
}

/// Files and databases that were not read.
fn unread(output: &Output) -> (u64, u64) {
    let told = output.json();
    (told["unread"]["files"].as_u64().unwrap(), told["unread"]["databases"].as_u64().unwrap())
}

fn id(output: &Output) -> String {
    output.json()["id"].as_str().unwrap().to_owned()
}

/// What the newest backup gives back is what the project is: every file, every row.
#[track_caller]
fn comes_back(sandbox: &Sandbox, output: &Output) {
    // Ids come again once their backups are gone.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let back = sandbox.path(format!("back-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let to = back.to_str().unwrap();
    sandbox.run(&["verify", &id(output), "--full-test", "--store", "../store"]).ok();
    sandbox.run(&["restore", &id(output), "--to", to, "--store", "../store"]).ok();
    let without_databases = |folder: &Path| {
        let mut files = fingerprint(folder, false);
        files.retain(|path, _| {
            path != b".git" && !path.starts_with(b".git/") && !path.windows(3).any(|part| part == b".db")
        });
        files
    };
    let gone = differences(&without_databases(&sandbox.project()), &without_databases(&back));
    assert!(gone.is_empty(), "{gone:?}");
    for name in ["memory/index.db", "memory/vectors.db"] {
        assert_eq!(rows(&sandbox.project().join(name)), rows(&back.join(name)), "{name}");
    }
}

fn rows(database: &Path) -> Vec<(i64, String)> {
    let connection = Connection::open(database).unwrap();
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    let mut statement = connection.prepare("SELECT id, x FROM t ORDER BY id").unwrap();
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

/// Names of files of the project that a backup opens.
fn opened(sandbox: &Sandbox, more: &[&str]) -> Vec<String> {
    let log = sandbox.path("trace");
    let prefix = ["strace", "-f", "-e", "trace=open,openat", "-o"].map(Into::into).to_vec();
    let prefix = [prefix, vec![log.clone().into()]].concat();
    sandbox.run_under(&prefix, &[&["backup", "--store", "../store"], more].concat()).ok();
    let text = fs::read_to_string(log).unwrap();
    let root = sandbox.project();
    let root = root.to_str().unwrap();
    let files = text.lines().filter(|line| !line.contains("O_DIRECTORY") && line.contains(root));
    files.filter(|line| !line.contains("/.git/")).map(str::to_owned).collect()
}

#[test]
fn what_did_not_change_is_not_read() {
    let sandbox = Sandbox::new();
    project(&sandbox);
    settle();
    let first = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&first), (0, 0));
    let second = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&second), (FILES, 2));
    // What is said of the databases is said again.
    let facts = |output: &Output| -> Value {
        let mut databases = output.json()["manifest"]["databases"].clone();
        databases.as_array_mut().unwrap().iter_mut().for_each(|one| one["facts"]["read"] = Value::Null);
        databases
    };
    assert_eq!(facts(&first), facts(&second));
    comes_back(&sandbox, &second);
    // The bytes of neither files nor databases are asked for, but SQLite opens what it locks.
    if support::killing::tracer() {
        let plain: Vec<String> = opened(&sandbox, &[]).into_iter().filter(|l| !l.contains(".db")).collect();
        let read = plain.iter().filter(|line| line.contains("/src/") || line.contains("/memory/")).count();
        assert_eq!(read, 0, "{plain:?}");
        let read = opened(&sandbox, &["--full-read"]).iter().filter(|line| line.contains("/src/")).count();
        assert!(read >= 200, "{read}");
    }
    assert_eq!(unread(&back_up(&sandbox, &["--full-read"]).ok()), (0, 0));
    assert_eq!(unread(&back_up(&sandbox, &["--no-reuse"]).ok()), (0, 0));
    // Each is whole for itself, also the one whose every member came from another.
    for archive in archives(&sandbox.path("store")).iter().filter(|archive| !archive.ends_with(id(&second))) {
        fs::rename(archive, sandbox.path("aside")).unwrap();
    }
    let third = back_up(&sandbox, &["--no-sql"]).ok();
    assert_eq!(unread(&third), (0, 0), "there is nothing that it could be taken from");
}

/// Without dumps, from a backup with them, and the other way round.
#[test]
fn a_dump_that_is_missing_is_made() {
    let sandbox = Sandbox::new();
    project(&sandbox);
    settle();
    back_up(&sandbox, &["--no-sql"]).ok();
    let with = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&with), (FILES, 0));
    let without = back_up(&sandbox, &["--no-sql"]).ok();
    assert_eq!(unread(&without), (FILES, 2));
    let line = without.json()["manifest"]["databases"][0].clone();
    assert_eq!((&line["dump"], &line["dump_logical"]), (&Value::from(false), &Value::Null), "{line}");
    comes_back(&sandbox, &without);
}

#[test]
fn every_change_is_seen() {
    let sandbox = Sandbox::new();
    let project = project(&sandbox);
    settle();
    back_up(&sandbox, &[]).ok();
    // As long as before, and with the old time: only the change time tells.
    let keep_time = |name: &str, change: &dyn Fn(&Path)| {
        let path = project.join(name);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        change(&path);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[3] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    keep_time("src/part7.rs", &flip);
    keep_time("memory/noise.bin", &flip);
    // Another file of the same length and time in its place, and one in another's.
    let (one, two) = (project.join("src/part20.rs"), project.join("src/part21.rs"));
    let time = fs::metadata(&one).unwrap().modified().unwrap();
    File::options().write(true).open(&two).unwrap().set_modified(time).unwrap();
    fs::rename(&one, project.join("aside")).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(project.join("aside"), &two).unwrap();
    // A database in whose main file nothing changed, and one whose main file keeps its time.
    insert(&project, "index", 1);
    keep_time("memory/vectors.db", &|path| {
        let database = Connection::open(path).unwrap();
        database.execute("UPDATE t SET x = replace(x, 'A', 'B') WHERE id = 77", []).unwrap();
    });
    std::thread::sleep(Duration::from_millis(30)); // nothing is noted of a log that is written at this very moment
    let second = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&second), (FILES - 4, 0));
    comes_back(&sandbox, &second);
    // What was written a moment ago is read again, but for a log, which is known by its content.
    let third = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&third), (FILES - 4, 1));
    insert(&project, "index", 1);
    let fourth = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&fourth), (FILES - 4, 0));
    comes_back(&sandbox, &fourth);
    settle();
    back_up(&sandbox, &[]).ok();
    // Only a mode.
    let script = project.join("src/part9.rs");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let last = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&last), (FILES - 1, 2));
    comes_back(&sandbox, &last);
}

/// The same project elsewhere: what was noted is of other files.
#[test]
fn another_folder_is_read() {
    let sandbox = Sandbox::new();
    let project = project(&sandbox);
    settle();
    back_up(&sandbox, &[]).ok();
    let copy = sandbox.path("copy");
    let told = Command::new("cp").arg("-a").arg(&project).arg(&copy).status().unwrap();
    assert!(told.success());
    fs::rename(&project, sandbox.path("old")).unwrap();
    fs::rename(&copy, &project).unwrap();
    let here = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&here), (0, 0), "each file is another one");
    comes_back(&sandbox, &here);
}

/// What was brought from elsewhere is compared with what is read here, and not believed.
#[test]
fn only_what_was_made_here_is_believed() {
    let sandbox = Sandbox::new();
    project(&sandbox);
    settle();
    let first = back_up(&sandbox, &[]).ok();
    let state = sandbox.path(format!("store/{}.state.json", id(&first)));
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace(r#""by":"backup""#, r#""by":"pull""#)).unwrap();
    assert_ne!(fs::read_to_string(&state).unwrap(), text);
    let second = back_up(&sandbox, &[]).ok();
    assert_eq!(unread(&second), (0, 0));
    assert!(second.json()["reused"]["bytes"].as_u64().unwrap() > 1_500_000);
}

/// One database alone is looked at under its lock as well: what is committed between the pinning and the look would be
/// noted, not be in the copy, and be missed from then on.
#[test]
fn a_commit_while_it_is_looked_at_is_not_missed() {
    if !support::killing::tracer() {
        return;
    }
    side_by_side(&[100, 250, 400, 550, 700, 850, 1000], |wait_ms: u64| {
        let sandbox = Sandbox::new();
        let path = sandbox.project().join("a.db");
        let database = Connection::open(&path).unwrap();
        database.busy_timeout(Duration::from_secs(60)).unwrap();
        let script = "PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t(x) VALUES('a')";
        database.execute_batch(script).unwrap();
        settle();
        let mut traced = sandbox.command("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(sandbox.project().join("a.db-wal"));
        traced.args(["-e", "trace=statx", "-e", "inject=statx:delay_enter=300000"]).arg(sandbox.program());
        traced.args(["backup", "--store", "../store"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = traced.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait_ms));
        database.execute("INSERT INTO t(x) VALUES('b')", []).unwrap();
        assert!(child.wait().unwrap().success());
        let next = back_up(&sandbox, &[]).ok();
        let back = sandbox.path("back");
        let words = ["restore", &id(&next), "--to", back.to_str().unwrap(), "--store", "../store"];
        sandbox.run(&words).ok();
        assert_eq!(rows(&back.join("a.db")), rows(&path));
    });
}

/// The disk spoils what would have been taken over without a look: everything is read after all, and it is told.
#[test]
fn damage_never_travels_unread() {
    for step in [1, 700_000] {
        let sandbox = Sandbox::new();
        let project = project(&sandbox);
        settle();
        let first = back_up(&sandbox, &[]).ok();
        let archive = PathBuf::from(first.json()["archive"].as_str().unwrap());
        let bytes = fs::read(&archive).unwrap();
        let mut told = Vec::new();
        for place in (1000..bytes.len() - 40_000).step_by(bytes.len() / 7 + step) {
            let mut spoiled = bytes.clone();
            spoiled[place] ^= 0x20;
            fs::write(&archive, &spoiled).unwrap();
            let next = back_up(&sandbox, &["--no-sql"]);
            let code = next.code;
            told.push(code);
            assert!([0, 3].contains(&code), "{place}: {}", next.stderr);
            if code == 3 {
                // Where it was noticed by comparing, that member was packed anew; else nothing is taken over.
                assert!([(0, 0), (FILES, 2)].contains(&unread(&next)), "{place}");
                assert!(next.stderr.contains("the earlier backup"), "{place}: {}", next.stderr);
            }
            comes_back(&sandbox, &next);
            for made in archives(&sandbox.path("store")).iter().filter(|path| **path != archive) {
                fs::remove_file(made).unwrap();
            }
        }
        assert!(told.contains(&3), "{told:?}: {}", project.display());
    }
}

/// A safety copy is made as quickly, and what it took over unread comes back with `undo`.
#[test]
fn undo_brings_back_what_was_not_read() {
    let sandbox = Sandbox::new();
    let project = project(&sandbox);
    settle();
    back_up(&sandbox, &[]).ok();
    write(&project, "src/part7.rs", "// changed\n");
    insert(&project, "vectors", 5);
    let before = (fingerprint(&project.join("src"), false), rows(&project.join("memory/vectors.db")));
    let store = ["--store", "../store", "--force"];
    sandbox.run(&[&["restore", "latest"], &store[..]].concat()).ok();
    assert_ne!(rows(&project.join("memory/vectors.db")), before.1);
    sandbox.run(&[&["undo"], &store[..]].concat()).ok();
    let gone = differences(&before.0, &fingerprint(&project.join("src"), false));
    assert!(gone.is_empty(), "{gone:?}");
    assert_eq!(rows(&project.join("memory/vectors.db")), before.1);
}

/// Three databases, of which two at a time share transactions while the third rests: those that rest are taken over
/// unread, and yet every backup is of one instant.
#[test]
fn one_instant_with_databases_that_rest() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let sandbox = Sandbox::new();
    let memory = sandbox.project().join("memory");
    fs::create_dir_all(&memory).unwrap();
    for name in NAMES {
        let database = Connection::open(memory.join(format!("{name}.db"))).unwrap();
        let script = "PRAGMA journal_mode=wal; CREATE TABLE t(n); INSERT INTO t VALUES (1000)";
        database.execute_batch(script).unwrap();
    }
    let (stop, committed) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut rested, mut taken) = (0, Vec::new());
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut dice = Dice::new(11);
            while !stop.load(Ordering::Relaxed) {
                let resting = dice.roll(3) as usize;
                let pair: Vec<&str> = (0..3).filter(|n| *n != resting).map(|n| NAMES[n]).collect();
                let database = Connection::open(memory.join(format!("{}.db", pair[0]))).unwrap();
                database.busy_timeout(Duration::from_secs(60)).unwrap();
                let other = memory.join(format!("{}.db", pair[1]));
                database.execute("ATTACH ?1 AS other", [other.to_str().unwrap()]).unwrap();
                let until = Instant::now() + Duration::from_millis(2500 + dice.roll(2500));
                while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                    let script =
                        "BEGIN IMMEDIATE; UPDATE main.t SET n = n - 1; UPDATE other.t SET n = n + 1; COMMIT";
                    database.execute_batch(script).unwrap();
                    committed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let until = Instant::now() + Duration::from_secs(if is_full() { 240 } else { 18 });
        while Instant::now() < until {
            let next = back_up(&sandbox, &["--no-sql"]).ok();
            rested += unread(&next).1;
            taken.push(PathBuf::from(next.json()["archive"].as_str().unwrap()));
        }
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap();
    });
    assert!(committed.load(Ordering::Relaxed) > 100 && taken.len() > 5, "{committed:?}, {taken:?}");
    assert!(rested > 0, "no database was taken over unread");
    for archive in taken.iter().filter(|archive| archive.exists()) {
        let to = tempfile::tempdir().unwrap();
        let told = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(to.path()).status().unwrap();
        assert!(told.success());
        let sum: i64 = NAMES
            .iter()
            .map(|name| -> i64 {
                let path = to.path().join(format!("backup/databases/memory/{name}.db"));
                Connection::open(path).unwrap().query_row("SELECT n FROM t", [], |row| row.get(0)).unwrap()
            })
            .sum();
        assert_eq!(sum, 3000, "{}", archive.display());
    }
}
