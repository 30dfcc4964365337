//! The index of an archive, `stargz.index.json`: where the content of each entry lies (eStargz's TOC, in
//! containerd's stargz-snapshotter `docs/estargz.md`), and a table of all gzip members as a field of our
//! own. It is data from outside: [`Index::check`] accepts it only when it is consistent in itself.

mod toc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::seen::Seen;
use crate::header::{Kind, Meta};
use crate::member::{LENGTH_MAX, PADDING_MAX};

/// The name of the index in the tar stream.
pub const INDEX_NAME: &str = "stargz.index.json";

/// An entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path, mode, owner, time.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
    /// Digest of a file's whole content.
    pub digest: Option<Digest>,
    /// Where a file's content lies, in order, without gaps; empty for an empty file.
    pub chunks: Vec<Chunk>,
    /// What the file was like when it was read; a field of our own.
    pub seen: Option<Seen>,
}

/// A piece of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which member holds it, counted from 0.
    pub member: usize,
    /// Where it starts in the member's content, in bytes.
    pub inner: u64,
    /// Where it starts in the file, in bytes.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Digest of these bytes.
    pub digest: Digest,
}

/// A gzip member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Compressed bytes, header and trailer included.
    pub size: u64,
    /// Bytes of content.
    pub length: u64,
    /// Digest of the content, where several entries share the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// The whole index.
#[derive(Debug, Default)]
pub struct Index {
    /// Every entry of the tar stream but the index itself, in its order.
    pub entries: Vec<Entry>,
    /// Every gzip member before the index, in its order.
    pub members: Vec<Member>,
}

impl Index {
    /// Where each member starts, and after the last the index itself, in bytes from the start of the file.
    pub fn offsets(&self) -> Vec<u64> {
        let starts = self.members.iter().scan(0u64, |at, member| {
            *at = at.saturating_add(member.size);
            Some(*at)
        });
        std::iter::once(0).chain(starts).collect()
    }

    /// Whether it is consistent: no path twice, none below anything but a folder, chunks in order, without
    /// gaps and inside their members, members within bounds.
    ///
    /// # Errors
    /// Names the first entry that is wrong.
    pub fn check(&self) -> Result<()> {
        for member in &self.members {
            ensure!(member.length <= LENGTH_MAX, "a member of {} bytes", member.length);
            // Deflate adds little to what it can't make smaller; so this bounds what is read at once.
            let most = member.length + member.length / 8 + 256 + PADDING_MAX;
            let fits = (1..=most).contains(&member.size);
            ensure!(fits, "a member of {} bytes for {} of content", member.size, member.length);
        }
        let mut folders = std::collections::HashSet::new();
        let mut seen = std::collections::HashSet::with_capacity(self.entries.len());
        let mut at = (0usize, 0u64);
        for entry in &self.entries {
            let path = &entry.meta.path;
            let wrong = |what: &str| format!("the index is wrong about {path}: {what}");
            ensure!(seen.insert(path), wrong("it is there twice"));
            let parent = path.parent();
            ensure!(parent.is_none_or(|p| folders.contains(&p)), wrong("it is in no folder of the archive"));
            ensure!(entry.meta.mode <= 0o7777, wrong("its mode"));
            let size = match &entry.kind {
                Kind::File { size } => *size,
                Kind::Folder => {
                    folders.insert(path.clone());
                    0
                }
                Kind::Link { .. } => 0,
            };
            ensure!(matches!(entry.kind, Kind::File { .. }) == entry.digest.is_some(), wrong("its digest"));
            let mut end = 0u64;
            for chunk in &entry.chunks {
                let member = self.members.get(chunk.member).with_context(|| wrong("its member"))?;
                let inner_end = chunk.inner.checked_add(chunk.size).filter(|end| *end <= member.length);
                ensure!(chunk.start == end && chunk.size > 0 && inner_end.is_some(), wrong("its chunks"));
                ensure!((chunk.member, chunk.inner) >= at, wrong("the order of its chunks"));
                at = (chunk.member, inner_end.unwrap_or_default());
                end = end.checked_add(chunk.size).with_context(|| wrong("its size"))?;
            }
            ensure!(end == size, wrong("its size"));
            if let ([chunk], Some(digest)) = (entry.chunks.as_slice(), &entry.digest) {
                ensure!(chunk.digest == *digest, wrong("its digest"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::toc::AT_ONCE;
    use super::*;
    use crate::base::safe_path::SafePath;

    fn sample() -> Index {
        let digest = Digest::of(b"x");
        let meta = |path: &[u8]| Meta {
            path: SafePath::new(path).unwrap(),
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime_s: 3,
        };
        let chunk = |member, inner, start, size| Chunk { member, inner, start, size, digest };
        let file = |path: &[u8], chunks: Vec<Chunk>| Entry {
            meta: meta(path),
            kind: Kind::File { size: chunks.iter().map(|c| c.size).sum() },
            digest: Some(digest),
            chunks,
            seen: None,
        };
        let link = Kind::Link { target: b"\xff".to_vec() };
        Index {
            entries: vec![
                Entry { meta: meta(b"a"), kind: Kind::Folder, digest: None, chunks: vec![], seen: None },
                file(b"a/caf\xe9", vec![chunk(0, 512, 0, 7)]),
                Entry { meta: meta(b"a/l"), kind: link, digest: None, chunks: vec![], seen: None },
                file(b"a/big", vec![chunk(1, 0, 0, 10), chunk(2, 0, 10, 5)]),
                file(b"a/empty", vec![]),
            ],
            members: vec![
                Member { size: 100, length: 1024, digest: Some(digest) },
                Member { size: 20, length: 10, digest: None },
                Member { size: 15, length: 5, digest: None },
            ],
        }
    }

    #[test]
    fn json_keeps_everything() {
        let index = sample();
        let mut json = Vec::new();
        index.write_json(&mut json).unwrap();
        for size in [json.len() as u64, AT_ONCE + 1] {
            let back = Index::read_json(json.as_slice(), size, 135).unwrap();
            assert_eq!((&back.entries, &back.members), (&index.entries, &index.members));
            assert!(Index::read_json(json.as_slice(), size, 136).is_err());
            assert!(Index::read_json(&json[..json.len() - 3], size, 135).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let wrongs: [fn(&mut Index); 11] = [
            |i| i.members[0].size = 1 << 40,
            |i| i.members[0].size = 0,
            |i| i.entries[3].chunks[1].start = 9,
            |i| i.entries[3].chunks[1].member = 0,
            |i| i.entries[3].chunks[0].size = 11,
            |i| i.entries[1].kind = Kind::File { size: 8 },
            |i| i.entries[1].digest = None,
            |i| i.entries[4].meta.path = SafePath::new("a/big").unwrap(),
            |i| i.entries[4].meta.path = SafePath::new("b/x").unwrap(),
            |i| i.entries[0].meta.mode = 0o10_000,
            |i| i.members[0].length = LENGTH_MAX + 1,
        ];
        sample().check().unwrap();
        for (case, wrong) in wrongs.iter().enumerate() {
            let mut index = sample();
            wrong(&mut index);
            assert!(index.check().is_err(), "case {case}");
        }
    }
}
