//! Putting images into live databases, with other processes in them: whatever they do, each database is
//! exactly what it was or exactly the image, and everybody sees it.

use std::io::BufRead;
use std::process::{ChildStdin, ChildStdout};

use super::*;
use crate::base::failure::{Kind, kind_of};
use crate::overwrite::obstacle::NotHeld;
use crate::overwrite::{Held, Obstacle, hold, holds_image};

mod kill;
mod openers;
mod pages;

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);
const CHILD: &str = "XTASK_TEST_OVERWRITE";

/// Another process that has a database open: this test binary, or the system's `sqlite3` shell. It runs
/// what it is told and keeps its statements prepared.
struct Opener {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    shell: bool,
}

/// What marks a line of an answer.
const ANSWER: &str = "=> ";

impl Opener {
    fn start(database: &Path) -> Opener {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::overwrite::child_that_has_a_database_open", "--nocapture"]);
        Opener::spawn(command.env(CHILD, database), false).unwrap()
    }

    /// `None` where there is no shell.
    fn shell(database: &Path) -> Option<Opener> {
        let opener = Opener::spawn(Command::new("sqlite3").arg("-batch").arg(database), true);
        if opener.is_none() {
            eprintln!("SKIPPED: there is no sqlite3 shell on this system");
        }
        opener
    }

    fn spawn(command: &mut Command, shell: bool) -> Option<Opener> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Some(Opener { child, stdin, stdout, shell })
    }

    /// Runs one statement and returns its rows, `|` between columns and `,` between rows, or the error.
    fn ask(&mut self, sql: &str) -> String {
        if self.shell {
            writeln!(self.stdin, "{sql};\n.print {ANSWER}end").unwrap();
        } else {
            writeln!(self.stdin, "{sql}").unwrap();
        }
        let mut rows = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the other process ended");
            let line = line.trim_end_matches('\n');
            match line.strip_prefix(ANSWER) {
                Some(_) if self.shell => return rows.join(","),
                Some(answer) => return answer.to_owned(),
                None => rows.push(line.to_owned()),
            }
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test by itself: the other process.
#[test]
fn child_that_has_a_database_open() {
    let Some(database) = std::env::var_os(CHILD) else { return };
    let connection = Connection::open(PathBuf::from(database)).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let mut prepared: BTreeMap<String, rusqlite::Statement<'_>> = BTreeMap::new();
    for line in std::io::stdin().lines() {
        let sql = line.unwrap();
        let mut run = || -> rusqlite::Result<String> {
            if !prepared.contains_key(&sql) {
                prepared.insert(sql.clone(), connection.prepare(&sql)?);
            }
            let statement = prepared.get_mut(&sql).unwrap();
            let mut rows = statement.query([])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                let text = |i| -> rusqlite::Result<String> {
                    Ok(match row.get_ref(i)? {
                        rusqlite::types::ValueRef::Null => String::new(),
                        rusqlite::types::ValueRef::Integer(value) => value.to_string(),
                        other => String::from_utf8_lossy(other.as_bytes().unwrap_or(b"?")).into_owned(),
                    })
                };
                let columns = row.as_ref().column_count(); // it may have been prepared again
                out.push((0..columns).map(text).collect::<rusqlite::Result<Vec<_>>>()?.join("|"));
            }
            Ok(out.join(","))
        };
        let answer = run().unwrap_or_else(|error| format!("error: {error}"));
        println!("\n{ANSWER}{answer}");
    }
}

fn safe(name: &str) -> SafePath {
    SafePath::new(name).unwrap()
}

fn run(database: &Path, sql: &str) {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection.execute_batch(sql).unwrap();
}

fn value(database: &Path, sql: &str) -> String {
    let connection = Connection::open(database).unwrap();
    let value: rusqlite::types::Value = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    match value {
        rusqlite::types::Value::Integer(value) => value.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    }
}

/// A folder with a live database and an image of what it was after `before`; `after` came later.
struct Case {
    folder: TempDir,
    live: PathBuf,
    image: PathBuf,
}

impl Case {
    fn new(before: &str, after: &str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live.db");
        run(&live, before);
        let case = Case { image: folder.path().join("image"), live, folder };
        case.take_image(&case.image);
        run(&case.live, after);
        case
    }

    fn take_image(&self, to: &Path) {
        let outcome = pinned(&self.all());
        outcome.pinned[0].copy_image(to, &|_| ()).unwrap();
    }

    fn all(&self) -> Vec<(SafePath, PathBuf)> {
        vec![(safe("live.db"), self.live.clone())]
    }

    fn hold(&self, patience: Duration) -> (Held, Vec<NotHeld>) {
        hold(&self.all(), patience).unwrap()
    }

    fn held(&self, patience: Duration) -> Held {
        let (held, not_held) = self.hold(patience);
        assert!(not_held.is_empty(), "{not_held:?}");
        held
    }

    /// Writes the image into the live database and commits; the number of pages that differed.
    fn overwrite(&self) -> Result<u64> {
        let mut held = self.held(PATIENCE);
        let changed = held.write(&safe("live.db"), &self.image, &|_| ())?;
        held.commit().map_err(|failure| {
            assert!(failure.committed.is_empty());
            failure.error
        })?;
        Ok(changed)
    }

    /// The live database is the image: by its pages, by its rows, in a sound file.
    fn is_image(&self) {
        assert!(holds_image(&self.live, &self.image).unwrap());
        let copy = self.folder.path().join("copy");
        self.take_image(&copy);
        let (got, wanted) = (facts(&copy).unwrap(), facts(&self.image).unwrap());
        assert_eq!((got.logical, got.page_size), (wanted.logical, wanted.page_size));
        assert!(check(&copy).unwrap().is_sound());
        let (got, wanted) = (fs::read(&copy).unwrap(), fs::read(&self.image).unwrap());
        assert_eq!(got.len(), wanted.len());
        let differs: Vec<usize> = (0..got.len()).filter(|at| got[*at] != wanted[*at]).collect();
        let counters = |at: &usize| matches!(at, 18 | 19 | 24..=27 | 40..=43 | 92..=99);
        assert!(differs.iter().all(counters), "{differs:?}");
        fs::remove_file(copy).unwrap();
    }
}

const MODES: [&str; 2] = ["wal", "delete"];

/// So many rows of 100 bytes.
fn rows(count: u32, from: u32) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i+1 FROM n WHERE i < {})
         INSERT INTO t SELECT i, hex(randomblob(50)) FROM n;",
        from + count - 1
    )
}

fn table(mode: &str) -> String {
    format!("PRAGMA journal_mode={mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, a);")
}
