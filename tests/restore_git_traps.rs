//! Traps for databases when a commit is put back: configurations that leave them out, pointers, folders and links
//! in their place, repositories inside, names that SQLite takes for something else. Nothing is lost, and what does
//! not come is named.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use support::framework::write;
use support::tree::{differences, fingerprint, without_sidecars};
use support::{Output, Sandbox, git};

const NONE: Vec<String> = Vec::new();

fn change(database: &Path, sql: &str) {
    fs::create_dir_all(database.parent().unwrap()).unwrap();
    Connection::open(database).unwrap().execute_batch(sql).unwrap();
}

/// A database with one row.
fn make(database: &Path, value: i64) {
    change(database, &format!("CREATE TABLE t(a); INSERT INTO t VALUES({value})"));
}

fn values(database: &Path) -> Vec<i64> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let mut select = connection.prepare("SELECT a FROM t ORDER BY a").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::in_memory();
    git(&sandbox.project(), &["init", "-q", "-b", "main"]);
    sandbox
}

fn commit(project: &Path, name: &str) {
    write(project, "state", &format!("{name}\n"));
    git(project, &["add", "-A", "."]);
    git(project, &["commit", "-q", "-m", name]);
}

fn restore(sandbox: &Sandbox, words: &[&str]) -> Output {
    sandbox.run(&[&["restore-git", "--force"], words].concat())
}

fn undo(sandbox: &Sandbox) -> Output {
    sandbox.run(&["undo", "--force"]).ok()
}

#[test]
fn a_database_that_backups_leave_out_is_neither_replaced_nor_removed() {
    for settings in ["databases = [\"a.db\"]", "exclude = [\"b.db\"]"] {
        let sandbox = sandbox();
        let project = sandbox.project();
        write(&project, "Cargo.toml", &format!("[workspace.metadata.backup]\n{settings}\n"));
        make(&project.join("a.db"), 1);
        commit(&project, "without");
        make(&project.join("b.db"), 1);
        commit(&project, "with");
        change(&project.join("b.db"), "INSERT INTO t VALUES(2)");
        commit(&project, "more");
        change(&project.join("b.db"), "PRAGMA journal_mode = WAL; INSERT INTO t VALUES(3)");
        let before = without_sidecars(fingerprint(&project, false));
        // It would be in no safety copy.
        let told = restore(&sandbox, &["HEAD~1", "--restore-databases"]).code(6).says("b.db");
        assert!(told.stderr.contains("safety copy does not hold it"), "{settings}: {told:?}");
        assert_eq!(differences(&before, &without_sidecars(fingerprint(&project, false))), NONE, "{settings}");
        for rev in ["HEAD~1", "HEAD~2"] {
            let told = restore(&sandbox, &[rev]).ok();
            assert!(told.stderr.contains("b.db"), "{settings}, {rev}: {told:?}");
            assert_eq!(values(&project.join("b.db")), [1, 2, 3], "{settings}, {rev}");
            undo(&sandbox);
            assert_eq!(values(&project.join("b.db")), [1, 2, 3], "{settings}, {rev}");
        }
    }
}

#[test]
fn what_only_stands_for_a_database_does_not_take_its_place() {
    for stand_in in ["", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8192\n"] {
        let sandbox = sandbox();
        let project = sandbox.project();
        let database = project.join("x.db");
        write(&project, "x.db", stand_in);
        commit(&project, "stand-in");
        fs::remove_file(&database).unwrap();
        make(&database, 1);
        // As Git LFS has it: the database on the disk, the pointer in the index.
        sandbox.run(&["backup"]).ok();
        commit(&project, "other");
        change(&database, "INSERT INTO t VALUES(2)");
        let told = restore(&sandbox, &["HEAD~1", "--restore-databases"]);
        assert!(matches!(told.code, 0 | 3), "{told:?}");
        assert_eq!(values(&database), [1], "{told:?}");
        undo(&sandbox);
        assert_eq!(values(&database), [1, 2]);
        restore(&sandbox, &["HEAD~1"]);
        assert_eq!(values(&database), [1, 2]);
    }
}

#[test]
fn a_database_where_the_commit_has_a_folder_stays_and_is_named() {
    let sandbox = sandbox();
    let project = sandbox.project();
    write(&project, "data/x", "in a folder\n");
    commit(&project, "a folder");
    git(&project, &["rm", "-q", "-r", "data"]);
    make(&project.join("data"), 1);
    commit(&project, "a database");
    sandbox.run(&["backup"]).ok();
    for words in [&["HEAD~1"][..], &["HEAD~1", "--checkout"]] {
        let told = restore(&sandbox, words).code(3).says("data/x");
        assert_eq!(values(&project.join("data")), [1], "{told:?}");
        undo(&sandbox);
        assert_eq!(values(&project.join("data")), [1], "{told:?}");
    }
    // The backup that names this commit has it as a database, the older one knows nothing.
    git(&project, &["checkout", "-q", "--detach", "HEAD"]);
    let told = restore(&sandbox, &["HEAD~1", "--restore-databases"]);
    assert!(matches!(told.code, 3 | 4 | 6) && told.stderr.contains("data"), "{told:?}");
    assert_eq!(values(&project.join("data")), [1], "{told:?}");
}

