//! A commit as one side: it has the files that git tracks, as git stores them, and no folders. So the other side is
//! narrowed to what git tracks there, and of permissions only the one to run a file counts.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use super::list::Side;
use super::{Ask, Differences, Origin};
use crate::archive::layout::{self, Part};
use crate::base::digest::Digest;
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf};
use crate::project::git::{self, Git, Opened};

/// No index file is larger than this many bytes.
const INDEX_MAX: u64 = 1 << 30;

/// Lists what a commit holds.
///
/// # Errors
/// When it can't be read.
pub fn list(side: &mut Side<'_>, git: &Git, id: &str, ask: &Ask<'_>) -> Result<()> {
    let found = git.commit_tree(id)?;
    side.modules = found.modules.into_iter().filter(|path| ask.scope.has(path, true)).collect();
    for path in found.unusable {
        let text = format!("the commit holds {path}, which can't be a file here, so it is not compared");
        side.findings.push(Finding::problem("unusable-path", text));
    }
    let mut links = Vec::new();
    for (path, blob) in found.blobs.into_iter().filter(|(path, _)| ask.scope.has(path, false)) {
        let Some(size) = blob.size else {
            side.blobs.insert(path.clone(), blob.id);
            side.missing.insert(path);
            continue;
        };
        let mode = if blob.executable { 0o755 } else { 0o644 };
        if blob.is_link {
            links.push((path, blob.id, size));
            continue;
        }
        side.blobs.insert(path.clone(), blob.id);
        side.tree.insert(path, Leaf { kind: Kind::File { size, digest: None }, mode });
    }
    let wanted: Vec<(&str, u64)> = links.iter().map(|(_, id, size)| (id.as_str(), *size)).collect();
    git.read_blobs(&wanted, ask.scratch, &mut |number, content| {
        let mut target = Vec::new();
        content.read_to_end(&mut target)?;
        let leaf = Leaf { kind: Kind::Link { target }, mode: 0o777 };
        side.tree.insert(links[number].0.clone(), leaf);
        Ok(())
    })
}

/// Finds the digests of files of a commit.
///
/// # Errors
/// When git can't read one.
pub fn read(side: &mut Side<'_>, git: &Git, paths: &[SafePath], ask: &Ask<'_>) -> Result<()> {
    let mut wanted = Vec::new();
    for path in paths {
        if let (Some(id), Some(leaf)) = (side.blobs.get(path), side.tree.get(path)) {
            wanted.push((path.clone(), id.clone(), leaf.size()));
        }
    }
    let blobs: Vec<(&str, u64)> = wanted.iter().map(|(_, id, size)| (id.as_str(), *size)).collect();
    git.read_blobs(&blobs, ask.scratch, &mut |number, mut content| {
        interrupt::check()?;
        let (found, bytes) = Digest::of_reader(&mut content)?;
        side.set(&wanted[number].0, found, bytes);
        Ok(())
    })
}

/// Leaves of both sides what can be compared where one is a commit, and counts the rest.
///
/// # Errors
/// When git can't be read.
pub fn narrow(a: &mut Side<'_>, b: &mut Side<'_>, ask: &Ask<'_>, out: &mut Differences) -> Result<()> {
    if !a.origin.is_commit() {
        narrow_to_tracked(a, b, ask, out)?;
    }
    if !b.origin.is_commit() {
        narrow_to_tracked(b, a, ask, out)?;
    }
    drop_missing(a, b);
    drop_missing(b, a);
    let modules: BTreeSet<SafePath> = a.modules.iter().chain(&b.modules).cloned().collect();
    out.modules = modules.into_iter().collect();
    Ok(())
}

/// Leaves of a side what git tracks there, and what the commit has: what was never added to git is not "added" since.
fn narrow_to_tracked(
    side: &mut Side<'_>,
    commit: &Side<'_>,
    ask: &Ask<'_>,
    out: &mut Differences,
) -> Result<()> {
    let Origin::Commit { git, .. } = commit.origin else { return Ok(()) };
    let tracked = tracked(side.origin, ask)?;
    let belongs = |path: &SafePath| {
        commit.tree.contains_key(path) || commit.missing.contains(path) || tracked.contains(path.bytes())
    };
    let trusts_modes = !matches!(side.origin, Origin::Now { .. }) || git.trusts_modes();
    let untracked = &mut out.untracked;
    side.tree.retain(|path, leaf| {
        let stays = !leaf.is_folder() && belongs(path);
        *untracked += u64::from(!stays && !leaf.is_folder());
        stays
    });
    side.databases.retain(|path, _| {
        *untracked += u64::from(!belongs(path));
        belongs(path)
    });
    let plain = |path: &SafePath, mode: u32| match commit.tree.get(path) {
        Some(other) if !trusts_modes => other.mode,
        _ if mode & 0o100 != 0 => 0o755,
        _ => 0o644,
    };
    side.tree.iter_mut().for_each(|(path, leaf)| leaf.mode = plain(path, leaf.mode));
    side.databases.iter_mut().for_each(|(path, stored)| stored.mode = plain(path, stored.mode));
    out.converts = git.converts() || commit.tree.keys().any(|path| path.name() == b".gitattributes");
    Ok(())
}

/// What git tracks in a state that is no commit; nothing where that can't be told.
fn tracked(origin: &Origin<'_>, ask: &Ask<'_>) -> Result<BTreeSet<Vec<u8>>> {
    match origin {
        Origin::Commit { .. } => Ok(BTreeSet::new()),
        Origin::Now { opened: Opened::Git(git), .. } => Ok(git.classify()?.tracked),
        Origin::Now { .. } => Ok(BTreeSet::new()),
        Origin::Backup { archive, .. } => {
            let place =
                layout::place(&Part::Git(SafePath::new("index")?))?.context("the index has a place")?;
            if archive.entry(&place).is_none() {
                return Ok(BTreeSet::new());
            }
            let index = ask.scratch.join("index");
            fs::write(&index, archive.content(&place, INDEX_MAX)?)
                .with_context(|| format!("can't write {}", index.display()))?;
            // One that libgit2 does not read (a split or a sparse one) tells nothing: what is only there is then
            // counted as not compared.
            Ok(git::tracked_in(&index).unwrap_or_default())
        }
    }
}

/// Content that is not here can't be compared, unless it is the same for certain.
fn drop_missing(side: &mut Side<'_>, other: &mut Side<'_>) {
    for path in &side.missing {
        let there = other.tree.remove(path).is_some() | other.databases.remove(path).is_some();
        let is_same = other.blobs.get(path).is_some_and(|id| side.blobs.get(path) == Some(id));
        if is_same || (!there && other.missing.contains(path)) {
            continue;
        }
        let text =
            "its content in the commit is not in this repository (a partial clone), so it is not compared";
        side.findings.push(Finding::problem("object-missing", text).at(path).hint("get it: git fetch"));
    }
}
