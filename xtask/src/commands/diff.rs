//! `diff [A] [B]`: what differs between two backups, a backup and now, or a commit on either side.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Outcome;
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::clock::{self, Instant};
use crate::base::failure::{Failure, Kind, ResultExt, hints_of, is_disk_full, kind_of};
use crate::base::finding::Finding;
use crate::base::pattern::Pattern;
use crate::flags::{Diff, State};
use crate::procedures::differences::{self, Ask, Differences, Origin};
use crate::procedures::place::Place;
use crate::procedures::prove;
use crate::procedures::scope::Scope;
use crate::project::git::{self, Git, Opened};
use crate::project::root::Project;
use crate::store::catalog::StoreEntry;
use crate::store::select;
use crate::ui::Ui;

mod report;

/// One side, found.
enum Found {
    Backup(Box<(Archive, Manifest)>),
    Now,
    Commit(String),
}

/// One side for scripts.
#[derive(Serialize)]
struct Named {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Instant>,
}

/// The project and its repository, where a side needs them.
struct Here {
    project: Project,
    opened: Opened,
}

/// Where names are looked up.
struct Lookup<'a> {
    place: &'a Place,
    here: Option<&'a Here>,
    /// The store's backups, or why there are none.
    entries: Result<Vec<StoreEntry>>,
    findings: Vec<Finding>,
}

/// Runs it.
///
/// # Errors
/// When a side can't be found or read, or there is no room for the databases.
pub fn run(ui: &Ui, place: &Place, options: &Diff) -> Result<Outcome> {
    let only = options.only.iter().map(|path| Pattern::from_top(path.bytes())).collect::<Result<Vec<_>>>()?;
    let scope = if only.is_empty() { Scope::All } else { Scope::Only(only) };
    let sides = [&options.before, &options.after];
    let needs_project = sides.iter().any(|state| !matches!(state, State::Named(_)));
    let mut findings = Vec::new();
    let here = match place.project_as_it_is() {
        Ok((project, found)) => {
            if needs_project {
                findings.extend(found);
            }
            Some(opened(project))
        }
        Err(error) if needs_project => return Err(error),
        Err(_) => None, // two backups need none
    };
    let mut lookup = Lookup { place, here: here.as_ref(), entries: Ok(Vec::new()), findings };
    if sides.iter().any(|state| matches!(state, State::Named(_))) {
        lookup.entries = lookup.list();
    }
    let before = lookup.find(&options.before)?;
    let after = lookup.find(&options.after)?;
    let scratch = tempfile::Builder::new()
        .prefix("xtask-diff-")
        .tempdir()
        .with_context(|| format!("can't make a folder in {}", std::env::temp_dir().display()))?;
    let ask = Ask { scope: &scope, rows_max: options.rows_max, scratch: scratch.path() };
    let progress = ui.progress();
    let compared = differences::compare(
        &origin(&before, here.as_ref(), &place.location.path)?,
        &origin(&after, here.as_ref(), &place.location.path)?,
        &ask,
        &progress,
    );
    drop(progress);
    let mut differences = match compared {
        Err(error) if is_disk_full(&error) => {
            let room = "make room there, or name a folder on another disk with TMPDIR";
            return Err(error)
                .with_context(|| format!("no room for the databases in {}", std::env::temp_dir().display()))
                .hint(room);
        }
        compared => compared?,
    };
    scratch.close().context("can't remove the copies of the databases")?;
    lookup.findings.append(&mut differences.findings);
    differences.findings = lookup.findings;
    report::report(ui, &before.words(), &after.words(), &differences);
    ui.document(&report::document(before.named(), after.named(), &differences))?;
    Ok(outcome(&differences))
}

/// 0 only where everything was compared and nothing differs.
fn outcome(differences: &Differences) -> Outcome {
    if differences.is_empty() { Outcome::of(&differences.findings) } else { Outcome::WithProblems }
}

fn opened(project: Project) -> Here {
    let opened = git::open(&project.root).unwrap_or_else(|error| Opened::Refused {
        reason: format!("git can't be read: {error:#}"),
        hint: "see what `git status` says".to_owned(),
    });
    Here { project, opened }
}

fn repository(here: Option<&Here>) -> Option<&Git> {
    match here.map(|here| &here.opened) {
        Some(Opened::Git(git)) => Some(git),
        _ => None,
    }
}

