//! What is in a store. Two folders are read once, and two small files for each backup; no archive is
//! opened.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::names::{self, Name, STATE, SUMMARY};
use super::state::State;
use super::summary::Summary;
use super::{SAFETY, Store};
use crate::base::failure::ResultExt;
use crate::base::id::BackupId;
use crate::base::kind::BackupKind;

/// What is in a store.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The backups, oldest first, safety copies among them.
    pub entries: Vec<StoreEntry>,
    /// What is no part of a store.
    pub strays: Vec<PathBuf>,
}

/// A backup in a store.
#[derive(Clone, Debug)]
pub struct StoreEntry {
    /// Which one.
    pub id: BackupId,
    /// Its file.
    pub archive: PathBuf,
    /// Bytes of the archive as it is now.
    pub size: u64,
    /// Whether it lies in the folder of safety copies.
    pub safety: bool,
    /// What was noted when it was made; `None` when that is lost, damaged, or of a newer form.
    pub summary: Option<Summary>,
    /// What is known by now.
    pub state: State,
}

impl StoreEntry {
    /// Why it was made; where it lies tells, when nothing else does.
    pub fn kind(&self) -> BackupKind {
        match &self.summary {
            _ if self.safety => BackupKind::Safety,
            Some(summary) => summary.kind,
            None => BackupKind::Manual,
        }
    }

    /// The user's own tag.
    pub fn label(&self) -> Option<&str> {
        self.summary.as_ref().and_then(|summary| summary.label.as_deref())
    }

    /// Whether damage was found in it, or its size is not what it was.
    pub fn is_damaged(&self) -> bool {
        !self.state.damage.is_empty() || self.summary.as_ref().is_some_and(|s| s.archive_bytes != self.size)
    }
}

impl Store {
    /// Lists the store.
    ///
    /// # Errors
    /// When one of its folders can't be read.
    pub fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        read_folder(self.root(), false, &mut listing)?;
        read_folder(&self.root().join(SAFETY), true, &mut listing)?;
        listing.entries.sort_by(|a, b| (&a.id, a.safety).cmp(&(&b.id, b.safety)));
        listing.strays.sort();
        Ok(listing)
    }
}

fn read_folder(folder: &Path, safety: bool, listing: &mut Listing) -> Result<()> {
    let shown = || format!("can't read the store {}", folder.display());
    let names = match fs::read_dir(folder) {
        Ok(names) => names,
        Err(error) if safety && error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(shown).hint(super::NO_ACCESS);
        }
    };
    let mut archives = Vec::new();
    let mut beside = BTreeSet::new();
    for entry in names {
        let entry = entry.with_context(shown)?;
        let (name, path) = (entry.file_name(), entry.path());
        match name.to_str().map_or(Name::Stray, names::parse) {
            Name::Archive(id) => archives.push((id, path)),
            Name::Sidecar(_) => {
                beside.insert(path);
            }
            Name::Stray => listing.strays.push(path),
            Name::Temporary | Name::Part => {}
        }
    }
    for (id, archive) in archives {
        // Follows a link: whoever moves an archive to another disk may leave one in its place.
        let size = match fs::metadata(&archive) {
            Ok(meta) if meta.is_file() => meta.len(),
            Ok(_) => {
                listing.strays.push(archive);
                continue;
            }
            // Rotated away since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound && !archive.is_symlink() => continue,
            Err(_) => {
                listing.strays.push(archive);
                continue;
            }
        };
        let (summary, state) = (names::beside(&archive, &id, SUMMARY), names::beside(&archive, &id, STATE));
        let summary = if beside.contains(&summary) { read_summary(&summary, &id) } else { None };
        let state = if beside.contains(&state) { State::read(&state) } else { State::default() };
        listing.entries.push(StoreEntry { id, archive, size, safety, summary, state });
    }
    Ok(())
}

/// A summary that can't be read, or is another backup's, is as good as none: the archive knows it all.
fn read_summary(path: &Path, id: &BackupId) -> Option<Summary> {
    let summary: Summary = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (summary.id == *id).then_some(summary)
}
