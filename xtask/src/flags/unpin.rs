//! `unpin` on the command line.

use anyhow::{Result, bail};

use super::table::{FAILED, NOT_FOUND, PROGRAM, USAGE, Verb};
use super::words::Words;
use super::{Command, named};

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "unpin",
    words: "BACKUP…",
    brief: "let the rules decide again about pinned backups",
    about: "Takes pins away. From then on the rules of rotation decide: the next `backup` or `prune` may \
remove it.",
    options: &[],
    examples: &[
        ("unpin 20251201_120000", "the backup of that id"),
        ("unpin before-upgrade", "the one with that label"),
    ],
    exits: &[FAILED, USAGE, NOT_FOUND],
    read,
};

fn read(words: &mut Words) -> Result<Command> {
    let backups = named::all(&words.texts()?);
    if backups.is_empty() {
        bail!("which backup? `{PROGRAM} list` shows which are pinned");
    }
    Ok(Command::Unpin(backups))
}
