//! The commit that was checked out at a moment: by the reflog of HEAD where it reaches back to it, else by the
//! times of the commits, along first parents. Git itself answers with its oldest entry where the reflog does
//! not reach; here that is never passed for an answer.

use std::fs;

use anyhow::{Context, Result};

use super::Git;
use super::refs;
use super::revision::{Commit, commit, listed};
use super::run::{Input, Program, output};
use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind};
use crate::base::interrupt;

/// How the commit of a moment was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// By the reflog of HEAD: it was checked out from this moment on.
    Reflog {
        /// The entry's time.
        since: Instant,
    },
    /// By commit times: the newest one at or before the moment on the line of first parents of this commit.
    CommitTime {
        /// The commit that the line begins at, in full: HEAD's, or the oldest that its reflog knows.
        line: String,
    },
}

/// One entry of a reflog.
struct Entry {
    old: String,
    new: String,
    moment: Instant,
}

/// The commit that was checked out at a moment.
///
/// # Errors
/// `NotFound` when the moment is before the oldest commit, when the commit that the reflog names is gone, or
/// when there is no commit yet; or when the history can't be read.
pub fn at(git: &Git, moment: Instant) -> Result<(Commit, How)> {
    let log = reflog(git)?;
    // As git does it: the last entry that is not younger, whatever the clock did in between.
    if let Some(entry) = log.iter().rev().find(|entry| entry.moment <= moment) {
        let Ok(found) = commit(git, &entry.new) else {
            super::revision::check(git)?;
            let text =
                format!("the commit {} was checked out then, and git has thrown it away since", entry.new);
            return Err(Failure::new(Kind::NotFound, text)
                .hint("a backup of that time may hold it: cargo xtask list")
                .into());
        };
        return Ok((found, How::Reflog { since: entry.moment }));
    }
    let start = start(git, &log)?;
    match on_the_line(git, &start, moment)? {
        Ok(found) => Ok((found, How::CommitTime { line: start })),
        Err(oldest) => {
            let text = format!(
                "at {} there was no commit yet; the oldest is {} of {}",
                moment.local(),
                oldest.short(),
                oldest.moment.local()
            );
            let failure = Failure::new(Kind::NotFound, text)
                .hint(format!("cargo xtask restore-git {}", oldest.short()));
            let more = "this is a shallow clone; git fetch --unshallow gets what was before";
            Err(if git.is_shallow() { failure.hint(more) } else { failure }.into())
        }
    }
}

impl Git {
    /// Whether the history was cut off when it was cloned.
    pub(super) fn is_shallow(&self) -> bool {
        self.common.join("shallow").metadata().is_ok_and(|meta| meta.len() > 0)
    }
}

/// Entries of HEAD's reflog, oldest first.
fn reflog(git: &Git) -> Result<Vec<Entry>> {
    if git.is_reftable() {
        let program = git.program.as_ref().context("reftable needs the git command")?;
        return reflog_by_command(git, program);
    }
    let path = git.own.join("logs/HEAD");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.with_context(|| format!("can't read {}", path.display()))?,
    };
    // A line that is none is passed over, as git does.
    Ok(String::from_utf8_lossy(&text).lines().filter_map(entry).collect())
}

/// `OLD NEW NAME <MAIL> SECONDS ZONE\tMESSAGE`.
fn entry(line: &str) -> Option<Entry> {
    let facts = line.split('\t').next()?;
    let (ids, time) = facts.rsplit_once("> ")?;
    let mut words = ids.split(' ');
    let (old, new) = (words.next()?, words.next()?);
    let moment = Instant(time.split(' ').next()?.parse().ok()?);
    (refs::is_id(old) && refs::is_id(new)).then(|| Entry { old: old.to_owned(), new: new.to_owned(), moment })
}

fn reflog_by_command(git: &Git, program: &Program) -> Result<Vec<Entry>> {
    let mut command = program.at(&git.root);
    command.args([
        "log",
        "-g",
        "-z",
        "--no-show-signature",
        "--date=raw",
        "--format=%H%x01%gd",
        "HEAD",
        "--",
    ]);
    let Ok(log) = output(command, Input::Nothing) else {
        // Before the first commit, and where a commit of the log is gone: the commits' times are left.
        interrupt::check()?;
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for line in String::from_utf8_lossy(&log).split('\0') {
        let Some((new, at)) = line.split_once('\u{1}') else { continue };
        let time = at.rsplit_once("@{").and_then(|(_, time)| time.split(' ').next()?.parse().ok());
        entries.extend(time.map(|time| Entry {
            old: String::new(),
            new: new.to_owned(),
            moment: Instant(time),
        }));
    }
    entries.reverse();
    Ok(entries)
}

/// Where the line of first parents begins: where HEAD's log begins, since what came after has it, not the
/// commits' times; HEAD itself where that is gone, or there is no log.
fn start(git: &Git, log: &[Entry]) -> Result<String> {
    if let Some(oldest) = log.first() {
        for id in [&oldest.old, &oldest.new] {
            if refs::is_id(id) && id.bytes().any(|b| b != b'0') && commit(git, id).is_ok() {
                return Ok(id.clone());
            }
        }
        interrupt::check()?;
    }
    match super::revision::recent(git, 1)?.pop() {
        Some(head) => Ok(head.id),
        None => Err(Failure::new(Kind::NotFound, "nothing is committed on this branch yet")
            .hint("cargo xtask list shows the backups, which need no commit")
            .into()),
    }
}

/// The newest commit at or before a moment on a line of first parents, or else the oldest of the line.
fn on_the_line(git: &Git, start: &str, moment: Instant) -> Result<Result<Commit, Commit>> {
    if let Some(program) = &git.program {
        let until = format!("--min-age={}", moment.0.max(0));
        if let Some(found) = listed(git, program, &["--first-parent", "-n", "1", &until, start])?.pop() {
            return Ok(Ok(found));
        }
        let mut command = program.at(&git.root);
        command.args(["rev-list", "--first-parent", start, "--"]);
        let line = output(command, Input::Nothing).context("the history can't be read")?;
        let line = String::from_utf8_lossy(&line);
        return Ok(Err(commit(git, line.lines().last().unwrap_or(start))?));
    }
    let library = git.library.as_ref().context("this repository needs the git command")?;
    let mut at = library.find_commit(git2::Oid::from_str(start)?)?;
    loop {
        interrupt::check()?;
        if at.time().seconds() <= moment.0 {
            return Ok(Ok(commit(git, &at.id().to_string())?));
        }
        at = match at.parent(0) {
            Ok(parent) => parent,
            Err(_) if at.parent_count() == 0 => return Ok(Err(commit(git, &at.id().to_string())?)),
            // A shallow clone's end has parents that were never fetched.
            Err(_) if git.is_shallow() => return Ok(Err(commit(git, &at.id().to_string())?)),
            Err(error) => {
                return Err(error).with_context(|| format!("a parent of {} can't be read", at.id()));
            }
        };
    }
}
