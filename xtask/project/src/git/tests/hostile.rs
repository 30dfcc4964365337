//! Damage, hostile repositories and hostile archives.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn simple() -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("a.txt", "one\n");
    sandbox.commit("a.txt", "two\n");
    sandbox
}

#[test]
fn nothing_that_the_configuration_names_is_run() {
    let sandbox = simple();
    let ran = sandbox.path("ran");
    let script = sandbox.path("evil.sh");
    fs::write(&script, format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", ran.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.display().to_string();
    sandbox.write(".gitattributes", "* filter=evil diff=evil merge=evil\n");
    sandbox.write("b.txt", "new");
    sandbox.write("a.txt", "changed");
    for key in [
        "core.fsmonitor",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.evil.textconv",
        "diff.evil.command",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "gpg.program",
        "uploadpack.packObjectsHook",
        "core.alternateRefsCommand",
    ] {
        sandbox.git(&["config", key, &script]);
    }
    sandbox.git(&["config", "commit.gpgSign", "true"]);
    let hooks = sandbox.root.join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["pre-commit", "post-index-change", "reference-transaction", "post-checkout"] {
        fs::copy(&script, hooks.join(hook)).unwrap();
    }
    for program in [Program::find(), None] {
        let folder = in_memory::tempdir().unwrap();
        let (source, target) = (folder.path().join("git"), folder.path().join("target"));
        let capture = captured(&sandbox.root, program.as_ref(), &source, &[]);
        assert!(capture.facts.dirty);
        fs::create_dir(&target).unwrap();
        let done = put_back_with(program.as_ref(), &source, &capture.facts, &target, false).unwrap();
        for named in ["hook pre-commit", "config core.fsmonitor", "config filter.evil.clean"] {
            assert!(done.not_applied.iter().any(|item| item == named), "{named}: {:?}", done.not_applied);
        }
        assert!(!fs::read_to_string(target.join(".git/config")).unwrap().contains("evil"));
        assert!(!target.join(".git/hooks/pre-commit").exists());
        fs::remove_dir_all(target.join(".git")).unwrap();
        let done = put_back_with(program.as_ref(), &source, &capture.facts, &target, true).unwrap();
        assert!(done.not_applied.is_empty());
        assert!(target.join(".git/hooks/pre-commit").exists());
        assert_eq!(sandbox.git_in(&target, &["config", "core.pager"]).trim(), script);
    }
    assert!(!ran.exists(), "{}", fs::read_to_string(&ran).unwrap());
}

fn loose(root: &Path, id: &str) -> PathBuf {
    root.join(".git/objects").join(&id[..2]).join(&id[2..])
}

/// Damages an object of the newest commit, and tells what the capture makes of it.
fn damaged(damage: impl Fn(&Path)) -> (Sandbox, Capture, tempfile::TempDir) {
    let sandbox = simple();
    sandbox.git(&["branch", "old", "HEAD^"]);
    let id = sandbox.git(&["rev-parse", "HEAD:a.txt"]);
    let path = loose(&sandbox.root, id.trim());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    damage(&path);
    let folder = in_memory::tempdir().unwrap();
    let capture = captured(&sandbox.root, Program::find().as_ref(), folder.path(), &[]);
    (sandbox, capture, folder)
}

#[test]
fn a_missing_object_costs_only_itself() {
    let (sandbox, capture, folder) = damaged(|path| fs::remove_file(path).unwrap());
    assert!(capture.findings.iter().any(|finding| finding.code == "git-history" && finding.is_problem()));
    assert!(folder.path().join("missing").exists() && folder.path().join("HEAD").exists());
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    put_back(folder.path(), &capture.facts, &target, false).unwrap();
    assert_eq!(sandbox.git_in(&target, &["log", "--format=%s"]), sandbox.git(&["log", "--format=%s"]));
    assert_eq!(sandbox.git_in(&target, &["show", "old:a.txt"]), "one\n");
}

#[test]
fn a_damaged_object_costs_only_itself() {
    let (sandbox, capture, folder) = damaged(|path| fs::write(path, "rubbish").unwrap());
    let found = capture.findings.iter().find(|finding| finding.code == "git-history").unwrap();
    assert!(found.message.starts_with("1 objects"), "{}", found.message);
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    put_back(folder.path(), &capture.facts, &target, false).unwrap();
    assert_eq!(sandbox.git_in(&target, &["log", "--format=%s"]), sandbox.git(&["log", "--format=%s"]));
    assert_eq!(sandbox.git_in(&target, &["show", "old:a.txt"]), "one\n");
}

#[test]
fn a_damaged_commit_costs_the_refs_that_need_it() {
    let sandbox = simple();
    sandbox.git(&["branch", "old", "HEAD^"]);
    let path = loose(&sandbox.root, sandbox.git(&["rev-parse", "HEAD"]).trim());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, "rubbish").unwrap();
    let scratch = in_memory::tempdir().unwrap();
    let git = opened(&sandbox.root, Program::find());
    let capture = git.capture(scratch.path(), &BTreeSet::new(), &|_| true, None).unwrap();
    let found = capture.findings.iter().find(|finding| finding.code == "git-history").unwrap();
    assert!(found.message.contains("refs/heads/main"), "{}", found.message);
    let old = sandbox.git_in(scratch.path(), &["ls-remote", capture.bundles[0].to_str().unwrap()]);
    assert!(old.contains("refs/heads/old"), "{old}");
}

#[test]
fn a_damaged_history_without_git_still_saves_the_state() {
    let sandbox = simple();
    let id = sandbox.git(&["rev-parse", "HEAD^"]);
    fs::remove_file(loose(&sandbox.root, id.trim())).unwrap();
    let scratch = in_memory::tempdir().unwrap();
    let capture =
        opened(&sandbox.root, None).capture(scratch.path(), &BTreeSet::new(), &|_| true, None).unwrap();
    assert!(capture.bundles.is_empty());
    assert!(capture.findings.iter().any(|finding| finding.code == "git-history"));
    assert!(capture.state.iter().any(|(name, _)| name.bytes() == b"index"));
}

