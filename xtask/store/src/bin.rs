//! The tool's own executable beside the backups: recovery must not need cargo, a network or the project.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Store;
use super::lock::Lock;
use super::names::BIN;
use crate::base::durable::{self, TEMPORARY_PREFIX};
use crate::base::file_facts;

const EXECUTABLE: &str = if cfg!(windows) { "xtask.exe" } else { "xtask" };

impl Store {
    /// Where the executable lies.
    pub fn executable_path(&self) -> PathBuf {
        self.root().join(BIN).join(EXECUTABLE)
    }

    /// Copies the running executable there, unless it is the same one by size and time, or runs from
    /// there. True when it was copied.
    ///
    /// # Errors
    /// When it can't be read or written; the copy that was there stays.
    pub fn renew_executable(&self, _lock: &Lock, running: &Path) -> Result<bool> {
        let target = self.executable_path();
        let attempt = || -> Result<bool> {
            let source = open_running(running)?;
            let wanted = source.metadata()?;
            if let Ok(there) = fs::metadata(&target) {
                let same_file = running.canonicalize().ok() == target.canonicalize().ok();
                let mtime = |meta| file_facts::attributes(meta).mtime_s;
                if same_file || (there.len() == wanted.len() && mtime(&there) == mtime(&wanted)) {
                    return Ok(false);
                }
            }
            let folder = self.root().join(BIN);
            file_facts::create_private_dir(&folder)?;
            let mut copy = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(&folder)?;
            io::copy(&mut &source, copy.as_file_mut())?;
            file_facts::set_mode(copy.path(), 0o700)?;
            file_facts::set_mtime(copy.as_file(), file_facts::attributes(&wanted).mtime_s)?;
            copy.as_file().sync_all()?;
            copy.persist(&target)?;
            durable::sync_dir(&folder)?;
            Ok(true)
        };
        attempt().with_context(|| {
            format!("can't copy the executable {} to {}", running.display(), target.display())
        })
    }
}

/// Opens the running executable, also one that was rebuilt or removed since it started.
#[cfg(target_os = "linux")]
fn open_running(running: &Path) -> io::Result<File> {
    File::open(running).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => File::open("/proc/self/exe"),
        _ => Err(error),
    })
}

/// Opens the running executable.
#[cfg(not(target_os = "linux"))]
fn open_running(running: &Path) -> io::Result<File> {
    File::open(running)
}
