//! Killed anywhere, the store holds whole archives only, and the next run sweeps the rest.
//!
//! Two ways: by the clock, many moments spread over a run; and, where `strace` is there, at one system call
//! after the other, which also hits the moments that are too short for a clock. `XTASK_TEST_FULL=1` takes 300
//! moments and every system call instead of 40 and a selection.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use support::framework::{noise, write};
use support::killing::{is_full, killed_at, tracer};
use support::tree::{Fingerprint, differences, fingerprint};
use support::{Sandbox, git};

/// A sandbox with a history, a database, and so many MB of files that don't get smaller.
fn project(megabytes: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q"]);
    write(&project, ".gitignore", "/data/\n*.db\n");
    write(&project, "README.md", "# Project\n");
    write(&project, "src/main.py", "print(1)\n");
    git(&project, &["add", "."]);
    git(&project, &["commit", "-q", "-m", "First"]);
    write(&project, "src/main.py", "print(2)\n");
    let connection = Connection::open(project.join("index.db")).unwrap();
    let sql = "PRAGMA synchronous = OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB);
               WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 300)
               INSERT INTO t SELECT x, randomblob(1000) FROM c";
    connection.execute_batch(sql).unwrap();
    fs::create_dir(project.join("data")).unwrap();
    for n in 0..megabytes * 4 {
        fs::write(project.join(format!("data/{n}.bin")), noise(250_000, 1 + n as u64)).unwrap();
    }
    sandbox
}

fn store(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("store")
}

fn words(sandbox: &Sandbox, first: &[&str]) -> Vec<std::ffi::OsString> {
    let mut words: Vec<std::ffi::OsString> = first.iter().map(Into::into).collect();
    words.extend(["--store".into(), store(sandbox).into_os_string()]);
    words
}

