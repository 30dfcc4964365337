//! Where tests make their folders: in memory on Linux. No test cuts the power, so waiting for the disk proves
//! nothing, and a file system on a disk takes long to make files where many were removed a moment before, which
//! tests do all the time. On the disk in the long form (`XTASK_TEST_FULL=1`), and wherever `TMPDIR` says.

use std::io;
use std::path::Path;

use tempfile::TempDir;

/// Whether a test may be in memory.
pub fn is_wanted() -> bool {
    let full = std::env::var_os("XTASK_TEST_FULL").is_some_and(|value| value == "1");
    !full && std::env::var_os("TMPDIR").is_none()
}

/// A file system in memory that has room and lets programs run: in a container it may have neither.
#[cfg(target_os = "linux")]
pub fn place() -> Option<&'static Path> {
    let place = Path::new("/dev/shm");
    let facts = rustix::fs::statvfs(place).ok()?;
    let runs = !facts.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC);
    (runs && facts.f_bavail * facts.f_frsize > 2 << 30).then_some(place)
}

/// None that is known.
#[cfg(not(target_os = "linux"))]
pub fn place() -> Option<&'static Path> {
    None
}

/// A folder for a test, removed at its end.
///
/// # Errors
/// When none can be made.
pub fn tempdir() -> io::Result<TempDir> {
    if let (true, Some(place)) = (is_wanted(), place()) {
        // For the scratch folders of what is tested as well; only the first time of all counts.
        drop(tempfile::env::override_temp_dir(place));
    }
    tempfile::tempdir()
}
