//! Carries out what was prepared: a safety copy, the locks of the databases, a last look whether anything
//! changed, the journal, and following it. Until the journal is written nothing has changed; from then on it comes
//! to one of two ends, whatever the user types, and after a kill the journal leads to the same.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::journal::{self, Journal};
use super::super::marks::{self, Mark, Marks};
use super::super::rename::Rename;
use super::super::take::{self, Request};
use super::super::workshop::Workshop;
use super::files::{TREE, opened};
use super::{DatabaseStep, Done, GitStep, Prepared, Shop, State, databases, repository};
use crate::archive::layout::{self, Part};
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::kind::BackupKind;
use crate::base::links;
use crate::base::monitor::Monitor;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::base::tree::Leaf;
use crate::project::root::Project;
use crate::store::Store;
use crate::store::lock::Lock;
use crate::store::undo_log::{GitTouch, Record};

/// How often a safety copy is taken again because somebody wrote to a database after it.
const SAFETY_TRIES: usize = 3;

impl Prepared<'_> {
    /// Carries the plan out. Without `safety` no copy is taken before, and it can't be undone.
    ///
    /// # Errors
    /// When it can't be carried out: everything is as it was then, and the error says so.
    pub fn apply(
        self,
        project: &Project,
        store: &Store,
        lock: &Lock,
        safety: bool,
        monitor: &dyn Monitor,
    ) -> Result<Done> {
        let mut done = Done { findings: self.findings.clone(), ..Done::default() };
        let applied = match &self.shop {
            Shop::Here(workshop) => {
                Applying { project, store, lock, prepared: &self }.run(workshop, safety, &mut done, monitor)
            }
            Shop::Dry(_) => anyhow::bail!("a dry run can't be carried out"),
        };
        let Shop::Here(workshop) = self.shop else { return Ok(done) };
        match applied {
            Ok(()) => {
                if let Err(error) = workshop.end() {
                    let text = format!("{error:#}");
                    done.findings.push(Finding::advice("leftover", text).hint("the next restore removes it"));
                }
                Ok(done)
            }
            Err(error) => {
                // Where the journal is still there, not all could be taken back: then nothing is thrown away.
                if !workshop.folder().join(journal::NAME).exists() {
                    let _ = workshop.end();
                }
                Err(error)
            }
        }
    }
}

struct Applying<'p, 'a> {
    project: &'p Project,
    store: &'p Store,
    lock: &'p Lock,
    prepared: &'p Prepared<'a>,
}

impl Applying<'_, '_> {
    fn run(&self, workshop: &Workshop, safety: bool, done: &mut Done, monitor: &dyn Monitor) -> Result<()> {
        let root = &self.project.root;
        let store = RawPath::of(self.store.root())?;
        // Somebody may have thought about it for long; a safety copy of something else helps nobody.
        self.compare_with_plan(root)?;
        let mut journal = Journal::new(self.prepared.order.source.origin(), workshop.run(), store);
        // Until the end, other git commands say that git is busy.
        let _git_is_busy = repository::lock(root, &self.prepared.git)?;
        let of_git = repository::marks(root, &self.prepared.git)?;
        let mut tries = 0;
        let held = loop {
            tries += 1;
            let before = databases::marks(root, &self.prepared.databases)?;
            let copy = if safety { Some(self.safety_copy(done, monitor)?) } else { None };
            monitor.step("locking the databases", None);
            let plan = databases::hold(root, &self.prepared.databases, &self.databases_going())?;
            let now = databases::marks(root, &self.prepared.databases)?;
            match databases::copy_old(&plan, workshop.work(), copy.as_ref(), (&before, &now))? {
                None => {
                    journal.databases = plan.overwrites;
                    journal.renames.extend(plan.renames);
                    break plan.held;
                }
                Some(path) if tries >= SAFETY_TRIES => return Err(never_still(&path)),
                Some(_) => {}
            }
        };
        self.compare_with_plan(root)?;
        // What goes makes room; files bring the folders that databases lie in.
        let mut renames = databases::removals(root, &self.prepared.databases_removed)?;
        renames.extend(self.file_renames()?);
        renames.append(&mut journal.renames);
        renames.extend(repository::renames(root, &self.prepared.git, &self.prepared.order, workshop.work())?);
        for (number, rename) in renames.iter_mut().filter(|rename| rename.old.is_some()).enumerate() {
            rename.old = Some(journal::aside(number)?);
        }
        journal.renames = renames;
        journal.going = self.going(root, &journal.renames, of_git)?;
        journal.coming = coming(&journal.renames, workshop.work())?;
        journal.opened = opened(&self.prepared.present, &self.prepared.moves);
        journal.finishes.clone_from(&self.prepared.finishes);
        journal.record = self.record(done.safety.as_ref(), &journal);
        // From here on it comes to an end, whatever the user types.
        let _until_done = interrupt::until_done();
        journal.write(root).context("nothing was restored")?;
        match journal.forward(root, Some(held), monitor) {
            Ok(findings) => done.findings.extend(findings),
            Err(error) => return Err(take_back(&mut journal, root, error, monitor)),
        }
        done.databases = journal.databases.iter().map(|database| database.path.clone()).collect();
        done.databases
            .extend(self.prepared.databases.iter().filter(|s| s.replaces()).map(|s| s.path().clone()));
        done.databases.sort();
        done.databases.dedup();
        if let Some(record) = &journal.record
            && let Err(error) = self.store.note_undo(self.lock, record)
        {
            let text = format!("this restore is done, and can't be undone by `undo`: {error:#}");
            let hint = format!("the state before is in the safety copy {}", record.id);
            done.findings.push(Finding::problem("undo-record", text).hint(hint));
        }
        Ok(())
    }

