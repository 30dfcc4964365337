//! What the index tracks at this moment: present files among them that a commit does not have were added
//! since. No folder of the working copy is walked, and no file opened.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::classify::paths;
use super::{Git, trees};

/// What the index says of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Left out of the working copy on purpose (sparse checkout); if it is there all the same, it is nobody's.
    pub skipped: bool,
    /// Its sides are in conflict.
    pub conflicted: bool,
    /// The commit that a submodule stands at; `None` for files and links.
    pub submodule: Option<String>,
}

/// Everything in the index by its raw path, with `/`: also what is only meant to be added, what is in
/// conflict, and what a sparse checkout leaves out.
///
/// # Errors
/// When the index can't be read.
pub fn tracked(git: &Git) -> Result<BTreeMap<Vec<u8>, Tracked>> {
    match &git.library {
        Some(library) => match with_library(library) {
            // libgit2 does not read every index (a split or a sparse one).
            Err(_) if git.program.is_some() => with_command(git),
            found => found,
        },
        None => with_command(git),
    }
}

pub(super) fn with_command(git: &Git) -> Result<BTreeMap<Vec<u8>, Tracked>> {
    let program = git.program.as_ref().context("this repository needs the git command")?;
    // On a twin: reading a split index renews the time of its shared part.
    let scratch = tempfile::tempdir().context("can't make a temporary folder")?;
    let twin = git.twin(&scratch.path().join("twin"))?;
    let mut found = BTreeMap::<Vec<u8>, Tracked>::new();
    for line in paths(&trees::list_index(&twin, program)?) {
        let entry = trees::entry(line)?;
        let path = found.entry(entry.path.to_vec()).or_default();
        path.skipped |= entry.skipped;
        path.conflicted |= entry.stage > 0;
        if entry.mode == b"160000" {
            path.submodule = Some(entry.id);
        }
    }
    Ok(found)
}

fn with_library(library: &git2::Repository) -> Result<BTreeMap<Vec<u8>, Tracked>> {
    let mut found = BTreeMap::<Vec<u8>, Tracked>::new();
    let path = library.path().join("index");
    if !path.exists() {
        return Ok(found);
    }
    let index = git2::Index::open(&path).with_context(|| format!("can't read {}", path.display()))?;
    for entry in index.iter() {
        let path = found.entry(entry.path).or_default();
        path.skipped |= entry.flags_extended & SKIP_WORKTREE != 0;
        path.conflicted |= entry.flags & trees::STAGE_BITS != 0;
        if entry.mode == 0o160_000 {
            path.submodule = Some(entry.id.to_string());
        }
    }
    Ok(found)
}

/// A bit of an entry's extended flags (gitformat-index(5)).
const SKIP_WORKTREE: u16 = 0x4000;
