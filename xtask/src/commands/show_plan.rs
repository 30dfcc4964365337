//! The plan of a restore, in words.

use serde::Serialize;

use crate::base::tree::{Kind, Leaf};
use crate::procedures::put_back::{DatabaseStep, GitStep, Prepared, State};
use crate::project::plan::{Change, Step};
use crate::ui::{self, Style, Ui};

/// So many changes are shown before somebody is asked.
const SHOWN_MAX: usize = 20;

/// What `--json` prints of a plan.
#[derive(Clone, Serialize)]
pub struct Document {
    changes: Vec<Line>,
    kept: Vec<String>,
    stays: Vec<String>,
    databases: Vec<Database>,
    databases_removed: Vec<String>,
    git: Option<String>,
}

#[derive(Clone, Serialize)]
struct Line {
    path: String,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
}

#[derive(Clone, Serialize)]
struct Database {
    path: String,
    state: &'static str,
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appear: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vanish: Option<u64>,
}

/// The plan for scripts.
pub fn document(prepared: &Prepared<'_>) -> Document {
    let line = |step: &Step| Line {
        path: step.path.to_string(),
        change: word(step.change),
        before: step.before.as_ref().map(Leaf::size),
        after: step.after.as_ref().map(Leaf::size),
    };
    let database = |step: &DatabaseStep| {
        let totals = step.change.as_ref().map(|change| change.totals());
        Database {
            path: step.path().to_string(),
            state: match step.state {
                State::Same => "same",
                State::Differs => "differs",
                State::Absent => "absent",
                State::Unreadable => "unreadable",
                State::Locked => "locked",
            },
            rows: step.rows(),
            appear: totals.map(|(appear, ..)| appear),
            change: totals.map(|(.., change)| change),
            vanish: totals.map(|(_, vanish, _)| vanish),
        }
    };
    Document {
        changes: prepared.plan.steps.iter().map(line).collect(),
        kept: prepared.plan.kept.iter().map(ToString::to_string).collect(),
        stays: prepared.plan.extra.iter().map(ToString::to_string).collect(),
        databases: prepared.databases.iter().map(database).collect(),
        databases_removed: prepared.databases_removed.iter().map(ToString::to_string).collect(),
        git: git_words(&prepared.git),
    }
}

/// Every line of it.
pub fn whole(ui: &Ui, prepared: &Prepared<'_>) {
    let plan = &prepared.plan;
    for step in &plan.steps {
        ui.styled(style(step.change), line(step));
    }
    for path in &plan.kept {
        ui.line(format!("keep     {path}"));
    }
    for path in &plan.extra {
        ui.line(format!("stays    {path} (not in the backup; --exact removes it)"));
    }
    databases(ui, prepared);
    git(ui, prepared, usize::MAX);
}

/// The first lines of it, and how many more there are.
pub fn brief(ui: &Ui, prepared: &Prepared<'_>) {
    let plan = &prepared.plan;
    for step in plan.steps.iter().take(SHOWN_MAX) {
        ui.styled(style(step.change), line(step));
    }
    if plan.steps.len() > SHOWN_MAX {
        let more = (plan.steps.len() - SHOWN_MAX) as u64;
        ui.line(format!("… and {} (--dry-run names all)", ui::counted(more, "more change", "more changes")));
    }
    databases(ui, prepared);
    git(ui, prepared, SHOWN_MAX);
    let kept = ui::counted(plan.kept.len() as u64, "file is", "files are");
    ui.note(format!("{kept} the same already"));
    if !plan.extra.is_empty() {
        let named: Vec<String> = plan.extra.iter().take(5).map(ToString::to_string).collect();
        let more = if plan.extra.len() > named.len() { ", …" } else { "" };
        let count = ui::counted(
            plan.extra.len() as u64,
            "path that the backup does not hold stays",
            "paths that the backup does not hold stay",
        );
        ui.note(format!("{count}: {}{more} (--exact removes them)", named.join(", ")));
    }
}

