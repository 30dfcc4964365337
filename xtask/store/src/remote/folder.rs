//! A folder of this machine as the remote: a mounted disk or a share. Written like the store itself: a
//! temporary name, sync, rename, sync the folder. The temporary name of a file is always the same, so
//! what a killed run left is written over by the next one, and not added to.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Ask, Checked, Far, SMALL_MAX, Transport, is_folder_name};
use crate::base::digest::Hasher;
use crate::base::durable::{self, TEMPORARY_PREFIX};
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::file_facts;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::identity::STORE_FILE;

const BY: &str = "its SHA-256";

/// The folder.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at an absolute path.
    pub fn new(root: PathBuf) -> Folder {
        Folder { root }
    }

    fn entries(path: &Path) -> Result<Option<Vec<Far>>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("can't read {}", path.display()))?;
            // A link is none of ours; a name that is no text neither.
            let (Ok(meta), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else { continue };
            if meta.is_file() || meta.is_dir() {
                found.push(Far { name, bytes: meta.len(), is_folder: meta.is_dir() });
            }
        }
        Ok(Some(found))
    }

    /// Makes the destination itself, but nothing above it: a disk that is not mounted must not be taken for
    /// an empty one.
    fn make_root(&self) -> Result<()> {
        if self.root.is_dir() {
            return Ok(());
        }
        let shown = self.root.display();
        let above = self.root.parent().filter(|above| above.is_dir());
        if above.is_none() {
            let failure = Failure::new(Kind::Failed, format!("the folder above {shown} is not there"));
            return Err(failure.hint("connect its disk, or make the folder").into());
        }
        file_facts::create_private_dir(&self.root)
            .with_context(|| format!("can't make {shown}"))
            .hint("may you write there?")
    }
}

impl Transport for Folder {
    fn list(&self, folder: &str) -> Result<Option<Vec<Far>>> {
        Folder::entries(&self.root.join(folder))
    }

    fn found(&self, folder: &str, dir: &Path) -> Result<()> {
        self.make_root()?;
        let path = self.root.join(folder);
        file_facts::create_private_dir(&path)
            .and_then(|()| durable::sync_dir(&self.root))
            .with_context(|| format!("can't make {}", path.display()))?;
        if !path.join(STORE_FILE).exists() {
            write_small(&path, STORE_FILE, &fs::read(dir.join(STORE_FILE))?)?;
        }
        Ok(())
    }

    fn put_small(&self, folder: &str, dir: &Path, names: &[String]) -> Result<()> {
        for name in names {
            let bytes = fs::read(dir.join(name)).with_context(|| format!("can't read {name}"))?;
            write_small(&self.root.join(folder), name, &bytes)?;
        }
        Ok(())
    }

    fn put(&self, folder: &str, dir: &Path, name: &str, replace: bool, monitor: &dyn Monitor) -> Result<()> {
        let folder = self.root.join(folder);
        let (temporary, target) = (folder.join(format!("{TEMPORARY_PREFIX}{name}")), folder.join(name));
        let attempt = || -> Result<()> {
            durable::remove_file(&temporary)?;
            let mut to = file_facts::create_private_file(&temporary)?;
            copy(&mut File::open(dir.join(name))?, &mut to, u64::MAX, monitor)?;
            to.sync_all()?;
            drop(to);
            if replace {
                fs::rename(&temporary, &target)?;
                Ok(durable::sync_dir(&folder)?)
            } else {
                durable::publish(&temporary, &target)
            }
        };
        attempt().inspect_err(|_| {
            // What led here says more; the next run writes over it.
            let _ = durable::remove_file(&temporary);
        })
    }

    fn small(&self, folder: &str, endings: &[&str], dir: &Path) -> Result<()> {
        let path = self.root.join(folder);
        for far in Folder::entries(&path)?.unwrap_or_default() {
            let wanted = endings.iter().any(|ending| far.name.ends_with(ending));
            if wanted && !far.is_folder && far.bytes <= SMALL_MAX {
                copy_small(&path.join(&far.name), &dir.join(&far.name))?;
            }
        }
        Ok(())
    }

    fn owners(&self, dir: &Path) -> Result<()> {
        let Some(entries) = Folder::entries(&self.root)? else {
            let text = format!("there is no folder {}", self.root.display());
            return Err(Failure::new(Kind::Failed, text).hint("is its disk connected?").into());
        };
        for far in entries.into_iter().filter(|far| far.is_folder && is_folder_name(&far.name)) {
            let from = self.root.join(&far.name).join(STORE_FILE);
            if fs::symlink_metadata(&from).is_ok_and(|meta| meta.is_file() && meta.len() <= SMALL_MAX) {
                fs::create_dir(dir.join(&far.name))?;
                copy_small(&from, &dir.join(&far.name).join(STORE_FILE))?;
            }
        }
        Ok(())
    }

    fn fetch(&self, folder: &str, name: &str, dir: &Path, monitor: &dyn Monitor) -> Result<()> {
        let from = self.root.join(folder).join(name);
        let mut from = File::open(&from).with_context(|| format!("can't read {}", from.display()))?;
        let bytes = from.metadata()?.len();
        let mut to = file_facts::create_private_file(&dir.join(name))?;
        copy(&mut from, &mut to, bytes, monitor)?;
        Ok(to.sync_all()?)
    }

    fn check(&self, ask: &Ask<'_>, _dir: &Path, monitor: &dyn Monitor) -> Result<Checked> {
        let path = self.root.join(ask.folder).join(ask.name);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Checked { same: false, by: BY });
            }
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        let mut hasher = Hasher::new();
        let bytes = copy(&mut file, &mut hasher, u64::MAX, monitor)?;
        Ok(Checked { same: bytes == ask.bytes && hasher.finish() == ask.digest, by: BY })
    }
}

/// Nothing sweeps there, so the temporary name is always the same here, too.
fn write_small(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    durable::write_through(&folder.join(format!("{TEMPORARY_PREFIX}{name}")), &folder.join(name), bytes)
}

/// A small file, whatever it grew to since it was listed.
fn copy_small(from: &Path, to: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    let shown = || format!("can't read {}", from.display());
    File::open(from).and_then(|file| file.take(SMALL_MAX).read_to_end(&mut bytes)).with_context(shown)?;
    Ok(file_facts::create_private_file(to).and_then(|mut file| file.write_all(&bytes))?)
}

/// Copies at most so many bytes, and ends when the user says so.
fn copy(from: &mut impl Read, to: &mut impl Write, bytes_max: u64, monitor: &dyn Monitor) -> Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        interrupt::check()?;
        let n = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.context("reading")?,
        };
        if n == 0 {
            return Ok(done);
        }
        done += n as u64;
        ensure!(done <= bytes_max, "it grew while it was read");
        to.write_all(&buffer[..n]).context("writing")?;
        monitor.advance(n as u64);
    }
}
