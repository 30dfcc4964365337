//! Checks every byte of an archive against itself: the seal over all of it, every member, the tar stream
//! against the index entry by entry, every digest, and `SHA256SUMS`. What passes is byte for byte what was
//! written, and plain `tar` sees in it just what the index says.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, ensure};

use crate::base::digest::{Digest, Hasher};
use crate::base::monitor::Monitor;
use crate::base::{interrupt, parallel};
use crate::header::{self, BLOCK, Block, Kind};
use crate::index::{Chunk, Entry};
use crate::member::Expander;
use crate::reader::Archive;
use crate::sums;
use crate::writer::SUMS_NAME;

/// Checks the whole archive; the digest of the file comes back, for comparing it with the `.sha256` beside it.
///
/// # Errors
/// The first thing that is wrong.
pub fn audit(archive: &Archive, monitor: &dyn Monitor) -> Result<Digest> {
    let digest = std::thread::scope(|scope| {
        let hashing = scope.spawn(|| check_seal(archive));
        let walked = walk(archive, monitor);
        let hashed = hashing.join().map_err(|_| anyhow::anyhow!("the hashing thread panicked"))?;
        // The seal speaks of everything; the walk says more exactly what is wrong.
        walked.and(hashed)
    });
    // Damage of a member is told with the path already.
    let path = archive.path().display().to_string();
    digest.map_err(|error| match error.to_string().contains(&path) {
        true => error,
        false => error.context(format!("the archive {path} is damaged")),
    })
}

fn check_seal(archive: &Archive) -> Result<Digest> {
    let mut file = File::open(archive.path())?;
    let (mut hasher, mut left) = (Hasher::new(), archive.seal_offset);
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        interrupt::check()?;
        let n = file.read(&mut buffer)?;
        ensure!(n > 0, "it is cut short");
        let n = usize::try_from(left.min(n as u64))?;
        hasher.update(&buffer[..n]);
        left -= n as u64;
    }
    let sealed = hasher.clone().finish();
    ensure!(sealed == archive.sealed, "its bytes are not the ones that were sealed");
    // The seal and the footer were compared as a whole when it was opened.
    hasher.update(&crate::footer::seal(&sealed));
    let index_offset = archive.index().offsets().last().copied().unwrap_or_default();
    hasher.update(&crate::footer::footer(index_offset));
    Ok(hasher.finish())
}

fn walk(archive: &Archive, monitor: &dyn Monitor) -> Result<()> {
    let index = archive.index();
    let total = index.members.iter().map(|member| member.length).sum();
    monitor.step("verifying", Some(total));
    // For each member the chunks that lie in it.
    let mut places: Vec<Vec<(&Entry, &Chunk)>> = vec![Vec::new(); index.members.len()];
    for entry in &index.entries {
        for chunk in &entry.chunks {
            places.get_mut(chunk.member).context("a chunk in no member")?.push((entry, chunk));
        }
    }
    let mut walker = Walker::new(&index.entries);
    parallel::ordered(
        places.iter().enumerate(),
        Expander::default,
        |expander, (number, places)| -> Result<_> {
            let content = archive.member(expander, number)?;
            for (entry, chunk) in places {
                archive.checked(&content, entry, chunk)?;
            }
            if let Some(digest) = index.members[number].digest {
                ensure!(digest == Digest::of(&content), "member {number} does not have its digest");
            }
            Ok((number, content))
        },
        |result| {
            let (number, content) = result?;
            monitor.advance(content.len() as u64);
            walker.take(number, &content)
        },
    )?;
    walker.finish()?;
    check_sums(archive)
}

/// `SHA256SUMS` must be, byte for byte, the list that the index gives.
fn check_sums(archive: &Archive) -> Result<()> {
    let entries = &archive.index().entries;
    let mut hasher = Hasher::new();
    let Some((last, files)) = entries.split_last() else { anyhow::bail!("it is empty") };
    ensure!(last.meta.path.bytes() == SUMS_NAME.as_bytes(), "its list of checksums is missing");
    for line in sums::lines(files) {
        hasher.update(&line);
    }
    ensure!(last.digest == Some(hasher.finish()), "its list of checksums is not that of its files");
    Ok(())
}

/// Walks the tar stream as a plain reader would and holds it against the index.
struct Walker<'a> {
    entries: std::slice::Iter<'a, Entry>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    current: Option<Payload<'a>>,
    padding: usize,
}

struct Payload<'a> {
    entry: &'a Entry,
    chunks: std::slice::Iter<'a, Chunk>,
    hasher: Option<Hasher>,
}

