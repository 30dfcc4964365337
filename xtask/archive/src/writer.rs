//! Writes an archive: small files and everything without content in shared members, large files in chunks
//! with members of their own, at the end checksums, index, seal and footer.
//!
//! Whether a member starts anew is decided by the content alone (sizes, and hashes of paths and keys), so
//! unchanged input gives unchanged members. The header of a large file has a member of its own, stored, so
//! that it can be put right once the size is known: nothing has to know its size beforehand.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use anyhow::{Result, ensure};
use flate2::{Compression, GzBuilder};

use crate::base::digest::{Digest, Hasher};
use crate::base::safe_path::SafePath;
use crate::base::seen::Seen;
use crate::footer;
use crate::header::{self, BLOCK, Kind, Meta};
use crate::index::{Chunk, Entry, INDEX_NAME, Index};
use crate::member::{Level, stored};
use crate::pipeline::{Job, Pipeline};
use crate::reuse::{Hole, Reuse};
use crate::sums;

mod carry;
mod row;

use self::row::Row;

/// Files up to this many bytes share members.
pub const SMALL_MAX: usize = 128 << 10;
/// Chunks of page images and dumps: so many bytes, exactly and on average.
pub const CHUNK: usize = 64 << 10;
/// Chunks of other large files, in bytes.
pub const FILE_CHUNK: usize = 256 << 10;
/// A shared member is ended at the first good place after this many bytes,
const SHARED_MIN: usize = 128 << 10;
/// and at any place after this many.
const SHARED_MAX: usize = 256 << 10;

/// Where the checksums of all files are.
pub const SUMS_NAME: &str = "backup/SHA256SUMS";
/// The landmark of eStargz that says that nothing is to be fetched ahead.
pub const LANDMARK_NAME: &str = ".no.prefetch.landmark";

/// A finished archive.
pub struct Finished {
    /// Bytes.
    pub size: u64,
    /// Digest of the whole file.
    pub digest: Digest,
}

/// A large file being written.
struct Open {
    entry: usize,
    header_member: usize,
    size: u64,
    hasher: Hasher,
    level: Level,
    pending: Option<Vec<u8>>,
}

/// Writes one archive into a new file.
pub struct Writer {
    pipeline: Pipeline,
    entries: Vec<Entry>,
    /// Members handed in so far.
    members: usize,
    /// For each digest that the pipeline will report: which entry, and how many bytes from where.
    places: Vec<Vec<(usize, u64, u64)>>,
    group: Vec<u8>,
    group_places: Vec<(usize, u64, u64)>,
    /// What of the group is still to be filled in.
    holes: Vec<Hole>,
    row: Row,
    level: Level,
    reuse: Option<Arc<Reuse>>,
    open: Option<Open>,
    index: Index,
}

impl Writer {
    /// Starts an archive in an empty file opened for reading and writing. What `reuse` has is taken over. With `block`,
    /// members end at multiples of so many bytes.
    ///
    /// # Errors
    /// When writing fails.
    pub fn new(
        file: File,
        workers: usize,
        level: Level,
        reuse: Option<Arc<Reuse>>,
        block: Option<u64>,
    ) -> Result<Writer> {
        let mut writer = Writer {
            pipeline: Pipeline::start(file, workers, reuse.clone(), block),
            entries: Vec::new(),
            members: 0,
            places: Vec::new(),
            group: Vec::new(),
            group_places: Vec::new(),
            holes: Vec::new(),
            row: Row::default(),
            level,
            reuse,
            open: None,
            index: Index::default(),
        };
        let meta = Meta { path: SafePath::new(LANDMARK_NAME)?, mode: 0o644, uid: 0, gid: 0, mtime_s: 0 };
        writer.small(meta, &[0xf])?;
        Ok(writer)
    }

