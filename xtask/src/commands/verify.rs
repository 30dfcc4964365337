//! `verify`: whether backups are what was saved, and whether a project comes back from them.

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::Instant;
use crate::base::failure::{Kind, hints_of, kind_of};
use crate::base::finding::Finding;
use crate::flags::{Targets, Verify};
use crate::procedures::check_backup;
use crate::procedures::place::Place;
use crate::procedures::prove::Level;
use crate::store::catalog::StoreEntry;
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
    let progress = ui.progress();
    let checked = check_backup::check(store, entry, level, "verify", &progress)?;
    Ok((Line { id: entry.id.to_string(), level, ok: checked.ok, damage: checked.damage }, checked.findings))
}
