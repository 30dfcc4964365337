//! Moving HEAD to a new branch: which paths of the git folder are replaced by what. The branch is new, so no
//! ref moves that anybody knows; the index becomes the commit's, without any file's times, so that git looks
//! into every file once. As everywhere here nothing that git reads is changed by staging it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};

use super::super::Git;
use super::super::config;
use super::super::facts::operation;
use super::super::refs::{self, Value};
use super::super::revision::Commit;
use super::super::run::{Input, output};
use super::super::saved;
use super::super::twin::write;
use super::live::Live;
use super::{Replacement, refusals, shown, stage};
use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts::create_private_dir;
use crate::base::safe_path::SafePath;
use crate::base::{durable, links};

/// A branch that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBranch {
    /// `restore/0123456789`.
    pub name: String,
    /// What HEAD is at now, as people read it (a branch, or a short id).
    pub leaves: String,
}

/// The branch that HEAD would move to: `wanted`, or else `restore/` and the beginning of the commit's id, with
/// `-2`, `-3` … where that is taken. Reads only.
///
/// # Errors
/// `Usage` when the name is none; `Refused` when it is taken, an operation is under way that HEAD belongs to,
/// another git process holds a lock, or the repository is of a form in which files can't be replaced.
pub fn new_branch(git: &Git, commit: &Commit, wanted: Option<&str>) -> Result<NewBranch> {
    refuse_form(git, commit)?;
    let live = Live::read(&git.common)?;
    refusals::locks(git, &live)?;
    if let Some(what) = operation(&[&git.own]) {
        let how = match what {
            "apply" => "git am --abort".to_owned(),
            "bisect" => "git bisect reset".to_owned(),
            what => format!("git {what} --abort"),
        };
        let text = format!("a {what} is under way, and HEAD belongs to it");
        return Err(refused(text)
            .hint(format!("end it first ({how}), or restore without --checkout"))
            .into());
    }
    let leaves = shown(&live.head);
    if let Some(name) = wanted {
        let full = format!("refs/heads/{name}");
        if name.starts_with('-') || name == "HEAD" || !refs::is_name(&full) {
            let text = format!("{:?} can't be a branch's name", escape(name.as_bytes()));
            return Err(Failure::new(Kind::Usage, text)
                .hint("git check-ref-format --help tells the rules")
                .into());
        }
        if let Some(other) = in_the_way(git, &live, &full)? {
            let text = format!("there can't be a new branch {name}: {} is there", escape(other.as_bytes()));
            return Err(refused(text).hint("name another one: --checkout --branch NAME").into());
        }
        return Ok(NewBranch { name: name.to_owned(), leaves });
    }
    // A branch named `restore` leaves no room for one below it.
    for base in [format!("restore/{}", commit.short()), format!("restore-{}", commit.short())] {
        for count in 1..1000 {
            let name = if count == 1 { base.clone() } else { format!("{base}-{count}") };
            let full = format!("refs/heads/{name}");
            if in_the_way(git, &live, &full)?.is_none() {
                return Ok(NewBranch { name, leaves });
            }
        }
    }
    Err(refused("no name for a new branch is free".to_owned())
        .hint("name one: --checkout --branch NAME")
        .into())
}

/// Writes what takes the place of what, so that HEAD is at the new branch, into `work`, an empty private folder
/// on the git folder's file system. `left_out` is what a sparse checkout leaves out
/// ([`super::super::write_out::WrittenOut`]). The replacements come in their order: the branch is there before
/// HEAD leads to it. Comes right before they are made, with git's locks held (see [`super::hold`]).
///
/// # Errors
/// As [`new_branch`]; also when the commit's tree can't be read or `work` can't be written.
pub fn stage_branch(
    git: &Git,
    commit: &Commit,
    branch: &NewBranch,
    left_out: &BTreeSet<SafePath>,
    now: Instant,
    work: &Path,
) -> Result<Vec<Replacement>> {
    // What counts is what is there now.
    let checked = new_branch(git, commit, Some(&branch.name))?;
    let new = work.join("new");
    create_private_dir(&new).with_context(|| format!("can't make {}", new.display()))?;
    let mut staging = Staging { git, new, replaced: Vec::new() };
    let live = Live::read(&git.common)?;
    let full = format!("refs/heads/{}", branch.name);
    let zero = "0".repeat(commit.id.len());
    let before = refs::resolve(&live.refs, &live.head).unwrap_or_else(|| zero.clone());
    let who = format!("{} {} +0000", who(git), now.0);
    if keeps_logs(git) {
        let line = format!("{zero} {} {who}\tbranch: Created from {}\n", commit.id, commit.id);
        staging.fresh(&format!("logs/{full}"), line.as_bytes())?;
    }
    staging.fresh(&full, saved::line(&Value::Id(commit.id.clone())).as_bytes())?;
    let log = git.own.join("logs/HEAD");
    let lines = match fs::read(&log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.with_context(|| format!("can't read {}", log.display()))?),
    };
    if lines.is_some() || keeps_logs(git) {
        let mut lines = lines.unwrap_or_default();
        if lines.last().is_some_and(|last| *last != b'\n') {
            lines.push(b'\n');
        }
        let moved = format!("checkout: moving from {} to {}", checked.leaves, branch.name);
        lines.extend(format!("{before} {} {who}\t{moved}\n", commit.id).as_bytes());
        staging.fresh("logs/HEAD", &lines)?;
    }
    staging.fresh("HEAD", saved::line(&Value::Symbolic(full)).as_bytes())?;
    staging.index(commit, left_out)?;
    stage::belong(git, &staging.new)?;
    durable::sync_tree(&staging.new).with_context(|| format!("can't sync {}", staging.new.display()))?;
    Ok(staging.replaced)
}

