//! Taking the write locks of several live databases: all, or none while waiting for the others, so that
//! nobody is kept waiting by us while we wait.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::obstacle::{self, NotHeld, obstacle};
use super::{Entry, Held, Stage, pages};
use crate::base::interrupt;
use crate::base::safe_path::SafePath;
use crate::locks::{Pause, SPIN};
use crate::open::{self, open_live};

/// Takes the write locks of all databases: all of them, or none while it waits for the others, for as long
/// as `patience`. After that those that are free stay held, and the others are told with the reason. A
/// database that can never be held is not waited for.
///
/// # Errors
/// Only when the user interrupts, or the disk has no room for SQLite to begin.
pub fn hold(databases: &[(SafePath, PathBuf)], patience: Duration) -> Result<(Held, Vec<NotHeld>)> {
    let mut not_held = Vec::new();
    let mut candidates = Vec::new();
    for (file, paths) in by_file(databases) {
        match open_to_write(&file) {
            Ok(connection) => {
                candidates.push(Entry { paths, file, connection, stage: Stage::Held, version: None })
            }
            Err(error) => not_held.extend(obstacle(&paths, &file, &error)),
        }
    }
    let mut pause = Pause::new(patience);
    loop {
        interrupt::check()?;
        let last = pause.is_over();
        let busy = begin_all(&mut candidates, &mut not_held)?;
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
///
/// # Errors
/// What SQLite returns.
pub(super) fn open_lenient(file: &Path) -> rusqlite::Result<Connection> {
    let connection = open_live(file)?;
    be_lenient(&connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    Ok(connection)
}

/// Lets a connection look at pages whatever the schema says.
///
/// # Errors
/// What SQLite returns.
pub(super) fn be_lenient(connection: &Connection) -> rusqlite::Result<()> {
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
fn begin_all(
    candidates: &mut Vec<Entry>,
    not_held: &mut Vec<NotHeld>,
) -> Result<Vec<(PathBuf, rusqlite::Error)>> {
    let until = Clock::now() + SPIN;
    loop {
        let (mut busy, mut full) = (Vec::new(), Ok(()));
        candidates.retain(|entry| match begin(entry) {
            Ok(()) => true,
            Err(error) if open::is_busy(&error) => {
                busy.push((entry.file.clone(), error));
                true
            }
            Err(error) if obstacle::is_full(&error) => {
                full = Err(obstacle::in_words(error))
                    .with_context(|| format!("can't begin to write into the database {}", entry.paths[0]));
                false
            }
            Err(error) => {
                not_held.extend(obstacle(&entry.paths, &entry.file, &error));
                false
            }
        });
        full?;
        if busy.is_empty() || Clock::now() >= until {
            return Ok(busy);
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
