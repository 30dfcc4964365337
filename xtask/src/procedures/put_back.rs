//! Puts a backup, or a part of it, back over a living project.
//!
//! [`prepare`] reads the project, takes what is needed out of the archive into the workshop and checks it; the
//! result is the plan. Nothing in the project has changed then. [`apply`] takes a safety copy, locks the
//! databases, makes sure that nothing changed since, writes the journal, and follows it. It comes to one of two
//! ends: all of it done and checked, or everything as it was. After a kill the journal leads to the same.

mod apply;
mod databases;
mod files;
mod repository;

use std::path::Path;

use anyhow::Result;

pub use self::databases::{DatabaseStep, State};
pub use self::repository::{GitStep, GitWish};
use super::journal::Finish;
use super::present::{self, Present};
use super::scope::Scope;
use super::wanted::{self, Wanted};
use super::workshop::Workshop;
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::failure::{Failure, Kind};
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Leaf, Tree};
use crate::project::git;
use crate::project::plan::{self, Change, Move, Plan};
use crate::project::root::Project;
use crate::store::undo_log::Operation;

/// What is to be put back.
pub struct Order<'a> {
    /// Out of this archive.
    pub archive: &'a Archive,
    /// Its manifest.
    pub manifest: &'a Manifest,
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
    pub databases: Vec<DatabaseStep<'a>>,
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

/// Looks, takes out of the archive, and plans. With `dry`, nothing is written anywhere but in the system's
/// temporary folder.
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
    let root = &project.root;
    monitor.step("comparing with the project", None);
    let opened = git::open(root)?;
    let wanted = wanted::wanted(order.archive, order.manifest, &order.scope)?;
    anything(&wanted, &order)?;
    refuse_store(root, store, &wanted)?;
    let mut present = present::present(project, store, &opened, &wanted, &order.scope)?;
    let removes = |path: &SafePath| {
        let is_folder = present.tree.get(path).is_some_and(Leaf::is_folder);
        let known = matches!(order.scope, Scope::Paths(_)) || !left_out_then(order.manifest, path);
        order.exact && order.scope.has(path, is_folder) && known
    };
    let others: Vec<&SafePath> = present
        .databases
        .iter()
        .filter(|path| !wanted.database_files.contains(path) && !wanted.tree.contains_key(path))
        .collect();
    // What is in the way goes with all that is in it.
    let goes = |path: &SafePath| removes(path) || is_in_the_way(path, &wanted.tree);
    let (databases_removed, staying): (Vec<SafePath>, Vec<SafePath>) =
        others.into_iter().cloned().partition(|path| goes(path));
    let mut plan =
        plan::plan(&wanted.tree, &|path| wanted.open.contains(path), &present.tree, &removes, &staying);
    if let Some(step) = plan.stuck(&present.untouched).find(|step| step.change == Change::Replace) {
        let text = format!(
            "{} is a folder now, with files in it that no backup holds, and the backup has something else there",
            step.path
        );
        return Err(Failure::new(Kind::Refused, text).hint("move that folder away first").into());
    }
    let moves = plan.moves(&present.untouched);
    let finishes = files::finishes(&plan, &wanted, &present, &moves);
    // What was not asked for stays anyway, whether or not the backup holds it.
    plan.extra.retain(|path| order.scope.has(path, present.tree.get(path).is_some_and(Leaf::is_folder)));
    let shop = if dry {
        Shop::Dry(tempfile::Builder::new().prefix("xtask-plan-").tempdir()?)
    } else {
        Shop::Here(Workshop::begin(root)?)
    };
    let fill = || -> Result<_> {
        if !dry {
            files::stage_files(&order, &plan, shop.work(), monitor)?;
        }
        let (databases, mut findings) = databases::prepare(root, &order, &wanted, shop.work(), monitor)?;
        let git = repository::prepare(root, &opened, &order, shop.work(), &mut findings, monitor)?;
        Ok((databases, git, findings))
    };
    match fill() {
        Ok((databases, git, findings)) => {
            let mut all = std::mem::take(&mut present.findings);
            // What of the project is not protected is said by the safety copy.
            all.retain(|finding| finding.code == "store-in-project");
            all.extend(findings);
            Ok(Prepared {
                order,
                shop,
                plan,
                databases,
                databases_removed,
                git,
                findings: all,
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

fn anything(wanted: &Wanted<'_>, order: &Order<'_>) -> Result<()> {
    if wanted.tree.is_empty() && wanted.databases.is_empty() && matches!(order.scope, Scope::Only(_)) {
        let id = &order.manifest.id;
        return Err(Failure::new(Kind::NotFound, format!("nothing in backup {id} matches --only"))
            .hint(format!("see what it holds: cargo xtask restore {id} --dry-run --to DIR"))
            .into());
    }
    Ok(())
}

/// A store holds backups and nothing else: what is restored into it would be taken for part of it.
fn refuse_store(root: &Path, store: &Path, wanted: &Wanted<'_>) -> Result<()> {
    let (Ok(root), Ok(store)) = (root.canonicalize(), store.canonicalize()) else { return Ok(()) };
    let Ok(inside) = store.strip_prefix(&root) else { return Ok(()) };
    let store = SafePath::new(crate::base::os_name::from_os(inside.as_os_str())?)?;
    let databases = wanted.databases.iter().map(|database| &database.path);
    let hit = |path: &&SafePath| plan::is_below(path, &store) || **path == store;
    let file = |path: &&SafePath| !wanted.tree.get(*path).is_some_and(Leaf::is_folder);
    match wanted.tree.keys().chain(databases).filter(file).find(hit) {
        None => Ok(()),
        Some(path) => {
            let text = format!("the backup holds {path}, where the store of the backups is now");
            Err(Failure::new(Kind::Refused, text)
                .hint("restore into another folder with --to DIR, or leave it out: name what you want with --only PATH")
                .into())
        }
    }
}

/// Whether something that is no folder comes where a folder above this path is.
fn is_in_the_way(path: &SafePath, wanted: &Tree) -> bool {
    let mut above = path.parent();
    while let Some(folder) = above {
        if wanted.get(&folder).is_some_and(|leaf| !leaf.is_folder()) {
            return true;
        }
        above = folder.parent();
    }
    false
}

/// Whether a backup left a path out, so that it can't say whether it was there.
fn left_out_then(manifest: &Manifest, path: &SafePath) -> bool {
    manifest.left_out.iter().any(|left| left.path == *path || plan::is_below(path, &left.path))
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
