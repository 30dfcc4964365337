//! A project like the real one: history, branches, tags, stashes, uncommitted work, private files that git
//! ignores, hard names, and two databases that a process has open with rows only in the write-ahead log.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::child::Holder;
use super::{Sandbox, git, git_at};

/// A sandbox whose project is a framework.
pub struct Framework {
    pub sandbox: Sandbox,
    holder: Option<Holder>,
}

/// Commits on `main`.
pub const COMMITS: usize = 30;
/// Rows of each database when nobody but the holder has written.
pub const ROWS: i64 = 1200;

impl Framework {
    /// Builds it; a process keeps both databases open (see [`Framework::release`]).
    pub fn new() -> Framework {
        Framework::at_rest().held()
    }

    /// The same, always on the disk.
    pub fn on_disk() -> Framework {
        Framework::build(Sandbox::on_disk()).held()
    }

    /// The same with nobody at the databases, and 1,000 rows in each.
    pub fn at_rest() -> Framework {
        Framework::build(Sandbox::new())
    }

    fn held(self) -> Framework {
        let holder = Some(Holder::start(&self.memory()));
        Framework { holder, ..self }
    }

    fn build(sandbox: Sandbox) -> Framework {
        let project = sandbox.project();
        history(&project);
        databases(&project.join("memory"));
        private_files(&project);
        uncommitted(&project);
        Framework { sandbox, holder: None }
    }

    /// Kills the process that keeps the databases open; their write-ahead logs stay, as after a crash.
    pub fn release(&mut self) {
        self.holder = None;
    }

    pub fn project(&self) -> PathBuf {
        self.sandbox.project()
    }

    pub fn memory(&self) -> PathBuf {
        self.project().join("memory")
    }
}

impl Default for Framework {
    fn default() -> Framework {
        Framework::new()
    }
}

