//! `restore-git REV`: the working copy becomes any commit, as git itself would write it, and nothing that no commit
//! holds is lost; git's own files stay as they are to the byte, or get one new branch; `undo` gives back exactly
//! what was there.
//!
//! `XTASK_TEST_FULL=1` takes 100 random commits of a long history instead of 12.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use support::compare::{fsck, repository, repository_differences};
use support::dice::Dice;
use support::framework::{Framework, write};
use support::history::{self, Checkouts, without_git};
use support::killing::is_full;
use support::tree::{Fingerprint, differences, fingerprint, without_sidecars};
use support::{Output, Sandbox, git, git_at};

const NONE: Vec<String> = Vec::new();

fn change(database: &Path, sql: &str) {
    Connection::open(database).unwrap().execute_batch(sql).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything by its bytes and its mode, `.git` included; times don't count.
fn bytes(project: &Path) -> Fingerprint {
    fingerprint(project, false)
}

/// The git folder, or what of it must be the same when a branch came and went: git may keep objects that nobody
/// names any more, and refs in one file.
fn git_folder(files: &Fingerprint, whole: bool) -> Fingerprint {
    let loose = |name: &[u8]| {
        [&b".git/objects/"[..], b".git/refs/", b".git/packed-refs"].iter().any(|part| name.starts_with(part))
    };
    let mut files = files.clone();
    files.retain(|name, _| name.starts_with(b".git/") && (whole || !loose(name)));
    files
}

/// A file that is the same afterwards was not written, or, where it went and came back, has its time again to the
/// unit, in nanoseconds, that archives know.
#[track_caller]
fn files_keep_their_times(before: &Fingerprint, after: &Fingerprint, unit: u128, when: &str) {
    let mut same = 0;
    for (name, was) in before.iter().filter(|(_, entry)| entry.kind == "file") {
        let Some(is) = after.get(name) else { continue };
        if (is.mode, &is.content) == (was.mode, &was.content) {
            let [is, was] = [is, was].map(|entry| entry.mtime_ns.unwrap() / unit);
            assert_eq!(is, was, "{when}: {}", String::from_utf8_lossy(name));
            same += 1;
        }
    }
    assert!(same > 3, "{when}: hardly anything is as it was");
}

/// A long history in a sandbox, and what git itself makes of its commits.
struct Long {
    sandbox: Sandbox,
    commits: Vec<String>,
    checkouts: Checkouts,
    dice: Dice,
}

impl Long {
    fn new(seed: u64) -> Long {
        let sandbox = Sandbox::in_memory();
        let project = sandbox.project();
        let commits = history::import(&project, 320, seed);
        assert!(commits.len() > 300, "{}", commits.len());
        write(&project, ".git/info/exclude", "/memory/\n");
        fs::create_dir(project.join("memory")).unwrap();
        change(&project.join("memory/index.db"), "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)");
        fs::create_dir(sandbox.path("no-tools")).unwrap();
        let checkouts = Checkouts::copy(&project, sandbox.path("checkouts"));
        Long { sandbox, commits, checkouts, dice: Dice::new(seed + 1) }
    }

    /// A commit that is checked out, with unsaved work of every sort and a stash, and another one.
    fn set_out(&mut self, near: bool) -> (String, Fingerprint) {
        let project = self.sandbox.project();
        let here = self.dice.place(self.commits.len());
        let there = match near {
            true => (here + 1 + self.dice.place(3)).min(self.commits.len() - 1),
            false => self.dice.place(self.commits.len()),
        };
        git(&project, &["reset", "-q", "--hard"]);
        git(&project, &["clean", "-ffdq"]);
        git(&project, &["checkout", "-q", "-f", "-B", "work", &self.commits[here]]);
        history::put(&project, b"stashed.md", b"stashed\n", false);
        git(&project, &["stash", "push", "-q", "-u"]);
        let commit = self.commits[there].clone();
        let expected = self.checkouts.of(&commit);
        history::unsettle(&project, &mut self.dice, &expected);
        (commit, expected)
    }

    /// Runs the tool, where the git command can be found or where it can't.
    fn run(&self, words: &[&str], with_git: bool) -> Output {
        let mut command = self.sandbox.command(self.sandbox.program());
        if !with_git {
            command.env("PATH", self.sandbox.path("no-tools"));
        }
        self.sandbox.output(command.args(words))
    }
}

/// What is not as it should be can only be a pointer of Git LFS: the file that it stands for is elsewhere.
#[track_caller]
fn only_pointers_are_problems(output: &Output, commit: &str) -> Value {
    let document = output.json();
    let findings = document["findings"].as_array().unwrap();
    let problems: BTreeSet<&str> = findings
        .iter()
        .filter(|finding| finding["level"] == "problem")
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert!(problems.iter().all(|code| *code == "lfs-pointers"), "{document:#}");
    assert_eq!(output.code, if problems.is_empty() { 0 } else { 3 }, "{document:#}");
    assert_eq!(document["commit"]["id"], commit, "{document:#}");
    assert_eq!((&document["restored"], &document["undo"]), (&true.into(), &"cargo xtask undo".into()));
    document
}

#[test]
fn any_commit_comes_back_as_git_writes_it_and_undo_takes_it_away() {
    let mut long = Long::new(1);
    let project = long.sandbox.project();
    let mut pointers = 0;
    for round in 0..if is_full() { 100 } else { 12 } {
        let (commit, expected) = long.set_out(round % 2 == 0);
        let when = format!("round {round}, {commit}");
        let tracked = history::tracked(&project);
        let stash = git(&project, &["stash", "list", "--format=%H"]);
        let (before, times) = (bytes(&project), fingerprint(&project, true));
        let with_git = round % 4 != 3;

        let output = long.run(&["restore-git", &commit, "--force", "--json"], with_git);
        let document = only_pointers_are_problems(&output, &commit);
        pointers += usize::from(output.code == 3);
        let (after, new_times) = (bytes(&project), fingerprint(&project, true));
        let wanted = history::over(&without_git(before.clone()), &tracked, &expected);
        assert_eq!(differences(&wanted, &without_git(after.clone())), NONE, "{when}: {document:#}");
        // Commits, index, stash, reflogs: git has not been written to at all.
        assert_eq!(differences(&git_folder(&before, true), &git_folder(&after, true)), NONE, "{when}");
        files_keep_their_times(&times, &new_times, 1, &when);
        assert!(!project.join(".xtask-restore").exists(), "{when}");

        let back = |word: &str, state: &Fingerprint| {
            long.run(&[word, "--force"], with_git).ok();
            assert_eq!(differences(state, &bytes(&project)), NONE, "{when}: {word}");
        };
        back("undo", &before);
        if round % 3 == 0 {
            back("redo", &after);
            back("undo", &before);
        }
        files_keep_their_times(&times, &fingerprint(&project, true), 1_000_000_000, &when);
        assert_eq!(git(&project, &["stash", "list", "--format=%H"]), stash, "{when}");
    }
    assert!(pointers > 1, "no commit had a pointer of Git LFS");
    assert_eq!(fsck(&project), NONE);
}

#[test]
fn a_new_branch_is_at_the_commit_and_undo_takes_it_away() {
    let mut long = Long::new(2);
    let project = long.sandbox.project();
    for round in 0..if is_full() { 30 } else { 5 } {
        let (commit, expected) = long.set_out(round % 2 == 0);
        let when = format!("round {round}, {commit}");
        let tracked = history::tracked(&project);
        // In this order: git that is asked may write its index anew.
        let asked = repository(&project);
        let before = bytes(&project);
        let named: &[&str] = if round % 2 == 1 { &["--branch", "as/of-then"] } else { &[] };
        let words = [&["restore-git", &commit, "--checkout", "--force", "--json"], named].concat();
        let output = long.run(&words, round % 3 != 2);
        only_pointers_are_problems(&output, &commit);
        let after = bytes(&project);
        let wanted = history::over(&without_git(before.clone()), &tracked, &expected);
        assert_eq!(differences(&wanted, &without_git(after.clone())), NONE, "{when}");

        let branch =
            if named.is_empty() { format!("restore/{}", &commit[..10]) } else { named[1].to_owned() };
        let now = repository(&project);
        assert_eq!(now["branch"].trim(), format!("refs/heads/{branch}"), "{when}");
        assert_eq!(now["HEAD"].trim(), commit, "{when}");
        assert_eq!(now["staged"], "", "{when}");
        let refs = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
        let (old, new) = (refs(&asked["refs"]), refs(&now["refs"]));
        let more: Vec<&String> = new.difference(&old).collect();
        assert!(old.is_subset(&new) && more.len() == 1, "{when}: {more:?}");
        assert!(more[0].starts_with(&format!("refs/heads/{branch} {commit} ")), "{when}: {more:?}");
        for part in ["stash", "stash@{0}", "reflog of refs/heads/work", "reflog of refs/stash"] {
            assert_eq!(now[part], asked[part], "{when}: {part}");
        }
        assert_eq!(fsck(&project), NONE, "{when}");
        let status = git(&project, &["status", "--porcelain", "-uall"]);
        let wrong: Vec<&str> = status.lines().filter(|line| !line.starts_with("?? ")).collect();
        assert_eq!(wrong, Vec::<&str>::new(), "{when}");

        long.run(&["undo", "--force"], round % 3 != 2).ok();
        let undone = bytes(&project);
        assert_eq!(differences(&without_git(before.clone()), &without_git(undone.clone())), NONE, "{when}");
        assert_eq!(differences(&git_folder(&before, false), &git_folder(&undone, false)), NONE, "{when}");
        assert_eq!(repository_differences(&asked, &repository(&project)), NONE, "{when}");
        long.run(&["redo", "--force"], round % 3 != 2).ok();
        assert_eq!(repository_differences(&now, &repository(&project)), NONE, "{when}");
        assert_eq!(
            differences(&without_git(after), &without_git(bytes(&project))),
            NONE,
            "{when}: done once more"
        );
        long.run(&["undo", "--force"], true).ok();
        assert_eq!(repository_differences(&asked, &repository(&project)), NONE, "{when}");
    }
}

/// A framework whose databases nobody needs a log for, so that looking at them leaves nothing beside them.
fn framework() -> Framework {
    let framework = Framework::at_rest();
    for name in ["index.db", "vectors.db"] {
        change(&framework.memory().join(name), "PRAGMA journal_mode = DELETE");
    }
    framework
}

#[test]
fn a_dry_run_leaves_no_trace_and_tells_all() {
    let framework = framework();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    let run = |words: &[&str]| {
        let (before, data) = (fingerprint(&project, true), fingerprint(&sandbox.data(), true));
        let output = sandbox.run(&[&["restore-git", "--dry-run"], words].concat()).ok();
        assert_eq!(differences(&before, &fingerprint(&project, true)), NONE, "{words:?}");
        assert_eq!(differences(&data, &fingerprint(&sandbox.data(), true)), NONE, "{words:?}");
        assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0, "{words:?}");
        output
    };
    // Nobody has ever made a backup.
    run(&["v0.1"]);
    run(&["v0.1", "--checkout"]);
    sandbox.run(&["backup"]).ok();
    change(&framework.memory().join("index.db"), "DELETE FROM learnings WHERE id <= 100");
    let told = run(&["v0.1"]);
    for line in ["replace  src/state.py (", "create   docs/-leading-dash.md (", "remove   src/staged.py ("] {
        assert!(told.stdout.lines().any(|l| l.starts_with(line)), "{line}\n{}", told.stdout);
    }
    let id = git(&project, &["rev-parse", "v0.1"]);
    let document = run(&["v0.1", "--json"]).json();
    assert_eq!((&document["commit"]["id"], &document["commit"]["subject"]), (&json!(id), &json!("Step 8")));
    assert_eq!((&document["dry_run"], &document["restored"]), (&json!(true), &json!(false)));
    let changes = document["plan"]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|one| one["path"] == "src/staged.py" && one["change"] == "remove"));
    // What git does not know is nobody's business.
    assert!(!changes.iter().any(|one| one["path"].as_str().unwrap().starts_with("notes")), "{document:#}");
    let told = run(&["v0.1", "--checkout"]).stdout;
    assert!(told.contains(&format!("restore/{}", &id[..10])), "{told}");
    let told = run(&["HEAD", "--restore-databases"]).stdout;
    assert!(told.contains("replace  memory/index.db: 100 rows appear"), "{told}");
    run(&["HEAD", "--checkout", "--restore-databases", "--json"]);
}

