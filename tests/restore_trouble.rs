//! Somebody is in the way of a restore over a project: the system's permissions, another run of the tool, somebody
//! who works in the project while the question waits, or the author of the archive. Either all of it is done or
//! nothing has changed, and nothing that is nobody's business is touched.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use support::compare::{fsck, repository, repository_differences, working_files};
use support::forge::{Forge, Record, plant};
use support::framework::write;
use support::tree::{Fingerprint, differences, fingerprint, without_sidecars};
use support::{Output, Sandbox, archives, git, system};

const NONE: Vec<String> = Vec::new();

fn change(database: &Path, sql: &str) {
    let connection = Connection::open(database).unwrap();
    connection.execute_batch(sql).unwrap();
}

fn count(database: &Path) -> i64 {
    let connection = Connection::open(database).unwrap();
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A small project with a history and two databases.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    write(&project, ".gitignore", "*.db\n*.db-*\n/backups/\n");
    write(&project, "README.md", "# Project\n");
    write(&project, "docs/guide.md", "guide\n");
    write(&project, "docs/deep/more.md", "more\n");
    write(&project, "closed/inside.md", "inside\n");
    chmod(&project.join("closed"), 0o555);
    git(&project, &["add", "."]);
    git(&project, &["commit", "-q", "-m", "First"]);
    fs::create_dir(project.join("memory")).unwrap();
    for (name, journal) in [("memory/index.db", "wal"), ("memory/vectors.db", "delete")] {
        let sql =
            format!("PRAGMA journal_mode = {journal}; CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)");
        change(&project.join(name), &sql);
    }
    sandbox
}

const DATABASES: [&str; 2] = ["memory/index.db", "memory/vectors.db"];

/// Files byte for byte, databases by their number of rows, git's folder without objects.
fn state(project: &Path) -> (Fingerprint, Vec<i64>, Fingerprint) {
    let rows = DATABASES.iter().map(|name| count(&project.join(name))).collect();
    let mut git = fingerprint(&project.join(".git"), false);
    git.retain(|name, _| !name.starts_with(b"objects/"));
    (working_files(project, &DATABASES), rows, git)
}

#[track_caller]
fn same(before: &(Fingerprint, Vec<i64>, Fingerprint), project: &Path, when: &str) {
    let now = state(project);
    assert_eq!(differences(&before.0, &now.0), NONE, "{when}");
    assert_eq!(before.1, now.1, "{when}");
    assert_eq!(differences(&before.2, &now.2), NONE, "{when}");
}

/// Whom root's rights don't help.
struct User {
    sandbox: Sandbox,
    prefix: Vec<OsString>,
}

impl User {
    fn new() -> Option<User> {
        let sandbox = sandbox();
        let prefix = sandbox.unprivileged()?;
        let user = User { sandbox, prefix };
        user.run(&["backup", "--label", "first"]).ok();
        write(&user.project(), "README.md", "changed\n");
        Some(user)
    }

    fn run(&self, words: &[&str]) -> Output {
        self.sandbox.run_under(&self.prefix, words)
    }

    fn restore(&self, more: &[&str]) -> Output {
        self.run(&[&["restore", "first", "--force"], more].concat())
    }

    fn project(&self) -> PathBuf {
        self.sandbox.project()
    }

    /// Gives something to root; false when this is not root, who alone can.
    fn give_to_root(&self, path: &Path, mode: u32) -> bool {
        let given = std::os::unix::fs::chown(path, Some(0), Some(0)).is_ok();
        chmod(path, mode);
        given
    }

    #[track_caller]
    fn fails_and_nothing_changes(&self, code: i32, words: &str, more: &[&str]) {
        let before = state(&self.project());
        let output = self.restore(more).code(code).says(words);
        same(&before, &self.project(), words);
        assert!(!self.project().join(".xtask-restore").exists(), "{output:?}");
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for folder in ["project", "project/closed", "project/later", "project/memory", "project/docs"] {
            // It need not be there.
            drop(fs::set_permissions(self.sandbox.path(folder), fs::Permissions::from_mode(0o755)));
        }
    }
}

