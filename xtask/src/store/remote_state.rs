//! What this store knows of its remote (`remote.json`): where it is, when it was last complete, which backups
//! are there and which of them were read back. Nothing depends on it: without it the next `sync` looks again.
//!
//! It is written anew after every archive that went up, so a killed run forgets nothing.

use std::fs;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::Store;
use super::names::REMOTE_FILE;
use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::durable;
use crate::base::id::BackupId;

/// The form of this file that this tool writes.
pub const REMOTE_FORMAT: u32 = 1;

/// What is known of the remote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteState {
    /// Version of this file's form.
    pub format: u32,
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
    /// Nothing is known yet.
    pub fn of(destination: &str, folder: &str, by: &str) -> RemoteState {
        RemoteState {
            format: REMOTE_FORMAT,
            destination: destination.to_owned(),
            folder: folder.to_owned(),
            by: by.to_owned(),
            ..RemoteState::default()
        }
    }

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
    /// What is known of the remote; `None` when there never was one, or it can't be read.
    pub fn remote_state(&self) -> Option<RemoteState> {
        let bytes = match fs::read(self.root().join(REMOTE_FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            // As good as none: the next run looks at the remote itself.
            Err(_) => return None,
        };
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes what is known of the remote.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn write_remote_state(&self, state: &RemoteState) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec_pretty(state)?;
        json.push(b'\n');
        durable::write(&self.root().join(REMOTE_FILE), &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_known_are_passed_over_and_missing_ones_are_none() {
        let text = r#"{"format":1,"destination":"/far","folder":"p-1","by":"a folder","new":7,
            "backups":[{"id":"20251201_120000","bytes":5}]}"#;
        let mut state: RemoteState = serde_json::from_str(text).unwrap();
        assert!(state.is_of("/far", "p-1") && state.complete.is_none());
        let id: BackupId = "20251201_120000".parse().unwrap();
        assert_eq!(state.find(&id).unwrap().sha256, None);
        let newer = RemoteBackup { bytes: 6, ..state.backups[0].clone() };
        state.put(newer);
        assert_eq!((state.backups.len(), state.find(&id).unwrap().bytes), (1, 6));
    }
}
