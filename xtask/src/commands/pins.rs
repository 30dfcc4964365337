//! Setting and taking away pins. Needs no lock of the store: a pin is set in one step, and a rotation that runs
//! at the same time either sees it or has moved the backup away before, which is then said.

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::Instant;
use crate::base::finding::Finding;
use crate::procedures::place::Place;
use crate::store::catalog::StoreEntry;
use crate::store::select;
use crate::ui::Ui;

use super::Outcome;

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    store: String,
    backups: Vec<Line>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Line {
    id: String,
    pinned: bool,
    /// Whether it was otherwise before.
    changed: bool,
}

/// Pins backups, or takes their pins away.
///
/// # Errors
/// When one of them is not there (then none is changed), or the store can't be written.
pub fn set(ui: &Ui, place: &Place, backups: &[String], pinned: bool) -> Result<Outcome> {
    let (store, findings) = place.open()?;
    let listing = store.list()?;
    let now = Instant::now();
    let named = backups.iter().map(|word| select::resolve(&listing.entries, word, now));
    let mut entries: Vec<&StoreEntry> = named.collect::<Result<_>>()?;
    entries.sort_by(|a, b| a.archive.cmp(&b.archive));
    entries.dedup_by(|a, b| a.archive == b.archive);
    for finding in &findings {
        ui.finding(finding);
    }
    let mut lines = Vec::new();
    for entry in entries {
        let mut changed = false;
        store.update_state(entry, |state| {
            changed = state.pinned != pinned;
            state.pinned = pinned;
        })?;
        let word = match (pinned, changed) {
            (true, true) => "pinned",
            (true, false) => "was pinned already",
            (false, true) => "no longer pinned",
            (false, false) => "was not pinned",
        };
        let label = entry.label().map_or_else(String::new, |label| format!(" ({label})"));
        ui.line(format!("backup {}{label}: {word}", entry.id));
        lines.push(Line { id: entry.id.to_string(), pinned, changed });
    }
    ui.document(&Document { store: store.root().display().to_string(), backups: lines, findings })?;
    Ok(Outcome::Done)
}
