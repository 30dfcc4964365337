//! Brings backups from the remote into a store: an emptied one, one that lacks some, or a new one on a machine
//! that lost everything.
//!
//! What comes is untrusted until it was proven: each archive lands in a scratch folder, is read completely
//! against its digest, its seal and its checksums, and only then is published like a backup that was just
//! taken. Killed anywhere, the store has whole backups and nothing else. Nothing there is changed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::failure::{Failure, Kind, hints_of, is_disk_full, kind_of};
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::store::identity::{Owner, Relation, STORE_FILE, StoreInfo};
use crate::store::lock::{LOCK_FILE, Lock, REMOTE_LOCK_FILE, STATE_LOCK_FILE, remote_lock};
use crate::store::remote::{self, Remote, catalog};
use crate::store::remote_state::{RemoteBackup, RemoteState};
use crate::store::space::free_bytes;
use crate::store::state::{State, Verification};

use super::place::{self, Place};
use super::prove::{self, Level};
use super::room::Room;
use super::take;

/// What to do about a backup that is damaged there.
const OTHERWISE: &str = "use another one (cargo xtask pull BACKUP); if you must, copy this one by hand into an \
empty folder, which may still give single files: cargo xtask restore ID --store FOLDER --only PATH --to DIR";

/// A folder at the remote that was chosen, and what is in it.
pub struct Chosen {
    /// Its name.
    pub folder: String,
    /// Whose it is; `None` when it does not say.
    pub info: Option<StoreInfo>,
    /// The backups in it, oldest first.
    pub entries: Vec<StoreEntry>,
    /// Where its small files were brought.
    small: Room,
}

/// What came.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Backups that are in the store now, newest first.
    pub pulled: Vec<BackupId>,
    /// Bytes of their archives.
    pub bytes: u64,
    /// How many of those that were asked for were here already.
    pub here: usize,
    /// What did not come, and what should be known.
    pub findings: Vec<Finding>,
    /// What ended it before everything was here.
    pub stopped: Option<anyhow::Error>,
}

/// Chooses the folder: the one that was named, else the one of the store or of the working copy at hand.
/// Never another one, however alike: those are told as hints.
///
/// # Errors
/// Of kind `NotFound`, when there is no such folder; `Refused`, when it belongs to another working copy than
/// its name says; or when the remote can't be read.
pub fn choose(
    remote: &Remote,
    store: Option<&Store>,
    present: Option<&Owner>,
    from: Option<&str>,
) -> Result<Chosen> {
    let small = Room::elsewhere()?;
    let dir = |name: &str| -> Result<std::path::PathBuf> {
        let dir = small.path().join(name);
        fs::create_dir(&dir)?;
        Ok(dir)
    };
    let own = store.and_then(Store::info).map(|info| &info.owner).or(present);
    let folder = match (from, own) {
        (Some(name), _) if remote::is_folder_name(name) => Some(name.to_owned()),
        (Some(name), _) => {
            let text = format!("{name:?} is no name of a folder at a remote");
            return Err(Failure::new(Kind::Usage, text)
                .hint("cargo xtask pull without --from shows them")
                .into());
        }
        (None, Some(own)) => Some(remote::folder_name(own)?),
        (None, None) => None,
    };
    let listing = match &folder {
        Some(folder) => remote.list(folder)?,
        None => None,
    };
    let (Some(folder), Some(listing)) = (folder.clone(), listing) else {
        return Err(others(remote, folder.as_deref(), own, &dir("owners")?)?);
    };
    let info = remote.owner(&folder, &dir("owner")?)?;
    if let (None, Some(info), Some(own)) = (from, &info, own)
        && info.owner.relation(own) != Relation::Own
    {
        let text =
            format!("{} belongs to another working copy: {}", remote.at(&folder), place::owner(&info.owner));
        return Err(Failure::new(Kind::Refused, text)
            .hint(format!("if that is the one you want: cargo xtask pull --from {folder}"))
            .into());
    }
    let files = dir("small")?;
    remote.small(&folder, &catalog::BESIDE, &files)?;
    let entries = catalog::entries(&listing, &files);
    Ok(Chosen { folder, info, entries, small })
}

