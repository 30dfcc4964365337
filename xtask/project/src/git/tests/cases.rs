//! Each state that a repository can be in comes back as it was.

use std::os::unix::ffi::OsStrExt;

use super::*;

fn full() -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    sandbox.write(".gitignore", "*.log\n/private/\n");
    sandbox.commit("a.txt", "one\n");
    sandbox.commit("dir/b.txt", "two\n");
    sandbox
}

#[test]
fn tags_stashes_and_every_kind_of_unsaved_work() {
    let sandbox = full();
    sandbox.git(&["tag", "light"]);
    sandbox.git(&["tag", "-a", "-m", "m", "annotated"]);
    sandbox.git(&["tag", "-a", "-m", "m", "of-a-tag", "annotated"]);
    sandbox.git(&["tag", "tree", "HEAD^{tree}"]);
    sandbox.git(&["branch", "other"]);
    sandbox.git(&["commit", "-q", "--amend", "-m", "amended"]);
    for text in ["first", "second"] {
        sandbox.write("a.txt", text);
        sandbox.git(&["stash", "-q"]);
    }
    sandbox.write("a.txt", "staged\n");
    sandbox.git(&["add", "a.txt"]);
    sandbox.write("a.txt", "unstaged\n");
    sandbox.write("dir/new.txt", "untracked\n");
    sandbox.write("private/x", "ignored\n");
    sandbox.write("y.log", "ignored\n");
    let capture = round_trip(&sandbox, &sandbox.root, true);
    assert!(capture.facts.dirty);
    assert_eq!(capture.facts.branch.as_deref(), Some("main"));
    assert_eq!(capture.facts.root_commits.len(), 1);

    // Staged and unsaved work can be had from the bundle alone.
    let folder = in_memory::tempdir().unwrap();
    captured(&sandbox.root, Program::find().as_ref(), &folder.path().join("git"), &[]);
    let bundle = folder.path().join("git/bundles/0000.bundle");
    let clone = folder.path().join("clone");
    sandbox.git_in(folder.path(), &["clone", "-q", bundle.to_str().unwrap(), "clone"]);
    sandbox.git_in(&clone, &["fetch", "-q", bundle.to_str().unwrap(), "refs/xtask/*:refs/xtask/*"]);
    assert_eq!(sandbox.git_in(&clone, &["show", "refs/xtask/index:a.txt"]), "staged\n");
    assert_eq!(sandbox.git_in(&clone, &["show", "refs/xtask/worktree:a.txt"]), "unstaged\n");
    assert_eq!(sandbox.git_in(&clone, &["show", "refs/xtask/worktree:dir/new.txt"]), "untracked\n");
    assert!(!sandbox.try_git(&clone, &["show", "refs/xtask/worktree:y.log"]).status.success());
}

#[test]
fn an_unchanged_project_gives_the_same_bundle() {
    let sandbox = full();
    sandbox.write("a.txt", "changed\n");
    let folder = in_memory::tempdir().unwrap();
    let [one, two] = ["1", "2"].map(|name| {
        let to = folder.path().join(name);
        captured(&sandbox.root, Program::find().as_ref(), &to, &[]);
        fs::read(to.join("bundles/0000.bundle")).unwrap()
    });
    assert!(one == two);
}

#[test]
fn a_conflicted_merge() {
    let sandbox = full();
    sandbox.git(&["switch", "-q", "-c", "side"]);
    sandbox.commit("a.txt", "side\n");
    sandbox.git(&["switch", "-q", "main"]);
    sandbox.commit("a.txt", "main\n");
    assert!(!sandbox.try_git(&sandbox.root, &["merge", "side"]).status.success());
    // Nothing but MERGE_HEAD holds the other side any more.
    sandbox.git(&["branch", "-q", "-D", "side"]);
    sandbox.write("c.txt", "staged during the merge\n");
    sandbox.git(&["add", "c.txt"]);
    let capture = round_trip(&sandbox, &sandbox.root, true);
    assert_eq!(capture.facts.operation.as_deref(), Some("merge"));
    assert!(capture.facts.dirty && capture.facts.index_commit.is_some());
    // Resolved, and not committed: the index still remembers both sides.
    sandbox.write("a.txt", "both\n");
    sandbox.git(&["add", "a.txt"]);
    round_trip(&sandbox, &sandbox.root, false);
}

#[test]
fn a_rebase_that_stopped() {
    let sandbox = full();
    sandbox.git(&["switch", "-q", "-c", "side"]);
    sandbox.commit("a.txt", "side\n");
    sandbox.git(&["switch", "-q", "main"]);
    sandbox.commit("a.txt", "main\n");
    sandbox.git(&["switch", "-q", "side"]);
    assert!(!sandbox.try_git(&sandbox.root, &["rebase", "main"]).status.success());
    let capture = round_trip(&sandbox, &sandbox.root, true);
    assert_eq!(capture.facts.operation.as_deref(), Some("rebase"));
    assert_eq!(capture.facts.branch, None);
}

