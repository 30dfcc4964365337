//! Reads an archive through its index: one entry, or many in parallel, without the rest. Each chunk is
//! checked against its digest before a byte of it is handed on. Nothing here writes files; what the names
//! say is up to the caller, who gets them as safe paths.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use flate2::bufread::GzDecoder;

use crate::base::digest::Digest;
use crate::base::interrupt;
use crate::base::parallel;
use crate::base::safe_path::SafePath;
use crate::footer::{self, FOOTER_SIZE, SEAL_SIZE};
use crate::header::{self, BLOCK, Block, Kind};
use crate::index::{Entry, INDEX_NAME, Index};
use crate::member::{Expander, HEADER};

/// No index is larger than this many bytes of JSON.
const INDEX_MAX: u64 = 1 << 30;

/// An archive opened for reading.
pub struct Archive {
    path: PathBuf,
    file: Mutex<File>,
    index: Index,
    offsets: Vec<u64>,
    /// The numbers of the entries, ordered by their paths: far less room than a map of paths.
    by_path: Vec<u32>,
    /// Where the seal starts: the index ends there.
    pub(super) seal_offset: u64,
    /// The digest that the seal carries.
    pub(super) sealed: Digest,
}

/// Receives the contents of entries, one entry after the other.
pub trait Sink {
    /// An entry begins.
    ///
    /// # Errors
    /// Ends the reading.
    fn begin(&mut self, entry: &Entry) -> Result<()>;
    /// The next bytes of it, already checked.
    ///
    /// # Errors
    /// Ends the reading.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;
    /// It is complete.
    ///
    /// # Errors
    /// Ends the reading.
    fn end(&mut self, entry: &Entry) -> Result<()>;
}

impl Archive {
    /// Opens an archive and reads its index.
    ///
    /// # Errors
    /// When it can't be read, is cut short, damaged at its end, or no archive of this tool.
    pub fn open(path: &Path) -> Result<Archive> {
        Archive::open_inner(path).with_context(|| format!("can't read the archive {}", path.display()))
    }

    fn open_inner(path: &Path) -> Result<Archive> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let tail = SEAL_SIZE + FOOTER_SIZE;
        ensure!(size > tail, "it has only {size} bytes: it is cut short or was never an archive");
        let seal_offset = size - tail;
        file.seek(SeekFrom::Start(seal_offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == tail, "it changed while it was read");
        let (seal, foot) = bytes.split_at(bytes.len() - FOOTER_SIZE as usize);
        let index_offset = footer::read_footer(foot)?;
        let sealed = footer::read_seal(seal)?;
        ensure!(index_offset < seal_offset, "its footer points outside of it");
        file.seek(SeekFrom::Start(index_offset))?;
        let index = read_index(
            BufReader::with_capacity(256 << 10, (&file).take(seal_offset - index_offset)),
            index_offset,
        )?;
        let mut by_path: Vec<u32> = (0..u32::try_from(index.entries.len())?).collect();
        by_path.sort_unstable_by_key(|&i| &index.entries[i as usize].meta.path);
        let offsets = index.offsets();
        let (path, file) = (path.to_path_buf(), Mutex::new(file));
        Ok(Archive { path, file, index, offsets, by_path, seal_offset, sealed })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// An entry by its path in the archive.
    pub fn entry(&self, path: &SafePath) -> Option<&Entry> {
        self.number(path).and_then(|number| self.index.entries.get(number))
    }

    /// Which entry has that path.
    pub(super) fn number(&self, path: &SafePath) -> Option<usize> {
        let path_of = |i: &u32| &self.index.entries[*i as usize].meta.path;
        let found = self.by_path.binary_search_by(|i| path_of(i).cmp(path)).ok()?;
        self.by_path.get(found).map(|&i| i as usize)
    }

    /// The content of a small entry as a whole.
    ///
    /// # Errors
    /// When it is missing, no file, larger than `size_max` bytes, or damaged.
    pub fn content(&self, path: &SafePath, size_max: u64) -> Result<Vec<u8>> {
        let entry = self.entry(path).with_context(|| format!("{} has no {path}", self.path.display()))?;
        let Kind::File { size } = entry.kind else {
            anyhow::bail!("{path} in {} is no file", self.path.display())
        };
        ensure!(size <= size_max, "{path} in {} has {size} bytes", self.path.display());
        let mut out = Vec::with_capacity(usize::try_from(size)?);
        let mut expander = Expander::default();
        for chunk in &entry.chunks {
            let content = self.member(&mut expander, chunk.member)?;
            out.extend_from_slice(self.checked(&content, entry, chunk)?);
        }
        Ok(out)
    }

    /// The first bytes of an entry: chunk by chunk until they are enough.
    ///
    /// # Errors
    /// When it is missing or damaged, or more than `size_max` bytes are not enough.
    pub fn beginning(
        &self,
        path: &SafePath,
        size_max: usize,
        enough: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let entry = self.entry(path).with_context(|| format!("{} has no {path}", self.path.display()))?;
        let mut out = Vec::new();
        let mut expander = Expander::default();
        for chunk in &entry.chunks {
            let content = self.member(&mut expander, chunk.member)?;
            out.extend_from_slice(self.checked(&content, entry, chunk)?);
            if enough(&out) {
                return Ok(out);
            }
            ensure!(out.len() <= size_max, "{path} in {} begins with too much", self.path.display());
        }
        anyhow::bail!("{path} in {} is too short", self.path.display())
    }

    /// The content of one member.
    ///
    /// # Errors
    /// When it is damaged.
    pub(super) fn member(&self, expander: &mut Expander, number: usize) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.member_into(expander, number, &mut Vec::new(), &mut content)?;
        Ok(content)
    }

