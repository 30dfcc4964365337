//! What differs, in words and for scripts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Named;
use crate::base::escape::escape;
use crate::base::finding::Finding;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf};
use crate::procedures::differences::{DatabaseDifference, Differences, Fate};
use crate::project::plan::{Change, Step};
use crate::sqlite::compare::{DatabaseChange, Field, RowChange, SchemaChange, TableChange};
use crate::ui::{self, Style, Ui};

/// So many columns a value takes in a line.
const VALUE_COLUMNS: usize = 60;
/// A line that nobody sees on a terminal is cut here.
const LINE_COLUMNS: usize = 1000;

/// What `--json` prints.
#[derive(Serialize)]
pub struct Document<'a> {
    before: Named,
    after: Named,
    equal: bool,
    files: Vec<FileLine<'a>>,
    databases: Vec<DatabaseLine<'a>>,
    same: Same,
    not_compared: NotCompared<'a>,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Same {
    files: u64,
    databases: u64,
}

#[derive(Serialize)]
struct NotCompared<'a> {
    untracked: u64,
    left_out: u64,
    submodules: &'a [SafePath],
}

#[derive(Serialize)]
struct FileLine<'a> {
    path: &'a SafePath,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Thing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Thing>,
}

#[derive(Serialize)]
struct Thing {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<RawPath>,
}

#[derive(Serialize)]
struct DatabaseLine<'a> {
    path: &'a SafePath,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<[String; 2]>,
    rows_added: u64,
    rows_changed: u64,
    rows_removed: u64,
    tables: Vec<TableLine<'a>>,
    schema: Vec<SchemaLine<'a>>,
}

#[derive(Serialize)]
struct TableLine<'a> {
    name: &'a str,
    rows_added: u64,
    rows_changed: u64,
    rows_removed: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<RowLine<'a>>,
}

#[derive(Serialize)]
struct RowLine<'a> {
    change: &'static str,
    key: BTreeMap<&'a str, &'a str>,
    before: BTreeMap<&'a str, &'a str>,
    after: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct SchemaLine<'a> {
    kind: &'a str,
    name: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

/// The differences for scripts.
pub fn document(before: Named, after: Named, differences: &Differences) -> Document<'_> {
    Document {
        before,
        after,
        equal: differences.is_empty() && !differences.findings.iter().any(Finding::is_problem),
        files: differences.files.iter().map(file_line).collect(),
        databases: differences.databases.iter().map(database_line).collect(),
        same: Same { files: differences.same_files, databases: differences.same_databases },
        not_compared: NotCompared {
            untracked: differences.untracked,
            left_out: differences.left_out,
            submodules: &differences.modules,
        },
        findings: &differences.findings,
    }
}

fn file_line(step: &Step) -> FileLine<'_> {
    let thing = |leaf: &Leaf| {
        let mode = Some(octal(leaf.mode));
        match &leaf.kind {
            Kind::File { size, .. } => Thing { kind: "file", size: Some(*size), mode, target: None },
            Kind::Folder => Thing { kind: "folder", size: None, mode, target: None },
            Kind::Link { target } => {
                Thing { kind: "link", size: None, mode: None, target: Some(RawPath(target.clone())) }
            }
        }
    };
    let (before, after) = (step.before.as_ref().map(thing), step.after.as_ref().map(thing));
    FileLine { path: &step.path, change: word(step.change), before, after }
}

fn database_line(one: &DatabaseDifference) -> DatabaseLine<'_> {
    let (change, reason) = match &one.fate {
        Fate::Added(_) => ("added", None),
        Fate::Removed(_) => ("removed", None),
        Fate::Changed(_) => ("changed", None),
        Fate::ModeOnly => ("mode", None),
        Fate::Incomparable(reason) => ("incomparable", Some(reason.as_str())),
    };
    let (tables, schema) = match change_of(&one.fate) {
        Some(change) => (change.tables.as_slice(), change.schema.as_slice()),
        None => Default::default(),
    };
    let (rows_added, rows_removed, rows_changed) =
        change_of(&one.fate).map(DatabaseChange::totals).unwrap_or_default();
    DatabaseLine {
        path: &one.path,
        change,
        reason,
        mode: one.mode.map(|(before, after)| [octal(before), octal(after)]),
        rows_added,
        rows_changed,
        rows_removed,
        tables: tables.iter().map(table_line).collect(),
        schema: schema
            .iter()
            .map(|one| SchemaLine {
                kind: &one.kind,
                name: &one.name,
                before: one.before.as_deref(),
                after: one.after.as_deref(),
            })
            .collect(),
    }
}

