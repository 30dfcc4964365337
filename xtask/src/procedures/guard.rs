//! A guarded command: as long as it runs, a note in the project tells which backup was taken before it. Whoever
//! finds the note without the command running knows that the guard was killed, and puts the databases back:
//! nobody saw how the command ended.
//!
//! A lock that the command inherits tells whether it, or anything that it started, still runs; so nothing is put
//! back under its feet.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::put_back::{self, Done, GitWish, Order};
use super::scope::Scope;
use super::staging::vacate;
use super::{prove, stage_database, workshop};
use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::id::BackupId;
use crate::base::monitor::Monitor;
use crate::base::raw_path::RawPath;
use crate::base::{durable, file_facts};
use crate::project::root::Project;
use crate::sqlite::{check, pin, question};
use crate::store::Store;
use crate::store::lock::Lock;
use crate::store::select;
use crate::store::undo_log::Operation;

/// The note's name in the workshop.
pub const NOTE: &str = "guard.json";
/// The name of the file that is locked while the command runs.
pub const LOCK: &str = "guarded";

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The backup that was taken before.
    pub backup: BackupId,
    /// The store that it is in.
    pub store: RawPath,
    /// The command, for people.
    pub command: String,
    /// When it began.
    pub since: Instant,
}

/// A guard on duty.
pub struct Guard {
    folder: PathBuf,
    lock: File,
}

impl Guard {
    /// Begins: the note is written, and the lock taken that the command inherits.
    ///
    /// # Errors
    /// Of kind `Locked` when a guarded command is running already; when the project can't be written.
    pub fn begin(root: &Path, note: &Note) -> Result<Guard> {
        let folder = workshop::folder(root);
        let open = || -> Result<File> {
            file_facts::create_private_dir(&folder)?;
            durable::write(&folder.join(".gitignore"), b"*\n")?;
            let path = folder.join(LOCK);
            Ok(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?)
        };
        let lock = open().with_context(|| format!("can't write in {}", root.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(running(root)),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock {}", folder.join(LOCK).display()));
            }
        }
        inherit(&lock)?;
        durable::write(&folder.join(NOTE), &serde_json::to_vec(note)?)?;
        Ok(Guard { folder, lock })
    }

    /// Ends: however the command ended, it was dealt with.
    ///
    /// # Errors
    /// When the note can't be removed.
    pub fn end(self) -> Result<()> {
        let Guard { folder, lock } = self;
        forget(&folder)?;
        drop(lock);
        Ok(())
    }
}

/// Removes the note, and the folder where nothing else is in it.
fn forget(folder: &Path) -> Result<()> {
    let attempt = || -> Result<()> {
        durable::remove_file(&folder.join(NOTE))?;
        durable::sync_dir(folder)?;
        let ours = [LOCK, ".gitignore", super::staging::ALIVE];
        let alive = folder.join(super::staging::ALIVE);
        let alive = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(alive)?;
        // A restore works in it right now, and takes it away itself.
        if alive.try_lock().is_err() {
            return Ok(());
        }
        let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
        let alone =
            names.all(|name: std::io::Result<_>| name.is_ok_and(|name| ours.iter().any(|o| name == *o)));
        if alone { vacate(folder, alive) } else { Ok(()) }
    };
    attempt().with_context(|| format!("can't end the guard in {}", folder.display()))
}

/// Lets programs that are started from now on hold the lock, too.
#[cfg(unix)]
fn inherit(lock: &File) -> Result<()> {
    Ok(rustix::io::fcntl_setfd(lock, rustix::io::FdFlags::empty())?)
}

/// Windows hands no file on: there the lock ends with the guard.
#[cfg(windows)]
fn inherit(_lock: &File) -> Result<()> {
    Ok(())
}

fn running(root: &Path) -> anyhow::Error {
    let text = format!("a guarded command is running in {}", root.display());
    Failure::new(Kind::Locked, text).hint("wait until it is done").into()
}

/// The note of a project, where there is one.
///
/// # Errors
/// When it can't be read.
pub fn note(root: &Path) -> Result<Option<Note>> {
    let path = workshop::folder(root).join(NOTE);
    let shown = || format!("can't read the note {} of an interrupted guard", path.display());
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(shown)?)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(shown),
    }
}

