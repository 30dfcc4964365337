//! The store stands on its own: its executable lists, verifies and restores with no project, cargo or network.
//!
//! The project is gone, PATH holds git and nothing else (in one test not even git), and there is no network
//! where the system lets a test take it away.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use support::compare::{fsck, row_differences, rows};
use support::framework::{Framework, write};
use support::tree::{differences, fingerprint};
use support::{Output, Sandbox, git, system};

const NONE: Vec<String> = Vec::new();

/// A store whose project is lost, and what is needed to use it.
struct Orphan {
    framework: Framework,
    program: PathBuf,
    prefix: Vec<OsString>,
    path: PathBuf,
}

/// Takes a backup and removes the project. PATH is a folder with git alone, or with nothing.
fn orphan(with_git: bool) -> Orphan {
    let framework = Framework::new();
    framework.sandbox.run(&["backup", "--label", "before-the-loss"]).ok();
    lost(framework, with_git)
}

fn lost(mut framework: Framework, with_git: bool) -> Orphan {
    framework.release();
    let sandbox = &framework.sandbox;
    sandbox.lose_the_project();
    let path = sandbox.path("only-git");
    fs::create_dir(&path).unwrap();
    #[cfg(unix)]
    if with_git {
        std::os::unix::fs::symlink(which("git").expect("git"), path.join("git")).unwrap();
    }
    let program = sandbox.stored_program();
    Orphan { prefix: system::without_network(), framework, program, path }
}

fn which(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|p| p.is_file())
}

impl Orphan {
    fn sandbox(&self) -> &Sandbox {
        &self.framework.sandbox
    }

    /// Runs the stored executable in the home folder.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.sandbox().command_under(&self.prefix, &self.program);
        command.args(arguments).current_dir(self.sandbox().path("home")).env("PATH", &self.path);
        self.sandbox().output(&mut command)
    }

    fn restore(&self, to: &str, more: &[&str]) -> (PathBuf, Output) {
        let target = self.sandbox().path(to);
        let arguments = [&["restore", "latest", "--to", target.to_str().unwrap()], more].concat();
        let output = self.run(&arguments);
        (target, output)
    }
}

/// The files of a folder, without folders.
fn files(folder: &Path) -> Vec<String> {
    let tree = fingerprint(folder, false);
    let files = tree.iter().filter(|(_, entry)| entry.kind != "dir");
    files.map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
}

#[test]
fn it_lists_shows_and_verifies() {
    let orphan = orphan(true);
    let list = orphan.run(&["list", "--json"]).ok().json();
    let store = orphan.sandbox().store().canonicalize().unwrap();
    assert_eq!(list["store"], store.to_str().unwrap());
    assert_eq!(list["backups"].as_array().unwrap().len(), 1);
    assert!(orphan.run(&["list"]).ok().stdout.contains("before-the-loss"));
    let show = orphan.run(&["show", "before-the-loss", "--json"]).ok().json();
    assert_eq!(show["manifest"]["databases"].as_array().unwrap().len(), 3);
    orphan.run(&["verify"]).ok();
    let verified = orphan.run(&["verify", "all", "--full-test", "--json"]).ok().json();
    assert_eq!((&verified["ok"], &verified["backups"][0]["level"]), (&true.into(), &"restore".into()));
    orphan.run(&["restore", "latest", "--verify-only"]).ok();
    // Whatever was tried out is gone again.
    assert_eq!(files(&orphan.sandbox().path("tmp")), NONE);
    assert!(!files(&store).iter().any(|name| name.contains(".tmp")), "{:?}", files(&store));
    // And a damaged archive is noticed here as well.
    let archive = PathBuf::from(list["backups"][0]["archive"].as_str().unwrap());
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    assert_ne!(orphan.run(&["verify"]).code, 0);
    assert_ne!(orphan.run(&["verify", "--full-test"]).code, 0);
    assert_ne!(orphan.run(&["restore", "latest", "--verify-only"]).code, 0);
}

