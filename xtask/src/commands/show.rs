//! `show BACKUP`: what one backup is, what is in it, and what is not.

use anyhow::Result;
use serde::Serialize;

use crate::archive::manifest::{Form, Manifest};
use crate::base::clock::Instant;
use crate::base::failure::ResultExt;
use crate::procedures::place::Place;
use crate::procedures::{prove, rotate};
use crate::store::catalog::StoreEntry;
use crate::store::retention::{Rule, Verdict};
use crate::store::select;
use crate::store::state::State;
use crate::ui::{self, Cell, Table, Ui};

use super::Outcome;

/// So many things left out are named; `--json` names all.
const NAMED_MAX: usize = 20;

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    archive: String,
    bytes: u64,
    state: &'a State,
    kept_by: &'a [Rule],
    manifest: &'a Manifest,
}

/// Runs it.
///
/// # Errors
/// When there is no such backup, or its archive can't be read.
pub fn run(ui: &Ui, place: &Place, backup: &str) -> Result<Outcome> {
    let (store, findings) = place.open()?;
    let listing = store.list()?;
    let entry = select::resolve(&listing.entries, backup, Instant::now())?;
    let (_, manifest) = prove::open(&entry.archive)
        .hint(format!("cargo xtask verify {} tells more; cargo xtask list shows the others", entry.id))?;
    for finding in &findings {
        ui.finding(finding);
    }
    let keep = place.keep(&store).unwrap_or_default();
    let plan = rotate::plan(&store, listing.entries.clone(), &keep, Instant::now());
    let judged = plan.judged.iter().find(|one| one.entry.archive == entry.archive);
    let verdict = judged.map_or(&Verdict::Remove, |one| &one.verdict);
    head(ui, entry, &manifest, verdict);
    databases(ui, &manifest);
    rest(ui, entry, &manifest);
    ui.document(&Document {
        archive: entry.archive.display().to_string(),
        bytes: entry.size,
        state: &entry.state,
        kept_by: verdict.rules(),
        manifest: &manifest,
    })?;
    Ok(Outcome::of(&findings))
}

fn head(ui: &Ui, entry: &StoreEntry, manifest: &Manifest, verdict: &Verdict) {
    let now = Instant::now();
    let mut table = Table::new(&[]);
    let mut row = |name: &str, value: String| table.row([Cell::new(name), Cell::new(value)]);
    row("backup", manifest.id.to_string());
    row(
        "taken",
        format!(
            "{} local, {} UTC, {}",
            manifest.created.local(),
            manifest.created.utc(),
            manifest.created.ago(now)
        ),
    );
    let label = manifest.label.as_ref().map_or_else(String::new, |label| format!(", label {label}"));
    row("kind", format!("{}{label}{}", manifest.kind, if entry.state.pinned { ", pinned" } else { "" }));
    row("project", format!("{}:{}", manifest.host, manifest.path));
    if let Some(git) = &manifest.git {
        let branch = git.branch.as_deref().unwrap_or("detached HEAD");
        let commit = git.commit.as_deref().unwrap_or("no commit yet");
        let dirty = if git.dirty { ", uncommitted work" } else { "" };
        let operation =
            git.operation.as_ref().map_or_else(String::new, |name| format!(", in the middle of a {name}"));
        row(
            "git",
            format!("{commit} ({branch}), {}{dirty}{operation}", ui::counted(git.refs, "ref", "refs")),
        );
    }
    let files = &manifest.files;
    row(
        "files",
        format!(
            "{} ({}): {} tracked, {} untracked, {} ignored; {}, {}",
            ui::count(files.files),
            ui::size(files.bytes),
            ui::count(files.tracked),
            ui::count(files.untracked),
            ui::count(files.ignored),
            ui::counted(files.folders, "folder", "folders"),
            ui::counted(files.links, "link", "links")
        ),
    );
    row("archive", format!("{} ({})", entry.archive.display(), ui::size(entry.size)));
    match entry.state.last_good() {
        Some(check) => row(
            "verified",
            format!("{} local, {}: {}", check.at.local(), check.at.ago(now), prove::extent(check.level)),
        ),
        None => row("verified", "never".to_owned()),
    }
    let rules: Vec<String> = verdict.rules().iter().map(ToString::to_string).collect();
    row(
        "kept",
        if rules.is_empty() { "no: the next rotation removes it".to_owned() } else { rules.join(", ") },
    );
    ui.table(&table);
}

fn databases(ui: &Ui, manifest: &Manifest) {
    for database in &manifest.databases {
        ui.line("");
        let dump = match (database.dump, database.dump_partial) {
            (false, _) => "",
            (true, false) => ", with a dump",
            (true, true) => ", with a dump of what could be read",
        };
        let form = if database.form == Form::Raw { ", raw bytes only" } else { "" };
        ui.line(format!("database {} ({}{dump}{form})", database.path, ui::size(database.bytes)));
        for damage in &database.damage {
            ui.line(format!("  DAMAGED: {damage}"));
        }
        let Some(facts) = &database.facts else { continue };
        let mut table = Table::new(&[]);
        for item in &facts.tables {
            table.row([
                Cell::new(format!("  {}", item.name)),
                Cell::number(ui::count(item.rows)),
                Cell::new(if item.rows == 1 { "row" } else { "rows" }),
            ]);
        }
        ui.table(&table);
    }
}

fn rest(ui: &Ui, entry: &StoreEntry, manifest: &Manifest) {
    if !manifest.left_out.is_empty() {
        ui.line("");
        ui.line("left out");
        let mut table = Table::new(&[]);
        for item in manifest.left_out.iter().take(NAMED_MAX) {
            let size = if item.files == 0 { String::new() } else { ui::size(item.bytes) };
            table.row([
                Cell::new(format!("  {}", item.reason)),
                Cell::new(item.path.to_string()),
                Cell::number(size),
            ]);
        }
        ui.table(&table);
        if manifest.left_out.len() > NAMED_MAX {
            ui.line(format!("  and {} more: --json names all", manifest.left_out.len() - NAMED_MAX));
        }
    }
    for damage in &entry.state.damage {
        ui.line("");
        ui.line(format!("DAMAGED: {damage}"));
    }
    for finding in &manifest.findings {
        ui.finding(finding);
    }
}
