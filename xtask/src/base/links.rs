//! Symbolic links: their target as raw bytes, and making one. They are never followed.

use std::io;
use std::path::Path;

use anyhow::Result;

use super::os_name;

/// Where a link points, as raw bytes.
///
/// # Errors
/// When it can't be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    os_name::from_os(std::fs::read_link(path)?.as_os_str())
}

/// Makes a link; `path` must not exist.
///
/// # Errors
/// When the system refuses, on Windows for want of the right to make links.
#[cfg(unix)]
pub fn create(target: &[u8], path: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(os_name::to_os(target)?, path)?)
}

/// Makes a link; `path` must not exist. Windows tells links to files from links to folders: what the
/// target is now decides.
///
/// # Errors
/// When the system refuses, on Windows for want of the right to make links.
#[cfg(windows)]
pub fn create(target: &[u8], path: &Path) -> Result<()> {
    use std::os::windows::fs::{symlink_dir, symlink_file};
    let target = os_name::to_os(target)?;
    let resolved = path.parent().map_or_else(|| target.clone().into(), |parent| parent.join(&target));
    let made: io::Result<()> =
        if resolved.is_dir() { symlink_dir(&target, path) } else { symlink_file(&target, path) };
    Ok(made?)
}

/// Whether something is there, be it a link that leads nowhere.
///
/// # Errors
/// When the system can't tell.
pub fn exists(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
