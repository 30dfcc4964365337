//! `sync` on the command line.

use anyhow::Result;

use super::Command;
use super::table::{FAILED, LOCKED, NOT_FOUND, USAGE, Verb, switch, value};
use super::words::{Words, text};

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "sync",
    words: "",
    brief: "bring to the remote what it lacks",
    about: "Uploads every backup that the store has and the remote has not (safety copies stay here), newest \
first, and reads each back there. The remote is a folder, user@host:path and rsync://host/module/path (by \
rsync), or NAME:path of rclone. Nothing there is deleted or written over, whatever is gone here.",
    options: &[
        value("--remote", "DEST", "where to; default: REMOTE_BACKUP_DEST, else the configuration"),
        switch("--verify", "also read back what is there already"),
        switch("--repair", "the same, and write again from here what is damaged there"),
    ],
    examples: &[
        ("sync", "to the remote of the configuration"),
        ("sync --remote backup@host:backups --verify", "to a host, and read back all that is there"),
    ],
    exits: &[
        FAILED,
        USAGE,
        (3, "something is not at the remote, or damaged there"),
        NOT_FOUND,
        LOCKED,
        (6, "refused: the folder at the remote is another working copy's"),
    ],
    read,
};

/// `sync`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// `--remote DEST`, as typed.
    pub remote: Option<String>,
    /// `--verify`.
    pub check: bool,
    /// `--repair`.
    pub repair: bool,
}

fn read(words: &mut Words) -> Result<Command> {
    let remote = words.value("--remote").as_ref().map(text).transpose()?;
    Ok(Command::Sync(Sync { remote, check: words.switch("--verify"), repair: words.switch("--repair") }))
}
