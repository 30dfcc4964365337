//! The order of writing that makes a name in the store a whole backup: everything is written under a
//! temporary name inside the store, then digest, summary and state beside, and last of all the archive
//! gets its name, each step synced before the next.
//!
//! Killed before the last step, there is no archive of that name, so no backup; the next run sweeps what
//! is left. Killed after it, the backup is complete. Nothing that exists is ever replaced.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use super::lock::{Lock, not_writable};
use super::names::{self, ARCHIVE, Name, STATE, SUM, SUMMARY};
use super::state::State;
use super::summary::Summary;
use super::{SAFETY, Store, TRASH};
use crate::base::clock::Instant;
use crate::base::durable::{self, TEMPORARY_PREFIX};
use crate::base::file_facts;
use crate::base::id::BackupId;
use crate::base::kind::BackupKind;

/// In a scratch folder: locked as long as somebody works in it.
pub(super) const ALIVE_FILE: &str = "alive";

/// A private folder inside the store, gone when dropped.
#[derive(Debug)]
pub struct Scratch {
    outer: PathBuf,
    work: PathBuf,
    alive: Option<File>,
}

impl Scratch {
    /// The folder, empty at first.
    pub fn path(&self) -> &Path {
        &self.work
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Closed first: Windows removes no open file.
        self.alive = None;
        // What can't be removed now is swept by the next run.
        let _ = durable::remove_tree(&self.outer);
    }
}

impl Store {
    /// The first id of this moment that nothing in the store has, removed backups included.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn new_id(&self, now: Instant) -> Result<BackupId> {
        let mut taken = Vec::new();
        for folder in [self.root().to_path_buf(), self.root().join(SAFETY), self.root().join(TRASH)] {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("can't read {}", folder.display())),
            };
            for entry in entries {
                let entry = entry.with_context(|| format!("can't read {}", folder.display()))?;
                let name = entry.file_name().to_str().map(names::parse);
                if let Some(Name::Archive(id) | Name::Sidecar(id)) = name {
                    taken.push(id);
                }
            }
        }
        let mut number = 1;
        loop {
            let id = BackupId::new(now, number);
            if !taken.contains(&id) {
                return Ok(id);
            }
            number += 1;
        }
    }

    /// A file for a new archive, inside the store, readable by its owner only; gone when dropped.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn temporary(&self, _lock: &Lock) -> Result<NamedTempFile> {
        let made = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(self.root());
        made.map_err(|error| not_writable(self.root(), error))
    }

    /// A whole file from a scratch folder of this store under a temporary name, as if it had been written
    /// there.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn temporary_of(&self, lock: &Lock, whole: &Path) -> Result<NamedTempFile> {
        let attempt = |temporary: NamedTempFile| -> std::io::Result<NamedTempFile> {
            let path = temporary.into_temp_path();
            fs::rename(whole, &path)?;
            file_facts::set_mode(&path, 0o600)?;
            let file = File::options().read(true).write(true).open(&path)?;
            Ok(NamedTempFile::from_parts(file, path))
        };
        attempt(self.temporary(lock)?).map_err(|error| not_writable(self.root(), error))
    }

    /// A private folder inside the store. A run that has no lock may use one too: sweeping leaves alone
    /// what somebody works in.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn scratch(&self) -> Result<Scratch> {
        let make = || -> std::io::Result<Scratch> {
            let outer = private_folder(self.root())?;
            let alive = file_facts::create_private_file(&outer.join(ALIVE_FILE))?;
            alive.try_lock().map_err(std::io::Error::from)?;
            let work = outer.join("work");
            file_facts::create_private_dir(&work)?;
            Ok(Scratch { outer, work, alive: Some(alive) })
        };
        make().map_err(|error| not_writable(self.root(), error))
    }

    /// Publishes a whole, verified archive under the id of its summary, and returns its path. A safety
    /// copy goes into the folder of these.
    ///
    /// # Errors
    /// When the id is taken, the file is not what the summary says, or the store can't be written: then
    /// the store is as it was.
    pub fn publish(
        &self,
        _lock: &Lock,
        temporary: NamedTempFile,
        summary: &Summary,
        state: &State,
    ) -> Result<PathBuf> {
        let archive = self.archive_path(summary.kind, &summary.id);
        let shown = archive.display();
        let size = temporary.as_file().metadata().with_context(|| format!("can't publish {shown}"))?.len();
        ensure!(
            size == summary.archive_bytes,
            "can't publish {shown}: the file has {size} bytes, its summary says {}",
            summary.archive_bytes
        );
        ensure!(!archive.exists(), "can't publish {shown}: there is a backup of that name already");
        temporary.as_file().sync_all().with_context(|| format!("can't write {shown} to disk"))?;
        if let Some(folder) = archive.parent() {
            file_facts::create_private_dir(folder).map_err(|error| not_writable(self.root(), error))?;
            durable::sync_dir(self.root()).map_err(|error| not_writable(self.root(), error))?;
        }
        // From here on the path removes itself when anything fails.
        let temporary = temporary.into_temp_path();
        let sidecars = sidecars(&archive, summary, state)?;
        let attempt = || -> Result<()> {
            for (path, content) in &sidecars {
                durable::write(path, content)?;
            }
            durable::publish(&temporary, &archive)
        };
        if let Err(error) = attempt() {
            // An archive that got its name, although syncing the folder failed, keeps what belongs to it.
            if !archive.exists() {
                for (path, _) in &sidecars {
                    // Swept by the next run, when it can't be removed now.
                    let _ = durable::remove_file(path);
                }
            }
            return Err(error);
        }
        Ok(archive)
    }

    /// Where the archive of a backup goes.
    pub(super) fn archive_path(&self, kind: BackupKind, id: &BackupId) -> PathBuf {
        let folder =
            if kind == BackupKind::Safety { self.root().join(SAFETY) } else { self.root().to_path_buf() };
        folder.join(format!("{id}{ARCHIVE}"))
    }
}

/// What stands beside an archive, in the order in which it is written.
pub(super) fn sidecars(archive: &Path, summary: &Summary, state: &State) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let id = &summary.id;
    let sum = format!("{}  {id}{ARCHIVE}\n", summary.archive_sha256);
    let mut json = serde_json::to_vec(summary)?;
    json.push(b'\n');
    let mut files = vec![
        (names::beside(archive, id, SUM), sum.into_bytes()),
        (names::beside(archive, id, SUMMARY), json),
    ];
    if *state != State::default() {
        files.push((names::beside(archive, id, STATE), state.json()?));
    }
    Ok(files)
}

#[cfg(unix)]
fn private_folder(parent: &Path) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let private = fs::Permissions::from_mode(0o700);
    let made = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).permissions(private).tempdir_in(parent)?;
    Ok(made.keep())
}

#[cfg(windows)]
fn private_folder(parent: &Path) -> std::io::Result<PathBuf> {
    Ok(tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(parent)?.keep())
}
