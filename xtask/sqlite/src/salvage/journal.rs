//! A rollback journal (<https://www.sqlite.org/fileformat2.html>, section 3): the content that pages had before a
//! transaction which was never ended. It is read in place of what that transaction wrote.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::wal::read_all;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Journal {
    /// The page size that it tells, in bytes; 0 when it is not hot.
    pub page_size: u32,
    /// Where in the journal the old content of each page begins, in bytes.
    pub places: HashMap<u32, u64>,
    /// How many pages the database had before.
    pub pages: u32,
    /// What is wrong with it.
    pub fault: Option<String>,
}

impl Journal {
    /// Whether it has to be rolled back.
    pub fn is_hot(&self) -> bool {
        self.page_size != 0
    }
}

/// Reads a journal, record by record. Damage is told and no error.
///
/// # Errors
/// When the file can't be read.
pub fn read(file: &mut File) -> io::Result<Journal> {
    let mut journal = Journal::default();
    let size = file.metadata()?.len();
    if let Some(name) = super_journal(file, size)?
        && !name.exists()
    {
        // A transaction over several databases, which was committed by removing that file.
        return Ok(journal);
    }
    let mut at = 0_u64;
    let mut sector = 512_u64;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 28];
        if !read_all(file, &mut header)? || header[..8] != MAGIC {
            return Ok(journal);
        }
        let word = |number: usize| super::btree::four(&header, 8 + 4 * number).unwrap_or(0);
        let (mut records, nonce, pages) = (u64::from(word(0)), word(1), word(2));
        if at == 0 {
            let (told, page_size) = (u64::from(word(3)), word(4));
            let is_size = page_size.is_power_of_two() && (512..=65536).contains(&page_size);
            if !is_size || !told.is_power_of_two() || !(32..=65536).contains(&told) {
                journal.fault = Some("its header is damaged, so nothing of it can be used".to_owned());
                return Ok(journal);
            }
            sector = told;
            (journal.page_size, journal.pages) = (page_size, pages);
        }
        let page_size = u64::from(journal.page_size);
        at += sector;
        if records == u64::from(u32::MAX) {
            records = size.saturating_sub(at) / (page_size + 8);
        }
        file.seek(SeekFrom::Start(at))?;
        let mut record = vec![0; journal.page_size as usize + 8];
        for _ in 0..records {
            if !read_all(file, &mut record)? {
                return Ok(journal); // the rest was not written before the crash, nor anything that depends on it
            }
            let number = super::btree::four(&record, 0).unwrap_or(0);
            let page = &record[4..record.len() - 4];
            let sum = page.iter().rev().skip(199).step_by(200);
            let sum = sum.fold(nonce, |sum, byte| sum.wrapping_add(u32::from(*byte)));
            if number == 0 || Some(sum) != super::btree::four(&record, record.len() - 4) {
                return Ok(journal);
            }
            journal.places.entry(number).or_insert(at + 4);
            at += page_size + 8;
        }
        at = at.next_multiple_of(sector);
    }
}

/// The name of the file that decides about a transaction over several databases, if the journal ends with one.
fn super_journal(file: &mut File, size: u64) -> io::Result<Option<PathBuf>> {
    let mut end = [0; 16];
    if size < 16 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(size - 16))?;
    file.read_exact(&mut end)?;
    let word = |number: usize| super::btree::four(&end, 4 * number).unwrap_or(0);
    let (length, sum) = (u64::from(word(0)), word(1));
    if end[8..] != MAGIC || length == 0 || length > 4096 || length + 16 > size {
        return Ok(None);
    }
    let mut name = vec![0; length as usize];
    file.seek(SeekFrom::Start(size - 16 - length))?;
    file.read_exact(&mut name)?;
    // Bytes count as signed.
    let found = name.iter().fold(0_u32, |sum, byte| sum.wrapping_add((*byte as i8) as u32));
    if found != sum {
        return Ok(None);
    }
    Ok(crate::base::os_name::to_os(&name).ok().map(PathBuf::from))
}
