//! Brings to the remote what the store holds and the remote does not, and reads it back there.
//!
//! Newest first, each with its small files before and its archive last, so that what has an archive's name
//! there is whole; killed anywhere, the next run goes on. An archive goes up only after it was read here and
//! is the one that its digest tells of, so damage does not travel. Nothing is deleted there, and an archive
//! that is there is written again only to repair a copy that is damaged.

mod look;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::failure::{Failure, Kind, hints_of, kind_of};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::kind::BackupKind;
use crate::base::monitor::Monitor;
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::store::identity::{Relation, STORE_FILE, StoreInfo};
use crate::store::lock::remote_lock;
use crate::store::remote::plan::{self, Here, Step};
use crate::store::remote::{self, Checked, Listing, Remote};
use crate::store::remote_state::{RemoteBackup, RemoteState};
use crate::store::sum;

use super::place;
use super::prove;
use super::room::Room;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Read back everything that is there.
    pub check: bool,
    /// Write again what is damaged there.
    pub repair: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Sent {
    /// This store's folder there.
    pub folder: String,
    /// Backups that went up, newest first.
    pub uploaded: Vec<BackupId>,
    /// Bytes of their archives.
    pub bytes: u64,
    /// Backups that were read back, and how.
    pub checked: Vec<(BackupId, Checked)>,
    /// Damaged copies that were written again.
    pub repaired: Vec<BackupId>,
    /// How many backups are there now.
    pub there: usize,
    /// What went wrong, and what should be known.
    pub findings: Vec<Finding>,
    /// What ended it before everything was there.
    pub stopped: Option<anyhow::Error>,
}

/// Brings everything there.
///
/// # Errors
/// Of kind `Locked`, when another run is at it; `Refused`, when the folder there is another one's; or what
/// went wrong before anything was done.
pub fn upload(store: &Store, remote: &Remote, options: Options, monitor: &dyn Monitor) -> Result<Sent> {
    let mut findings = Vec::new();
    let _alone = match remote_lock(store.root()) {
        Ok(lock) => Some(lock),
        Err(error) if kind_of(&error) == Kind::Locked => return Err(error),
        Err(error) => {
            // A store that may only be read can still be copied.
            findings
                .push(Finding::advice("remote-state", format!("nothing of this is remembered: {error:#}")));
            None
        }
    };
    let Some(info) = store.info() else {
        let text = format!("the store {} does not say whose it is", store.root().display());
        return Err(Failure::new(Kind::Refused, text)
            .hint("cargo xtask backup --adopt makes it this working copy's")
            .into());
    };
    let folder = remote::folder_name(&info.owner)?;
    let state = store.remote_state(remote.shown(), &folder, remote.by());
    let scratch = Room::new(store)?;
    let mut run = Upload { store, remote, options, monitor, state, scratch, sent: Sent::default(), rooms: 0 };
    run.sent.folder = folder;
    run.sent.findings = findings;
    run.state.tried = Some(Instant::now());
    let ended = run.all(info);
    run.finish(ended)
}

struct Upload<'a> {
    store: &'a Store,
    remote: &'a Remote,
    options: Options,
    monitor: &'a dyn Monitor,
    state: RemoteState,
    scratch: Room,
    sent: Sent,
    rooms: u32,
}

