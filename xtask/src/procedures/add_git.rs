//! Puts git into an archive: bundles, in which only new objects are not compressed yet, and the state files
//! beside them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::archive::layout::{self, Part};
use crate::archive::writer::Writer;
use crate::base::file_facts;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;

use super::add_frame::{Folders, LEVEL, meta, stream};

/// Adds copies of git's files below `git/`; each is given with its name there.
///
/// # Errors
/// When a copy can't be read or the archive can't be written.
pub fn add_git(
    writer: &mut Writer,
    folders: &mut Folders,
    bundles: &[PathBuf],
    state: &[(SafePath, PathBuf)],
    monitor: &dyn Monitor,
) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (number, source) in bundles.iter().enumerate() {
        let name = format!("{number:04}.bundle");
        let path = SafePath::new(format!("bundles/{name}"))?;
        add(writer, folders, &path, source, monitor)?;
        names.push(name);
    }
    for (path, source) in state {
        add(writer, folders, path, source, monitor)?;
    }
    Ok(names)
}

fn add(
    writer: &mut Writer,
    folders: &mut Folders,
    path: &SafePath,
    source: &PathBuf,
    monitor: &dyn Monitor,
) -> Result<()> {
    let place = layout::place(&Part::Git(path.clone()))?.context("git has a place")?;
    folders.above(writer, &place)?;
    let facts = std::fs::metadata(source).with_context(|| format!("can't read {}", source.display()))?;
    let mut attributes = file_facts::attributes(&facts);
    // These are copies of ours, readable by their owner only; what was executable stays so.
    attributes.mode = if attributes.mode & 0o100 == 0 { 0o600 } else { 0o700 };
    stream(writer, meta(place, &attributes), source, LEVEL, crate::archive::writer::FILE_CHUNK, monitor)?;
    Ok(())
}
