//! Brings a backup back into an empty folder.
//!
//! Everything is first written into `.xtask-restore/` inside that folder and checked there; only then are
//! its parts moved to their places, which is a rename each. On any error the staging is removed and the
//! folder is empty again; after a kill the next restore into it removes the remains itself.

use std::fs;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Form, Manifest};
use crate::archive::reader::Archive;
use crate::base::digest::Digest;
use crate::base::durable;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::monitor::Monitor;
use crate::base::pattern::Pattern;
use crate::base::safe_path::SafePath;
use crate::project::git;
use crate::sqlite::{check, facts, load};

use super::extract::{self, Written};
use super::prove;

/// Where everything is staged, at the root of the target.
pub const STAGING: &str = ".xtask-restore";

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
    // The folders that are not there yet, the innermost first.
    let missing: Vec<&Path> = target.ancestors().take_while(|folder| !folder.exists()).collect();
    let staging = target.join(STAGING);
    let prepared = prepare(target);
    let began = prepared.is_ok();
    let outcome = prepared.and_then(|()| fill(archive, manifest, target, &staging, wish, monitor));
    if outcome.is_err() {
        // The error that led here says more than one of cleaning up would. A staging that was there in a
        // folder that was refused is somebody else's.
        let _ = clear(began.then_some(staging.as_path()), &missing);
    }
    outcome
}

/// Makes the target and the staging in it; refuses a target with something in it.
fn prepare(target: &Path) -> Result<()> {
    match fs::read_dir(target) {
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name();
                if name != STAGING {
                    let message =
                        format!("the folder {} is not empty: it holds {}", target.display(), name.display());
                    return Err(Failure::new(Kind::Refused, message)
                        .hint("name a new or an empty folder")
                        .into());
                }
            }
            let staging = target.join(STAGING);
            if staging.exists() {
                // What a killed restore left; nothing else makes such a folder in an otherwise empty one.
                fs::remove_dir_all(&staging)
                    .with_context(|| format!("can't remove {}", staging.display()))?;
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(target)
                .with_context(|| format!("can't make the folder {}", target.display()))
                .hint("name a folder that you may write in")?;
        }
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("can't restore into {}", target.display())))
            .hint("name a new or an empty folder");
        }
    }
    file_facts::create_private_dir(&target.join(STAGING))
        .with_context(|| format!("can't write in {}", target.display()))
        .hint("name a folder that you may write in")
}

/// Removes the staging and the folders that were made for it, as far as they are empty.
fn clear(staging: Option<&Path>, made: &[&Path]) -> Result<()> {
    if let Some(staging) = staging {
        prove::remove_tree(staging)?;
    }
    for folder in made {
        fs::remove_dir(folder)?;
    }
    Ok(())
}

fn fill(
    archive: &Archive,
    manifest: &Manifest,
    target: &Path,
    staging: &Path,
    wish: &Wish<'_>,
    monitor: &dyn Monitor,
) -> Result<Brought> {
    let (tree, git_folder, dumps) = (staging.join("tree"), staging.join("git"), staging.join("sql"));
    for folder in [&tree, &git_folder, &dumps] {
        file_facts::create_private_dir(folder)?;
    }
    let mapping = |entry: &Entry| {
        let is_folder = matches!(entry.kind, crate::archive::header::Kind::Folder);
        let part = layout::part(&entry.meta.path, is_folder);
        if !wish.wants(&part, is_folder) {
            return None;
        }
        match part {
            Part::File(path) | Part::Image(path) | Part::Raw(path) => Some((tree.as_path(), path)),
            Part::Dump(path) => Some((dumps.as_path(), path)),
            Part::Git(path) => Some((git_folder.as_path(), path)),
            Part::Frame => None,
        }
    };
    refuse_git_files(archive)?;
    let total: u64 = archive.index().entries.iter().filter(|e| mapping(e).is_some()).map(size).sum();
    monitor.step("restoring", Some(total));
    let extracted = extract::extract(archive, &mapping, monitor)?;
    let mut brought = Brought { written: extracted.written, ..Brought::default() };
    for database in &manifest.databases {
        let path = database.path.below(&tree)?;
        if wish.from_dumps && wish.wants(&Part::Dump(database.path.clone()), false) {
            load_dump(database, &dumps, &path, monitor)?;
            file_facts::set_mode(&path, database.mode)?;
            brought.databases.push(database.path.clone());
        } else if wish.wants(&Part::Image(database.path.clone()), false) {
            monitor.step("checking databases", None);
            brought.findings.extend(check_image(database, &path)?);
            brought.databases.push(database.path.clone());
        }
    }
    if wish.only.is_empty() {
        if let Some(facts) = &manifest.git {
            monitor.step("restoring git", None);
            let put =
                git::put_back(&git_folder, facts, &tree, wish.with_code).context("can't restore git")?;
            brought.findings.extend(put.findings);
            brought.not_applied = put.not_applied;
            brought.git = true;
        }
    }
    anything_there(&tree, wish, manifest)?;
    extracted.make_links()?;
    monitor.step("syncing", None);
    durable::sync_tree(staging).context("can't sync the restored files")?;
    settle(target, staging, &tree)?;
    extracted.finish_folders(&tree, target)?;
    fs::remove_dir_all(staging).with_context(|| format!("can't remove {}", staging.display()))?;
    durable::sync_tree(target)?;
    Ok(brought)
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        crate::archive::header::Kind::File { size } => size,
        _ => 0,
    }
}

