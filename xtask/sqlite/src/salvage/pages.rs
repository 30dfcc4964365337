//! The pages of a database as the next program that opens it would see them: the main file, the committed frames of
//! the log, and the old pages of a hot journal. It reads private copies, one page at a time; what is kept for each
//! page is a few bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{btree, journal, wal};
use crate::header;

/// Where the content of a page lies that is not in the main file.
#[derive(Clone, Copy)]
enum Place {
    Log(u64),
    Journal(u64),
}

/// What the header of a database tells, as far as it can be believed.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `UTF-8`, `UTF-16le` or `UTF-16be`.
    pub encoding: &'static str,
    /// 0 none, 1 full, 2 incremental.
    pub auto_vacuum: u32,
    /// `PRAGMA user_version`.
    pub user_version: i32,
    /// `PRAGMA application_id`.
    pub application_id: i32,
    /// Whether the file asks for WAL mode.
    pub wal: bool,
    /// The first page of the list of free pages; 0 without one.
    pub free_first: u32,
    /// How many pages are free.
    pub free_count: u32,
    /// Whether the header is damaged, and these are guesses.
    pub guessed: bool,
}

/// All pages.
pub struct Pages {
    main: File,
    main_bytes: u64,
    log: Option<File>,
    journal: Option<File>,
    places: HashMap<u32, Place>,
    /// Bytes of a page.
    pub size: usize,
    /// Bytes of a page that SQLite uses.
    pub usable: usize,
    /// How many pages the database has.
    pub count: u32,
    /// What the header tells.
    pub facts: Facts,
    /// What is wrong with the files as such.
    pub faults: Vec<String>,
}

fn beside(main: &Path, side: &str) -> PathBuf {
    let mut name = main.as_os_str().to_owned();
    name.push(side);
    PathBuf::from(name)
}

