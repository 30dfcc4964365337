//! Puts page images into live databases so that they stay put: every connection of anybody, idle ones with
//! prepared statements and readers of WAL mode too, sees the image's rows from its next transaction on.
//!
//! Not by rename, which leaves old connections on the old file, nor by the backup API, before which nobody
//! can hold the lock: somebody could write between our last look and it. But by a write transaction of our
//! own in each database. Its lock is taken first in all of them; then pages are compared and written; the
//! room for them is claimed, and readers are waited for, where the journal mode needs it; and only then one
//! after the other commits. Killed anywhere, each database is exactly what it was or exactly the image:
//! that is SQLite's own promise.
//!
//! Damage inside a live database is no obstacle, since pages are written without looking at what they mean.
//! The connections are therefore lenient (`writable_schema`), may write pages (no DEFENSIVE), and never run
//! a statement on the database's own tables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, bail};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use self::image_file::ImageFile;
use self::obstacle::obstacle;
pub use self::obstacle::{NotHeld, Obstacle};
use self::replace::Replacement;
use super::locks::{Pause, SPIN};
use super::open::{self, open_live};
use crate::base::failure::{Failure, Kind};
use crate::base::interrupt;
use crate::base::safe_path::SafePath;

mod image_file;
mod obstacle;
mod page_one;
mod pages;
mod replace;

/// How long a check waits for somebody who commits.
const LOOK: Duration = Duration::from_secs(10);

/// Live databases whose write locks this process holds: nobody else can write to them until it is dropped,
/// which takes back all that was not committed.
pub struct Held {
    entries: Vec<Entry>,
    patience: Duration,
}

/// Why not everything was committed.
#[derive(Debug)]
pub struct CommitFailure {
    /// The databases that hold their image now; all others are as they were.
    pub committed: Vec<SafePath>,
    /// What went wrong with the next one.
    pub error: anyhow::Error,
}

/// One file, and the paths that lead to it.
struct Entry {
    paths: Vec<SafePath>,
    file: PathBuf,
    connection: Connection,
    stage: Stage,
}

enum Stage {
    /// Nothing was written.
    Held,
    /// Written, and waiting for the commit.
    Written,
    /// Waiting to be replaced as a whole.
    Replaced(Replacement),
    /// Half written; can only be taken back.
    Half,
}

/// Takes the write locks of all databases: all of them, or none while it waits for the others, for as long
/// as `patience`. After that those that are free stay held, and the others are told with the reason. A
/// database that can never be held is not waited for.
///
/// # Errors
/// Only when the user interrupts.
pub fn hold(databases: &[(SafePath, PathBuf)], patience: Duration) -> Result<(Held, Vec<NotHeld>)> {
    let mut not_held = Vec::new();
    let mut candidates = Vec::new();
    for (file, paths) in by_file(databases) {
        match open_to_write(&file) {
            Ok(connection) => candidates.push(Entry { paths, file, connection, stage: Stage::Held }),
            Err(error) => not_held.extend(obstacle(&paths, &file, &error)),
        }
    }
    let mut pause = Pause::new(patience);
    loop {
        interrupt::check()?;
        let last = pause.is_over();
        let busy = begin_all(&mut candidates, &mut not_held);
        if busy.is_empty() || last {
            for (file, error) in busy {
                let at = candidates.iter().position(|entry| entry.file == file);
                if let Some(entry) = at.map(|at| candidates.swap_remove(at)) {
                    not_held.extend(obstacle(&entry.paths, &file, &error));
                }
            }
            candidates.sort_by(|a, b| a.file.cmp(&b.file));
            not_held.sort_by(|a, b| a.path.cmp(&b.path));
            return Ok((Held { entries: candidates, patience }, not_held));
        }
        for entry in &candidates {
            // Nothing was written; the lock goes with the connection at the latest.
            let _ = entry.connection.execute_batch("ROLLBACK");
        }
        pause.wait();
    }
}

impl Held {
    /// What a database is now, as a page image exactly like [`super::pin::Pinned::copy_image`] makes. To be
    /// called before [`Held::write`]: in rollback-journal mode nobody can read after that.
    ///
    /// # Errors
    /// When a page can't be read, or the file can't be written; then there is none.
    pub fn copy_image(&self, path: &SafePath, to: &Path, on_bytes: &dyn Fn(u64)) -> Result<()> {
        let entry = &self.entries[self.position(path)?];
        // A connection of its own sees the file as everybody does; ours may have mended its header.
        let attempt = || -> Result<()> {
            let reader = open_lenient(&entry.file)?;
            reader.execute_batch("BEGIN")?;
            super::image::copy_image(&reader, to, on_bytes, || Ok(()))
        };
        attempt().with_context(|| format!("can't copy the database {path} to {}", to.display()))
    }

