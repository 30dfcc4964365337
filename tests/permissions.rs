//! Folders and files that may not be read or written, seen as somebody else than root: root may do
//! everything, so as root these tests would prove nothing.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;
use support::framework::write;
use support::{Output, Sandbox, git, system, tree};

struct Case {
    sandbox: Sandbox,
    prefix: Vec<OsString>,
}

impl Case {
    /// A small project with history and two databases, that belongs to somebody without rights.
    fn new() -> Option<Case> {
        let sandbox = Sandbox::new();
        let project = sandbox.project();
        git(&project, &["init", "-q", "-b", "main"]);
        write(&project, ".gitignore", "/memory/*\n");
        write(&project, "docs/open.md", "open\n");
        write(&project, "docs/secret.md", "secret\n");
        write(&project, "closed/inside.md", "inside\n");
        git(&project, &["add", "-A"]);
        git(&project, &["commit", "-q", "-m", "One"]);
        for name in ["memory/index.db", "memory/vectors.db"] {
            std::fs::create_dir_all(project.join("memory")).unwrap();
            let connection = Connection::open(project.join(name)).unwrap();
            connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)").unwrap();
        }
        let prefix = sandbox.unprivileged()?;
        Some(Case { sandbox, prefix })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.sandbox.run_under(&self.prefix, arguments)
    }

    fn shell(&self, script: &str) -> Output {
        self.sandbox.shell_under(&self.prefix, script)
    }

    fn project(&self) -> PathBuf {
        self.sandbox.project()
    }

    fn store(&self) -> PathBuf {
        let base = self.sandbox.data().join("xtask-backup");
        std::fs::read_dir(base).unwrap().next().unwrap().unwrap().path()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        // What may not be entered can't be removed either, where the tests do not run as root.
        open_up(&self.sandbox.path(""));
    }
}

fn open_up(folder: &Path) {
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The problems of a document, as `code path`.
fn problems(document: &Value) -> Vec<String> {
    let mut found: Vec<String> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["level"] == "problem")
        .map(|f| format!("{} {}", f["code"].as_str().unwrap(), f["path"].as_str().unwrap_or("-")))
        .collect();
    found.sort();
    found
}

#[test]
fn what_is_in_a_store_is_its_owners_alone() {
    let Some(case) = Case::new() else { return };
    case.shell("umask 022; \"$XTASK\" backup; \"$XTASK\" verify; \"$XTASK\" list").ok();
    case.shell("umask 000; \"$XTASK\" backup; \"$XTASK\" verify").ok();
    let base = case.sandbox.data().join("xtask-backup");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&base), 0o700);
    let found = tree::fingerprint(&base, false);
    assert!(found.keys().any(|name| name.ends_with(b".tar.gz")) && found.len() > 8);
    for (name, entry) in found {
        let name = String::from_utf8_lossy(&name).into_owned();
        let wanted = if entry.kind == "dir" || name.ends_with("/bin/xtask") { 0o700 } else { 0o600 };
        assert_eq!(entry.mode, wanted, "{name}");
    }
    // And what comes back has the modes it had, whatever the umask.
    case.shell("umask 077; \"$XTASK\" restore latest --to ../back").ok();
    let (before, after) =
        (tree::fingerprint(&case.project(), false), tree::fingerprint(&case.sandbox.path("back"), false));
    for name in ["docs", "docs/open.md", "memory/index.db"] {
        assert_eq!(before[name.as_bytes()].mode, after[name.as_bytes()].mode, "{name}");
    }
}

#[test]
fn a_store_that_may_only_be_read_gives_everything_back() {
    let Some(case) = Case::new() else { return };
    case.run(&["backup", "--label", "first"]).ok();
    let store = case.store();
    case.shell("chmod -R a-w \"$XDG_DATA_HOME\"/xtask-backup/*").ok();
    let before = tree::fingerprint(&store, true);
    case.run(&["list"]).ok();
    case.run(&["show", "first"]).ok();
    let verified = case.run(&["verify", "--json"]).ok().says("can't write into the store");
    assert_eq!(verified.json()["ok"], true);
    case.run(&["verify", "all", "--full-test"]).ok();
    case.run(&["restore", "latest", "--verify-only"]).ok();
    case.run(&["restore", "latest", "--to", "../back"]).ok();
    assert_eq!(std::fs::read(case.sandbox.path("back/docs/secret.md")).unwrap(), b"secret\n");
    let failed = case.run(&["backup"]).code(1);
    failed.clone().says(store.to_str().unwrap()).says("Permission denied").says("hint: ");
    let new = store.join("sub");
    case.run(&["backup", "--store", new.to_str().unwrap()])
        .code(1)
        .says(new.to_str().unwrap())
        .says("hint: ");
    assert_eq!(tree::differences(&before, &tree::fingerprint(&store, true)), Vec::<String>::new());
}

