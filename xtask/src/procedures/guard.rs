//! A guarded command: as long as it runs, a note in the project tells which backup was taken before it. Whoever
//! finds the note without the command running knows that the guard was killed, and puts the databases back:
//! nobody saw how the command ended.
//!
//! A lock that the command inherits tells whether it, or anything that it started, still runs; so nothing is put
//! back under its feet. Another lock, the guard's alone, tells whether somebody still waits for its end.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::put_back::{self, Backup, Done, GitWish, Order, Source};
use super::scope::Scope;
use super::staging::vacate;
use super::{prove, stage_database, survey, workshop};
use crate::archive::manifest::Manifest;
use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::monitor::Monitor;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::base::{durable, file_facts, interrupt, links};
use crate::project::git;
use crate::project::root::Project;
use crate::sqlite::{check, overwrite, pin, question};
use crate::store::Store;
use crate::store::lock::Lock;
use crate::store::select;
use crate::store::undo_log::Operation;

/// The note's name in the workshop.
pub const NOTE: &str = "guard.json";
/// The name of the file that is locked while the command, or something that it started, runs.
pub const LOCK: &str = "guarded";
/// The name of the file that the guard alone has locked.
pub const DUTY: &str = "guard";

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
    command_lock: Option<File>,
    duty: File,
}

impl Guard {
    /// Begins: the note is written, and the lock taken that the command inherits.
    ///
    /// # Errors
    /// Of kind `Locked` when a guarded command is running already, or one ran since this run began; when the
    /// project can't be written.
    pub fn begin(root: &Path, note: &Note) -> Result<Guard> {
        let folder = workshop::folder(root);
        let lock = |name: &str| -> Result<File> {
            lock(&folder, name)
                .with_context(|| format!("can't write in {}", root.display()))?
                .ok_or_else(|| running(root))
        };
        let (duty, command_lock) = (lock(DUTY)?, lock(LOCK)?);
        // One that was killed since the last look: its note must not be lost, and nobody knows any more what
        // the backup that was just taken holds.
        if links::exists(&folder.join(NOTE))? {
            let text = format!("another guarded command was interrupted in {} just now", root.display());
            return Err(Failure::new(Kind::Locked, text).hint("run this again").into());
        }
        inherit(&command_lock)?;
        durable::write(&folder.join(NOTE), &serde_json::to_vec(note)?)?;
        Ok(Guard { folder, command_lock: Some(command_lock), duty })
    }

    /// Whether something that the command started still runs, now that the command has ended. From then on its
    /// lock is no longer ours.
    ///
    /// # Errors
    /// When that can't be seen.
    pub fn something_runs(&mut self) -> Result<bool> {
        let Some(ours) = self.command_lock.take() else { return Ok(false) };
        drop(ours);
        let path = self.folder.join(LOCK);
        match File::open(&path).map(|file| file.try_lock_shared()) {
            Ok(Ok(())) => Ok(false),
            Ok(Err(TryLockError::WouldBlock)) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Ok(Err(TryLockError::Error(error))) | Err(error) => {
                Err(error).with_context(|| format!("can't lock {}", path.display()))
            }
        }
    }

    /// Ends: however the command ended, it was dealt with.
    ///
    /// # Errors
    /// When the note can't be removed.
    pub fn end(self) -> Result<()> {
        let Guard { folder, command_lock, duty } = self;
        forget(&folder)?;
        drop((command_lock, duty));
        Ok(())
    }
}

/// How often a lock is tried that somebody may hold only to look at it, or whose file is just removed.
const TRIES: usize = 40;

/// Takes the lock of a file in the workshop; `None` where somebody else has it.
fn lock(folder: &Path, name: &str) -> Result<Option<File>> {
    let path = folder.join(name);
    for _ in 0..TRIES {
        file_facts::create_private_dir(folder)?;
        durable::write(&folder.join(".gitignore"), b"*\n")?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            // A guard that ended meanwhile removed the file: this lock would be nobody else's.
            Ok(()) if is_at(&file, &path) => return Ok(Some(file)),
            Ok(()) | Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(25)),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock {}", path.display()));
            }
        }
    }
    Ok(None)
}