#[test]
fn what_is_told_ends_with_the_way_back() {
    let framework = framework();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    let before = without_sidecars(bytes(&project));
    sandbox.run(&["restore-git", "v0.2"]).code(6).says("--force");
    sandbox.run(&["restore-git", "v0.2", "--json"]).code(6);
    assert_eq!(differences(&before, &without_sidecars(bytes(&project))), NONE);
    let told = sandbox.run(&["restore-git", "v0.2", "--force"]).ok();
    assert!(told.stdout.ends_with("cargo xtask undo\n"), "{told:?}");
    assert_eq!(fs::read_to_string(project.join("src/state.py")).unwrap(), "STEP = 16\n");
    let told = sandbox.run(&["restore-git", "v0.2", "--force"]).ok();
    assert!(told.stdout.contains("nothing was changed"), "{told:?}");
    sandbox.run(&["undo", "--force"]).ok();
    assert_eq!(differences(&before, &without_sidecars(bytes(&project))), NONE);
    let told = sandbox.run(&["restore-git", "v0.2", "--force", "--no-backup"]).ok();
    assert!(!told.stdout.contains("undo"), "{told:?}");
    told.says("can't be taken back");
    assert_eq!(fs::read_to_string(project.join("src/state.py")).unwrap(), "STEP = 16\n");
}

