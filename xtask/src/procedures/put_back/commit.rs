//! The files of a commit, to be put over a living project. The whole commit is written into the workshop, as
//! git would write it into an empty folder; then what must not be touched is taken out again, and what git
//! tracks now and the commit does not have is found. From there on it is a restore like any other.
//!
//! Only what git tracks is its concern: what git ignores stays, what is untracked goes only where it is in the
//! way, and databases are no files.

mod databases;
mod staged;
mod untouchable;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use self::staged::Umask;
use super::super::present::Present;
use super::super::scope::Scope;
use super::super::stage_database;
use super::super::wanted::Wanted;
use super::files::TREE;
use super::source::{Databases, FromCommit};
use crate::base::digest::Digest;
use crate::base::failure::{Failure, Kind as FailureKind};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::links;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf};
use crate::project::databases as project_databases;
use crate::project::git::Git;
use crate::project::git::tracked::{self, Tracked};
use crate::project::git::write_out::{self, Beside, Mode, Unwritten, WrittenOut};

/// A commit that was written out, and what git tracks now.
pub(super) struct Checkout<'a> {
    root: &'a Path,
    scope: &'a Scope,
    work: &'a Path,
    keeps_databases: bool,
    /// The backup that databases come from.
    backup: Option<BackupId>,
    written: WrittenOut,
    now: BTreeMap<Vec<u8>, Tracked>,
    trusts_modes: bool,
    umask: Umask,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

impl<'a> Checkout<'a> {
    /// Writes the commit into the workshop, and tells what is wanted of it.
    ///
    /// # Errors
    /// When it can't be written out, or a database in it is damaged (`Refused`); when there is no room.
    pub fn begin(
        root: &'a Path,
        git: &Git,
        from: &FromCommit<'_>,
        scope: &'a Scope,
        work: &'a Path,
        monitor: &dyn Monitor,
    ) -> Result<(Checkout<'a>, Wanted<'a>)> {
        monitor.step("writing the commit out", None);
        // With a database comes what the commit has beside it.
        let wants = |path: &SafePath, is_folder: bool| {
            scope.has(path, is_folder) || project_databases::is_side_file(path.bytes())
        };
        let beside = Beside { root, wants: &wants };
        let mut written = write_out::write_out(git, from.commit, &work.join(TREE), Some(&beside))?;
        let mut checkout = Checkout {
            root,
            scope,
            work,
            keeps_databases: matches!(from.databases, Databases::Kept),
            backup: match from.databases {
                Databases::Restored(Some(backup)) => Some(backup.manifest.id.clone()),
                Databases::Restored(None) | Databases::Kept => None,
            },
            findings: std::mem::take(&mut written.findings),
            written,
            now: tracked::tracked(git)?,
            trusts_modes: git.trusts_modes(),
            umask: Umask::probe(work)?,
        };
        let mut wanted = Wanted::default();
        checkout.files(&mut wanted)?;
        monitor.step("checking databases", None);
        checkout.take_databases(&mut wanted, from)?;
        let folder = checkout.umask.folder;
        let not_both = |path: &SafePath, text: String| {
            Failure::new(
                FailureKind::Refused,
                format!("the database {path} comes from the backup, and {text}"),
            )
            .hint("keep the databases as they are: --keep-databases")
        };
        wanted
            .add_folders_above(&|_| folder)
            .map_err(|(path, above)| not_both(&path, format!("in the commit {above} is no folder")))?;
        let is_folder = |path: &&SafePath| wanted.tree.contains_key(*path);
        if let Some(path) = wanted.databases.iter().map(|database| &database.path).find(is_folder) {
            return Err(not_both(path, "in the commit that is a folder".to_owned()).into());
        }
        Ok((checkout, wanted))
    }

