//! After a complete loss everything comes back: rows, files, modes, refs, reflogs, stash entries.
//!
//! Every test here takes a backup of a real project, removes the project, and brings it back with nothing
//! but the executable in the store; then it holds what git, SQLite and the file system tell against what
//! they told before.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;
use support::child::{Journal, Writer, ledger};
use support::compare::{
    Repository, Rows, ask_git, fsck, repository, repository_differences, row_differences, rows, working_files,
};
use support::framework::{Framework, write};
use support::tree::{Fingerprint, differences};
use support::{Sandbox, git, git_at, system};

const NONE: Vec<String> = Vec::new();

/// What the project was before it was lost.
struct Before {
    repository: Repository,
    files: Fingerprint,
    backup: Value,
}

/// Takes a backup and removes the project. What git and the disk tell is read before, so that no stat of
/// ours can make a difference.
#[track_caller]
fn lose(sandbox: &Sandbox, databases: &[&str], exit: i32) -> Before {
    let project = sandbox.project();
    let repository = repository(&project);
    let files = working_files(&project, databases);
    let backup = sandbox.run(&["backup", "--json"]).code(exit).json();
    sandbox.lose_the_project();
    Before { repository, files, backup }
}

/// Brings the newest backup back into a new folder, by the executable in the store.
#[track_caller]
fn recover(sandbox: &Sandbox, to: &str, more: &[&str]) -> (PathBuf, Value) {
    let target = sandbox.path(to);
    let mut arguments = vec!["restore", "latest", "--json", "--to", target.to_str().unwrap()];
    arguments.extend(more);
    let output = sandbox.run_from(&sandbox.stored_program(), &sandbox.path("home"), &arguments).ok();
    (target.clone(), output.json())
}

