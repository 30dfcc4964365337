//! Every readable row of a damaged database into a new file, with an account of what is lost.
//!
//! The source is never opened as a database, only its files are read, byte for byte, into a folder of ours beside the
//! new file; everything else happens there. The new database gets its name last, when it is whole, checked and on
//! the disk; no file that exists is ever replaced. Killed anywhere, there is at most that folder, which the next run
//! removes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::stage_database;
use super::workshop;
use crate::archive::manifest::{Database, Form, Manifest};
use crate::archive::reader::Archive;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::finding::Finding;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::base::{durable, file_facts, links, os_name};
use crate::sqlite::salvage::{self as engine, Report};

mod copy;
mod room;
mod shell;

/// What the name of the account is, after that of the new database.
const ACCOUNT: &str = ".report.json";

/// What is asked.
pub struct Ask<'a> {
    /// The damaged database.
    pub database: &'a Path,
    /// The new one.
    pub to: &'a Path,
    /// Folders in which nothing is made.
    pub not_in: &'a [PathBuf],
    /// The project's folder, where there is one.
    pub root: Option<&'a Path>,
    /// A backup that fills the holes.
    pub merge: Option<(&'a Archive, &'a Manifest)>,
}

/// What came of it: what `--json` prints, and what lies beside the new database.
#[derive(Debug, Serialize)]
pub struct Account {
    /// The damaged database.
    pub database: String,
    /// The new one.
    pub to: String,
    /// Where this account is.
    pub report_file: String,
    /// The backup that filled the holes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged: Option<String>,
    /// Whether nothing was lost and nothing is doubtful.
    pub whole: bool,
    /// Rows in all tables of the new database.
    pub rows: u64,
    /// Tables and everything else.
    #[serde(flatten)]
    pub report: Report,
    /// What was found about the files.
    pub findings: Vec<Finding>,
}

/// Salvages.
///
/// # Errors
/// Of kind `Refused` when there is a file of that name or it can't be made there; of kind `Usage` when there is no
/// database; when nothing can be had. Nothing is left behind then.
pub fn salvage(ask: &Ask<'_>, monitor: &dyn Monitor) -> Result<Account> {
    let to = std::path::absolute(ask.to)
        .with_context(|| format!("can't tell where {} is: the current folder is gone", ask.to.display()))?;
    let account = with_ending(&to, ACCOUNT);
    let source = find(ask.database)?;
    refuse(ask, &source, &to, &account)?;
    let folder = to.parent().context("a file needs a folder")?;
    let room = room::Room::new(folder).hint("name a file in a folder that you may write in")?;
    monitor.step("copying the database", None);
    let mut findings = Vec::new();
    let copy = copy::copy(&source, room.path(), &mut findings, monitor)?;
    let mut backup = None;
    if let Some((archive, manifest)) = ask.merge {
        let database = saved(manifest, &source, ask.root)?;
        let (image, found) = take_out(archive, database, room.path(), monitor)?;
        findings.extend(found);
        backup = Some(image);
    }
    let made = room.path().join("new");
    let shell = shell::Sqlite3::find();
    let wish = engine::Wish {
        copy: &copy,
        backup: backup.as_deref(),
        to: &made,
        scratch: room.path(),
        shell: Some(&shell),
    };
    let report = engine::salvage(&wish, monitor)
        .with_context(|| format!("nothing could be salvaged from {}", ask.database.display()))?;
    let whole = report.is_whole() && !findings.iter().any(Finding::is_problem);
    let done = Account {
        database: ask.database.display().to_string(),
        to: ask.to.display().to_string(),
        report_file: with_ending(ask.to, ACCOUNT).display().to_string(),
        merged: ask.merge.map(|(_, manifest)| manifest.id.to_string()),
        whole,
        rows: report.rows(),
        report,
        findings,
    };
    publish(&room, &made, &to, &account, &done)?;
    room.end()?;
    Ok(done)
}

/// The file that is meant: where a link leads to.
fn find(database: &Path) -> Result<PathBuf> {
    let wrong = |why: String| {
        Failure::new(Kind::Usage, format!("{} {why}", database.display()))
            .hint("name the file of a SQLite database: cargo xtask status lists those of the project")
    };
    let found = database.canonicalize().map_err(|error| wrong(format!("can't be found: {error}")))?;
    match fs::metadata(&found) {
        Ok(facts) if facts.is_file() => Ok(found),
        Ok(_) => Err(wrong("is no file".to_owned()).into()),
        Err(error) => Err(wrong(format!("can't be read: {error}")).into()),
    }
}

