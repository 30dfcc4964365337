//! The folder in which a restore over a living project works: `.xtask-restore/` at the project's root, on the
//! same file system, so that everything is put in its place by renames. It is no part of a backup, and git
//! does not see it.
//!
//! A lock tells a restore that works from one that was killed. Until the journal is written into it, nothing
//! outside of it has changed, and whoever finds it without one throws it away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::guard;
use super::staging::{ALIVE, STAGING, lock, vacate};
use crate::base::failure::ResultExt;
use crate::base::{durable, links};

/// What is in the workshop and no restore's.
const STAYS: [&str; 4] = [ALIVE, guard::NOTE, guard::LOCK, guard::DUTY];

const MAY_WRITE: &str = "see that you may write in the project's folder, and that its disk has room";

/// Where a restore works, as long as this lives.
pub struct Workshop {
    folder: PathBuf,
    work: PathBuf,
    alive: File,
}

/// Where the workshop of a project is, whether or not it is there. A link of that name is none: `lock` refuses it.
pub fn folder(root: &Path) -> PathBuf {
    root.join(STAGING)
}

impl Workshop {
    /// Opens an empty one, after throwing away what a killed run left that had not begun to change anything.
    /// An unfinished restore must have been dealt with before.
    ///
    /// # Errors
    /// Of kind `Locked` when a restore is running; when the project can't be written.
    pub fn begin(root: &Path) -> Result<Workshop> {
        let folder = folder(root);
        let alive = lock(root, &folder).hint(MAY_WRITE)?;
        for entry in fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))? {
            let entry = entry.with_context(|| format!("can't read {}", folder.display()))?;
            if !STAYS.iter().any(|name| entry.file_name() == *name) {
                let path = entry.path();
                durable::remove_tree(&path).with_context(|| format!("can't remove {}", path.display()))?;
            }
        }
        let make = || -> Result<PathBuf> {
            durable::write(&folder.join(".gitignore"), b"*\n")?;
            Ok(tempfile::Builder::new().prefix("run-").tempdir_in(&folder)?.keep())
        };
        match make() {
            Ok(work) => Ok(Workshop { folder, work, alive }),
            Err(error) => {
                let told = format!("can't write in {}", folder.display());
                // The error that led here says more; the next restore throws it away.
                let _ = Workshop { work: folder.join("run"), folder, alive }.end();
                Err(error).context(told).hint(MAY_WRITE)
            }
        }
    }

    /// Opens the one that a killed restore left.
    ///
    /// # Errors
    /// Of kind `Locked` when that restore is running after all.
    pub fn again(root: &Path, run: &str) -> Result<Workshop> {
        let folder = folder(root);
        let alive = lock(root, &folder).hint(MAY_WRITE)?;
        let work = folder.join(run);
        Ok(Workshop { folder, work, alive })
    }

    /// `.xtask-restore/` itself, where the journal is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A private folder to work in.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The name of the folder to work in.
    pub fn run(&self) -> String {
        self.work.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Takes it away, journal first: from then on nothing is unfinished. A guard's note stays.
    ///
    /// # Errors
    /// When something can't be removed; the next restore does it, if the journal is gone.
    pub fn end(self) -> Result<()> {
        let Workshop { folder, work, alive } = self;
        let attempt = || -> Result<()> {
            durable::remove_file(&folder.join(super::journal::NAME))?;
            durable::sync_dir(&folder)?;
            if links::exists(&work)? {
                durable::remove_tree(&work)?;
            }
            if links::exists(&folder.join(guard::NOTE))? {
                return Ok(());
            }
            vacate(&folder, alive)
        };
        attempt().with_context(|| format!("can't remove {}", folder.display()))
    }
}

/// Whether a restore works in it right now.
pub fn is_alive(root: &Path) -> bool {
    match File::open(folder(root).join(ALIVE)).map(|file| file.try_lock()) {
        Ok(Err(fs::TryLockError::WouldBlock)) => true,
        // No such file, or nobody holds it.
        _ => false,
    }
}
