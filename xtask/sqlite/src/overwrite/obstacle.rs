//! Why a database could not be held, in words and in the three kinds that call for different things.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use super::replace::is_wal;
use crate::base::file_facts;
use crate::base::safe_path::SafePath;
use crate::open;

/// Why a database could not be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody's lock.
    Busy,
    /// SQLite can't open it: it is no database, there is no such file, or its header or log is damaged so
    /// that no transaction can begin.
    Unopenable,
    /// The user may not write it, or not make a journal beside it.
    ReadOnly,
}

/// A database that could not be held.
#[derive(Debug)]
pub struct NotHeld {
    /// Its path inside the project.
    pub path: SafePath,
    /// The kind of reason.
    pub obstacle: Obstacle,
    /// The reason, as SQLite or the system says it.
    pub reason: String,
}

/// The obstacle that an error means, for each path of a file.
pub fn obstacle(paths: &[SafePath], file: &Path, error: &rusqlite::Error) -> Vec<NotHeld> {
    let (kind, reason) = classify(file, error);
    let of = |path: &SafePath| NotHeld { path: path.clone(), obstacle: kind, reason: reason.clone() };
    paths.iter().map(of).collect()
}

fn classify(file: &Path, error: &rusqlite::Error) -> (Obstacle, String) {
    if open::is_busy(error) {
        return (Obstacle::Busy, error.to_string());
    }
    // The system's words say more than SQLite's about a vanished file, a forbidden one, or a folder.
    match std::fs::metadata(file) {
        Err(system) => return (Obstacle::Unopenable, system.to_string()),
        Ok(meta) if !meta.is_file() => return (Obstacle::Unopenable, "it is not a file".to_owned()),
        Ok(_) => {}
    }
    let folder = file.parent().unwrap_or(file);
    match open::code_of(error) {
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (Obstacle::ReadOnly, error.to_string()),
        Some(ErrorCode::CannotOpen) if !file_facts::may_write(file) => {
            (Obstacle::ReadOnly, "this user may not write it".to_owned())
        }
        Some(ErrorCode::CannotOpen) if !file_facts::may_write(folder) => (Obstacle::ReadOnly, no_journal()),
        _ => (Obstacle::Unopenable, error.to_string()),
    }
}

fn no_journal() -> String {
    "this user may not make files in its folder, where SQLite's journal goes".to_owned()
}

/// Whether there was no room, which says nothing of the database. In WAL mode the first thing that finds no
/// room is the file of shared memory.
pub fn is_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_FULL | ffi::SQLITE_IOERR_SHMSIZE))
}

/// A full disk in SQLite's own words, which not every call passes on.
pub fn in_words(error: rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, _) if is_full(&error) => {
            rusqlite::Error::SqliteFailure(code, Some("database or disk is full".to_owned()))
        }
        other => other,
    }
}

/// The error of a file that can only be read.
pub fn read_only() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_READONLY),
        Some("this user may not write it".to_owned()),
    )
}

/// Fails where a lock can be had and yet nothing be written: in rollback-journal mode, when no journal can
/// be made beside the database.
///
/// # Errors
/// The error that SQLite would give when it comes to writing.
pub fn journal_can_be_made(connection: &Connection, file: &Path) -> rusqlite::Result<()> {
    let folder = file.parent().unwrap_or(file);
    if file_facts::may_write(folder) || is_wal(connection)? {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY), Some(no_journal())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure;

    #[test]
    fn a_full_disk_is_known_by_its_words() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert!(failure::is_disk_full(&anyhow::Error::new(in_words(error)).context("x")), "{code}");
        }
        let other = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR), None);
        assert!(!failure::is_disk_full(&in_words(other).into()));
    }
}
