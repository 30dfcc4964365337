//! What a restore did to the project, beside the safety copy that was taken before it: enough to take it back,
//! and nothing that was not touched. A record goes with its safety copy.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::catalog::StoreEntry;
use super::lock::Lock;
use super::names::{self, UNDO};
use super::{SAFETY, Store};
use crate::base::clock::Instant;
use crate::base::durable;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::origin::Origin;
use crate::base::safe_path::SafePath;

/// The newest form of records that this tool writes and reads.
const FORMAT: u32 = 2;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// `restore`.
    Restore,
    /// `undo`: a restore was taken back.
    Undo,
    /// `redo`: a restore that was taken back was put on again.
    Redo,
}

impl Operation {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Operation::Restore => "restore",
            Operation::Undo => "undo",
            Operation::Redo => "redo",
        }
    }
}

/// What became of git.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GitTouch {
    /// Nothing.
    #[default]
    Untouched,
    /// HEAD, refs or index changed.
    Changed,
    /// There was no repository before.
    Created,
    /// There was one before, and it went.
    Removed,
}

/// What was done to the project after a safety copy was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this file's form.
    pub format: u32,
    /// The safety copy: the state before.
    pub id: BackupId,
    /// What was done.
    pub operation: Operation,
    /// Whose state was put in place: for `undo` and `redo` a safety copy.
    #[serde(flatten)]
    pub origin: Origin,
    /// For `undo`: the safety copy of what it took back; for `redo` that of the undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<BackupId>,
    /// When it was done.
    pub at: Instant,
    /// Files, links and folders that were created, replaced or removed, or got other permissions.
    pub paths: Vec<SafePath>,
    /// Databases that were put back.
    pub databases: Vec<SafePath>,
    /// What became of git.
    #[serde(default)]
    pub git: GitTouch,
    /// The safety copy of what took this back; absent while it is in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back_by: Option<BackupId>,
}

impl Record {
    /// A record of something that is in effect.
    pub fn new(id: BackupId, operation: Operation, origin: Origin, of: Option<BackupId>) -> Record {
        let (paths, databases) = (Vec::new(), Vec::new());
        let (at, git, taken_back_by) = (Instant::now(), GitTouch::default(), None);
        let format = origin.form();
        Record { format, id, operation, origin, of, at, paths, databases, git, taken_back_by }
    }
}

/// The restore that `undo` takes back: the newest that is in effect.
pub fn to_undo(records: &[Record]) -> Option<&Record> {
    let restores = records.iter().filter(|r| r.operation != Operation::Undo && r.taken_back_by.is_none());
    restores.max_by(|a, b| a.id.cmp(&b.id))
}

/// The undo that `redo` takes back: the newest that is in effect, unless something was restored since, which
/// putting it on again would overwrite.
pub fn to_redo(records: &[Record]) -> Option<&Record> {
    let undos = records.iter().filter(|r| r.operation == Operation::Undo && r.taken_back_by.is_none());
    let newest = undos.max_by(|a, b| a.id.cmp(&b.id))?;
    let later = records.iter().any(|r| r.operation == Operation::Restore && r.id > newest.id);
    (!later).then_some(newest)
}

impl Store {
    /// The records of all safety copies that have one, oldest first, and what is wrong with others.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn undo_records(&self) -> Result<(Vec<Record>, Vec<Finding>)> {
        let (mut records, mut findings) = (Vec::new(), Vec::new());
        for entry in self.list()?.entries.iter().filter(|entry| entry.safety) {
            match read(entry) {
                Ok(record) => records.extend(record),
                Err(error) => {
                    let text =
                        format!("the restore after safety copy {} can't be undone: {error:#}", entry.id);
                    let hint = format!(
                        "the copy itself holds the state before: cargo xtask restore {} --to DIR",
                        entry.id
                    );
                    findings.push(Finding::advice("undo-record", text).hint(hint));
                }
            }
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok((records, findings))
    }

    /// Writes a record, and marks the one that it takes back. Doing it again changes nothing.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn note_undo(&self, _lock: &Lock, record: &Record) -> Result<()> {
        self.write_record(record)?;
        let Some(of) = &record.of else { return Ok(()) };
        let (records, _) = self.undo_records()?;
        match records.into_iter().find(|other| other.id == *of) {
            Some(mut other) if other.taken_back_by.is_none() => {
                other.taken_back_by = Some(record.id.clone());
                self.write_record(&other)
            }
            _ => Ok(()),
        }
    }

    fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.root().join(SAFETY).join(format!("{}{UNDO}", record.id));
        let mut json = serde_json::to_vec(record)?;
        json.push(b'\n');
        durable::write(&path, &json)
    }
}

fn read(entry: &StoreEntry) -> Result<Option<Record>> {
    #[derive(Deserialize)]
    struct Form {
        format: u32,
    }
    let path = names::beside(&entry.archive, &entry.id, UNDO);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    let shown = || format!("{} is not readable", path.display());
    let form: Form = serde_json::from_slice(&bytes).with_context(shown)?;
    anyhow::ensure!(form.format <= FORMAT, "{} was written by a newer version of this tool", path.display());
    let record: Record = serde_json::from_slice(&bytes).with_context(shown)?;
    anyhow::ensure!(record.id == entry.id, "{} is another safety copy's", path.display());
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `R` restore, `U` undo, `D` redo, in this order; a `!` behind it: taken back.
    fn records(text: &str) -> Vec<Record> {
        let id = |n: usize| BackupId::new(Instant(1_764_000_000 + n as i64), 1);
        let record = |(n, word): (usize, &str)| {
            let operation = match word.as_bytes()[0] {
                b'R' => Operation::Restore,
                b'U' => Operation::Undo,
                _ => Operation::Redo,
            };
            let mut record = Record::new(id(n), operation, Origin::Backup(id(0)), None);
            record.taken_back_by = word.ends_with('!').then(|| id(99));
            record
        };
        text.split(' ').filter(|word| !word.is_empty()).enumerate().map(record).collect()
    }

    #[test]
    fn what_is_undone_and_redone_next() {
        for (all, undo, redo) in [
            ("", None, None),
            ("R", Some(0), None),
            ("R R", Some(1), None),
            ("R R! U", Some(0), Some(2)),
            ("R! R! U U", None, Some(3)),
            ("R! R! U U! D", Some(4), Some(2)),
            ("R! R! U! U! D D", Some(5), None),
            ("R R! U R", Some(3), None),
            ("R R! U R! U", Some(0), Some(4)),
            ("R R! U R! U! D", Some(5), None),
            ("R! R! U U! D! U", None, Some(5)),
        ] {
            let records = records(all);
            let at = |found: Option<&Record>| found.map(|r| records.iter().position(|x| x == r).unwrap());
            assert_eq!(at(to_undo(&records)), undo, "undo after {all}");
            assert_eq!(at(to_redo(&records)), redo, "redo after {all}");
        }
    }
}
