//! `salvage DATABASE --to FILE`: what can still be read of a damaged database, and a true account of the rest.

use anyhow::Result;

use super::Outcome;
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::failure::{ResultExt, is_disk_full};
use crate::base::finding::Finding;
use crate::flags::Salvage;
use crate::procedures::place::Place;
use crate::procedures::prove;
use crate::procedures::salvage::{self, Account, Ask};
use crate::sqlite::salvage::TableReport;
use crate::store::select;
use crate::ui::{self, Cell, Style, Table, Ui};

/// So many ranges are shown in a line; the report has more.
const RANGES_SHOWN: usize = 4;
/// So many problems are shown.
const PROBLEMS_SHOWN: usize = 10;

/// Runs it. The project and the store are needed only for `--merge`.
///
/// # Errors
/// When nothing can be had, FILE exists, or the backup can't be found.
pub fn run(ui: &Ui, place: Result<Place>, options: &Salvage) -> Result<Outcome> {
    let mut findings = Vec::new();
    let mut opened = None;
    let place = match (place, &options.merge) {
        (Ok(place), Some(backup)) => {
            opened = Some(open(&place, backup, &mut findings)?);
            Some(place)
        }
        (Err(error), Some(_)) => return Err(error),
        (place, None) => place.ok(),
    };
    let not_in: Vec<_> = place.iter().map(|place| place.location.path.clone()).collect();
    let ask = Ask {
        database: &options.database,
        to: &options.to,
        not_in: &not_in,
        root: place.as_ref().and_then(|place| place.root.as_deref()),
        merge: opened.as_ref().map(|(archive, manifest)| (archive, manifest)),
    };
    let progress = ui.progress();
    let done = salvage::salvage(&ask, &progress);
    drop(progress);
    let mut account = match done {
        Err(error) if is_disk_full(&error) => {
            return Err(error).hint(
                "make room there, or name a FILE on another disk: about five times the database is needed",
            );
        }
        done => done?,
    };
    account.findings.splice(0..0, findings);
    show(ui, &account, options.merge.is_some());
    ui.document(&account)?;
    Ok(if account.whole { Outcome::Done } else { Outcome::WithProblems })
}

fn open(place: &Place, backup: &str, findings: &mut Vec<Finding>) -> Result<(Archive, Manifest)> {
    let (store, found) = place.open()?;
    findings.extend(found.into_iter().filter(|finding| !finding.is_problem()));
    let listing = store.list()?;
    let entry = select::resolve(&listing.entries, backup, Instant::now())?;
    prove::open(&entry.archive).hint("choose another backup: cargo xtask list")
}

fn show(ui: &Ui, account: &Account, merged: bool) {
    for finding in &account.findings {
        ui.finding(finding);
    }
    let report = &account.report;
    let count = report.tables.len() as u64;
    let head = format!(
        "salvaged {} into {}: {} in {}",
        account.database,
        account.to,
        ui::counted(account.rows, "row", "rows"),
        ui::counted(count, "table", "tables")
    );
    if account.whole {
        ui.styled(Style::Good, format!("{head}; nothing is lost, and nothing is doubtful"));
        return;
    }
    ui.line(head);
    let hurt: Vec<&TableReport> = report.tables.iter().filter(|table| !table.is_whole()).collect();
    if !hurt.is_empty() {
        tables(ui, &hurt, merged);
    }
    let whole = count - hurt.len() as u64;
    if whole > 0 && !hurt.is_empty() {
        ui.line(format!("  the other {} whole", is_are(whole)));
    }
    for table in &hurt {
        details(ui, table);
    }
    for problem in report.problems.iter().take(PROBLEMS_SHOWN) {
        ui.styled(Style::Bad, format!("  {}", escape(problem.as_bytes())));
    }
    if report.problems.len() > PROBLEMS_SHOWN {
        ui.line(format!("  … and {} more problems", report.problems.len() - PROBLEMS_SHOWN));
    }
    for note in &report.notes {
        ui.line(format!("  {}", escape(note.as_bytes())));
    }
    if let Some(name) = &report.lost_and_found {
        let aside: u64 = report.tables.iter().map(|table| table.aside).sum::<u64>() + report.unallotted;
        ui.line(format!(
            "  {} put aside in the table {name}",
            ui::counted(aside, "record is", "records are")
        ));
    }
    ui.line(format!("  all of it: {}", account.report_file));
    if !merged {
        ui.note(format!(
            "a backup may fill the holes: cargo xtask salvage '{}' --to ANOTHER --merge latest",
            account.database
        ));
    }
}