impl Before {
    /// All of it came back.
    #[track_caller]
    fn is_back(&self, folder: &Path, databases: &[&str]) {
        assert_eq!(repository_differences(&self.repository, &repository(folder)), NONE);
        assert_eq!(differences(&self.files, &working_files(folder, databases)), NONE);
        assert_eq!(fsck(folder), NONE);
        assert!(!folder.join(".xtask-restore").exists());
        let git_folder: Vec<_> = fs::read_dir(folder.join(".git"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("tmp") || name.contains("xtask"))
            .collect();
        assert_eq!(git_folder, NONE);
    }

    fn findings(&self) -> Vec<(&str, &str)> {
        let findings = self.backup["findings"].as_array().unwrap();
        findings.iter().map(|f| (f["level"].as_str().unwrap(), f["code"].as_str().unwrap())).collect()
    }

    fn database(&self, path: &str) -> &Value {
        let databases = self.backup["manifest"]["databases"].as_array().unwrap();
        databases.iter().find(|d| d["path"] == path).unwrap_or_else(|| panic!("{path} in {databases:?}"))
    }

    /// The rows that the manifest counted in a table.
    fn counted(&self, database: &str, table: &str) -> i64 {
        let tables = self.database(database)["facts"]["tables"].as_array().unwrap();
        tables.iter().find(|t| t["name"] == table).unwrap()["rows"].as_i64().unwrap()
    }
}

/// What the framework of the other tests has not: refs of every kind, index entries of every kind, hard modes.
fn make_it_harder(project: &Path) {
    git(project, &["symbolic-ref", "refs/heads/alias", "refs/heads/feature"]);
    git(project, &["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
    git(project, &["update-ref", "-m", "fetched", "refs/remotes/origin/main", "HEAD~2"]);
    git(project, &["notes", "add", "-m", "a note", "HEAD"]);
    git(project, &["update-ref", "refs/custom/deep/er", "HEAD~5"]);
    git(project, &["tag", "a-tree", "HEAD^{tree}"]);
    git(project, &["tag", "a-file", "HEAD:README.md"]);
    git(project, &["tag", "-a", "-m", "A tag of a tag", "v0.2-again", "v0.2"]);
    // A commit that nothing but a reflog reaches.
    let before = git(project, &["rev-parse", "feature"]);
    let tree = git(project, &["rev-parse", "feature^{tree}"]);
    let lost = git(project, &["commit-tree", "-p", "feature", "-m", "Only in a reflog", &tree]);
    git(project, &["update-ref", "--create-reflog", "-m", "forth", "refs/heads/feature", &lost]);
    git(project, &["update-ref", "-m", "and back", "refs/heads/feature", &before]);
    // Entries of the index that are no plain files.
    write(project, "src/intended.py", "added by intent\n");
    git(project, &["add", "-N", "src/intended.py"]);
    git(project, &["update-index", "--skip-worktree", "src/part1.py"]);
    git(project, &["update-index", "--assume-unchanged", "src/part2.py"]);
    git(project, &["mv", "src/part3.py", "src/renamed.py"]);
    git(project, &["rm", "-q", "--cached", "src/part4.py"]);
    write(project, ".git/info/exclude", "*.private\n");
    write(project, "notes/mine.private", "ignored by info/exclude\n");
    write(project, "notes/empty file", "");
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let mode = |name: &str, mode: u32| {
            fs::set_permissions(project.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("src/part5.py", 0o755);
        fs::remove_file(project.join("src/part6.py")).unwrap();
        symlink("part5.py", project.join("src/part6.py")).unwrap();
        write(project, "logs/closed/file.log", "in a folder that forbids writing\n");
        mode("logs/closed", 0o555);
        write(project, "notes/odd-mode", "read by its group only\n");
        mode("notes/odd-mode", 0o4640);
        symlink(".", project.join("notes/loop")).unwrap();
        fs::create_dir(project.join("notes/sticky")).unwrap();
        mode("notes/sticky", 0o1777);
    }
}

/// A database with what dumps and copies lose easily; the last rows are only in the write-ahead log, which
/// nobody holds open.
fn odd_database(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA page_size = 1024; PRAGMA auto_vacuum = 2; PRAGMA journal_mode = WAL;
             PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 42; PRAGMA application_id = 77;
             CREATE TABLE plain(a, b);
             INSERT INTO plain(rowid, a, b) VALUES (5, 'x', NULL), (-7, x'00ff', 5e-324), (9000000000, -0.0, 1e999),
                (12, 'a' || char(0) || 'b', -1e999), (13, CAST(x'ff80' AS TEXT), 0.1), (14, '', 9223372036854775807);
             CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
             INSERT INTO counted(v) VALUES ('a'), ('b'), ('c'); DELETE FROM counted WHERE id = 3;
             CREATE TABLE keyed(k TEXT, n INTEGER, PRIMARY KEY (k, n)) WITHOUT ROWID;
             INSERT INTO keyed VALUES ('k', 2), ('k', 1);
             CREATE INDEX by_b ON plain(b) WHERE b IS NOT NULL;
             CREATE VIEW seen AS SELECT a FROM plain;
             CREATE TRIGGER t AFTER INSERT ON counted BEGIN INSERT INTO plain(a) VALUES (new.v); END;
             CREATE VIRTUAL TABLE words USING fts5(body);
             INSERT INTO words(rowid, body) VALUES (3, 'one two'), (10, 'three');
             CREATE TABLE \"odd \"\" name\"(\"a b\" TEXT); INSERT INTO \"odd \"\" name\" VALUES ('q''uote');",
        )
        .unwrap();
    // Closing it would write the log back: a crashed process does not close.
    std::mem::forget(connection);
}

#[test]
fn a_framework_comes_back_whole_under_a_writer() {
    let framework = Framework::on_disk();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    make_it_harder(&project);
    odd_database(&framework.memory().join("odd.db"));
    let writer = Writer::start(&framework.memory(), Journal::Wal);
    let names = ["memory/index.db", "memory/vectors.db", "memory/odd.db", "data/catalog.db"];
    let unledgered = |mut rows: Rows| {
        rows.remove("ledger");
        rows
    };
    let live: Vec<Rows> = names.iter().map(|name| rows(&project.join(name))).map(unledgered).collect();
    // So that a stat that git would refresh is no difference.
    git(&project, &["status"]);

    let repository = repository(&project);
    let files = working_files(&project, &names[..3]);
    let at_least = writer.committed();
    let backup = sandbox.run(&["backup", "--json"]).ok().json();
    let at_most = writer.stop();
    let catalog = fs::read(project.join("data/catalog.db")).unwrap();
    drop(framework.memory());
    let before = Before { repository, files, backup };
    let mut framework = framework;
    framework.release();
    let sandbox = &framework.sandbox;
    sandbox.lose_the_project();
    assert!(!project.exists());
    assert!(before.findings().iter().all(|(level, _)| *level == "advice"), "{:?}", before.findings());

    for (to, more) in [("recovered", &[][..]), ("from dumps", &["--sql-only"])] {
        let (target, told) = recover(sandbox, to, more);
        let images = more.is_empty();
        // A dump gives a database that is equal, not the same bytes.
        let free = if images { &names[..3] } else { &names[..] };
        let mut expected = before.files.clone();
        if !images {
            let catalog = expected.get_mut(names[3].as_bytes()).unwrap();
            (catalog.content, catalog.mtime_ns) = (String::new(), None);
        }
        assert_eq!(differences(&expected, &working_files(&target, free)), NONE, "{to}");
        if images {
            assert_eq!(
                repository_differences(&before.repository, &support::compare::repository(&target)),
                NONE
            );
            assert_eq!(fs::read(target.join("data/catalog.db")).unwrap(), catalog);
        }
        assert_eq!(fsck(&target), NONE);
        assert_eq!(told["databases"].as_array().unwrap().len(), names.len());
        assert!(told["not_applied"].as_array().unwrap().iter().any(|what| what == "hook pre-commit"));
        assert!(!target.join(".git/hooks/pre-commit").exists());

        for (name, live) in names.iter().zip(&live) {
            let back = rows(&target.join(name));
            for (table, found) in back.iter().filter(|(table, _)| !table.starts_with("pragma ")) {
                if table != "schema"
                    && before.database(name)["facts"]["tables"].to_string().contains(&format!("{table:?}"))
                {
                    assert_eq!(
                        before.counted(name, table),
                        i64::try_from(found.len()).unwrap(),
                        "{name} {table}"
                    );
                }
            }
            assert_eq!(row_differences(live, &unledgered(back)), NONE, "{to}: {name}");
        }
        // Each transaction of the writer up to one instant, and none after it, in both databases.
        let (index, vectors) = (target.join(names[0]), target.join(names[1]));
        let found = ledger(&index, &vectors);
        assert!(
            found.whole && (at_least..=at_most).contains(&found.transactions),
            "{found:?} {at_least} {at_most}"
        );
        for (path, sign) in [(&index, 1), (&vectors, -1)] {
            let expected: Vec<String> = (1..=found.transactions)
                .map(|n| format!("{n} | {n} | {}", sign * ((n - 1) % 97 + 1)))
                .collect();
            assert_eq!(rows(path)["ledger"], expected);
        }
        for path in [&index, &vectors, &target.join("memory/odd.db")] {
            let connection = Connection::open(path).unwrap();
            let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(sound, "ok");
        }
        // It is a project to work with: the databases can be written, the stash applied.
        Connection::open(&index).unwrap().execute("INSERT INTO ledger VALUES (1000000000, 0)", []).unwrap();
        git(&target, &["update-index", "--no-skip-worktree", "src/part1.py"]);
        git(&target, &["update-index", "--no-assume-unchanged", "src/part2.py"]);
        git(&target, &["reset", "-q", "--hard"]);
        git(&target, &["stash", "apply", "-q", "stash@{1}"]);
        assert!(fs::read_to_string(target.join("src/state.py")).unwrap().contains("first stash"));
    }
    // A second backup, of what came back, by the program in the store: it is another copy, with a store of
    // its own to be named.
    let again = sandbox.path("store 2");
    let target = sandbox.path("recovered");
    let arguments = ["backup", "--project", target.to_str().unwrap(), "--store", again.to_str().unwrap()];
    sandbox.run_from(&sandbox.stored_program(), &sandbox.path("home"), &arguments).ok();
}

/// A small project with a database, for the states that a repository can be in.
fn small(project: &Path, init: &[&str]) {
    git(project, &[&["init", "-q", "-b", "main"], init].concat());
    write(project, ".gitignore", "*.db\n/private/\n");
    write(project, "a.txt", "one\ntwo\nthree\n");
    write(project, "b.txt", "b\n");
    write(project, "private/note.md", "private\n");
    write(project, "untracked.md", "untracked\n");
    fs::create_dir_all(project.join("empty/inside")).unwrap();
    let connection = Connection::open(project.join("memory.db")).unwrap();
    connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)").unwrap();
}

fn commit(project: &Path, moment: i64, file: &str, content: &str) -> String {
    write(project, file, content);
    git_at(project, moment, &["add", file, ".gitignore"]);
    git_at(project, moment, &["commit", "-q", "-m", &format!("{file} at {moment}")]);
    git(project, &["rev-parse", "HEAD"])
}

/// `main` and `side` disagree about `a.txt`.
fn two_sides(project: &Path) {
    small(project, &[]);
    commit(project, 1_760_000_000, "a.txt", "one\ntwo\nthree\n");
    commit(project, 1_760_000_001, "b.txt", "b\n");
    git(project, &["checkout", "-q", "-b", "side"]);
    commit(project, 1_760_000_002, "a.txt", "one\nside\nthree\n");
    commit(project, 1_760_000_003, "c.txt", "from side\n");
    git(project, &["checkout", "-q", "main"]);
    commit(project, 1_760_000_004, "a.txt", "one\nmain\nthree\n");
}

/// Runs git where it is to stop with a conflict.
#[track_caller]
fn conflicts(project: &Path, arguments: &[&str]) {
    let mut all = vec!["-c", "user.name=Somebody", "-c", "user.email=somebody@localhost"];
    all.extend(arguments);
    assert_eq!(ask_git(project, &all), None, "no conflict");
    let unmerged = ask_git(project, &["ls-files", "--unmerged"]).unwrap();
    for stage in [" 1\t", " 2\t", " 3\t"] {
        assert!(unmerged.contains(stage), "{unmerged}");
    }
}

#[test]
fn a_conflicted_merge_can_be_aborted_or_finished() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    two_sides(&project);
    let head = git(&project, &["rev-parse", "HEAD"]);
    write(&project, "b.txt", "changed before the merge\n");
    conflicts(&project, &["merge", "side"]);
    let before = lose(&sandbox, &[], 0);
    assert_eq!(before.backup["manifest"]["git"]["operation"], "merge");

    let (aborted, _) = recover(&sandbox, "aborted", &[]);
    before.is_back(&aborted, &[]);
    git(&aborted, &["merge", "--abort"]);
    assert_eq!(git(&aborted, &["rev-parse", "HEAD"]), head);
    assert_eq!(fs::read_to_string(aborted.join("a.txt")).unwrap(), "one\nmain\nthree\n");
    assert_eq!(fs::read_to_string(aborted.join("b.txt")).unwrap(), "changed before the merge\n");

    let (finished, _) = recover(&sandbox, "finished", &[]);
    commit_resolution(&finished, &["merge", "--continue"]);
    assert_eq!(git(&finished, &["rev-list", "--parents", "-n", "1", "HEAD"]).split(' ').count(), 3);
    assert_eq!(fs::read_to_string(finished.join("c.txt")).unwrap(), "from side\n");
    assert_eq!(fsck(&finished), NONE);
}

fn commit_resolution(project: &Path, next: &[&str]) {
    write(project, "a.txt", "one\nboth\nthree\n");
    git(project, &["add", "a.txt"]);
    git(project, &[&["-c", "core.editor=true"], next].concat());
    assert_eq!(fs::read_to_string(project.join("a.txt")).unwrap(), "one\nboth\nthree\n");
}

#[test]
fn a_rebase_can_be_aborted_or_finished() {
    for how in ["--merge", "--apply"] {
        let sandbox = Sandbox::on_disk();
        let project = sandbox.project();
        two_sides(&project);
        git(&project, &["checkout", "-q", "side"]);
        let side = git(&project, &["rev-parse", "side"]);
        // This change is only in a commit that the rebase itself keeps.
        write(&project, "b.txt", "stashed by the rebase\n");
        conflicts(&project, &["rebase", how, "--autostash", "main"]);
        let before = lose(&sandbox, &[], 0);
        assert_eq!(before.backup["manifest"]["git"]["operation"], "rebase", "{how}");

        let (aborted, _) = recover(&sandbox, "aborted", &[]);
        before.is_back(&aborted, &[]);
        git(&aborted, &["rebase", "--abort"]);
        assert_eq!(git(&aborted, &["rev-parse", "HEAD"]), side, "{how}");
        assert_eq!(git(&aborted, &["symbolic-ref", "HEAD"]), "refs/heads/side");
        assert_eq!(fs::read_to_string(aborted.join("b.txt")).unwrap(), "stashed by the rebase\n");

        let (finished, _) = recover(&sandbox, "finished", &[]);
        commit_resolution(&finished, &["rebase", "--continue"]);
        assert_eq!(git(&finished, &["rev-parse", "HEAD~2"]), git(&finished, &["rev-parse", "main"]));
        assert_eq!(git(&finished, &["symbolic-ref", "HEAD"]), "refs/heads/side");
        assert_eq!(fs::read_to_string(finished.join("b.txt")).unwrap(), "stashed by the rebase\n", "{how}");
        assert_eq!(fsck(&finished), NONE);
    }
}

#[test]
fn a_row_of_cherry_picks_goes_on() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    two_sides(&project);
    conflicts(&project, &["cherry-pick", "main..side"]);
    let before = lose(&sandbox, &[], 0);
    let (target, _) = recover(&sandbox, "recovered", &[]);
    before.is_back(&target, &[]);
    commit_resolution(&target, &["cherry-pick", "--continue"]);
    // The second of the row came after the first.
    assert_eq!(fs::read_to_string(target.join("c.txt")).unwrap(), "from side\n");
}

