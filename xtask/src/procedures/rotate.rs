//! Rotation: judges every backup of a store, and moves into the trash what no rule keeps.
//!
//! Nothing is removed unless the newest good one of those that stay has just been verified: by the backup that
//! has just been taken, or here. Is it damaged, or is there none, then nothing is removed at all: a disk that
//! lost one backup may lose the next.

use anyhow::Result;

use crate::base::clock::{self, Instant};
use crate::base::failure::{Kind, hints_of, kind_of};
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::keep::Keep;
use crate::base::kind::BackupKind;
use crate::base::monitor::Monitor;
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::store::lock::Lock;
use crate::store::retention::{self, Extent, Group, Held, Known, Verdict};
use crate::store::trash::Trashed;

use super::check_backup;
use super::prove::Level;
use super::readings::{self, Reading};

/// A backup, and what becomes of it.
pub struct Judged {
    /// The backup.
    pub entry: StoreEntry,
    /// What it says of itself.
    pub reading: Reading,
    /// What the verdict was made of.
    pub known: Known,
    /// The verdict.
    pub verdict: Verdict,
}

/// What a rotation would do.
pub struct Plan {
    /// Every backup, in the order in which they were given.
    pub judged: Vec<Judged>,
    now: Instant,
    reference: Instant,
}

/// What a rotation did.
#[derive(Default)]
pub struct Rotated {
    /// Moved into the trash, oldest first.
    pub removed: Vec<StoreEntry>,
    /// Deleted from the trash.
    pub deleted: Vec<Trashed>,
    /// What was verified before, unless it had been anyway.
    pub verified: Option<BackupId>,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

/// Judges backups by the rules of a project.
pub fn plan(store: &Store, entries: Vec<StoreEntry>, keep: &Keep, now: Instant) -> Plan {
    let readings: Vec<Reading> = entries.iter().map(|entry| readings::read(store, entry)).collect();
    let known: Vec<Known> =
        entries.iter().zip(&readings).map(|(entry, reading)| know(entry, reading)).collect();
    let verdicts = retention::judge(&known, keep, now, &clock::local_zone());
    let reference = retention::reference(&known, now);
    let mut judged = Vec::new();
    for (((entry, reading), known), verdict) in entries.into_iter().zip(readings).zip(known).zip(verdicts) {
        judged.push(Judged { entry, reading, known, verdict });
    }
    Plan { judged, now, reference }
}

fn know(entry: &StoreEntry, reading: &Reading) -> Known {
    let summary = reading.summary();
    let kind = if entry.safety { BackupKind::Safety } else { summary.map_or(entry.kind(), |s| s.kind) };
    let held = if entry.state.unreadable.is_some() {
        Some(Held::StateUnreadable)
    } else if entry.state.pinned {
        Some(Held::Pinned)
    } else if reading.is_newer() {
        Some(Held::NewerFormat)
    } else {
        entry.archive.is_symlink().then_some(Held::Link)
    };
    let damaged = entry.is_damaged() || summary.is_none_or(|summary| summary.archive_bytes != entry.size);
    let verified =
        entry.state.verifications.iter().any(|check| check.ok && check.level >= Level::Archive as u8);
    Known {
        id: entry.id.clone(),
        group: match kind {
            BackupKind::Manual => Group::Manual,
            BackupKind::Scheduled => Group::Scheduled,
            BackupKind::Guard => Group::Guard,
            BackupKind::Safety => Group::Safety,
        },
        is_good: verified && !damaged,
        held,
        extent: summary.map_or_else(Extent::default, |summary| Extent {
            databases: summary.databases,
            rows: summary.rows,
            files: summary.files,
        }),
    }
}

impl Plan {
    /// What is to be removed, in their order.
    pub fn removed(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|one| one.verdict == Verdict::Remove)
    }

    /// The backup that must be good before anything is removed: the newest good one that stays. Safety copies
    /// and backups from the future only where there is no other.
    pub fn survivor(&self) -> Option<&Judged> {
        let stays = |one: &&Judged| {
            one.known.is_good && one.verdict != Verdict::Remove && one.known.held != Some(Held::NewerFormat)
        };
        let rank = |one: &&Judged| {
            let is_ordinary = one.known.group != Group::Safety && one.entry.id.moment() <= self.now;
            (is_ordinary, one.entry.id.clone())
        };
        self.judged.iter().filter(stays).max_by_key(rank)
    }
}

