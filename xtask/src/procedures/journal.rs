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

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::marks::Marks;
use super::rename::{self, Rename};
use super::workshop;
use crate::base::durable;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::links;
use crate::base::monitor::Monitor;
use crate::base::origin::Origin;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::sqlite::overwrite::Held;
use crate::store::undo_log::Record;

mod databases;

pub(super) use databases::{PATIENCE, busy, digest};

/// Its name in the workshop.
pub const NAME: &str = "journal.json";

/// The newest form of journals that this tool writes and reads.
const FORMAT: u32 = 2;

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
    /// What is restored.
    #[serde(flatten)]
    pub origin: Origin,
    /// Which way.
    pub direction: Direction,
    /// The name of the folder in the workshop where everything lies.
    pub run: String,
    /// The store that is told at the end.
    pub store: RawPath,
    /// Folders that must be writable meanwhile, and the permissions that they had.
    pub opened: Vec<(SafePath, u32)>,
    /// Renames, in their order.
    pub renames: Vec<Rename>,
    /// Databases, all committed one right after the other.
    pub databases: Vec<Overwrite>,
    /// Last touches.
    pub finishes: Vec<Finish>,
    /// What was there of all that goes.
    pub going: Marks,
    /// What was staged of all that comes.
    pub coming: Marks,
    /// What the store is told, so that it can be undone.
    pub record: Option<Record>,
}

