//! What a file was like when it was saved, by which a later backup knows that it did not change, without reading it.
//!
//! Two writes within one tick of a clock leave the same times, so what was written shortly before a backup began, or
//! since, is never recognised by that backup's notes; and where a file system keeps no change time, which nobody can
//! set, nothing is. What a program writes through a memory map shows only when the kernel next looks, so even what is
//! recognised is read again once in a while.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::digest::Digest;
use crate::file_facts::{self, Identity};

/// A file's times must be this many seconds older than the backup that saw it.
const MARGIN_S: i64 = 2;

/// Size in bytes, inode, modification and change time in nanoseconds since 1970; in JSON these four numbers with
/// spaces between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Seen {
    size: u64,
    inode: u64,
    mtime_ns: i64,
    ctime_ns: i64,
}

impl Seen {
    /// What is to be noted of a file; nothing where no change time is kept.
    pub fn of(identity: &Identity) -> Option<Seen> {
        // The device is not noted: it may have another number after the next start.
        let Identity { inode, size, mtime_ns, ctime_ns } = *identity;
        (ctime_ns > 0).then_some(Seen { size, inode: inode.1, mtime_ns, ctime_ns })
    }

    /// Whether a backup that began at that moment saw all that was written before the file was next looked at.
    pub fn is_settled(&self, began: Instant) -> bool {
        let latest = began.0.saturating_sub(MARGIN_S).saturating_mul(1_000_000_000);
        self.mtime_ns.max(self.ctime_ns) < latest
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.size, self.inode, self.mtime_ns, self.ctime_ns)
    }
}

impl FromStr for Seen {
    type Err = String;

    fn from_str(text: &str) -> Result<Seen, String> {
        let parse = || -> Option<Seen> {
            let mut words = text.split(' ');
            let (size, inode) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let (mtime_ns, ctime_ns) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            words.next().is_none().then_some(Seen { size, inode, mtime_ns, ctime_ns })
        };
        parse().ok_or_else(|| format!("not what a file was like: {text:?}"))
    }
}

impl From<Seen> for String {
    fn from(seen: Seen) -> String {
        seen.to_string()
    }
}

impl TryFrom<String> for Seen {
    type Error = String;
    fn try_from(text: String) -> Result<Seen, String> {
        text.parse()
    }
}

/// A side file of a database with more bytes than these makes the database one that has to be read.
const SIDE_MAX: u64 = 8 << 20;

/// A database's files: what it holds is in the main file and in what was not moved there yet. Of the side files, which
/// are short, the content is noted: SQLite itself sets their change time whenever root opens a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenDatabase {
    /// The main file.
    pub main: Seen,
    /// Digest of the write-ahead log; absent where there is none, or nothing in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<Digest>,
    /// Digest of the rollback journal, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<Digest>,
}

impl SeenDatabase {
    /// Looks at the files of a database and opens none of them; nothing where they can't be told apart from changed
    /// ones. It tells of one moment only while nobody writes.
    ///
    /// # Errors
    /// What the system returns.
    pub fn look(main: &Path, sides: &Sides) -> io::Result<Option<SeenDatabase>> {
        let meta = std::fs::symlink_metadata(main)?;
        let Some(seen) = Seen::of(&file_facts::identity(&meta)).filter(|_| meta.is_file()) else {
            return Ok(None);
        };
        let mut digests = [None; 2];
        for ((ending, known), digest) in SIDES.iter().zip(&sides.0).zip(&mut digests) {
            match std::fs::symlink_metadata(side(main, ending)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(meta) if meta.is_file() && meta.len() == 0 => {}
                Ok(meta) => match known.filter(|known| known.is_still(&file_facts::identity(&meta))) {
                    Some(known) => *digest = Some(known.digest),
                    None => return Ok(None),
                },
            }
        }
        let [wal, journal] = digests;
        Ok(Some(SeenDatabase { main: seen, wal, journal }))
    }

    /// Whether a backup that began at that moment saw all of it.
    pub fn is_settled(&self, began: Instant) -> bool {
        self.main.is_settled(began)
    }
}

/// How the names of the side files end.
const SIDES: [&str; 2] = ["-wal", "-journal"];

/// What is in the side files of a database, read before it is opened and locked: nobody then waits for it.
pub struct Sides([Option<Side>; 2]);

impl Sides {
    /// Reads them. One that can't be read, is too long, or was written a moment ago, is left, and counts as changed.
    pub fn read(main: &Path) -> Sides {
        Sides(SIDES.map(|ending| Side::read(&side(main, ending)).ok().flatten()))
    }
}

/// A side file that was read.
#[derive(Clone, Copy)]
struct Side {
    identity: Identity,
    digest: Digest,
}