fn databases(ui: &Ui, prepared: &Prepared<'_>) {
    for step in &prepared.databases {
        let path = step.path();
        let rows = step.rows().map_or_else(String::new, |rows| ui::counted(rows, "row", "rows"));
        match (step.state, &step.change) {
            (State::Same, _) => ui.line(format!("keep     {path}: {rows}")),
            (State::Absent, _) => ui.styled(Style::Good, format!("create   {path}: {rows}")),
            (State::Unreadable, _) => {
                ui.styled(Style::Warning, format!("replace  {path}, which SQLite can't read: {rows}"));
            }
            (State::Locked, _) => {
                ui.styled(Style::Bad, format!("replace  {path}, which another program keeps locked: {rows}"))
            }
            (State::Differs, None) => {
                ui.styled(
                    Style::Warning,
                    format!("replace  {path}: {rows}; what is there now can't be compared"),
                );
            }
            (State::Differs, Some(change)) if change.is_empty() => {
                ui.styled(Style::Warning, format!("replace  {path}: the same {rows}, in other pages"));
            }
            (State::Differs, Some(change)) => {
                let (appear, vanish, changed) = change.totals();
                let mut text = format!(
                    "replace  {path}: {} appear, {} change, {} vanish",
                    ui::counted(appear, "row", "rows"),
                    ui::count(changed),
                    ui::count(vanish)
                );
                if !change.schema.is_empty() {
                    let count = change.schema.len() as u64;
                    text.push_str(&format!(
                        "; {}",
                        ui::counted(count, "change of the schema", "changes of the schema")
                    ));
                }
                ui.styled(Style::Warning, text);
                for table in change.tables.iter().take(SHOWN_MAX) {
                    ui.line(format!(
                        "           {}: {} appear, {} change, {} vanish",
                        table.name,
                        ui::count(table.appear),
                        ui::count(table.change),
                        ui::count(table.vanish)
                    ));
                }
            }
        }
    }
    for path in &prepared.databases_removed {
        ui.styled(Style::Bad, format!("remove   {path}, a database"));
    }
}

fn git(ui: &Ui, prepared: &Prepared<'_>, shown_max: usize) {
    let Some(words) = git_words(&prepared.git) else { return };
    ui.styled(Style::Warning, format!("git      {words}"));
    let GitStep::Replace(plan) = &prepared.git else { return };
    let short = |id: &Option<String>| match id {
        None => "nothing".to_owned(),
        Some(id) => id.get(..10).filter(|_| id.len() >= 40).unwrap_or(id).to_owned(),
    };
    for change in plan.refs.iter().take(shown_max) {
        ui.line(format!("           {}: {} → {}", change.name, short(&change.before), short(&change.after)));
    }
    for name in plan.kept.iter().take(shown_max) {
        ui.line(format!("           {name} stays (not in the backup; --exact removes it)"));
    }
}

/// What happens to git; `None` when nothing does.
pub fn git_words(step: &GitStep) -> Option<String> {
    match step {
        GitStep::Nothing => None,
        GitStep::Remove => Some("the repository goes, as there was none".to_owned()),
        GitStep::Branch(step) => {
            Some(format!("HEAD {} → {}, a new branch, with its index", step.branch.leaves, step.branch.name))
        }
        GitStep::Create { .. } => Some("the repository comes back".to_owned()),
        GitStep::Replace(plan) if plan.is_empty() => None,
        GitStep::Replace(plan) => {
            let mut parts = Vec::new();
            if let Some((before, after)) = &plan.head {
                parts.push(format!("HEAD {before} → {after}"));
            }
            if !plan.refs.is_empty() {
                parts.push(ui::counted(plan.refs.len() as u64, "ref", "refs"));
            }
            parts.extend(plan.index.then(|| "index".to_owned()));
            if let Some((before, after)) = &plan.operation {
                let word =
                    |operation: &Option<String>| operation.clone().unwrap_or_else(|| "none".to_owned());
                parts.push(format!("operation under way {} → {}", word(before), word(after)));
            }
            if parts.is_empty() {
                parts.push("reflogs and state".to_owned());
            }
            Some(parts.join(", "))
        }
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Create => "create",
        Change::Replace => "replace",
        Change::Mode => "mode",
        Change::Remove => "remove",
    }
}

fn style(change: Change) -> Style {
    match change {
        Change::Create => Style::Good,
        Change::Replace | Change::Mode => Style::Warning,
        Change::Remove => Style::Bad,
    }
}

fn line(step: &Step) -> String {
    let what = |leaf: &Option<Leaf>| match leaf.as_ref().map(|leaf| &leaf.kind) {
        Some(Kind::File { size, .. }) => ui::size(*size),
        Some(Kind::Folder) => "a folder".to_owned(),
        Some(Kind::Link { .. }) => "a link".to_owned(),
        None => String::new(),
    };
    let path = &step.path;
    match step.change {
        Change::Create => format!("create   {path} ({})", what(&step.after)),
        Change::Replace => format!("replace  {path} ({} → {})", what(&step.before), what(&step.after)),
        Change::Remove => format!("remove   {path} ({})", what(&step.before)),
        Change::Mode => {
            let mode = |leaf: &Option<Leaf>| leaf.as_ref().map_or(0, |leaf| leaf.mode);
            format!("mode     {path} ({:03o} → {:03o})", mode(&step.before), mode(&step.after))
        }
    }
}