/// Whether a path leads to an open file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    file_facts::identity(&open).inode == file_facts::identity(&there).inode
}

/// Removes the note, and the folder where nothing else is in it.
fn forget(folder: &Path) -> Result<()> {
    let attempt = || -> Result<()> {
        if !links::exists(folder)? {
            return Ok(()); // the command removed it, as `git clean -fdx` does
        }
        durable::remove_file(&folder.join(NOTE))?;
        durable::sync_dir(folder)?;
        let ours = [LOCK, DUTY, ".gitignore", super::staging::ALIVE];
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

/// Whether a guard, its command, or something that it started runs in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Nothing of the kind.
    Nobody,
    /// A guard is on duty: it deals with everything.
    OnDuty,
    /// The guard was killed, and its command or something that this started still runs.
    Orphaned,
}

/// Who runs in a project.
pub fn watch(root: &Path) -> Watch {
    match (is_locked(root, DUTY), is_locked(root, LOCK)) {
        (true, _) => Watch::OnDuty,
        (false, true) => Watch::Orphaned,
        (false, false) => Watch::Nobody,
    }
}

fn is_locked(root: &Path, name: &str) -> bool {
    // Shared: two who look at the same time don't take each other for a guard.
    match File::open(workshop::folder(root).join(name)).map(|file| file.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => true,
        // No such file, or nobody holds it.
        _ => false,
    }
}

/// What to say of a backup that is taken while a guarded command runs.
pub fn half_way(root: &Path) -> Option<Finding> {
    let text = "a guarded command is running, so this backup may hold a state between before and after";
    (watch(root) == Watch::OnDuty)
        .then(|| Finding::advice("guarded", text).hint("take another one when the command has ended"))
}

/// What to say while the command of a killed guard still runs: nothing can be put back under its feet.
pub fn orphaned(root: &Path, note: &Note) -> (String, String) {
    let text = format!(
        "the guard of {} was killed, and that or something that it started still runs; until it ends, the databases can't be put back",
        note.command
    );
    let lock = workshop::folder(root).join(LOCK);
    let hint = if cfg!(unix) {
        format!("wait until it has ended, or end it: `fuser -v {}` names the processes", lock.display())
    } else {
        "wait until it has ended, or end it".to_owned()
    };
    (text, hint)
}

/// Deals with a guard that was killed; what was done, or `None` when another run did it meanwhile.
///
/// # Errors
/// When the databases can't be put back; the note stays then.
pub fn recover(root: &Path, seen: &Note, monitor: &dyn Monitor) -> Result<Option<Done>> {
    let folder = workshop::folder(root);
    let attempt = || -> Result<Option<Done>> {
        let store = Store::open(Path::new(&crate::base::os_name::to_os(&seen.store.0)?))?;
        let lock = store.lock("putting back what a guarded command left")?;
        // Others deal with notes under the store's lock, too.
        if note(root)?.as_ref() != Some(seen) || watch(root) != Watch::Nobody {
            return Ok(None);
        }
        let config = crate::project::config::Config::load(root).unwrap_or_default();
        let project = Project::with_config(root.to_path_buf(), config);
        put_back(&project, &store, &lock, &seen.backup, monitor).map(Some)
    };
    let done = attempt()
        .with_context(|| format!("the databases are as the guarded command {} left them", seen.command))
        .hint(format!("to keep them so, remove {}", folder.join(NOTE).display()))?;
    if done.is_some() {
        forget(&folder)?;
    }
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
    let mut paths = BTreeSet::new();
    for database in &manifest.databases {
        paths.extend(stage_database::files(&database.path)?);
    }
    let order = Order {
        source: Source::Backup(Backup { archive: &archive, manifest: &manifest }),
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

/// Databases that the command made: they are there now, and not in the backup.
///
/// # Errors
/// When the project can't be read.
pub fn made(project: &Project, store: &Path, manifest: &Manifest) -> Result<Vec<SafePath>> {
    let opened = git::open(&project.root)?;
    let scan = survey::survey(project, store, &opened, &BTreeSet::new(), &|_, _| false, &mut Vec::new())?;
    let known: BTreeSet<&SafePath> = manifest.databases.iter().map(|database| &database.path).collect();
    Ok(scan.databases.into_iter().filter(|path| !known.contains(path)).collect())
}

/// What is wrong with the databases after the command: damage, or a question that is not answered with true.
/// `made` are those that the command made.
///
/// # Errors
/// When they can't be read.
pub fn judge(
    project: &Project,
    manifest: &Manifest,
    made: &[SafePath],
    questions: &[String],
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    let known =
        manifest.databases.iter().map(|one| (&one.path, one.facts.as_ref().is_some_and(|f| f.pages > 0)));
    for (path, had_pages) in known.chain(made.iter().map(|path| (path, false))) {
        let file = path.below(&project.root)?;
        match fs::metadata(&file) {
            // SQLite takes an empty file for a good database without tables.
            Ok(meta) if meta.len() <= overwrite::EMPTY_MAX && had_pages => {
                wrong.push(format!("the database {path} is empty"))
            }
            Ok(_) => files.push((path.clone(), file)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                wrong.push(format!("the database {path} is gone"));
            }
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
    // Beside the databases, where there is as much room as they need, and not in a small /tmp.
    let folder = workshop::folder(&project.root);
    file_facts::create_private_dir(&folder)?;
    let scratch = tempfile::Builder::new().prefix("check-").tempdir_in(&folder)?;
    let mut images = Vec::new();
    for (number, pinned) in outcome.pinned.into_iter().enumerate() {
        let image = scratch.path().join(format!("image-{number}"));
        pinned.copy_image(&image, &|_| {})?;
        images.push((pinned.path().clone(), image));
    }
    for (path, image) in &images {
        let report = check::check(image)?;
        wrong.extend(report.damage.first().map(|damage| format!("the database {path} is damaged: {damage}")));
    }
    if wrong.is_empty() {
        let names = question::names(&images.iter().map(|(path, _)| path).collect::<Vec<_>>());
        let named: Vec<(String, PathBuf)> =
            names.into_iter().zip(images.into_iter().map(|(_, image)| image)).collect();
        for sql in questions {
            match question::is_true(&named, sql) {
                Ok(true) => {}
                Ok(false) => wrong.push(format!("the check {sql:?} is not true")),
                Err(error) => {
                    interrupt::check()?;
                    wrong.push(format!("{error:#}"));
                }
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::kind_of;

    fn note_of(command: &str) -> Note {
        Note {
            backup: "20251201_120000".parse().unwrap(),
            store: RawPath(b"/nowhere".to_vec()),
            command: command.to_owned(),
            since: Instant(0),
        }
    }

    #[test]
    fn one_guard_at_a_time_and_no_note_is_lost() {
        let project = tempfile::tempdir().unwrap();
        let root = project.path();
        let guard = Guard::begin(root, &note_of("first")).unwrap();
        assert_eq!(watch(root), Watch::OnDuty);
        let second = Guard::begin(root, &note_of("second")).err().unwrap();
        assert_eq!(kind_of(&second), Kind::Locked);
        assert_eq!(note(root).unwrap().unwrap().command, "first");
        // Killed: the locks go, the note stays, and nobody writes over it.
        drop(guard);
        assert_eq!(watch(root), Watch::Nobody);
        let third = Guard::begin(root, &note_of("third")).err().unwrap();
        assert_eq!(kind_of(&third), Kind::Locked);
        assert_eq!(note(root).unwrap().unwrap().command, "first");
        forget(&workshop::folder(root)).unwrap();
        assert!(!workshop::folder(root).exists());
        // A command that cleans up more than it should costs nothing.
        let guard = Guard::begin(root, &note_of("fourth")).unwrap();
        fs::remove_dir_all(workshop::folder(root)).unwrap();
        guard.end().unwrap();
        assert!(!workshop::folder(root).exists());
    }

    #[test]
    fn who_still_runs_without_a_guard_is_seen() {
        let project = tempfile::tempdir().unwrap();
        let root = project.path();
        let Guard { command_lock, duty, .. } = Guard::begin(root, &note_of("x")).unwrap();
        drop(duty);
        assert_eq!(watch(root), Watch::Orphaned);
        drop(command_lock);
        assert_eq!(watch(root), Watch::Nobody);
    }
}
