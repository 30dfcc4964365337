//! The databases of a restore over a living project: what would change in each, how it is put back, and their
//! locks.
//!
//! A database that SQLite can open is written through SQLite, so that everybody who has it open sees the
//! restored rows. Where SQLite can't open what is there, or nothing is there, its files come by renames, and
//! whatever lay beside it goes with it: an old write-ahead log beside a new database would destroy it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::extract;
use super::super::journal::{self, Overwrite};
use super::super::marks;
use super::super::rename::Rename;
use super::super::stage_database;
use super::super::wanted::Wanted;
use super::Order;
use crate::archive::header::Kind as EntryKind;
use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Form, Manifest};
use crate::archive::reader::Archive;
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::links;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::sqlite::compare::{self, DatabaseChange};
use crate::sqlite::overwrite::{self, Held, Obstacle};
use crate::sqlite::pin;

/// How long a plan waits for a database that somebody keeps locked.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a database is now, against the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The same.
    Same,
    /// Other rows, or another form of the same rows.
    Differs,
    /// Not there.
    Absent,
    /// There, but SQLite can't read it, or it is no file.
    Unreadable,
    /// Another program keeps it locked.
    Locked,
}

/// One database.
pub struct DatabaseStep {
    database: Database,
    /// Whether it comes from the commit, and not from a backup.
    pub of_commit: bool,
    /// What it is now.
    pub state: State,
    /// Which rows appear, change and vanish, where that can be told.
    pub change: Option<DatabaseChange>,
}

impl DatabaseStep {
    /// Its path in the project.
    pub fn path(&self) -> &SafePath {
        &self.database.path
    }

    /// Rows that it will have, where they are known.
    pub fn rows(&self) -> Option<u64> {
        self.database.facts.as_ref().map(crate::base::facts::DatabaseFacts::rows)
    }

    /// Whether its files come by renames.
    pub(super) fn replaces(&self) -> bool {
        self.database.form == Form::Raw || matches!(self.state, State::Absent | State::Unreadable)
    }
}

/// Where the images of databases are staged, below the work folder.
pub(super) const IMAGES: &str = "images";
const RAW: &str = "raw";
const OLD_IMAGES: &str = "old-images";

/// Takes the wanted databases out of the archive, checks them, and compares them with those that are there.
///
/// # Errors
/// When one of them is good in no form, or there is no room.
pub(super) fn prepare(
    root: &Path,
    order: &Order<'_>,
    wanted: &Wanted<'_>,
    work: &Path,
    monitor: &dyn Monitor,
) -> Result<(Vec<DatabaseStep>, Vec<Finding>)> {
    let (images, raw) = (work.join(IMAGES), work.join(RAW));
    for folder in [&images, &raw, &work.join(OLD_IMAGES)] {
        file_facts::create_private_dir(folder)?;
    }
    let (mut steps, mut findings) = (Vec::new(), stage_images(order, wanted, &images, monitor)?);
    for database in &wanted.databases {
        let image = database.path.below(&images)?;
        match order.source.backup() {
            Some(backup) if comes_raw(database, wanted) => {
                stage_raw(backup.archive, database, &raw, monitor)?;
                findings.push(stage_database::unreadable(database));
            }
            _ => file_facts::set_mode(&image, database.mode)?,
        }
        let live = database.path.below(root)?;
        let state = match fs::symlink_metadata(&live) {
            _ if links::leads_elsewhere(root, &database.path)? => State::Absent,
            Ok(meta) if meta.is_file() && !stage_database::is_gutted(root, &database.path)? => State::Differs,
            Ok(meta) if meta.is_dir() => {
                let text = format!("{} is a folder now, and a database in the backup", database.path);
                return Err(Failure::new(Kind::Refused, text).hint("move that folder away first").into());
            }
            Ok(_) => State::Unreadable,
            Err(error) if marks::is_gone(&error) => State::Absent,
            Err(error) => return Err(error).with_context(|| format!("can't read {}", live.display())),
        };
        steps.push(DatabaseStep {
            database: database.clone(),
            of_commit: wanted.staged.contains(&database.path),
            state,
            change: None,
        });
    }
    compare_all(root, &mut steps, &images, work, monitor)?;
    Ok((steps, findings))
}

/// Whether only the bytes of its files are there.
fn comes_raw(database: &Database, wanted: &Wanted<'_>) -> bool {
    database.form == Form::Raw && !wanted.staged.contains(&database.path)
}

/// Stages all databases that come as images from a backup, below `images`.
fn stage_images(
    order: &Order<'_>,
    wanted: &Wanted<'_>,
    images: &Path,
    monitor: &dyn Monitor,
) -> Result<Vec<Finding>> {
    let open = wanted.databases.iter().filter(|database| !wanted.staged.contains(&database.path));
    let Some(backup) = order.source.backup() else {
        let mut open = open;
        return match open.next() {
            Some(database) => anyhow::bail!("{} comes from nowhere", database.path),
            None => Ok(Vec::new()),
        };
    };
    let imaged: Vec<&Database> = open.filter(|database| database.form != Form::Raw).collect();
    if imaged.is_empty() {
        return Ok(Vec::new());
    }
    let all = stage_database::stage_all(backup.archive, &imaged, order.from_dumps, images, monitor)?;
    Ok(all.into_iter().flat_map(|staged| staged.findings).collect())
}

