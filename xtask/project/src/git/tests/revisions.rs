//! Every way to name a commit, and every moment, with the git command and without.

use super::revision::{Commit, recent, resolve};
use super::written_out::git_id;
use super::*;
use crate::base::clock::Instant;
use crate::base::failure::{Kind, hints_of, kind_of};

/// The first commit's time; each later one is an hour younger.
const BEGIN: i64 = 1_700_000_000;

/// Commits with times, `main` a merge of `side`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    for hour in 0..4 {
        dated(&sandbox, hour, "a.txt");
    }
    sandbox.git(&["tag", "light", "HEAD~1"]);
    sandbox.git(&["tag", "-a", "-m", "m", "annotated", "HEAD~2"]);
    sandbox.git(&["tag", "of-a-tree", "HEAD^{tree}"]);
    sandbox.git(&["switch", "-q", "-c", "side"]);
    dated(&sandbox, 5, "side.txt");
    sandbox.git(&["switch", "-q", "main"]);
    sandbox
}

fn dated(sandbox: &Sandbox, hour: i64, name: &str) {
    sandbox.write(name, &format!("{hour}\n"));
    sandbox.git(&["add", "-A"]);
    let date = format!("{} +0000", BEGIN + hour * 3600);
    let output = Command::new("git")
        .args(["-c", "user.name=Ünal", "-c", "user.email=t@example.com", "commit", "-q", "-m"])
        .arg(format!("hour {hour}\nof it\n\nand more"))
        .current_dir(&sandbox.root)
        .env("HOME", sandbox.path("no-home"))
        .env("GIT_COMMITTER_DATE", &date)
        .env("GIT_AUTHOR_DATE", &date)
        .output()
        .unwrap();
    assert!(output.status.success());
}

fn both(root: &Path) -> [Git; 2] {
    [opened(root, Program::find()), opened(root, None)]
}

#[test]
fn every_form_that_git_knows() {
    let sandbox = sandbox();
    let head = git_id(&sandbox, "HEAD");
    let short = &head[..7];
    for rev in [
        "HEAD",
        "@",
        "main",
        "refs/heads/main",
        "heads/main",
        "HEAD~2",
        "HEAD^",
        "light",
        "annotated",
        "annotated^{}",
        "side~1",
        ":/hour 1",
        "main^{/hour 0}",
        "HEAD@{0}",
        "HEAD@{1}",
        "@{-1}",
        "main@{1}",
        "side",
        &head,
        short,
    ] {
        let expected = git_id(&sandbox, rev);
        let expected = git_id(&sandbox, &format!("{expected}^{{commit}}"));
        let found = both(&sandbox.root).map(|git| resolve(&git, rev).unwrap());
        assert_eq!(found[0].id, expected, "{rev}");
        assert_eq!(found[0], found[1], "{rev}");
    }
    let [commit, _] = both(&sandbox.root).map(|git| resolve(&git, "main").unwrap());
    let facts = (commit.author.as_str(), commit.subject.as_str(), commit.moment);
    assert_eq!(facts, ("Ünal", "hour 3 of it", Instant(BEGIN + 3 * 3600)));
    assert_eq!(commit.refs, ["HEAD", "main"]);
    for git in both(&sandbox.root) {
        assert_eq!(resolve(&git, "annotated").unwrap().refs, ["tag: annotated"]);
    }
}