#[test]
fn only_what_is_named_is_put_back() {
    let framework = framework();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    let before = bytes(&project);
    sandbox.run(&["restore-git", "v0.1", "--only", "src/state.py", "--force"]).ok();
    let mut wanted = before.clone();
    fs::write(sandbox.path("tmp/state.py"), "STEP = 8\n").unwrap();
    let content = support::tree::sha256(&sandbox.path("tmp/state.py"));
    wanted.get_mut(b"src/state.py".as_slice()).unwrap().content = content;
    assert_eq!(differences(&wanted, &bytes(&project)), NONE);
    sandbox.run(&["undo", "--force"]).ok();
    assert_eq!(differences(&before, &bytes(&project)), NONE);
    // What the commit lacks goes, where it was named.
    sandbox.run(&["restore-git", "v0.1", "--only", "src", "--force"]).ok();
    assert!(!project.join("src/staged.py").exists());
    assert_eq!(fs::read_to_string(project.join("src/part1.py")).unwrap(), "# part, step 8\n");
    let mut others = bytes(&project);
    others.retain(|name, _| !name.starts_with(b"src/"));
    wanted.retain(|name, _| !name.starts_with(b"src/"));
    assert_eq!(differences(&wanted, &others), NONE);
    sandbox.run(&["undo", "--force"]).ok();
    let refused = |words: &[&str], code: i32| {
        let words = [&["restore-git"], words, &["--force"]].concat();
        let told = sandbox.run(&words).code(code);
        assert_eq!(differences(&before, &bytes(&project)), NONE, "{words:?}");
        told
    };
    refused(&["v0.1", "--only", "nothing/like/it"], 4);
    refused(&["v0.1", "--only", "src", "--checkout"], 2).says("--only");
    refused(&["v0.1", "--keep-databases", "--restore-databases"], 2);
    refused(&["v0.1", "--at", "2h"], 2);
    refused(&["v0.1", "v0.2"], 2);
    refused(&["v0.1", "--checkout", "--branch", "two..dots"], 2);
    refused(&["v0.1", "--checkout", "--branch", "feature"], 6).says("feature").says("--branch");
    refused(&["v0.1", "--checkout", "--branch", "feature/below"], 6).says("feature");
}

