//! `pin`: keeps backups whatever the rules of rotation say.

use anyhow::Result;

use crate::procedures::place::Place;
use crate::ui::Ui;

use super::{Outcome, pins};

/// Runs it.
///
/// # Errors
/// When there is no such backup, or the store can't be written.
pub fn run(ui: &Ui, place: &Place, backups: &[String]) -> Result<Outcome> {
    pins::set(ui, place, backups, true)
}
