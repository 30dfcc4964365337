//! Removes what killed runs left in the store: unfinished files and folders, and what stands beside no
//! archive. Only names that nothing but this tool makes are touched, only in a store, only under its lock;
//! and a folder in which somebody still works is left alone.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::lock::{Lock, state_lock};
use super::names::{self, BIN, Name};
use super::publish::ALIVE_FILE;
use super::{SAFETY, Store, TRASH};
use crate::base::durable;
use crate::base::finding::Finding;

/// What sweeping did.
#[derive(Debug, Default)]
pub struct Swept {
    /// What was removed.
    pub removed: Vec<PathBuf>,
    /// What could not be removed; that is advice, since it harms no backup.
    pub findings: Vec<Finding>,
}

impl Store {
    /// Removes what killed runs left.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn sweep(&self, _lock: &Lock) -> Result<Swept> {
        // States are changed by runs without the lock of the store: their temporary files are not ours.
        let _moment = state_lock(self.root())?;
        let mut swept = Swept::default();
        for (folder, holds_backups) in [("", true), (SAFETY, true), (TRASH, true), (BIN, false)] {
            let folder = if folder.is_empty() { self.root().to_path_buf() } else { self.root().join(folder) };
            sweep_folder(&folder, holds_backups, &mut swept)?;
        }
        Ok(swept)
    }
}

fn sweep_folder(folder: &Path, holds_backups: bool, swept: &mut Swept) -> Result<()> {
    let shown = || format!("can't read {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(shown),
    };
    let mut archives = BTreeSet::new();
    let mut beside = Vec::new();
    for entry in entries {
        let entry = entry.with_context(shown)?;
        match entry.file_name().to_str().map_or(Name::Stray, names::parse) {
            Name::Archive(id) => {
                archives.insert(id);
            }
            Name::Sidecar(id) => beside.push((id, entry.path())),
            Name::Temporary if is_in_use(&entry.path()) => {}
            Name::Temporary => remove(&entry.path(), swept),
            Name::Part | Name::Stray => {}
        }
    }
    if holds_backups {
        for (_, path) in beside.into_iter().filter(|(id, _)| !archives.contains(id)) {
            remove(&path, swept);
        }
    }
    Ok(())
}

/// Whether somebody works in a scratch folder.
fn is_in_use(path: &Path) -> bool {
    match File::open(path.join(ALIVE_FILE)).map(|file| file.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => true,
        // No folder, no such file, or nobody holds it.
        _ => false,
    }
}

fn remove(path: &Path, swept: &mut Swept) {
    match durable::remove_tree(path) {
        Ok(()) => swept.removed.push(path.to_path_buf()),
        Err(error) => {
            let text = format!("can't remove {}, which an earlier run left: {error}", path.display());
            swept.findings.push(Finding::advice("leftover", text).hint("remove it by hand"));
        }
    }
}
