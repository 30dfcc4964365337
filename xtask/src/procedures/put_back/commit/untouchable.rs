//! What a commit's files must not replace: what git ignores, databases in whose folder's place a file would
//! come or the other way round, and everything in a submodule or another repository inside this one. It stays, and what should have
//! come there is named.

use std::collections::BTreeSet;

use anyhow::Result;

use super::super::super::present::Present;
use super::super::super::wanted::Wanted;
use super::Checkout;
use crate::base::finding::Finding;
use crate::base::links;
use crate::base::safe_path::SafePath;
use crate::base::tree::Tree;
use crate::project::plan;

/// Why something of the commit can't come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Obstacle {
    /// A file that git ignores is there, or below it, or above it.
    Ignored(SafePath),
    /// A database is in the folder in whose place it would come, or in the place of a folder above it.
    Database(SafePath),
    /// Another repository is in a folder above it.
    Repository(SafePath),
}

impl Checkout<'_> {
    /// Takes out of what is wanted everything that meets an obstacle.
    pub(super) fn leave_alone(&mut self, wanted: &mut Wanted<'_>, present: &mut Present) -> Result<()> {
        let mut ignored = present.ignored.clone();
        // What no backup would hold, and git does not track: too large, in a cache folder, or excluded.
        ignored.extend(present.also.iter().filter(|path| !self.now.contains_key(path.bytes())).cloned());
        let repositories = self.repositories(wanted)?;
        let there = present.all_databases();
        let paths: Vec<SafePath> = wanted.tree.keys().cloned().collect();
        for path in paths {
            let Some(leaf) = wanted.tree.get(&path) else { continue };
            let is_module = leaf.is_folder() && self.written.tracked.contains_key(&path);
            if leaf.is_folder() && !is_module {
                continue;
            }
            if let (Some(now), true) = (present.tree.get(&path), ignored.contains(&path))
                && now.same_content(leaf)
            {
                // It is what should come; nothing of it changes.
                let now = now.clone();
                wanted.tree.insert(path, now);
                continue;
            }
            let Some(obstacle) = obstacle(&path, is_module, &ignored, &there, &repositories) else {
                continue;
            };
            wanted.tree.remove(&path);
            self.findings.push(obstacle.finding(&path, self.written.commit.short()));
        }
        let databases: Vec<SafePath> =
            wanted.databases.iter().map(|database| database.path.clone()).collect();
        for path in databases {
            // What a backup saved inside another repository comes back there.
            let is_of_commit = wanted.staged.contains(&path);
            let found = obstacle_above(&path, &ignored, &there, &repositories)
                .filter(|found| is_of_commit || !matches!(found, Obstacle::Repository(_)));
            if let Some(obstacle) = found {
                wanted.forget_database(&path)?;
                self.findings.push(obstacle.finding(&path, self.written.commit.short()));
            }
        }
        Ok(())
    }

    /// Folders above what is wanted that hold a repository of their own.
    fn repositories(&self, wanted: &Wanted<'_>) -> Result<BTreeSet<SafePath>> {
        let mut found = BTreeSet::new();
        for folder in folders(&wanted.tree) {
            // One whose files this repository tracks, too, is a folder like any other.
            let inside = folder.join(b".git")?;
            if !self.tracks_below(&folder)
                && !links::leads_elsewhere(self.root, &inside)?
                && links::exists(&inside.below(self.root)?)?
            {
                found.insert(folder);
            }
        }
        Ok(found)
    }
}

/// Folders above everything in a tree.
fn folders(tree: &Tree) -> BTreeSet<SafePath> {
    let mut found = BTreeSet::new();
    for path in tree.keys() {
        let mut above = path.parent();
        while let Some(folder) = above {
            above = folder.parent();
            if !found.insert(folder) {
                break;
            }
        }
    }
    found
}

/// What is in the way of a path, if anything is. All lists are ordered.
fn obstacle(
    path: &SafePath,
    is_module: bool,
    ignored: &BTreeSet<SafePath>,
    databases: &[SafePath],
    repositories: &BTreeSet<SafePath>,
) -> Option<Obstacle> {
    if ignored.contains(path) {
        return Some(Obstacle::Ignored(path.clone()));
    }
    if !is_module {
        let below = |other: &&SafePath| plan::is_below(other, path);
        let start = SafePath::new([path.bytes(), b"/\x01"].concat()).unwrap_or_else(|_| path.clone());
        if let Some(other) = ignored.range(start..).next().filter(below) {
            return Some(Obstacle::Ignored(other.clone()));
        }
        if let Some(other) = databases.iter().find(below) {
            return Some(Obstacle::Database(other.clone()));
        }
    }
    obstacle_above(path, ignored, databases, repositories)
}

/// What is in the way of a path in the place of a folder above it.
fn obstacle_above(
    path: &SafePath,
    ignored: &BTreeSet<SafePath>,
    databases: &[SafePath],
    repositories: &BTreeSet<SafePath>,
) -> Option<Obstacle> {
    let mut above = path.parent();
    while let Some(folder) = above {
        if ignored.contains(&folder) {
            return Some(Obstacle::Ignored(folder));
        }
        if repositories.contains(&folder) {
            return Some(Obstacle::Repository(folder));
        }
        if databases.binary_search(&folder).is_ok() {
            return Some(Obstacle::Database(folder));
        }
        above = folder.parent();
    }
    None
}

impl Obstacle {
    fn finding(&self, path: &SafePath, commit: &str) -> Finding {
        let text = match self {
            Obstacle::Ignored(other) if other == path => {
                "it is ignored now, by git or by backups, and the commit has another one; it stays as it is"
                    .to_owned()
            }
            Obstacle::Ignored(other) => {
                format!(
                    "it does not come from the commit: {other}, which is ignored by git or by backups, is in its way and stays"
                )
            }
            Obstacle::Database(other) => {
                format!("it does not come from the commit: the database {other} is in its way and stays")
            }
            Obstacle::Repository(other) => {
                format!("it does not come from the commit: {other} is a repository of its own, and stays")
            }
        };
        let hint = format!("move that away, then: cargo xtask restore-git {commit} --only '{path}'");
        Finding::problem("in-the-way", text).at(path).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> SafePath {
        SafePath::new(text).unwrap()
    }

    fn set(text: &str) -> BTreeSet<SafePath> {
        text.split_whitespace().map(path).collect()
    }

    #[test]
    fn what_is_in_the_way() {
        let ignored = set("a.key build-x build/out/x z");
        let databases = [path("memory/index.db")];
        let repositories = set("vendor/lib");
        let of = |text: &str, is_module: bool| {
            obstacle(&path(text), is_module, &ignored, &databases, &repositories)
        };
        for free in ["a", "a.key2", "build/in", "memory", "vendor/lib2/x", "vendor/x"] {
            // `memory` as a submodule's folder is there already.
            assert_eq!(of(free, free == "memory"), None, "{free}");
        }
        assert_eq!(of("a.key", false), Some(Obstacle::Ignored(path("a.key"))));
        assert_eq!(of("build", false), Some(Obstacle::Ignored(path("build/out/x"))));
        assert_eq!(of("z/deep/file", false), Some(Obstacle::Ignored(path("z"))));
        assert_eq!(of("memory", false), Some(Obstacle::Database(path("memory/index.db"))));
        assert_eq!(of("memory/index.db", false), None);
        assert_eq!(of("memory/index.db/x/y", false), Some(Obstacle::Database(path("memory/index.db"))));
        assert_eq!(of("vendor/lib/src/x", false), Some(Obstacle::Repository(path("vendor/lib"))));
        assert_eq!(of("vendor/lib", true), None);
    }
}
