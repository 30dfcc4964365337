//! What this store knows of its remotes (`remote.json`): where each is, when it was last complete, which backups
//! are there and which of them were read back. Nothing depends on it: without it the next `sync` looks again.
//!
//! It is written anew after every archive that went up, so a killed run forgets nothing. Several remotes are
//! remembered, so that a disk that is connected now and then does not cost what is known of the daily one.

use std::fs;

use serde::{Deserialize, Serialize};

use super::Store;
use super::names::REMOTE_FILE;
use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::durable;
use crate::base::id::BackupId;

/// The form of this file that this tool writes.
pub const REMOTE_FORMAT: u32 = 1;

/// So many remotes are remembered.
const REMEMBERED_MAX: usize = 8;

/// The content of `remote.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RemoteFile {
    /// Version of this file's form.
    format: u32,
    /// The remotes, the one that was tried last first.
    #[serde(default)]
    remotes: Vec<RemoteState>,
}

/// What is known of one remote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteState {
    /// Where it is, as people write it; never with a password.
    pub destination: String,
    /// This store's folder there.
    pub folder: String,
    /// By what it is reached: `a folder`, `rsync`, `rsync over ssh`, `rclone`.
    pub by: String,
    /// When a run last tried to bring everything there.
    #[serde(default)]
    pub tried: Option<Instant>,
    /// When a run last ended with everything there.
    #[serde(default)]
    pub complete: Option<Instant>,
    /// Why the last try did not end so; `None` when it did.
    #[serde(default)]
    pub error: Option<String>,
    /// The backups there, oldest first, those that are not here any more among them.
    #[serde(default)]
    pub backups: Vec<RemoteBackup>,
}

/// A backup there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteBackup {
    /// Which one.
    pub id: BackupId,
    /// Bytes of its archive there.
    pub bytes: u64,
    /// The digest that was read back there; `None` as long as it was not.
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// When it was read back, and found good.
    #[serde(default)]
    pub confirmed: Option<Instant>,
    /// Whether its state there says that it is pinned.
    #[serde(default)]
    pub pinned: bool,
    /// What the last look at it found wrong.
    #[serde(default)]
    pub damage: Option<String>,
}

impl RemoteState {
    /// Whether it tells of this place.
    pub fn is_of(&self, destination: &str, folder: &str) -> bool {
        self.destination == destination && self.folder == folder
    }

    /// What is known of one backup there.
    pub fn find(&self, id: &BackupId) -> Option<&RemoteBackup> {
        self.backups.iter().find(|backup| backup.id == *id)
    }

    /// Puts in what is known of one backup there.
    pub fn put(&mut self, backup: RemoteBackup) {
        self.backups.retain(|old| old.id != backup.id);
        self.backups.push(backup);
        self.backups.sort_by(|a, b| a.id.cmp(&b.id));
    }
}

impl Store {
    /// What is known of the remotes, the one that was tried last first; empty when there never was one, or the
    /// file can't be read: the next run looks at the remote itself.
    pub fn remote_states(&self) -> Vec<RemoteState> {
        let read = fs::read(self.root().join(REMOTE_FILE)).ok();
        let file = read.and_then(|bytes| serde_json::from_slice::<RemoteFile>(&bytes).ok());
        file.filter(|file| file.format <= REMOTE_FORMAT).unwrap_or_default().remotes
    }

    /// What is known of one remote and folder there; nothing, when it was never tried.
    pub fn remote_state(&self, destination: &str, folder: &str, by: &str) -> RemoteState {
        let known = self.remote_states().into_iter().find(|state| state.is_of(destination, folder));
        let fresh = RemoteState {
            destination: destination.to_owned(),
            folder: folder.to_owned(),
            ..RemoteState::default()
        };
        RemoteState { by: by.to_owned(), ..known.unwrap_or(fresh) }
    }

    /// Writes what is known of one remote. Only for a run that is alone at it.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn write_remote_state(&self, state: &RemoteState) -> anyhow::Result<()> {
        let mut remotes = self.remote_states();
        remotes.retain(|old| !old.is_of(&state.destination, &state.folder));
        remotes.insert(0, state.clone());
        remotes.truncate(REMEMBERED_MAX);
        let mut json = serde_json::to_vec_pretty(&RemoteFile { format: REMOTE_FORMAT, remotes })?;
        json.push(b'\n');
        durable::write(&self.root().join(REMOTE_FILE), &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_known_are_passed_over_and_missing_ones_are_none() {
        let text = r#"{"destination":"/far","folder":"p-1","by":"a folder","new":7,
            "backups":[{"id":"20251201_120000","bytes":5}]}"#;
        let mut state: RemoteState = serde_json::from_str(text).unwrap();
        assert!(state.is_of("/far", "p-1") && state.complete.is_none());
        let id: BackupId = "20251201_120000".parse().unwrap();
        assert_eq!(state.find(&id).unwrap().sha256, None);
        let newer = RemoteBackup { bytes: 6, ..state.backups[0].clone() };
        state.put(newer);
        assert_eq!((state.backups.len(), state.find(&id).unwrap().bytes), (1, 6));
    }

    #[test]
    fn each_remote_is_remembered_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("s"), &Default::default()).unwrap();
        assert_eq!(store.remote_states(), []);
        let of = |destination: &str| store.remote_state(destination, "p-1", "rsync");
        for destination in ["a", "b", "a"] {
            let tried = Some(Instant(of(destination).tried.unwrap_or_default().0 + 1));
            store.write_remote_state(&RemoteState { tried, ..of(destination) }).unwrap();
        }
        let known = store.remote_states();
        let seen: Vec<(&str, i64)> =
            known.iter().map(|state| (state.destination.as_str(), state.tried.unwrap().0)).collect();
        assert_eq!(seen, [("a", 2), ("b", 1)]);
        fs::write(store.root().join(REMOTE_FILE), "half").unwrap();
        assert_eq!(store.remote_states(), []);
    }
}