fn table_line(table: &TableChange) -> TableLine<'_> {
    TableLine {
        name: &table.name,
        rows_added: table.appear,
        rows_changed: table.change,
        rows_removed: table.vanish,
        rows: table.rows.iter().map(row_line).collect(),
    }
}

fn row_line(row: &RowChange) -> RowLine<'_> {
    let values = |of: fn(&Field) -> Option<&String>| {
        row.fields.iter().filter_map(|field| Some((field.column.as_str(), of(field)?.as_str()))).collect()
    };
    RowLine {
        change: match (row.was, row.is) {
            (false, _) => "added",
            (_, false) => "removed",
            _ => "changed",
        },
        key: row.key.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        before: values(|field| field.before.as_ref()),
        after: values(|field| field.after.as_ref()),
    }
}

fn change_of(fate: &Fate) -> Option<&DatabaseChange> {
    match fate {
        Fate::Added(change) | Fate::Removed(change) | Fate::Changed(change) => Some(change),
        Fate::ModeOnly | Fate::Incomparable(_) => None,
    }
}

/// The differences for people.
pub fn report(ui: &Ui, before: &str, after: &str, differences: &Differences) {
    for step in &differences.files {
        ui.styled(style(step.change), file(step));
    }
    for one in &differences.databases {
        database(ui, one);
    }
    for finding in &differences.findings {
        ui.finding(finding);
    }
    if differences.untracked > 0 {
        let count = ui::counted(differences.untracked, "path", "paths");
        ui.note(format!("not compared with the commit, since git does not track it: {count}"));
    }
    for path in &differences.modules {
        ui.note(format!("not compared: the submodule {path}, of which a commit has only an id"));
    }
    if differences.left_out > 0 {
        let count = ui::counted(differences.left_out, "path", "paths");
        ui.note(format!("not compared: {count} that backups leave out (cargo xtask status names them)"));
    }
    if differences.converts && !differences.files.is_empty() {
        ui.note("git converts some files (line endings, filters), which then differ from what it stores");
    }
    let same = format!(
        "{} and {} are the same",
        ui::counted(differences.same_files, "file", "files"),
        ui::counted(differences.same_databases, "database", "databases")
    );
    if differences.is_empty() {
        ui.note(format!("no difference between {before} and {after}: {same}"));
    } else {
        ui.note(format!(
            "from {before} to {after}: {} and {} differ; {same}",
            ui::counted(differences.files.len() as u64, "path", "paths"),
            ui::counted(differences.databases.len() as u64, "database", "databases")
        ));
    }
}

fn file(step: &Step) -> String {
    let what = |leaf: &Leaf| match &leaf.kind {
        Kind::File { size, .. } => ui::size(*size),
        Kind::Folder => "a folder".to_owned(),
        Kind::Link { target } => format!("a link to {}", escape(target)),
    };
    let path = &step.path;
    match (step.change, &step.before, &step.after) {
        (Change::Create, _, Some(after)) => format!("added    {path} ({})", what(after)),
        (Change::Remove, Some(before), _) => format!("removed  {path} ({})", what(before)),
        (Change::Replace, Some(before), Some(after)) => {
            let same_kind = std::mem::discriminant(&before.kind) == std::mem::discriminant(&after.kind);
            let mode = if same_kind && !before.same_mode(after) {
                format!("; mode {}", modes((before.mode, after.mode)))
            } else {
                String::new()
            };
            format!("changed  {path} ({} → {}{mode})", what(before), what(after))
        }
        (Change::Mode, Some(before), Some(after)) => {
            format!("mode     {path} ({})", modes((before.mode, after.mode)))
        }
        _ => format!("{}  {path}", word(step.change)),
    }
}