/// Whether a guarded command, or something that it started, runs in a project.
pub fn is_running(root: &Path) -> bool {
    match File::open(workshop::folder(root).join(LOCK)).map(|file| file.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => true,
        // No such file, or nobody holds it.
        _ => false,
    }
}

/// Deals with a guard that was killed; what was done, if anything.
///
/// # Errors
/// When the databases can't be put back; the note stays then.
pub fn recover(root: &Path, note: &Note, monitor: &dyn Monitor) -> Result<Done> {
    let put = || -> Result<Done> {
        let store = Store::open(Path::new(&crate::base::os_name::to_os(&note.store.0)?))?;
        let lock = store.lock("putting back what a guarded command left")?;
        // What the configuration says is no reason to leave them as they are.
        let config = crate::project::config::Config::load(root).unwrap_or_default();
        let project = Project::with_config(root.to_path_buf(), config);
        put_back(&project, &store, &lock, &note.backup, monitor)
    };
    let done = put()
        .with_context(|| format!("the databases are as the guarded command {} left them", note.command))
        .hint(format!("to keep them so, remove {}", workshop::folder(root).join(NOTE).display()))?;
    forget(&workshop::folder(root))?;
    Ok(done)
}

/// Puts the databases of a backup back; a safety copy keeps what they are now.
///
/// # Errors
/// When they can't be put back; everything is as it was then.
pub fn put_back(
    project: &Project,
    store: &Store,
    lock: &Lock,
    backup: &BackupId,
    monitor: &dyn Monitor,
) -> Result<Done> {
    let listing = store.list()?;
    let entry = select::resolve(&listing.entries, &backup.to_string(), Instant::now())?;
    let (archive, manifest) = prove::open(&entry.archive)?;
    let mut paths = std::collections::BTreeSet::new();
    for database in &manifest.databases {
        paths.extend(stage_database::files(&database.path)?);
    }
    let order = Order {
        archive: &archive,
        manifest: &manifest,
        scope: Scope::Paths(paths),
        exact: false,
        git: GitWish::Never,
        from_dumps: false,
        with_code: false,
        operation: Operation::Restore,
        of: None,
    };
    let prepared = put_back::prepare(project, store.root(), order, false, monitor)?;
    if prepared.is_empty() {
        prepared.discard()?;
        return Ok(Done::default());
    }
    prepared.apply(project, store, lock, true, monitor)
}

/// What is wrong with the databases after the command: damage, or a question that is not answered with true.
///
/// # Errors
/// When they can't be read.
pub fn judge(
    project: &Project,
    databases: &[crate::base::safe_path::SafePath],
    questions: &[String],
    scratch: &Path,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    for path in databases {
        let file = path.below(&project.root)?;
        match file.try_exists() {
            Ok(true) => files.push((path.clone(), file)),
            Ok(false) => wrong.push(format!("the database {path} is gone")),
            Err(error) => bail!("can't look for {path}: {error}"),
        }
    }
    let outcome = pin::pin(&files, super::journal::PATIENCE)?;
    wrong.extend(
        outcome
            .unreadable
            .iter()
            .map(|one| format!("the database {} can't be read: {}", one.path, one.reason)),
    );
    let mut images = Vec::new();
    for (number, pinned) in outcome.pinned.into_iter().enumerate() {
        let image = scratch.join(format!("image-{number}"));
        pinned.copy_image(&image, &|_| {})?;
        images.push((pinned.path().clone(), image));
    }
    for (path, image) in &images {
        let report = check::check(image)?;
        wrong.extend(report.damage.first().map(|damage| format!("the database {path} is damaged: {damage}")));
    }
    if wrong.is_empty() {
        let stem = |name: &[u8]| {
            let name = String::from_utf8_lossy(name).into_owned();
            name.rsplit_once('.').map_or(name.clone(), |(stem, _)| stem.to_owned())
        };
        let named: Vec<(String, PathBuf)> =
            images.into_iter().map(|(path, image)| (stem(path.name()), image)).collect();
        for sql in questions {
            match question::is_true(&named, sql) {
                Ok(true) => {}
                Ok(false) => wrong.push(format!("the check {sql:?} is not true")),
                Err(error) => {
                    crate::base::interrupt::check()?;
                    wrong.push(format!("{error:#}"));
                }
            }
        }
    }
    Ok(wrong)
}