#[test]
fn a_folder_that_may_not_be_written_in_is_opened_for_the_moment() {
    let ruins: [fn(&Path); 4] = [
        |project| write(project, "closed/inside.md", "changed\n"),
        |project| fs::remove_dir_all(project.join("closed")).unwrap(),
        |project| {
            fs::remove_dir_all(project.join("closed")).unwrap();
            write(project, "closed", "a file where a folder was\n");
        },
        |project| {
            write(project, "later/deep/file.md", "later\n");
            chmod(&project.join("later/deep"), 0o555);
            chmod(&project.join("later"), 0o555);
        },
    ];
    for (number, ruin) in ruins.iter().enumerate() {
        let Some(user) = User::new() else { return };
        let project = user.project();
        chmod(&project.join("closed"), 0o755);
        ruin(&project);
        if project.join("closed").is_dir() {
            chmod(&project.join("closed"), 0o555);
        }
        user.sandbox.unprivileged();
        let before = state(&project);
        user.restore(&["--exact"]).ok();
        let restored = state(&project);
        let closed = &restored.0[b"closed".as_slice()];
        assert_eq!((closed.kind, closed.mode), ("dir", 0o555), "{number}");
        assert!(!project.join("later").exists());
        user.run(&["undo", "--force"]).ok();
        same(&before, &project, &format!("undo of {number}"));
        user.run(&["redo", "--force"]).ok();
        same(&restored, &project, &format!("redo of {number}"));
        // And when it fails in the end, all have their permissions as before.
        user.run(&["undo", "--force"]).ok();
        if user.give_to_root(&project.join("docs"), 0o755) {
            write(&project, "docs/guide.md", "root's\n");
            user.fails_and_nothing_changes(1, "docs/guide.md", &["--exact"]);
        }
    }
}

#[test]
fn what_may_not_be_written_is_told_and_nothing_changes() {
    let Some(user) = User::new() else { return };
    let project = user.project();
    let (index, vectors) = (project.join("memory/index.db"), project.join("memory/vectors.db"));
    change(&index, "DELETE FROM t");
    change(&vectors, "DELETE FROM t");
    user.sandbox.unprivileged();
    chmod(&project, 0o555);
    user.fails_and_nothing_changes(1, "can't write in ", &[]);
    chmod(&project, 0o755);
    chmod(&vectors, 0o444);
    user.fails_and_nothing_changes(6, "memory/vectors.db can't be written", &[]);
    chmod(&vectors, 0o644);
    chmod(&project.join("memory"), 0o555);
    user.fails_and_nothing_changes(6, "can't be written", &[]);
    chmod(&project.join("memory"), 0o755);
    if user.give_to_root(&index, 0o644) {
        user.fails_and_nothing_changes(6, "memory/index.db can't be written", &[]);
        // Nobody but root may look into it, so that no safety copy can hold it.
        user.sandbox.unprivileged();
        user.give_to_root(&project.join("README.md"), 0o600);
        user.fails_and_nothing_changes(6, "the safety copy does not hold it", &[]);
        user.sandbox.unprivileged();
        user.give_to_root(&project.join("README.md"), 0o644);
    }
    // The folder is theirs, and so they may replace what is in it.
    user.restore(&[]).ok();
    assert_eq!(fs::read_to_string(project.join("README.md")).unwrap(), "# Project\n");
    assert_eq!((count(&index), count(&vectors)), (3, 3));
}

/// Whether there is what plays the terminal and writes the rows; where there is not, that is told.
fn has_terminal() -> bool {
    let works = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
    let all = works("python3") && works("sqlite3");
    if !all {
        system::skip("python3 or sqlite3 is not there, so nobody is asked");
    }
    all
}

/// Runs the tool on a terminal, a script while its question waits, and then answers yes.
fn while_it_asks(sandbox: &Sandbox, words: &[&str], script: &str) -> Output {
    let terminal = sandbox.path("terminal.py");
    let code = "import os, pty, subprocess, sys\n\
        pid, fd = pty.fork()\n\
        if pid == 0:\n    os.execv(sys.argv[2], sys.argv[2:] + ['--color', 'never'])\n\
        seen = b''\n\
        try:\n    while b'[yes/no]' not in seen: seen += os.read(fd, 4096)\n\
        \x20   subprocess.run(['sh', '-euc', sys.argv[1]], check=True)\n\
        \x20   os.write(fd, b'yes\\n')\n\
        \x20   while True: seen += os.read(fd, 4096)\n\
        except OSError: pass\n\
        sys.stderr.buffer.write(seen)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    fs::write(&terminal, code).unwrap();
    let mut command = sandbox.command("python3");
    command.arg(&terminal).arg(script).arg(sandbox.program()).args(words);
    sandbox.output(&mut command)
}

