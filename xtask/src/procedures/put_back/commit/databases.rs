//! Databases in a restore of a commit. Those that are there stay, unless it is asked otherwise; then what the
//! commit tracks comes from it, like an image out of a backup, and everything else from a backup.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::super::marks;
use super::super::super::present::Present;
use super::super::super::stage_database;
use super::super::super::wanted::Wanted;
use super::super::databases::IMAGES;
use super::super::files::TREE;
use super::super::source::FromCommit;
use super::{Checkout, make_folder, side_files};
use crate::archive::manifest::{Database, Form};
use crate::base::digest::Digest;
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::links;
use crate::base::safe_path::SafePath;
use crate::project::databases;
use crate::project::git::write_out::{self, Mode};
use crate::sqlite::{check, facts, fold};

impl Checkout<'_> {
    /// Takes databases out of the files that are wanted, and adds those of the backup.
    pub(super) fn take_databases(&mut self, wanted: &mut Wanted<'_>, from: &FromCommit<'_>) -> Result<()> {
        let tree = self.work.join(TREE);
        let mut of_commit = Vec::new();
        for (path, mode) in &self.written.tracked {
            let staged = path.below(&tree)?;
            // What was not written is no database, or nobody asked for it.
            let is_file =
                matches!(mode, Mode::File | Mode::Executable) && !self.written.unwritten.contains_key(path);
            if is_file && databases::has_header(&staged, fs::symlink_metadata(&staged)?.len())? {
                of_commit.push(path.clone());
            }
        }
        for path in of_commit.iter().filter(|path| self.scope.has(path, false)) {
            wanted.tree.remove(path);
            if self.keeps_databases && self.is_there(path)? {
                let is_same = self.is_as_committed(path)?;
                self.findings.extend((!is_same).then(|| kept(path)));
                continue;
            }
            wanted.databases.push(self.stage(path, &of_commit)?);
            wanted.staged.insert(path.clone());
            wanted.database_files.extend(stage_database::files(path)?);
        }
        for side in side_files(of_commit.iter())? {
            wanted.tree.remove(&side);
        }
        let backup = match from.databases {
            super::Databases::Restored(Some(backup)) => backup,
            _ => return Ok(()),
        };
        for database in &backup.manifest.databases {
            if self.stands_for_content(&database.path)? {
                wanted.tree.remove(&database.path);
            } else if self.written.tracked.contains_key(&database.path) {
                continue;
            }
            let is_of_commit = self.written.left_out.contains(&database.path);
            if !is_of_commit && self.scope.has(&database.path, false) {
                wanted.databases.push(database.clone());
                wanted.database_files.extend(stage_database::files(&database.path)?);
            }
        }
        Ok(())
    }

    /// Whether something that is no folder is at a path, and not behind a link.
    fn is_there(&self, path: &SafePath) -> Result<bool> {
        let meta = fs::symlink_metadata(path.below(self.root)?);
        Ok(!links::leads_elsewhere(self.root, path)? && meta.is_ok_and(|meta| !meta.is_dir()))
    }

    /// Whether the commit has an empty file or a pointer of Git LFS at a path: the database itself is elsewhere.
    pub(super) fn stands_for_content(&self, path: &SafePath) -> Result<bool> {
        let is_file = matches!(self.written.tracked.get(path), Some(Mode::File | Mode::Executable));
        if !is_file || self.written.unwritten.contains_key(path) {
            return Ok(false);
        }
        let staged = path.below(&self.work.join(TREE))?;
        Ok(match fs::symlink_metadata(&staged) {
            Ok(meta) => meta.len() == 0 || write_out::is_lfs_pointer(&staged)?,
            Err(_) => false, // a database, staged elsewhere
        })
    }

    /// Whether the files of a database are those of the commit, byte for byte. They are read as files: nothing of
    /// this process has a database open yet.
    fn is_as_committed(&self, path: &SafePath) -> Result<bool> {
        let read = |file: &SafePath, root: &Path| -> Result<Option<Digest>> {
            let file = file.below(root)?;
            match fs::File::open(&file).and_then(|mut file| Digest::of_reader(&mut file)) {
                Ok((_, 0)) => Ok(None),
                Ok((digest, _)) => Ok(Some(digest)),
                Err(error) if marks::is_gone(&error) => Ok(None),
                Err(error) => Err(error).with_context(|| format!("can't read {}", file.display())),
            }
        };
        let tree = self.work.join(TREE);
        let size = |root: &Path| -> Result<u64> { Ok(fs::symlink_metadata(path.below(root)?)?.len()) };
        if size(self.root)? != size(&tree)? {
            return Ok(false);
        }
        let [main, wal, _, journal] = stage_database::files(path)?;
        for file in [main, wal, journal] {
            if read(&file, self.root)? != read(&file, &tree)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves a database of the commit to where images are staged, with what the commit has beside it, and
    /// checks it.
    fn stage(&self, path: &SafePath, of_commit: &[SafePath]) -> Result<Database> {
        let short = self.written.commit.short();
        let (tree, images) = (self.work.join(TREE), self.work.join(IMAGES));
        let image = path.below(&images)?;
        make_folder(image.parent().unwrap_or(&images))?;
        if let Some(other) = of_commit
            .iter()
            .find(|other| stage_database::files(path).is_ok_and(|files| files[1..].contains(other)))
        {
            let text = format!(
                "the commit {short} has {path} and {other} as databases, and SQLite takes one for a part of the other"
            );
            return Err(Failure::new(Kind::Refused, text)
                .hint("keep the databases as they are: --keep-databases")
                .into());
        }
        for file in stage_database::files(path)? {
            let is_written = !self.written.unwritten.contains_key(&file);
            if is_written && self.written.tracked.contains_key(&file) {
                let (from, to) = (file.below(&tree)?, file.below(&images)?);
                fs::rename(&from, &to).with_context(|| format!("can't move {}", from.display()))?;
            }
        }
        let damaged = |why: String| {
            Failure::new(
                Kind::Refused,
                format!("the database {path} in the commit {short} is damaged: {why}"),
            )
            .hint("keep the databases as they are: --keep-databases")
            .hint(format!("or bring this one back from a backup: cargo xtask restore BACKUP --only {path}"))
        };
        file_facts::set_mode(&image, 0o600)?;
        fold::fold(&image).map_err(|error| damaged(format!("{error:#}")))?;
        let report = check::check(&image)?;
        if let Some(first) = report.damage.first() {
            return Err(damaged(first.clone()).into());
        }
        let content = facts::facts(&image).map_err(|error| damaged(format!("{error:#}")))?;
        let (digest, bytes) = Digest::of_reader(&mut fs::File::open(&image)?)?;
        let live = fs::symlink_metadata(path.below(self.root)?).ok().filter(fs::Metadata::is_file);
        let mode = live.map_or(self.umask.file(false), |live| file_facts::attributes(&live).mode);
        Ok(Database {
            path: path.clone(),
            form: Form::Image,
            mode,
            bytes,
            image: Some(digest),
            dump: false,
            dump_partial: false,
            dump_logical: None,
            facts: Some(content),
            damage: Vec::new(),
            damaged_tables: Vec::new(),
            foreign_key_violations: report.foreign_keys,
            seen: None,
        })
    }

    /// No file of the commit comes where a database is that stays, or beside one.
    pub(super) fn leave_databases_alone(
        &mut self,
        wanted: &mut Wanted<'_>,
        present: &mut Present,
    ) -> Result<()> {
        let mut sides = Vec::new();
        let there = present.all_databases();
        for path in &there {
            let stays = self.keeps_databases || self.stands_for_content(path)?;
            if stays && wanted.tree.remove(path).is_some() {
                present.forget(path);
                self.findings.push(kept(path));
            }
            sides.extend(stage_database::files(path).into_iter().flatten().skip(1));
        }
        for side in sides {
            if wanted.tree.remove(&side).is_some() {
                let text =
                    "the commit has it, and it would be part of the database beside it, which is another";
                self.findings.push(Finding::advice("database-side-file", text).at(&side));
            }
            present.forget(&side);
        }
        for path in self.left(wanted, &there) {
            let is_new = self.now.contains_key(path.bytes()) && !self.written.tracked.contains_key(path);
            let text = match &self.backup {
                _ if self.keeps_databases && is_new => {
                    "the commit has no such database; it stays as it is".to_owned()
                }
                Some(backup) => format!("neither the commit nor backup {backup} holds it; it stays as it is"),
                None => continue,
            };
            self.findings.push(Finding::advice("database-stays", text).at(path));
        }
        Ok(())
    }

    /// Databases that are there, are meant, and nothing comes for.
    fn left<'p>(&self, wanted: &Wanted<'_>, there: &'p [SafePath]) -> Vec<&'p SafePath> {
        let comes = |path: &SafePath| {
            wanted.database_files.contains(path)
                || wanted.tree.contains_key(path)
                || self.written.left_out.contains(path)
        };
        there.iter().filter(|path| !comes(path) && self.scope.has(path, false)).collect()
    }

    /// Databases are to be put back, and for one that is there nothing is at hand.
    pub(super) fn refuse_without_backup(&self, wanted: &Wanted<'_>, present: &Present) -> Result<()> {
        if self.keeps_databases || self.backup.is_some() {
            return Ok(());
        }
        let there = present.all_databases();
        let Some(path) = self.left(wanted, &there).first().copied() else { return Ok(()) };
        let text = format!(
            "there is no undamaged backup of the time of commit {} for the database {path}, which it does not track",
            self.written.commit.short()
        );
        Err(Failure::new(Kind::NotFound, text)
            .hint("cargo xtask restore-git list shows the backup of each commit")
            .hint("or keep the databases as they are: --keep-databases")
            .into())
    }
}

fn kept(path: &SafePath) -> Finding {
    let text = "the commit has another one; the database stays as it is";
    Finding::advice("database-kept", text).at(path).hint("--restore-databases takes it from the commit")
}
