//! Where removed backups go for a while, and how they get there.
//!
//! What stands beside an archive is written into the trash first; then the archive is renamed into it, in one
//! step; then what stood beside it is removed. So a name in the store is a whole backup with all that belongs
//! to it until the moment when it is none, and the same goes for the trash. Killed before the rename, the trash
//! has files that belong to no archive; killed after it, the store has; the next run sweeps both. The state is
//! locked for that moment, so a pin that is set at the same time either keeps the backup or comes too late and
//! says so.
//!
//! The way back is a move: `mv STORE/trash/ID.* STORE/`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::catalog::StoreEntry;
use super::lock::{Lock, not_writable, state_lock};
use super::names::{self, ARCHIVE, Name, STATE, SUM, SUMMARY, UNDO};
use super::state::State;
use super::{Store, TRASH};
use crate::base::clock::Instant;
use crate::base::durable;
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts;
use crate::base::id::BackupId;

/// So long a removed backup lies in the trash.
pub const TRASH_SECONDS: i64 = 7 * 86_400;

/// A backup in the trash.
#[derive(Clone, Debug)]
pub struct Trashed {
    /// Which one.
    pub id: BackupId,
    /// Its file.
    pub archive: PathBuf,
    /// Bytes of the archive.
    pub bytes: u64,
    /// When it was removed; `None` when nothing tells.
    pub removed: Option<Instant>,
}

impl Trashed {
    /// Whether it has been there for long enough; `reference` is the moment from which ages count.
    pub fn is_expired(&self, reference: Instant) -> bool {
        self.removed.is_some_and(|removed| removed.0.saturating_add(TRASH_SECONDS) <= reference.0)
    }

    /// Whether it doesn't tell since when it is there, or tells of the future.
    fn is_undated(&self, now: Instant) -> bool {
        self.removed.is_none_or(|removed| removed > now)
    }

    /// Whether [`Store::expire_trash`] has something to do about it.
    pub fn is_due(&self, reference: Instant, now: Instant) -> bool {
        self.is_undated(now) || self.is_expired(reference)
    }
}

impl Store {
    /// The folder of removed backups.
    pub fn trash_path(&self) -> PathBuf {
        self.root().join(TRASH)
    }

    /// Moves a backup into the trash. False when it was pinned meanwhile, and stays.
    ///
    /// # Errors
    /// When the store can't be written; then the backup is where it was, whole.
    pub fn discard(&self, _lock: &Lock, entry: &StoreEntry, now: Instant) -> Result<bool> {
        let _moment = state_lock(self.root())?;
        let state_path = names::beside(&entry.archive, &entry.id, STATE);
        let mut state = State::read(&state_path);
        if state.pinned {
            return Ok(false);
        }
        state.removed = Some(now);
        let trash = self.trash_path();
        let target = trash.join(format!("{}{ARCHIVE}", entry.id));
        file_facts::create_private_dir(&trash).map_err(|error| not_writable(self.root(), error))?;
        durable::sync_dir(self.root()).map_err(|error| not_writable(self.root(), error))?;
        if target.symlink_metadata().is_ok() {
            let text = format!("can't remove backup {}: {} is there already", entry.id, target.display());
            let hint = "see which of the two is the right one, and move the other elsewhere";
            return Err(Failure::new(Kind::Failed, text).hint(hint).into());
        }
        let beside = [SUM, SUMMARY, UNDO].map(|end| names::beside(&entry.archive, &entry.id, end));
        let moved = || -> Result<()> {
            for path in &beside {
                match fs::read(path) {
                    Ok(bytes) => durable::write(&trash.join(path.file_name().unwrap_or_default()), &bytes)?,
                    // A lost one can be made again from the archive.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        return Err(error).with_context(|| format!("can't read {}", path.display()));
                    }
                }
            }
            durable::write(&names::beside(&target, &entry.id, STATE), &state.json()?)?;
            fs::rename(&entry.archive, &target)
                .with_context(|| format!("can't move {} to {}", entry.archive.display(), target.display()))
        };
        if let Err(error) = moved() {
            for end in [SUM, SUMMARY, STATE, UNDO] {
                // The next run sweeps it, when it can't be removed now.
                let _ = durable::remove_file(&names::beside(&target, &entry.id, end));
            }
            return Err(error.context(format!("backup {} can't be removed", entry.id)));
        }
        let settled = || -> std::io::Result<()> {
            durable::sync_dir(&trash)?;
            for path in beside.iter().chain([&state_path]) {
                durable::remove_file(path)?;
            }
            entry.archive.parent().map_or(Ok(()), durable::sync_dir)
        };
        // The backup is removed: what still stands there belongs to no archive, and the next run sweeps it.
        let _ = settled();
        Ok(true)
    }

    /// What is in the trash, oldest first.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn trash(&self) -> Result<Vec<Trashed>> {
        let folder = self.trash_path();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", folder.display())),
        };
        let mut found = Vec::new();
        for entry in entries {
            let archive = entry.with_context(|| format!("can't read {}", folder.display()))?.path();
            let name = archive.file_name().and_then(|name| name.to_str()).map(names::parse);
            let Some(Name::Archive(id)) = name else { continue };
            // Somebody takes it back just now.
            let Ok(meta) = archive.symlink_metadata() else { continue };
            let removed = State::read(&names::beside(&archive, &id, STATE)).removed;
            found.push(Trashed { id, bytes: meta.len(), archive, removed });
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Deletes what has been in the trash for long enough, and returns it. `reference` is the moment from which
    /// ages count. What does not tell since when it is there, or tells of the future, begins to wait now.
    ///
    /// # Errors
    /// When the trash can't be read or written.
    pub fn expire_trash(&self, lock: &Lock, reference: Instant, now: Instant) -> Result<Vec<Trashed>> {
        let mut deleted = Vec::new();
        for one in self.trash()? {
            if one.is_undated(now) {
                stamp(&one, now)?;
            } else if one.is_expired(reference) {
                self.delete(lock, &one)?;
                deleted.push(one);
            }
        }
        Ok(deleted)
    }

    /// Deletes all that is in the trash, because the room is needed, and returns it.
    ///
    /// # Errors
    /// When the trash can't be read or written.
    pub fn empty_trash(&self, lock: &Lock) -> Result<Vec<Trashed>> {
        let all = self.trash()?;
        for one in &all {
            self.delete(lock, one)?;
        }
        Ok(all)
    }

    /// The archive goes first: without it the rest is swept.
    fn delete(&self, _lock: &Lock, one: &Trashed) -> Result<()> {
        let attempt = || -> std::io::Result<()> {
            durable::remove_file(&one.archive)?;
            for end in [SUM, SUMMARY, STATE, UNDO] {
                durable::remove_file(&names::beside(&one.archive, &one.id, end))?;
            }
            durable::sync_dir(&self.trash_path())
        };
        attempt().with_context(|| format!("can't delete {}", one.archive.display()))
    }
}

/// Notes that a backup is in the trash since now. A state that can't be read is replaced: nothing there is
/// pinned.
fn stamp(one: &Trashed, now: Instant) -> Result<()> {
    let path: &Path = &names::beside(&one.archive, &one.id, STATE);
    let mut state = State::read(path);
    if state.unreadable.is_some() {
        state = State::default();
    }
    state.removed = Some(now);
    durable::write(path, &state.json()?)
}
