//! The backups in a folder there, as entries of a store, so that they are named in the same ways: by id, label
//! or time. Only what the names and the small files say; the archives themselves are proven when they come.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Listing;
use crate::base::digest::Digest;
use crate::base::id::BackupId;
use crate::catalog::StoreEntry;
use crate::names::{self, ARCHIVE, Name, STATE, SUM, SUMMARY};
use crate::state::State;
use crate::sum;
use crate::summary::Summary;

/// The endings of the small files that tell of backups.
pub const BESIDE: [&str; 2] = [".json", ".sha256"];

/// The backups of a listing, oldest first; `dir` holds the small files.
pub fn entries(listing: &Listing, dir: &Path) -> Vec<StoreEntry> {
    let mut entries: Vec<StoreEntry> = listing
        .iter()
        .filter_map(|(name, bytes)| {
            let Name::Archive(id) = names::parse(name) else { return None };
            let summary: Option<Summary> = fs::read(dir.join(format!("{id}{SUMMARY}")))
                .ok()
                .and_then(|b| serde_json::from_slice(&b).ok());
            Some(StoreEntry {
                archive: PathBuf::from(name),
                size: *bytes,
                safety: false,
                summary: summary.filter(|summary| summary.id == id),
                // Only the pin comes along: what was found wrong, was found in another file.
                state: State {
                    pinned: State::read(&dir.join(format!("{id}{STATE}"))).pinned,
                    ..State::default()
                },
                id,
            })
        })
        .collect();
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    entries
}

/// The digest that the file there tells; `None` when there is none.
///
/// # Errors
/// When that file is damaged.
pub fn digest(dir: &Path, id: &BackupId) -> Result<Option<Digest>> {
    sum::read(&dir.join(format!("{id}{SUM}")), &format!("{id}{ARCHIVE}"))
}
