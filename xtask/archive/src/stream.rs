//! The content of one entry as a stream, for who reads it from its beginning to its end. Each chunk is checked
//! against its digest before a byte of it is handed on, and only one of them is held.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use anyhow::{Context, Result};

use crate::base::safe_path::SafePath;
use crate::header::Kind;
use crate::index::Entry;
use crate::member::Expander;
use crate::reader::{Archive, Buffers};

/// An entry that is being read.
pub struct Stream<'a> {
    archive: &'a Archive,
    entry: &'a Entry,
    expander: Expander,
    /// The chunk that comes next.
    next: usize,
    /// The member that is held, its number, and what of it is still to be read.
    buffers: Buffers,
    member: Option<usize>,
    left: Range<usize>,
    failed: Option<anyhow::Error>,
    /// Is told how many bytes were handed on.
    told: &'a dyn Fn(u64),
}

impl Archive {
    /// Begins to read a file of the archive; `told` is told how many bytes of it come next.
    ///
    /// # Errors
    /// When there is no such file in it.
    pub fn stream<'a>(&'a self, path: &SafePath, told: &'a dyn Fn(u64)) -> Result<Stream<'a>> {
        let missing = || format!("{path} is missing in the archive {}", self.path().display());
        let entry = self.entry(path).with_context(missing)?;
        anyhow::ensure!(
            matches!(entry.kind, Kind::File { .. }),
            "{path} in {} is no file",
            self.path().display()
        );
        let (expander, buffers) = (Expander::default(), Buffers::default());
        let (next, member, left, failed) = (0, None, 0..0, None);
        Ok(Stream { archive: self, entry, expander, next, buffers, member, left, failed, told })
    }
}

impl Stream<'_> {
    /// What ended the reading before the end, if anything did: it says more than the error that the reader got.
    pub fn into_error(self) -> Option<anyhow::Error> {
        self.failed
    }

    /// Checks the next chunk, and makes it what is read; false when there is none.
    fn advance(&mut self) -> Result<bool> {
        let Some(chunk) = self.entry.chunks.get(self.next) else { return Ok(false) };
        if self.member != Some(chunk.member) {
            self.member = None;
            self.archive.member_into(&mut self.expander, chunk.member, &mut self.buffers)?;
            self.member = Some(chunk.member);
        }
        self.archive.checked(&self.buffers.content, self.entry, chunk)?;
        let start = usize::try_from(chunk.inner)?;
        self.left = start..start + usize::try_from(chunk.size)?;
        self.next += 1;
        (self.told)(chunk.size);
        Ok(true)
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.left.is_empty() && self.failed.is_none() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.failed = Some(error),
            }
        }
        match &self.failed {
            // Never the end of the file: whoever reads must not take what came so far for all of it.
            Some(error) => Err(io::Error::other(format!("{error:#}"))),
            None => Ok(&self.buffers.content[self.left.clone()]),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.left.start = (self.left.start + bytes).min(self.left.end);
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
