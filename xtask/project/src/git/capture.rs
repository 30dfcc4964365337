//! A copy of everything that git knows and the working files alone do not tell: the history as a bundle,
//! and the state files. The project is only read; a damaged history costs a finding, not the backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::bundle_write::{self, Written, keep};
use super::increment::{self, Earlier, Since, bundle_name};
use super::refs::{self, Refs, Value};
use super::run::{Input, answer};
use super::twin::Twin;
use super::{Git, bundle, trees, trees_library};
use crate::base::escape::escape;
use crate::base::facts::GitFacts;
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::safe_path::SafePath;

/// So many commits that only reflogs lead to are listed at most.
const REFLOG_ONLY_MAX: usize = 1000;

/// A repository's copy, in the scratch folder.
#[derive(Debug)]
pub struct Capture {
    /// The bundles of the earlier backup that come first, as they are: their names there and here.
    pub carried: Vec<String>,
    /// Those that were written now, in the order in which they are read. `facts.bundles` has the names of all.
    pub bundles: Vec<PathBuf>,
    /// Files for the archive: their name below `git/`, and where the copy is.
    pub state: Vec<(SafePath, PathBuf)>,
    /// What the repository was.
    pub facts: GitFacts,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

impl Git {
    /// Copies the repository into `scratch`, a private, empty folder on a disk with room for it.
    /// `leave_out` are the databases and their side files as raw paths; none of them is ever opened.
    /// `saved` says whether a file (raw path) is in the backup itself: what the backup leaves out (a store
    /// inside the project, caches, what is excluded) must not come in again through git's copy of unsaved
    /// work. `earlier` is what the newest backup's bundles hold: they need not be written again.
    ///
    /// # Errors
    /// When HEAD or a state file can't be read, the scratch folder can't be written, or the user asked to
    /// stop. A damaged history is a finding.
    pub fn capture(
        &self,
        scratch: &Path,
        leave_out: &BTreeSet<Vec<u8>>,
        saved: &dyn Fn(&[u8]) -> bool,
        earlier: Option<&Earlier>,
    ) -> Result<Capture> {
        let mut twin = self.twin(&scratch.join("twin"))?;
        let mut findings = std::mem::take(&mut twin.findings);
        let state = self.state(&twin, &scratch.join("state"))?;
        let mut facts = self.facts_of(&twin);
        self.advise(&facts, &mut findings);

        let work = match &self.program {
            Some(program) => trees::commit_with_command(&twin, program, leave_out, saved),
            None => trees_library::commit_with_library(&twin, leave_out, saved),
        };
        let work = work.or_else(|error| -> Result<trees::Work> {
            interrupt::check()?;
            findings.push(
                Finding::problem(
                    "git-worktree",
                    format!("staged and unsaved work is not in the copy of git's history: {error:#}"),
                )
                .hint("the working files themselves are in the backup"),
            );
            Ok(trees::Work { dirty: true, ..trees::Work::default() })
        })?;
        findings.extend(work.findings);
        facts.dirty = work.dirty;
        facts.index_commit.clone_from(&work.index);
        facts.worktree_commit.clone_from(&work.worktree);

        let mut ours = Refs::new();
        for (name, id) in [("index", work.index), ("worktree", work.worktree), ("head", detached(&twin))] {
            ours.extend(id.map(|id| (format!("refs/xtask/{name}"), Value::Id(id))));
        }
        self.worktree_heads(&twin, &mut ours, &mut findings)?;
        let known: BTreeSet<&str> = (twin.refs.values())
            .filter_map(|value| if let Value::Id(id) = value { Some(id.as_str()) } else { None })
            .collect();
        let of_reflogs = self.only_in_reflogs(&twin)?;
        let wanted = state.mentioned.iter().chain(&work.keep).chain(&of_reflogs);
        let wanted: BTreeSet<&str> = wanted.map(String::as_str).filter(|id| !known.contains(id)).collect();
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let absent = bundle::absent(self.program.as_ref(), &twin.dir, &wanted)?;
        keep(&mut ours, "keep", wanted.into_iter().filter(|id| !absent.iter().any(|gone| gone == id)));
        twin.write_refs(&ours)?;

        let (carried, written) = self.bundles(&twin, &ours, earlier, scratch)?;
        findings.extend(written.findings);
        let mut files = state.files;
        if let Some(missing) = written.missing {
            files.push((SafePath::new("missing")?, missing));
        }
        facts.bundles.clone_from(&carried);
        facts.bundles.extend(written.bundle.iter().map(|_| bundle_name(carried.len())));
        let known = earlier.and_then(|earlier| earlier.root_commits(facts.commit.as_deref()));
        facts.root_commits = known.map_or_else(|| self.root_commits(), Ok)?;
        Ok(Capture { carried, bundles: written.bundle.into_iter().collect(), state: files, facts, findings })
    }