/// The failure for when the folder is not there, with those that could be meant.
fn others(remote: &Remote, wanted: Option<&str>, own: Option<&Owner>, dir: &Path) -> Result<anyhow::Error> {
    let found = remote.owners(dir)?;
    let text = match wanted {
        Some(wanted) => format!("there is no folder {} with backups", remote.at(wanted)),
        None => {
            format!("it is not known which folder of {} is meant: there is no project here", remote.shown())
        }
    };
    let mut failure = Failure::new(Kind::NotFound, text);
    let related = |info: &StoreInfo| own.is_some_and(|own| info.owner.relation(own) != Relation::Foreign);
    let same: Vec<&(String, StoreInfo)> = found.iter().filter(|(_, info)| related(info)).collect();
    let (named, what) = match same.is_empty() {
        false => (same, "of the same project"),
        true => (found.iter().collect(), "of a project that nothing here shows to be the same"),
    };
    if named.is_empty() {
        return Ok(failure.hint("nothing there is a store of backups: is it the right destination?").into());
    }
    for (name, info) in named {
        let whose = place::owner(&info.owner);
        failure = failure.hint(format!("--from {name} is {what}: {whose}, since {}", info.created.local()));
    }
    Ok(failure.into())
}

impl Chosen {
    /// Whether its backups may go into the store at `path`, or into a new one there.
    ///
    /// # Errors
    /// Of kind `Refused`, when they are another working copy's than the store, and `adopt` is not given.
    fn fits(&self, store: &Store, adopt: bool) -> Result<()> {
        let (Some(theirs), Some(ours)) = (&self.info, store.info()) else {
            return if adopt {
                Ok(())
            } else {
                Err(self.refusal(store, "it is not known whether the backups are those of"))
            };
        };
        match theirs.owner.relation(&ours.owner) {
            Relation::Own => Ok(()),
            _ if adopt => Ok(()),
            _ => Err(self.refusal(store, "the backups are another working copy's than")),
        }
    }

    fn refusal(&self, store: &Store, what: &str) -> anyhow::Error {
        let whose = |info: Option<&StoreInfo>| {
            info.map_or_else(|| "nobody that it names".to_owned(), |info| place::owner(&info.owner))
        };
        let text = format!(
            "{what} the store {}: they are of {}, it is of {}",
            store.root().display(),
            whose(self.info.as_ref()),
            whose(store.info())
        );
        Failure::new(Kind::Refused, text)
            .hint("bring them into a store of their own: --store DIR")
            .hint("or mix them into this one: cargo xtask pull --adopt")
            .into()
    }
}

/// The store that backups go into.
pub struct Received {
    /// It, open.
    pub store: Store,
    /// The right to write into it.
    pub lock: Lock,
    /// Whether it was made for them.
    pub is_new: bool,
}

impl Received {
    /// Takes back a store that was made for backups of which none came: an empty one that belongs to another
    /// copy would stand in the way of the present one. What is left of it harms nobody.
    pub fn discard_if_empty(self) {
        let root = self.store.root().to_path_buf();
        if !self.is_new || !self.store.list().is_ok_and(|listing| listing.entries.is_empty()) {
            return;
        }
        // Locked until the last of it goes.
        for name in [STORE_FILE, REMOTE_LOCK_FILE, STATE_LOCK_FILE, LOCK_FILE] {
            let _ = fs::remove_file(root.join(name));
        }
        drop(self.lock);
        let _ = fs::remove_dir(root);
    }
}