impl Side {
    fn read(path: &Path) -> io::Result<Option<Side>> {
        let mut file = file_facts::open_itself(path)?;
        let meta = file.metadata()?;
        let identity = file_facts::identity(&meta);
        if !meta.is_file() || identity.size > SIDE_MAX || (Identity { ctime_ns: 0, ..identity }).is_fresh() {
            return Ok(None);
        }
        let (digest, size) = Digest::of_reader(&mut (&mut file).take(SIDE_MAX + 1))?;
        let side = Side { identity, digest };
        let now = file_facts::identity(&file.metadata()?);
        Ok((size == identity.size && side.is_still(&now)).then_some(side))
    }

    /// Whether nothing was written to it since. Its change time says nothing: SQLite sets that whenever root opens
    /// the database.
    fn is_still(&self, now: &Identity) -> bool {
        Identity { ctime_ns: self.identity.ctime_ns, ..*now } == self.identity
    }
}

fn side(main: &Path, ending: &str) -> PathBuf {
    let mut name = main.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_comes_back_and_nothing_else_is_taken_for_it() {
        let seen = Seen { size: 7, inode: 12, mtime_ns: -5, ctime_ns: 1_700_000_000_123_456_789 };
        assert_eq!(seen.to_string().parse(), Ok(seen));
        for wrong in
            ["", "1 2 3", "1 2 3 4 5", "1 2 3 4 ", "-1 2 3 4", "1  2 3 4", "1 2 3 99999999999999999999"]
        {
            assert!(wrong.parse::<Seen>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_was_written_shortly_before_or_since_is_not_settled() {
        let at = |mtime_s: i64, ctime_s: i64| Seen {
            size: 1,
            inode: 1,
            mtime_ns: mtime_s * 1_000_000_000,
            ctime_ns: ctime_s * 1_000_000_000,
        };
        let began = Instant(1000);
        assert!(at(900, 997).is_settled(began));
        for (mtime, ctime) in [(998, 900), (900, 998), (999, 999), (1000, 5), (5, 2000)] {
            assert!(!at(mtime, ctime).is_settled(began), "{mtime} {ctime}");
        }
        let wal = Some(Digest::of(b"log"));
        assert!(SeenDatabase { main: at(1, 1), wal, journal: None }.is_settled(began));
        assert!(!SeenDatabase { main: at(1, 999), wal, journal: None }.is_settled(began));
    }

    #[test]
    fn what_can_be_written_of_a_file_changes_what_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("a.db");
        let side = |ending: &str| folder.path().join(format!("a.db{ending}"));
        std::fs::write(&main, b"abc").unwrap();
        let wait = || std::thread::sleep(2 * file_facts::TICK);
        let look = || {
            wait();
            SeenDatabase::look(&main, &Sides::read(&main)).unwrap().unwrap()
        };
        let first = look();
        std::fs::write(side("-wal"), b"").unwrap();
        std::fs::write(side("-shm"), b"whatever").unwrap();
        assert_eq!(look(), first, "nothing is in them");
        std::fs::write(side("-wal"), b"x").unwrap();
        let with = look();
        assert_ne!(with, first);
        // What is not known, was written a moment ago, or since it was read, counts as changed.
        let known = Sides::read(&main);
        std::fs::write(side("-wal"), b"y").unwrap();
        assert_eq!(SeenDatabase::look(&main, &known).unwrap(), None);
        assert_eq!(SeenDatabase::look(&main, &Sides::read(&main)).unwrap(), None);
        assert_ne!(look(), with, "it is known by its content");
        std::fs::write(side("-wal"), b"x").unwrap();
        assert_eq!(look(), with);
        std::fs::remove_file(side("-wal")).unwrap();
        std::fs::write(side("-journal"), b"x").unwrap();
        assert!(![first, with].contains(&look()));
        std::fs::remove_file(side("-journal")).unwrap();
        // The same bytes at the same time in another file, as after `cp -p` and `mv`.
        let meta = std::fs::metadata(&main).unwrap();
        let copy = folder.path().join("copy");
        std::fs::write(&copy, b"abc").unwrap();
        std::fs::File::options()
            .write(true)
            .open(&copy)
            .unwrap()
            .set_modified(meta.modified().unwrap())
            .unwrap();
        std::fs::rename(&copy, &main).unwrap();
        assert_ne!(look(), first);
        let none = || {
            wait();
            SeenDatabase::look(&main, &Sides::read(&main)).unwrap().is_none()
        };
        std::fs::create_dir(side("-wal")).unwrap();
        assert!(none(), "a folder of that name");
        std::fs::remove_dir(side("-wal")).unwrap();
        std::fs::File::create(side("-wal")).unwrap().set_len(SIDE_MAX + 1).unwrap();
        assert!(none(), "a long one");
        let gone = folder.path().join("gone");
        assert!(SeenDatabase::look(&gone, &Sides::read(&gone)).is_err());
    }
}
