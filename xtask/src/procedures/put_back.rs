//! Puts a backup, or a part of it, back over a living project.
//!
//! [`prepare`] reads the project, takes what is needed out of the archive into the workshop and checks it; the
//! result is the plan. Nothing in the project has changed then. [`apply`] takes a safety copy, locks the
//! databases, makes sure that nothing changed since, writes the journal, and follows it. It comes to one of two
//! ends: all of it done and checked, or everything as it was. After a kill the journal leads to the same.

mod apply;
mod commit;
mod databases;
mod files;
mod preparing;
mod repository;
mod source;

use std::path::Path;

use anyhow::Result;

pub use self::databases::{DatabaseStep, State};
use self::preparing::{Found, Preparing};
pub use self::repository::{GitStep, GitWish};
pub use self::source::{Backup, Databases, FromCommit, Source};
use super::journal::Finish;
use super::present::Present;
use super::scope::Scope;
use super::workshop::Workshop;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::project::git;
use crate::project::plan::{Move, Plan};
use crate::project::root::Project;
use crate::store::undo_log::Operation;

/// What is to be put back.
pub struct Order<'a> {
    /// Where it comes from.
    pub source: Source<'a>,
    /// This part of it.
    pub scope: Scope,
    /// Whether what is there now and not in the backup goes.
    pub exact: bool,
    /// What becomes of git.
    pub git: GitWish,
    /// Databases from their SQL dumps.
    pub from_dumps: bool,
    /// Hooks and settings of git that can run programs, too, where a repository is made.
    pub with_code: bool,
    /// Whose step this is in the row of restores.
    pub operation: Operation,
    /// What it takes back, for `undo` and `redo`.
    pub of: Option<BackupId>,
}

/// Where it is prepared.
enum Shop {
    /// In the project.
    Here(Workshop),
    /// Elsewhere: only to see what would happen.
    Dry(tempfile::TempDir),
}

impl Shop {
    fn work(&self) -> &Path {
        match self {
            Shop::Here(workshop) => workshop.work(),
            Shop::Dry(folder) => folder.path(),
        }
    }
}

/// All that is known before anything changes.
pub struct Prepared<'a> {
    order: Order<'a>,
    shop: Shop,
    /// Files, links and folders.
    pub plan: Plan,
    /// The databases.
    pub databases: Vec<DatabaseStep>,
    /// Databases that are there now, not in the backup, and go.
    pub databases_removed: Vec<SafePath>,
    /// Git.
    pub git: GitStep,
    /// What the user should know.
    pub findings: Vec<Finding>,
    present: Present,
    moves: Vec<Move>,
    finishes: Vec<Finish>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// The safety copy that was taken before.
    pub safety: Option<BackupId>,
    /// Databases that were put back.
    pub databases: Vec<SafePath>,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

/// Looks, takes out of the archive or the commit, and plans. With `dry`, nothing is written anywhere but in the
/// system's temporary folder.
///
/// # Errors
/// When the archive is damaged, the plan can't be carried out (`Refused`), or there is no room; the project is
/// as it was.
pub fn prepare<'a>(
    project: &Project,
    store: &Path,
    order: Order<'a>,
    dry: bool,
    monitor: &dyn Monitor,
) -> Result<Prepared<'a>> {
    monitor.step("comparing with the project", None);
    let opened = git::open(&project.root)?;
    let shop = if dry {
        Shop::Dry(tempfile::Builder::new().prefix("xtask-plan-").tempdir()?)
    } else {
        Shop::Here(Workshop::begin(&project.root)?)
    };
    match (Preparing { project, store, order: &order, opened: &opened, work: shop.work(), dry }).run(monitor)
    {
        Ok(found) => {
            let Found { plan, databases, databases_removed, git, findings, present, moves, finishes } = found;
            Ok(Prepared {
                order,
                shop,
                plan,
                databases,
                databases_removed,
                git,
                findings,
                present,
                moves,
                finishes,
            })
        }
        Err(error) => {
            if let Shop::Here(workshop) = shop {
                // The error that led here says more; the next restore throws it away.
                let _ = workshop.end();
            }
            Err(error)
        }
    }
}

impl Prepared<'_> {
    /// Whether the project is as the backup has it already.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty()
            && self.databases.iter().all(|step| step.state == State::Same)
            && self.databases_removed.is_empty()
            && self.git.is_empty()
    }

    /// Throws away what was prepared.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn discard(self) -> Result<()> {
        match self.shop {
            Shop::Here(workshop) => workshop.end(),
            Shop::Dry(folder) => Ok(folder.close()?),
        }
    }
}
