//! A backup's git state put into the repository that is there, and taken back: with the git command and
//! without, all that git tells is as it was.

use super::moment::{Moment, change, full, put_into, same, there_and_back, told};
use super::*;

#[test]
fn branches_tags_stashes_and_unsaved_work() {
    let make = || {
        let sandbox = full();
        sandbox.git(&["tag", "light"]);
        sandbox.git(&["tag", "-a", "-m", "m", "annotated"]);
        sandbox.git(&["branch", "other"]);
        sandbox.git(&["branch", "gone"]);
        sandbox.git(&["commit", "-q", "--amend", "-m", "amended"]);
        for text in ["first", "second"] {
            sandbox.write("a.txt", text);
            sandbox.git(&["stash", "-q"]);
        }
        sandbox.git(&["pack-refs", "--all"]);
        sandbox.git(&["branch", "-f", "other", "HEAD"]);
        sandbox.write("a.txt", "staged\n");
        sandbox.git(&["add", "a.txt"]);
        sandbox.write("a.txt", "unstaged\n");
        sandbox.write("dir/new.txt", "untracked\n");
        sandbox
    };
    let plans = there_and_back(make, |sandbox| {
        sandbox.git(&["checkout", "-q", "-f", "-b", "later"]);
        sandbox.commit("c.txt", "later\n");
        sandbox.git(&["stash", "drop", "-q", "stash@{1}"]);
        sandbox.write("c.txt", "third");
        sandbox.git(&["stash", "-q"]);
        sandbox.git(&["branch", "-q", "-D", "gone"]);
        sandbox.git(&["branch", "-q", "-f", "main", "later"]);
        sandbox.git(&["tag", "-f", "-a", "-m", "n", "annotated"]);
        sandbox.git(&["tag", "new"]);
        sandbox.git(&["gc", "-q"]);
        sandbox.git(&["branch", "-q", "loose-later"]);
    });
    for plan in plans {
        assert_eq!(plan.kept, ["refs/heads/later", "refs/heads/loose-later", "refs/tags/new"]);
        assert_eq!(plan.head, Some(("later".to_owned(), "main".to_owned())));
        assert!(plan.index && plan.operation.is_none());
        let names: Vec<&str> = plan.refs.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["refs/heads/gone", "refs/heads/main", "refs/stash", "refs/tags/annotated"]);
        assert_eq!(change(&plan, "refs/heads/gone").unwrap().before, None);
        assert!(plan.logs.contains(&"refs/stash".to_owned()) && plan.logs.contains(&"HEAD".to_owned()));
    }
}

#[test]
fn only_the_log_of_the_stash_differs() {
    let make = || {
        let sandbox = full();
        for text in ["first", "second", "third"] {
            sandbox.write("a.txt", text);
            sandbox.git(&["stash", "-q"]);
        }
        sandbox
    };
    for plan in there_and_back(make, |sandbox| drop(sandbox.git(&["stash", "drop", "-q", "stash@{1}"]))) {
        assert_eq!((plan.refs.len(), plan.logs), (0, vec!["refs/stash".to_owned()]));
    }
}

#[test]
fn nothing_happened() {
    for plan in there_and_back(full, |_| {}) {
        assert!(plan.is_empty() && plan.findings.is_empty() && plan.kept.is_empty(), "{plan:?}");
    }
}

#[test]
fn a_detached_head_and_a_branch() {
    let detached = || {
        let sandbox = full();
        sandbox.git(&["checkout", "-q", "--detach", "HEAD^"]);
        sandbox.git(&["commit", "-q", "--allow-empty", "-m", "on no branch"]);
        sandbox
    };
    let plans = there_and_back(detached, |sandbox| {
        sandbox.git(&["switch", "-q", "main"]);
        sandbox.git(&["reflog", "expire", "--expire=all", "--expire-unreachable=all", "--all"]);
        sandbox.git(&["gc", "-q", "--prune=now"]);
    });
    assert!(
        plans
            .iter()
            .all(|plan| plan.head.as_ref().is_some_and(|(from, to)| from == "main" && to.len() == 10))
    );
    there_and_back(full, |sandbox| drop(sandbox.git(&["checkout", "-q", "--detach", "HEAD^"])));
}

