//! Proves that an archive is what was saved and that a project comes back from it, at four levels. Each
//! level includes those before it.
//!
//! 1. *readable*: the archive opens, index and manifest can be read.
//! 2. *archive*: every byte of it against its seal, its index, its checksums, and the `.sha256` beside it.
//! 3. *content*: databases checked by SQLite and compared with the manifest, bundles read by git.
//! 4. *restore*: a real restore into a scratch folder, databases from their dumps as well.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::archive::audit;
use crate::archive::header::Kind;
use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Form, MANIFEST_NAME, Manifest};
use crate::archive::reader::Archive;
use crate::base::digest::Digest;
use crate::base::failure::{is_disk_full, tells_of_full_disk};
use crate::base::file_facts;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::project::git;
use crate::sqlite::{check, facts};

use super::bring_back::{self, Wish};
use super::{extract, stage_database};

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It opens.
    Readable = 1,
    /// Every byte.
    Archive,
    /// Databases and history.
    Content,
    /// A real restore.
    Restore,
}

/// What a verification of that level looked at, for people.
pub fn extent(level: u8) -> &'static str {
    match level {
        0 | 1 => "it can be read",
        2 => "every byte",
        3 => "every byte, databases and history",
        _ => "every byte, databases and history, and a real restore",
    }
}

/// No manifest is larger than this many bytes.
const MANIFEST_MAX: u64 = 256 << 20;

/// Opens an archive and reads its manifest: level 1.
///
/// # Errors
/// When it is not readable.
pub fn open(path: &Path) -> Result<(Archive, Manifest)> {
    let archive = Archive::open(path)?;
    let json = archive.content(&SafePath::new(MANIFEST_NAME)?, MANIFEST_MAX)?;
    let manifest =
        Manifest::from_json(&json).with_context(|| format!("can't use the archive {}", path.display()))?;
    Ok((archive, manifest))
}

/// Whether an archive is of a format that this program does not know. That is no damage, and nothing that it
/// could judge.
pub fn is_newer(path: &Path) -> bool {
    let read =
        || -> Result<Vec<u8>> { Archive::open(path)?.content(&SafePath::new(MANIFEST_NAME)?, MANIFEST_MAX) };
    read().is_ok_and(|json| Manifest::is_newer(&json))
}

/// Whether an error comes from this machine's disk and not from the archive.
pub fn is_local(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    let mut kinds =
        error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    is_disk_full(error) || kinds.any(|kind| matches!(kind, NotFound | PermissionDenied | ReadOnlyFilesystem))
}

/// Proves an archive up to a level; `expected` is the digest that the file beside it tells, `scratch` a
/// folder of ours with room for the databases (level 3) or the whole project (level 4).
///
/// # Errors
/// The first thing that is wrong.
pub fn prove(
    path: &Path,
    level: Level,
    expected: Option<Digest>,
    scratch: &Path,
    monitor: &dyn Monitor,
) -> Result<Manifest> {
    let (archive, manifest) = open(path)?;
    if level >= Level::Archive {
        let digest = audit::audit(&archive, monitor)?;
        if let Some(expected) = expected {
            ensure!(
                digest == expected,
                "the archive {} is not the one its .sha256 file tells of",
                path.display()
            );
        }
        compare_manifest(&archive, &manifest).with_context(|| {
            format!("the archive {} and its manifest do not fit together", path.display())
        })?;
    }
    if level >= Level::Content {
        let folder = scratch.join("content");
        prove_content(&archive, &manifest, &folder, monitor)
            .map_err(|error| blame(error, format!("the content of {} is damaged", path.display())))?;
        fs::remove_dir_all(&folder)?;
    }
    if level >= Level::Restore {
        prove_restore(&archive, &manifest, scratch, monitor)
            .map_err(|error| blame(error, format!("no project comes back from {}", path.display())))?;
    }
    Ok(manifest)
}

/// Says what is wrong with the archive, unless it was this machine that had no room to look.
fn blame(error: anyhow::Error, words: String) -> anyhow::Error {
    if is_disk_full(&error) { error } else { error.context(words) }
}