struct Staging<'a> {
    git: &'a Git,
    new: PathBuf,
    replaced: Vec<Replacement>,
}

impl Staging<'_> {
    /// A file, with the folders above it that are not there: they are replaced as a whole.
    fn fresh(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let name = SafePath::new(name)?;
        let mut top = name.clone();
        while let Some(folder) = top.parent() {
            if links::exists(&folder.below(&self.git.common)?)? {
                break;
            }
            top = folder;
        }
        let staged = name.below(&self.new)?;
        let folder = staged.parent().unwrap_or(&self.new);
        create_private_dir(folder).with_context(|| format!("can't make {}", folder.display()))?;
        write(&staged, bytes)?;
        let (path, staged) = (top.below(&self.git.common)?, Some(top.below(&self.new)?));
        // Where two files need the same new folder, it goes into place once, with both.
        if !self.replaced.iter().any(|known| known.path == path) {
            self.replaced.push(Replacement { path, staged });
        }
        Ok(())
    }

    fn index(&mut self, commit: &Commit, left_out: &BTreeSet<SafePath>) -> Result<()> {
        let path = self.new.join("index");
        match &self.git.program {
            Some(program) => {
                let scratch = tempfile::tempdir().context("can't make a temporary folder")?;
                let twin = self.git.twin(&scratch.path().join("twin"))?;
                let call = |args: &[&str], input: Input<'_>| {
                    let mut command = twin.call(program);
                    command.args(["-c", "index.sparse=false"]).args(args).env("GIT_INDEX_FILE", &path);
                    output(command, input)
                };
                call(&["read-tree", &commit.id], Input::Nothing)?;
                if !left_out.is_empty() {
                    let names: Vec<u8> =
                        left_out.iter().flat_map(|path| [path.bytes(), b"\0"]).flatten().copied().collect();
                    call(&["update-index", "--skip-worktree", "-z", "--stdin"], Input::Bytes(&names))?;
                }
            }
            None => {
                let library = self.git.library.as_ref().context("this repository needs the git command")?;
                let tree = library.find_commit(git2::Oid::from_str(&commit.id)?)?.tree()?;
                let mut index = git2::Index::open(&path)?;
                index.read_tree(&tree)?;
                index.write().with_context(|| format!("can't write {}", path.display()))?;
            }
        }
        self.replaced.push(Replacement { path: self.git.own.join("index"), staged: Some(path) });
        Ok(())
    }
}

fn refused(message: String) -> Failure {
    Failure::new(Kind::Refused, message)
}

fn refuse_form(git: &Git, commit: &Commit) -> Result<()> {
    let next = |failure: Failure| -> Error {
        failure
            .hint(format!("restore without --checkout, then: git switch -c NAME {}", commit.short()))
            .into()
    };
    let place = git.root.display();
    if git.own != git.common {
        return Err(next(refused(format!(
            "{place} is a linked working copy; its refs belong to others, too"
        ))));
    }
    if git.is_reftable() {
        return Err(next(refused(format!(
            "{place} keeps its refs in reftables; none can be added to them here"
        ))));
    }
    // What could not be taken back is not begun.
    if git.object_format() != "sha1" {
        let format = git.object_format();
        return Err(next(refused(format!(
            "{place} is a repository of the object format {format}, whose HEAD could not be put back by undo"
        ))));
    }
    for name in ["HEAD", "index", "refs", "refs/heads", "logs", "logs/HEAD", "logs/refs", "logs/refs/heads"] {
        let path = git.own.join(name);
        if let Ok(target) = fs::read_link(&path) {
            let text = format!("{} is a link to {}", path.display(), target.display());
            return Err(next(refused(format!("{text}; replacing it would cut them apart"))));
        }
    }
    Ok(())
}

/// A ref or a file where a new branch would be.
fn in_the_way(git: &Git, live: &Live, full: &str) -> Result<Option<String>> {
    let mut names = live.refs.keys().map(String::as_str);
    let below = format!("{full}/");
    let above = |name: &str| full.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    if let Some(name) = names.find(|name| *name == full || name.starts_with(&below) || above(name)) {
        return Ok(Some(name.to_owned()));
    }
    // What no ref of git's is may be in the way all the same: a broken ref, a log that outlived its branch.
    for name in [full.to_owned(), format!("logs/{full}")] {
        if links::exists(&git.common.join(&name))? {
            return Ok(Some(name));
        }
        for (at, _) in name.match_indices('/') {
            let folder = git.common.join(&name[..at]);
            if links::exists(&folder)? && !fs::symlink_metadata(&folder)?.is_dir() {
                return Ok(Some(name[..at].to_owned()));
            }
        }
    }
    Ok(None)
}

/// Who moved HEAD, for the log: as git would say, or we ourselves.
fn who(git: &Git) -> String {
    let settings = git.effective();
    let get = |keys: [&str; 2]| {
        let found = keys.iter().find_map(|key| settings.get(*key))?;
        let plain: String = found.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect();
        (!plain.trim().is_empty()).then(|| plain.trim().to_owned())
    };
    let name = get(["committer.name", "user.name"]).unwrap_or_else(|| "xtask".to_owned());
    let mail = get(["committer.email", "user.email"]).unwrap_or_else(|| "xtask@localhost".to_owned());
    format!("{name} <{mail}>")
}

/// Whether git begins a log for a new branch.
fn keeps_logs(git: &Git) -> bool {
    let settings = git.effective();
    let value = settings.get("core.logallrefupdates").map(String::as_str);
    value.is_none_or(|value| config::is_true(Some(value)) || value.eq_ignore_ascii_case("always"))
}