/// Opens the store that the backups go into, or makes it, and takes its lock. A new one belongs to the working
/// copy that the backups are of, unless the present one adopts them.
///
/// # Errors
/// Of kind `Refused`, when they don't belong together; `Locked`, when another run has it.
pub fn receive(place: &Place, present: Option<&Owner>, chosen: &Chosen, adopt: bool) -> Result<Received> {
    let path = &place.location.path;
    let lock = match Store::open(path) {
        Err(error) if kind_of(&error) == Kind::NotFound => Store::lock_new(path, "pull")?,
        opened => opened?.lock("pull")?,
    };
    // What it is counts from here on: until now others may have made it.
    let mut is_new = false;
    let mut store = match Store::open(path) {
        Err(error) if kind_of(&error) == Kind::NotFound => {
            let theirs = chosen.info.as_ref().map(|info| &info.owner);
            let own = present.zip(theirs).is_some_and(|(us, them)| them.relation(us) == Relation::Own);
            let owner = match (theirs, present) {
                (Some(theirs), _) if !adopt && !own => theirs,
                (_, Some(us)) => us,
                (Some(theirs), None) => theirs,
                (None, None) => {
                    let text = format!("{} does not say whose its backups are", chosen.folder);
                    return Err(Failure::new(Kind::Refused, text)
                        .hint("name a project: --project DIR")
                        .into());
                }
            };
            is_new = true;
            Store::create(path, owner)?
        }
        opened => opened?,
    };
    chosen.fits(&store, adopt)?;
    if let (true, Some(present)) = (adopt, present)
        && store.relation(present) != Some(Relation::Own)
    {
        store.adopt(&lock, present)?;
    }
    Ok(Received { store, lock, is_new })
}

/// Brings the wanted backups that are not here.
///
/// # Errors
/// When there is no room; or what went wrong before anything came.
pub fn pull(
    store: &Store,
    lock: &Lock,
    remote: &Remote,
    chosen: &Chosen,
    wanted: &[&StoreEntry],
    monitor: &dyn Monitor,
) -> Result<Pulled> {
    let _alone = remote_lock(store.root())?;
    let mut out = Pulled { findings: store.sweep(lock)?.findings, ..Pulled::default() };
    let here = store.list()?;
    let mut missing = Vec::new();
    for &far in wanted.iter().rev() {
        let told = catalog::digest(&chosen.files(), &far.id);
        match here.entries.iter().find(|entry| entry.id == far.id) {
            None => missing.push((far, told)),
            Some(entry) => {
                out.here += 1;
                out.findings.extend(differs(entry, far, told.ok().flatten()));
            }
        }
    }
    let bytes: u64 = missing.iter().map(|(far, _)| far.size).fold(0, u64::saturating_add);
    if let Some(free) = free_bytes(store.root()).filter(|free| *free < bytes) {
        let text = format!(
            "{} MiB would come, and {} MiB are free at {}",
            bytes >> 20,
            free >> 20,
            store.root().display()
        );
        return Err(Failure::new(Kind::Failed, text)
            .hint(
                "make room, name fewer backups (cargo xtask pull latest), or another store with --store DIR",
            )
            .into());
    }
    let mut state = known(store, remote, &chosen.folder);
    for (far, told) in missing {
        match one(store, lock, remote, chosen, far, told, monitor) {
            Ok(digest) => {
                out.pulled.push(far.id.clone());
                out.bytes += far.size;
                if let Some(state) = &mut state {
                    let (sha256, confirmed) = (Some(digest), Some(Instant::now()));
                    let (id, bytes, pinned) = (far.id.clone(), far.size, far.state.pinned);
                    state.put(RemoteBackup { id, bytes, sha256, confirmed, pinned, damage: None });
                    // Without this knowledge the next sync looks at the remote again.
                    let _ = store.write_remote_state(state);
                }
            }
            Err(Stopped::Bad(finding)) => out.findings.push(finding),
            Err(Stopped::By(error)) => {
                interrupt::check()?;
                if out.pulled.is_empty() {
                    return Err(error);
                }
                out.stopped = Some(error);
                break;
            }
        }
    }
    Ok(out)
}

impl Chosen {
    fn files(&self) -> std::path::PathBuf {
        self.small.path().join("small")
    }
}

/// What is known of the remote, when it is the one that this store goes to.
fn known(store: &Store, remote: &Remote, folder: &str) -> Option<RemoteState> {
    let own = store.info().and_then(|info| remote::folder_name(&info.owner).ok());
    if own.as_deref() != Some(folder) {
        return None;
    }
    Some(store.remote_state(remote.shown(), folder, remote.by()))
}