    /// Files, links and submodules of the commit.
    fn files(&self, wanted: &mut Wanted<'_>) -> Result<()> {
        let tree = self.work.join(TREE);
        for (path, mode) in &self.written.tracked {
            interrupt::check()?;
            if !self.scope.has(path, *mode == Mode::Submodule) {
                continue;
            }
            let staged = path.below(&tree)?;
            let leaf = match mode {
                // It is there; what it is, is known when the project was looked at (see `settle_same`).
                Mode::File | Mode::Executable if self.written.unwritten.contains_key(path) => Leaf {
                    kind: Kind::File { size: u64::MAX, digest: None },
                    mode: self.umask.file(*mode == Mode::Executable),
                },
                Mode::Submodule => {
                    wanted.open.insert(path.clone());
                    Leaf { kind: Kind::Folder, mode: self.umask.folder }
                }
                Mode::Link => Leaf { kind: Kind::Link { target: links::read(&staged)? }, mode: 0o777 },
                Mode::File | Mode::Executable => {
                    let size = fs::symlink_metadata(&staged)?.len();
                    // Where the sizes differ, that tells enough.
                    let live = fs::symlink_metadata(path.below(self.root)?);
                    let digest = if live.is_ok_and(|live| live.is_file() && live.len() == size) {
                        let read = fs::File::open(&staged).and_then(|mut file| Digest::of_reader(&mut file));
                        Some(read.with_context(|| format!("can't read {}", staged.display()))?.0)
                    } else {
                        None
                    };
                    Leaf {
                        kind: Kind::File { size, digest },
                        mode: self.umask.file(*mode == Mode::Executable),
                    }
                }
            };
            wanted.tree.insert(path.clone(), leaf);
        }
        Ok(())
    }

    /// Takes out of what is wanted what must not be touched, and finds what goes: what git tracks now and the
    /// commit does not have, and folders that hold nothing else.
    ///
    /// # Errors
    /// When the project can't be read, or git can't tell what it ignores (`Refused`).
    pub fn settle(&mut self, wanted: &mut Wanted<'_>, present: &mut Present) -> Result<BTreeSet<SafePath>> {
        if let Some(finding) = present.findings.iter().find(|finding| finding.code == "git-classify") {
            return Err(Failure::new(FailureKind::Refused, finding.message.clone())
                .hint("what it ignores must stay; see what `git status --ignored` says")
                .into());
        }
        self.settle_same(wanted, present)?;
        self.leave_databases_alone(wanted, present)?;
        self.refuse_without_backup(wanted, present)?;
        self.leave_alone(wanted, present)?;
        // What is left of the folders above.
        let modules: BTreeSet<SafePath> = self.modules(wanted);
        wanted.tree.retain(|path, leaf| !leaf.is_folder() || modules.contains(path));
        wanted.open = modules;
        let folder = self.umask.folder;
        wanted.add_folders_above(&|_| folder).map_err(|(path, above)| {
            anyhow::anyhow!("the commit has {path} below {above}, which is no folder")
        })?;
        self.settle_modes(wanted, present);
        self.leaving(wanted, present)
    }

    /// Files that were found to be in the project already are in it still.
    fn settle_same(&self, wanted: &mut Wanted<'_>, present: &mut Present) -> Result<()> {
        for (path, unwritten) in &self.written.unwritten {
            let (Unwritten::Same(then), Some(leaf)) = (unwritten, wanted.tree.get_mut(path)) else {
                continue;
            };
            let now = present.tree.get_mut(path).filter(|_| present.identities.get(path) == Some(then));
            let Some(now) = now else {
                let text = format!("{path} changed while the restore was planned; nothing was restored");
                return Err(Failure::new(FailureKind::Failed, text)
                    .hint("run it again; if a program writes to it all the time, stop that first")
                    .into());
            };
            // The id of the blob was found equal; any digest says so.
            let kind = Kind::File { size: then.size, digest: Some(Digest::of(path.bytes())) };
            (leaf.kind, now.kind) = (kind.clone(), kind);
        }
        Ok(())
    }

    fn modules(&self, wanted: &Wanted<'_>) -> BTreeSet<SafePath> {
        let is_module = |path: &&SafePath| self.written.tracked.get(*path) == Some(&Mode::Submodule);
        wanted.tree.keys().filter(is_module).cloned().collect()
    }

