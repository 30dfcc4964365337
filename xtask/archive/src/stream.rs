//! The content of one entry as a stream, for who reads it from its beginning to its end: a thread of its own unpacks
//! the next members while the reader works on those before. Each chunk is checked against its digest before a byte of
//! it is handed on, and a few members are in memory.

use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use anyhow::{Context, Result, anyhow};

use crate::base::safe_path::SafePath;
use crate::header::Kind;
use crate::index::{Chunk, Entry};
use crate::member::Expander;
use crate::reader::Archive;

/// So many members are unpacked ahead at most.
const AHEAD: usize = 8;

/// A member's content, and where the entry's chunks lie in it.
struct Piece {
    content: Vec<u8>,
    chunks: Vec<Range<usize>>,
}

/// An entry that is being read.
pub struct Stream<'a> {
    pieces: Receiver<Result<Piece>>,
    /// Where the memory of a piece goes once it is read.
    spare: Sender<Vec<u8>>,
    content: Vec<u8>,
    /// What of the content is still to be read: the chunk at hand, and those behind it.
    left: Range<usize>,
    chunks: std::vec::IntoIter<Range<usize>>,
    /// Bytes of the entry that have not been handed on.
    missing: u64,
    failed: Option<anyhow::Error>,
    told: &'a dyn Fn(u64),
}

impl Archive {
    /// Hands a file of the archive to `read` as a stream; `told` is told how many bytes of it come next. `read` need not
    /// read all of it.
    ///
    /// # Errors
    /// When there is no such file in it, or what was read of it is damaged; what `read` makes of that is dropped.
    pub fn stream<R>(
        &self,
        path: &SafePath,
        told: &dyn Fn(u64),
        read: impl FnOnce(&mut Stream<'_>) -> R,
    ) -> Result<R> {
        let missing = || format!("{path} is missing in the archive {}", self.path().display());
        let entry = self.entry(path).with_context(missing)?;
        let Kind::File { size } = entry.kind else {
            anyhow::bail!("{path} in {} is no file", self.path().display())
        };
        std::thread::scope(|scope| {
            let (sender, pieces) = sync_channel(AHEAD);
            let (spare, spares) = channel();
            scope.spawn(move || self.unpack(entry, &sender, &spares));
            let (chunks, failed) = (Vec::new().into_iter(), None);
            let mut stream = Stream {
                pieces,
                spare,
                content: Vec::new(),
                left: 0..0,
                chunks,
                missing: size,
                failed,
                told,
            };
            let result = read(&mut stream);
            // With it goes the channel, and so the thread has nobody to unpack for.
            stream.failed.map_or(Ok(result), Err)
        })
    }

    /// Unpacks and checks the members of an entry until nobody wants more.
    fn unpack(&self, entry: &Entry, pieces: &SyncSender<Result<Piece>>, spares: &Receiver<Vec<u8>>) {
        let (mut expander, mut packed) = (Expander::default(), Vec::new());
        for run in entry.chunks.chunk_by(|a, b| a.member == b.member) {
            let mut content = spares.try_recv().unwrap_or_default();
            let piece = self
                .unpack_run(entry, run, &mut expander, &mut packed, &mut content)
                .map(|chunks| Piece { content, chunks });
            let is_last = piece.is_err();
            if pieces.send(piece).is_err() || is_last {
                return;
            }
        }
    }

    /// Unpacks the member of these chunks, and says where they lie in it.
    fn unpack_run(
        &self,
        entry: &Entry,
        run: &[Chunk],
        expander: &mut Expander,
        packed: &mut Vec<u8>,
        content: &mut Vec<u8>,
    ) -> Result<Vec<Range<usize>>> {
        let number = run.first().context("no chunk")?.member;
        self.member_into(expander, number, packed, content)?;
        let place = |chunk| -> Result<Range<usize>> {
            self.checked(content, entry, chunk)?;
            let start = usize::try_from(chunk.inner)?;
            Ok(start..start + usize::try_from(chunk.size)?)
        };
        run.iter().map(place).collect()
    }
}

impl Stream<'_> {
    /// Makes the next chunk what is read; false when there is none.
    fn advance(&mut self) -> Result<bool> {
        if self.missing == 0 {
            return Ok(false);
        }
        loop {
            if let Some(chunk) = self.chunks.next() {
                let size = chunk.len() as u64;
                self.left = chunk;
                self.missing = self.missing.checked_sub(size).context("it is longer than its size")?;
                (self.told)(size);
                return Ok(true);
            }
            let piece = self.pieces.recv().map_err(|_| anyhow!("its reading ended early"))??;
            let read = std::mem::replace(&mut self.content, piece.content);
            self.chunks = piece.chunks.into_iter();
            let _ = self.spare.send(read); // the thread may have come to the end
        }
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
            None => Ok(&self.content[self.left.clone()]),
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