    fn safety_copy(&self, done: &mut Done, monitor: &dyn Monitor) -> Result<Manifest> {
        let request = Request {
            kind: BackupKind::Safety,
            label: None,
            pin: false,
            dumps: false,
            also: self.prepared.present.also.clone(),
            reuse: true,
            full_read: false,
        };
        let taken = take::take(self.project, self.store, self.lock, &request, monitor)
            .context("no safety copy could be made, so nothing was restored")?;
        let archive = Archive::open(&taken.archive)?;
        for step in self.prepared.plan.steps.iter().filter(|step| step.before.is_some()) {
            if self.is_database_file(&step.path) {
                continue;
            }
            let place = layout::place(&Part::File(step.path.clone()))?.context("a file has a place")?;
            if archive.entry(&place).is_none() {
                let text = format!("{} would be replaced, and the safety copy does not hold it", step.path);
                return Err(Failure::new(Kind::Refused, text)
                    .hint("see why: cargo xtask backup; or restore without a way back: --no-backup")
                    .into());
            }
        }
        self.refuse_unsaved_databases(&archive, &taken.manifest)?;
        done.safety = Some(taken.manifest.id.clone());
        Ok(taken.manifest)
    }

    /// Every database that is there and changes or goes must be in the safety copy. One that the configuration
    /// leaves out is in no backup.
    fn refuse_unsaved_databases(&self, archive: &Archive, safety: &Manifest) -> Result<()> {
        let changes = |step: &&DatabaseStep| !matches!(step.state, State::Same | State::Absent);
        let changing = self.prepared.databases.iter().filter(changes).map(|step| step.path().clone());
        for path in changing.chain(self.databases_going()) {
            let place = layout::place(&Part::File(path.clone()))?.context("a file has a place")?;
            let saved = safety.databases.iter().any(|database| database.path == path);
            if !saved && archive.entry(&place).is_none() {
                let text =
                    format!("the database {path} would be replaced, and the safety copy does not hold it");
                return Err(Failure::new(Kind::Refused, text)
                    .hint("let backups hold it: see `databases` and `exclude` in Cargo.toml; or restore without a way back: --no-backup")
                    .into());
            }
        }
        Ok(())
    }

    /// Nothing that is replaced has changed since it was looked at, and nothing has appeared.
    fn compare_with_plan(&self, root: &Path) -> Result<()> {
        for step in self.prepared.plan.steps.iter().filter(|step| !self.is_database_file(&step.path)) {
            let path = step.path.below(root)?;
            let now = match fs::symlink_metadata(&path) {
                _ if links::leads_elsewhere(root, &step.path)? => None,
                Ok(meta) => Some(file_facts::identity(&meta)),
                Err(error) if marks::is_gone(&error) => None,
                Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
            };
            let is_folder = step.before.as_ref().is_some_and(Leaf::is_folder);
            let same = match (now, self.prepared.present.identities.get(&step.path)) {
                (None, None) => true,
                // What is in a folder has lines of its own.
                (Some(now), Some(then)) => now == *then || is_folder && now.inode == then.inode,
                _ => false,
            };
            if !same {
                let text =
                    format!("{} changed since the restore was planned; nothing was restored", step.path);
                return Err(Failure::new(Kind::Failed, text)
                    .hint("run it again; if a program writes to it all the time, stop that first")
                    .into());
            }
        }
        Ok(())
    }

    fn file_renames(&self) -> Result<Vec<Rename>> {
        let mut renames = Vec::new();
        for one in &self.prepared.moves {
            let staged = one.puts.then(|| journal::place(TREE, one.path.bytes())).transpose()?;
            // Numbered when all are known.
            let old = one.takes.then(|| journal::aside(0)).transpose()?;
            renames.push(Rename { path: one.path.clone(), staged, old, if_empty: one.if_empty });
            // What SQLite keeps beside a database in whose place something else comes.
            if one.takes && self.prepared.present.databases.binary_search(&one.path).is_ok() {
                for side in self.prepared.present.side_files(&self.project.root, &one.path)? {
                    renames.push(databases::goes(side)?);
                }
            }
        }
        Ok(renames)
    }

