//! Files, links and folders of a restore over a living project: taken out of the archive, and their last touches.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::super::extract::{self, Extracted};
use super::super::journal::Finish;
use super::super::present::Present;
use super::super::rename::OLD;
use super::super::wanted::Wanted;
use crate::archive::header::Kind as EntryKind;
use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::reader::Archive;
use crate::base::file_facts;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::base::tree::Leaf;
use crate::project::plan::{Change, Move, Plan};

/// Where files, links and folders are staged, below the work folder.
pub(super) const TREE: &str = "tree";

/// Takes what changes out of the archive.
pub(super) fn stage_files(archive: &Archive, plan: &Plan, work: &Path, monitor: &dyn Monitor) -> Result<()> {
    let tree = work.join(TREE);
    file_facts::create_private_dir(&tree)?;
    file_facts::create_private_dir(&work.join(OLD))?;
    let needed: BTreeSet<&SafePath> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.change, Change::Create | Change::Replace))
        .filter_map(|step| step.after.as_ref().map(|_| &step.path))
        .collect();
    let mapping = |entry: &Entry| match layout::part(&entry.meta.path, entry.kind == EntryKind::Folder) {
        Part::File(path) if needed.contains(&path) => Some((tree.as_path(), path)),
        _ => None,
    };
    let bytes = |entry: &Entry| match entry.kind {
        EntryKind::File { size } if mapping(entry).is_some() => size,
        _ => 0,
    };
    monitor.step("restoring", Some(archive.index().entries.iter().map(bytes).sum()));
    let mut extracted: Extracted = extract::extract(archive, &mapping, monitor)?;
    // Folders that only have to be there have no entry of their own in some archives.
    for path in needed.iter().filter(|path| {
        plan.steps.binary_search_by(|step| step.path.cmp(path)).is_ok_and(|at| {
            plan.steps.get(at).and_then(|step| step.after.as_ref()).is_some_and(Leaf::is_folder)
        })
    }) {
        file_facts::create_private_dir(&path.below(&tree)?)?;
    }
    extracted.make_links()
}

/// The last touches: permissions of what came or changes them, and of folders that must be opened meanwhile.
pub(super) fn finishes(plan: &Plan, wanted: &Wanted<'_>, present: &Present, moves: &[Move]) -> Vec<Finish> {
    let mut finishes = Vec::new();
    let mut touched = BTreeSet::new();
    for step in &plan.steps {
        let Some(after) = &step.after else { continue };
        let meta = wanted.metas.get(&step.path);
        let finish = match (step.change, after.is_folder()) {
            (Change::Mode, _) => Finish {
                path: step.path.clone(),
                mode: after.mode,
                before: step.before.as_ref().map(|before| before.mode),
                came: None,
            },
            (Change::Create | Change::Replace, true) => Finish {
                path: step.path.clone(),
                mode: after.mode,
                before: None,
                came: meta.map(|meta| (meta.uid, meta.gid, meta.mtime_s)),
            },
            _ => continue,
        };
        touched.insert(step.path.clone());
        finishes.push(finish);
    }
    for folder in closed_folders(present, moves) {
        if touched.insert(folder.clone())
            && let Some(leaf) = present.tree.get(&folder)
        {
            finishes.push(Finish { path: folder, mode: leaf.mode, before: Some(leaf.mode), came: None });
        }
    }
    finishes.sort_by(|a, b| a.path.cmp(&b.path));
    finishes
}

/// Folders in which something moves, and whose owner may not write in them.
fn closed_folders(present: &Present, moves: &[Move]) -> BTreeSet<SafePath> {
    let folders = moves.iter().filter_map(|one| one.path.parent());
    let closed = |folder: &SafePath| {
        present.tree.get(folder).is_some_and(|leaf| leaf.is_folder() && leaf.mode & 0o300 != 0o300)
    };
    folders.filter(closed).collect()
}

/// Folders in which something moves, or which move themselves, and in which their owner may not write; with
/// their permissions.
pub(super) fn opened(present: &Present, moves: &[Move]) -> Vec<(SafePath, u32)> {
    let themselves = moves.iter().filter(|one| one.takes).map(|one| &one.path);
    let closed = |path: &SafePath| {
        let leaf = present.tree.get(path)?;
        (leaf.is_folder() && leaf.mode & 0o300 != 0o300).then_some((path.clone(), leaf.mode))
    };
    let mut opened: Vec<(SafePath, u32)> =
        closed_folders(present, moves).iter().chain(themselves).filter_map(closed).collect();
    opened.sort();
    opened.dedup();
    opened
}
