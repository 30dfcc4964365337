//! What the user should know of files that were written: those that are not yet what they stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::Git;
use super::super::revision::Commit;
use super::super::tracked;
use super::super::twin::Twin;
use super::{Item, Mode};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::safe_path::SafePath;

/// How many paths a message names.
const NAMED: usize = 3;

/// `a, b, c and 4 more`.
fn named<'a>(mut paths: impl Iterator<Item = &'a SafePath>) -> String {
    let first: Vec<String> = paths.by_ref().take(NAMED).map(ToString::to_string).collect();
    match paths.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A submodule is a commit's id; its files stay as they are.
pub(super) fn submodules(git: &Git, items: &[&Item]) -> Result<Vec<Finding>> {
    let all: Vec<&&Item> = items.iter().filter(|item| item.mode == Mode::Submodule).collect();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let now = tracked::tracked(git)?;
    let stands = |item: &&&Item| {
        now.get(item.path.bytes()).and_then(|entry| entry.submodule.as_ref()) == Some(&item.id)
    };
    let (same, other): (Vec<&&Item>, Vec<&&Item>) = all.into_iter().partition(stands);
    let mut findings = Vec::new();
    if !same.is_empty() {
        let what = format!("submodules stay as they are: {}", named(same.iter().map(|item| &item.path)));
        findings.push(Finding::advice("submodules", what));
    }
    if !other.is_empty() {
        let first: Vec<String> = other
            .iter()
            .take(NAMED)
            .map(|item| format!("{} at {}", item.path, item.id.get(..10).unwrap_or(&item.id)))
            .collect();
        let more = match other.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let what =
            format!("submodules were at other commits then, and are left alone: {}{more}", first.join(", "));
        findings.push(
            Finding::problem("submodules", what).hint("in each of them: git fetch && git checkout COMMIT"),
        );
    }
    Ok(findings)
}

const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// Longest pointer that Git LFS reads, in bytes.
const POINTER_BYTES_MAX: u64 = 1024;

/// Whether a pointer of Git LFS can have so many bytes.
pub(super) fn may_be_pointer(size: u64) -> bool {
    (POINTER.len() as u64 + 1..POINTER_BYTES_MAX).contains(&size)
}

/// Whether a file is a pointer of Git LFS.
///
/// # Errors
/// When it can't be read.
pub fn is_lfs_pointer(file: &Path) -> Result<bool> {
    let told = || format!("can't read {}", file.display());
    let size = fs::symlink_metadata(file).with_context(told)?.len();
    if !may_be_pointer(size) {
        return Ok(false);
    }
    // Line ends may have been converted.
    let text = fs::read(file).with_context(told)?;
    let text: Vec<u8> = text.into_iter().take(POINTER.len() + 1).filter(|b| *b != b'\r').collect();
    Ok(text.starts_with(POINTER))
}

/// Files that Git LFS keeps elsewhere. `place` tells below which folder a file lies, if it may be one and
/// anybody asks for it.
///
/// # Errors
/// When a file can't be read.
pub(super) fn lfs_pointers<'p>(
    place: &dyn Fn(&SafePath) -> Option<&'p Path>,
    tracked: &BTreeMap<SafePath, Mode>,
    commit: &Commit,
) -> Result<Option<Finding>> {
    let mut found = Vec::new();
    for (count, (path, mode)) in tracked.iter().enumerate() {
        if count % 1024 == 0 {
            interrupt::check()?;
        }
        if !matches!(mode, Mode::File | Mode::Executable) {
            continue;
        }
        let Some(place) = place(path) else { continue };
        let full = path.below(place)?;
        found.extend(is_lfs_pointer(&full)?.then_some(path));
    }
    if found.is_empty() {
        return Ok(None);
    }
    let files = if found.len() == 1 { "file is a pointer" } else { "files are pointers" };
    let what =
        format!("{} {files} of Git LFS, not the content: {}", found.len(), named(found.iter().copied()));
    let hint = format!(
        "get the content with git lfs fetch origin {}, then git lfs smudge < POINTER > FILE for each of them",
        commit.short()
    );
    Ok(Some(Finding::problem("lfs-pointers", what).hint(hint)))
}

/// Whether any filter is configured that makes other content of what git stores.
pub(super) fn has_filters(settings: &BTreeMap<String, String>) -> bool {
    settings
        .keys()
        .any(|name| name.starts_with("filter.") && is_outward(name) && !name.starts_with("filter.lfs."))
}

fn is_outward(name: &str) -> bool {
    name.ends_with(".smudge") || name.ends_with(".process")
}

/// Files that a configured filter would have made something else of.
pub(super) fn filtered(
    settings: &BTreeMap<String, String>,
    filters: &[(SafePath, String)],
    is_asked: &dyn Fn(&SafePath) -> bool,
) -> Vec<Finding> {
    let mut by_filter: BTreeMap<&str, Vec<&SafePath>> = BTreeMap::new();
    for (path, filter) in filters.iter().filter(|(path, _)| is_asked(path)) {
        let lower = filter.to_lowercase();
        let configured = ["smudge", "process"].iter().any(|key| {
            settings.get(&format!("filter.{lower}.{key}")).is_some_and(|command| !command.is_empty())
        });
        // Of what Git LFS keeps the pointers are named one by one; the rest is as it is stored.
        if configured && lower != "lfs" {
            by_filter.entry(filter).or_default().push(path);
        }
    }
    let finding = |(filter, paths): (&str, Vec<&SafePath>)| {
        let what = format!(
            "{} files are as git stores them, not as the filter {filter} would write them: {}",
            paths.len(),
            named(paths.into_iter())
        );
        Finding::problem("git-filter", what)
            .hint(format!("run what git config filter.{filter}.smudge names on each of them"))
    };
    by_filter.into_iter().map(finding).collect()
}

/// Objects that others stand in for.
pub(super) fn replaced(twin: &Twin) -> Option<Finding> {
    let there = twin.refs.keys().any(|name| name.starts_with("refs/replace/"));
    there.then(|| {
        let what = "git replace stands something else in for objects of this repository; what was written is the originals";
        Finding::advice("git-replace", what).hint("git replace --list names them")
    })
}

/// What is not written because this working copy leaves it out.
pub(super) fn sparse(left_out: &BTreeSet<SafePath>) -> Option<Finding> {
    (!left_out.is_empty()).then(|| {
        let what = format!(
            "{} files of the commit are outside of this sparse checkout and are not written: {}",
            left_out.len(),
            named(left_out.iter())
        );
        Finding::advice("sparse-checkout", what).hint("git sparse-checkout disable brings all of them")
    })
}
