//! What is known of a backup without judging it: its summary, read again from the archive when the file beside
//! it is missing or damaged.

use std::fs::File;

use anyhow::Result;

use crate::archive::manifest::FORMAT;
use crate::base::digest::Digest;
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::store::summary::Summary;

use super::{prove, take};

/// What is known of a backup.
pub enum Reading {
    /// All of it.
    Known(Box<Summary>),
    /// A newer program wrote it; that is no damage.
    Newer(anyhow::Error),
    /// Its archive can't be read.
    Unknown(anyhow::Error),
}

impl Reading {
    /// The summary, where there is one.
    pub fn summary(&self) -> Option<&Summary> {
        match self {
            Reading::Known(summary) => Some(summary),
            Reading::Newer(_) | Reading::Unknown(_) => None,
        }
    }

    /// Whether a newer program wrote it, however much of it could be read.
    pub fn is_newer(&self) -> bool {
        match self {
            Reading::Known(summary) => summary.archive_format > FORMAT,
            Reading::Newer(_) => true,
            Reading::Unknown(_) => false,
        }
    }
}

/// Reads what is known of a backup.
pub fn read(store: &Store, entry: &StoreEntry) -> Reading {
    match summary_of(store, entry) {
        Ok(summary) => Reading::Known(Box::new(summary)),
        Err(error) if prove::is_newer(&entry.archive) => Reading::Newer(error),
        Err(error) => Reading::Unknown(error),
    }
}

/// The summary beside the archive, or a new one from the archive, which is then put in its place.
fn summary_of(store: &Store, entry: &StoreEntry) -> Result<Summary> {
    if let Some(summary) = &entry.summary {
        return Ok(summary.clone());
    }
    let (_, manifest) = prove::open(&entry.archive)?;
    let (digest, size) = Digest::of_reader(&mut File::open(&entry.archive)?)?;
    let summary = take::summarize(&manifest, size, digest);
    // A store that may only be read stays without; nothing depends on it.
    let _ = store.rewrite_summary(entry, &summary);
    Ok(summary)
}
