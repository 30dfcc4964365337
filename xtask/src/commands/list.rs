//! `list`: what is in the store.

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::Instant;
use crate::base::failure::hints_of;
use crate::base::finding::Finding;
use crate::base::keep::Keep;
use crate::procedures::place::Place;
use crate::procedures::readings::Reading;
use crate::procedures::rotate::{self, Judged};
use crate::store::Store;
use crate::store::retention::Rule;
use crate::store::summary::Summary;
use crate::ui::{self, Cell, Style, Table, Ui};

use super::Outcome;

/// A backup for `--json`.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    archive: String,
    bytes: u64,
    kind: String,
    pinned: bool,
    safety: bool,
    verified: Option<Instant>,
    damage: &'a [String],
    kept_by: &'a [Rule],
    summary: Option<&'a Summary>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    store: String,
    keep: Keep,
    backups: Vec<Line<'a>>,
    findings: &'a [Finding],
}

/// Runs it.
///
/// # Errors
/// When there is no store, or it can't be read.
pub fn run(ui: &Ui, place: &Place) -> Result<Outcome> {
    let (store, mut findings) = place.open()?;
    let listing = store.list()?;
    let keep = place.keep(&store);
    let mut plan = rotate::plan(&store, listing.entries, &keep.unwrap_or_default(), Instant::now());
    plan.judged.reverse();
    for Judged { entry, reading, .. } in &plan.judged {
        let (code, error) = match reading {
            Reading::Known(_) => continue,
            Reading::Newer(error) => ("newer-format", error),
            Reading::Unknown(error) => ("damaged", error),
        };
        let message = format!("backup {} can't be read: {error:#}", entry.id);
        let finding = Finding::problem(code, message);
        findings.push(match hints_of(error).into_iter().next() {
            Some(hint) => finding.hint(hint),
            None => finding.hint(format!("cargo xtask verify {} tells more", entry.id)),
        });
    }
    for stray in &listing.strays {
        findings.push(Finding::advice("stray", format!("{} is no part of the store", stray.display())));
    }
    table(ui, &store, &plan.judged);
    if keep.is_none() && !plan.judged.is_empty() {
        ui.note("kept: by the rules without a configuration, since that of its project is not at hand");
    }
    for finding in &findings {
        ui.finding(finding);
    }
    ui.document(&Document {
        store: store.root().display().to_string(),
        keep: keep.unwrap_or_default(),
        backups: plan.judged.iter().map(json).collect(),
        findings: &findings,
    })?;
    Ok(Outcome::of(&findings))
}

fn json(judged: &Judged) -> Line<'_> {
    let (entry, summary) = (&judged.entry, judged.reading.summary());
    Line {
        id: entry.id.to_string(),
        archive: entry.archive.display().to_string(),
        bytes: entry.size,
        kind: summary.map_or_else(|| entry.kind().to_string(), |summary| summary.kind.to_string()),
        pinned: entry.state.pinned,
        safety: entry.safety,
        verified: entry.state.last_good().map(|check| check.at),
        damage: &entry.state.damage,
        kept_by: judged.verdict.rules(),
        summary,
    }
}

fn table(ui: &Ui, store: &Store, backups: &[Judged]) {
    if backups.is_empty() {
        ui.line(format!("no backup in {} yet: cargo xtask backup makes one", store.root().display()));
        return;
    }
    let now = Instant::now();
    let mut table = Table::new(&[
        "backup",
        "local time",
        "age",
        "size",
        "kind",
        "commit",
        "rows",
        "verified",
        "kept",
        "",
    ]);
    let mut damaged = None;
    for Judged { entry, reading, verdict, .. } in backups {
        let moment = entry.id.moment();
        let summary = reading.summary();
        let commit = summary.and_then(|s| s.commit.as_deref()).map_or("-", |c| c.get(..10).unwrap_or(c));
        let dirty = if summary.is_some_and(|s| s.dirty) { "+" } else { "" };
        let mut notes = Vec::new();
        notes.extend(summary.and_then(|s| s.label.clone()));
        notes.extend(entry.state.pinned.then(|| "pinned".to_owned()));
        let problems = summary.map_or(0, |s| s.problems);
        notes.extend((problems > 0).then(|| ui::counted(problems, "problem", "problems")));
        let bad = entry.is_damaged() || matches!(reading, Reading::Unknown(_));
        notes.extend(bad.then(|| "DAMAGED".to_owned()));
        notes.extend(matches!(reading, Reading::Newer(_)).then(|| "newer format".to_owned()));
        if bad && damaged.is_none() {
            damaged = Some(&entry.id);
        }
        let verified = entry.state.last_good().map_or_else(|| "never".to_owned(), |check| check.at.ago(now));
        let notes = Cell::new(notes.join(", "));
        table.row([
            Cell::new(entry.id.to_string()),
            Cell::new(moment.local()),
            Cell::new(moment.ago(now)),
            Cell::number(ui::size(entry.size)),
            Cell::new(summary.map_or_else(|| entry.kind().to_string(), |s| s.kind.to_string())),
            Cell::new(format!("{commit}{dirty}")),
            Cell::number(summary.map_or_else(|| "?".to_owned(), |s| ui::count(s.rows))),
            Cell::new(verified),
            Cell::new(verdict.word().unwrap_or("goes next")),
            if bad { notes.styled(Style::Bad) } else { notes },
        ]);
    }
    ui.table(&table);
    ui.note(format!(
        "{} in {}",
        ui::counted(backups.len() as u64, "backup", "backups"),
        store.root().display()
    ));
    if let Some(id) = damaged {
        ui.note(format!("what is damaged: cargo xtask verify {id}"));
    }
}
