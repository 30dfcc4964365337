//! The databases of both sides. Each becomes an image in the scratch folder: out of the archive, out of the commit, or
//! copied from the live one, all live ones as of one instant. Images that are the same to the byte are not looked
//! into; the others are compared row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::super::stage_database;
use super::list::{Side, Stock, Stored};
use super::{Ask, DatabaseDifference, Differences, Fate, Origin};
use crate::base::digest::Digest;
use crate::base::failure::{Kind as FailureKind, is_disk_full, kind_of};
use crate::base::finding::{Finding, Level};
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf};
use crate::base::{durable, file_facts, interrupt};
use crate::project::git::Git;
use crate::sqlite::compare::{self, DatabaseChange};
use crate::sqlite::{header, pin};

/// How long to wait for a database that somebody keeps locked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes out of the trees what is a database on one side, or in a commit, where git keeps it as a file.
///
/// # Errors
/// When git can't be read.
pub fn take_from_trees<'a>(a: &mut Side<'a>, b: &mut Side<'a>, ask: &Ask<'_>) -> Result<()> {
    let in_commits = in_commit(a, b, ask)?.into_iter().chain(in_commit(b, a, ask)?);
    let paths: BTreeSet<SafePath> =
        a.databases.keys().chain(b.databases.keys()).cloned().chain(in_commits).collect();
    for path in &paths {
        for side in [&mut *a, &mut *b] {
            let Some(leaf) = side.tree.remove(path) else { continue };
            let form = match (&leaf.kind, side.blobs.get(path)) {
                (Kind::File { size, .. }, Some(id)) => Stock::Blob { id: id.clone(), size: *size },
                (Kind::File { .. }, None) => Stock::Other("a file that is no database"),
                (Kind::Link { .. }, _) => Stock::Other("a link"),
                (Kind::Folder, _) => {
                    side.tree.insert(path.clone(), leaf.clone());
                    Stock::Other("a folder")
                }
            };
            side.databases.insert(path.clone(), Stored { mode: leaf.mode, form });
        }
    }
    Ok(())
}

/// The files of a commit that are databases and not the same on the other side.
fn in_commit(side: &Side<'_>, other: &Side<'_>, ask: &Ask<'_>) -> Result<Vec<SafePath>> {
    let Origin::Commit { git, .. } = side.origin else { return Ok(Vec::new()) };
    let mut candidates = Vec::new();
    for (path, id) in &side.blobs {
        let Some(Leaf { kind: Kind::File { size, .. }, .. }) = side.tree.get(path) else { continue };
        // A database consists of pages, the smallest of which have 512 bytes.
        if *size > 0 && size % 512 == 0 && other.blobs.get(path) != Some(id) {
            candidates.push((path, id.as_str(), *size));
        }
    }
    let blobs: Vec<(&str, u64)> = candidates.iter().map(|(_, id, size)| (*id, *size)).collect();
    let mut found = Vec::new();
    git.read_blobs(&blobs, ask.scratch, &mut |number, content| {
        let mut start = Vec::new();
        content.take(16).read_to_end(&mut start)?;
        if header::is_database_header(&start) {
            found.push(candidates[number].0.clone());
        }
        Ok(())
    })?;
    Ok(found)
}

/// What a live database came to: its copy, or why there is none.
type Copies = BTreeMap<SafePath, Result<PathBuf, String>>;