fn spawn(sandbox: &Sandbox, first: &[&str]) -> Child {
    let mut command = sandbox.command(sandbox.program());
    command.args(words(sandbox, first)).process_group(0).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The archives of a store.
fn archives(store: &Path) -> BTreeSet<String> {
    names(store).into_iter().filter(|name| name.ends_with(".tar.gz")).collect()
}

/// What a store must not hold after a run that ended: unfinished things, and what belongs to no archive.
fn remains(store: &Path) -> Vec<String> {
    let ours = ["store.json", ".lock", ".state-lock", "history.jsonl", "bin", "safety", "trash"];
    let archives = archives(store);
    let mut found = Vec::new();
    for name in names(store) {
        let of_archive = archives.iter().any(|archive| {
            let id = archive.strip_suffix(".tar.gz").unwrap();
            [".tar.gz", ".tar.gz.sha256", ".json", ".state.json"]
                .iter()
                .any(|end| name == format!("{id}{end}"))
        });
        if !of_archive && !ours.contains(&name.as_str()) {
            found.push(name);
        }
    }
    found.extend(names(&store.join("bin")).into_iter().filter(|name| name != "xtask"));
    found.extend(names(&store.join("safety")));
    found
}

/// Demands that every archive that is new is a whole one, for `sha256sum` and for the tool, and that the tool
/// lists these archives and no others. Returns the new ones.
#[track_caller]
fn all_whole(sandbox: &Sandbox, seen: &mut BTreeSet<String>, when: &str) -> Vec<String> {
    let store = store(sandbox);
    let now = archives(&store);
    let new: Vec<String> = now.difference(seen).cloned().collect();
    assert!(seen.is_subset(&now), "{when}: an archive is gone: {seen:?} {now:?}");
    for name in &new {
        let checked = Command::new("sha256sum")
            .args(["--quiet", "-c", &format!("{name}.sha256")])
            .current_dir(&store)
            .status()
            .unwrap();
        assert!(checked.success(), "{when}: {name} is not whole");
        sandbox.run(&words(sandbox, &["verify", name.strip_suffix(".tar.gz").unwrap()])).ok();
    }
    if !now.is_empty() {
        let listing = sandbox.run(&words(sandbox, &["list", "--json"])).ok().json();
        let listed: BTreeSet<String> = (listing["backups"].as_array().unwrap().iter())
            .map(|backup| format!("{}.tar.gz", backup["id"].as_str().unwrap()))
            .collect();
        assert_eq!(listed, now, "{when}");
    }
    *seen = now;
    new
}

/// The next backup succeeds and leaves nothing of the killed ones.
#[track_caller]
fn next_one_sweeps(sandbox: &Sandbox, seen: &mut BTreeSet<String>, when: &str) {
    let output = sandbox.run(&words(sandbox, &["backup"]));
    assert_eq!(output.code, 0, "{when}: {output:?}");
    assert!(!output.stderr.contains("can't remove"), "{when}: {output:?}");
    assert_eq!(remains(&store(sandbox)), Vec::<String>::new(), "{when}");
    assert_eq!(all_whole(sandbox, seen, when).len(), 1, "{when}");
}

/// Removes the backups, not the store.
fn empty(sandbox: &Sandbox, seen: &mut BTreeSet<String>) {
    let store = store(sandbox);
    for archive in std::mem::take(seen) {
        let id = archive.strip_suffix(".tar.gz").unwrap();
        for end in [".tar.gz", ".tar.gz.sha256", ".json", ".state.json"] {
            drop(fs::remove_file(store.join(format!("{id}{end}"))));
        }
    }
}

fn time_of(sandbox: &Sandbox, first: &[&str]) -> Duration {
    let begun = Instant::now();
    sandbox.run(&words(sandbox, first)).ok();
    begun.elapsed()
}

/// The shortest of some: one that was held up would make most moments too late.
fn shortest(time: impl FnMut(u32) -> Duration) -> Duration {
    (0..5).map(time).min().unwrap()
}

/// Moments from 0 to a little more than the whole.
fn moments(whole: Duration, count: u32) -> impl Iterator<Item = Duration> {
    (0..count).map(move |n| whole.mul_f64(1.1 * f64::from(n) / f64::from(count)))
}

#[test]
fn a_backup_killed_at_any_moment_leaves_whole_archives_only() {
    let sandbox = project(8);
    let before = fingerprint(&sandbox.project(), true);
    let mut seen = BTreeSet::new();
    time_of(&sandbox, &["backup"]);
    let whole = shortest(|_| time_of(&sandbox, &["backup"]));
    all_whole(&sandbox, &mut seen, "not killed");
    let count = if is_full() { 300 } else { 40 };
    let (mut killed, mut published) = (0, 0);
    for (number, moment) in moments(whole, count).enumerate() {
        let mut child = spawn(&sandbox, &["backup"]);
        std::thread::sleep(moment);
        child.kill().unwrap();
        let done = child.wait().unwrap().success();
        let when = format!("killed after {moment:?} of {whole:?}");
        let new = all_whole(&sandbox, &mut seen, &when);
        assert!(new.len() == 1 || !done, "{when}: it ended well, and there is no archive");
        killed += u32::from(!done);
        published += new.len();
        // Remains of several gather before one sweeps them.
        if number % 8 == 7 {
            // What it was about to start has its files for a moment more.
            std::thread::sleep(Duration::from_millis(200));
            next_one_sweeps(&sandbox, &mut seen, &when);
            empty(&sandbox, &mut seen);
        }
    }
    println!("{killed} of {count} killed within {whole:?}, {published} archives published");
    assert!(killed > count / 2, "only {killed} were killed at all");
    assert_eq!(differences(&before, &fingerprint(&sandbox.project(), true)), Vec::<String>::new());
}

/// Kinds of calls that change the disk, or come before one that does, and how many to pass over between two
/// kills.
const CALLS: [(&str, usize); 7] = [
    ("fsync", 1),
    ("rename", 1),
    ("renameat2", 1),
    ("unlink", 1),
    ("mkdir", 11),
    ("unlinkat", 19),
    ("openat", 17),
];

#[test]
fn a_backup_killed_at_any_step_leaves_whole_archives_only() {
    if !tracer() {
        return;
    }
    let sandbox = project(0);
    let mut total = 0;
    for (call, step) in CALLS {
        let mut n = 1;
        loop {
            // A new store each time: making one can be killed as well.
            drop(fs::remove_dir_all(store(&sandbox)));
            let mut seen = BTreeSet::new();
            if !killed_at(&sandbox, call, n, &words(&sandbox, &["backup"])) {
                break;
            }
            let when = format!("killed at {call} {n}");
            all_whole(&sandbox, &mut seen, &when);
            next_one_sweeps(&sandbox, &mut seen, &when);
            n += if is_full() { 1 } else { step };
            total += 1;
        }
    }
    println!("{total} steps");
    assert!(total > 20, "{total}");
}

#[test]
fn a_backup_that_is_asked_to_stop_leaves_nothing() {
    let sandbox = project(8);
    let mut seen = BTreeSet::new();
    time_of(&sandbox, &["backup"]);
    let whole = shortest(|_| time_of(&sandbox, &["backup"]));
    all_whole(&sandbox, &mut seen, "not stopped");
    let count = if is_full() { 60 } else { 8 };
    let mut stopped = 0;
    for (number, moment) in moments(whole, count).enumerate() {
        // The first moments are those of starting, before the signal can be caught.
        let moment = moment + Duration::from_millis(15);
        let signal = if number % 2 == 0 { Signal::TERM } else { Signal::INT };
        let child = spawn(&sandbox, &["backup"]);
        std::thread::sleep(moment);
        let id = Pid::from_child(&child);
        // As a terminal does it, to every process of the group, git's included; and to the tool alone.
        let sent = if number % 4 < 2 { kill_process_group(id, signal) } else { kill_process(id, signal) };
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let when = format!("{signal:?} ({sent:?}) after {moment:?} of {whole:?}: {:?} {said}", output.status);
        let new = all_whole(&sandbox, &mut seen, &when);
        assert_eq!(remains(&store(&sandbox)), Vec::<String>::new(), "{when}");
        assert_eq!(names(&sandbox.path("tmp")), Vec::<String>::new(), "{when}");
        match output.status.code() {
            Some(130) => {
                assert!(new.is_empty() && said.contains("interrupted"), "{when}");
                stopped += 1;
            }
            Some(0) => assert_eq!(new.len(), 1, "{when}"),
            None if moment < Duration::from_millis(40) => assert!(new.is_empty(), "{when}"),
            _ => panic!("{when}"),
        }
    }
    assert!(stopped >= count / 3, "only {stopped} of {count} were stopped");
    next_one_sweeps(&sandbox, &mut seen, "after stopping");
}

/// Asks a command to stop at many moments, as Ctrl-C and as `kill` do, and calls `look` each time. The command
/// must have been stopped in a third of them at least.
#[track_caller]
fn asked_to_stop(sandbox: &Sandbox, first: &[&str], whole: Duration, look: &mut dyn FnMut(i32, &str)) {
    let count = if is_full() { 60 } else { 8 };
    let mut stopped = 0;
    let enough = i32::try_from(count / 3).unwrap();
    // How many come in time depends on the machine, so there are further rounds until enough have.
    for (number, moment) in (0..8).flat_map(|_| moments(whole, count)).enumerate() {
        if number >= count as usize && stopped >= enough {
            break;
        }
        let moment = moment + Duration::from_millis(15);
        let signal = if number % 2 == 0 { Signal::INT } else { Signal::TERM };
        let child = spawn(sandbox, first);
        std::thread::sleep(moment);
        let id = Pid::from_child(&child);
        let sent = if number % 4 < 2 { kill_process_group(id, signal) } else { kill_process(id, signal) };
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let when = format!("{signal:?} ({sent:?}) after {moment:?} of {whole:?}: {:?} {said}", output.status);
        let code = output.status.code();
        // Before the signal can be caught it ends the process.
        assert!(code.is_some() || moment < Duration::from_millis(40), "{when}");
        assert!(matches!(code, Some(0 | 130) | None), "{when}");
        assert!(code != Some(130) || said.contains("interrupted"), "{when}");
        assert_eq!(names(&sandbox.path("tmp")), Vec::<String>::new(), "{when}");
        assert_eq!(remains(&store(sandbox)), Vec::<String>::new(), "{when}");
        stopped += i32::from(code == Some(130));
        look(code.unwrap_or(130), &when);
    }
    assert!(stopped >= enough, "only {stopped} were stopped");
}

#[test]
fn a_verify_that_is_asked_to_stop_leaves_nothing_and_notes_nothing() {
    let sandbox = project(8);
    time_of(&sandbox, &["backup"]);
    let backups = || sandbox.run(&words(&sandbox, &["show", "latest", "--json"])).ok().json();
    let noted = || backups()["state"]["verifications"].as_array().unwrap().len();
    let whole = time_of(&sandbox, &["verify", "--full-test"]);
    let mut known = noted();
    asked_to_stop(&sandbox, &["verify", "--full-test"], whole, &mut |code, when| {
        let now = noted();
        // A stopped check says nothing about the backup; above all not that it is damaged.
        assert_eq!(now - known, usize::from(code == 0), "{when}");
        assert_eq!(backups()["state"]["damage"], serde_json::json!([]), "{when}");
        known = now;
    });
}

#[test]
fn a_restore_that_is_asked_to_stop_leaves_the_target_as_it_was() {
    let sandbox = project(8);
    time_of(&sandbox, &["backup"]);
    let target = sandbox.path("target");
    let to = ["restore", "latest", "--to", target.to_str().unwrap()];
    let whole = shortest(|_| {
        let taken = time_of(&sandbox, &to);
        fs::remove_dir_all(&target).unwrap();
        taken
    });
    let mut existed = false;
    asked_to_stop(&sandbox, &to, whole, &mut |code, when| {
        if code == 0 {
            git(&target, &["fsck", "--no-dangling"]);
            fs::remove_dir_all(&target).unwrap();
        } else {
            assert_eq!(names(&target), Vec::<String>::new(), "{when}");
            assert_eq!(target.exists(), existed, "{when}");
        }
        // New and empty in turn.
        drop(fs::remove_dir_all(&target));
        existed = !existed;
        if existed {
            fs::create_dir(&target).unwrap();
        }
    });
}

fn restored(sandbox: &Sandbox, target: &Path) -> Fingerprint {
    let words = words(sandbox, &["restore", "latest", "--to", target.to_str().unwrap()]);
    sandbox.run(&words).ok();
    plain(target)
}

/// Without what two restores of the same backup may differ in: times in git's index, and of git's own files.
fn plain(target: &Path) -> Fingerprint {
    let mut tree = fingerprint(target, false);
    tree.remove(b".git/index".as_slice());
    tree.retain(|name, _| !name.starts_with(b".git/objects/pack/"));
    tree
}

/// The next restore into the same folder does it all; only where the killed one had done it all is the folder
/// refused as one that is not empty.
#[track_caller]
fn comes_back(sandbox: &Sandbox, target: &Path, expected: &Fingerprint, when: &str) -> bool {
    let words = words(sandbox, &["restore", "latest", "--to", target.to_str().unwrap()]);
    let output = sandbox.run(&words);
    let refused = output.code == 6;
    assert!(refused || output.code == 0, "{when}: {output:?}");
    let mut found = plain(target);
    if refused {
        // The very last thing a restore removes.
        found.retain(|name, _| name != b".xtask-restore" && name != b".xtask-restore/alive");
    }
    let found = differences(expected, &found);
    assert_eq!(found, Vec::<String>::new(), "{when}: {output:?}");
    git(target, &["fsck", "--no-dangling"]);
    refused
}

#[test]
fn a_restore_killed_at_any_moment_can_be_done_again() {
    let sandbox = project(4);
    time_of(&sandbox, &["backup"]);
    let target = sandbox.path("target");
    let expected = restored(&sandbox, &target);
    let whole = shortest(|_| {
        drop(fs::remove_dir_all(&target));
        time_of(&sandbox, &["restore", "latest", "--to", target.to_str().unwrap()])
    });
    let count = if is_full() { 100 } else { 12 };
    let mut killed = 0;
    for moment in moments(whole, count) {
        drop(fs::remove_dir_all(&target));
        let mut child = spawn(&sandbox, &["restore", "latest", "--to", target.to_str().unwrap()]);
        std::thread::sleep(moment);
        child.kill().unwrap();
        let done = child.wait().unwrap().success();
        let when = format!("killed after {moment:?} of {whole:?}");
        let refused = comes_back(&sandbox, &target, &expected, &when);
        assert!(refused || !done, "{when}: a folder that was not empty was written into");
        killed += u32::from(!done);
    }
    assert!(killed > count / 3, "only {killed} of {count} were killed");
}

#[test]
fn a_restore_killed_at_any_step_can_be_done_again() {
    if !tracer() {
        return;
    }
    let sandbox = project(0);
    for n in 0..6 {
        write(&sandbox.project(), &format!("folder{n}/note.md"), "note\n");
    }
    time_of(&sandbox, &["backup"]);
    let target = sandbox.path("target");
    let expected = restored(&sandbox, &target);
    let (mut total, mut refused) = (0, 0);
    for (call, step) in
        [("rename", 1), ("renameat2", 1), ("fsync", 1), ("syncfs", 1), ("mkdir", 7), ("unlinkat", 9)]
    {
        let mut n = 1;
        loop {
            drop(fs::remove_dir_all(&target));
            let to = ["restore", "latest", "--to", target.to_str().unwrap()];
            if !killed_at(&sandbox, call, n, &words(&sandbox, &to)) {
                break;
            }
            let when = format!("killed at {call} {n}");
            refused += usize::from(comes_back(&sandbox, &target, &expected, &when));
            total += 1;
            n += if is_full() { 1 } else { step };
        }
    }
    println!("{total} steps, {refused} after all was done");
    assert!(total > 10 && refused < total / 3, "{refused} of {total}");
}

#[test]
fn what_the_user_put_into_a_half_restored_folder_stays() {
    if !tracer() {
        return;
    }
    let sandbox = project(0);
    time_of(&sandbox, &["backup"]);
    let target = sandbox.path("target");
    let to = ["restore", "latest", "--to", target.to_str().unwrap()];
    assert!(killed_at(&sandbox, "rename", 3, &words(&sandbox, &to)));
    fs::write(target.join("mine.txt"), "mine\n").unwrap();
    sandbox.run(&words(&sandbox, &to)).code(6).says("mine.txt");
    assert_eq!(fs::read_to_string(target.join("mine.txt")).unwrap(), "mine\n");
}

#[test]
fn of_two_restores_into_one_folder_one_is_refused() {
    let sandbox = project(8);
    time_of(&sandbox, &["backup"]);
    let expected = restored(&sandbox, &sandbox.path("reference"));
    let target = sandbox.path("target");
    let to = ["restore", "latest", "--to", target.to_str().unwrap()];
    let mut child = spawn(&sandbox, &to);
    let begun = Instant::now();
    while !target.join(".xtask-restore/alive").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(10));
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    sandbox.run(&words(&sandbox, &to)).code(5).says("another restore");
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(differences(&expected, &plain(&target)), Vec::<String>::new());
}