#[test]
fn a_revert_and_a_bisect_go_on() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    small(&project, &[]);
    for n in 0..6 {
        commit(&project, 1_760_000_000 + n, "a.txt", &format!("{n}\n"));
    }
    conflicts(&project, &["revert", "HEAD~2"]);
    let before = lose(&sandbox, &[], 0);
    let (target, _) = recover(&sandbox, "reverting", &[]);
    before.is_back(&target, &[]);
    git(&target, &["revert", "--abort"]);

    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    small(&project, &[]);
    for n in 0..6 {
        commit(&project, 1_760_000_000 + n, "a.txt", &format!("{n}\n"));
    }
    git(&project, &["bisect", "start", "HEAD", "HEAD~5"]);
    let log = git(&project, &["bisect", "log"]);
    let before = lose(&sandbox, &[], 0);
    let (target, _) = recover(&sandbox, "bisecting", &[]);
    before.is_back(&target, &[]);
    assert_eq!(git(&target, &["bisect", "log"]), log);
    git(&target, &["bisect", "good"]);
    git(&target, &["bisect", "reset"]);
    assert_eq!(git(&target, &["symbolic-ref", "HEAD"]), "refs/heads/main");
}

#[test]
fn a_shallow_clone_comes_back_as_one() {
    let sandbox = Sandbox::on_disk();
    let origin = sandbox.path("origin");
    fs::create_dir(&origin).unwrap();
    small(&origin, &[]);
    for n in 0..8 {
        commit(&origin, 1_760_000_000 + n, "a.txt", &format!("{n}\n"));
    }
    git(&origin, &["tag", "-a", "-m", "a tag", "v1", "HEAD~1"]);
    let url = format!("file://{}", origin.display());
    let project = sandbox.project();
    git(&sandbox.path("."), &["clone", "-q", "--depth", "3", &url, "project"]);
    write(&project, "a.txt", "changed in the clone\n");
    commit(&project, 1_770_000_000, "new.txt", "committed in the clone\n");
    write(&project, "untracked.txt", "untracked\n");
    let before = lose(&sandbox, &[], 0);
    assert!(before.findings().contains(&("advice", "shallow-clone")), "{:?}", before.findings());
    let (target, _) = recover(&sandbox, "recovered", &[]);
    before.is_back(&target, &[]);
    assert_eq!(git(&target, &["rev-parse", "--is-shallow-repository"]), "true");
    assert_eq!(git(&target, &["rev-list", "--count", "HEAD"]), "4");
    // The rest of the history can still be had.
    git(&target, &["fetch", "-q", "--unshallow"]);
    assert_eq!(git(&target, &["rev-list", "--count", "HEAD"]), "9");
    assert_eq!(fsck(&target), NONE);
}