/// Compares all databases.
///
/// # Errors
/// When there is no room in the scratch folder, or the user asked to stop. One that can't be read is told as such.
pub fn compare<'a>(
    a: &mut Side<'a>,
    b: &mut Side<'a>,
    ask: &Ask<'_>,
    out: &mut Differences,
    monitor: &dyn Monitor,
) -> Result<()> {
    let paths: BTreeSet<SafePath> = a.databases.keys().chain(b.databases.keys()).cloned().collect();
    if paths.is_empty() {
        return Ok(());
    }
    monitor.step("copying databases", None);
    // First of all: everything else can wait, and writers can't.
    let mut copies = [Copies::new(), Copies::new()];
    for (side, copies) in [&mut *a, &mut *b].into_iter().zip(&mut copies) {
        *copies = copy_live(side, ask, monitor)?;
    }
    for path in paths {
        interrupt::check()?;
        monitor.step("comparing databases", None);
        let (before, after) = (a.databases.get(&path), b.databases.get(&path));
        let mode = match (before, after) {
            (Some(before), Some(after)) if before.mode != after.mode => Some((before.mode, after.mode)),
            _ => None,
        };
        let mut findings = Vec::new();
        let mut change = || -> Result<Option<DatabaseChange>> {
            if is_same(before, after, &copies)? {
                return Ok(None);
            }
            let mut images = Vec::new();
            for (number, (side, copies)) in [&*a, &*b].into_iter().zip(&copies).enumerate() {
                let work = ask.scratch.join(format!("side-{number}"));
                let (image, found) = image(&path, side, copies, &work, ask, monitor)?;
                images.push(image);
                findings.extend(found);
            }
            let compared = compare::compare_rows(&images[0], &images[1], ask.rows_max);
            // The paths of the copies say nothing to anybody.
            Ok(Some(compared.map_err(without_first)?))
        };
        let fate = match (change(), before.is_some(), after.is_some()) {
            (Ok(Some(change)), false, _) => Some(Fate::Added(change)),
            (Ok(Some(change)), _, false) => Some(Fate::Removed(change)),
            (Ok(Some(change)), ..) if !change.is_empty() => Some(Fate::Changed(change)),
            (Ok(_), ..) => mode.map(|_| Fate::ModeOnly),
            (Err(error), ..) => {
                interrupt::check()?;
                if is_disk_full(&error) {
                    return Err(error);
                }
                Some(Fate::Incomparable(format!("{error:#}")))
            }
        };
        out.findings.extend(findings);
        match fate {
            Some(fate) => out.databases.push(DatabaseDifference { path, fate, mode }),
            None => out.same_databases += 1,
        }
        for number in 0..2 {
            let work = ask.scratch.join(format!("side-{number}"));
            if work.exists() {
                durable::remove_tree(&work).with_context(|| format!("can't remove {}", work.display()))?;
            }
        }
    }
    Ok(())
}

/// An error without its outermost sentence; it stays one that the user's wish to stop or a full disk can be told from.
fn without_first(error: anyhow::Error) -> anyhow::Error {
    if kind_of(&error) != FailureKind::Failed || is_disk_full(&error) || error.chain().count() < 2 {
        return error;
    }
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    anyhow::Error::msg(causes.join(": "))
}

/// Whether both hold the same bytes, as far as that can be told without unpacking anything.
fn is_same(before: Option<&Stored<'_>>, after: Option<&Stored<'_>>, copies: &[Copies; 2]) -> Result<bool> {
    let (Some(before), Some(after)) = (before, after) else { return Ok(false) };
    Ok(match (&before.form, &after.form) {
        (Stock::Image(a), Stock::Image(b)) => a.image.is_some() && a.image == b.image,
        (Stock::Blob { id: a, .. }, Stock::Blob { id: b, .. }) => a == b,
        (Stock::Image(saved), Stock::Live) => holds(copies[1].get(&saved.path), saved.image)?,
        (Stock::Live, Stock::Image(saved)) => holds(copies[0].get(&saved.path), saved.image)?,
        _ => false,
    })
}

fn holds(copy: Option<&Result<PathBuf, String>>, image: Option<Digest>) -> Result<bool> {
    let (Some(Ok(copy)), Some(image)) = (copy, image) else { return Ok(false) };
    let mut reader = std::io::BufReader::with_capacity(1 << 20, fs::File::open(copy)?);
    Ok(Digest::of_reader(&mut reader)?.0 == image)
}

