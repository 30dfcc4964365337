//! What lies in the project now, as far as it can be compared with what is wanted. Files are read only where
//! their size leaves it open whether they are the same, and no database is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};

use super::scope::Scope;
use super::stage_database;
use super::survey;
use super::wanted::Wanted;
use crate::base::digest::Digest;
use crate::base::file_facts::{self, Identity};
use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf, Tree};
use crate::base::{interrupt, links};
use crate::project::git::Opened;
use crate::project::root::Project;
use crate::project::scan::{Class, EntryKind, Scan};

/// What is there.
pub struct Present {
    /// Files, links and folders. Databases are not among them, unless something else is wanted in their place.
    pub tree: Tree,
    /// What tells whether each is still the same later.
    pub identities: BTreeMap<SafePath, Identity>,
    /// The databases.
    pub databases: Vec<SafePath>,
    /// Those that are in no backup, since the configuration leaves them out.
    pub other_databases: Vec<SafePath>,
    /// Of the tree, files and links that git ignores.
    pub ignored: BTreeSet<SafePath>,
    /// What a backup would leave out and this restore replaces, so that the safety copy must hold it.
    pub also: BTreeSet<SafePath>,
    /// What no backup holds.
    pub untouched: Vec<SafePath>,
    /// What the survey found.
    pub findings: Vec<Finding>,
}

/// What the survey tells, before anything is compared.
pub struct Seen(Scan);

/// Walks the project.
///
/// # Errors
/// When it can't be read, or the user asked to stop.
pub fn see(project: &Project, store: &Path, opened: &Opened) -> Result<Seen> {
    let mut findings = Vec::new();
    let mut scan = survey::survey(project, store, opened, &BTreeSet::new(), &|_, _| false, &mut findings)?;
    findings.append(&mut scan.findings);
    scan.findings = findings;
    Ok(Seen(scan))
}

/// Compares what was seen with what is wanted.
///
/// # Errors
/// When something can't be read, or the user asked to stop.
pub fn present(project: &Project, seen: Seen, wanted: &Wanted<'_>, scope: &Scope) -> Result<Present> {
    let Seen(scan) = seen;
    let findings = scan.findings;
    let mut present = Present {
        tree: Tree::new(),
        identities: BTreeMap::new(),
        ignored: BTreeSet::new(),
        also: BTreeSet::new(),
        untouched: scan.left_out.into_iter().map(|left| left.path).collect(),
        databases: scan.databases,
        other_databases: scan.other_databases,
        findings: Vec::new(),
    };
    // What a backup can't hold is told with its path.
    let problems = findings.iter().filter(|finding| finding.is_problem());
    present.untouched.extend(problems.filter_map(|finding| finding.path.clone()));
    present.findings = findings;
    for entry in scan.entries {
        // A database that is damaged so badly that it looks like none.
        if wanted.database_files.contains(&entry.path) && entry.kind != EntryKind::Folder {
            continue;
        }
        let kind = match entry.kind {
            EntryKind::Folder => Kind::Folder,
            EntryKind::Link { target } => Kind::Link { target },
            EntryKind::File => file(&project.root, &entry.path, &entry.identity, wanted)?,
        };
        if entry.class == Class::Ignored && kind != Kind::Folder {
            present.ignored.insert(entry.path.clone());
        }
        present.tree.insert(entry.path.clone(), Leaf { kind, mode: entry.attributes.mode });
        present.identities.insert(entry.path, entry.identity);
    }
    let named = match scope {
        Scope::Paths(paths) => Some(paths),
        Scope::All | Scope::Only(_) => None,
    };
    for path in wanted.tree.keys().chain(named.into_iter().flatten()) {
        let is_database = present.databases.binary_search(path).is_ok() && !wanted.tree.contains_key(path);
        if !present.tree.contains_key(path) && !wanted.database_files.contains(path) && !is_database {
            present.look_again(&project.root, path, wanted)?;
        }
    }
    Ok(present)
}

impl Present {
    /// Adds what the survey left out, or took for a database, where something else is wanted, or nothing.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn look_again(&mut self, root: &Path, path: &SafePath, wanted: &Wanted<'_>) -> Result<()> {
        let place = path.below(root)?;
        if links::leads_elsewhere(root, path)? || !links::exists(&place)? {
            return Ok(());
        }
        let meta = fs::symlink_metadata(&place).with_context(|| format!("can't read {}", place.display()))?;
        let (attributes, identity) = (file_facts::attributes(&meta), file_facts::identity(&meta));
        let is_database = self.databases.binary_search(path).is_ok();
        let kind = if meta.is_dir() {
            Kind::Folder
        } else if meta.is_symlink() {
            Kind::Link { target: links::read(&place)? }
        } else if is_database {
            Kind::File { size: meta.len(), digest: None }
        } else {
            file(root, path, &identity, wanted)?
        };
        if !is_database && kind != Kind::Folder {
            self.also.insert(path.clone());
        }
        self.tree.insert(path.clone(), Leaf { kind, mode: attributes.mode });
        self.identities.insert(path.clone(), identity);
        Ok(())
    }

    /// All databases, ordered by path.
    pub fn all_databases(&self) -> Vec<SafePath> {
        let mut all: Vec<SafePath> = self.databases.iter().chain(&self.other_databases).cloned().collect();
        all.sort();
        all
    }

    /// Takes a path out of what is compared.
    pub fn forget(&mut self, path: &SafePath) {
        self.tree.remove(path);
        self.identities.remove(path);
        self.also.remove(path);
    }

    /// The files beside those databases in whose place something else is wanted, or nothing.
    ///
    /// # Errors
    /// When a path is too odd for that, or the project can't be read.
    pub fn side_files(&self, root: &Path, database: &SafePath) -> Result<Vec<SafePath>> {
        let mut there = Vec::new();
        for path in stage_database::files(database)?.into_iter().skip(1) {
            if links::exists(&path.below(root)?)? {
                there.push(path);
            }
        }
        Ok(there)
    }
}

/// A regular file; its digest only where it could be the one that is wanted.
fn file(root: &Path, path: &SafePath, identity: &Identity, wanted: &Wanted<'_>) -> Result<Kind> {
    interrupt::check()?;
    let size = identity.size;
    let open = match wanted.tree.get(path).map(|leaf| &leaf.kind) {
        Some(Kind::File { size: other, .. }) => *other == size,
        _ => false,
    };
    let place = path.below(root)?;
    let read = || -> std::io::Result<Option<Digest>> {
        let file = file_facts::open_itself(&place)?;
        let (digest, _) = Digest::of_reader(&mut BufReader::with_capacity(256 << 10, &file))?;
        Ok((file_facts::identity(&file.metadata()?) == *identity).then_some(digest))
    };
    // One that can't be read, or changes meanwhile, counts as another.
    let digest = if open { read().unwrap_or_default() } else { None };
    Ok(Kind::File { size, digest })
}
