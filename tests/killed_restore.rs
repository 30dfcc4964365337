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
use std::process::{Command, Stdio};

use rusqlite::Connection;
use support::compare::{
    Repository, Rows, fsck, repository, repository_differences, row_differences, rows, working_files,
};
use support::framework::write;
use support::killing::{Call, calls, is_full, killed_at, stopped_at, tracer};
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
    make(&project.join("sized.db"), "wal", 40);
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
    let sized = "PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = WAL; DELETE FROM t";
    change(&project.join("sized.db"), sized);
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

/// What a backup exits with: that a database is none any more is a problem of its own.
fn exit_of_backup(project: &Path) -> i32 {
    if is_database(&project.join("damaged.db")) { 0 } else { 3 }
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

/// What a command touches besides files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touches {
    Nothing,
    /// Git becomes what it was once.
    Git,
    /// Git gets something new; it and the files of a commit are of the moment of the run.
    Branch,
}

/// Without the moments that each run has of its own.
fn timeless(mut answers: Repository) -> Repository {
    for (_, told) in answers.iter_mut().filter(|(what, _)| what.starts_with("moments of ")) {
        let is_now = |line: &&str| {
            let seconds = line.split("@{").nth(1).and_then(|rest| rest.split(' ').next());
            seconds
                .and_then(|seconds| seconds.parse::<i64>().ok())
                .is_some_and(|moment| moment > 1_770_000_000)
        };
        *told = told
            .lines()
            .map(|line| if is_now(&line) { "now\n".into() } else { format!("{line}\n") })
            .collect();
    }
    answers
}

