//! Looks at the project and at what comes, and plans. Everything that comes is in the workshop afterwards, and
//! checked; in the project nothing has changed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::super::journal::Finish;
use super::super::present::{self, Present};
use super::super::scope::Scope;
use super::super::wanted::{self, Wanted};
use super::commit::Checkout;
use super::source::{FromCommit, Source};
use super::{DatabaseStep, GitStep, Order, databases, files, repository};
use crate::archive::manifest::Manifest;
use crate::base::failure::{Failure, Kind};
use crate::base::finding::Finding;
use crate::base::monitor::Monitor;
use crate::base::parallel;
use crate::base::safe_path::SafePath;
use crate::base::tree::{Leaf, Tree};
use crate::project::git::{self, Git, Opened};
use crate::project::plan::{self, Change, Move, Plan};
use crate::project::root::Project;

/// What is looked at, and where it is prepared.
pub(super) struct Preparing<'p, 'a> {
    pub project: &'p Project,
    pub store: &'p Path,
    pub order: &'p Order<'a>,
    pub opened: &'p Opened,
    pub work: &'p Path,
    /// Only to see what would happen.
    pub dry: bool,
}

/// What came of it.
pub(super) struct Found {
    pub plan: Plan,
    pub databases: Vec<DatabaseStep>,
    pub databases_removed: Vec<SafePath>,
    pub git: GitStep,
    pub findings: Vec<Finding>,
    pub present: Present,
    pub moves: Vec<Move>,
    pub finishes: Vec<Finish>,
}

/// Which paths go although nothing takes their place.
enum Leaving {
    /// Whatever the backup would have known of, where only what it holds is wanted.
    NotInBackup,
    /// These.
    These(BTreeSet<SafePath>),
}

impl Preparing<'_, '_> {
    /// Plans.
    ///
    /// # Errors
    /// As [`super::prepare`].
    pub fn run(&self, monitor: &dyn Monitor) -> Result<Found> {
        match &self.order.source {
            Source::Backup(backup) => {
                let wanted = wanted::wanted(backup.archive, backup.manifest, &self.order.scope)?;
                anything(&wanted, self.order, backup.manifest)?;
                refuse_store(&self.project.root, self.store, &wanted, self.order.source.word())?;
                let present = self.present(&wanted)?;
                let (plan, databases_removed) = self.plan(&wanted, &present, &Leaving::NotInBackup)?;
                if !self.dry {
                    files::stage_files(backup.archive, &plan, self.work, monitor)?;
                }
                let (databases, mut findings) =
                    databases::prepare(&self.project.root, self.order, &wanted, self.work, monitor)?;
                let root = &self.project.root;
                let git =
                    repository::prepare(root, self.opened, self.order, self.work, &mut findings, monitor)?;
                Ok(self.found(plan, &wanted, present, (databases, databases_removed), git, findings))
            }
            Source::Commit(from) => self.run_commit(from, monitor),
        }
    }

    fn run_commit(&self, from: &FromCommit<'_>, monitor: &dyn Monitor) -> Result<Found> {
        let root = &self.project.root;
        let git = self.git()?;
        let scope = &self.order.scope;
        // The project is walked while the commit is written out; git is asked by one of its own, since
        // libgit2 serves one thread at a time.
        let (begun, seen) = parallel::both(
            || Checkout::begin(root, git, from, scope, self.work, monitor),
            || present::see(self.project, self.store, &git::open(root)?),
        )?;
        let ((mut checkout, mut wanted), seen) = (begun?, seen?);
        if matches!(scope, Scope::Only(_)) && !checkout.concerns_something(&wanted) {
            let text = format!("nothing in the commit {} matches --only", from.commit.short());
            return Err(Failure::new(Kind::NotFound, text)
                .hint(format!("see what it holds: git ls-tree -r --name-only {}", from.commit.short()))
                .into());
        }
        refuse_store(root, self.store, &wanted, self.order.source.word())?;
        let mut present = present::present(self.project, seen, &wanted, scope)?;
        let leaving = Leaving::These(checkout.settle(&mut wanted, &mut present)?);
        let (mut plan, databases_removed) = self.plan(&wanted, &present, &leaving)?;
        // What git does not track is nobody's concern here.
        plan.extra.clear();
        checkout.finish_staged(&plan, &wanted)?;
        let (databases, more) = databases::prepare(root, self.order, &wanted, self.work, monitor)?;
        let mut findings = std::mem::take(&mut checkout.findings);
        findings.extend(more);
        let git = repository::branch(root, git, from, checkout.left_out())?;
        Ok(self.found(plan, &wanted, present, (databases, databases_removed), git, findings))
    }

