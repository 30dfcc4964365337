//! Whether a backup of the store is good, and what the store remembers of that. `verify` and rotation ask the
//! same question in the same way.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::failure::{Kind, ResultExt, hints_of, is_disk_full, kind_of};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::store::publish;
use crate::store::state::Verification;

use super::prove::{self, Level};
use super::take;

/// What a check found.
pub struct Checked {
    /// Whether it is good.
    pub ok: bool,
    /// What is damaged. Empty, too, for one that is not good because it can't be judged.
    pub damage: Vec<String>,
    /// What else the user should know.
    pub findings: Vec<Finding>,
}

/// Checks a backup up to a level, and notes the result in its state as that of the command `by`.
///
/// # Errors
/// When it can't be told whether the backup is good, for a reason of this machine; or on interruption.
pub fn check(
    store: &Store,
    entry: &StoreEntry,
    level: Level,
    by: &str,
    monitor: &dyn Monitor,
) -> Result<Checked> {
    let mut findings = Vec::new();
    let expected = match expected(entry) {
        Ok(expected) => Ok(Some(expected)),
        Err(Missing::Absent(path)) => {
            let message =
                format!("{} is missing, so only what the archive says of itself was checked", path.display());
            findings.push(Finding::advice("no-digest", message));
            Ok(None)
        }
        Err(Missing::Wrong(reason)) => Err(reason),
    };
    let damage = match expected {
        Err(reason) => vec![reason],
        Ok(expected) => {
            let scratch = Scratch::new(store)?;
            match prove::prove(&entry.archive, level, expected, &scratch.path(), monitor) {
                Ok(manifest) if manifest.id != entry.id => {
                    vec![format!("{} holds another backup, {}", entry.archive.display(), manifest.id)]
                }
                Ok(manifest) => take::damage_of(&manifest),
                // Whatever failed, the user asked to stop.
                Err(error) if interrupt::check().is_err() => {
                    interrupt::check()?;
                    return Err(error);
                }
                // These say nothing about the backup.
                Err(error) if kind_of(&error) != Kind::Failed && kind_of(&error) != Kind::Refused => {
                    return Err(error);
                }
                Err(error) if prove::is_local(&error) => {
                    let hint = local_hint(&error, &scratch);
                    let whole = format!("can't tell whether backup {} is good", entry.id);
                    return Err(error.context(whole)).hint(hint);
                }
                // Nothing is noted: to the program that wrote it, it may be good.
                Err(error) if prove::is_newer(&entry.archive) => {
                    let finding = Finding::problem("newer-format", format!("{error:#}"));
                    findings.push(hints_of(&error).into_iter().fold(finding, Finding::hint));
                    return Ok(Checked { ok: false, damage: Vec::new(), findings });
                }
                Err(error) => vec![format!("{error:#}")],
            }
        }
    };
    let ok = damage.is_empty();
    let check = Verification { at: Instant::now(), level: level as u8, ok, by: by.to_owned() };
    if let Err(error) = store.update_state(entry, |state| state.record(check, damage.clone())) {
        interrupt::check()?;
        findings.push(Finding::advice("state", format!("the store does not remember this: {error:#}")));
    }
    Ok(Checked { ok, damage, findings })
}

fn local_hint(error: &anyhow::Error, scratch: &Scratch) -> String {
    if is_disk_full(error) {
        let place = scratch.disk();
        return format!(
            "make room on the disk of {}, where it is unpacked, and run it again",
            place.display()
        );
    }
    "give yourself the right to read the store, and run it again".to_owned()
}

enum Missing {
    Absent(PathBuf),
    Wrong(String),
}

/// The digest that the file beside the archive tells.
fn expected(entry: &StoreEntry) -> Result<Digest, Missing> {
    let mut name = entry.archive.clone().into_os_string();
    name.push(".sha256");
    let path = PathBuf::from(name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Missing::Absent(path)),
        Err(error) => return Err(Missing::Wrong(format!("{} can't be read: {error}", path.display()))),
    };
    let archive = entry.archive.file_name().unwrap_or_default().to_string_lossy();
    let digest = text.strip_suffix(&format!("  {archive}\n")).and_then(|digest| digest.parse().ok());
    digest.ok_or_else(|| Missing::Wrong(format!("{} is damaged", path.display())))
}

/// Room for extracting: in the store, or where the system keeps temporary files when the store may only be
/// read.
enum Scratch {
    Store(publish::Scratch),
    System(tempfile::TempDir),
}

impl Scratch {
    fn new(store: &Store) -> Result<Scratch> {
        match store.scratch() {
            Ok(scratch) => Ok(Scratch::Store(scratch)),
            Err(_) => Ok(Scratch::System(tempfile::Builder::new().prefix("xtask-verify-").tempdir()?)),
        }
    }

    /// A folder that stays, on the disk where it is.
    fn disk(&self) -> PathBuf {
        let path = self.path();
        let up = match self {
            Scratch::Store(_) => 2,
            Scratch::System(_) => 1,
        };
        path.ancestors().nth(up).unwrap_or(&path).to_path_buf()
    }

    fn path(&self) -> PathBuf {
        match self {
            Scratch::Store(scratch) => scratch.path().to_path_buf(),
            Scratch::System(folder) => folder.path().to_path_buf(),
        }
    }
}
