//! Files whose content is taken from an earlier archive and not from the disk, because they did not change since.
//!
//! A large file's members are copied as they are; whoever made the archive has to check it as a whole before it counts,
//! and they are checked then. Of a small file only the header is written, with a hole behind it. When the shared
//! member is complete, and its entries lie in one earlier member in the same row, that one is copied likewise; else
//! the holes are filled from the earlier archive, and checked.

use anyhow::{Context, Result, ensure};

use super::{SMALL_MAX, Writer};
use crate::header::{self, Kind, Meta};
use crate::index::{Entry, Member};
use crate::pipeline::Written;
use crate::reuse::{Hole, Reuse};

impl Writer {
    /// Adds a file as the earlier archive holds it, without reading more of it than must be; false when it can't be
    /// taken over like that, and nothing was added. `meta` may be another one.
    ///
    /// # Errors
    /// When writing fails. That the earlier archive is damaged shows here, or when the new one is checked.
    pub fn carry(&mut self, meta: Meta, earlier: &Entry) -> Result<bool> {
        ensure!(self.open.is_none(), "an entry inside an entry");
        let Some(reuse) = self.reuse.clone() else { return Ok(false) };
        let Kind::File { size } = earlier.kind else { return Ok(false) };
        if reuse.has_own_members(earlier) {
            self.carry_members(meta, earlier, &reuse)?;
            return Ok(true);
        }
        let [chunk] = earlier.chunks.as_slice() else { return Ok(false) };
        if size > SMALL_MAX as u64 {
            return Ok(false);
        }
        let block = header::write(&meta, &earlier.kind)?;
        self.group.extend_from_slice(&block);
        let (at, length) = (self.group.len(), usize::try_from(size)?);
        let inner = usize::try_from(chunk.inner)?;
        self.holes.push(Hole { at, length, member: chunk.member, inner, digest: chunk.digest });
        self.group_places.push((self.entries.len(), at as u64, size));
        self.group.resize(at + length + header::padding(size), 0);
        let cut = self.cut_here(meta.path.bytes());
        self.row.add(Some(&reuse), &meta, &earlier.kind);
        self.remember(meta, earlier);
        if cut {
            self.end_group()?;
        }
        Ok(true)
    }

    fn carry_members(&mut self, meta: Meta, earlier: &Entry, reuse: &Reuse) -> Result<()> {
        self.end_group()?;
        let block = header::write(&meta, &earlier.kind)?;
        self.submit(block, 0, Vec::new(), false)?;
        let entry = self.entries.len();
        for chunk in &earlier.chunks {
            let (place, length) = reuse.place(chunk.member).context("a chunk lies in a member")?;
            let member = Member { size: place.1, length, digest: None };
            self.pipeline.copy(place.0, Written { member, digests: vec![chunk.digest] })?;
            self.places.push(vec![(entry, 0, chunk.size)]);
            self.members += 1;
        }
        self.remember(meta, earlier);
        Ok(())
    }

    /// Copies the earlier member that holds a complete group, if it does; its headers are known to be the same.
    pub(super) fn carry_group(&mut self, length: usize, holes: &[Hole]) -> Result<bool> {
        let (Some(reuse), Some(first)) = (&self.reuse, holes.first()) else { return Ok(false) };
        let in_place = |hole: &Hole| hole.member == first.member && hole.at == hole.inner;
        let Some((place, was, digest)) = reuse.shared_member(first.member) else { return Ok(false) };
        if was != length as u64 || !holes.iter().all(in_place) {
            return Ok(false);
        }
        let member = Member { size: place.1, length: was, digest: Some(digest) };
        let digests = holes.iter().map(|hole| hole.digest).collect();
        self.pipeline.copy(place.0, Written { member, digests })?;
        Ok(true)
    }

    /// The line of the index.
    fn remember(&mut self, meta: Meta, earlier: &Entry) {
        let (kind, digest, seen) = (earlier.kind.clone(), earlier.digest, earlier.seen);
        self.entries.push(Entry { meta, kind, digest, chunks: Vec::new(), seen });
    }
}