#[test]
fn a_killed_verify_leaves_nothing_after_the_next_backup() {
    let sandbox = project(4);
    let mut seen = BTreeSet::new();
    time_of(&sandbox, &["backup"]);
    all_whole(&sandbox, &mut seen, "not killed");
    let whole = time_of(&sandbox, &["verify", "latest", "--full-test"]);
    let mut left = 0;
    for moment in moments(whole, if is_full() { 60 } else { 8 }) {
        let mut child = spawn(&sandbox, &["verify", "latest", "--full-test"]);
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        left += remains(&store(&sandbox)).len();
        let when = format!("killed after {moment:?} of {whole:?}");
        all_whole(&sandbox, &mut seen, &when);
    }
    assert!(left > 0, "no kill came while it worked");
    next_one_sweeps(&sandbox, &mut seen, "verify killed");
    sandbox.run(&words(&sandbox, &["verify", "all"])).ok();
    assert_eq!(remains(&store(&sandbox)), Vec::<String>::new());
}

/// Starts a backup and stops it, the lock held, as a run that hangs.
fn frozen(sandbox: &Sandbox) -> Child {
    let child = spawn(sandbox, &["backup", "--label", "first"]);
    let begun = Instant::now();
    while fs::metadata(store(sandbox).join(".lock")).map_or(0, |lock| lock.len()) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not take the lock");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    child
}

