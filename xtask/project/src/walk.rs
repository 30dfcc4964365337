//! The walk itself: one folder after the other, and for each thing in it the decision whether it is taken.
//!
//! A folder is listed completely before anything in it is decided, because a database's side files are
//! known only by the database beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::left_out::Ledger;
use super::root::{Project, canonical};
use super::scan::{Class, ClassOf, Entry, EntryKind, IsPlain, TrackedBelow};
use super::{caches, databases, remarks};
use crate::base::failure::{Failure, Kind};
use crate::base::finding::Finding;
use crate::base::safe_path::{SafePath, is_git_name};
use crate::base::{file_facts, interrupt, links, os_name};

/// Where restores are staged.
pub(super) const STAGING: &[u8] = b".xtask-restore";

/// What the walk found.
#[derive(Default)]
pub struct Walked {
    pub entries: Vec<Entry>,
    pub databases: Vec<SafePath>,
    /// Databases that are not saved: left out by the configuration, or not in its list.
    pub other_databases: Vec<SafePath>,
    /// Folders that are entries only if something in them is.
    pub conditional: BTreeSet<SafePath>,
    pub ledger: Ledger,
    pub findings: Vec<Finding>,
}

/// A folder that waits to be listed.
#[derive(Clone, Default)]
struct Place {
    /// `None` at the top.
    path: Option<SafePath>,
    on_disk: PathBuf,
    /// The cache folder around it, of which only tracked files are taken.
    cache: Option<SafePath>,
    /// The topmost ignored folder around it.
    ignored: Option<SafePath>,
}

/// One thing in a folder.
struct Item {
    path: SafePath,
    on_disk: PathBuf,
    meta: Metadata,
    is_database: bool,
    /// Why it can't be read.
    unreadable: Option<io::Error>,
}

struct Walk<'a> {
    project: &'a Project,
    class: &'a ClassOf<'a>,
    tracked_below: &'a TrackedBelow<'a>,
    is_plain: &'a IsPlain<'a>,
    skip: Vec<PathBuf>,
    configured: Option<BTreeSet<&'a SafePath>>,
    waiting: Vec<Place>,
    found: Walked,
    ignored_bytes: BTreeMap<SafePath, u64>,
    excluded_tracked: Vec<SafePath>,
}

/// Walks everything.
///
/// # Errors
/// When the root can't be read, or the user interrupts.
pub fn walk<'a>(
    project: &'a Project,
    class: &'a ClassOf<'a>,
    tracked_below: &'a TrackedBelow<'a>,
    is_plain: &'a IsPlain<'a>,
    skip: &[PathBuf],
) -> Result<Walked> {
    // A folder that is not there yet can't be met on the way.
    let skip: Vec<PathBuf> = skip.iter().filter_map(|path| canonical(path).ok()).collect();
    if skip.contains(&project.root) {
        let text =
            format!("{} can't be both the project and the store of its backups", project.root.display());
        return Err(Failure::new(Kind::Usage, text).hint("name another folder with --store DIR").into());
    }
    let root = Place { on_disk: project.root.clone(), ..Place::default() };
    let mut walk = Walk {
        project,
        class,
        tracked_below,
        is_plain,
        skip,
        configured: project.config.databases.as_ref().map(|list| list.iter().collect()),
        waiting: vec![root],
        found: Walked::default(),
        ignored_bytes: BTreeMap::new(),
        excluded_tracked: Vec::new(),
    };
    fs::read_dir(&project.root).with_context(|| format!("can't read {}", project.root.display()))?;
    while let Some(place) = walk.waiting.pop() {
        interrupt::check()?;
        walk.visit(&place)?;
    }
    walk.advise();
    Ok(walk.found)
}

