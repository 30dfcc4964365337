//! HEAD moved to a new branch by renames alone, and back again.

use super::moment::apply;
use super::replace::new_branch::{NewBranch, new_branch, stage_branch};
use super::revision::resolve;
use super::write_out::write_out;
use super::written_out::{git_id, tree};
use super::*;
use crate::base::clock::Instant;
use crate::base::failure::{Kind, hints_of, kind_of};

/// Makes the working copy `rev` on a new branch, as a restore would; what git then tells.
fn moved(sandbox: &Sandbox, program: Option<Program>, rev: &str, wanted: Option<&str>) -> NewBranch {
    let git = opened(&sandbox.root, program);
    let commit = resolve(&git, rev).unwrap();
    let folder = in_memory::tempdir().unwrap();
    let (to, work, aside) =
        (folder.path().join("to"), folder.path().join("work"), folder.path().join("aside"));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&aside).unwrap();
    let written = write_out(&git, &commit, &to, None).unwrap();
    let branch = new_branch(&git, &commit, wanted).unwrap();
    let before = snapshot(&git.common);
    let now = Instant(1_800_000_000);
    let replacements = stage_branch(&git, &commit, &branch, &written.left_out, now, &work).unwrap();
    assert!(before == snapshot(&git.common), "staging changed something");
    apply(&replacements, &aside);
    for path in tracked::tracked(&git).unwrap().keys().chain(before_files(sandbox).iter()) {
        let _ = fs::remove_file(sandbox.root.join(String::from_utf8_lossy(path).as_ref()));
    }
    for name in tree(&to).keys() {
        fs::create_dir_all(sandbox.root.join(name.parent().unwrap())).unwrap();
        if to.join(name).is_file() {
            fs::copy(to.join(name), sandbox.root.join(name)).unwrap();
        }
    }
    branch
}

fn before_files(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    tree(&sandbox.root).keys().map(|name| name.to_string_lossy().into_owned().into_bytes()).collect()
}

fn full() -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("a.txt", "one\n");
    sandbox.commit("dir/b.txt", "two\n");
    sandbox.commit("c.txt", "three\n");
    sandbox
}

#[test]
fn head_index_and_logs_are_as_if_git_had_switched() {
    for program in [Program::find(), None] {
        let sandbox = full();
        let (main, old) = (git_id(&sandbox, "HEAD"), git_id(&sandbox, "HEAD~1"));
        let branch = moved(&sandbox, program.clone(), "HEAD~1", None);
        assert_eq!(branch, NewBranch { name: format!("restore/{}", &old[..10]), leaves: "main".to_owned() });
        assert_eq!(sandbox.git(&["status", "--porcelain", "--branch"]), format!("## {}\n", branch.name));
        assert_eq!(
            (git_id(&sandbox, "HEAD"), git_id(&sandbox, "main"), git_id(&sandbox, "@{-1}")),
            (old.clone(), main.clone(), main)
        );
        let log = sandbox.git(&["reflog", "show", "--format=%H %gs", "-n", "1"]);
        assert_eq!(log, format!("{old} checkout: moving from main to {}\n", branch.name));
        let log = sandbox.git(&["reflog", "show", "--format=%H %gs", &branch.name]);
        assert_eq!(log, format!("{old} branch: Created from {old}\n"));
        let fsck = sandbox.try_git(&sandbox.root, &["fsck", "--full", "--strict"]);
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
        // A second one gets another name, a branch below which there is no room for it a third.
        assert_eq!(moved(&sandbox, program.clone(), "HEAD", None).name, format!("restore/{}-2", &old[..10]));
        assert_eq!(moved(&sandbox, program, "HEAD", Some("by/hand")).name, "by/hand");
        sandbox.git(&["commit", "-q", "--allow-empty", "-m", "goes on"]);
    }
}

