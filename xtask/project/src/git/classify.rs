//! What git tracks and what it ignores, without reading the content of any file: only names are compared,
//! so no database is ever opened by this walk.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, Result};

use super::run::{Input, output};
use super::{Git, trees};
use crate::base::{interrupt, os_name};

/// What git tracks and ignores in a working copy. Paths are raw bytes relative to its top, with `/`.
#[derive(Clone, Debug, Default)]
pub struct Classification {
    /// Every path in the index, submodules included.
    pub tracked: BTreeSet<Vec<u8>>,
    ignored_folders: HashSet<Vec<u8>>,
    ignored_files: HashSet<Vec<u8>>,
}

impl Classification {
    /// Whether git ignores a path. All below an ignored folder is ignored; what is tracked never is, nor
    /// is a folder that holds something tracked.
    pub fn is_ignored(&self, path: &[u8], is_dir: bool) -> bool {
        if self.tracked.contains(path) || (is_dir && self.holds_tracked(path)) {
            return false;
        }
        let known = if is_dir { &self.ignored_folders } else { &self.ignored_files };
        known.contains(path)
            || path.iter().enumerate().any(|(at, &b)| b == b'/' && self.ignored_folders.contains(&path[..at]))
    }

    fn holds_tracked(&self, folder: &[u8]) -> bool {
        let inside = [folder, b"/"].concat();
        self.tracked.range(inside.clone()..).next().is_some_and(|path| path.starts_with(&inside))
    }

    fn ignore(&mut self, path: &[u8]) {
        match path.strip_suffix(b"/") {
            Some(folder) => self.ignored_folders.insert(folder.to_vec()),
            None => self.ignored_files.insert(path.to_vec()),
        };
    }
}

impl Git {
    /// What git tracks and ignores.
    ///
    /// # Errors
    /// When the index or a folder can't be read.
    pub fn classify(&self) -> Result<Classification> {
        match &self.library {
            Some(library) => match classify_with_library(library) {
                // libgit2 does not read every index (a split or a sparse one).
                Err(_) if self.program.is_some() => self.classify_with_command(),
                classified => classified,
            },
            None => self.classify_with_command(),
        }
    }

    pub(super) fn classify_with_command(&self) -> Result<Classification> {
        let program = self.program.as_ref().context("this repository needs the git command")?;
        // On a twin: reading a split index renews the time of its shared part.
        let scratch = tempfile::tempdir().context("can't make a temporary folder")?;
        let twin = self.twin(&scratch.path().join("twin"))?;
        let list = |args: &[&str]| {
            let mut command = twin.call(program);
            command.args(["ls-files", "-z"]).args(args);
            output(command, Input::Nothing)
        };
        let mut found = Classification::default();
        for line in paths(&trees::list_index(&twin, program)?) {
            found.tracked.insert(trees::entry(line)?.path.to_vec());
        }
        let ignored = list(&["--others", "--ignored", "--exclude-standard", "--directory"])?;
        paths(&ignored).for_each(|path| found.ignore(path));
        Ok(found)
    }
}

/// The parts of a list that ends each with NUL.
pub(super) fn paths(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == 0).filter(|path| !path.is_empty())
}

fn classify_with_library(library: &git2::Repository) -> Result<Classification> {
    let mut found = Classification::default();
    // A view of its own, not the repository's shared one, and never written.
    let path = library.path().join("index");
    if path.exists() {
        let index = git2::Index::open(&path).with_context(|| format!("can't read {}", path.display()))?;
        found.tracked.extend(index.iter().map(|entry| entry.path));
    }
    interrupt::check()?;
    // Compared with an empty index everything on disk is either untracked or ignored, so libgit2 has
    // nothing to compare contents with and opens no file.
    let empty = git2::Index::new().context("libgit2 makes no index")?;
    let mut options = git2::DiffOptions::new();
    options
        .include_untracked(true)
        .recurse_untracked_dirs(true)
        .include_ignored(true)
        .recurse_ignored_dirs(false)
        .ignore_submodules(true);
    let diff = library.diff_index_to_workdir(Some(&empty), Some(&mut options))?;
    for delta in diff.deltas().filter(|delta| delta.status() == git2::Delta::Ignored) {
        if let Some(path) = delta.new_file().path_bytes() {
            found.ignore(path);
        } else if let Some(path) = delta.new_file().path() {
            found.ignore(&os_name::from_os(path.as_os_str())?);
        }
    }
    Ok(found)
}
