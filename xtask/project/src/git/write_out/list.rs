//! What a commit holds, and whether all of it may and can be written.

use std::collections::BTreeSet;

use anyhow::{Context, Error, Result, bail};

use super::super::Git;
use super::super::classify::paths;
use super::super::revision::Commit;
use super::super::run::{Input, Program, answer, output};
use super::super::twin::Twin;
use super::{Item, Mode};
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind};
use crate::base::interrupt;
use crate::base::safe_path::{SafePath, is_git_name};
use crate::walk::STAGING;

/// Everything in a commit, in git's order.
///
/// # Errors
/// `Refused` when a folder of it is missing, or a name in it is none.
pub(super) fn items(git: &Git, program: Option<&Program>, twin: &Twin, id: &str) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let Some(program) = program else {
        let library = git.library.as_ref().context("this repository needs the git command")?;
        let tree = library.find_commit(git2::Oid::from_str(id)?)?.tree_id();
        walk(library, git, id, tree, b"", &mut items)?;
        return Ok(items);
    };
    let mut command = program.on(&twin.dir);
    command.args(["ls-tree", "-r", "-z", "--full-tree", id]);
    let told = answer(command, Input::Nothing)?;
    if !told.ok {
        return Err(absent(git, id, &told.err));
    }
    for line in paths(&told.out) {
        // `<mode> <type> <id>\t<path>`
        let tab = line.iter().position(|&b| b == b'\t').context("git lists a path without a tab")?;
        let facts = String::from_utf8_lossy(&line[..tab]);
        let words: Vec<&str> = facts.split(' ').collect();
        let [mode, _, object] = words.as_slice() else { bail!("git ls-tree said {facts:?}") };
        let mode = u32::from_str_radix(mode, 8).with_context(|| format!("git ls-tree said {facts:?}"))?;
        items.push(item(id, &line[tab + 1..], mode, (*object).to_owned())?);
    }
    Ok(items)
}

fn walk(
    library: &git2::Repository,
    git: &Git,
    commit: &str,
    tree: git2::Oid,
    folder: &[u8],
    items: &mut Vec<Item>,
) -> Result<()> {
    interrupt::check()?;
    let tree = library
        .find_tree(tree)
        .map_err(|error| absent(git, commit, &format!("{tree}: {}", error.message())))?;
    for entry in &tree {
        let name = entry.name_bytes();
        let path = if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() };
        let mode = u32::try_from(entry.filemode_raw()).unwrap_or_default();
        if mode & 0o170_000 == 0o040_000 {
            SafePath::new(path.clone()).map_err(|error| harmful(commit, &format!("{error:#}")))?;
            walk(library, git, commit, entry.id(), &path, items)?;
        } else {
            items.push(item(commit, &path, mode, entry.id().to_string())?);
        }
    }
    Ok(())
}

/// Old git wrote modes like `0o100664`; what counts is whether the owner may run it.
fn item(commit: &str, path: &[u8], mode: u32, id: String) -> Result<Item> {
    let path = SafePath::new(path).map_err(|error| harmful(commit, &format!("{error:#}")))?;
    let mode = match mode & 0o170_000 {
        0o100_000 if mode & 0o100 != 0 => Mode::Executable,
        0o100_000 => Mode::File,
        0o120_000 => Mode::Link,
        0o160_000 => Mode::Submodule,
        _ => return Err(harmful(commit, &format!("{path} has the mode {mode:o}, which git does not know"))),
    };
    Ok(Item { path, mode, id })
}

fn harmful(commit: &str, what: &str) -> Error {
    let commit = commit.get(..10).unwrap_or(commit);
    Failure::new(Kind::Refused, format!("the commit {commit} can't be written out: {what}"))
        .hint("`git fsck` tells more; single files are had with `git show COMMIT:PATH`")
        .into()
}

