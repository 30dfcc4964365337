//! The small files of a git folder that no bundle carries: HEAD, index, configuration, hooks, reflogs, and
//! what a merge, rebase or bisect that is under way has written. Copied first, so that what is archived
//! does not change any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::refs::{self, Value};
use super::twin::{Twin, copy, write};
use super::{Git, reftable};
use crate::base::file_facts::create_private_dir;
use crate::base::safe_path::SafePath;
use crate::base::{interrupt, os_name};

/// Single files of one working copy.
pub(super) const OWN_FILES: [&str; 16] = [
    "index",
    "config.worktree",
    "info/sparse-checkout",
    "MERGE_HEAD",
    "MERGE_MSG",
    "MERGE_MODE",
    "MERGE_RR",
    "MERGE_AUTOSTASH",
    "SQUASH_MSG",
    "ORIG_HEAD",
    "FETCH_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "AUTO_MERGE",
    "COMMIT_EDITMSG",
];

/// Folders of one working copy that a running operation keeps.
pub(super) const OWN_FOLDERS: [&str; 3] = ["rebase-merge", "rebase-apply", "sequencer"];

/// Files that all working copies of a repository share.
pub(super) const SHARED_FILES: [&str; 5] =
    ["config", "description", "shallow", "info/exclude", "info/attributes"];

/// Copied files by their name below `git/`.
pub(super) struct State {
    pub files: Vec<(SafePath, PathBuf)>,
    /// Ids that these files mention (`MERGE_HEAD`, a rebase's `onto`): nothing else may hold them.
    pub mentioned: BTreeSet<String>,
}

struct Copier<'a> {
    to: &'a Path,
    files: Vec<(SafePath, PathBuf)>,
}

impl Copier<'_> {
    fn file(&mut self, from: &Path, name: &[u8]) -> Result<()> {
        interrupt::check()?;
        let name = SafePath::new(name)?;
        let to = name.below(self.to)?;
        create_private_dir(to.parent().unwrap_or(self.to))?;
        if from.is_file() && copy(from, &to)? {
            self.files.push((name, to));
        }
        Ok(())
    }

    fn folder(&mut self, from: &Path, name: &[u8], wanted: &dyn Fn(&[u8]) -> bool) -> Result<()> {
        let entries = match fs::read_dir(from) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            read => read.with_context(|| format!("can't read {}", from.display()))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("can't read {}", from.display()))?;
            let part = os_name::from_os(&entry.file_name())?;
            let full = [name, b"/", &part].concat();
            if entry.file_type()?.is_dir() {
                self.folder(&entry.path(), &full, wanted)?;
            } else if wanted(&part) {
                self.file(&entry.path(), &full)?;
            }
        }
        Ok(())
    }
}

impl Git {
    /// Copies the state of this working copy into `to`.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub(super) fn state(&self, twin: &Twin, to: &Path) -> Result<State> {
        create_private_dir(to)?;
        let mut copier = Copier { to, files: Vec::new() };
        // HEAD, index and reflogs from the twin: they are the ones that the bundle is made of.
        copier.file(&twin.dir.join("HEAD"), b"HEAD")?;
        copier.file(&twin.dir.join("index"), b"index")?;
        copier.folder(&twin.dir.join("logs"), b"logs", &|name| !name.ends_with(b".lock"))?;
        let bisect_or_shared = |from: &Path| -> Result<Vec<Vec<u8>>> {
            let entries = fs::read_dir(from).with_context(|| format!("can't read {}", from.display()))?;
            let mut names = Vec::new();
            for entry in entries {
                let name = os_name::from_os(&entry?.file_name())?;
                if name.starts_with(b"BISECT_") || name.starts_with(b"sharedindex.") {
                    names.push(name);
                }
            }
            Ok(names)
        };
        for name in bisect_or_shared(&self.own)? {
            copier.file(&self.own.join(os_name::to_os(&name)?), &name)?;
        }
        for name in OWN_FILES.iter().filter(|name| **name != "index") {
            copier.file(&self.own.join(name), name.as_bytes())?;
        }
        if self.is_reftable() {
            let root_refs = twin.dir.join(reftable::ROOT_REFS);
            for name in OWN_FILES.iter().filter(|name| root_refs.join(name).is_file()) {
                copier.file(&root_refs.join(name), name.as_bytes())?;
            }
        }
        for name in OWN_FOLDERS {
            copier.folder(&self.own.join(name), name.as_bytes(), &|name| !name.ends_with(b".lock"))?;
        }
        for name in SHARED_FILES {
            copier.file(&self.common.join(name), name.as_bytes())?;
        }
        copier.folder(&self.common.join("hooks"), b"hooks", &|name| !name.ends_with(b".sample"))?;
        let symbolic: String = (twin.refs.iter())
            .filter_map(|(name, value)| match value {
                Value::Symbolic(target) => Some(format!("{name} {target}\n")),
                Value::Id(_) => None,
            })
            .collect();
        if !symbolic.is_empty() {
            let path = to.join("symrefs");
            write(&path, symbolic.as_bytes())?;
            copier.files.push((SafePath::new("symrefs")?, path));
        }
        let mut files = copier.files;
        files.sort();
        let mentioned = mentioned(&files)?;
        Ok(State { files, mentioned })
    }
}

/// Every id in full that a file of a running operation mentions.
fn mentioned(files: &[(SafePath, PathBuf)]) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for (name, path) in files {
        let top = name.parts().next().unwrap_or_default();
        let operation = OWN_FOLDERS.iter().any(|folder| folder.as_bytes() == top)
            || (top.iter().all(|b| b.is_ascii_uppercase() || *b == b'_') && top != b"COMMIT_EDITMSG");
        if operation {
            let text = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
            let words = text.split(|b| !b.is_ascii_alphanumeric());
            let words = words.filter_map(|word| std::str::from_utf8(word).ok());
            ids.extend(words.filter(|word| refs::is_id(word)).map(str::to_owned));
        }
    }
    Ok(ids)
}
