//! Deals with a restore that was killed while it changed the project: it is finished, and where that can't be
//! done, taken back. Everything that is needed stands in its journal.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::guard::{self, Watch};
use super::journal::{self, Direction, Journal};
use super::staging::MOVING;
use super::workshop::{self, Workshop};
use crate::base::failure::{Failure, Kind, ResultExt, kind_of};
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::origin::Origin;
use crate::base::os_name;
use crate::project::git::replace::hold;
use crate::store::Store;

/// What became of an unfinished restore.
#[derive(Debug, PartialEq, Eq)]
pub enum Recovered {
    /// There was none.
    Nothing,
    /// The project is as this one has it.
    Finished(Origin),
    /// The project is as it was before this one was to be restored.
    TakenBack(Origin),
    /// A guard was killed, and the databases are as they were before its command.
    Guarded {
        /// The backup that was taken before the command.
        backup: BackupId,
        /// The safety copy of what the command left; absent when it had changed nothing.
        left: Option<BackupId>,
    },
}

/// The project around a folder in which a restore or a guard was interrupted. It is found by what that left
/// alone: the configuration and git may be among what is not in its place.
pub fn find(from: &Path) -> Option<PathBuf> {
    let from = from.canonicalize().ok()?;
    from.ancestors().find(|folder| workshop::folder(folder).is_dir()).map(Path::to_path_buf)
}

/// What commands that change nothing say of it.
pub fn unfinished(root: &Path) -> Option<Finding> {
    let hint =
        "the next command that changes something puts the databases back, `cargo xtask backup` for one";
    match guard::note(root) {
        Ok(None) => journal::unfinished(root),
        Ok(Some(_)) if guard::watch(root) == Watch::OnDuty => None,
        Ok(Some(note)) if guard::watch(root) == Watch::Orphaned => {
            let (text, hint) = guard::orphaned(root, &note);
            Some(Finding::problem("unfinished-guard", text).hint(hint))
        }
        Ok(Some(note)) => {
            let text = format!(
                "the guard of {} was interrupted; the databases may be half-way between before and after",
                note.command
            );
            Some(Finding::problem("unfinished-guard", text).hint(hint))
        }
        Err(error) => Some(Finding::problem("unfinished-guard", format!("{error:#}"))),
    }
}

/// Finishes an unfinished restore, or takes it back; throws away what one left that had changed nothing.
///
/// # Errors
/// Of kind `Locked` when that restore, or the command of a killed guard, is running after all, `Refused` when a
/// program keeps a database locked; when neither end can be reached. Then it is still unfinished, and nothing is lost.
pub fn recover(root: &Path, monitor: &dyn Monitor) -> Result<(Recovered, Vec<Finding>)> {
    let folder = workshop::folder(root);
    let Some(journal) = Journal::read(root)? else {
        if let Some(note) = guard::note(root)? {
            match guard::watch(root) {
                Watch::OnDuty => return Ok((Recovered::Nothing, Vec::new())),
                Watch::Orphaned => {
                    let (text, hint) = guard::orphaned(root, &note);
                    return Err(Failure::new(Kind::Locked, text).hint(hint).into());
                }
                Watch::Nobody => {}
            }
            monitor.step("putting back what a guarded command left", None);
            return Ok(match guard::recover(root, &note, monitor)? {
                Some(done) => (Recovered::Guarded { backup: note.backup, left: done.safety }, done.findings),
                None => (Recovered::Nothing, Vec::new()),
            });
        }
        let busy = workshop::is_alive(root) || guard::watch(root) != Watch::Nobody;
        if folder.is_dir() && !busy && !folder.join(MOVING).exists() {
            let workshop = Workshop::begin(root)?;
            hold::sweep(&root.join(".git"))?;
            workshop.end()?;
        }
        return Ok((Recovered::Nothing, Vec::new()));
    };
    let workshop = Workshop::again(root, &journal.run)?;
    // Until it was ours, another run may have dealt with it.
    let Some(mut journal) = Journal::read(root)?.filter(|now| now.run == journal.run) else {
        workshop.end()?;
        return Ok((Recovered::Nothing, Vec::new()));
    };
    monitor.step("finishing the restore that was interrupted", None);
    let _until_done = interrupt::until_done();
    let attempt = match journal.direction {
        Direction::Forward => journal.forward(root, None, monitor).map(Some),
        Direction::Back => Ok(None),
    };
    let origin = journal.origin.clone();
    let (recovered, mut findings) = match attempt {
        Ok(Some(findings)) => (Recovered::Finished(origin), findings),
        Ok(None) => (Recovered::TakenBack(origin), journal.back(root, monitor)?),
        Err(error) => {
            let mut findings = journal
                .turn_back(root, monitor)
                .with_context(|| format!("it can't be finished either: {error:#}"))
                .with_context(|| {
                    format!("the interrupted restore of {origin} could neither be finished nor taken back")
                })
                .hint("see what is in the way, and run this again; nothing is lost: what was replaced lies in .xtask-restore/")?;
            let text = format!(
                "the interrupted restore of {origin} was taken back, because it can't be finished: {error:#}"
            );
            findings.push(Finding::advice("restore-taken-back", text));
            (Recovered::TakenBack(origin), findings)
        }
    };
    if let (Recovered::Finished(_), Some(record)) = (&recovered, &journal.record) {
        let note = || -> Result<()> {
            let store = Store::open(Path::new(&os_name::to_os(&journal.store.0)?))?;
            let lock = store.lock("finishing a restore")?;
            store.note_undo(&lock, record)
        };
        match note() {
            Ok(()) => {}
            // Somebody works in the store: the next run notes it.
            Err(error) if kind_of(&error) == Kind::Locked => return Err(error),
            Err(error) => {
                let text = format!("the restore is finished, and can't be undone by `undo`: {error:#}");
                let hint = format!("the state before is in the safety copy {}", record.id);
                findings.push(Finding::problem("undo-record", text).hint(hint));
            }
        }
    }
    hold::sweep(&root.join(".git"))?;
    workshop.end()?;
    Ok((recovered, findings))
}
