//! Databases are pinned together, copied as page images into a scratch folder, and released. So writers wait
//! for the pinning and copying alone, and all that is said of a database later is said of one and the same
//! image. What SQLite can't open is copied as bytes, after all connections are closed: opening a database
//! outside SQLite drops the locks of the whole process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result};

use super::add_databases::salvage;
use super::stage_database;
use super::unchanged::{Carried, Unchanged};
use crate::base::clock::Instant;
use crate::base::durable;
use crate::base::file_facts::{self, Attributes};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::base::seen::SeenDatabase;
use crate::base::write_lock;
use crate::sqlite::pin;

/// How long to wait for writers.
const PATIENCE: Duration = Duration::from_secs(20);
/// What lies beside a database, after its name.
const SIDES: [&[u8]; 4] = [b"", b"-wal", b"-shm", b"-journal"];

/// Copies of all databases.
pub struct Copied {
    /// One each, by path.
    pub databases: Vec<Copy>,
    /// When all of them were pinned.
    pub instant: Instant,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

/// The copy of one database.
pub struct Copy {
    /// Its path in the project.
    pub path: SafePath,
    /// Mode, owner and time of its file.
    pub attributes: Attributes,
    /// The copy.
    pub source: Source,
    /// What its files were like when it was pinned.
    pub seen: Option<SeenDatabase>,
}

/// What was copied, and where to.
pub enum Source {
    /// The page image.
    Image(PathBuf),
    /// None: it is what an earlier backup has of it.
    Unchanged(Box<Carried>),
    /// Its files, byte for byte, each with its path in the project.
    Raw(Vec<(SafePath, PathBuf)>),
}

/// Pins all databases, copies each as it was at that instant, and lets go of them. One that did not change since the
/// earlier backup is pinned as well, but not copied.
///
/// # Errors
/// When the scratch folder can't be written. A database that can't be read is a finding.
pub fn copy(
    root: &Path,
    paths: &[SafePath],
    unchanged: Option<(&Unchanged<'_>, bool)>,
    scratch: &Path,
    monitor: &dyn Monitor,
) -> Result<Copied> {
    let mut files = Vec::new();
    let mut findings = Vec::new();
    let mut total = 0;
    for path in paths {
        let file = path.below(root)?;
        // Metadata only: opening a database outside SQLite would drop its locks.
        match fs::metadata(&file) {
            Ok(facts) => {
                total += facts.len();
                // Before SQLite opens any of them.
                if is_hot(&file) {
                    findings.push(hot_journal(path));
                }
                files.push((path.clone(), file, file_facts::attributes(&facts)));
            }
            Err(error) => findings.push(gone(path, &error)),
        }
    }
    monitor.step("copying databases", Some(total));
    let (mut named, mut failed) = (Vec::new(), Vec::new());
    for (path, file, _) in &files {
        if stage_database::is_gutted(root, path)? {
            let reason = "its main file is empty, and opening it would remove what lies beside it";
            failed.push((path.clone(), reason.to_owned(), false));
        } else {
            named.push((path.clone(), file.clone()));
        }
    }
    let outcome = pin::pin(&named, PATIENCE)?;
    findings.extend(outcome.findings);
    let instant = outcome.instant;
    let mut sources = Vec::new();
    for (number, pinned) in outcome.pinned.into_iter().enumerate() {
        let (path, seen) = (pinned.path().clone(), pinned.seen().copied());
        let carried = unchanged.zip(seen.as_ref());
        if let Some(carried) = carried.and_then(|((from, dumps), seen)| from.database(&path, seen, dumps)) {
            sources.push((path, Source::Unchanged(Box::new(carried)), seen));
            continue;
        }
        let image = scratch.join(format!("image-{number}"));
        match pinned.copy_image(&image, &|bytes| monitor.advance(bytes)) {
            Ok(()) => sources.push((path, Source::Image(image), seen)),
            Err(error) if is_ours(&error) => return Err(error),
            Err(error) => failed.push((pinned.path().clone(), format!("{error:#}"), false)),
        }
    }
    // All connections are closed now, so the files themselves may be opened.
    failed.extend(outcome.unreadable.into_iter().map(|u| (u.path, u.reason, u.locked)));
    for (path, reason, locked) in failed {
        let raw = copy_raw(root, &path, scratch, sources.len());
        match raw {
            Ok(raw) => {
                findings.push(not_opened(&path, &reason, locked));
                findings.extend(raw.closed.iter().map(|side| {
                    forbidden(side, &Error::new(std::io::Error::from(std::io::ErrorKind::PermissionDenied)))
                }));
                findings.extend(raw.strange.iter().map(no_file));
                sources.push((path, Source::Raw(raw.copies), None));
            }
            Err(error)
                if error
                    .downcast_ref::<std::io::Error>()
                    .is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound) =>
            {
                findings.push(gone(&path, &std::io::Error::from(std::io::ErrorKind::NotFound)));
            }
            Err(error) if error.is::<Forbidden>() => findings.push(forbidden(&path, &error)),
            Err(error) => return Err(error),
        }
    }
    // Nobody waits for us any more.
    for (path, source, _) in &mut sources {
        if let (Source::Image(image), Some((from, dumps))) = (&*source, unchanged)
            && let Some(carried) = from.same_image(path, image, dumps)?
        {
            durable::remove_file(image)?;
            *source = Source::Unchanged(Box::new(carried));
        }
    }
    let mut databases = Vec::new();
    for (path, _, attributes) in files {
        if let Some(at) = sources.iter().position(|(source, ..)| *source == path) {
            let (path, source, seen) = sources.swap_remove(at);
            databases.push(Copy { path, attributes, source, seen });
        }
    }
    Ok(Copied { databases, instant, findings })
}

/// Whether an error is one of the scratch folder or of the user, not of the database.
fn is_ours(error: &anyhow::Error) -> bool {
    interrupt::check().is_err() || error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some())
}

