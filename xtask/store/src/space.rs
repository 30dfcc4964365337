//! How much room there is for a backup.

use std::path::Path;

/// Bytes that this user can still write on the file system of a path (or of the nearest folder above that
/// exists); `None` where the system doesn't say.
#[cfg(unix)]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|folder| folder.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Bytes that this user can still write: not asked on Windows.
#[cfg(windows)]
pub fn free_bytes(_path: &Path) -> Option<u64> {
    None
}
