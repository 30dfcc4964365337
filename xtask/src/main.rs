//! Backup and disaster recovery for a git repository and the SQLite databases that live in it.

#![allow(dead_code)] // until every floor is built
mod base;
mod flags;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().skip(1).collect();
    let ui = ui::Ui::from_appearance(flags::appearance(&argv));
    let done = flags::parse(argv).map(|invocation| match invocation.command {
        flags::Command::Print(text) => ui.text(&text),
        other => ui.line(format!("{other:?}")),
    });
    match done.and_then(|()| ui.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(base::failure::kind_of(&error).exit_code())
        }
    }
}