/// The bytes of a database that could not be opened when it was saved.
fn stage_raw(archive: &Archive, database: &Database, raw: &Path, monitor: &dyn Monitor) -> Result<()> {
    let files = stage_database::files(&database.path)?;
    let mapping = |entry: &Entry| match layout::part(&entry.meta.path, entry.kind == EntryKind::Folder) {
        Part::Raw(path) if files.contains(&path) => Some((raw, path)),
        _ => None,
    };
    extract::extract(archive, &mapping, monitor)?;
    let main = database.path.below(raw)?;
    anyhow::ensure!(main.is_file(), "the bytes of {} are missing in the backup", database.path);
    Ok(())
}

/// Compares copies of the live databases, as of one instant, with the staged images.
fn compare_all(
    root: &Path,
    steps: &mut [DatabaseStep],
    images: &Path,
    work: &Path,
    monitor: &dyn Monitor,
) -> Result<()> {
    let there = steps.iter().filter(|step| step.state == State::Differs);
    let files: Vec<(SafePath, PathBuf)> =
        there.map(|step| Ok((step.path().clone(), step.path().below(root)?))).collect::<Result<_>>()?;
    if files.is_empty() {
        return Ok(());
    }
    monitor.step("comparing databases", None);
    let outcome = pin::pin(&files, PATIENCE)?;
    let mut set = |path: &SafePath, state: State| {
        if let Some(step) = steps.iter_mut().find(|step| step.path() == path) {
            step.state = state;
        }
    };
    for unreadable in &outcome.unreadable {
        set(&unreadable.path, if unreadable.locked { State::Locked } else { State::Unreadable });
    }
    let mut copies = Vec::new();
    for (number, pinned) in outcome.pinned.into_iter().enumerate() {
        let copy = work.join(format!("now-{number}"));
        match pinned.copy_image(&copy, &|bytes| monitor.advance(bytes)) {
            Ok(()) => copies.push((pinned.path().clone(), copy)),
            Err(error) if error.chain().any(|cause| cause.is::<std::io::Error>()) => return Err(error),
            // Its header can be read and its pages can't: overwriting them needs no reading.
            Err(_) => crate::base::interrupt::check()?,
        }
    }
    for (path, copy) in copies {
        let Some(step) = steps.iter_mut().find(|step| *step.path() == path) else { continue };
        if step.database.form == Form::Image {
            let image = path.below(images)?;
            if overwrite::is_same_image(&copy, &image)? {
                step.state = State::Same;
            } else {
                // A damaged one can't be read row by row, and is put back all the same.
                step.change = compare::compare(&copy, &image).ok();
            }
        }
        fs::remove_file(&copy)?;
    }
    Ok(())
}

/// Databases whose locks are held, and how each is put back.
pub(super) struct Holding {
    pub held: Held,
    /// Those whose locks are held.
    paths: Vec<SafePath>,
    pub overwrites: Vec<Overwrite>,
    pub renames: Vec<Rename>,
}

/// Locks the databases.
///
/// `going` are those that are there now and go: they are locked, too, and looked at.
///
/// # Errors
/// Of kind `Refused` when a program keeps one locked.
pub(super) fn hold(root: &Path, steps: &[DatabaseStep], going: &[SafePath]) -> Result<Holding> {
    let changing = || steps.iter().filter(|step| step.state != State::Same);
    let mut files = Vec::new();
    for path in changing().map(|step| step.path()).chain(going) {
        let file = path.below(root)?;
        let is_there = fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file());
        if is_there && !links::leads_elsewhere(root, path)? && !stage_database::is_gutted(root, path)? {
            files.push((path.clone(), file));
        }
    }
    let (held, missing) = overwrite::hold(&files, journal::PATIENCE)?;
    let mut unopenable = Vec::new();
    for one in missing {
        match one.obstacle {
            Obstacle::Busy => return Err(journal::busy(&one.path, &one.reason)),
            Obstacle::Unopenable => unopenable.push(one.path),
            Obstacle::ReadOnly => {
                let text = format!("the database {} can't be written: {}", one.path, one.reason);
                return Err(Failure::new(Kind::Refused, text)
                    .hint("give yourself the right to write it, or restore into another folder with --to DIR")
                    .into());
            }
        }
    }
    let (mut overwrites, mut renames) = (Vec::new(), Vec::new());
    for step in changing() {
        let path = step.path();
        let is_held = files.iter().any(|(held, _)| held == path) && !unopenable.contains(path);
        if step.database.form == Form::Raw {
            for file in stage_database::files(path)? {
                let staged = journal::place(RAW, file.bytes())?;
                renames.extend(comes(root, file, Some(staged))?);
            }
        } else if is_held {
            let live = fs::symlink_metadata(path.below(root)?)?;
            overwrites.push(Overwrite {
                path: path.clone(),
                image: journal::place(IMAGES, path.bytes())?,
                old: journal::place(OLD_IMAGES, path.bytes())?,
                mode: (step.database.mode, file_facts::attributes(&live).mode),
            });
        } else {
            for (number, file) in stage_database::files(path)?.into_iter().enumerate() {
                let staged = (number == 0).then(|| journal::place(IMAGES, file.bytes())).transpose()?;
                renames.extend(comes(root, file, staged)?);
            }
        }
    }
    let mut paths: Vec<SafePath> = files.into_iter().map(|(path, _)| path).collect();
    paths.retain(|path| !unopenable.contains(path));
    Ok(Holding { held, paths, overwrites, renames })
}

