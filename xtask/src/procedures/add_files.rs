//! Puts the working files into an archive, as they are on disk.
//!
//! A file may change while it is read. Its identity (inode, size, times) is taken from the open file before
//! and after; when they differ it is read again, up to three times, and then kept as read and named as a
//! problem. A file that was written to a moment ago counts as changing, too: two writes within one tick of
//! the clock leave the same times. Links are never followed, and a pipe that took a file's place is not waited for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive::layout::{self, Part};
use crate::archive::manifest::Files;
use crate::archive::writer::{FILE_CHUNK, SMALL_MAX, Writer};
use crate::base::file_facts::{self, Attributes, Identity};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::base::seen::Seen;
use crate::project::databases;
use crate::project::scan::{Class, Entry, EntryKind};

use super::add_frame::{LEVEL, meta};
use super::unchanged::Unchanged;

const TRIES: u32 = 3;

/// What became of the files.
#[derive(Default)]
pub struct Added {
    /// Counts for the manifest.
    pub counts: Files,
    /// Files that changed, vanished or could not be read.
    pub findings: Vec<Finding>,
}

/// How reading one file ended.
enum Read1 {
    Kept { bytes: u64, changed: bool },
    Gone(io::Error),
}

/// Adds every entry of a scan below `files/`.
///
/// # Errors
/// When writing the archive fails. A file that can't be read is a finding.
pub fn add_files(
    writer: &mut Writer,
    root: &Path,
    entries: &[Entry],
    unchanged: Option<&Unchanged<'_>>,
    monitor: &dyn Monitor,
) -> Result<Added> {
    let mut added = Added::default();
    let mut buffer = Vec::new();
    for entry in entries {
        interrupt::check()?;
        let place = layout::place(&Part::File(entry.path.clone()))?.context("a file has a place")?;
        match &entry.kind {
            EntryKind::Folder => {
                writer.folder(meta(place, &entry.attributes))?;
                added.counts.folders += 1;
                continue;
            }
            EntryKind::Link { target } => {
                writer.link(meta(place, &entry.attributes), target.clone())?;
                added.counts.links += 1;
            }
            EntryKind::File => {
                let read = match carry(writer, unchanged, entry, &place)? {
                    true => Read1::Kept { bytes: entry.identity.size, changed: false },
                    false => add_file(writer, &entry.path.below(root)?, &place, &mut buffer)?,
                };
                match read {
                    Read1::Kept { bytes, changed } => {
                        monitor.advance(bytes);
                        added.counts.files += 1;
                        added.counts.bytes += bytes;
                        if changed {
                            added.findings.push(changing(&entry.path));
                        }
                    }
                    Read1::Gone(error) => {
                        added.findings.push(unreadable(&entry.path, &error));
                        continue;
                    }
                }
            }
        }
        match entry.class {
            Class::Tracked => added.counts.tracked += 1,
            Class::Untracked => added.counts.untracked += 1,
            Class::Ignored => added.counts.ignored += 1,
        }
    }
    Ok(added)
}

/// Takes a file over from the earlier backup, if it is as it was then.
fn carry(
    writer: &mut Writer,
    unchanged: Option<&Unchanged<'_>>,
    entry: &Entry,
    place: &SafePath,
) -> Result<bool> {
    let Some(unchanged) = unchanged else { return Ok(false) };
    let Some(earlier) = unchanged.file(&entry.path, &entry.identity) else { return Ok(false) };
    let carried = writer.carry(meta(place.clone(), &entry.attributes), earlier)?;
    if carried {
        unchanged.count_file(entry.identity.size);
    }
    Ok(carried)
}

fn changing(path: &SafePath) -> Finding {
    Finding::problem(
        "file-changed",
        format!("it changed each of the {TRIES} times it was read and is kept as it was last"),
    )
    .at(path)
    .hint("stop what writes it and run backup again, or leave it out with `exclude`")
}

fn unreadable(path: &SafePath, error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Finding::problem("file-vanished", "it was there when the backup began and is gone")
                .at(path)
                .hint("if it was moved, run backup again")
        }
        _ => Finding::problem("file-unreadable", format!("it can't be read: {error}"))
            .at(path)
            .hint("make it readable for the user who runs the backup, or leave it out with `exclude`"),
    }
}

fn add_file(writer: &mut Writer, path: &Path, place: &SafePath, buffer: &mut Vec<u8>) -> Result<Read1> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let last = attempt == TRIES;
        let mut file = match file_facts::open_itself(path) {
            Ok(file) => file,
            Err(error) => return Ok(Read1::Gone(error)),
        };
        let (before, facts) = match look(&file) {
            Ok(looked) => looked,
            Err(error) => return Ok(Read1::Gone(error)),
        };
        let fresh = before.is_fresh();
        let (bytes, changed) = if before.size <= SMALL_MAX as u64 {
            buffer.clear();
            if let Err(error) = (&mut file).take(SMALL_MAX as u64).read_to_end(buffer) {
                return Ok(Read1::Gone(error));
            }
            let changed =
                look(&file).map_or(true, |(after, _)| after != before) || buffer.len() as u64 != before.size;
            if !changed || last {
                writer.small(meta(place.clone(), &facts), buffer)?;
                if !databases::begins_like_one(buffer) {
                    writer.note_seen(Seen::of(&before).filter(|_| !changed));
                }
            }
            (buffer.len() as u64, changed)
        } else {
            writer.begin(meta(place.clone(), &facts), LEVEL)?;
            let read = stream(writer, &mut file, before.size)?;
            let changed = match &read {
                Ok((bytes, _)) => {
                    fresh || look(&file).map_or(true, |(after, _)| after != before) || *bytes != before.size
                }
                Err(_) => true,
            };
            match read {
                Ok((bytes, is_plain)) if !changed || last => {
                    writer.end()?;
                    writer.note_seen(Seen::of(&before).filter(|_| !changed && is_plain));
                    (bytes, changed)
                }
                Ok((bytes, _)) => {
                    writer.abort()?;
                    (bytes, changed)
                }
                Err(error) => {
                    writer.abort()?;
                    return Ok(Read1::Gone(error));
                }
            }
        };
        if !changed || last {
            return Ok(Read1::Kept { bytes, changed });
        }
        std::thread::sleep(file_facts::TICK);
    }
}

/// Hands on at most `size` bytes: a file that grows as fast as it is read still comes to an end. How many there were,
/// and whether they begin like no database.
fn stream(writer: &mut Writer, file: &mut File, size: u64) -> Result<io::Result<(u64, bool)>> {
    let (mut left, mut is_plain) = (size, true);
    while left > 0 {
        interrupt::check()?;
        let wanted = left.min(FILE_CHUNK as u64);
        let mut chunk = Vec::with_capacity(usize::try_from(wanted)?);
        match file.take(wanted).read_to_end(&mut chunk) {
            Err(error) => return Ok(Err(error)),
            Ok(0) => break,
            Ok(n) => left -= n as u64,
        }
        is_plain &= left + (chunk.len() as u64) < size || !databases::begins_like_one(&chunk);
        writer.chunk(chunk)?;
    }
    Ok(Ok((size - left, is_plain)))
}

fn look(file: &File) -> io::Result<(Identity, Attributes)> {
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("it is no regular file any more"));
    }
    Ok((file_facts::identity(&facts), file_facts::attributes(&facts)))
}
