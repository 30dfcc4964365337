//! One step of a restore over a living project: what is at a path goes aside, what was staged takes its place.
//! Both are renames within one file system, and what lies where tells which of them is done; so a step can be
//! taken, taken again, and taken back, whenever the process was killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::marks::Marks;
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
                move_folder(&path, &old)
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

    /// Takes the step back. What somebody wrote since is kept, at a name beside the path where something else
    /// goes back there; where it lies then is returned. `came` tells what was staged, `log` where rows of a
    /// database that came may lie besides.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn back(
        &self,
        root: &Path,
        work: &Path,
        came: &Marks,
        log: Option<&SafePath>,
    ) -> Result<Option<PathBuf>> {
        let path = self.path.below(root)?;
        let staged = self.staged.as_ref().map(|staged| staged.below(work)).transpose()?;
        let waits = match &staged {
            Some(staged) => links::exists(staged)?,
            None => false,
        };
        let old = self.old.as_ref().map(|old| old.below(work)).transpose()?;
        let went = match &old {
            Some(old) => links::exists(old)?,
            None => false,
        };
        if !went && (old.is_some() || !links::exists(&path)?) {
            return Ok(None); // never taken, or taken back before
        }
        within(root, &self.path)?;
        let log = log.map(|log| log.below(root)).transpose()?;
        let log = log.filter(|log| fs::symlink_metadata(log).is_ok_and(|meta| meta.len() > 0));
        let mut kept = None;
        if let Some(staged) = staged.filter(|_| !waits) {
            if came.changed(&self.path, &path)?.is_some() || log.is_some() {
                kept = Some(if went { keep(&path, log.as_deref())? } else { path.clone() });
            } else if links::exists(&path)? {
                let told = || format!("can't take {} back", path.display());
                move_folder(&path, &staged).with_context(told)?;
            }
        }
        let Some(old) = old.filter(|_| went) else { return Ok(kept) };
        if is_same(&old, &path) || waits && is_file(&path) && was_linked(&old) {
            // It was about to be replaced, and was not; or somebody saved it anew just then.
            fs::remove_file(&old).with_context(|| format!("can't remove {}", old.display()))?;
            return Ok(kept);
        }
        if links::exists(&path)? {
            kept = Some(keep(&path, None)?);
        }
        fs::rename(&old, &path).with_context(|| format!("can't move {} back", path.display()))?;
        Ok(kept)
    }
}

/// Gives what somebody wrote a name beside the one that is needed.
fn keep(path: &Path, log: Option<&Path>) -> Result<PathBuf> {
    let mut number = 1;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 1 { ".changed".to_owned() } else { format!(".changed-{number}") });
        let free = PathBuf::from(name);
        if links::exists(&free)? {
            number += 1;
            continue;
        }
        let told = || format!("can't move {} out of the way", path.display());
        if let Some(log) = log {
            let mut beside = free.as_os_str().to_owned();
            beside.push("-wal");
            fs::rename(log, beside).with_context(told)?;
        }
        move_folder(path, &free).with_context(told)?;
        return Ok(free);
    }
}

/// Moves a file, or a folder even where its owner has not the right to write in it, which moving it needs.
fn move_folder(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    let mode = file_facts::attributes(&meta).mode;
    if meta.is_dir() && mode & 0o300 != 0o300 {
        file_facts::set_mode(from, mode | 0o700)?;
    }
    fs::rename(from, to)
}

/// Whether a file that lies aside got there as a second name, so that its first one was never free.
fn was_linked(old: &Path) -> bool {
    let mut name = old.as_os_str().to_owned();
    name.push("-linked");
    let probe = PathBuf::from(name);
    let links = is_file(old) && fs::hard_link(old, &probe).is_ok();
    // It lies in the workshop, and goes with it.
    let _ = fs::remove_file(&probe);
    links
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
                    let mut came = Marks::default();
                    for place in [work.join("tree/x"), path.clone()] {
                        if staged && fs::read(&place).is_ok_and(|text| text == b"new") {
                            came.add(&step.path, &place).unwrap();
                        }
                    }
                    for _ in 0..2 {
                        if forward {
                            step.forward(root.path(), &work).unwrap();
                        } else {
                            assert_eq!(step.back(root.path(), &work, &came, None).unwrap(), None);
                        }
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

    /// What somebody wrote in between is there afterwards, and so is what was there before.
    #[test]
    fn nothing_that_somebody_wrote_is_lost_on_the_way_back() {
        for (old, state, written, beside) in [
            (true, "came", "theirs", Some("theirs")),
            (false, "came", "theirs", None),
            (true, "moved", "theirs", Some("theirs")),
            (true, "linked", "theirs", None),
            (true, "linked", "saved anew", None),
            (false, "waits", "theirs", None),
        ] {
            let root = tempfile::tempdir().unwrap();
            let work = root.path().join(".work");
            fs::create_dir_all(work.join("tree")).unwrap();
            fs::create_dir(work.join(OLD)).unwrap();
            let (path, staged, aside) = (root.path().join("x"), work.join("tree/x"), work.join("old/0"));
            let step = rename("x", true, old);
            fs::write(&staged, "new").unwrap();
            let mut came = Marks::default();
            came.add(&step.path, &staged).unwrap();
            match state {
                // A file is never away, but a folder is.
                "moved" => fs::create_dir(&path).unwrap(),
                _ if old => fs::write(&path, "old").unwrap(),
                _ => {}
            }
            match state {
                "came" => step.forward(root.path(), &work).unwrap(),
                "moved" => fs::rename(&path, &aside).unwrap(),
                "linked" => fs::hard_link(&path, &aside).unwrap(),
                _ => {}
            }
            if written == "saved anew" {
                fs::write(root.path().join("y"), written).unwrap();
                fs::rename(root.path().join("y"), &path).unwrap();
            } else {
                fs::write(&path, written).unwrap();
            }
            for _ in 0..2 {
                step.back(root.path(), &work, &came, None).unwrap();
            }
            let read = |path: PathBuf| match path.is_dir() {
                true => Some("old".to_owned()),
                false => fs::read_to_string(path).ok(),
            };
            let here = if old && beside.is_some() { "old" } else { written };
            assert_eq!(read(path).as_deref(), Some(here), "{state} {written}");
            assert_eq!(read(root.path().join("x.changed")).as_deref(), beside, "{state} {written}");
            assert!(!aside.exists());
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
