//! Repositories that are not put back into, damage on either side, and being stopped half-way.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::moment::{Moment, apply, full, put_into};
use super::replace::{self, Replacement};
use super::*;
use crate::base::facts::GitFacts;
use crate::base::failure::{Kind, hints_of, kind_of};

/// The reason why it is refused, by the plan and by staging, and that nothing changed; with all hints.
fn refusal(root: &Path, source: &Path, facts: &GitFacts) -> String {
    let git = opened(root, Program::find());
    let before = (snapshot(&git.own), snapshot(&git.common));
    let work = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
    let planned = replace::plan(&git, source, facts, true).unwrap_err();
    let staged = replace::stage(&git, source, facts, true, work.path()).unwrap_err();
    assert_eq!(planned.to_string(), staged.to_string());
    assert_eq!(kind_of(&staged), Kind::Refused, "{staged:#}");
    assert!(before == (snapshot(&git.own), snapshot(&git.common)));
    let hints = hints_of(&staged);
    assert!(!hints.is_empty());
    format!("{staged} ({})", hints.join("; "))
}

#[test]
fn branches_of_linked_working_copies_do_not_move() {
    let sandbox = full();
    sandbox.git(&["branch", "side"]);
    let then = Moment::of(&sandbox, Program::find().as_ref());
    sandbox.git(&["worktree", "add", "-q", "../linked", "side"]);
    let linked = sandbox.path("linked");
    // It has not moved: nothing stands against it.
    let git = opened(&sandbox.root, Program::find());
    assert!(replace::plan(&git, &then.source(), &then.facts, true).is_ok());
    sandbox.git_in(&linked, &["commit", "-q", "--allow-empty", "-m", "further"]);
    let why = refusal(&sandbox.root, &then.source(), &then.facts);
    let expected = format!("the branch side is checked out in the linked working copy {}", linked.display());
    assert!(why.starts_with(&expected), "{why}");
    assert!(
        why.contains("would move") && why.contains("switch --detach") && why.contains("--to DIR"),
        "{why}"
    );
    // The one itself is no place for it either.
    let why = refusal(&linked, &then.source(), &then.facts);
    assert!(why.contains(&format!("cd {}", sandbox.root.display())), "{why}");
    // A branch that is being rebased there counts as checked out.
    sandbox.git(&["update-ref", "refs/heads/side", "main"]);
    fs::write(linked.join("a.txt"), "x").unwrap();
    sandbox.git_in(&linked, &["commit", "-q", "-a", "-m", "x"]);
    sandbox.commit("a.txt", "y");
    assert!(!sandbox.try_git(&linked, &["rebase", "main"]).status.success());
    assert!(refusal(&sandbox.root, &then.source(), &then.facts).contains("the branch side"));
    sandbox.git_in(&linked, &["rebase", "--abort"]);
    // Detached, it stands against nothing; nor when its folder is gone.
    sandbox.git_in(&linked, &["switch", "-q", "--detach"]);
    assert!(replace::plan(&git, &then.source(), &then.facts, true).is_ok());
    sandbox.git_in(&linked, &["switch", "-q", "side"]);
    fs::remove_dir_all(&linked).unwrap();
    assert!(replace::plan(&git, &then.source(), &then.facts, true).is_ok());
    // Later branches of linked working copies stay, and go exactly only when nobody is on them.
    sandbox.git(&["worktree", "prune"]);
    sandbox.git(&["worktree", "add", "-q", "-b", "later", "../linked"]);
    assert!(replace::plan(&git, &then.source(), &then.facts, false).is_ok());
    assert!(refusal(&sandbox.root, &then.source(), &then.facts).contains("the branch later"));
    sandbox.git_in(&linked, &["switch", "-q", "--detach"]);
    sandbox.git(&["switch", "-q", "later"]);
    sandbox.git(&["branch", "-f", "main", "main"]);
    let at = sandbox.git(&["rev-parse", "side"]);
    sandbox.git(&["branch", "-f", "main", at.trim()]);
    sandbox.git_in(&linked, &["switch", "-q", "main"]);
    let why = refusal(&sandbox.root, &then.source(), &then.facts);
    assert!(why.contains("the branch main"), "{why}");
}

