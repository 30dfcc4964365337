//! What a backup holds of a part of the project: as a tree, and the databases apart.

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
pub struct Wanted<'a> {
    /// Files, links and folders, those above them included.
    pub tree: Tree,
    /// Folders that only have to be there, because something in them is wanted.
    pub open: BTreeSet<SafePath>,
    /// Owner and times of all in the tree that the archive names.
    pub metas: BTreeMap<SafePath, &'a Meta>,
    /// The databases.
    pub databases: Vec<&'a Database>,
    /// Their paths, and those that SQLite uses beside them.
    pub database_files: BTreeSet<SafePath>,
}

/// Reads it from the index.
///
/// # Errors
/// When the archive holds what none of ours does.
pub fn wanted<'a>(archive: &'a Archive, manifest: &'a Manifest, scope: &Scope) -> Result<Wanted<'a>> {
    bring_back::refuse_git_files(archive)?;
    bring_back::refuse_strangers(archive, manifest)?;
    let mut wanted = Wanted {
        tree: Tree::new(),
        open: BTreeSet::new(),
        metas: BTreeMap::new(),
        databases: Vec::new(),
        database_files: BTreeSet::new(),
    };
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
        wanted.databases.push(database);
        wanted.database_files.extend(stage_database::files(&database.path)?);
    }
    let paths: Vec<SafePath> =
        wanted.tree.keys().chain(wanted.databases.iter().map(|database| &database.path)).cloned().collect();
    for path in paths {
        let mut above = path.parent();
        while let Some(folder) = above {
            above = folder.parent();
            match wanted.tree.get(&folder) {
                Some(leaf) if leaf.is_folder() => continue,
                // Below a link it would land where that one leads.
                Some(_) => return Err(below(archive, &path, &folder)),
                None => {}
            }
            let meta = folders.get(&folder).copied();
            let mode = meta.map_or(0o700, |meta| meta.mode);
            wanted.tree.insert(folder.clone(), Leaf { kind: Kind::Folder, mode });
            wanted.metas.extend(meta.map(|meta| (folder.clone(), meta)));
            wanted.open.insert(folder);
        }
    }
    Ok(wanted)
}

fn below(archive: &Archive, path: &SafePath, folder: &SafePath) -> anyhow::Error {
    let text =
        format!("the archive {} holds {path} below {folder}, which is no folder", archive.path().display());
    Failure::new(failure::Kind::Refused, text).hint("no backup of this tool does; don't use it").into()
}