#[test]
fn a_store_that_may_not_be_entered_is_an_error_and_not_an_empty_one() {
    let Some(case) = Case::new() else { return };
    case.run(&["backup"]).ok();
    let store = case.store();
    chmod(&store, 0);
    for words in
        [["list", "--quiet"].as_slice(), &["verify"], &["backup"], &["restore", "latest", "--to", "../back"]]
    {
        let output = case.run(words).code(1);
        output.says(store.to_str().unwrap()).says("Permission denied").says("hint: is its disk connected");
    }
    chmod(&store, 0o700);
    // Unreadable archives are not damaged ones: nothing is known of them.
    case.shell("chmod 000 \"$XDG_DATA_HOME\"/xtask-backup/*/*.tar.gz").ok();
    case.run(&["verify"]).code(1).says("can't tell whether backup").says("Permission denied").says("hint: ");
    case.run(&["restore", "latest", "--to", "../back"]).code(1).says("Permission denied").says("hint: ");
    case.run(&["restore", "latest", "--verify-only"]).code(1).says("can't tell whether backup");
    case.run(&["show", "latest"]).code(1).says("Permission denied");
    assert!(!case.sandbox.path("back").exists());
    case.shell("chmod 600 \"$XDG_DATA_HOME\"/xtask-backup/*/*.tar.gz").ok();
    assert_eq!(case.run(&["verify", "--json"]).ok().json()["ok"], true);

    // One that can't be read does not keep the others from being checked.
    let archive = |output: &Output| PathBuf::from(output.json()["archive"].as_str().unwrap());
    let second = archive(&case.run(&["backup", "--json"]).ok());
    let third = archive(&case.run(&["backup", "--json"]).ok());
    chmod(&second, 0);
    let id = |path: &Path| path.file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz").to_owned();
    let output = case.run(&["verify", "all"]).code(3);
    assert!(output.stdout.contains(&format!("{}: not checked", id(&second))), "{output:?}");
    assert!(output.stdout.contains(&format!("{}: good", id(&third))), "{output:?}");
    output.says(&format!("can't tell whether backup {} is good", id(&second))).says("hint: give yourself");
    let told = case.run(&["verify", "all", "--json"]).code(3).json();
    assert_eq!((told["backups"].as_array().unwrap().len(), &told["ok"]), (3, &false.into()));
}

#[test]
fn what_can_not_be_read_is_named_and_the_rest_is_saved() {
    let Some(case) = Case::new() else { return };
    let project = case.project();
    for path in ["docs/secret.md", "closed", "memory/vectors.db"] {
        chmod(&project.join(path), 0);
    }
    let output = case.run(&["backup", "--json"]).code(3);
    let document = output.json();
    assert_eq!(
        problems(&document),
        ["unreadable closed", "unreadable docs/secret.md", "unreadable memory/vectors.db"]
    );
    let output = output.says("docs/secret.md can't be read: Permission denied").says("hint: ");
    assert!(output.stderr.contains("not everything is protected"), "{}", output.stderr);
    // An archive with a problem is good for what is in it.
    case.run(&["verify", "--full-test"]).ok();
    case.run(&["restore", "latest", "--to", "../back"]).ok();
    assert!(case.sandbox.path("back/memory/index.db").exists());
    assert!(case.sandbox.path("back/docs/open.md").exists());
    assert!(!case.sandbox.path("back/memory/vectors.db").exists());
    assert!(!case.sandbox.path("back/docs/secret.md").exists());
    // They are in git's history, and so can be had from there.
    let back = case.sandbox.path("back");
    assert_eq!(git(&back, &["show", "HEAD:docs/secret.md"]), "secret");
    assert_eq!(git(&back, &["show", "HEAD:closed/inside.md"]), "inside");
}

#[test]
fn a_configured_database_that_can_not_be_read_does_not_cost_the_others() {
    let Some(case) = Case::new() else { return };
    let list = "[workspace]\n[workspace.metadata.backup]\ndatabases = [\"memory/index.db\", \"memory/vectors.db\"]\n";
    write(&case.project(), "Cargo.toml", list);
    chmod(&case.project().join("Cargo.toml"), 0o644);
    chmod(&case.project().join("memory/vectors.db"), 0);
    let output = case.run(&["backup", "--json"]).code(3);
    assert_eq!(problems(&output.json()), ["unreadable memory/vectors.db"]);
    let output = output.says("memory/vectors.db can't be read and is not in the backup").says("hint: ");
    assert_eq!(output.json()["manifest"]["databases"].as_array().unwrap().len(), 1);
    case.run(&["verify", "--full-test"]).ok();
    // The configuration itself.
    chmod(&case.project().join("Cargo.toml"), 0);
    let shown = case.project().join("Cargo.toml");
    case.run(&["backup"]).code(2).says(shown.to_str().unwrap()).says("Permission denied");
}

