//! Promise: `restore --sql-only` loads dumps as they come out of the archive, and all of them or none come back.
//! Damage in the middle of one, or Ctrl-C, leaves nothing in the new folder and nothing changed in the project, and
//! says why; memory is flat but for the largest value.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use support::framework::noise;
use support::tree::{differences, fingerprint, without_sidecars};
use support::{Sandbox, archives, forge};

const NAMES: [&str; 3] = ["index", "vectors", "small"];

/// A project of two databases of so many rows, and one of a few, with a backup.
fn backed_up(rows: u32) -> Sandbox {
    let sandbox = Sandbox::new();
    let memory = sandbox.project().join("memory");
    fs::create_dir(&memory).unwrap();
    for name in NAMES {
        let mut connection = Connection::open(memory.join(name).with_extension("db")).unwrap();
        connection.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB)").unwrap();
        let work = connection.transaction().unwrap();
        for id in 0..if name == "small" { 9 } else { rows } {
            let blob = noise(300, u64::from(id) + 1);
            work.execute("INSERT INTO t VALUES(?, ?, ?)", (id, format!("{name} {id}").repeat(20), blob))
                .unwrap();
        }
        work.commit().unwrap();
    }
    sandbox.run(&["backup", "--store", "../store"]).ok();
    sandbox
}

/// The two ways of a restore from dumps.
const WAYS: [&[&str]; 2] = [&["--to", "../new"], &["--force", "--no-backup"]];

/// Nothing but a lock file of its own may be where the project was to come.
#[track_caller]
fn nothing_came(new: &Path) {
    let left: Vec<_> =
        fs::read_dir(new).into_iter().flatten().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn damage_in_the_middle_of_a_dump_leaves_nothing_and_is_named() {
    let sandbox = backed_up(8000);
    let archive = archives(&sandbox.path("store")).remove(0);
    let good = fs::read(&archive).unwrap();
    let (index, _) = forge::index(&good);
    let name = "backup/sql/memory/vectors.db.sql";
    let chunks: Vec<usize> = index["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["name"] == name)
        .map(|line| usize::try_from(line["offset"].as_u64().unwrap()).unwrap())
        .collect();
    assert!(chunks.len() > 40, "{} chunks", chunks.len());
    let project = sandbox.project();
    fs::write(project.join("memory/new.txt"), "as it is now").unwrap();
    Connection::open(project.join("memory/index.db"))
        .unwrap()
        .execute_batch("DELETE FROM t WHERE id > 9")
        .unwrap();
    let before = without_sidecars(fingerprint(&project, true));
    // The first chunk, one in the middle, and the last one: then SQLite has seen all but the COMMIT.
    for chunk in [chunks[0], chunks[chunks.len() / 2], *chunks.last().unwrap()] {
        let mut damaged = good.clone();
        damaged[chunk + 20] ^= 0x10;
        fs::write(&archive, damaged).unwrap();
        for way in WAYS {
            let words = [&["restore", "latest", "--sql-only", "--store", "../store"], way].concat();
            let output = sandbox.run(&words).code(1);
            assert!(output.stderr.contains("can't load the dump of memory/vectors.db"), "{output:?}");
            assert!(output.stderr.contains("is damaged"), "{output:?}");
            assert!(!output.stderr.contains("line "), "the dump is blamed: {output:?}");
            nothing_came(&sandbox.path("new"));
            let after = without_sidecars(fingerprint(&project, true));
            assert_eq!(differences(&before, &after), Vec::<String>::new(), "{way:?}");
        }
    }
    // What is whole comes back all the same.
    let words = ["restore", "latest", "--sql-only", "--only", "memory/index.db", "--to", "../new"];
    sandbox.run(&[&words[..], &["--store", "../store"]].concat()).ok();
    let rows: i64 = Connection::open(sandbox.path("new/memory/index.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 8000);
}

/// Sent as soon as a database begins to grow: the other one is under way then, too.
#[test]
fn an_interrupt_while_dumps_are_loaded_leaves_nothing() {
    let sandbox = backed_up(60_000);
    let project = sandbox.project();
    Connection::open(project.join("memory/small.db"))
        .unwrap()
        .execute_batch("DELETE FROM t WHERE id = 1")
        .unwrap();
    let before = without_sidecars(fingerprint(&project, true));
    for (way, place) in WAYS.into_iter().zip([sandbox.path("new"), project.clone()]) {
        let mut command = sandbox.command(support::binary());
        command.args([&["restore", "latest", "--sql-only", "--store", "../store"], way].concat());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        while !grows(&place.join(".xtask-restore")) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{way:?}");
        nothing_came(&sandbox.path("new"));
        let after = without_sidecars(fingerprint(&project, true));
        assert_eq!(differences(&before, &after), Vec::<String>::new(), "{way:?}");
    }
}

/// Whether a database in this folder has got its first bytes.
fn grows(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).any(|path| match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => grows(&path),
        Ok(meta) => path.extension().is_some_and(|ending| ending == "db") && meta.len() > 0,
        Err(_) => false,
    })
}

/// Twice the largest value and 64 MiB, when it is saved, verified and brought back; also where two databases have
/// such a value.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_flat_but_for_the_largest_value() {
    const VALUE: usize = 48 << 20;
    const MOST: u64 = (64 << 20) + 2 * VALUE as u64;
    let sandbox = Sandbox::new();
    for name in ["one.db", "two.db"] {
        let connection = Connection::open(sandbox.project().join(name)).unwrap();
        connection.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB, c)").unwrap();
        connection.execute("INSERT INTO t VALUES(1, ?, 'last')", [noise(VALUE, 7)]).unwrap();
    }
    for words in [
        &["backup"][..],
        &["restore", "latest", "--sql-only", "--to", "../new"],
        &["verify", "latest", "--full-test"],
    ] {
        let memory = peak(&sandbox, words);
        assert!(memory > 1 << 20 && memory < MOST, "{words:?}: {} MiB", memory >> 20);
    }
    for name in ["one.db", "two.db"] {
        let made = Connection::open(sandbox.path("new").join(name)).unwrap();
        let size: i64 = made.query_row("SELECT length(b) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(size, VALUE as i64);
    }
}

/// The most memory that a run had, in bytes. It must end well.
#[cfg(target_os = "linux")]
fn peak(sandbox: &Sandbox, words: &[&str]) -> u64 {
    let mut command = sandbox.command(support::binary());
    command.args([words, &["--store", "../store"]].concat());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let (status, peak_kib) = support::system::peak(command.spawn().unwrap());
    assert_eq!(status.code(), Some(0), "{words:?}");
    peak_kib << 10
}
