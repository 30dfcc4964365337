//! Puts a backup, or a part of it, back over a living project.
//!
//! [`prepare`] reads the project, takes what is needed out of the archive into the workshop and checks it; the
//! result is the plan. Nothing in the project has changed then. [`apply`] takes a safety copy, locks the
//! databases, makes sure that nothing changed since, writes the journal, and follows it. It comes to one of two
//! ends: all of it done and checked, or everything as it was. After a kill the journal leads to the same.

mod databases;
mod repository;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

pub use self::databases::{DatabaseStep, State};
pub use self::repository::{GitStep, GitWish};
use super::extract::{self, Extracted};
use super::journal::{self, Finish, Journal};
use super::marks::{self, Mark, Marks};
use super::present::{self, Present};
use super::rename::{OLD, Rename};
use super::scope::Scope;
use super::take::{self, Request};
use super::wanted::{self, Wanted};
use super::workshop::Workshop;
use crate::archive::header::Kind as EntryKind;
use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::kind::BackupKind;
use crate::base::monitor::Monitor;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::base::tree::Leaf;
use crate::project::git;
use crate::project::plan::{self, Change, Move, Plan};
use crate::project::root::Project;
use crate::store::Store;
use crate::store::lock::Lock;
use crate::store::undo_log::{GitTouch, Operation, Record};

/// What is to be put back.
pub struct Order<'a> {
    /// Out of this archive.
    pub archive: &'a Archive,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// This part of it.
    pub scope: Scope,
    /// Whether what is there now and not in the backup goes.
    pub exact: bool,
    /// What becomes of git.
    pub git: GitWish,
    /// Databases from their SQL dumps.
    pub from_dumps: bool,
    /// Hooks and settings of git that can run programs, too, where a repository is made.
    pub with_code: bool,
    /// Whose step this is in the row of restores.
    pub operation: Operation,
    /// What it takes back, for `undo` and `redo`.
    pub of: Option<BackupId>,
}

/// Where it is prepared.
enum Shop {
    /// In the project.
    Here(Workshop),
    /// Elsewhere: only to see what would happen.
    Dry(tempfile::TempDir),
}

impl Shop {
    fn work(&self) -> &Path {
        match self {
            Shop::Here(workshop) => workshop.work(),
            Shop::Dry(folder) => folder.path(),
        }
    }
}

/// All that is known before anything changes.
pub struct Prepared<'a> {
    order: Order<'a>,
    shop: Shop,
    /// Files, links and folders.
    pub plan: Plan,
    /// The databases.
    pub databases: Vec<DatabaseStep<'a>>,
    /// Databases that are there now, not in the backup, and go.
    pub databases_removed: Vec<SafePath>,
    /// Git.
    pub git: GitStep,
    /// What the user should know.
    pub findings: Vec<Finding>,
    present: Present,
    moves: Vec<Move>,
    finishes: Vec<Finish>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// The safety copy that was taken before.
    pub safety: Option<BackupId>,
    /// Databases that were put back.
    pub databases: Vec<SafePath>,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

/// Looks, takes out of the archive, and plans. With `dry`, nothing is written anywhere but in the system's
/// temporary folder.
///
/// # Errors
/// When the archive is damaged, the plan can't be carried out (`Refused`), or there is no room; the project is
/// as it was.
pub fn prepare<'a>(
    project: &Project,
    store: &Path,
    order: Order<'a>,
    dry: bool,
    monitor: &dyn Monitor,
) -> Result<Prepared<'a>> {
    let root = &project.root;
    monitor.step("comparing with the project", None);
    let opened = git::open(root)?;
    let wanted = wanted::wanted(order.archive, order.manifest, &order.scope)?;
    anything(&wanted, &order)?;
    refuse_store(root, store, &wanted)?;
    let mut present = present::present(project, store, &opened, &wanted, &order.scope)?;
    let removes = |path: &SafePath| {
        let is_folder = present.tree.get(path).is_some_and(Leaf::is_folder);
        let known = matches!(order.scope, Scope::Paths(_)) || !left_out_then(order.manifest, path);
        order.exact && order.scope.has(path, is_folder) && known
    };
    let plan = plan::plan(&wanted.tree, &|path| wanted.open.contains(path), &present.tree, &removes);
    if let Some(step) = plan.stuck(&present.untouched).find(|step| step.change == Change::Replace) {
        let text = format!(
            "{} is a folder now, with files in it that no backup holds, and the backup has something else there",
            step.path
        );
        return Err(Failure::new(Kind::Refused, text).hint("move that folder away first").into());
    }
    let databases_removed: Vec<SafePath> = present
        .databases
        .iter()
        .filter(|path| removes(path) && !wanted.database_files.contains(path))
        .filter(|path| !wanted.tree.contains_key(path))
        .cloned()
        .collect();
    let moves = plan.moves(&present.untouched);
    let finishes = finishes(&plan, &wanted, &present, &moves);
    let shop = if dry {
        Shop::Dry(tempfile::Builder::new().prefix("xtask-plan-").tempdir()?)
    } else {
        Shop::Here(Workshop::begin(root)?)
    };
    let fill = || -> Result<_> {
        if !dry {
            stage_files(&order, &plan, shop.work(), monitor)?;
        }
        let (databases, mut findings) = databases::prepare(root, &order, &wanted, shop.work(), monitor)?;
        let git = repository::prepare(root, &opened, &order, shop.work(), &mut findings, monitor)?;
        Ok((databases, git, findings))
    };
    match fill() {
        Ok((databases, git, findings)) => {
            let mut all = std::mem::take(&mut present.findings);
            // What of the project is not protected is said by the safety copy.
            all.retain(|finding| finding.code == "store-in-project");
            all.extend(findings);
            Ok(Prepared {
                order,
                shop,
                plan,
                databases,
                databases_removed,
                git,
                findings: all,
                present,
                moves,
                finishes,
            })
        }
        Err(error) => {
            if let Shop::Here(workshop) = shop {
                // The error that led here says more; the next restore throws it away.
                let _ = workshop.end();
            }
            Err(error)
        }
    }
}

