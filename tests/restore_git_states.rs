//! `restore-git` in every state that a repository can be in: it works as in an ordinary one, or is refused with the
//! reason and the next step before anything has changed. What is not the repository's own (submodules, other
//! repositories, what lies behind links) is never touched.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use support::compare::{Repository, fsck, repository, repository_differences};
use support::framework::write;
use support::history::{self, Checkouts, without_git};
use support::tree::{Fingerprint, differences, fingerprint};
use support::{Output, Sandbox, git, git_at, git_told, system};

const NONE: Vec<String> = Vec::new();
const FIRST: i64 = 1_763_640_000;

fn commit(project: &Path, name: &str) {
    write(project, "state", &format!("{name}\n"));
    write(project, &format!("docs/{name}.md"), &format!("{name}\n"));
    git(project, &["add", "-A", "--", ".", ":!notes.md"]);
    git_at(project, FIRST, &["commit", "-q", "-m", name]);
}

/// Three commits with a page each, and one that git does not know.
fn fill(project: &Path) {
    for name in ["One", "Two", "Three"] {
        commit(project, name);
    }
    write(project, "notes.md", "untracked\n");
}

fn three() -> Sandbox {
    let sandbox = Sandbox::in_memory();
    git(&sandbox.project(), &["init", "-q", "-b", "main"]);
    fill(&sandbox.project());
    sandbox
}

fn bytes(folder: &Path) -> Fingerprint {
    fingerprint(folder, false)
}

/// What of the git folder must be the same when a branch came and went: git may keep objects that nobody names
/// any more, and refs in one file.
fn of_git(mut files: Fingerprint) -> Fingerprint {
    let loose = [&b".git/objects"[..], b".git/refs", b".git/packed-refs", b".git/reftable"];
    files.retain(|name, _| name.starts_with(b".git/") && !loose.iter().any(|part| name.starts_with(part)));
    files
}

fn run(sandbox: &Sandbox, words: &[&str]) -> Output {
    sandbox.run(&[&["restore-git", "--force"], words].concat())
}

/// A commit comes back as git writes it, git's own files stay to the byte, and undo brings back what was there.
#[track_caller]
fn works(sandbox: &Sandbox, rev: &str, code: i32) -> Output {
    let project = sandbox.project();
    let id = git(&project, &["rev-parse", &format!("{rev}^{{commit}}")]);
    drop(fs::remove_dir_all(sandbox.path("checkouts")));
    let expected = Checkouts::copy(&project, sandbox.path("checkouts")).of(&id);
    let tracked = history::tracked(&project);
    let state = Before::of(&project);
    let before = &state.0;
    let told = run(sandbox, &[rev]).code(code);
    let after = bytes(&project);
    let wanted = history::over(&without_git(before.clone()), &tracked, &expected);
    assert_eq!(differences(&wanted, &without_git(after.clone())), NONE, "{told:?}");
    let git_only = |mut files: Fingerprint| {
        files.retain(|name, _| name.starts_with(b".git/"));
        files
    };
    assert_eq!(differences(&git_only(before.clone()), &git_only(after)), NONE, "{told:?}");
    // Where it was so already, there is nothing to take back.
    if !told.stdout.contains("nothing was changed") {
        undone(sandbox, &state);
    }
    told
}

/// What was there before, and what git told of it.
struct Before(Fingerprint, Repository);

impl Before {
    fn of(project: &Path) -> Before {
        let asked = repository(project);
        Before(bytes(project), asked)
    }
}

#[track_caller]
fn undone(sandbox: &Sandbox, Before(before, asked): &Before) {
    let project = sandbox.project();
    let output = sandbox.run(&["undo", "--force"]);
    assert!(matches!(output.code, 0 | 3), "{output:?}");
    let now = bytes(&project);
    assert_eq!(repository_differences(asked, &repository(&project)), NONE, "{output:?}");
    assert_eq!(differences(&without_git(before.clone()), &without_git(now.clone())), NONE, "{output:?}");
    assert_eq!(differences(&of_git(before.clone()), &of_git(now)), NONE, "{output:?}");
}

