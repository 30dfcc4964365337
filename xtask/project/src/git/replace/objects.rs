//! Brings the objects of a backup into a repository. They are unpacked in a git folder of our own, where
//! every object's hash is checked and nothing of the repository's configuration or damage has a say; only
//! when all of them are whole do their packs move in, each index last, which is what makes git see a pack.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::super::put_back::skeleton;
use super::super::run::{Input, answer_into, nowhere};
use super::super::twin::write;
use super::super::{Git, bundle, refs};
use super::wanted::Wanted;
use crate::base::failure::ResultExt;
use crate::base::{durable, file_facts, interrupt};

/// Brings them, and tells the commits at which the repository's history will be cut off: the backup's, and
/// those of now of which the backup does not know more.
///
/// # Errors
/// When a bundle is damaged, or something can't be written. Nothing was added then.
pub(super) fn bring(git: &Git, source: &Path, wanted: &Wanted, work: &Path) -> Result<BTreeSet<String>> {
    let cut_off = shallow(&git.common)?;
    let mut after = wanted.shallow.clone();
    if wanted.bundles.is_empty() || all_here(git, source, wanted, &cut_off)? {
        after.extend(cut_off);
        return Ok(after);
    }
    let dir = work.join("objects.git");
    unpack(git, wanted, &dir)?;
    let program = git.program.as_ref();
    // A commit that the backup has comes with all that is behind it; where it has gaps, it may not.
    let ids: Vec<&str> = cut_off.iter().map(String::as_str).collect();
    match wanted.gaps {
        true => after.extend(cut_off),
        false => after.extend(bundle::absent(program, &dir, &ids)?),
    }
    install(git, &dir)?;
    fs::remove_dir_all(&dir).with_context(|| format!("can't remove {}", dir.display()))?;
    Ok(after)
}

fn unpack(git: &Git, wanted: &Wanted, dir: &Path) -> Result<()> {
    let program = git.program.as_ref();
    skeleton(dir, &[], "sha1")?;
    if !wanted.shallow.is_empty() {
        write(&dir.join("shallow"), lines(&wanted.shallow).as_bytes())?;
    }
    for path in &wanted.bundles {
        interrupt::check()?;
        let (header, pack) = bundle::header(path)?;
        let needs: Vec<&str> = header.needs.iter().map(String::as_str).collect();
        if let Some(id) = bundle::absent(program, dir, &needs)?.first() {
            bail!("{} needs {id}, which no earlier bundle has", path.display());
        }
        bundle::unpack(program, dir, path, pack)
            .hint("another backup may be whole: cargo xtask verify all --full-test")?;
    }
    let ids: Vec<&str> = wanted.ids.iter().map(String::as_str).collect();
    if let Some(id) = bundle::absent(program, dir, &ids)?.first() {
        bail!("the bundles list {id} and do not have it");
    }
    if wanted.partial {
        for entry in fs::read_dir(dir.join("objects/pack"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "pack") {
                write(&path.with_extension("promisor"), b"")?;
            }
        }
    }
    Ok(())
}

/// Whether the repository has all of it already, readable: then a restore costs neither time nor room.
fn all_here(git: &Git, source: &Path, wanted: &Wanted, cut_off: &BTreeSet<String>) -> Result<bool> {
    let Some(program) = &git.program else { return Ok(false) };
    if *cut_off != wanted.shallow || git.common.join("info/grafts").exists() {
        return Ok(false);
    }
    let mut ids = wanted.ids.clone();
    for name in &wanted.files {
        if name.bytes() == b"index" || name.bytes().starts_with(b"sharedindex.") {
            continue; // refs/xtask/ has what the index holds
        }
        let path = name.below(source)?;
        let text = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let words = text.split(|b| !b.is_ascii_alphanumeric()).filter(|word| word.len() == 40);
        let words = words.filter_map(|word| std::str::from_utf8(word).ok()).filter(|word| refs::is_id(word));
        ids.extend(words.filter(|word| word.bytes().any(|b| b != b'0')).map(str::to_owned));
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    // Reads every object that these need, as a backup does; one that is not there ends it at once.
    let mut command = program.on(&git.common);
    command.args(["pack-objects", "--revs", "--stdout", "-q", "--window=0", "--compression=0"]);
    command.args(["--delta-base-offset", "--no-use-bitmap-index"]);
    let asked = ids.join("\n") + "\n";
    Ok(answer_into(command, Input::Bytes(asked.as_bytes()), nowhere()?)?.ok)
}

/// Moves packs in. Killed in between, a pack without its index is left, which git takes for rubbish.
fn install(git: &Git, dir: &Path) -> Result<()> {
    let to = git.common.join("objects/pack");
    fs::create_dir_all(&to).with_context(|| format!("can't make {}", to.display()))?;
    let like = git.common.join("HEAD");
    let like = file_facts::attributes(
        &fs::metadata(&like).with_context(|| format!("can't read {}", like.display()))?,
    );
    let from = dir.join("objects/pack");
    let mut files = Vec::new();
    for entry in fs::read_dir(&from).with_context(|| format!("can't read {}", from.display()))? {
        let path = entry?.path();
        let is_index = path.extension().is_some_and(|end| end == "idx");
        files.push((is_index, path));
    }
    files.sort();
    for (_, path) in files {
        let Some(target) = path.file_name().map(|name| to.join(name)) else { continue };
        file_facts::set_owner(&path, like.uid, like.gid)?;
        let moved = || -> Result<()> {
            if cfg!(windows) && target.exists() {
                return Ok(()); // Windows replaces no file that is marked read-only; it has the same content
            }
            File::open(&path)?.sync_all().or_else(|error| if cfg!(windows) { Ok(()) } else { Err(error) })?;
            match fs::rename(&path, &target) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    // A name that git's own cleaning knows, should we be killed.
                    let mut copy = tempfile::Builder::new().prefix("tmp_pack_").tempfile_in(&to)?;
                    io::copy(&mut File::open(&path)?, copy.as_file_mut())?;
                    copy.as_file().sync_all()?;
                    file_facts::set_mode(copy.path(), 0o444)?;
                    file_facts::set_owner(copy.path(), like.uid, like.gid)?;
                    copy.persist(&target)?;
                    Ok(())
                }
                renamed => Ok(renamed?),
            }
        };
        moved().with_context(|| format!("can't write {}", target.display()))?;
    }
    durable::sync_dir(&to).with_context(|| format!("can't sync {}", to.display()))
}

/// The commits at which a repository's history is cut off.
///
/// # Errors
/// When the list can't be read.
pub(super) fn shallow(common: &Path) -> Result<BTreeSet<String>> {
    let path = common.join("shallow");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        read => {
            let text = read.with_context(|| format!("can't read {}", path.display()))?;
            if let Some(line) = text.lines().find(|line| !refs::is_id(line)) {
                return Err(super::refusals::damaged(&path, &anyhow::anyhow!("{line:?} is no commit")));
            }
            Ok(text.lines().map(str::to_owned).collect())
        }
    }
}

/// Such a list as git writes it.
pub(super) fn lines(ids: &BTreeSet<String>) -> String {
    ids.iter().map(|id| format!("{id}\n")).collect()
}