impl State {
    fn of(project: &Path, touches: Touches) -> State {
        let all = fingerprint(project, false);
        let names = all.keys().map(|name| String::from_utf8(name.clone()).unwrap());
        let databases: Vec<String> =
            names.filter(|name| name.ends_with(".db") && is_database(&project.join(name))).collect();
        let rows = databases.iter().map(|name| (name.clone(), rows(&project.join(name)))).collect();
        let databases: Vec<&str> = databases.iter().map(String::as_str).collect();
        let git = match touches {
            Touches::Git => Git::Answers(repository(project)),
            Touches::Branch => Git::Answers(timeless(repository(project))),
            // Not asked for anything: `git diff` writes the index anew.
            Touches::Nothing => Git::Bytes(fingerprint(&project.join(".git"), false)),
        };
        let mut files = working_files(project, &databases);
        if touches == Touches::Branch {
            files.values_mut().for_each(|entry| entry.mtime_ns = None);
        }
        State { files, rows, git }
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

/// Where a restore is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// The journal is written, and nothing has moved.
    Begun,
    /// The file at this path has a second name, and is about to be replaced.
    Linked(&'static str),
    /// Everything has moved, and no database is written.
    Moved,
    /// All is done but the last sync.
    Done,
}

impl Point {
    fn find(self, all: &[Call]) -> Call {
        let (begins, ends) = applying(all);
        let mut applying = all[begins + 1..=ends].iter();
        let is_rename = |call: &&Call| call.kind.starts_with("rename") && !call.line.contains("/.tmp-");
        let found = match self {
            Point::Begun => applying.next(),
            Point::Linked(path) => {
                let target = format!("project/{path}\"");
                applying.find(|call| is_rename(call) && call.line.contains(&target))
            }
            Point::Moved => {
                let last = applying.clone().rposition(|call| is_rename(&call)).unwrap();
                applying.skip(last).find(|call| call.kind == "pwrite64")
            }
            Point::Done => applying.rfind(|call| call.kind == "syncfs"),
        };
        found.unwrap_or_else(|| panic!("no {self:?} in {all:#?}")).clone()
    }
}

/// Where the journal is written and removed.
fn applying(all: &[Call]) -> (usize, usize) {
    let place_of = |kind: &str| {
        let found =
            all.iter().position(|call| call.kind.starts_with(kind) && call.line.contains("/journal.json\""));
        found.expect("the journal is written and removed")
    };
    (place_of("rename"), place_of("unlink"))
}

/// A command that is killed over and over, with the project and the store as they are before it.
struct Scene {
    sandbox: Sandbox,
    words: Vec<OsString>,
    /// The command that takes it back.
    reverse: &'static str,
    touches: Touches,
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
    fn new(earlier: &[&[&str]], command: &[&str], reverse: &'static str, touches: Touches) -> Scene {
        let sandbox = Sandbox::in_memory();
        let project = sandbox.project();
        build(&project);
        sandbox.run(&words(&sandbox, &["backup", "--label", "first"])).ok();
        ruin(&project);
        for earlier in earlier {
            sandbox.run(&words(&sandbox, earlier)).ok();
        }
        let words = words(&sandbox, command);
        let before = State::of(&project, touches);
        copy(&project, &sandbox.path("project-before"));
        fs::create_dir(sandbox.path("store-before")).unwrap();
        for entry in fs::read_dir(store(&sandbox)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "bin" {
                copy(&entry.path(), &sandbox.path("store-before"));
            }
        }
        sandbox.run(&words).ok();
        let after = State::of(&project, touches);
        assert!(!before.differences(&after).is_empty());
        let scene = Scene { sandbox, words, reverse, touches, before, after };
        scene.run(&[scene.reverse, "--force"]).ok();
        assert_eq!(scene.before.differences(&State::of(&project, touches)), NONE);
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
        let now = State::of(&self.project(), self.touches);
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
        let scratch = || fs::read_dir(self.sandbox.path("tmp")).unwrap().count();
        let left = scratch();
        for command in [
            &["list"][..],
            &["show", "latest"],
            &["verify", "latest"],
            &["undo", "--list"],
            &["restore", "first", "--dry-run", "--exact"],
        ] {
            let output = self.run(command);
            assert_eq!(output.code, if unfinished { 3 } else { 0 }, "{when}: {command:?} {output:?}");
            assert_eq!(
                unfinished,
                output.stderr.contains("was interrupted"),
                "{when}: {command:?} {output:?}"
            );
            assert_eq!(differences(&before, &seen(!cut_off)), NONE, "{when}: {command:?}");
        }
        assert_eq!(scratch(), left, "{when}");
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
        assert_eq!(output.code, exit_of_backup(&self.project()), "{when}: {output:?}");
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
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "chmod",
    "fchmod",
    "fsync",
    "fdatasync",
    "syncfs",
    "pwrite64",
    "ftruncate",
    "openat",
];

/// The calls at which to kill: all, or of each kind so many while the journal is there, and one before and after.
fn selection(all: &[Call], most: usize) -> Vec<Call> {
    let (begins, ends) = applying(all);
    let mut chosen = Vec::new();
    for (phase, most) in [(&all[..begins], 1), (&all[begins..=ends], most), (&all[ends + 1..], 1)] {
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
fn killed_everywhere(scene: &Scene, most: usize) {
    scene.reset();
    killed_at_each(scene, &selection(&calls(&scene.sandbox, &KINDS, &scene.words), most));
}

#[track_caller]
fn killed_at_each(scene: &Scene, chosen: &[Call]) {
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
        killed_everywhere(&Scene::new(&[], &["restore", "first", "--force"], "undo", Touches::Nothing), 1);
    }
}

#[test]
fn a_restore_of_git_killed_anywhere_is_all_or_nothing() {
    if tracer() {
        let command = ["restore", "first", "--force", "--git", "--exact"];
        killed_everywhere(&Scene::new(&[], &command, "undo", Touches::Git), 2);
    }
}

#[test]
fn a_commit_and_its_new_branch_killed_anywhere_are_all_or_nothing() {
    if tracer() {
        let command = ["restore-git", "HEAD~1", "--force", "--checkout"];
        let scene = Scene::new(&[], &command, "undo", Touches::Branch);
        scene.reset();
        let chosen = selection(&calls(&scene.sandbox, &KINDS, &scene.words), 1);
        // Those of every second kind will do: the engine is the same.
        let every = if is_full() { 1 } else { 2 };
        killed_at_each(&scene, &chosen.into_iter().step_by(every).collect::<Vec<Call>>());
    }
}

#[test]
fn an_undo_killed_anywhere_is_all_or_nothing() {
    if tracer() {
        let earlier: [&[&str]; 1] = [&["restore", "first", "--force", "--git", "--exact"]];
        killed_everywhere(&Scene::new(&earlier, &["undo", "--force"], "redo", Touches::Git), 1);
    }
}

/// A restore of everything, killed at one point over and over.
struct Halves {
    scene: Scene,
    all: Vec<Call>,
}

impl Halves {
    fn new() -> Option<Halves> {
        if !tracer() {
            return None;
        }
        let scene =
            Scene::new(&[], &["restore", "first", "--force", "--git", "--exact"], "undo", Touches::Git);
        scene.reset();
        let all = calls(&scene.sandbox, &KINDS, &scene.words);
        Some(Halves { scene, all })
    }

    #[track_caller]
    fn kill(&self, point: Point) {
        self.scene.reset();
        let call = point.find(&self.all);
        assert!(killed_at(&self.scene.sandbox, &call.kind, call.number, &self.scene.words), "{point:?}");
        assert!(self.scene.is_unfinished(), "{point:?}");
    }
}

#[test]
fn a_recovery_that_is_killed_is_recovered() {
    let Some(halves) = Halves::new() else { return };
    let scene = &halves.scene;
    let backup = words(&scene.sandbox, &["backup"]);
    for row in [false, true] {
        let point = if row { Point::Moved } else { Point::Begun };
        let begin = || {
            halves.kill(point);
            if row {
                // It can't be finished, because that would lose this.
                change(&scene.project().join("memory/index.db"), "INSERT INTO t VALUES (7001, 'theirs')");
            }
        };
        begin();
        let all = calls(&scene.sandbox, &KINDS, &backup);
        let ends = all
            .iter()
            .position(|call| call.kind.starts_with("unlink") && call.line.contains("/journal.json\""));
        let chosen: Vec<&Call> = all[..ends.unwrap()].iter().collect();
        let every = if is_full() { 1 } else { (chosen.len() / 6).max(1) };
        for call in chosen.into_iter().step_by(every) {
            begin();
            if !killed_at(&scene.sandbox, &call.kind, call.number, &backup) {
                continue;
            }
            let when = format!("killed at {point:?}, and again at {call:?}");
            let unfinished = scene.is_unfinished();
            let output = scene.run(&["backup"]);
            assert_eq!(output.code, exit_of_backup(&scene.project()), "{when}: {output:?}");
            if row {
                change(&scene.project().join("memory/index.db"), "DELETE FROM t WHERE id = 7001");
            }
            assert_eq!(scene.said(&output, unfinished, &when), !row, "{when}");
        }
    }
}

fn count(database: &Path, of: &str) -> i64 {
    Connection::open(database).unwrap().query_row(of, [], |row| row.get(0)).unwrap()
}

/// Somebody works in the project after the kill and before the recovery.
#[test]
fn what_somebody_wrote_in_between_is_not_lost() {
    let Some(halves) = Halves::new() else { return };
    let scene = &halves.scene;
    let project = scene.project();
    let index = project.join("memory/index.db");
    let read = |name: &str| fs::read_to_string(project.join(name)).unwrap();
    let recover = |code: i32, words: &str| {
        let output = scene.run(&["backup"]);
        assert_eq!(output.code, exit_of_backup(&project).max(code), "{output:?}");
        assert!(output.stderr.contains(words), "{words}: {output:?}");
        assert!(!project.join(".xtask-restore").exists());
        assert_eq!(fsck(&project), NONE);
        output
    };
    let (finished, taken_back) = ("is finished now", "is taken back");
    let row = "INSERT INTO t VALUES (7001, 'theirs')";
    let theirs = "SELECT count(*) FROM t WHERE id = 7001";

    // A row, before the database is restored and after. Either way it is there, and all else fits to it.
    for (point, sql) in [(Point::Begun, "INSERT INTO u VALUES (1)"), (Point::Begun, row), (Point::Moved, row)]
    {
        halves.kill(point);
        change(&index, sql);
        recover(0, taken_back).says("memory/index.db");
        let gone = if sql == row { "DELETE FROM t WHERE id = 7001" } else { "DELETE FROM u" };
        assert_eq!(count(&index, if sql == row { theirs } else { "SELECT count(*) FROM u" }), 1, "{point:?}");
        change(&index, gone);
        assert!(!scene.end("a row"), "{point:?}");
    }
    halves.kill(Point::Done);
    change(&index, row);
    recover(0, finished).says("written to the database since");
    assert_eq!(count(&index, theirs), 1);
    change(&index, "DELETE FROM t WHERE id = 7001");
    assert!(scene.end("a row"));
    // One that goes altogether.
    halves.kill(Point::Begun);
    change(&project.join("extra.db"), row);
    recover(0, taken_back).says("extra.db");
    assert_eq!(count(&project.join("extra.db"), theirs), 1);

    // A file that would be replaced or removed, one that was, and one in a folder that goes.
    for (point, name, words) in [
        (Point::Begun, "README.md", taken_back),
        (Point::Linked("README.md"), "README.md", taken_back),
        (Point::Begun, "docs", taken_back),
        (Point::Begun, "later/deep/theirs.md", taken_back),
        (Point::Moved, "README.md", finished),
        (Point::Done, "README.md", finished),
        (Point::Done, "docs/deep/theirs.md", finished),
        (Point::Begun, "private", taken_back),
    ] {
        for anew in [false, true] {
            halves.kill(point);
            if anew {
                write(&project, "theirs.tmp", "theirs\n");
                fs::rename(project.join("theirs.tmp"), project.join(name)).unwrap();
            } else {
                write(&project, name, "theirs\n");
            }
            recover(0, words);
            assert_eq!(read(name), "theirs\n", "{point:?} {name}");
            let beside = fs::read_dir(&project)
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".changed"));
            assert_eq!(beside.count(), 0, "{point:?} {name}");
        }
    }

    // What came was changed, and something else keeps it from being finished.
    halves.kill(Point::Linked("link"));
    write(&project, "README.md", "theirs\n");
    change(&index, row);
    let output = recover(3, taken_back).says("README.md.changed");
    assert!(output.stderr.contains("everything else is as it was"), "{output:?}");
    assert_eq!((read("README.md.changed"), read("README.md")), ("theirs\n".into(), "# Another\n".into()));
    assert_eq!(count(&index, theirs), 1);

    // A commit and a branch. Git's own locks keep ordinary commands out; whoever removes them is not punished.
    for point in [Point::Begun, Point::Moved] {
        halves.kill(point);
        let before = git(&project, &["for-each-ref"]);
        let commit = git(&project, &["commit-tree", "-m", "Theirs", "HEAD^{tree}"]);
        git(&project, &["update-ref", "refs/heads/theirs", &commit]);
        recover(0, if matches!(point, Point::Begun) { taken_back } else { finished });
        assert_eq!(git(&project, &["rev-parse", "theirs"]), commit, "{point:?}, before it:\n{before}");
    }

    // A database that was removed comes back all the same; a folder that was removed after it came stays away.
    for point in [Point::Begun, Point::Done] {
        halves.kill(point);
        for name in ["index.db", "index.db-wal", "index.db-shm"] {
            drop(fs::remove_file(project.join("memory").join(name)));
        }
        recover(0, finished);
        assert!(scene.end("a database was removed"));
    }
    halves.kill(Point::Done);
    fs::remove_dir_all(project.join("private")).unwrap();
    recover(0, finished);
    assert!(!project.join("private").exists());
}

/// While a restore changes the project, nobody else touches it or the store, and those that look say nothing of an
/// unfinished one.
#[test]
fn whoever_comes_while_it_works_waits_or_is_told() {
    let Some(halves) = Halves::new() else { return };
    let scene = &halves.scene;
    for point in [Point::Begun, Point::Done] {
        scene.reset();
        let call = point.find(&halves.all);
        let stopped = stopped_at(&scene.sandbox, &call.kind, call.number, &scene.words);
        assert!(scene.is_unfinished());
        scene.run(&["backup"]).code(5);
        let other = scene.sandbox.path("other");
        let elsewhere = ["restore", "first", "--force", "--store", other.to_str().unwrap()];
        scene.sandbox.run(&elsewhere).code(5).says("another restore");
        assert!(!scene.run(&["list"]).ok().stderr.contains("interrupted"));
        git(&scene.project(), &["status"]);
        let mut refused = Command::new("git");
        refused.args(["commit", "-q", "--allow-empty", "-m", "x"]).current_dir(scene.project());
        assert!(!refused.output().unwrap().status.success(), "{point:?}");
        stopped.go_on().ok();
        assert!(scene.end(&format!("stopped at {point:?}")));
    }
    // And the other way round: a backup that works has the store for itself.
    scene.reset();
    let stopped = stopped_at(&scene.sandbox, "fsync", 2, &words(&scene.sandbox, &["backup"]));
    scene.run(&["restore", "first", "--force"]).code(5).says("in use");
    stopped.go_on().code(3).says("damaged.db");
    assert!(!scene.end("a backup"));
}

/// Of many that come after a kill one recovers; the others wait for it or are told, and none undoes its work.
#[test]
fn many_that_recover_at_once_do_it_once() {
    let Some(halves) = Halves::new() else { return };
    let scene = &halves.scene;
    for round in 0..if is_full() { 40 } else { 4 } {
        halves.kill([Point::Begun, Point::Moved, Point::Done][round % 3]);
        let stores = ["store", "store", "other", "more"].map(|name| scene.sandbox.path(name));
        let start = |store: &PathBuf| {
            let mut command = scene.sandbox.command(scene.sandbox.program());
            command.args(["backup", "--store"]).arg(store).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let children: Vec<_> = stores.iter().map(start).collect();
        let mut told = Vec::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(0 | 5)), "{round}: {said}");
            told.push(said);
        }
        scene.run(&["backup"]).ok();
        let finished = told.iter().filter(|said| said.contains("is finished now")).count();
        assert_eq!(finished, 1, "{round}: {told:#?}");
        assert!(scene.end(&format!("{round}: {told:#?}")));
    }
}