#[test]
fn the_second_of_two_runs_is_told_who_holds_the_lock() {
    let sandbox = project(8);
    let mut seen = BTreeSet::new();
    time_of(&sandbox, &["backup"]);
    all_whole(&sandbox, &mut seen, "first");
    let mut child = frozen(&sandbox);
    let holder = format!("process {}", child.id());
    let refused = sandbox.run(&words(&sandbox, &["backup"])).code(5).says("backup").says(&holder);
    assert!(refused.stderr.contains("in use"), "{refused:?}");
    // Those that only read need no lock, and take nothing from the one that works.
    all_whole(&sandbox, &mut seen, "locked");
    sandbox.run(&words(&sandbox, &["verify", "latest"])).ok();
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(all_whole(&sandbox, &mut seen, "continued").len(), 1);

    let mut child = frozen(&sandbox);
    sandbox.run(&words(&sandbox, &["backup"])).code(5);
    child.kill().unwrap();
    child.wait().unwrap();
    next_one_sweeps(&sandbox, &mut seen, "the holder was killed");
}

#[test]
fn a_run_that_hangs_does_not_stop_a_verify() {
    let sandbox = project(0);
    time_of(&sandbox, &["backup"]);
    let held = fs::File::open(store(&sandbox).join(".state-lock")).unwrap();
    held.lock().unwrap();
    sandbox.run(&words(&sandbox, &["verify", "latest"])).ok().says("does not remember");
    drop(held);
}

#[test]
fn of_many_at_once_each_has_an_archive_or_says_that_it_has_none() {
    let sandbox = project(0);
    let rounds = if is_full() { 40 } else { 6 };
    for round in 0..rounds {
        if round % 2 == 0 {
            // They also make the store at once.
            drop(fs::remove_dir_all(store(&sandbox)));
        }
        let before = archives(&store(&sandbox)).len();
        let children: Vec<Child> = (0..6).map(|_| spawn(&sandbox, &["backup"])).collect();
        let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let said: Vec<_> = (outputs.iter())
            .map(|output| (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
            .collect();
        let done = said.iter().filter(|(code, _)| *code == Some(0)).count();
        assert!(said.iter().all(|(code, _)| matches!(code, Some(0 | 5))), "{said:#?}");
        assert!(done > 0, "{said:#?}");
        let mut seen = BTreeSet::new();
        all_whole(&sandbox, &mut seen, "six at once");
        assert_eq!(seen.len() - before, done, "{said:#?}");
        assert_eq!(remains(&store(&sandbox)), Vec::<String>::new());
    }
}