fn anything(wanted: &Wanted<'_>, order: &Order<'_>) -> Result<()> {
    if wanted.tree.is_empty() && wanted.databases.is_empty() && matches!(order.scope, Scope::Only(_)) {
        let id = &order.manifest.id;
        return Err(Failure::new(Kind::NotFound, format!("nothing in backup {id} matches --only"))
            .hint(format!("see what it holds: cargo xtask restore {id} --dry-run --to DIR"))
            .into());
    }
    Ok(())
}

/// A store holds backups and nothing else: what is restored into it would be taken for part of it.
fn refuse_store(root: &Path, store: &Path, wanted: &Wanted<'_>) -> Result<()> {
    let (Ok(root), Ok(store)) = (root.canonicalize(), store.canonicalize()) else { return Ok(()) };
    let Ok(inside) = store.strip_prefix(&root) else { return Ok(()) };
    let store = SafePath::new(crate::base::os_name::from_os(inside.as_os_str())?)?;
    let databases = wanted.databases.iter().map(|database| &database.path);
    let hit = |path: &&SafePath| plan::is_below(path, &store) || **path == store;
    let file = |path: &&SafePath| !wanted.tree.get(*path).is_some_and(Leaf::is_folder);
    match wanted.tree.keys().chain(databases).filter(file).find(hit) {
        None => Ok(()),
        Some(path) => {
            let text = format!("the backup holds {path}, where the store of the backups is now");
            Err(Failure::new(Kind::Refused, text)
                .hint("restore into another folder with --to DIR, or leave it out: name what you want with --only PATH")
                .into())
        }
    }
}

/// Whether a backup left a path out, so that it can't say whether it was there.
fn left_out_then(manifest: &Manifest, path: &SafePath) -> bool {
    manifest.left_out.iter().any(|left| left.path == *path || plan::is_below(path, &left.path))
}

/// Takes what changes out of the archive.
fn stage_files(order: &Order<'_>, plan: &Plan, work: &Path, monitor: &dyn Monitor) -> Result<()> {
    let tree = work.join("tree");
    file_facts::create_private_dir(&tree)?;
    file_facts::create_private_dir(&work.join(OLD))?;
    let needed: BTreeSet<&SafePath> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.change, Change::Create | Change::Replace))
        .filter_map(|step| step.after.as_ref().map(|_| &step.path))
        .collect();
    let mapping = |entry: &Entry| match layout::part(&entry.meta.path, entry.kind == EntryKind::Folder) {
        Part::File(path) if needed.contains(&path) => Some((tree.as_path(), path)),
        _ => None,
    };
    let bytes = |entry: &Entry| match entry.kind {
        EntryKind::File { size } if mapping(entry).is_some() => size,
        _ => 0,
    };
    monitor.step("restoring", Some(order.archive.index().entries.iter().map(bytes).sum()));
    let mut extracted: Extracted = extract::extract(order.archive, &mapping, monitor)?;
    // Folders that only have to be there have no entry of their own in some archives.
    for path in needed.iter().filter(|path| {
        plan.steps.binary_search_by(|step| step.path.cmp(path)).is_ok_and(|at| {
            plan.steps.get(at).and_then(|step| step.after.as_ref()).is_some_and(Leaf::is_folder)
        })
    }) {
        file_facts::create_private_dir(&path.below(&tree)?)?;
    }
    extracted.make_links()
}

