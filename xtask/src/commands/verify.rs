//! `verify`: whether backups are what was saved, and whether a project comes back from them.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::failure::{Kind, ResultExt, hints_of, is_disk_full, kind_of};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::flags::{Targets, Verify};
use crate::procedures::place::Place;
use crate::procedures::prove::{self, Level};
use crate::procedures::take;
use crate::store::catalog::StoreEntry;
use crate::store::state::Verification;
use crate::store::{Store, select};
use crate::ui::{Style, Ui};

use super::Outcome;
use super::log::Run;

/// One result for `--json`.
#[derive(Serialize)]
struct Line {
    id: String,
    level: Level,
    ok: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damage: Vec<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    store: String,
    ok: bool,
    backups: &'a [Line],
    findings: &'a [Finding],
}

/// Runs it.
///
/// # Errors
/// When there is no such backup, or it can't be told whether it is good.
pub fn run(ui: &Ui, place: &Place, options: &Verify) -> Result<Outcome> {
    let (store, mut findings) = place.open()?;
    let listing = store.list()?;
    let level = if options.full_test { Level::Restore } else { Level::Content };
    let chosen: Vec<&StoreEntry> = match &options.targets {
        Targets::All if listing.entries.is_empty() => {
            vec![select::resolve(&listing.entries, "latest", Instant::now())?]
        }
        Targets::All => listing.entries.iter().collect(),
        Targets::Named(words) => {
            let now = Instant::now();
            words.iter().map(|word| select::resolve(&listing.entries, word, now)).collect::<Result<_>>()?
        }
    };
    for finding in &findings {
        ui.finding(finding);
    }
    let mut lines = Vec::new();
    let mut run = Run::begin("verify");
    let several = chosen.len() > 1;
    for entry in chosen {
        let (line, more) = match one(ui, &store, entry, level) {
            Ok(verified) => verified,
            // The others can still be judged, and whoever asked for several wants to know of each.
            Err(error) if several && kind_of(&error) == Kind::Failed => unjudged(entry, level, &error),
            Err(error) => {
                run.id = Some(entry.id.to_string());
                run.failed(&store, &error);
                return Err(error);
            }
        };
        if line.ok {
            ui.styled(Style::Good, format!("{}: good, {}", entry.id, words(level)));
        } else if line.damage.is_empty() {
            ui.line(format!("{}: not checked", entry.id));
        } else {
            ui.styled(Style::Bad, format!("{}: DAMAGED", entry.id));
            for damage in &line.damage {
                ui.line(format!("  {damage}"));
            }
        }
        for finding in &more {
            ui.finding(finding);
        }
        findings.extend(more);
        lines.push(line);
    }
    let ok = lines.iter().all(|line| line.ok);
    if lines.iter().any(|line| !line.damage.is_empty()) {
        ui.note("use another backup (cargo xtask list); a damaged archive may still give single files: cargo xtask restore BACKUP --only PATH --to DIR");
    }
    let outcome = if ok { Outcome::of(&findings) } else { Outcome::WithProblems };
    run.verified = Some(lines.len());
    run.damaged = lines.iter().filter(|line| !line.damage.is_empty()).map(|line| line.id.clone()).collect();
    // A store that may only be read: each backup said already that nothing is remembered.
    let _ = run.done(&store, outcome);
    ui.document(&Document {
        store: store.root().display().to_string(),
        ok,
        backups: &lines,
        findings: &findings,
    })?;
    Ok(outcome)
}

fn words(level: Level) -> &'static str {
    match level {
        Level::Readable => "readable",
        Level::Archive => "every byte checked",
        Level::Content => "every byte, databases and history checked",
        Level::Restore => "really restored in a scratch folder, dumps too",
    }
}

/// One of several that could not be looked at.
fn unjudged(entry: &StoreEntry, level: Level, error: &anyhow::Error) -> (Line, Vec<Finding>) {
    let finding = Finding::problem("unchecked", format!("{error:#}"));
    let finding = hints_of(error).into_iter().fold(finding, Finding::hint);
    (Line { id: entry.id.to_string(), level, ok: false, damage: Vec::new() }, vec![finding])
}

fn one(ui: &Ui, store: &Store, entry: &StoreEntry, level: Level) -> Result<(Line, Vec<Finding>)> {
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
            let progress = ui.progress();
            match prove::prove(&entry.archive, level, expected, &scratch.path(), &progress) {
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
                    let (id, damage) = (entry.id.to_string(), Vec::new());
                    return Ok((Line { id, level, ok: false, damage }, findings));
                }
                Err(error) => vec![format!("{error:#}")],
            }
        }
    };
    let ok = damage.is_empty();
    let check = Verification { at: Instant::now(), level: level as u8, ok, by: "verify".to_owned() };
    if let Err(error) = store.update_state(entry, |state| state.record(check, damage.clone())) {
        interrupt::check()?;
        findings.push(Finding::advice("state", format!("the store does not remember this: {error:#}")));
    }
    Ok((Line { id: entry.id.to_string(), level, ok, damage }, findings))
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
    Store(crate::store::publish::Scratch),
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
