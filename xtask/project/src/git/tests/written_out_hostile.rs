//! Commits that can't be had, and those that would do harm.

use super::super::write_out::write_out;
use super::written_out::{git_id, named, same_as_git, tree};
use super::*;
use crate::base::failure::{Kind, hints_of, kind_of};

/// What is said, with and without the git command; nothing is in the folder that should not be.
fn refusals(root: &Path, id: &str, also_without: bool) -> Vec<String> {
    let mut said = Vec::new();
    for program in if also_without { vec![Program::find(), None] } else { vec![Program::find()] } {
        let git = opened(root, program);
        let before = snapshot(&git.common);
        let folder = in_memory::tempdir().unwrap();
        let error = write_out(&git, &named(&git, id), &folder.path().join("to"), None).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Refused, "{error:#}");
        assert!(!hints_of(&error).is_empty(), "{error:#}");
        assert!(before == snapshot(&git.common));
        said.push(format!("{error:#}"));
    }
    said
}

#[test]
fn objects_that_are_missing_are_named() {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("dir/a.txt", "one\n");
    sandbox.commit("dir/b.txt", "two\n");
    let (blob, folder, commit) =
        (git_id(&sandbox, "HEAD:dir/b.txt"), git_id(&sandbox, "HEAD:dir"), git_id(&sandbox, "HEAD"));
    let loose = |id: &str| sandbox.root.join(".git/objects").join(&id[..2]).join(&id[2..]);
    fs::remove_file(loose(&blob)).unwrap();
    for said in refusals(&sandbox.root, &commit, true) {
        assert!(said.contains(&blob) && said.contains("dir/b.txt") && said.contains(&commit[..10]), "{said}");
    }
    // The commit before needs it not.
    same_as_git(&sandbox, &sandbox.root, "HEAD~1", true);
    fs::remove_file(loose(&folder)).unwrap();
    for said in refusals(&sandbox.root, &commit, true) {
        assert!(said.contains(&folder) && said.contains(&commit[..10]), "{said}");
    }
}

#[test]
fn a_damaged_object_is_not_written() {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("a.txt", "one\n");
    let (blob, commit) = (git_id(&sandbox, "HEAD:a.txt"), git_id(&sandbox, "HEAD"));
    let path = sandbox.root.join(".git/objects").join(&blob[..2]).join(&blob[2..]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"rubbish").unwrap();
    for program in [Program::find(), None] {
        let git = opened(&sandbox.root, program);
        let folder = in_memory::tempdir().unwrap();
        let error = format!(
            "{:#}",
            write_out(&git, &named(&git, &commit), &folder.path().join("to"), None).unwrap_err()
        );
        assert!(error.contains(&blob) && error.contains(&commit[..10]), "{error}");
    }
}

#[test]
fn a_partial_clone_fetches_nothing() {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("a.txt", "one\n");
    sandbox.commit("a.txt", "two\n");
    sandbox.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", sandbox.root.display());
    sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--filter=blob:none", &url, "partial"]);
    let commit = git_id(&sandbox, "HEAD~1");
    let root = sandbox.path("partial");
    for said in refusals(&root, &commit, false) {
        assert!(said.contains("a.txt") && said.contains(&commit[..10]), "{said}");
    }
    same_as_git(&sandbox, &root, "HEAD", false);
}

/// A commit of a tree that git itself would not make.
fn commit_of(sandbox: &Sandbox, entries: &[(&str, &[u8], &str)]) -> String {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend([mode.as_bytes(), b" ", *name, b"\0"].concat());
        bytes.extend((0..40).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()));
    }
    let file = sandbox.path("tree");
    fs::write(&file, bytes).unwrap();
    let tree = sandbox.git(&["hash-object", "-t", "tree", "--literally", "-w", file.to_str().unwrap()]);
    sandbox.git(&["commit-tree", "-m", "hostile", tree.trim()]).trim().to_owned()
}

#[test]
fn names_that_do_harm_are_refused() {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("dir/a.txt", "one\n");
    let (blob, folder) = (git_id(&sandbox, "HEAD:dir/a.txt"), git_id(&sandbox, "HEAD:dir"));
    let names: [&[u8]; 7] =
        [b".git", b".GIT", b"git~1", b"..", b".xtask-restore", b".git ", ".g\u{200c}it".as_bytes()];
    for name in names {
        let commit = commit_of(&sandbox, &[("40000", name, &folder)]);
        refusals(&sandbox.root, &commit, true);
        let inside =
            commit_of(&sandbox, &[("40000", b"x", &git_id(&sandbox, &format!("{commit}^{{tree}}")))]);
        if name != b".xtask-restore" {
            refusals(&sandbox.root, &inside, true);
        }
    }
    let twice = commit_of(&sandbox, &[("120000", b"x", &blob), ("40000", b"x", &folder)]);
    for said in refusals(&sandbox.root, &twice, true) {
        assert!(said.contains("both a file and a folder"), "{said}");
    }
    let twice = commit_of(&sandbox, &[("100644", b"x", &blob), ("100755", b"x", &blob)]);
    for said in refusals(&sandbox.root, &twice, true) {
        assert!(said.contains("twice"), "{said}");
    }
}

#[test]
fn no_filter_and_no_hook_is_run_and_filters_are_named() {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("a.txt", "secret\n");
    sandbox.commit(".gitattributes", "*.txt filter=Crypt\n");
    let (ran, script) = (sandbox.path("ran"), sandbox.path("evil.sh"));
    fs::write(&script, format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", ran.display())).unwrap();
    let done = Command::new("chmod").arg("755").arg(&script).status().unwrap();
    assert!(done.success());
    let hooks = sandbox.root.join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-checkout", "post-index-change", "reference-transaction"] {
        fs::copy(&script, hooks.join(hook)).unwrap();
    }
    for key in ["filter.Crypt.smudge", "filter.Crypt.process", "core.fsmonitor", "core.pager"] {
        sandbox.git(&["config", key, script.to_str().unwrap()]);
    }
    sandbox.git(&["config", "filter.Crypt.required", "true"]);
    let commit = git_id(&sandbox, "HEAD");
    let _ = fs::remove_file(&ran); // git itself ran them
    for program in [Program::find(), None] {
        let git = opened(&sandbox.root, program);
        let folder = in_memory::tempdir().unwrap();
        let to = folder.path().join("to");
        let commit = revision::resolve(&git, &commit).unwrap();
        let written = write_out(&git, &commit, &to, None).unwrap();
        assert_eq!(tree(&to)[Path::new("a.txt")].1, b"secret\n");
        let [finding] = written.findings.as_slice() else { panic!("{:?}", written.findings) };
        assert!(finding.code == "git-filter" && finding.message.contains("Crypt"), "{finding:?}");
    }
    assert!(!ran.exists(), "{}", fs::read_to_string(&ran).unwrap());
}

#[test]
fn a_folder_that_is_not_empty_is_left_alone() {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("a.txt", "one\n");
    let git = opened(&sandbox.root, Program::find());
    let error = write_out(&git, &named(&git, &git_id(&sandbox, "HEAD")), &sandbox.root, None).unwrap_err();
    assert!(format!("{error:#}").contains("not empty"));
}