#[test]
fn before_the_first_commit() {
    let sandbox = Sandbox::new(&[]);
    let capture = round_trip(&sandbox, &sandbox.root, true);
    assert!(capture.bundles.is_empty() && !capture.facts.dirty);
    assert_eq!((capture.facts.commit, capture.facts.branch.as_deref()), (None, Some("main")));
    sandbox.write("a.txt", "staged\n");
    sandbox.git(&["add", "a.txt"]);
    let capture = round_trip(&sandbox, &sandbox.root, true);
    assert_eq!(capture.bundles.len(), 1);
    assert!(capture.facts.dirty);
}

#[test]
fn a_shallow_clone() {
    let sandbox = full();
    sandbox.commit("a.txt", "three\n");
    let url = format!("file://{}", sandbox.root.display());
    sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--depth", "2", &url, "shallow"]);
    let capture = round_trip(&sandbox, &sandbox.path("shallow"), true);
    assert!(capture.facts.shallow);
    assert!(capture.findings.iter().any(|finding| finding.code == "shallow-clone" && !finding.is_problem()));
    assert_eq!(capture.facts.remotes, [url]);
}

#[test]
fn a_clone_with_its_symbolic_refs_and_a_detached_head() {
    let sandbox = full();
    let url = sandbox.root.display().to_string();
    sandbox.git_in(&sandbox.path(""), &["clone", "-q", &url, "clone"]);
    let clone = sandbox.path("clone");
    sandbox.git_in(&clone, &["checkout", "-q", "--detach", "HEAD^"]);
    sandbox.git_in(&clone, &["commit", "-q", "--allow-empty", "-m", "on no branch"]);
    let capture = round_trip(&sandbox, &clone, true);
    assert_eq!(capture.facts.branch, None);
}

#[test]
fn a_clone_that_borrows_its_objects() {
    let sandbox = full();
    let url = sandbox.root.display().to_string();
    sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--shared", &url, "clone"]);
    round_trip(&sandbox, &sandbox.path("clone"), true);
}

#[test]
fn linked_worktrees_from_both_sides() {
    let sandbox = full();
    sandbox.git(&["worktree", "add", "-q", "--detach", "../linked"]);
    let linked = sandbox.path("linked");
    fs::write(linked.join("a.txt"), "in the linked one\n").unwrap();
    sandbox.git_in(&linked, &["commit", "-q", "-a", "-m", "only in the linked one"]);
    fs::write(linked.join("a.txt"), "staged\n").unwrap();
    sandbox.git_in(&linked, &["add", "a.txt"]);
    let program = Program::find();
    let folder = in_memory::tempdir().unwrap();
    let main = captured(&sandbox.root, program.as_ref(), &folder.path().join("main"), &[]);
    assert!(main.findings.iter().any(|finding| finding.code == "linked-worktrees"));
    let id = sandbox.git_in(&linked, &["rev-parse", "HEAD"]);
    let header = fs::read(folder.path().join("main/bundles/0000.bundle")).unwrap();
    let line = format!("{} refs/xtask/worktrees/linked", id.trim());
    assert!(header.windows(line.len()).any(|bytes| bytes == line.as_bytes()));
    // The linked one comes back as a repository of its own.
    for program in [program, None] {
        let name = if program.is_some() { "with" } else { "without" };
        let source = folder.path().join(name);
        let capture = captured(&linked, program.as_ref(), &source, &[]);
        let target = folder.path().join(format!("target-{name}"));
        copy_files(&linked, &target);
        put_back_with(program.as_ref(), &source, &capture.facts, &target, false).unwrap();
        let (found, expected) = (sandbox.observe(&target), sandbox.observe(&linked));
        for what in ["refs", "head", "status", "staged", "stash"] {
            assert_eq!(found[what], expected[what], "{what}");
        }
        assert_eq!(found["fsck"], "");
        assert!(target.join(".git").is_dir());
    }
}