impl Walk<'_> {
    fn visit(&mut self, place: &Place) -> Result<()> {
        let mut items = self.list(place);
        items.sort_by(|a, b| a.path.cmp(&b.path));
        for item in &mut items {
            match self.is_database(place, item) {
                Ok(answer) => item.is_database = answer,
                Err(error) => item.unreadable = Some(error),
            }
        }
        let here: Vec<SafePath> = items.iter().filter(|i| i.is_database).map(|i| i.path.clone()).collect();
        let sidecars = databases::sidecars(&here);
        for item in items {
            if item.meta.is_dir() {
                self.folder(place, item)?;
            } else if !sidecars.contains(&item.path) {
                self.other(place, item);
            }
        }
        Ok(())
    }

    /// What is in a folder, `.git` and what else is never part of a backup left away.
    fn list(&mut self, place: &Place) -> Vec<Item> {
        let entries = match fs::read_dir(&place.on_disk) {
            Ok(entries) => entries,
            Err(error) => {
                self.unreadable(place.path.as_ref(), &error.into());
                return Vec::new();
            }
        };
        let mut items = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.unreadable(place.path.as_ref(), &error.into());
                    break;
                }
            };
            let path = os_name::from_os(&entry.file_name()).and_then(|name| match &place.path {
                Some(folder) => folder.join(&name),
                None => SafePath::new(name),
            });
            let path = match path {
                Ok(path) => path,
                Err(error) => {
                    self.found.findings.push(remarks::bad_name(&entry.path(), &error));
                    continue;
                }
            };
            if path.name() == b".git" {
                self.nested_git(place, &path);
                continue;
            }
            if is_git_name(path.name()) {
                // Restored on another system it would be a repository that runs code: no archive may hold it.
                self.found.findings.push(remarks::like_git(&path));
                continue;
            }
            if place.path.is_none() && path.bytes() == STAGING {
                continue;
            }
            match entry.metadata() {
                Ok(meta) => items.push(Item {
                    path,
                    on_disk: entry.path(),
                    meta,
                    is_database: false,
                    unreadable: None,
                }),
                // Gone since the folder was listed: it is not part of this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(Some(&path), &error.into()),
            }
        }
        items
    }

    fn nested_git(&mut self, place: &Place, path: &SafePath) {
        let Some(folder) = &place.path else { return };
        if place.cache.is_some() || (place.ignored.is_some() && !self.project.config.ignored) {
            return; // its working files are left out as well, and counted there
        }
        self.found.ledger.folder("nested-git", path, 0, 0);
        self.found.findings.push(remarks::nested_git(folder));
    }

    fn is_database(&mut self, place: &Place, item: &Item) -> io::Result<bool> {
        if !item.meta.is_file() {
            return Ok(false);
        }
        if self.configured.as_ref().is_some_and(|list| list.contains(&item.path)) {
            return Ok(true);
        }
        let only_tracked = place.cache.is_some();
        if only_tracked && (self.class)(item.path.bytes(), false) != Class::Tracked {
            return Ok(false);
        }
        if (self.is_plain)(&item.path, &file_facts::identity(&item.meta)) {
            return Ok(false);
        }
        databases::has_header(&item.on_disk, item.meta.len())
    }

    fn excluded(&self, path: &SafePath, is_folder: bool) -> bool {
        self.project.config.exclude.iter().any(|pattern| pattern.matches(path.bytes(), is_folder))
    }

    fn folder(&mut self, place: &Place, item: Item) -> Result<()> {
        let path = item.path;
        if self.skip.contains(&item.on_disk) {
            self.found.ledger.folder("store", &path, 0, 0);
            self.found.findings.push(remarks::store_in_project(&path));
            return Ok(());
        }
        if self.excluded(&path, true) {
            let count = caches::count(&item.on_disk, &path, true)?;
            self.found.ledger.folder("excluded", &path, count.files, count.bytes);
            for database in count.databases {
                self.excluded_database(&database);
            }
            if (self.tracked_below)(path.bytes()) {
                self.excluded_tracked.push(path);
            }
            return Ok(());
        }
        let mut inner = Place { path: Some(path.clone()), on_disk: item.on_disk, ..place.clone() };
        if inner.cache.is_none() && caches::is_cache(&inner.on_disk, path.name()) {
            inner.cache = Some(path.clone());
        }
        if let Some(cache) = &inner.cache
            && !(self.tracked_below)(path.bytes())
        {
            let count = caches::count(&inner.on_disk, &path, false)?;
            self.found.ledger.folder("cache", cache, count.files, count.bytes);
            return Ok(());
        }
        let class = (self.class)(path.bytes(), true);
        if inner.ignored.is_none() && class == Class::Ignored {
            inner.ignored = Some(path.clone());
        }
        if inner.cache.is_some() || (inner.ignored.is_some() && !self.project.config.ignored) {
            self.found.conditional.insert(path.clone());
        }
        self.add(path, EntryKind::Folder, &item.meta, class);
        self.waiting.push(inner);
        Ok(())
    }

    /// A file, a link or something special.
    fn other(&mut self, place: &Place, item: Item) {
        let (path, size) = (&item.path, item.meta.len());
        let class = (self.class)(path.bytes(), false);
        if item.meta.is_file() && self.configured.as_ref().is_some_and(|list| list.contains(path)) {
            return; // looked at after the walk, wherever it is
        }
        if self.excluded(path, false) {
            self.found.ledger.among_others("excluded", path, size);
            if item.is_database {
                self.excluded_database(path);
            } else if class == Class::Tracked {
                self.excluded_tracked.push(path.clone());
            }
            return;
        }
        if let Some(cache) = place.cache.as_ref().filter(|_| class != Class::Tracked) {
            return self.found.ledger.folder("cache", cache, 1, size);
        }
        if item.is_database {
            return self.database(item.path);
        }
        let ignored = class == Class::Ignored;
        if ignored && !self.project.config.ignored {
            return match &place.ignored {
                Some(top) => self.found.ledger.folder("ignored", top, 1, size),
                None => self.found.ledger.among_others("ignored", path, size),
            };
        }
        if item.meta.is_symlink() {
            match links::read(&item.on_disk) {
                Ok(target) => self.add(item.path, EntryKind::Link { target }, &item.meta, class),
                Err(error) => self.unreadable(Some(path), &error),
            }
        } else if !item.meta.is_file() {
            self.found.ledger.file("special", path, 0);
            self.found.findings.push(remarks::special_file(path));
        } else if ignored && size > self.project.config.max_ignored_size {
            self.found.ledger.file("large-ignored", path, size);
        } else if let Some(error) = item.unreadable {
            self.unreadable(Some(path), &error.into());
        } else {
            if ignored {
                let group = place.ignored.clone().or_else(|| path.parent()).unwrap_or_else(|| path.clone());
                *self.ignored_bytes.entry(group).or_default() += size;
            }
            self.add(item.path, EntryKind::File, &item.meta, class);
        }
    }

    fn database(&mut self, path: SafePath) {
        if self.configured.is_none() {
            return self.found.databases.push(path);
        }
        self.found.findings.push(remarks::database_not_listed(&path));
        self.found.other_databases.push(path);
    }

    fn excluded_database(&mut self, path: &SafePath) {
        if self.configured.as_ref().is_some_and(|list| list.contains(path)) {
            return; // the list wins
        }
        self.found.findings.push(remarks::excluded_database(path));
        self.found.other_databases.push(path.clone());
    }

    fn add(&mut self, path: SafePath, kind: EntryKind, meta: &Metadata, class: Class) {
        let (attributes, identity) = (file_facts::attributes(meta), file_facts::identity(meta));
        self.found.entries.push(Entry { path, kind, attributes, identity, class });
    }

    fn unreadable(&mut self, path: Option<&SafePath>, error: &anyhow::Error) {
        self.found.findings.push(remarks::unreadable(path, error));
    }

    /// What only the whole tells.
    fn advise(&mut self) {
        self.found.findings.extend(remarks::excluded_tracked(&self.excluded_tracked));
        self.found.findings.extend(remarks::much_ignored(&self.ignored_bytes));
    }
}