/// The last touches: permissions of what came or changes them, and of folders that must be opened meanwhile.
fn finishes(plan: &Plan, wanted: &Wanted<'_>, present: &Present, moves: &[Move]) -> Vec<Finish> {
    let mut finishes = Vec::new();
    let mut touched = BTreeSet::new();
    for step in &plan.steps {
        let Some(after) = &step.after else { continue };
        let meta = wanted.metas.get(&step.path);
        let finish = match (step.change, after.is_folder()) {
            (Change::Mode, _) => Finish {
                path: step.path.clone(),
                mode: after.mode,
                before: step.before.as_ref().map(|before| before.mode),
                came: None,
            },
            (Change::Create | Change::Replace, true) => Finish {
                path: step.path.clone(),
                mode: after.mode,
                before: None,
                came: meta.map(|meta| (meta.uid, meta.gid, meta.mtime_s)),
            },
            _ => continue,
        };
        touched.insert(step.path.clone());
        finishes.push(finish);
    }
    for folder in closed_folders(present, moves) {
        if touched.insert(folder.clone())
            && let Some(leaf) = present.tree.get(&folder)
        {
            finishes.push(Finish { path: folder, mode: leaf.mode, before: Some(leaf.mode), came: None });
        }
    }
    finishes.sort_by(|a, b| a.path.cmp(&b.path));
    finishes
}

/// Folders in which something moves, and whose owner may not write in them.
fn closed_folders(present: &Present, moves: &[Move]) -> BTreeSet<SafePath> {
    let folders = moves.iter().filter_map(|one| one.path.parent());
    let closed = |folder: &SafePath| {
        present.tree.get(folder).is_some_and(|leaf| leaf.is_folder() && leaf.mode & 0o300 != 0o300)
    };
    folders.filter(closed).collect()
}

/// How often a safety copy is taken again because somebody wrote to a database after it.
const SAFETY_TRIES: usize = 3;

impl Prepared<'_> {
    /// Whether the project is as the backup has it already.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty()
            && self.databases.iter().all(|step| step.state == State::Same)
            && self.databases_removed.is_empty()
            && self.git.is_empty()
    }

    /// Throws away what was prepared.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn discard(self) -> Result<()> {
        match self.shop {
            Shop::Here(workshop) => workshop.end(),
            Shop::Dry(folder) => Ok(folder.close()?),
        }
    }

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
        let Prepared {
            order,
            shop,
            plan,
            databases,
            databases_removed,
            git,
            findings,
            present,
            moves,
            finishes,
        } = self;
        let Shop::Here(workshop) = shop else { anyhow::bail!("a dry run can't be carried out") };
        let applying = Applying {
            project,
            store,
            lock,
            order,
            plan,
            databases,
            databases_removed,
            git,
            present,
            moves,
            finishes,
        };
        let mut done = Done { findings, ..Done::default() };
        match applying.run(&workshop, safety, &mut done, monitor) {
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

struct Applying<'a> {
    project: &'a Project,
    store: &'a Store,
    lock: &'a Lock,
    order: Order<'a>,
    plan: Plan,
    databases: Vec<DatabaseStep<'a>>,
    databases_removed: Vec<SafePath>,
    git: GitStep,
    present: Present,
    moves: Vec<Move>,
    finishes: Vec<Finish>,
}

