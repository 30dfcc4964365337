//! What has changed in the project since a backup was taken. Files are compared by size and time alone, so that
//! asking is cheap: no archive is unpacked, and no database opened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::survey;
use crate::archive::header::Kind;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::safe_path::SafePath;
use crate::project::git::{self, Opened};
use crate::project::root::Project;
use crate::project::scan::{EntryKind, Scan};

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
/// As [`survey::survey`].
pub fn scan_now(project: &Project, store: &Path) -> Result<Scan> {
    let mut findings = Vec::new();
    let opened = git::open(&project.root).unwrap_or_else(|error| Opened::Refused {
        reason: format!("git can't be read: {error:#}"),
        hint: "see what `git status` says".to_owned(),
    });
    let mut scan = survey::survey(project, store, &opened, &BTreeSet::new(), &|_, _| false, &mut findings)?;
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