/// The image of one side, and what was found while it was taken; an empty one where there is no such database.
fn image(
    path: &SafePath,
    side: &Side<'_>,
    copies: &Copies,
    work: &Path,
    ask: &Ask<'_>,
    monitor: &dyn Monitor,
) -> Result<(PathBuf, Vec<Finding>)> {
    let images = work.join("images");
    file_facts::create_private_dir(&images).with_context(|| format!("can't make {}", images.display()))?;
    let Some(stored) = side.databases.get(path) else {
        let empty = work.join("nothing");
        file_facts::create_private_file(&empty).with_context(|| format!("can't make {}", empty.display()))?;
        return Ok((empty, Vec::new()));
    };
    match (&stored.form, side.origin) {
        (Stock::Image(database), Origin::Backup { archive, .. }) => {
            let staged = stage_database::take_image(archive, database, &images, monitor)?;
            Ok((path.below(&images)?, staged.findings))
        }
        (Stock::Blob { id, size }, Origin::Commit { git, .. }) => {
            Ok((blob(git, id, *size, &images, ask)?, Vec::new()))
        }
        (Stock::Live, _) => match copies.get(path) {
            Some(Ok(copy)) => Ok((copy.clone(), Vec::new())),
            Some(Err(reason)) => bail!("{reason}"),
            None => bail!("it was not copied"),
        },
        (Stock::Other(what), origin) => bail!("{} there is {what}", origin.when()),
        _ => {
            bail!("SQLite could not read it when it was saved, so the backup has only the bytes of its files")
        }
    }
}

fn blob(git: &Git, id: &str, size: u64, images: &Path, ask: &Ask<'_>) -> Result<PathBuf> {
    let to = images.join("blob");
    git.read_blobs(&[(id, size)], ask.scratch, &mut |_, mut content| {
        let mut file = file_facts::create_private_file(&to)?;
        std::io::copy(&mut content, &mut file).with_context(|| format!("can't write {}", to.display()))?;
        Ok(())
    })?;
    Ok(to)
}

/// Copies the live databases of a side, all as of one instant.
fn copy_live(side: &mut Side<'_>, ask: &Ask<'_>, monitor: &dyn Monitor) -> Result<Copies> {
    let Origin::Now { project, .. } = side.origin else { return Ok(Copies::new()) };
    let (mut copies, mut files) = (Copies::new(), Vec::new());
    for path in
        side.databases.iter().filter(|(_, stored)| matches!(stored.form, Stock::Live)).map(|(path, _)| path)
    {
        if stage_database::is_gutted(&project.root, path)? {
            let text = "it is empty and has a write-ahead log or a journal beside it, which opening it would destroy";
            copies.insert(path.clone(), Err(text.to_owned()));
        } else {
            files.push((path.clone(), path.below(&project.root)?));
        }
    }
    if files.is_empty() {
        return Ok(copies);
    }
    let outcome = pin::pin(&files, PATIENCE)?;
    for one in outcome.unreadable {
        let who = if one.locked { "another program keeps it locked: " } else { "SQLite can't read it: " };
        copies.insert(one.path, Err(format!("{who}{}", one.reason)));
    }
    for finding in outcome.findings {
        side.findings.push(Finding { level: Level::Advice, hint: None, ..finding });
    }
    for (number, pinned) in outcome.pinned.into_iter().enumerate() {
        let copy = ask.scratch.join(format!("now-{number}"));
        let copied = match pinned.copy_image(&copy, &|bytes| monitor.advance(bytes)) {
            Ok(()) => Ok(copy),
            Err(error) => {
                interrupt::check()?;
                if is_disk_full(&error) || error.chain().any(|cause| cause.is::<std::io::Error>()) {
                    return Err(error);
                }
                Err(format!("{error:#}"))
            }
        };
        copies.insert(pinned.path().clone(), copied);
    }
    Ok(copies)
}