/// A new branch is made, and git finds nothing changed but what it does not know; undo takes the branch away.
#[track_caller]
fn branches(sandbox: &Sandbox, rev: &str, code: i32) {
    let project = sandbox.project();
    let id = git(&project, &["rev-parse", &format!("{rev}^{{commit}}")]);
    let before = Before::of(&project);
    let told = run(sandbox, &[rev, "--checkout"]).code(code);
    assert_eq!(git(&project, &["rev-parse", "HEAD"]), id, "{told:?}");
    assert_eq!(git(&project, &["symbolic-ref", "HEAD"]), format!("refs/heads/restore/{}", &id[..10]));
    let status = git(&project, &["status", "--porcelain", "-uall"]);
    let wrong: Vec<&str> = status.lines().filter(|line| !line.starts_with("?? ")).collect();
    assert_eq!(wrong, Vec::<&str>::new(), "{told:?}");
    assert_eq!(fsck(&project), NONE);
    undone(sandbox, &before);
}

#[track_caller]
fn refused_in(sandbox: &Sandbox, folder: &Path, words: &[&str], code: &[i32], says: &str) {
    let before = (bytes(&sandbox.project()), bytes(folder));
    let words = [&["restore-git", "--force"], words].concat();
    let told = sandbox.run_from(&sandbox.program(), folder, &words);
    assert!(code.contains(&told.code), "{words:?}: {told:?}");
    assert!(told.stderr.contains("error: ") && told.stderr.contains("hint: "), "{words:?}: {told:?}");
    assert!(told.stderr.contains(says), "{words:?}, no {says:?}: {told:?}");
    assert_eq!(differences(&before.0, &bytes(&sandbox.project())), NONE, "{words:?}");
    assert_eq!(differences(&before.1, &bytes(folder)), NONE, "{words:?}");
}

#[track_caller]
fn refused(sandbox: &Sandbox, words: &[&str], code: &[i32], says: &str) {
    refused_in(sandbox, &sandbox.project(), words, code, says);
}

#[test]
fn no_repository_or_a_broken_one_is_refused() {
    let breaks: [fn(&Path); 5] = [
        |project| fs::remove_dir_all(project.join(".git")).unwrap(),
        |project| {
            fs::remove_dir_all(project.join(".git")).unwrap();
            fs::create_dir(project.join(".git")).unwrap();
        },
        |project| {
            fs::remove_dir_all(project.join(".git")).unwrap();
            write(project, ".git", "gitdir: /no/such/place\n");
        },
        |project| write(project, ".git/HEAD", "no ref at all\n"),
        |project| fs::remove_dir_all(project.join(".git/objects")).unwrap(),
    ];
    for break_it in breaks {
        let sandbox = three();
        break_it(&sandbox.project());
        for words in
            [&["HEAD~1"][..], &["HEAD", "--checkout"], &["--at", "2025-12-01"], &["HEAD", "--dry-run"]]
        {
            refused(&sandbox, words, &[1, 6], "");
        }
        let told = sandbox.run(&["restore-git", "list"]);
        assert!(matches!(told.code, 1 | 6) && told.stderr.contains("hint: "), "{told:?}");
    }
}

#[test]
fn somebody_elses_repository_is_refused_with_gits_own_way_out() {
    let sandbox = three();
    let Some(prefix) = sandbox.unprivileged() else { return };
    let project = sandbox.project();
    if std::os::unix::fs::chown(project.join(".git"), Some(0), Some(0)).is_err() {
        return system::skip("only root can give a folder away");
    }
    let before = bytes(&project);
    for words in [&["HEAD~1", "--force"][..], &["HEAD~1", "--checkout", "--force"], &["list"]] {
        let told = sandbox.run_under(&prefix, &[&["restore-git"], words].concat());
        assert!(matches!(told.code, 1 | 6), "{words:?}: {told:?}");
        told.says("hint: ").says("safe.directory");
    }
    assert_eq!(differences(&before, &bytes(&project)), NONE);
}

