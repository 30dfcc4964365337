//! Writes that survive a power cut: a temporary file in the same folder, sync, rename, sync the folder.
//! On failure the temporary file is removed. A name is either absent, old, or whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::file_facts;

/// What every temporary name starts with: sweeping knows it, and no real name has it.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Replaces or creates a file in one step, readable by its owner only.
///
/// # Errors
/// Names the path; the old content, if any, is still there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file needs a folder")?;
    let attempt = || -> Result<()> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_dir(folder)?;
        Ok(())
    };
    attempt().with_context(|| format!("can't write {}", path.display()))
}

/// The same through a temporary file of a fixed name, which a killed run may have left. Only for what no two
/// runs write at once.
///
/// # Errors
/// Names the path; the old content, if any, is still there.
pub fn write_through(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file needs a folder")?;
    let attempt = || -> io::Result<()> {
        remove_file(temporary)?;
        let mut file = file_facts::create_private_file(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(temporary, path)?;
        sync_dir(folder)
    };
    attempt()
        .inspect_err(|_| {
            // The error that led here says more; the next run removes the file.
            let _ = remove_file(temporary);
        })
        .with_context(|| format!("can't write {}", path.display()))
}

/// Gives a whole, synced file its final name; an existing file of that name is never replaced.
///
/// # Errors
/// When the name is taken, or the system refuses.
pub fn publish(temporary: &Path, path: &Path) -> Result<()> {
    let folder = path.parent().context("a file needs a folder")?;
    let attempt = || -> Result<()> {
        tempfile::TempPath::try_from_path(temporary)?.persist_noclobber(path)?;
        sync_dir(folder)?;
        Ok(())
    };
    attempt().with_context(|| format!("can't publish {}", path.display()))
}

/// Makes renames and removals in a folder permanent.
///
/// # Errors
/// What the system returns.
#[cfg(unix)]
pub fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes renames and removals in a folder permanent: on Windows a rename is, without being asked.
///
/// # Errors
/// Never.
#[cfg(windows)]
pub fn sync_dir(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes a whole folder permanent, everything in it included: in one call where the system has one.
///
/// # Errors
/// What the system returns.
#[cfg(target_os = "linux")]
pub fn sync_tree(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Makes a whole folder permanent, everything in it included.
///
/// # Errors
/// What the system returns.
#[cfg(not(target_os = "linux"))]
pub fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            fs::OpenOptions::new().read(true).open(entry.path())?.sync_all().or_else(|error| {
                // Windows syncs only what is open for writing; a read-only file was written by now.
                if cfg!(windows) { Ok(()) } else { Err(error) }
            })?;
        }
    }
    sync_dir(folder)
}

/// Removes a file; one that is already gone is fine.
///
/// # Errors
/// What the system returns.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How long a command that outlived its killed parent may go on writing into a folder that is removed.
const OUTLIVED: Duration = Duration::from_secs(10);

/// Removes a file, or a folder with all that is in it, folders that were restored read-only included. Links
/// are not followed.
///
/// # Errors
/// What the system returns; that a folder is not empty only when somebody keeps on writing into it.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    let until = Instant::now() + OUTLIVED;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                open_up(path)?;
                return fs::remove_dir_all(path);
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// Gives back the right to change every folder below, links not followed.
fn open_up(folder: &Path) -> io::Result<()> {
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        file_facts::set_mode(&folder, 0o700)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                waiting.push(entry.path());
            } else if cfg!(windows) && meta.is_file() {
                // Windows removes no file that is marked read-only.
                file_facts::set_mode(&entry.path(), 0o600)?;
            }
        }
    }
    Ok(())
}
