//! `restore BACKUP`: puts a backup, or parts of it, back over the project.

use anyhow::Result;

use super::super::Outcome;
use super::super::carry_out::{self, Job};
use crate::archive::manifest::Manifest;
use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::finding::Finding;
use crate::base::pattern::Pattern;
use crate::flags::Restore;
use crate::procedures::place::{self, Place};
use crate::procedures::prove;
use crate::procedures::put_back::{Backup, GitWish, Order, Source};
use crate::procedures::scope::Scope;
use crate::project::root::Project;
use crate::store::identity::Owner;
use crate::store::select;
use crate::store::undo_log::Operation;
use crate::ui::Ui;

/// Runs it.
///
/// # Errors
/// When it was not restored; everything is as it was then.
pub fn run(ui: &Ui, place: &Place, options: &Restore) -> Result<Outcome> {
    let (project, mut findings) = place.project_as_it_is()?;
    let (store, lock) = if options.dry_run {
        let (store, more) = place.open()?;
        findings.extend(more);
        (store, None)
    } else {
        let (store, lock) = place.open_existing_to_write(&project, options.here.adopt, "restore")?;
        (store, Some(lock))
    };
    let listing = store.list()?;
    let entry = select::resolve(&listing.entries, &options.backup, Instant::now())?;
    let (archive, manifest) = prove::open(&entry.archive).hint("choose another backup: cargo xtask list")?;
    if !options.here.other_project {
        refuse_other_project(&project, &manifest)?;
    }
    findings.extend(entry.state.damage.iter().map(|damage| {
        Finding::problem("damaged", format!("backup {} is damaged: {damage}", entry.id))
            .hint("choose another one, if it has what you need: cargo xtask list")
    }));
    let only = options.only.iter().map(|path| Pattern::from_top(path.bytes())).collect::<Result<Vec<_>>>()?;
    let whole = only.is_empty();
    let order = Order {
        source: Source::Backup(Backup { archive: &archive, manifest: &manifest }),
        scope: if whole { Scope::All } else { Scope::Only(only) },
        exact: options.here.exact,
        git: match (options.here.git, whole) {
            (true, _) => GitWish::Always,
            (false, true) => GitWish::WhenMissing,
            (false, false) => GitWish::Never,
        },
        from_dumps: options.sql_only,
        with_code: options.with_code,
        operation: Operation::Restore,
        of: None,
    };
    let job = Job {
        project: &project,
        store: store.root(),
        writes: lock.as_ref().map(|lock| (&store, lock)),
        command: "restore",
        what: format!("backup {}", manifest.id),
        question: format!("restore backup {} over {}?", manifest.id, project.root.display()),
        dry_run: options.dry_run,
        force: options.force,
        safety: !options.here.no_backup,
        reverse: "cargo xtask undo",
        named_by: place.location.source,
        commit: None,
    };
    carry_out::run(ui, &job, order, findings)
}

/// Another project's files over this one's are hardly ever meant, and never by accident.
fn refuse_other_project(project: &Project, manifest: &Manifest) -> Result<()> {
    let here = place::owner_of(&project.root)?;
    let git = manifest.git.clone().unwrap_or_default();
    let there = Owner {
        host: manifest.host.clone(),
        path: manifest.path.clone(),
        root_commits: git.root_commits,
        remotes: git.remotes,
    };
    if there.relation(&here) != crate::store::identity::Relation::Foreign {
        return Ok(());
    }
    let text = format!("backup {} is of another project: {}", manifest.id, place::owner(&there));
    Err(Failure::new(Kind::Refused, text)
        .hint("look at it in a folder of its own: add --to DIR")
        .hint("or, if this project was moved here, add --other-project")
        .into())
}