impl Applying<'_> {
    fn run(&self, workshop: &Workshop, safety: bool, done: &mut Done, monitor: &dyn Monitor) -> Result<()> {
        let root = &self.project.root;
        let store = RawPath::of(self.store.root())?;
        // Somebody may have thought about it for long; a safety copy of something else helps nobody.
        self.compare_with_plan(root)?;
        let mut journal = Journal::new(self.order.manifest.id.clone(), workshop.run(), store);
        // Until the end, other git commands say that git is busy.
        let _git_is_busy = repository::lock(root, &self.git)?;
        let of_git = repository::marks(root, &self.git)?;
        let mut tries = 0;
        let held = loop {
            tries += 1;
            let before = databases::marks(root, &self.databases)?;
            let copy = if safety { Some(self.safety_copy(done, monitor)?) } else { None };
            monitor.step("locking the databases", None);
            let plan = databases::hold(root, &self.databases, &self.databases_going())?;
            let now = databases::marks(root, &self.databases)?;
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
        let mut renames = databases::removals(root, &self.databases_removed)?;
        renames.extend(self.file_renames()?);
        renames.append(&mut journal.renames);
        renames.extend(repository::renames(root, &self.git, &self.order, workshop.work())?);
        for (number, rename) in renames.iter_mut().filter(|rename| rename.old.is_some()).enumerate() {
            rename.old = Some(journal::aside(number)?);
        }
        journal.renames = renames;
        journal.going = self.going(root, &journal.renames, of_git)?;
        journal.coming = coming(&journal.renames, workshop.work())?;
        journal.opened = opened(&self.present, &self.moves);
        journal.finishes.clone_from(&self.finishes);
        journal.record = self.record(done.safety.as_ref(), &journal);
        // From here on it comes to an end, whatever the user types.
        let _until_done = interrupt::until_done();
        journal.write(root).context("nothing was restored")?;
        match journal.forward(root, Some(held), monitor) {
            Ok(findings) => done.findings.extend(findings),
            Err(error) => return Err(take_back(&mut journal, root, error, monitor)),
        }
        done.databases = journal.databases.iter().map(|database| database.path.clone()).collect();
        done.databases.extend(self.databases.iter().filter(|s| s.replaces()).map(|s| s.path().clone()));
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
            also: self.present.also.clone(),
        };
        let taken = take::take(self.project, self.store, self.lock, request, monitor)
            .context("no safety copy could be made, so nothing was restored")?;
        let archive = Archive::open(&taken.archive)?;
        for step in self.plan.steps.iter().filter(|step| step.before.is_some()) {
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
        done.safety = Some(taken.manifest.id.clone());
        Ok(taken.manifest)
    }

    /// Nothing that is replaced has changed since it was looked at, and nothing has appeared.
    fn compare_with_plan(&self, root: &Path) -> Result<()> {
        for step in self.plan.steps.iter().filter(|step| !self.is_database_file(&step.path)) {
            let path = step.path.below(root)?;
            let now = match fs::symlink_metadata(&path) {
                Ok(meta) => Some(file_facts::identity(&meta)),
                Err(error) if marks::is_gone(&error) => None,
                Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
            };
            let is_folder = step.before.as_ref().is_some_and(Leaf::is_folder);
            let same = match (now, self.present.identities.get(&step.path)) {
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
        for one in &self.moves {
            let staged = one.puts.then(|| journal::place("tree", one.path.bytes())).transpose()?;
            // Numbered when all are known.
            let old = one.takes.then(|| journal::aside(0)).transpose()?;
            renames.push(Rename { path: one.path.clone(), staged, old, if_empty: one.if_empty });
            // What SQLite keeps beside a database in whose place something else comes.
            if one.takes && self.present.databases.binary_search(&one.path).is_ok() {
                for side in self.present.side_files(&self.project.root, &one.path)? {
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
        for (path, identity) in &self.present.identities {
            if !self.present.tree.get(path).is_some_and(Leaf::is_folder) && !self.is_database_file(path) {
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
        let replaced = self.moves.iter().filter(|one| one.takes).map(|one| &one.path);
        let replaced = replaced.filter(|path| self.present.databases.binary_search(path).is_ok());
        self.databases_removed.iter().chain(replaced).cloned().collect()
    }

    /// A database, or what SQLite has beside one.
    fn is_database_file(&self, path: &SafePath) -> bool {
        let all = self.databases.iter().map(DatabaseStep::path).chain(&self.present.databases);
        let bytes = path.bytes();
        let mut all = all.map(SafePath::bytes);
        all.any(|database| {
            bytes
                .strip_prefix(database)
                .is_some_and(|rest| [b"".as_slice(), b"-wal", b"-shm", b"-journal"].contains(&rest))
        })
    }

    fn record(&self, safety: Option<&BackupId>, journal: &Journal) -> Option<Record> {
        let order = &self.order;
        let mut record =
            Record::new(safety?.clone(), order.operation, order.manifest.id.clone(), order.of.clone());
        record.paths = self.plan.steps.iter().map(|step| step.path.clone()).collect();
        let changed = self.databases.iter().filter(|step| step.state != State::Same);
        record.databases = changed.map(|step| step.path().clone()).collect();
        record.databases.extend(self.databases_removed.iter().cloned());
        let is_git =
            |rename: &Rename| rename.path.bytes() == b".git" || rename.path.bytes().starts_with(b".git/");
        let mut git = journal.renames.iter().filter(|rename| is_git(rename));
        record.git = match (&self.git, git.next()) {
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

/// Folders in which something moves, or which move themselves, and in which their owner may not write; with
/// their permissions.
fn opened(present: &Present, moves: &[Move]) -> Vec<(SafePath, u32)> {
    let themselves = moves.iter().filter(|one| one.takes).map(|one| &one.path);
    let closed = |path: &SafePath| {
        let leaf = present.tree.get(path)?;
        (leaf.is_folder() && leaf.mode & 0o300 != 0o300).then_some((path.clone(), leaf.mode))
    };
    let mut opened: Vec<(SafePath, u32)> =
        closed_folders(present, moves).iter().chain(themselves).filter_map(closed).collect();
    opened.sort();
    opened.dedup();
    opened
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