/// A project that was changed after its backup `first`.
fn changed() -> Sandbox {
    let sandbox = sandbox();
    let project = sandbox.project();
    sandbox.run(&["backup", "--label", "first"]).ok();
    write(&project, "README.md", "changed\n");
    fs::remove_file(project.join("docs/guide.md")).unwrap();
    write(&project, "later/deep/file.md", "later\n");
    change(&project.join("memory/index.db"), "DELETE FROM t WHERE a > 1");
    git(&project, &["commit", "-q", "--allow-empty", "-m", "Second"]);
    sandbox
}

/// Whatever somebody does while the question waits: it is there afterwards, or in the state before that undo
/// brings back.
#[test]
fn the_project_changes_while_the_question_waits() {
    if !has_terminal() {
        return;
    }
    for (options, script, there, code) in [
        ("", "echo theirs > README.md", "README.md", 1),
        ("", "echo theirs > x; mv x README.md", "README.md", 1),
        ("", "rm README.md", "", 1),
        ("", "echo theirs > docs/guide.md", "docs/guide.md", 1),
        ("", "mkdir docs/guide.md; echo theirs > docs/guide.md/x", "docs/guide.md/x", 1),
        ("--exact", "echo theirs > later/theirs", "later/theirs", 1),
        ("--exact", "echo theirs > later/deep/theirs", "later/deep/theirs", 1),
        ("--exact", "echo theirs > docs/theirs", "docs/theirs", 0),
        ("", "chmod 600 README.md", "", 1),
        ("", "mv docs docs2; mkdir ../outside; ln -s ../outside docs; echo theirs > docs/x", "docs/x", 1),
        ("", "mv README.md ../readme; ln -s ../readme README.md", "", 1),
    ] {
        let sandbox = changed();
        let project = sandbox.project();
        let words: Vec<&str> = ["restore", "first"].into_iter().chain(options.split_whitespace()).collect();
        let script_there = format!("cd {}; {script}", project.display());
        let output = while_it_asks(&sandbox, &words, &format!("{script_there}; cp -a . ../copy")).code(code);
        if !there.is_empty() {
            assert_eq!(fs::read_to_string(project.join(there)).unwrap(), "theirs\n", "{script}");
        }
        if code == 1 {
            let mut then = working_files(&sandbox.path("copy"), &DATABASES);
            then.retain(|name, _| !name.starts_with(b".xtask-restore"));
            let now = working_files(&project, &DATABASES);
            assert_eq!(differences(&then, &now), NONE, "{script}: {output:?}");
            assert_eq!(count(&project.join("memory/index.db")), 1, "{script}");
            let said = ["nothing was restored", "everything is as it was"];
            assert!(said.iter().any(|part| output.stderr.contains(part)), "{script}: {output:?}");
        }
        assert!(!project.join(".xtask-restore").exists(), "{script}");
        assert_eq!(fsck(&project), NONE);
    }
}