#[test]
fn heads_of_every_kind() {
    let sandbox = three();
    let project = sandbox.project();
    works(&sandbox, "HEAD~1", 0);
    branches(&sandbox, "HEAD~1", 0);
    git(&project, &["checkout", "-q", "--detach", "HEAD~1"]);
    works(&sandbox, "main", 0);
    branches(&sandbox, "main", 0);
    // The name is taken: another one is found, or told.
    let name = format!("restore/{}", &git(&project, &["rev-parse", "main~2"])[..10]);
    git(&project, &["branch", &name]);
    let told = run(&sandbox, &["main~2", "--checkout"]);
    let head = git(&project, &["rev-parse", "--abbrev-ref", "HEAD"]);
    assert!(told.code == 0 && head != name && head.starts_with("restore"), "{head} {told:?}");
    assert_eq!(git(&project, &["rev-parse", &name]), git(&project, &["rev-parse", "main~1"]));
    sandbox.run(&["undo", "--force"]).ok();
}

#[test]
fn a_branch_without_a_commit_takes_one_of_another() {
    let sandbox = three();
    let project = sandbox.project();
    git(&project, &["checkout", "-q", "--orphan", "fresh"]);
    works(&sandbox, "main~1", 0);
    branches(&sandbox, "main~1", 0);
    git(&project, &["rm", "-q", "-r", "--cached", "."]);
    works(&sandbox, "main~1", 0);
    branches(&sandbox, "main~2", 0);
    refused(&sandbox, &["HEAD"], &[4], "nothing is committed");
    let document = sandbox.run(&["restore-git", "list", "--json"]).ok().json();
    assert_eq!(document["commits"], serde_json::json!([]));
    fs::remove_dir_all(project.join(".git")).unwrap();
    git(&project, &["init", "-q", "-b", "main"]);
    refused(&sandbox, &["HEAD"], &[4], "nothing is committed");
    refused(&sandbox, &["--at", "2025-12-01"], &[4], "");
}

#[test]
fn an_operation_under_way_stays_so() {
    for how in ["merge", "rebase", "cherry-pick"] {
        let sandbox = three();
        let project = sandbox.project();
        git(&project, &["checkout", "-q", "-b", "topic", "HEAD~1"]);
        commit(&project, "Aside");
        let script = format!(
            "git -c user.name=n -c user.email=e {how} {} main > ../out 2>&1 && exit 1; test -n \"$(git ls-files -u)\"",
            if how == "merge" { "--no-edit" } else { "" }
        );
        sandbox.shell_under(&[], &script).ok();
        write(&project, "notes.md", "written while it is under way\n");
        works(&sandbox, "main~2", 0);
        works(&sandbox, "topic", 0);
        refused(&sandbox, &["main~2", "--checkout"], &[6], how);
    }
}

#[test]
fn a_lock_of_git_keeps_the_branch_away_only() {
    let sandbox = three();
    let project = sandbox.project();
    write(&project, ".git/index.lock", "");
    refused(&sandbox, &["HEAD~1", "--checkout"], &[1, 5, 6], "lock");
    works(&sandbox, "HEAD~1", 0);
}

#[test]
fn a_shallow_clone_reaches_as_far_as_it_does() {
    let sandbox = three();
    fs::rename(sandbox.project(), sandbox.path("origin")).unwrap();
    let url = format!("file://{}", sandbox.path("origin").display());
    git(&sandbox.path(""), &["clone", "-q", "--depth", "2", &url, "project"]);
    works(&sandbox, "HEAD~1", 0);
    branches(&sandbox, "HEAD~1", 0);
    refused(&sandbox, &["HEAD~2"], &[4], "unshallow");
}

