//! What a manifest says of databases, git and what was left out: plain data that several floors fill and
//! read. Fields are only ever added; a reader takes an absent one for its default.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::safe_path::SafePath;

/// What one database was at the instant of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// Bytes per page.
    pub page_size: u32,
    /// Pages in the image.
    pub pages: u64,
    /// `wal`, `delete`, `truncate`, `persist`: what the file itself asks for (`wal` or `delete`).
    pub journal_mode: String,
    /// `UTF-8`, `UTF-16le` or `UTF-16be`.
    pub encoding: String,
    /// 0 none, 1 full, 2 incremental.
    pub auto_vacuum: i64,
    /// `PRAGMA user_version`.
    pub user_version: i64,
    /// `PRAGMA application_id`.
    pub application_id: i64,
    /// Every table that holds rows of its own, shadow tables included, in the order of their names.
    pub tables: Vec<TableFacts>,
    /// Logical hash of the whole: schema, pragmas and every value of every row.
    pub logical: Digest,
}

impl DatabaseFacts {
    /// Rows of all tables together.
    pub fn rows(&self) -> u64 {
        // A manifest is data from outside, and may say anything.
        self.tables.iter().fold(0, |sum, table| sum.saturating_add(table.rows))
    }
}

/// What one table held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Its name; bytes that are not UTF-8 replaced.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Logical hash of its rows: rowid and every value with type and exact bits, in key order.
    pub logical: Digest,
}

/// What git was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GitFacts {
    /// `sha1` or `sha256`.
    pub object_format: String,
    /// Id of the commit that HEAD was at; absent before the first commit.
    pub commit: Option<String>,
    /// Name of the branch checked out (`main`); absent with a detached HEAD.
    pub branch: Option<String>,
    /// Whether anything was staged, modified or untracked.
    pub dirty: bool,
    /// `merge`, `rebase`, `cherry-pick`, `revert`, `bisect`, `apply`; absent when none was going on.
    pub operation: Option<String>,
    /// Whether the history was cut off (`git clone --depth`).
    pub shallow: bool,
    /// How many refs there were.
    pub refs: u64,
    /// Names of the bundles below `git/bundles/`, in the order in which they are read.
    pub bundles: Vec<String>,
    /// Commit that holds the index as a tree; its ref in the bundle is `refs/xtask/index`.
    pub index_commit: Option<String>,
    /// Commit that holds the working files that git tracks or would add; its ref is `refs/xtask/worktree`.
    pub worktree_commit: Option<String>,
    /// Commits without parents that HEAD comes from, sorted.
    pub root_commits: Vec<String>,
    /// URLs of the remotes without passwords, sorted.
    pub remotes: Vec<String>,
}

/// What was left out of a backup, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// A stable word: `cache`, `large-ignored`, `ignored`, `excluded`, `nested-git`, `special`, `store`.
    pub reason: String,
    /// The file or folder.
    pub path: SafePath,
    /// Files in it; 1 for a file. 0 where it was not entered.
    pub files: u64,
    /// Their bytes; 0 where it was not entered.
    pub bytes: u64,
}
