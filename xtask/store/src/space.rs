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

/// Bytes of the blocks that two files on the file system of a folder can share; `None` where they can't, or that is not
/// known. Tried with two small files, which are gone afterwards.
#[cfg(target_os = "linux")]
pub fn shared_blocks(folder: &Path) -> Option<u64> {
    const BLOCK: u64 = 4096;
    let stat = rustix::fs::statvfs(folder).ok()?;
    let (mut one, other) = (tempfile::tempfile_in(folder).ok()?, tempfile::tempfile_in(folder).ok()?);
    std::io::Write::write_all(&mut one, &[1; BLOCK as usize]).ok()?;
    let works = rustix::fs::ioctl_ficlone(&other, &one).is_ok();
    (works && stat.f_bsize == BLOCK).then_some(BLOCK)
}

/// Bytes of the blocks that two files can share: files are only shared as a whole here.
#[cfg(not(target_os = "linux"))]
pub fn shared_blocks(_folder: &Path) -> Option<u64> {
    None
}