#[test]
fn rows_and_commits_that_come_while_the_question_waits_are_in_the_state_before() {
    if !has_terminal() {
        return;
    }
    let sandbox = changed();
    let project = sandbox.project();
    let index = project.join("memory/index.db");
    let row = "sqlite3 memory/index.db 'INSERT INTO t VALUES (9)'";
    while_it_asks(&sandbox, &["restore", "first"], &format!("cd {}; {row}", project.display())).ok();
    assert_eq!(count(&index), 3);
    sandbox.run(&["undo", "--force"]).ok();
    assert_eq!(count(&index), 2);
    let commit = format!(
        "cd {}; git -c user.name=n -c user.email=e commit -q --allow-empty -m Theirs; git branch theirs; \
         git rev-parse theirs > ../theirs",
        project.display()
    );
    while_it_asks(&sandbox, &["restore", "first", "--git", "--exact"], &commit).ok();
    assert_eq!(git(&project, &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    sandbox.run(&["undo", "--force"]).ok();
    let theirs = fs::read_to_string(sandbox.path("theirs")).unwrap();
    for name in ["theirs", "HEAD"] {
        assert_eq!(git(&project, &["rev-parse", name]), theirs.trim());
    }
    assert_eq!(fsck(&project), NONE);
}

/// A commit and a new branch: whatever comes while the question waits, the project is as it was then, at once or
/// after undo.
#[test]
fn the_project_changes_while_a_commit_waits_for_its_yes() {
    if !has_terminal() {
        return;
    }
    let commit = "git -c user.name=n -c user.email=e commit -q --allow-empty -m Theirs";
    for (script, codes) in [
        ("true", &[0][..]),
        ("echo theirs > README.md", &[1]),
        ("rm README.md; mkdir README.md; echo theirs > README.md/x", &[1]),
        ("echo theirs > docs/guide.md", &[1]),
        ("git add later", &[0, 1]),
        ("git rm -q --cached README.md", &[0, 1]),
        (commit, &[0, 1]),
        ("git switch -q -c theirs", &[0, 1]),
        ("git branch restore/$(git rev-parse HEAD~1 | head -c 10)", &[0, 6]),
    ] {
        let sandbox = changed();
        let project = sandbox.project();
        let there = format!("cd {}; {script}; cp -a . ../copy", project.display());
        let output = while_it_asks(&sandbox, &["restore-git", "HEAD~1", "--checkout"], &there);
        assert!(codes.contains(&output.code), "{script}: {output:?}");
        if output.code == 0 {
            let head = git(&project, &["symbolic-ref", "HEAD"]);
            assert!(head.starts_with("refs/heads/restore/"), "{script}: {head}");
            assert_eq!(fs::read_to_string(project.join("README.md")).unwrap(), "# Project\n", "{script}");
            sandbox.run(&["undo", "--force"]).ok();
        }
        let then = sandbox.path("copy");
        let (asked, now) = (repository(&then), repository(&project));
        assert_eq!(repository_differences(&asked, &now), NONE, "{script}: {output:?}");
        let mut then = working_files(&then, &DATABASES);
        then.retain(|name, _| !name.starts_with(b".xtask-restore"));
        assert_eq!(differences(&then, &working_files(&project, &DATABASES)), NONE, "{script}: {output:?}");
        assert_eq!(count(&project.join("memory/index.db")), 1, "{script}");
        assert!(!project.join(".xtask-restore").exists(), "{script}");
    }
}

/// While one asks, the store is its own and nothing in the project has changed; another one can't begin, with a
/// store of its own either.
#[test]
fn of_two_at_once_one_is_told() {
    if !has_terminal() {
        return;
    }
    let sandbox = changed();
    let project = sandbox.project();
    let other = sandbox.path("other");
    sandbox.run(&["backup", "--store", other.to_str().unwrap()]).ok();
    let script = r#"
        code() { expected=$1; shift; status=0; "$@" > ../out 2>&1 || status=$?
                 [ $status = $expected ] || { echo "$@: $status"; cat ../out; exit 1; } }
        cp -a . ../before
        code 5 "$XTASK" restore first --force
        code 5 "$XTASK" restore first --force --git
        code 5 "$XTASK" backup
        code 5 "$XTASK" undo --force
        code 5 "$XTASK" restore latest --force --store ../other
        code 0 "$XTASK" list
        code 0 "$XTASK" restore first --dry-run
        code 0 "$XTASK" backup --store ../other
        diff -r . ../before
    "#;
    let script = format!("cd {}; {script}", project.display());
    while_it_asks(&sandbox, &["restore", "first"], &script).ok();
    assert_eq!(count(&project.join("memory/index.db")), 3);
    assert_eq!(fs::read_to_string(project.join("README.md")).unwrap(), "# Project\n");
}

/// Restores what `change` makes of a backup.
fn hostile(change: impl Fn(&Sandbox, &mut Forge), options: &[&str]) -> (Sandbox, Output) {
    let sandbox = changed();
    let archive = archives(&sandbox.store()).remove(0);
    let mut forge = Forge::open(&archive);
    change(&sandbox, &mut forge);
    plant(&archive, &forge.bytes());
    let outside = sandbox.path("outside");
    fs::create_dir(&outside).unwrap();
    write(&outside, "file", "nobody's business\n");
    fs::copy(sandbox.project().join("memory/vectors.db"), outside.join("index.db")).unwrap();
    let before = state(&sandbox.project());
    let away = fingerprint(&outside, true);
    let output = sandbox.run(&[&["restore", "latest", "--force"], options].concat());
    assert_eq!(differences(&away, &fingerprint(&outside, true)), NONE, "{output:?}");
    let names = fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["data", "home", "outside", "project", "tmp"], "{output:?}");
    assert!(!sandbox.project().join(".xtask-restore").exists(), "{output:?}");
    if !matches!(output.code, 0 | 3) {
        same(&before, &sandbox.project(), &format!("{output:?}"));
    }
    (sandbox, output)
}

/// Adds an entry and the folders above it, as a writer does.
fn add(forge: &mut Forge, name: &str, kind: u8, content: &[u8], target: &Path) {
    let name = format!("backup/{name}");
    let cuts: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
    for cut in cuts {
        let (folder, link) = (format!("{}/", &name[..cut]), &name[..cut]);
        if !forge.records.iter().any(|record| record.name() == folder || record.name() == link) {
            forge.add(Record::new(folder.as_bytes(), b'5', b"", b""));
        }
    }
    forge.add(Record::new(name.as_bytes(), kind, content, target.to_str().unwrap().as_bytes()));
}

fn file(forge: &mut Forge, name: &str) {
    add(forge, name, b'0', b"evil\n", Path::new(""));
}

fn link(forge: &mut Forge, name: &str, target: &Path) {
    add(forge, name, b'2', b"", target);
}

/// Moves a database, image and dump, to another path.
fn move_database(forge: &mut Forge, to: &str, forms: &[&str]) {
    for (from, name) in
        [("databases", "backup/databases/memory/vectors.db"), ("sql", "backup/sql/memory/vectors.db.sql")]
    {
        let at = forge.at(name);
        let content = forge.records.remove(at).content;
        if forms.contains(&from) {
            let end = if from == "sql" { ".sql" } else { "" };
            add(forge, &format!("{from}/{to}{end}"), b'0', &content, Path::new(""));
        }
    }
    forge.manifest(|manifest| {
        let databases = manifest["databases"].as_array_mut().unwrap();
        let vectors = databases.iter_mut().find(|database| database["path"] == "memory/vectors.db").unwrap();
        vectors["path"] = to.into();
    });
}

/// What is done to a backup before it is restored.
type Damage = fn(&Sandbox, &mut Forge);

#[test]
fn an_archive_that_wants_what_none_of_ours_does_is_refused() {
    let cases: [(&str, Damage); 18] = [
        ("a hook", |_, forge| file(forge, "files/.git/hooks/post-checkout")),
        ("a hook in other letters", |_, forge| file(forge, "files/.GIT/hooks/post-checkout")),
        ("a hook of a repository inside", |_, forge| file(forge, "files/docs/.git/config")),
        ("git as a link", |sandbox, forge| link(forge, "files/.git", &sandbox.path("outside"))),
        ("a journal", |_, forge| file(forge, "files/.xtask-restore/journal.json")),
        ("the workshop as a link", |sandbox, forge| {
            link(forge, "files/.xtask-restore", &sandbox.path("outside"));
        }),
        ("a file below a link", |sandbox, forge| {
            link(forge, "files/out", &sandbox.path("outside"));
            file(forge, "files/out/file");
        }),
        ("a link below a link", |sandbox, forge| {
            link(forge, "files/out", &sandbox.path("outside"));
            link(forge, "files/out/more", Path::new("/etc"));
        }),
        ("a file, and a folder of its name", |_, forge| {
            file(forge, "files/both");
            file(forge, "files/both/x");
        }),
        ("the same twice", |_, forge| {
            file(forge, "files/twice");
            file(forge, "files/twice");
        }),
        ("above the project", |_, forge| file(forge, "files/../../../evil")),
        ("a folder that is missing", |_, forge| {
            let at = forge.at("backup/files/docs/deep/");
            forge.records.remove(at);
        }),
        ("a device", |_, forge| add(forge, "files/device", b'3', b"", Path::new(""))),
        ("a database below a link", |sandbox, forge| {
            link(forge, "files/out", &sandbox.path("outside"));
            move_database(forge, "out/index.db", &["databases", "sql"]);
        }),
        ("a database in git", |_, forge| move_database(forge, ".git/config", &["databases", "sql"])),
        ("a dump in git", |_, forge| move_database(forge, ".git/config", &["sql"])),
        ("a dump in the workshop", |_, forge| move_database(forge, ".xtask-restore/journal.json", &["sql"])),
        ("a database above the project", |_, forge| {
            move_database(forge, "../outside/index.db", &["databases"])
        }),
    ];
    for (what, change) in cases {
        for options in [&[][..], &["--exact", "--git"], &["--sql-only"]] {
            let (_, output) = hostile(change, options);
            assert!(matches!(output.code, 1 | 6), "{what} {options:?}: {output:?}");
        }
    }
}

#[test]
fn an_archive_that_is_only_odd_is_put_back() {
    // Names that look like options and escapes, a link to nowhere and one that leads outside.
    let (sandbox, output) = hostile(
        |sandbox, forge| {
            file(forge, "files/-rf");
            file(forge, "files/\u{1b}[31m\n");
            forge.add(Record::new(b"backup/files/empty/", b'5', b"", b""));
            link(forge, "files/outside", &sandbox.path("outside"));
            link(forge, "files/docs/nowhere", Path::new("no/where"));
        },
        &["--exact"],
    );
    output.clone().ok();
    assert!(!output.stderr.contains('\u{1b}') && !output.stdout.contains('\u{1b}'));
    assert_eq!(fs::read_link(sandbox.project().join("outside")).unwrap(), sandbox.path("outside"));
    sandbox.run(&["undo", "--force"]).ok();
    assert!(!sandbox.project().join("outside").exists());
    assert_eq!(fs::read_to_string(sandbox.path("outside/file")).unwrap(), "nobody's business\n");
}

/// The store lies in the project, and the backup has something of its name.
#[test]
fn nothing_is_restored_into_the_store() {
    let sandbox = sandbox();
    let project = sandbox.project();
    let store = project.join("backups");
    let at = |words: &[&str]| sandbox.run(&[words, &["--store", store.to_str().unwrap()]].concat());
    at(&["backup"]).ok();
    let archive = archives(&store).remove(0);
    let mut forge = Forge::open(&archive);
    file(&mut forge, "files/backups/20200101_000000.tar.gz");
    plant(&archive, &forge.bytes());
    let before = fingerprint(&store, false);
    at(&["restore", "latest", "--force"]).code(6).says("where the store of the backups is");
    let mut after = fingerprint(&store, false);
    after.remove(b"history.jsonl".as_slice());
    let mut before = before;
    before.remove(b"history.jsonl".as_slice());
    assert_eq!(differences(&before, &after), NONE);
}

/// A folder was moved to another disk, and a link leads there. What is there is not the project's.
#[test]
fn what_lies_behind_a_link_is_not_touched() {
    for options in
        [&[][..], &["--exact"], &["--no-backup"], &["--only", "memory/index.db"], &["--only", "memory"]]
    {
        let sandbox = changed();
        let project = sandbox.project();
        let elsewhere = sandbox.path("elsewhere");
        write(&project, "memory/note.md", "a note\n");
        fs::rename(project.join("memory"), &elsewhere).unwrap();
        symlink(&elsewhere, project.join("memory")).unwrap();
        let before = fingerprint(&project, false);
        let there = without_sidecars(fingerprint(&elsewhere, true));
        sandbox.run(&[&["restore", "first", "--force"], options].concat()).ok();
        assert!(fs::symlink_metadata(project.join("memory")).unwrap().is_dir());
        assert_eq!(count(&project.join("memory/index.db")), 3, "{options:?}");
        assert_eq!(
            differences(&there, &without_sidecars(fingerprint(&elsewhere, true))),
            NONE,
            "{options:?}"
        );
        if options != ["--no-backup"] {
            sandbox.run(&["undo", "--force"]).ok();
            assert_eq!(fs::read_link(project.join("memory")).unwrap(), elsewhere);
            assert_eq!(differences(&before, &fingerprint(&project, false)), NONE, "{options:?}");
            assert_eq!(
                differences(&there, &without_sidecars(fingerprint(&elsewhere, true))),
                NONE,
                "{options:?}"
            );
        }
    }
}

/// A link of the name that restores work under is not followed, and not emptied.
#[test]
fn the_workshop_is_no_link() {
    let sandbox = changed();
    let project = sandbox.project();
    write(&sandbox.path(""), "precious/file", "precious\n");
    symlink(sandbox.path("precious"), project.join(".xtask-restore")).unwrap();
    sandbox.run(&["restore", "first", "--force"]).code(1).says("is a link");
    sandbox.run(&["backup"]).code(1).says("is a link");
    assert_eq!(fs::read_to_string(sandbox.path("precious/file")).unwrap(), "precious\n");
    assert_eq!(fs::read_dir(sandbox.path("precious")).unwrap().count(), 1);
}