#[test]
fn it_restores_all_or_one_thing() {
    let orphan = orphan(true);
    let (whole, output) = orphan.restore("whole", &[]);
    output.ok();
    assert_eq!(fsck(&whole), NONE);
    let saved = rows(&whole.join("memory/index.db"));
    assert_eq!(saved["learnings"].len(), 1200);

    let (target, output) = orphan.restore("one file", &["--only", "docs/guide.md"]);
    output.ok();
    assert_eq!(files(&target), ["docs/guide.md"]);
    assert_eq!(fs::read(target.join("docs/guide.md")).unwrap(), b"guide\n");

    let (target, output) = orphan.restore("one folder", &["--only", "memory/failures"]);
    output.ok();
    assert_eq!(files(&target).len(), 20);
    assert!(files(&target).iter().all(|name| name.starts_with("memory/failures/note ")));
    let (with_slash, output) = orphan.restore("one folder, with a slash", &["--only", "memory/failures/"]);
    output.ok();
    assert_eq!(differences(&fingerprint(&target, false), &fingerprint(&with_slash, false)), NONE);

    let (target, output) = orphan.restore("a pattern", &["--only", "memory/**/note *.md"]);
    output.ok();
    assert_eq!(files(&target).len(), 20);

    let (target, output) = orphan.restore("one database", &["--only", "memory/index.db"]);
    output.ok();
    assert_eq!(files(&target), ["memory/index.db"]);
    assert_eq!(row_differences(&saved, &rows(&target.join("memory/index.db"))), NONE);

    let (target, output) = orphan.restore("from its dump", &["--sql-only", "--only", "memory/index.db"]);
    output.ok();
    assert_eq!(files(&target), ["memory/index.db"]);
    assert_eq!(row_differences(&saved, &rows(&target.join("memory/index.db"))), NONE);

    let (target, output) =
        orphan.restore("two things", &["--only", "memory", "--only", "link-inside", "--json"]);
    let told = output.ok().json();
    assert_eq!(told["databases"].as_array().unwrap().len(), 2);
    assert!(target.join("memory/secret.md").is_file() && target.join("memory/vectors.db").is_file());
    assert!(!target.join("src").exists() && !target.join(".git").exists());
    #[cfg(unix)]
    assert_eq!(fs::read_link(target.join("link-inside")).unwrap(), Path::new("docs/guide.md"));

    let (all_from_dumps, output) = orphan.restore("all from dumps", &["--sql-only"]);
    output.ok();
    assert_eq!(row_differences(&saved, &rows(&all_from_dumps.join("memory/index.db"))), NONE);
    assert_eq!(fsck(&all_from_dumps), NONE);

    // What is not in it: said, and nothing left behind.
    let (target, output) = orphan.restore("nothing", &["--only", "no/such/file"]);
    output.code(4).says("--only");
    assert!(!target.exists());
    // Never into something that is there.
    let (_, output) = orphan.restore("whole", &[]);
    output.code(6).says("not empty");
}

#[test]
fn a_dry_run_and_verify_only_write_nothing() {
    let orphan = orphan(true);
    // The first `list` may not change anything either.
    let everything = |orphan: &Orphan| fingerprint(&orphan.sandbox().path("."), true);
    let before = everything(&orphan);
    orphan.run(&["list"]).ok();
    orphan.run(&["show", "latest"]).ok();
    let (target, output) = orphan.restore("never", &["--dry-run", "--json"]);
    let planned = output.ok().json();
    assert!(!target.exists());
    let (_, output) = orphan.restore("never", &["--dry-run", "--only", "docs/guide.md"]);
    assert_eq!(output.ok().stdout, "create docs/guide.md\n");
    let (_, output) = orphan.restore("never", &["--dry-run", "--sql-only"]);
    output.ok();
    assert_eq!(differences(&before, &everything(&orphan)), NONE);
    orphan.run(&["restore", "latest", "--verify-only"]).ok();
    let mut after = everything(&orphan);
    // Its scratch folder came and went.
    if let (Some(old), Some(new)) = (before.get(b"tmp".as_slice()), after.get_mut(b"tmp".as_slice())) {
        new.mtime_ns = old.mtime_ns;
    }
    assert_eq!(differences(&before, &after), NONE);

    // The plan is what then happens.
    let (_, output) = orphan.restore("now", &["--json"]);
    let done = output.ok().json();
    for what in ["links", "git"] {
        assert_eq!(planned[what], done[what], "{what}");
    }
    assert_eq!(planned["databases"], done["databases"]);
    // A plan for a folder that can't be restored into says so.
    let (_, output) = orphan.restore("now", &["--dry-run"]);
    output.code(6).says("not empty");
}