/// Writes a file and the folders above it.
pub fn write(root: &Path, name: &str, content: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

const IGNORE: &str = "/memory/*\n!/memory/README.md\n/logs/\n*.log\nnode_modules/\n/target\n";

fn history(project: &Path) {
    git(project, &["init", "-q", "-b", "main"]);
    write(project, ".gitignore", IGNORE);
    write(project, "README.md", "# Framework\n");
    write(project, "memory/README.md", "what is learned\n");
    write(project, "docs/guide.md", "guide\n");
    write(project, "docs/name with spaces.md", "spaces\n");
    write(project, "docs/-leading-dash.md", "dash\n");
    write(project, "scripts/run.sh", "#!/bin/sh\necho run\n");
    // A clean database that git tracks: it must not come back as modified.
    fs::create_dir_all(project.join("data")).unwrap();
    let catalog = Connection::open(project.join("data/catalog.db")).unwrap();
    catalog
        .execute_batch(
            "CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO items VALUES (1, 'x')",
        )
        .unwrap();
    drop(catalog);
    #[cfg(unix)]
    unix::tracked(project);
    let moment = |n: usize| 1_760_000_000 + 86_400 * i64::try_from(n).unwrap();
    // Through the library: a hundred git processes would cost more than all of the test.
    let repository = git2::Repository::open(project).unwrap();
    for n in 1..=COMMITS {
        write(project, "src/state.py", &format!("STEP = {n}\n"));
        write(project, &format!("src/part{}.py", n % 7), &format!("# part, step {n}\n"));
        commit(&repository, moment(n), &format!("Step {n}"));
        match n {
            8 => drop(git(project, &["tag", "v0.1"])),
            16 => drop(git_at(project, moment(n), &["tag", "-a", "-m", "The second", "v0.2"])),
            _ => {}
        }
    }
    git(project, &["checkout", "-q", "-b", "feature", "HEAD~10"]);
    write(project, "src/feature.py", "FEATURE = True\n");
    git_at(project, moment(21), &["add", "src/feature.py"]);
    git_at(project, moment(21), &["commit", "-q", "-m", "A feature"]);
    git(project, &["checkout", "-q", "main"]);
    write(project, "src/state.py", "STEP = 'first stash'\n");
    git_at(project, moment(40), &["stash", "push", "-q", "-m", "first"]);
    write(project, "src/state.py", "STEP = 'second stash'\n");
    write(project, "src/only-in-stash.py", "untracked in a stash\n");
    git_at(project, moment(41), &["stash", "push", "-q", "-u", "-m", "second"]);
    git(project, &["config", "remote.origin.url", "https://example.invalid/framework.git"]);
    write(project, ".git/hooks/pre-commit", "#!/bin/sh\nexit 0\n");
}

fn commit(repository: &git2::Repository, moment: i64, message: &str) {
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let time = git2::Time::new(moment, 0);
    let author = git2::Signature::new("Somebody", "somebody@localhost", &time).unwrap();
    let parent = repository.head().ok().map(|head| head.peel_to_commit().unwrap());
    let parents: Vec<&git2::Commit> = parent.iter().collect();
    repository.commit(Some("HEAD"), &author, &author, message, &tree, &parents).unwrap();
}

fn databases(memory: &Path) {
    let numbers = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000)";
    let make = |name: &str, sql: &str| {
        let connection = Connection::open(memory.join(name)).unwrap();
        let batch = format!(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL; PRAGMA user_version = 7; BEGIN;
             CREATE TABLE ledger(n INTEGER PRIMARY KEY, amount INTEGER NOT NULL); {sql}; COMMIT"
        );
        connection.execute_batch(&batch).unwrap();
    };
    make(
        "index.db",
        &format!(
            "CREATE TABLE learnings(id INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT);
             CREATE INDEX by_title ON learnings(title);
             CREATE TABLE metrics(name TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;
             INSERT INTO metrics VALUES ('pi', 3.141592653589793), ('tiny', 5e-324), ('none', NULL);
             {numbers} INSERT INTO learnings SELECT x, 'learning ' || x, 'Zürich 名前 ' || x FROM c"
        ),
    );
    make(
        "vectors.db",
        &format!(
            "CREATE TABLE embeddings(id INTEGER PRIMARY KEY, embedding BLOB NOT NULL);
             {numbers} INSERT INTO embeddings SELECT x, randomblob(256) FROM c"
        ),
    );
}

fn private_files(project: &Path) {
    for n in 0..20 {
        write(project, &format!("memory/failures/note {n}.md"), &format!("private note {n}\n"));
    }
    write(project, "memory/secret.md", "for one pair of eyes\n");
    write(project, "logs/run.log", "a line\n");
    write(project, "node_modules/left/pad.js", "a cache, not saved\n");
    fs::create_dir_all(project.join("inbox/empty/deeper")).unwrap();
    #[cfg(unix)]
    unix::private(project);
}

fn uncommitted(project: &Path) {
    write(project, "README.md", "# Framework\n\nmodified, not staged\n");
    write(project, "src/staged.py", "STAGED = 1\n");
    git(project, &["add", "src/staged.py"]);
    write(project, "src/staged.py", "STAGED = 2 # and changed after that\n");
    write(project, "notes/untracked.md", "untracked\n");
    write(project, "notes/名前.md", "untracked, not ASCII\n");
    fs::remove_file(project.join("docs/-leading-dash.md")).unwrap();
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn set_mode(path: PathBuf, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn tracked(project: &Path) {
        set_mode(project.join("scripts/run.sh"), 0o755);
        write(project, "docs/new\nline.md", "a newline in the name\n");
        symlink("docs/guide.md", project.join("link-inside")).unwrap();
        symlink("/etc/hostname", project.join("link-outside")).unwrap();
        symlink("nowhere/at/all", project.join("link-dangling")).unwrap();
        if cfg!(target_os = "linux") {
            fs::write(project.join(OsStr::from_bytes(b"docs/caf\xe9.md")), "not UTF-8\n").unwrap();
        }
    }

    pub fn private(project: &Path) {
        set_mode(project.join("memory/secret.md"), 0o600);
        symlink("../README.md", project.join("memory/link.md")).unwrap();
        if cfg!(target_os = "linux") {
            fs::write(project.join(OsStr::from_bytes(b"memory/\xff\xfe")), "no text\n").unwrap();
        }
    }
}

/// What does not compress.
pub fn noise(bytes: usize, mut seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        out.extend(seed.to_le_bytes());
    }
    out.truncate(bytes);
    out
}