#[test]
fn a_repository_without_commits_comes_back_with_what_is_staged() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    small(&project, &["-b", "trunk"]);
    git(&project, &["add", "a.txt"]);
    write(&project, "a.txt", "changed after it was staged\n");
    let before = lose(&sandbox, &[], 0);
    assert!(before.findings().contains(&("advice", "no-commit")), "{:?}", before.findings());
    let (target, told) = recover(&sandbox, "recovered", &[]);
    before.is_back(&target, &[]);
    assert_eq!(told["git"], true);
    assert_eq!(git(&target, &["symbolic-ref", "HEAD"]), "refs/heads/trunk");
    assert_eq!(git(&target, &["show", ":a.txt"]), "one\ntwo\nthree");
    git(&target, &["commit", "-q", "-m", "The first"]);
}

#[test]
fn a_folder_without_git_comes_back() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    small(&project, &[]);
    fs::remove_dir_all(project.join(".git")).unwrap();
    write(&project, "target/output", "no git, so nothing is ignored\n");
    let saved = rows(&project.join("memory.db"));
    let before = lose(&sandbox, &[], 0);
    assert!(before.findings().contains(&("advice", "no-git")), "{:?}", before.findings());
    let (target, told) = recover(&sandbox, "recovered", &[]);
    assert_eq!(differences(&before.files, &working_files(&target, &[])), NONE);
    assert_eq!(row_differences(&saved, &rows(&target.join("memory.db"))), NONE);
    assert_eq!(told["git"], false);
    assert!(!target.join(".git").exists());
}

