//! The index of an archive, `stargz.index.json`: where the content of each entry lies (eStargz's TOC, in
//! containerd's stargz-snapshotter `docs/estargz.md`), and a table of all gzip members as a field of our
//! own. It is data from outside: [`Index::check`] accepts it only when it is consistent in itself.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail, ensure};
use data_encoding::BASE64;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::escape::escape;
use crate::base::safe_path::SafePath;
use crate::base::seen::Seen;
use crate::header::{Kind, Meta};
use crate::member::{LENGTH_MAX, PADDING_MAX};

/// An index of at most so many bytes of JSON is held in memory while it is read: that is three times as fast.
const AT_ONCE: u64 = 4 << 20;

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

/// One line of the TOC, with the field names of the published format.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TocEntry {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    r#type: String,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "modtime", skip_serializing_if = "Option::is_none")]
    modtime: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_name_base64: Option<String>,
    #[serde(skip_serializing_if = "is_zero_u32")]
    mode: u32,
    #[serde(skip_serializing_if = "is_zero_u32")]
    uid: u32,
    #[serde(skip_serializing_if = "is_zero_u32")]
    gid: u32,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    inner_offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Seen>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

fn oci(digest: &Digest) -> String {
    format!("sha256:{digest}")
}

/// Text and, where it is not UTF-8, the raw bytes in base64.
fn named(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (escape(bytes), Some(BASE64.encode(bytes))),
    }
}

fn unnamed(text: String, base64: Option<String>) -> Result<Vec<u8>> {
    match base64 {
        None => Ok(text.into_bytes()),
        Some(base64) => {
            let bytes = BASE64.decode(base64.as_bytes())?;
            ensure!(
                std::str::from_utf8(&bytes).is_err() && escape(&bytes) == text,
                "two ways to write one name"
            );
            Ok(bytes)
        }
    }
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

    /// Writes the JSON, an entry at a time.
    ///
    /// # Errors
    /// What the writer returns.
    pub fn write_json(&self, out: &mut impl Write) -> Result<()> {
        let offsets = self.offsets();
        // The members come first: a reader then knows them when it meets the first entry.
        out.write_all(b"{\"version\":1,\"members\":[")?;
        for (i, member) in self.members.iter().enumerate() {
            out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut *out, member)?;
        }
        out.write_all(b"\n],\"entries\":[")?;
        let mut first = true;
        for line in self.entries.iter().flat_map(|entry| lines_of(entry, &offsets)) {
            out.write_all(if first { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut *out, &line)?;
            first = false;
        }
        Ok(out.write_all(b"\n]}\n")?)
    }

    /// Reads JSON of so many bytes, an entry at a time, and checks it.
    ///
    /// # Errors
    /// When it is not the index of an archive that ends its members at `index_offset`.
    pub fn read_json(mut reader: impl Read, size: u64, index_offset: u64) -> Result<Index> {
        if size > AT_ONCE {
            return Index::read(serde_json::Deserializer::from_reader(reader), index_offset);
        }
        let mut text = Vec::with_capacity(usize::try_from(size)?);
        reader.read_to_end(&mut text).context("its index is not readable")?;
        Index::read(serde_json::Deserializer::from_slice(&text), index_offset)
    }

    fn read<'j>(
        mut json: serde_json::Deserializer<impl serde_json::de::Read<'j>>,
        index_offset: u64,
    ) -> Result<Index> {
        let mut index = Index::default();
        TopLevel { index: &mut index, index_offset }
            .deserialize(&mut json)
            .context("its index is not readable")?;
        json.end().context("its index is not readable")?;
        index.check()?;
        Ok(index)
    }

    fn take(&mut self, line: TocEntry, offsets: &[u64]) -> Result<()> {
        let mut name = unnamed(line.name, line.name_base64)?;
        if line.r#type == "dir" && name.ends_with(b"/") {
            name.pop();
        }
        let path = SafePath::new(name)?;
        // A last chunk leaves out its size: it reaches to the end of the file.
        let file_size = match self.entries.last() {
            Some(Entry { kind: Kind::File { size }, .. }) if line.r#type == "chunk" => *size,
            _ => line.size,
        };
        let left = file_size.saturating_sub(line.chunk_offset);
        let chunk = match &line.chunk_digest {
            None => None,
            Some(digest) => Some(Chunk {
                member: offsets
                    .binary_search(&line.offset)
                    .ok()
                    .context("a chunk that starts at no member")?,
                inner: line.inner_offset,
                start: line.chunk_offset,
                size: if line.chunk_size == 0 { left } else { line.chunk_size },
                digest: digest.parse().map_err(anyhow::Error::msg)?,
            }),
        };
        if line.r#type == "chunk" {
            let entry = self.entries.last_mut().filter(|entry| entry.meta.path == path);
            entry
                .context("a chunk without its file")?
                .chunks
                .push(chunk.context("a chunk without a digest")?);
            return Ok(());
        }
        let kind = match line.r#type.as_str() {
            "reg" => Kind::File { size: line.size },
            "dir" => Kind::Folder,
            "symlink" => Kind::Link {
                target: unnamed(line.link_name.context("a link without a target")?, line.link_name_base64)?,
            },
            other => bail!("an entry of type {other:?}, which this format does not have"),
        };
        let digest = line.digest.map(|d| d.parse().map_err(anyhow::Error::msg)).transpose()?;
        let mtime_s = line.modtime.unwrap_or_default().0;
        let meta = Meta { path, mode: line.mode, uid: line.uid, gid: line.gid, mtime_s };
        self.entries.push(Entry { meta, kind, digest, chunks: chunk.into_iter().collect(), seen: line.seen });
        Ok(())
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

