//! Backup and disaster recovery for a git repository and the SQLite databases that live in it.
//!
//! Parse, dispatch, render, exit code: everything else is on a floor below.

mod commands;
mod flags;
mod procedures;
mod ui;

use std::process::ExitCode;

use xtask_archive as archive;
use xtask_base as base;
use xtask_project as project;
use xtask_sqlite as sqlite;
use xtask_store as store;

use commands::Outcome;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().skip(1).collect();
    let ui = ui::Ui::from_appearance(flags::appearance(&argv)).named(store::location::program());
    let done = base::interrupt::install()
        .and_then(|()| flags::parse(argv))
        .and_then(|invocation| commands::run(&ui, invocation));
    // What fails because the user stopped it is no failure of its own.
    let done = done.or_else(|error| base::interrupt::check().and(Err(error)));
    match done.and_then(|outcome| ui.finish().map(|()| outcome)) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::WrongUse) => ExitCode::from(base::failure::Kind::Usage.exit_code()),
        Ok(Outcome::Exit(code)) => ExitCode::from(code),
        Ok(Outcome::WithProblems) => ExitCode::from(commands::EXIT_WITH_PROBLEMS),
        Err(error) => {
            ui.error(&error);
            ExitCode::from(base::failure::kind_of(&error).exit_code())
        }
    }
}
