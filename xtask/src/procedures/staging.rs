//! The place inside a target folder where a restore works before it moves anything to its place, and the
//! note of what it is about to move.
//!
//! The note is written and synced before the first rename and goes after everything else is done. So whoever
//! comes after a kill knows which names in the target are the killed restore's and takes exactly these away;
//! anything else in the folder is somebody's, and then nothing is touched. A lock tells a killed restore from
//! one that works. Each run works in a folder of its own name: a git command that outlives its killed parent
//! may still be writing into the old one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::durable;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::{file_facts, os_name};

/// Its name, at the root of the target.
pub const STAGING: &str = ".xtask-restore";
/// In it: locked as long as a restore works.
pub(super) const ALIVE: &str = "alive";
/// In it: the names in the target that are being moved there, each followed by a NUL.
pub(super) const MOVING: &str = "moving";

/// A staging folder whose lock is held.
pub struct Staging {
    target: PathBuf,
    folder: PathBuf,
    work: PathBuf,
    /// The folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
    alive: File,
}

impl Staging {
    /// Begins in `target`, which must be empty or absent, after taking away what a killed restore left.
    ///
    /// # Errors
    /// Of kind `Refused` when something else is in the folder, `Locked` when a restore into it is running;
    /// or when it can't be written.
    pub fn begin(target: &Path) -> Result<Staging> {
        look(target)?;
        let absent =
            target.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let made: Vec<PathBuf> = absent.map(Path::to_path_buf).collect();
        let begun = fs::create_dir_all(target)
            .with_context(|| format!("can't make the folder {}", target.display()))
            .hint("name a folder that you may write in")
            .and_then(|()| Staging::begin_in(target, made.clone()));
        if begun.is_err() {
            unmake(&made);
        }
        begun
    }

    fn begin_in(target: &Path, made: Vec<PathBuf>) -> Result<Staging> {
        let folder = target.join(STAGING);
        let alive = lock(target, &folder).hint("name a folder that you may write in")?;
        // Nobody else works here now: look again, and at what the note says.
        let moved = moved(&folder)?;
        let ours = |name: &&OsString| *name == STAGING || moved.contains(name);
        if let Some(name) = names(target)?.iter().find(|name| !ours(name)) {
            return Err(refusal(target, name));
        }
        take_away(target, &moved)?;
        for name in names(&folder)?.into_iter().filter(|name| name != ALIVE && name != MOVING) {
            remove(&folder.join(name))?;
        }
        durable::remove_file(&folder.join(MOVING))?;
        let make = || tempfile::Builder::new().prefix("run-").tempdir_in(&folder);
        let work = make().with_context(|| format!("can't write in {}", folder.display()))?.keep();
        Ok(Staging { target: target.to_path_buf(), folder, work, made, alive })
    }

    /// An empty folder to work in.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Notes what will be moved to the target; call it before the first move.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn note(&self, names: &[OsString]) -> Result<()> {
        let mut bytes = Vec::new();
        for name in names {
            bytes.extend(os_name::from_os(name)?);
            bytes.push(0);
        }
        durable::write(&self.folder.join(MOVING), &bytes)
    }

    /// Ends a restore that is done: everything in the target is its own from here on.
    ///
    /// # Errors
    /// When the folder can't be removed.
    pub fn finish(self) -> Result<()> {
        let Staging { folder, work, alive, .. } = self;
        let attempt = || -> Result<()> {
            remove(&work)?;
            durable::remove_file(&folder.join(MOVING))?;
            vacate(&folder, alive)
        };
        attempt().with_context(|| format!("can't remove {}", folder.display()))
    }

    /// Ends one that failed: the target is as it was before.
    ///
    /// # Errors
    /// When something can't be removed; the next restore into the folder does it.
    pub fn roll_back(self) -> Result<()> {
        let Staging { target, folder, made, alive, .. } = self;
        take_away(&target, &moved(&folder)?)?;
        vacate(&folder, alive)?;
        unmake(&made);
        Ok(())
    }
}

