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

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

pub use self::hold::hold;
use self::hold::{be_lenient, open_lenient};
use self::image_file::ImageFile;
pub use self::obstacle::Obstacle;
use self::replace::Replacement;
use super::locks::Pause;
use super::open;
use crate::base::failure::{Failure, Kind};
use crate::base::interrupt;
use crate::base::safe_path::SafePath;

mod hold;
mod image_file;
pub(super) mod obstacle;
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

/// Databases after the commit. As long as it lives, it can be told whether anybody else has written since.
pub struct Committed {
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Committed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.file)).finish()
    }
}

impl Committed {
    /// Whether another connection has written to a database since it was committed; also true where that can't
    /// be told, because the database was replaced as a whole.
    pub fn is_written_since(&self, path: &SafePath) -> bool {
        let Some(entry) = self.entries.iter().find(|entry| entry.paths.contains(path)) else { return true };
        let now = data_version(&entry.connection).ok();
        entry.version.is_none() || now != entry.version
    }
}

/// SQLite's own count of what other connections did, as one connection sees it.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// One file, and the paths that lead to it.
struct Entry {
    paths: Vec<SafePath>,
    file: PathBuf,
    connection: Connection,
    stage: Stage,
    /// Its data version when it was committed.
    version: Option<i64>,
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

/// A file of so many bytes is an empty database to SQLite: one byte counts as none (`unixFileSize` in its
/// `os_unix.c`). Opening it makes SQLite remove the write-ahead log beside it.
pub const EMPTY_MAX: u64 = 1;

impl CommitFailure {
    /// As an error that says how far it came.
    pub fn into_error(self) -> anyhow::Error {
        let names: Vec<String> = self.committed.iter().map(ToString::to_string).collect();
        match names.is_empty() {
            true => self.error,
            false => {
                self.error.context(format!("of all databases only {} could be written", names.join(", ")))
            }
        }
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
    pub fn commit(mut self) -> Result<Committed, CommitFailure> {
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
        match all() {
            Ok(()) => Ok(Committed { entries: self.entries }),
            Err(error) => Err(CommitFailure { committed, error }),
        }
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
        let was_empty =
            pages::page_count(connection)? == 1 && pages::page_count(&open_lenient(&self.file)?)? == 0;
        if !fits {
            let mut replacement = Replacement::prepare(connection, image, &pages.header, patience)?;
            replacement.keeps_mode = !was_empty;
            self.stage = Stage::Replaced(replacement);
            let bytes = pages.page_size.unwrap_or_default() as u64 * u64::from(pages.pages);
            on_bytes(bytes);
            return Ok(u64::from(pages.pages));
        }
        let changed = pages::write(connection, &mut pages, was_empty, patience, on_bytes)?;
        self.stage = if changed == 0 { Stage::Held } else { Stage::Written };
        Ok(changed)
    }

    /// Whether there was something to commit.
    fn commit(&mut self, patience: Duration, interruptible: bool) -> Result<bool> {
        match &self.stage {
            Stage::Held | Stage::Half => return Ok(false),
            Stage::Written => {
                // Under the lock: what others do from here on counts.
                self.version = data_version(&self.connection).ok();
                patiently(patience, || self.connection.execute_batch("COMMIT"))?;
            }
            Stage::Replaced(replacement) => {
                replacement.run(&mut self.connection, interruptible)?;
                self.connection = Connection::open_in_memory()?; // ends the other one, and its lock
                // The rows are in, which counts. Programs that need WAL mode ask for it when they start.
                if replacement.keeps_mode {
                    let _ = replacement.restore_mode(&self.file);
                }
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
            other => return Ok(other.map_err(obstacle::in_words)?),
        }
    }
}
