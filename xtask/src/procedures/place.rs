//! Which project and which store a command is about, and whether it may use that store.
//!
//! A store belongs to one working copy. Reading from somebody else's is fine and said; writing into it is
//! refused until the user adopts it, and none is ever picked silently.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::recover;
use crate::base::failure::{Failure, Kind, hints_of, kind_of};
use crate::base::finding::Finding;
use crate::base::keep::Keep;
use crate::project::config::Config;
use crate::project::git::{self, Opened};
use crate::project::root::{self, Project};
use crate::store::Store;
use crate::store::identity::{self, Owner, Relation};
use crate::store::location::{self, Location, Source, VARIABLE, Wishes};
use crate::store::lock::Lock;

/// Where a command works.
pub struct Place {
    /// The project's folder, where one was found.
    pub root: Option<PathBuf>,
    /// Where its store is or will be.
    pub location: Location,
}

/// Finds project and store from what was typed.
///
/// # Errors
/// When neither a project nor a store is named or found.
pub fn find(project: Option<&Path>, store: Option<&Path>) -> Result<Place> {
    let (cwd, nowhere) = current_folder(project, store)?;
    let executable = std::env::current_exe().context("can't tell where this program is")?;
    let root = root::locate(project, &cwd, git::discover(project.unwrap_or(&cwd)));
    if project.is_some() {
        // What was named must be there; what was only looked for need not.
        root.as_ref().map_err(again)?;
    }
    let variable = std::env::var_os(VARIABLE);
    let config = root.as_ref().ok().map(|root| Config::load(root));
    let configured = match &config {
        Some(Ok(config)) => config.store.clone(),
        _ => None,
    };
    let project_root = root.as_deref().unwrap_or(&cwd);
    let wishes = Wishes {
        flag: store,
        environment: variable.as_deref(),
        configured: configured.as_deref(),
        project_root,
        executable: &executable,
        cwd: &cwd,
    };
    let location = location::resolve(&wishes)?;
    match (root, config) {
        // A configuration that can't be read may name another store.
        (Ok(_), Some(Err(error))) if matches!(location.source, Source::Configuration | Source::Default) => {
            Err(error)
        }
        (Ok(root), _) => Ok(Place { root: Some(root), location }),
        (Err(error), _) if location.source == Source::Default => Err(nowhere.unwrap_or(error)),
        (Err(_), _) => Ok(Place { root: None, location }),
    }
}

/// The current folder, or `/` with an error for later when it is gone: a shell that stood in the lost project
/// must still be able to restore from a store that is known without it.
fn current_folder(project: Option<&Path>, store: Option<&Path>) -> Result<(PathBuf, Option<anyhow::Error>)> {
    let error = match std::env::current_dir() {
        Ok(cwd) => return Ok((cwd, None)),
        Err(error) => error,
    };
    let variable = std::env::var_os(VARIABLE).map(PathBuf::from);
    let error = Failure::new(Kind::Usage, format!("the current folder can't be used: {error}"))
        .hint("go to a folder that is there: cd")
        .into();
    let variable = variable.as_deref().filter(|value| !value.as_os_str().is_empty());
    if [project, store, variable].into_iter().flatten().any(Path::is_relative) {
        return Err(error);
    }
    Ok((PathBuf::from("/"), Some(error)))
}

fn again(error: &anyhow::Error) -> anyhow::Error {
    let failure = Failure::new(kind_of(error), format!("{error:#}"));
    hints_of(error).into_iter().fold(failure, Failure::hint).into()
}

impl Place {
    /// The project with its configuration.
    ///
    /// # Errors
    /// When there is none, or its configuration is wrong.
    pub fn project(&self) -> Result<Project> {
        let Some(root) = &self.root else {
            return Err(Failure::new(Kind::Usage, "there is no project here")
                .hint("go into the project's folder, or name it with --project DIR")
                .into());
        };
        Project::at(root.clone())
    }

    /// The project, also where its configuration can't be read: bringing that back may be what is wanted. The
    /// defaults hold then, which save everything.
    ///
    /// # Errors
    /// When there is none.
    pub fn project_as_it_is(&self) -> Result<(Project, Vec<Finding>)> {
        match (self.project(), &self.root) {
            (Err(error), Some(root)) => {
                let text = format!("the configuration can't be read, so the defaults hold: {error:#}");
                let project = Project::with_config(root.clone(), Config::default());
                Ok((project, vec![Finding::advice("configuration", text)]))
            }
            (project, _) => Ok((project?, Vec::new())),
        }
    }

    /// Opens the store for reading, and says whose it is when it is not this project's.
    ///
    /// # Errors
    /// Of kind `NotFound` when there is none, with the stores of other copies of the project as hints.
    pub fn open(&self) -> Result<(Store, Vec<Finding>)> {
        let store = match Store::open(&self.location.path) {
            Err(error) if kind_of(&error) == Kind::NotFound => return Err(self.with_others(error)),
            other => other?,
        };
        let mut findings = Vec::new();
        if let (Some(root), Some(info)) = (&self.root, store.info()) {
            let here = Owner::here(root, Vec::new(), Vec::new())?;
            if info.owner.relation(&here) != Relation::Own && self.location.source != Source::Executable {
                findings.push(Finding::advice(
                    "other-copy",
                    format!("this is the store of another working copy: {}", owner(&info.owner)),
                ));
            }
        }
        findings.extend(self.root.as_deref().and_then(recover::unfinished));
        if let Some(problem) = store.problem() {
            findings.push(Finding::advice(
                "store-file",
                format!("it is not known whose store this is: {problem}"),
            ));
        }
        Ok((store, findings))
    }

