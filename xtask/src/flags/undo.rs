//! `undo` on the command line.

use anyhow::Result;

use super::Command;
use super::table::{FAILED, LOCKED, USAGE, Verb, switch};
use super::words::Words;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "undo",
    words: "",
    brief: "take back the newest restore",
    about: "Takes back the newest restore over the project that is still in effect, from the safety copy that \
was taken before it: exactly what that restore changed, and nothing else. A safety copy of the present state is \
taken first, so `redo` puts it on again. Also finishes a restore that was interrupted, or takes it back.",
    options: &[
        switch("--list", "show the restores and what was taken back, newest first; change nothing"),
        switch("--dry-run", "print what would change and change nothing"),
        switch("--force", "answer yes to the question whether to go on, and nothing else"),
    ],
    examples: &[("undo", "take back the last restore"), ("undo --list", "what can be taken back")],
    exits: &[
        FAILED,
        USAGE,
        (3, "taken back, but something could not come back"),
        (4, "there is nothing to take back"),
        LOCKED,
        (6, "refused: not confirmed, or a program keeps a database locked"),
    ],
    read,
};

/// `undo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// `--list`.
    pub list: bool,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--force`.
    pub force: bool,
}

fn read(words: &mut Words) -> Result<Command> {
    let (list, dry_run, force) = (words.switch("--list"), words.switch("--dry-run"), words.switch("--force"));
    Ok(Command::Undo(Undo { list, dry_run, force }))
}