#[test]
fn before_the_first_commit_and_after() {
    there_and_back(
        || Sandbox::new(&[]),
        |sandbox| {
            sandbox.commit("a.txt", "one\n");
            sandbox.git(&["branch", "later"]);
        },
    );
    let staged = || {
        let sandbox = Sandbox::new(&[]);
        sandbox.write("a.txt", "staged\n");
        sandbox.git(&["add", "a.txt"]);
        sandbox
    };
    there_and_back(staged, |sandbox| sandbox.commit("a.txt", "one\n"));
    // The history is gone, and git was begun anew: nothing of what the backup needs is there.
    there_and_back(full, |sandbox| {
        fs::remove_dir_all(sandbox.root.join(".git")).unwrap();
        sandbox.git(&["init", "-q", "-b", "trunk"]);
    });
    there_and_back(full, |sandbox| {
        sandbox.git(&["checkout", "-q", "--orphan", "empty"]);
        sandbox.git(&["rm", "-r", "-q", "-f", "."]);
    });
}

fn two_sides() -> Sandbox {
    let sandbox = full();
    sandbox.git(&["switch", "-q", "-c", "side"]);
    sandbox.commit("a.txt", "side\n");
    sandbox.commit("d.txt", "side, too\n");
    sandbox.git(&["switch", "-q", "main"]);
    sandbox.commit("a.txt", "main\n");
    sandbox
}

#[test]
fn a_conflicted_merge_in_the_backup_and_now() {
    let merging = || {
        let sandbox = two_sides();
        assert!(!sandbox.try_git(&sandbox.root, &["merge", "side"]).status.success());
        sandbox
    };
    let plans = there_and_back(merging, |sandbox| {
        sandbox.git(&["merge", "--abort"]);
        sandbox.git(&["branch", "-q", "-D", "side"]);
        sandbox.commit("e.txt", "later\n");
    });
    for plan in plans {
        assert_eq!(plan.operation, Some((None, Some("merge".to_owned()))));
    }
    let plans = there_and_back(two_sides, |sandbox| {
        assert!(!sandbox.try_git(&sandbox.root, &["merge", "side"]).status.success());
    });
    for plan in plans {
        assert_eq!(plan.operation, Some((Some("merge".to_owned()), None)));
        assert!(plan.index && plan.head.is_none() && plan.refs.is_empty());
    }
    // Resolved, and not committed: the index still remembers both sides.
    let resolved = || {
        let sandbox = merging();
        sandbox.write("a.txt", "both\n");
        sandbox.git(&["add", "a.txt"]);
        sandbox
    };
    there_and_back(resolved, |sandbox| drop(sandbox.git(&["commit", "-q", "-m", "merged"])));
}

#[test]
fn a_rebase_and_another_step_of_it() {
    let rebasing = || {
        let sandbox = two_sides();
        sandbox.git(&["switch", "-q", "side"]);
        assert!(!sandbox.try_git(&sandbox.root, &["rebase", "main"]).status.success());
        sandbox
    };
    let plans = there_and_back(rebasing, |sandbox| drop(sandbox.git(&["rebase", "--abort"])));
    assert!(plans.iter().all(|plan| plan.operation == Some((None, Some("rebase".to_owned())))));
    let plans = there_and_back(rebasing, |sandbox| drop(sandbox.git(&["rebase", "--skip"])));
    assert!(plans.iter().all(|plan| plan.head.is_some()));
    // A cherry-pick of several, and one step of it further.
    let picking = || {
        let sandbox = two_sides();
        assert!(!sandbox.try_git(&sandbox.root, &["cherry-pick", "side^", "side"]).status.success());
        sandbox
    };
    there_and_back(picking, |sandbox| drop(sandbox.git(&["cherry-pick", "--skip"])));
    there_and_back(two_sides, |sandbox| {
        assert!(!sandbox.try_git(&sandbox.root, &["cherry-pick", "side^", "side"]).status.success());
    });
}