#[test]
fn a_detached_head_that_no_branch_reaches() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    two_sides(&project);
    git(&project, &["checkout", "-q", "--detach", "side"]);
    let lonely = commit(&project, 1_760_000_010, "lonely.txt", "on no branch\n");
    let before = lose(&sandbox, &[], 0);
    let (target, _) = recover(&sandbox, "recovered", &[]);
    before.is_back(&target, &[]);
    assert_eq!(git(&target, &["rev-parse", "HEAD"]), lonely);
    assert_eq!(ask_git(&target, &["symbolic-ref", "-q", "HEAD"]), None);
}

/// The main repository is lost with it: what comes back stands on its own.
#[test]
fn a_linked_worktree_comes_back_as_a_repository_of_its_own() {
    let sandbox = Sandbox::on_disk();
    let main = sandbox.path("main");
    fs::create_dir(&main).unwrap();
    two_sides(&main);
    write(&main, "b.txt", "stashed in the main one\n");
    git(&main, &["stash", "push", "-q"]);
    let project = sandbox.project();
    git(&main, &["worktree", "add", "-q", project.to_str().unwrap(), "side"]);
    git(&project, &["commit", "-q", "--allow-empty", "-m", "In the worktree"]);
    write(&project, "a.txt", "modified in the worktree\n");
    write(&project, "staged.txt", "staged in the worktree\n");
    git(&project, &["add", "staged.txt"]);
    fs::create_dir_all(project.join("private")).unwrap();
    write(&project, "private/note.md", "ignored\n");
    let before = lose(&sandbox, &[], 0);
    assert!(before.findings().contains(&("advice", "linked-worktrees")), "{:?}", before.findings());
    fs::remove_dir_all(&main).unwrap();
    let (target, _) = recover(&sandbox, "recovered", &[]);
    before.is_back(&target, &[]);
    assert!(target.join(".git").is_dir());
    assert_eq!(git(&target, &["symbolic-ref", "HEAD"]), "refs/heads/side");
    git(&target, &["stash", "pop", "-q"]);
}

