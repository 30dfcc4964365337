//! Members of an earlier archive, which a new one takes over in their compressed form where it holds the same
//! content, so that a repeated backup compresses only what changed. Every archive stays whole: members are
//! copied, never referred to.
//!
//! The earlier archive is believed in nothing. Where the content was read just now, a member is taken over only after it
//! was unpacked and compared with it, byte for byte; one that differs or can't be unpacked is counted, and its
//! content is compressed anew. Where the content was not read, because its file did not change, members of large files
//! are copied as they are, and counted: the archive is good only when all of it was checked afterwards. So damage there
//! never travels.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use crate::base::digest::Digest;
use crate::header::{self, Kind};
use crate::index::{Chunk, Entry};
use crate::member::Expander;
use crate::reader::Archive;

/// What can be taken over.
pub struct Reuse {
    archive: Archive,
    offsets: Vec<u64>,
    /// Members by a digest and the length of their content: the digest of a shared member's whole content, or of the
    /// one chunk in it.
    members: HashMap<(Digest, u64), usize>,
    taken: AtomicU64,
    damaged: AtomicU64,
    copied: AtomicU64,
}

/// A part of a shared member's content that is to be filled in from the earlier archive.
pub struct Hole {
    /// Where in the new member's content, in bytes.
    pub at: usize,
    /// Bytes.
    pub length: usize,
    /// The earlier member that holds them,
    pub member: usize,
    /// and where in its content.
    pub inner: usize,
    /// Their digest.
    pub digest: Digest,
}

/// A member of the earlier archive, read and found to hold what is wanted.
pub(super) struct Known {
    /// The member.
    pub bytes: Vec<u8>,
    /// Where it lies in the earlier archive, in bytes.
    pub from: u64,
}

impl Known {
    /// Whether it begins and ends at multiples of a block.
    pub fn is_aligned(&self, block: Option<u64>) -> bool {
        block.is_none_or(|block| {
            self.from.is_multiple_of(block) && (self.bytes.len() as u64).is_multiple_of(block)
        })
    }
}

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reused {
    /// So many bytes of the new archive.
    pub bytes: u64,
    /// So many members that were not what the earlier archive's index says.
    pub damaged: u64,
    /// So many of the bytes were copied without a look at them: the new archive has yet to be checked.
    pub unchecked: u64,
}

/// The earlier archive does not hold what its index says, and what it should hold was not read from the disk.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the earlier archive is damaged")
    }
}

impl std::error::Error for Broken {}

impl Reuse {
    /// What an archive has to offer.
    pub fn of(archive: Archive) -> Reuse {
        let index = archive.index();
        let mut members = HashMap::new();
        for (number, member) in index.members.iter().enumerate() {
            if let Some(digest) = member.digest {
                members.insert((digest, member.length), number);
            }
        }
        for chunk in index.entries.iter().flat_map(|entry| &entry.chunks) {
            // One that has a member of its own; the last of a file has the padding in it, too.
            if let Some(member) = index.members.get(chunk.member).filter(|member| member.digest.is_none()) {
                members.insert((chunk.digest, member.length), chunk.member);
            }
        }
        let offsets = index.offsets();
        let (taken, damaged, copied) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Reuse { archive, offsets, members, taken, damaged, copied }
    }

    /// The earlier archive.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Whether each chunk of a file of the earlier archive is alone in its member.
    pub fn has_own_members(&self, entry: &Entry) -> bool {
        let alone = |chunk: &Chunk| {
            let member = self.archive.index().members.get(chunk.member);
            let end = chunk.start + chunk.size;
            let Kind::File { size } = entry.kind else { return false };
            // The last one has the padding of the file in it.
            let padding = if end == size { header::padding(size) as u64 } else { 0 };
            member.is_some_and(|m| m.digest.is_none() && chunk.inner == 0 && m.length == chunk.size + padding)
        };
        !entry.chunks.is_empty() && entry.chunks.iter().all(alone)
    }

    /// Where a member lies and how long it is, in bytes; and the length of its content.
    pub(super) fn place(&self, number: usize) -> Option<((u64, u64), u64)> {
        let member = self.archive.index().members.get(number)?;
        Some(((*self.offsets.get(number)?, member.size), member.length))
    }

    /// Where a member that entries share lies and how long it is, in bytes; the length of its content, and its digest.
    pub(super) fn shared_member(&self, number: usize) -> Option<((u64, u64), u64, Digest)> {
        let digest = self.archive.index().members.get(number)?.digest?;
        let (place, length) = self.place(number)?;
        Some((place, length, digest))
    }

    /// Fills the holes of a shared member's content, and checks what is put there; the member as it is in the earlier
    /// archive, where the content is just that of one there.
    ///
    /// # Errors
    /// [`Broken`] when the earlier archive does not hold what its index says.
    pub(super) fn fill(
        &self,
        content: &mut [u8],
        holes: &[Hole],
        expander: &mut Expander,
    ) -> Result<Option<Known>> {
        let mut only = None;
        for run in holes.chunk_by(|one, other| one.member == other.member) {
            let Some(first) = run.first() else { continue };
            let (bytes, earlier) = self.archive.raw_member(expander, first.member).context(Broken)?;
            for hole in run {
                let from = earlier.get(hole.inner..hole.inner + hole.length);
                let from = from.filter(|from| Digest::of(from) == hole.digest).context(Broken)?;
                let to = content.get_mut(hole.at..hole.at + hole.length);
                to.context("a hole lies in its content")?.copy_from_slice(from);
            }
            let from = self.place(first.member).map_or(0, |(place, _)| place.0);
            only = (run.len() == holes.len() && earlier == content).then_some(Known { bytes, from });
        }
        Ok(only)
    }

    /// Opens the earlier archive once more, for copying from it.
    pub(super) fn open(&self) -> Result<File> {
        Ok(File::open(self.archive.path())?)
    }

    /// Counts bytes that were compared and are written.
    pub(super) fn count_taken(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that are copied.
    pub(super) fn count_copied(&self, bytes: u64) {
        self.copied.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The member that holds exactly this content, by the digest of all of it or of the one chunk in it; `None` when there is none, or it is not
    /// what it should be.
    pub(super) fn member(&self, digest: &Digest, content: &[u8], expander: &mut Expander) -> Option<Known> {
        let length = content.len() as u64;
        let &number = self.members.get(&(*digest, length))?;
        let read = self.archive.raw_member(expander, number);
        let from = self.place(number).map_or(0, |(place, _)| place.0);
        let member = read.ok().filter(|(_, earlier)| earlier == content);
        let member = member.map(|(bytes, _)| Known { bytes, from });
        if member.is_none() {
            self.damaged.fetch_add(1, Ordering::Relaxed);
        }
        member
    }

    /// What was taken over so far.
    pub fn so_far(&self) -> Reused {
        let unchecked = self.copied.load(Ordering::Relaxed);
        let bytes = self.taken.load(Ordering::Relaxed) + unchecked;
        Reused { bytes, damaged: self.damaged.load(Ordering::Relaxed), unchecked }
    }
}