#[test]
fn a_linked_working_copy_is_put_back_and_its_head_stays() {
    let sandbox = three();
    let (project, linked) = (sandbox.project(), sandbox.path("linked"));
    git(&project, &["worktree", "add", "-q", "../linked"]);
    write(&linked, "notes.md", "of the linked one\n");
    let run = |words: &[&str]| sandbox.run_from(&sandbox.program(), &linked, words);
    let (main, before) = (bytes(&project), bytes(&linked));
    run(&["restore-git", "HEAD~1", "--force"]).ok();
    let read = |name: &str| fs::read_to_string(linked.join(name)).ok();
    assert_eq!((read("state"), read("docs/Three.md")), (Some("Two\n".into()), None));
    assert_eq!(read("notes.md").unwrap(), "of the linked one\n");
    assert_eq!(differences(&main, &bytes(&project)), NONE);
    run(&["undo", "--force"]).ok();
    assert_eq!(differences(&before, &bytes(&linked)), NONE);
    assert_eq!(differences(&main, &bytes(&project)), NONE);
    refused_in(&sandbox, &linked, &["HEAD~1", "--checkout"], &[6], "");
    // The main one does not mind.
    works(&sandbox, "HEAD~1", 0);
}

/// Through the git command; without it they can't be read, and that is said.
#[test]
fn repositories_of_newer_forms() {
    for form in ["--object-format=sha256", "--ref-format=reftable"] {
        let mut sandbox = Sandbox::in_memory();
        let project = sandbox.project();
        let made = sandbox.shell_under(&[], &format!("git init -q -b main {form}"));
        if made.code != 0 {
            system::skip(&format!("git is too old for {form}"));
            continue;
        }
        fill(&project);
        works(&sandbox, "HEAD~1", 0);
        let before = Before::of(&project);
        let told = run(&sandbox, &["HEAD~1", "--checkout"]);
        if told.code == 0 {
            assert_eq!(git(&project, &["status", "--porcelain"]), "?? notes.md", "{form}");
            undone(&sandbox, &before);
        } else {
            refused(&sandbox, &["HEAD~1", "--checkout"], &[6], "");
        }
        let tools = sandbox.path("no-tools");
        fs::create_dir(&tools).unwrap();
        sandbox.env("PATH", &tools);
        refused(&sandbox, &["HEAD~1"], &[1, 6], "git command");
    }
}

