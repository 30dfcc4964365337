//! Symbolic links: their target as raw bytes, and making one. They are never followed.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::os_name;
use super::safe_path::SafePath;

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

/// Whether one of the folders above a path below `root` is none now, but a link to one perhaps, or absent: what
/// is found at that path is then not what belongs there.
///
/// # Errors
/// When the system can't tell.
pub fn leads_elsewhere(root: &Path, path: &SafePath) -> Result<bool> {
    let mut folders = Vec::new();
    let mut above = path.parent();
    while let Some(folder) = above {
        above = folder.parent();
        folders.push(folder);
    }
    // From the top: behind a link that leads in a circle nothing can be looked at.
    for folder in folders.iter().rev() {
        let folder = folder.below(root)?;
        match std::fs::symlink_metadata(&folder) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return Ok(true),
            Err(error) => return Err(error).with_context(|| format!("can't look at {}", folder.display())),
        }
    }
    Ok(false)
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
