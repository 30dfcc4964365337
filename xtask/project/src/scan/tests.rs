//! The scan on real folders. Git is played by rules on names: what starts with `t` is tracked, what starts
//! with `i` (or lies in a folder that does) is ignored.

use super::*;
use crate::config::Config;
use std::fs;
use std::path::Path;

const DATABASE: &[u8] = b"SQLite format 3\0and more";

struct Sandbox {
    _base: tempfile::TempDir,
    project: Project,
}

fn sandbox() -> Sandbox {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().canonicalize().unwrap().join("project");
    fs::create_dir(&root).unwrap();
    Sandbox { _base: base, project: Project::with_config(root, Config::default()) }
}

impl Sandbox {
    fn root(&self) -> &Path {
        &self.project.root
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Sandbox {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn config(&mut self, lines: &str) -> &mut Sandbox {
        fs::write(self.root().join("Cargo.toml"), format!("[workspace.metadata.backup]\n{lines}\n")).unwrap();
        self.project.config = Config::load(self.root()).unwrap();
        fs::remove_file(self.root().join("Cargo.toml")).unwrap();
        self
    }

    fn scan_skipping(&self, skip: &[PathBuf]) -> Scan {
        let class = |path: &[u8], _folder: bool| {
            let mut parts = path.split(|&b| b == b'/');
            match path.rsplit(|&b| b == b'/').next().and_then(<[u8]>::first) {
                Some(b't') => Class::Tracked,
                _ if parts.any(|part| part.starts_with(b"i")) => Class::Ignored,
                _ => Class::Untracked,
            }
        };
        let root = self.root().to_path_buf();
        let tracked_below = move |folder: &[u8]| {
            let mut waiting = vec![SafePath::new(folder).unwrap().below(&root).unwrap()];
            while let Some(folder) = waiting.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_type().unwrap().is_dir() {
                        waiting.push(entry.path());
                    } else if entry.file_name().to_string_lossy().starts_with('t') {
                        return true;
                    }
                }
            }
            false
        };
        scan(&self.project, &class, &tracked_below, &|_, _| false, skip, &BTreeSet::new()).unwrap()
    }

    fn scan(&self) -> Scan {
        self.scan_skipping(&[])
    }
}

fn paths(scan: &Scan) -> Vec<String> {
    scan.entries.iter().map(|entry| entry.path.to_string()).collect()
}

fn databases(scan: &Scan) -> Vec<String> {
    scan.databases.iter().map(ToString::to_string).collect()
}

fn codes(scan: &Scan) -> Vec<&str> {
    scan.findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn left_out(scan: &Scan) -> Vec<(String, String, u64, u64)> {
    scan.left_out.iter().map(|l| (l.reason.clone(), l.path.to_string(), l.files, l.bytes)).collect()
}

fn line(reason: &str, path: &str, files: u64, bytes: u64) -> (String, String, u64, u64) {
    (reason.to_owned(), path.to_owned(), files, bytes)
}

#[test]
fn files_folders_and_databases_are_found_and_side_files_left_to_sqlite() {
    let sandbox = sandbox();
    sandbox
        .file("memory/index.db", DATABASE)
        .file("memory/index.db-wal", "w")
        .file("memory/index.db-shm", "s")
        .file("memory/index.db-journal", "j")
        .file("ignored/notes/vectors", DATABASE)
        .file("ordinary-wal", "no database beside it")
        .file("a/b", "1")
        .file("a-b", "2")
        .file(".git/HEAD", "ref")
        .file(".xtask-restore/x", "staged")
        .file("empty.db", "")
        .file("deep/.xtask-restore", "only the one at the top is ours");
    fs::create_dir(sandbox.root().join("empty")).unwrap();
    let scan = sandbox.scan();
    assert_eq!(databases(&scan), ["ignored/notes/vectors", "memory/index.db"]);
    assert_eq!(
        paths(&scan),
        [
            "a",
            "a-b",
            "a/b",
            "deep",
            "deep/.xtask-restore",
            "empty",
            "empty.db",
            "ignored",
            "ignored/notes",
            "memory",
            "ordinary-wal"
        ]
    );
    let sidecar = SafePath::new("memory/index.db-wal").unwrap();
    assert!(scan.sidecars.contains(&sidecar) && scan.sidecars.len() == 6);
    assert_eq!(codes(&scan), Vec::<&str>::new());
    assert_eq!(left_out(&scan), []);
    let class = |path: &str| scan.entries.iter().find(|e| e.path.to_string() == path).unwrap().class;
    assert_eq!((class("ignored/notes"), class("a/b")), (Class::Ignored, Class::Untracked));
}

#[cfg(unix)]
#[test]
fn links_stay_links_and_special_files_are_named() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sandbox = sandbox();
    sandbox.file("index.db", DATABASE).file("run", "#!");
    symlink("index.db", sandbox.root().join("link.db")).unwrap();
    symlink("/nowhere/at/all", sandbox.root().join("dangling")).unwrap();
    symlink("..", sandbox.root().join("up")).unwrap();
    fs::set_permissions(sandbox.root().join("run"), fs::Permissions::from_mode(0o4751)).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(sandbox.root().join("socket")).unwrap();
    let scan = sandbox.scan();
    drop(socket);
    assert_eq!(databases(&scan), ["index.db"]);
    let target = |path: &str| scan.entries.iter().find(|e| e.path.to_string() == path).unwrap().kind.clone();
    assert_eq!(target("link.db"), EntryKind::Link { target: b"index.db".to_vec() });
    assert_eq!(target("dangling"), EntryKind::Link { target: b"/nowhere/at/all".to_vec() });
    assert_eq!(target("up"), EntryKind::Link { target: b"..".to_vec() });
    let run = scan.entries.iter().find(|e| e.path.bytes() == b"run").unwrap();
    assert_eq!((run.attributes.mode, run.identity.size), (0o4751, 2));
    assert_eq!(left_out(&scan), [line("special", "socket", 1, 0)]);
    assert_eq!(codes(&scan), ["special-file"]);
    assert!(!scan.findings[0].is_problem());
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_kept() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = sandbox();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9\n");
    fs::write(sandbox.root().join(name), "x").unwrap();
    assert_eq!(sandbox.scan().entries[0].path.bytes(), b"caf\xe9\n");
}