/// # Errors
/// `Refused` when a name could reach into a git folder or into ours, or stands twice in the commit.
pub(super) fn refuse_names(items: &[Item], commit: &Commit) -> Result<()> {
    let mut files = BTreeSet::new();
    for item in items {
        if let Some(part) = item.path.parts().find(|part| reaches_git(part)) {
            let what = format!("{} would be written as a git folder ({})", item.path, escape(part));
            return Err(harmful(&commit.id, &what));
        }
        if item.path.parts().next().is_some_and(|part| part.eq_ignore_ascii_case(STAGING)) {
            let what = format!("{} would be written where restores work", item.path);
            return Err(harmful(&commit.id, &what));
        }
        if !files.insert(item.path.bytes()) {
            return Err(harmful(&commit.id, &format!("{} stands in it twice", item.path)));
        }
    }
    for item in items {
        let bytes = item.path.bytes();
        let folders = bytes.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| &bytes[..at]);
        if let Some(folder) = folders.into_iter().find(|folder| files.contains(folder)) {
            let what = format!("{} is both a file and a folder in it", escape(folder));
            return Err(harmful(&commit.id, &what));
        }
    }
    Ok(())
}

/// Whether some system takes a name for `.git`: Windows passes over what stands at its end and behind a
/// colon, macOS over letters that can't be seen.
fn reaches_git(part: &[u8]) -> bool {
    let text = String::from_utf8_lossy(part);
    let seen: String = (text.chars())
        .filter(|c| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'))
        .collect();
    let bare = seen.split([':', '\\']).next().unwrap_or_default().trim_end_matches(['.', ' ']);
    is_git_name(bare.as_bytes()) || is_git_name(part)
}

/// # Errors
/// `Refused`, naming the objects, when some of the commit are not there; nothing when all are.
pub(super) fn refuse_missing(
    git: &Git,
    program: &Program,
    twin: &Twin,
    commit: &Commit,
    items: &[Item],
) -> Result<()> {
    let mut command = program.on(&twin.dir);
    command.args(["cat-file", "--batch-check=%(objectname) %(objecttype)"]);
    let blobs: Vec<&Item> = items.iter().filter(|item| item.mode != Mode::Submodule).collect();
    let ids: String = blobs.iter().map(|item| format!("{}\n", item.id)).collect();
    let told = output(command, Input::Bytes(ids.as_bytes()))?;
    let told = String::from_utf8_lossy(&told);
    let missing = blobs.iter().zip(told.lines()).filter(|(_, line)| !line.ends_with(" blob"));
    missing_objects(git, commit, &missing.map(|(item, _)| *item).collect::<Vec<_>>())
}

/// # Errors
/// `Refused` when there are any.
pub(super) fn missing_objects(git: &Git, commit: &Commit, missing: &[&Item]) -> Result<()> {
    let Some(first) = missing.first() else { return Ok(()) };
    let more = match missing.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(absent(git, &commit.id, &format!("the object {} ({}) is missing{more}", first.id, first.path)))
}

/// An object of a commit is not there, or can't be read.
pub(super) fn absent(git: &Git, commit: &str, what: &str) -> Error {
    let short = commit.get(..10).unwrap_or(commit);
    let what = what.lines().next().unwrap_or_default();
    let failure = Failure::new(Kind::Refused, format!("the commit {short} can't be written out: {what}"));
    let place = git.root.display();
    if git.is_partial() {
        return failure
            .hint(format!("this is a partial clone; get its files while the remote can be reached: git -C '{place}' archive --output={} {short}", nowhere()))
            .into();
    }
    failure
        .hint(format!("git -C '{place}' fsck tells what is damaged; a clone or a backup may have it"))
        .hint("cargo xtask restore BACKUP brings files back without git's history")
        .into()
}

fn nowhere() -> &'static str {
    if cfg!(windows) { "NUL" } else { "/dev/null" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_system_takes_for_git() {
        for bad in [".git", ".GIT", "git~1", "GIT~1", ".git.", ".git  .", ".git:x", ".g\u{200c}it", ".git\\x"]
        {
            assert!(reaches_git(bad.as_bytes()), "{bad:?}");
        }
        for good in [".gitignore", ".gitattributes", "git", "a.git", "git~2", ".git2", ".gi"] {
            assert!(!reaches_git(good.as_bytes()), "{good:?}");
        }
    }
}