/// A dump carries what the `sqlite3` shell's own leaves out: the settings of the database.
#[test]
fn from_their_dumps_databases_come_back_with_their_settings() {
    let sandbox = Sandbox::new();
    let settings = [
        "page_size = 8192",
        "auto_vacuum = 1",
        "encoding = 'UTF-16le'",
        "user_version = 9",
        "application_id = 77",
    ];
    let set = |path: &Path, mode: &str| {
        let connection = Connection::open(path).unwrap();
        for setting in settings {
            connection.execute_batch(&format!("PRAGMA {setting}")).unwrap();
        }
        connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
        connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    };
    let told = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        let names = settings.map(|setting| setting.split(' ').next().unwrap());
        let ask = |name: &&str| {
            let value = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
            format!("{name} {:?}", connection.query_row(&format!("PRAGMA {name}"), [], value).unwrap())
        };
        names.iter().chain(&["journal_mode"]).map(ask).collect::<Vec<_>>()
    };
    let project = sandbox.project();
    set(&project.join("wal.db"), "wal");
    set(&project.join("rollback.db"), "delete");
    Connection::open(project.join("plain.db")).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    sandbox.run(&["backup"]).ok();
    sandbox.run(&["restore", "latest", "--sql-only", "--to", "../back"]).ok();
    for name in ["wal.db", "rollback.db", "plain.db"] {
        assert_eq!(told(&sandbox.path("back").join(name)), told(&project.join(name)), "{name}");
    }
    assert_ne!(told(&project.join("wal.db")), told(&project.join("rollback.db")));
    assert_ne!(told(&project.join("wal.db")), told(&project.join("plain.db")));
}

/// No git at all: files, databases and history come back all the same, through the library.
#[test]
fn without_any_program_in_path() {
    let orphan = orphan(false);
    assert_eq!(fs::read_dir(&orphan.path).unwrap().count(), 0);
    orphan.run(&["list"]).ok();
    orphan.run(&["show", "latest"]).ok();
    orphan.run(&["verify"]).ok();
    orphan.run(&["verify", "--full-test"]).ok();
    let (target, output) = orphan.restore("recovered", &[]);
    output.ok();
    assert_eq!(fsck(&target), NONE);
    assert_eq!(git(&target, &["stash", "list"]).lines().count(), 2);
    assert_eq!(git(&target, &["rev-list", "--count", "main"]), support::framework::COMMITS.to_string());
    let status = git(&target, &["status", "--porcelain"]);
    for line in [" M README.md", "AM src/staged.py", " D docs/-leading-dash.md", "?? notes/"] {
        assert!(status.lines().any(|l| l == line), "{line}\n{status}");
    }
    assert_eq!(rows(&target.join("memory/index.db"))["learnings"].len(), 1200);
    // A backup made without git comes back just as well.
    let mut command = orphan.sandbox().command_under(&orphan.prefix, &orphan.program);
    let store = orphan.sandbox().path("second store");
    command
        .args(["backup", "--store", store.to_str().unwrap()])
        .current_dir(&target)
        .env("PATH", &orphan.path);
    orphan.sandbox().output(&mut command).ok();
    let again = orphan.sandbox().path("again");
    let arguments =
        ["restore", "latest", "--to", again.to_str().unwrap(), "--store", store.to_str().unwrap()];
    orphan.run(&arguments).ok();
    assert_eq!(fsck(&again), NONE);
    assert_eq!(git(&again, &["for-each-ref"]), git(&target, &["for-each-ref"]));
    assert_eq!(git(&again, &["stash", "list"]), git(&target, &["stash", "list"]));
    assert_eq!(git(&again, &["status", "--porcelain"]), status);
}

