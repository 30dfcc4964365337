//! What the names in a store mean. One place knows them, so that listing, publishing and sweeping agree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::identity::STORE_FILE;
use super::lock::{LOCK_FILE, REMOTE_LOCK_FILE, STATE_LOCK_FILE};
use super::{SAFETY, TRASH};
use crate::base::durable::TEMPORARY_PREFIX;
use crate::base::id::BackupId;

/// The log of runs.
pub const HISTORY_FILE: &str = "history.jsonl";

/// What becomes the file that says whose store it is.
pub const NEW_STORE_FILE: &str = ".store.json-new";

/// What is known of the remote.
pub const REMOTE_FILE: &str = "remote.json";

/// The folder of the tool's own executable.
pub const BIN: &str = "bin";

/// What systems put at the top of a disk by themselves.
const OF_THE_SYSTEM: [&str; 4] = ["lost+found", ".DS_Store", "System Volume Information", ".Trashes"];

/// What follows the id in the name of an archive.
pub const ARCHIVE: &str = ".tar.gz";
/// What follows the id in the name of the digest.
pub const SUM: &str = ".tar.gz.sha256";
/// What follows the id in the name of the summary.
pub const SUMMARY: &str = ".json";
/// What follows the id in the name of the state.
pub const STATE: &str = ".state.json";
/// What follows the id of a safety copy in the name of what was done after it.
pub const UNDO: &str = ".undo.json";

/// What a name in a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// An archive.
    Archive(BackupId),
    /// Digest, summary or state of a backup.
    Sidecar(BackupId),
    /// Something unfinished.
    Temporary,
    /// Another part of a store.
    Part,
    /// None of ours.
    Stray,
}

/// What a name means.
pub fn parse(name: &str) -> Name {
    let id = |suffix: &str| name.strip_suffix(suffix).and_then(|stem| stem.parse::<BackupId>().ok());
    if let Some(id) = id(ARCHIVE) {
        return Name::Archive(id);
    }
    if let Some(id) = [SUM, STATE, UNDO, SUMMARY].into_iter().find_map(id) {
        return Name::Sidecar(id);
    }
    let parts = [STORE_FILE, NEW_STORE_FILE, LOCK_FILE, STATE_LOCK_FILE, HISTORY_FILE, SAFETY, TRASH, BIN];
    let of_the_remote = [REMOTE_FILE, REMOTE_LOCK_FILE];
    if name.starts_with(TEMPORARY_PREFIX) {
        Name::Temporary
    } else if parts.contains(&name) || of_the_remote.contains(&name) || OF_THE_SYSTEM.contains(&name) {
        Name::Part
    } else {
        Name::Stray
    }
}

/// The path of something that belongs to an archive: its own, with another suffix.
pub fn beside(archive: &Path, id: &BackupId, suffix: &str) -> PathBuf {
    archive.with_file_name(format!("{id}{suffix}"))
}

/// What a folder holds, as far as that tells whether it is a store.
#[derive(Debug, Default)]
pub struct Survey {
    /// Whether there is an archive.
    pub archives: bool,
    /// Something that doesn't belong into a store.
    pub stranger: Option<String>,
}

/// Looks at the names in a folder.
///
/// # Errors
/// When it can't be read.
pub fn survey(folder: &Path) -> io::Result<Survey> {
    let mut found = Survey::default();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let shown = name.to_string_lossy();
        match parse(&shown) {
            Name::Archive(_) => found.archives = true,
            Name::Sidecar(_) | Name::Part => {}
            // Unfinished things look alike everywhere: in a folder that is no store they are a stranger's.
            Name::Temporary | Name::Stray => {
                found.stranger = Some(crate::base::escape::escape(shown.as_bytes()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_one_thing() {
        let id: BackupId = "20251201_120000-2".parse().unwrap();
        assert_eq!(parse("20251201_120000-2.tar.gz"), Name::Archive(id.clone()));
        for suffix in [SUM, SUMMARY, STATE, UNDO] {
            assert_eq!(parse(&format!("{id}{suffix}")), Name::Sidecar(id.clone()), "{suffix}");
        }
        assert_eq!(parse(".tmp-x"), Name::Temporary);
        for part in
            ["store.json", ".lock", "safety", "trash", "bin", "history.jsonl", "remote.json", "lost+found"]
        {
            assert_eq!(parse(part), Name::Part);
        }
        for stray in
            ["x.tar.gz", "20251201.tar.gz", "notes", "20251201_120000.tar", "20251201_120000-1.tar.gz"]
        {
            assert_eq!(parse(stray), Name::Stray);
        }
    }
}
