//! What did not change since the earlier backup, told without reading it: a file or a database whose size, inode,
//! modification and change time are those that were noted when it was last read. Such a file is taken over from the
//! earlier backup as it is there.
//!
//! It is safe because whoever writes to a file changes its change time, which nobody can set, and because times from
//! shortly before the earlier backup began, or after, are never trusted (`base/seen.rs`). Databases are looked at under
//! their write locks, so that what is said of several of them is said of one instant. What no file system tells (a
//! program that writes through a memory map; a disk that forgets) is found when everything is read again, which
//! happens once a week, and when asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use serde::Serialize;

use super::add_dump;
use super::earlier::Newest;
use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Form};
use crate::base::change_times;
use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::file_facts::Identity;
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::base::seen::{Seen, SeenDatabase};
use crate::project::root::Project;
use crate::store::identity;

/// Which program, in the manifest.
pub const TOOL: &str = concat!("xtask ", env!("CARGO_PKG_VERSION"));

/// After so many seconds everything is read again.
const FULL_READ_S: i64 = 7 * 24 * 3600;

/// Advice that is said again of a database which is taken over: it holds as long as the database is the same.
const LASTING: [&str; 2] = ["foreign-keys", "database-unchecked"];

/// How much was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Files.
    pub files: u64,
    /// Databases.
    pub databases: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// The earlier backup's notes.
pub struct Unchanged<'a> {
    newest: &'a Newest,
    root: PathBuf,
    /// Of each device, whether change times on it can be trusted.
    devices: Mutex<HashMap<u64, bool>>,
    /// When everything was last read; absent where nothing is believed without being read.
    read_in_full: Option<Instant>,
    files: AtomicU64,
    databases: AtomicU64,
    bytes: AtomicU64,
}

/// A database as the earlier backup has it.
pub struct Carried {
    /// What it says of it.
    pub line: Database,
    /// Its page image.
    pub image: Entry,
    /// Its dump, where one is wanted.
    pub dump: Option<Entry>,
    /// What is still true of it.
    pub findings: Vec<Finding>,
}

impl<'a> Unchanged<'a> {
    /// The notes of an earlier backup. What a file was like is only believed when it is one of this very folder, made
    /// here by this version of the program, and everything was read less than a week ago; and never with `full_read`.
    pub fn since(newest: &'a Newest, project: &Project, now: Instant, full_read: bool) -> Unchanged<'a> {
        let manifest = &newest.manifest;
        let recent = |read: &Instant| is_recent(*read, manifest.created, now);
        let same_folder = || {
            manifest.host == identity::host_name()
                && RawPath::of(&project.root).is_ok_and(|path| path == manifest.path)
        };
        let read_in_full = manifest.read_in_full.filter(recent);
        let read_in_full = read_in_full.filter(|_| !full_read && same_folder() && is_ours(newest));
        let count = || AtomicU64::new(0);
        let (root, devices) = (project.root.clone(), Mutex::new(HashMap::new()));
        Unchanged { newest, root, devices, read_in_full, files: count(), databases: count(), bytes: count() }
    }

    /// When everything was last read, if not now.
    pub fn read_in_full(&self) -> Option<Instant> {
        self.read_in_full
    }

    /// A working file of the earlier backup, if it is now as it was then.
    pub fn file(&self, path: &SafePath, identity: &Identity) -> Option<&'a Entry> {
        self.read_in_full?;
        let entry = self.entry(Part::File(path.clone()))?;
        let seen = entry.seen.filter(|seen| seen.is_settled(self.newest.manifest.created))?;
        (Seen::of(identity) == Some(seen) && self.is_trusted(path, Some(identity.inode.0))).then_some(entry)
    }

    /// Whether the file system that a path is on keeps change times that nobody can set; `device` spares asking twice.
    fn is_trusted(&self, path: &SafePath, device: Option<u64>) -> bool {
        let ask = || path.below(&self.root).is_ok_and(|path| change_times::are_kept(&path));
        let Some(device) = device else { return ask() };
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        *devices.entry(device).or_insert_with(ask)
    }

