//! Reading back what is at the remote, and what becomes of what is not good there.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use super::Upload;
use crate::base::digest::{Digest, Hasher};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::store::catalog::StoreEntry;
use crate::store::remote::plan::Here;
use crate::store::remote::{Checked, Listing, catalog};

impl Upload<'_> {
    /// Whether the archive here is the one that its digest tells of: nothing else goes up.
    pub(super) fn is_good_here(&mut self, entry: &StoreEntry, here: &Here) -> Result<bool> {
        self.monitor.step(&format!("reading {}", here.id), Some(here.bytes));
        let digest = match digest_of(&entry.archive, self.monitor) {
            // Rotated away meanwhile.
            Err(_) if interrupt::check().is_ok() && !entry.archive.exists() => return Ok(false),
            digest => digest?,
        };
        if digest != here.digest {
            let text = format!("backup {} is damaged in this store, so it is not uploaded", here.id);
            let hint = format!("cargo xtask verify {} tells more", here.id);
            self.sent.findings.push(Finding::problem("damaged", text).hint(hint));
        }
        Ok(digest == here.digest)
    }

    /// Reads an archive back there. A damaged one is repaired, where that is wanted, or told.
    pub(super) fn read_back(&mut self, entry: &StoreEntry, here: &Here, was_read: bool) -> Result<bool> {
        // What is compared with must be good itself; a far side that has digests needs no comparison.
        let local =
            if was_read || self.is_good_here(entry, here)? { Some(entry.archive.as_path()) } else { None };
        let checked = self.check(here, local)?;
        if checked.same {
            self.sent.checked.push((here.id.clone(), checked));
            self.known(here, None);
            return Ok(true);
        }
        if was_read {
            self.sent.checked.push((here.id.clone(), checked));
            let text =
                format!("backup {} was uploaded and is not the same there (seen by {})", here.id, checked.by);
            self.known(here, Some(text.clone()));
            self.sent
                .findings
                .push(Finding::problem("remote-damaged", text).hint("cargo xtask sync --repair"));
            return Ok(false);
        }
        self.damaged(entry, here, &format!("is not the same there (seen by {})", checked.by))?;
        Ok(false)
    }

    fn check(&mut self, here: &Here, local: Option<&Path>) -> Result<Checked> {
        self.monitor.step(&format!("reading {} back", here.id), Some(here.bytes));
        let dir = self.room()?;
        let (name, folder) = (format!("{}.tar.gz", here.id), self.sent.folder.clone());
        self.remote.check(&folder, (&name, here.bytes, here.digest), local, &dir, self.monitor)
    }

    /// A copy there that is not what it should be. It is written again only when the user asks for that, when
    /// ours is good, and when what lies beside it there tells of ours: another backup is never written over.
    pub(super) fn damaged(&mut self, entry: &StoreEntry, here: &Here, what: &str) -> Result<()> {
        let dir = self.room()?;
        let name = format!("{}.tar.gz.sha256", here.id);
        self.remote.small(&self.sent.folder, &[&name], &dir)?;
        let foreign = match catalog::digest(&dir, &here.id) {
            Ok(Some(told)) => told != here.digest,
            // None, or a damaged one: nothing tells of another backup.
            Ok(None) | Err(_) => false,
        };
        let (text, hint) = if foreign {
            let text = format!("another backup has the name {} at the remote: it {what}", here.id);
            (text, "nothing was written over; move one of the two away by hand".to_owned())
        } else {
            let text = format!("backup {} is damaged at the remote: it {what}", here.id);
            (text, "cargo xtask sync --repair writes it again from the good one here".to_owned())
        };
        if foreign || !self.options.repair || !self.is_good_here(entry, here)? {
            let checked = Checked { same: false, by: "its size or content" };
            self.sent.checked.push((here.id.clone(), checked));
            self.known(here, Some(text.clone()));
            let code = if foreign { "remote-other" } else { "remote-damaged" };
            self.sent.findings.push(Finding::problem(code, text).hint(hint));
            return Ok(());
        }
        self.put_beside(entry, here.digest)?;
        self.monitor.step(&format!("uploading {} again", here.id), Some(here.bytes));
        self.remote.put(&self.sent.folder, &entry.archive, true, self.monitor)?;
        if self.read_back(entry, here, true)? {
            self.sent.repaired.push(here.id.clone());
            self.sent
                .findings
                .push(Finding::advice("remote-repaired", format!("{text}; it was written again")));
        }
        Ok(())
    }

    pub(super) fn check_what_is_only_there(&mut self, there: &Listing, here: &[StoreEntry]) -> Result<()> {
        let dir = self.room()?;
        let only_there: Vec<StoreEntry> = catalog::entries(there, &dir)
            .into_iter()
            .filter(|far| here.iter().all(|entry| entry.id != far.id))
            .collect();
        if only_there.is_empty() {
            return Ok(());
        }
        self.remote.small(&self.sent.folder, &[".sha256"], &dir)?;
        for far in only_there {
            interrupt::check()?;
            let digest = match catalog::digest(&dir, &far.id) {
                Ok(Some(digest)) => digest,
                Ok(None) => {
                    let text = format!("nothing at the remote tells the digest of {}", far.id);
                    self.sent.findings.push(Finding::advice("remote-no-digest", text));
                    continue;
                }
                Err(_) => {
                    self.problem("remote-damaged", &far.id, "has a damaged .sha256 at the remote");
                    continue;
                }
            };
            let pinned = self.state.find(&far.id).is_some_and(|known| known.pinned);
            let ask = Here { id: far.id.clone(), bytes: far.size, digest, pinned };
            let checked = self.check(&ask, None)?;
            self.sent.checked.push((far.id.clone(), checked));
            let text = format!("backup {} is damaged at the remote, and it is not here", far.id);
            self.known(&ask, (!checked.same).then(|| text.clone()));
            if !checked.same {
                self.sent.findings.push(Finding::problem("remote-damaged", text).hint("use another backup"));
            }
        }
        Ok(())
    }
}

fn digest_of(path: &Path, monitor: &dyn Monitor) -> Result<Digest> {
    let shown = || format!("can't read {}", path.display());
    let mut file = File::open(path).with_context(shown)?;
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 1 << 20]);
    loop {
        interrupt::check()?;
        let n = std::io::Read::read(&mut file, &mut buffer).with_context(shown)?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..n]);
        monitor.advance(n as u64);
    }
}