/// A shell that stood in the project stands nowhere after the loss.
#[cfg(unix)]
#[test]
fn it_works_in_a_folder_that_is_gone() {
    let orphan = orphan(true);
    let target = orphan.sandbox().path("recovered");
    let run = |words: &str| {
        let script = format!("mkdir -p gone && cd gone && rmdir ../gone && exec \"$0\" {words}");
        let mut command = orphan.sandbox().command("/bin/sh");
        command.args(["-euc", &script]).arg(&orphan.program).current_dir(orphan.sandbox().path("home"));
        orphan.sandbox().output(&mut command)
    };
    run("list").ok();
    run("verify").ok();
    run(&format!("restore latest --to {}", target.display())).ok();
    assert_eq!(fsck(&target), NONE);
    run("restore latest --to recovered-too").code(1).says("recovered-too");
    run("list --store somewhere").code(2).says("current folder");
}

/// Folders that are named from where one stands, and the one where one stands.
#[test]
fn it_restores_into_relative_folders() {
    let orphan = orphan(true);
    let home = orphan.sandbox().path("home");
    let here = orphan.sandbox().path("here");
    fs::create_dir(&here).unwrap();
    orphan.sandbox().run_from(&orphan.program, &home, &["restore", "latest", "--to", "new/folder"]).ok();
    orphan.sandbox().run_from(&orphan.program, &here, &["restore", "latest", "--to", "."]).ok();
    for folder in [home.join("new/folder"), here] {
        assert_eq!(fsck(&folder), NONE);
        assert!(folder.join("memory/index.db").is_file());
    }
}

/// What can run programs comes back only when that is asked for.
#[cfg(unix)]
#[test]
fn hooks_and_settings_that_run_programs_wait_to_be_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let framework = Framework::new();
    let project = framework.project();
    let hook = project.join(".git/hooks/pre-commit");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, value) in [
        ("alias.again", "!touch ran"),
        ("core.fsmonitor", "touch ran"),
        ("core.hooksPath", "elsewhere"),
        ("user.name", "Somebody Else"),
        ("branch.main.remote", "origin"),
    ] {
        git(&project, &["config", name, value]);
    }
    framework.sandbox.run(&["backup"]).ok();
    let orphan = lost(framework, true);
    let (target, output) = orphan.restore("without", &["--json"]);
    let named = output.ok().json()["not_applied"].clone();
    let setting = |folder: &Path, name: &str| support::compare::ask_git(folder, &["config", "--local", name]);
    for name in ["alias.again", "core.fsmonitor", "core.hookspath"] {
        assert!(named.as_array().unwrap().iter().any(|what| *what == format!("config {name}")), "{named}");
        assert_eq!(setting(&target, name), None, "{name}");
    }
    assert!(!target.join(".git/hooks/pre-commit").exists());
    assert_eq!(setting(&target, "user.name").unwrap(), "Somebody Else\n");
    assert_eq!(setting(&target, "branch.main.remote").unwrap(), "origin\n");
    assert!(setting(&target, "remote.origin.url").unwrap().contains("example.invalid"));

    let (target, output) = orphan.restore("with", &["--with-code", "--json"]);
    assert_eq!(output.ok().json()["not_applied"].as_array().unwrap().len(), 0);
    assert_eq!(setting(&target, "alias.again").unwrap(), "!touch ran\n");
    let hook = target.join(".git/hooks/pre-commit");
    assert_eq!(fs::metadata(hook).unwrap().permissions().mode() & 0o700, 0o700);
}