/// Nothing that exists is replaced, and nothing is made where it would be taken for something else.
fn refuse(ask: &Ask<'_>, source: &Path, to: &Path, account: &Path) -> Result<()> {
    let refused = |message: String| {
        Err(Failure::new(Kind::Refused, message).hint("name a new file elsewhere with --to FILE").into())
    };
    for path in [to, account] {
        if links::exists(path).with_context(|| format!("can't look at {}", path.display()))? {
            return refused(format!("{} exists, and salvage replaces nothing", path.display()));
        }
    }
    let folder = to.parent().context("a file needs a folder")?;
    let real = folder.canonicalize().map_err(|error| {
        Failure::new(Kind::Usage, format!("the folder {} can't be used: {error}", folder.display()))
            .hint(format!("make it first: mkdir -p '{}'", folder.display()))
    })?;
    let mut forbidden: Vec<PathBuf> = ask.not_in.to_vec();
    forbidden.extend(ask.root.map(workshop::folder));
    for place in forbidden {
        if place.canonicalize().is_ok_and(|place| real.starts_with(place)) {
            return refused(format!("{} is no place for a database", folder.display()));
        }
    }
    let name = to.file_name().context("a file needs a name")?;
    for side in ["-wal", "-shm", "-journal"] {
        for (one, other) in [(source.to_path_buf(), real.join(name)), (real.join(name), source.to_path_buf())]
        {
            if with_ending(&one, side) == other {
                return refused(format!(
                    "{} would lie beside a database as one of its side files",
                    to.display()
                ));
            }
        }
        let beside = with_ending(to, side);
        if links::exists(&beside)? {
            return refused(format!("{} exists and would be taken for a part of it", beside.display()));
        }
    }
    Ok(())
}

/// The backup's database of the same path, or the only one of the same name.
fn saved<'m>(manifest: &'m Manifest, source: &Path, root: Option<&Path>) -> Result<&'m Database> {
    let below = root.and_then(|root| root.canonicalize().ok());
    let inside = below.as_deref().and_then(|root| source.strip_prefix(root).ok());
    let bytes = inside.and_then(|path| os_name::from_os(path.as_os_str()).ok());
    let path = bytes.and_then(|bytes| SafePath::new(slashes(bytes)).ok());
    let same_path = manifest.databases.iter().find(|one| Some(&one.path) == path.as_ref());
    let name = source.file_name().and_then(|name| os_name::from_os(name).ok()).unwrap_or_default();
    let mut named = manifest.databases.iter().filter(|one| one.path.name() == name);
    let found = match (same_path, named.next(), named.next()) {
        (Some(found), ..) => found,
        (None, Some(only), None) => only,
        _ => {
            let held: Vec<String> = manifest.databases.iter().map(|one| one.path.to_string()).collect();
            let message = format!("backup {} has no database of that path or name", manifest.id);
            return Err(Failure::new(Kind::NotFound, message)
                .hint(format!("it has {}", if held.is_empty() { "none".to_owned() } else { held.join(", ") }))
                .into());
        }
    };
    if found.form != Form::Image {
        let message = format!(
            "backup {} has only the bytes of {}, which SQLite could not open",
            manifest.id, found.path
        );
        return Err(Failure::new(Kind::Failed, message)
            .hint("choose an earlier one: cargo xtask list")
            .into());
    }
    Ok(found)
}

fn slashes(bytes: Vec<u8>) -> Vec<u8> {
    match cfg!(windows) {
        true => bytes.into_iter().map(|byte| if byte == b'\\' { b'/' } else { byte }).collect(),
        false => bytes,
    }
}

fn take_out(
    archive: &Archive,
    database: &Database,
    scratch: &Path,
    monitor: &dyn Monitor,
) -> Result<(PathBuf, Vec<Finding>)> {
    let root = scratch.join("backup");
    file_facts::create_private_dir(&root).with_context(|| format!("can't make {}", root.display()))?;
    let staged = stage_database::stage(archive, database, false, &root, monitor)
        .with_context(|| format!("can't take {} out of the backup", database.path))
        .hint("choose another backup: cargo xtask list")?;
    Ok((database.path.below(&root)?, staged.findings))
}

/// The account first: when the database has its name, everything is there.
fn publish(room: &room::Room, made: &Path, to: &Path, account: &Path, done: &Account) -> Result<()> {
    let text = serde_json::to_vec_pretty(done).context("can't write the report")?;
    let draft = room.path().join("report");
    let write = || -> Result<()> {
        let mut file = file_facts::create_private_file(&draft)?;
        file.write_all(&text)?;
        file.write_all(b"\n")?;
        Ok(file.sync_all()?)
    };
    write().with_context(|| format!("can't write {}", draft.display()))?;
    durable::publish(&draft, account)?;
    if let Err(error) = durable::publish(made, to) {
        // An account of nothing; the error that led here says more.
        let _ = durable::remove_file(account);
        return Err(error);
    }
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
