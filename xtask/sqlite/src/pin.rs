//! All databases of one instant, without changing anything in them.
//!
//! A transaction that spans several databases commits in one after the other, so read transactions opened
//! one by one can see half of it. A writer holds the write lock of every database it wrote until all are
//! committed. So the write locks are taken first (all but one are enough: such a transaction needs two),
//! then every read transaction is opened, then the locks are released; nothing was written under them.
//! No lock is held while waiting for another, but for two milliseconds: all are released and taken again, so
//! nobody is blocked longer than the opening takes.
//!
//! Only SQLite opens the files here: closing any other descriptor of a database would drop every lock that
//! this process has on it. No connection checkpoints when it closes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Clock};

use anyhow::Result;
use rusqlite::Connection;

use super::locks::{Lockers, Pause, SPIN};
use super::open::{self, open_live};
use crate::base::clock::Instant;
use crate::base::file_facts::{self, Identity};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::safe_path::SafePath;
use crate::base::seen::{SeenDatabase, Sides};

/// A database whose content stands still for this object: an open read transaction. Dropping it ends that
/// and changes nothing in the project. In rollback-journal mode writers wait as long as it lives.
pub struct Pinned {
    path: SafePath,
    file: PathBuf,
    connection: Connection,
    /// Set when SQLite could not read it under a lock, and what the file was then.
    unlocked: Option<Identity>,
    seen: Option<SeenDatabase>,
}

/// A database that could not be pinned.
#[derive(Debug)]
pub struct Unreadable {
    /// Its path inside the project.
    pub path: SafePath,
    /// Why, as SQLite or the system says it.
    pub reason: String,
    /// Whether somebody else's lock is the reason, so that it may be readable later.
    pub locked: bool,
}

/// What came of it.
pub struct PinOutcome {
    /// The databases that stand still now, sorted by path.
    pub pinned: Vec<Pinned>,
    /// Those that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// What the user should know.
    pub findings: Vec<Finding>,
    /// When they were pinned.
    pub instant: Instant,
}

impl Pinned {
    /// Its path inside the project.
    pub fn path(&self) -> &SafePath {
        &self.path
    }

    /// What its files were like when it was pinned, if its write lock was ours then: if they were so at some time
    /// before, and are not freshly written, then nothing was written in between, and it holds what it held.
    pub fn seen(&self) -> Option<&SeenDatabase> {
        self.seen.as_ref()
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Fails when a database that is read without locks has been written since it was pinned.
    pub(super) fn still_unchanged(&self) -> Result<()> {
        match &self.unlocked {
            Some(before) if identity(&self.file)? != *before || side_file(&self.file, "-wal").exists() => {
                anyhow::bail!("it was written meanwhile, and its folder does not allow a lock")
            }
            _ => Ok(()),
        }
    }
}

/// Opens a read transaction on every database, all of one instant. Tries for as long as `patience` when
/// others hold locks. A database that can't be read is no error: it is listed as unreadable.
///
/// # Errors
/// Only when the user interrupts.
pub fn pin(databases: &[(SafePath, PathBuf)], patience: Duration) -> Result<PinOutcome> {
    let mut sorted = databases.to_vec();
    sorted.sort();
    let mut outcome =
        PinOutcome { pinned: Vec::new(), unreadable: Vec::new(), findings: Vec::new(), instant: Instant(0) };
    let mut candidates = Vec::new();
    // Before any of them is open here, and while nobody waits.
    let sides: Vec<Sides> = sorted.iter().map(|(_, file)| Sides::read(file)).collect();
    for ((path, file), sides) in sorted.into_iter().zip(sides) {
        let before = identity(&file).ok();
        match open_live(&file) {
            Ok(reader) => {
                let (failed, unlocked, seen) = (None, None, None);
                candidates.push(Candidate { path, file, before, sides, reader, failed, unlocked, seen });
            }
            Err(error) => outcome.unreadable.push(unreadable(path, &file, &error)),
        }
    }
    let files: Vec<PathBuf> = candidates.iter().map(|candidate| candidate.file.clone()).collect();
    let lockers = Lockers::open(&files);
    let mut pause = Pause::new(patience);
    loop {
        interrupt::check()?;
        let last = pause.is_over();
        let missing = lockers.take();
        if missing.is_worth_waiting() && !last {
            lockers.release();
            pause.wait();
            continue;
        }
        let busy = begin_all(&mut candidates);
        // Under the locks, so that what is seen is what the read transactions see.
        for candidate in &mut candidates {
            candidate.seen = candidate.look(&lockers);
        }
        let instant = Instant::now();
        lockers.release();
        if busy && !last {
            candidates.iter_mut().for_each(Candidate::end);
            pause.wait();
            continue;
        }
        outcome.instant = instant;
        drop(lockers);
        for candidate in candidates {
            candidate.finish(&mut outcome);
        }
        // What could not be read does not count: it is not in the backup, and is said on its own.
        let why = match missing.forever {
            0 => format!("could not be had within {} s", patience.as_secs_f32()),
            _ => "can't be had without the right to write there".to_owned(),
        };
        let missing: Vec<&Pinned> =
            outcome.pinned.iter().filter(|p| missing.files.contains(&p.file)).collect();
        if missing.len() > 1 {
            let names: Vec<String> = missing.iter().map(|p| p.path.to_string()).collect();
            outcome.findings.push(
                Finding::problem(
                    "not-one-instant",
                    format!(
                        "the write locks of {} {why}, so a transaction that spans them may be in one and not in the other",
                        names.join(", ")
                    ),
                )
                .hint("run the backup again when nothing writes to them, as a user who may write them"),
            );
        }
        return Ok(outcome);
    }
}

/// A database on its way to be pinned.
struct Candidate {
    path: SafePath,
    file: PathBuf,
    /// What the file was before it was opened.
    before: Option<Identity>,
    sides: Sides,
    reader: Connection,
    failed: Option<rusqlite::Error>,
    unlocked: Option<Identity>,
    seen: Option<SeenDatabase>,
}

impl Candidate {
    /// Opens the read transaction and makes it real: `BEGIN` alone reads nothing.
    fn begin(&mut self) {
        if self.failed.as_ref().is_some_and(|error| !open::is_busy(error)) {
            return; // it could not be opened again
        }
        self.failed = begin_reading(&self.reader).err();
        // One line of the schema that SQLite does not understand: the pages can be copied all the same, as of one
        // instant, which the bytes of its files are not.
        let is_damage =
            self.failed.as_ref().and_then(open::code_of) == Some(rusqlite::ErrorCode::DatabaseCorrupt);
        if is_damage && open::be_lenient(&self.reader).is_ok() {
            self.failed = begin_reading(&self.reader).err();
        }
        let Some(rusqlite::Error::SqliteFailure(error, _)) = &self.failed else { return };
        // A WAL database in a folder where no side file can be made. Without a -wal everything is in the
        // main file, and nobody is in it through SQLite, so it can be read as it is.
        let refused = [rusqlite::ErrorCode::CannotOpen, rusqlite::ErrorCode::ReadOnly];
        if refused.contains(&error.code)
            && !side_file(&self.file, "-wal").exists()
            && !side_file(&self.file, "-journal").exists()
            && let Ok(before) = identity(&self.file)
            && let Ok(reader) = open::immutable(&self.file)
        {
            self.reader = reader;
            self.unlocked = Some(before);
            self.failed = begin_reading(&self.reader).err();
        }
    }

