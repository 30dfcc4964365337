//! `undo`: takes back the newest restore that is in effect.

use anyhow::Result;
use serde::Serialize;

use super::Outcome;
use super::take_back::{self, Way};
use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind};
use crate::base::finding::Finding;
use crate::base::origin::Origin;
use crate::flags;
use crate::procedures::place::Place;
use crate::store::undo_log::{self, Operation, Record};
use crate::ui::{self, Cell, Style, Table, Ui};

/// Runs it.
///
/// # Errors
/// When there is nothing to take back, or it could not be; everything is as it was then.
pub fn run(ui: &Ui, place: &Place, options: flags::Undo) -> Result<Outcome> {
    if options.list {
        return list(ui, place);
    }
    let way = Way {
        command: "undo",
        operation: Operation::Undo,
        reverse: "cargo xtask redo",
        dry_run: options.dry_run,
        force: options.force,
    };
    take_back::run(ui, place, &way, |records| undo_log::to_undo(records).cloned().ok_or_else(nothing))
}

/// A backup is known by its id alone.
fn from(origin: &Origin) -> String {
    match origin {
        Origin::Backup(id) => id.to_string(),
        Origin::Commit(_) => origin.to_string(),
    }
}

fn nothing() -> anyhow::Error {
    Failure::new(Kind::NotFound, "no restore is in effect, so there is nothing to take back")
        .hint("`cargo xtask undo --list` shows what was restored and taken back")
        .into()
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    restores: &'a [Record],
    undo: Option<String>,
    redo: Option<String>,
    findings: &'a [Finding],
}

fn list(ui: &Ui, place: &Place) -> Result<Outcome> {
    let (store, mut findings) = place.open()?;
    let (records, more) = take_back::records(&store)?;
    findings.extend(more);
    let (undo, redo) = (undo_log::to_undo(&records), undo_log::to_redo(&records));
    let now = Instant::now();
    let mut table = Table::new(&["safety copy", "local time", "age", "what", "from", "changed", ""]);
    for record in records.iter().rev() {
        let next = |chosen: Option<&Record>| chosen.is_some_and(|chosen| chosen.id == record.id);
        let note = match &record.taken_back_by {
            Some(by) => Cell::new(format!("taken back, state before that: {by}")).styled(Style::Dim),
            None if next(undo) => Cell::new("undo takes this back").styled(Style::Good),
            None if next(redo) => Cell::new("redo takes this back").styled(Style::Good),
            None => Cell::new("in effect"),
        };
        let mut changed = vec![ui::counted(record.paths.len() as u64, "path", "paths")];
        if !record.databases.is_empty() {
            changed.push(ui::counted(record.databases.len() as u64, "database", "databases"));
        }
        changed.extend((record.git != undo_log::GitTouch::Untouched).then(|| "git".to_owned()));
        table.row([
            Cell::new(record.id.to_string()),
            Cell::new(record.at.local()),
            Cell::new(record.at.ago(now)),
            Cell::new(record.operation.word()),
            Cell::new(from(&record.origin)),
            Cell::new(changed.join(", ")),
            note,
        ]);
    }
    ui.table(&table);
    if records.is_empty() {
        ui.note("nothing was restored over this project yet, or its safety copies are gone");
    }
    for finding in &findings {
        ui.finding(finding);
    }
    ui.document(&Document {
        undo: undo.map(|record| record.id.to_string()),
        redo: redo.map(|record| record.id.to_string()),
        restores: &records,
        findings: &findings,
    })?;
    Ok(Outcome::of(&findings))
}
