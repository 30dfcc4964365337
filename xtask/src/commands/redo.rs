//! `redo`: puts on again what the last undo took back.

use anyhow::Result;

use super::Outcome;
use super::take_back::{self, Way};
use crate::base::failure::{Failure, Kind};
use crate::flags;
use crate::procedures::place::Place;
use crate::store::undo_log::{self, Operation};
use crate::ui::Ui;

/// Runs it.
///
/// # Errors
/// When there is nothing to put on again, or it could not be; everything is as it was then.
pub fn run(ui: &Ui, place: &Place, options: flags::Redo) -> Result<Outcome> {
    let way = Way {
        command: "redo",
        operation: Operation::Redo,
        reverse: "cargo xtask undo",
        dry_run: options.dry_run,
        force: options.force,
    };
    take_back::run(ui, place, &way, |records| undo_log::to_redo(records).cloned().ok_or_else(nothing))
}

fn nothing() -> anyhow::Error {
    Failure::new(
        Kind::NotFound,
        "no undo is in effect that could be taken back, or something was restored since",
    )
    .hint("`cargo xtask undo --list` shows what was restored and taken back")
    .into()
}
