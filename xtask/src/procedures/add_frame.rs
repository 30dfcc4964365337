//! What stands around the contents of an archive: its folders, the recipe for recovering by hand, and how a
//! file of ours is streamed into it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive::header::Meta;
use crate::archive::layout::RECIPE_NAME;
use crate::archive::member::Level;
use crate::archive::writer::{SMALL_MAX, Writer};
use crate::base::digest::Digest;
use crate::base::file_facts::Attributes;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;

/// How to recover with tar, sha256sum, sqlite3 and git alone; a test runs the commands in it.
const RECIPE: &str = include_str!("RESTORE.md");

/// How hard everything is compressed that is not compressed already.
pub const LEVEL: Level = 4;

/// The folders that stand between the top and the contents; each is written once, before what is in it.
pub struct Folders {
    written: BTreeSet<SafePath>,
    mtime_s: i64,
}

impl Folders {
    /// None written yet; all of them get this time.
    pub fn new(mtime_s: i64) -> Folders {
        Folders { written: BTreeSet::new(), mtime_s }
    }

    /// Writes those above an entry that are not there yet.
    ///
    /// # Errors
    /// When the archive can't be written.
    pub fn above(&mut self, writer: &mut Writer, entry: &SafePath) -> Result<()> {
        match entry.parent() {
            None => Ok(()),
            Some(parent) if self.written.contains(&parent) => Ok(()),
            Some(parent) => {
                self.above(writer, &parent)?;
                writer.folder(private(parent.clone(), 0o700, self.mtime_s))?;
                self.written.insert(parent);
                Ok(())
            }
        }
    }
}

/// The header of an entry.
pub fn meta(path: SafePath, facts: &Attributes) -> Meta {
    Meta { path, mode: facts.mode, uid: facts.uid, gid: facts.gid, mtime_s: facts.mtime_s.max(0) }
}

/// The header of something of ours.
pub fn private(path: SafePath, mode: u32, mtime_s: i64) -> Meta {
    Meta { path, mode, uid: 0, gid: 0, mtime_s: mtime_s.max(0) }
}

/// Adds the recipe.
///
/// # Errors
/// When the archive can't be written.
pub fn add_recipe(writer: &mut Writer, folders: &mut Folders) -> Result<()> {
    let path = SafePath::new(RECIPE_NAME)?;
    folders.above(writer, &path)?;
    writer.small(private(path, 0o600, 0), RECIPE.as_bytes())
}

/// Adds a small file of ours whose content differs each time, in members of its own.
///
/// # Errors
/// When the archive can't be written.
pub fn add_alone(writer: &mut Writer, meta: Meta, content: &[u8], level: u8) -> Result<()> {
    writer.begin(meta, level)?;
    for chunk in content.chunks(SMALL_MAX) {
        writer.chunk(chunk.to_vec())?;
    }
    writer.end()?;
    Ok(())
}

/// Adds a file of ours that nobody else writes; its size in bytes and its digest.
///
/// # Errors
/// When it can't be read or the archive can't be written.
pub fn stream(
    writer: &mut Writer,
    meta: Meta,
    source: &Path,
    level: u8,
    chunk_size: usize,
    monitor: &dyn Monitor,
) -> Result<(u64, Digest)> {
    let mut file = File::open(source).with_context(|| format!("can't read {}", source.display()))?;
    writer.begin(meta, level)?;
    loop {
        interrupt::check()?;
        let mut chunk = Vec::with_capacity(chunk_size);
        let n = (&mut file).take(chunk_size as u64).read_to_end(&mut chunk)?;
        if n == 0 {
            return writer.end();
        }
        monitor.advance(n as u64);
        writer.chunk(chunk)?;
    }
}