impl Upload<'_> {
    fn finish(mut self, ended: Result<()>) -> Result<Sent> {
        let done = !self.sent.uploaded.is_empty() || !self.sent.repaired.is_empty();
        let problem = self.sent.findings.iter().find(|finding| finding.is_problem());
        self.state.error = match (&ended, problem) {
            (Err(error), _) => Some(format!("{error:#}")),
            (Ok(()), Some(problem)) => Some(problem.message.clone()),
            (Ok(()), None) => None,
        };
        if self.state.error.is_none() {
            self.state.complete = self.state.tried;
        }
        self.note();
        match ended {
            // Whatever failed by it, the user asked to stop.
            Err(error) if interrupt::check().is_err() || !done => Err(error),
            Err(error) => {
                self.sent.stopped = Some(error);
                Ok(self.sent)
            }
            Ok(()) => Ok(self.sent),
        }
    }

    fn all(&mut self, info: &StoreInfo) -> Result<()> {
        self.monitor.step("looking at the remote", None);
        let there = self.enter(info)?;
        let listing = self.store.list()?;
        let mut entries = Vec::new();
        let mut here = Vec::new();
        // Safety copies hold states that somebody wanted to leave: they stay here.
        for entry in listing.entries.iter().rev().filter(|entry| entry.kind() != BackupKind::Safety) {
            match entry.digest() {
                Ok(Some(digest)) => {
                    let (id, bytes) = (entry.id.clone(), entry.size);
                    here.push(Here { id, bytes, digest, pinned: entry.state.pinned });
                    entries.push(entry);
                }
                Ok(None) => {
                    self.problem("no-digest", &entry.id, "has no .sha256 here, so it is not uploaded")
                }
                Err(error) => self.problem("no-digest", &entry.id, &format!("is not uploaded: {error:#}")),
            }
        }
        self.forget_what_is_gone(&there, &here);
        let again = self.options.check || self.options.repair;
        let steps = plan::plan(&here, &there, &self.state, again);
        for ((entry, here), step) in entries.iter().zip(&here).zip(steps) {
            interrupt::check()?;
            self.step(entry, here, step)?;
        }
        if again {
            self.check_what_is_only_there(&there, &listing.entries)?;
        }
        self.sent.there = self.state.backups.len();
        self.tell_what_is_private(&entries);
        Ok(())
    }

    /// Finds or makes this store's folder there, and what is in it.
    fn enter(&mut self, info: &StoreInfo) -> Result<Listing> {
        let folder = self.sent.folder.clone();
        let listed = self.remote.list(&folder)?;
        let count = self.state.backups.len();
        if listed.is_none() && count > 0 && !self.options.repair {
            let text =
                format!("{}, which held {count} of the backups, is not there", self.remote.at(&folder));
            return Err(Failure::new(Kind::Failed, text)
                .hint("is it the right disk or host? If that copy is really lost: cargo xtask sync --repair")
                .into());
        }
        let mut there = listed.unwrap_or_default();
        let dir = self.room()?;
        if there.is_empty() {
            let mut json = serde_json::to_vec_pretty(info)?;
            json.push(b'\n');
            write(&dir.join(STORE_FILE), &json)?;
            self.remote.found(&folder, &dir)?;
            there = self.remote.list(&folder)?.unwrap_or_default();
        }
        let dir = self.room()?;
        let far = self.remote.owner(&folder, &dir)?;
        match far {
            Some(far) if far.owner == info.owner => {}
            Some(far) if far.owner.relation(&info.owner) == Relation::Own => {
                // It has gained commits or remotes since.
                let mut json = serde_json::to_vec_pretty(info)?;
                json.push(b'\n');
                write(&dir.join(STORE_FILE), &json)?;
                self.remote.put_small(&folder, &dir, &[STORE_FILE.to_owned()])?;
            }
            other => {
                let whose = match other {
                    Some(far) => format!("belongs to another working copy: {}", place::owner(&far.owner)),
                    None => "does not say whose it is: its store.json is missing or damaged".to_owned(),
                };
                let text = format!("the folder {} {whose}", self.remote.at(&folder));
                return Err(Failure::new(Kind::Refused, text)
                    .hint("name another destination with --remote DEST, or move that folder away")
                    .into());
            }
        }
        Ok(there)
    }

    fn forget_what_is_gone(&mut self, there: &Listing, here: &[Here]) {
        let has = |id: &BackupId| there.contains_key(&format!("{id}.tar.gz"));
        let here: BTreeSet<&BackupId> = here.iter().map(|here| &here.id).collect();
        let gone = self.state.backups.iter().filter(|known| !has(&known.id) && !here.contains(&known.id));
        let gone: Vec<String> = gone.map(|known| known.id.to_string()).collect();
        if !gone.is_empty() {
            let text = format!("gone from the remote, and not here either: {}", gone.join(", "));
            self.sent.findings.push(Finding::advice("remote-gone", text));
        }
        self.state.backups.retain(|known| has(&known.id) || here.contains(&known.id));
        // What lies there and is not here any more is there all the same.
        for (name, bytes) in there {
            let id = name.strip_suffix(".tar.gz").and_then(|id| id.parse::<BackupId>().ok());
            let Some(id) = id.filter(|id| self.state.find(id).is_none() && !here.contains(id)) else {
                continue;
            };
            let (sha256, confirmed, damage) = (None, None, None);
            self.state.put(RemoteBackup { id, bytes: *bytes, sha256, confirmed, pinned: false, damage });
        }
    }

    fn step(&mut self, entry: &StoreEntry, here: &Here, step: Step) -> Result<()> {
        match step {
            Step::Nothing => Ok(()),
            Step::Pin => {
                self.put_beside(entry, here.digest)?;
                self.known(here, None);
                Ok(())
            }
            Step::Upload { lost } => {
                if lost {
                    let text = format!("backup {} was at the remote and is not there any more", here.id);
                    self.sent.findings.push(Finding::advice("remote-lost", text));
                }
                if !self.is_good_here(entry, here)? {
                    return Ok(());
                }
                self.put_beside(entry, here.digest)?;
                self.monitor.step(&format!("uploading {}", here.id), Some(here.bytes));
                let put = self.remote.put(&self.sent.folder, &entry.archive, false, self.monitor);
                if put.is_err() && !entry.archive.exists() {
                    // Rotated away meanwhile.
                    return Ok(());
                }
                put?;
                if self.read_back(entry, here, true)? {
                    self.sent.uploaded.push(here.id.clone());
                    self.sent.bytes += here.bytes;
                }
                Ok(())
            }
            Step::Confirm { beside } => {
                let good = self.read_back(entry, here, false)?;
                if good && beside {
                    self.put_beside(entry, here.digest)?;
                }
                Ok(())
            }
            Step::Differs { bytes } => {
                let what = format!("has {bytes} bytes there and {} here", here.bytes);
                self.damaged(entry, here, &what)
            }
        }
    }

    /// Writes there what stands beside an archive.
    fn put_beside(&mut self, entry: &StoreEntry, digest: Digest) -> Result<()> {
        let dir = self.room()?;
        let archive = format!("{}.tar.gz", entry.id);
        let name = format!("{archive}.sha256");
        write(&dir.join(&name), sum::text(&digest, &archive).as_bytes())?;
        let mut names = vec![name];
        for ending in [".json", ".state.json"] {
            let name = format!("{}{ending}", entry.id);
            match fs::read(entry.archive.with_file_name(&name)) {
                Ok(bytes) => write(&dir.join(&name), &bytes)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("can't read {name}")),
            }
            names.push(name);
        }
        self.remote.put_small(&self.sent.folder, &dir, &names)
    }

    fn tell_what_is_private(&mut self, entries: &[&StoreEntry]) {
        let newest = self.sent.uploaded.first();
        let Some(entry) = entries.iter().find(|entry| Some(&entry.id) == newest) else { return };
        // An archive that can't be read was not uploaded.
        let Ok((_, manifest)) = prove::open(&entry.archive) else { return };
        let private = manifest.files.ignored;
        if private > 0 {
            let text = format!(
                "{private} private files (git ignores them) are in backup {} and lie at the remote in clear",
                entry.id
            );
            let hint = "whoever reads that remote reads them: `ignored = false` or `exclude` leaves them out";
            self.sent.findings.push(Finding::advice("remote-private", text).hint(hint));
        }
    }

    fn known(&mut self, here: &Here, damage: Option<String>) {
        let good = damage.is_none();
        self.state.put(RemoteBackup {
            id: here.id.clone(),
            bytes: here.bytes,
            sha256: good.then_some(here.digest),
            confirmed: good.then(Instant::now),
            pinned: here.pinned,
            damage,
        });
        self.note();
    }

    /// A store that can't be written is told of at the beginning; here only the knowledge is lost.
    fn note(&self) {
        let _ = self.store.write_remote_state(&self.state);
    }

    fn problem(&mut self, code: &str, id: &BackupId, what: &str) {
        let hint = format!("cargo xtask verify {id} tells more");
        self.sent.findings.push(Finding::problem(code, format!("backup {id} {what}")).hint(hint));
    }

    /// An empty folder.
    fn room(&mut self) -> Result<PathBuf> {
        self.rooms += 1;
        let dir = self.scratch.path().join(self.rooms.to_string());
        fs::create_dir(&dir).with_context(|| format!("can't make {}", dir.display()))?;
        Ok(dir)
    }
}

/// A file that only its owner can read, there as well.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = file_facts::create_private_file(path).and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("can't write {}", path.display()))
}

/// What is told before a backup is taken, when it is known already that it can't be brought to the remote.
pub fn will_not_be_there(error: &anyhow::Error) -> Finding {
    Finding::advice("remote", format!("the backup will not be at the remote: {error:#}"))
}

/// What is told when a backup is here and could not be brought to the remote.
pub fn not_there(error: &anyhow::Error) -> Finding {
    let text = format!("the backup is in the store; it is not at the remote: {error:#}");
    let finding = Finding::problem("remote", text);
    match hints_of(error).into_iter().next() {
        Some(hint) => finding.hint(hint),
        None => finding.hint("when it can be reached again: cargo xtask sync"),
    }
}
