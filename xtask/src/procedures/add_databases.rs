//! Databases on their way into an archive: pinned together, copied as page images into a scratch folder,
//! released, and only then checked, hashed, dumped and packed. So writers wait for the pinning alone, and
//! everything that is said of a database is said of one and the same image.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result};

use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Form};
use crate::archive::writer::{CHUNK, Writer};
use crate::base::clock::Instant;
use crate::base::facts::DatabaseFacts;
use crate::base::file_facts::{self, Attributes};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::sqlite::check::{self, CheckReport};
use crate::sqlite::dump::{self, DumpSink};
use crate::sqlite::{facts, pin};

use super::add_files::meta;
use super::add_frame::{Folders, stream};
use super::take::LEVEL;

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
    path: SafePath,
    attributes: Attributes,
    source: Source,
}

enum Source {
    Image(PathBuf),
    Raw(Vec<(SafePath, PathBuf)>),
}

/// What an image holds and whether it is sound.
pub struct Examined {
    report: CheckReport,
    facts: Option<DatabaseFacts>,
}

/// Pins all databases, copies each as it was at that instant, and lets go of them.
///
/// # Errors
/// When the scratch folder can't be written. A database that can't be read is a finding.
pub fn copy(root: &Path, paths: &[SafePath], scratch: &Path, monitor: &dyn Monitor) -> Result<Copied> {
    let mut files = Vec::new();
    let mut findings = Vec::new();
    let mut total = 0;
    for path in paths {
        let file = path.below(root)?;
        // Metadata only: opening a database outside SQLite would drop its locks.
        match fs::metadata(&file) {
            Ok(facts) => {
                total += facts.len();
                files.push((path.clone(), file, file_facts::attributes(&facts)));
            }
            Err(error) => findings.push(gone(path, &error)),
        }
    }
    monitor.step("copying databases", Some(total));
    let named: Vec<_> = files.iter().map(|(path, file, _)| (path.clone(), file.clone())).collect();
    let outcome = pin::pin(&named, PATIENCE)?;
    findings.extend(outcome.findings);
    let instant = outcome.instant;
    let mut sources = Vec::new();
    let mut failed: Vec<(SafePath, String, bool)> = Vec::new();
    for (number, pinned) in outcome.pinned.into_iter().enumerate() {
        let image = scratch.join(format!("image-{number}"));
        match pinned.copy_image(&image, &|bytes| monitor.advance(bytes)) {
            Ok(()) => sources.push((pinned.path().clone(), Source::Image(image))),
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
                sources.push((path, Source::Raw(raw.copies)));
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
    let mut databases = Vec::new();
    for (path, _, attributes) in files {
        if let Some(at) = sources.iter().position(|(source, _)| *source == path) {
            let (path, source) = sources.swap_remove(at);
            databases.push(Copy { path, attributes, source });
        }
    }
    Ok(Copied { databases, instant, findings })
}

/// Whether an error is one of the scratch folder or of the user, not of the database.
fn is_ours(error: &anyhow::Error) -> bool {
    interrupt::check().is_err() || error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some())
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
        "stop the program that locks it and run backup again"
    } else {
        "bring it back from an earlier backup: cargo xtask list"
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
}

/// The bytes of a database and what lies beside it.
fn copy_raw(root: &Path, path: &SafePath, scratch: &Path, number: usize) -> Result<Raw> {
    let (mut copies, mut closed) = (Vec::new(), Vec::new());
    for (i, side) in SIDES.iter().enumerate() {
        let path = SafePath::new([path.bytes(), side].concat())?;
        let copy = scratch.join(format!("raw-{number}-{i}"));
        let mut source = match fs::File::open(path.below(root)?) {
            Ok(source) => source,
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
    Ok(Raw { copies, closed })
}

impl Copied {
    /// Checks and hashes every image; in the order of the databases, `None` for raw ones.
    ///
    /// # Errors
    /// When an image of ours can't be read, or the user stops it.
    pub fn examine(&self) -> Result<Vec<Option<Examined>>> {
        let examine = |copy: &Copy| match &copy.source {
            Source::Raw(_) => Ok(None),
            Source::Image(image) => {
                interrupt::check()?;
                let report = check::check(image)?;
                let facts = match facts::facts(image) {
                    Ok(facts) => Some(facts),
                    Err(error) if report.is_sound() => return Err(error),
                    // Damage is in the report already.
                    Err(_) => None,
                };
                Ok(Some(Examined { report, facts }))
            }
        };
        self.databases.iter().map(examine).collect()
    }

    /// Packs the copies: images, dumps if wanted, raw files; their lines of the manifest.
    ///
    /// # Errors
    /// When the archive can't be written.
    pub fn add(
        self,
        writer: &mut Writer,
        folders: &mut Folders,
        examined: Vec<Option<Examined>>,
        dumps: bool,
        monitor: &dyn Monitor,
    ) -> Result<(Vec<Database>, Vec<Finding>)> {
        let mut lines = Vec::new();
        let mut findings = self.findings;
        for (copy, examined) in self.databases.into_iter().zip(examined) {
            let mut line = Database {
                path: copy.path.clone(),
                form: Form::Image,
                mode: copy.attributes.mode,
                bytes: 0,
                image: None,
                dump: false,
                facts: None,
                damage: Vec::new(),
                foreign_key_violations: 0,
            };
            match (&copy.source, examined) {
                (Source::Image(image), Some(examined)) => {
                    let place =
                        layout::place(&Part::Image(copy.path.clone()))?.context("an image has a place")?;
                    folders.above(writer, &place)?;
                    let head = meta(place, &copy.attributes);
                    let (bytes, digest) = stream(writer, head, image, LEVEL, CHUNK, monitor)?;
                    (line.bytes, line.image) = (bytes, Some(digest));
                    findings.extend(judge(&copy.path, &examined));
                    line.damage = examined.report.damage;
                    line.foreign_key_violations = examined.report.foreign_keys;
                    line.facts = examined.facts;
                    if dumps {
                        match add_dump(writer, folders, &copy, image, monitor)? {
                            None => line.dump = true,
                            Some(finding) => findings.push(finding),
                        }
                    }
                    // The scratch space is wanted for nothing else now.
                    fs::remove_file(image)?;
                }
                (Source::Raw(files), _) => {
                    line.form = Form::Raw;
                    for (path, file) in files {
                        let place =
                            layout::place(&Part::Raw(path.clone()))?.context("raw bytes have a place")?;
                        folders.above(writer, &place)?;
                        let head = meta(place, &copy.attributes);
                        line.bytes += stream(writer, head, file, LEVEL, CHUNK, monitor)?.0;
                    }
                }
                (Source::Image(_), None) => anyhow::bail!("the image of {} was not examined", copy.path),
            }
            lines.push(line);
        }
        Ok((lines, findings))
    }

    /// Bytes of all copies, for the progress.
    pub fn bytes(&self) -> u64 {
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |facts| facts.len());
        let of = |copy: &Copy| match &copy.source {
            Source::Image(image) => size(image),
            Source::Raw(files) => files.iter().map(|(_, file)| size(file)).sum(),
        };
        self.databases.iter().map(of).sum()
    }
}

fn judge(path: &SafePath, examined: &Examined) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(first) = examined.report.damage.first() {
        let more = match examined.report.damage.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        findings.push(
            Finding::problem("database-damaged", format!("the database itself is damaged: {first}{more}"))
                .at(path)
                .hint("this backup is not counted as a good one; bring the database back from an earlier one: cargo xtask list"),
        );
    }
    if examined.report.foreign_keys > 0 {
        let n = examined.report.foreign_keys;
        findings.push(
            Finding::advice(
                "foreign-keys",
                format!("{n} rows refer to rows that are not there; they are saved as they are"),
            )
            .at(path),
        );
    }
    findings
}

fn add_dump(
    writer: &mut Writer,
    folders: &mut Folders,
    copy: &Copy,
    image: &Path,
    monitor: &dyn Monitor,
) -> Result<Option<Finding>> {
    let place = layout::place(&Part::Dump(copy.path.clone()))?.context("a dump has a place")?;
    folders.above(writer, &place)?;
    let mut attributes = copy.attributes;
    attributes.mode = 0o600;
    writer.begin(meta(place, &attributes), LEVEL)?;
    let mut cutter =
        Cutter { writer, monitor, chunk: Vec::with_capacity(2 * CHUNK), row_start: 0, broken: None };
    let dumped = dump::dump(image, &mut cutter);
    let dumped = dumped.and_then(|()| cutter.flush());
    if let Some(error) = cutter.broken.take() {
        return Err(error);
    }
    match dumped {
        Ok(()) => {
            writer.end()?;
            Ok(None)
        }
        Err(error) => {
            interrupt::check()?;
            writer.abort()?;
            // Its own words name our copy, which is gone by the time somebody reads them.
            let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
            let why = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
            let message = format!("no SQL dump of the database could be made: {why}");
            Ok(Some(
                Finding::problem("dump-failed", message)
                    .at(&copy.path)
                    .hint("its page image is in the backup"),
            ))
        }
    }
}

/// Cuts a dump into chunks that end at rows, at places which depend on the rows' keys alone: a row that is
/// added or changed moves the cuts near it and no others.
struct Cutter<'a> {
    writer: &'a mut Writer,
    monitor: &'a dyn Monitor,
    chunk: Vec<u8>,
    row_start: usize,
    /// An error of the archive, which must not pass for one of the database.
    broken: Option<anyhow::Error>,
}

