//! The index and the working files as commits, without the git command: the same as `trees` through
//! libgit2, in memory, written into the twin only. Of filters libgit2 knows only its own (line ends).

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use git2::{Delta, DiffOptions, Index, ObjectType, Repository};

use super::trees::{INDEX_MESSAGE, STAGE_BITS, WORKTREE_MESSAGE, Work, commit_text, is_empty_tree};
use super::twin::Twin;
use crate::base::{interrupt, os_name};

/// Lets libgit2 write trees of objects that the desk does not have: they are in the project.
fn allow_absent() {
    git2::opts::strict_object_creation(false);
}

/// Commits index and working files of the twin.
///
/// # Errors
/// When libgit2 refuses; the caller can go on without.
pub(super) fn commit_with_library(
    twin: &Twin,
    leave_out: &BTreeSet<Vec<u8>>,
    saved: &dyn Fn(&[u8]) -> bool,
) -> Result<Work> {
    allow_absent();
    let mut work = Work::default();
    let repository = twin.library(&twin.desk())?;
    let history = twin.library(&twin.dir)?;
    let head = match twin.commit() {
        Some(id) => Some(history.find_commit(git2::Oid::from_str(&id)?)?),
        None => None,
    };
    let index = open_index(twin)?;
    let mut merged = Index::new()?;
    for entry in index.iter() {
        if entry.flags & STAGE_BITS == 0 {
            merged.add(&entry)?;
        } else {
            work.keep.insert(entry.id.to_string());
        }
    }
    let index_tree = merged.write_tree_to(&repository).context("the index can't be written as a tree")?;
    let mut changed = open_index(twin)?;
    let left: Vec<_> = changed.iter().filter(|entry| leave_out.contains(&entry.path)).collect();
    update(&history, Some(&repository), &mut changed, leave_out, saved)?;
    for entry in &left {
        changed.add(entry)?;
    }
    let worktree_tree = changed.write_tree_to(&repository).context("the working files make no tree")?;
    let commit = |tree: git2::Oid, message: &str| -> Result<Option<String>> {
        let (tree, id) = (tree.to_string(), head.as_ref().map(|head| head.id().to_string()));
        match &head {
            Some(head) if head.tree_id().to_string() == tree => return Ok(id),
            None if is_empty_tree(&tree) => return Ok(None),
            _ => {}
        }
        let parent = id.as_deref().zip(head.as_ref().map(|head| head.time().seconds()));
        let text = commit_text(&tree, parent, message);
        Ok(Some(repository.odb()?.write(ObjectType::Commit, text.as_bytes())?.to_string()))
    };
    work.index = commit(index_tree, INDEX_MESSAGE)?;
    work.worktree = commit(worktree_tree, WORKTREE_MESSAGE)?;
    let staged = head.as_ref().map_or(!merged.is_empty(), |head| head.tree_id() != index_tree);
    work.dirty = !work.keep.is_empty() || staged || index_tree != worktree_tree;
    Ok(work)
}

fn open_index(twin: &Twin) -> Result<Index> {
    let path = twin.dir.join("index");
    if path.exists() { Index::open(&path).context("libgit2 can't read the index") } else { Ok(Index::new()?) }
}

/// Compares the index with what is on disk, without those that are left out; with a desk to write objects
/// at, brings it to that, in memory. Whether anything differed.
fn update(
    history: &Repository,
    desk: Option<&Repository>,
    index: &mut Index,
    leave_out: &BTreeSet<Vec<u8>>,
    saved: &dyn Fn(&[u8]) -> bool,
) -> Result<bool> {
    // Out of the index they are untracked for the comparison, and the content of what is untracked is not
    // read by it.
    let left: Vec<Vec<u8>> = index.iter().map(|e| e.path).filter(|path| leave_out.contains(path)).collect();
    for path in &left {
        index.remove_path(os_name::to_os(path)?.as_ref())?;
    }
    let mut options = DiffOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true).include_typechange(true);
    options.ignore_submodules(true);
    let diff = history.diff_index_to_workdir(Some(index), Some(&mut options))?;
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for delta in diff.deltas() {
        interrupt::check()?;
        let file = if delta.status() == Delta::Deleted { delta.old_file() } else { delta.new_file() };
        let Some(path) = file.path_bytes().or_else(|| delta.old_file().path_bytes()) else { continue };
        if leave_out.contains(path) || path.ends_with(b"/") {
            continue;
        }
        let name = os_name::to_os(path)?;
        let on_disk = history.workdir().map(|root| root.join(&name)).and_then(|p| p.symlink_metadata().ok());
        match on_disk {
            Some(meta) if (meta.is_file() || meta.is_symlink()) && saved(path) => add.push(name),
            Some(meta) if !meta.is_dir() => {}
            _ => remove.push(name),
        }
    }
    let changed = !add.is_empty() || !remove.is_empty();
    let Some(desk) = desk else { return Ok(changed) };
    desk.set_index(index)?;
    // First what is gone: a folder may have taken a file's place, or the other way round.
    for path in remove {
        index.remove_path(path.as_ref())?;
    }
    for path in add {
        interrupt::check()?;
        index.add_path(path.as_ref()).with_context(|| format!("can't read {}", path.to_string_lossy()))?;
    }
    Ok(changed)
}
