//! What a scan tells the user, in words: one function per finding, so that the walk reads as decisions.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use super::left_out::size_text;
use crate::base::escape::escape;
use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;

/// Above so many bytes of ignored files together the user is told which folders hold them.
const IGNORED_ADVICE_BYTES: u64 = 1 << 30;

/// Something can't be read; `None` is the project's own folder.
pub fn unreadable(path: Option<&SafePath>, error: &anyhow::Error) -> Finding {
    let shown = path.map_or_else(|| "the project's folder".to_owned(), ToString::to_string);
    let finding = Finding::problem("unreadable", format!("{shown} can't be read: {error:#}"))
        .hint("give yourself the right to read it, or exclude it in Cargo.toml");
    match path {
        Some(path) => finding.at(path),
        None => finding,
    }
}

/// A name that a path of this tool can't express.
pub fn bad_name(path: &Path, error: &anyhow::Error) -> Finding {
    let shown = escape(path.to_string_lossy().as_bytes());
    let text = format!("{shown} has a name that a backup can't hold: {error:#}");
    Finding::problem("bad-name", text).hint("rename it")
}

/// A name that other systems take for `.git`.
pub fn like_git(path: &SafePath) -> Finding {
    let text =
        format!("{path} is not saved: Windows and macOS take its name for .git, and git refuses it too");
    Finding::problem("bad-name", text).at(path).hint("rename it")
}

/// A folder with a `.git` of its own.
pub fn nested_git(folder: &SafePath) -> Finding {
    let text = format!("{folder} is a git repository of its own: its files are saved, its history is not");
    Finding::problem("nested-git", text)
        .at(folder)
        .hint("back it up on its own, or have its commits pushed; or exclude it in Cargo.toml")
}

/// The store lies inside the project.
pub fn store_in_project(path: &SafePath) -> Finding {
    let text = format!("the backups in {path} are inside the project that they protect");
    Finding::advice("store-in-project", text)
        .at(path)
        .hint("a disaster that takes the project takes them too: choose a store elsewhere")
}

/// A socket, a pipe, a device.
pub fn special_file(path: &SafePath) -> Finding {
    let text = format!("{path} is a socket, a pipe or a device, and is left out");
    Finding::advice("special-file", text).at(path)
}

/// A database that the list in the configuration leaves out.
pub fn database_not_listed(path: &SafePath) -> Finding {
    let text = format!("{path} is a database that `databases` in Cargo.toml does not name: it is not saved");
    Finding::problem("database-not-listed", text)
        .at(path)
        .hint("add it to `databases`, or to `exclude` if that is meant")
}

/// A database of the list that is not there, or not a file of this project.
pub fn database_missing(path: &SafePath, error: &anyhow::Error) -> Finding {
    let text = format!("the database {path}, which the configuration names, can't be saved: {error:#}");
    Finding::problem("database-missing", text)
        .at(path)
        .hint("bring it back, or correct `databases` in Cargo.toml")
}

/// There is no database at all.
pub fn no_database() -> Finding {
    Finding::advice("no-database", "no database was found")
        .hint("a database is known by its header; an empty one only when `databases` in Cargo.toml names it")
}

/// A database that the configuration excludes.
pub fn excluded_database(path: &SafePath) -> Finding {
    let text = format!("the database {path} is left out, as `exclude` in Cargo.toml says");
    Finding::advice("excluded-database", text).at(path)
}

/// Tracked files that the configuration excludes, if there are any.
pub fn excluded_tracked(paths: &[SafePath]) -> Option<Finding> {
    let (first, others) = paths.split_first()?;
    let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    let text = format!("`exclude` in Cargo.toml leaves out what git tracks: {first}{more}");
    Some(Finding::advice("excluded-tracked", text).at(first))
}

/// Much that git ignores, with the folders that hold most of it, by their bytes.
pub fn much_ignored(folders: &BTreeMap<SafePath, u64>) -> Option<Finding> {
    let total: u64 = folders.values().sum();
    if total <= IGNORED_ADVICE_BYTES {
        return None;
    }
    let mut largest: Vec<_> = folders.iter().collect();
    largest.sort_by_key(|(_, bytes)| Reverse(**bytes));
    let named: Vec<String> =
        largest.iter().take(3).map(|(path, bytes)| format!("{path} {}", size_text(**bytes))).collect();
    let text = format!("files that git ignores make {}, most in {}", size_text(total), named.join(", "));
    Some(
        Finding::advice("much-ignored", text)
            .hint("leave out with `exclude` in Cargo.toml what can be made again"),
    )
}