#[test]
fn what_is_no_commit_is_refused_with_the_next_step() {
    let sandbox = sandbox();
    sandbox.git(&["branch", "twice"]);
    sandbox.git(&["tag", "twice", "HEAD~1"]);
    let blob = git_id(&sandbox, "HEAD:a.txt");
    for (rev, kind) in [
        ("HEAD:a.txt", Kind::Usage),
        (":a.txt", Kind::Usage),
        ("HEAD^{tree}", Kind::Usage),
        ("of-a-tree", Kind::Usage),
        (&blob, Kind::Usage),
        ("twice", Kind::Usage),
        ("twice~1", Kind::Usage),
        ("HEAD..side", Kind::Usage),
        ("--all", Kind::Usage),
        ("-x", Kind::Usage),
        ("", Kind::Usage),
        ("^HEAD", Kind::Usage),
        ("nothing", Kind::NotFound),
        ("HEAD~99", Kind::NotFound),
        ("HEAD:nothing", Kind::NotFound),
        (":/never written", Kind::NotFound),
        ("0000000000000000000000000000000000000001", Kind::NotFound),
        ("HEAD@{99}", Kind::NotFound),
    ] {
        for git in both(&sandbox.root) {
            let with = git.program.is_some();
            let error = resolve(&git, rev).unwrap_err();
            let found = kind_of(&error);
            assert_eq!(found, kind, "{rev:?}, git command: {with}: {error:#}");
            assert!(!hints_of(&error).is_empty(), "{rev:?}: {error:#}");
        }
    }
    for git in both(&sandbox.root) {
        let error = resolve(&git, "twice").unwrap_err();
        assert!(error.to_string().contains("ambiguous"), "{error:#}");
        assert_eq!(resolve(&git, "refs/tags/twice").unwrap().id, git_id(&sandbox, "HEAD~1"));
    }
    fs::write(sandbox.root.join(".git/refs/heads/gone"), format!("{}\n", "1".repeat(40))).unwrap();
    let error = resolve(&opened(&sandbox.root, Program::find()), "gone").unwrap_err();
    assert_eq!(kind_of(&error), Kind::NotFound);
    assert!(error.to_string().contains(&"1".repeat(40)), "{error:#}");
    // A branch that leads nowhere keeps nobody from the others.
    for git in both(&sandbox.root) {
        assert_eq!(resolve(&git, "HEAD").unwrap().refs, ["HEAD", "main", "twice"]);
        assert_eq!(recent(&git, 9).unwrap().len(), 4);
    }
    fs::remove_file(sandbox.root.join(".git/refs/heads/gone")).unwrap();
    // The log begins when the commits do.
    for git in both(&sandbox.root) {
        for rev in ["HEAD@{2001-01-01}", "HEAD@{2001-01-01}~1", "main@{2001-01-01}"] {
            let error = resolve(&git, rev).unwrap_err();
            assert_eq!(kind_of(&error), Kind::NotFound, "{error:#}");
        }
        assert_eq!(resolve(&git, "main@{1 hour ago}").unwrap().id, git_id(&sandbox, "main"));
    }
    // Where it began with something, git answers with that.
    let (first, second) = (git_id(&sandbox, "main~3"), git_id(&sandbox, "main~2"));
    let line = format!("{first} {second} T <t@example.com> {} +0000\tx\n", BEGIN + 3600);
    fs::write(sandbox.root.join(".git/logs/HEAD"), line).unwrap();
    for git in both(&sandbox.root) {
        let error = resolve(&git, "HEAD@{2001-01-01}").unwrap_err();
        assert!(error.to_string().contains("before git's record"), "{error:#}");
    }
}

#[test]
fn before_the_first_commit_and_away_from_branches() {
    let sandbox = Sandbox::new(&[]);
    for git in both(&sandbox.root) {
        assert!(recent(&git, 5).unwrap().is_empty());
        for error in [resolve(&git, "HEAD").unwrap_err(), at(&git, Instant::now()).unwrap_err()] {
            assert_eq!(kind_of(&error), Kind::NotFound, "{error:#}");
            assert!(!hints_of(&error).is_empty());
        }
    }
    dated(&sandbox, 0, "a.txt");
    dated(&sandbox, 1, "a.txt");
    sandbox.git(&["switch", "-q", "--detach", "HEAD~1"]);
    for git in both(&sandbox.root) {
        let commits = recent(&git, 5).unwrap();
        assert_eq!(commits.len(), 1);
        assert_eq!(commits[0].refs, ["HEAD"]);
    }
}

