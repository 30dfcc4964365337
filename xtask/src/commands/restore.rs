//! `restore`: puts a backup back, over the project or into an empty folder, or only looks whether it could.

mod in_place;
mod into_folder;
mod verify_only;

use anyhow::Result;

use crate::base::clock::Instant;
use crate::flags::{Restore, Target};
use crate::procedures::place::Place;
use crate::store::select;
use crate::ui::Ui;

use super::Outcome;

/// Runs it.
///
/// # Errors
/// When there is no such backup, it is damaged, or it can't be put where it should go; nothing has changed then.
pub fn run(ui: &Ui, place: &Place, options: &Restore) -> Result<Outcome> {
    if options.target == Target::Here {
        return in_place::run(ui, place, options);
    }
    let (store, findings) = place.open()?;
    let listing = store.list()?;
    let entry = select::resolve(&listing.entries, &options.backup, Instant::now())?;
    match &options.target {
        Target::Folder(target) => into_folder::run(ui, &store, entry, target, options, findings),
        Target::Nowhere | Target::Here => verify_only::run(ui, entry, findings),
    }
}
