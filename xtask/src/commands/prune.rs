//! `prune`: removes the backups that no rule keeps.

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::Instant;
use crate::base::finding::Finding;
use crate::base::keep::Keep;
use crate::flags::Prune;
use crate::procedures::place::Place;
use crate::procedures::rotate::{self, Judged, Plan, Rotated};
use crate::store::Store;
use crate::store::retention::Rule;
use crate::store::trash::TRASH_SECONDS;
use crate::ui::{self, Cell, Style, Table, Ui};

use super::Outcome;
use super::log::Run;

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    store: String,
    keep: Keep,
    dry_run: bool,
    verified: Option<String>,
    kept: Vec<Kept<'a>>,
    removed: Vec<Removed>,
    deleted: Vec<String>,
    findings: &'a [Finding],
}

/// A backup that stays.
#[derive(Serialize)]
struct Kept<'a> {
    id: String,
    kept_by: &'a [Rule],
}

/// A backup that was removed, or would be.
#[derive(Serialize)]
struct Removed {
    id: String,
    bytes: u64,
}

/// Runs it.
///
/// # Errors
/// When there is no store, somebody else writes into it, or it can't be told whether its newest backup is good.
pub fn run(ui: &Ui, place: &Place, options: &Prune) -> Result<Outcome> {
    let project = place.project()?;
    let keep = project.config.keep;
    if options.dry_run {
        let (store, findings) = place.open()?;
        let plan = rotate::plan(&store, store.list()?.entries, &keep, Instant::now());
        let done = Rotated { findings, ..Rotated::default() };
        table(ui, &plan, "would go", &|_| true);
        let removed: Vec<&Judged> = plan.removed().collect();
        ui.line(summary(&removed, "would be removed"));
        return finish(ui, &store, &keep, true, &plan, done);
    }
    let (store, lock) = place.open_existing_to_write(&project, false, "prune")?;
    let mut line = Run::begin("prune");
    let swept = store.sweep(&lock)?;
    let plan = rotate::plan(&store, store.list()?.entries, &keep, Instant::now());
    let progress = ui.progress();
    let rotated = rotate::rotate(&store, &lock, &plan, None, &progress);
    drop(progress);
    let mut rotated = match rotated {
        Ok(rotated) => rotated,
        Err(error) => {
            line.failed(&store, &error);
            return Err(error);
        }
    };
    rotated.findings.extend(swept.findings);
    line.removed = rotated.removed.iter().map(|entry| entry.id.to_string()).collect();
    if let Err(error) = line.done(&store, Outcome::of(&rotated.findings)) {
        let text = format!("this run is not in the store's history: {error:#}");
        rotated.findings.push(Finding::advice("history-file", text));
    }
    if let Some(id) = &rotated.verified {
        ui.note(format!("backup {id} was verified before anything was removed: good"));
    }
    let gone = |one: &Judged| rotated.removed.iter().any(|entry| entry.archive == one.entry.archive);
    table(ui, &plan, "removed", &gone);
    let removed: Vec<&Judged> = plan.removed().filter(|one| gone(one)).collect();
    ui.line(summary(&removed, "removed"));
    if !rotated.deleted.is_empty() {
        let bytes = rotated.deleted.iter().map(|one| one.bytes).sum();
        let count = ui::counted(rotated.deleted.len() as u64, "backup", "backups");
        ui.line(format!("{count} deleted from the trash ({})", ui::size(bytes)));
    }
    if let Some(first) = removed.first() {
        ui.note(way_back(&store, first));
    }
    finish(ui, &store, &keep, false, &plan, rotated)
}

fn finish(ui: &Ui, store: &Store, keep: &Keep, dry_run: bool, plan: &Plan, done: Rotated) -> Result<Outcome> {
    for finding in &done.findings {
        ui.finding(finding);
    }
    let is_gone = |one: &&Judged| {
        dry_run && one.verdict.rules().is_empty()
            || done.removed.iter().any(|entry| entry.archive == one.entry.archive)
    };
    let kept = plan.judged.iter().filter(|one| !is_gone(one));
    ui.document(&Document {
        store: store.root().display().to_string(),
        keep: *keep,
        dry_run,
        verified: done.verified.as_ref().map(ToString::to_string),
        kept: kept.map(|one| Kept { id: one.entry.id.to_string(), kept_by: one.verdict.rules() }).collect(),
        removed: (plan.judged.iter().filter(is_gone))
            .map(|one| Removed { id: one.entry.id.to_string(), bytes: one.entry.size })
            .collect(),
        deleted: done.deleted.iter().map(|one| one.id.to_string()).collect(),
        findings: &done.findings,
    })?;
    Ok(Outcome::of(&done.findings))
}

/// Every backup, newest first, with what keeps it; `word` stands at those that go.
fn table(ui: &Ui, plan: &Plan, word: &str, goes: &dyn Fn(&Judged) -> bool) {
    let mut table = Table::new(&["backup", "local time", "kind", "size", "kept by"]);
    for one in plan.judged.iter().rev() {
        let rules: Vec<String> = one.verdict.rules().iter().map(ToString::to_string).collect();
        let verdict = match rules.is_empty() {
            false => Cell::new(rules.join(", ")),
            true if goes(one) => Cell::new(word).styled(Style::Warning),
            true => Cell::new("no rule, and still there").styled(Style::Warning),
        };
        let kind = one.reading.summary().map_or_else(|| one.entry.kind(), |summary| summary.kind);
        table.row([
            Cell::new(one.entry.id.to_string()),
            Cell::new(one.entry.id.moment().local()),
            Cell::new(kind.to_string()),
            Cell::number(ui::size(one.entry.size)),
            verdict,
            if one.known.is_good {
                Cell::new("")
            } else {
                Cell::new("not known to be good").styled(Style::Bad)
            },
        ]);
    }
    ui.table(&table);
}

fn summary(removed: &[&Judged], word: &str) -> String {
    if removed.is_empty() {
        return format!("nothing {word}");
    }
    let bytes = removed.iter().map(|one| one.entry.size).sum();
    let count = ui::counted(removed.len() as u64, "backup", "backups");
    format!("{count} {word} ({})", ui::size(bytes))
}

/// How to take one back.
fn way_back(store: &Store, removed: &Judged) -> String {
    let (id, trash, root) = (&removed.entry.id, store.trash_path(), store.root());
    let days = TRASH_SECONDS / 86_400;
    format!(
        "for {days} days removed backups lie in {}; to take one back: mv '{}'/{id}.* '{}'/ && cargo xtask pin {id}",
        trash.display(),
        trash.display(),
        root.display()
    )
}
