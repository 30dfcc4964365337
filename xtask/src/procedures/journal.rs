//! The journal of a restore over a living project: everything that it is about to do, written and synced
//! before the first step. Each step can be seen from what lies where, so nothing is noted between them, and
//! going through all of them again changes nothing that is done already. So a killed restore can be finished
//! from its journal alone, or taken back.
//!
//! What is replaced is moved aside within the project's file system and goes only at the very end. Databases
//! that SQLite can open are written through SQLite, in transactions that commit last; beside each image lies
//! a copy of what the database was when its write lock was taken.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::rename::{self, Rename};
use super::workshop;
use crate::base::digest::Digest;
use crate::base::durable;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::links;
use crate::base::monitor::Monitor;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::sqlite::overwrite::{self, CommitFailure, Committed, Held, Obstacle};
use crate::store::undo_log::Record;

/// Its name in the workshop.
pub const NAME: &str = "journal.json";

const FORMAT: u32 = 1;

/// How long to wait for others to leave a database.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Which way the steps go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the state that is restored.
    Forward,
    /// To the state before.
    Back,
}

/// The last touch to something in the project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// A folder that came, or whatever gets other permissions.
    pub path: SafePath,
    /// Permissions that it gets.
    pub mode: u32,
    /// Permissions that it had, where it was there before.
    #[serde(default)]
    pub before: Option<u32>,
    /// Owner and group, and modification time, of a folder that came.
    #[serde(default)]
    pub came: Option<(u32, u32, i64)>,
}

/// A database that is written through SQLite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overwrite {
    /// Where it is in the project.
    pub path: SafePath,
    /// Below the workshop's run: the image that it gets.
    pub image: SafePath,
    /// Below the workshop's run: what it was when its write lock was taken.
    pub old: SafePath,
    /// Permissions that it gets, and had.
    pub mode: (u32, u32),
}

/// All that a restore does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journal {
    /// Version of this file's form.
    pub format: u32,
    /// Which backup is restored.
    pub backup: BackupId,
    /// Which way.
    pub direction: Direction,
    /// The name of the folder in the workshop where everything lies.
    pub run: String,
    /// The store that is told at the end.
    pub store: RawPath,
    /// Folders that must be writable meanwhile; among `finishes` they get their permissions back.
    pub opened: Vec<SafePath>,
    /// Renames, in their order.
    pub renames: Vec<Rename>,
    /// Databases, all committed one right after the other.
    pub databases: Vec<Overwrite>,
    /// Last touches.
    pub finishes: Vec<Finish>,
    /// What the store is told, so that it can be undone.
    pub record: Option<Record>,
}

impl Journal {
    /// One that goes forward and has no steps yet.
    pub fn new(backup: BackupId, run: String, store: RawPath) -> Journal {
        Journal {
            format: FORMAT,
            backup,
            direction: Direction::Forward,
            run,
            store,
            opened: Vec::new(),
            renames: Vec::new(),
            databases: Vec::new(),
            finishes: Vec::new(),
            record: None,
        }
    }

    /// Reads the one of a project; `None` when no restore is unfinished.
    ///
    /// # Errors
    /// When it can't be read, or a newer version of this tool wrote it.
    pub fn read(root: &Path) -> Result<Option<Journal>> {
        let path = workshop::folder(root).join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        let journal: Journal = serde_json::from_slice(&bytes)
            .with_context(|| {
                format!("the journal {} of an unfinished restore is not readable", path.display())
            })
            .hint(
                "what was replaced lies beside it, in the folder old/ of the run; nothing there is removed",
            )?;
        if journal.format > FORMAT {
            let text = format!("{} was written by a newer version of this tool", path.display());
            return Err(Failure::new(Kind::Refused, text)
                .hint("use the executable that lies in the store, in bin/")
                .into());
        }
        Ok(Some(journal))
    }

    /// Writes it; from here on the restore is finished or taken back, whatever happens.
    ///
    /// # Errors
    /// When it can't be written; then nothing has begun.
    pub fn write(&self, root: &Path) -> Result<()> {
        let folder = workshop::folder(root);
        // What it tells of must be on the disk before it is.
        durable::sync_tree(&folder.join(&self.run)).context("can't sync what is restored")?;
        durable::write(&folder.join(NAME), &serde_json::to_vec(self)?)
    }