/// Carries out a plan. `fresh` is a backup that this run has verified already.
///
/// # Errors
/// When it can't be told whether the newest survivor is good: then nothing was removed; or on interruption.
/// What goes wrong while backups are moved is a finding, and ends the rotation: each is in the store or in the
/// trash, whole.
pub fn rotate(
    store: &Store,
    lock: &Lock,
    plan: &Plan,
    fresh: Option<&BackupId>,
    monitor: &dyn Monitor,
) -> Result<Rotated> {
    let mut done = Rotated::default();
    let is_due = |one: &Trashed| one.is_due(plan.reference, plan.now);
    let none_good = !plan.judged.is_empty() && plan.judged.iter().all(|one| !one.known.is_good);
    if !none_good && plan.removed().next().is_none() && !store.trash()?.iter().any(is_due) {
        return Ok(done);
    }
    let Some(survivor) = plan.survivor() else {
        let text = "nothing was removed: no backup here is known to be good";
        done.findings.push(Finding::problem("none-good", text).hint("cargo xtask verify all"));
        return Ok(done);
    };
    let id = &survivor.entry.id;
    if fresh != Some(id) {
        monitor.step("verifying the newest backup that stays", Some(survivor.entry.size));
        let checked = check_backup::check(store, &survivor.entry, Level::Content, "prune", monitor)?;
        done.findings.extend(checked.findings);
        if !checked.ok {
            let why = checked.damage.first().map_or_else(|| "it can't be judged".to_owned(), Clone::clone);
            let text =
                format!("nothing was removed: backup {id}, the newest that would stay, is not good: {why}");
            done.findings.push(Finding::problem("damaged", text).hint("cargo xtask verify all"));
            return Ok(done);
        }
        done.verified = Some(id.clone());
    }
    if let Err(error) = remove(store, lock, plan, &mut done) {
        interrupt::check()?;
        let finding = Finding::problem("rotation", format!("{error:#}"));
        done.findings.push(hints_of(&error).into_iter().fold(finding, Finding::hint));
    }
    Ok(done)
}

fn remove(store: &Store, lock: &Lock, plan: &Plan, done: &mut Rotated) -> Result<()> {
    // First what makes room.
    done.deleted = store.expire_trash(lock, plan.reference, plan.now)?;
    for one in plan.removed() {
        interrupt::check()?;
        if store.discard(lock, &one.entry, plan.now)? {
            done.removed.push(one.entry.clone());
        } else {
            let text = format!("backup {} was pinned just now, and stays", one.entry.id);
            done.findings.push(Finding::advice("pinned", text));
        }
    }
    Ok(())
}

/// Rotates after a backup was taken and verified. It never fails: the backup is there, and that old ones could
/// not be removed is a problem of its own.
pub fn after_backup(
    store: &Store,
    lock: &Lock,
    keep: &Keep,
    taken: &BackupId,
    monitor: &dyn Monitor,
) -> Rotated {
    let mut shrunk = None;
    let mut attempt = || -> Result<Rotated> {
        let plan = plan(store, store.list()?.entries, keep, Instant::now());
        shrunk = shrinkage(&plan, taken);
        rotate(store, lock, &plan, Some(taken), monitor)
    };
    let mut rotated = attempt().unwrap_or_else(|error| {
        let text = format!("old backups were not removed: {error:#}");
        let finding = if kind_of(&error) == Kind::Interrupted {
            Finding::advice("rotation", text)
        } else {
            Finding::problem("rotation", text)
        };
        let finding = hints_of(&error).into_iter().fold(finding, Finding::hint);
        Rotated { findings: vec![finding], ..Rotated::default() }
    });
    rotated.findings.extend(shrunk);
    rotated
}

/// Says when the backup that was just taken holds much less than the one before.
fn shrinkage(plan: &Plan, taken: &BackupId) -> Option<Finding> {
    let now = &plan.judged.iter().find(|one| one.known.id == *taken)?.known.extent;
    let earlier =
        |one: &&Judged| one.known.is_good && one.known.group != Group::Safety && one.known.id < *taken;
    let before = plan.judged.iter().filter(earlier).max_by_key(|one| one.known.id.clone())?;
    let was = &before.known.extent;
    was.is_fuller(now).then(|| {
        let text = format!(
            "there is much less than in backup {}: rows {} → {}, files {} → {}, databases {} → {}",
            before.known.id, was.rows, now.rows, was.files, now.files, was.databases, now.databases
        );
        Finding::advice("shrunk", text)
            .hint(format!("if that is a loss: cargo xtask pin {}, and restore from it", before.known.id))
    })
}
