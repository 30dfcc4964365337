//! Revisions, commits and names of refs without the git command.

use anyhow::{Context, Result};
use git2::{ErrorCode, Oid, Repository, Sort};

use super::{Commit, LIST, Names, ambiguous, before_the_log, is_no_commit, short_name, sorted};
use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind};
use crate::base::interrupt;

/// The newest commits that HEAD comes from, newest first; none before the first commit.
///
/// # Errors
/// When the history can't be read that far.
pub(super) fn recent(library: &Repository, count: usize) -> Result<Vec<Commit>> {
    let names = names(library)?;
    let head = match library.head() {
        Err(error) if error.code() == ErrorCode::UnbornBranch => return Ok(Vec::new()),
        head => head.context("HEAD can't be read")?.peel_to_commit().context("HEAD leads to no commit")?,
    };
    let mut walk = library.revwalk()?;
    walk.set_sorting(Sort::TIME)?;
    walk.push(head.id())?;
    let ids: Vec<Oid> = walk.take(count).collect::<Result<_, _>>().context("the history is damaged")?;
    ids.into_iter().map(|id| commit(library, id, &names)).collect()
}

/// Names of commits by their id.
///
/// # Errors
/// When the refs can't be read.
pub(super) fn names(library: &Repository) -> Result<Names> {
    let mut all = Vec::new();
    for reference in library.references().context("the refs can't be read")? {
        // One that is broken names no commit.
        let Ok(reference) = reference else { continue };
        let (Some(name), Ok(commit)) =
            (reference.name().ok().and_then(short_name), reference.peel_to_commit())
        else {
            continue;
        };
        all.push((commit.id().to_string(), name));
    }
    if let Ok(head) = library.head().and_then(|head| head.peel_to_commit()) {
        all.push((head.id().to_string(), (0, "HEAD".to_owned())));
    }
    Ok(sorted(all))
}

/// The commit that a revision means.
///
/// # Errors
/// As [`super::resolve`].
pub(super) fn id(library: &Repository, rev: &str) -> Result<Oid> {
    interrupt::check()?;
    let name = rev.split(['~', '^', '@', ':']).next().unwrap_or_default();
    let places = ["", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/"];
    let there: Vec<String> = (places.iter().map(|place| format!("{place}{name}")))
        .filter(|full| !name.is_empty() && library.find_reference(full).is_ok())
        .collect();
    if there.len() > 1 {
        return Err(ambiguous(rev, &there));
    }
    let object = match library.revparse_single(rev) {
        Ok(object) => object,
        Err(error) if error.code() == ErrorCode::Ambiguous => return Err(ambiguous(rev, &[])),
        Err(_) => {
            let text = format!("there is no commit {}", escape(rev.as_bytes()));
            return Err(Failure::new(Kind::NotFound, text).hint(LIST).into());
        }
    };
    if may_be_before_the_log(library, rev) {
        return Err(before_the_log(rev, "or right at its beginning, which only the git command tells apart"));
    }
    let kind = object.kind().map_or("", |kind| kind.str());
    object.peel_to_commit().map(|commit| commit.id()).map_err(|_| is_no_commit(rev, kind))
}

/// Whether `NAME@{TIME}` may ask for a time before the log of NAME: libgit2 then answers with what it began
/// with, and keeps to itself that it did.
fn may_be_before_the_log(library: &Repository, rev: &str) -> bool {
    let Some((name, rest)) = rev.split_once("@{") else { return false };
    let Some((what, _)) = rest.split_once('}') else { return false };
    let is_number = what.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
    if is_number || matches!(what, "u" | "upstream" | "push") {
        return false;
    }
    let full = library.resolve_reference_from_short_name(if name.is_empty() { "HEAD" } else { name });
    let Some(full) = full.ok().and_then(|found| found.name().ok().map(str::to_owned)) else { return false };
    let log = library.reflog(if name == "HEAD" { "HEAD" } else { full.as_str() });
    let answer = library.revparse_single(&format!("{name}@{{{what}}}")).ok().map(|object| object.id());
    let (Ok(log), Some(answer)) = (log, answer) else { return false };
    let oldest = log.len().checked_sub(1).and_then(|last| log.get(last));
    oldest.is_some_and(|oldest| answer == oldest.id_old() || answer == oldest.id_new())
}

/// What a commit is.
///
/// # Errors
/// When it can't be read.
pub(super) fn commit(library: &Repository, id: Oid, names: &Names) -> Result<Commit> {
    let commit = library.find_commit(id).with_context(|| format!("the commit {id} can't be read"))?;
    let id = id.to_string();
    Ok(Commit {
        author: String::from_utf8_lossy(commit.author().name_bytes()).into_owned(),
        moment: Instant(commit.time().seconds()),
        subject: String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default()).into_owned(),
        refs: names.get(&id).cloned().unwrap_or_default(),
        id,
    })
}