fn database(ui: &Ui, one: &DatabaseDifference) {
    let path = &one.path;
    let mode = one.mode.map_or_else(String::new, |both| format!(" (mode {})", modes(both)));
    let rows = |change: &DatabaseChange, removed: bool| {
        let (appear, vanish, _) = change.totals();
        ui::counted(if removed { vanish } else { appear }, "row", "rows")
    };
    match &one.fate {
        Fate::Added(change) => {
            ui.styled(Style::Good, format!("added    {path}, a database with {}", rows(change, false)));
        }
        Fate::Removed(change) => {
            ui.styled(Style::Bad, format!("removed  {path}, a database with {}", rows(change, true)));
        }
        Fate::ModeOnly => ui.styled(Style::Warning, format!("{path}: the same rows{mode}")),
        Fate::Incomparable(reason) => {
            ui.styled(Style::Bad, format!("{path}: can't be compared: {}{mode}", escape(reason.as_bytes())));
        }
        Fate::Changed(change) => {
            let rows = match change.totals() {
                (0, 0, 0) => "the same rows".to_owned(),
                (appear, vanish, changed) => numbers(appear, changed, vanish),
            };
            let schema = match change.schema.len() as u64 {
                0 => String::new(),
                count => format!("; {}", ui::counted(count, "change of the schema", "changes of the schema")),
            };
            ui.styled(Style::Warning, format!("{path}: {rows}{schema}{mode}"));
            // Of a database that came or went it would be all of the schema.
            change.schema.iter().for_each(|one| schema_change(ui, one));
        }
    }
    for table in change_of(&one.fate).into_iter().flat_map(|change| &change.tables) {
        let name = escape(table.name.as_bytes());
        ui.line(format!("  {name}: {}", numbers(table.appear, table.change, table.vanish)));
        table.rows.iter().for_each(|one| row(ui, one));
        let more = table.appear + table.change + table.vanish - table.rows.len() as u64;
        if !table.rows.is_empty() && more > 0 {
            ui.line(format!(
                "    … and {} (--rows-max N lists N)",
                ui::counted(more, "more row", "more rows")
            ));
        }
    }
}

/// `3 rows added, 1 changed`: what there is none of is not said.
fn numbers(appear: u64, changed: u64, vanish: u64) -> String {
    let mut parts = Vec::new();
    for (count, what) in [(appear, "added"), (changed, "changed"), (vanish, "removed")] {
        if count > 0 {
            let count = if parts.is_empty() { ui::counted(count, "row", "rows") } else { ui::count(count) };
            parts.push(format!("{count} {what}"));
        }
    }
    parts.join(", ")
}

fn row(ui: &Ui, row: &RowChange) {
    let cut = |value: &str| ui::fit(&escape(value.as_bytes()), VALUE_COLUMNS);
    let name = |name: &str| escape(name.as_bytes());
    let key: Vec<String> =
        row.key.iter().map(|(column, value)| format!("{}={}", name(column), cut(value))).collect();
    let fields: Vec<String> = row
        .fields
        .iter()
        .map(|field| match (&field.before, &field.after) {
            (Some(before), Some(after)) => {
                format!("{}: {} → {}", name(&field.column), cut(before), cut(after))
            }
            (before, after) => {
                let value = before.as_ref().or(after.as_ref()).map_or("", String::as_str);
                format!("{}={}", name(&field.column), cut(value))
            }
        })
        .collect();
    let (sign, style) = match (row.was, row.is) {
        (false, _) => ('+', Style::Good),
        (_, false) => ('-', Style::Bad),
        _ => ('~', Style::Warning),
    };
    let line = match (key.is_empty(), fields.is_empty()) {
        (false, false) => format!("    {sign} {}  {}", key.join(" "), fields.join(", ")),
        _ => format!("    {sign} {}{}", key.join(" "), fields.join(", ")),
    };
    ui.styled(style, ui::fit(&line, ui::result_columns().unwrap_or(LINE_COLUMNS)));
}

/// Of statements of several lines, the lines that differ.
fn schema_change(ui: &Ui, change: &SchemaChange) {
    let (kind, name) = (&change.kind, escape(change.name.as_bytes()));
    if kind == "pragma" {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        ui.line(format!("  {name}: {} → {}", value(&change.before), value(&change.after)));
        return;
    }
    ui.line(format!("  schema of the {kind} {name}:"));
    let lines = |sql: &Option<String>| -> Vec<String> {
        sql.iter().flat_map(|sql| sql.lines()).map(|line| escape(line.as_bytes())).collect()
    };
    let (before, after) = (lines(&change.before), lines(&change.after));
    let shorter = before.len().min(after.len());
    let start = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let end =
        before.iter().rev().zip(after.iter().rev()).take(shorter - start).take_while(|(a, b)| a == b).count();
    for line in &before[start..before.len() - end] {
        ui.styled(Style::Bad, format!("    - {line}"));
    }
    for line in &after[start..after.len() - end] {
        ui.styled(Style::Good, format!("    + {line}"));
    }
}

fn modes((before, after): (u32, u32)) -> String {
    format!("{} → {}", octal(before), octal(after))
}

fn octal(mode: u32) -> String {
    format!("{mode:03o}")
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Create => "added",
        Change::Replace => "changed",
        Change::Mode => "mode",
        Change::Remove => "removed",
    }
}

fn style(change: Change) -> Style {
    match change {
        Change::Create => Style::Good,
        Change::Replace | Change::Mode => Style::Warning,
        Change::Remove => Style::Bad,
    }
}