    /// Commits that only reflogs lead to. As refs of ours, the bundle is known to hold them, and they are not packed
    /// again the next time. Where there are too many of them, or git can't tell, that costs room and nothing else.
    fn only_in_reflogs(&self, twin: &Twin) -> Result<Vec<String>> {
        let Some(program) = &self.program else { return Ok(Vec::new()) };
        let mut command = program.on(&twin.dir);
        command.args([
            "rev-list",
            "--reflog",
            &format!("--max-count={}", REFLOG_ONLY_MAX + 1),
            "--not",
            "--all",
        ]);
        let told = answer(command, Input::Nothing)?;
        let ids: Vec<String> = told.text().lines().filter(|id| refs::is_id(id)).map(str::to_owned).collect();
        Ok(if told.ok && ids.len() <= REFLOG_ONLY_MAX { ids } else { Vec::new() })
    }

    /// The history: what of the earlier bundles is carried over, and what is written now.
    fn bundles(
        &self,
        twin: &Twin,
        ours: &Refs,
        earlier: Option<&Earlier>,
        scratch: &Path,
    ) -> Result<(Vec<String>, Written)> {
        if let (Some(program), Some(earlier), false) = (&self.program, earlier, self.is_partial()) {
            let carried: Vec<String> = earlier.names().cloned().collect();
            let path = scratch.join(bundle_name(carried.len()));
            match increment::write(twin, program, ours, earlier, &path) {
                Ok(Since::Nothing) => return Ok((carried, Written::default())),
                Ok(Since::Bundle) => {
                    return Ok((carried, Written { bundle: Some(path), ..Written::default() }));
                }
                Ok(Since::Whole) => {}
                // What is wrong is told by the attempt to write all of it.
                Err(_) => interrupt::check()?,
            }
        }
        let path = scratch.join(bundle_name(0));
        let written = bundle_write::write(twin, self.program.as_ref(), ours, self.is_partial(), &path)?;
        Ok((Vec::new(), written))
    }

    /// What a copy of this repository does not hold, or holds in an unusual way.
    fn advise(&self, facts: &GitFacts, findings: &mut Vec<Finding>) {
        if facts.shallow {
            findings.push(
                Finding::advice("shallow-clone", "this is a shallow clone, and it is saved as one")
                    .hint("`git fetch --unshallow` gets the rest of the history"),
            );
        }
        if self.is_partial() {
            findings.push(
                Finding::problem(
                    "partial-clone",
                    "this is a partial clone: objects that were never fetched are not in the backup",
                )
                .hint("`git fetch --refetch --no-filter` gets all of them"),
            );
        }
        if self.common.join("lfs/objects").is_dir() {
            findings.push(
                Finding::problem(
                    "git-lfs",
                    "files in Git LFS: those checked out are in the backup, their older versions are not",
                )
                .hint("`git lfs push --all <remote>` keeps them on the server"),
            );
        }
        if self.is_reftable() {
            findings.push(Finding::advice("reftable", "refs are kept in reftables, and come back as files"));
        }
    }

    /// HEADs of the other working copies of this repository.
    fn worktree_heads(&self, twin: &Twin, ours: &mut Refs, findings: &mut Vec<Finding>) -> Result<()> {
        let folder = self.common.join("worktrees");
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            read => read.with_context(|| format!("can't read {}", folder.display()))?,
        };
        let mut others = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("can't read {}", folder.display()))?;
            if entry.path().canonicalize().is_ok_and(|path| path == self.own) {
                continue;
            }
            let Ok(text) = std::fs::read_to_string(entry.path().join("HEAD")) else { continue };
            let Some(id) = refs::parse(&text).ok().and_then(|value| refs::resolve(&twin.refs, &value)) else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let full = format!("refs/xtask/worktrees/{name}");
            if refs::is_name(&full) {
                ours.insert(full, Value::Id(id.clone()));
            }
            others.push(format!("{} at {}", escape(name.as_bytes()), id.get(..10).unwrap_or(&id)));
        }
        if self.own != self.common {
            others.push("the main working copy".to_owned());
        }
        if !others.is_empty() {
            others.sort();
            let what = "other working copies of this repository have uncommitted work of their own, which is \
                        not in this backup";
            findings.push(
                Finding::advice("linked-worktrees", format!("{what}: {}", others.join(", ")))
                    .hint("back each of them up on its own"),
            );
        }
        Ok(())
    }
}

fn detached(twin: &Twin) -> Option<String> {
    match &twin.head {
        Value::Id(id) => Some(id.clone()),
        Value::Symbolic(_) => None,
    }
}
