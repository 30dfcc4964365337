//! `status` on the command line.

use anyhow::{Result, bail};

use super::Command;
use super::table::{USAGE, Verb, value};
use super::words::{Words, text};
use crate::base::clock;

/// A day and two hours: a nightly backup may be late.
const AGE_SECONDS_MAX: i64 = 26 * 3600;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "status",
    words: "",
    brief: "whether a recovery would work today; for monitoring",
    about: "Tells whether a recovery would work today: how old the newest good backup is, when backups were \
verified and how deeply, which are damaged, what of the project is in no backup, whether a restore is \
unfinished, and how much room there is. Reads no archive but for its list of contents, and changes nothing. No \
backup, and no store, are problems like any other: the exit code is 3.",
    options: &[value(
        "--max-age",
        "SPAN",
        "how old the newest good backup may be: 26h (default), 90min, 3 days",
    )],
    examples: &[
        ("status", "for a person"),
        ("status --json --max-age 26h", "for monitoring: the exit code tells, the document says why"),
    ],
    exits: &[
        (1, "it can't be told: the store can't be read"),
        USAGE,
        (3, "there are problems: a recovery today would lack something"),
    ],
    read,
};

/// `status`.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// `--max-age`, in seconds.
    pub age_seconds_max: i64,
}

fn read(words: &mut Words) -> Result<Command> {
    let age_seconds_max = match words.value("--max-age") {
        None => AGE_SECONDS_MAX,
        Some(value) => {
            let typed = text(&value)?;
            match clock::parse_span_seconds(&typed).filter(|seconds| *seconds > 0) {
                Some(seconds) => seconds,
                None => bail!("--max-age is a span such as 26h, 90min or 3 days, not {typed:?}"),
            }
        }
    };
    Ok(Command::Status(Status { age_seconds_max }))
}
