//! `status`: whether a recovery would work today. No backup and no store are answers, not failures: whoever
//! watches wants one document and one exit code for "not protected".

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::Instant;
use crate::base::failure::{Kind, hints_of, kind_of};
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::monitor::Monitor;
use crate::flags::Status;
use crate::procedures::lost_databases;
use crate::procedures::place::Place;
use crate::procedures::prove;
use crate::procedures::recover;
use crate::procedures::rotate::{self, Judged};
use crate::procedures::since;
use crate::store::Store;
use crate::store::health::{self, Outside, Seen};
use crate::store::space::free_bytes;
use crate::ui::{self, Cell, Style, Table, Ui};

use super::Outcome;
use super::remote::{self, Way};

mod unsaved;

use unsaved::Unsaved;

/// What `--json` prints.
#[derive(Serialize, Default)]
struct Document {
    ok: bool,
    store: String,
    project: Option<String>,
    backups: Counts,
    newest: Option<Newest>,
    last_check: Option<Check>,
    last_deep_check: Option<Check>,
    free_bytes: Option<u64>,
    unsaved: Option<Unsaved>,
    findings: Vec<Finding>,
}

/// How many backups.
#[derive(Serialize, Default)]
struct Counts {
    all: usize,
    good: usize,
    damaged: usize,
    pinned: usize,
    safety: usize,
    bytes: u64,
    in_trash: usize,
    trash_bytes: u64,
}

/// The newest good backup.
#[derive(Serialize)]
struct Newest {
    id: BackupId,
    at: Instant,
    age_seconds: i64,
    bytes: u64,
}

/// A verification.
#[derive(Serialize)]
struct Check {
    id: BackupId,
    at: Instant,
    level: u8,
}

/// Runs it.
///
/// # Errors
/// When the store can't be read, so that nothing can be told.
pub fn run(ui: &Ui, place: &Place, options: &Status) -> Result<Outcome> {
    let mut document = Document {
        store: place.location.path.display().to_string(),
        project: place.root.as_ref().map(|root| root.display().to_string()),
        ..Document::default()
    };
    let opened = match place.open() {
        Ok((store, findings)) => {
            document.findings = findings;
            Some(store)
        }
        Err(error) if kind_of(&error) == Kind::NotFound => {
            let finding = Finding::problem("no-store", format!("there is no backup: {error:#}"));
            document.findings.extend(place.root.as_deref().and_then(recover::unfinished));
            document.findings.push(match hints_of(&error).into_iter().next() {
                Some(hint) => finding.hint(hint),
                None => finding.hint("cargo xtask backup"),
            });
            None
        }
        Err(error) => return Err(error),
    };
    let now = Instant::now();
    let judged = match &opened {
        Some(store) => of_store(place, store, options, now, &mut document)?,
        None => Vec::new(),
    };
    document.unsaved = of_project(ui, place, opened.as_ref(), &judged, now, &mut document.findings)?;
    document.ok = Outcome::of(&document.findings) == Outcome::Done;
    report(ui, &document, now);
    for finding in &document.findings {
        ui.finding(finding);
    }
    ui.document(&document)?;
    Ok(Outcome::of(&document.findings))
}

/// What the store tells.
fn of_store(
    place: &Place,
    store: &Store,
    options: &Status,
    now: Instant,
    document: &mut Document,
) -> Result<Vec<Judged>> {
    let keep = place.keep(store).unwrap_or_default();
    let judged = rotate::plan(store, store.list()?.entries, &keep, now).judged;
    let seen = seen(&judged);
    let trash = store.trash()?;
    let count = |wanted: &dyn Fn(&Judged) -> bool| judged.iter().filter(|one| wanted(one)).count();
    document.backups = Counts {
        all: judged.len(),
        good: count(&|one| one.known.is_good),
        damaged: count(&|one| one.entry.is_damaged()),
        pinned: count(&|one| one.entry.state.pinned),
        safety: count(&|one| one.entry.safety),
        bytes: judged.iter().map(|one| one.entry.size).sum(),
        in_trash: trash.len(),
        trash_bytes: trash.iter().map(|one| one.bytes).sum(),
    };
    document.newest = health::newest_good(&seen, now).map(|one| Newest {
        id: one.known.id.clone(),
        at: one.known.id.moment(),
        age_seconds: now.0 - one.known.id.moment().0,
        bytes: one.entry.size,
    });
    document.last_check = health::newest_good(&seen, now).and_then(|one| {
        let check = one.entry.state.last_good()?;
        Some(Check { id: one.known.id.clone(), at: check.at, level: check.level })
    });
    document.last_deep_check = health::last_deep_check(&seen).map(|(one, check)| Check {
        id: one.known.id.clone(),
        at: check.at,
        level: check.level,
    });
    let outside = outside(store, of_remote(place, store, &judged));
    document.free_bytes = outside.free_bytes;
    document.findings.extend(health::judge(&seen, &outside, options.age_seconds_max, now));
    Ok(judged)
}

fn seen(judged: &[Judged]) -> Vec<Seen<'_>> {
    judged.iter().map(|one| Seen { entry: &one.entry, known: &one.known }).collect()
}