    /// Adds a folder; those above it come first.
    ///
    /// # Errors
    /// When writing fails.
    pub fn folder(&mut self, meta: Meta) -> Result<()> {
        self.without_content(meta, Kind::Folder)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When writing fails.
    pub fn link(&mut self, meta: Meta, target: Vec<u8>) -> Result<()> {
        self.without_content(meta, Kind::Link { target })
    }

    fn without_content(&mut self, meta: Meta, kind: Kind) -> Result<()> {
        ensure!(self.open.is_none(), "an entry inside an entry");
        let block = header::write(&meta, &kind)?;
        self.group.extend_from_slice(&block);
        let cut = self.cut_here(meta.path.bytes());
        self.row.add(self.reuse.as_deref(), &meta, &kind);
        self.entries.push(Entry { meta, kind, digest: None, chunks: Vec::new(), seen: None });
        if cut { self.end_group() } else { Ok(()) }
    }

    /// Adds a file of at most [`SMALL_MAX`] bytes, given as a whole.
    ///
    /// # Errors
    /// When writing fails.
    pub fn small(&mut self, meta: Meta, content: &[u8]) -> Result<()> {
        ensure!(self.open.is_none() && content.len() <= SMALL_MAX, "a file that is not small");
        let size = content.len() as u64;
        let block = header::write(&meta, &Kind::File { size })?;
        self.group.extend_from_slice(&block);
        if !content.is_empty() {
            self.group_places.push((self.entries.len(), self.group.len() as u64, size));
        }
        self.group.extend_from_slice(content);
        self.group.resize(self.group.len() + header::padding(size), 0);
        let cut = self.cut_here(meta.path.bytes());
        if content.is_empty() {
            self.row.add(self.reuse.as_deref(), &meta, &Kind::File { size });
        } else {
            self.row.end();
        }
        let digest = content.is_empty().then(|| Digest::of(b""));
        self.entries.push(Entry { meta, kind: Kind::File { size }, digest, chunks: Vec::new(), seen: None });
        if cut { self.end_group() } else { Ok(()) }
    }

    fn cut_here(&self, path: &[u8]) -> bool {
        let length = self.group.len();
        length >= SHARED_MAX || (length >= SHARED_MIN && Digest::of(path).bytes()[0] & 3 == 0)
    }

    fn end_group(&mut self) -> Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        let content = std::mem::take(&mut self.group);
        let (places, holes) = (std::mem::take(&mut self.group_places), std::mem::take(&mut self.holes));
        if self.row.take().is_unbroken() && self.carry_group(content.len(), &holes)? {
            self.places.push(places);
            self.members += 1;
            return Ok(());
        }
        self.hand_in(Job { content, level: self.level, ranges: Vec::new(), shared: true, holes }, places)
    }

    /// Has what follows begin in a member of its own, so that what comes before may differ each time.
    ///
    /// # Errors
    /// When writing fails.
    pub fn end_shared(&mut self) -> Result<()> {
        self.end_group()
    }

    /// Notes what the file added last was like when it was read.
    pub fn note_seen(&mut self, seen: Option<Seen>) {
        if let Some(entry) = self.entries.last_mut() {
            entry.seen = seen;
        }
    }

    fn submit(
        &mut self,
        content: Vec<u8>,
        level: Level,
        places: Vec<(usize, u64, u64)>,
        shared: bool,
    ) -> Result<()> {
        self.hand_in(Job { content, level, ranges: Vec::new(), shared, holes: Vec::new() }, places)
    }

    fn hand_in(&mut self, mut job: Job, places: Vec<(usize, u64, u64)>) -> Result<()> {
        // Places lie in the content, which is in memory.
        job.ranges = places.iter().map(|&(_, at, size)| at as usize..(at + size) as usize).collect();
        self.pipeline.submit(job)?;
        self.places.push(places);
        self.members += 1;
        Ok(())
    }

    /// Begins a file of any size; its chunks follow. `level` 0 stores it.
    ///
    /// # Errors
    /// When writing fails.
    pub fn begin(&mut self, meta: Meta, level: Level) -> Result<()> {
        ensure!(self.open.is_none(), "an entry inside an entry");
        self.end_group()?;
        let block = header::write(&meta, &Kind::File { size: 0 })?;
        let (entry, header_member) = (self.entries.len(), self.members);
        self.entries.push(Entry {
            meta,
            kind: Kind::File { size: 0 },
            digest: None,
            chunks: Vec::new(),
            seen: None,
        });
        self.submit(block, 0, Vec::new(), false)?;
        self.open = Some(Open { entry, header_member, size: 0, hasher: Hasher::new(), level, pending: None });
        Ok(())
    }

    /// Adds a chunk of the file begun; empty ones are passed over.
    ///
    /// # Errors
    /// When writing fails.
    pub fn chunk(&mut self, content: Vec<u8>) -> Result<()> {
        let Some(open) = &mut self.open else { anyhow::bail!("a chunk of no file") };
        if content.is_empty() {
            return Ok(());
        }
        open.hasher.update(&content);
        open.size += content.len() as u64;
        let (entry, level) = (open.entry, open.level);
        // The last chunk takes the padding with it, so one is always held back.
        match open.pending.replace(content) {
            Some(previous) => {
                let places = vec![(entry, 0, previous.len() as u64)];
                self.submit(previous, level, places, false)
            }
            None => Ok(()),
        }
    }

