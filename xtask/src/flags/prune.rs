//! `prune` on the command line.

use anyhow::Result;

use super::Command;
use super::table::{LOCKED, USAGE, Verb, switch};
use super::words::Words;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "prune",
    words: "",
    brief: "remove old backups that no rule keeps",
    about: "Removes the backups that no rule keeps, as every `backup` does, too. Kept are the newest good one \
of the last 7 days, 4 weeks and 12 months that have one (`keep` in the configuration); all taken by hand \
within a day; the newest 20 safety copies and guards and those younger than 30 days; and pinned ones. A label \
alone keeps nothing: pin what must stay. The newest backup that stays is verified first; without a good one \
nothing is removed. Removed backups lie in the store's trash for 7 days, and come back with mv.",
    options: &[switch("--dry-run", "say what would be removed, and change nothing")],
    examples: &[
        ("prune --dry-run", "what would be removed, and which rule keeps each of the others"),
        ("prune", "the same, done"),
    ],
    exits: &[
        (1, "it can't be told whether the newest backup is good; nothing was removed"),
        USAGE,
        (3, "no backup is known to be good, or something could not be removed"),
        (4, "there is no store yet"),
        LOCKED,
        (6, "refused: the store belongs to another working copy"),
    ],
    read,
};

/// `prune`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// `--dry-run`.
    pub dry_run: bool,
}

fn read(words: &mut Words) -> Result<Command> {
    Ok(Command::Prune(Prune { dry_run: words.switch("--dry-run") }))
}