/// Removes folders that were made for a restore that failed, as far as they are empty.
fn unmake(made: &[PathBuf]) {
    // One that somebody uses by now stays, and so do those above it.
    let _ = made.iter().try_for_each(fs::remove_dir);
}

/// Refuses a target that holds something and no staging. Writes nothing.
///
/// # Errors
/// Of kind `Refused` when it is not empty; when it can't be read.
pub fn look(target: &Path) -> Result<()> {
    match names(target) {
        Ok(names) => {
            let ours = moved(&target.join(STAGING))?;
            let stranger = names.iter().find(|name| *name != STAGING && !ours.contains(name));
            stranger.map_or(Ok(()), |name| Err(refusal(target, name)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(anyhow::Error::new(error).context(format!("can't restore into {}", target.display())))
                .hint("name a new or an empty folder")
        }
    }
}

fn refusal(target: &Path, name: &OsString) -> anyhow::Error {
    let message = format!("the folder {} is not empty: it holds {}", target.display(), name.display());
    Failure::new(Kind::Refused, message).hint("name a new or an empty folder").into()
}

/// Takes the lock of a staging folder, which is made where it is missing.
///
/// # Errors
/// Of kind `Locked` when another restore has it; when it can't be written.
pub(super) fn lock(target: &Path, folder: &Path) -> Result<File> {
    let path = folder.join(ALIVE);
    let open = || {
        file_facts::create_private_dir(folder)?;
        if fs::symlink_metadata(folder)?.is_symlink() {
            return Err(io::Error::other(format!("{} is a link", folder.display())));
        }
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)
    };
    // A program that a killed restore was just starting still holds its lock for a moment.
    let mut tries = 0;
    loop {
        let alive = match open() {
            // Who had it until now is just taking the folder away.
            Err(error) if error.kind() == ErrorKind::NotFound && tries < 40 => None,
            opened => Some(opened.with_context(|| format!("can't write in {}", target.display()))?),
        };
        match alive.map(|alive| (alive.try_lock(), alive)) {
            // Who had it until now may have taken the file away: then it is nobody's lock.
            Some((Ok(()), alive)) if is_still_there(&alive, &path) => return Ok(alive),
            Some((Err(TryLockError::Error(error)), _)) => {
                return Err(error).with_context(|| format!("can't lock {}", path.display()));
            }
            _ if tries < 40 => {}
            _ => {
                let message = format!("another restore into {} is running", target.display());
                return Err(Failure::new(Kind::Locked, message)
                    .hint("wait for it, or name another folder")
                    .into());
            }
        }
        tries += 1;
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
}

/// Removes a folder whose lock is held, the lock last: whoever waits for it must not find what is his taken away.
/// One who comes just then finds an empty folder, and it is his.
///
/// # Errors
/// When something can't be removed.
pub(super) fn vacate(folder: &Path, alive: File) -> Result<()> {
    for name in names(folder)?.into_iter().filter(|name| name != ALIVE) {
        remove(&folder.join(name))?;
    }
    // Windows removes no open file.
    let kept = (!cfg!(windows)).then_some(alive);
    durable::remove_file(&folder.join(ALIVE))?;
    drop(kept);
    match fs::remove_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Whether a path leads to an open file.
fn is_still_there(file: &File, path: &Path) -> bool {
    let inode = |meta: io::Result<fs::Metadata>| meta.map(|meta| file_facts::identity(&meta).inode).ok();
    inode(file.metadata()) == inode(fs::symlink_metadata(path))
}

/// The names that the note holds.
fn moved(folder: &Path) -> Result<Vec<OsString>> {
    let path = folder.join(MOVING);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    // A name, not a path: the note must not lead out of the folder.
    let plain = |name: &&[u8]| !name.contains(&b'/') && *name != b"." && *name != b"..";
    names.filter(plain).map(os_name::to_os).collect()
}

fn take_away(target: &Path, moved: &[OsString]) -> Result<()> {
    for name in moved {
        let path = target.join(name);
        if crate::base::links::exists(&path)? {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    durable::remove_tree(path).with_context(|| format!("can't remove {}", path.display()))
}

fn names(folder: &Path) -> std::io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}
