//! `restore-git`: the project as of a commit, or of a moment in git's history.

mod list;

use anyhow::Result;

use super::Outcome;
use super::carry_out::{self, CommitLine, Job};
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::failure::{Failure, Kind, ResultExt, kind_of};
use crate::base::finding::Finding;
use crate::base::pattern::Pattern;
use crate::flags::{GitTarget, RestoreGit, To};
use crate::procedures::place::Place;
use crate::procedures::put_back::{Backup, Databases, FromCommit, GitWish, Order, Source};
use crate::procedures::scope::Scope;
use crate::procedures::{prove, readings, recover};
use crate::project::git::replace::new_branch;
use crate::project::git::revision::{self, Commit};
use crate::project::git::{self, Git, How, Opened};
use crate::project::root::Project;
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::store::nearest::{self, Nearest};
use crate::store::undo_log::Operation;
use crate::ui::{self, Ui};

/// Runs it.
///
/// # Errors
/// When there is no such commit, or it was not restored; everything is as it was then.
pub fn run(ui: &Ui, place: &Place, options: &RestoreGit) -> Result<Outcome> {
    match options {
        RestoreGit::List { count, asked: true } => list::run(ui, place, *count),
        RestoreGit::List { count, asked: false } => {
            list::run(ui, place, *count)?;
            ui.note("name one of these: cargo xtask restore-git REV");
            Ok(Outcome::WrongUse)
        }
        RestoreGit::To(to) => restore(ui, place, to),
    }
}

fn restore(ui: &Ui, place: &Place, to: &To) -> Result<Outcome> {
    let (project, mut findings) = place.project_as_it_is()?;
    let git = repository(&project)?;
    let (commit, how) = find(&git, &to.target)?;
    let branch = match &to.checkout {
        Some(name) => Some(new_branch::new_branch(&git, &commit, name.as_deref())?),
        None => None,
    };
    let (store, lock) = if to.dry_run {
        let (store, more) = store_to_read(place)?;
        findings.extend(more);
        (store, None)
    } else {
        let (store, lock) = place.open_to_write(&project, to.adopt, "restore-git")?;
        (Some(store), Some(lock))
    };
    let entries = store.as_ref().filter(|_| to.databases).map(entries).transpose()?.unwrap_or_default();
    let nearest = match (&to.target, to.databases) {
        (_, false) => None,
        (GitTarget::Revision(_), true) => nearest::of_commit(&entries, &commit.id, commit.moment),
        (GitTarget::Moment(moment), true) => nearest::at_or_before(&entries, *moment),
    };
    tell(ui, &commit, how.as_ref(), nearest.as_ref(), &to.target);
    let backup = nearest.as_ref().map(open).transpose()?;
    let backup = backup.as_ref().map(|(archive, manifest)| Backup { archive, manifest });
    let only = to.only.iter().map(|path| Pattern::from_top(path.bytes())).collect::<Result<Vec<_>>>()?;
    let order = Order {
        source: Source::Commit(Box::new(FromCommit {
            commit: &commit,
            databases: if to.databases { Databases::Restored(backup) } else { Databases::Kept },
            branch,
        })),
        scope: if only.is_empty() { Scope::All } else { Scope::Only(only) },
        exact: false,
        git: GitWish::Never,
        from_dumps: false,
        with_code: false,
        operation: Operation::Restore,
        of: None,
    };
    let what = format!("commit {} ({})", commit.short(), commit.subject);
    let job = Job {
        project: &project,
        store: &place.location.path,
        writes: store.as_ref().zip(lock.as_ref()),
        command: "restore-git",
        question: format!("put {} back to {what}?", project.root.display()),
        what,
        dry_run: to.dry_run,
        force: to.force,
        safety: !to.no_backup,
        reverse: "cargo xtask undo",
        named_by: place.location.source,
        commit: Some(CommitLine {
            commit: &commit,
            found_by: how.as_ref().map(|how| match how {
                How::Reflog { .. } => "reflog",
                How::CommitTime { .. } => "commit-time",
            }),
            backup: nearest.as_ref().map(|nearest| nearest.entry.id.to_string()),
        }),
    };
    carry_out::run(ui, &job, order, findings)
}

