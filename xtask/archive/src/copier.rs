//! Copies members of an earlier archive into the new one as they are. Neighbours are copied in one go, by the kernel
//! where it can, which on some file systems shares the blocks instead of copying them. That the earlier archive went
//! away, or a disk can't read it any more, is told apart from an error of the new one: the backup is then made without
//! the earlier one.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use anyhow::{Context, Error, Result, ensure};

use crate::base::interrupt;
use crate::reuse::{Broken, Reuse};

/// So many bytes are copied at most before we look whether the user wants to stop.
const AT_ONCE: u64 = 32 << 20;

/// Gathers neighbours.
pub struct Copier {
    reuse: Arc<Reuse>,
    source: Option<File>,
    /// Where the gathered ones start in the earlier archive, and how long they are, in bytes.
    run: (u64, u64),
}

impl Copier {
    /// Nothing gathered yet.
    pub fn new(reuse: Arc<Reuse>) -> Copier {
        Copier { reuse, source: None, run: (0, 0) }
    }

    /// Takes one member.
    ///
    /// # Errors
    /// When one before it can't be copied.
    pub fn take(&mut self, from: u64, size: u64, to: &mut BufWriter<File>) -> Result<()> {
        let (start, length) = self.run;
        if start + length != from || length + size > AT_ONCE {
            self.flush(to)?;
            self.run = (from, 0);
        }
        self.run.1 += size;
        Ok(())
    }

    /// The bytes of one member.
    ///
    /// # Errors
    /// [`Broken`] when they can't be read.
    pub fn read(&mut self, from: u64, size: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(size)?];
        let source = self.source()?;
        source.seek(SeekFrom::Start(from)).context(Broken)?;
        source.read_exact(&mut bytes).context(Broken)?;
        self.reuse.count_copied(size);
        Ok(bytes)
    }

    fn source(&mut self) -> Result<&mut File> {
        Ok(match &mut self.source {
            Some(source) => source,
            empty => empty.insert(self.reuse.open().context(Broken)?),
        })
    }

    /// Copies what was gathered.
    ///
    /// # Errors
    /// [`Broken`] when the earlier archive can't be read; any other when the new one can't be written.
    pub fn flush(&mut self, to: &mut BufWriter<File>) -> Result<()> {
        let (start, length) = std::mem::take(&mut self.run);
        if length == 0 {
            return Ok(());
        }
        interrupt::check()?;
        to.flush()?;
        let source = self.source()?;
        source.seek(SeekFrom::Start(start)).context(Broken)?;
        let copied = io::copy(&mut source.take(length), to.get_mut());
        // The kernel does not tell which of the two failed: the earlier archive is asked alone.
        let copied = copied.map_err(|error| match read_through(source, start, length) {
            Ok(()) => Error::new(error),
            Err(broken) => Error::new(broken).context(Broken),
        })?;
        ensure!(copied == length, Error::msg("it is cut short").context(Broken));
        self.reuse.count_copied(length);
        Ok(())
    }
}

/// Reads a part of a file, for nothing but the error.
fn read_through(file: &mut File, start: u64, length: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    match io::copy(&mut file.take(length), &mut io::sink())? {
        read if read == length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
