//! Whether a program is writing a SQLite database right now: it holds a lock from byte `0x4000_0001` on, as
//! SQLite's file format tells. On Unix those are POSIX locks, which can be asked for without taking them; on
//! Windows a shared lock of the same bytes can be had, for a moment, exactly when nobody writes.
//!
//! Asking opens the file. This process must not be in the database through SQLite then: on Unix closing any
//! descriptor of a file gives up all locks that the process has on it.

use std::fs::File;
use std::io;
use std::path::Path;

/// Whether somebody holds a writer's lock on the database.
///
/// # Errors
/// When the file can't be opened.
pub fn is_held(database: &Path) -> io::Result<bool> {
    system::is_held(&File::open(database)?)
}

#[cfg(unix)]
mod system {
    use super::*;
    use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

    /// SQLite's PENDING and RESERVED bytes; the bytes behind them are for readers.
    const FIRST: u64 = 0x4000_0000;
    const LENGTH: u64 = 2;

    pub fn is_held(file: &File) -> io::Result<bool> {
        let mut ask = Flock::from(FlockType::ReadLock);
        ask.offset_type = FlockOffsetType::Set;
        (ask.start, ask.length) = (FIRST, LENGTH);
        Ok(fcntl_getlk(file, &ask)?.is_some())
    }
}

#[cfg(windows)]
mod system {
    use super::*;
    use std::fs::TryLockError;

    pub fn is_held(file: &File) -> io::Result<bool> {
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
