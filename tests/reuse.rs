//! A repeated backup takes over what the newest one holds, in its compressed form; every archive is whole all the
//! same, and damage in an earlier one never travels.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use support::framework::{noise, write};
use support::tree::{differences, fingerprint};
use support::{Output, Sandbox, archives, git};

/// A project with a database, files of every size and a history.
fn project(sandbox: &Sandbox) -> PathBuf {
    let project = sandbox.project();
    fs::create_dir_all(project.join("memory")).unwrap();
    git(&project, &["init", "-q"]);
    write(&project, ".gitignore", "memory/\n");
    for number in 0..200 {
        write(&project, &format!("src/part{number}.rs"), &format!("// {number}\n").repeat(200));
    }
    fs::write(project.join("memory/noise.bin"), noise(1_500_000, 5)).unwrap();
    git(&project, &["add", "."]);
    git(&project, &["commit", "-qm", "all"]);
    let database = Connection::open(project.join("memory/index.db")).unwrap();
    database
        .execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT);")
        .unwrap();
    insert(&project, 4000);
    project
}

fn insert(project: &Path, rows: u32) {
    let database = Connection::open(project.join("memory/index.db")).unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ?1)
               INSERT INTO t(x) SELECT hex(randomblob(200)) FROM n";
    database.execute(sql, [rows]).unwrap();
}

fn back_up(sandbox: &Sandbox, more: &[&str]) -> Output {
    sandbox.run(&[&["backup", "--json", "--store", "../store"], more].concat())
}

/// Where the archive of a backup is.
fn archive(output: &Output) -> PathBuf {
    output.json()["archive"].as_str().unwrap().into()
}

/// Bytes that were taken over, and of how many.
fn reused(output: &Output) -> (u64, u64) {
    let told = output.json();
    (told["reused"]["bytes"].as_u64().unwrap_or_default(), told["bytes"].as_u64().unwrap())
}

