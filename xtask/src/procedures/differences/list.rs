//! One side of a comparison: what lies where, and what each file holds where that must be known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufReader;
use std::io::ErrorKind::{NotADirectory, NotFound};

use anyhow::Result;

use super::super::{bring_back, stage_database, survey};
use super::{Ask, Origin, commit};
use crate::archive::header::Kind as EntryKind;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Form};
use crate::base::digest::Digest;
use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf, Tree};
use crate::base::{file_facts, interrupt, links};
use crate::project::plan::is_below;
use crate::project::scan;

/// One side.
pub struct Side<'a> {
    /// Where it comes from.
    pub origin: &'a Origin<'a>,
    /// Files, links and folders, databases not among them.
    pub tree: Tree,
    /// The databases.
    pub databases: BTreeMap<SafePath, Stored<'a>>,
    /// Of a commit: the ids of its files, databases included.
    pub blobs: BTreeMap<SafePath, String>,
    /// Of a commit: files whose content is not in the repository (a partial clone).
    pub missing: BTreeSet<SafePath>,
    /// Of a commit: its submodules.
    pub modules: Vec<SafePath>,
    /// What a backup leaves out of what lies there: how many paths.
    pub left_out: u64,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

/// A database, and how it is kept.
pub struct Stored<'a> {
    /// Permission bits of its file.
    pub mode: u32,
    /// How it is kept.
    pub form: Stock<'a>,
}