    /// What of all that goes is known: files as they were when the restore was planned; databases and what lies
    /// beside them as they are now, under their locks; git as it was before it was read.
    fn going(&self, root: &Path, renames: &[Rename], of_git: Marks) -> Result<Marks> {
        let mut going = of_git;
        for (path, identity) in &self.prepared.present.identities {
            if !self.prepared.present.tree.get(path).is_some_and(Leaf::is_folder)
                && !self.is_database_file(path)
            {
                going.0.insert(path.clone(), Mark::from(identity));
            }
        }
        let mut now = Marks::default();
        for rename in renames.iter().filter(|rename| rename.old.is_some()) {
            now.add(&rename.path, &rename.path.below(root)?)?;
        }
        // Only what goes: the others would be a list of the whole project.
        going.0.retain(|path, _| now.0.contains_key(path));
        going.0.extend(now.0.into_iter().filter(|(path, _)| self.is_database_file(path)));
        Ok(going)
    }

    /// Databases that are there now and go: they are in no backup, or something else takes their place.
    fn databases_going(&self) -> Vec<SafePath> {
        let replaced = self.prepared.moves.iter().filter(|one| one.takes).map(|one| &one.path);
        let replaced = replaced.filter(|path| self.prepared.present.databases.binary_search(path).is_ok());
        self.prepared.databases_removed.iter().chain(replaced).cloned().collect()
    }

    /// A database, or what SQLite has beside one.
    fn is_database_file(&self, path: &SafePath) -> bool {
        let all =
            self.prepared.databases.iter().map(DatabaseStep::path).chain(&self.prepared.present.databases);
        let bytes = path.bytes();
        let mut all = all.map(SafePath::bytes);
        all.any(|database| {
            bytes
                .strip_prefix(database)
                .is_some_and(|rest| [b"".as_slice(), b"-wal", b"-shm", b"-journal"].contains(&rest))
        })
    }

    fn record(&self, safety: Option<&BackupId>, journal: &Journal) -> Option<Record> {
        let order = &self.prepared.order;
        let mut record =
            Record::new(safety?.clone(), order.operation, order.source.origin(), order.of.clone());
        record.paths = self.prepared.plan.steps.iter().map(|step| step.path.clone()).collect();
        let changed = self.prepared.databases.iter().filter(|step| step.state != State::Same);
        record.databases = changed.map(|step| step.path().clone()).collect();
        record.databases.extend(self.prepared.databases_removed.iter().cloned());
        let is_git =
            |rename: &Rename| rename.path.bytes() == b".git" || rename.path.bytes().starts_with(b".git/");
        let mut git = journal.renames.iter().filter(|rename| is_git(rename));
        record.git = match (&self.prepared.git, git.next()) {
            (_, None) => GitTouch::Untouched,
            (GitStep::Create { .. }, _) => GitTouch::Created,
            (GitStep::Remove, _) => GitTouch::Removed,
            _ => GitTouch::Changed,
        };
        Some(record)
    }
}

/// What was staged of all that comes, by where it comes to lie.
fn coming(renames: &[Rename], work: &Path) -> Result<Marks> {
    let mut coming = Marks::default();
    for rename in renames {
        if let Some(staged) = &rename.staged {
            coming.add(&rename.path, &staged.below(work)?)?;
        }
    }
    Ok(coming)
}

fn never_still(path: &SafePath) -> anyhow::Error {
    let text = format!("another program keeps writing to the database {path}; nothing was restored");
    Failure::new(Kind::Refused, text)
        .hint("stop the program that writes to it, and run this again")
        .hint("what it wrote meanwhile is in the safety copies: cargo xtask list")
        .into()
}

fn in_words(finding: &Finding) -> String {
    let path = finding.path.as_ref().map_or_else(String::new, |path| format!("{path}: "));
    format!("{path}{}", finding.message)
}

/// Goes back to the state before, and tells whether that worked.
fn take_back(
    journal: &mut Journal,
    root: &Path,
    error: anyhow::Error,
    monitor: &dyn Monitor,
) -> anyhow::Error {
    match journal.turn_back(root, monitor) {
        Ok(findings) => {
            let but: Vec<String> = findings.iter().filter(|f| f.is_problem()).map(in_words).collect();
            if but.is_empty() {
                return error.context("it was not restored, and everything is as it was");
            }
            let text =
                format!("it was not restored, and everything is as it was, but for this: {}", but.join("; "));
            error.context(text)
        }
        Err(second) => {
            let text = format!("it was not restored, and not everything could be taken back: {second:#}");
            let wrapped: Result<()> = Err(error.context(text));
            let hint = "see what is in the way, then `cargo xtask undo` takes back the rest; nothing is lost: \
                        what was replaced lies in .xtask-restore/";
            match wrapped.hint(hint) {
                Err(error) => error,
                Ok(()) => second,
            }
        }
    }
}