    /// Git knows one bit of permissions; the others of a file that is there stay as they are.
    fn settle_modes(&self, wanted: &mut Wanted<'_>, present: &Present) {
        for (path, leaf) in &mut wanted.tree {
            let Some(now) = present.tree.get(path) else { continue };
            if let (Kind::File { .. }, Kind::File { .. }) = (&leaf.kind, &now.kind) {
                let runs = leaf.mode & 0o100 != 0;
                leaf.mode = match self.trusts_modes {
                    true if runs => now.mode | (now.mode & 0o444) >> 2,
                    true => now.mode & !0o111,
                    false => now.mode,
                };
            }
        }
    }

    fn leaving(&mut self, wanted: &Wanted<'_>, present: &mut Present) -> Result<BTreeSet<SafePath>> {
        let mut leaving = BTreeSet::new();
        let there = present.all_databases();
        let coming = wanted.databases.iter().map(|database| &database.path);
        let sides = side_files(there.iter().chain(coming))?;
        for (bytes, tracked) in &self.now {
            // One that can't be used as a path here is not there either.
            let Ok(path) = SafePath::new(bytes.clone()) else { continue };
            let stays = self.written.tracked.contains_key(&path)
                || self.written.left_out.contains(&path)
                || tracked.skipped
                || !self.scope.has(&path, tracked.submodule.is_some());
            // What lies beside a database is a part of it, and may hold its newest rows.
            if stays || there.binary_search(&path).is_ok() || sides.contains(&path) {
                continue;
            }
            if tracked.submodule.is_some() {
                match fs::read_dir(path.below(self.root)?).map(|mut names| names.next().is_none()) {
                    Ok(true) => drop(leaving.insert(path)),
                    Ok(false) => {
                        let text = "the commit has no such submodule; its files are its own, and stay";
                        self.findings.push(Finding::advice("submodule-stays", text).at(&path));
                    }
                    Err(_) => {} // it is not there, or no folder, and then not the submodule
                }
                continue;
            }
            if !present.tree.contains_key(&path) {
                present.look_again(self.root, &path, wanted)?;
            }
            if present.tree.get(&path).is_some_and(|leaf| !leaf.is_folder()) {
                leaving.insert(path);
            }
        }
        let mut folders = BTreeSet::new();
        for path in &leaving {
            let mut above = path.parent();
            while let Some(folder) = above.filter(|folder| !wanted.tree.contains_key(folder)) {
                above = folder.parent();
                if present.tree.get(&folder).is_some_and(Leaf::is_folder) && !folders.insert(folder) {
                    break;
                }
            }
        }
        leaving.extend(folders);
        Ok(leaving)
    }

    /// Whether git tracks something in a folder now.
    fn tracks_below(&self, folder: &SafePath) -> bool {
        let start = [folder.bytes(), b"/"].concat();
        self.now.range(start.clone()..).next().is_some_and(|(path, _)| path.starts_with(&start))
    }

    /// Whether anything of the commit, or of what is tracked now, is meant.
    pub fn concerns_something(&self, wanted: &Wanted<'_>) -> bool {
        let named =
            |bytes: &Vec<u8>| SafePath::new(bytes.clone()).is_ok_and(|path| self.scope.has(&path, false));
        !wanted.tree.is_empty() || !wanted.databases.is_empty() || self.now.keys().any(named)
    }

    /// What a sparse checkout leaves out of this working copy.
    pub fn left_out(&self) -> &BTreeSet<SafePath> {
        &self.written.left_out
    }
}

/// What SQLite has beside databases.
fn side_files<'p>(databases: impl Iterator<Item = &'p SafePath>) -> Result<BTreeSet<SafePath>> {
    let mut all = BTreeSet::new();
    for path in databases {
        all.extend(stage_database::files(path)?.into_iter().skip(1));
    }
    Ok(all)
}

/// Makes a private folder, with those above it.
fn make_folder(path: &Path) -> Result<()> {
    file_facts::create_private_dir(path).with_context(|| format!("can't make {}", path.display()))
}