#[test]
fn a_bisect_in_the_backup_and_now() {
    let bisecting = || {
        let sandbox = full();
        for text in ["3", "4", "5", "6"] {
            sandbox.commit("a.txt", text);
        }
        sandbox.git(&["bisect", "start", "HEAD", "HEAD~4"]);
        sandbox
    };
    let plans = there_and_back(bisecting, |sandbox| drop(sandbox.git(&["bisect", "reset"])));
    assert!(plans.iter().all(|plan| plan.operation == Some((None, Some("bisect".to_owned())))));
    let plans = there_and_back(full, |sandbox| {
        for text in ["3", "4", "5", "6"] {
            sandbox.commit("a.txt", text);
        }
        sandbox.git(&["bisect", "start", "HEAD", "HEAD~4"]);
    });
    // The marks go with it, even where later refs stay.
    for plan in plans {
        assert_eq!(change(&plan, "refs/bisect/bad").unwrap().after, None);
        assert!(plan.kept.is_empty());
    }
    let plans = there_and_back(bisecting, |sandbox| drop(sandbox.git(&["bisect", "good"])));
    assert!(
        plans
            .iter()
            .all(|plan| plan.operation == Some((Some("bisect".to_owned()), Some("bisect".to_owned()))))
    );
    // It goes on from there.
    let sandbox = bisecting();
    let then = Moment::of(&sandbox, Program::find().as_ref());
    sandbox.git(&["bisect", "reset"]);
    put_into(&sandbox, Program::find().as_ref(), &then, false);
    then.files_back(&sandbox);
    // Refs that each working copy has for itself are never packed.
    assert!(sandbox.root.join(".git/refs/bisect/bad").is_file());
    sandbox.git(&["bisect", "good"]);
    sandbox.git(&["bisect", "reset"]);
    assert_eq!(sandbox.git(&["for-each-ref", "refs/bisect"]), "");
}

#[test]
fn a_folder_of_refs_and_a_ref_of_that_name() {
    let one = || {
        let sandbox = full();
        sandbox.git(&["branch", "a/b"]);
        sandbox.git(&["branch", "x"]);
        sandbox.git(&["tag", "v/1"]);
        sandbox.git(&["pack-refs", "--all"]);
        sandbox.git(&["branch", "a/c"]);
        sandbox
    };
    let other = |sandbox: &Sandbox| {
        sandbox.git(&["branch", "-q", "-D", "a/b", "a/c", "x"]);
        sandbox.git(&["tag", "-d", "v/1"]);
        sandbox.git(&["branch", "a"]);
        sandbox.git(&["branch", "x/y"]);
        sandbox.git(&["tag", "v"]);
    };
    for plan in there_and_back(one, other) {
        assert_eq!(plan.kept, Vec::<String>::new());
        assert_eq!(change(&plan, "refs/heads/a").unwrap().after, None);
        let finding = plan.findings.iter().find(|finding| finding.code == "git-ref-yields").unwrap();
        assert!(finding.message.starts_with("3 later refs go"), "{}", finding.message);
    }
}

#[test]
fn symbolic_refs_of_a_clone() {
    let clone = || {
        let sandbox = full();
        let remote = sandbox.path("remote");
        fs::rename(&sandbox.root, &remote).unwrap();
        sandbox.git_in(&sandbox.path(""), &["clone", "-q", remote.to_str().unwrap(), "project"]);
        sandbox.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
        sandbox.git(&["symbolic-ref", "refs/heads/nowhere", "refs/heads/unborn"]);
        sandbox
    };
    let plans = there_and_back(clone, |sandbox| {
        sandbox.git(&["symbolic-ref", "refs/heads/alias", "refs/remotes/origin/main"]);
        sandbox.git(&["remote", "set-head", "origin", "-d"]);
        sandbox.git(&["symbolic-ref", "refs/heads/later", "refs/heads/main"]);
    });
    for plan in plans {
        let alias = change(&plan, "refs/heads/alias").unwrap();
        assert_eq!(alias.after.as_deref(), Some("refs/heads/main"));
        assert_eq!(change(&plan, "refs/remotes/origin/HEAD").unwrap().before, None);
        assert_eq!(plan.kept, ["refs/heads/later"]);
    }
}

