//! One step of a restore over a living project: what is at a path goes aside, what was staged takes its place.
//! Both are renames within one file system, and what lies where tells which of them is done; so a step can be
//! taken, taken again, and taken back, whenever the process was killed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::base::file_facts;
use crate::base::links;
use crate::base::safe_path::SafePath;

/// The folder, in the workshop's run, of what was moved aside.
pub const OLD: &str = "old";

/// Moves something aside, or something staged into its place, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// Where, from the project's root.
    pub path: SafePath,
    /// Below the workshop's run: what comes.
    #[serde(default)]
    pub staged: Option<SafePath>,
    /// Below the workshop's run: where what is there now goes.
    #[serde(default)]
    pub old: Option<SafePath>,
    /// A folder that goes only when it is empty by then.
    #[serde(default)]
    pub if_empty: bool,
}

impl Rename {
    /// Takes the step.
    ///
    /// # Errors
    /// When something appeared at the path meanwhile, or the system refuses.
    pub fn forward(&self, root: &Path, work: &Path) -> Result<()> {
        let path = self.path.below(root)?;
        let staged = self.staged.as_ref().map(|staged| staged.below(work)).transpose()?;
        let comes = match &staged {
            Some(staged) => links::exists(staged)?,
            None => false,
        };
        if let Some(old) = &self.old {
            let old = old.below(work)?;
            let to_go = !links::exists(&old)? && (comes || staged.is_none()) && links::exists(&path)?;
            // A file is replaced in one step, so that its name is there at every moment: `.git/HEAD`, without
            // which there is no repository, for one.
            if let Some(staged) = staged.as_ref().filter(|_| comes)
                && is_file(staged)
                && is_file(&path)
                && (links::exists(&old)? && is_same(&old, &path)
                    || to_go && fs::hard_link(&path, &old).is_ok())
            {
                within(root, &self.path)?;
                return fs::rename(staged, &path)
                    .with_context(|| format!("can't move {} to its place", path.display()));
            }
            if to_go && !(self.if_empty && fs::read_dir(&path)?.next().is_some()) {
                within(root, &self.path)?;
                fs::rename(&path, &old)
                    .with_context(|| format!("can't move {} out of the way", path.display()))?;
            }
        }
        if let Some(staged) = staged.filter(|_| comes) {
            within(root, &self.path)?;
            ensure!(!links::exists(&path)?, "{} appeared meanwhile", path.display());
            fs::rename(&staged, &path)
                .with_context(|| format!("can't move {} to its place", path.display()))?;
        }
        Ok(())
    }

    /// Takes the step back.
    ///
    /// # Errors
    /// When something else is at the path by now, or the system refuses.
    pub fn back(&self, root: &Path, work: &Path) -> Result<()> {
        let path = self.path.below(root)?;
        if let Some(staged) = &self.staged {
            let staged = staged.below(work)?;
            if !links::exists(&staged)? && links::exists(&path)? {
                within(root, &self.path)?;
                fs::rename(&path, &staged).with_context(|| format!("can't take {} back", path.display()))?;
            }
        }
        let Some(old) = &self.old else { return Ok(()) };
        let old = old.below(work)?;
        if links::exists(&old)? {
            within(root, &self.path)?;
            if is_same(&old, &path) {
                // It was about to be replaced, and was not.
                return fs::remove_file(&old).with_context(|| format!("can't remove {}", old.display()));
            }
            ensure!(
                !links::exists(&path)?,
                "{} appeared meanwhile, and what was there before lies in {}",
                path.display(),
                old.display()
            );
            fs::rename(&old, &path).with_context(|| format!("can't move {} back", path.display()))?;
        }
        Ok(())
    }
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

/// Whether two names lead to one file.
fn is_same(a: &Path, b: &Path) -> bool {
    let inode = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Some(file_facts::identity(&meta).inode),
        // What is not there, or no file, is no other name of anything.
        _ => None,
    };
    // Where there are no inodes, nothing is known to be the same.
    inode(a).is_some_and(|inode| inode != (0, 0)) && inode(a) == inode(b)
}

/// Every folder above a path is a folder of the project and no link: nothing is moved out of it.
fn within(root: &Path, path: &SafePath) -> Result<()> {
    let mut above = path.parent();
    while let Some(folder) = above {
        let place = folder.below(root)?;
        let meta = fs::symlink_metadata(&place).with_context(|| format!("can't find {}", place.display()))?;
        ensure!(meta.is_dir(), "{} is no folder any more", place.display());
        above = folder.parent();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(path: &str, staged: bool, old: bool) -> Rename {
        let safe = |text: &str| SafePath::new(text).unwrap();
        Rename {
            path: safe(path),
            staged: staged.then(|| safe(&format!("tree/{path}"))),
            old: old.then(|| safe("old/0")),
            if_empty: false,
        }
    }

    /// Wherever it was killed, going on and going back lead to the same two states.
    #[test]
    fn every_state_in_between_can_be_finished_and_taken_back() {
        for (staged, old) in [(true, true), (true, false), (false, true)] {
            for (killed_after, linked) in [(0, false), (1, false), (2, false), (1, true), (2, true)] {
                for forward in [true, false] {
                    let root = tempfile::tempdir().unwrap();
                    let work = root.path().join(".work");
                    fs::create_dir_all(work.join("tree")).unwrap();
                    fs::create_dir(work.join(OLD)).unwrap();
                    let path = root.path().join("x");
                    if old {
                        fs::write(&path, "old").unwrap();
                    }
                    if staged {
                        fs::write(work.join("tree/x"), "new").unwrap();
                    }
                    if old && killed_after > 0 {
                        let aside = work.join("old/0");
                        // Both ways lead here: with a second name first, and by one rename after the other.
                        if linked && staged {
                            fs::hard_link(&path, &aside)
                        } else {
                            fs::rename(&path, &aside)
                        }
                        .unwrap();
                    }
                    if staged && killed_after > 1 {
                        fs::rename(work.join("tree/x"), &path).unwrap();
                    }
                    let step = rename("x", staged, old);
                    for _ in 0..2 {
                        let go = if forward { Rename::forward } else { Rename::back };
                        go(&step, root.path(), &work).unwrap();
                    }
                    let expected = match (forward, staged, old) {
                        (true, true, _) => Some("new"),
                        (true, false, _) | (false, _, false) => None,
                        (false, _, true) => Some("old"),
                    };
                    assert_eq!(
                        fs::read_to_string(&path).ok().as_deref(),
                        expected,
                        "{step:?} {killed_after}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_is_overwritten_and_no_link_followed() {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join(".work");
        fs::create_dir_all(work.join("tree/d")).unwrap();
        fs::write(work.join("tree/x"), "new").unwrap();
        fs::write(root.path().join("x"), "somebody's").unwrap();
        assert!(rename("x", true, false).forward(root.path(), &work).is_err());
        assert_eq!(fs::read_to_string(root.path().join("x")).unwrap(), "somebody's");
        #[cfg(unix)]
        {
            let outside = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink(outside.path(), root.path().join("d")).unwrap();
            fs::write(work.join("tree/d/y"), "new").unwrap();
            assert!(rename("d/y", true, false).forward(root.path(), &work).is_err());
            assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
        }
    }
}
