//! Members of an earlier archive, which a new one takes over in their compressed form where it holds the same
//! content, so that a repeated backup compresses only what changed. Every archive stays whole: members are
//! copied, never referred to.
//!
//! The earlier archive is believed in nothing. A member is taken over only after it was unpacked and compared,
//! byte for byte, with the content that was read just now; one that differs or can't be unpacked is counted, and
//! its content is compressed anew. So damage there never travels.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::digest::Digest;
use crate::member::Expander;
use crate::reader::Archive;

/// What can be taken over.
pub struct Reuse {
    file: Mutex<File>,
    /// Where a member lies and how long it is, in bytes, by a digest and the length of its content: the digest of
    /// a shared member's whole content, or of the one chunk in it.
    members: HashMap<(Digest, u64), (u64, u64)>,
    taken: AtomicU64,
    damaged: AtomicU64,
}

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reused {
    /// So many bytes of the new archive.
    pub bytes: u64,
    /// So many members that were not what the earlier archive's index says.
    pub damaged: u64,
}

impl Reuse {
    /// What an archive has to offer.
    pub fn of(archive: Archive) -> Reuse {
        let (file, index, offsets) = archive.into_parts();
        let mut members = HashMap::new();
        let place = |number: usize| -> Option<((u64, u64), u64)> {
            let member = index.members.get(number)?;
            Some(((*offsets.get(number)?, member.size), member.length))
        };
        for (number, member) in index.members.iter().enumerate() {
            if let (Some(digest), Some((place, length))) = (member.digest, place(number)) {
                members.insert((digest, length), place);
            }
        }
        for chunk in index.entries.iter().flat_map(|entry| &entry.chunks) {
            // One that has a member of its own; the last of a file has the padding in it, too.
            let is_shared = index.members.get(chunk.member).is_none_or(|member| member.digest.is_some());
            if let (false, Some((place, length))) = (is_shared, place(chunk.member)) {
                members.insert((chunk.digest, length), place);
            }
        }
        Reuse { file, members, taken: AtomicU64::new(0), damaged: AtomicU64::new(0) }
    }

    /// The member that holds exactly this content, by the digest of all of it or of the one chunk in it; `None` when there is none, or it is not
    /// what it should be.
    pub(super) fn member(&self, digest: &Digest, content: &[u8], expander: &mut Expander) -> Option<Vec<u8>> {
        let length = content.len() as u64;
        let &(offset, size) = self.members.get(&(*digest, length))?;
        let mut read = || -> anyhow::Result<Vec<u8>> {
            // Within the bounds of what deflate adds: the index was checked.
            let mut bytes = vec![0; usize::try_from(size)?];
            {
                let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut bytes)?;
            }
            anyhow::ensure!(expander.content(&bytes, length)? == content, "it holds something else");
            Ok(bytes)
        };
        let member = read().ok();
        match &member {
            Some(bytes) => self.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed),
            None => self.damaged.fetch_add(1, Ordering::Relaxed),
        };
        member
    }

    /// What was taken over so far.
    pub fn so_far(&self) -> Reused {
        Reused { bytes: self.taken.load(Ordering::Relaxed), damaged: self.damaged.load(Ordering::Relaxed) }
    }
}
