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
use crate::project::git::write_out::Mode;
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
            if self.keeps_databases && links::exists(&path.below(self.root)?)? {
                let is_same = self.is_as_committed(path)?;
                self.findings.extend((!is_same).then(|| kept(path)));
                continue;
            }
            wanted.databases.push(self.stage(path)?);
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
            let is_of_commit = self.written.tracked.contains_key(&database.path)
                || self.written.left_out.contains(&database.path);
            if !is_of_commit && self.scope.has(&database.path, false) {
                wanted.databases.push(database.clone());
                wanted.database_files.extend(stage_database::files(&database.path)?);
            }
        }
        Ok(())
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
    fn stage(&self, path: &SafePath) -> Result<Database> {
        let (tree, images) = (self.work.join(TREE), self.work.join(IMAGES));
        let image = path.below(&images)?;
        make_folder(image.parent().unwrap_or(&images))?;
        for file in stage_database::files(path)? {
            let is_written = !self.written.unwritten.contains_key(&file);
            if is_written && self.written.tracked.contains_key(&file) {
                let (from, to) = (file.below(&tree)?, file.below(&images)?);
                fs::rename(&from, &to).with_context(|| format!("can't move {}", from.display()))?;
            }
        }
        let short = self.written.commit.short();
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
            facts: Some(content),
            damage: Vec::new(),
            foreign_key_violations: report.foreign_keys,
        })
    }

    /// No file of the commit comes where a database is that stays, or beside one.
    pub(super) fn leave_databases_alone(&mut self, wanted: &mut Wanted<'_>, present: &mut Present) {
        let mut sides = Vec::new();
        let there = present.databases.clone();
        for path in &there {
            if self.keeps_databases && wanted.tree.remove(path).is_some() {
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
        for (bytes, _) in
            self.now.iter().filter(|(bytes, tracked)| tracked.submodule.is_none() && !bytes.is_empty())
        {
            let Ok(path) = SafePath::new(bytes.clone()) else { continue };
            if present.databases.binary_search(&path).is_ok()
                && !self.written.tracked.contains_key(&path)
                && !wanted.database_files.contains(&path)
                && self.scope.has(&path, false)
            {
                let text = "the commit has no such database; it stays as it is";
                self.findings.push(Finding::advice("database-stays", text).at(&path));
            }
        }
    }
}

fn kept(path: &SafePath) -> Finding {
    let text = "the commit has another one; the database stays as it is";
    Finding::advice("database-kept", text).at(path).hint("--restore-databases takes it from the commit")
}