#[test]
fn shallow_then_and_whole_now_and_the_other_way_round() {
    let clone = |depth: &[&str]| {
        let sandbox = full();
        sandbox.commit("a.txt", "three\n");
        let remote = sandbox.path("remote");
        fs::rename(&sandbox.root, &remote).unwrap();
        let url = format!("file://{}", remote.display());
        sandbox.git_in(&sandbox.path(""), &[&["clone", "-q"], depth, &[&url, "project"]].concat());
        sandbox
    };
    there_and_back(|| clone(&["--depth", "2"]), |sandbox| drop(sandbox.git(&["fetch", "-q", "--unshallow"])));
    there_and_back(
        || clone(&["--depth", "2"]),
        |sandbox| {
            let url = sandbox.git(&["remote", "get-url", "origin"]);
            fs::remove_dir_all(sandbox.root.join(".git")).unwrap();
            sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--depth", "1", url.trim(), "again"]);
            fs::rename(sandbox.path("again/.git"), sandbox.root.join(".git")).unwrap();
        },
    );
    there_and_back(
        || clone(&[]),
        |sandbox| {
            let url = sandbox.git(&["remote", "get-url", "origin"]);
            fs::remove_dir_all(sandbox.root.join(".git")).unwrap();
            sandbox.git_in(&sandbox.path("remote"), &["commit", "-q", "--allow-empty", "-m", "newer"]);
            sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--depth", "1", url.trim(), "again"]);
            fs::rename(sandbox.path("again/.git"), sandbox.root.join(".git")).unwrap();
            sandbox.git(&["reset", "-q", "--hard"]);
            sandbox.git(&["branch", "later"]);
        },
    );
    // Cut off at a commit of the backup: with what is behind it, it is whole again.
    there_and_back(
        || clone(&[]),
        |sandbox| {
            let url = sandbox.git(&["remote", "get-url", "origin"]);
            fs::remove_dir_all(sandbox.root.join(".git")).unwrap();
            sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--depth", "1", url.trim(), "again"]);
            fs::rename(sandbox.path("again/.git"), sandbox.root.join(".git")).unwrap();
        },
    );
}

#[test]
fn refs_without_a_log() {
    there_and_back(
        || {
            let sandbox = Sandbox::new(&[]);
            sandbox.git(&["config", "core.logAllRefUpdates", "false"]);
            sandbox.commit("a.txt", "one\n");
            sandbox
        },
        |sandbox| {
            sandbox.git(&["config", "core.logAllRefUpdates", "true"]);
            sandbox.commit("a.txt", "two\n");
        },
    );
}

#[test]
fn indexes_that_trust_what_they_remember() {
    // An untracked cache: what it says of folders must not outlive the files in them.
    let cached = || {
        let sandbox = full();
        sandbox.git(&["config", "core.untrackedCache", "true"]);
        sandbox.git(&["config", "core.trustctime", "false"]);
        sandbox.write("dir/untracked", "x");
        sandbox.git(&["update-index", "--untracked-cache"]);
        sandbox.git(&["status"]);
        sandbox
    };
    there_and_back(cached, |sandbox| {
        fs::remove_file(sandbox.root.join("dir/untracked")).unwrap();
        sandbox.write("dir/other", "x");
        sandbox.write("dir/.gitignore", "other\n");
        sandbox.git(&["add", "dir/.gitignore"]);
        sandbox.git(&["status"]);
    });
    let split = || {
        let sandbox = full();
        sandbox.git(&["update-index", "--split-index"]);
        sandbox.write("a.txt", "staged\n");
        sandbox.git(&["add", "a.txt"]);
        sandbox
    };
    for later in [
        (|sandbox: &Sandbox| drop(sandbox.git(&["update-index", "--no-split-index"]))) as fn(&Sandbox),
        |sandbox| {
            sandbox.git(&["commit", "-q", "-m", "later"]);
            fs::remove_file(sandbox.root.join(".git/index")).unwrap();
            sandbox.git(&["reset", "-q"]);
            for entry in fs::read_dir(sandbox.root.join(".git")).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_string_lossy().starts_with("sharedindex.") {
                    fs::remove_file(path).unwrap();
                }
            }
        },
    ] {
        split_index(&split, later);
    }
    let sparse = || {
        let sandbox = full();
        sandbox.commit("far/c.txt", "three\n");
        sandbox.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "dir"]);
        sandbox
    };
    split_index(&sparse, |sandbox| drop(sandbox.git(&["sparse-checkout", "set", "far"])));
}

