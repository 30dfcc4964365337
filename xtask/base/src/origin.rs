//! What a restore puts in place: a backup, or a commit of git.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::BackupId;

/// Where the state that is put in place comes from. In a file of ours it is one field, `backup` or `commit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A backup; databases, files, and git where that is wanted.
    Backup(BackupId),
    /// A commit, by its id in full: the files that git tracks.
    Commit(String),
}

impl Origin {
    /// The form of a file that names one: 1 knows backups only.
    pub fn form(&self) -> u32 {
        match self {
            Origin::Backup(_) => 1,
            Origin::Commit(_) => 2,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Backup(id) => write!(f, "backup {id}"),
            Origin::Commit(id) => write!(f, "commit {}", id.get(..10).unwrap_or(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Note {
        #[serde(flatten)]
        origin: Origin,
        more: u8,
    }

    #[test]
    fn it_is_one_field_of_the_file_that_names_it() {
        let id = BackupId::new(Instant(1_764_000_000), 1);
        for (origin, json, form) in [
            (Origin::Backup(id.clone()), format!(r#"{{"backup":"{id}","more":1}}"#), 1),
            (Origin::Commit("ab".repeat(20)), format!(r#"{{"commit":"{}","more":1}}"#, "ab".repeat(20)), 2),
        ] {
            assert_eq!(origin.form(), form);
            let note = Note { origin, more: 1 };
            assert_eq!(serde_json::to_string(&note).unwrap(), json);
            assert_eq!(serde_json::from_str::<Note>(&json).unwrap(), note);
        }
        assert!(serde_json::from_str::<Note>(r#"{"more":1}"#).is_err());
    }
}
