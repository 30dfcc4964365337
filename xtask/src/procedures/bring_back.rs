//! Brings a backup back into an empty folder.
//!
//! Everything is first written into `.xtask-restore/` inside that folder and checked there; only then are
//! its parts moved to their places, which is a rename each, noted before it begins. On any error all of it is
//! taken away and the folder is empty again; after a kill the next restore into it does that (`staging`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Form, Manifest};
use crate::archive::reader::Archive;
use crate::base::durable;
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::monitor::Monitor;
use crate::base::pattern::Pattern;
use crate::base::safe_path::{SafePath, is_git_name};
use crate::project::git;

use super::extract::{self, Written};
use super::stage_database;
use super::staging::{STAGING, Staging};

/// What is wanted.
pub struct Wish<'a> {
    /// Only these; all when empty.
    pub only: &'a [Pattern],
    /// Databases from their SQL dumps instead of their page images.
    pub from_dumps: bool,
    /// Hooks and configuration that can run code, too.
    pub with_code: bool,
}

/// What was brought back.
#[derive(Debug, Default)]
pub struct Brought {
    /// Files, bytes and links written.
    pub written: Written,
    /// Databases checked and in place.
    pub databases: Vec<SafePath>,
    /// Whether git came back.
    pub git: bool,
    /// What of git was not applied because it can run code.
    pub not_applied: Vec<String>,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

impl Wish<'_> {
    /// Whether an entry is wanted, and where it goes: below the tree, or aside for git and dumps.
    pub fn wants(&self, part: &Part, is_folder: bool) -> bool {
        let chosen =
            |path: &SafePath| self.only.is_empty() || self.only.iter().any(|p| p.covers(path, is_folder));
        match part {
            Part::File(path) | Part::Raw(path) => chosen(path),
            Part::Image(path) => chosen(path) && !self.from_dumps,
            Part::Dump(path) => chosen(path) && self.from_dumps,
            Part::Git(_) => self.only.is_empty(),
            Part::Frame => false,
        }
    }
}

/// Brings back what is wanted into `target`, which must be empty or absent.
///
/// # Errors
/// When the target is not empty, the archive is damaged, a database fails its checks, or the disk is full;
/// the target is then as it was.
pub fn bring_back(
    archive: &Archive,
    manifest: &Manifest,
    target: &Path,
    wish: &Wish<'_>,
    monitor: &dyn Monitor,
) -> Result<Brought> {
    let staging = Staging::begin(target)?;
    match fill(archive, manifest, target, &staging, wish, monitor) {
        Ok(brought) => {
            staging.finish()?;
            durable::sync_tree(target)?;
            Ok(brought)
        }
        Err(error) => {
            // The error that led here says more than one of cleaning up would.
            let _ = staging.roll_back();
            Err(error)
        }
    }
}

fn fill(
    archive: &Archive,
    manifest: &Manifest,
    target: &Path,
    staging: &Staging,
    wish: &Wish<'_>,
    monitor: &dyn Monitor,
) -> Result<Brought> {
    let work = staging.work();
    let (tree, git_folder) = (work.join("tree"), work.join("git"));
    for folder in [&tree, &git_folder] {
        file_facts::create_private_dir(folder)?;
    }
    let above = folders_above(archive, wish);
    let mapping = |entry: &Entry| {
        let is_folder = matches!(entry.kind, crate::archive::header::Kind::Folder);
        let part = layout::part(&entry.meta.path, is_folder);
        let leads_there = is_folder && matches!(&part, Part::File(path) if above.contains(path));
        if !leads_there && !wish.wants(&part, is_folder) {
            return None;
        }
        match part {
            Part::File(path) | Part::Raw(path) => Some((tree.as_path(), path)),
            // Each database on its own, later: its image may be damaged where its dump is not.
            Part::Image(_) | Part::Dump(_) => None,
            Part::Git(path) => Some((git_folder.as_path(), path)),
            Part::Frame => None,
        }
    };
    refuse_git_files(archive)?;
    refuse_strangers(archive, manifest)?;
    let total: u64 = archive.index().entries.iter().filter(|e| mapping(e).is_some()).map(size).sum();
    monitor.step("restoring", Some(total));
    let mut extracted = extract::extract(archive, &mapping, monitor)?;
    let mut brought = Brought::default();
    bring_databases(archive, manifest, &tree, wish, &mut brought, monitor)?;
    if wish.only.is_empty()
        && let Some(facts) = &manifest.git
    {
        monitor.step("restoring git", None);
        let put = git::put_back(&git_folder, facts, &tree, wish.with_code).context("can't restore git")?;
        brought.findings.extend(put.findings);
        brought.not_applied = put.not_applied;
        brought.git = true;
    }
    anything_there(&tree, wish, manifest)?;
    extracted.make_links()?;
    brought.written.add(extracted.written);
    brought.findings.extend(disowned(brought.written.disowned));
    monitor.step("syncing", None);
    durable::sync_tree(work).context("can't sync the restored files")?;
    settle(target, staging, &tree)?;
    extracted.finish_folders(&tree, target)?;
    durable::sync_tree(target).context("can't sync the restored files")?;
    Ok(brought)
}