    /// Writes the image's pages into the open transaction; nobody sees it yet. Returns how many pages
    /// differ: with 0 they are equal but for counters, and nothing is written.
    ///
    /// In rollback-journal mode it waits for readers, and from then on nobody can read until the commit. When
    /// page size or text encoding differ, this only makes sure that nobody else is in the database, and
    /// `commit` writes.
    ///
    /// # Errors
    /// When the image or a page can't be read, or a page can't be written (a full disk); of kind `Refused`
    /// when somebody is in the way for longer than the patience. Then all that is left is to drop this.
    pub fn write(&mut self, path: &SafePath, image: &Path, on_bytes: &dyn Fn(u64)) -> Result<u64> {
        let position = self.position(path)?;
        let patience = self.patience;
        let entry = &mut self.entries[position];
        if !matches!(entry.stage, Stage::Held) {
            bail!("{path} was written before: two paths lead to one file");
        }
        entry.stage = Stage::Half;
        let written = entry.write(image, patience, on_bytes);
        written.with_context(|| format!("can't write into the database {path}"))
    }

    /// Commits all that was written, one after the other; what was replaced as a whole first. Readers that
    /// came meanwhile are waited for, each as long as the patience.
    ///
    /// # Errors
    /// When one fails: those before it are committed, it and those after it are as they were.
    pub fn commit(mut self) -> Result<(), CommitFailure> {
        let mut committed = Vec::new();
        let mut all = || -> Result<()> {
            interrupt::check()?;
            if let Some(half) = self.entries.iter().find(|entry| matches!(entry.stage, Stage::Half)) {
                bail!("{} was not written to its end", half.paths[0]);
            }
            self.entries.sort_by_key(|entry| !matches!(entry.stage, Stage::Replaced(_)));
            for entry in &mut self.entries {
                let first = committed.is_empty();
                if entry
                    .commit(self.patience, first)
                    .with_context(|| format!("can't commit the database {}", entry.paths[0]))?
                {
                    committed.extend(entry.paths.iter().cloned());
                }
            }
            Ok(())
        };
        all().map_err(|error| CommitFailure { committed, error })
    }

    fn position(&self, path: &SafePath) -> Result<usize> {
        let found = self.entries.iter().position(|entry| entry.paths.contains(path));
        found.with_context(|| format!("the database {path} is not held"))
    }
}

impl Entry {
    fn write(&mut self, image: &Path, patience: Duration, on_bytes: &dyn Fn(u64)) -> Result<u64> {
        let mut pages = ImageFile::open(image)?;
        let connection = &self.connection;
        let first = pages::first_page(connection)?;
        let fits = pages.page_size.is_none_or(|size| size == first.len())
            && !page_one::encodings_differ(&first, &pages.header);
        if !fits {
            let replacement = Replacement::prepare(connection, image, &pages.header, patience)?;
            self.stage = Stage::Replaced(replacement);
            let bytes = pages.page_size.unwrap_or_default() as u64 * u64::from(pages.pages);
            on_bytes(bytes);
            return Ok(u64::from(pages.pages));
        }
        let was_empty =
            pages::page_count(connection)? == 1 && pages::page_count(&open_lenient(&self.file)?)? == 0;
        let changed = pages::write(connection, &mut pages, was_empty, patience, on_bytes)?;
        self.stage = if changed == 0 { Stage::Held } else { Stage::Written };
        Ok(changed)
    }

    /// Whether there was something to commit.
    fn commit(&mut self, patience: Duration, interruptible: bool) -> Result<bool> {
        match &self.stage {
            Stage::Held | Stage::Half => return Ok(false),
            Stage::Written => patiently(patience, || self.connection.execute_batch("COMMIT"))?,
            Stage::Replaced(replacement) => {
                replacement.run(&mut self.connection, interruptible)?;
                self.connection = Connection::open_in_memory()?; // ends the other one, and its lock
                // The rows are in, which counts. Programs that need WAL mode ask for it when they start.
                let _ = replacement.restore_mode(&self.file);
            }
        }
        self.stage = Stage::Held;
        // From here on it is an ordinary connection: the last one to leave empties the log into the
        // database. It fails only in that, which loses nothing.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        Ok(true)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Stage::Replaced(replacement) = &self.stage {
            // An old journal mode that can't be set again loses nothing.
            let _ = replacement.give_back(&self.connection);
        }
        // Everything else SQLite takes back itself when a connection closes.
    }
}

/// Whether a live database holds the pages of an image (change counters, version-valid-for, schema cookie
/// and the journal mode aside), as seen by a new connection in one read transaction.
///
/// # Errors
/// When the live database or the image can't be read.
pub fn holds_image(live: &Path, image: &Path) -> Result<bool> {
    let attempt = || -> Result<bool> {
        let reader = open_lenient(live)?;
        reader.execute_batch("BEGIN")?;
        patiently(LOOK, || pages::first_page(&reader).map(|_| ()).or_else(none_is_fine))?;
        pages::is_equal(&reader, &mut ImageFile::open(image)?)
    };
    attempt().with_context(|| format!("can't compare {} with {}", live.display(), image.display()))
}

/// The same of a private copy, beside which SQLite makes no files then.
///
/// # Errors
/// As [`holds_image`].
pub fn is_same_image(copy: &Path, image: &Path) -> Result<bool> {
    let attempt = || -> Result<bool> {
        let reader = open::immutable(copy)?;
        be_lenient(&reader)?;
        pages::is_equal(&reader, &mut ImageFile::open(image)?)
    };
    attempt().with_context(|| format!("can't compare {} with {}", copy.display(), image.display()))
}