    /// Ends the file begun; its size in bytes and its digest.
    ///
    /// # Errors
    /// When writing fails.
    pub fn end(&mut self) -> Result<(u64, Digest)> {
        let Some(open) = self.open.take() else { anyhow::bail!("the end of no file") };
        if let Some(mut last) = open.pending {
            let places = vec![(open.entry, 0, last.len() as u64)];
            last.resize(last.len() + header::padding(open.size), 0);
            self.submit(last, open.level, places, false)?;
        }
        let digest = open.hasher.finish();
        let kind = Kind::File { size: open.size };
        let block = match self.entries.get_mut(open.entry) {
            Some(entry) => {
                (entry.kind, entry.digest) = (kind.clone(), Some(digest));
                header::write(&entry.meta, &kind)?
            }
            None => anyhow::bail!("the end of no file"),
        };
        self.pipeline.replace(open.header_member, stored(&block))?;
        Ok((open.size, digest))
    }

    /// Takes back the file begun, as if it had never been.
    ///
    /// # Errors
    /// When writing fails.
    pub fn abort(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { anyhow::bail!("the end of no file") };
        self.entries.truncate(open.entry);
        self.members = open.header_member;
        self.places.truncate(open.header_member - self.index.members.len());
        self.pipeline.cut_back(open.header_member)
    }

    /// Waits for all members handed in, so that every entry knows its digest and chunks.
    fn settle(&mut self) -> Result<()> {
        self.end_group()?;
        let written = self.pipeline.report()?;
        let places = std::mem::take(&mut self.places);
        ensure!(written.len() == places.len(), "a member was lost on the way");
        for (written, places) in written.into_iter().zip(places) {
            let member = self.index.members.len();
            for ((entry, inner, size), digest) in places.into_iter().zip(written.digests) {
                let Some(entry) = self.entries.get_mut(entry) else { anyhow::bail!("a chunk of no file") };
                let start = entry.chunks.last().map_or(0, |chunk| chunk.start + chunk.size);
                entry.chunks.push(Chunk { member, inner, start, size, digest });
                entry.digest.get_or_insert(digest);
            }
            self.index.members.push(written.member);
        }
        Ok(())
    }

    /// Adds the checksums of all files so far, then index, seal and footer; syncs the file.
    ///
    /// # Errors
    /// When writing fails; the file is then worthless.
    pub fn finish(mut self, mtime_s: i64) -> Result<Finished> {
        self.settle()?;
        let mut chunks = vec![Vec::new()];
        for line in sums::lines(&self.entries) {
            match chunks.last_mut() {
                Some(text) if text.len() < FILE_CHUNK => text.extend_from_slice(&line),
                _ => chunks.push(line),
            }
        }
        let meta = Meta { path: SafePath::new(SUMS_NAME)?, mode: 0o600, uid: 0, gid: 0, mtime_s };
        self.begin(meta, self.level)?;
        for chunk in chunks {
            self.chunk(chunk)?;
        }
        self.end()?;
        self.settle()?;
        self.index.entries = std::mem::take(&mut self.entries);
        self.index.check()?;
        let index_offset = self.index.offsets().last().copied().unwrap_or_default();
        let mut file = self.pipeline.finish()?;
        write_index(&mut file, &self.index, mtime_s)?;
        let (digest, _) = seal_and_foot(&mut file, index_offset)?;
        file.sync_all()?;
        Ok(Finished { size: file.metadata()?.len(), digest })
    }
}

/// The index as the last entry of the tar stream, in a member of its own with the end of the stream.
fn write_index(file: &mut File, index: &Index, mtime_s: i64) -> Result<()> {
    let mut counter = Counter(0);
    index.write_json(&mut counter)?;
    let meta = Meta { path: SafePath::new(INDEX_NAME)?, mode: 0o600, uid: 0, gid: 0, mtime_s };
    let buffered = std::io::BufWriter::with_capacity(256 << 10, file);
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(buffered, Compression::new(6));
    let mut out = std::io::BufWriter::with_capacity(64 << 10, gzip);
    out.write_all(&header::write(&meta, &Kind::File { size: counter.0 })?)?;
    index.write_json(&mut out)?;
    out.write_all(&vec![0; header::padding(counter.0) + 2 * BLOCK])?;
    let gzip = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    gzip.finish()?.flush()?;
    Ok(())
}

/// Seal and footer; the digest of the whole file, and of what the seal seals.
fn seal_and_foot(file: &mut File, index_offset: u64) -> Result<(Digest, Digest)> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        crate::base::interrupt::check()?;
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let sealed = hasher.clone().finish();
    let tail = [footer::seal(&sealed), footer::footer(index_offset)].concat();
    hasher.update(&tail);
    file.write_all(&tail)?;
    Ok((hasher.finish(), sealed))
}

struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
