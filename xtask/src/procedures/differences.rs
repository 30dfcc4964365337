//! What separates two states of a project, each a backup, a commit or what lies on the disk now. Files are compared by
//! their bytes, databases by their rows.
//!
//! It only reads. Files are listed and read before the first database is opened; live databases are pinned at one
//! instant and copied into a scratch folder, and everything else of them happens on the copies. What can't be compared
//! is told as such, and never as equal.

use std::path::Path;

use anyhow::Result;

use super::scope::Scope;
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::digest::Digest;
use crate::base::finding::Finding;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Kind, Leaf};
use crate::project::git::{Git, Opened};
use crate::project::plan::{self, Change, Step};
use crate::project::root::Project;
use crate::sqlite::compare::DatabaseChange;

mod commit;
mod databases;
mod list;

use list::Side;

/// A state of the project.
pub enum Origin<'a> {
    /// What a backup holds.
    Backup {
        /// Its archive.
        archive: &'a Archive,
        /// What that says of itself.
        manifest: &'a Manifest,
    },
    /// What lies on the disk.
    Now {
        /// The project.
        project: &'a Project,
        /// Its store, which is no part of it.
        store: &'a Path,
        /// Its repository.
        opened: &'a Opened,
    },
    /// What a commit holds.
    Commit {
        /// The repository.
        git: &'a Git,
        /// The commit's id.
        id: &'a str,
    },
}

impl Origin<'_> {
    fn is_commit(&self) -> bool {
        matches!(self, Origin::Commit { .. })
    }

    /// For sentences that begin with it.
    fn when(&self) -> String {
        match self {
            Origin::Backup { manifest, .. } => format!("in backup {}", manifest.id),
            Origin::Now { .. } => "now".to_owned(),
            Origin::Commit { .. } => "in the commit".to_owned(),
        }
    }
}

/// What is asked.
pub struct Ask<'a> {
    /// Which part of the project.
    pub scope: &'a Scope,
    /// So many rows of each table are told.
    pub rows_max: usize,
    /// A folder of ours with room for both sides' databases.
    pub scratch: &'a Path,
}

/// What became of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was not there; all its rows appear.
    Added(DatabaseChange),
    /// It is not there; all its rows vanish.
    Removed(DatabaseChange),
    /// Rows or the schema differ.
    Changed(DatabaseChange),
    /// The rows are the same, and the permissions of its file are not.
    ModeOnly,
    /// At least one of the two can't be read as a database: why.
    Incomparable(String),
}

/// One database that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseDifference {
    /// Its path in the project.
    pub path: SafePath,
    /// What became of it.
    pub fate: Fate,
    /// Its permissions, where they differ.
    pub mode: Option<(u32, u32)>,
}

/// All that differs.
#[derive(Default)]
pub struct Differences {
    /// Files, links and folders, by path. A folder that came or went with something in it is not among them.
    pub files: Vec<Step>,
    /// The databases, by path.
    pub databases: Vec<DatabaseDifference>,
    /// How many files and links are the same.
    pub same_files: u64,
    /// How many databases are.
    pub same_databases: u64,
    /// How many paths were not compared with a commit, since git does not track them.
    pub untracked: u64,
    /// Submodules of a commit, which were not compared.
    pub modules: Vec<SafePath>,
    /// Whether files may differ from a commit only because git converts them.
    pub converts: bool,
    /// How many paths on the disk were not compared, since a backup leaves them out.
    pub left_out: u64,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

impl Differences {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.databases.is_empty()
    }
}

/// Compares two states.
///
/// # Errors
/// When one of them can't be read at all, there is no room in the scratch folder, or the user asked to stop.
pub fn compare(
    before: &Origin<'_>,
    after: &Origin<'_>,
    ask: &Ask<'_>,
    monitor: &dyn Monitor,
) -> Result<Differences> {
    monitor.step("comparing files", None);
    let mut a = Side::list(before, ask)?;
    let mut b = Side::list(after, ask)?;
    a.look_again(&mut b)?;
    b.look_again(&mut a)?;
    a.drop_side_files_of(&b)?;
    b.drop_side_files_of(&a)?;
    let mut out = Differences::default();
    if before.is_commit() || after.is_commit() {
        commit::narrow(&mut a, &mut b, ask, &mut out)?;
    }
    databases::take_from_trees(&mut a, &mut b, ask)?;
    content(&mut a, &mut b, ask)?;
    let plan = plan::plan(&b.tree, &|_| false, &a.tree, &|_| true, &[]);
    out.same_files = plan.kept.len() as u64;
    out.files = without_implied_folders(plan.steps, &a, &b);
    out.left_out = a.left_out + b.left_out;
    databases::compare(&mut a, &mut b, ask, &mut out, monitor)?;
    out.findings.extend(a.findings);
    out.findings.extend(b.findings);
    Ok(out)
}

/// Finds the digests of files that could be the same: of the same size on both sides.
fn content(a: &mut Side<'_>, b: &mut Side<'_>, ask: &Ask<'_>) -> Result<()> {
    let mut open = Vec::new();
    for (path, leaf) in &mut a.tree {
        let Some(other) = b.tree.get_mut(path) else { continue };
        let (Kind::File { size, digest }, Kind::File { size: other_size, digest: other_digest }) =
            (&mut leaf.kind, &mut other.kind)
        else {
            continue;
        };
        match (a.blobs.get(path), b.blobs.get(path)) {
            // Two commits: the ids tell.
            (Some(id), Some(other)) => {
                (*digest, *other_digest) =
                    (Some(Digest::of(id.as_bytes())), Some(Digest::of(other.as_bytes())));
            }
            _ if size == other_size => open.push(path.clone()),
            _ => {}
        }
    }
    a.read(&open, ask)?;
    b.read(&open, ask)
}

/// A folder that came or went with something in it is told by that.
fn without_implied_folders(steps: Vec<Step>, a: &Side<'_>, b: &Side<'_>) -> Vec<Step> {
    let holds = |side: &Side<'_>, folder: &SafePath| {
        let inside = |path: &SafePath| plan::is_below(path, folder);
        side.tree.range(folder.clone()..).nth(1).is_some_and(|(path, _)| inside(path))
            || side.databases.keys().any(inside)
    };
    let is_folder = |leaf: &Option<Leaf>| leaf.as_ref().is_some_and(Leaf::is_folder);
    let implied = |step: &Step| match step.change {
        Change::Create => is_folder(&step.after) && holds(b, &step.path),
        Change::Remove => is_folder(&step.before) && holds(a, &step.path),
        Change::Replace | Change::Mode => false,
    };
    steps.into_iter().filter(|step| !implied(step)).collect()
}