    /// One member as it is in the file, and its content.
    ///
    /// # Errors
    /// When it is damaged.
    pub(super) fn raw_member(&self, expander: &mut Expander, number: usize) -> Result<(Vec<u8>, Vec<u8>)> {
        let (mut packed, mut content) = (Vec::new(), Vec::new());
        self.member_into(expander, number, &mut packed, &mut content)?;
        Ok((packed, content))
    }

    /// As [`member`](Archive::member), in the memory of earlier ones.
    ///
    /// # Errors
    /// When it is damaged; what is in that memory then means nothing.
    pub(super) fn member_into(
        &self,
        expander: &mut Expander,
        number: usize,
        packed: &mut Vec<u8>,
        content: &mut Vec<u8>,
    ) -> Result<()> {
        interrupt::check()?;
        let wrong = || format!("{} is damaged in its member {number}", self.path.display());
        let member = self.index.members.get(number).with_context(wrong)?;
        let offset = self.offsets.get(number).copied().with_context(wrong)?;
        packed.resize(usize::try_from(member.size.min(self.seal_offset))?, 0);
        {
            let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(packed).with_context(wrong)?;
        }
        expander.content_into(packed, member.length, content).with_context(wrong)
    }

    /// A chunk's bytes in its member's content, after comparing the digest.
    pub(super) fn checked<'c>(
        &self,
        content: &'c [u8],
        entry: &Entry,
        chunk: &crate::index::Chunk,
    ) -> Result<&'c [u8]> {
        let (start, size) = (usize::try_from(chunk.inner)?, usize::try_from(chunk.size)?);
        let bytes = content.get(start..start + size);
        bytes.filter(|bytes| Digest::of(bytes) == chunk.digest).with_context(|| {
            format!("{} is damaged: {} does not have its digest", self.path.display(), entry.meta.path)
        })
    }

    /// Reads the entries that are wanted, in the archive's order, each member once, on all cores.
    ///
    /// # Errors
    /// When the archive is damaged, or the sink ends it.
    pub fn read(&self, wanted: impl Fn(&Entry) -> bool, sink: &mut dyn Sink) -> Result<()> {
        // Entries without content come in their place between the others.
        let entries: Vec<&Entry> = self.index.entries.iter().filter(|entry| wanted(entry)).collect();
        let mut places = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            places.extend(entry.chunks.iter().enumerate().map(|(i, chunk)| (chunk.member, number, i)));
        }
        let runs: Vec<&[(usize, usize, usize)]> = places.chunk_by(|a, b| a.0 == b.0).collect();
        let mut done = 0;
        parallel::ordered(
            runs.into_iter(),
            Expander::default,
            |expander, run| -> Result<_> {
                let content = self.member(expander, run.first().map_or(0, |place| place.0))?;
                for &(_, entry, chunk) in run {
                    self.checked(&content, entries[entry], &entries[entry].chunks[chunk])?;
                }
                Ok((content, run))
            },
            |result| {
                let (content, run) = result?;
                for &(_, number, i) in run {
                    while done < number {
                        without_content(entries[done], sink)?;
                        done += 1;
                    }
                    let (entry, chunk) = (entries[number], &entries[number].chunks[i]);
                    if i == 0 {
                        sink.begin(entry)?;
                    }
                    // Checked above, on another core.
                    let start = usize::try_from(chunk.inner)?;
                    sink.data(&content[start..start + usize::try_from(chunk.size)?])?;
                    if i + 1 == entry.chunks.len() {
                        sink.end(entry)?;
                        done = number + 1;
                    }
                }
                Ok(())
            },
        )?;
        entries[done..].iter().try_for_each(|entry| without_content(entry, sink))
    }
}

fn without_content(entry: &Entry, sink: &mut dyn Sink) -> Result<()> {
    ensure!(entry.chunks.is_empty(), "{} was passed over", entry.meta.path);
    sink.begin(entry)?;
    sink.end(entry)
}

/// The index, from the member that holds it to the end of the tar stream.
fn read_index(mut section: impl std::io::BufRead, index_offset: u64) -> Result<Index> {
    let mut gzip_header = [0; HEADER.len()];
    section.read_exact(&mut gzip_header)?;
    ensure!(gzip_header == HEADER, "its index is damaged");
    // Whoever reads single entries does not read what the seal covers, so the member's own checksum must
    // tell that names and modes are as they were written; it is compared when the stream ends, below.
    let mut stream = GzDecoder::new(gzip_header.chain(&mut section));
    let mut block = [0; BLOCK];
    stream.read_exact(&mut block).context("its index is damaged")?;
    let Block::Entry(header) = header::read_block(&block)? else { anyhow::bail!("its index is damaged") };
    let (meta, kind) = header::read_entry(&header, None, None)?;
    let Kind::File { size } = kind else { anyhow::bail!("its index is damaged") };
    ensure!(meta.path.bytes() == INDEX_NAME.as_bytes(), "its index has another name");
    ensure!(size <= INDEX_MAX, "its index is too large");
    let index =
        Index::read_json(BufReader::with_capacity(64 << 10, (&mut stream).take(size)), size, index_offset)?;
    let mut rest = Vec::new();
    (&mut stream).take(4 * BLOCK as u64).read_to_end(&mut rest).context("its index is damaged")?;
    let expected = header::padding(size) + 2 * BLOCK;
    ensure!(
        rest.len() == expected && rest.iter().all(|&b| b == 0),
        "the tar stream does not end as it should"
    );
    drop(stream);
    ensure!(section.fill_buf()?.is_empty(), "bytes between its index and its seal");
    Ok(index)
}
