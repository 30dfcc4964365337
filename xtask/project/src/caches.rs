//! Folders whose content a tool makes again by itself. They are left out of a backup, but named in it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::Result;

use crate::base::interrupt;
use crate::base::safe_path::SafePath;

/// First bytes of a `CACHEDIR.TAG` (bford.info/cachedir).
const TAG_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Names under which tools keep only what they can make again.
const NAMES: [&[u8]; 13] = [
    b"node_modules",
    b"__pycache__",
    b".venv",
    b".tox",
    b".nox",
    b".mypy_cache",
    b".pytest_cache",
    b".ruff_cache",
    b".hypothesis",
    b".eggs",
    b".gradle",
    b".parcel-cache",
    b".turbo",
];

/// Above so many entries a folder is not counted any more.
const COUNTED_MAX: u64 = 10_000;

/// Whether a folder is a cache: by its name, by a `CACHEDIR.TAG`, or as a Python environment.
pub fn is_cache(folder: &Path, name: &[u8]) -> bool {
    NAMES.contains(&name) || is_tagged(folder) || folder.join("pyvenv.cfg").is_file()
}

fn is_tagged(folder: &Path) -> bool {
    let tag = folder.join("CACHEDIR.TAG");
    // The specification asks for a regular file. What can't be read marks nothing: its folder is kept.
    if !fs::symlink_metadata(&tag).is_ok_and(|meta| meta.is_file()) {
        return false;
    }
    let mut start = Vec::new();
    let length = TAG_SIGNATURE.len() as u64;
    let read = File::open(&tag).and_then(|file| file.take(length).read_to_end(&mut start));
    read.is_ok() && start == TAG_SIGNATURE
}

/// What a folder that is left out holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Files; 0 when there were too many entries to count.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that begin like a database, as far as was counted.
    pub databases: Vec<SafePath>,
}

/// Counts what is below a folder, links not followed; with `look`, looks for databases as well.
///
/// # Errors
/// Only when the user interrupts: what can't be read is not counted, since it is left out anyway.
pub fn count(folder: &Path, path: &SafePath, look: bool) -> Result<Count> {
    let mut count = Count::default();
    let mut seen = 0;
    let mut waiting = vec![(folder.to_path_buf(), path.clone())];
    while let Some((folder, path)) = waiting.pop() {
        interrupt::check()?;
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > COUNTED_MAX {
                return Ok(Count { files: 0, bytes: 0, databases: count.databases });
            }
            let Ok(meta) = entry.metadata() else { continue };
            let inside =
                || crate::base::os_name::from_os(&entry.file_name()).and_then(|name| path.join(&name));
            if meta.is_dir() {
                if let Ok(inside) = inside() {
                    waiting.push((entry.path(), inside));
                }
                continue;
            }
            count.files += 1;
            count.bytes += meta.len();
            if look
                && meta.is_file()
                && super::databases::has_header(&entry.path(), meta.len()).unwrap_or(false)
            {
                count.databases.extend(inside().ok());
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_a_cache() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path();
        assert!(is_cache(folder, b"node_modules") && is_cache(folder, b"__pycache__"));
        assert!(!is_cache(folder, b"memory"));
        fs::write(folder.join("CACHEDIR.TAG"), "Signature: something else").unwrap();
        assert!(!is_cache(folder, b"target"));
        fs::write(folder.join("CACHEDIR.TAG"), [TAG_SIGNATURE, b"\n# more"].concat()).unwrap();
        assert!(is_cache(folder, b"target"));
    }

    #[test]
    fn counting_stops_at_ten_thousand_entries() {
        let base = tempfile::tempdir().unwrap();
        let path = SafePath::new("cache").unwrap();
        fs::create_dir(base.path().join("deep")).unwrap();
        for n in 0..9999 {
            fs::write(base.path().join(format!("deep/{n}")), "x").unwrap();
        }
        let counted = count(base.path(), &path, false).unwrap();
        assert_eq!((counted.files, counted.bytes), (9999, 9999));
        fs::write(base.path().join("one-more"), "x").unwrap();
        assert_eq!(count(base.path(), &path, false).unwrap(), Count::default());
    }
}