    fn work(&self, root: &Path) -> PathBuf {
        workshop::folder(root).join(&self.run)
    }

    /// Takes all steps, those that are done already included. `held` are the databases' locks, where they are
    /// held already.
    ///
    /// # Errors
    /// The step that failed; [`Journal::back`] takes back the others.
    pub fn forward(&self, root: &Path, held: Option<Held>, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        self.open_folders(root)?;
        for step in &self.renames {
            step.forward(root, &self.work(root))?;
        }
        findings.extend(match held {
            Some(held) => self.write_held(root, held, monitor)?,
            None => self.write_again(root, monitor)?,
        });
        self.finish(root)?;
        durable::sync_tree(root).context("can't sync what was restored")?;
        Ok(findings)
    }

    /// Takes back all steps, those that were never done included.
    ///
    /// # Errors
    /// The step that can't be taken back.
    pub fn back(&self, root: &Path, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        let findings = self.unwrite(root, monitor)?;
        self.open_folders(root)?;
        for step in self.renames.iter().rev() {
            step.back(root, &self.work(root))?;
        }
        for finish in self.finishes.iter().rev() {
            let Some(before) = finish.before else { continue };
            let path = finish.path.below(root)?;
            if links::exists(&path)? {
                file_facts::set_mode(&path, before)
                    .with_context(|| format!("can't give {} its permissions back", path.display()))?;
            }
        }
        durable::sync_tree(root).context("can't sync what was taken back")?;
        Ok(findings)
    }

    /// Turns round after a step failed, and takes back the others. The journal goes when all of it is done.
    ///
    /// # Errors
    /// The step that can't be taken back; the journal stays then.
    pub fn turn_back(&mut self, root: &Path, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        self.direction = Direction::Back;
        // Where even this finds no room: killed from here on, it is finished instead, which is as good an end.
        let _ = self.write(root);
        let findings = self.back(root, monitor)?;
        if let Some(finding) = findings.first() {
            // The journal stays: what was there before lies beside it.
            bail!(
                "{}: {}",
                finding.path.as_ref().map_or_else(String::new, ToString::to_string),
                finding.message
            );
        }
        durable::remove_file(&workshop::folder(root).join(NAME))?;
        Ok(findings)
    }

