//! Which files are databases: by their header, or by the list in the configuration.
//!
//! Headers are read with plain file operations. That is safe only before this process opens a database
//! with SQLite, because closing any descriptor of a file drops every lock that the process holds on it;
//! so the whole scan comes first.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use anyhow::Result;

use crate::base::failure::{Failure, Kind};
use crate::base::links;
use crate::base::safe_path::{SafePath, is_git_name};

/// First 16 bytes of every database (sqlite.org/fileformat, section 1.3.1).
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// What SQLite keeps beside a database.
const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Whether a regular file of `size` bytes begins like a database. A file that went away does not.
///
/// # Errors
/// When it can't be opened or read.
pub fn has_header(path: &Path, size: u64) -> io::Result<bool> {
    // Empty files are not opened: there is nothing in them that could be unreadable.
    if size == 0 {
        return Ok(false);
    }
    let mut file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut start = [0; 16];
    match file.read_exact(&mut start) {
        Ok(()) => Ok(&start == HEADER),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether bytes begin like a database.
pub fn begins_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER)
}

/// Whether a name is one that SQLite gives to a file beside a database.
pub fn is_side_file(path: &[u8]) -> bool {
    SIDECARS.iter().any(|side| path.ends_with(side.as_bytes()))
}

/// Opens for reading; neither a link nor a pipe put there a moment ago makes it follow or wait.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Opens for reading.
#[cfg(windows)]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The names that SQLite may use beside these databases, whether or not there is such a file now. One
/// that is a database itself is not among them.
pub fn sidecars(databases: &[SafePath]) -> BTreeSet<SafePath> {
    let beside = |database: &SafePath| {
        let bytes = database.bytes().to_vec();
        SIDECARS.iter().filter_map(move |suffix| SafePath::new([&bytes, suffix.as_bytes()].concat()).ok())
    };
    let mut names: BTreeSet<SafePath> = databases.iter().flat_map(beside).collect();
    for database in databases {
        names.remove(database);
    }
    names
}

/// Whether a database that the configuration names is there as a regular file of this project, reached
/// without any link.
///
/// # Errors
/// Why it is not.
pub fn check_configured(root: &Path, database: &SafePath) -> Result<()> {
    let wrong = |why: String| Err(Failure::new(Kind::Failed, why).into());
    if database.parts().any(is_git_name) {
        return wrong("it is among the files of git, or has a name that is taken for them".to_owned());
    }
    let mut above = database.parent();
    while let Some(folder) = above {
        if links::read(&folder.below(root)?).is_ok() {
            return wrong(format!("{folder} is a link, and what lies behind it is not part of the project"));
        }
        above = folder.parent();
    }
    match fs::symlink_metadata(database.below(root)?) {
        Ok(meta) if meta.is_file() => Ok(()),
        Ok(meta) if meta.is_symlink() => wrong("it is a link; name the file that it leads to".to_owned()),
        Ok(_) => wrong("it is no file".to_owned()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_header_counts() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("f");
        let check = |content: &[u8]| {
            fs::write(&file, content).unwrap();
            has_header(&file, content.len() as u64).unwrap()
        };
        assert!(check(&[HEADER.as_slice(), &[0; 84]].concat()));
        assert!(check(HEADER), "a cut off database is one as well");
        assert!(!check(&HEADER[..15]) && !check(b"") && !check(b"SQLite format 3 is nice"));
        assert!(!has_header(&base.path().join("gone"), 10).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_does_not_make_it_wait() {
        let base = tempfile::tempdir().unwrap();
        let pipe = base.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(!has_header(&pipe, 16).unwrap_or(false));
    }

    #[test]
    fn names_beside_a_database() {
        let path = |text: &str| SafePath::new(text).unwrap();
        let names = sidecars(&[path("m/a.db"), path("m/a.db-wal")]);
        assert!(names.contains(&path("m/a.db-shm")) && names.contains(&path("m/a.db-wal-journal")));
        assert!(!names.contains(&path("m/a.db-wal")), "a database of its own");
        assert_eq!(names.len(), 5);
    }
}