/// What makes a path what was staged, or absent; nothing where it is absent and stays so.
fn comes(root: &Path, path: SafePath, staged: Option<SafePath>) -> Result<Option<Rename>> {
    let there = links::exists(&path.below(root)?)? && !links::leads_elsewhere(root, &path)?;
    let old = there.then(|| journal::aside(0)).transpose()?;
    Ok((there || staged.is_some()).then_some(Rename { path, staged, old, if_empty: false }))
}

/// What takes databases away, with all that lies beside them.
///
/// # Errors
/// When the project can't be read.
pub(super) fn removals(root: &Path, paths: &[SafePath]) -> Result<Vec<Rename>> {
    let mut renames = Vec::new();
    for path in paths {
        for file in stage_database::files(path)? {
            renames.extend(comes(root, file, None)?);
        }
    }
    Ok(renames)
}

/// What takes a path away.
pub(super) fn goes(path: SafePath) -> Result<Rename> {
    Ok(Rename { path, staged: None, old: Some(journal::aside(0)?), if_empty: false })
}

/// What tells whether the files of databases are still the same, without opening them: of each the main file,
/// the write-ahead log and the journal.
pub(super) type Marks = BTreeMap<SafePath, [Option<Mark>; 3]>;

/// Inode, size and modification time. Not the change time: as root, SQLite gives its side files an owner anew
/// whenever it opens them.
type Mark = ((u64, u64), u64, i64);

/// Takes the marks.
///
/// # Errors
/// When a file can't be looked at.
pub(super) fn marks(root: &Path, steps: &[DatabaseStep]) -> Result<Marks> {
    let mut marks = Marks::new();
    for step in steps {
        let [main, wal, _, journal] = stage_database::files(step.path())?;
        let look = |path: SafePath| -> Result<Option<Mark>> {
            let path = path.below(root)?;
            match fs::symlink_metadata(&path) {
                Ok(meta) => {
                    let identity = file_facts::identity(&meta);
                    Ok(Some((identity.inode, identity.size, identity.mtime_ns)))
                }
                Err(error) if marks::is_gone(&error) => Ok(None),
                Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
            }
        };
        marks.insert(step.path().clone(), [look(main)?, look(wal)?, look(journal)?]);
    }
    Ok(marks)
}

/// Whether a database was and is an empty file, with nothing in what lies beside it. A journal that is there now
/// is our own: SQLite makes it for the lock that we hold.
fn still_empty(before: Option<&[Option<Mark>; 3]>, now: Option<&[Option<Mark>; 3]>) -> bool {
    let (Some(before), Some([main, wal, _])) = (before, now) else { return false };
    let empty = |mark: &Option<Mark>| mark.is_none_or(|(_, size, _)| size <= overwrite::EMPTY_MAX);
    before[0] == *main && before.iter().all(empty) && empty(wal)
}

/// Copies what the databases are now, under their locks. The path of one that is not what the safety copy holds
/// any more, if there is such a one. `before` are the marks from before the safety copy: they count where that
/// could only keep the bytes of the files.
///
/// # Errors
/// When there is no room.
pub(super) fn copy_old(
    holding: &Holding,
    work: &Path,
    safety: Option<&Manifest>,
    (before, now): (&Marks, &Marks),
) -> Result<Option<SafePath>> {
    for path in &holding.paths {
        let old = journal::place(OLD_IMAGES, path.bytes())?.below(work)?;
        if let Some(folder) = old.parent() {
            file_facts::create_private_dir(folder)?;
        }
        crate::base::durable::remove_file(&old)?;
        holding.held.copy_image(path, &old, &|_| {})?;
        let Some(safety) = safety else { continue };
        let saved = safety.databases.iter().find(|database| database.path == *path);
        let same = match saved.and_then(|database| database.image) {
            Some(digest) => journal::digest(&old)? == digest,
            None => before.get(path) == now.get(path) || still_empty(before.get(path), now.get(path)),
        };
        if !same {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}