/// Chunks of a dump have at least so many bytes, and at most four times [`CHUNK`].
const DUMP_CHUNK_MIN: usize = CHUNK / 2;

impl Cutter<'_> {
    fn flush(&mut self) -> Result<()> {
        self.row_start = 0;
        self.monitor.advance(self.chunk.len() as u64);
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(2 * CHUNK));
        if let Err(error) = self.writer.chunk(chunk) {
            self.broken = Some(error);
            anyhow::bail!("the archive can't be written");
        }
        Ok(())
    }
}

impl DumpSink for Cutter<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        interrupt::check()?;
        while self.chunk.len() + bytes.len() > 4 * CHUNK {
            let (now, later) = bytes.split_at(4 * CHUNK - self.chunk.len());
            self.chunk.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
        self.chunk.extend_from_slice(bytes);
        Ok(())
    }

    fn row_end(&mut self, key_hash: u64) -> Result<()> {
        let row = (self.chunk.len() - self.row_start.min(self.chunk.len())) as u64;
        self.row_start = self.chunk.len();
        // A longer row is a likelier place, so that chunks are about as long whatever the rows are like.
        let likely = (u64::MAX / DUMP_CHUNK_MIN as u64).saturating_mul(row.max(1));
        if self.chunk.len() >= DUMP_CHUNK_MIN && key_hash < likely { self.flush() } else { Ok(()) }
    }
}