#[test]
fn behind_a_link_there_is_no_database_of_this_project() {
    let sandbox = sandbox();
    let project = sandbox.project();
    make(&project.join("dir/x.db"), 1);
    write(&project, "dir/f", "f\n");
    commit(&project, "a folder");
    let outside = sandbox.path("outside");
    fs::rename(project.join("dir"), &outside).unwrap();
    symlink(&outside, project.join("dir")).unwrap();
    let there = fingerprint(&outside, true);
    restore(&sandbox, &["HEAD"]).ok();
    assert!(!project.join("dir").is_symlink());
    assert_eq!(values(&project.join("dir/x.db")), [1]);
    assert_eq!(differences(&there, &fingerprint(&outside, true)), NONE);
    undo(&sandbox);
    assert!(project.join("dir").is_symlink());
    assert_eq!(differences(&there, &fingerprint(&outside, true)), NONE);
    // One that git ignores stays, and what can't come is named.
    git(&project, &["rm", "-q", "-r", "--cached", "dir"]);
    write(&project, ".gitignore", "/dir\n");
    commit(&project, "ignored");
    let told = restore(&sandbox, &["HEAD~1"]).code(3);
    assert!(told.stderr.contains("dir/x.db") && told.stderr.contains("dir/f"), "{told:?}");
    assert!(project.join("dir").is_symlink());
    assert_eq!(differences(&there, &fingerprint(&outside, true)), NONE);
}

#[test]
fn nothing_is_written_into_a_repository_inside() {
    let sandbox = sandbox();
    let project = sandbox.project();
    make(&project.join("lib/x.db"), 1);
    write(&project, "lib/f", "f\n");
    commit(&project, "of ours");
    git(&project, &["rm", "-q", "-r", "lib"]);
    commit(&project, "none");
    fs::create_dir(project.join("lib")).unwrap();
    git(&project.join("lib"), &["init", "-q", "-b", "main"]);
    let before = fingerprint(&project.join("lib"), true);
    let told = restore(&sandbox, &["HEAD~1"]).code(3);
    assert!(told.stderr.contains("lib/x.db") && told.stderr.contains("lib/f"), "{told:?}");
    assert_eq!(differences(&before, &fingerprint(&project.join("lib"), true)), NONE);
}

#[test]
fn two_databases_that_sqlite_takes_for_one_are_refused() {
    let sandbox = sandbox();
    let project = sandbox.project();
    make(&project.join("a.db"), 1);
    make(&project.join("b.db"), 2);
    fs::rename(project.join("b.db"), project.join("a.db-wal")).unwrap();
    git(&project, &["add", "-f", "."]);
    git(&project, &["commit", "-q", "-m", "odd"]);
    git(&project, &["rm", "-q", "-r", "-f", "."]);
    commit(&project, "none");
    let before = fingerprint(&project, true);
    let told = restore(&sandbox, &["HEAD~1"]).code(6);
    assert!(told.stderr.contains("a.db-wal") && told.stderr.contains("hint: "), "{told:?}");
    assert_eq!(differences(&before, &fingerprint(&project, true)), NONE);
}

#[test]
fn the_command_that_undoes_finds_the_store() {
    let mut sandbox = sandbox();
    let project = sandbox.project();
    let settings = |name: &str| format!("[workspace.metadata.backup]\nstore = \"../{name}\"\n");
    write(&project, "Cargo.toml", &settings("one"));
    commit(&project, "One");
    write(&project, "Cargo.toml", &settings("two"));
    commit(&project, "Two");
    sandbox.env("BACKUP_ROOT", "");
    let told = restore(&sandbox, &["HEAD~1"]).ok();
    let last = told.stdout.lines().last().unwrap();
    let store =
        last.strip_prefix("cargo xtask undo --store '").and_then(|rest| rest.strip_suffix('\'')).unwrap();
    sandbox.run(&["undo", "--force", "--store", store]).ok();
    assert_eq!(fs::read_to_string(project.join("state")).unwrap(), "Two\n");
    // One that was typed has to be typed again.
    let told = restore(&sandbox, &["HEAD~1", "--store", store]).ok();
    assert!(told.stdout.lines().last().unwrap().contains("--store"), "{told:?}");
}
