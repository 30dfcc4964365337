//! `verify` on the command line.

use anyhow::{Result, bail};

use super::table::{NOT_FOUND, USAGE, Verb, switch, value};
use super::words::{Words, text};
use super::{Command, named};
use crate::base::mail_address::MailAddress;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "verify",
    words: "[BACKUP…|latest|all]",
    brief: "prove that backups can be restored",
    about: "Proves that backups are good: the archive can be read, every checksum holds, and every database \
passes SQLite's own checks and has the rows that the manifest counted. --full-test really restores into a \
scratch folder and compares. Without a backup named it takes latest. The project is not touched.",
    options: &[
        switch("--full-test", "also restore all of it into a scratch folder and compare"),
        switch(
            "--alert-on-fail",
            "send a mail when something is damaged or can't be checked; to --email, else to `alert` of the \
             configuration",
        ),
        value(
            "--email",
            "A",
            "send the result to this address; with --alert-on-fail only when something is wrong",
        ),
    ],
    examples: &[
        ("verify all --full-test", "every backup, with a real restore of each"),
        ("verify --alert-on-fail --email ops@example.com", "the newest one; a mail when it is not good"),
    ],
    exits: &[
        (1, "it can't be told whether the backup is good"),
        USAGE,
        (
            3,
            "at least one backup is damaged, one of several could not be checked, or a mail could not be sent",
        ),
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
    /// `--alert-on-fail`: a mail only when something is wrong.
    pub alert_on_fail: bool,
    /// `--email A`.
    pub email: Option<MailAddress>,
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
    let email = match words.value("--email") {
        None => None,
        Some(value) => Some(text(&value)?.parse::<MailAddress>().map_err(anyhow::Error::msg)?),
    };
    let (full_test, alert_on_fail) = (words.switch("--full-test"), words.switch("--alert-on-fail"));
    Ok(Command::Verify(Verify { targets, full_test, alert_on_fail, email }))
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
