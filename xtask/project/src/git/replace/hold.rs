//! Git's own locks, held while replacements are made: `git commit`, `add`, `checkout`, `merge`, `rebase`,
//! `stash` and `gc` then end with git's usual message instead of writing into a folder that is being
//! replaced. A lock of ours is known by what is in it, so one that a killed run left can be removed.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::refusals;
use crate::base::durable;

/// In the order in which git takes them.
const LOCKS: [&str; 3] = ["index.lock", "HEAD.lock", "packed-refs.lock"];

/// Under this name a lock is written before it becomes one: whoever finds a lock of ours finds what it says.
const WRITTEN: &str = "xtask-lock";

/// What a lock of ours says.
const MARK: &str = "held by a restore of `cargo xtask`, which removes it when it ends\n";

/// Git's locks, held until this is dropped.
#[derive(Debug)]
pub struct Held {
    paths: Vec<PathBuf>,
}

/// Takes git's locks in a git folder ([`super::super::Git::folder`]). Those of ours that a killed run left
/// are taken over: the caller sees to it that no other run of ours is at work.
///
/// # Errors
/// `Refused` when another git process holds one; or when the folder can't be written.
pub fn take(folder: &Path) -> Result<Held> {
    sweep(folder)?;
    let mut held = Held { paths: Vec::new() };
    let written = folder.join(WRITTEN);
    let mut file =
        fs::File::create_new(&written).with_context(|| format!("can't write {}", written.display()))?;
    held.paths.push(written.clone());
    file.write_all(MARK.as_bytes()).with_context(|| format!("can't write {}", written.display()))?;
    drop(file);
    for name in LOCKS {
        let path = folder.join(name);
        match make(&written, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(refusals::locked(&path));
            }
            made => made.with_context(|| format!("can't write {}", path.display()))?,
        }
        held.paths.push(path);
    }
    Ok(held)
}

/// Makes a lock in one step; where there are no hard links, in two.
fn make(written: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(written, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            fs::File::create_new(path)?.write_all(MARK.as_bytes())
        }
        made => made,
    }
}

/// Removes the locks of ours that a killed run left in a git folder; git's own are left alone.
///
/// # Errors
/// When one can't be removed.
pub fn sweep(folder: &Path) -> Result<()> {
    let written = folder.join(WRITTEN);
    let locks = LOCKS.map(|name| folder.join(name)).into_iter().filter(|path| is_ours(path));
    for path in locks.chain(fs::symlink_metadata(&written).is_ok().then_some(written)) {
        durable::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
    }
    Ok(())
}

/// Whether a lock is ours. One that can't be read passes for git's, which is safe.
pub(super) fn is_ours(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
        && fs::read(path).is_ok_and(|text| text == MARK.as_bytes())
}

impl Drop for Held {
    fn drop(&mut self) {
        for path in &self.paths {
            // Dropping can't fail; a lock that stays is found, and named as ours, by the next run.
            let _ = durable::remove_file(path);
        }
    }
}
