//! Writes entries of an archive into a folder that is ours alone.
//!
//! An archive is untrusted: every name is a safe path, every file is new (an existing one is an error, so
//! nothing is written through a link), links are made after all files and never followed, modes of folders
//! are set last, from the inside out.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::header::{Kind, Meta};
use crate::archive::index::Entry;
use crate::archive::reader::{Archive, Sink};
use crate::base::file_facts;
use crate::base::links;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;

/// Says where an entry goes: a root and a path below it; `None` leaves it out.
pub type Mapping<'a> = dyn Fn(&Entry) -> Option<(&'a Path, SafePath)> + Sync + 'a;

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Symbolic links.
    pub links: u64,
    /// Of files and links, those that could not be given to the owner they had.
    pub disowned: u64,
}

impl Written {
    /// Counts more.
    pub fn add(&mut self, more: Written) {
        self.files += more.files;
        self.bytes += more.bytes;
        self.links += more.links;
        self.disowned += more.disowned;
    }
}

/// Extracts what the mapping wants. Folders keep the mode 0700 until
/// [`Extracted::finish_folders`].
///
/// # Errors
/// When the archive is damaged or the folder can't be written.
pub fn extract<'a>(archive: &Archive, mapping: &Mapping<'a>, monitor: &'a dyn Monitor) -> Result<Extracted> {
    let mut writer = Files { mapping, monitor, current: None, extracted: Extracted::default() };
    archive.read(|entry| mapping(entry).is_some(), &mut writer)?;
    Ok(writer.extracted)
}

/// What remains to be done once all files are there.
#[derive(Default)]
pub struct Extracted {
    folders: Vec<(PathBuf, Meta)>,
    links: Vec<(PathBuf, Meta, Vec<u8>)>,
    /// What was written.
    pub written: Written,
}

impl Extracted {
    /// Makes the links.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make_links(&mut self) -> Result<()> {
        let all: HashSet<&Path> = self.links.iter().map(|(path, ..)| path.as_path()).collect();
        for (path, meta, target) in &self.links {
            // Below a link it would land where that one leads.
            let below_link = path.ancestors().skip(1).any(|folder| all.contains(folder));
            anyhow::ensure!(!below_link, "the archive wants {} below a link", path.display());
            make_parent(path)?;
            links::create(target, path).with_context(|| format!("can't make the link {}", path.display()))?;
            let owned = file_facts::set_owner(path, meta.uid, meta.gid)
                .with_context(|| format!("can't give {} its owner", path.display()))?;
            self.written.disowned += u64::from(!owned);
        }
        Ok(())
    }

    /// Gives the folders their modes and times, which may take away the right to write in them; `from` is
    /// where they were extracted, `to` where they are now.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn finish_folders(&self, from: &Path, to: &Path) -> Result<()> {
        for (path, meta) in self.folders.iter().rev() {
            let path = path.strip_prefix(from).map_or_else(|_| path.clone(), |rest| to.join(rest));
            finish_folder(&path, meta)
                .with_context(|| format!("can't finish the folder {}", path.display()))?;
        }
        Ok(())
    }
}

fn finish_folder(path: &Path, meta: &Meta) -> io::Result<()> {
    // That an owner is unknown here is told of the files.
    let _owned = file_facts::set_owner(path, meta.uid, meta.gid)?;
    file_facts::set_folder_mtime(path, meta.mtime_s)?;
    file_facts::set_mode(path, meta.mode)
}

struct Files<'m, 'a> {
    mapping: &'m Mapping<'a>,
    monitor: &'a dyn Monitor,
    current: Option<(PathBuf, BufWriter<File>)>,
    extracted: Extracted,
}

impl Sink for Files<'_, '_> {
    fn begin(&mut self, entry: &Entry) -> Result<()> {
        let (root, path) = (self.mapping)(entry).context("an entry that nobody wants")?;
        let path = path.below(root)?;
        match &entry.kind {
            Kind::Folder => {
                file_facts::create_private_dir(&path)
                    .with_context(|| format!("can't make {}", path.display()))?;
                self.extracted.folders.push((path, entry.meta.clone()));
            }
            Kind::Link { target } => {
                self.extracted.links.push((path, entry.meta.clone(), target.clone()));
                self.extracted.written.links += 1;
            }
            Kind::File { .. } => {
                make_parent(&path)?;
                let file = file_facts::create_private_file(&path)
                    .with_context(|| format!("can't write {}", path.display()))?;
                self.current = Some((path, BufWriter::with_capacity(256 << 10, file)));
            }
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let (path, file) = self.current.as_mut().context("bytes of no file")?;
        file.write_all(bytes).with_context(|| format!("can't write {}", path.display()))?;
        self.extracted.written.bytes += bytes.len() as u64;
        self.monitor.advance(bytes.len() as u64);
        Ok(())
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        let Some((path, file)) = self.current.take() else { return Ok(()) };
        let finish = || -> Result<bool> {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            let owned = file_facts::set_owner(&path, entry.meta.uid, entry.meta.gid)?;
            file_facts::set_mtime(&file, entry.meta.mtime_s)?;
            // After the owner: changing it clears set-user-id bits. And those of another owner would give
            // away the rights of whoever restores.
            let mode = if owned { entry.meta.mode } else { entry.meta.mode & 0o1777 };
            file_facts::set_mode(&path, mode)?;
            Ok(owned)
        };
        let owned = finish().with_context(|| format!("can't write {}", path.display()))?;
        self.extracted.written.disowned += u64::from(!owned);
        self.extracted.written.files += 1;
        Ok(())
    }
}

/// Folders that the archive does not name itself, such as those above a database alone.
fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("a path with no folder")?;
    fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))
}