/// Whether a transaction that crashed lies beside a database: a rollback journal with a header, and nobody who
/// writes. A journal stays one and the same file only as long as its transaction is not ended.
fn is_hot(database: &Path) -> bool {
    let mut journal = database.as_os_str().to_owned();
    journal.push("-journal");
    let journal = PathBuf::from(journal);
    let look = || -> std::io::Result<(file_facts::Identity, bool)> {
        let mut first = [0];
        let mut file = file_facts::open_itself(&journal)?;
        let filled = std::io::Read::read(&mut file, &mut first)? == 1 && first != [0];
        Ok((file_facts::identity(&file.metadata()?), filled))
    };
    let nobody_writes = || write_lock::is_held(database).is_ok_and(|held| !held);
    // What can't be read here is said when the database is read.
    look().is_ok_and(|before| before.1 && nobody_writes() && look().is_ok_and(|after| after == before))
}

fn hot_journal(path: &SafePath) -> Finding {
    let message = "a program was killed in the middle of writing it; SQLite takes the unfinished transaction \
                   back as soon as anybody reads the database, as this backup does, so its file changes and its \
                   journal goes";
    Finding::advice("hot-journal", message)
        .at(path)
        .hint("see that the program which writes to it runs again")
}

fn gone(path: &SafePath, error: &std::io::Error) -> Finding {
    Finding::problem(
        "database-vanished",
        format!("the database was there when the backup began and is not any more: {error}"),
    )
    .at(path)
    .hint("run backup again; if it is gone for good, restore it from an earlier backup")
}

/// The user may not read the database.
#[derive(Debug)]
struct Forbidden;

impl std::fmt::Display for Forbidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it can't be read and is not in the backup")
    }
}

fn forbidden(path: &SafePath, error: &Error) -> Finding {
    Finding::problem(
        "unreadable",
        format!("{path} can't be read and is not in the backup: {}", error.root_cause()),
    )
    .at(path)
    .hint("give yourself the right to read it, or exclude it in Cargo.toml")
}

fn not_opened(path: &SafePath, reason: &str, locked: bool) -> Finding {
    let message = if locked {
        format!(
            "the database stayed locked, so only the bytes of its files are saved, and they may be torn: {reason}"
        )
    } else {
        format!("SQLite can't open the database, so only the bytes of its files are saved: {reason}")
    };
    let hint = if locked {
        "stop the program that locks it and run backup again".to_owned()
    } else {
        format!(
            "what can still be read of it: {}; or as it was in the last good backup: cargo xtask restore latest \
             --only '{path}'",
            salvage(path)
        )
    };
    Finding::problem(if locked { "database-locked" } else { "database-unreadable" }, message)
        .at(path)
        .hint(hint)
}

/// The files of a database, copied as bytes.
struct Raw {
    /// Their paths, and where the copies are.
    copies: Vec<(SafePath, PathBuf)>,
    /// Side files that may not be read.
    closed: Vec<SafePath>,
    /// What has the name of a side file and is no file.
    strange: Vec<SafePath>,
}

/// The bytes of a database and what lies beside it.
fn copy_raw(root: &Path, path: &SafePath, scratch: &Path, number: usize) -> Result<Raw> {
    let (mut copies, mut closed, mut strange) = (Vec::new(), Vec::new(), Vec::new());
    for (i, side) in SIDES.iter().enumerate() {
        let path = SafePath::new([path.bytes(), side].concat())?;
        let copy = scratch.join(format!("raw-{number}-{i}"));
        // A link or a pipe is no file of SQLite's: neither followed nor waited for.
        let mut source = match open_regular(&path.below(root)?) {
            Ok(Some(source)) => source,
            Ok(None) if i > 0 => {
                strange.push(path);
                continue;
            }
            Ok(None) => return Err(Error::new(std::io::Error::from(std::io::ErrorKind::NotFound))),
            Err(error) if i > 0 && error.kind() == std::io::ErrorKind::NotFound => continue,
            // Without the main file there is nothing to save; without a side file there is less.
            Err(error) if i == 0 && error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Error::new(error).context(Forbidden));
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                closed.push(path);
                continue;
            }
            Err(error) => return Err(Error::new(error).context(format!("can't read {path}"))),
        };
        let mut target = file_facts::create_private_file(&copy)?;
        std::io::copy(&mut source, &mut target).with_context(|| format!("can't copy {path}"))?;
        copies.push((path, copy));
    }
    Ok(Raw { copies, closed, strange })
}

/// Opens a regular file; `None` when it is something else.
fn open_regular(path: &Path) -> std::io::Result<Option<fs::File>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = file_facts::open_itself(path)?;
    let is_file = file.metadata()?.is_file();
    Ok(is_file.then_some(file))
}

fn no_file(path: &SafePath) -> Finding {
    let text = "it has the name of a side file of a database, but is a link, a pipe or the like: not saved";
    Finding::problem("side-file", text).at(path).hint("give it another name")
}
