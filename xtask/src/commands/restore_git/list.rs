//! `restore-git list`: the newest commits, each with the backup that holds the databases of its time.

use anyhow::Result;
use serde::Serialize;

use super::super::Outcome;
use super::{entries, repository, store_to_read};
use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::finding::Finding;
use crate::procedures::place::Place;
use crate::project::git::revision::{self, Commit};
use crate::store::catalog::StoreEntry;
use crate::store::nearest::{self, Nearest};
use crate::ui::{self, Cell, Style, Table, Ui};

/// So many columns of a subject are shown.
const SUBJECT_MAX: usize = 60;
/// So many of an author.
const AUTHOR_MAX: usize = 20;

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    commits: Vec<Line<'a>>,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    commit: &'a Commit,
    backup: Option<BackupLine>,
}

#[derive(Serialize)]
struct BackupLine {
    id: String,
    names_commit: bool,
    apart_seconds: i64,
}

/// Runs it.
///
/// # Errors
/// When there is no repository, or its history can't be read.
pub fn run(ui: &Ui, place: &Place, count: usize) -> Result<Outcome> {
    let (project, mut findings) = place.project_as_it_is()?;
    let git = repository(&project)?;
    let commits = revision::recent(&git, count)?;
    let (store, more) = store_to_read(place)?;
    findings.extend(more);
    let entries = store.as_ref().map(entries).transpose()?.unwrap_or_default();
    let lines: Vec<(&Commit, Option<Nearest<'_>>)> =
        commits.iter().map(|commit| (commit, of(&entries, commit))).collect();
    table(ui, &lines);
    if commits.is_empty() {
        ui.note("nothing is committed on this branch yet");
    } else if entries.is_empty() {
        ui.note("there is no backup yet that could hold databases: cargo xtask backup makes one");
    }
    findings.iter().for_each(|finding| ui.finding(finding));
    let commits = lines.iter().map(|(commit, nearest)| Line {
        commit,
        backup: nearest.map(|nearest| BackupLine {
            id: nearest.entry.id.to_string(),
            names_commit: nearest.names_commit,
            apart_seconds: nearest.seconds_after(commit.moment),
        }),
    });
    ui.document(&Document { commits: commits.collect(), findings: &findings })?;
    Ok(Outcome::of(&findings))
}

fn of<'a>(entries: &'a [StoreEntry], commit: &Commit) -> Option<Nearest<'a>> {
    nearest::of_commit(entries, &commit.id, commit.moment)
}

fn table(ui: &Ui, lines: &[(&Commit, Option<Nearest<'_>>)]) {
    if lines.is_empty() {
        return;
    }
    let now = Instant::now();
    let mut table = Table::new(&["commit", "local time", "age", "author", "backup for databases", "subject"]);
    for (commit, nearest) in lines {
        let backup = match nearest {
            None => Cell::new("-").styled(Style::Dim),
            Some(nearest) => {
                let apart = super::apart(nearest.seconds_after(commit.moment), "it");
                let cell = Cell::new(format!("{}, {apart}", nearest.entry.id));
                // Taken at another commit: the databases of about that time.
                if nearest.names_commit { cell } else { cell.styled(Style::Dim) }
            }
        };
        let refs =
            if commit.refs.is_empty() { String::new() } else { format!("({}) ", commit.refs.join(", ")) };
        table.row([
            Cell::new(commit.short()),
            Cell::new(commit.moment.local()),
            Cell::new(commit.moment.ago(now)),
            Cell::new(ui::fit(&escape(commit.author.as_bytes()), AUTHOR_MAX)),
            backup,
            Cell::new(format!("{refs}{}", ui::fit(&escape(commit.subject.as_bytes()), SUBJECT_MAX))),
        ]);
    }
    ui.table(&table);
}