/// Each is in the way of something that the commit has: the same name, a folder's name, below a file's name.
#[test]
fn an_ignored_file_in_the_way_stays_and_is_named() {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    for name in ["file", "folder/inside", "other", "harmless/a"] {
        write(&project, name, &format!("{name} of the commit\n"));
    }
    git(&project, &["add", "."]);
    git(&project, &["commit", "-q", "-m", "One"]);
    git(&project, &["rm", "-q", "-r", "file", "folder", "other", "harmless"]);
    write(&project, ".gitignore", "/file\n/folder\n/other\n/harmless\n");
    git(&project, &["add", "."]);
    git(&project, &["commit", "-q", "-m", "Two"]);
    write(&project, "file", "private\n");
    write(&project, "folder", "private, too\n");
    write(&project, "other/deep/private", "private as well\n");
    write(&project, "harmless/private", "beside it\n");
    set_mode(&project.join("file"), 0o600);
    let before = bytes(&project);
    for more in [&[][..], &["--checkout"]] {
        let told = sandbox.run(&[&["restore-git", "HEAD~1", "--force"], more].concat()).code(3);
        for name in ["file", "folder", "other"] {
            assert!(told.stderr.contains(name), "{name}: {told:?}");
        }
        let after = bytes(&project);
        for name in ["file", "folder", "other", "other/deep", "other/deep/private", "harmless/private"] {
            assert_eq!(before[name.as_bytes()], after[name.as_bytes()], "{name} {more:?}");
        }
        assert_eq!(fs::read_to_string(project.join("harmless/a")).unwrap(), "harmless/a of the commit\n");
        assert!(!project.join(".gitignore").exists());
        sandbox.run(&["undo", "--force"]).ok();
        assert_eq!(git_folder(&before, false), git_folder(&bytes(&project), false), "{more:?}");
        assert_eq!(
            differences(&without_git(before.clone()), &without_git(bytes(&project))),
            NONE,
            "{more:?}"
        );
    }
}