fn origin<'a>(found: &'a Found, here: Option<&'a Here>, store: &'a Path) -> Result<Origin<'a>> {
    Ok(match found {
        Found::Backup(backup) => Origin::Backup { archive: &backup.0, manifest: &backup.1 },
        Found::Now => {
            let here = here.context("there is no project here")?;
            Origin::Now { project: &here.project, store, opened: &here.opened }
        }
        Found::Commit(id) => Origin::Commit { git: repository(here).context("there is no git here")?, id },
    })
}

impl Lookup<'_> {
    fn list(&mut self) -> Result<Vec<StoreEntry>> {
        let (store, findings) = self.place.open()?;
        self.findings.extend(findings);
        Ok(store.list()?.entries)
    }

    fn find(&mut self, state: &State) -> Result<Found> {
        match state {
            State::Now => Ok(Found::Now),
            State::Commit(revision) => match self.commit(revision)? {
                Some(id) => Ok(Found::Commit(id)),
                None => Err(no_commit(revision)),
            },
            State::Named(word) => self.named(word),
        }
    }

    /// A backup, or else a commit. What reads as the beginning of an id or as a time only ever means a backup.
    fn named(&mut self, word: &str) -> Result<Found> {
        let now = Instant::now();
        let (entries, missing) = match &self.entries {
            Ok(entries) => (entries.as_slice(), None),
            Err(error) => (&[][..], Some(error)),
        };
        match select::resolve(entries, word, now) {
            Ok(entry) => {
                let opened = prove::open(&entry.archive).hint("choose another backup: cargo xtask list")?;
                let damage: Vec<Finding> = entry
                    .state
                    .damage
                    .iter()
                    .map(|damage| {
                        Finding::problem("damaged", format!("backup {} is damaged: {damage}", entry.id))
                    })
                    .collect();
                let is_label = entry.label() == Some(word);
                self.findings.extend(damage);
                if is_label && self.commit(word)?.is_some() {
                    let text =
                        format!("{word} is the label of a backup and a name in git; the backup is compared");
                    self.findings.push(
                        Finding::advice("two-meanings", text)
                            .hint(format!("cargo xtask diff git:{word} means the commit")),
                    );
                }
                Ok(Found::Backup(Box::new(opened)))
            }
            Err(error) => {
                let begins_an_id = entries.iter().any(|entry| entry.id.to_string().starts_with(word));
                let is_time = clock::parse_typed(word, now, &clock::local_zone()).is_some();
                // Of a store that is not there more can be said.
                let error = match missing {
                    Some(missing) => again(missing),
                    None => error,
                };
                if begins_an_id || is_time || word == "latest" {
                    return Err(error);
                }
                match self.commit(word)? {
                    Some(id) => Ok(Found::Commit(id)),
                    None if repository(self.here).is_some() => {
                        Err(error).hint("git knows no commit of that name either")
                    }
                    None => Err(error),
                }
            }
        }
    }

    /// The commit that a revision means, where there is a repository to ask.
    fn commit(&self, revision: &str) -> Result<Option<String>> {
        match (repository(self.here), self.here.map(|here| &here.opened)) {
            (Some(git), _) => git.commit_of(revision),
            (None, Some(Opened::Refused { reason, hint })) => {
                Err(Failure::new(Kind::Failed, reason.clone()).hint(hint.clone()).into())
            }
            (None, _) => Ok(None),
        }
    }
}

fn no_commit(revision: &str) -> anyhow::Error {
    Failure::new(Kind::NotFound, format!("git knows no commit {revision:?} here"))
        .hint("git log --oneline --all lists commits; branches, tags and HEAD~3 are understood too")
        .into()
}

/// An error that is kept for later.
fn again(error: &anyhow::Error) -> anyhow::Error {
    let failure = Failure::new(kind_of(error), format!("{error:#}"));
    hints_of(error).into_iter().fold(failure, Failure::hint).into()
}

impl Found {
    fn words(&self) -> String {
        match self {
            Found::Backup(backup) => format!("backup {}", backup.1.id),
            Found::Now => "now".to_owned(),
            Found::Commit(id) => format!("commit {}", id.get(..10).unwrap_or(id)),
        }
    }

    fn named(&self) -> Named {
        match self {
            Found::Backup(backup) => {
                Named { kind: "backup", id: Some(backup.1.id.to_string()), at: Some(backup.1.created) }
            }
            Found::Now => Named { kind: "now", id: None, at: None },
            Found::Commit(id) => Named { kind: "commit", id: Some(id.clone()), at: None },
        }
    }
}