    fn found(
        &self,
        mut plan: Plan,
        wanted: &Wanted<'_>,
        mut present: Present,
        (databases, databases_removed): (Vec<DatabaseStep>, Vec<SafePath>),
        git: GitStep,
        more: Vec<Finding>,
    ) -> Found {
        let moves = plan.moves(&present.untouched);
        let finishes = files::finishes(&plan, wanted, &present, &moves);
        // What was not asked for stays anyway, whether or not the backup holds it.
        let is_folder = |path: &SafePath| present.tree.get(path).is_some_and(Leaf::is_folder);
        plan.extra.retain(|path| self.order.scope.has(path, is_folder(path)));
        let mut findings = std::mem::take(&mut present.findings);
        // What of the project is not protected is said by the safety copy.
        findings.retain(|finding| finding.code == "store-in-project");
        findings.extend(more);
        Found { plan, databases, databases_removed, git, findings, present, moves, finishes }
    }

    fn present(&self, wanted: &Wanted<'_>) -> Result<Present> {
        let seen = present::see(self.project, self.store, self.opened)?;
        present::present(self.project, seen, wanted, &self.order.scope)
    }

    fn git(&self) -> Result<&Git> {
        match self.opened {
            Opened::Git(git) => Ok(git),
            Opened::Refused { reason, hint } => {
                Err(Failure::new(Kind::Failed, reason.clone()).hint(hint.clone()).into())
            }
            Opened::None => {
                let text = format!("there is no git repository in {}", self.project.root.display());
                Err(Failure::new(Kind::Failed, text)
                    .hint("bring files back from a backup: cargo xtask restore")
                    .into())
            }
        }
    }

    /// The plan, and the databases that go.
    fn plan(
        &self,
        wanted: &Wanted<'_>,
        present: &Present,
        leaving: &Leaving,
    ) -> Result<(Plan, Vec<SafePath>)> {
        let order = self.order;
        let removes = |path: &SafePath| match (leaving, &order.source) {
            (Leaving::These(paths), _) => paths.contains(path),
            (Leaving::NotInBackup, Source::Commit(_)) => false,
            (Leaving::NotInBackup, Source::Backup(backup)) => {
                let is_folder = present.tree.get(path).is_some_and(Leaf::is_folder);
                let known = matches!(order.scope, Scope::Paths(_)) || !left_out_then(backup.manifest, path);
                order.exact && order.scope.has(path, is_folder) && known
            }
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
        let open = |path: &SafePath| wanted.open.contains(path);
        let plan = plan::plan(&wanted.tree, &open, &present.tree, &removes, &staying);
        if let Some(step) = plan.stuck(&present.untouched).find(|step| step.change == Change::Replace) {
            let text = format!(
                "{} is a folder now, with files in it that no backup holds, and {} has something else there",
                step.path,
                order.source.word()
            );
            return Err(Failure::new(Kind::Refused, text).hint("move that folder away first").into());
        }
        Ok((plan, databases_removed))
    }
}

fn anything(wanted: &Wanted<'_>, order: &Order<'_>, manifest: &Manifest) -> Result<()> {
    if wanted.tree.is_empty() && wanted.databases.is_empty() && matches!(order.scope, Scope::Only(_)) {
        let id = &manifest.id;
        return Err(Failure::new(Kind::NotFound, format!("nothing in backup {id} matches --only"))
            .hint(format!("see what it holds: cargo xtask restore {id} --dry-run --to DIR"))
            .into());
    }
    Ok(())
}

/// A store holds backups and nothing else: what is restored into it would be taken for part of it.
fn refuse_store(root: &Path, store: &Path, wanted: &Wanted<'_>, word: &str) -> Result<()> {
    let (Ok(root), Ok(store)) = (root.canonicalize(), store.canonicalize()) else { return Ok(()) };
    let Ok(inside) = store.strip_prefix(&root) else { return Ok(()) };
    let store = SafePath::new(crate::base::os_name::from_os(inside.as_os_str())?)?;
    let databases = wanted.databases.iter().map(|database| &database.path);
    let hit = |path: &&SafePath| plan::is_below(path, &store) || **path == store;
    let file = |path: &&SafePath| !wanted.tree.get(*path).is_some_and(Leaf::is_folder);
    match wanted.tree.keys().chain(databases).filter(file).find(hit) {
        None => Ok(()),
        Some(path) => {
            let text = format!("{word} holds {path}, where the store of the backups is now");
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