/// The remote that is meant, or the one that was used last; only what this store remembers of it, since asking the
/// remote itself may take long.
fn of_remote(place: &Place, store: &Store, judged: &[Judged]) -> Option<health::Remote> {
    let states = store.remote_states();
    let meant = match remote::wanted(place, None, Way::There) {
        Ok(meant) => meant.map(|destination| destination.shown()),
        // That the configuration can't be read is told of the project.
        Err(_) if place.project().is_err() => return None,
        Err(error) => {
            let place = "the remote of the configuration".to_owned();
            return Some(health::Remote { place, failed: Some(format!("{error:#}")), ..Default::default() });
        }
    };
    let state = match &meant {
        Some(shown) => states.iter().find(|state| state.destination == *shown),
        None => states.first(),
    };
    let Some(state) = state else {
        return meant.map(|place| health::Remote { place, ..Default::default() });
    };
    let is_missing = |one: &&Judged| {
        let entry = &one.entry;
        !entry.safety
            && !entry.is_damaged()
            && state.find(&entry.id).is_none_or(|there| there.damage.is_some())
    };
    Some(health::Remote {
        place: state.destination.clone(),
        compared: state.complete.or(state.tried),
        missing: judged.iter().filter(is_missing).count() as u64,
        failed: state.error.clone(),
    })
}

/// What other parts know: the copy elsewhere, room on the disk. Of a restore that was not finished opening the
/// store tells.
fn outside(store: &Store, remote: Option<health::Remote>) -> Outside {
    Outside { remote, free_bytes: free_bytes(store.root()) }
}

/// What of the project is in no backup. `None` where there is no project, or the store is another copy's.
fn of_project(
    ui: &Ui,
    place: &Place,
    store: Option<&Store>,
    judged: &[Judged],
    now: Instant,
    findings: &mut Vec<Finding>,
) -> Result<Option<Unsaved>> {
    if place.root.is_none() || store.is_some_and(|store| place.is_of_another(store)) {
        return Ok(None);
    }
    let project = match place.project() {
        Ok(project) => project,
        Err(error) => {
            findings.push(Finding::problem("configuration", format!("no backup can be taken: {error:#}")));
            return Ok(None);
        }
    };
    let progress = ui.progress();
    progress.step("scanning the project", None);
    let scan = since::scan_now(&project, &place.location.path)?;
    drop(progress);
    let newest = health::newest_good(&seen(judged), now);
    let mut since = None;
    let mut old = Vec::new();
    let mut lost = Vec::new();
    if let Some(newest) = newest {
        match prove::open(&newest.entry.archive) {
            Ok((archive, manifest)) => {
                since = Some(since::since(&scan, &archive, &manifest));
                lost = lost_databases::since(&newest.known.id, &manifest, &project, &scan);
                old = manifest.findings;
            }
            Err(error) => {
                let text = format!("the newest good backup, {}, can't be read: {error:#}", newest.known.id);
                let hint = format!("cargo xtask verify {}", newest.known.id);
                findings.push(Finding::problem("damaged", text).hint(hint));
            }
        }
    }
    let since = since.unwrap_or_else(|| since::Since::all_of(&scan));
    for path in &since.databases {
        let text = format!("the database {path} is in no good backup");
        findings.push(Finding::problem("database-not-saved", text).at(path).hint("cargo xtask backup"));
    }
    // What the next backup will say, and what the newest one said besides.
    let all = scan.findings.iter().chain(&lost);
    let known = |one: &Finding| all.clone().any(|now| (&now.code, &now.path) == (&one.code, &one.path));
    findings.extend(old.iter().filter(|one| one.is_problem() && !known(one)).map(|one| Finding {
        message: format!("in the newest good backup: {}", one.message),
        ..one.clone()
    }));
    findings.extend(scan.findings.iter().chain(&lost).cloned());
    Ok(Some(Unsaved::of(&since, &scan)))
}

fn report(ui: &Ui, document: &Document, now: Instant) {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, value: String| table.row([Cell::new(name), Cell::new(value)]);
    let counts = &document.backups;
    let mut text = format!("{} good of {}, {}", counts.good, counts.all, ui::size(counts.bytes));
    for (count, word) in
        [(counts.damaged, "damaged"), (counts.pinned, "pinned"), (counts.safety, "safety copies")]
    {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    row("backups", format!("{text}, in {}", document.store));
    match &document.newest {
        Some(newest) => {
            row("newest good", format!("{}, {} local, {}", newest.id, newest.at.local(), newest.at.ago(now)))
        }
        None => row("newest good", "none".to_owned()),
    }
    let check = |check: &Check| {
        format!("{}, {} (backup {})", prove::extent(check.level), check.at.ago(now), check.id)
    };
    if let Some(last) = &document.last_check {
        row("verified", check(last));
    }
    if let Some(deep) = &document.last_deep_check
        && document.last_check.as_ref().is_none_or(|last| (last.at, &last.id) != (deep.at, &deep.id))
    {
        row("", check(deep));
    }
    if let Some(unsaved) = &document.unsaved {
        let name = if document.newest.is_some() { "since then" } else { "not saved" };
        row(name, unsaved.changes());
        row("left out", unsaved.left_out());
    }
    if let Some(free) = document.free_bytes {
        row("disk", format!("{} free", ui::size(free)));
    }
    if counts.in_trash > 0 {
        row("trash", format!("{} removed, {}", counts.in_trash, ui::size(counts.trash_bytes)));
    }
    ui.table(&table);
    if document.ok {
        ui.styled(Style::Good, "a recovery would work today");
    } else {
        let problems = document.findings.iter().filter(|finding| finding.is_problem()).count();
        ui.styled(Style::Bad, ui::counted(problems as u64, "problem", "problems"));
    }
}
