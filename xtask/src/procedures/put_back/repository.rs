//! Git in a restore over a living project: a repository that is there gets the backup's refs, HEAD, index and
//! state; where there is none, a new one is made.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::extract;
use super::super::journal;
use super::super::marks::Marks;
use super::super::rename::Rename;
use super::source::{FromCommit, Source};
use super::{Order, databases};
use crate::archive::header::Kind as EntryKind;
use crate::archive::index::Entry;
use crate::archive::layout::{self, Part};
use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::links;
use crate::base::monitor::Monitor;
use crate::base::os_name;
use crate::base::safe_path::SafePath;
use crate::project::git::replace::new_branch::{self, NewBranch};
use crate::project::git::replace::{self, GitPlan, hold};
use crate::project::git::revision::Commit;
use crate::project::git::{self, Git, Opened};

/// What becomes of git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitWish {
    /// Nothing, unless there is none now and the backup holds one.
    WhenMissing,
    /// Nothing at all.
    Never,
    /// It becomes what the backup holds.
    Always,
    /// It goes: there was none.
    Remove,
}

/// What happens to it.
pub enum GitStep {
    /// Nothing.
    Nothing,
    /// Refs, HEAD, index and state are replaced.
    Replace(Box<GitPlan>),
    /// A new repository is made.
    Create {
        /// Hooks and settings that were not applied because they can run programs.
        not_applied: Vec<String>,
    },
    /// HEAD moves to a new branch.
    Branch(Box<BranchStep>),
    /// It goes.
    Remove,
}

/// How HEAD moves to a new branch.
pub struct BranchStep {
    /// The branch.
    pub branch: NewBranch,
    commit: Commit,
    left_out: BTreeSet<SafePath>,
}

impl GitStep {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        match self {
            GitStep::Nothing => true,
            GitStep::Replace(plan) => plan.is_empty(),
            GitStep::Create { .. } | GitStep::Branch(_) | GitStep::Remove => false,
        }
    }
}

const SOURCE: &str = "git-source";
const FRESH: &str = "git-fresh";
const STAGED: &str = "git-staged";

/// Looks what would change; makes a repository where one is missing.
///
/// # Errors
/// When the repository is of a form that can't be put back into, or the backup holds none (`Refused`).
pub(super) fn prepare(
    root: &Path,
    opened: &Opened,
    order: &Order<'_>,
    work: &Path,
    findings: &mut Vec<Finding>,
    monitor: &dyn Monitor,
) -> Result<GitStep> {
    let there = links::exists(&root.join(".git"))?;
    let Source::Backup(backup) = &order.source else { return Ok(GitStep::Nothing) };
    let facts = match (order.git, &backup.manifest.git) {
        (GitWish::Never, _) => return Ok(GitStep::Nothing),
        (GitWish::Remove, _) => return Ok(if there { GitStep::Remove } else { GitStep::Nothing }),
        (GitWish::WhenMissing, _) if there => return Ok(GitStep::Nothing),
        (GitWish::WhenMissing, None) => return Ok(GitStep::Nothing),
        (GitWish::Always, None) => {
            let text = format!("backup {} holds no git history", backup.manifest.id);
            return Err(Failure::new(Kind::Refused, text).hint("restore it without --git").into());
        }
        (_, Some(facts)) => facts,
    };
    monitor.step("restoring git", None);
    let source = work.join(SOURCE);
    file_facts::create_private_dir(&source)?;
    let mapping = |entry: &Entry| match layout::part(&entry.meta.path, entry.kind == EntryKind::Folder) {
        Part::Git(path) => Some((source.as_path(), path)),
        _ => None,
    };
    extract::extract(backup.archive, &mapping, monitor)?;
    if !there {
        let fresh = work.join(FRESH);
        file_facts::create_private_dir(&fresh)?;
        let put = git::put_back(&source, facts, &fresh, order.trusts_code()).context("can't restore git")?;
        findings.extend(put.findings);
        return Ok(GitStep::Create { not_applied: put.not_applied });
    }
    match opened {
        Opened::Git(git) => {
            refuse_elsewhere(root, git.folder())?;
            let mut plan = replace::plan(git, &source, facts, order.exact)?;
            findings.append(&mut plan.findings);
            Ok(GitStep::Replace(Box::new(plan)))
        }
        Opened::Refused { reason, hint } => {
            Err(Failure::new(Kind::Refused, reason.clone()).hint(hint.clone()).into())
        }
        Opened::None => {
            let text = format!("{} is there and is no git repository", root.join(".git").display());
            Err(Failure::new(Kind::Refused, text).hint("move it aside, and restore again").into())
        }
    }
}