/// Names that a shell, a glob or an option would take for something else.
#[cfg(target_os = "linux")]
#[test]
fn one_file_with_a_hard_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let framework = Framework::new();
    let names: [&[u8]; 9] = [
        b"notes/[ab].md",
        b"notes/caf\xe9",
        b"notes/a\nb",
        b"-dash",
        b"notes/ space at both ends ",
        b"#hash",
        b"!bang",
        b"notes/back\\slash",
        b"notes/{a,b}",
    ];
    for name in names {
        fs::write(framework.project().join(OsStr::from_bytes(name)), name).unwrap();
    }
    framework.sandbox.run(&["backup"]).ok();
    let orphan = lost(framework, true);
    for (number, name) in names.iter().enumerate() {
        let target = orphan.sandbox().path(format!("hard {number}"));
        let only = OsStr::from_bytes(&[b"--only=".as_slice(), name].concat()).to_owned();
        let words = ["restore", "latest", "--to", target.to_str().unwrap()].map(OsString::from);
        let words: Vec<OsString> = words.into_iter().chain([only]).collect();
        orphan.sandbox().run_from(&orphan.program, &orphan.sandbox().path("home"), &words).ok();
        let found = fingerprint(&target, false);
        let found: Vec<_> = found.iter().filter(|(_, entry)| entry.kind == "file").map(|(n, _)| n).collect();
        assert_eq!(found, [&name.to_vec()]);
        assert_eq!(fs::read(target.join(OsStr::from_bytes(name))).unwrap(), *name);
    }
}

/// The files of the loss belonged to somebody whom this machine does not know.
#[cfg(target_os = "linux")]
#[test]
fn files_of_an_unknown_owner_come_back() {
    use std::os::unix::fs::{MetadataExt, lchown};
    let framework = Framework::new();
    let path = framework.project().join("docs/guide.md");
    if lchown(&path, Some(12345), Some(12345)).is_err() {
        return system::skip("only root can give files away");
    }
    framework.sandbox.run(&["backup"]).ok();
    let orphan = lost(framework, true);
    let (target, output) = orphan.restore("recovered", &[]);
    let output = output.ok();
    let back = fs::metadata(target.join("docs/guide.md")).unwrap();
    // Where the network was taken away, every other user was, too.
    let kept = if orphan.prefix.is_empty() { 12345 } else { fs::metadata(&target).unwrap().uid() };
    assert_eq!(
        output.stderr.contains("their owner is not known here: 1"),
        kept != 12345,
        "{}",
        output.stderr
    );
    assert_eq!((back.uid(), fs::read(target.join("docs/guide.md")).unwrap()), (kept, b"guide\n".to_vec()));
}

/// The store may lie elsewhere by then: on another disk, copied by hand, under another name.
#[test]
fn a_copied_store_uses_itself() {
    let mut orphan = orphan(true);
    let elsewhere = orphan.sandbox().path("usb stick");
    fs::rename(orphan.sandbox().store(), &elsewhere).unwrap();
    orphan.program = elsewhere.join("bin").join(orphan.program.file_name().unwrap());
    let list = orphan.run(&["list", "--json"]).ok().json();
    assert_eq!(list["store"], elsewhere.canonicalize().unwrap().to_str().unwrap());
    orphan.run(&["verify"]).ok();
    let (target, output) = orphan.restore("recovered", &[]);
    output.ok();
    assert_eq!(fsck(&target), NONE);
    // Without its store.json it is still read when it is named.
    fs::remove_file(elsewhere.join("store.json")).unwrap();
    orphan.run(&["verify", "--store", elsewhere.to_str().unwrap()]).ok();
}