    fn open_folders(&self, root: &Path) -> Result<()> {
        for folder in &self.opened {
            let path = folder.below(root)?;
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {
                    let mode = file_facts::attributes(&meta).mode;
                    file_facts::set_mode(&path, mode | 0o700)
                        .with_context(|| format!("can't make {} writable", path.display()))?;
                }
                // It is one of those that go.
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(&self, root: &Path) -> Result<()> {
        // From the inside out: a folder may lose the right to be changed.
        for finish in self.finishes.iter().rev() {
            let path = finish.path.below(root)?;
            let attempt = || -> std::io::Result<()> {
                if let Some((uid, gid, mtime_s)) = finish.came {
                    // That an owner is unknown here is told of the files.
                    let _owned = file_facts::set_owner(&path, uid, gid)?;
                    file_facts::set_folder_mtime(&path, mtime_s)?;
                }
                file_facts::set_mode(&path, finish.mode)
            };
            attempt().with_context(|| format!("can't finish {}", path.display()))?;
        }
        for database in &self.databases {
            if database.mode.0 != database.mode.1 {
                let path = database.path.below(root)?;
                file_facts::set_mode(&path, database.mode.0)
                    .with_context(|| format!("can't finish {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Writes the databases whose locks are held since their old content was copied.
    fn write_held(&self, root: &Path, mut held: Held, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        monitor.step("restoring databases", None);
        let work = self.work(root);
        for database in &self.databases {
            held.write(&database.path, &database.image.below(&work)?, &|bytes| monitor.advance(bytes))?;
        }
        let committed = held.commit().map_err(CommitFailure::into_error)?;
        self.compare_databases(root, &committed)
    }

    /// The databases are what was put back, as everybody who opens them now sees them.
    fn compare_databases(&self, root: &Path, committed: &Committed) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for database in &self.databases {
            let live = database.path.below(root)?;
            if !overwrite::holds_image(&live, &database.image.below(&self.work(root))?)? {
                let path = &database.path;
                ensure!(committed.is_written_since(path), "the database {path} is not what was put back");
                findings.push(written_since(path));
            }
        }
        Ok(findings)
    }

    /// Writes the databases of a restore that was killed, unless somebody wrote to them since.
    fn write_again(&self, root: &Path, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        self.exchange(root, monitor, |database| (&database.old, &database.image))
    }

    fn unwrite(&self, root: &Path, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        self.exchange(root, monitor, |database| (&database.image, &database.old))
    }

    /// Each database that holds the first of two images gets the second. One that holds neither was written by
    /// somebody since, and is left to them.
    fn exchange(
        &self,
        root: &Path,
        monitor: &dyn Monitor,
        which: fn(&Overwrite) -> (&SafePath, &SafePath),
    ) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let work = self.work(root);
        let mut todo = Vec::new();
        for database in &self.databases {
            let (from, to) = which(database);
            let live = database.path.below(root)?;
            if overwrite::holds_image(&live, &to.below(&work)?)? {
                continue;
            }
            if !overwrite::holds_image(&live, &from.below(&work)?)? {
                findings.push(written_since(&database.path));
                continue;
            }
            todo.push((database.path.clone(), live, from.below(&work)?, to.below(&work)?));
        }
        if todo.is_empty() {
            return Ok(findings);
        }
        let files: Vec<(SafePath, PathBuf)> =
            todo.iter().map(|(p, live, ..)| (p.clone(), live.clone())).collect();
        let mut held = hold_all(&files)?;
        for (path, live, from, to) in &todo {
            // Between looking and locking somebody may have come.
            if overwrite::holds_image(live, from)? {
                held.write(path, to, &|bytes| monitor.advance(bytes))?;
            } else {
                findings.push(written_since(path));
            }
        }
        held.commit().map_err(CommitFailure::into_error)?;
        Ok(findings)
    }
}

/// Digest of a file of ours.
pub(super) fn digest(path: &Path) -> Result<Digest> {
    let file = fs::File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(Digest::of_reader(&mut std::io::BufReader::with_capacity(1 << 20, file))?.0)
}

/// Holds all databases, or says who is in the way.
///
/// # Errors
/// Of kind `Refused` when another program keeps one locked.
pub(super) fn hold_all(files: &[(SafePath, PathBuf)]) -> Result<Held> {
    let (held, missing) = overwrite::hold(files, PATIENCE)?;
    match missing.into_iter().next() {
        None => Ok(held),
        Some(one) if one.obstacle == Obstacle::Busy => Err(busy(&one.path, &one.reason)),
        Some(one) => bail!("the database {} can't be written: {}", one.path, one.reason),
    }
}

/// A program keeps a database locked.
pub(super) fn busy(path: &SafePath, reason: &str) -> anyhow::Error {
    let text = format!(
        "another program keeps the database {path} locked ({reason}), and did not leave within {} s",
        PATIENCE.as_secs()
    );
    Failure::new(Kind::Refused, text).hint("stop the program that writes to it, and run this again").into()
}

fn written_since(path: &SafePath) -> Finding {
    Finding::advice("written-since", "another program has written to the database since it was put back")
        .at(path)
}

/// What an unfinished restore is told as by commands that change nothing.
pub fn unfinished(root: &Path) -> Option<Finding> {
    let text = match Journal::read(root) {
        Ok(None) => return None,
        // One that works right now is not unfinished.
        Ok(Some(_)) if workshop::is_alive(root) => return None,
        Ok(Some(journal)) => {
            format!("a restore of backup {} was interrupted and is not finished", journal.backup)
        }
        Err(error) => format!("{error:#}"),
    };
    let hint =
        "the next command that changes something finishes it or takes it back, `cargo xtask undo` for one";
    Some(Finding::problem("unfinished-restore", text).hint(hint))
}

/// Names below the run of a workshop.
pub(super) fn place(folder: &str, name: &[u8]) -> Result<SafePath> {
    SafePath::new([folder.as_bytes(), b"/", name].concat())
}

/// A rename that moves what is at a path aside, as number `number`.
pub(super) fn aside(number: usize) -> Result<SafePath> {
    place(rename::OLD, number.to_string().as_bytes())
}
