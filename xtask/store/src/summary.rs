//! The summary of a backup, beside its archive, so that a thousand of them list at once. Nothing depends
//! on it: all of it can be read from the archive, and a lost or damaged one counts as absent.

use serde::{Deserialize, Serialize};

use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::id::BackupId;
use crate::base::kind::BackupKind;
use crate::base::raw_path::RawPath;

/// The form of summaries that this tool writes.
pub const SUMMARY_FORMAT: u32 = 1;

/// What a listing says of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this file's form.
    pub format: u32,
    /// Which backup.
    pub id: BackupId,
    /// Why it was made.
    pub kind: BackupKind,
    /// The user's own tag.
    #[serde(default)]
    pub label: Option<String>,
    /// The instant that it holds.
    pub created: Instant,
    /// The machine of the project.
    pub host: String,
    /// The folder of the project.
    pub path: RawPath,
    /// The commit that HEAD was at.
    #[serde(default)]
    pub commit: Option<String>,
    /// The branch that was checked out.
    #[serde(default)]
    pub branch: Option<String>,
    /// Whether there was uncommitted work.
    #[serde(default)]
    pub dirty: bool,
    /// How many databases.
    pub databases: u64,
    /// Rows of all of them.
    pub rows: u64,
    /// How many files.
    pub files: u64,
    /// Bytes of all of them.
    pub file_bytes: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Digest of the archive.
    pub archive_sha256: Digest,
    /// Findings that are problems.
    #[serde(default)]
    pub problems: u64,
    /// Findings that are advice.
    #[serde(default)]
    pub advice: u64,
    /// Version of the archive's form.
    pub archive_format: u32,
}
