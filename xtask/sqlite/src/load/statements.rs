//! Cuts a dump into statements and gathers them in batches. Holds one batch, which is short but for a
//! statement that is long itself. Of a long row, blobs are held as the bytes that they are and not as twice as many
//! digits; where several dumps are loaded at once, one long statement is in memory.

use std::io::BufRead;

use anyhow::{Context, Result, ensure};

use super::alone::{self, Alone};
use super::cut::{self, Cut};
use super::worker::Worker;
use crate::base::interrupt;
use crate::statement::Scanner;

/// Rows are gathered up to so many bytes.
const BATCH: usize = 256 << 10;

/// A statement from here on is alone in memory.
const LONG: usize = 1 << 20;

/// The longest statement that is no row: SQLite needs about a hundred times its length to read one.
const SCHEMA_MAX: usize = LONG;

/// The longest row, which is what SQLite takes.
const ROW_MAX: usize = 1_000_000_000;

/// Statements, one after the other.
#[derive(Default)]
pub struct Batch {
    /// All of them.
    pub text: Vec<u8>,
    /// Where each ends in the text, and the line of the dump at which it begins.
    pub ends: Vec<(usize, u64)>,
    /// Of one that is long and alone: what was taken out of the blobs in its text.
    pub cuts: Vec<Cut>,
    /// Bytes of the dump that all of them take.
    pub bytes: usize,
    /// Bytes of the dump that the longest one takes.
    pub longest: usize,
}

impl Batch {
    /// Whether it is one long row.
    pub fn is_long_row(&self) -> bool {
        self.longest > LONG && self.ends.len() == 1 && is_row(&self.text)
    }

    /// Whether it is one statement that can take long.
    pub fn is_other(&self) -> bool {
        !is_brief(&self.text)
    }

    /// The memory of an old one.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(LONG); // a huge statement must not keep its memory
        self.ends.clear();
        self.cuts.clear();
        (self.bytes, self.longest) = (0, 0);
    }
}

/// A dump that is being read.
pub struct Statements<'a> {
    dump: &'a mut dyn BufRead,
    scanner: Scanner,
    batch: Batch,
    /// Where the current statement begins in the batch, and at which line of the dump.
    start: usize,
    first_line: u64,
    /// Bytes of the dump that it takes so far.
    length: usize,
    /// While it is long.
    alone: Option<Alone>,
    /// Whether any was.
    was_long: bool,
    /// The line that is being read.
    line: u64,
}

impl<'a> Statements<'a> {
    /// Begins with line 1.
    pub fn new(dump: &'a mut dyn BufRead) -> Statements<'a> {
        let (scanner, batch) = (Scanner::default(), Batch::default());
        Statements {
            dump,
            scanner,
            batch,
            start: 0,
            first_line: 1,
            length: 0,
            alone: None,
            was_long: false,
            line: 1,
        }
    }

    /// The line that is being read.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Whether a statement was long.
    pub fn was_long(&self) -> bool {
        self.was_long
    }

    /// The line of a statement that was begun and not ended.
    pub fn unfinished(&self) -> Option<u64> {
        (!self.scanner.is_at_start()).then_some(self.first_line)
    }

    /// Reads on, and hands over what is complete; false at the end of the dump.
    ///
    /// # Errors
    /// When the dump can't be read, a statement is too long, or one before could not be carried out.
    pub fn next(&mut self, worker: &mut Worker) -> Result<bool> {
        let line = self.line;
        let piece = self.dump.fill_buf().with_context(|| format!("can't read the dump after line {line}"))?;
        if piece.is_empty() {
            self.send(worker)?;
            return Ok(false);
        }
        interrupt::check()?;
        if self.batch.text.len() == self.start {
            // Space between statements belongs to none.
            let space = piece.iter().take_while(|b| b.is_ascii_whitespace()).count();
            self.line += newlines(&piece[..space]);
            self.first_line = self.line;
            if space > 0 {
                self.dump.consume(space);
                return Ok(true);
            }
        }
        let end = self.scanner.feed(piece);
        let used = end.unwrap_or(piece.len());
        self.batch.text.extend_from_slice(&piece[..used]);
        self.line += newlines(&piece[..used]);
        self.dump.consume(used);
        self.length += used;
        if self.length > LONG {
            self.go_alone(worker)?;
        }
        if end.is_some() {
            self.ended(worker)?;
        }
        Ok(true)
    }

    /// The current statement is long: nothing else is held beside it, and of its blobs no digits.
    fn go_alone(&mut self, worker: &mut Worker) -> Result<()> {
        self.send_others(worker)?;
        worker.wait_until_idle()?;
        if self.alone.is_none() {
            self.alone = Some(alone::alone()?);
            self.was_long = true;
        }
        let row = is_row(&self.batch.text);
        let most = if row { ROW_MAX } else { SCHEMA_MAX };
        let line = self.first_line;
        ensure!(
            self.length <= most,
            "the statement that begins at line {line} is longer than a dump's can be"
        );
        if let Some(opened) = self.scanner.open_string().filter(|_| row) {
            cut::cut(&mut self.batch.text, &mut self.batch.cuts, opened)
                .with_context(|| format!("the statement that begins at line {line}"))?;
        }
        Ok(())
    }

    /// Sends what was complete before the current statement.
    fn send_others(&mut self, worker: &mut Worker) -> Result<()> {
        if self.start > 0 {
            let own = self.batch.text.split_off(self.start);
            self.send(worker)?;
            self.batch.text = own;
        }
        Ok(())
    }

    /// The current statement is complete.
    fn ended(&mut self, worker: &mut Worker) -> Result<()> {
        let is_brief = is_brief(&self.batch.text[self.start..]);
        if !is_brief {
            // What can take long goes by itself: it has time of its own.
            self.send_others(worker)?;
        }
        self.start = self.batch.text.len();
        self.batch.ends.push((self.start, self.first_line));
        self.batch.bytes += self.length;
        self.batch.longest = self.batch.longest.max(self.length);
        self.length = 0;
        if !is_brief || self.start >= BATCH || self.alone.is_some() {
            self.send(worker)?;
        }
        Ok(())
    }

    fn send(&mut self, worker: &mut Worker) -> Result<()> {
        // A statement cut off is never carried out.
        self.batch.text.truncate(self.start);
        self.start = 0;
        if self.batch.ends.is_empty() {
            return Ok(());
        }
        let is_long = self.batch.longest > LONG;
        self.batch = worker.send(std::mem::take(&mut self.batch))?;
        if is_long {
            worker.wait_until_idle()?;
            self.alone = None;
        }
        Ok(())
    }
}

fn is_row(statement: &[u8]) -> bool {
    begins(statement, b"INSERT")
}

fn is_brief(statement: &[u8]) -> bool {
    is_row(statement) || begins(statement, b"PRAGMA") || begins(statement, b";")
}

fn begins(statement: &[u8], word: &[u8]) -> bool {
    statement.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// How many line feeds there are.
fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
