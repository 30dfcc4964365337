//! Where what is put back comes from: a backup with all that it holds, or a commit with the files that git
//! tracks, and then databases from the commit and a backup, or not at all.

use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::origin::Origin;
use crate::project::git::replace::new_branch::NewBranch;
use crate::project::git::revision::Commit;

/// A backup, opened.
#[derive(Clone, Copy)]
pub struct Backup<'a> {
    /// Its archive.
    pub archive: &'a Archive,
    /// What that says of itself.
    pub manifest: &'a Manifest,
}

/// A commit.
pub struct FromCommit<'a> {
    /// Which one.
    pub commit: &'a Commit,
    /// What becomes of databases.
    pub databases: Databases<'a>,
    /// The new branch that HEAD moves to, at that commit; without one git stays as it is.
    pub branch: Option<NewBranch>,
}

/// What becomes of databases when the files come from a commit.
#[derive(Clone, Copy)]
pub enum Databases<'a> {
    /// Those that are there stay as they are.
    Kept,
    /// Those that the commit tracks come from it, the others from this backup.
    Restored(Option<Backup<'a>>),
}

/// Where it comes from.
pub enum Source<'a> {
    /// A backup.
    Backup(Backup<'a>),
    /// A commit.
    Commit(Box<FromCommit<'a>>),
}

impl<'a> Source<'a> {
    /// The backup that databases come from, and for a restore all else.
    pub fn backup(&self) -> Option<Backup<'a>> {
        match self {
            Source::Backup(backup) => Some(*backup),
            Source::Commit(from) => match from.databases {
                Databases::Kept => None,
                Databases::Restored(backup) => backup,
            },
        }
    }

    /// What is put in place.
    pub fn origin(&self) -> Origin {
        match self {
            Source::Backup(backup) => Origin::Backup(backup.manifest.id.clone()),
            Source::Commit(from) => Origin::Commit(from.commit.id.clone()),
        }
    }

    /// For sentences: `the backup`, `the commit`.
    pub fn word(&self) -> &'static str {
        match self {
            Source::Backup(_) => "the backup",
            Source::Commit(_) => "the commit",
        }
    }
}
