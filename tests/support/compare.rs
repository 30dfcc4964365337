//! What must be the same after a loss: all that git tells of a repository, and every row of a database.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::tree::{self, Fingerprint};
use super::{Output, Sandbox};

/// What a repository says of itself: what was asked → the answer.
pub type Repository = BTreeMap<String, String>;

/// Runs git only to look: nothing is refreshed, no configuration but the folder's own counts. `None` where
/// git fails.
pub fn ask_git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["--no-optional-locks", "-c", "safe.directory=*", "-c", "core.quotePath=true"])
        // Else ids are as short as the number of objects allows.
        .args(["-c", "core.abbrev=40"])
        .args(arguments)
        .current_dir(folder)
        .env("HOME", "/nonexistent")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("TZ", "UTC")
        .output()
        .expect("git starts");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).replace('\0', "\n"))
}

/// Everything that must be the same in a repository that came back: refs, HEAD, reflogs, stash entries with
/// their content, index, status, an operation under way.
pub fn repository(folder: &Path) -> Repository {
    let mut out = Repository::new();
    let mut put = |what: &str, arguments: &[&str]| {
        let answer = ask_git(folder, arguments).unwrap_or_else(|| "(git fails)".to_owned());
        out.insert(what.to_owned(), answer.clone());
        answer
    };
    let format = "--format=%(refname) %(objectname) %(objecttype) %(*objectname) %(symref)";
    let refs = put("refs", &["for-each-ref", format]);
    put("HEAD", &["rev-parse", "HEAD"]);
    put("branch", &["symbolic-ref", "-q", "HEAD"]);
    put("index", &["ls-files", "--stage", "-z"]);
    put("index flags", &["ls-files", "-v", "-z"]);
    put("status", &["status", "--porcelain=v2", "--branch", "--show-stash", "-z", "-uall"]);
    put("unstaged", &["diff", "--binary"]);
    put("staged", &["diff", "--binary", "--cached"]);
    put("commits", &["log", "--all", "--format=%H %P %s"]);
    put("shallow", &["rev-parse", "--is-shallow-repository"]);
    put("object format", &["rev-parse", "--show-object-format"]);
    put("remotes", &["remote", "-v"]);
    let names: Vec<String> =
        refs.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    for name in names.iter().map(String::as_str).chain(["HEAD"]) {
        let format = "--format=%H|%gD|%gs|%gn|%ge";
        // By number and by date: the second shows the moment of each entry.
        put(&format!("reflog of {name}"), &["log", "-g", format, name, "--"]);
        put(&format!("moments of {name}"), &["log", "-g", "--date=raw", "--format=%gD", name, "--"]);
    }
    for n in 0..put("stash", &["stash", "list"]).lines().count() {
        let entry = format!("stash@{{{n}}}");
        put(&entry, &["stash", "show", "-p", "--binary", "--include-untracked", &entry]);
        put(&format!("{entry} parents"), &["rev-list", "--parents", "-n", "1", &entry]);
    }
    for name in ["MERGE_HEAD", "REBASE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "ORIG_HEAD", "AUTO_MERGE"] {
        put(name, &["rev-parse", "-q", "--verify", name]);
    }
    out
}

/// What differs between two repositories; empty when they are the same.
pub fn repository_differences(before: &Repository, after: &Repository) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("{name}:\n{:?}\n->\n{:?}", before.get(name), after.get(name)))
        .collect()
}

/// What `git fsck` finds, unreachable objects aside; it must exit with 0.
#[track_caller]
pub fn fsck(folder: &Path) -> Vec<String> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "fsck", "--no-progress", "--strict"])
        .current_dir(folder)
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git starts");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "git fsck: {}{}", text[0], text[1]);
    // Notices tell of a repository without commits.
    let wrong = |line: &&str| !line.starts_with("dangling ") && !line.starts_with("notice: ");
    text.iter().flat_map(|text| text.lines()).filter(wrong).map(str::to_owned).collect()
}

/// Every row of every table of a database, its schema and its settings: what → lines. Rowids included.
pub type Rows = BTreeMap<String, Vec<String>>;

