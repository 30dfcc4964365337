//! The folder in which a database is salvaged: beside the new file, so that this gets its name by a rename, and
//! private. A lock tells one that is in use from one that a killed run left, which the next run removes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::{durable, file_facts};

/// What its name begins with.
const PREFIX: &str = ".tmp-salvage-";
/// In it: locked as long as it is in use.
const ALIVE: &str = "alive";

/// The folder; gone when this is dropped.
pub struct Room {
    folder: tempfile::TempDir,
    _alive: File,
}

impl Room {
    /// Makes one, after removing what killed runs left.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn new(beside: &Path) -> Result<Room> {
        sweep(beside);
        let attempt = || -> Result<Room> {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(beside)?;
            let alive = file_facts::create_private_file(&folder.path().join(ALIVE))?;
            alive.try_lock()?;
            Ok(Room { folder, _alive: alive })
        };
        attempt().with_context(|| format!("can't work in {}", beside.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes it.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn end(self) -> Result<()> {
        let path = self.folder.keep();
        durable::remove_tree(&path).with_context(|| format!("can't remove {}", path.display()))
    }
}

/// Removes what nobody uses any more. What can't be removed does no harm, and is tried again by the next run.
fn sweep(beside: &Path) {
    let Ok(entries) = fs::read_dir(beside) else { return };
    for entry in entries.flatten() {
        if is_ours(&entry.file_name()) && is_dead(&entry.path()) {
            let _ = durable::remove_tree(&entry.path());
        }
    }
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Whether its lock is free. One without the file that is locked has just been made, or is none of ours.
fn is_dead(folder: &Path) -> bool {
    let alive: PathBuf = folder.join(ALIVE);
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|facts| facts.is_dir());
    is_folder && file_facts::open_itself(&alive).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_goes_and_what_is_in_use_stays() {
        let place = tempfile::tempdir().unwrap();
        let used = Room::new(place.path()).unwrap();
        let left = place.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(ALIVE), "").unwrap();
        let strange = place.path().join(format!("{PREFIX}strange"));
        fs::create_dir(&strange).unwrap();
        let other = Room::new(place.path()).unwrap();
        assert!(used.path().exists() && other.path().exists() && strange.exists() && !left.exists());
        let path = other.path().to_path_buf();
        other.end().unwrap();
        drop(used);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
