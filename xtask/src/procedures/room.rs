//! A scratch folder for work with a remote: in the store, or where the system keeps temporary files when the
//! store may only be read.

use std::path::Path;

use anyhow::{Context, Result};

use crate::store::Store;
use crate::store::publish::Scratch;

/// The folder; gone when dropped.
pub enum Room {
    /// In the store.
    Store(Scratch),
    /// Elsewhere.
    System(tempfile::TempDir),
}

impl Room {
    /// In the store, if that can be written.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn new(store: &Store) -> Result<Room> {
        match store.scratch() {
            Ok(scratch) => Ok(Room::Store(scratch)),
            // Why does not matter: what is here can be copied all the same.
            Err(_) => Room::elsewhere(),
        }
    }

    /// Where the system keeps temporary files.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn elsewhere() -> Result<Room> {
        let made = tempfile::Builder::new().prefix("xtask-remote-").tempdir();
        Ok(Room::System(made.context("can't make a temporary folder")?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Room::Store(scratch) => scratch.path(),
            Room::System(folder) => folder.path(),
        }
    }
}
