//! Whether a file system keeps, for each file, the time of its last change, which whoever writes to the file sets and
//! nobody can set to anything else.
//!
//! On FAT, exFAT and many a file system in user space it is a copy of the modification time, so a program that sets
//! that one back hides what it wrote; of a file on another machine, a stale answer may be given for a minute. So only
//! file systems that are known to tell the truth are trusted, and what is on any other is read.

use std::path::Path;

/// Whether change times can be trusted on the file system that holds this path.
pub fn are_kept(path: &Path) -> bool {
    system::are_kept(path)
}

#[cfg(target_os = "linux")]
mod system {
    use super::*;

    /// Magic numbers: ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS, bcachefs, JFS, NILFS2, ReiserFS.
    const LOCAL: [u32; 11] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x794c_7630,
        0xf2f5_2010,
        0x2fc1_2fc1,
        0xca45_1a4e,
        0x3153_464a,
        0x3434,
        0x5265_4973,
    ];

    pub fn are_kept(path: &Path) -> bool {
        // The number's type differs between processors; it has 32 bits everywhere.
        rustix::fs::statfs(path).is_ok_and(|facts| LOCAL.contains(&(facts.f_type as u32)))
    }
}

#[cfg(target_os = "macos")]
mod system {
    use super::*;

    pub fn are_kept(path: &Path) -> bool {
        let Ok(facts) = rustix::fs::statfs(path) else { return false };
        let name: Vec<u8> =
            facts.f_fstypename.iter().map(|&c| c as u8).take_while(|&byte| byte != 0).collect();
        [b"apfs".as_slice(), b"hfs"].contains(&name.as_slice())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod system {
    use super::*;

    pub fn are_kept(_: &Path) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        assert!(are_kept(folder.path()), "temporary files lie on a local file system");
        assert!(!are_kept(Path::new("/proc")) && !are_kept(Path::new("/sys")));
        assert!(!are_kept(&folder.path().join("gone")));
    }
}
