//! Where backups live: which folder, whose it is, what is in it, and the order of writing that makes a
//! name in it a whole backup.
//!
//! A store that lost its `store.json` can still be read: the file protects against mixing up projects, and
//! must not stand between a user and a backup.

use xtask_base as base;

mod bin;
pub mod catalog;
pub mod health;
mod history;
pub mod identity;
pub mod location;
pub mod lock;
mod names;
pub mod nearest;
pub mod publish;
pub mod remote;
pub mod remote_state;
pub mod retention;
pub mod select;
pub mod space;
pub mod state;
pub mod sum;
pub mod summary;
pub mod sweep;
pub mod trash;
pub mod undo_log;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::clock::Instant;
use crate::base::durable;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::file_facts;
use identity::{Owner, Relation, STORE_FILE, STORE_FORMAT, StoreInfo};
use lock::{Lock, not_writable};

/// What to do about a store that can't be read.
const NO_ACCESS: &str = "is its disk connected, and may you read it?";

/// The folder of safety copies in a store.
pub const SAFETY: &str = "safety";

/// The folder of removed backups in a store.
pub const TRASH: &str = "trash";

/// A folder of backups.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    info: Option<StoreInfo>,
    /// Why `info` is not known.
    problem: Option<String>,
}

impl Store {
    /// Opens the store at `path`. Nothing is written.
    ///
    /// # Errors
    /// Of kind `NotFound`, when there is none; `Refused`, when it was made by a newer version.
    pub fn open(path: &Path) -> Result<Store> {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                let failure =
                    Failure::new(Kind::Failed, format!("{shown} is a file, not a store of backups"));
                return Err(failure.hint("name its folder with --store DIR").into());
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(Failure::new(Kind::NotFound, format!("there is no store at {shown}"))
                    .hint("`cargo xtask backup` makes it; --store DIR names another one")
                    .into());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("can't open the store {shown}")).hint(NO_ACCESS);
            }
        }
        let root = path.to_path_buf();
        match identity::read(path) {
            Ok(info) => Ok(Store { root, info: Some(info), problem: None }),
            Err(error) if crate::base::failure::kind_of(&error) == Kind::Refused => Err(error),
            Err(error) => {
                let found = names::survey(path)
                    .with_context(|| format!("can't read the store {shown}"))
                    .hint(NO_ACCESS)?;
                if !path.join(STORE_FILE).exists() && !found.archives {
                    let failure =
                        Failure::new(Kind::NotFound, format!("the folder {shown} is no store of backups"));
                    return Err(failure.hint("`cargo xtask backup --store DIR` makes one").into());
                }
                Ok(Store { root, info: None, problem: Some(format!("{error:#}")) })
            }
        }
    }

    /// Makes a store in a new or empty folder, which only its owner can enter; or gives one back its
    /// `store.json` that lost it.
    ///
    /// # Errors
    /// Of kind `Refused`, when the folder is a store already or holds something else: leftovers are swept
    /// in a store, so nobody else's files may be in it.
    pub fn create(path: &Path, owner: &Owner) -> Result<Store> {
        prepare(path)?;
        if path.join(STORE_FILE).exists() {
            let text = format!("{} is a store already", path.display());
            return Err(Failure::new(Kind::Refused, text).into());
        }
        let info = StoreInfo { format: STORE_FORMAT, owner: owner.clone(), created: Instant::now() };
        let store = Store { root: path.to_path_buf(), info: Some(info), problem: None };
        store.write_info()?;
        Ok(store)
    }

    /// Takes the lock of a store that may still have to be made, so that of two who make it one waits for
    /// nothing and the other is told. Then open it again: it may have been made meanwhile.
    ///
    /// # Errors
    /// Of kind `Refused`, when the folder holds something else; `Locked`, when another run has it.
    pub fn lock_new(path: &Path, command: &str) -> Result<Lock> {
        prepare(path)?;
        Lock::take(path, command)
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whose it is; `None` when its `store.json` is lost or damaged.
    pub fn info(&self) -> Option<&StoreInfo> {
        self.info.as_ref()
    }

    /// Why it is not known whose it is.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// What the store is to the project at hand; `None` when it is not known whose it is.
    pub fn relation(&self, present: &Owner) -> Option<Relation> {
        self.info.as_ref().map(|info| info.owner.relation(present))
    }

    /// Takes the right to write into it. `command` is what somebody reads who finds it taken.
    ///
    /// # Errors
    /// Of kind `Locked`, when another run has it; or when the store can't be written.
    pub fn lock(&self, command: &str) -> Result<Lock> {
        Lock::take(&self.root, command)
    }

    /// Makes it the store of another working copy, because the user said so.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn adopt(&mut self, _lock: &Lock, owner: &Owner) -> Result<()> {
        let created = self.info.as_ref().map_or_else(Instant::now, |info| info.created);
        self.info = Some(StoreInfo { format: STORE_FORMAT, owner: owner.clone(), created });
        self.problem = None;
        self.write_info()
    }

    /// Adds what its own working copy has gained since: a first commit, a remote. Old ones stay, so that
    /// a clone of an older state is still known. True when something was new.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn refresh(&mut self, _lock: &Lock, owner: &Owner) -> Result<bool> {
        let Some(info) = &mut self.info else { return Ok(false) };
        if info.owner.relation(owner) != Relation::Own {
            return Ok(false);
        }
        let mut changed = false;
        let mine = &mut info.owner;
        for (old, new) in [(&mut mine.root_commits, &owner.root_commits), (&mut mine.remotes, &owner.remotes)]
        {
            for one in new {
                if !old.contains(one) {
                    old.push(one.clone());
                    changed = true;
                }
            }
        }
        if changed {
            self.write_info()?;
        }
        Ok(changed)
    }

    fn write_info(&self) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(&self.info)?;
        json.push(b'\n');
        // Under one name of its own: a killed run that was making the store leaves nothing that the next
        // one would take for a stranger's.
        durable::write_through(&self.root.join(names::NEW_STORE_FILE), &self.root.join(STORE_FILE), &json)
    }
}

/// Makes the folder of a store where it is missing, and refuses one that holds something else.
fn prepare(path: &Path) -> Result<()> {
    let shown = path.display();
    file_facts::create_private_dir(path).map_err(|error| not_writable(path, error))?;
    let found = names::survey(path).with_context(|| format!("can't read {shown}"))?;
    match found.stranger {
        // What looks like a stranger's in a folder that became a store just now is of the run in it.
        Some(stranger) if !path.join(STORE_FILE).exists() => {
            let text = format!("the folder {shown} is no store and not empty: it holds {stranger}");
            Err(Failure::new(Kind::Refused, text)
                .hint("name an empty or a new folder with --store DIR")
                .into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
