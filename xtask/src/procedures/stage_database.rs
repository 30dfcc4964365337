//! One database out of an archive, into a private file, checked: its page image, or what its SQL dump makes,
//! when that is wanted or when the image turns out to be damaged. It is held against the manifest both for
//! being sound and for being the one that was saved.

use std::fs;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};

use super::extract::{self, Written};
use super::prove;
use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::Database;
use crate::archive::reader::Archive;
use crate::base::digest::Digest;
use crate::base::durable;
use crate::base::failure::{Failure, Kind};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::parallel;
use crate::base::safe_path::SafePath;
use crate::sqlite::{check, facts, load, overwrite};

/// What came of it.
#[derive(Default)]
pub struct Staged {
    /// What the user should know.
    pub findings: Vec<Finding>,
    /// What was written.
    pub written: Written,
}

/// So many databases are staged at once: loading one keeps two threads busy, and each takes its memory.
const AT_ONCE: usize = 2;

/// Puts databases that the backup holds as images at their paths below `root`, a few at once, and tells how far it
/// is. The results are in the order of the databases.
///
/// # Errors
/// As [`stage`], of the first of them that fails.
pub fn stage_all(
    archive: &Archive,
    databases: &[&Database],
    from_dumps: bool,
    root: &Path,
    monitor: &dyn Monitor,
) -> Result<Vec<Staged>> {
    let mut numbered = databases
        .iter()
        .enumerate()
        .map(|(number, database)| Ok((size(archive, database, from_dumps)?, number)))
        .collect::<Result<Vec<_>>>()?;
    let step = if from_dumps { "loading and checking dumps" } else { "restoring and checking databases" };
    monitor.step(step, Some(numbered.iter().map(|(size, _)| size).sum()));
    // The largest first, so that none of them is left over alone at the end.
    numbered.sort_by_key(|(size, number)| (std::cmp::Reverse(*size), *number));
    let mut staged = parallel::side_by_side(AT_ONCE, numbered, |(_, number)| {
        Ok((number, stage(archive, databases[number], from_dumps, root, monitor)?))
    })?;
    staged.sort_by_key(|(number, _)| *number);
    Ok(staged.into_iter().map(|(_, staged)| staged).collect())
}

/// Bytes that are read out of the archive for a database.
fn size(archive: &Archive, database: &Database, from_dump: bool) -> Result<u64> {
    let part = if from_dump { Part::Dump } else { Part::Image };
    let place = layout::place(&part(database.path.clone()))?.context("a database has a place")?;
    let chunks = archive.entry(&place).into_iter().flat_map(|entry| &entry.chunks);
    Ok(chunks.map(|chunk| chunk.size).sum())
}

/// Puts a database that the backup holds as an image at its path below `root`.
///
/// # Errors
/// When neither the image nor the dump is good, the manifest does not agree, or the disk is full.
pub fn stage(
    archive: &Archive,
    database: &Database,
    from_dump: bool,
    root: &Path,
    monitor: &dyn Monitor,
) -> Result<Staged> {
    if from_dump {
        let written = load_dump(archive, database, root, monitor)?;
        return Ok(Staged { findings: Vec::new(), written });
    }
    let path = database.path.below(root)?;
    let attempt = || -> Result<Staged> {
        let written = take_out(archive, &database.path, root, monitor)?;
        let findings = check_image(database, &path)?.into_iter().collect();
        Ok(Staged { findings, written })
    };
    let error = match attempt() {
        Err(error) if database.has_whole_dump() && !prove::is_local(&error) => error,
        done => return done,
    };
    interrupt::check()?;
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
    }
    let written = load_dump(archive, database, root, monitor).with_context(|| {
        let path = &database.path;
        format!("the database {path} comes back neither from its SQL dump nor from its page image: {error:#}")
    })?;
    let text = format!("its page image in the backup is damaged, so it comes from its SQL dump: {error:#}");
    let finding = Finding::problem("image-damaged", text)
        .at(&database.path)
        .hint("it holds all rows; what became of the backup: cargo xtask verify");
    Ok(Staged { findings: vec![finding], written })
}

/// Takes the image of a database out of the archive, without looking into it: its bytes are those that were saved.
/// Only where they are not, it is staged as for a restore, which may take the dump instead.
///
/// # Errors
/// As [`stage`].
pub fn take_image(
    archive: &Archive,
    database: &Database,
    root: &Path,
    monitor: &dyn Monitor,
) -> Result<Staged> {
    let part = Part::Image(database.path.clone());
    let place = layout::place(&part)?.context("an image has a place")?;
    if archive.entry(&place).is_some_and(|entry| entry.digest.is_some() && entry.digest == database.image) {
        match take_out(archive, &database.path, root, monitor) {
            Ok(written) => return Ok(Staged { findings: Vec::new(), written }),
            Err(error) if prove::is_local(&error) || !database.has_whole_dump() => return Err(error),
            Err(_) => interrupt::check()?, // said again below, unless the dump helps
        }
        durable::remove_file(&database.path.below(root)?)?;
    }
    stage(archive, database, false, root, monitor)
}

/// Takes the image of a database out of the archive.
fn take_out(archive: &Archive, path: &SafePath, root: &Path, monitor: &dyn Monitor) -> Result<Written> {
    let place = layout::place(&Part::Image(path.clone()))?.context("an image has a place")?;
    anyhow::ensure!(archive.entry(&place).is_some(), "{place} is missing in the archive");
    let mapping = |entry: &Entry| (entry.meta.path == place).then(|| (root, path.clone()));
    Ok(extract::extract(archive, &mapping, monitor)?.written)
}