/// Other forms of a repository; what this git does not have is told.
#[test]
fn sha256_and_reftable_repositories_come_back() {
    for option in ["--object-format=sha256", "--ref-format=reftable"] {
        let sandbox = Sandbox::on_disk();
        let project = sandbox.project();
        if ask_git(&sandbox.path("tmp"), &["init", "-q", option, "probe"]).is_none() {
            system::skip(&format!("this git does not know init {option}"));
            continue;
        }
        small(&project, &[option]);
        commit(&project, 1_760_000_000, "a.txt", "one\n");
        commit(&project, 1_760_000_001, "a.txt", "two\n");
        git(&project, &["branch", "other", "HEAD~1"]);
        git(&project, &["symbolic-ref", "refs/heads/alias", "refs/heads/other"]);
        git(&project, &["tag", "-a", "-m", "a tag", "v1"]);
        for n in ["first", "second"] {
            write(&project, "a.txt", n);
            git(&project, &["stash", "push", "-q", "-m", n]);
        }
        write(&project, "a.txt", "modified\n");
        write(&project, "staged.txt", "staged\n");
        git(&project, &["add", "staged.txt"]);
        let before = lose(&sandbox, &[], 0);
        let (target, _) = recover(&sandbox, "recovered", &[]);
        before.is_back(&target, &[]);
        git(&target, &["commit", "-q", "-m", "It goes on"]);
        assert_eq!(git(&target, &["symbolic-ref", "refs/heads/alias"]), "refs/heads/other");
        let full = ["verify", "latest", "--full-test"];
        sandbox.run_from(&sandbox.stored_program(), &sandbox.path("home"), &full).ok();
    }
}

