//! The summary of a backup, read again from its archive when the file beside it is missing or damaged.

use std::fs::File;

use anyhow::Result;

use crate::base::digest::Digest;
use crate::procedures::{prove, take};
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::store::summary::Summary;

/// The summary beside the archive, or a new one from the archive, which is then put in its place.
///
/// # Errors
/// When the archive can't be read either.
pub fn of(store: &Store, entry: &StoreEntry) -> Result<Summary> {
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
