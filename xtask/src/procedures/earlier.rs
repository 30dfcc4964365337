//! The newest good backup, on which the next one builds: members that are the same are taken over, and the bundles of
//! its history are carried over as they are. Both are compared or checked against their digests on the way, so that
//! damage there never travels; then everything is made anew, and the damage is told.

use std::sync::Arc;

use anyhow::{Context, Error, Result, ensure};

use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::Manifest;
use crate::archive::reader::{Archive, Sink};
use crate::archive::reuse::Reuse;
use crate::archive::writer::Writer;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::project::git::{Beginning, Earlier};
use crate::store::Store;

use super::add_frame::LEVEL;
use super::prove;

/// No header of a bundle is larger than this many bytes; a backup that has one is not built on.
const HEAD_MAX: usize = 64 << 20;

/// What a backup can build on.
pub struct Newest {
    /// Which one it is.
    pub id: BackupId,
    /// Its members.
    pub reuse: Arc<Reuse>,
    /// Its history, where something can be built on it.
    pub history: Option<History>,
    /// Whether its history can't be read.
    pub is_damaged: bool,
}

/// The history of an earlier backup.
pub struct History {
    archive: Archive,
    /// What its bundles hold.
    pub earlier: Earlier,
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

/// The newest good backup of a store. One that can't be read has nothing to offer; `verify` and `status` tell of it.
pub fn newest(store: &Store) -> Option<Newest> {
    let entry = store.list().ok()?.entries.into_iter().rev().find(|entry| !entry.is_damaged())?;
    let (archive, manifest) = prove::open(&entry.archive).ok()?;
    let history = history(archive, &manifest);
    let is_damaged = history.is_err();
    let history = history.ok().flatten();
    let reuse = Arc::new(Reuse::of(Archive::open(&entry.archive).ok()?));
    Some(Newest { id: entry.id, reuse, history, is_damaged })
}

/// What is known of a history that was saved whole.
fn history(archive: Archive, manifest: &Manifest) -> Result<Option<History>> {
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
    let earlier = Earlier::read(facts, &bundles)?;
    Ok(earlier.map(|earlier| History { archive, earlier }))
}

/// Bytes of a file's content.
fn size(entry: &Entry) -> u64 {
    entry.chunks.iter().map(|chunk| chunk.size).sum()
}

impl History {
    /// Carries one bundle over.
    ///
    /// # Errors
    /// [`Damaged`] when it is not what it was; any other when the archive can't be written.
    pub fn carry(
        &self,
        id: &BackupId,
        place: &SafePath,
        writer: &mut Writer,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let damaged = |error: Error| error.context(Damaged(id.clone()));
        let entry = self.archive.entry(place).context("it has no such bundle").map_err(damaged)?;
        writer.begin(entry.meta.clone(), LEVEL)?;
        let mut carrying = Carrying { writer, monitor, broken: None };
        let read = self.archive.read(|entry| entry.meta.path == *place, &mut carrying);
        if let Some(error) = carrying.broken.take() {
            return Err(error);
        }
        if let Err(error) = read {
            interrupt::check()?;
            return Err(damaged(error));
        }
        let (_, digest) = writer.end()?;
        let is_same = || -> Result<()> {
            ensure!(entry.digest == Some(digest), "{place} does not have its digest");
            Ok(())
        };
        is_same().map_err(damaged)
    }
}

/// Hands on the chunks as they were cut.
struct Carrying<'a> {
    writer: &'a mut Writer,
    monitor: &'a dyn Monitor,
    /// An error of the new archive, which must not pass for damage of the earlier one.
    broken: Option<Error>,
}

impl Sink for Carrying<'_> {
    fn begin(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.monitor.advance(bytes.len() as u64);
        self.writer.chunk(bytes.to_vec()).or_else(|error| {
            self.broken = Some(error);
            anyhow::bail!("the archive can't be written")
        })
    }

    fn end(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }
}

/// What is told of an earlier backup that is damaged.
pub fn damaged(id: &BackupId) -> Finding {
    let text = format!("the earlier backup {id} is damaged: what it should hold was packed anew");
    Finding::problem("earlier-damaged", text).hint(format!("see what is lost: cargo xtask verify {id}"))
}