fn is_are(count: u64) -> String {
    if count == 1 { "table is".to_owned() } else { format!("{} tables are", ui::count(count)) }
}

fn tables(ui: &Ui, hurt: &[&TableReport], merged: bool) {
    let mut headings = vec!["  table", "read", "doubtful", "aside", "lost"];
    if merged {
        headings.push("from backup");
    }
    let mut table = Table::new(&headings);
    for one in hurt {
        let number = |count: u64, style: Style| {
            let cell = Cell::number(ui::count(count));
            if count > 0 { cell.styled(style) } else { cell }
        };
        let lost = match one.lost_at_most {
            Some(most) if most == one.lost => ui::count(one.lost),
            Some(most) if one.lost == 0 => format!("at most {}", ui::count(most)),
            Some(most) => format!("{} to {}", ui::count(one.lost), ui::count(most)),
            None if one.lost == 0 => "unknown".to_owned(),
            None => format!("{} or more", ui::count(one.lost)),
        };
        let is_lost = one.lost_at_most != Some(0);
        let lost = Cell::number(lost).styled(if is_lost { Style::Bad } else { Style::Plain });
        let mut row = vec![
            Cell::new(format!("  {}", escape(one.table.as_bytes()))),
            number(one.read, Style::Plain),
            number(one.doubtful, Style::Warning),
            number(one.aside, Style::Warning),
            lost,
        ];
        if merged {
            row.push(number(one.from_backup, Style::Good));
        }
        table.row(row);
    }
    ui.table(&table);
}

/// Which rows, and why.
fn details(ui: &Ui, table: &TableReport) {
    let name = escape(table.table.as_bytes());
    let closed = |ranges: &[(i64, i64)]| {
        ranges.iter().map(|(low, high)| (Some(*low), Some(*high))).collect::<Vec<_>>()
    };
    let mut parts = Vec::new();
    if !table.lost_rowids.is_empty() {
        parts.push(format!("lost {}", ranges(&closed(&table.lost_rowids))));
    }
    if !table.maybe_lost_rowids.is_empty() {
        parts.push(format!("may have lost {}", ranges(&table.maybe_lost_rowids)));
    }
    if !table.doubtful_rowids.is_empty() {
        let why = table.doubts.first().map(|doubt| format!(" ({})", escape(doubt.why.as_bytes())));
        let text = ranges(&closed(&table.doubtful_rowids));
        parts.push(format!("doubtful {text}{}", why.unwrap_or_default()));
    }
    if !table.backup_rowids.is_empty() {
        parts.push(format!("from the backup {}", ranges(&closed(&table.backup_rowids))));
    }
    if !parts.is_empty() {
        ui.line(format!("  {name}, by rowid: {}", parts.join("; ")));
    }
}

/// `3–7, 12, 40 on and 3 more`.
fn ranges(all: &[(Option<i64>, Option<i64>)]) -> String {
    let shown: Vec<String> = all
        .iter()
        .take(RANGES_SHOWN)
        .map(|range| match range {
            (Some(low), Some(high)) if low == high => low.to_string(),
            (Some(low), Some(high)) => format!("{low}–{high}"),
            (Some(low), None) => format!("{low} on"),
            (None, Some(high)) => format!("up to {high}"),
            (None, None) => "any".to_owned(),
        })
        .collect();
    let more = all.len().saturating_sub(RANGES_SHOWN);
    let more = if more > 0 { format!(" and {} more", ui::count(more as u64)) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