#[test]
fn before_the_first_commit_and_on_none_and_without_logs() {
    for program in [Program::find(), None] {
        let sandbox = full();
        let old = git_id(&sandbox, "HEAD~2");
        sandbox.git(&["switch", "-q", "--detach", "HEAD"]);
        let head = git_id(&sandbox, "HEAD");
        sandbox.git(&["config", "user.name", "Some <One>"]);
        let branch = moved(&sandbox, program.clone(), &old, None);
        assert_eq!(branch.leaves, head[..10]);
        assert_eq!(sandbox.git(&["reflog", "-n", "1", "--format=%gn"]), "Some One\n");
    }
    let sandbox = full();
    sandbox.git(&["branch", "restore"]);
    fs::remove_dir_all(sandbox.root.join(".git/logs")).unwrap();
    let old = git_id(&sandbox, "HEAD~1");
    let branch = moved(&sandbox, None, &old, None);
    assert_eq!(branch.name, format!("restore-{}", &old[..10]));
    assert_eq!(sandbox.git(&["reflog", "--format=%H"]), format!("{old}\n"));
    sandbox.git(&["config", "core.logAllRefUpdates", "false"]);
    fs::remove_dir_all(sandbox.root.join(".git/logs")).unwrap();
    moved(&sandbox, Program::find(), "HEAD", None);
    assert!(!sandbox.root.join(".git/logs").exists());
    sandbox.git(&["switch", "-q", "--orphan", "nothing"]);
    let branch = moved(&sandbox, Program::find(), &old, Some("first"));
    assert_eq!((branch.leaves.as_str(), git_id(&sandbox, "HEAD")), ("nothing", old));
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_sparse_checkout_stays_one_and_sha256_is_refused() {
    let sandbox = full();
    sandbox.git(&["sparse-checkout", "set", "--cone", "none"]);
    moved(&sandbox, Program::find(), "HEAD~1", None);
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
    assert!(sandbox.git(&["ls-files", "-t"]).contains("S dir/b.txt"));
    // What could not be taken back is not begun.
    let sandbox = Sandbox::new(&["--object-format=sha256"]);
    sandbox.commit("a.txt", "one\n");
    refused(&sandbox, &sandbox.root, None, Kind::Refused, "could not be put back by undo");
}

#[track_caller]
fn refused(sandbox: &Sandbox, root: &Path, wanted: Option<&str>, kind: Kind, words: &str) {
    let git = opened(root, Program::find());
    let commit = resolve(&git, &git_id(sandbox, "main")).unwrap();
    let error = new_branch(&git, &commit, wanted).unwrap_err();
    assert_eq!(kind_of(&error), kind, "{error:#}");
    assert!(error.to_string().contains(words), "{error:#}");
    assert!(!hints_of(&error).is_empty());
}

#[test]
fn what_can_not_be_done_is_said_before_anything_is() {
    let sandbox = full();
    let root = sandbox.root.clone();
    sandbox.git(&["branch", "a/b"]);
    for name in ["-x", "a..b", "HEAD", "x.lock", "a b", ""] {
        refused(&sandbox, &root, Some(name), Kind::Usage, "can't be a branch's name");
    }
    for (name, other) in [("main", "refs/heads/main"), ("a", "a/b"), ("a/b/c", "a/b")] {
        refused(&sandbox, &root, Some(name), Kind::Refused, other);
    }
    fs::write(root.join(".git/refs/heads/broken"), "rubbish").unwrap();
    refused(&sandbox, &root, Some("broken"), Kind::Refused, "refs/heads/broken");
    refused(&sandbox, &root, Some("broken/x"), Kind::Refused, "refs/heads/broken");
    fs::remove_file(root.join(".git/refs/heads/broken")).unwrap();
    fs::write(root.join(".git/index.lock"), "").unwrap();
    refused(&sandbox, &root, None, Kind::Refused, "index.lock");
    fs::remove_file(root.join(".git/index.lock")).unwrap();
    sandbox.git(&["worktree", "add", "-q", "--detach", "../linked"]);
    refused(&sandbox, &sandbox.path("linked"), None, Kind::Refused, "linked working copy");
    sandbox.git(&["switch", "-q", "-c", "side", "HEAD~1"]);
    sandbox.commit("c.txt", "side\n");
    assert!(!sandbox.try_git(&root, &["merge", "main"]).status.success());
    refused(&sandbox, &root, None, Kind::Refused, "a merge is under way");
    let sandbox = Sandbox::new(&["--ref-format=reftable"]);
    sandbox.commit("a.txt", "one\n");
    refused(&sandbox, &sandbox.root, None, Kind::Refused, "reftables");
}
