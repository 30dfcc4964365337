//! The last look at what was written: everything is there, with the modes that git gives under umask 022, and
//! no two names of the commit became one on this disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::super::revision::Commit;
use super::{Item, Mode};
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts::{identity, set_mode};
use crate::base::interrupt;
use crate::base::safe_path::SafePath;

/// Sets modes; what lies in the folder.
///
/// # Errors
/// `Refused` when names fall together; any other when something is not there.
pub(super) fn finish(to: &Path, items: &[&Item], commit: &Commit) -> Result<BTreeMap<SafePath, Mode>> {
    let mut tracked = BTreeMap::new();
    let mut folders = BTreeSet::new();
    let mut known = Known::default();
    for (count, item) in items.iter().enumerate() {
        if count % 1024 == 0 {
            interrupt::check()?;
        }
        let mut above = item.path.parent();
        while let Some(folder) = above.filter(|folder| !folders.contains(folder)) {
            above = folder.parent();
            folders.insert(folder);
        }
        let (full, meta) = look(to, &item.path)?;
        known.add(&item.path, &meta, commit)?;
        let mode = match item.mode {
            Mode::Submodule if meta.is_dir() => Mode::Submodule,
            Mode::Link if meta.is_symlink() => Mode::Link,
            // A disk without links, or `core.symlinks` off: git writes the target into a file.
            Mode::Link | Mode::File if meta.is_file() => Mode::File,
            Mode::Executable if meta.is_file() => Mode::Executable,
            _ => bail!("{} is not what the commit {} has there", full.display(), commit.short()),
        };
        let bits = match mode {
            Mode::Executable | Mode::Submodule => 0o755,
            Mode::File => 0o644,
            Mode::Link => 0,
        };
        if mode != Mode::Link {
            set_mode(&full, bits).with_context(|| format!("can't set the mode of {}", full.display()))?;
        }
        tracked.insert(item.path.clone(), mode);
    }
    for folder in &folders {
        let (full, meta) = look(to, folder)?;
        known.add(folder, &meta, commit)?;
        set_mode(&full, 0o755).with_context(|| format!("can't set the mode of {}", full.display()))?;
    }
    Ok(tracked)
}

fn look(to: &Path, path: &SafePath) -> Result<(std::path::PathBuf, Metadata)> {
    let full = path.below(to)?;
    let meta = fs::symlink_metadata(&full).with_context(|| format!("{} was not written", full.display()))?;
    Ok((full, meta))
}

/// Which path a thing on the disk has.
#[derive(Default)]
struct Known {
    by_inode: HashMap<(u64, u64), SafePath>,
    /// Where the system tells no inode, a disk is taken for one that does not tell cases apart.
    by_name: HashMap<String, SafePath>,
}

impl Known {
    fn add(&mut self, path: &SafePath, meta: &Metadata, commit: &Commit) -> Result<()> {
        let other = match identity(meta).inode {
            (0, 0) => {
                let folded = String::from_utf8_lossy(path.bytes()).to_lowercase();
                self.by_name.insert(folded, path.clone())
            }
            inode => self.by_inode.insert(inode, path.clone()),
        };
        let Some(other) = other else { return Ok(()) };
        let text = format!(
            "the commit {} can't be written out: {other} and {path} are one name on this disk",
            commit.short()
        );
        Err(Failure::new(Kind::Refused, text)
            .hint("restore on a disk that tells upper and lower case apart")
            .hint(format!("or read the files one by one: git show {}:{path}", commit.short()))
            .into())
    }
}