impl<'a> Walker<'a> {
    fn new(entries: &'a [Entry]) -> Walker<'a> {
        let (long_name, long_link, current) = (None, None, None);
        Walker { entries: entries.iter(), long_name, long_link, current, padding: 0 }
    }

    fn take(&mut self, member: usize, content: &[u8]) -> Result<()> {
        let mut at = 0;
        loop {
            if self.padding > 0 {
                let zeros = &content[at..content.len().min(at + self.padding)];
                ensure!(zeros.iter().all(|&b| b == 0), "bytes hide in the padding");
                (at, self.padding) = (at + zeros.len(), self.padding - zeros.len());
                if self.padding > 0 {
                    return Ok(());
                }
            }
            if let Some(payload) = &mut self.current {
                if at == content.len() {
                    return Ok(());
                }
                at = payload.take(member, content, at)?;
                if payload.chunks.len() == 0 {
                    self.padding = payload.finish()?;
                    self.current = None;
                }
                continue;
            }
            match self.head(content, at)? {
                None => return Ok(()),
                Some(next) => at = next,
            }
        }
    }

    /// Reads what stands before a payload; `None` when the content ends before it is complete. Headers do
    /// not reach across members.
    fn head(&mut self, content: &[u8], at: usize) -> Result<Option<usize>> {
        if at == content.len() {
            return Ok(None);
        }
        let block: &[u8; BLOCK] =
            content.get(at..at + BLOCK).and_then(|b| b.try_into().ok()).context("a header is cut")?;
        match header::read_block(block)? {
            Block::Zero => anyhow::bail!("the tar stream ends before its index"),
            Block::Long { link, size } => {
                let (start, size) = (at + BLOCK, usize::try_from(size)?);
                let bytes = content.get(start..start + size).context("a long name is cut")?;
                let (zero, name) = bytes.split_last().context("an empty long name")?;
                let slot = if link { &mut self.long_link } else { &mut self.long_name };
                ensure!(*zero == 0 && slot.replace(name.to_vec()).is_none(), "a long name is wrong");
                self.padding = header::padding(size as u64);
                Ok(Some(start + size))
            }
            Block::Entry(head) => {
                let (meta, kind) = header::read_entry(&head, self.long_name.take(), self.long_link.take())?;
                let entry =
                    self.entries.next().with_context(|| format!("{} is not in the index", meta.path))?;
                ensure!(
                    meta == entry.meta && kind == entry.kind,
                    "the index says {} and the tar stream {}, or their facts differ",
                    entry.meta.path,
                    meta.path
                );
                // The block is compared as a whole, so that no byte of it is free.
                let written = header::write(&meta, &kind)?;
                ensure!(written.ends_with(block), "the header of {} is not as it was written", meta.path);
                if !entry.chunks.is_empty() {
                    let hasher = (entry.chunks.len() > 1).then(Hasher::new);
                    self.current = Some(Payload { entry, chunks: entry.chunks.iter(), hasher });
                } else if let Some(digest) = entry.digest {
                    ensure!(digest == Digest::of(b""), "{} is empty and has another digest", meta.path);
                }
                Ok(Some(at + BLOCK))
            }
        }
    }

    fn finish(mut self) -> Result<()> {
        ensure!(self.current.is_none() && self.padding == 0, "the tar stream is cut short");
        ensure!(self.long_name.is_none() && self.long_link.is_none(), "a long name without its entry");
        match self.entries.next() {
            None => Ok(()),
            Some(entry) => anyhow::bail!("{} is in the index and not in the tar stream", entry.meta.path),
        }
    }
}

impl Payload<'_> {
    fn take(&mut self, member: usize, content: &[u8], at: usize) -> Result<usize> {
        let path = &self.entry.meta.path;
        let chunk = self.chunks.next().with_context(|| format!("{path} goes on beyond its chunks"))?;
        ensure!(
            chunk.member == member && chunk.inner == at as u64,
            "the index says that a chunk of {path} lies elsewhere"
        );
        let end = at + usize::try_from(chunk.size)?;
        let bytes = content.get(at..end).with_context(|| format!("a chunk of {path} is cut"))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        Ok(end)
    }

    fn finish(&mut self) -> Result<usize> {
        let entry = self.entry;
        if let Some(hasher) = self.hasher.take() {
            ensure!(Some(hasher.finish()) == entry.digest, "{} does not have its digest", entry.meta.path);
        }
        let Kind::File { size } = entry.kind else { anyhow::bail!("{} has content", entry.meta.path) };
        Ok(header::padding(size))
    }
}