/// The repository of a project.
///
/// # Errors
/// When there is none, or git refuses it.
fn repository(project: &Project) -> Result<Box<Git>> {
    match git::open(&project.root)? {
        Opened::Git(git) => Ok(git),
        Opened::Refused { reason, hint } => Err(Failure::new(Kind::Failed, reason).hint(hint).into()),
        Opened::None => {
            let text = format!("there is no git repository in {}", project.root.display());
            Err(Failure::new(Kind::Failed, text)
                .hint("bring files back from a backup: cargo xtask restore BACKUP")
                .into())
        }
    }
}

fn find(git: &Git, target: &GitTarget) -> Result<(Commit, Option<How>)> {
    match target {
        GitTarget::Revision(text) => Ok((revision::resolve(git, text)?, None)),
        GitTarget::Moment(moment) => git::at(git, *moment).map(|(commit, how)| (commit, Some(how))),
    }
}

/// The store, where there is one.
fn store_to_read(place: &Place) -> Result<(Option<Store>, Vec<Finding>)> {
    match place.open() {
        Ok((store, findings)) => Ok((Some(store), findings)),
        Err(error) if kind_of(&error) == Kind::NotFound => {
            Ok((None, place.root.as_deref().and_then(recover::unfinished).into_iter().collect()))
        }
        Err(error) => Err(error),
    }
}

/// The backups of a store, each with what is known of it.
fn entries(store: &Store) -> Result<Vec<StoreEntry>> {
    let mut entries = store.list()?.entries;
    for entry in entries.iter_mut().filter(|entry| entry.summary.is_none() && !entry.safety) {
        entry.summary = readings::read(store, entry).summary().cloned();
    }
    // One that can't be read holds nothing for anybody.
    entries.retain(|entry| entry.safety || entry.summary.is_some());
    Ok(entries)
}

fn open(nearest: &Nearest<'_>) -> Result<(Archive, Manifest)> {
    prove::open(&nearest.entry.archive)
        .hint("keep the databases as they are (--keep-databases), or see which backups are whole: cargo xtask verify all")
}

/// Which commit it is, and which backup, and how that was found.
fn tell(ui: &Ui, commit: &Commit, how: Option<&How>, nearest: Option<&Nearest<'_>>, target: &GitTarget) {
    let found = match how {
        None => String::new(),
        Some(How::Reflog { since }) => format!("; checked out from {} on, as the reflog says", since.local()),
        Some(How::CommitTime { .. }) => {
            "; the newest by then, by the times of the commits, since the reflog does not reach back so far"
                .to_owned()
        }
    };
    let (id, moment) = (commit.short(), commit.moment);
    ui.note(format!("commit {id} of {}: {}{found}", moment.local(), commit.subject));
    let Some(nearest) = nearest else { return };
    let (from, of) = match target {
        GitTarget::Moment(moment) => (*moment, "that moment"),
        GitTarget::Revision(_) => (moment, "the commit"),
    };
    let why =
        if nearest.names_commit { "the last one taken at that commit" } else { "the newest one before" };
    ui.note(format!(
        "databases that the commit does not track: from backup {}, {why}, {}",
        nearest.entry.id,
        apart(nearest.seconds_after(from), of)
    ));
}

/// `3 min after the commit`.
fn apart(seconds: i64, of: &str) -> String {
    const DAY: u64 = 86_400;
    let length = match seconds.unsigned_abs() {
        long if long >= 2 * DAY => format!("{} days", ui::count((long + DAY / 2) / DAY)),
        short => ui::duration(std::time::Duration::from_secs(short)),
    };
    match seconds {
        0 => format!("of the same second as {of}"),
        1.. => format!("{length} after {of}"),
        _ => format!("{length} before {of}"),
    }
}
