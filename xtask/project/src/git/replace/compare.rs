//! Whether what is there differs from what the backup has.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::saved::regular;
use super::Sides;
use crate::base::links;
use crate::base::safe_path::SafePath;

/// Whether two files, or two folders with all that is in them, differ; one that is not there differs from
/// one that is.
///
/// # Errors
/// When one can't be read.
pub(super) fn differs(one: &Path, other: &Path) -> Result<bool> {
    let meta = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    let (first, second) = match (meta(one)?, meta(other)?) {
        (None, None) => return Ok(false),
        (Some(first), Some(second)) => (first, second),
        _ => return Ok(true),
    };
    let read = |path: &Path| fs::read(path).with_context(|| format!("can't read {}", path.display()));
    if first.is_file() && second.is_file() {
        return Ok(first.len() != second.len() || read(one)? != read(other)?);
    }
    if !first.is_dir() || !second.is_dir() {
        return Ok(true);
    }
    let names = |folder: &Path| -> Result<BTreeSet<std::ffi::OsString>> {
        let entries = fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    let (here, there) = (names(one)?, names(other)?);
    if here != there {
        return Ok(true);
    }
    for name in here {
        if differs(&one.join(&name), &other.join(&name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the two indexes say different things. What only tells when git looked at a file does not count,
/// where it can be told apart.
///
/// # Errors
/// When one can't be read.
pub(super) fn index_differs(sides: &Sides<'_>) -> Result<bool> {
    let name = SafePath::new("index")?;
    let live = sides.git.own.join("index");
    let Some(saved) = regular(sides.source, &name)? else { return Ok(links::exists(&live)?) };
    let same = !differs(&saved, &live)?;
    // What is to be exactly as it was is so byte for byte.
    if same || sides.exact {
        return Ok(!same);
    }
    Ok(match (entries(&saved), entries(&live)) {
        (Some(saved), Some(live)) => {
            let facts =
                |entries: &[(Entry, u32)]| entries.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
            // A file whose size is not the one in the index is changed for git, whatever is in it: where git
            // writes other line ends than it stores, both can be right. Zero stands for not known.
            let sizes = saved.iter().zip(&live).any(|(a, b)| a.1 != 0 && b.1 != 0 && a.1 != b.1);
            facts(&saved) != facts(&live) || sizes
        }
        _ => true,
    })
}

type Entry = (Vec<u8>, git2::Oid, u32, u16, u16);

/// What an index lists, each with the size of its file; `None` where there is more to it than that.
fn entries(path: &Path) -> Option<Vec<(Entry, u32)>> {
    let bytes = fs::read(path).ok()?;
    // It remembers resolved conflicts, or is split or sparse (gitformat-index(5)).
    let more = |name: &[u8]| bytes.windows(4).any(|window| window == name);
    if more(b"REUC") || more(b"link") || more(b"sdir") {
        return None;
    }
    let index = git2::Index::open(path).ok()?;
    // The low bits of `flags` are the length of the name; the others, and the extended ones, are facts.
    Some(index.iter().map(|e| ((e.path, e.id, e.mode, e.flags, e.flags_extended), e.file_size)).collect())
}
