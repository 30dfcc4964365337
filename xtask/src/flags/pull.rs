//! `pull` on the command line.

use anyhow::{Result, bail};

use super::table::{FAILED, LOCKED, NOT_FOUND, USAGE, Verb, switch, value};
use super::words::{Words, text};
use super::{Command, Targets, named};

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "pull",
    words: "[BACKUP…|latest|all]",
    brief: "bring backups back from the remote",
    about: "Brings backups that the remote has and the store has not into the store, making it where there is \
none, and proves each before it gets its name: all of them, or those that are named. It takes the folder of \
this working copy there; where that is none, it shows those of other copies, and --from chooses one.",
    options: &[
        value("--remote", "DEST", "where from; default: REMOTE_BACKUP_DEST, else the configuration"),
        value("--from", "NAME", "the folder at the remote, when it is not that of this working copy"),
        switch("--adopt", "make this working copy the owner of backups of another one"),
    ],
    examples: &[
        ("pull latest", "the newest good backup"),
        ("pull --remote backup@host:backups --from project-0123abcd", "all of a copy that was lost"),
    ],
    exits: &[
        FAILED,
        USAGE,
        (3, "something did not come: it is damaged there, or another backup has its name here"),
        NOT_FOUND,
        LOCKED,
        (6, "refused: the backups are another working copy's than the store"),
    ],
    read,
};

/// `pull`.
#[derive(Debug, PartialEq, Eq)]
pub struct Pull {
    /// Which ones.
    pub targets: Targets,
    /// `--remote DEST`, as typed.
    pub remote: Option<String>,
    /// `--from NAME`.
    pub from: Option<String>,
    /// `--adopt`.
    pub adopt: bool,
}

fn read(words: &mut Words) -> Result<Command> {
    let named = named::all(&words.texts()?);
    let targets = match named.iter().any(|name| name == "all") {
        true if named.len() > 1 => bail!("all means every backup; name either all or some"),
        true => Targets::All,
        false if named.is_empty() => Targets::All,
        false => Targets::Named(named),
    };
    let remote = words.value("--remote").as_ref().map(text).transpose()?;
    let from = words.value("--from").as_ref().map(text).transpose()?;
    Ok(Command::Pull(Pull { targets, remote, from, adopt: words.switch("--adopt") }))
}
