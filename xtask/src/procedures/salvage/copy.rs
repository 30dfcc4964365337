//! The files of a database, as bytes, into a private folder: main file, log and journal. SQLite is not asked, since
//! it would change them. Where the disk can't be read, zeros take the place, and that is told; a file that changes
//! meanwhile is copied again.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::failure::ResultExt;
use crate::base::file_facts::{self, Identity};
use crate::base::finding::Finding;
use crate::base::monitor::Monitor;
use crate::base::{durable, interrupt, write_lock};

/// What is copied, after the database's name. Shared memory holds nothing that the log does not.
const SIDES: [&str; 3] = ["", "-wal", "-journal"];
/// How often a database that changes is copied.
const TRIES: usize = 3;
/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;
/// Bytes that are given up together where the disk can't be read.
const SECTOR: usize = 4096;

/// Copies them; the path of the main file's copy.
///
/// # Errors
/// When the main file can't be opened, or the copy can't be written.
pub fn copy(
    database: &Path,
    room: &Path,
    findings: &mut Vec<Finding>,
    monitor: &dyn Monitor,
) -> Result<PathBuf> {
    let to = room.join("copy");
    let mut unreadable = 0;
    let mut settled = false;
    for _ in 0..TRIES {
        let before = identities(database);
        unreadable = 0;
        for side in SIDES {
            let (from, to) = (beside(database, side), beside(&to, side));
            durable::remove_file(&to).with_context(|| format!("can't remove {}", to.display()))?;
            unreadable += copy_file(&from, &to, side.is_empty(), monitor)?;
        }
        settled = identities(database) == before;
        if settled {
            break;
        }
    }
    if !settled || write_lock::is_held(database).unwrap_or(false) {
        let text = "a program writes to the database while it is copied, so the copy may be torn";
        findings.push(
            Finding::problem("database-busy", text)
                .hint("stop that program, and run salvage again with another FILE"),
        );
    }
    if unreadable > 0 {
        let text = format!("the disk could not be read in {unreadable} places of 4 KiB; they count as zeros");
        findings.push(
            Finding::problem("disk-unreadable", text)
                .hint("copy what you need from this disk and replace it"),
        );
    }
    Ok(to)
}

fn beside(database: &Path, side: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(side);
    PathBuf::from(name)
}

fn identities(database: &Path) -> Vec<Option<Identity>> {
    let identity = |side: &&str| fs::symlink_metadata(beside(database, side)).ok();
    SIDES.iter().map(identity).map(|facts| facts.map(|facts| file_facts::identity(&facts))).collect()
}

/// Copies one; how many sectors could not be read.
fn copy_file(from: &Path, to: &Path, is_main: bool, monitor: &dyn Monitor) -> Result<u64> {
    let opened = match fs::symlink_metadata(from) {
        Ok(facts) if facts.is_file() => file_facts::open_itself(from),
        // A link or a pipe is no file of SQLite's.
        Ok(_) if !is_main => return Ok(0),
        Ok(_) => Err(io::Error::other("it is no file")),
        Err(error) => Err(error),
    };
    let mut source = match opened {
        Ok(source) => source,
        Err(error) if !is_main && error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("can't read {}", from.display()))
                .hint("give yourself the right to read it, or run this as its owner");
        }
    };
    let mut target =
        file_facts::create_private_file(to).with_context(|| format!("can't write {}", to.display()))?;
    let total = source.metadata().with_context(|| format!("can't read {}", from.display()))?.len();
    let mut block = vec![0; BLOCK];
    let (mut at, mut lost) = (0, 0);
    while at < total {
        interrupt::check()?;
        let wanted = usize::try_from(total - at).unwrap_or(BLOCK).min(BLOCK);
        let got = match read_at(&mut source, at, &mut block[..wanted]) {
            Ok(0) => break, // it got shorter
            Ok(got) => got,
            Err(_) => {
                // Sector by sector: one bad one must not take others along.
                for sector in block[..wanted].chunks_mut(SECTOR) {
                    sector.fill(0);
                }
                for (number, sector) in block[..wanted].chunks_mut(SECTOR).enumerate() {
                    if read_at(&mut source, at + (number * SECTOR) as u64, sector).is_err() {
                        sector.fill(0);
                        lost += 1;
                    }
                }
                wanted
            }
        };
        target.write_all(&block[..got]).with_context(|| format!("can't write {}", to.display()))?;
        at += got as u64;
        monitor.advance(got as u64);
    }
    Ok(lost)
}

fn read_at(file: &mut File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(at))?;
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