/// In reftables git keeps what an operation needs as refs, not as files.
#[test]
fn an_operation_in_a_reftable_repository_goes_on() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    if ask_git(&sandbox.path("tmp"), &["init", "-q", "--ref-format=reftable", "probe"]).is_none() {
        return system::skip("this git does not know reftables");
    }
    git(&project, &["init", "-q", "--ref-format=reftable"]);
    two_sides(&project);
    conflicts(&project, &["cherry-pick", "main..side"]);
    let before = lose(&sandbox, &[], 0);
    assert_eq!(before.backup["manifest"]["git"]["operation"], "cherry-pick");
    let (target, _) = recover(&sandbox, "recovered", &[]);
    before.is_back(&target, &[]);
    commit_resolution(&target, &["cherry-pick", "--continue"]);
    assert_eq!(fs::read_to_string(target.join("c.txt")).unwrap(), "from side\n");
}

/// What `git archive` drops, rewrites or converts comes back as it lay on the disk, and git sees no change.
#[test]
fn attributes_of_git_change_no_file() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    small(&project, &[]);
    let attributes = "internal/* export-ignore\nversion.txt export-subst ident\n*.bat text eol=crlf\n";
    write(&project, ".gitattributes", attributes);
    write(&project, "internal/notes.md", "left out of releases\n");
    write(&project, "version.txt", "$Format:%H$ $Id$\n");
    write(&project, "run.bat", "one\r\ntwo\r\n");
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "With attributes"]);
    // Git writes its own form of these: the expanded id, and the line ends.
    fs::remove_file(project.join("version.txt")).unwrap();
    fs::remove_file(project.join("run.bat")).unwrap();
    git(&project, &["checkout", "-q", "--", "version.txt", "run.bat"]);
    let version = fs::read_to_string(project.join("version.txt")).unwrap();
    assert!(version.starts_with("$Format:%H$ $Id: "), "{version}");
    write(&project, "internal/notes.md", "and changed\n");
    let before = lose(&sandbox, &[], 0);
    let (target, _) = recover(&sandbox, "recovered", &[]);
    before.is_back(&target, &[]);
    assert_eq!(fs::read_to_string(target.join("version.txt")).unwrap(), version);
    assert_eq!(fs::read(target.join("run.bat")).unwrap(), b"one\r\ntwo\r\n");
    assert_eq!(git(&target, &["status", "--porcelain"]), " M internal/notes.md");
}

