//! `guard` on the command line.

use std::ffi::OsString;

use anyhow::{Result, bail};

use super::table::{FAILED, LOCKED, Opt, PROGRAM, USAGE, Verb, value};
use super::words::{Words, text};
use super::{Command, Label};

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "guard",
    words: "-- COMMAND…",
    brief: "run a migration, and put the databases back when it fails",
    about: "Takes a backup, runs the command with its own input, output and signals, and checks the databases. \
When the command fails or is killed, or a check fails, the databases are put back as they were; what it left is \
kept in a safety copy. Ends with the command's own exit code (128 and the signal's number when it was killed, 127 \
when there is no such command). Files that the command changed, and databases that it made, stay as they are. When \
the guard itself is killed, the next command that changes something puts the databases back. With --json the \
command's output goes to stderr.",
    options: &[
        value("--label", "L", "a name of your own for the backup"),
        Opt {
            name: "--check",
            value: Some("SQL"),
            repeated: true,
            about: "a query that must give a true first value after the command, such as \
'SELECT count(*) > 0 FROM learnings'; it sees the tables of all databases; may be given more than once",
        },
    ],
    examples: &[
        ("guard -- python3 migrate.py", "all or nothing"),
        (
            "guard --check 'SELECT count(*) >= 1000 FROM learnings' -- ./upgrade.sh --fast",
            "also put back when rows went missing",
        ),
    ],
    exits: &[
        FAILED,
        USAGE,
        LOCKED,
        (3, "the command's own; or it went well, and something of the project is not in the backup"),
        (6, "the command's own; or a program keeps a database locked, so that it could not be put back yet"),
    ],
    read,
};

/// `guard`.
#[derive(Debug, PartialEq, Eq)]
pub struct Guard {
    /// `--label L`.
    pub label: Option<Label>,
    /// `--check SQL`…
    pub checks: Vec<String>,
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
}

fn read(words: &mut Words) -> Result<Command> {
    let label = match words.value("--label") {
        Some(label) => Some(text(&label)?.parse::<Label>().map_err(anyhow::Error::msg)?),
        None => None,
    };
    let checks = words.values("--check").iter().map(text).collect::<Result<Vec<String>>>()?;
    let command = words.free.split_off(words.before_dashes);
    if !words.free.is_empty() || command.is_empty() {
        bail!("the command to run stands behind --: `{PROGRAM} guard -- COMMAND…`");
    }
    Ok(Command::Guard(Guard { label, checks, command }))
}
