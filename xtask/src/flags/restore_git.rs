//! `restore-git` on the command line.

use anyhow::{Result, bail};

use super::Command;
use super::restore::only;
use super::table::{FAILED, ONLY, USAGE, Verb, switch, value};
use super::words::Words;
use crate::base::clock::{self, Instant};
use crate::base::escape::escape;
use crate::base::safe_path::SafePath;

/// So many commits are listed when nothing else is said.
const COUNT: usize = 20;
/// So many at most: they are kept in memory.
const COUNT_MAX: usize = 100_000;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "restore-git",
    words: "REV|list",
    brief: "put the project back to a commit, or to a moment by git's history",
    about: "Makes the working files what a commit has: changed files are replaced, files that git tracks and the \
commit does not have are removed. What git ignores is never touched, and what it does not track only where it is in \
the way. HEAD, branches, index and stash stay, so that the way back is an ordinary change to review and commit. \
Databases stay as they are, unless --restore-databases is given. You are asked first, and a safety copy is taken, \
with all uncommitted work; `undo` takes it back. REV is whatever git takes for a commit: HEAD~5, a tag, a branch, \
an id, HEAD@{yesterday}, :/text. `list`, or nothing, shows the newest commits, each with the backup that holds the \
databases of its time.",
    options: &[
        value("--at", "TIME", "the commit that was checked out then: 2025-12-01 14:00, 2h"),
        ONLY,
        switch("--keep-databases", "leave databases as they are; the default"),
        switch(
            "--restore-databases",
            "also put databases back: from the commit where it tracks them, else from the last backup that was \
taken at that commit, else from the newest one before",
        ),
        switch("--checkout", "also move HEAD to a new branch at that commit, with its index"),
        value("--branch", "NAME", "how the new branch is called; default: restore/ and the commit's id"),
        switch("--dry-run", "print what would be restored and change nothing"),
        switch("--force", "answer yes to the question whether to go on, and nothing else"),
        switch("--no-backup", "take no safety copy before; it can't be undone then"),
        switch("--adopt", "make this working copy the owner of a store that belongs to another one"),
        value("--count", "N", "with list: so many commits; default: 20"),
    ],
    examples: &[
        ("restore-git HEAD~1 --dry-run", "what would change on the way to the commit before"),
        ("restore-git --at '2025-12-01 14:00' --restore-databases", "files and databases of that moment"),
    ],
    exits: &[
        FAILED,
        USAGE,
        (3, "restored, but something could not come: what git ignores is in its way, for one"),
        (4, "no such commit, or no backup for the databases"),
        (5, "another run writes into the store, or another restore is running"),
        (6, "refused: not confirmed, a program keeps a database locked, or the commit can't be written out"),
    ],
    read,
};

/// `restore-git`.
#[derive(Debug, PartialEq, Eq)]
pub enum RestoreGit {
    /// `list`, with `--count`; `asked` is false where nothing was named.
    List {
        /// So many commits.
        count: usize,
        /// Whether the word was typed.
        asked: bool,
    },
    /// A commit.
    To(To),
}

/// A commit to go to.
#[derive(Debug, PartialEq, Eq)]
pub struct To {
    /// Which one.
    pub target: GitTarget,
    /// `--only PATH`…; empty means everything.
    pub only: Vec<SafePath>,
    /// `--restore-databases`.
    pub databases: bool,
    /// `--checkout`, and `--branch`.
    pub checkout: Option<Option<String>>,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--force`: answers yes, and nothing else.
    pub force: bool,
    /// `--no-backup`: no safety copy.
    pub no_backup: bool,
    /// `--adopt`.
    pub adopt: bool,
}

/// How a commit is named.
#[derive(Debug, PartialEq, Eq)]
pub enum GitTarget {
    /// As git reads it.
    Revision(String),
    /// `--at`.
    Moment(Instant),
}

fn read(words: &mut Words) -> Result<Command> {
    let only = words.values("--only").iter().map(only).collect::<Result<Vec<SafePath>>>()?;
    let at = words.value("--at").map(|word| super::words::text(&word)).transpose()?;
    let branch = words.value("--branch").map(|word| super::words::text(&word)).transpose()?;
    let count = words.value("--count").map(|word| super::words::text(&word)).transpose()?;
    let names = words.texts()?;
    if at.is_none() && (names.is_empty() || names == ["list"]) {
        return list(words, only.is_empty() && branch.is_none(), count, !names.is_empty());
    }
    if count.is_some() {
        bail!("--count is for list");
    }
    let target = match (at, names.as_slice()) {
        // `--at 2h ago` without quotes.
        (Some(at), names) if names.is_empty() || names == ["ago"] => GitTarget::Moment(moment(&at)?),
        (Some(_), [name, ..]) => bail!("either a commit or --at; {} is left over", escape(name.as_bytes())),
        (None, [name]) if name.is_empty() => bail!("the name of the commit is empty"),
        (None, [name]) => GitTarget::Revision(name.clone()),
        (_, [_, more, ..]) => bail!("one commit can be named; {} is left over", escape(more.as_bytes())),
        (_, []) => bail!("no commit is named"),
    };
    if words.switch("--keep-databases") && words.switch("--restore-databases") {
        bail!("--keep-databases and --restore-databases contradict each other");
    }
    let checkout = words.switch("--checkout");
    if branch.is_some() && !checkout {
        bail!("--branch names the branch of --checkout");
    }
    if checkout && !only.is_empty() {
        bail!("--checkout moves HEAD to the whole commit, so it does not go with --only");
    }
    Ok(Command::RestoreGit(RestoreGit::To(To {
        target,
        only,
        databases: words.switch("--restore-databases"),
        checkout: checkout.then_some(branch),
        dry_run: words.switch("--dry-run"),
        force: words.switch("--force"),
        no_backup: words.switch("--no-backup"),
        adopt: words.switch("--adopt"),
    })))
}

fn list(words: &Words, is_plain: bool, count: Option<String>, asked: bool) -> Result<Command> {
    let others =
        ["--keep-databases", "--restore-databases", "--checkout", "--dry-run", "--force", "--no-backup"];
    if let Some(word) = others.iter().find(|word| words.switch(word)) {
        bail!("{word} is for a restore; name a commit");
    }
    if !is_plain {
        bail!("--only and --branch are for a restore; name a commit");
    }
    let count = match count {
        None => COUNT,
        Some(typed) => match typed.parse() {
            Ok(number @ 1..=COUNT_MAX) => number,
            _ => bail!("--count is a number from 1 to 100,000, not {}", escape(typed.as_bytes())),
        },
    };
    Ok(Command::RestoreGit(RestoreGit::List { count, asked }))
}

/// A time as typed everywhere; `2h` means `2h ago` here.
fn moment(typed: &str) -> Result<Instant> {
    let (now, zone) = (Instant::now(), clock::local_zone());
    let read = |text: &str| clock::parse_typed(text, now, &zone);
    match read(typed).or_else(|| read(&format!("{typed} ago"))) {
        Some(moment) => Ok(moment),
        None => bail!(
            "--at needs a time like '2025-12-01 14:00', 2025-12-01 or 2h, not {}",
            escape(typed.as_bytes())
        ),
    }
}