impl Journal {
    /// One that goes forward and has no steps yet.
    pub fn new(origin: Origin, run: String, store: RawPath) -> Journal {
        Journal {
            format: origin.form(),
            origin,
            direction: Direction::Forward,
            run,
            store,
            opened: Vec::new(),
            renames: Vec::new(),
            databases: Vec::new(),
            finishes: Vec::new(),
            going: Marks::default(),
            coming: Marks::default(),
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
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let not_readable = |error: serde_json::Error| -> Result<Journal> {
            Err(error)
                .with_context(|| {
                    format!("the journal {} of an unfinished restore is not readable", path.display())
                })
                .hint(
                    "what was replaced lies beside it, in the folder old/ of the run; nothing there is removed",
                )
        };
        if serde_json::from_slice(&bytes).is_ok_and(|form: Form| form.format > FORMAT) {
            let text = format!("{} was written by a newer version of this tool", path.display());
            return Err(Failure::new(Kind::Refused, text)
                .hint("use the executable that lies in the store, in bin/")
                .into());
        }
        let journal: Journal = serde_json::from_slice(&bytes).or_else(not_readable)?;
        // A name and no path: it must not lead out of the folder.
        ensure!(
            SafePath::new(journal.run.as_str()).is_ok_and(|run| run.parent().is_none()),
            "the journal {} names {:?}, which is no folder beside it",
            path.display(),
            journal.run
        );
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
    /// The step that failed, or what somebody has written to that would be lost; [`Journal::back`] takes back
    /// the others.
    pub fn forward(&self, root: &Path, held: Option<Held>, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        if held.is_none() {
            self.still_wanted(root)?;
        }
        self.open_folders(root)?;
        for step in &self.renames {
            step.forward(root, &self.work(root))?;
        }
        self.old_is_as_it_was(root)?;
        findings.extend(match held {
            Some(held) => self.write_held(root, held, monitor)?,
            None => self.write_again(root, monitor)?,
        });
        self.finish(root)?;
        durable::sync_tree(root).context("can't sync what was restored")?;
        self.old_is_as_it_was(root)?;
        Ok(findings)
    }

    /// Whether nothing of what goes was written to since, as far as it is still in its place.
    fn still_wanted(&self, root: &Path) -> Result<()> {
        for step in &self.renames {
            if self.is_to_do(step, root)? && step.old.is_some() {
                let found = self.going.changed(&step.path, &step.path.below(root)?)?;
                ensure!(found.is_none(), "{} was written to since", found.as_ref().unwrap_or(&step.path));
            }
        }
        self.databases_still_wanted(root)
    }

    /// Whether a rename is not done yet.
    fn is_to_do(&self, step: &Rename, root: &Path) -> Result<bool> {
        let work = self.work(root);
        Ok(match (&step.staged, &step.old) {
            (Some(staged), _) => links::exists(&staged.below(&work)?)?,
            (None, Some(old)) => {
                !links::exists(&old.below(&work)?)? && links::exists(&step.path.below(root)?)?
            }
            (None, None) => false,
        })
    }

    /// What was moved aside is what was there: a program that had it open has not written to it since.
    fn old_is_as_it_was(&self, root: &Path) -> Result<()> {
        let work = self.work(root);
        for step in &self.renames {
            let Some(old) = &step.old else { continue };
            if let Some(path) = self.going.changed(&step.path, &old.below(&work)?)? {
                return Err(Failure::new(Kind::Failed, format!("{path} was written while it was replaced"))
                    .hint("run it again; if a program writes to it all the time, stop that first")
                    .into());
            }
        }
        Ok(())
    }

    /// Takes back all steps, those that were never done included. What of it somebody has written to since is
    /// kept and told.
    ///
    /// # Errors
    /// The step that can't be taken back.
    pub fn back(&self, root: &Path, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        let mut findings = self.unwrite(root, monitor)?;
        self.open_folders(root)?;
        for step in self.renames.iter().rev() {
            let log = SafePath::new([step.path.bytes(), b"-wal"].concat())?;
            let log = (!self.renames.iter().any(|other| other.path == log)).then_some(log);
            if let Some(kept) = step.back(root, &self.work(root), &self.coming, log.as_ref())? {
                findings.push(self.kept(step, &kept));
            }
        }
        for finish in self.finishes.iter().rev() {
            if let Some(before) = finish.before {
                set_mode(&finish.path.below(root)?, before)?;
            }
        }
        for (folder, before) in self.opened.iter().rev() {
            set_mode(&folder.below(root)?, *before)?;
        }
        durable::sync_tree(root).context("can't sync what was taken back")?;
        Ok(findings)
    }

    fn kept(&self, step: &Rename, kept: &Path) -> Finding {
        let text = format!("somebody wrote to it after it was restored; that is kept in {}", kept.display());
        let finding = Finding::problem("kept", text).at(&step.path);
        match &self.record {
            Some(record) => finding.hint(format!("the state before is in the safety copy {}", record.id)),
            None => finding.hint("look which of them you need"),
        }
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
        durable::remove_file(&workshop::folder(root).join(NAME))?;
        Ok(findings)
    }

    fn open_folders(&self, root: &Path) -> Result<()> {
        for (folder, _) in &self.opened {
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
                // Who removed it, or put a link in its place, wants nothing done there.
                if !fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_symlink()) {
                    return Ok(());
                }
                if let Some((uid, gid, mtime_s)) = finish.came {
                    // That an owner is unknown here is told of the files.
                    let _owned = file_facts::set_owner(&path, uid, gid)?;
                    file_facts::set_folder_mtime(&path, mtime_s)?;
                }
                file_facts::set_mode(&path, finish.mode)
            };
            attempt().with_context(|| format!("can't finish {}", path.display()))?;
        }
        for database in self.databases.iter().filter(|database| database.mode.0 != database.mode.1) {
            set_mode(&database.path.below(root)?, database.mode.0)?;
        }
        Ok(())
    }
}

/// Permissions of what is there and no link.
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_symlink()) {
        return Ok(());
    }
    file_facts::set_mode(path, mode).with_context(|| format!("can't give {} its permissions", path.display()))
}

/// What an unfinished restore is told as by commands that change nothing.
pub fn unfinished(root: &Path) -> Option<Finding> {
    let text = match Journal::read(root) {
        Ok(None) => return None,
        // One that works right now is not unfinished.
        Ok(Some(_)) if workshop::is_alive(root) => return None,
        Ok(Some(journal)) => {
            format!("a restore of {} was interrupted and is not finished", journal.origin)
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