#[test]
fn a_fresh_clone_finds_the_store_of_the_lost_copy() {
    let framework = Framework::new();
    let sandbox = &framework.sandbox;
    let origin = sandbox.path("origin.git");
    git(&framework.project(), &["clone", "-q", "--bare", ".", origin.to_str().unwrap()]);
    let first = sandbox.run(&["backup", "--json"]).ok().json();
    let mut framework = framework;
    framework.release();
    let sandbox = &framework.sandbox;
    sandbox.lose_the_project();
    let store = sandbox.store();
    let shown = store.canonicalize().unwrap();
    let shown = shown.to_str().unwrap();
    let before = fingerprint(&store, true);

    let clone = sandbox.path("clone");
    git(&sandbox.path("."), &["clone", "-q", origin.to_str().unwrap(), "clone"]);
    let run = |arguments: &[&str]| sandbox.run_from(support::binary(), &clone, arguments);
    // Never a silent pick: it is named, and how to use it.
    run(&["list"]).code(4).says(shown).says("--store").says("restore latest --to DIR");
    run(&["verify"]).code(4).says(shown);
    run(&["restore", "latest", "--to", sandbox.path("x").to_str().unwrap()]).code(4).says(shown);
    let error = run(&["list", "--json"]).code(4).json();
    assert!(error.to_string().contains(shown), "{error}");

    // Reading it is fine, and it is said whose it is.
    run(&["list", "--store", shown]).ok().says("another working copy");
    run(&["show", "latest", "--store", shown]).ok();
    let target = sandbox.path("recovered");
    run(&["restore", "latest", "--to", target.to_str().unwrap(), "--store", shown]).ok();
    assert_eq!(fsck(&target), NONE);
    run(&["restore", "latest", "--to", target.to_str().unwrap(), "--store", shown]).code(6);

    // Writing into it is not.
    run(&["backup", "--store", shown]).code(6).says("another copy of this project").says("--adopt");
    let mut now = fingerprint(&store, true);
    // A lock may come and go, and leave its file; a restore leaves a line.
    let mut then = before.clone();
    for file in [b".lock".as_slice(), b"history.jsonl"] {
        now.remove(file);
        then.remove(file);
    }
    assert_eq!(differences(&then, &now), NONE);
    // Whatever its name: the executable in the store does not write there for another copy either.
    sandbox.run_from(&sandbox.stored_program(), &clone, &["backup"]).code(6).says("--adopt");

    // Until the clone takes it over.
    let second = run(&["backup", "--store", shown, "--adopt", "--json"]).ok().json();
    assert_ne!(first["id"], second["id"]);
    let list = run(&["list", "--store", shown, "--json"]).ok();
    assert!(!list.stderr.contains("another working copy"), "{}", list.stderr);
    assert_eq!(list.json()["backups"].as_array().unwrap().len(), 2);
    run(&["backup", "--store", shown]).ok();
    run(&["verify", "all", "--store", shown]).ok();

    // A project that has nothing to do with it is refused too, and is not shown it.
    let stranger = sandbox.path("stranger");
    fs::create_dir(&stranger).unwrap();
    git(&stranger, &["init", "-q"]);
    write(&stranger, "file", "of another project\n");
    git(&stranger, &["add", "-A"]);
    git(&stranger, &["commit", "-q", "-m", "Another project"]);
    let other = |arguments: &[&str]| sandbox.run_from(support::binary(), &stranger, arguments);
    let list = other(&["list"]).code(4);
    assert!(!list.stderr.contains(shown), "{}", list.stderr);
    other(&["backup", "--store", shown]).code(6).says("another project");
}

/// A database that is damaged in the project does not stop the rest from coming back.
#[test]
fn a_database_that_sqlite_cannot_open_comes_back_as_it_was() {
    let framework = Framework::at_rest();
    fs::write(
        framework.memory().join("broken.db"),
        [b"SQLite format 3\0".as_slice(), &[0xaa; 4000]].concat(),
    )
    .unwrap();
    framework.sandbox.run(&["backup"]).code(3).says("memory/broken.db");
    let orphan = lost(framework, true);
    let id = orphan.run(&["list", "--json"]).json()["backups"][0]["id"].as_str().unwrap().to_owned();
    let target = orphan.sandbox().path("recovered");
    orphan.run(&["restore", &id, "--to", target.to_str().unwrap()]).code(3).says("memory/broken.db");
    let back = fs::read(target.join("memory/broken.db")).unwrap();
    assert_eq!(back, [b"SQLite format 3\0".as_slice(), &[0xaa; 4000]].concat());
    let sound = Connection::open(target.join("memory/index.db")).unwrap();
    let rows: i64 = sound.query_row("SELECT count(*) FROM learnings", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1000);
    assert_eq!(fsck(&target), NONE);
}