/// Of Git LFS and of a partial clone the files come back; what only a server has is a problem that is named.
#[test]
fn what_only_a_server_holds_is_named() {
    let sandbox = Sandbox::on_disk();
    let project = sandbox.project();
    small(&project, &[]);
    commit(&project, 1_760_000_000, "a.txt", "one\n");
    write(&project, ".git/lfs/objects/4d/7a/4d7a", "an older version\n");
    write(&project, "model.bin", "as LFS checked it out\n");
    let before = lose(&sandbox, &[], 3);
    assert_eq!(before.findings(), [("problem", "git-lfs")]);
    let (target, _) = recover(&sandbox, "recovered", &[]);
    assert_eq!(differences(&before.files, &working_files(&target, &[])), NONE);
    assert_eq!(fsck(&target), NONE);

    let origin = target;
    let clone = Sandbox::on_disk();
    let url = format!("file://{}", origin.display());
    git(&origin, &["config", "uploadpack.allowFilter", "true"]);
    git(&clone.project(), &["clone", "-q", "--no-checkout", "--filter=blob:none", &url, "."]);
    let output = clone.run(&["backup"]);
    output.code(3).says("objects that were never fetched").says("git fetch --refetch --no-filter");
}

#[test]
fn of_a_submodule_the_files_come_back_and_a_problem_is_told() {
    let sandbox = Sandbox::on_disk();
    let part = sandbox.path("part");
    fs::create_dir(&part).unwrap();
    git(&part, &["init", "-q", "-b", "main"]);
    commit_all(&part, "lib/code.py", "code of the part\n");
    let project = sandbox.project();
    small(&project, &[]);
    commit(&project, 1_760_000_000, "a.txt", "one\n");
    let url = part.to_str().unwrap();
    git(&project, &["-c", "protocol.file.allow=always", "submodule", "add", "-q", url, "vendor/part"]);
    git(&project, &["commit", "-q", "-m", "With a part"]);
    write(&project, "vendor/part/lib/code.py", "changed in the part\n");
    write(&project, "vendor/part/new.py", "new in the part\n");
    let mut before = lose(&sandbox, &[], 3);
    let findings = before.findings();
    assert_eq!(findings, [("problem", "nested-git")]);
    assert_eq!(before.backup["findings"][0]["path"], "vendor/part");
    let (target, _) = recover(&sandbox, "recovered", &[]);
    // The part is no repository any more, and that is what the problem says.
    before.files.remove(b"vendor/part/.git".as_slice());
    assert_eq!(differences(&before.files, &working_files(&target, &[])), NONE);
    let after = repository(&target);
    for what in ["refs", "HEAD", "branch", "index", "commits", "reflog of HEAD"] {
        assert_eq!(before.repository[what], after[what], "{what}");
    }
    assert_eq!(fsck(&target), NONE);
}

fn commit_all(project: &Path, file: &str, content: &str) {
    write(project, file, content);
    git(project, &["add", "-A"]);
    git(project, &["commit", "-q", "-m", file]);
}