fn lines_of<'a>(entry: &'a Entry, offsets: &'a [u64]) -> impl Iterator<Item = TocEntry> + 'a {
    // The published format has the complete path of the tar stream, where a folder ends in a slash.
    let slash: &[u8] = if entry.kind == Kind::Folder { b"/" } else { b"" };
    let (name, name_base64) = named(&[entry.meta.path.bytes(), slash].concat());
    let file_size = if let Kind::File { size } = entry.kind { size } else { 0 };
    let mut head = TocEntry {
        name: name.clone(),
        name_base64: name_base64.clone(),
        modtime: Some(Instant(entry.meta.mtime_s.max(0))),
        mode: entry.meta.mode,
        uid: entry.meta.uid,
        gid: entry.meta.gid,
        digest: entry.digest.as_ref().map(oci),
        seen: entry.seen,
        ..TocEntry::default()
    };
    match &entry.kind {
        Kind::File { size } => {
            head.r#type = "reg".to_owned();
            head.size = *size;
        }
        Kind::Folder => head.r#type = "dir".to_owned(),
        Kind::Link { target } => {
            head.r#type = "symlink".to_owned();
            let (text, base64) = named(target);
            (head.link_name, head.link_name_base64) = (Some(text), base64);
        }
    }
    let place = move |line: &mut TocEntry, chunk: &Chunk| {
        line.offset = offsets.get(chunk.member).copied().unwrap_or_default();
        line.inner_offset = chunk.inner;
        line.chunk_offset = chunk.start;
        // And it wants no size in the last chunk of a file.
        line.chunk_size = if chunk.start + chunk.size == file_size { 0 } else { chunk.size };
        line.chunk_digest = Some(oci(&chunk.digest));
    };
    if let Some(chunk) = entry.chunks.first() {
        place(&mut head, chunk);
    }
    std::iter::once(head).chain(entry.chunks.iter().skip(1).map(move |chunk| {
        let r#type = "chunk".to_owned();
        let mut line =
            TocEntry { name: name.clone(), name_base64: name_base64.clone(), r#type, ..TocEntry::default() };
        place(&mut line, chunk);
        line
    }))
}

/// Reads the object: version, members, then the entries one by one into the index.
struct TopLevel<'a> {
    index: &'a mut Index,
    index_offset: u64,
}

impl<'de> DeserializeSeed<'de> for TopLevel<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut version, mut offsets, mut entries) = (None, None, false);
        while let Some(key) = map.next_key::<String>()? {
            match (key.as_str(), &offsets) {
                ("version", _) if version.is_none() => {
                    let number: u32 = map.next_value()?;
                    if number != 1 {
                        return Err(A::Error::custom(format!("version {number} is newer than this program")));
                    }
                    version = Some(number);
                }
                ("members", None) => {
                    self.index.members = map.next_value()?;
                    let all = self.index.offsets();
                    if all.last() != Some(&self.index_offset) {
                        return Err(A::Error::custom("its members do not cover the whole file"));
                    }
                    offsets = Some(all);
                }
                ("entries", Some(offsets)) if !entries => {
                    map.next_value_seed(Lines { index: self.index, offsets })?;
                    entries = true;
                }
                _ => return Err(A::Error::custom(format!("{key:?} is not expected there"))),
            }
        }
        if version.is_some() && entries { Ok(()) } else { Err(A::Error::custom("it is not complete")) }
    }
}

struct Lines<'a> {
    index: &'a mut Index,
    offsets: &'a [u64],
}

impl<'de> DeserializeSeed<'de> for Lines<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Lines<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(line) = list.next_element::<TocEntry>()? {
            self.index.take(line, self.offsets).map_err(|error| A::Error::custom(format!("{error:#}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