/// Databases, below `tree`.
fn bring_databases(
    archive: &Archive,
    manifest: &Manifest,
    tree: &Path,
    wish: &Wish<'_>,
    brought: &mut Brought,
    monitor: &dyn Monitor,
) -> Result<()> {
    let wanted =
        |database: &Database, part: fn(SafePath) -> Part| wish.wants(&part(database.path.clone()), false);
    let is_staged = |database: &&Database| {
        database.form != Form::Raw && (wanted(database, Part::Image) || wanted(database, Part::Dump))
    };
    let wanted_staged: Vec<&Database> = manifest.databases.iter().filter(is_staged).collect();
    if !wanted_staged.is_empty() {
        let all = stage_database::stage_all(archive, &wanted_staged, wish.from_dumps, tree, monitor)?;
        for (database, staged) in wanted_staged.iter().zip(all) {
            file_facts::set_mode(&database.path.below(tree)?, database.mode)?;
            brought.findings.extend(staged.findings);
            brought.written.add(staged.written);
        }
    }
    for database in &manifest.databases {
        if database.form == Form::Raw && wanted(database, Part::Raw) {
            brought.findings.push(stage_database::unreadable(database));
            brought.databases.push(database.path.clone());
        } else if is_staged(&database) {
            brought.databases.push(database.path.clone());
        }
    }
    Ok(())
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        crate::archive::header::Kind::File { size } => size,
        _ => 0,
    }
}

/// `files/` never holds anything of git; an archive in which it does wants to run code. And databases are
/// files: a link in the place of one could be made below a link among the files, which leads outside.
///
/// # Errors
/// Names the first such path.
pub fn refuse_git_files(archive: &Archive) -> Result<()> {
    for entry in &archive.index().entries {
        let part = layout::part(&entry.meta.path, false);
        if matches!(part, Part::Image(_) | Part::Dump(_) | Part::Raw(_))
            && matches!(entry.kind, crate::archive::header::Kind::Link { .. })
        {
            let path = &entry.meta.path;
            let message = format!("the archive {} holds {path} as a link", archive.path().display());
            return Err(Failure::new(Kind::Refused, message)
                .hint("no backup of this tool does; don't use it")
                .into());
        }
        let (Part::File(path) | Part::Image(path) | Part::Dump(path) | Part::Raw(path)) = part else {
            continue;
        };
        if path.parts().any(is_git_name) || path.parts().next() == Some(STAGING.as_bytes()) {
            let message = format!("the archive {} holds {path} among the files", archive.path().display());
            return Err(Failure::new(Kind::Refused, message)
                .hint("no backup of this tool does; don't use it")
                .into());
        }
    }
    Ok(())
}

/// What the archive holds of databases must be what its manifest tells of: nothing else is taken out of it.
///
/// # Errors
/// Names the first that is not.
pub fn refuse_strangers(archive: &Archive, manifest: &Manifest) -> Result<()> {
    let mut known = BTreeSet::new();
    for database in &manifest.databases {
        known.extend(stage_database::files(&database.path)?);
    }
    for entry in &archive.index().entries {
        let is_folder = matches!(entry.kind, crate::archive::header::Kind::Folder);
        let (Part::Image(path) | Part::Dump(path) | Part::Raw(path)) =
            layout::part(&entry.meta.path, is_folder)
        else {
            continue;
        };
        if !known.contains(&path) {
            let place = &entry.meta.path;
            let message =
                format!("the archive {} holds {place}, and its manifest does not", archive.path().display());
            return Err(Failure::new(Kind::Refused, message)
                .hint("no backup of this tool does; don't use it")
                .into());
        }
    }
    Ok(())
}

/// The folders above what is wanted: they come back with the mode and the owner that they had, so that what
/// was private in them stays so.
fn folders_above(archive: &Archive, wish: &Wish<'_>) -> BTreeSet<SafePath> {
    let mut above = BTreeSet::new();
    if wish.only.is_empty() {
        return above;
    }
    for entry in &archive.index().entries {
        let is_folder = matches!(entry.kind, crate::archive::header::Kind::Folder);
        let part = layout::part(&entry.meta.path, is_folder);
        if !wish.wants(&part, is_folder) {
            continue;
        }
        let (Part::File(path) | Part::Raw(path) | Part::Image(path) | Part::Dump(path)) = part else {
            continue;
        };
        let mut folder = path.parent();
        while let Some(path) = folder {
            folder = path.parent();
            if !above.insert(path) {
                break;
            }
        }
    }
    above
}

fn disowned(count: u64) -> Option<Finding> {
    let message = format!("files that belong to you now, because their owner is not known here: {count}");
    (count > 0)
        .then(|| Finding::advice("owner", message).hint("give them away with chown where that matters"))
}

fn anything_there(tree: &Path, wish: &Wish<'_>, manifest: &Manifest) -> Result<()> {
    if wish.only.is_empty() || fs::read_dir(tree)?.next().is_some() {
        return Ok(());
    }
    let message = format!("nothing in backup {} matches --only", manifest.id);
    let hint = format!("see what it holds: cargo xtask restore {} --to DIR --dry-run", manifest.id);
    Err(Failure::new(Kind::NotFound, message).hint(hint).into())
}

/// Moves what is staged to its place; a rename each, within one file system.
fn settle(target: &Path, staging: &Staging, tree: &Path) -> Result<()> {
    let names = fs::read_dir(tree)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>>>()
        .with_context(|| format!("can't read {}", tree.display()))?;
    for name in &names {
        let to = target.join(name);
        anyhow::ensure!(!crate::base::links::exists(&to)?, "{} appeared meanwhile", to.display());
    }
    staging.note(&names)?;
    for name in &names {
        let to = target.join(name);
        fs::rename(tree.join(name), &to)
            .with_context(|| format!("can't move {} to its place", to.display()))?;
    }
    Ok(())
}
