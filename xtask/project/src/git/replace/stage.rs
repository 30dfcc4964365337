//! Writes what takes the place of what. Only what differs is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::super::Git;
use super::super::refs::{self, Value};
use super::super::saved::{self, regular};
use super::super::twin::write;
use super::compare::{differs, index_differs};
use super::merge::Fate;
use super::{Replacement, Sides, objects};
use crate::base::file_facts::{self, create_private_dir};
use crate::base::safe_path::SafePath;
use crate::base::{durable, interrupt, links, os_name};

/// Refs that each working copy has for itself; git never packs them.
const NEVER_PACKED: [&str; 3] = ["refs/bisect/", "refs/worktree/", "refs/rewritten/"];

/// All replacements, in their order.
///
/// # Errors
/// When something can't be read or written.
pub(super) fn all(sides: &Sides<'_>, cut_off: &BTreeSet<String>, work: &Path) -> Result<Vec<Replacement>> {
    let new = work.join("new");
    create_private_dir(&new).with_context(|| format!("can't make {}", new.display()))?;
    let mut staging = Staging { sides, new, replaced: Vec::new() };
    if objects::shallow(&sides.git.common)? != *cut_off {
        let text = (!cut_off.is_empty()).then(|| objects::lines(cut_off));
        staging.file("shallow", text.as_deref().map(str::as_bytes))?;
    }
    staging.refs()?;
    staging.logs()?;
    for name in sides.own()? {
        staging.own(&name)?;
    }
    if sides.live.head != sides.wanted.head {
        staging.file("HEAD", Some(saved::line(&sides.wanted.head).as_bytes()))?;
    }
    staging.index()?;
    belong(sides.git, &staging.new)?;
    durable::sync_tree(&staging.new).with_context(|| format!("can't sync {}", staging.new.display()))?;
    Ok(staging.replaced)
}

struct Staging<'a> {
    sides: &'a Sides<'a>,
    new: PathBuf,
    replaced: Vec<Replacement>,
}

impl Staging<'_> {
    fn replace(&mut self, name: &Path, is_there: bool) {
        let path = self.sides.git.own.join(name);
        let staged = is_there.then(|| self.new.join(name));
        self.replaced.push(Replacement { path, staged });
    }

    fn file(&mut self, name: &str, bytes: Option<&[u8]>) -> Result<()> {
        if let Some(bytes) = bytes {
            write(&self.new.join(name), bytes)?;
        }
        self.replace(Path::new(name), bytes.is_some());
        Ok(())
    }

    /// Where a file below a staged folder is written.
    fn place(&self, name: &[u8]) -> Result<PathBuf> {
        interrupt::check()?;
        let path = SafePath::new(name)?.below(&self.new)?;
        let folder = path.parent().unwrap_or(&self.new);
        create_private_dir(folder).with_context(|| format!("can't make {}", folder.display()))?;
        Ok(path)
    }

    /// `packed-refs` comes first, and has all that lies in a folder which is replaced after it: a ref that
    /// the backup has, or that stays, can be read at any time. Only symbolic refs are away for a moment.
    fn refs(&mut self) -> Result<()> {
        let (live, wanted, merge) = (&self.sides.live, &self.sides.wanted, self.sides.merge());
        let stays_loose = |name: &[u8]| live.loose.contains_key(name) && merge.loose_stays(name);
        let mut tops: BTreeSet<&[u8]> =
            live.loose.keys().filter(|name| !merge.loose_stays(name)).map(|name| top(name)).collect();
        for (name, value) in &wanted.refs {
            if !can_be_packed(name.as_bytes(), value) && !stays_loose(name.as_bytes()) {
                tops.insert(top(name.as_bytes()));
            }
        }
        let mut packed = Lines::new();
        for (name, line) in live.packed.iter().filter(|(name, _)| merge.packed_stays(name)) {
            packed.insert(name, (&line.id, line.lines.clone()));
        }
        for (name, value) in &live.loose {
            if !tops.contains(top(name)) || !merge.loose_stays(name) {
                continue;
            }
            match value {
                Some(value) if can_be_packed(name, value) => pack(&mut packed, name, value),
                _ => copy_itself(&self.sides.git.common.join(os_name::to_os(name)?), &self.place(name)?)?,
            }
        }
        for (name, value) in &wanted.refs {
            let name = name.as_bytes();
            if can_be_packed(name, value) {
                if !stays_loose(name) {
                    pack(&mut packed, name, value);
                }
            } else if !stays_loose(name) {
                write(&self.place(name)?, saved::line(value).as_bytes())?;
            }
        }
        let before = live.packed.iter().map(|(name, line)| (name.as_slice(), line.lines.as_slice()));
        if !before.eq(packed.iter().map(|(name, (_, line))| (*name, line.as_slice()))) {
            // Sorted by name; not every tag's line says what it leads to, so the file does not claim that.
            let mut text = b"# pack-refs with: sorted \n".to_vec();
            text.extend(packed.values().flat_map(|(_, line)| line.iter()));
            self.file("packed-refs", Some(&text))?;
        }
        for name in tops {
            let name = SafePath::new(name)?;
            if matches!(name.bytes(), b"refs/heads" | b"refs/tags") {
                create_private_dir(&name.below(&self.new)?)?;
            }
            let is_there = links::exists(&name.below(&self.new)?)?;
            self.replace(&name.below(Path::new(""))?, is_there);
        }
        Ok(())
    }

    fn logs(&mut self) -> Result<()> {
        let merge = self.sides.merge();
        let (source, common) = (self.sides.source, &self.sides.git.common);
        if merge.logs_that_differ(source, common)?.is_empty() {
            return Ok(());
        }
        for name in &self.sides.live.logs {
            if merge.of_log(name) == Fate::Stays {
                let full = [b"logs/".as_slice(), name].concat();
                copy_itself(&common.join(os_name::to_os(&full)?), &self.place(&full)?)?;
            }
        }
        for name in self.sides.wanted.logs() {
            let full = [b"logs/".as_slice(), name].concat();
            self.saved(&SafePath::new(full)?)?;
        }
        create_private_dir(&self.new.join("logs"))?;
        self.replace(Path::new("logs"), true);
        Ok(())
    }

    /// A file of the backup, with the time of now.
    fn saved(&self, name: &SafePath) -> Result<PathBuf> {
        let from = regular(self.sides.source, name)?
            .with_context(|| format!("git/{name} of the backup went away"))?;
        let to = self.place(name.bytes())?;
        copy(&from, &to)?;
        Ok(to)
    }

    /// One of the files and folders that the working copy has for itself.
    fn own(&mut self, name: &SafePath) -> Result<()> {
        let live = name.below(&self.sides.git.own)?;
        if !differs(&name.below(self.sides.source)?, &live)? {
            return Ok(());
        }
        let below = [name.bytes(), b"/"].concat();
        let files = self.sides.wanted.files.iter();
        let files: Vec<_> = files.filter(|file| *file == name || file.bytes().starts_with(&below)).collect();
        for file in &files {
            self.saved(file)?;
        }
        if files.is_empty() && !links::exists(&live)? {
            return Ok(());
        }
        if let Some(folder) = live.parent() {
            // Only `info`, which not every repository has; empty it says nothing.
            fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        }
        self.replace(&name.below(Path::new(""))?, !files.is_empty());
        Ok(())
    }

    /// The index and the files that it shares, which come before it: their names say what is in them.
    fn index(&mut self) -> Result<()> {
        if !index_differs(self.sides)? {
            return Ok(());
        }
        for name in self.sides.wanted.files.iter().filter(|name| name.bytes().starts_with(b"sharedindex.")) {
            if !links::exists(&name.below(&self.sides.git.own)?)? {
                self.saved(name)?;
                self.replace(&name.below(Path::new(""))?, true);
            }
        }
        let name = SafePath::new("index")?;
        let is_there = self.sides.wanted.files.contains(&name);
        if is_there {
            let path = self.saved(&name)?;
            // Git trusts what an index says of a file's times where the index is younger than the file, and
            // so of the folders in its untracked cache. This one was copied: as old as this, it makes git
            // look into every file once, and write the index anew.
            let file = fs::OpenOptions::new().write(true).open(&path)?;
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
                .with_context(|| format!("can't set the time of {}", path.display()))?;
        }
        self.replace(Path::new("index"), is_there);
        Ok(())
    }
}