#[test]
fn a_branch_is_not_checked_out_twice() {
    let sandbox = full();
    let then = Moment::of(&sandbox, Program::find().as_ref());
    sandbox.git(&["switch", "-q", "-c", "later"]);
    sandbox.git(&["worktree", "add", "-q", "../linked", "main"]);
    let why = refusal(&sandbox.root, &then.source(), &then.facts);
    assert!(why.contains("the branch main") && why.contains("checked out twice"), "{why}");
}

#[test]
fn locks_of_other_processes() {
    let sandbox = full();
    let then = Moment::of(&sandbox, Program::find().as_ref());
    for name in [
        "index.lock",
        "HEAD.lock",
        "packed-refs.lock",
        "shallow.lock",
        "refs/heads/main.lock",
        "refs/x/y.lock",
    ] {
        let lock = sandbox.root.join(".git").join(name);
        fs::create_dir_all(lock.parent().unwrap()).unwrap();
        fs::write(&lock, "").unwrap();
        let why = refusal(&sandbox.root, &then.source(), &then.facts);
        assert!(why.starts_with("another git process is running, or one was killed"), "{why}");
        assert!(why.contains(&lock.display().to_string()), "{why}");
        fs::remove_file(lock).unwrap();
    }
    put_into(&sandbox, None, &then, false);
}

#[test]
fn git_waits_while_its_locks_are_held() {
    let sandbox = full();
    let then = Moment::of(&sandbox, Program::find().as_ref());
    let git = opened(&sandbox.root, Program::find());
    let held = replace::hold::take(git.folder()).unwrap();
    sandbox.write("a.txt", "x");
    for args in
        [&["add", "a.txt"][..], &["commit", "-q", "-a", "-m", "x"], &["stash"], &["pack-refs", "--all"]]
    {
        assert!(!sandbox.try_git(&sandbox.root, args).status.success(), "{args:?}");
    }
    // They don't stand in our own way.
    let work = tempfile::tempdir_in(sandbox.path("")).unwrap();
    replace::stage(&git, &then.source(), &then.facts, false, work.path()).unwrap();
    drop(held);
    sandbox.git(&["commit", "-q", "-a", "-m", "x"]);
    // Killed: the next run takes them over, and removes them; not those of git.
    std::mem::forget(replace::hold::take(git.folder()).unwrap());
    drop(replace::hold::take(git.folder()).unwrap());
    std::mem::forget(replace::hold::take(git.folder()).unwrap());
    replace::hold::sweep(git.folder()).unwrap();
    fs::write(git.folder().join("HEAD.lock"), "").unwrap();
    replace::hold::sweep(git.folder()).unwrap();
    let error = replace::hold::take(git.folder()).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Refused);
    let locks = fs::read_dir(git.folder()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(locks.filter(|path| path.extension().is_some_and(|end| end == "lock")).count(), 1);
}

#[test]
fn forms_that_files_do_not_do_justice_to() {
    let sandbox = full();
    let then = Moment::of(&sandbox, Program::find().as_ref());
    for (args, word) in [(["--object-format=sha256"], "sha256"), (["--ref-format=reftable"], "reftable")] {
        let other = Sandbox::new(&args);
        other.commit("a.txt", "one\n");
        let why = refusal(&other.root, &then.source(), &then.facts);
        assert!(why.contains(word) && why.contains("--to DIR"), "{why}");
        let facts = Moment::of(&other, Program::find().as_ref());
        if word == "sha256" {
            let why = refusal(&sandbox.root, &facts.source(), &facts.facts);
            assert!(why.contains("of the object format sha256"), "{why}");
            assert!(refusal(&other.root, &facts.source(), &facts.facts).contains("sha256"));
        } else {
            // A backup of reftables has plain files in it, and goes into a repository of files.
            put_into(&sandbox, Program::find().as_ref(), &facts, false);
            assert_eq!(sandbox.git(&["rev-parse", "HEAD"]), other.git(&["rev-parse", "HEAD"]));
        }
    }
    let sandbox = full();
    let elsewhere = sandbox.path("refs");
    fs::rename(sandbox.root.join(".git/refs"), &elsewhere).unwrap();
    symlink(&elsewhere, sandbox.root.join(".git/refs")).unwrap();
    let why = refusal(&sandbox.root, &then.source(), &then.facts);
    assert!(why.contains("is a link to"), "{why}");
    let sandbox = full();
    fs::write(sandbox.root.join(".git/HEAD"), "rubbish").unwrap();
    let git = Git {
        program: None,
        library: None,
        settings: Vec::new(),
        root: sandbox.root.clone(),
        own: sandbox.root.join(".git"),
        common: sandbox.root.join(".git"),
        effective: std::sync::OnceLock::new(),
    };
    let error = replace::plan(&git, &then.source(), &then.facts, false).unwrap_err();
    assert!(error.to_string().contains("HEAD is damaged") && !hints_of(&error).is_empty(), "{error:#}");
}

