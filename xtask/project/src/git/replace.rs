//! Putting a backup's git state into a repository that is there: which paths of the git folder are replaced
//! by what. Nothing that git reads is changed here. Objects are added, which nobody sees before a ref leads
//! to them; everything else is written into a work folder, and whoever holds the journal renames it into
//! place, so that a run that is killed is finished or rolled back by renames alone. No command of git
//! writes a ref, an index or a reflog on the way: no hook runs, and no entry of a log appears by itself.

mod compare;
pub mod hold;
mod live;
mod merge;
pub mod new_branch;
mod objects;
mod refusals;
mod stage;
mod wanted;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Git;
use super::config;
use super::facts::operation;
use super::refs::Value;
use super::saved;
use super::settings::{self, Fate};
use crate::base::escape::escape;
use crate::base::facts::GitFacts;
use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;
use live::Live;
use merge::{Fate as RefFate, Merge};
use wanted::Wanted;

/// One path inside the git folder that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Absolute; a file, or a folder as a whole.
    pub path: PathBuf,
    /// What takes its place, a file or a folder below the work folder; `None`: the path goes away.
    pub staged: Option<PathBuf>,
}

/// A ref that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefChange {
    /// In full: `refs/heads/main`.
    pub name: String,
    /// An id, or the name of the ref that it leads to; `None`: it is not there.
    pub before: Option<String>,
    /// The same, afterwards.
    pub after: Option<String>,
}

/// What would change.
#[derive(Debug, Default)]
pub struct GitPlan {
    /// Refs that differ, the stash included, by name.
    pub refs: Vec<RefChange>,
    /// HEAD before and after, as people read it (a branch, or a short id); `None`: it stays.
    pub head: Option<(String, String)>,
    /// Whether the index differs.
    pub index: bool,
    /// The operation under way before and after, when it differs. The same word twice: another one of its
    /// kind, or another step of it.
    pub operation: Option<(Option<String>, Option<String>)>,
    /// Reflogs that differ: `HEAD`, or a ref's full name.
    pub logs: Vec<String>,
    /// Other files that differ (`ORIG_HEAD`, `info/sparse-checkout`).
    pub files: Vec<String>,
    /// Refs that the backup does not hold and that stay; empty with `exact`.
    pub kept: Vec<String>,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

impl GitPlan {
    /// Whether git is as the backup has it.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
            && self.head.is_none()
            && !self.index
            && self.operation.is_none()
            && self.logs.is_empty()
            && self.files.is_empty()
    }
}

/// Both sides, read at one time.
struct Sides<'a> {
    git: &'a Git,
    source: &'a Path,
    wanted: Wanted,
    live: Live,
    exact: bool,
}

impl<'a> Sides<'a> {
    fn read(git: &'a Git, source: &'a Path, facts: &GitFacts, exact: bool) -> Result<Sides<'a>> {
        refusals::form(git, facts)?;
        let wanted = Wanted::read(source, facts)?;
        let live = Live::read(&git.common)?;
        refusals::locks(git, &live)?;
        let sides = Sides { git, source, wanted, live, exact };
        let changes = sides.changes();
        refusals::linked(git, &changes, &sides.live.head, &sides.wanted.head)?;
        Ok(sides)
    }

    fn merge(&self) -> Merge<'_> {
        Merge::new(&self.live, &self.wanted, self.exact)
    }

    fn changes(&self) -> Vec<RefChange> {
        let merge = self.merge();
        let shown = |value: &Value| match value {
            Value::Id(id) => id.clone(),
            Value::Symbolic(name) => name.clone(),
        };
        let mut names: Vec<&String> = self.live.refs.keys().chain(self.wanted.refs.keys()).collect();
        names.sort();
        names.dedup();
        let mut changes = Vec::new();
        for name in names {
            let before = self.live.refs.get(name);
            let after = match merge.of(name.as_bytes()) {
                RefFate::Saved => self.wanted.refs.get(name),
                RefFate::Stays => before,
                RefFate::Yields | RefFate::Goes => None,
            };
            if before != after {
                let (before, after) = (before.map(shown), after.map(shown));
                changes.push(RefChange { name: name.clone(), before, after });
            }
        }
        changes
    }

    /// Files and folders of the git folder that belong to this working copy, the index aside: of either side.
    fn own(&self) -> Result<Vec<SafePath>> {
        wanted::own_names(&self.wanted, &self.git.own)
    }
}

