//! What is wanted of a part of the project: as a tree, and the databases apart. Here it is read from a backup.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::scope::Scope;
use super::{bring_back, stage_database};
use crate::archive::header::{Kind as EntryKind, Meta};
use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Manifest};
use crate::archive::reader::Archive;
use crate::base::failure::{self, Failure};
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf, Tree};

/// What is wanted.
#[derive(Default)]
pub struct Wanted<'a> {
    /// Files, links and folders, those above them included.
    pub tree: Tree,
    /// Folders that only have to be there, because something in them is wanted.
    pub open: BTreeSet<SafePath>,
    /// Owner and times of all in the tree that an archive names.
    pub metas: BTreeMap<SafePath, &'a Meta>,
    /// The databases.
    pub databases: Vec<Database>,
    /// Their paths, and those that SQLite uses beside them.
    pub database_files: BTreeSet<SafePath>,
    /// Of the databases, those that are staged and checked already: they come from no archive.
    pub staged: BTreeSet<SafePath>,
}

/// Reads it from the index.
///
/// # Errors
/// When the archive holds what none of ours does.
pub fn wanted<'a>(archive: &'a Archive, manifest: &'a Manifest, scope: &Scope) -> Result<Wanted<'a>> {
    bring_back::refuse_git_files(archive)?;
    bring_back::refuse_strangers(archive, manifest)?;
    let mut wanted = Wanted::default();
    let mut folders: BTreeMap<SafePath, &Meta> = BTreeMap::new();
    for entry in &archive.index().entries {
        let is_folder = entry.kind == EntryKind::Folder;
        let Part::File(path) = layout::part(&entry.meta.path, is_folder) else { continue };
        if is_folder {
            folders.insert(path.clone(), &entry.meta);
        }
        if !scope.has(&path, is_folder) {
            continue;
        }
        let kind = match &entry.kind {
            EntryKind::Folder => Kind::Folder,
            EntryKind::File { size } => Kind::File { size: *size, digest: entry.digest },
            EntryKind::Link { target } => Kind::Link { target: target.clone() },
        };
        wanted.tree.insert(path.clone(), Leaf { kind, mode: entry.meta.mode });
        wanted.metas.insert(path, &entry.meta);
    }
    for database in manifest.databases.iter().filter(|database| scope.has(&database.path, false)) {
        wanted.databases.push(database.clone());
        wanted.database_files.extend(stage_database::files(&database.path)?);
    }
    let mode = |folder: &SafePath| folders.get(folder).map_or(0o700, |meta| meta.mode);
    let added = wanted.add_folders_above(&mode).map_err(|(path, folder)| below(archive, &path, &folder))?;
    for folder in added {
        wanted.metas.extend(folders.get(&folder).map(|meta| (folder.clone(), *meta)));
    }
    Ok(wanted)
}

impl Wanted<'_> {
    /// Takes a database out of what is wanted.
    ///
    /// # Errors
    /// When its path is too odd for that.
    pub fn forget_database(&mut self, path: &SafePath) -> Result<()> {
        self.databases.retain(|database| database.path != *path);
        self.staged.remove(path);
        for file in stage_database::files(path)? {
            self.database_files.remove(&file);
        }
        Ok(())
    }

    /// Adds the folders above everything that is wanted, with these permissions where they have to be made, and
    /// tells which were not there.
    ///
    /// # Errors
    /// A path and the one above it that is no folder: below a link it would land where that one leads.
    pub fn add_folders_above(
        &mut self,
        mode: &dyn Fn(&SafePath) -> u32,
    ) -> std::result::Result<Vec<SafePath>, (SafePath, SafePath)> {
        let databases = self.databases.iter().map(|database| &database.path);
        let paths: Vec<SafePath> = self.tree.keys().chain(databases).cloned().collect();
        let mut added = Vec::new();
        for path in paths {
            let mut above = path.parent();
            while let Some(folder) = above {
                above = folder.parent();
                match self.tree.get(&folder) {
                    Some(leaf) if leaf.is_folder() => continue,
                    Some(_) => return Err((path, folder)),
                    None => {}
                }
                self.tree.insert(folder.clone(), Leaf { kind: Kind::Folder, mode: mode(&folder) });
                self.open.insert(folder.clone());
                added.push(folder);
            }
        }
        Ok(added)
    }
}

fn below(archive: &Archive, path: &SafePath, folder: &SafePath) -> anyhow::Error {
    let text =
        format!("the archive {} holds {path} below {folder}, which is no folder", archive.path().display());
    Failure::new(failure::Kind::Refused, text).hint("no backup of this tool does; don't use it").into()
}
