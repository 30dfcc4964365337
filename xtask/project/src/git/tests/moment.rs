//! Moments of a repository, and the way from one to another and back: what git tells, compared.

use super::replace::{self, GitPlan, Replacement};
use super::*;

/// Makes the replacements as a journal does: what is there aside, what is staged into place.
pub fn apply(replacements: &[Replacement], aside: &Path) {
    fs::create_dir_all(aside).unwrap();
    for (number, replacement) in replacements.iter().enumerate() {
        if replacement.path.symlink_metadata().is_ok() {
            fs::rename(&replacement.path, aside.join(number.to_string())).unwrap();
        }
        if let Some(staged) = &replacement.staged {
            fs::rename(staged, &replacement.path).unwrap();
        }
    }
}

/// Takes them back.
fn roll_back(replacements: &[Replacement], aside: &Path) {
    for (number, replacement) in replacements.iter().enumerate().rev() {
        if let Some(staged) = &replacement.staged {
            fs::rename(&replacement.path, staged).unwrap();
        }
        let old = aside.join(number.to_string());
        if old.symlink_metadata().is_ok() {
            fs::rename(old, &replacement.path).unwrap();
        }
    }
}

/// One moment of a project: what git tells, its reflogs, its files, and a backup of git.
pub struct Moment {
    pub told: BTreeMap<&'static str, String>,
    logs: BTreeMap<String, Vec<u8>>,
    folder: tempfile::TempDir,
    pub facts: crate::base::facts::GitFacts,
}

impl Moment {
    pub fn of(sandbox: &Sandbox, program: Option<&Program>) -> Moment {
        let folder = in_memory::tempdir().unwrap();
        copy_files(&sandbox.root, &folder.path().join("files"));
        // Before git is asked anything: asking renews the index.
        let facts = captured(&sandbox.root, program, &folder.path().join("git"), &[]).facts;
        Moment { told: told(sandbox), logs: logs(sandbox), folder, facts }
    }

    pub fn source(&self) -> PathBuf {
        self.folder.path().join("git")
    }

    /// Puts the working files back, with their times, as a restore does.
    pub fn files_back(&self, sandbox: &Sandbox) {
        for entry in fs::read_dir(&sandbox.root).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap() == ".git" {
                true => {}
                false if path.is_dir() => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
        copy_files(&self.folder.path().join("files"), &sandbox.root);
    }
}

pub fn told(sandbox: &Sandbox) -> BTreeMap<&'static str, String> {
    let mut told = sandbox.observe(&sandbox.root);
    let strict = sandbox.try_git(&sandbox.root, &["fsck", "--strict", "--no-dangling"]);
    told.insert("strict", String::from_utf8_lossy(&strict.stdout).into_owned());
    let history = sandbox.try_git(&sandbox.root, &["log", "--format=%h %s", "HEAD"]);
    told.insert("history", String::from_utf8_lossy(&history.stdout).into_owned());
    told.insert("state", sandbox.git(&["ls-files", "--unmerged"]));
    told
}

fn logs(sandbox: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    let folder = sandbox.root.join(".git/logs");
    if !folder.exists() {
        return BTreeMap::new();
    }
    let all = snapshot(&folder).into_iter().filter(|(path, _)| path.is_file());
    all.map(|(path, (bytes, _))| (path.strip_prefix(&folder).unwrap().display().to_string(), bytes)).collect()
}

/// Everything of the git folder but objects: name and content, and whether it is a folder.
fn visible(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = snapshot(&sandbox.root.join(".git")).into_iter().map(|(path, (bytes, _))| (path, bytes));
    all.filter(|(path, _)| !path.starts_with(sandbox.root.join(".git/objects"))).collect()
}