#[test]
fn a_git_folder_elsewhere() {
    for program in [Program::find(), None] {
        let sandbox = Sandbox::new(&["--separate-git-dir", "elsewhere.git"]);
        sandbox.commit("a.txt", "one\n");
        let then = Moment::of(&sandbox, program.as_ref());
        sandbox.commit("a.txt", "two\n");
        let git = opened(&sandbox.root, program.clone());
        assert_eq!(git.folder(), sandbox.path("elsewhere.git"));
        let work = tempfile::tempdir_in(sandbox.path("")).unwrap();
        let replaced = replace::stage(&git, &then.source(), &then.facts, false, work.path()).unwrap();
        assert!(replaced.iter().all(|r| r.path.starts_with(sandbox.path("elsewhere.git"))));
        apply(&replaced, &work.path().join("aside"));
        then.files_back(&sandbox);
        assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
        assert_eq!(sandbox.git(&["log", "--format=%s"]), "a.txt is one\n");
    }
}

#[test]
fn refs_that_nobody_can_read_outlast_it() {
    for program in [Program::find(), None] {
        let sandbox = full();
        let then = Moment::of(&sandbox, program.as_ref());
        let git = sandbox.root.join(".git");
        sandbox.git(&["update-ref", "refs/tags/-x", "HEAD"]);
        sandbox.git(&["update-ref", "refs/xtask/worktree", "HEAD"]);
        sandbox.git(&["pack-refs", "--all"]);
        sandbox.git(&["commit", "-q", "--allow-empty", "-m", "later"]);
        fs::write(git.join("refs/heads/broken"), "rubbish\n").unwrap();
        symlink("main", git.join("refs/heads/link")).unwrap();
        for exact in [false, true] {
            let git_now = opened(&sandbox.root, program.clone());
            let work = tempfile::tempdir_in(sandbox.path("")).unwrap();
            let plan = replace::plan(&git_now, &then.source(), &then.facts, exact).unwrap();
            let advice = plan.findings.iter().find(|finding| finding.code == "git-refs").unwrap();
            assert!(advice.message.starts_with("3 refs") && !advice.is_problem(), "{}", advice.message);
            assert!(plan.kept.is_empty());
            let replaced = replace::stage(&git_now, &then.source(), &then.facts, exact, work.path()).unwrap();
            apply(&replaced, &work.path().join("aside"));
            assert_eq!(fs::read(git.join("refs/heads/broken")).unwrap(), b"rubbish\n");
            assert_eq!(fs::read_link(git.join("refs/heads/link")).unwrap(), Path::new("main"));
            for name in ["refs/tags/-x", "refs/xtask/worktree"] {
                assert_eq!(sandbox.git(&["rev-parse", name]), sandbox.git(&["rev-parse", "main"]));
            }
        }
    }
}

#[test]
fn a_damaged_bundle_changes_nothing() {
    for program in [Program::find(), None] {
        let sandbox = full();
        let then = Moment::of(&sandbox, program.as_ref());
        // Its objects are needed: git was begun anew.
        fs::remove_dir_all(sandbox.root.join(".git")).unwrap();
        sandbox.git(&["init", "-q", "-b", "main"]);
        sandbox.commit("z.txt", "z\n");
        let before = snapshot(&sandbox.root.join(".git"));
        let bundle = then.source().join("bundles/0000.bundle");
        let good = fs::read(&bundle).unwrap();
        let mut flipped = good.clone();
        *flipped.iter_mut().rev().nth(40).unwrap() ^= 1;
        for bad in [flipped, good[..good.len() - 30].to_vec(), good[..60].to_vec(), Vec::new()] {
            fs::write(&bundle, bad).unwrap();
            let git = opened(&sandbox.root, program.clone());
            let work = tempfile::tempdir_in(sandbox.path("")).unwrap();
            assert!(replace::stage(&git, &then.source(), &then.facts, false, work.path()).is_err());
            assert!(snapshot(&sandbox.root.join(".git")) == before);
        }
        fs::write(&bundle, good).unwrap();
        put_into(&sandbox, program.as_ref(), &then, false);
    }
}

