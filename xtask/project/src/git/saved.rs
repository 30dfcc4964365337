//! What the extracted `git/` folder of a backup says. All of it is untrusted: names are checked, and links
//! count as absent, as does all below a link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::refs::{self, Refs, Value};
use super::state::{OWN_FILES, OWN_FOLDERS};
use crate::base::finding::Finding;
use crate::base::os_name;
use crate::base::safe_path::SafePath;

/// A regular file of the extracted backup.
///
/// # Errors
/// When it can't be looked at.
pub(super) fn regular(source: &Path, name: &SafePath) -> Result<Option<PathBuf>> {
    let mut path = source.to_path_buf();
    for part in name.parts() {
        path.push(os_name::to_os(part)?);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }
    Ok(path.is_file().then_some(path))
}

/// The text of one of its files, and where it is; `None` where there is none.
///
/// # Errors
/// When it can't be read.
pub(super) fn text(source: &Path, name: &str) -> Result<Option<(PathBuf, String)>> {
    let Some(path) = regular(source, &SafePath::new(name)?)? else { return Ok(None) };
    let text = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(Some((path, text)))
}

/// What HEAD says.
///
/// # Errors
/// When there is none, or it is damaged.
pub(super) fn head(source: &Path) -> Result<Value> {
    let (path, text) = text(source, "HEAD")?.context("the backup has no git/HEAD")?;
    refs::parse(&text).with_context(|| path.display().to_string())
}

/// HEAD, or a loose ref, as git writes it.
pub(super) fn line(value: &Value) -> String {
    match value {
        Value::Symbolic(name) => format!("ref: {name}\n"),
        Value::Id(id) => format!("{id}\n"),
    }
}

/// The refs that are another ref's name.
///
/// # Errors
/// When the list can't be read, or names no refs.
pub(super) fn symbolic(source: &Path) -> Result<BTreeMap<String, String>> {
    let mut symbolic = BTreeMap::new();
    if let Some((path, text)) = text(source, "symrefs")? {
        for line in text.lines() {
            match line.split_once(' ') {
                Some((name, to)) if refs::is_name(name) && refs::is_name(to) => {
                    symbolic.insert(name.to_owned(), to.to_owned());
                }
                _ => bail!("{} has the line {line:?}, which names no ref", path.display()),
            }
        }
    }
    Ok(symbolic)
}

/// All refs: those that the bundles list, by name, and the symbolic ones.
///
/// # Errors
/// As [`symbolic`], and when one ref is below another, which no repository can have.
pub(super) fn refs(source: &Path, listed: BTreeMap<String, String>) -> Result<Refs> {
    let mut all: Refs = (listed.into_iter())
        .filter(|(name, _)| name.starts_with("refs/") && !name.starts_with("refs/xtask/"))
        .map(|(name, id)| (name, Value::Id(id)))
        .collect();
    all.extend(symbolic(source)?.into_iter().map(|(name, to)| (name, Value::Symbolic(to))));
    for name in all.keys() {
        let inside = format!("{name}/");
        if all.range(inside.clone()..).next().is_some_and(|(next, _)| next.starts_with(&inside)) {
            bail!("the backup has a ref {name} and another one below it");
        }
    }
    Ok(all)
}

/// The commits at which the history was cut off.
///
/// # Errors
/// When the list can't be read, or names no commits.
pub(super) fn shallow(source: &Path) -> Result<BTreeSet<String>> {
    let Some((path, text)) = text(source, "shallow")? else { return Ok(BTreeSet::new()) };
    if let Some(line) = text.lines().find(|line| !refs::is_id(line)) {
        bail!("{} has the line {line:?}, which is no commit", path.display());
    }
    Ok(text.lines().map(str::to_owned).collect())
}

/// Index, reflogs, and what a running operation keeps: their names below `git/`. What is no file that git
/// would have is a finding.
///
/// # Errors
/// When a folder can't be read.
pub(super) fn state(source: &Path, findings: &mut Vec<Finding>) -> Result<Vec<SafePath>> {
    let mut files = Vec::new();
    let mut one = |name: SafePath| -> Result<()> {
        if regular(source, &name)?.is_some() {
            files.push(name);
        }
        Ok(())
    };
    for name in OWN_FILES.iter().filter(|name| **name != "config.worktree") {
        one(SafePath::new(*name)?)?;
    }
    for entry in fs::read_dir(source).with_context(|| format!("can't read {}", source.display()))? {
        let name = os_name::from_os(&entry?.file_name())?;
        if name.starts_with(b"sharedindex.") || name.starts_with(b"BISECT_") {
            one(SafePath::new(name)?)?;
        }
    }
    for name in OWN_FOLDERS.iter().chain(&["logs"]) {
        folder(source, &SafePath::new(*name)?, &mut files, findings)?;
    }
    Ok(files)
}

fn folder(
    source: &Path,
    name: &SafePath,
    files: &mut Vec<SafePath>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let from = name.below(source)?;
    if !fs::symlink_metadata(&from).is_ok_and(|meta| meta.is_dir()) {
        return Ok(());
    }
    for entry in fs::read_dir(&from).with_context(|| format!("can't read {}", from.display()))? {
        let entry = entry?;
        let inside = name.join(&os_name::from_os(&entry.file_name())?)?;
        let kind = entry.file_type()?;
        let log = inside.bytes().strip_prefix(b"logs/".as_slice()).and_then(|n| std::str::from_utf8(n).ok());
        let is_log = name.parts().next() == Some(b"logs");
        if kind.is_dir() {
            folder(source, &inside, files, findings)?;
        } else if kind.is_file() && (!is_log || log.is_some_and(|n| n == "HEAD" || refs::is_name(n))) {
            files.push(inside);
        } else {
            let what = format!("git/{inside} is no file that git would have, and was left out");
            findings.push(Finding::problem("git-file", what));
        }
    }
    Ok(())
}