    /// Looks at the files, if nobody else can be writing; what can't be looked at has to be read. Without the write
    /// lock a commit could come between the read transaction and the look: it would be seen, and not be in the copy.
    fn look(&self, lockers: &Lockers) -> Option<SeenDatabase> {
        if self.failed.is_some() || self.unlocked.is_some() || !lockers.hold(&self.file) {
            return None;
        }
        // Another file in its place, with the folder above it perhaps, is not the one that is open.
        let now = identity(&self.file).ok()?;
        let is_it = self.before.is_some_and(|before| before.inode == now.inode);
        is_it.then(|| SeenDatabase::look(&self.file, &self.sides).ok().flatten()).flatten()
    }

    /// Ends the read transaction, to try again.
    fn end(&mut self) {
        // Fails only when no transaction is open, which is what is wanted.
        let _ = self.reader.execute_batch("ROLLBACK");
        self.failed = None;
        // Reading without locks never looks again for what changed: begin anew.
        if self.unlocked.take().is_some() {
            match open_live(&self.file) {
                Ok(reader) => self.reader = reader,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    fn finish(self, outcome: &mut PinOutcome) {
        let Candidate { path, file, reader, failed, unlocked, seen, .. } = self;
        match failed {
            None => outcome.pinned.push(Pinned { path, file, connection: reader, unlocked, seen }),
            Some(error) => outcome.unreadable.push(unreadable(path, &file, &error)),
        }
    }
}

fn unreadable(path: SafePath, file: &Path, error: &rusqlite::Error) -> Unreadable {
    // A vanished or forbidden file: the system's words say more than SQLite's.
    let reason = match std::fs::metadata(file) {
        Err(system) => system.to_string(),
        Ok(_) => error.to_string(),
    };
    Unreadable { path, reason, locked: open::is_busy(error) }
}

/// Opens the read transactions; true when somebody's lock was in the way of one.
fn begin_all(candidates: &mut [Candidate]) -> bool {
    let until = Clock::now() + SPIN;
    candidates.iter_mut().for_each(Candidate::begin);
    loop {
        let busy = |candidate: &&mut Candidate| candidate.failed.as_ref().is_some_and(open::is_busy);
        let late = Clock::now() >= until;
        let mut left = candidates.iter_mut().filter(busy).peekable();
        if left.peek().is_none() || late {
            return left.peek().is_some();
        }
        left.for_each(Candidate::begin);
        std::thread::sleep(SPIN / 40);
    }
}

fn begin_reading(reader: &Connection) -> rusqlite::Result<()> {
    reader.execute_batch("BEGIN")?;
    let attempt = || -> rusqlite::Result<()> {
        let mut statement = reader.prepare("SELECT name, sql FROM sqlite_schema")?;
        let mut rows = statement.query([])?;
        rows.next()?;
        Ok(())
    };
    let read = attempt();
    if read.is_err() {
        // The error of the read is the one that counts; a failed ROLLBACK means nothing was open.
        let _ = reader.execute_batch("ROLLBACK");
    }
    read
}

/// A file beside the database, by its ending (`-wal`). Asking whether it exists opens nothing.
fn side_file(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn identity(file: &Path) -> Result<Identity> {
    Ok(file_facts::identity(&std::fs::metadata(file)?))
}