#[test]
fn a_damaged_object_of_now_is_healed() {
    for program in [Program::find(), None] {
        let sandbox = full();
        let then = Moment::of(&sandbox, program.as_ref());
        let id = sandbox.git(&["rev-parse", "HEAD:a.txt"]);
        let path = sandbox.root.join(".git/objects").join(&id[..2]).join(id[2..].trim());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, "rubbish").unwrap();
        put_into(&sandbox, program.as_ref(), &then, false);
        assert_eq!(sandbox.git(&["show", "HEAD:a.txt"]), "one\n");
    }
}

#[test]
fn what_is_there_already_is_not_brought_again() {
    let sandbox = full();
    let then = Moment::of(&sandbox, Program::find().as_ref());
    sandbox.commit("a.txt", "later\n");
    let before = snapshot(&sandbox.root.join(".git/objects"));
    put_into(&sandbox, Program::find().as_ref(), &then, true);
    assert!(snapshot(&sandbox.root.join(".git/objects")) == before);
    // Another backup's objects come once, and no second time.
    let other = full();
    other.commit("a.txt", "other\n");
    let elsewhere = Moment::of(&other, None);
    put_into(&sandbox, None, &elsewhere, false);
    let before: Vec<PathBuf> = snapshot(&sandbox.root.join(".git/objects")).into_keys().collect();
    put_into(&sandbox, None, &elsewhere, true);
    assert_eq!(snapshot(&sandbox.root.join(".git/objects")).into_keys().collect::<Vec<_>>(), before);
}