#[test]
fn a_partial_clone_is_named_and_comes_back_as_one() {
    let sandbox = simple();
    sandbox.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", sandbox.root.display());
    let args = ["clone", "-q", "--filter=blob:none", &url, "partial"];
    sandbox.git_in(&sandbox.path(""), &args);
    let partial = sandbox.path("partial");
    let folder = in_memory::tempdir().unwrap();
    let source = folder.path().join("git");
    let capture = captured(&partial, Program::find().as_ref(), &source, &[]);
    assert!(capture.findings.iter().any(|finding| finding.code == "partial-clone" && finding.is_problem()));
    let target = folder.path().join("target");
    copy_files(&partial, &target);
    put_back(&source, &capture.facts, &target, false).unwrap();
    assert_eq!(sandbox.git_in(&target, &["status", "--porcelain"]), "");
    assert_eq!(sandbox.git_in(&target, &["show", "HEAD^:a.txt"]), "one\n");
}

#[test]
fn a_damaged_bundle_is_told_and_not_put_back() {
    let sandbox = simple();
    for program in [Program::find(), None] {
        let folder = in_memory::tempdir().unwrap();
        let (source, target) = (folder.path().join("git"), folder.path().join("target"));
        let capture = captured(&sandbox.root, program.as_ref(), &source, &[]);
        let bundle = source.join("bundles/0000.bundle");
        let good = fs::read(&bundle).unwrap();
        fs::create_dir(&target).unwrap();
        let mut flipped = good.clone();
        *flipped.iter_mut().rev().nth(40).unwrap() ^= 1;
        for bad in [flipped, good[..good.len() - 30].to_vec(), good[..60].to_vec(), Vec::new()] {
            fs::write(&bundle, bad).unwrap();
            let scratch = in_memory::tempdir().unwrap();
            let damage =
                check::check_with(program.as_ref(), &source, &capture.facts, scratch.path()).unwrap();
            assert!(!damage.is_empty());
            assert!(put_back_with(program.as_ref(), &source, &capture.facts, &target, false).is_err());
            assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "something was left");
        }
    }
}

#[test]
fn a_hostile_source_writes_nothing_elsewhere() {
    let sandbox = simple();
    let folder = in_memory::tempdir().unwrap();
    let source = folder.path().join("git");
    let facts = captured(&sandbox.root, Program::find().as_ref(), &source, &[]).facts;
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let attempt = |name: &str| {
        let target = folder.path().join(name);
        fs::create_dir(&target).unwrap();
        (put_back(&source, &facts, &target, false), target)
    };
    // Links are not followed, whether to a file or to a folder.
    symlink(&secret, source.join("MERGE_MSG")).unwrap();
    fs::create_dir_all(source.join("rebase-merge")).unwrap();
    symlink(&secret, source.join("rebase-merge/x")).unwrap();
    fs::write(source.join("logs/x.lock"), "x").unwrap();
    let (done, target) = attempt("links");
    let done = done.unwrap();
    assert!(!target.join(".git/MERGE_MSG").exists() && !target.join(".git/rebase-merge/x").exists());
    assert!(!target.join(".git/logs/x.lock").exists());
    assert_eq!(done.findings.len(), 2, "{:?}", done.findings);
    for (name, file, text) in [
        ("head", "HEAD", "ref: refs/../../../x\n"),
        ("symrefs", "symrefs", "refs/heads/../../hooks/x refs/heads/main\n"),
        ("below", "symrefs", "refs/heads/main/x refs/heads/main\n"),
        ("shallow", "shallow", "not an id\n"),
    ] {
        let before = fs::read(source.join(file)).ok();
        fs::write(source.join(file), text).unwrap();
        let (done, target) = attempt(name);
        assert!(done.is_err(), "{name}");
        assert_eq!(fs::read_dir(target).unwrap().count(), 0);
        match before {
            Some(before) => fs::write(source.join(file), before).unwrap(),
            None => fs::remove_file(source.join(file)).unwrap(),
        }
    }
    let (done, target) = attempt("again");
    done.unwrap();
    assert!(put_back(&source, &facts, &target, false).is_err(), "an existing .git was replaced");
}

#[test]
fn a_foreign_owner_is_refused_with_gits_own_line() {
    let sandbox = simple();
    // Only root can give a folder away; for anybody else there is nothing to try here.
    if std::os::unix::fs::chown(&sandbox.root, Some(12345), None).is_err()
        || std::os::unix::fs::chown(sandbox.root.join(".git"), Some(12345), None).is_err()
    {
        return;
    }
    for program in [Program::find(), None] {
        match open_with(&sandbox.root, program).unwrap() {
            Opened::Refused { hint, .. } => {
                assert!(hint.starts_with("git config --global --add safe.directory"), "{hint}");
            }
            _ => panic!("it was opened"),
        }
    }
    assert_eq!(discover(&sandbox.root), Some(sandbox.root.clone()));
}

#[test]
fn where_there_is_no_repository() {
    let folder = in_memory::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    assert!(matches!(open(&root).unwrap(), Opened::None));
    assert_eq!(discover(&root), None);
    let sandbox = simple();
    fs::create_dir_all(sandbox.root.join("x/y")).unwrap();
    assert_eq!(discover(&sandbox.root.join("x/y")), Some(sandbox.root.clone()));
    sandbox.git_in(&sandbox.path(""), &["init", "-q", "--bare", "bare.git"]);
    assert_eq!(discover(&sandbox.path("bare.git")), None);
}
