//! One file per verb: what the user asked for, in the user's words. Verbs never import each other.

mod backup;
mod carry_out;
mod diff;
mod guard;
mod list;
mod log;
mod pin;
mod pins;
mod prune;
mod pull;
mod redo;
mod remote;
mod restore;
mod restore_git;
mod salvage;
mod show;
mod show_plan;
mod status;
mod sync;
mod take_back;
mod undo;
mod unpin;
mod verify;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::finding::Finding;
use crate::flags::{Command, Invocation, RestoreGit, Target};
use crate::procedures::place;
use crate::procedures::recover::{self, Recovered};
use crate::ui::Ui;

/// Exit code of a run that did all it could and found problems.
pub const EXIT_WITH_PROBLEMS: u8 = 3;

/// How a run that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was done.
    Done,
    /// Done, but something of the project is not protected, or a backup is damaged.
    WithProblems,
    /// Something was missing on the command line, and help was given instead.
    WrongUse,
    /// Another command's exit code is passed on.
    Exit(u8),
}

impl Outcome {
    /// Problems make the difference; advice does not.
    pub fn of(findings: &[Finding]) -> Outcome {
        if findings.iter().any(Finding::is_problem) { Outcome::WithProblems } else { Outcome::Done }
    }
}

/// Runs what was typed.
///
/// # Errors
/// What the verb returns.
pub fn run(ui: &Ui, invocation: Invocation) -> Result<Outcome> {
    if let Command::Print(text) = &invocation.command {
        ui.text(text);
        return Ok(Outcome::Done);
    }
    let recovered = match changes_the_project(&invocation.command) {
        true => finish_what_was_interrupted(ui, &invocation)?,
        false => Outcome::Done,
    };
    match (dispatch(ui, invocation)?, recovered) {
        (Outcome::Done, recovered) => Ok(recovered),
        (outcome, _) => Ok(outcome),
    }
}

fn dispatch(ui: &Ui, invocation: Invocation) -> Result<Outcome> {
    let place = place::find(invocation.project.as_deref(), invocation.store.as_deref());
    let place = match &invocation.command {
        // A database can be salvaged wherever it is.
        Command::Salvage(options) => return salvage::run(ui, place, options),
        _ => place?,
    };
    match invocation.command {
        Command::Print(_) | Command::Salvage(_) => Ok(Outcome::Done), // done above
        Command::Backup(options) => backup::run(ui, &place, options),
        Command::List => list::run(ui, &place),
        Command::ListForRestore => {
            list::run(ui, &place)?;
            ui.note("name one of these: cargo xtask restore BACKUP");
            Ok(Outcome::WrongUse)
        }
        Command::Show(backup) => show::run(ui, &place, &backup),
        Command::Verify(options) => verify::run(ui, &place, &options),
        Command::Restore(options) => restore::run(ui, &place, &options),
        Command::RestoreGit(options) => restore_git::run(ui, &place, &options),
        Command::Undo(options) => undo::run(ui, &place, options),
        Command::Redo(options) => redo::run(ui, &place, options),
        Command::Diff(options) => diff::run(ui, &place, &options),
        Command::Guard(options) => guard::run(ui, &place, options),
        Command::Status(options) => status::run(ui, &place, &options),
        Command::Prune(options) => prune::run(ui, &place, &options),
        Command::Pin(backups) => pin::run(ui, &place, &backups),
        Command::Unpin(backups) => unpin::run(ui, &place, &backups),
        Command::Sync(options) => sync::run(ui, &place, &options),
        Command::Pull(options) => pull::run(ui, &place, &options),
    }
}

/// Whether a command changes the project, or saves it: an interrupted restore is dealt with before.
fn changes_the_project(command: &Command) -> bool {
    match command {
        Command::Backup(_) | Command::Guard(_) => true,
        Command::Restore(options) => options.target == Target::Here && !options.dry_run,
        Command::RestoreGit(RestoreGit::To(to)) => !to.dry_run,
        Command::Undo(options) => !options.list && !options.dry_run,
        Command::Redo(options) => !options.dry_run,
        Command::Print(_)
        | Command::Diff(_)
        | Command::List
        | Command::ListForRestore
        | Command::Pin(_)
        | Command::Prune(_)
        | Command::Pull(_)
        | Command::RestoreGit(RestoreGit::List { .. })
        | Command::Salvage(_)
        | Command::Show(_)
        | Command::Status(_)
        | Command::Sync(_)
        | Command::Unpin(_)
        | Command::Verify(_) => false,
    }
}

/// A restore that was killed is finished or taken back first, and which of the two is said.
fn finish_what_was_interrupted(ui: &Ui, invocation: &Invocation) -> Result<Outcome> {
    let here = match &invocation.project {
        Some(project) => project.clone(),
        None => PathBuf::from("."),
    };
    let Some(root) = recover::find(&here) else { return Ok(Outcome::Done) };
    let mut outcome = Outcome::Done;
    // Behind a guard's own restore that was interrupted there is the guard.
    while let Some(one) = finish_one(ui, &root)? {
        if one != Outcome::Done {
            outcome = one;
        }
    }
    Ok(outcome)
}

/// How it ended, if there was something to finish.
fn finish_one(ui: &Ui, root: &Path) -> Result<Option<Outcome>> {
    let progress = ui.progress();
    let recovered = recover::recover(root, &progress);
    drop(progress);
    let (recovered, findings) = recovered?;
    for finding in &findings {
        ui.finding(finding);
    }
    match &recovered {
        Recovered::Nothing => {}
        Recovered::Finished(origin) => ui.note(format!(
            "the restore of {origin} that was interrupted is finished now (cargo xtask undo takes it back)"
        )),
        Recovered::Guarded { backup, left: None } => ui.note(format!(
            "a guard was interrupted; the databases are as in backup {backup}, which was taken before its command"
        )),
        Recovered::Guarded { backup, left: Some(left) } => ui.note(format!(
            "a guard was interrupted, so nobody knows whether its command went well; the databases are put back as in backup {backup}, which was taken before it (what it left is in the safety copy {left}, and cargo xtask undo brings that back)"
        )),
        Recovered::TakenBack(origin) if findings.iter().any(Finding::is_problem) => ui.note(format!(
            "the restore of {origin} that was interrupted is taken back: everything else is as it was before"
        )),
        Recovered::TakenBack(origin) => ui.note(format!(
            "the restore of {origin} that was interrupted is taken back: everything is as it was before"
        )),
    }
    Ok((recovered != Recovered::Nothing).then(|| Outcome::of(&findings)))
}