#[test]
fn caches_are_left_out_but_for_what_git_tracks_in_them() {
    let sandbox = sandbox();
    sandbox
        .file("index.db", DATABASE)
        .file("a/node_modules/x/y.js", "12345")
        .file("a/node_modules/cached.db", DATABASE)
        .file("target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55")
        .file("__pycache__/tracked", "t")
        .file("__pycache__/other", "1234")
        .file("__pycache__/sub/other", "1")
        .file("__pycache__/deep/tracked.db", DATABASE)
        .file("__pycache__/hollow/tracked-dir-only/other", "1");
    let scan = sandbox.scan();
    assert_eq!(databases(&scan), ["__pycache__/deep/tracked.db", "index.db"]);
    assert_eq!(paths(&scan), ["__pycache__", "__pycache__/deep", "__pycache__/tracked", "a"]);
    assert_eq!(
        left_out(&scan),
        [
            line("cache", "__pycache__", 3, 6),
            line("cache", "a/node_modules", 2, 5 + DATABASE.len() as u64),
            line("cache", "target", 1, 43),
        ]
    );
    assert_eq!(codes(&scan), Vec::<&str>::new());
}

#[test]
fn nested_repositories_are_a_problem_and_their_files_are_taken() {
    let sandbox = sandbox();
    sandbox
        .file("x.db", DATABASE)
        .file("sub/.git/HEAD", "x")
        .file("sub/code", "y")
        .file("mod/.git", "gitdir: …");
    let scan = sandbox.scan();
    assert_eq!(paths(&scan), ["mod", "sub", "sub/code"]);
    assert_eq!(left_out(&scan), [line("nested-git", "mod/.git", 0, 0), line("nested-git", "sub/.git", 0, 0)]);
    assert_eq!(codes(&scan), ["nested-git", "nested-git"]);
    assert!(scan.findings[0].is_problem());
}

#[test]
fn the_store_inside_the_project_is_left_out() {
    let sandbox = sandbox();
    sandbox.file("x.db", DATABASE).file("backups/store.json", "{}");
    let scan = sandbox.scan_skipping(&[sandbox.root().join("backups"), "/not/there".into()]);
    assert_eq!(paths(&scan), Vec::<String>::new());
    assert_eq!(left_out(&scan), [line("store", "backups", 0, 0)]);
    assert_eq!(codes(&scan), ["store-in-project"]);
    let whole = super::scan(
        &sandbox.project,
        &|_, _| Class::Untracked,
        &|_| false,
        &|_, _| false,
        &[sandbox.root().to_path_buf()],
        &BTreeSet::new(),
    );
    assert!(whole.is_err(), "a project that is its own store");
}

