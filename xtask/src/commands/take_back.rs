//! What `undo` and `redo` share: a step in the row of restores is taken back from the safety copy that was taken
//! before it, exactly in what it changed.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::Outcome;
use super::carry_out::{self, Job};
use crate::base::clock::Instant;
use crate::base::failure::ResultExt;
use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;
use crate::procedures::place::Place;
use crate::procedures::prove;
use crate::procedures::put_back::{Backup, GitWish, Order, Source};
use crate::procedures::scope::Scope;
use crate::procedures::stage_database;
use crate::store::Store;
use crate::store::select;
use crate::store::undo_log::{GitTouch, Operation, Record};
use crate::ui::Ui;

/// How one of the two goes about it.
pub struct Way {
    /// The verb.
    pub command: &'static str,
    /// What it is in the row of restores.
    pub operation: Operation,
    /// The command that reverses it.
    pub reverse: &'static str,
    /// Only show what would change.
    pub dry_run: bool,
    /// Don't ask.
    pub force: bool,
}

/// Takes back the step that `choose` finds.
///
/// # Errors
/// What `choose` returns when there is none; when it could not be taken back: everything is as it was then.
pub fn run(
    ui: &Ui,
    place: &Place,
    way: &Way,
    choose: impl Fn(&[Record]) -> Result<Record>,
) -> Result<Outcome> {
    let (project, mut findings) = place.project_as_it_is()?;
    let (store, lock) = if way.dry_run {
        let (store, more) = place.open()?;
        findings.extend(more);
        (store, None)
    } else {
        let (store, lock) = place.open_existing_to_write(&project, false, way.command)?;
        (store, Some(lock))
    };
    let (records, more) = store.undo_records()?;
    findings.extend(more);
    let record = choose(&records)?;
    let listing = store.list()?;
    let entry = select::resolve(&listing.entries, &record.id.to_string(), Instant::now())?;
    let (archive, manifest) = prove::open(&entry.archive)
        .with_context(|| format!("the safety copy {} is damaged", record.id))
        .hint("restore another backup instead: cargo xtask list")?;
    let order = Order {
        source: Source::Backup(Backup { archive: &archive, manifest: &manifest }),
        scope: Scope::Paths(touched(&record)?),
        exact: true,
        git: match record.git {
            GitTouch::Untouched => GitWish::Never,
            GitTouch::Created => GitWish::Remove,
            GitTouch::Changed | GitTouch::Removed => GitWish::Always,
        },
        from_dumps: false,
        with_code: true,
        operation: way.operation,
        of: Some(record.id.clone()),
    };
    let what = format!(
        "the state before the {} of {} ({})",
        record.operation.word(),
        record.at.local(),
        record.at.ago(Instant::now())
    );
    let job = Job {
        project: &project,
        store: store.root(),
        writes: lock.as_ref().map(|lock| (&store, lock)),
        command: way.command,
        question: format!("put back {what} in {}?", project.root.display()),
        what,
        dry_run: way.dry_run,
        force: way.force,
        safety: true,
        reverse: way.reverse,
        named_by: place.location.source,
        commit: None,
    };
    carry_out::run(ui, &job, order, findings)
}

/// Everything that a step changed, what lies beside its databases included.
fn touched(record: &Record) -> Result<BTreeSet<SafePath>> {
    let mut paths: BTreeSet<SafePath> = record.paths.iter().cloned().collect();
    for database in &record.databases {
        paths.extend(stage_database::files(database)?);
    }
    Ok(paths)
}

/// The records of a store, and what is wrong with some.
///
/// # Errors
/// When it can't be read.
pub fn records(store: &Store) -> Result<(Vec<Record>, Vec<Finding>)> {
    store.undo_records()
}
