//! `list` on the command line.

use super::Command;
use super::table::{USAGE, Verb};
use super::words::Words;
use anyhow::Result;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "list",
    words: "",
    brief: "what is in the store",
    about: "Lists the backups in the store, newest first, with age, size, kind, commit, when each was \
last verified, and the rule that keeps it (`show` and --json tell all rules). Reads only.",
    options: &[],
    examples: &[("list", "the backups of this project"), ("list --json", "the same for scripts")],
    exits: &[
        (1, "the store can't be read"),
        USAGE,
        (3, "at least one backup can't be read"),
        (4, "there is no store yet"),
    ],
    read,
};

fn read(_words: &mut Words) -> Result<Command> {
    Ok(Command::List)
}