#[test]
fn exclusions_are_grouped_and_never_silent_about_what_matters() {
    let mut sandbox = sandbox();
    sandbox.config(r#"exclude = ["*.log", "out/", "old.db"]"#);
    sandbox
        .file("x.db", DATABASE)
        .file("logs/1.log", "1")
        .file("logs/2.log", "12")
        .file("other/one.log", "1")
        .file("tracked.log", "123")
        .file("out/deep/hidden.db", DATABASE)
        .file("out/tracked", "t")
        .file("old.db", DATABASE)
        .file("old.db-wal", "w");
    let scan = sandbox.scan();
    assert_eq!(databases(&scan), ["x.db"]);
    assert_eq!(paths(&scan), ["logs", "other"]);
    let size = DATABASE.len() as u64;
    assert_eq!(
        left_out(&scan),
        [
            line("excluded", "logs", 2, 3),
            line("excluded", "old.db", 1, size),
            line("excluded", "other/one.log", 1, 1),
            line("excluded", "out", 2, size + 1),
            line("excluded", "tracked.log", 1, 3),
        ]
    );
    let mut found = codes(&scan);
    found.sort_unstable();
    assert_eq!(found, ["excluded-database", "excluded-database", "excluded-tracked"]);
    assert!(scan.findings.iter().all(|finding| !finding.is_problem()));
}

#[test]
fn ignored_files_can_be_left_out_but_no_database_and_nothing_tracked() {
    let mut sandbox = sandbox();
    sandbox.config("ignored = false");
    sandbox
        .file("ignored/a/notes", "1234")
        .file("ignored/a/x.db", DATABASE)
        .file("ignored/a/x.db-wal", "never counted")
        .file("ignored/b/notes", "1")
        .file("ignored/c/tracked", "1")
        .file("i1", "1")
        .file("plain", "1");
    let scan = sandbox.scan();
    assert_eq!(databases(&scan), ["ignored/a/x.db"]);
    assert_eq!(paths(&scan), ["ignored", "ignored/a", "ignored/c", "ignored/c/tracked", "plain"]);
    assert_eq!(left_out(&scan), [line("ignored", "i1", 1, 1), line("ignored", "ignored", 2, 5)]);
}

#[test]
fn large_ignored_files_are_left_out_and_large_others_are_not() {
    let mut sandbox = sandbox();
    sandbox.config("max-ignored-size = 10");
    sandbox
        .file("i/large", "12345678901")
        .file("i/small", "1234567890")
        .file("large", "12345678901")
        .file("i/large.db", [DATABASE, DATABASE].concat());
    let scan = sandbox.scan();
    assert_eq!(left_out(&scan), [line("large-ignored", "i/large", 1, 11)]);
    assert_eq!(paths(&scan), ["i", "i/small", "large"]);
    assert_eq!(databases(&scan), ["i/large.db"]);
}

#[test]
fn much_that_is_ignored_is_advice_with_the_largest_folders() {
    let mut sandbox = sandbox();
    sandbox.config("max-ignored-size = '9 TiB'");
    sandbox.file("x.db", DATABASE).file("i/sub/a", "").file("i2/b", "1");
    // A hole costs nothing on disk.
    fs::OpenOptions::new()
        .write(true)
        .open(sandbox.root().join("i/sub/a"))
        .unwrap()
        .set_len((1 << 30) + 7)
        .unwrap();
    let scan = sandbox.scan();
    assert_eq!(codes(&scan), ["much-ignored"]);
    assert!(scan.findings[0].message.contains("most in i 1.0 GiB"), "{}", scan.findings[0].message);
}

#[test]
fn the_list_of_databases_is_exact() {
    let mut sandbox = sandbox();
    sandbox.config(r#"databases = ["a.db", "empty.db", "node_modules/c.db", "gone.db", "folder"]"#);
    sandbox
        .file("a.db", DATABASE)
        .file("empty.db", "")
        .file("empty.db-wal", "all of its rows")
        .file("other.db", DATABASE)
        .file("other.db-wal", "w")
        .file("node_modules/c.db", DATABASE)
        .file("folder/x", "");
    let scan = sandbox.scan();
    assert_eq!(databases(&scan), ["a.db", "empty.db", "node_modules/c.db"]);
    assert_eq!(paths(&scan), ["folder", "folder/x", "node_modules"]);
    let mut found = codes(&scan);
    found.sort_unstable();
    assert_eq!(found, ["database-missing", "database-missing", "database-not-listed"]);
    assert!(scan.findings.iter().all(Finding::is_problem));
}

#[cfg(unix)]
#[test]
fn a_configured_database_is_never_reached_through_a_link() {
    let mut sandbox = sandbox();
    sandbox.config(r#"databases = ["linked/a.db", "link.db"]"#);
    sandbox.file("real/a.db", "").file("x", "");
    std::os::unix::fs::symlink("real", sandbox.root().join("linked")).unwrap();
    std::os::unix::fs::symlink("real/a.db", sandbox.root().join("link.db")).unwrap();
    let scan = sandbox.scan();
    assert_eq!(databases(&scan), Vec::<String>::new());
    assert_eq!(codes(&scan), ["database-missing", "database-missing", "no-database"]);
    assert_eq!(paths(&scan), ["link.db", "linked", "real", "real/a.db", "x"]);
}

#[test]
fn no_database_is_advice() {
    let sandbox = sandbox();
    sandbox.file("x", "");
    let scan = sandbox.scan();
    assert_eq!(codes(&scan), ["no-database"]);
    assert!(!scan.findings[0].is_problem());
}

#[cfg(unix)]
#[test]
fn what_can_not_be_read_is_a_problem_and_the_rest_is_taken() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root can read everything; run the tests as an ordinary user for this one");
        return;
    }
    let sandbox = sandbox();
    sandbox.file("x.db", DATABASE).file("locked/file", "x").file("secret", "x").file("open", "x");
    for path in ["locked", "secret"] {
        fs::set_permissions(sandbox.root().join(path), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let scan = sandbox.scan();
    fs::set_permissions(sandbox.root().join("locked"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(codes(&scan), ["unreadable", "unreadable"]);
    assert!(scan.findings.iter().all(Finding::is_problem));
    assert_eq!(paths(&scan), ["locked", "open"]);
}