/// The same with the git command only: libgit2 reads neither split nor sparse indexes.
fn split_index(make: &dyn Fn() -> Sandbox, later: fn(&Sandbox)) {
    let (sandbox, program) = (make(), Program::find());
    let then = Moment::of(&sandbox, program.as_ref());
    later(&sandbox);
    let now = Moment::of(&sandbox, program.as_ref());
    for moment in [&then, &now] {
        put_into(&sandbox, program.as_ref(), moment, true);
        moment.files_back(&sandbox);
        same(&told(&sandbox), moment, &[], true);
    }
}

#[test]
fn a_change_in_the_moment_of_the_backup_is_seen() {
    for program in [Program::find(), None] {
        let sandbox = full();
        // Of one size and one moment: only that the index is not younger than the file tells of it.
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        let set = |path: PathBuf, seconds: u64| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_modified(time + std::time::Duration::from_secs(seconds)).unwrap();
        };
        sandbox.git(&["config", "core.trustctime", "false"]);
        sandbox.write("a.txt", "aaa\n");
        set(sandbox.root.join("a.txt"), 0);
        sandbox.git(&["add", "a.txt"]);
        sandbox.write("a.txt", "bbb\n");
        set(sandbox.root.join("a.txt"), 0);
        set(sandbox.root.join(".git/index"), 0);
        let then = Moment::of(&sandbox, program.as_ref());
        assert!(then.told["status"].contains("1 MM"), "{}", then.told["status"]);
        // The file itself stays as it is, and so what the index says of it fits. An archive may give an
        // index back younger than the files.
        sandbox.git(&["reset", "-q"]);
        set(then.source().join("index"), 60);
        put_into(&sandbox, program.as_ref(), &then, false);
        same(&told(&sandbox), &then, &["reflogs"], program.is_some());
        same(&told(&sandbox), &then, &["reflogs"], program.is_some());
    }
}

#[test]
fn a_later_stash_stays() {
    let plans = there_and_back(full, |sandbox| {
        sandbox.write("a.txt", "later");
        sandbox.git(&["stash", "-q"]);
    });
    for plan in plans {
        // Not what `git stash` writes into HEAD's log is what makes an entry.
        assert_eq!((plan.kept, plan.refs.len()), (vec!["refs/stash".to_owned()], 0));
    }
    let (sandbox, program) = (full(), Program::find());
    let then = Moment::of(&sandbox, program.as_ref());
    sandbox.write("a.txt", "later");
    sandbox.git(&["stash", "-q"]);
    put_into(&sandbox, program.as_ref(), &then, false);
    assert_eq!(sandbox.git(&["stash", "list"]).lines().count(), 1);
    sandbox.git(&["stash", "pop", "-q"]);
    assert_eq!(fs::read_to_string(sandbox.root.join("a.txt")).unwrap(), "later");
}

#[test]
fn a_partial_clone() {
    let sandbox = full();
    sandbox.commit("a.txt", "three\n");
    sandbox.git(&["config", "uploadpack.allowFilter", "true"]);
    let remote = sandbox.path("remote");
    fs::rename(&sandbox.root, &remote).unwrap();
    let url = format!("file://{}", remote.display());
    sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--filter=blob:none", &url, "project"]);
    let program = Program::find();
    let then = Moment::of(&sandbox, program.as_ref());
    sandbox.commit("a.txt", "later\n");
    let now = Moment::of(&sandbox, program.as_ref());
    for moment in [&then, &now] {
        put_into(&sandbox, program.as_ref(), moment, true);
        moment.files_back(&sandbox);
        same(&told(&sandbox), moment, &[], true);
    }
    // Where nothing can be fetched, the gaps are told.
    fs::remove_dir_all(sandbox.root.join(".git")).unwrap();
    sandbox.git(&["init", "-q", "-b", "main"]);
    let plan = put_into(&sandbox, program.as_ref(), &then, true);
    assert!(plan.findings.iter().any(|finding| finding.code == "partial-clone" && finding.is_problem()));
}