#[test]
fn databases_that_may_only_be_read_are_saved() {
    let Some(case) = Case::new() else { return };
    let memory = case.project().join("memory");
    for name in ["index.db", "vectors.db"] {
        let connection = Connection::open(memory.join(name)).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; INSERT INTO t VALUES (3)").unwrap();
        drop(connection);
        chmod(&memory.join(name), 0o444);
    }
    chmod(&memory, 0o555);
    let before = tree::fingerprint(&memory, true);
    let output = case.run(&["backup", "--json"]).code(3);
    let document = output.json();
    // Two that can't be locked are perhaps not of one instant.
    assert_eq!(problems(&document), ["not-one-instant -"]);
    let output = output.says("can't be had without the right to write").says("hint: ");
    assert!(!output.stderr.contains("within"), "nobody waited: {}", output.stderr);
    let databases = document["manifest"]["databases"].as_array().unwrap();
    assert_eq!(databases.len(), 2);
    for database in databases {
        assert_eq!(
            (&database["form"], &database["facts"]["tables"][0]["rows"]),
            (&"image".into(), &3.into())
        );
    }
    assert_eq!(tree::differences(&before, &tree::fingerprint(&memory, true)), Vec::<String>::new());
    case.run(&["verify", "--full-test"]).ok();
}

#[test]
fn a_target_that_may_not_be_written() {
    let Some(case) = Case::new() else { return };
    case.run(&["backup"]).ok();
    let target = case.sandbox.path("target");
    std::fs::create_dir(&target).unwrap();
    case.sandbox.unprivileged();
    chmod(&target, 0o555);
    for to in ["../target", "../target/new", "../target/new/deeper"] {
        let output = case.run(&["restore", "latest", "--to", to]).code(1);
        output.says("target").says("Permission denied").says("hint: name a folder that you may write in");
    }
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
}

/// git refuses a repository that belongs to somebody else. Files and databases are saved all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_repository_of_somebody_else() {
    let Some(case) = Case::new() else { return };
    if case.prefix.is_empty() {
        return system::skip("only root can make files that belong to somebody else");
    }
    let own = |path: &Path| std::os::unix::fs::lchown(path, Some(0), Some(0)).unwrap();
    let project = case.project();
    own(&project);
    for name in tree::fingerprint(&project, false).keys() {
        use std::os::unix::ffi::OsStrExt;
        let path = project.join(std::ffi::OsStr::from_bytes(name));
        own(&path);
    }
    let line = format!("git config --global --add safe.directory {}", project.display());
    for path in ["", "/nonexistent"] {
        let mut command = case.sandbox.command_under(&case.prefix, case.sandbox.program());
        if !path.is_empty() {
            // Without the git command libgit2 refuses.
            let Some(setpriv) = find("setpriv") else { return system::skip("no setpriv") };
            let mut words = case.prefix.clone();
            words[0] = setpriv.into();
            command = case.sandbox.command_under(&words, case.sandbox.program());
            command.env("PATH", path);
        }
        let output = command.args(["backup", "--json"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("the history is not saved") && stderr.contains("hint: "), "{stderr}");
        let quoted = line.replace(" /", " '/") + "'";
        assert!(stderr.contains(&line) || stderr.contains(&quoted), "{stderr}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(problems(&document).contains(&"git-refused -".to_owned()), "{document}");
        assert_eq!(document["manifest"]["databases"].as_array().unwrap().len(), 2);
        assert!(document["manifest"]["git"].is_null());
    }
    // And doing what the hint says helps.
    case.shell(&line).ok();
    let document = case.run(&["backup", "--json"]).code(3).json();
    assert_eq!(problems(&document), ["not-one-instant -"], "the databases belong to somebody else, too");
    assert!(document["manifest"]["git"]["commit"].is_string());
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A git folder that can't be read must not pass for a project without git.
#[test]
fn a_git_folder_that_can_not_be_read_is_a_problem() {
    let Some(case) = Case::new() else { return };
    for (path, mode) in
        [(".git", 0o000), (".git/objects", 0o000), (".git/HEAD", 0o000), (".git/index", 0o000)]
    {
        let path = case.project().join(path);
        let before = std::fs::metadata(&path).unwrap().permissions();
        chmod(&path, mode);
        let output = case.run(&["backup", "--json"]).code(3);
        let document = output.json();
        let told = problems(&document);
        assert!(told.iter().any(|problem| problem.starts_with("git-")), "{}: {told:?}", path.display());
        assert_eq!(document["manifest"]["databases"].as_array().unwrap().len(), 2);
        std::fs::set_permissions(&path, before).unwrap();
    }
    case.run(&["backup"]).ok();
}