fn open_beside(main: &Path, side: &str) -> io::Result<Option<File>> {
    match File::open(beside(main, side)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Pages {
    /// Opens a private copy with what lies beside it.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn open(main_path: &Path) -> Result<Pages> {
        let attempt = || -> io::Result<Pages> {
            let main = File::open(main_path)?;
            let main_bytes = main.metadata()?.len();
            let log = open_beside(main_path, "-wal")?;
            let mut journal = open_beside(main_path, "-journal")?;
            let mut faults = Vec::new();
            let read_log = log.as_ref().map(wal::read).transpose()?.unwrap_or_default();
            let read_journal = journal.as_mut().map(journal::read).transpose()?.unwrap_or_default();
            for (name, fault) in [("log", &read_log.fault), ("journal", &read_journal.fault)] {
                faults.extend(fault.as_ref().map(|fault| format!("the {name} beside it: {fault}")));
            }
            let mut places = HashMap::new();
            let mut count = 0;
            if read_journal.is_hot() {
                count = read_journal.pages;
                places.extend(read_journal.places.into_iter().map(|(page, at)| (page, Place::Journal(at))));
            }
            if read_log.pages != 0 {
                count = read_log.pages;
                places.extend(read_log.places.into_iter().map(|(page, at)| (page, Place::Log(at))));
            }
            let told = if read_log.page_size != 0 { read_log.page_size } else { read_journal.page_size };
            let facts = guess(&[]);
            let mut pages = Pages {
                main,
                main_bytes,
                log,
                journal,
                places,
                size: told as usize,
                usable: told as usize,
                count,
                facts,
                faults,
            };
            pages.settle()?;
            Ok(pages)
        };
        attempt().with_context(|| format!("can't read the copy {}", main_path.display()))
    }

    /// Finds out the sizes and what the header tells.
    fn settle(&mut self) -> io::Result<()> {
        let mut first = [0; 100];
        let told = self.size;
        // Page 1 may lie in the log; its size does not matter for its first bytes.
        self.size = 100;
        let has_first = {
            let mut buffer = Vec::new();
            let there = self.read(1, &mut buffer)?;
            first.copy_from_slice(&buffer[..100]);
            there
        };
        let mut size = match u16::from_be_bytes([first[16], first[17]]) {
            1 => 65536,
            other => usize::from(other),
        };
        let reserved = usize::from(first[20]);
        let is_size = |size: usize| size.is_power_of_two() && (512..=65536).contains(&size);
        let fractions = first[21..24] == [64, 32, 32];
        let mut is_damaged = !header::is_database_header(&first) || !fractions || !is_size(size);
        if is_size(told) {
            is_damaged |= size != told;
            size = told;
        } else if is_damaged && !(is_size(size) && fractions) {
            size = self.guess_size()?;
        }
        let reserved = if is_size(size) && size - reserved.min(size) >= 480 { reserved } else { 0 };
        self.size = size;
        self.usable = size - if is_damaged && !fractions { 0 } else { reserved };
        self.facts = guess(&first);
        self.facts.guessed = is_damaged || !has_first;
        let in_file = u32::try_from(self.main_bytes.div_ceil(size as u64)).unwrap_or(u32::MAX);
        let word = |at: usize| btree::four(&first, at).unwrap_or(0);
        if self.count == 0 {
            // The count is good where it was written together with the change counter.
            let told = if word(24) == word(92) { word(28) } else { 0 };
            self.count = match told {
                0 => in_file,
                // A damaged count must not make us look for millions of pages that never were.
                told if self.facts.guessed || u64::from(told) > 4 * u64::from(in_file) + 1000 => in_file,
                told => told,
            };
            if self.count > in_file {
                let gone = self.count - in_file;
                self.faults
                    .push(format!("{gone} of its {} pages are missing: the file was cut off", self.count));
            }
        }
        if self.facts.guessed {
            self.faults.push("its header is damaged".to_owned());
            // Were it believed, pages with rows would be passed over as maps, or maps taken for rows.
            let has_maps = self.second_is_map()?;
            self.facts.auto_vacuum = if has_maps { self.facts.auto_vacuum.max(1) } else { 0 };
        }
        Ok(())
    }

    /// Whether page 2 can be the first map of parents, which tells the header's word for it.
    fn second_is_map(&self) -> io::Result<bool> {
        let mut buffer = Vec::new();
        self.read(2, &mut buffer)?;
        let known = (self.count.saturating_sub(2) as usize).min(self.usable / 5);
        let is_entry = |entry: &[u8]| {
            let parent = btree::four(entry, 1).unwrap_or(0);
            // Roots and free pages have no parent.
            match entry[0] {
                1 | 2 => parent == 0,
                3..=5 => (1..=self.count).contains(&parent),
                _ => false,
            }
        };
        Ok(known > 0 && buffer.chunks_exact(5).take(known).all(is_entry))
    }

    /// The page size with which most pages look like pages of b-trees.
    fn guess_size(&mut self) -> io::Result<usize> {
        let mut best = (0, 4096);
        let mut buffer = Vec::new();
        for size in (9..=16).map(|power| 1_usize << power) {
            self.size = size;
            let all = self.main_bytes / size as u64;
            let step = (all / 500).max(1);
            let (mut good, mut looked) = (0_u64, 0_u64);
            let mut number = 2;
            while number <= all && number < u64::from(u32::MAX) {
                self.read(number as u32, &mut buffer)?;
                looked += 1;
                good += u64::from(btree::parse(&buffer, size, false).is_some_and(|p| p.fault.is_none()));
                number += step;
            }
            let score = (good * 1000).checked_div(looked).unwrap_or(0);
            if score > best.0 {
                best = (score, size);
            }
        }
        Ok(best.1)
    }

    /// The content of a page; what is missing at its end is zero. False when all of it is missing.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(&self, number: u32, buffer: &mut Vec<u8>) -> io::Result<bool> {
        buffer.clear();
        buffer.resize(self.size.max(100), 0);
        let (file, at) = match (self.places.get(&number), &self.log, &self.journal) {
            (Some(Place::Log(at)), Some(log), _) => (log, *at),
            (Some(Place::Journal(at)), _, Some(journal)) => (journal, *at),
            _ => (&self.main, u64::from(number.max(1) - 1) * self.size as u64),
        };
        if number == 0 {
            return Ok(false);
        }
        let mut file = file;
        file.seek(SeekFrom::Start(at))?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..])? {
                0 => break,
                more => filled += more,
            }
        }
        Ok(filled > 0)
    }

    /// Whether the file ends in the middle of the page.
    pub fn is_cut(&self, number: u32) -> bool {
        let rest = self.main_bytes % self.size as u64;
        rest != 0
            && u64::from(number) == self.main_bytes / self.size as u64 + 1
            && !self.places.contains_key(&number)
    }

    /// Whether the page is a map of parents, of which databases with auto_vacuum have some.
    pub fn is_map(&self, number: u32) -> bool {
        if self.facts.auto_vacuum == 0 || number < 2 {
            return false;
        }
        let each = self.usable as u32 / 5 + 1;
        let mut map = (number - 2) / each * each + 2;
        if map == self.lock_page() {
            map += 1;
        }
        map == number
    }

    /// The page that SQLite never uses, since its locks lie there.
    pub fn lock_page(&self) -> u32 {
        (0x4000_0000 / self.size) as u32 + 1
    }

    /// What the map of parents says about a page: its sort and its parent.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn parent(&self, number: u32, buffer: &mut Vec<u8>) -> io::Result<Option<(u8, u32)>> {
        if self.facts.auto_vacuum == 0 || number < 3 || self.is_map(number) {
            return Ok(None);
        }
        let each = self.usable as u32 / 5 + 1;
        let mut map = (number - 2) / each * each + 2;
        if map == self.lock_page() {
            map += 1;
        }
        let Some(offset) = number.checked_sub(map + 1) else { return Ok(None) };
        let at = 5 * offset as usize;
        if !self.read(map, buffer)? {
            return Ok(None);
        }
        Ok(buffer.get(at).copied().zip(btree::four(buffer, at + 1)))
    }
}

fn guess(first: &[u8]) -> Facts {
    let word = |at: usize| btree::four(first, at).unwrap_or(0);
    let encoding = match word(56) {
        2 => "UTF-16le",
        3 => "UTF-16be",
        _ => "UTF-8",
    };
    let auto_vacuum = match (word(52), word(64)) {
        (0, _) => 0,
        (_, 0) => 1,
        _ => 2,
    };
    Facts {
        encoding,
        auto_vacuum,
        user_version: word(60) as i32,
        application_id: word(68) as i32,
        wal: header::asks_for_wal(first),
        free_first: word(32),
        free_count: word(36),
        guessed: false,
    }
}
