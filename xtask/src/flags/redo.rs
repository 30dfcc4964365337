//! `redo` on the command line.

use anyhow::Result;

use super::Command;
use super::table::{FAILED, LOCKED, USAGE, Verb, switch};
use super::words::Words;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "redo",
    words: "",
    brief: "put on again what undo took back",
    about: "Puts on again the restore that the last `undo` took back, unless something else was restored since. \
A safety copy is taken first, and `undo` takes it back once more.",
    options: &[
        switch("--dry-run", "print what would change and change nothing"),
        switch("--force", "answer yes to the question whether to go on, and nothing else"),
    ],
    examples: &[
        ("redo", "what undo took back is in effect again"),
        ("redo --dry-run", "what that would change"),
    ],
    exits: &[
        FAILED,
        USAGE,
        (3, "done, but something could not come back"),
        (4, "there is nothing to put on again"),
        LOCKED,
        (6, "refused: not confirmed, or a program keeps a database locked"),
    ],
    read,
};

/// `redo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redo {
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--force`.
    pub force: bool,
}

fn read(words: &mut Words) -> Result<Command> {
    Ok(Command::Redo(Redo { dry_run: words.switch("--dry-run"), force: words.switch("--force") }))
}
