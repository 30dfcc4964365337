//! `restore` on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::table::{FAILED, NOT_FOUND, ONLY, USAGE, Verb, switch, value};
use super::words::Words;
use super::{Command, named};
use crate::base::escape::escape;
use crate::base::os_name;
use crate::base::safe_path::SafePath;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "restore",
    words: "BACKUP|latest|TIME",
    brief: "put a backup back, over the project or into another folder",
    about: "Restores a backup over the project: files with their modes and links, and the databases through \
SQLite, so that programs which have them open see the restored rows. All of it is taken out of the archive and \
checked first, you are asked, a safety copy is taken, and when anything fails everything is as it was; `undo` \
takes it back. Files that the backup does not hold stay, and git stays as it is, unless you say otherwise. With \
--to it goes into an empty folder instead, git included. Without a backup named it prints the list and ends \
with exit code 2.",
    options: &[
        value("--to", "DIR", "restore into this folder instead, new or empty; the project is not touched"),
        ONLY,
        switch("--exact", "also remove files, and with --git refs, that the backup does not hold"),
        switch("--git", "also put back HEAD, index, branches, tags and stash as the backup has them"),
        switch("--sql-only", "build the databases from the SQL dumps instead of the saved pages"),
        switch("--verify-only", "verify the backup and restore nothing"),
        switch("--dry-run", "print what would be restored and change nothing"),
        switch("--with-code", "also put back git hooks and settings that can run programs"),
        switch("--force", "answer yes to the question whether to go on, and nothing else"),
        switch("--no-backup", "take no safety copy before; it can't be undone then"),
        switch("--adopt", "make this working copy the owner of a store that belongs to another one"),
        switch("--other-project", "restore a backup of another project over this one"),
    ],
    examples: &[
        ("restore 2h ago --only memory/index.db", "one database as it was then"),
        ("restore latest --to /tmp/recovered", "all of the newest backup, into a new folder"),
    ],
    exits: &[
        FAILED,
        USAGE,
        (3, "restored, but something could not come back; with --verify-only: the backup is damaged"),
        NOT_FOUND,
        (5, "another run writes into the store, or another restore is running"),
        (6, "refused: not confirmed, a program keeps a database locked, or the backup is another project's"),
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
    /// What counts over a living project only.
    pub here: Here,
}

/// What counts over a living project only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// `--exact`: what the backup does not hold goes.
    pub exact: bool,
    /// `--git`.
    pub git: bool,
    /// `--no-backup`: no safety copy.
    pub no_backup: bool,
    /// `--adopt`: take over a store that belongs to another working copy.
    pub adopt: bool,
    /// `--other-project`.
    pub other_project: bool,
}

/// Where a restore goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// `--to DIR`.
    Folder(PathBuf),
    /// `--verify-only`: the backup is verified, nothing is written.
    Nowhere,
    /// The project.
    Here,
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
        (false, None) => Target::Here,
    };
    let here = ["--exact", "--git", "--no-backup", "--adopt", "--other-project"];
    if target != Target::Here
        && let Some(word) = here.iter().find(|word| words.switch(word))
    {
        bail!("{word} is for a restore over the project: it goes with neither --to nor --verify-only");
    }
    Ok(Command::Restore(Restore {
        backup,
        target,
        only,
        sql_only: words.switch("--sql-only"),
        dry_run: words.switch("--dry-run"),
        with_code: words.switch("--with-code"),
        force: words.switch("--force"),
        here: Here {
            exact: words.switch("--exact"),
            git: words.switch("--git"),
            no_backup: words.switch("--no-backup"),
            adopt: words.switch("--adopt"),
            other_project: words.switch("--other-project"),
        },
    }))
}

/// A path of `--only`.
///
/// # Errors
/// When it is none inside the project.
pub fn only(path: &OsString) -> Result<SafePath> {
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