/// HEAD moves to a new branch at a commit, where that is wanted.
///
/// # Errors
/// When git's folder is elsewhere (`Refused`).
pub(super) fn branch(
    root: &Path,
    git: &Git,
    from: &FromCommit<'_>,
    left_out: &BTreeSet<SafePath>,
) -> Result<GitStep> {
    let Some(branch) = from.branch.clone() else { return Ok(GitStep::Nothing) };
    refuse_elsewhere(root, git.folder())?;
    let step = BranchStep { branch, commit: from.commit.clone(), left_out: left_out.clone() };
    Ok(GitStep::Branch(Box::new(step)))
}

/// Takes git's own locks, where something of git is replaced.
///
/// # Errors
/// Of kind `Refused` when another git process holds one.
pub(super) fn lock(root: &Path, step: &GitStep) -> Result<Option<hold::Held>> {
    match step {
        GitStep::Replace(plan) if plan.is_empty() => Ok(None),
        GitStep::Replace(_) | GitStep::Branch(_) => Ok(Some(hold::take(&root.join(".git"))?)),
        GitStep::Nothing | GitStep::Create { .. } | GitStep::Remove => Ok(None),
    }
}

/// What lies in git's folder, objects aside; taken before it is read, so that whatever another git command
/// writes from then on shows.
///
/// # Errors
/// When it can't be looked at.
pub(super) fn marks(root: &Path, step: &GitStep) -> Result<Marks> {
    let mut marks = Marks::default();
    if !step.is_empty() {
        marks.add(&SafePath::new(".git")?, &root.join(".git"))?;
    }
    Ok(marks)
}

/// What is replaced must be on the project's own disk.
fn refuse_elsewhere(root: &Path, folder: &Path) -> Result<()> {
    let own = |path: &Path| path.canonicalize().with_context(|| format!("can't find {}", path.display()));
    if own(folder)? == own(root)?.join(".git") {
        return Ok(());
    }
    let text = format!("git's folder is not in the project, but at {}", folder.display());
    Err(Failure::new(Kind::Refused, text)
        .hint("restore into another folder with --to DIR, and fetch from there what you need")
        .into())
}

/// The renames in the project that carry it out. Adds objects to the repository, and changes nothing else.
///
/// # Errors
/// When the bundle is damaged, or there is no room.
pub(super) fn renames(root: &Path, step: &GitStep, order: &Order<'_>, work: &Path) -> Result<Vec<Rename>> {
    let git = SafePath::new(".git")?;
    match step {
        GitStep::Nothing => Ok(Vec::new()),
        GitStep::Remove => Ok(vec![databases::goes(git)?]),
        GitStep::Create { .. } => {
            let staged = Some(journal::place(FRESH, b".git")?);
            Ok(vec![Rename { path: git, staged, old: None, if_empty: false }])
        }
        GitStep::Replace(plan) if plan.is_empty() => Ok(Vec::new()),
        GitStep::Replace(_) => {
            let facts = order.source.backup().and_then(|backup| backup.manifest.git.as_ref());
            let (Opened::Git(git), Some(facts)) = (git::open(root)?, facts) else {
                anyhow::bail!("the git repository in {} went away meanwhile", root.display());
            };
            let staged_in = work.join(STAGED);
            file_facts::create_private_dir(&staged_in)?;
            let top = git.folder().to_path_buf();
            let staged = replace::stage(&git, &work.join(SOURCE), facts, order.exact, &staged_in)?;
            staged.into_iter().map(|one| rename(&top, work, &one.path, one.staged.as_deref())).collect()
        }
        GitStep::Branch(step) => {
            let Opened::Git(git) = git::open(root)? else {
                anyhow::bail!("the git repository in {} went away meanwhile", root.display());
            };
            let staged_in = work.join(STAGED);
            file_facts::create_private_dir(&staged_in)?;
            let top = git.folder().to_path_buf();
            let BranchStep { branch, commit, left_out } = step.as_ref();
            let staged =
                new_branch::stage_branch(&git, commit, branch, left_out, Instant::now(), &staged_in)?;
            staged.into_iter().map(|one| rename(&top, work, &one.path, one.staged.as_deref())).collect()
        }
    }
}

fn rename(top: &Path, work: &Path, path: &Path, staged: Option<&Path>) -> Result<Rename> {
    let inside = |path: &Path, top: &Path| -> Result<Vec<u8>> {
        let rest = path.strip_prefix(top).with_context(|| format!("{} lies elsewhere", path.display()))?;
        os_name::from_os(rest.as_os_str())
    };
    let there = links::exists(path)?;
    Ok(Rename {
        path: journal::place(".git", &inside(path, top)?)?,
        staged: staged.map(|staged| SafePath::new(inside(staged, work)?)).transpose()?,
        old: there.then(|| journal::aside(0)).transpose()?,
        if_empty: false,
    })
}

impl Order<'_> {
    /// Hooks and settings come back when that is wanted, and by themselves only where this project's own safety
    /// copy is put back.
    fn trusts_code(&self) -> bool {
        self.with_code || self.operation != crate::store::undo_log::Operation::Restore
    }
}
