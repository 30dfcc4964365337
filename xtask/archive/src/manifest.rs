//! `backup/manifest.json`: what a backup is, what is in it, what is not, and what was found. Fields are only
//! ever added within one format number; a reader takes an absent one for its default and ignores unknown
//! ones. A higher format number is refused, never guessed at.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::facts::{DatabaseFacts, GitFacts, LeftOut};
use crate::base::failure::{Failure, Kind};
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::kind::BackupKind;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::base::seen::SeenDatabase;

/// The format that this program writes, and the highest that it reads.
pub const FORMAT: u32 = 1;
/// Where the manifest is.
pub const MANIFEST_NAME: &str = "backup/manifest.json";

/// The manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Number of the format.
    pub format: u32,
    /// Name and version of the program that wrote it.
    pub tool: String,
    /// The backup's id.
    pub id: BackupId,
    /// Why it exists.
    pub kind: BackupKind,
    /// The user's own tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it began.
    pub created: Instant,
    /// The machine.
    pub host: String,
    /// The project's folder on it.
    pub path: RawPath,
    /// The name of that folder.
    pub project: String,
    /// What git was; absent where there was none or it was not saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitFacts>,
    /// When everything was last read from the project, and not in part taken over from an earlier backup because it
    /// looked unchanged; absent in backups that were always read in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_in_full: Option<Instant>,
    /// When all databases were pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instant: Option<Instant>,
    /// The databases, by path.
    #[serde(default)]
    pub databases: Vec<Database>,
    /// The other files.
    #[serde(default)]
    pub files: Files,
    /// What was left out.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// What the user should know.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// One database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Database {
    /// Its path in the project.
    pub path: SafePath,
    /// What is in the archive.
    pub form: Form,
    /// Permission bits of its file.
    pub mode: u32,
    /// Bytes of the image, or of the raw files together.
    pub bytes: u64,
    /// Digest of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// Whether a SQL dump of the same instant is there as well.
    #[serde(default)]
    pub dump: bool,
    /// Whether that dump has gaps, since the database was damaged. It can't be loaded: it has no COMMIT.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dump_partial: bool,
    /// Logical hash of what the dump makes, where that is not all: without indexes that only the application
    /// can make. Absent where it is the hash of `facts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump_logical: Option<Digest>,
    /// What it held; absent where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<DatabaseFacts>,
    /// What SQLite's own checks found; a database with damage is never a good one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
    /// The tables that the damage is in, as far as it is in tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_tables: Vec<String>,
    /// Rows that break a foreign key; they are part of the data and come back as they were.
    #[serde(default)]
    pub foreign_key_violations: u64,
    /// What its files were like when it was pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenDatabase>,
}

impl Database {
    /// Whether a SQL dump is there from which the database can be made again.
    pub fn has_whole_dump(&self) -> bool {
        self.dump && !self.dump_partial
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// How a database is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A page image below `databases/`.
    Image,
    /// Its files, byte for byte, below `raw/`: SQLite could not open it.
    Raw,
}

/// Counts of the entries below `files/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Files {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Of the files and links: those that git tracks.
    pub tracked: u64,
    /// Those that git does not know.
    pub untracked: u64,
    /// Those that git ignores.
    pub ignored: u64,
}

/// What every manifest says, of whatever format.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Manifest {
    /// As JSON for people to read.
    ///
    /// # Errors
    /// Only when memory runs out.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is no manifest, or of a newer format.
    pub fn from_json(json: &[u8]) -> Result<Manifest> {
        let Version { format } = serde_json::from_slice(json).context("its manifest is not readable")?;
        if format > FORMAT {
            let message = format!("it is of format {format}, and this program knows formats up to {FORMAT}");
            let hint = "use the program that wrote it: it lies in the store, in bin/, or in a newer checkout";
            return Err(Failure::new(Kind::Failed, message).hint(hint).into());
        }
        serde_json::from_slice(json).context("its manifest is not readable")
    }

    /// Whether it is a manifest of a format that this program does not know.
    pub fn is_newer(json: &[u8]) -> bool {
        serde_json::from_slice(json).is_ok_and(|Version { format }| format > FORMAT)
    }
}
