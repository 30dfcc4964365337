//! `restore` on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::table::{FAILED, NOT_FOUND, Opt, PROGRAM, USAGE, Verb, switch, value};
use super::words::Words;
use super::{Command, named};
use crate::base::escape::escape;
use crate::base::os_name;
use crate::base::safe_path::SafePath;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "restore",
    words: "BACKUP|latest|TIME",
    brief: "put a backup into another folder",
    about: "Restores a backup into a folder: files with their modes and links, git history with stashes and \
index, and the databases. The archive is verified first, and what was restored is compared with the manifest \
afterwards. Without a backup named it prints the list and ends with exit code 2.",
    options: &[
        value("--to", "DIR", "the folder to restore into; new or empty"),
        Opt {
            name: "--only",
            value: Some("PATH"),
            repeated: true,
            about: "only this file or folder, from the top of the project; *, ? and **/ match names and folders \
(quote them); may be given more than once",
        },
        switch("--sql-only", "build the databases from the SQL dumps instead of the saved pages"),
        switch("--verify-only", "verify the backup and restore nothing"),
        switch("--dry-run", "print what would be restored and change nothing"),
        switch("--with-code", "also put back git hooks and settings that can run programs"),
        switch("--force", "answer yes to the question whether to go on, and nothing else"),
    ],
    examples: &[
        ("restore latest --to /tmp/recovered", "all of the newest backup"),
        ("restore 2h ago --only memory/index.db --to /tmp/old", "one database as it was then"),
    ],
    exits: &[
        FAILED,
        USAGE,
        (3, "restored, but something could not come back; with --verify-only: the backup is damaged"),
        NOT_FOUND,
        (5, "another restore into that folder is running"),
        (6, "refused: it would overwrite something, and nobody was there to confirm"),
    ],
    read,
};

/// `restore`.
#[derive(Debug, PartialEq, Eq)]
pub struct Restore {
    /// An id, a prefix, a label, `latest` or a time, as typed; words joined by one space.
    pub backup: String,
    /// Where to.
    pub target: Target,
    /// `--only PATH`…; empty means everything.
    pub only: Vec<SafePath>,
    /// `--sql-only`.
    pub sql_only: bool,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--with-code`: hooks and settings that can run programs too.
    pub with_code: bool,
    /// `--force`: answers yes, and nothing else.
    pub force: bool,
}

/// Where a restore goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// `--to DIR`.
    Folder(PathBuf),
    /// `--verify-only`: the backup is verified, nothing is written.
    Nowhere,
}

fn read(words: &mut Words) -> Result<Command> {
    let only = words.values("--only").iter().map(only).collect::<Result<Vec<SafePath>>>()?;
    let to = words.value("--to").map(PathBuf::from);
    let Some(backup) = named::one(&words.texts()?)? else { return Ok(Command::ListForRestore) };
    if backup == "list" {
        return Ok(Command::List);
    }
    if backup == "all" {
        bail!("restore takes one backup; all is none");
    }
    let target = match (words.switch("--verify-only"), to) {
        (true, _) => Target::Nowhere,
        (false, Some(folder)) => Target::Folder(folder),
        (false, None) => bail!(
            "restoring over a living project is not part of this version; name a folder to restore into: \
             `{PROGRAM} restore {} --to DIR`",
            escape(backup.as_bytes())
        ),
    };
    Ok(Command::Restore(Restore {
        backup,
        target,
        only,
        sql_only: words.switch("--sql-only"),
        dry_run: words.switch("--dry-run"),
        with_code: words.switch("--with-code"),
        force: words.switch("--force"),
    }))
}

fn only(path: &OsString) -> Result<SafePath> {
    let shown = escape(path.as_encoded_bytes());
    let mut bytes = os_name::from_os(path)?;
    while let Some(rest) = bytes.strip_prefix(b"./") {
        bytes = rest.to_vec();
    }
    while bytes.len() > 1 && bytes.ends_with(b"/") {
        bytes.pop();
    }
    SafePath::new(bytes).map_err(|error| {
        anyhow::anyhow!("--only {shown} must be a path inside the project, from its root: {error:#}")
    })
}