/// Makes a database from its dump, which goes from the archive into SQLite as it is unpacked, and holds it against
/// the manifest. Nothing of it stays after an error.
fn load_dump(archive: &Archive, database: &Database, root: &Path, monitor: &dyn Monitor) -> Result<Written> {
    demand_dump(database)?;
    let to = database.path.below(root)?;
    fs::create_dir_all(to.parent().context("a database has a folder")?)?;
    let place = layout::place(&Part::Dump(database.path.clone()))?.context("a dump has a place")?;
    let told = |bytes| monitor.advance(bytes);
    // A damaged archive is an error of its own: it is not the dump's fault.
    let loaded = archive.stream(&place, &told, |dump| load::load(dump, &to)).and_then(|loaded| loaded);
    let loaded = loaded.with_context(|| format!("can't load the dump of {}", database.path))?;
    let alone = loaded.has_long_rows.then(load::alone::alone).transpose()?;
    check_loaded(database, &to)?;
    drop(alone);
    let bytes = fs::metadata(&to).with_context(|| format!("can't read {}", to.display()))?.len();
    Ok(Written { files: 1, bytes, ..Written::default() })
}

/// Whether a database that was loaded is sound, and the one that was saved. Both are looked at at once, which can be
/// since SQLite has made these pages here: out of an image, the rows are not read before its pages are known to be
/// sound.
fn check_loaded(database: &Database, path: &Path) -> Result<()> {
    let (report, same) =
        parallel::both(|| check::check(path), || same_content(database, database.dump_logical, path))?;
    if let Some(damage) = report?.damage.first() {
        anyhow::bail!("the database loaded from the dump of {} is damaged: {damage}", database.path);
    }
    same
}

/// Whether the image that was extracted is sound and the one that was saved. Damage that the manifest
/// already tells of comes back as it was, as a problem.
fn check_image(database: &Database, path: &Path) -> Result<Option<Finding>> {
    let (digest, _) = Digest::of_reader(&mut BufReader::with_capacity(1 << 20, fs::File::open(path)?))?;
    anyhow::ensure!(
        Some(digest) == database.image,
        "the image of {} is not the one in the manifest",
        database.path
    );
    let report = check::check(path)?;
    if !database.damage.is_empty() {
        let finding =
            Finding::problem("database-damaged", "it was damaged when it was saved and is back as it was");
        return Ok(Some(earlier(finding, database)));
    }
    if let Some(damage) = report.damage.first() {
        anyhow::bail!("the restored database {} is damaged: {damage}", database.path);
    }
    same_content(database, None, path)?;
    Ok(None)
}

/// What is said of a database that comes back as the bytes of its files.
pub fn unreadable(database: &Database) -> Finding {
    let text = "SQLite could not open it; its files are back as they were";
    earlier(Finding::problem("database-unreadable", text), database)
}

fn earlier(finding: Finding, database: &Database) -> Finding {
    finding.at(&database.path).hint("bring it back from an earlier backup: cargo xtask list")
}

/// The paths of a database's files, itself first.
///
/// # Errors
/// When its path is too odd for that.
pub fn files(path: &SafePath) -> Result<[SafePath; 4]> {
    let beside = |side: &str| SafePath::new([path.bytes(), side.as_bytes()].concat());
    Ok([path.clone(), beside("-wal")?, beside("-shm")?, beside("-journal")?])
}

/// Integrity is not identity: the rows must be those of the manifest. `logical` is the hash that is expected
/// where it is not that of the image.
fn same_content(database: &Database, logical: Option<Digest>, path: &Path) -> Result<()> {
    let Some(saved) = &database.facts else { return Ok(()) };
    let now = facts::facts(path)?;
    for table in &saved.tables {
        let rows = now.tables.iter().find(|t| t.name == table.name).map_or(0, |t| t.rows);
        anyhow::ensure!(
            rows == table.rows,
            "the restored database {} has {rows} rows in {}, not {}",
            database.path,
            table.name,
            table.rows
        );
    }
    anyhow::ensure!(
        now.logical == logical.unwrap_or(saved.logical),
        "the restored database {} does not hold the saved values",
        database.path
    );
    Ok(())
}

/// Whether a database lost all of its main file, and what SQLite kept beside it is still there. Opening such a one
/// would make SQLite remove that, too.
///
/// # Errors
/// When its path is too odd for that.
pub fn is_gutted(root: &Path, path: &SafePath) -> Result<bool> {
    let [main, wal, _, journal] = files(path)?;
    let size = |path: &SafePath| -> Result<u64> {
        Ok(fs::symlink_metadata(path.below(root)?).map_or(0, |meta| meta.len()))
    };
    Ok(size(&main)? <= overwrite::EMPTY_MAX && size(&wal)? + size(&journal)? > 0)
}

/// Refuses where there is no dump from which the database could be made again.
fn demand_dump(database: &Database) -> Result<()> {
    let path = &database.path;
    let refused = |message: String, hint: String| Err(Failure::new(Kind::Failed, message).hint(hint).into());
    if !database.dump {
        let message = format!("the backup has no SQL dump of {path}");
        return refused(message, "restore it without --sql-only".to_owned());
    }
    if database.dump_partial {
        let message = format!(
            "the SQL dump of {path} has gaps: the database was damaged when it was saved, so the dump holds only \
             what could be read"
        );
        let hint = format!(
            "restore it without --sql-only, or from an earlier backup: cargo xtask restore latest --only '{path}'"
        );
        return refused(message, hint);
    }
    Ok(())
}
