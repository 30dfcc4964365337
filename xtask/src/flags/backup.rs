//! `backup` on the command line.

use anyhow::{Result, bail};

use super::table::{FAILED, LOCKED, USAGE, Verb, switch, value};
use super::words::{Words, text};
use super::{Command, Label};
use crate::base::escape::escape;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "backup",
    words: "",
    brief: "save the project: files, git history, databases",
    about: "Takes a backup of the project: working files (tracked, untracked and ignored), git history with \
stashes and uncommitted work, and every SQLite database as of one instant. The archive is checked before it \
gets its name in the store. Nothing in the project is changed, and others may go on writing.",
    options: &[
        value(
            "--label",
            "L",
            "a name of your own: 1 to 64 letters, digits, '.', '_', '-', with a letter in it",
        ),
        switch("--pin", "never remove this backup by rotation"),
        value("--kind", "K", "why it is taken: manual (default), scheduled or guard"),
        switch("--no-sql", "leave out the SQL dumps; the databases themselves are always in it"),
        switch("--no-reuse", "compress everything anew, also what the newest backup holds already"),
        switch("--full-read", "read everything, also what looks as it did in the newest backup"),
        value("--remote", "DEST", "where to upload it; default: REMOTE_BACKUP_DEST, else the configuration"),
        switch("--no-remote", "upload nothing"),
        switch("--adopt", "make this working copy the owner of a store that belongs to another one"),
    ],
    examples: &[
        ("backup", "a backup of the project around this folder"),
        ("backup --label before-upgrade --pin", "one that is easy to find and never rotated"),
    ],
    exits: &[
        FAILED,
        USAGE,
        (3, "the backup was taken, but something of the project is not in it, or it is not at the remote"),
        LOCKED,
        (6, "refused: the store belongs to another working copy"),
    ],
    read,
};

/// `backup`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Backup {
    /// `--label L`.
    pub label: Option<Label>,
    /// `--pin`.
    pub pin: bool,
    /// `--kind K`.
    pub kind: BackupKind,
    /// `--no-sql`: no dumps.
    pub no_sql: bool,
    /// `--adopt`: take over a store that belongs to another working copy.
    pub adopt: bool,
    /// `--remote DEST`, as typed.
    pub remote: Option<String>,
    /// `--no-remote`: upload nothing.
    pub no_remote: bool,
    /// `--no-reuse`: compress everything anew.
    pub no_reuse: bool,
    /// `--full-read`: read everything.
    pub full_read: bool,
}

/// The kinds of backup that can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackupKind {
    /// By hand.
    #[default]
    Manual,
    /// By cron and the like.
    Scheduled,
    /// Before a migration.
    Guard,
}

fn read(words: &mut Words) -> Result<Command> {
    let label = match words.value("--label") {
        Some(label) => Some(text(&label)?.parse::<Label>().map_err(anyhow::Error::msg)?),
        None => None,
    };
    let kind = match words.value("--kind") {
        None => BackupKind::Manual,
        Some(kind) => match kind.to_str() {
            Some("manual") => BackupKind::Manual,
            Some("scheduled") => BackupKind::Scheduled,
            Some("guard") => BackupKind::Guard,
            _ => bail!("--kind is manual, scheduled or guard, not {}", escape(kind.as_encoded_bytes())),
        },
    };
    let (pin, no_sql, adopt) = (words.switch("--pin"), words.switch("--no-sql"), words.switch("--adopt"));
    let remote = words.value("--remote").as_ref().map(text).transpose()?;
    let (no_remote, no_reuse) = (words.switch("--no-remote"), words.switch("--no-reuse"));
    let full_read = words.switch("--full-read");
    if no_remote && remote.is_some() {
        bail!("--remote and --no-remote contradict each other");
    }
    Ok(Command::Backup(Backup { label, pin, kind, no_sql, adopt, remote, no_remote, no_reuse, full_read }))
}