/// How a database is kept.
pub enum Stock<'a> {
    /// As an image in an archive.
    Image(&'a Database),
    /// As bytes in an archive, since SQLite could not read it.
    Raw,
    /// It is the live one.
    Live,
    /// As a file in a commit.
    Blob {
        /// The id of its content.
        id: String,
        /// Bytes.
        size: u64,
    },
    /// Something else than a database lies there: a file, a folder, a link.
    Other(&'static str),
}

impl<'a> Side<'a> {
    /// Lists what is in scope. No file is read, and no database opened.
    ///
    /// # Errors
    /// When the archive, the project or the commit can't be read.
    pub fn list(origin: &'a Origin<'a>, ask: &Ask<'_>) -> Result<Side<'a>> {
        let mut side = Side {
            origin,
            tree: Tree::new(),
            databases: BTreeMap::new(),
            blobs: BTreeMap::new(),
            missing: BTreeSet::new(),
            modules: Vec::new(),
            left_out: 0,
            findings: Vec::new(),
        };
        match origin {
            Origin::Backup { .. } => side.list_backup(ask)?,
            Origin::Now { .. } => side.list_project(ask)?,
            Origin::Commit { git, id } => commit::list(&mut side, git, id, ask)?,
        }
        Ok(side)
    }

    fn list_backup(&mut self, ask: &Ask<'_>) -> Result<()> {
        let Origin::Backup { archive, manifest } = self.origin else { return Ok(()) };
        bring_back::refuse_git_files(archive)?;
        for entry in &archive.index().entries {
            let is_folder = entry.kind == EntryKind::Folder;
            let Part::File(path) = layout::part(&entry.meta.path, is_folder) else { continue };
            if !ask.scope.has(&path, is_folder) {
                continue;
            }
            let kind = match &entry.kind {
                EntryKind::Folder => Kind::Folder,
                EntryKind::File { size } => Kind::File { size: *size, digest: entry.digest },
                EntryKind::Link { target } => Kind::Link { target: target.clone() },
            };
            self.tree.insert(path, Leaf { kind, mode: entry.meta.mode });
        }
        for database in manifest.databases.iter().filter(|one| ask.scope.has(&one.path, false)) {
            if !database.damage.is_empty() {
                let text = format!("it was damaged when backup {} was taken", manifest.id);
                self.findings.push(Finding::problem("database-damaged", text).at(&database.path));
            }
            let form = match database.form {
                Form::Image => Stock::Image(database),
                Form::Raw => Stock::Raw,
            };
            self.databases.insert(database.path.clone(), Stored { mode: database.mode, form });
        }
        Ok(())
    }

    fn list_project(&mut self, ask: &Ask<'_>) -> Result<()> {
        let Origin::Now { project, store, opened } = self.origin else { return Ok(()) };
        let mut findings = Vec::new();
        let scan = survey::survey(project, store, opened, &BTreeSet::new(), &|_, _| false, &mut findings)?;
        findings.extend(scan.findings);
        // What can't be read can't be compared; advice is for backups.
        let here = |finding: &Finding| finding.path.as_ref().is_none_or(|path| ask.scope.has(path, false));
        findings.retain(|finding| finding.is_problem() && here(finding));
        self.findings = findings;
        self.left_out = scan.left_out.iter().filter(|left| ask.scope.has(&left.path, true)).count() as u64;
        for entry in scan.entries {
            if !ask.scope.has(&entry.path, entry.kind == scan::EntryKind::Folder) {
                continue;
            }
            let kind = match entry.kind {
                scan::EntryKind::Folder => Kind::Folder,
                scan::EntryKind::Link { target } => Kind::Link { target },
                scan::EntryKind::File => Kind::File { size: entry.identity.size, digest: None },
            };
            self.tree.insert(entry.path, Leaf { kind, mode: entry.attributes.mode });
        }
        for path in scan.databases.into_iter().filter(|path| ask.scope.has(path, false)) {
            // Metadata only. One that is gone meanwhile is told when it is opened.
            let mode = fs::symlink_metadata(path.below(&project.root)?)
                .map_or(0, |meta| file_facts::attributes(&meta).mode);
            self.databases.insert(path, Stored { mode, form: Stock::Live });
        }
        Ok(())
    }

    /// Of the project: what the other side has, and what was left out here or taken for something else, is looked up
    /// on the disk. What can't even be looked at is told, and taken from the other side: it may be there or not.
    ///
    /// # Errors
    /// When a path is too odd for this system.
    pub fn look_again(&mut self, other: &mut Side<'_>) -> Result<()> {
        let Origin::Now { project, .. } = self.origin else { return Ok(()) };
        let mut unknown = Vec::new();
        for path in other.tree.keys().chain(other.databases.keys()) {
            if self.tree.contains_key(path) || self.databases.contains_key(path) {
                continue;
            }
            let place = path.below(&project.root)?;
            // Nothing lies behind a link that took a folder's place.
            if behind_a_link(&project.root, path)? {
                continue;
            }
            let meta = match fs::symlink_metadata(&place) {
                Ok(meta) => meta,
                Err(error) if matches!(error.kind(), NotFound | NotADirectory) => continue,
                Err(error) => {
                    unknown.push((path.clone(), error));
                    continue;
                }
            };
            let kind = if meta.is_dir() {
                Kind::Folder
            } else if meta.is_symlink() {
                Kind::Link { target: links::read(&place)? }
            } else if meta.is_file() {
                Kind::File { size: meta.len(), digest: None }
            } else {
                continue; // a pipe or a socket: the survey names it
            };
            self.tree.insert(path.clone(), Leaf { kind, mode: file_facts::attributes(&meta).mode });
        }
        for (path, error) in unknown {
            other.tree.remove(&path);
            other.databases.remove(&path);
            // Once for all that is in a folder which the survey could not read.
            let is_told = |finding: &Finding| finding.path.as_ref().is_some_and(|told| is_below(&path, told));
            if !self.findings.iter().any(is_told) {
                let text = format!("it can't be looked at, so it is not compared: {error}");
                self.findings.push(Finding::problem("unreadable", text).at(&path));
            }
        }
        Ok(())
    }

    /// A database that is damaged so badly that it looks like none has side files all the same.
    ///
    /// # Errors
    /// When a path is too odd for that.
    pub fn drop_side_files_of(&mut self, other: &Side<'_>) -> Result<()> {
        for path in other.databases.keys() {
            for file in stage_database::files(path)?.iter().skip(1) {
                if !other.tree.contains_key(file) {
                    self.tree.remove(file);
                }
            }
        }
        Ok(())
    }

    /// Finds the digests of files, where they are not known.
    ///
    /// # Errors
    /// When the user asked to stop, or git can't be read. A file that can't be read is a finding, and differs.
    pub fn read(&mut self, paths: &[SafePath], ask: &Ask<'_>) -> Result<()> {
        match self.origin {
            Origin::Backup { .. } => Ok(()),
            Origin::Commit { git, .. } => commit::read(self, git, paths, ask),
            Origin::Now { project, .. } => {
                for path in paths {
                    interrupt::check()?;
                    let place = path.below(&project.root)?;
                    let digest = file_facts::open_itself(&place)
                        .and_then(|file| Digest::of_reader(&mut BufReader::with_capacity(256 << 10, file)));
                    match digest {
                        Ok((found, bytes)) => self.set(path, found, bytes),
                        Err(error) => {
                            let text = format!("it can't be read, so it counts as changed: {error}");
                            self.findings.push(Finding::problem("unreadable", text).at(path));
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// Notes what a file holds.
    pub fn set(&mut self, path: &SafePath, found: Digest, bytes: u64) {
        if let Some(Leaf { kind: Kind::File { size, digest }, .. }) = self.tree.get_mut(path) {
            (*size, *digest) = (bytes, Some(found));
        }
    }
}

fn behind_a_link(root: &std::path::Path, path: &SafePath) -> Result<bool> {
    let mut above = path.parent();
    while let Some(folder) = above {
        if fs::symlink_metadata(folder.below(root)?).is_ok_and(|meta| meta.is_symlink()) {
            return Ok(true);
        }
        above = folder.parent();
    }
    Ok(false)
}