#[test]
fn line_ends_are_those_of_the_commit() {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    for (n, attributes) in ["*.txt text eol=crlf\n", "*.txt text eol=lf\n", "*.txt text\n"].iter().enumerate()
    {
        write(&project, ".gitattributes", attributes);
        write(&project, "a.txt", &format!("one\ntwo\n{n}\n"));
        write(&project, "same.txt", "always\nthe same\n");
        write(&project, "b.bin", &format!("\0\n{n}\n"));
        commit(&project, &format!("Commit{n}"));
    }
    for (key, value) in [("core.autocrlf", "false"), ("core.autocrlf", "true"), ("core.eol", "crlf")] {
        git(&project, &["config", key, value]);
        git(&project, &["checkout", "-q", "-f", "main"]);
        for rev in ["HEAD~2", "HEAD"] {
            works(&sandbox, rev, 0);
            branches(&sandbox, rev, 0);
        }
        run(&sandbox, &["HEAD~2"]).ok();
        assert_eq!(fs::read_to_string(project.join("a.txt")).unwrap(), "one\r\ntwo\r\n0\r\n");
        sandbox.run(&["undo", "--force"]).ok();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_differ_in_case_only() {
    let sandbox = three();
    let project = sandbox.project();
    write(&project, "names/README", "large\n");
    write(&project, "names/readme", "small\n");
    write(&project, "Names/readme", "in another folder\n");
    commit(&project, "Cases");
    git(&project, &["rm", "-q", "-r", "names", "Names"]);
    write(&project, "names", "a file\n");
    commit(&project, "Gone");
    works(&sandbox, "HEAD~1", 0);
    branches(&sandbox, "HEAD~1", 0);
    run(&sandbox, &["HEAD~1"]).ok();
    assert_eq!(fs::read_to_string(project.join("names/README")).unwrap(), "large\n");
}

fn sparse() -> Sandbox {
    let sandbox = three();
    let project = sandbox.project();
    write(&project, "out/deep/a.md", "out\n");
    write(&project, "in/a.md", "in\n");
    commit(&project, "Four");
    write(&project, "out/deep/a.md", "out, too\n");
    write(&project, "out/b.md", "out as well\n");
    write(&project, "in/a.md", "in, too\n");
    git(&project, &["rm", "-q", "--cached", "docs/One.md"]);
    fs::remove_file(project.join("docs/One.md")).unwrap();
    commit(&project, "Five");
    git(&project, &["sparse-checkout", "set", "--cone", "in", "docs"]);
    assert!(!project.join("out").exists());
    sandbox
}

#[test]
fn what_a_sparse_checkout_leaves_out_stays_out() {
    let sandbox = sparse();
    let project = sandbox.project();
    works(&sandbox, "HEAD~1", 0);
    run(&sandbox, &["HEAD~1"]).ok();
    assert_eq!(fs::read_to_string(project.join("in/a.md")).unwrap(), "in\n");
    assert!(project.join("docs/One.md").exists() && !project.join("out").exists());
    sandbox.run(&["undo", "--force"]).ok();
    let before = Before::of(&project);
    let told = run(&sandbox, &["HEAD~1", "--checkout"]);
    if told.code == 0 {
        assert_eq!(git(&project, &["status", "--porcelain"]), "?? notes.md");
        assert!(!project.join("out").exists());
        assert!(git(&project, &["ls-files", "-t", "out"]).lines().all(|line| line.starts_with("S ")));
        undone(&sandbox, &before);
    } else {
        refused(&sandbox, &["HEAD~1", "--checkout"], &[6], "sparse");
    }
}

/// One: no submodule. Two: there is one. Three: it stands at another commit.
fn with_submodule() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    let inner = sandbox.path("inner");
    fs::create_dir(&inner).unwrap();
    for (folder, name) in [(&inner, "Inner"), (&project, "One")] {
        git(folder, &["init", "-q", "-b", "main"]);
        commit(folder, name);
    }
    let add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q"];
    git(&project, &[&add[..], &[inner.to_str().unwrap(), "libs/inner"]].concat());
    commit(&project, "Two");
    let there = project.join("libs/inner");
    commit(&there, "More");
    commit(&project, "Three");
    write(&there, "state", "changed in the submodule\n");
    write(&there, "notes.md", "untracked in the submodule\n");
    (sandbox, there)
}

#[test]
fn submodules_are_never_touched() {
    let (sandbox, there) = with_submodule();
    let project = sandbox.project();
    let inside = bytes(&there);
    let is_untouched = |when: &str| assert_eq!(differences(&inside, &bytes(&there)), NONE, "{when}");
    for (rev, code) in [("HEAD", 0), ("HEAD~1", 3), ("HEAD~2", 0)] {
        for more in [&[][..], &["--checkout"]] {
            let told = run(&sandbox, &[&[rev], more].concat());
            // Whether it is worth a problem that it stays behind is another question.
            assert!(told.code == code || rev == "HEAD~2" && told.code == 3, "{rev} {more:?}: {told:?}");
            is_untouched(rev);
            assert_eq!(project.join(".gitmodules").exists(), rev != "HEAD~2");
            if rev != "HEAD" || told.stdout.contains("undo") {
                sandbox.run(&["undo", "--force"]);
                is_untouched("undo");
            }
        }
    }
    // An empty folder is all that there is of it: that goes, and comes.
    let aside = sandbox.path("aside");
    fs::rename(&there, &aside).unwrap();
    fs::create_dir(&there).unwrap();
    let before = Before::of(&project);
    let told = run(&sandbox, &["HEAD~2"]);
    assert!(matches!(told.code, 0 | 3), "{told:?}");
    assert!(!project.join("libs").exists(), "{told:?}");
    undone(&sandbox, &before);
    assert!(there.is_dir());
    fs::remove_dir_all(project.join("libs")).unwrap();
    let told = run(&sandbox, &["HEAD~1"]);
    assert!(matches!(told.code, 0 | 3), "{told:?}");
    assert!(there.is_dir() && fs::read_dir(&there).unwrap().next().is_none(), "{told:?}");
}

/// A repository of its own, where the commit has a file: its history is in no safety copy.
#[test]
fn a_repository_in_the_way_is_not_destroyed() {
    let sandbox = three();
    let project = sandbox.project();
    write(&project, "way", "a file\n");
    commit(&project, "Four");
    git(&project, &["rm", "-q", "way"]);
    git_at(&project, FIRST, &["commit", "-q", "-m", "Five"]);
    let other = project.join("way/other");
    fs::create_dir_all(&other).unwrap();
    git(&other, &["init", "-q", "-b", "main"]);
    commit(&other, "Theirs");
    let theirs = bytes(&other);
    for more in [&[][..], &["--checkout"], &["--no-backup"]] {
        let told = run(&sandbox, &[&["HEAD~1"], more].concat());
        assert!(matches!(told.code, 3 | 6) && told.stderr.contains("way"), "{more:?}: {told:?}");
        assert_eq!(differences(&theirs, &bytes(&other)), NONE, "{more:?}");
        if told.stdout.contains("undo") {
            sandbox.run(&["undo", "--force"]);
            assert_eq!(differences(&theirs, &bytes(&other)), NONE, "{more:?}");
        }
    }
}

/// Folders have become links to other places since.
#[test]
fn nothing_is_written_or_removed_behind_a_link() {
    let sandbox = three();
    let project = sandbox.project();
    let elsewhere = sandbox.path("elsewhere");
    fs::rename(project.join("docs"), &elsewhere).unwrap();
    symlink(&elsewhere, project.join("docs")).unwrap();
    let there = fingerprint(&elsewhere, true);
    for rev in ["HEAD", "HEAD~2"] {
        works(&sandbox, rev, 0);
        assert_eq!(differences(&there, &fingerprint(&elsewhere, true)), NONE, "{rev}");
        branches(&sandbox, rev, 0);
        assert_eq!(differences(&there, &fingerprint(&elsewhere, true)), NONE, "{rev}");
    }
    // Of a commit that has the link, too.
    git(&project, &["add", "-A", "docs"]);
    git_at(&project, FIRST, &["commit", "-q", "-m", "A link"]);
    works(&sandbox, "HEAD~1", 0);
    assert_eq!(differences(&there, &fingerprint(&elsewhere, true)), NONE);
}

/// Neither a folder nor a file can be looked for behind such a link.
#[test]
fn a_link_to_itself_is_in_nobodys_way() {
    let sandbox = three();
    let project = sandbox.project();
    for track in [false, true] {
        fs::remove_dir_all(project.join("docs")).unwrap();
        symlink("docs", project.join("docs")).unwrap();
        if track {
            git(&project, &["add", "-A", "docs"]);
        }
        works(&sandbox, "HEAD~1", 0);
        branches(&sandbox, "HEAD~1", 0);
        fs::remove_file(project.join("docs")).unwrap();
        git(&project, &["reset", "-q", "--hard"]);
        // And back to it.
        fs::remove_file(project.join("state")).unwrap();
        symlink("state", project.join("state")).unwrap();
        if track {
            git(&project, &["add", "state"]);
        }
        works(&sandbox, "HEAD~1", 0);
        git(&project, &["reset", "-q", "--hard"]);
    }
}

#[test]
fn a_commit_that_is_not_whole_is_refused() {
    let sandbox = three();
    let project = sandbox.project();
    let remove = |object: &str| {
        let id = git(&project, &["rev-parse", object]);
        let path = project.join(".git/objects").join(&id[..2]).join(&id[2..]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        (path, content)
    };
    for object in ["HEAD~1:state", "HEAD~1:docs", "HEAD~1^{tree}"] {
        let (path, content) = remove(object);
        for words in [&["HEAD~1"][..], &["HEAD~1", "--checkout"], &["HEAD~1", "--dry-run"]] {
            refused(&sandbox, words, &[1, 6], "");
        }
        // Broken, not gone.
        write(Path::new("/"), path.to_str().unwrap().trim_start_matches('/'), "no object\n");
        refused(&sandbox, &["HEAD~1"], &[1, 6], "");
        fs::write(&path, content).unwrap();
        works(&sandbox, "HEAD~1", 0);
    }
}

/// A tree that `git checkout` itself would refuse, or that is harmless here and harmful elsewhere.
#[test]
fn a_hostile_commit_is_refused() {
    let sandbox = three();
    let project = sandbox.project();
    let object = |kind: &str, content: &[u8]| {
        let words = ["hash-object", "-w", "--literally", "-t", kind, "--stdin"];
        String::from_utf8(git_told(&project, FIRST, &words, content)).unwrap().trim().to_owned()
    };
    let raw = |id: &str| -> Vec<u8> {
        (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect()
    };
    let tree = |entries: &[(&str, &str, &str)]| {
        let mut content = Vec::new();
        for (mode, name, id) in entries {
            content.extend(format!("{mode} {name}\0").bytes());
            content.extend(raw(id));
        }
        object("tree", &content)
    };
    let blob = object("blob", b"#!/bin/sh\ntouch ../hooked\n");
    let outside = object("blob", sandbox.path("").to_str().unwrap().as_bytes());
    let hooks = tree(&[("100755", "post-checkout", &blob)]);
    let folder = tree(&[("40000", "hooks", &hooks)]);
    let file = tree(&[("100644", "evil", &blob)]);
    for (what, top) in [
        ("git's folder", tree(&[("40000", ".git", &folder)])),
        ("git's folder in other letters", tree(&[("40000", ".GIT", &folder)])),
        ("a git folder below", tree(&[("40000", "docs", &tree(&[("40000", ".git", &folder)]))])),
        ("above", tree(&[("40000", "..", &file)])),
        ("here", tree(&[("40000", ".", &file)])),
        ("a slash", tree(&[("100644", "docs/../../evil", &blob)])),
        ("no name", tree(&[("100644", "", &blob)])),
        ("through a link", tree(&[("120000", "out", &outside), ("40000", "out", &file)])),
        ("the workshop", tree(&[("40000", ".xtask-restore", &tree(&[("100644", "journal.json", &blob)]))])),
    ] {
        let id = git(&project, &["commit-tree", "-m", what, &top]);
        for words in [&[id.as_str()][..], &[&id, "--checkout"], &[&id, "--no-backup"]] {
            refused(&sandbox, words, &[1, 6], "");
        }
        assert!(!sandbox.path("evil").exists() && !sandbox.path("hooked").exists(), "{what}");
    }
}

#[test]
fn from_a_folder_below_it_is_the_whole_project() {
    let sandbox = three();
    let project = sandbox.project();
    let words = ["restore-git", "HEAD~1", "--force"];
    sandbox.run_from(&sandbox.program(), &project.join("docs"), &words).ok();
    assert_eq!(fs::read_to_string(project.join("state")).unwrap(), "Two\n");
    assert!(!project.join("docs/Three.md").exists());
}