#[test]
fn of_a_mode_only_whether_it_can_be_run_counts() {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    let modes = [("plain", 0o644), ("run", 0o755), ("same", 0o644), ("gone", 0o755)];
    for (name, mode) in modes {
        write(&project, name, &format!("{name}\n"));
        set_mode(&project.join(name), mode);
    }
    symlink("plain", project.join("link")).unwrap();
    git(&project, &["add", "."]);
    git(&project, &["commit", "-q", "-m", "One"]);
    for (name, _) in modes {
        write(&project, name, &format!("{name} changed\n"));
    }
    git_at(&project, 1_764_000_100, &["commit", "-q", "-a", "-m", "Two"]);
    let restored = |now: [u32; 3], with: &str| {
        for ((name, _), mode) in modes.iter().zip(now) {
            set_mode(&project.join(name), mode);
        }
        drop(fs::remove_file(project.join("gone")));
        sandbox.run(&["restore-git", with, "--force"]).ok();
        let mode =
            |name: &str| fs::symlink_metadata(project.join(name)).unwrap().permissions().mode() & 0o7777;
        (["plain", "run", "same"].map(mode), mode("gone"))
    };
    for with in ["HEAD~1", "HEAD"] {
        assert_eq!(restored([0o600, 0o600, 0o400], with), ([0o600, 0o700, 0o400], 0o755), "{with}");
        assert_eq!(restored([0o750, 0o664, 0o755], with), ([0o640, 0o775, 0o644], 0o755), "{with}");
        assert!(fs::symlink_metadata(project.join("link")).unwrap().is_symlink());
    }
}

/// Hooks, filters, a watcher of the file system: all that a repository can have run by git.
#[test]
fn no_program_of_the_repository_is_run() {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    for text in ["one\n", "two\n"] {
        write(&project, "file.txt", text);
        git(&project, &["add", "."]);
        git(&project, &["commit", "-q", "-m", text.trim()]);
    }
    write(&project, ".git/info/attributes", "*.txt filter=evil diff=evil merge=evil\n");
    let mark = sandbox.path("ran");
    let script = format!("#!/bin/sh\necho $0 >> '{}'\ncat\n", mark.display());
    let program = sandbox.path("evil");
    fs::write(&program, &script).unwrap();
    set_mode(&program, 0o755);
    let evil = program.to_str().unwrap();
    let hooks = ["post-checkout", "pre-commit", "post-index-change", "reference-transaction", "post-commit"];
    for name in hooks.iter().chain(&["pre-auto-gc", "post-rewrite", "fsmonitor-watchman", "post-merge"]) {
        fs::write(project.join(".git/hooks").join(name), &script).unwrap();
        set_mode(&project.join(".git/hooks").join(name), 0o755);
    }
    for name in ["smudge", "clean", "process"] {
        git(&project, &["config", &format!("filter.evil.{name}"), evil]);
    }
    for (key, value) in [("core.fsmonitor", evil), ("diff.external", evil), ("core.editor", evil)] {
        git(&project, &["config", key, value]);
    }
    for key in ["diff.evil.textconv", "diff.evil.command", "core.pager", "core.sshCommand", "gpg.program"] {
        git(&project, &["config", key, evil]);
    }
    drop(fs::remove_file(&mark));
    for more in [&["--dry-run"][..], &[], &["--checkout"]] {
        let told = sandbox.run(&[&["restore-git", "HEAD~1", "--force"], more].concat());
        // That the filter would have written something else is told.
        assert!(matches!(told.code, 0 | 3), "{told:?}");
        assert!(!mark.exists(), "{more:?}: {}", fs::read_to_string(&mark).unwrap());
        if more != ["--dry-run"] {
            assert_eq!(fs::read_to_string(project.join("file.txt")).unwrap(), "one\n");
            assert!(matches!(sandbox.run(&["undo", "--force"]).code, 0 | 3));
            assert_eq!(fs::read_to_string(project.join("file.txt")).unwrap(), "two\n");
            assert!(!mark.exists(), "undo {more:?}: {}", fs::read_to_string(&mark).unwrap());
        }
    }
}
