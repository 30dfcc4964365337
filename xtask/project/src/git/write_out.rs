//! Everything that `git checkout` of a commit writes into an empty folder, written into a folder of ours: line
//! ends, `ident` and encodings as the commit's own attributes and the repository's settings say. No hook and
//! no filter that a configuration names is run, and the project's git folder is only read: git works on a
//! twin of it (see `twin`) with an index of its own, or libgit2 reads the objects and this file's helpers do
//! the rest. A commit whose names could do harm, or fall together on this disk, is refused.

mod convert;
mod encoding;
mod finish;
mod library;
mod list;
mod remarks;
mod unwritten;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Error, Result, anyhow, bail};

pub use self::remarks::is_lfs_pointer;
pub use self::unwritten::{Beside, Unwritten};

use super::classify::paths;
use super::revision::Commit;
use super::run::{Input, Program, answer, output};
use super::twin::Twin;
use super::{Git, config, trees};
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts::create_private_dir;
use crate::base::finding::Finding;
use crate::base::parallel;
use crate::base::safe_path::SafePath;

/// What a path of a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A file; `0o644` on disk.
    File,
    /// A file that can be run; `0o755`.
    Executable,
    /// A symbolic link.
    Link,
    /// A submodule: an empty folder.
    Submodule,
}

/// What was written.
#[derive(Debug)]
pub struct WrittenOut {
    /// Which commit.
    pub commit: Commit,
    /// Everything in the commit, folders aside. A link that the repository's settings (`core.symlinks`) make a
    /// file of is one here too.
    pub tracked: BTreeMap<SafePath, Mode>,
    /// Of these, what does not lie in the folder.
    pub unwritten: BTreeMap<SafePath, Unwritten>,
    /// What the commit has and a sparse checkout leaves out of this working copy.
    pub left_out: BTreeSet<SafePath>,
    /// What the user should know: `submodules`, `lfs-pointers`, `git-filter`, `git-replace`, `sparse-checkout`.
    pub findings: Vec<Finding>,
}

/// One path of a commit.
struct Item {
    path: SafePath,
    mode: Mode,
    id: String,
}

/// Writes a commit into the new or empty private folder `to`. Files are `0o644` or
/// `0o755` and folders `0o755` whatever the umask is; nothing is synced. `beside` tells what need not be written.
///
/// # Errors
/// `Refused` when objects of the commit are missing or damaged (a partial or broken repository), a name in it
/// could do harm or two of them are one on this disk, or the git command is needed and there is none (a
/// sparse checkout, an encoding); any other when `to` can't be written. The project is as it was.
pub fn write_out(git: &Git, commit: &Commit, to: &Path, beside: Option<&Beside<'_>>) -> Result<WrittenOut> {
    let program = git.program.as_ref();
    create_private_dir(to).with_context(|| format!("can't make {}", to.display()))?;
    let to = to.canonicalize().with_context(|| format!("can't find {}", to.display()))?;
    if std::fs::read_dir(&to).with_context(|| format!("can't read {}", to.display()))?.next().is_some() {
        bail!("{} is not empty", to.display());
    }
    let scratch = tempfile::tempdir().context("can't make a temporary folder")?;
    let twin = git.twin(&scratch.path().join("twin"))?;
    let settings = git.effective();
    let is_sparse = config::is_true(settings.get("core.sparsecheckout").map(String::as_str));
    let desk = program.map(|program| Desk { git, program, twin: &twin, to: &to });
    let some = match (&desk, beside) {
        (Some(desk), Some(beside)) if !is_sparse && !desk.folds_case()? => Some((desk, beside)),
        _ => None,
    };
    let list = || list::items(git, program, &twin, &commit.id);
    let (items, indexed) = match some {
        Some((desk, _)) => parallel::both(list, desk.indexing(commit))?,
        None => (list(), Ok(())),
    };
    let items = items?;
    list::refuse_names(&items, commit)?;
    // Git refuses most bad names, too, and says less.
    indexed?;
    let mut unwritten = BTreeMap::new();
    let (left_out, filters) = match &desk {
        Some(desk) => {
            match some {
                Some((_, beside)) => unwritten = desk.write_some(commit, &items, beside, settings)?,
                None => desk.write(commit, &items)?,
            }
            let left_out = if is_sparse { desk.left_out()? } else { BTreeSet::new() };
            (left_out, if remarks::has_filters(settings) { desk.filters(&items)? } else { Vec::new() })
        }
        None if is_sparse => {
            let text = "this is a sparse checkout, which needs the git command";
            return Err(Failure::new(Kind::Refused, text).hint("install git").into());
        }
        None => (BTreeSet::new(), library::write(git, &twin, settings, commit, &items, &to)?),
    };
    let present: Vec<&Item> = items.iter().filter(|item| !left_out.contains(&item.path)).collect();
    let (there, elsewhere): (Vec<&Item>, Vec<&Item>) =
        present.iter().partition(|item| !unwritten.contains_key(&item.path));
    let mut tracked = finish::finish(&to, &there, commit)?;
    tracked.extend(elsewhere.iter().map(|item| (item.path.clone(), item.mode)));
    let asked: Vec<&Item> =
        present.into_iter().filter(|item| unwritten.get(&item.path) != Some(&Unwritten::Unasked)).collect();
    let mut findings = remarks::submodules(git, &asked)?;
    let place = |path: &SafePath| match (unwritten.get(path), beside) {
        (None, _) => Some(to.as_path()),
        (Some(Unwritten::Same(is)), Some(beside)) if remarks::may_be_pointer(is.size) => Some(beside.root),
        (Some(_), _) => None,
    };
    findings.extend(remarks::lfs_pointers(&place, &tracked, commit)?);
    let is_asked =
        |path: &SafePath| unwritten.get(path) != Some(&Unwritten::Unasked) && !left_out.contains(path);
    findings.extend(remarks::filtered(settings, &filters, &is_asked));
    findings.extend(remarks::replaced(&twin));
    findings.extend(remarks::sparse(&left_out));
    Ok(WrittenOut { commit: commit.clone(), tracked, unwritten, left_out, findings })
}

