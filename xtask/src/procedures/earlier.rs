//! The newest good backup, on which the next one builds: members that are the same are taken over, and the bundles of
//! its history are carried over as they are. Members are compared on the way, and what is carried over is checked with
//! the new archive before that counts, so that damage there never travels; then everything is made anew, and the damage
//! is told.

use std::sync::Arc;

use anyhow::{Context, Error, Result};

use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::archive::reuse::{Broken, Reuse};
use crate::archive::writer::Writer;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::safe_path::SafePath;
use crate::project::git::{Beginning, Earlier};
use crate::store::Store;

use super::prove;

/// No header of a bundle is larger than this many bytes; a backup that has one is not built on.
const HEAD_MAX: usize = 64 << 20;

/// Who verified a backup first: the one that made it.
pub const MADE_HERE: &str = "backup";

/// What a backup can build on.
pub struct Newest {
    /// Which one it is.
    pub id: BackupId,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its members.
    pub reuse: Arc<Reuse>,
    /// What its bundles hold, where something can be built on them.
    pub history: Option<Earlier>,
    /// Whether its history can't be read.
    pub is_damaged: bool,
    /// Whether it was made here, and not brought from elsewhere.
    pub made_here: bool,
}

/// The earlier backup turned out to be damaged; the new one must be made without it.
#[derive(Debug)]
pub struct Damaged(pub BackupId);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the earlier backup {} is damaged", self.0)
    }
}

impl std::error::Error for Damaged {}

/// The newest good backup of a store; a safety copy, which has no dumps, only where there is nothing else. One that
/// can't be read has nothing to offer; `verify` and `status` tell of it.
pub fn newest(store: &Store) -> Option<Newest> {
    let mut entries = store.list().ok()?.entries;
    entries.retain(|entry| !entry.is_damaged());
    let newest = entries.iter().rev().find(|entry| !entry.safety).or(entries.last())?;
    let (archive, manifest) = prove::open(&newest.archive).ok()?;
    let history = history(&archive, &manifest);
    let is_damaged = history.is_err();
    let history = history.ok().flatten();
    let reuse = Arc::new(Reuse::of(archive));
    let made_here = newest.state.verifications.iter().any(|check| check.by == MADE_HERE);
    Some(Newest { id: newest.id.clone(), manifest, reuse, history, is_damaged, made_here })
}

/// What is known of a history that was saved whole.
fn history(archive: &Archive, manifest: &Manifest) -> Result<Option<Earlier>> {
    let Some(facts) = &manifest.git else { return Ok(None) };
    // One with gaps, or without what only reflogs hold.
    let is_whole =
        manifest.findings.iter().all(|finding| !["git-history", "git-refs"].contains(&&*finding.code));
    let place = |name: &str| -> Result<SafePath> {
        layout::place(&Part::Git(SafePath::new(name)?))?.context("git has a place")
    };
    if !is_whole || archive.entry(&place("missing")?).is_some() {
        return Ok(None);
    }
    let mut bundles = Vec::new();
    for name in &facts.bundles {
        let path = place(&format!("bundles/{name}"))?;
        let ends = |bytes: &[u8]| bytes.windows(2).any(|two| two == b"\n\n");
        let bytes = archive.beginning(&path, HEAD_MAX, &ends)?;
        let size = archive.entry(&path).map_or(0, size);
        bundles.push(Beginning { name: name.clone(), size, bytes });
    }
    Earlier::read(facts, &bundles)
}

/// Bytes of a file's content.
fn size(entry: &Entry) -> u64 {
    entry.chunks.iter().map(|chunk| chunk.size).sum()
}

impl Newest {
    /// Carries one bundle over.
    ///
    /// # Errors
    /// [`Damaged`] when it is not there; any other when the archive can't be written.
    pub fn carry_bundle(&self, place: &SafePath, writer: &mut Writer) -> Result<()> {
        let damaged = || Damaged(self.id.clone());
        let entry = self.reuse.archive().entry(place).with_context(damaged)?;
        let carried = writer.carry(entry.meta.clone(), entry)?;
        if carried { Ok(()) } else { Err(damaged().into()) }
    }

    /// Whether an error says that this backup is damaged.
    pub fn is_to_blame(error: &Error) -> bool {
        error.is::<Damaged>() || error.is::<Broken>()
    }
}

/// What is told of an earlier backup that is damaged.
pub fn damaged(id: &BackupId) -> Finding {
    let text = format!("the earlier backup {id} is damaged: what it should hold was packed anew");
    Finding::problem("earlier-damaged", text).hint(format!("see what is lost: cargo xtask verify {id}"))
}
