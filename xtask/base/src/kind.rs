//! Why a backup exists. Rotation, `latest` and the listing all ask it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a backup exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// Somebody asked for it.
    #[default]
    Manual,
    /// A timer asked for it.
    Scheduled,
    /// Taken before a migration.
    Guard,
    /// Taken before a restore.
    Safety,
}

impl BackupKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [BackupKind; 4] =
        [BackupKind::Manual, BackupKind::Scheduled, BackupKind::Guard, BackupKind::Safety];

    /// The word for it, as typed and as stored.
    pub fn word(self) -> &'static str {
        match self {
            BackupKind::Manual => "manual",
            BackupKind::Scheduled => "scheduled",
            BackupKind::Guard => "guard",
            BackupKind::Safety => "safety",
        }
    }
}

impl fmt::Display for BackupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for BackupKind {
    type Err = String;

    fn from_str(text: &str) -> Result<BackupKind, String> {
        BackupKind::ALL
            .into_iter()
            .find(|kind| kind.word() == text)
            .ok_or_else(|| format!("{text:?} is no kind of backup (manual, scheduled, guard, safety)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_for_each_kind_everywhere() {
        for kind in BackupKind::ALL {
            assert_eq!(kind.to_string().parse::<BackupKind>().unwrap(), kind);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert!("Manual".parse::<BackupKind>().is_err());
    }
}