/// A backup of the same id that is here and another one, or damaged.
fn differs(here: &StoreEntry, far: &StoreEntry, told: Option<Digest>) -> Option<Finding> {
    let same = match (here.digest().ok().flatten(), told) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => here.size == far.size,
    };
    if !same {
        let text = format!("another backup has the id {} here; that of the remote was not brought", here.id);
        let hint = "bring it into a store of its own: --store DIR";
        return Some(Finding::problem("remote-other", text).hint(hint));
    }
    here.is_damaged().then(|| {
        let text =
            format!("backup {} is damaged here, and stays: what is published is never changed", here.id);
        let hint = format!("move {} away, then: cargo xtask pull {}", here.archive.display(), here.id);
        Finding::problem("damaged", text).hint(hint)
    })
}

/// Why one did not come.
enum Stopped {
    /// It is not good; the others may be.
    Bad(Finding),
    /// The remote or this machine failed: the others would, too.
    By(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Stopped {
    fn from(error: E) -> Stopped {
        Stopped::By(error.into())
    }
}

fn one(
    store: &Store,
    lock: &Lock,
    remote: &Remote,
    chosen: &Chosen,
    far: &StoreEntry,
    told: Result<Option<Digest>>,
    monitor: &dyn Monitor,
) -> Result<Digest, Stopped> {
    let id = &far.id;
    let bad = |code: &str, text: String, hint: &str| Stopped::Bad(Finding::problem(code, text).hint(hint));
    let told = told.map_err(|error| {
        let text = format!("backup {id} was not brought: the digest at the remote is damaged: {error:#}");
        bad("remote-damaged", text, OTHERWISE)
    })?;
    let name = format!("{id}.tar.gz");
    let scratch = store.scratch()?;
    monitor.step(&format!("bringing {id}"), Some(far.size));
    remote.fetch(&chosen.folder, &name, scratch.path(), monitor).map_err(|error| {
        if is_disk_full(&error) {
            let failure = Failure::wrap(kind_of(&error), error);
            return failure.hint("make room, or name another store with --store DIR").into();
        }
        error
    })?;
    let came = scratch.path().join(&name);
    let is_file = fs::symlink_metadata(&came).is_ok_and(|meta| meta.is_file());
    if !is_file {
        let text = format!("backup {id} was not brought: what has its name at the remote is no file");
        return Err(bad("remote-damaged", text, OTHERWISE));
    }
    let temporary = store.temporary_of(lock, &came)?;
    let proven =
        prove::prove(temporary.path(), Level::Archive, told, scratch.path(), monitor).and_then(|manifest| {
            ensure!(manifest.id == *id, "it holds another backup, {}", manifest.id);
            Ok(manifest)
        });
    let manifest = match proven {
        Ok(manifest) => manifest,
        Err(error) if interrupt::check().is_err() || prove::is_local(&error) => return Err(error.into()),
        Err(error) if prove::is_newer(temporary.path()) => {
            let hint = hints_of(&error).into_iter().next().unwrap_or_default();
            let text = format!("backup {id} was not brought: {error:#}");
            return Err(bad("newer-format", text, &hint));
        }
        Err(error) => {
            let text = format!("backup {id} was not brought, because it is damaged at the remote: {error:#}");
            return Err(bad("remote-damaged", text, OTHERWISE));
        }
    };
    let size = temporary.as_file().metadata()?.len();
    let digest = match told {
        // It was compared with what came.
        Some(digest) => digest,
        None => Digest::of_reader(&mut temporary.reopen().context("can't read what came")?)?.0,
    };
    let summary = take::summarize(&manifest, size, digest);
    let level = Level::Archive as u8;
    let check = Verification { at: Instant::now(), level, ok: true, by: "pull".to_owned() };
    let state = State {
        pinned: far.state.pinned,
        verifications: vec![check],
        damage: take::damage_of(&manifest),
        ..State::default()
    };
    monitor.step("publishing", None);
    store.publish(lock, temporary, &summary, &state)?;
    Ok(digest)
}
