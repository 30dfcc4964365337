//! Puts git into an archive: bundles, in which only new objects are not compressed yet, and the state files
//! beside them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::archive::layout::{self, Part};
use crate::archive::writer::Writer;
use crate::base::file_facts;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::project::git::Capture;

use super::add_frame::{Folders, LEVEL, meta, stream};
use super::earlier::Newest;

/// Adds copies of git's files below `git/`, and first of all the bundles that are carried over from an earlier backup.
///
/// # Errors
/// When a copy can't be read or the archive can't be written; [`super::earlier::Damaged`] when a bundle to be carried over
/// is not what it was.
pub fn add_git(
    writer: &mut Writer,
    folders: &mut Folders,
    capture: &Capture,
    newest: Option<&Newest>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let (carried, new) = capture.facts.bundles.split_at(capture.carried.len());
    let bundle = |name: &String| SafePath::new(format!("bundles/{name}"));
    for name in carried {
        let place = layout::place(&Part::Git(bundle(name)?))?.context("git has a place")?;
        folders.above(writer, &place)?;
        newest.context("bundles come from an earlier backup")?.carry_bundle(&place, writer)?;
    }
    for (name, source) in new.iter().zip(&capture.bundles) {
        add(writer, folders, &bundle(name)?, source, monitor)?;
    }
    for (path, source) in &capture.state {
        add(writer, folders, path, source, monitor)?;
    }
    Ok(())
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