#[test]
fn ten_in_a_row_are_whole_each_for_itself() {
    let sandbox = Sandbox::new();
    let project = project(&sandbox);
    let first = back_up(&sandbox, &[]).ok();
    assert_eq!(reused(&first).0, 0);
    for round in 0..9 {
        insert(&project, 40);
        write(&project, &format!("src/new{round}.rs"), &format!("// {round}\n"));
        write(&project, "src/part7.rs", &format!("// changed {round}\n").repeat(300));
        if round == 4 {
            git(&project, &["add", "."]);
            git(&project, &["commit", "-qm", "more"]);
        }
        let (bytes, of) = reused(&back_up(&sandbox, &[]).ok());
        assert!(bytes * 2 > of, "round {round}: {bytes} of {of} bytes were taken over");
    }
    let all = archives(&sandbox.path("store"));
    assert_eq!(all.len(), 10);
    // Each of them alone, the nine others gone.
    for archive in &all {
        let alone = tempfile::tempdir().unwrap();
        let copy = alone.path().join(archive.file_name().unwrap());
        fs::copy(archive, &copy).unwrap();
        let id = copy.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
        let store = alone.path().to_str().unwrap();
        sandbox.run(&["verify", &id, "--full-test", "--store", store]).ok();
        let plain = alone.path().join("plain");
        fs::create_dir(&plain).unwrap();
        let told = Command::new("tar").arg("-xzf").arg(&copy).arg("-C").arg(&plain).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let mut sums = Command::new("sha256sum");
        sums.args(["-c", "--quiet", "SHA256SUMS"]).current_dir(plain.join("backup"));
        let told = sums.output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    }
    // What was taken over is what is there.
    sandbox.run(&["restore", "latest", "--to", "../back", "--store", "../store"]).ok();
    let back = fingerprint(&sandbox.path("back/src"), false);
    let gone = differences(&fingerprint(&project.join("src"), false), &back);
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn everything_anew_gives_the_same_content() {
    let sandbox = Sandbox::new();
    let project = project(&sandbox);
    back_up(&sandbox, &[]).ok();
    insert(&project, 10);
    let with = back_up(&sandbox, &[]).ok();
    assert!(reused(&with).0 > 0);
    let again = back_up(&sandbox, &["--no-reuse"]).ok();
    assert!(again.json()["reused"].is_null());
    assert_eq!(listing(&archive(&with)), listing(&archive(&again)));
}

/// The checksums in an archive, but for what tells of the run itself.
fn listing(archive: &Path) -> Vec<String> {
    let told = Command::new("tar").arg("-xzOf").arg(archive).arg("backup/SHA256SUMS").output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    text.lines()
        .filter(|line| line.contains(" files/") || line.contains("index.db"))
        .map(str::to_owned)
        .collect()
}

/// The history is carried over, and what came since is in one bundle more: every archive has all of it.
#[test]
fn the_history_grows_by_what_came_since() {
    let sandbox = Sandbox::new();
    let project = project(&sandbox);
    let bundles = |output: &Output| output.json()["manifest"]["git"]["bundles"].as_array().unwrap().len();
    assert_eq!(bundles(&back_up(&sandbox, &[]).ok()), 1);
    assert_eq!(bundles(&back_up(&sandbox, &[]).ok()), 1);
    write(&project, "src/new.rs", "// new\n");
    git(&project, &["add", "."]);
    git(&project, &["commit", "-qm", "new"]);
    git(&project, &["tag", "v1"]);
    assert_eq!(bundles(&back_up(&sandbox, &[]).ok()), 2);
    write(&project, "src/part3.rs", "// staged\n");
    git(&project, &["add", "."]);
    write(&project, "src/part3.rs", "// unstaged\n");
    let last = back_up(&sandbox, &[]).ok();
    assert_eq!(bundles(&last), 3);
    assert_eq!(bundles(&back_up(&sandbox, &["--no-reuse"]).ok()), 1);
    let id = last.json()["id"].as_str().unwrap().to_owned();
    sandbox.run(&["verify", &id, "--full-test", "--store", "../store"]).ok();
    let asked: [&[&str]; 6] =
        [&["for-each-ref"], &["log"], &["status"], &["diff"], &["fsck", "--no-dangling"], &["stash", "list"]];
    let before = asked.map(|words| git(&project, words));
    fs::rename(&project, sandbox.path("gone")).unwrap();
    fs::create_dir(&project).unwrap();
    let archive = archive(&last);
    let alone = sandbox.path("alone");
    fs::create_dir(&alone).unwrap();
    fs::copy(&archive, alone.join(archive.file_name().unwrap())).unwrap();
    sandbox.run(&["restore", &id, "--to", "../back", "--store", "../alone"]).ok();
    let back = sandbox.path("back");
    assert_eq!(before, asked.map(|words| git(&back, words)));
}

/// The disk has spoiled the history in the newest backup: the next one holds it whole again, and says what it met.
#[test]
fn a_damaged_history_is_not_carried_over() {
    let sandbox = Sandbox::new();
    let project = project(&sandbox);
    fs::write(project.join("large.bin"), noise(2_000_000, 9)).unwrap();
    git(&project, &["add", "."]);
    git(&project, &["commit", "-qm", "large"]);
    let earlier = archive(&back_up(&sandbox, &[]).ok());
    let bytes = fs::read(&earlier).unwrap();
    // The pack, which is stored, begins with the name of its kind; far behind that is what `large.bin` became.
    let pack = bytes.windows(8).position(|eight| eight == b"PACK\0\0\0\x02").unwrap();
    let mut spoiled = bytes.clone();
    spoiled[pack + 600_000] ^= 1;
    fs::write(&earlier, &spoiled).unwrap();
    let told = back_up(&sandbox, &[]).code(3).says("the earlier backup").says("is damaged");
    let new = told.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(told.json()["manifest"]["git"]["bundles"].as_array().unwrap().len(), 1);
    sandbox.run(&["verify", &new, "--full-test", "--store", "../store"]).ok();
    assert_eq!(archives(&sandbox.path("store")).len(), 2);
}

/// The disk has spoiled the newest backup: the next one is whole, and says what it met.
#[test]
fn damage_in_an_earlier_backup_is_told_and_does_not_travel() {
    let sandbox = Sandbox::new();
    let project = project(&sandbox);
    let earlier = archive(&back_up(&sandbox, &[]).ok());
    let mut bytes = fs::read(&earlier).unwrap();
    let (start, end) = (bytes.len() / 4, bytes.len() / 2);
    bytes[start..end].iter_mut().step_by(4096).for_each(|byte| *byte ^= 0x10);
    fs::write(&earlier, &bytes).unwrap();
    insert(&project, 10);
    let told = back_up(&sandbox, &[]).code(3);
    assert!(reused(&told).0 > 0);
    let id = earlier.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
    let told = told.says("the earlier backup").says(&format!("cargo xtask verify {id}"));
    let new = told.json()["id"].as_str().unwrap().to_owned();
    sandbox.run(&["verify", &new, "--full-test", "--store", "../store"]).ok();
    sandbox.run(&["verify", &id, "--store", "../store"]).code(3);
    // The next one has a good one to take from.
    let told = back_up(&sandbox, &[]).ok();
    assert_eq!(told.json()["reused"]["from"].as_str(), Some(new.as_str()));
}
