//! What lay where when a restore over a project was about to begin: size, time and inode of every file that goes
//! or comes. Whoever finishes it or takes it back later, after a kill perhaps, sees by that what somebody wrote
//! since, and throws none of it away.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::file_facts::{self, Identity};
use crate::base::os_name;
use crate::base::safe_path::SafePath;

/// What tells whether a file, or a link, is the one that was there. Not the change time, which a rename changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    inode: (u64, u64),
    size: u64,
    mtime_ns: i64,
}

impl From<&Identity> for Mark {
    fn from(identity: &Identity) -> Mark {
        Mark { inode: identity.inode, size: identity.size, mtime_ns: identity.mtime_ns }
    }
}

impl Mark {
    /// That of a file.
    pub fn of(meta: &Metadata) -> Mark {
        Mark::from(&file_facts::identity(meta))
    }
}

/// Files and links by their paths in the project. Folders have none: what is in them does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(pub BTreeMap<SafePath, Mark>);

impl Serialize for Marks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A list: in JSON a key must be text.
        serializer.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Marks, D::Error> {
        Ok(Marks(Vec::<(SafePath, Mark)>::deserialize(deserializer)?.into_iter().collect()))
    }
}

impl Marks {
    /// Adds what lies at `place`, a folder with all that is in it, as if it lay at `path`.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn add(&mut self, path: &SafePath, place: &Path) -> Result<()> {
        each(path, place, &mut |path, meta| {
            self.0.insert(path.clone(), Mark::of(meta));
            true
        })?;
        Ok(())
    }

    /// The first file or link at `place` that is not what was there at `path`; it may be gone.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn changed(&self, path: &SafePath, place: &Path) -> Result<Option<SafePath>> {
        each(path, place, &mut |path, meta| self.0.get(path) == Some(&Mark::of(meta)))
    }
}

/// Calls `look` for every file and link, until it says no; that one's path.
fn each(
    path: &SafePath,
    place: &Path,
    look: &mut dyn FnMut(&SafePath, &Metadata) -> bool,
) -> Result<Option<SafePath>> {
    let shown = || format!("can't look at {}", place.display());
    let meta = match fs::symlink_metadata(place) {
        Ok(meta) => meta,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error).with_context(shown),
    };
    if !meta.is_dir() {
        return Ok((!is_left_aside(path) && !look(path, &meta)).then(|| path.clone()));
    }
    if is_objects(path) {
        return Ok(None);
    }
    for entry in fs::read_dir(place).with_context(shown)? {
        let entry = entry.with_context(shown)?;
        let inside = path.join(&os_name::from_os(&entry.file_name())?)?;
        if let Some(found) = each(&inside, &entry.path(), look)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// SQLite's shared memory holds nothing, and changes whenever somebody looks.
fn is_left_aside(path: &SafePath) -> bool {
    path.bytes().ends_with(b"-shm")
}

/// Objects never change, and without a ref that leads to them they are nobody's loss.
fn is_objects(path: &SafePath) -> bool {
    path.bytes() == b".git/objects"
}

/// Whether an error says that nothing is there.
pub fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_written_shows_and_a_rename_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a");
        fs::create_dir_all(place.join("d")).unwrap();
        fs::write(place.join("d/x"), "1").unwrap();
        fs::write(place.join("y-shm"), "1").unwrap();
        let path = SafePath::new("p").unwrap();
        let mut marks = Marks::default();
        marks.add(&path, &place).unwrap();
        let marks: Marks = serde_json::from_slice(&serde_json::to_vec(&marks).unwrap()).unwrap();
        let moved = folder.path().join("b");
        fs::rename(&place, &moved).unwrap();
        fs::write(moved.join("y-shm"), "more").unwrap();
        assert_eq!(marks.changed(&path, &moved).unwrap(), None);
        fs::write(moved.join("d/new"), "").unwrap();
        assert_eq!(marks.changed(&path, &moved).unwrap(), Some(SafePath::new("p/d/new").unwrap()));
        fs::remove_file(moved.join("d/new")).unwrap();
        fs::write(moved.join("d/x"), "22").unwrap();
        assert_eq!(marks.changed(&path, &moved).unwrap(), Some(SafePath::new("p/d/x").unwrap()));
        fs::remove_dir_all(&moved).unwrap();
        assert_eq!(marks.changed(&path, &moved).unwrap(), None);
    }
}
