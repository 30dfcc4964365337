//! Round trips with real repositories, made by the git command in sandbox folders with a HOME of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use super::put_back::put_back_with;
use super::run::Program;
use super::*;
use xtask_testing as in_memory;

mod cases;
mod hostile;
mod increments;
mod moment;
mod new_branch;
mod replaced;
mod replaced_hostile;
mod revisions;
mod unwritten;
mod written_out;
mod written_out_hostile;

/// A working copy `project` in a folder of its own.
pub struct Sandbox {
    folder: tempfile::TempDir,
    pub root: PathBuf,
}

impl Sandbox {
    /// `git init` with these further arguments.
    pub fn new(args: &[&str]) -> Sandbox {
        let folder = in_memory::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("project");
        let sandbox = Sandbox { folder, root };
        sandbox.git_in(sandbox.folder.path(), &[&["init", "-q", "-b", "main"], args, &["project"]].concat());
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub fn try_git(&self, at: &Path, args: &[&str]) -> Output {
        Command::new("git")
            .args(["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"])
            .args(["-c", "core.editor=true"])
            .args(args)
            .current_dir(at)
            .env("HOME", self.folder.path().join("no-home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C")
            .output()
            .unwrap()
    }

    pub fn git_in(&self, at: &Path, args: &[&str]) -> String {
        let output = self.try_git(at, args);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {args:?}: {err}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.root, args)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn commit(&self, name: &str, text: &str) {
        self.write(name, text);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", &format!("{name} is {}", text.trim())]);
    }

    /// Everything that must be the same after a round trip.
    pub fn observe(&self, at: &Path) -> BTreeMap<&'static str, String> {
        let fsck = self.try_git(at, &["fsck", "--full"]);
        let fsck =
            String::from_utf8_lossy(&fsck.stderr).into_owned() + &String::from_utf8_lossy(&fsck.stdout);
        let errors = fsck.lines().filter(|line| {
            !line.starts_with("dangling") && !line.starts_with("notice:") && !line.starts_with("Checking")
        });
        BTreeMap::from([
            ("refs", self.git_in(at, &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"])),
            ("head", String::from_utf8(self.try_git(at, &["rev-parse", "HEAD"]).stdout).unwrap()),
            ("symbolic", String::from_utf8(self.try_git(at, &["symbolic-ref", "HEAD"]).stdout).unwrap()),
            ("reflogs", self.git_in(at, &["reflog", "show", "--all", "--date=raw"])),
            ("stash", self.git_in(at, &["stash", "list"])),
            ("status", self.git_in(at, &["status", "--porcelain=v2", "--branch", "-z"])),
            ("long", self.git_in(at, &["status"])),
            ("staged", self.git_in(at, &["ls-files", "-s", "-z"])),
            ("fsck", errors.collect::<Vec<_>>().join("\n")),
        ])
    }
}

/// Every file of a folder with content and time.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let time = fs::metadata(&folder).unwrap().modified().unwrap();
        found.insert(folder.clone(), (Vec::new(), time));
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                open.push(path);
            } else if meta.is_file() {
                found.insert(path.clone(), (fs::read(&path).unwrap(), meta.modified().unwrap()));
            }
        }
    }
    found
}

pub fn opened(root: &Path, program: Option<Program>) -> Git {
    match open_with(root, program).unwrap() {
        Opened::Git(git) => *git,
        Opened::None => panic!("no git in {}", root.display()),
        Opened::Refused { reason, hint } => panic!("{reason} ({hint})"),
    }
}

/// Captures as a backup would, lays the result out as an extracted archive, and proves it.
pub fn captured(root: &Path, program: Option<&Program>, to: &Path, leave_out: &[&str]) -> Capture {
    let git = opened(root, program.cloned());
    let leave_out: BTreeSet<Vec<u8>> = leave_out.iter().map(|name| name.as_bytes().to_vec()).collect();
    let (own, common) = (git.own.clone(), git.common.clone());
    let before = (snapshot(&own), snapshot(&common));
    let scratch = in_memory::tempdir().unwrap();
    let capture = git.capture(scratch.path(), &leave_out, &|_| true, None).unwrap();
    git.classify().unwrap();
    for (folder, before) in [(&own, &before.0), (&common, &before.1)] {
        let after = snapshot(folder);
        let differ = |path: &&PathBuf| after.get(*path) != before.get(*path);
        let changed: BTreeSet<_> = after.keys().chain(before.keys()).filter(differ).collect();
        assert!(changed.is_empty(), "changed: {changed:?}");
    }
    let lost = capture.findings.iter().find(|finding| finding.code == "git-worktree");
    assert_eq!(lost, None);
    fs::create_dir_all(to.join("bundles")).unwrap();
    for (path, name) in capture.bundles.iter().zip(&capture.facts.bundles) {
        fs::copy(path, to.join("bundles").join(name)).unwrap();
    }
    for (name, path) in &capture.state {
        let path_to = name.below(to).unwrap();
        fs::create_dir_all(path_to.parent().unwrap()).unwrap();
        fs::copy(path, path_to).unwrap();
    }
    for program in [program, None] {
        let scratch = in_memory::tempdir().unwrap();
        let damage = check::check_with(program, to, &capture.facts, scratch.path()).unwrap();
        assert!(damage.is_empty(), "{damage:?}");
    }
    capture
}

/// The working files without `.git`, as a restore puts them.
pub fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != ".git" {
            let done = Command::new("cp").arg("-a").arg(entry.path()).arg(to).status().unwrap();
            assert!(done.success());
        }
    }
}

/// Captures, puts back, and compares all that git tells. Once with the git command and, when libgit2 can,
/// once without.
pub fn round_trip(sandbox: &Sandbox, root: &Path, also_without: bool) -> Capture {
    let expected = sandbox.observe(root);
    let mut result = None;
    let program = Program::find();
    assert!(program.is_some());
    for program in if also_without { vec![program, None] } else { vec![program] } {
        let folder = in_memory::tempdir().unwrap();
        let source = folder.path().join("git");
        let capture = captured(root, program.as_ref(), &source, &[]);
        let target = folder.path().join("target");
        copy_files(root, &target);
        let done = put_back_with(program.as_ref(), &source, &capture.facts, &target, false).unwrap();
        assert!(done.findings.is_empty(), "{:?}", done.findings);
        let found = sandbox.observe(&target);
        for (what, text) in &expected {
            assert_eq!(&found[what], text, "{what}, git command: {}", program.is_some());
        }
        result.get_or_insert(capture);
    }
    result.unwrap()
}