    /// Whether a store is known to be another working copy's.
    pub fn is_of_another(&self, store: &Store) -> bool {
        let here = self.root.as_ref().and_then(|root| Owner::here(root, Vec::new(), Vec::new()).ok());
        here.and_then(|here| store.relation(&here)).is_some_and(|relation| relation != Relation::Own)
    }

    /// The rules of rotation of a store: those of the project here, when the store is its own. `None` when the
    /// rules are not at hand, or can't be read.
    pub fn keep(&self, store: &Store) -> Option<Keep> {
        let root = self.root.as_ref()?;
        let here = Owner::here(root, Vec::new(), Vec::new()).ok()?;
        let is_own = store.relation(&here) == Some(Relation::Own);
        // A configuration that can't be read is told of by what needs it.
        is_own.then(|| Config::load(root).ok().map(|config| config.keep)).flatten()
    }

    /// Opens the store of this project for writing, and takes its lock. It must be there.
    ///
    /// # Errors
    /// As [`Place::open`] and [`Place::open_to_write`].
    pub fn open_existing_to_write(
        &self,
        project: &Project,
        adopt: bool,
        command: &str,
    ) -> Result<(Store, Lock)> {
        self.open()?;
        self.open_to_write(project, adopt, command)
    }

    /// The working copy at hand, with what makes it the same project as another copy; `None` without one.
    ///
    /// # Errors
    /// When the history can't be read.
    pub fn present(&self) -> Result<Option<Owner>> {
        let Some(root) = &self.root else { return Ok(None) };
        let (roots, remotes) = history(root, true)?;
        Owner::here(root, roots, remotes).map(Some)
    }

    fn with_others(&self, error: anyhow::Error) -> anyhow::Error {
        let (Some(root), true) = (&self.root, self.location.source == Source::Default) else { return error };
        // Looking for help must not fail for a reason of its own.
        let others = history(root, true)
            .and_then(|(roots, remotes)| Owner::here(root, roots, remotes))
            .and_then(|here| Ok(identity::stores_of_same_project(&location::default_base()?, &here)))
            .unwrap_or_default();
        if others.is_empty() {
            return error;
        }
        let mut failure = Failure::new(Kind::NotFound, format!("{error:#}"));
        for (path, info) in others {
            let line = format!(
                "the store of another copy of this project, {}: --store '{}'",
                owner(&info.owner),
                path.display()
            );
            failure = failure.hint(line);
        }
        failure.hint("bring a backup from there into an empty folder: cargo xtask restore latest --to DIR --store STORE").into()
    }

    /// Opens the store for writing, or makes it, and takes its lock.
    ///
    /// # Errors
    /// Of kind `Refused` when it belongs to another working copy and `adopt` is not given; `Locked` when
    /// another run has it.
    pub fn open_to_write(&self, project: &Project, adopt: bool, command: &str) -> Result<(Store, Lock)> {
        let path = &self.location.path;
        let lock = match Store::open(path) {
            Err(error) if kind_of(&error) == Kind::NotFound => Store::lock_new(path, command)?,
            opened => opened?.lock(command)?,
        };
        // What it is counts from here on: until now others may have made or adopted it.
        let opened = match Store::open(path) {
            Err(error) if kind_of(&error) == Kind::NotFound => None,
            opened => Some(opened?),
        };
        // Finding the first commits walks the whole history, so it is done only while they are not known.
        let known =
            opened.as_ref().and_then(Store::info).is_some_and(|info| !info.owner.root_commits.is_empty());
        let nameless = Owner::here(&project.root, Vec::new(), Vec::new())?;
        let own = opened.as_ref().is_some_and(|store| store.relation(&nameless) == Some(Relation::Own));
        let (roots, remotes) = history(&project.root, !(own && known))?;
        let here = Owner { root_commits: roots, remotes, ..nameless };
        let Some(mut store) = opened else {
            return Ok((Store::create(path, &here)?, lock));
        };
        match store.relation(&here) {
            Some(Relation::Own) => {
                store.refresh(&lock, &here)?;
            }
            _ if adopt => store.adopt(&lock, &here)?,
            relation => {
                let what = match relation {
                    Some(Relation::SameProject) => "another copy of this project",
                    _ => "another project",
                };
                let message = match (store.info(), store.problem()) {
                    (Some(info), _) => {
                        format!("the store {} belongs to {what}: {}", path.display(), owner(&info.owner))
                    }
                    (None, why) => format!(
                        "it is not known whose store {} is: {}",
                        path.display(),
                        why.unwrap_or("it does not say")
                    ),
                };
                return Err(Failure::new(Kind::Refused, message)
                    .hint("name a store of your own with --store DIR")
                    .hint("or make this one yours, if that copy is gone: cargo xtask backup --adopt")
                    .into());
            }
        }
        Ok((store, lock))
    }
}

/// The working copy at a root, with what makes it the same project as others.
///
/// # Errors
/// On Windows, when the path is not Unicode; when git's history can't be read.
pub fn owner_of(root: &Path) -> Result<Owner> {
    let (roots, remotes) = history(root, true)?;
    Owner::here(root, roots, remotes)
}

/// A working copy for people.
pub fn owner(owner: &Owner) -> String {
    format!("{}:{}", owner.host, crate::base::escape::escape(&owner.path.0))
}

/// What makes two copies the same project, first commits only when wanted; nothing where git can't be read.
fn history(root: &Path, roots: bool) -> Result<(Vec<String>, Vec<String>)> {
    match git::open(root) {
        Ok(Opened::Git(git)) => Ok((if roots { git.root_commits()? } else { Vec::new() }, git.remotes())),
        // The backup itself says what is wrong with git.
        Ok(_) | Err(_) => Ok((Vec::new(), Vec::new())),
    }
}
