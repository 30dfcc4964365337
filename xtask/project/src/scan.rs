//! Walks the project and says what belongs in a backup: files, folders, links, databases; and what is left
//! out, with the reason. Nothing disappears silently: what is neither taken nor one of SQLite's side files
//! is counted in `left_out` or named in a finding.
//!
//! Links are never followed. Only the first bytes of files are read, and only here, before any database is
//! opened with SQLite (see `databases.rs`). Git is asked through closures, so that this file needs none.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;

use super::root::Project;
use super::{databases, remarks, walk};
use crate::base::facts::LeftOut;
use crate::base::file_facts::{self, Attributes, Identity};
use crate::base::finding::Finding;
use crate::base::links;
use crate::base::safe_path::SafePath;

/// What git makes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In the index.
    Tracked,
    /// Neither in the index nor ignored; everything, where there is no git.
    Untracked,
    /// Ignored: what git can't bring back.
    Ignored,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder; its entries have lines of their own.
    Folder,
    /// A symbolic link.
    Link {
        /// Where it points, as raw bytes.
        target: Vec<u8>,
    },
}

/// One thing that belongs in the backup, databases apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: SafePath,
    /// What it is.
    pub kind: EntryKind,
    /// Mode, owner, time.
    pub attributes: Attributes,
    /// What tells whether it is still the same when it is read.
    pub identity: Identity,
    /// What git makes of it.
    pub class: Class,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files, folders and links, ordered by the bytes of their paths: a folder before what is in it.
    pub entries: Vec<Entry>,
    /// The databases, ordered likewise. They are not among the entries.
    pub databases: Vec<SafePath>,
    /// Databases that the configuration leaves out, ordered likewise. They are not among the entries either.
    pub other_databases: Vec<SafePath>,
    /// The names that SQLite may use beside the databases, whether or not there is such a file now. They
    /// are not among the entries, and nothing but SQLite may open them.
    pub sidecars: BTreeSet<SafePath>,
    /// What is left out on purpose.
    pub left_out: Vec<LeftOut>,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

/// What git makes of a path (raw bytes; and whether it is a folder).
pub type ClassOf<'a> = dyn Fn(&[u8], bool) -> Class + 'a;

/// Whether a file is known to be no database: as it is now, an earlier backup has read it.
pub type IsPlain<'a> = dyn Fn(&SafePath, &Identity) -> bool + 'a;

/// Whether git tracks something below a folder (raw bytes).
pub type TrackedBelow<'a> = dyn Fn(&[u8]) -> bool + 'a;

/// Walks the project. `skip` names folders that hold backups, where they are inside the project; `also` what is
/// taken whatever the configuration leaves out.
///
/// # Errors
/// When the root itself can't be read, or the user interrupts. Everything else is a finding.
pub fn scan(
    project: &Project,
    class: &ClassOf<'_>,
    tracked_below: &TrackedBelow<'_>,
    is_plain: &IsPlain<'_>,
    skip: &[PathBuf],
    also: &BTreeSet<SafePath>,
) -> Result<Scan> {
    let mut walked = walk::walk(project, class, tracked_below, is_plain, skip)?;
    let mut scan = Scan { findings: walked.findings, ..Scan::default() };

    for database in project.config.databases.iter().flatten() {
        match databases::check_configured(&project.root, database) {
            Ok(()) => walked.databases.push(database.clone()),
            Err(error) => scan.findings.push(remarks::database_missing(database, &error)),
        }
    }
    walked.databases.sort();
    walked.databases.dedup();
    if walked.databases.is_empty() {
        scan.findings.push(remarks::no_database());
    }

    let all: Vec<SafePath> = walked.databases.iter().chain(&walked.other_databases).cloned().collect();
    scan.sidecars = databases::sidecars(&all);
    scan.entries = walked.entries;
    add_wanted(project, class, also, &scan.sidecars, &walked.databases, &mut scan.entries);
    let above: Vec<SafePath> = walked.databases.iter().chain(also).cloned().collect();
    add_folders_above(project, class, &above, &mut scan.entries);
    scan.entries.sort_by(|a, b| a.path.cmp(&b.path));
    drop_empty(&mut scan.entries, &walked.conditional, &walked.databases);
    scan.databases = walked.databases;
    scan.other_databases = walked.other_databases;
    scan.other_databases.sort();
    scan.left_out = walked.ledger.finish();
    scan.left_out.retain(|left| !also.contains(&left.path));
    Ok(scan)
}

/// What is wanted and was left out.
fn add_wanted(
    project: &Project,
    class: &ClassOf<'_>,
    also: &BTreeSet<SafePath>,
    sidecars: &BTreeSet<SafePath>,
    databases: &[SafePath],
    entries: &mut Vec<Entry>,
) {
    let known: BTreeSet<SafePath> = entries.iter().map(|entry| entry.path.clone()).collect();
    let left = |path: &&SafePath| {
        !known.contains(path) && !sidecars.contains(path) && databases.binary_search(path).is_err()
    };
    for path in also.iter().filter(left) {
        let found = path.below(&project.root).and_then(|disk| {
            let meta = std::fs::symlink_metadata(&disk)?;
            let kind = if meta.is_symlink() {
                EntryKind::Link { target: links::read(&disk)? }
            } else if meta.is_dir() {
                EntryKind::Folder
            } else {
                EntryKind::File
            };
            Ok((meta, kind))
        });
        // What is not there, or can't be looked at, is missed by whoever wanted it.
        let Ok((meta, kind)) = found else { continue };
        let class = class(path.bytes(), kind == EntryKind::Folder);
        let (attributes, identity) = (file_facts::attributes(&meta), file_facts::identity(&meta));
        entries.push(Entry { path: path.clone(), kind, attributes, identity, class });
    }
}

/// A database that the configuration names may lie in a folder that was left out: the folders above it are
/// entries all the same, so that they come back with their modes.
fn add_folders_above(
    project: &Project,
    class: &ClassOf<'_>,
    databases: &[SafePath],
    entries: &mut Vec<Entry>,
) {
    let mut known: BTreeSet<SafePath> =
        entries.iter().filter(|e| e.kind == EntryKind::Folder).map(|e| e.path.clone()).collect();
    for database in databases {
        let mut above = database.parent();
        while let Some(path) = above {
            above = path.parent();
            if !known.insert(path.clone()) {
                continue;
            }
            // One that went away meanwhile takes the database along, which is reported when it is opened.
            let meta = path.below(&project.root).and_then(|disk| Ok(std::fs::symlink_metadata(disk)?));
            let Ok(meta) = meta else { continue };
            let class = class(path.bytes(), true);
            let (attributes, identity) = (file_facts::attributes(&meta), file_facts::identity(&meta));
            entries.push(Entry { path, kind: EntryKind::Folder, attributes, identity, class });
        }
    }
}

/// Drops the folders that are wanted only for what is in them and turned out to hold nothing.
fn drop_empty(entries: &mut Vec<Entry>, conditional: &BTreeSet<SafePath>, databases: &[SafePath]) {
    let mut needed: BTreeSet<SafePath> = BTreeSet::new();
    let kept = entries.iter().filter(|e| !conditional.contains(&e.path)).map(|e| &e.path);
    for path in kept.chain(databases) {
        let mut above = path.parent();
        while let Some(folder) = above {
            above = folder.parent();
            if conditional.contains(&folder) && !needed.insert(folder) {
                break;
            }
        }
    }
    entries.retain(|entry| !conditional.contains(&entry.path) || needed.contains(&entry.path));
}

#[cfg(test)]
mod tests;
