//! Facts of a file that systems keep differently: mode, owner, times and identity; and setting them.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

/// What tells whether a file is still the one that was read: device and inode (0 where there are none),
/// size in bytes, modification and change time in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time in nanoseconds since 1970; 0 where there is none.
    pub ctime_ns: i64,
}

/// Permission bits, owner and group of a file; owner and group are 0 where there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in whole seconds since 1970.
    pub mtime_s: i64,
}

#[cfg(unix)]
mod system {
    use super::*;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};

    pub fn identity(meta: &Metadata) -> Identity {
        // From 1677 to 2262; what is beyond counts as the end of that.
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Identity {
            inode: (meta.dev(), meta.ino()),
            size: meta.size(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        }
    }

    pub fn attributes(meta: &Metadata) -> Attributes {
        Attributes { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), mtime_s: meta.mtime() }
    }

    pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))
    }

    pub fn set_owner(path: &Path, uid: u32, gid: u32) -> io::Result<bool> {
        // Only root can give files away; for anybody else what they restore is theirs, as with tar.
        if !rustix::process::geteuid().is_root() {
            return Ok(true);
        }
        match lchown(path, Some(uid), Some(gid)) {
            Ok(()) => Ok(true),
            // Root of a container does not know every user, and some file systems know no owners at all.
            Err(error) => match error.kind() {
                io::ErrorKind::InvalidInput
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::Unsupported => Ok(false),
                _ => Err(error),
            },
        }
    }

    pub fn create_private_dir(path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    pub fn private_file(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
        options.mode(0o600)
    }

    pub fn open_itself(path: &Path) -> io::Result<fs::File> {
        use rustix::fs::OFlags;
        // Flags are bits of a C int.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
    }

    pub fn may_write(path: &Path) -> bool {
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
    }
}

#[cfg(windows)]
mod system {
    use super::*;
    use std::os::windows::fs::MetadataExt;

    // Windows counts 100-nanosecond steps since 1601.
    const SECONDS_1601_TO_1970: i64 = 11_644_473_600;

    pub fn identity(meta: &Metadata) -> Identity {
        let steps =
            i64::try_from(meta.last_write_time()).unwrap_or(i64::MAX) - SECONDS_1601_TO_1970 * 10_000_000;
        let mtime_ns = steps.saturating_mul(100);
        Identity { inode: (0, 0), size: meta.file_size(), mtime_ns, ctime_ns: 0 }
    }

    pub fn attributes(meta: &Metadata) -> Attributes {
        let mode = match (meta.is_dir(), meta.permissions().readonly()) {
            (true, _) => 0o755,
            (false, true) => 0o444,
            (false, false) => 0o644,
        };
        let mtime_s = i64::try_from(identity(meta).mtime_ns.div_euclid(1_000_000_000)).unwrap_or(0);
        Attributes { mode, uid: 0, gid: 0, mtime_s }
    }

    pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
        let mut permissions = fs::metadata(path)?.permissions();
        permissions.set_readonly(mode & 0o200 == 0);
        fs::set_permissions(path, permissions)
    }

    pub fn set_owner(_path: &Path, _uid: u32, _gid: u32) -> io::Result<bool> {
        Ok(true)
    }

    pub fn create_private_dir(path: &Path) -> io::Result<()> {
        // A user's own data folder is private to that user on Windows.
        fs::create_dir_all(path)
    }

    pub fn private_file(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
        options
    }

    pub fn open_itself(path: &Path) -> io::Result<fs::File> {
        use std::os::windows::fs::OpenOptionsExt;
        const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
        fs::OpenOptions::new().read(true).custom_flags(OPEN_REPARSE_POINT).open(path)
    }

    pub fn may_write(path: &Path) -> bool {
        // On a folder the attribute says something else; what can't be written there fails when it is.
        fs::metadata(path).is_ok_and(|meta| meta.is_dir() || !meta.permissions().readonly())
    }
}

/// How far apart two writes may be and still get the same time: a kernel's clock for files ticks at 100 Hz
/// or faster.
pub const TICK: std::time::Duration = std::time::Duration::from_millis(12);

impl Identity {
    /// Whether it was written to so recently that one more write might not show in its times.
    pub fn is_fresh(&self) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or_default();
        u128::from(now_ns.abs_diff(self.mtime_ns.max(self.ctime_ns))) < TICK.as_nanos()
    }
}

/// What tells whether a file changed.
pub fn identity(meta: &Metadata) -> Identity {
    system::identity(meta)
}

/// Mode, owner and time.
pub fn attributes(meta: &Metadata) -> Attributes {
    system::attributes(meta)
}

/// Sets the permission bits; on Windows only whether it is read-only.
///
/// # Errors
/// What the system returns.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    system::set_mode(path, mode)
}

/// Sets the owner when running as root, of a link itself too; does nothing otherwise. False when this
/// machine or this file system knows no such owner, and the file stays ours.
///
/// # Errors
/// What else the system returns.
pub fn set_owner(path: &Path, uid: u32, gid: u32) -> io::Result<bool> {
    system::set_owner(path, uid, gid)
}

/// Creates a folder, and those above it, that only its owner can enter. An existing one is left as it is.
///
/// # Errors
/// What the system returns.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    system::create_private_dir(path)
}

/// Opens a new file that only its owner can read; it must not exist.
///
/// # Errors
/// What the system returns.
pub fn create_private_file(path: &Path) -> io::Result<fs::File> {
    system::private_file(fs::OpenOptions::new().read(true).write(true).create_new(true)).open(path)
}

/// Opens a file for reading: never what a link points to, and without waiting for the other end of a pipe.
///
/// # Errors
/// What the system returns; on Unix also when the path is a link.
pub fn open_itself(path: &Path) -> io::Result<fs::File> {
    system::open_itself(path)
}

/// Whether this user may write a file, or make files in a folder, as far as can be told without trying.
pub fn may_write(path: &Path) -> bool {
    system::may_write(path)
}

/// Sets the modification time of a folder; systems that don't open folders leave it.
///
/// # Errors
/// What the system returns.
pub fn set_folder_mtime(path: &Path, mtime_s: i64) -> io::Result<()> {
    if cfg!(windows) { Ok(()) } else { set_mtime(&fs::File::open(path)?, mtime_s) }
}

/// Sets the modification time in seconds since 1970; a time the system can't express is left.
///
/// # Errors
/// What the system returns.
pub fn set_mtime(file: &fs::File, mtime_s: i64) -> io::Result<()> {
    use std::time::{Duration, SystemTime};
    let time = match u64::try_from(mtime_s) {
        Ok(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        Err(_) => SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(mtime_s.unsigned_abs())),
    };
    time.map_or(Ok(()), |time| file.set_modified(time))
}
