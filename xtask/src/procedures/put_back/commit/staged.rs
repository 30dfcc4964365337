//! The files of a commit as they lie in the workshop: what does not come is taken out again, since a folder
//! that is new moves to its place as a whole, and the others get their permissions.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::super::rename::OLD;
use super::super::super::wanted::Wanted;
use super::super::files::TREE;
use super::{Checkout, make_folder};
use crate::base::file_facts;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf};
use crate::project::git::write_out::Mode;
use crate::project::plan::{Change, Plan};

/// Permissions that a new file and a new folder get here, as from git.
pub(super) struct Umask {
    file: u32,
    /// Of a folder.
    pub folder: u32,
}

impl Umask {
    /// Finds out by making one of each in a folder of ours.
    pub fn probe(work: &Path) -> Result<Umask> {
        let (file, folder) = (work.join("probe-file"), work.join("probe-folder"));
        let attempt = || -> std::io::Result<Umask> {
            fs::File::create_new(&file)?;
            fs::create_dir(&folder)?;
            let mode =
                |path| Ok::<u32, std::io::Error>(file_facts::attributes(&fs::metadata(path)?).mode & 0o777);
            let found = Umask { file: mode(&file)?, folder: mode(&folder)? };
            fs::remove_file(&file)?;
            fs::remove_dir(&folder)?;
            Ok(found)
        };
        attempt().with_context(|| format!("can't write in {}", work.display()))
    }

    /// Of a file.
    pub fn file(&self, runs: bool) -> u32 {
        if runs { self.folder } else { self.file }
    }
}

impl Checkout<'_> {
    /// Makes what lies in the workshop what the plan needs of it.
    pub fn finish_staged(&self, plan: &Plan, wanted: &Wanted<'_>) -> Result<()> {
        let tree = self.work.join(TREE);
        make_folder(&self.work.join(OLD))?;
        let mut folders = BTreeSet::new();
        for (path, mode) in &self.written.tracked {
            if self.written.unwritten.contains_key(path) {
                continue;
            }
            let mut above = path.parent();
            while let Some(folder) = above.filter(|folder| !folders.contains(folder)) {
                above = folder.parent();
                folders.insert(folder);
            }
            if wanted.tree.contains_key(path) {
                continue;
            }
            let staged = path.below(&tree)?;
            let gone =
                if *mode == Mode::Submodule { fs::remove_dir(&staged) } else { fs::remove_file(&staged) };
            match gone {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {} // a database, staged elsewhere
                gone => gone.with_context(|| format!("can't remove {}", staged.display()))?,
            }
        }
        let unwanted = |folder: &&SafePath| !wanted.tree.get(*folder).is_some_and(Leaf::is_folder);
        for folder in folders.iter().rev().filter(unwanted) {
            let staged = folder.below(&tree)?;
            fs::remove_dir(&staged).with_context(|| format!("can't remove {}", staged.display()))?;
        }
        for step in plan.steps.iter().filter(|step| matches!(step.change, Change::Create | Change::Replace)) {
            let Some(after) = &step.after else { continue };
            let staged = step.path.below(&tree)?;
            match after.kind {
                Kind::Link { .. } => {}
                // Also one above a database that the commit does not have.
                Kind::Folder => {
                    make_folder(&staged)?;
                    file_facts::set_mode(&staged, after.mode)?;
                }
                Kind::File { .. } => self.give_owner_and_mode(&step.path, &staged, after.mode)?,
            }
        }
        Ok(())
    }

    /// A file that is replaced stays its owner's.
    fn give_owner_and_mode(&self, path: &SafePath, staged: &Path, mode: u32) -> Result<()> {
        if let Ok(live) = fs::symlink_metadata(path.below(self.root)?)
            && live.is_file()
        {
            let owner = file_facts::attributes(&live);
            // Where that is not possible it is ours, as with git.
            let _owned = file_facts::set_owner(staged, owner.uid, owner.gid)?;
        }
        file_facts::set_mode(staged, mode).with_context(|| format!("can't finish {}", staged.display()))
    }
}
