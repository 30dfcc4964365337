//! What may change about a backup after it was published: pin, verifications, damage that was found. It
//! stands in a file of its own, because a published archive is never changed.
//!
//! Each change reads, modifies and durably replaces the file under a lock that is held only for that
//! moment, so a verification in the background never loses a pin that is set at the same time.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Store;
use super::catalog::StoreEntry;
use super::lock::state_lock;
use super::names::{self, STATE, SUMMARY};
use super::summary::Summary;
use crate::base::clock::Instant;
use crate::base::durable;
use crate::base::failure::{Failure, Kind, ResultExt};

/// So many verifications are remembered of each backup.
const REMEMBERED_MAX: usize = 30;

/// What may change about a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Never rotated.
    pub pinned: bool,
    /// When it was checked and how, oldest first.
    pub verifications: Vec<Verification>,
    /// What is known to be damaged; empty for a good backup.
    pub damage: Vec<String>,
    /// When it was moved into the trash; of no meaning for a backup that is in the store again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Instant>,
    /// Why the state can't be read. Such a backup counts as pinned, since it may be.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// One check of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When.
    pub at: Instant,
    /// 1 readable, 2 archive and checksums, 3 content and databases, 4 really restored.
    pub level: u8,
    /// Whether it was found good.
    pub ok: bool,
    /// Which command checked.
    pub by: String,
}

impl State {
    /// The newest check that found it good.
    pub fn last_good(&self) -> Option<&Verification> {
        self.verifications.iter().filter(|check| check.ok).max_by_key(|check| check.at)
    }

    /// Adds a check, and what it found damaged. A good check of the archive's content or deeper (level 2
    /// and up) takes back earlier damage: the file was brought back.
    pub fn record(&mut self, check: Verification, damage: Vec<String>) {
        if !check.ok {
            self.damage = damage;
        } else if check.level >= 2 {
            self.damage.clear();
        }
        self.verifications.push(check);
        let surplus = self.verifications.len().saturating_sub(REMEMBERED_MAX);
        self.verifications.drain(..surplus);
    }

    /// Reads a state; without a file it is the default. One that can't be read says so and is pinned.
    pub(super) fn read(path: &Path) -> State {
        let read = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(anyhow::Error::from),
            Err(error) if error.kind() == ErrorKind::NotFound => return State::default(),
            Err(error) => Err(error.into()),
        };
        read.unwrap_or_else(|error| State {
            pinned: true,
            unreadable: Some(format!("can't read {}: {error:#}", path.display())),
            ..State::default()
        })
    }

    pub(super) fn json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec(self)?;
        json.push(b'\n');
        Ok(json)
    }
}

impl Store {
    /// Changes what is known about a backup, and returns what is known then. Needs no lock of the store.
    ///
    /// # Errors
    /// Of kind `NotFound`, when the backup went away meanwhile; or when the state can't be read or written.
    pub fn update_state(&self, entry: &StoreEntry, change: impl FnOnce(&mut State)) -> Result<State> {
        let _moment = state_lock(self.root())?;
        still_there(entry)?;
        let path = names::beside(&entry.archive, &entry.id, STATE);
        let mut state = State::read(&path);
        if let Some(problem) = state.unreadable {
            let hint = format!("remove {} and say `pin` again if it was pinned", path.display());
            return Err(Failure::new(Kind::Failed, problem).hint(hint).into());
        }
        state.removed = None;
        change(&mut state);
        durable::write(&path, &state.json()?)
            .with_context(|| format!("can't note the state of backup {}", entry.id))?;
        Ok(state)
    }

    /// Writes the summary of a backup again, after it was read from the archive.
    ///
    /// # Errors
    /// As [`Store::update_state`].
    pub fn rewrite_summary(&self, entry: &StoreEntry, summary: &Summary) -> Result<()> {
        let _moment = state_lock(self.root())?;
        still_there(entry)?;
        let mut json = serde_json::to_vec(summary)?;
        json.push(b'\n');
        durable::write(&names::beside(&entry.archive, &entry.id, SUMMARY), &json)
    }
}

fn still_there(entry: &StoreEntry) -> Result<()> {
    let gone = || format!("the backup {} is not there any more", entry.id);
    fs::metadata(&entry.archive).with_context(gone).kind(Kind::NotFound)?;
    Ok(())
}