/// Whether the archive holds exactly what the manifest says.
fn compare_manifest(archive: &Archive, manifest: &Manifest) -> Result<()> {
    bring_back::refuse_git_files(archive)?;
    let mut expected = std::collections::BTreeSet::new();
    for database in &manifest.databases {
        if database.form == Form::Raw {
            let places = raw_places(&database.path)?;
            let any = places.iter().any(|place| archive.entry(place).is_some());
            ensure!(any, "the bytes of {} are missing", database.path);
            expected.extend(places);
        }
        if database.form == Form::Image {
            let place =
                layout::place(&Part::Image(database.path.clone()))?.context("an image has a place")?;
            let entry = archive
                .entry(&place)
                .with_context(|| format!("the image of {} is missing", database.path))?;
            ensure!(entry.digest == database.image, "the image of {} is another one", database.path);
            expected.insert(place);
        }
        if database.dump {
            let place = layout::place(&Part::Dump(database.path.clone()))?.context("a dump has a place")?;
            ensure!(archive.entry(&place).is_some(), "the dump of {} is missing", database.path);
            expected.insert(place);
        }
    }
    for bundle in manifest.git.iter().flat_map(|git| &git.bundles) {
        let path = SafePath::new(format!("bundles/{bundle}"))?;
        let place = layout::place(&Part::Git(path))?.context("a bundle has a place")?;
        ensure!(archive.entry(&place).is_some(), "the bundle {bundle} is missing");
    }
    let (mut files, mut bytes, mut links, mut folders) = (0, 0, 0, 0);
    for entry in &archive.index().entries {
        let is_folder = entry.kind == Kind::Folder;
        match (layout::part(&entry.meta.path, is_folder), &entry.kind) {
            (Part::File(_), Kind::File { size }) => (files, bytes) = (files + 1, bytes + size),
            (Part::File(_), Kind::Link { .. }) => links += 1,
            (Part::File(_), Kind::Folder) => folders += 1,
            (Part::Image(path) | Part::Dump(path) | Part::Raw(path), _) => {
                ensure!(expected.contains(&entry.meta.path), "{path} is there and not in the manifest");
            }
            (Part::Frame, _) => {
                let path = &entry.meta.path;
                ensure!(layout::is_known_frame(path, is_folder), "{path} is no part of a backup");
            }
            (Part::Git(_), _) => {}
        }
    }
    let counts = &manifest.files;
    ensure!(
        (files, bytes, links, folders) == (counts.files, counts.bytes, counts.links, counts.folders),
        "it holds {files} files, {links} links and {folders} folders, and the manifest tells of {}, {} and {}",
        counts.files,
        counts.links,
        counts.folders
    );
    Ok(())
}

/// Where the bytes of a database that could not be opened may lie.
fn raw_places(path: &SafePath) -> Result<Vec<SafePath>> {
    let sides = [b"".as_slice(), b"-wal", b"-shm", b"-journal"];
    let place = |side: &&[u8]| {
        let path = SafePath::new([path.bytes(), side].concat())?;
        layout::place(&Part::Raw(path))?.context("raw bytes have a place")
    };
    sides.iter().map(place).collect()
}

fn prove_content(archive: &Archive, manifest: &Manifest, folder: &Path, monitor: &dyn Monitor) -> Result<()> {
    monitor.step("checking databases and history", None);
    let (images, git_folder) = (folder.join("images"), folder.join("git"));
    file_facts::create_private_dir(&images)?;
    file_facts::create_private_dir(&git_folder)?;
    let mapping = |entry: &Entry| match layout::part(&entry.meta.path, entry.kind == Kind::Folder) {
        Part::Image(path) => Some((images.as_path(), path)),
        Part::Git(path) => Some((git_folder.as_path(), path)),
        _ => None,
    };
    extract::extract(archive, &mapping, monitor)?;
    for database in manifest.databases.iter().filter(|database| database.form == Form::Image) {
        let image = database.path.below(&images)?;
        let report = check::check(&image)?;
        if database.damage.is_empty()
            && let Some(damage) = report.damage.first()
        {
            anyhow::bail!("the image of {} is damaged: {damage}", database.path);
        }
        if let Some(saved) = &database.facts {
            let now = facts::facts(&image)?;
            ensure!(now == *saved, "the image of {} does not hold what the manifest tells", database.path);
        }
    }
    if let Some(facts) = &manifest.git {
        let scratch = folder.join("repository");
        file_facts::create_private_dir(&scratch)?;
        if let Some(damage) = git::check_bundles(&git_folder, facts, &scratch)?.first() {
            if tells_of_full_disk(damage) {
                anyhow::bail!("the history can't be unpacked: {damage}");
            }
            anyhow::bail!("the history is damaged: {damage}");
        }
    }
    Ok(())
}

fn prove_restore(
    archive: &Archive,
    manifest: &Manifest,
    scratch: &Path,
    monitor: &dyn Monitor,
) -> Result<()> {
    let target = scratch.join("project");
    let wish = Wish { only: &[], from_dumps: false, with_code: false };
    bring_back::bring_back(archive, manifest, &target, &wish, monitor)?;
    remove_tree(&target)?;
    let loaded = scratch.join("sql");
    file_facts::create_private_dir(&loaded)?;
    let dumped: Vec<_> = manifest.databases.iter().filter(|database| database.has_whole_dump()).collect();
    stage_database::stage_all(archive, &dumped, true, &loaded, monitor)?;
    remove_tree(&loaded)
}

/// Removes a restored tree, whose folders may forbid it.
pub fn remove_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            file_facts::set_mode(&entry.path(), 0o700)?;
            remove_tree(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(fs::remove_dir(folder)?)
}
