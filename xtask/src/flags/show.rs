//! `show` on the command line.

use anyhow::{Result, bail};

use super::table::{NOT_FOUND, PROGRAM, USAGE, Verb};
use super::words::Words;
use super::{Command, named};

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "show",
    words: "BACKUP",
    brief: "what one backup holds",
    about: "Shows what one backup holds: its facts, each database with its tables and rows, the state of \
git, what was left out, and what was found while it was taken. Reads only.",
    options: &[],
    examples: &[("show latest", "the newest one"), ("show before-upgrade", "the one with that label")],
    exits: &[
        (1, "its archive can't be read"),
        USAGE,
        (3, "shown; a restore was interrupted and is not finished"),
        NOT_FOUND,
    ],
    read,
};

fn read(words: &mut Words) -> Result<Command> {
    match named::one(&words.texts()?)? {
        Some(backup) => Ok(Command::Show(backup)),
        None => bail!("which backup? `{PROGRAM} show latest` shows the newest"),
    }
}