/// `files/` never holds anything of git; an archive in which it does wants to run code.
fn refuse_git_files(archive: &Archive) -> Result<()> {
    for entry in &archive.index().entries {
        let (Part::File(path) | Part::Image(path) | Part::Raw(path)) = layout::part(&entry.meta.path, false)
        else {
            continue;
        };
        let of_git = |part: &[u8]| {
            let plain = part.to_ascii_lowercase();
            // What Windows and macOS take for the same name.
            matches!(plain.as_slice(), b".git" | b"git~1")
        };
        if path.parts().any(of_git) || path.parts().next() == Some(STAGING.as_bytes()) {
            let message = format!("the archive {} holds {path} among the files", archive.path().display());
            return Err(Failure::new(Kind::Refused, message)
                .hint("no backup of this tool does; don't use it")
                .into());
        }
    }
    Ok(())
}

fn anything_there(tree: &Path, wish: &Wish<'_>, manifest: &Manifest) -> Result<()> {
    if wish.only.is_empty() || fs::read_dir(tree)?.next().is_some() {
        return Ok(());
    }
    let message = format!("nothing in backup {} matches --only", manifest.id);
    let hint = format!("see what it holds: cargo xtask restore {} --to DIR --dry-run", manifest.id);
    Err(Failure::new(Kind::NotFound, message).hint(hint).into())
}

/// Whether the image that was extracted is sound and the one that was saved. Damage that the manifest
/// already tells of comes back as it was, as a problem.
fn check_image(database: &Database, path: &Path) -> Result<Option<Finding>> {
    if database.form == Form::Raw {
        let finding = Finding::problem(
            "database-unreadable",
            "SQLite could not open it; its files are back as they were",
        );
        return Ok(Some(
            finding.at(&database.path).hint("bring it back from an earlier backup: cargo xtask list"),
        ));
    }
    let (digest, _) = Digest::of_reader(&mut BufReader::with_capacity(1 << 20, fs::File::open(path)?))?;
    anyhow::ensure!(
        Some(digest) == database.image,
        "the image of {} is not the one in the manifest",
        database.path
    );
    let report = check::check(path)?;
    if !database.damage.is_empty() {
        let finding =
            Finding::problem("database-damaged", "it was damaged when it was saved and is back as it was");
        return Ok(Some(
            finding.at(&database.path).hint("bring it back from an earlier backup: cargo xtask list"),
        ));
    }
    if let Some(damage) = report.damage.first() {
        anyhow::bail!("the restored database {} is damaged: {damage}", database.path);
    }
    same_content(database, path)?;
    Ok(None)
}

/// Integrity is not identity: the rows must be those of the manifest.
fn same_content(database: &Database, path: &Path) -> Result<()> {
    let Some(saved) = &database.facts else { return Ok(()) };
    let now = facts::facts(path)?;
    for table in &saved.tables {
        let rows = now.tables.iter().find(|t| t.name == table.name).map_or(0, |t| t.rows);
        anyhow::ensure!(
            rows == table.rows,
            "the restored database {} has {rows} rows in {}, not {}",
            database.path,
            table.name,
            table.rows
        );
    }
    anyhow::ensure!(
        now.logical == saved.logical,
        "the restored database {} does not hold the saved values",
        database.path
    );
    Ok(())
}

/// Builds a database from its dump and holds it against the manifest.
pub fn load_dump(database: &Database, dumps: &Path, to: &Path, monitor: &dyn Monitor) -> Result<()> {
    if !database.dump {
        let message = format!("the backup has no SQL dump of {}", database.path);
        return Err(Failure::new(Kind::Failed, message).hint("restore it without --sql-only").into());
    }
    monitor.step("loading dumps", None);
    let dump = database.path.below(dumps)?;
    let mut reader = BufReader::with_capacity(256 << 10, fs::File::open(&dump)?);
    fs::create_dir_all(to.parent().context("a database has a folder")?)?;
    load::load(&mut reader, to).with_context(|| format!("can't load the dump of {}", database.path))?;
    if let Some(damage) = check::check(to)?.damage.first() {
        anyhow::bail!("the database loaded from the dump of {} is damaged: {damage}", database.path);
    }
    same_content(database, to)
}

/// Moves what is staged to its place; a rename each, within one file system.
fn settle(target: &Path, staging: &Path, tree: &Path) -> Result<()> {
    let mut moved: Vec<PathBuf> = Vec::new();
    let mut move_all = || -> Result<()> {
        for entry in fs::read_dir(tree)? {
            let entry = entry?;
            let to = target.join(entry.file_name());
            anyhow::ensure!(!crate::base::links::exists(&to)?, "{} appeared meanwhile", to.display());
            fs::rename(entry.path(), &to)
                .with_context(|| format!("can't move {} to its place", to.display()))?;
            moved.push(to);
        }
        Ok(())
    };
    let outcome = move_all();
    if outcome.is_err() {
        for path in moved {
            if let Some(name) = path.file_name() {
                // Best effort on the way out with another error: what can't go back is named by it.
                let _ = fs::rename(&path, staging.join(name));
            }
        }
    }
    outcome
}