/// Reads a database through SQLite and changes nothing in it.
pub fn rows(path: &Path) -> Rows {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    connection.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    let mut out = Rows::new();
    for name in ["user_version", "application_id", "page_size", "encoding", "auto_vacuum", "journal_mode"] {
        out.insert(format!("pragma {name}"), lines(&connection, &format!("PRAGMA {name}")).unwrap());
    }
    let schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
    out.insert("schema".to_owned(), lines(&connection, schema).unwrap());
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let mut statement = connection.prepare(tables).unwrap();
    let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for name in names {
        let quoted = name.replace('"', "\"\"");
        // A table without rowid, and some virtual ones, have no such column.
        let found = lines(&connection, &format!("SELECT rowid, * FROM \"{quoted}\" ORDER BY rowid"))
            .or_else(|_| lines(&connection, &format!("SELECT * FROM \"{quoted}\" ORDER BY 1, 2")))
            .or_else(|_| lines(&connection, &format!("SELECT * FROM \"{quoted}\" ORDER BY 1")))
            .unwrap_or_else(|e| panic!("{name} in {}: {e}", path.display()));
        out.insert(name, found);
    }
    out
}

fn lines(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let value = |n| match row.get_ref_unwrap(n) {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(value) => value.to_string(),
            // The bits: -0.0 is not 0.0.
            ValueRef::Real(value) => format!("real {:016x}", value.to_bits()),
            ValueRef::Text(bytes) => format!("text {}", hex_or_text(bytes)),
            ValueRef::Blob(bytes) => format!("blob {}", hex(bytes)),
        };
        out.push((0..columns).map(value).collect::<Vec<_>>().join(" | "));
    }
    Ok(out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex_or_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => hex(bytes),
    }
}

/// What differs between two databases; empty when they hold the same.
pub fn row_differences(before: &Rows, after: &Rows) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let mut out = Vec::new();
    for name in names {
        let (a, b) = (before.get(name), after.get(name));
        if a != b {
            let empty = Vec::new();
            let (a, b) = (a.unwrap_or(&empty), b.unwrap_or(&empty));
            let first = (0..a.len().max(b.len())).find(|n| a.get(*n) != b.get(*n)).unwrap_or(0);
            out.push(format!(
                "{name}: {} and {} lines, first {:?} -> {:?}",
                a.len(),
                b.len(),
                a.get(first),
                b.get(first)
            ));
        }
    }
    out
}

/// The working files of a project: without `.git`, `node_modules` (a cache, not saved), SQLite's sidecars
/// and the content of the databases named. Times are whole seconds, of files only.
pub fn working_files(folder: &Path, databases: &[&str]) -> Fingerprint {
    let mut files = tree::without_sidecars(tree::fingerprint(folder, true));
    let below = |name: &[u8], top: &[u8]| name == top || name.starts_with(&[top, b"/"].concat());
    files.retain(|name, _| !below(name, b".git") && !below(name, b"node_modules"));
    for (name, entry) in &mut files {
        if entry.kind != "file" {
            entry.mtime_ns = None;
        }
        entry.mtime_ns = entry.mtime_ns.map(|time| time - time % 1_000_000_000);
        if databases.iter().any(|database| database.as_bytes() == name.as_slice()) {
            entry.content.clear();
            entry.mtime_ns = None;
        }
    }
    files
}

impl Sandbox {
    /// Runs a program somewhere else than in the project, which may be gone.
    pub fn run_from<S: AsRef<OsStr>>(&self, program: &Path, folder: &Path, arguments: &[S]) -> Output {
        let mut command = self.command(program);
        Output::of(command.args(arguments).current_dir(folder).output().expect("the program starts"))
    }

    /// Runs a command that is set up already.
    pub fn output(&self, command: &mut Command) -> Output {
        Output::of(command.output().expect("the program starts"))
    }

    /// The only default store in this sandbox.
    #[track_caller]
    pub fn store(&self) -> PathBuf {
        let base = self.data().join("xtask-backup");
        let mut stores: Vec<PathBuf> = std::fs::read_dir(&base)
            .unwrap_or_else(|e| panic!("{}: {e}", base.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(stores.len(), 1, "{stores:?}");
        stores.remove(0)
    }

    /// The executable in that store.
    #[track_caller]
    pub fn stored_program(&self) -> PathBuf {
        let program = self.store().join("bin").join(if cfg!(windows) { "xtask.exe" } else { "xtask" });
        assert!(program.is_file(), "{}", program.display());
        program
    }

    /// `rm -rf` of the project, with folders in it that forbid it.
    pub fn lose_the_project(&self) {
        #[cfg(unix)]
        open_folders(&self.project());
        std::fs::remove_dir_all(self.project()).unwrap();
    }
}

#[cfg(unix)]
fn open_folders(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            open_folders(&entry.path());
        }
    }
}
