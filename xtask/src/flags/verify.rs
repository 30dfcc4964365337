//! `verify` on the command line.

use anyhow::{Result, bail};

use super::table::{NOT_FOUND, USAGE, Verb, switch};
use super::words::Words;
use super::{Command, named};

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "verify",
    words: "[BACKUP…|latest|all]",
    brief: "prove that backups can be restored",
    about: "Proves that backups are good: the archive can be read, every checksum holds, and every database \
passes SQLite's own checks and has the rows that the manifest counted. --full-test really restores into a \
scratch folder and compares. Without a backup named it takes latest. The project is not touched.",
    options: &[switch("--full-test", "also restore all of it into a scratch folder and compare")],
    examples: &[
        ("verify", "the newest backup"),
        ("verify all --full-test", "every backup, with a real restore of each"),
    ],
    exits: &[
        (1, "it can't be told whether the backup is good"),
        USAGE,
        (3, "at least one backup is damaged, or one of several could not be checked"),
        NOT_FOUND,
    ],
    read,
};

/// `verify`.
#[derive(Debug, PartialEq, Eq)]
pub struct Verify {
    /// Which ones.
    pub targets: Targets,
    /// `--full-test`.
    pub full_test: bool,
}

/// Which backups to verify.
#[derive(Debug, PartialEq, Eq)]
pub enum Targets {
    /// Every one in the store.
    All,
    /// These, as typed; never empty (`latest` when none was named).
    Named(Vec<String>),
}

fn read(words: &mut Words) -> Result<Command> {
    let targets = targets(&words.texts()?)?;
    Ok(Command::Verify(Verify { targets, full_test: words.switch("--full-test") }))
}

fn targets(free: &[String]) -> Result<Targets> {
    let named = named::all(free);
    match named.iter().any(|name| name == "all") {
        true if named.len() > 1 => bail!("all means every backup; name either all or some"),
        true => Ok(Targets::All),
        false if named.is_empty() => Ok(Targets::Named(vec!["latest".to_owned()])),
        false => Ok(Targets::Named(named)),
    }
}