/// Plans, stages, takes all back once (nothing may have changed), applies.
pub fn put_into(sandbox: &Sandbox, program: Option<&Program>, moment: &Moment, exact: bool) -> GitPlan {
    let git = opened(&sandbox.root, program.cloned());
    let before = visible(sandbox);
    let plan = replace::plan(&git, &moment.source(), &moment.facts, exact).unwrap();
    let hooks = Hooks::install(sandbox);
    let work = tempfile::tempdir_in(sandbox.root.parent().unwrap()).unwrap();
    let replaced = replace::stage(&git, &moment.source(), &moment.facts, exact, work.path()).unwrap();
    let unsure = plan.files == ["shallow"] && replaced.is_empty();
    assert!(plan.is_empty() == replaced.is_empty() || unsure, "{plan:?} {replaced:?}");
    assert!(replaced.iter().all(|r| r.path.starts_with(git.folder())));
    apply(&replaced, &work.path().join("aside"));
    roll_back(&replaced, &work.path().join("aside"));
    hooks.none_ran();
    let differ = |path: &&PathBuf, other: &BTreeMap<PathBuf, Vec<u8>>| {
        !path.ends_with("info") && !other.contains_key(*path)
    };
    let after = visible(sandbox);
    assert_eq!(after.keys().filter(|path| differ(path, &before)).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    for (path, bytes) in &before {
        assert!(after.get(path) == Some(bytes), "{} is not as it was", path.display());
    }
    apply(&replaced, &work.path().join("again"));
    // Done once, there is nothing left to do.
    let git = opened(&sandbox.root, program.cloned());
    let again = replace::plan(&git, &moment.source(), &moment.facts, exact).unwrap();
    assert!(again.is_empty() || again.files == ["shallow"], "{again:?}");
    let work = tempfile::tempdir_in(sandbox.root.parent().unwrap()).unwrap();
    let replaced = replace::stage(&git, &moment.source(), &moment.facts, exact, work.path()).unwrap();
    assert!(replaced.is_empty(), "{replaced:?}");
    plan
}

/// Hooks that tell when they run.
struct Hooks {
    ran: PathBuf,
    folder: PathBuf,
}

impl Hooks {
    fn install(sandbox: &Sandbox) -> Hooks {
        use std::os::unix::fs::PermissionsExt;
        let (ran, folder) = (sandbox.path("ran"), sandbox.root.join(".git/hooks"));
        fs::create_dir_all(&folder).unwrap();
        for name in ["reference-transaction", "post-index-change", "post-checkout", "post-rewrite"] {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\necho \"$0\" >> {}\n", ran.display())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Hooks { ran, folder }
    }

    fn none_ran(self) {
        assert!(!self.ran.exists(), "{}", fs::read_to_string(&self.ran).unwrap());
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none() {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

pub fn same(found: &BTreeMap<&'static str, String>, moment: &Moment, but: &[&str], with: bool) {
    for (what, text) in &moment.told {
        if !but.contains(what) {
            assert_eq!(&found[what], text, "{what}, git command: {with}");
        }
    }
}

/// Makes a repository, backs it up, lets time pass, restores, and takes that back; first so that later refs
/// stay, then exactly. The plans of the first way are returned, one for each way of calling git.
pub fn there_and_back(make: impl Fn() -> Sandbox, later: impl Fn(&Sandbox)) -> Vec<GitPlan> {
    let mut plans = Vec::new();
    for program in [Program::find(), None] {
        let (program, with) = (program.as_ref(), program.is_some());
        let sandbox = make();
        let then = Moment::of(&sandbox, program);
        later(&sandbox);
        let config = fs::read(sandbox.root.join(".git/config")).unwrap();
        let now = Moment::of(&sandbox, program);
        for exact in [false, true] {
            let plan = put_into(&sandbox, program, &then, exact);
            then.files_back(&sandbox);
            let found = told(&sandbox);
            if exact {
                same(&found, &then, &[], with);
                assert_eq!(logs(&sandbox), then.logs);
                assert_eq!(plan.kept, Vec::<String>::new());
            } else {
                same(&found, &then, &["refs", "reflogs", "long", "stash"], with);
                let kept = |line: &&str| plan.kept.iter().any(|name| line.starts_with(&format!("{name} ")));
                let refs: Vec<&str> = found["refs"].lines().filter(|line| !kept(line)).collect();
                assert_eq!(refs, then.told["refs"].lines().collect::<Vec<_>>());
                let mut found = logs(&sandbox);
                found.retain(|name, bytes| !(plan.kept.contains(name) && now.logs.get(name) == Some(bytes)));
                assert_eq!(found, then.logs);
                plans.push(plan);
            }
            assert!(put_into(&sandbox, program, &now, true).kept.is_empty());
            now.files_back(&sandbox);
            same(&told(&sandbox), &now, &[], with);
            assert_eq!(logs(&sandbox), now.logs);
            assert_eq!(fs::read(sandbox.root.join(".git/config")).unwrap(), config);
        }
    }
    plans
}

pub fn full() -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    sandbox.write(".gitignore", "*.log\n/private/\n");
    sandbox.commit("a.txt", "one\n");
    sandbox.commit("dir/b.txt", "two\n");
    sandbox
}

pub fn change<'a>(plan: &'a GitPlan, name: &str) -> Option<&'a replace::RefChange> {
    plan.refs.iter().find(|change| change.name == name)
}