#[test]
fn names_that_are_not_text() {
    let sandbox = full();
    for name in
        [b"caf\xe9".as_slice(), b"new\nline", b"-rf", b":(top)x", b" space ", b"\"q\"", b"back\\slash"]
    {
        fs::write(sandbox.root.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    sandbox.git(&["add", "-A"]);
    sandbox.git(&["commit", "-q", "-m", "odd names"]);
    for name in [b"caf\xe9".as_slice(), b"untracked\n\xff", b":(top)x"] {
        fs::write(sandbox.root.join(std::ffi::OsStr::from_bytes(name)), b"changed").unwrap();
    }
    round_trip(&sandbox, &sandbox.root, true);
}

#[test]
fn what_libgit2_refuses() {
    for args in [["--object-format=sha256"], ["--ref-format=reftable"]] {
        let sandbox = Sandbox::new(&args);
        sandbox.commit("a.txt", "one\n");
        for text in ["first", "second"] {
            sandbox.write("a.txt", text);
            sandbox.git(&["stash", "-q"]);
        }
        sandbox.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/heads/main"]);
        sandbox.write("b.txt", "untracked");
        assert!(opened(&sandbox.root, Program::find()).library.is_none(), "{args:?}");
        assert!(matches!(open_with(&sandbox.root, None).unwrap(), Opened::Refused { .. }));
        let expected = sandbox.observe(&sandbox.root);
        let folder = in_memory::tempdir().unwrap();
        let (source, target) = (folder.path().join("git"), folder.path().join("target"));
        let program = Program::find();
        let capture = captured(&sandbox.root, program.as_ref(), &source, &[]);
        copy_files(&sandbox.root, &target);
        put_back_with(program.as_ref(), &source, &capture.facts, &target, false).unwrap();
        assert_eq!(sandbox.observe(&target), expected, "{args:?}");
    }
}

#[test]
fn line_ends_are_converted_as_git_would() {
    let sandbox = full();
    sandbox.git(&["config", "core.autocrlf", "true"]);
    sandbox.write("a.txt", "one\r\n");
    sandbox.write("dir/b.txt", "changed\r\n");
    let capture = round_trip(&sandbox, &sandbox.root, true);
    let folder = in_memory::tempdir().unwrap();
    captured(&sandbox.root, Program::find().as_ref(), &folder.path().join("git"), &[]);
    let bundle = folder.path().join("git/bundles/0000.bundle");
    sandbox.git(&["fetch", "-q", bundle.to_str().unwrap(), "refs/xtask/worktree:refs/x"]);
    assert_eq!(sandbox.git(&["show", "refs/x:dir/b.txt"]), "changed\n");
    assert!(capture.facts.dirty);
}

#[test]
fn split_and_sparse_indexes() {
    let sandbox = full();
    sandbox.git(&["update-index", "--split-index"]);
    sandbox.write("a.txt", "staged\n");
    sandbox.git(&["add", "a.txt"]);
    round_trip(&sandbox, &sandbox.root, false);
    let sandbox = full();
    sandbox.commit("far/c.txt", "three\n");
    sandbox.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "dir"]);
    assert!(!sandbox.root.join("far").exists());
    let capture = round_trip(&sandbox, &sandbox.root, false);
    assert!(!capture.facts.dirty);
}

#[test]
fn tracked_and_ignored() {
    let sandbox = full();
    sandbox.write("private/tracked", "x");
    sandbox.git(&["add", "-f", "private/tracked"]);
    sandbox.write("private/other", "x");
    sandbox.write("dir/y.log", "x");
    sandbox.write("logs/only/z.log", "x");
    sandbox.write("plain", "x");
    let git = opened(&sandbox.root, Program::find());
    for found in [git.classify().unwrap(), git.classify_with_command().unwrap()] {
        let tracked: Vec<&[u8]> = found.tracked.iter().map(Vec::as_slice).collect();
        assert_eq!(tracked, [b".gitignore".as_slice(), b"a.txt", b"dir/b.txt", b"private/tracked"]);
        for (path, is_dir, ignored) in [
            ("private/tracked", false, false),
            ("private", true, false),
            ("private/other", false, true),
            ("dir/y.log", false, true),
            ("logs/only/z.log", false, true),
            ("plain", false, false),
            ("dir", true, false),
            ("dir/b.txt", false, false),
        ] {
            assert_eq!(found.is_ignored(path.as_bytes(), is_dir), ignored, "{path}");
        }
    }
}

#[test]
fn databases_are_never_opened() {
    let sandbox = full();
    sandbox.commit("memory/index.db", "rows");
    sandbox.write("memory/index.db", "other rows");
    sandbox.write("new.db", "x");
    for name in ["memory/index.db", "new.db"] {
        // Opening a pipe that nobody writes to would block for ever.
        fs::remove_file(sandbox.root.join(name)).unwrap();
        assert!(Command::new("mkfifo").arg(sandbox.root.join(name)).status().unwrap().success());
    }
    let names = ["memory/index.db", "new.db"];
    for program in [Program::find(), None] {
        let folder = in_memory::tempdir().unwrap();
        let capture = captured(&sandbox.root, program.as_ref(), folder.path(), &names);
        assert!(!capture.facts.dirty, "{}", program.is_some());
    }
}