/// Gives a live database the journal mode of what it was before, which whoever was killed in the middle of
/// replacing it as a whole had to change.
///
/// # Errors
/// When somebody is in the way, or one of the two can't be read.
pub fn give_mode(live: &Path, old: &Path) -> Result<()> {
    replace::give_mode(live, page_one::is_wal(&ImageFile::open(old)?.header))
}

/// Whether a live database has fewer pages that differ from the first image than from the second: whether it is
/// that one with something written to it.
///
/// # Errors
/// As [`holds_image`].
pub fn is_nearer(live: &Path, first: &Path, second: &Path) -> Result<bool> {
    let attempt = || -> Result<bool> {
        let reader = open_lenient(live)?;
        reader.execute_batch("BEGIN")?;
        patiently(LOOK, || pages::first_page(&reader).map(|_| ()).or_else(none_is_fine))?;
        let first = pages::differing(&reader, &mut ImageFile::open(first)?)?;
        Ok(first < pages::differing(&reader, &mut ImageFile::open(second)?)?)
    };
    attempt().with_context(|| format!("can't compare {} with {}", live.display(), first.display()))
}

/// A database without pages has no first one.
fn none_is_fine(error: rusqlite::Error) -> rusqlite::Result<()> {
    if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) }
}

/// The files behind the paths, each once: of two connections to one file the second would wait for the first.
fn by_file(databases: &[(SafePath, PathBuf)]) -> BTreeMap<PathBuf, Vec<SafePath>> {
    let mut files: BTreeMap<PathBuf, Vec<SafePath>> = BTreeMap::new();
    for (path, file) in databases {
        // A path that does not resolve is reported when it is opened.
        let real = std::fs::canonicalize(file).unwrap_or_else(|_| file.clone());
        files.entry(real).or_default().push(path.clone());
    }
    files
}

/// Opens a live database whatever state its tables are in.
fn open_lenient(file: &Path) -> rusqlite::Result<Connection> {
    let connection = open_live(file)?;
    be_lenient(&connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    Ok(connection)
}

/// Lets a connection look at pages whatever the schema says.
fn be_lenient(connection: &Connection) -> rusqlite::Result<()> {
    // Without the first, the second would be ignored.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.execute_batch("PRAGMA writable_schema=ON")
}

/// The same for writing. Nothing of the file is read yet.
fn open_to_write(file: &Path) -> rusqlite::Result<Connection> {
    let connection = open_lenient(file)?;
    if connection.is_readonly("main")? {
        return Err(obstacle::read_only());
    }
    Ok(connection)
}

/// Begins a write transaction in every database that has none; those with somebody's lock in the way are
/// returned. Those that can't be begun for another reason leave the list.
fn begin_all(candidates: &mut Vec<Entry>, not_held: &mut Vec<NotHeld>) -> Vec<(PathBuf, rusqlite::Error)> {
    let until = Clock::now() + SPIN;
    loop {
        let mut busy = Vec::new();
        candidates.retain(|entry| match begin(entry) {
            Ok(()) => true,
            Err(error) if open::is_busy(&error) => {
                busy.push((entry.file.clone(), error));
                true
            }
            Err(error) => {
                not_held.extend(obstacle(&entry.paths, &entry.file, &error));
                false
            }
        });
        if busy.is_empty() || Clock::now() >= until {
            return busy;
        }
        std::thread::sleep(SPIN / 40);
    }
}

fn begin(entry: &Entry) -> rusqlite::Result<()> {
    let connection = &entry.connection;
    if !connection.is_autocommit() {
        return Ok(()); // held since an earlier try
    }
    // A commit that is reported must survive a power failure. Can't be set inside a transaction.
    connection.execute_batch("PRAGMA synchronous=EXTRA; PRAGMA fullfsync=ON; BEGIN IMMEDIATE")?;
    let look = || -> rusqlite::Result<()> {
        connection.execute_batch("PRAGMA cache_size=-8192")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        pages::first_page(connection)?;
        obstacle::journal_can_be_made(connection, &entry.file)
    };
    look().inspect_err(|_| {
        // The error of the look is the one that counts.
        let _ = connection.execute_batch("ROLLBACK");
    })
}

/// Tries until nobody's lock is in the way, for as long as `patience`.
fn patiently(patience: Duration, mut attempt: impl FnMut() -> rusqlite::Result<()>) -> Result<()> {
    let mut pause = Pause::new(patience);
    loop {
        match attempt() {
            Err(error) if open::is_busy(&error) => {
                interrupt::check()?;
                if pause.is_over() {
                    let text = format!("somebody has it locked, still after {} s", patience.as_secs_f32());
                    let failure = Failure::wrap(Kind::Refused, anyhow::Error::new(error).context(text));
                    return Err(failure.hint("stop the programs that have it open").into());
                }
                pause.wait();
            }
            other => return Ok(other?),
        }
    }
}
