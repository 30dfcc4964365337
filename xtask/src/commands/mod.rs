//! One file per verb: what the user asked for, in the user's words. Verbs never import each other.

mod backup;
mod list;
mod log;
mod pull;
mod remote;
mod restore;
mod show;
mod summaries;
mod sync;
mod verify;

use anyhow::Result;

use crate::base::finding::Finding;
use crate::flags::{Command, Invocation};
use crate::procedures::place;
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
    let place = place::find(invocation.project.as_deref(), invocation.store.as_deref())?;
    match invocation.command {
        Command::Print(_) => Ok(Outcome::Done),
        Command::Backup(options) => backup::run(ui, &place, options),
        Command::List => list::run(ui, &place),
        Command::ListForRestore => {
            list::run(ui, &place)?;
            ui.note("name one of these: cargo xtask restore BACKUP --to DIR");
            Ok(Outcome::WrongUse)
        }
        Command::Show(backup) => show::run(ui, &place, &backup),
        Command::Verify(options) => verify::run(ui, &place, &options),
        Command::Restore(options) => restore::run(ui, &place, &options),
        Command::Sync(options) => sync::run(ui, &place, &options),
        Command::Pull(options) => pull::run(ui, &place, &options),
    }
}
