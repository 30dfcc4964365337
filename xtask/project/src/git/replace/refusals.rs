//! When a repository is not put back into: each with its reason and the next thing to do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};

use super::super::Git;
use super::super::refs::{self, Value};
use super::live::Live;
use super::{RefChange, hold, shown};
use crate::base::escape::escape;
use crate::base::facts::GitFacts;
use crate::base::failure::{Failure, Kind};
use crate::base::os_name;

const ELSEWHERE: &str = "bring the backup into an empty folder: cargo xtask restore BACKUP --to DIR";

fn refused(message: String) -> Failure {
    Failure::new(Kind::Refused, message)
}

/// What git itself can't read is not restored into: nothing could bring it back.
pub(super) fn damaged(path: &Path, error: &Error) -> Error {
    refused(format!("{} is damaged: {error:#}", path.display()))
        .hint("repair it (`git fsck` tells more), or move the git folder aside and restore again")
        .hint(ELSEWHERE)
        .into()
}

/// Forms of a repository that replacing files would not do justice to.
pub(super) fn form(git: &Git, facts: &GitFacts) -> Result<()> {
    let place = git.root.display();
    if git.own != git.common {
        let main = git.common.parent().filter(|_| git.common.file_name().is_some_and(|name| name == ".git"));
        let message = format!("{place} is a linked working copy; its refs belong to others, too");
        let next = match main {
            Some(main) => format!("restore git from the main working copy: cd {}", main.display()),
            None => format!("its repository is {}", git.common.display()),
        };
        return Err(refused(message).hint(next).hint(ELSEWHERE).into());
    }
    let theirs = if facts.object_format.is_empty() { "sha1" } else { facts.object_format.as_str() };
    let ours = git.object_format();
    if ours != theirs {
        let message =
            format!("the backup's git history is of the object format {theirs}, that of {place} is {ours}");
        return Err(refused(message).hint(ELSEWHERE).into());
    }
    if ours != "sha1" {
        let message =
            format!("{place} is a repository of the object format {ours}; git can't be put back into one");
        return Err(refused(message).hint(ELSEWHERE).into());
    }
    if git.is_reftable() {
        let message = format!("{place} keeps its refs in reftables; git can't be put back into them");
        return Err(refused(message)
            .hint("`git refs migrate --ref-format=files` makes files of them")
            .hint(ELSEWHERE)
            .into());
    }
    for name in ["HEAD", "index", "refs", "packed-refs", "logs", "shallow", "info"] {
        let path = git.own.join(name);
        if let Ok(target) = fs::read_link(&path) {
            let message = format!(
                "{} is a link to {}; replacing it would cut them apart",
                path.display(),
                target.display()
            );
            return Err(refused(message).hint(ELSEWHERE).into());
        }
    }
    Ok(())
}

/// Locks that another git process holds, or has left; our own don't count.
pub(super) fn locks(git: &Git, live: &Live) -> Result<()> {
    if let Some(name) = live.locks.first() {
        return Err(locked(&git.common.join(os_name::to_os(name)?)));
    }
    for entry in fs::read_dir(&git.own).with_context(|| format!("can't read {}", git.own.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "lock") && !hold::is_ours(&path) {
            return Err(locked(&path));
        }
    }
    Ok(())
}

/// A lock is there that is not ours.
pub(super) fn locked(path: &Path) -> Error {
    let message = format!("another git process is running, or one was killed: {} is there", path.display());
    refused(message)
        .hint("let it end and try again")
        .hint(format!("if there is none, remove the lock: rm '{}'", path.display()))
        .into()
}

/// Branches that would move, or be checked out here, and that a linked working copy has checked out.
pub(super) fn linked(git: &Git, changes: &[RefChange], before: &Value, after: &Value) -> Result<()> {
    let folder = git.common.join("worktrees");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("can't read {}", folder.display()))?,
    };
    for entry in entries {
        let own = entry.with_context(|| format!("can't read {}", folder.display()))?.path();
        let Some(place) = working_copy(&own)? else { continue };
        for branch in branches(&own) {
            let moves = changes.iter().any(|change| change.name == branch);
            let twice = before != after && matches!(after, Value::Symbolic(name) if *name == branch);
            if !moves && !twice {
                continue;
            }
            let name = shown(&Value::Symbolic(branch));
            let why = if moves { "would move" } else { "would be checked out twice" };
            let message = format!(
                "the branch {} is checked out in the linked working copy {} and {why}",
                escape(name.as_bytes()),
                place.display()
            );
            return Err(refused(message)
                .hint(format!(
                    "leave the branch there, and restore again: git -C '{}' switch --detach",
                    place.display()
                ))
                .hint(ELSEWHERE)
                .into());
        }
    }
    Ok(())
}

/// Where a linked working copy is; `None` when it is gone for good.
fn working_copy(own: &Path) -> Result<Option<PathBuf>> {
    let Ok(text) = fs::read(own.join("gitdir")) else { return Ok(None) };
    let file = own.join(os_name::to_os(text.trim_ascii())?);
    let place = file.parent().unwrap_or(own).to_path_buf();
    // A locked one may be on a disk that is not plugged in.
    Ok((place.is_dir() || own.join("locked").exists()).then_some(place))
}

/// What git takes for checked out in a linked working copy: also what is rebased or bisected there.
fn branches(own: &Path) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(own.join(name)).unwrap_or_default();
    let mut found = Vec::new();
    if let Ok(Value::Symbolic(name)) = refs::parse(&read("HEAD")) {
        found.push(name);
    }
    for name in ["rebase-merge/head-name", "rebase-apply/head-name", "rebase-merge/update-refs"] {
        found.extend(read(name).lines().map(str::trim).filter(|line| refs::is_name(line)).map(str::to_owned));
    }
    let bisected = format!("refs/heads/{}", read("BISECT_START").trim());
    found.extend(refs::is_name(&bisected).then_some(bisected));
    found
}
