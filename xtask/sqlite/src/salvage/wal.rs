//! The committed part of a write-ahead log (<https://www.sqlite.org/fileformat2.html>, section 4): which frame holds
//! the newest committed content of each page. Every frame has a checksum over all before it, so what is taken from
//! here is exactly what was written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};

/// What a log holds.
#[derive(Debug, Default)]
pub struct Log {
    /// The page size that it tells, in bytes; 0 when its header is not sound.
    pub page_size: u32,
    /// Where in the log the content of each page begins, in bytes.
    pub places: HashMap<u32, u64>,
    /// How many pages the database has after the last committed transaction; 0 when none is committed.
    pub pages: u32,
    /// What is wrong with it.
    pub fault: Option<String>,
}

struct Sum {
    big: bool,
    one: u32,
    two: u32,
}

impl Sum {
    fn feed(&mut self, bytes: &[u8]) {
        let word = |bytes: &[u8; 4]| match self.big {
            true => u32::from_be_bytes(*bytes),
            false => u32::from_le_bytes(*bytes),
        };
        let (words, _) = bytes.as_chunks::<4>();
        for pair in words.chunks_exact(2) {
            self.one = self.one.wrapping_add(word(&pair[0])).wrapping_add(self.two);
            self.two = self.two.wrapping_add(word(&pair[1])).wrapping_add(self.one);
        }
    }

    fn is(&self, one: u32, two: u32) -> bool {
        self.one == one && self.two == two
    }
}

fn word(bytes: &[u8], number: usize) -> u32 {
    super::btree::four(bytes, 4 * number).unwrap_or(0)
}

/// Reads a log, frame by frame. Damage is told and no error.
///
/// # Errors
/// When the file can't be read.
pub fn read(file: &File) -> io::Result<Log> {
    let mut log = Log::default();
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut header = [0; 32];
    if file.metadata()?.len() == 0 {
        return Ok(log);
    }
    if read_all(&mut reader, &mut header)? {
        let big = word(&header, 0) == 0x377f_0683;
        let mut sum = Sum { big, one: 0, two: 0 };
        sum.feed(&header[..24]);
        let size = word(&header, 2);
        let is_known = word(&header, 0) & !1 == 0x377f_0682 && word(&header, 1) == 3_007_000;
        let is_size = size.is_power_of_two() && (512..=65536).contains(&size);
        if is_known && is_size && sum.is(word(&header, 6), word(&header, 7)) {
            log.page_size = size;
            frames(&mut reader, &header, sum, &mut log)?;
            return Ok(log);
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(log); // as SQLite leaves it after a checkpoint on some systems
        }
    }
    log.fault = Some("its header is damaged, so nothing of it can be used".to_owned());
    Ok(log)
}

fn frames(reader: &mut impl Read, header: &[u8; 32], mut sum: Sum, log: &mut Log) -> io::Result<()> {
    let mut page = vec![0; log.page_size as usize];
    let mut frame = [0; 24];
    let mut pending: HashMap<u32, u64> = HashMap::new();
    let mut at = 32;
    let mut number = 0_u64;
    while read_all(reader, &mut frame)? && read_all(reader, &mut page)? {
        number += 1;
        let is_of_this_run = frame[8..16] == header[16..24];
        sum.feed(&frame[..8]);
        sum.feed(&page);
        if !is_of_this_run || word(&frame, 0) == 0 || !sum.is(word(&frame, 4), word(&frame, 5)) {
            if is_of_this_run {
                // Frames of an earlier run of the log are no damage.
                log.fault = Some(format!(
                    "it is damaged in frame {number}; what was committed from there on is lost"
                ));
            }
            return Ok(());
        }
        pending.insert(word(&frame, 0), at + 24);
        let pages = word(&frame, 1);
        if pages != 0 {
            log.pages = pages;
            log.places.extend(pending.drain());
        }
        at += 24 + u64::from(log.page_size);
    }
    Ok(())
}

/// Fills the buffer; false when the file ends before.
pub fn read_all(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}
