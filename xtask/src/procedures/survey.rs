//! What of the project a backup takes, and what has changed since one was taken. Files are compared by size and
//! time alone, so that asking is cheap: no archive is unpacked, and no database opened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use crate::archive::header::Kind;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;
use crate::project::git::{self, Classification, Opened};
use crate::project::root::Project;
use crate::project::scan::{self, Class, EntryKind, Scan};

/// What a backup does not hold, or holds in another form. Each in the order of paths.
#[derive(Debug, Default)]
pub struct Since {
    /// Files and links that were not there, or not taken.
    pub new: Vec<SafePath>,
    /// Files and links of another size, time or target.
    pub changed: Vec<SafePath>,
    /// Files and links that are not there any more.
    pub gone: Vec<SafePath>,
    /// Databases that are not in it.
    pub databases: Vec<SafePath>,
}

impl Since {
    /// Where there is no backup to compare with: all of it.
    pub fn all_of(scan: &Scan) -> Since {
        let files = scan.entries.iter().filter(|entry| entry.kind != EntryKind::Folder);
        Since {
            new: files.map(|entry| entry.path.clone()).collect(),
            databases: scan.databases.clone(),
            ..Since::default()
        }
    }
}

/// Scans a project as a backup would now.
///
/// # Errors
/// As [`scan_project`].
pub fn survey(project: &Project, store: &Path) -> Result<Scan> {
    let mut findings = Vec::new();
    let opened = git::open(&project.root).unwrap_or_else(|error| Opened::Refused {
        reason: format!("git can't be read: {error:#}"),
        hint: "see what `git status` says".to_owned(),
    });
    let mut scan = scan_project(project, store, &opened, &mut findings)?;
    scan.findings.extend(findings);
    Ok(scan)
}

/// Compares a scan of the project with a backup.
pub fn since(scan: &Scan, archive: &Archive, manifest: &Manifest) -> Since {
    let mut saved: BTreeMap<SafePath, (&Kind, i64)> = BTreeMap::new();
    for entry in archive.index().entries.iter().filter(|entry| entry.kind != Kind::Folder) {
        if let Part::File(path) = layout::part(&entry.meta.path, false) {
            saved.insert(path, (&entry.kind, entry.meta.mtime_s));
        }
    }
    let mut since = Since::default();
    for entry in scan.entries.iter().filter(|entry| entry.kind != EntryKind::Folder) {
        let is_same = match (saved.remove(&entry.path), &entry.kind) {
            (None, _) => {
                since.new.push(entry.path.clone());
                continue;
            }
            (Some((Kind::File { size }, time)), EntryKind::File) => {
                *size == entry.identity.size && time == entry.attributes.mtime_s
            }
            (Some((Kind::Link { target }, _)), EntryKind::Link { target: now }) => target == now,
            (Some(_), _) => false,
        };
        if !is_same {
            since.changed.push(entry.path.clone());
        }
    }
    since.gone = saved.into_keys().collect();
    let held: BTreeSet<&SafePath> = manifest.databases.iter().map(|database| &database.path).collect();
    since.databases = scan.databases.iter().filter(|path| !held.contains(path)).cloned().collect();
    since
}

/// Scans a project as a backup does. `store` is left out, where it is inside.
///
/// # Errors
/// When the project's folder can't be read, or on interruption.
pub fn scan_project(
    project: &Project,
    store: &Path,
    opened: &Opened,
    findings: &mut Vec<Finding>,
) -> Result<Scan> {
    let classes = match opened {
        Opened::None => {
            findings.push(Finding::advice(
                "no-git",
                "there is no git repository here, so there is no history to save",
            ));
            None
        }
        Opened::Refused { reason, hint } => {
            findings.push(
                Finding::problem("git-refused", format!("the history is not saved: {reason}")).hint(hint),
            );
            None
        }
        Opened::Git(git) => match git.classify() {
            Ok(classes) => Some(classes),
            Err(error) => {
                let message = format!("git can't tell which files it ignores, so all are saved: {error:#}");
                findings.push(Finding::advice("git-classify", message));
                None
            }
        },
    };
    let class = |path: &[u8], is_folder: bool| match &classes {
        None => Class::Untracked,
        Some(classes) if classes.tracked.contains(path) => Class::Tracked,
        Some(classes) if classes.is_ignored(path, is_folder) => Class::Ignored,
        Some(_) => Class::Untracked,
    };
    let tracked_below = |folder: &[u8]| classes.as_ref().is_some_and(|classes| tracks_below(classes, folder));
    scan::scan(project, &class, &tracked_below, &[store.to_path_buf()])
}

fn tracks_below(classes: &Classification, folder: &[u8]) -> bool {
    let start = [folder, b"/"].concat();
    classes.tracked.range(start.clone()..).next().is_some_and(|path| path.starts_with(&start))
}
