//! The index as JSON: written and read an entry at a time, so that memory holds one form of it only. What is read is
//! data from outside; it is checked before anybody gets it.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail, ensure};
use data_encoding::BASE64;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Chunk, Entry, Index};
use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::escape::escape;
use crate::base::safe_path::SafePath;
use crate::base::seen::Seen;
use crate::header::{Kind, Meta};

/// An index of at most so many bytes of JSON is held in memory while it is read: that is three times as fast.
pub(super) const AT_ONCE: u64 = 4 << 20;

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
