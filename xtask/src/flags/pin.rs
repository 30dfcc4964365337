//! `pin` on the command line.

use anyhow::{Result, bail};

use super::table::{FAILED, NOT_FOUND, PROGRAM, USAGE, Verb};
use super::words::Words;
use super::{Command, named};

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "pin",
    words: "BACKUP…",
    brief: "keep backups whatever the rules say",
    about: "Pins backups: rotation never removes a pinned one, and doesn't count it, so that another one of \
its day is kept as well.",
    options: &[],
    examples: &[("pin latest", "the newest one"), ("pin before-upgrade", "the one with that label")],
    exits: &[FAILED, USAGE, NOT_FOUND],
    read,
};

fn read(words: &mut Words) -> Result<Command> {
    let backups = named::all(&words.texts()?);
    if backups.is_empty() {
        bail!("which backup? `{PROGRAM} list` shows them");
    }
    Ok(Command::Pin(backups))
}