/// Bytes that a disk has room for, if it is not full.
const ROOM: usize = 1 << 20;

/// Whether there is room in a folder: git does not always tell that there was none.
fn room(folder: &Path) -> std::io::Result<()> {
    use std::io::Write;
    tempfile::tempfile_in(folder)?.write_all(&vec![0; ROOM])
}

/// Where the git command writes the files.
struct Desk<'a> {
    git: &'a Git,
    program: &'a Program,
    twin: &'a Twin,
    to: &'a Path,
}

impl Desk<'_> {
    fn call(&self) -> Command {
        let mut command = self.program.on(&self.twin.dir);
        // The index is whole: folders that stand for what is in them would be objects to write.
        command.args([
            "-c",
            "index.sparse=false",
            "-c",
            "core.longpaths=true",
            "-c",
            "advice.sparseIndexExpanded=false",
        ]);
        command.env("GIT_WORK_TREE", self.to).env("GIT_INDEX_FILE", self.twin.dir.join("index.written"));
        command.current_dir(self.to);
        command
    }

    /// The very steps of a checkout, attributes taken from the commit, without its hook.
    fn write(&self, commit: &Commit, items: &[Item]) -> Result<()> {
        let mut command = self.call();
        command.args(["read-tree", "-m", "-u", "--no-recurse-submodules", &commit.id]);
        let answer = answer(command, Input::Nothing)?;
        if answer.ok {
            return Ok(());
        }
        Err(self.why(commit, items, &answer.err))
    }

    /// Why git could not write a commit: that objects are missing says more than its own words.
    fn why(&self, commit: &Commit, items: &[Item], told: &str) -> Error {
        if let Err(error) = list::refuse_missing(self.git, self.program, self.twin, commit, items) {
            return error;
        }
        let why = told.lines().take(3).collect::<Vec<_>>().join("; ");
        let what = format!("the commit {} can't be written out: {why}", commit.short());
        match room(self.to) {
            Ok(()) => anyhow!(what),
            Err(error) => Error::new(error).context(what),
        }
    }

    /// Puts a commit into our index.
    fn indexing(&self, commit: &Commit) -> impl FnOnce() -> Result<()> + Send + use<> {
        let mut command = self.call();
        command.args(["read-tree", "--no-recurse-submodules", &commit.id]);
        let short = commit.short().to_owned();
        move || {
            let told = output(command, Input::Nothing);
            told.map(drop).with_context(|| format!("the commit {short} can't be read"))
        }
    }

    /// The same as [`Self::write`] for all that can't be had more cheaply. The commit is in the index.
    fn write_some(
        &self,
        commit: &Commit,
        items: &[Item],
        beside: &Beside<'_>,
        settings: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<SafePath, Unwritten>> {
        let unwritten = self.unwritten(beside, settings, items)?;
        let names: Vec<u8> = items
            .iter()
            .filter(|item| !unwritten.contains_key(&item.path))
            .flat_map(|item| [item.path.bytes(), b"\0"])
            .flatten()
            .copied()
            .collect();
        let mut command = self.call();
        command.args(["checkout-index", "-q", "-z", "--stdin"]);
        let answer = answer(command, Input::Bytes(&names))?;
        if answer.ok {
            return Ok(unwritten);
        }
        Err(self.why(commit, items, &answer.err))
    }

    fn left_out(&self) -> Result<BTreeSet<SafePath>> {
        let mut command = self.call();
        command.args(["ls-files", "-z", "-s", "-t"]);
        let mut found = BTreeSet::new();
        for line in paths(&output(command, Input::Nothing)?) {
            let entry = trees::entry(line)?;
            if entry.skipped {
                found.insert(SafePath::new(entry.path)?);
            }
        }
        Ok(found)
    }

    /// Files with the attribute `filter`, and its value.
    fn filters(&self, items: &[Item]) -> Result<Vec<(SafePath, String)>> {
        let mut command = self.call();
        command.args(["check-attr", "--cached", "-z", "--stdin", "filter"]);
        let files = items.iter().filter(|item| matches!(item.mode, Mode::File | Mode::Executable));
        let names: Vec<u8> = files.flat_map(|item| [item.path.bytes(), b"\0"]).flatten().copied().collect();
        let told = output(command, Input::Bytes(&names))?;
        let fields: Vec<&[u8]> = told.split(|&b| b == 0).collect();
        let mut found = Vec::new();
        for field in fields.chunks_exact(3) {
            let value = String::from_utf8_lossy(field[2]).into_owned();
            if !matches!(value.as_str(), "unspecified" | "unset" | "set") {
                found.push((SafePath::new(field[0])?, value));
            }
        }
        Ok(found)
    }
}