/// Gives what is staged owner and mode of what is there.
///
/// # Errors
/// When one of either can't be read or set.
pub(super) fn belong(git: &Git, folder: &Path) -> Result<()> {
    let like = |name: &str| -> Result<file_facts::Attributes> {
        let path = git.common.join(name);
        let meta = fs::metadata(&path).with_context(|| format!("can't read {}", path.display()))?;
        Ok(file_facts::attributes(&meta))
    };
    let (for_files, for_folders) = (like("HEAD")?, like("refs")?);
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))? {
            let (path, kind) = {
                let entry = entry?;
                (entry.path(), entry.file_type()?)
            };
            let like = if kind.is_dir() { &for_folders } else { &for_files };
            file_facts::set_owner(&path, like.uid, like.gid)?;
            if !kind.is_symlink() {
                file_facts::set_mode(&path, like.mode)
                    .with_context(|| format!("can't set the mode of {}", path.display()))?;
            }
            if kind.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(())
}

/// Lines of `packed-refs`: name, id, and the line itself with what may follow it.
type Lines<'a> = BTreeMap<&'a [u8], (&'a str, Vec<u8>)>;

fn pack<'a>(packed: &mut Lines<'a>, name: &'a [u8], value: &'a Value) {
    let Value::Id(id) = value else { return };
    if packed.get(name).is_none_or(|(there, _)| there != id) {
        packed.insert(name, (id, [id.as_bytes(), b" ", name, b"\n"].concat()));
    }
}

/// The folder or file right below `refs/` that a ref lies in.
fn top(name: &[u8]) -> &[u8] {
    let end = name.iter().enumerate().filter(|(_, b)| **b == b'/').nth(1);
    end.map_or(name, |(at, _)| &name[..at])
}

/// Whether git would pack a ref: it is an id, all working copies share it, and its name is a proper one.
fn can_be_packed(name: &[u8], value: &Value) -> bool {
    let proper = std::str::from_utf8(name).is_ok_and(refs::is_name);
    proper
        && matches!(value, Value::Id(_))
        && !NEVER_PACKED.iter().any(|own| name.starts_with(own.as_bytes()))
}

/// A copy with the time of now.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let told = || format!("can't copy {} to {}", from.display(), to.display());
    let mut source = file_facts::open_itself(from).with_context(told)?;
    let mut target = file_facts::create_private_file(to).with_context(told)?;
    io::copy(&mut source, &mut target).with_context(told)?;
    Ok(())
}

/// A file or a link as it is.
fn copy_itself(from: &Path, to: &Path) -> Result<()> {
    let kind = fs::symlink_metadata(from).with_context(|| format!("can't read {}", from.display()))?;
    if kind.is_symlink() {
        return links::create(&links::read(from)?, to);
    }
    if !kind.is_file() {
        bail!("{} is no file", from.display());
    }
    copy(from, to)
}
