//! Where things lie inside an archive: the one place that knows the folder names, both ways.

use anyhow::Result;

use crate::base::safe_path::SafePath;
use crate::manifest::MANIFEST_NAME;
use crate::writer::{LANDMARK_NAME, SUMS_NAME};

/// What a path in the archive is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A working file, by its path in the project.
    File(SafePath),
    /// The page image of a database.
    Image(SafePath),
    /// The SQL dump of a database.
    Dump(SafePath),
    /// The bytes of a database that could not be opened, or of a file beside it.
    Raw(SafePath),
    /// Something of git, by its path below `git/`.
    Git(SafePath),
    /// `RESTORE.md`, the manifest, the checksums, the landmark, and the folders that hold the others.
    Frame,
}

const FILES: &str = "backup/files/";
const DATABASES: &str = "backup/databases/";
const SQL: &str = "backup/sql/";
const SQL_END: &[u8] = b".sql";
const RAW: &str = "backup/raw/";
const GIT: &str = "backup/git/";

/// The instructions for recovering by hand.
pub const RECIPE_NAME: &str = "backup/RESTORE.md";

fn below(folder: &str, path: &SafePath, end: &[u8]) -> Result<SafePath> {
    SafePath::new([folder.as_bytes(), path.bytes(), end].concat())
}

/// Where a part lies; `None` for the frame, which has no one place.
///
/// # Errors
/// When the path is not a safe one.
pub fn place(part: &Part) -> Result<Option<SafePath>> {
    Ok(Some(match part {
        Part::File(path) => below(FILES, path, b"")?,
        Part::Image(path) => below(DATABASES, path, b"")?,
        Part::Dump(path) => below(SQL, path, SQL_END)?,
        Part::Raw(path) => below(RAW, path, b"")?,
        Part::Git(path) => below(GIT, path, b"")?,
        Part::Frame => return Ok(None),
    }))
}

/// What an entry is for. Folders count as what they hold; a file that is none of these is frame.
pub fn part(path: &SafePath, is_folder: bool) -> Part {
    let below =
        |folder: &str| path.bytes().strip_prefix(folder.as_bytes()).and_then(|rest| SafePath::new(rest).ok());
    let dump = below(SQL).and_then(|rest| match rest.bytes().strip_suffix(SQL_END) {
        Some(stem) if !is_folder => SafePath::new(stem).ok(),
        _ => None,
    });
    let parts = [
        below(FILES).map(Part::File),
        below(GIT).map(Part::Git),
        below(DATABASES).filter(|_| !is_folder).map(Part::Image),
        dump.map(Part::Dump),
        below(RAW).filter(|_| !is_folder).map(Part::Raw),
    ];
    parts.into_iter().flatten().next().unwrap_or(Part::Frame)
}

/// Whether an entry that is [`Part::Frame`] is one that a backup has; anything else is somebody else's.
pub fn is_known_frame(path: &SafePath, is_folder: bool) -> bool {
    let name = [path.bytes(), if is_folder { b"/".as_slice() } else { b"" }].concat();
    match std::str::from_utf8(&name) {
        Ok("backup/" | FILES | GIT) => is_folder,
        Ok(RECIPE_NAME | MANIFEST_NAME | SUMS_NAME | LANDMARK_NAME) => true,
        _ => is_folder && [DATABASES, SQL, RAW].iter().any(|top| name.starts_with(top.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_one_place_and_comes_back() {
        let path = SafePath::new("memory/index.db").unwrap();
        let parts =
            [Part::File, Part::Image, Part::Dump, Part::Raw, Part::Git].map(|part| part(path.clone()));
        for part in parts {
            let place = place(&part).unwrap().unwrap();
            assert_eq!(super::part(&place, false), part);
        }
        for frame in ["backup", "backup/files", "backup/manifest.json", "backup/sql/x", "other"] {
            assert_eq!(part(&SafePath::new(frame).unwrap(), false), Part::Frame, "{frame}");
        }
    }
}