#[test]
fn recent_commits_come_newest_first() {
    let sandbox = sandbox();
    sandbox.git(&["merge", "-q", "--no-ff", "-m", "merged", "side"]);
    let expected: Vec<String> =
        sandbox.git(&["log", "-n", "4", "--format=%H"]).lines().map(str::to_owned).collect();
    let found = both(&sandbox.root).map(|git| recent(&git, 4).unwrap());
    assert_eq!(found[0].iter().map(|commit| commit.id.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(found[0], found[1]);
    assert_eq!(recent(&opened(&sandbox.root, None), 99).unwrap().len(), 6);
}

/// Writes HEAD's log: seconds after the beginning, and the commit moved to.
fn log(sandbox: &Sandbox, entries: &[(i64, &str)]) {
    let (mut text, mut old) = (String::new(), "0".repeat(40));
    for (hour, id) in entries {
        text.push_str(&format!("{old} {id} T <t@example.com> {} +0200\tcommit: x\n", BEGIN + hour * 3600));
        old = (*id).to_owned();
    }
    fs::write(sandbox.root.join(".git/logs/HEAD"), text).unwrap();
}

fn at_hour(git: &Git, quarters: i64) -> (Commit, How) {
    at(git, Instant(BEGIN + quarters * 900)).unwrap()
}

#[test]
fn the_reflog_goes_before_the_times_of_commits() {
    let sandbox = sandbox();
    let ids: Vec<String> = (0..4).rev().map(|back| git_id(&sandbox, &format!("main~{back}"))).collect();
    let side = git_id(&sandbox, "side");
    log(&sandbox, &[(2, &ids[2]), (3, &ids[3]), (6, &side), (7, &ids[3])]);
    for git in both(&sandbox.root) {
        for (hour, id) in [(2, &ids[2]), (3, &ids[3]), (5, &ids[3]), (6, &side), (7, &ids[3]), (900, &ids[3])]
        {
            let (commit, how) = at_hour(&git, hour * 4);
            assert_eq!((&commit.id, matches!(how, How::Reflog { .. })), (id, true), "hour {hour}");
        }
        // Before the log: the line that it begins with, by the commits' times.
        let (commit, how) = at_hour(&git, 7);
        assert_eq!((commit.id, how), (ids[1].clone(), How::CommitTime { line: ids[2].clone() }));
        assert_eq!(at_hour(&git, 0).0.id, ids[0]);
        let error = at(&git, Instant(BEGIN - 1)).unwrap_err();
        assert_eq!(kind_of(&error), Kind::NotFound);
        assert!(error.to_string().contains(&ids[0][..10]), "{error:#}");
    }
    // What the log names may be gone; then nothing else is passed off for it.
    log(&sandbox, &[(1, &"1".repeat(40)), (8, &ids[3])]);
    for git in both(&sandbox.root) {
        let error = at(&git, Instant(BEGIN + 2 * 3600)).unwrap_err();
        assert_eq!(kind_of(&error), Kind::NotFound);
        assert!(error.to_string().contains(&"1".repeat(40)), "{error:#}");
    }
}

#[test]
fn without_a_reflog_the_line_of_first_parents_counts() {
    let sandbox = sandbox();
    sandbox.git(&["merge", "-q", "--no-ff", "-m", "merged", "side"]);
    fs::remove_file(sandbox.root.join(".git/logs/HEAD")).unwrap();
    let (head, third) = (git_id(&sandbox, "HEAD"), git_id(&sandbox, "main~1"));
    for git in both(&sandbox.root) {
        let (commit, how) = at_hour(&git, 21);
        assert_eq!((commit.id, how), (third.clone(), How::CommitTime { line: head.clone() }));
    }
    let url = format!("file://{}", sandbox.root.display());
    sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--depth", "1", &url, "shallow"]);
    for git in both(&sandbox.path("shallow")) {
        let error = at(&git, Instant(BEGIN)).unwrap_err();
        assert!(hints_of(&error).iter().any(|hint| hint.contains("--unshallow")), "{error:#}");
    }
}

#[test]
fn reftables_and_sha256_are_asked_through_the_command() {
    for args in [&["--object-format=sha256"][..], &["--ref-format=reftable"][..]] {
        let sandbox = Sandbox::new(args);
        let git = opened(&sandbox.root, Program::find());
        assert!(at(&git, Instant::now()).is_err() && recent(&git, 1).unwrap().is_empty());
        dated(&sandbox, 0, "a.txt");
        dated(&sandbox, 1, "a.txt");
        assert_eq!(resolve(&git, "HEAD~1").unwrap().id, git_id(&sandbox, "HEAD~1"));
        assert!(matches!(at(&git, Instant::now()).unwrap().1, How::Reflog { .. }));
        let (commit, how) = at(&git, Instant(BEGIN + 1800)).unwrap();
        assert_eq!((commit.id, how), (git_id(&sandbox, "HEAD~1"), How::Reflog { since: Instant(BEGIN) }));
        sandbox.git(&["reflog", "expire", "--expire=all", "--all"]);
        let (commit, how) = at(&git, Instant(BEGIN + 1800)).unwrap();
        assert_eq!(commit.id, git_id(&sandbox, "HEAD~1"));
        assert_eq!(how, How::CommitTime { line: git_id(&sandbox, "HEAD") });
    }
}
