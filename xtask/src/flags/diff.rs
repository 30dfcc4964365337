//! `diff` on the command line.

use anyhow::{Result, bail};

use super::restore::only;
use super::table::{FAILED, ONLY, USAGE, Verb, switch, value};
use super::words::Words;
use super::{Command, named};
use crate::base::escape::escape;
use crate::base::safe_path::SafePath;

/// So many rows of a table are listed when nothing else is said.
const ROWS: usize = 100;
/// So many at most: they are kept in memory.
const ROWS_MAX: usize = 100_000;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "diff",
    words: "[BACKUP|now|COMMIT] [BACKUP|now|COMMIT]",
    brief: "what differs between two backups, a backup and now, or a commit",
    about: "Compares two states of the project, the first as before and the second as after: each a backup, now, or \
a commit of git. One alone is compared with now, none means latest. Files are compared by their bytes, databases by \
their rows: rows are matched by the primary key, by the rowid where there is none, and count as changed when a value \
has another type or another bit. A commit is what is no backup and means one to git; git:REV always does. Against a \
commit only what git tracks is compared, byte for byte as git stores it, so files that git converts (line endings, \
filters, LFS) differ. Reads only; copies of the databases go to the system's temporary folder and are removed.",
    options: &[
        ONLY,
        switch("--rows", "list the rows that differ, keys first; the first 100 of each table, in JSON too"),
        value("--rows-max", "N", "list the first N of each table"),
    ],
    examples: &[
        ("diff --rows", "what has happened since the newest backup, row by row"),
        ("diff 2025-12-01 latest --only memory", "the same of one folder, between two backups"),
    ],
    exits: &[
        FAILED,
        USAGE,
        (3, "something differs, or could not be compared"),
        (4, "no such backup or commit"),
    ],
    read,
};

/// `diff`.
#[derive(Debug, PartialEq, Eq)]
pub struct Diff {
    /// The first state.
    pub before: State,
    /// The second one.
    pub after: State,
    /// `--only PATH`…; empty means everything.
    pub only: Vec<SafePath>,
    /// How many rows of each table are listed.
    pub rows_max: usize,
}

/// A state of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// `now`.
    Now,
    /// `git:REV`.
    Commit(String),
    /// A backup, as typed, or else a commit.
    Named(String),
}

fn read(words: &mut Words) -> Result<Command> {
    let only = words.values("--only").iter().map(only).collect::<Result<Vec<SafePath>>>()?;
    let rows_max = match words.value("--rows-max") {
        None if words.switch("--rows") => ROWS,
        None => 0,
        Some(typed) => match typed.to_str().and_then(|typed| typed.parse().ok()) {
            Some(number @ 1..=ROWS_MAX) => number,
            _ => bail!("--rows-max is a number from 1 to 100,000, not {}", escape(typed.as_encoded_bytes())),
        },
    };
    let names = named::all(&words.texts()?);
    let states = names.iter().map(|name| state(name)).collect::<Result<Vec<State>>>()?;
    let (before, after) = match states.as_slice() {
        [] => (State::Named("latest".to_owned()), State::Now),
        [State::Now] => bail!("now against what? name a backup or a commit"),
        [State::Now, State::Now] => bail!("both sides are now"),
        [before] => (before.clone(), State::Now),
        [before, after] => (before.clone(), after.clone()),
        _ => {
            let shown: Vec<String> = names.iter().map(|name| escape(name.as_bytes())).collect();
            bail!("two states can be compared, not {}: {}", names.len(), shown.join(", "));
        }
    };
    Ok(Command::Diff(Diff { before, after, only, rows_max }))
}

fn state(name: &str) -> Result<State> {
    Ok(match name.strip_prefix("git:") {
        Some("") => bail!("git: needs a commit, as in git:HEAD~3"),
        Some(revision) => State::Commit(revision.to_owned()),
        None if name == "now" => State::Now,
        None if name.is_empty() => bail!("the name of the backup is empty"),
        None => State::Named(name.to_owned()),
    })
}