    /// A database of the earlier backup, if its files are now as they were then, and it was whole; `dump` says whether
    /// its dump is wanted as well.
    pub fn database(&self, path: &SafePath, seen: &SeenDatabase, dump: bool) -> Option<Carried> {
        self.read_in_full?;
        let carried = self.whole(path, dump)?;
        let settled = carried.line.seen.filter(|seen| seen.is_settled(self.newest.manifest.created))?;
        if settled != *seen || !self.is_trusted(path, None) {
            return None;
        }
        self.databases.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(carried.line.bytes, Ordering::Relaxed);
        Some(carried)
    }

    /// A database of the earlier backup, if this is its image, and it was whole: then nothing of it has to be checked,
    /// counted or dumped again. Reads as far as they are the same.
    ///
    /// # Errors
    /// When the image can't be read.
    pub fn same_image(&self, path: &SafePath, image: &Path, dump: bool) -> Result<Option<Carried>> {
        let Some(carried) = self.whole(path, dump) else { return Ok(None) };
        let mut file = File::open(image)?;
        if file.metadata()?.len() != carried.line.bytes {
            return Ok(None);
        }
        let mut buffer = Vec::new();
        for chunk in &carried.image.chunks {
            interrupt::check()?;
            buffer.clear();
            (&mut file).take(chunk.size).read_to_end(&mut buffer)?;
            if Digest::of(&buffer) != chunk.digest {
                return Ok(None);
            }
        }
        Ok(Some(carried))
    }

    /// What the earlier backup has of a database that was whole.
    fn whole(&self, path: &SafePath, dump: bool) -> Option<Carried> {
        let manifest = &self.newest.manifest;
        let line = manifest.databases.iter().find(|database| database.path == *path)?;
        let whole = line.form == Form::Image && line.damage.is_empty() && line.facts.is_some();
        if !whole || !is_ours(self.newest) || (dump && !line.has_whole_dump()) {
            return None;
        }
        let own = |entry: &&Entry| self.newest.reuse.has_own_members(entry);
        let image = self.entry(Part::Image(path.clone())).filter(own)?.clone();
        let dump = match dump {
            true => Some(self.entry(Part::Dump(path.clone())).filter(own)?.clone()),
            false => None,
        };
        let about = |finding: &&Finding| finding.path.as_ref() == Some(path);
        let mut findings = Vec::new();
        for finding in manifest.findings.iter().filter(about) {
            let of_dump = add_dump::LASTING.contains(&&*finding.code);
            match finding.is_problem() {
                true => return None, // whatever it was, it is looked at again
                false if LASTING.contains(&&*finding.code) || (of_dump && dump.is_some()) => {
                    findings.push(finding.clone());
                }
                false => {}
            }
        }
        let mut line = line.clone();
        if dump.is_none() {
            (line.dump, line.dump_partial, line.dump_logical) = (false, false, None);
        }
        Some(Carried { line, image, dump, findings })
    }

    /// Counts a file that was taken over.
    pub fn count_file(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much was not read so far.
    pub fn so_far(&self) -> Unread {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Unread { files: now(&self.files), databases: now(&self.databases), bytes: now(&self.bytes) }
    }

    fn entry(&self, part: Part) -> Option<&'a Entry> {
        let place = layout::place(&part).ok().flatten()?;
        self.newest.reuse.archive().entry(&place)
    }
}

/// Whether what a backup says of its content is as good as what would be said now: it was made here, by this version
/// of the program. One that was brought from elsewhere may say anything.
fn is_ours(newest: &Newest) -> bool {
    newest.made_here && newest.manifest.tool == TOOL
}

/// Whether the notes of a backup are young enough, and a clock that was set back has not made them of the future.
fn is_recent(read_in_full: Instant, created: Instant, now: Instant) -> bool {
    read_in_full <= created && created <= now && now.0.saturating_sub(read_in_full.0) < FULL_READ_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read_once_a_week_and_when_a_clock_was_set_back() {
        let day = |n: i64| Instant(n * 24 * 3600);
        assert!(is_recent(day(10), day(10), day(10)) && is_recent(day(10), day(15), day(16)));
        assert!(!is_recent(day(10), day(16), day(17)));
        assert!(!is_recent(day(10), day(15), day(14)) && !is_recent(day(12), day(11), day(13)));
    }
}