#[test]
fn every_step_leaves_a_repository() {
    let sandbox = full();
    sandbox.git(&["switch", "-q", "-c", "side"]);
    sandbox.commit("a.txt", "side\n");
    sandbox.git(&["tag", "-a", "-m", "m", "tag"]);
    sandbox.git(&["pack-refs", "--all"]);
    let then = Moment::of(&sandbox, Program::find().as_ref());
    sandbox.git(&["switch", "-q", "-c", "other", "main"]);
    sandbox.commit("b.txt", "b\n");
    sandbox.git(&["branch", "-q", "-D", "side"]);
    sandbox.git(&["tag", "-d", "tag"]);
    sandbox.git(&["reflog", "expire", "--expire=all", "--expire-unreachable=all", "--all"]);
    sandbox.git(&["gc", "-q", "--prune=now"]);
    sandbox.git(&["branch", "loose"]);
    sandbox.git(&["branch", "-f", "main", "other"]);
    let git = opened(&sandbox.root, Program::find());
    let work = tempfile::tempdir_in(sandbox.path("")).unwrap();
    let replaced = replace::stage(&git, &then.source(), &then.facts, false, work.path()).unwrap();
    let place =
        |r: &Replacement| r.path.strip_prefix(sandbox.root.join(".git")).unwrap().display().to_string();
    let order: Vec<String> = replaced.iter().map(place).collect();
    let at = |name: &str| order.iter().position(|other| other == name).unwrap();
    assert!(at("packed-refs") < at("refs/heads"), "{order:?}");
    assert!(at("refs/heads") < at("HEAD") && at("HEAD") < at("index"), "{order:?}");
    for (number, replacement) in replaced.iter().enumerate() {
        let aside = work.path().join(format!("aside-{number}"));
        let away = Replacement { staged: None, ..replacement.clone() };
        apply(&[away], &aside);
        if replacement.path.starts_with(sandbox.root.join(".git/refs")) {
            // Between the two renames: it is a repository, and every ref is there.
            for line in then.told["refs"].lines() {
                let (name, rest) = line.split_once(' ').unwrap();
                assert_eq!(sandbox.git(&["rev-parse", name]).trim(), rest.split(' ').next().unwrap());
            }
            sandbox.git(&["rev-parse", "refs/heads/other", "refs/heads/loose"]);
        }
        apply(std::slice::from_ref(replacement), &aside);
        for args in [["status", "--porcelain"], ["for-each-ref", "--format=%(refname) %(objecttype)"]] {
            sandbox.git(&args);
        }
    }
    then.files_back(&sandbox);
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_is_written_is_as_readable_as_what_was_there() {
    let sandbox = full();
    sandbox.git(&["config", "core.sharedRepository", "group"]);
    for path in snapshot(&sandbox.root.join(".git")).into_keys() {
        let mode = if path.is_dir() { 0o2770 } else { 0o660 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let then = Moment::of(&sandbox, Program::find().as_ref());
    sandbox.commit("a.txt", "later\n");
    put_into(&sandbox, Program::find().as_ref(), &then, true);
    for name in ["index", "packed-refs", "refs", "refs/heads", "logs", "logs/HEAD", "logs/refs/heads/main"] {
        let path = sandbox.root.join(".git").join(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if path.is_dir() { 0o2770 } else { 0o660 }, "{name}");
    }
}

#[test]
fn a_hostile_source_writes_nothing_elsewhere() {
    let sandbox = full();
    let then = Moment::of(&sandbox, Program::find().as_ref());
    sandbox.commit("a.txt", "later\n");
    let source = then.source();
    let secret = sandbox.path("secret");
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, source.join("MERGE_MSG")).unwrap();
    symlink(&secret, source.join("BISECT_LOG")).unwrap();
    symlink(sandbox.path(""), source.join("rebase-apply")).unwrap();
    fs::create_dir_all(source.join("rebase-merge")).unwrap();
    symlink(&secret, source.join("rebase-merge/x")).unwrap();
    fs::write(source.join("logs/x.lock"), "x").unwrap();
    let git = opened(&sandbox.root, Program::find());
    let plan = replace::plan(&git, &source, &then.facts, false).unwrap();
    assert_eq!(plan.findings.iter().filter(|finding| finding.is_problem()).count(), 2, "{:?}", plan.findings);
    let work = tempfile::tempdir_in(sandbox.path("")).unwrap();
    let replaced = replace::stage(&git, &source, &then.facts, false, work.path()).unwrap();
    apply(&replaced, &work.path().join("aside"));
    for name in ["MERGE_MSG", "BISECT_LOG", "rebase-apply", "rebase-merge", "logs/x.lock"] {
        assert!(sandbox.root.join(".git").join(name).symlink_metadata().is_err(), "{name}");
    }
    for (file, text) in [
        ("HEAD", "ref: refs/../../../x\n"),
        ("symrefs", "refs/heads/../../hooks/x refs/heads/main\n"),
        ("symrefs", "refs/heads/main/x refs/heads/main\n"),
        ("shallow", "not an id\n"),
    ] {
        let before = fs::read(source.join(file)).ok();
        fs::write(source.join(file), text).unwrap();
        let work = tempfile::tempdir_in(sandbox.path("")).unwrap();
        assert!(replace::stage(&git, &source, &then.facts, false, work.path()).is_err(), "{file}");
        assert!(replace::plan(&git, &source, &then.facts, false).is_err(), "{file}");
        match before {
            Some(before) => fs::write(source.join(file), before).unwrap(),
            None => fs::remove_file(source.join(file)).unwrap(),
        }
    }
}

#[test]
fn settings_that_differ_are_named_and_stay() {
    let sandbox = full();
    sandbox.git(&["config", "user.email", "then@example.com"]);
    sandbox.git(&["config", "alias.x", "!true"]);
    let then = Moment::of(&sandbox, Program::find().as_ref());
    sandbox.git(&["config", "user.email", "now@example.com"]);
    sandbox.git(&["config", "alias.x", "!false"]);
    fs::write(sandbox.root.join(".git/info/exclude"), "x\n").unwrap();
    let plan = put_into(&sandbox, Program::find().as_ref(), &then, true);
    let found = plan.findings.iter().find(|finding| finding.code == "git-settings").unwrap();
    assert!(
        found.message.ends_with(": user.email, info/exclude") && !found.is_problem(),
        "{}",
        found.message
    );
    let config = sandbox.root.join(".git/config");
    let config = config.to_str().unwrap();
    assert_eq!(sandbox.git(&["config", "--file", config, "user.email"]), "now@example.com\n");
}