/// What was private in a folder must not become public because only one file of it was asked for.
#[cfg(unix)]
#[test]
fn folders_above_what_was_asked_for_have_their_modes() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    support::framework::write(&project, "memory/deep/note.md", "note\n");
    support::framework::write(&project, "memory/deep/other.md", "other\n");
    rusqlite::Connection::open(project.join("memory/deep/index.db"))
        .and_then(|connection| connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)"))
        .unwrap();
    let modes = [("memory", 0o711), ("memory/deep", 0o750)];
    for (folder, mode) in modes {
        fs::set_permissions(project.join(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    sandbox.run(&["backup"]).ok();
    for (n, more) in [
        &["--only", "memory/deep/note.md"][..],
        &["--only", "memory/deep/n*.md"],
        &["--only", "memory/deep"],
        &["--only", "memory/deep/index.db"],
        &["--only", "memory/deep/index.db", "--sql-only"],
    ]
    .iter()
    .enumerate()
    {
        let to = sandbox.path(format!("to {n}"));
        sandbox.run(&[&["restore", "latest", "--to", to.to_str().unwrap()], *more].concat()).ok();
        for (folder, mode) in modes {
            let found = fs::metadata(to.join(folder)).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, mode, "{folder} after {more:?}: {found:o}");
        }
    }
}

#[test]
fn the_newest_backup_is_listed_first() {
    let sandbox = Sandbox::new();
    support::framework::write(&sandbox.project(), "a.txt", "a\n");
    let mut ids: Vec<String> = (0..3)
        .map(|_| sandbox.run(&["backup", "--json"]).ok().json()["id"].as_str().unwrap().to_owned())
        .collect();
    ids.reverse();
    let listed = sandbox.run(&["list", "--json"]).ok().json();
    let named: Vec<&str> =
        listed["backups"].as_array().unwrap().iter().map(|b| b["id"].as_str().unwrap()).collect();
    assert_eq!(named, ids);
    let list = sandbox.run(&["list"]).ok().stdout;
    let lines: Vec<&str> = list.lines().skip(1).collect();
    assert!(lines.iter().zip(&ids).all(|(line, id)| line.starts_with(id.as_str())), "{list}");
    // One is one.
    let show = sandbox.run(&["show", "latest"]).ok().stdout;
    assert!(show.contains(": every byte") && !show.contains("level"), "{show}");
}

/// Where cargo is gone, a command that is shown must not begin with it.
#[test]
fn what_the_stored_program_tells_to_type_can_be_typed() {
    let framework = Framework::at_rest();
    let sandbox = &framework.sandbox;
    sandbox.run(&["backup"]).ok();
    let stored = sandbox.stored_program();
    let path = stored.to_str().unwrap().to_owned();
    let project = framework.project();
    let run = |arguments: &[&str]| sandbox.run_from(&stored, &project, arguments);
    write(&project, "README.md", "changed\n");
    let output = run(&["restore", "latest", "--force"]).ok();
    assert_eq!(output.stdout.lines().last().unwrap(), format!("{path} undo"));
    let last = output.stdout.lines().last().unwrap().to_owned() + " --force";
    sandbox.shell_under(&[], &last).ok();
    assert_eq!(fs::read_to_string(project.join("README.md")).unwrap(), "changed\n");
    for output in [run(&["help"]), run(&["restor"]), run(&["show", "unknown"]), run(&["undo"])] {
        assert!(
            !output.stdout.contains("cargo xtask") && !output.stderr.contains("cargo xtask"),
            "{output:?}"
        );
        assert!(output.stdout.contains(&path) || output.stderr.contains(&path), "{output:?}");
    }
}
