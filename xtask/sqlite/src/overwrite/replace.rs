//! A live database whose page size or text encoding is not that of the image. Its pages can't be exchanged
//! one by one: in WAL mode no connection may meet another page size, and one that knows another encoding
//! stops with an error. So nobody may be in it in WAL mode, which SQLite can tell; then SQLite's online
//! backup writes the image into it in rollback-journal mode, in one step. There every connection looks at
//! the page size again when it begins to read.
//!
//! From the first check to the end this process keeps the lock: with `locking_mode=EXCLUSIVE`, since the
//! backup can't be made by a connection with an open transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{page_one, pages, patiently};
use crate::base::failure::{Failure, Kind};
use crate::base::interrupt;
use crate::open;

/// Pages per step of the backup.
const STEP: i32 = 1024;

/// A database that nobody else can enter until it is replaced or given back.
pub struct Replacement {
    image: PathBuf,
    image_cookie: u32,
    live_cookie: u32,
    was_wal: bool,
    /// Whether the live database keeps its journal mode; one without pages has none.
    pub keeps_mode: bool,
}

impl Replacement {
    /// Makes sure that nobody else is in the database, or will be. The connection holds the write lock in
    /// an open transaction, and afterwards holds it without one.
    ///
    /// # Errors
    /// Of kind `Refused` when somebody is in it.
    pub fn prepare(
        connection: &Connection,
        image: &Path,
        image_header: &[u8],
        patience: Duration,
    ) -> Result<Replacement> {
        let version = data_version(connection)?;
        let live_cookie = page_one::cookie(&pages::first_page(connection)?);
        let was_wal = is_wal(connection)?;
        let exclusive = || -> Result<()> {
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection.execute_batch("ROLLBACK")?;
            patiently(patience, || connection.execute_batch("BEGIN EXCLUSIVE"))?;
            if data_version(connection)? != version {
                return Err(Failure::new(Kind::Refused, "somebody wrote to it just now").into());
            }
            connection.execute_batch("ROLLBACK")?;
            if was_wal {
                set_mode(connection, "delete", patience)?;
            }
            Ok(())
        };
        exclusive().map_err(|error| {
            Failure::wrap(
                Kind::Refused,
                error.context(
                    "its page size or text encoding has to change, which takes the database for itself",
                ),
            )
            .hint("stop the programs that have it open")
        })?;
        let image_cookie = page_one::cookie(image_header);
        Ok(Replacement { image: image.to_path_buf(), image_cookie, live_cookie, was_wal, keeps_mode: true })
    }

    /// Puts the image into the database, in one step.
    ///
    /// # Errors
    /// When the image can't be read or the database not be written; then it is as before. `interruptible`
    /// lets the user stop it until then.
    pub fn run(&self, connection: &mut Connection, interruptible: bool) -> Result<()> {
        // The backup counts the cookie of the live database up by one; that one must not be the image's.
        if self.live_cookie.wrapping_add(1) == self.image_cookie {
            connection.pragma_update(None, "schema_version", self.image_cookie as i32)?;
        }
        let image = open::immutable(&self.image)?;
        let backup = Backup::new(&image, connection)?;
        loop {
            match backup.step(STEP)? {
                StepResult::Done => return Ok(()),
                StepResult::More if interruptible => interrupt::check()?,
                StepResult::More => {}
                _ => anyhow::bail!("somebody's lock is in the way, though it was ours"),
            }
        }
    }

    /// Gives the live database back the journal mode it had, through a connection that has no lock.
    pub fn restore_mode(&self, file: &Path) -> Result<()> {
        give_mode(file, self.was_wal)
    }

    /// Gives back a database that was not replaced.
    pub fn give_back(&self, connection: &Connection) -> Result<()> {
        if self.was_wal {
            connection.pragma_update(None, "locking_mode", "NORMAL")?;
            set_mode(connection, "wal", Duration::from_secs(1))?;
        }
        Ok(())
    }
}

/// Puts a database into WAL mode, or out of it, where it is not so already.
///
/// # Errors
/// When somebody is in the way, or it can't be written.
pub fn give_mode(file: &Path, wal: bool) -> Result<()> {
    let connection = open::open_live(file)?;
    let is_wal = is_wal(&connection)?;
    let mut journal = file.as_os_str().to_owned();
    journal.push("-journal");
    if is_wal && wal && Path::new(&journal).exists() {
        // With the lock kept, a commit leaves the journal there, emptied, and whoever is killed then leaves it for
        // good: in WAL mode nobody uses it. Out of that mode and in again it goes.
        set_mode(&connection, "delete", Duration::from_secs(1))?;
    } else if is_wal == wal {
        return Ok(());
    }
    set_mode(&connection, if wal { "wal" } else { "delete" }, Duration::from_secs(1))
}

/// Whether the database is in WAL mode.
///
/// # Errors
/// What SQLite returns.
pub fn is_wal(connection: &Connection) -> rusqlite::Result<bool> {
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    Ok(mode == "wal")
}

/// Changes whenever another connection commits.
fn data_version(connection: &Connection) -> Result<i64> {
    Ok(connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
}

fn set_mode(connection: &Connection, mode: &str, patience: Duration) -> Result<()> {
    let mut now = String::new();
    patiently(patience, || {
        now = connection.pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0))?;
        Ok(())
    })?;
    if now != mode { anyhow::bail!("its journal mode stays {now}") } else { Ok(()) }
}
