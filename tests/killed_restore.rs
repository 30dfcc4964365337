//! Killed anywhere, a restore over a project, an undo and a restore of git leave a project that the next command
//! which changes something brings to one of two ends: exactly as before, or exactly as restored, and it says
//! which. Until then, those that only look tell of it and change nothing.
//!
//! `strace` kills the run at one system call after the other. `XTASK_TEST_FULL=1` takes every call instead of a
//! selection.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use support::compare::{
    Repository, Rows, fsck, repository, repository_differences, row_differences, rows, working_files,
};
use support::framework::write;
use support::killing::{Call, calls, is_full, killed_at, tracer};
use support::tree::{Fingerprint, differences, fingerprint};
use support::{Output, Sandbox, git, git_at};

const NONE: Vec<String> = Vec::new();

fn change(database: &Path, sql: &str) {
    Connection::open(database).unwrap().execute_batch(sql).unwrap();
}

fn make(database: &Path, journal: &str, rows: usize) {
    let sql = format!(
        "PRAGMA journal_mode = {journal}; PRAGMA synchronous = OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, body);
         WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows})
         INSERT INTO t SELECT x, hex(randomblob(100)) FROM c"
    );
    change(database, &sql);
}

fn set_mode(path: PathBuf, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A project that is backed up, with everything in it that a restore handles in a way of its own.
fn build(project: &Path) {
    git(project, &["init", "-q", "-b", "main"]);
    write(project, ".gitignore", "*.db\n*.db-*\n/private/\n");
    write(project, "README.md", "# Project\n");
    write(project, "src/main.py", "print(1)\n");
    write(project, "docs/guide.md", "guide\n");
    write(project, "docs/deep/more.md", "more\n");
    write(project, "run.sh", "#!/bin/sh\n");
    set_mode(project.join("run.sh"), 0o755);
    symlink("README.md", project.join("link")).unwrap();
    git(project, &["add", "."]);
    git(project, &["commit", "-q", "-m", "First"]);
    git(project, &["branch", "topic"]);
    write(project, "src/main.py", "print(2)\n");
    git_at(project, 1_764_000_100, &["commit", "-q", "-a", "-m", "Second"]);
    write(project, "src/main.py", "print('stashed')\n");
    git_at(project, 1_764_000_200, &["stash", "push", "-q"]);
    write(project, "src/staged.py", "staged\n");
    git(project, &["add", "src/staged.py"]);
    write(project, "private/note.md", "private\n");
    set_mode(project.join("private/note.md"), 0o600);
    write(project, "closed/inside.md", "inside\n");
    set_mode(project.join("closed"), 0o555);
    fs::create_dir(project.join("memory")).unwrap();
    make(&project.join("memory/index.db"), "wal", 300);
    make(&project.join("memory/vectors.db"), "delete", 300);
    make(&project.join("lost.db"), "wal", 20);
    make(&project.join("damaged.db"), "delete", 20);
}

/// What happens to it afterwards.
fn ruin(project: &Path) {
    write(project, "README.md", "# Another\n");
    set_mode(project.join("run.sh"), 0o600);
    fs::remove_dir_all(project.join("docs")).unwrap();
    write(project, "docs", "a file where a folder was\n");
    fs::remove_file(project.join("link")).unwrap();
    symlink("run.sh", project.join("link")).unwrap();
    fs::remove_dir_all(project.join("private")).unwrap();
    set_mode(project.join("closed"), 0o755);
    write(project, "closed/inside.md", "changed\n");
    set_mode(project.join("closed"), 0o500);
    write(project, "later/deep/file.md", "later\n");
    set_mode(project.join("later"), 0o555);
    change(&project.join("memory/index.db"), "DELETE FROM t WHERE id % 2 = 0; CREATE TABLE u(x)");
    change(&project.join("memory/vectors.db"), "UPDATE t SET body = 'x' WHERE id > 50");
    fs::remove_file(project.join("lost.db")).unwrap();
    write(project, "damaged.db", "this is no database\n");
    make(&project.join("extra.db"), "wal", 10);
    git(project, &["branch", "later"]);
    git(project, &["branch", "-q", "-D", "topic"]);
    git(project, &["stash", "drop", "-q"]);
    git_at(project, 1_764_000_300, &["commit", "-q", "-m", "Third"]);
    write(project, "src/other.py", "other\n");
    git(project, &["add", "src/other.py"]);
}

fn is_database(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"))
}

/// All that must be the same.
#[derive(Clone)]
struct State {
    files: Fingerprint,
    rows: BTreeMap<String, Rows>,
    git: Git,
}

/// Git may be the same in all that it tells, or must be so byte for byte.
#[derive(Clone)]
enum Git {
    Bytes(Fingerprint),
    Answers(Repository),
}

impl State {
    fn of(project: &Path, touches_git: bool) -> State {
        let all = fingerprint(project, false);
        let names = all.keys().map(|name| String::from_utf8(name.clone()).unwrap());
        let databases: Vec<String> =
            names.filter(|name| name.ends_with(".db") && is_database(&project.join(name))).collect();
        let rows = databases.iter().map(|name| (name.clone(), rows(&project.join(name)))).collect();
        let databases: Vec<&str> = databases.iter().map(String::as_str).collect();
        let git = match touches_git {
            true => Git::Answers(repository(project)),
            // Not asked for anything: `git diff` writes the index anew.
            false => Git::Bytes(fingerprint(&project.join(".git"), false)),
        };
        State { files: working_files(project, &databases), rows, git }
    }

    /// What is another.
    fn differences(&self, other: &State) -> Vec<String> {
        let mut found = differences(&self.files, &other.files);
        for name in self.rows.keys().chain(other.rows.keys()) {
            let empty = Rows::new();
            let of = |state: &State| state.rows.get(name).unwrap_or(&empty).clone();
            found.extend(row_differences(&of(self), &of(other)).iter().map(|one| format!("{name}: {one}")));
        }
        found.extend(match (&self.git, &other.git) {
            (Git::Bytes(a), Git::Bytes(b)) => differences(a, b),
            (Git::Answers(a), Git::Answers(b)) => repository_differences(a, b),
            _ => panic!("two that can't be compared"),
        });
        found
    }
}

/// A command that is killed over and over, with the project and the store as they are before it.
struct Scene {
    sandbox: Sandbox,
    words: Vec<OsString>,
    /// The command that takes it back.
    reverse: &'static str,
    touches_git: bool,
    before: State,
    after: State,
}

fn store(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("store")
}

fn words(sandbox: &Sandbox, first: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = first.iter().map(Into::into).collect();
    words.extend(["--store".into(), store(sandbox).into_os_string()]);
    words
}

#[track_caller]
fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

fn remove(path: &Path) {
    let done = Command::new("rm").arg("-rf").arg(path).status().unwrap();
    assert!(done.success());
}

impl Scene {
    /// Backs up, ruins, and does what comes before the command.
    fn new(earlier: &[&[&str]], command: &[&str], reverse: &'static str, touches_git: bool) -> Scene {
        let sandbox = Sandbox::new();
        let project = sandbox.project();
        build(&project);
        sandbox.run(&words(&sandbox, &["backup", "--label", "first"])).ok();
        ruin(&project);
        for earlier in earlier {
            sandbox.run(&words(&sandbox, earlier)).ok();
        }
        let words = words(&sandbox, command);
        let before = State::of(&project, touches_git);
        copy(&project, &sandbox.path("project-before"));
        fs::create_dir(sandbox.path("store-before")).unwrap();
        for entry in fs::read_dir(store(&sandbox)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "bin" {
                copy(&entry.path(), &sandbox.path("store-before"));
            }
        }
        sandbox.run(&words).ok();
        let after = State::of(&project, touches_git);
        assert!(!before.differences(&after).is_empty());
        let scene = Scene { sandbox, words, reverse, touches_git, before, after };
        scene.run(&[scene.reverse, "--force"]).ok();
        assert_eq!(scene.before.differences(&State::of(&project, touches_git)), NONE);
        scene
    }

    fn project(&self) -> PathBuf {
        self.sandbox.project()
    }

    #[track_caller]
    fn run(&self, first: &[&str]) -> Output {
        self.sandbox.run(&words(&self.sandbox, first))
    }

    /// Everything as it was before the command.
    fn reset(&self) {
        remove(&self.project());
        copy(&self.sandbox.path("project-before"), &self.project());
        for entry in fs::read_dir(store(&self.sandbox)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "bin" {
                remove(&entry.path());
            }
        }
        for entry in fs::read_dir(self.sandbox.path("store-before")).unwrap() {
            copy(&entry.unwrap().path(), &store(&self.sandbox));
        }
    }

    fn is_unfinished(&self) -> bool {
        self.project().join(".xtask-restore/journal.json").exists()
    }

    /// Which of the two states it is, told by the files.
    #[track_caller]
    fn end(&self, when: &str) -> bool {
        let now = State::of(&self.project(), self.touches_git);
        let from_before = self.before.differences(&now);
        let from_after = self.after.differences(&now);
        let (before, after) = (from_before.is_empty(), from_after.is_empty());
        assert!(before != after, "{when}: neither\nbefore: {from_before:#?}\nafter: {from_after:#?}");
        assert_eq!(fsck(&self.project()), NONE, "{when}");
        let locks: Vec<String> = fingerprint(&self.project().join(".git"), false)
            .into_keys()
            .map(|name| String::from_utf8_lossy(&name).into_owned())
            .filter(|name| name.ends_with(".lock") || name.contains(".tmp"))
            .collect();
        assert_eq!(locks, NONE, "{when}");
        after
    }

    /// Those that only look tell of an unfinished restore, and change nothing.
    #[track_caller]
    fn look(&self, when: &str) {
        let unfinished = self.is_unfinished();
        // Whoever opens a database whose transaction was cut off takes that back, which SQLite does by itself.
        let cut_off = ["memory/index.db", "memory/vectors.db"]
            .iter()
            .any(|name| self.project().join(format!("{name}-journal")).exists());
        let seen = |with: bool| {
            let mut tree = support::tree::without_sidecars(fingerprint(&self.project(), true));
            tree.retain(|name, _| with || !name.ends_with(b".db") && !name.ends_with(b"-journal"));
            // Making a side file and removing it touches the folder.
            tree.values_mut().filter(|entry| entry.kind == "dir").for_each(|entry| entry.mtime_ns = None);
            tree
        };
        let before = seen(!cut_off);
        for command in [
            &["list"][..],
            &["show", "latest"],
            &["verify", "latest"],
            &["undo", "--list"],
            &["restore", "first", "--dry-run", "--exact"],
        ] {
            let output = self.run(command);
            assert_eq!(output.code, if unfinished { 3 } else { 0 }, "{when}: {command:?} {output:?}");
            assert_eq!(unfinished, output.stderr.contains("was interrupted"), "{when}: {command:?} {output:?}");
            assert_eq!(differences(&before, &seen(!cut_off)), NONE, "{when}: {command:?}");
        }
        assert_eq!(fs::read_dir(self.sandbox.path("tmp")).unwrap().count(), 0, "{when}");
    }

    /// What is said agrees with what is there.
    #[track_caller]
    fn said(&self, output: &Output, unfinished: bool, when: &str) -> bool {
        let after = self.end(when);
        let finished = output.stderr.contains("is finished now");
        let taken_back = output.stderr.contains("is taken back");
        assert_eq!((finished, taken_back), (unfinished && after, unfinished && !after), "{when}: {output:?}");
        after
    }

    /// One kill and all that comes after it. False when there was no such call.
    #[track_caller]
    fn kill(&self, call: &str, n: usize, thorough: bool) -> Option<bool> {
        self.reset();
        let when = format!("{:?} killed at {call} {n}", self.words);
        if !killed_at(&self.sandbox, call, n, &self.words) {
            return None;
        }
        let unfinished = self.is_unfinished();
        if thorough {
            self.look(&when);
        }
        let output = self.run(&["backup"]);
        assert_eq!(output.code, 0, "{when}: {output:?}");
        let after = self.said(&output, unfinished, &when);
        self.whole(&when);
        if after {
            self.run(&[self.reverse, "--force"]).ok();
            assert!(!self.end(&when), "{when}: {} did not take it back", self.reverse);
        } else if thorough {
            self.sandbox.run(&self.words).ok();
            assert!(self.end(&when), "{when}: it can't be done any more");
        }
        Some(after)
    }

    /// The store holds whole archives only, and nothing that belongs to none.
    #[track_caller]
    fn whole(&self, when: &str) {
        let output = self.run(&["verify", "all"]);
        assert_eq!(output.code, 0, "{when}: {output:?}");
        let strange: Vec<String> = fingerprint(&store(&self.sandbox), false)
            .into_keys()
            .map(|name| String::from_utf8_lossy(&name).into_owned())
            .filter(|name| name.contains(".tmp") || name.contains("scratch"))
            .collect();
        assert_eq!(strange, NONE, "{when}");
    }
}

/// Calls that change the disk, or come right before one that does.
const KINDS: [&str; 18] = [
    "rename", "renameat", "renameat2", "link", "linkat", "symlink", "unlink", "unlinkat", "rmdir", "mkdir",
    "chmod", "fchmod", "fsync", "fdatasync", "syncfs", "pwrite64", "ftruncate", "openat",
];

/// The calls at which to kill: all, or of each kind and phase the first, the last and one between.
fn selection(all: &[Call]) -> Vec<Call> {
    let begins = all.iter().position(|call| call.kind.starts_with("rename") && call.line.contains("/journal.json\""));
    let ends = all.iter().position(|call| call.kind.starts_with("unlink") && call.line.contains("/journal.json\""));
    let (begins, ends) = (begins.expect("the journal is written"), ends.expect("the journal is removed"));
    let mut chosen = Vec::new();
    for (phase, most) in [(&all[..begins], 1), (&all[begins..=ends], 2), (&all[ends + 1..], 1)] {
        for kind in KINDS {
            let of_kind: Vec<&Call> = phase.iter().filter(|call| call.kind == kind).collect();
            let every = if !is_full() {
                (of_kind.len() / most).max(1)
            } else if kind == "openat" || kind == "pwrite64" {
                5
            } else {
                1
            };
            let taken = of_kind.iter().rev().step_by(every).map(|call| (*call).clone());
            chosen.extend(taken.take(if is_full() { usize::MAX } else { most }));
        }
    }
    chosen
}

#[track_caller]
fn killed_everywhere(scene: &Scene) {
    scene.reset();
    let chosen = selection(&calls(&scene.sandbox, &KINDS, &scene.words));
    let (mut ends, mut missed) = ([0, 0], 0);
    for (number, call) in chosen.iter().enumerate() {
        match scene.kill(&call.kind, call.number, is_full() || number % 6 == 0) {
            Some(after) => ends[usize::from(after)] += 1,
            None => missed += 1,
        }
    }
    println!("{} as before, {} as restored, {missed} not killed", ends[0], ends[1]);
    assert!(ends[0] > 3 && ends[1] > 5 && missed < chosen.len() / 4, "{ends:?} {missed}");
}

#[test]
fn a_restore_killed_anywhere_is_all_or_nothing() {
    if tracer() {
        killed_everywhere(&Scene::new(&[], &["restore", "first", "--force"], "undo", false));
    }
}

#[test]
fn a_restore_of_git_killed_anywhere_is_all_or_nothing() {
    if tracer() {
        let command = ["restore", "first", "--force", "--git", "--exact"];
        killed_everywhere(&Scene::new(&[], &command, "undo", true));
    }
}

#[test]
fn an_undo_killed_anywhere_is_all_or_nothing() {
    if tracer() {
        let earlier: [&[&str]; 1] = [&["restore", "first", "--force", "--git", "--exact"]];
        killed_everywhere(&Scene::new(&earlier, &["undo", "--force"], "redo", true));
    }
}