/// What would change if [`stage`] were applied. Reads only. `source` is the extracted `git/` folder of a
/// backup, `facts` what its manifest says of git. With `exact`, refs that the backup does not hold go.
///
/// # Errors
/// When the repository is of a form that can't be put back into, another git process holds a lock, a
/// branch that would move is checked out in a linked working copy (all [`crate::base::failure::Kind`]
/// `Refused`, with the next thing to do), or something can't be read.
pub fn plan(git: &Git, source: &Path, facts: &GitFacts, exact: bool) -> Result<GitPlan> {
    let mut sides = Sides::read(git, source, facts, exact)?;
    let mut plan = GitPlan {
        refs: sides.changes(),
        findings: std::mem::take(&mut sides.wanted.findings),
        ..GitPlan::default()
    };
    let merge = sides.merge();
    let stays = |name: &&String| merge.of(name.as_bytes()) == RefFate::Stays;
    plan.kept = sides.live.refs.keys().filter(stays).cloned().collect();
    if sides.live.head != sides.wanted.head {
        plan.head = Some((shown(&sides.live.head), shown(&sides.wanted.head)));
    }
    plan.index = compare::index_differs(&sides)?;
    plan.logs = merge.logs_that_differ(source, &git.common)?;
    let mut of_operation = Vec::new();
    for name in sides.own()? {
        if compare::differs(&name.below(source)?, &name.below(&git.own)?)? {
            let names = if wanted::is_of_operation(&name) { &mut of_operation } else { &mut plan.files };
            names.push(escape(name.bytes()));
        }
    }
    let [before, after] = [git.own.as_path(), source].map(|own| operation(&[own]).map(str::to_owned));
    if before != after || before.is_some() && !of_operation.is_empty() {
        plan.operation = Some((before, after));
    } else {
        plan.files.append(&mut of_operation); // what an operation that is over has left
    }
    // Whether a cut of now can go is known only when the backup's objects are there: better one word too many.
    if sides.wanted.shallow != objects::shallow(&git.common)? {
        plan.files.push("shallow".to_owned());
    }
    if sides.wanted.partial && sides.wanted.gaps && !git.is_partial() {
        let what = "the backup is of a partial clone, and this repository is none: objects that were never \
                    fetched then will be missing";
        plan.findings
            .push(Finding::problem("partial-clone", what).hint("`git fetch` from a whole clone gets them"));
    }
    plan.findings.extend(merge.advice());
    plan.findings.extend(unlike(git, source)?);
    Ok(plan)
}

/// Adds the backup's objects to the repository, and writes what takes the place of what into `work`, an
/// empty private folder on the same file system as the git folder (see [`Git::folder`]). The replacements
/// come in the order in which they are made: somebody who reads in between finds every ref that HEAD names.
/// None at all: everything is as the backup has it. Takes what is there at this moment, so it comes right
/// before its replacements are made.
///
/// # Errors
/// As [`plan`]; also when a bundle is damaged or `work` can't be written. The repository is then as it was,
/// but for objects that nothing leads to.
pub fn stage(
    git: &Git,
    source: &Path,
    facts: &GitFacts,
    exact: bool,
    work: &Path,
) -> Result<Vec<Replacement>> {
    let sides = Sides::read(git, source, facts, exact)?;
    let cut_off = objects::bring(git, source, &sides.wanted, work)?;
    // Bringing objects takes its time; what counts is what is there now.
    let sides = Sides::read(git, source, facts, exact)?;
    stage::all(&sides, &cut_off, work)
}

impl Git {
    /// The git folder of this working copy, where [`stage`]'s work folder must be able to rename to.
    pub fn folder(&self) -> &Path {
        &self.own
    }
}

/// HEAD as people read it.
fn shown(head: &Value) -> String {
    match head {
        Value::Symbolic(name) => name.strip_prefix("refs/heads/").unwrap_or(name).to_owned(),
        Value::Id(id) => id.get(..10).unwrap_or(id).to_owned(),
    }
}

/// What differs and is not put back: settings that are data, and the lists of what git ignores.
fn unlike(git: &Git, source: &Path) -> Result<Option<Finding>> {
    let values = |settings: &[config::Setting]| {
        let mut values = std::collections::BTreeMap::<String, Vec<String>>::new();
        for setting in settings.iter().filter(|setting| settings::fate(setting) == Fate::Apply) {
            values.entry(setting.name()).or_default().push(setting.value.clone());
        }
        values
    };
    let mut theirs = Vec::new();
    for name in ["config", "config.worktree"] {
        if let Some(path) = saved::regular(source, &SafePath::new(name)?)? {
            // One that can't be read has nothing that could be compared; it is not put back in any case.
            theirs.extend(config::read(&path).unwrap_or_default());
        }
    }
    let (ours, theirs) = (values(&git.settings), values(&theirs));
    let mut names: Vec<String> = ours.keys().chain(theirs.keys()).cloned().collect();
    names.retain(|name| ours.get(name) != theirs.get(name));
    names.sort();
    names.dedup();
    for name in ["info/exclude", "info/attributes"] {
        if compare::differs(&source.join(name), &git.common.join(name))? {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        return Ok(None);
    }
    let more = names.len().saturating_sub(5);
    let some: Vec<String> = names.iter().take(5).map(|name| escape(name.as_bytes())).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let what =
        format!("settings of git that are not as in the backup stay as they are: {}{more}", some.join(", "));
    Ok(Some(Finding::advice("git-settings", what).hint("the backup's are in its git/config and git/info/")))
}
