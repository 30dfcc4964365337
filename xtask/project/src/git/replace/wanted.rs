//! What the backup wants the repository to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::super::refs::{Refs, Value};
use super::super::state::{OWN_FILES, OWN_FOLDERS};
use super::super::{bundle, saved, settings};
use crate::base::facts::GitFacts;
use crate::base::finding::Finding;
use crate::base::os_name;
use crate::base::safe_path::SafePath;

/// The backup's side.
pub(super) struct Wanted {
    pub head: Value,
    pub refs: Refs,
    /// Every id that the last bundle lists, and that of a detached HEAD.
    pub ids: BTreeSet<String>,
    /// Commits at which its history was cut off.
    pub shallow: BTreeSet<String>,
    /// Bundles in the order in which they are read.
    pub bundles: Vec<PathBuf>,
    /// Index, reflogs and state files: names below `git/`.
    pub files: Vec<SafePath>,
    /// Whether its objects have gaps that a remote can fill.
    pub partial: bool,
    /// Whether objects were missing already when the backup was made.
    pub gaps: bool,
    pub findings: Vec<Finding>,
}

impl Wanted {
    /// # Errors
    /// When something of it is damaged, or can't be read.
    pub fn read(source: &Path, facts: &GitFacts) -> Result<Wanted> {
        let mut findings = Vec::new();
        let bundles = bundle::files(source, facts)?;
        let (mut listed, mut ids) = (BTreeMap::new(), BTreeSet::new());
        for path in &bundles {
            let (header, _) = bundle::header(path)?;
            if header.format != "sha1" {
                bail!("{} is of another object format than the backup says", path.display());
            }
            // The last one tells what the repository was.
            ids = header.refs.iter().map(|(id, _)| id.clone()).collect();
            listed = header.refs.into_iter().map(|(id, name)| (name, id)).collect();
        }
        let head = saved::head(source)?;
        if let Value::Id(id) = &head {
            ids.insert(id.clone());
        }
        let files = saved::state(source, &mut findings)?;
        let missing = saved::text(source, "missing")?.map_or(0, |(_, text)| text.lines().count());
        let config = saved::regular(source, &SafePath::new("config")?)?;
        // A configuration that can't be read names no remote that could fill gaps.
        let config = config.and_then(|path| super::config::read(&path).ok()).unwrap_or_default();
        let partial = settings::is_partial(&config);
        if missing > 0 && !partial {
            let what = format!("{missing} objects of git's history were missing when this backup was made");
            findings
                .push(Finding::problem("git-history", what).hint("`git fsck --full` tells which are still"));
        }
        let refs = saved::refs(source, listed)?;
        let shallow = saved::shallow(source)?;
        Ok(Wanted { head, refs, ids, shallow, bundles, files, partial, gaps: missing > 0, findings })
    }

    /// Names of the reflogs below `logs/`.
    pub fn logs(&self) -> BTreeSet<&[u8]> {
        self.files.iter().filter_map(|name| name.bytes().strip_prefix(b"logs/".as_slice())).collect()
    }
}

/// The files and folders that the working copy has for itself, the index and reflogs aside, on either side.
///
/// # Errors
/// When the live folder can't be read.
pub(super) fn own_names(wanted: &Wanted, own: &Path) -> Result<Vec<SafePath>> {
    let mut names = BTreeSet::new();
    for name in
        OWN_FILES.iter().chain(&OWN_FOLDERS).filter(|name| !matches!(**name, "index" | "config.worktree"))
    {
        names.insert(SafePath::new(*name)?);
    }
    for entry in fs::read_dir(own).with_context(|| format!("can't read {}", own.display()))? {
        let name = os_name::from_os(&entry?.file_name())?;
        if name.starts_with(b"BISECT_") {
            names.insert(SafePath::new(name)?);
        }
    }
    names.extend(wanted.files.iter().filter(|name| name.bytes().starts_with(b"BISECT_")).cloned());
    Ok(names.into_iter().collect())
}

/// Whether such a file or folder is there only while an operation is under way.
pub(super) fn is_of_operation(name: &SafePath) -> bool {
    let name = name.bytes();
    OWN_FOLDERS.iter().any(|folder| folder.as_bytes() == name)
        || name.starts_with(b"BISECT_")
        || [
            b"MERGE_HEAD".as_slice(),
            b"MERGE_MODE",
            b"MERGE_MSG",
            b"MERGE_RR",
            b"MERGE_AUTOSTASH",
            b"CHERRY_PICK_HEAD",
            b"REVERT_HEAD",
            b"REBASE_HEAD",
            b"AUTO_MERGE",
        ]
        .contains(&name)
}
