//! `pull`: brings backups back from the remote.

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind, kind_of};
use crate::base::finding::Finding;
use crate::flags::{Pull, Targets};
use crate::procedures::download::{self, Chosen, Pulled};
use crate::procedures::place::{self, Place};
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::store::identity::Relation;
use crate::store::lock::Lock;
use crate::store::remote::Remote;
use crate::store::select;
use crate::ui::{self, Ui};

use super::log::Run;
use super::{Outcome, remote};

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    store: String,
    remote: String,
    by: &'static str,
    folder: &'a str,
    pulled: Vec<String>,
    bytes: u64,
    here: usize,
    findings: &'a [Finding],
}

/// Runs it.
///
/// # Errors
/// When there is no such backup or folder, it is another working copy's, or nothing could be brought.
pub fn run(ui: &Ui, place: &Place, options: &Pull) -> Result<Outcome> {
    let destination = remote::needed(place, options.remote.as_deref(), remote::Way::Back)?;
    let remote = Remote::open(destination)?;
    ui.note(format!("from {}, by {}", remote.shown(), remote.by()));
    if let Some(note) = remote.note() {
        ui.note(note);
    }
    let present = place.present()?;
    let existing = match Store::open(&place.location.path) {
        Err(error) if kind_of(&error) == Kind::NotFound => None,
        opened => Some(opened?),
    };
    let chosen = download::choose(&remote, existing.as_ref(), present.as_ref(), options.from.as_deref())?;
    let wanted = wanted(&chosen, &options.targets)?;
    let received = download::receive(place, present.as_ref(), &chosen, options.adopt)?;
    let (store, lock) = (&received.store, &received.lock);
    let mut line = Run::begin("pull");
    let progress = ui.progress();
    let pulled = download::pull(store, lock, &remote, &chosen, &wanted, &progress);
    drop(progress);
    let mut pulled = match pulled {
        Ok(pulled) => pulled,
        Err(error) => {
            if !received.is_new {
                line.failed(store, &error);
            }
            received.discard_if_empty();
            return Err(error);
        }
    };
    let came = !pulled.pulled.is_empty();
    if came || !received.is_new {
        renew_executable(store, lock, &mut pulled.findings);
    }
    let mut findings = std::mem::take(&mut pulled.findings);
    findings.extend(pulled.stopped.as_ref().map(|error| {
        Finding::problem("remote", format!("not everything came: {error:#}"))
            .hint("what came stays; go on with: cargo xtask pull")
    }));
    findings.extend(other_copy(store, present.as_ref()).filter(|_| came || !received.is_new));
    let outcome = Outcome::of(&findings);
    line.bytes = came.then_some(pulled.bytes);
    if (came || !received.is_new)
        && let Err(error) = line.done(store, outcome)
    {
        let text = format!("this run is not in the store's history: {error:#}");
        findings.push(Finding::advice("history-file", text));
    }
    report(ui, store, &pulled, &findings);
    ui.document(&Document {
        store: store.root().display().to_string(),
        remote: remote.shown().to_owned(),
        by: remote.by(),
        folder: &chosen.folder,
        pulled: pulled.pulled.iter().map(ToString::to_string).collect(),
        bytes: pulled.bytes,
        here: pulled.here,
        findings: &findings,
    })?;
    received.discard_if_empty();
    Ok(outcome)
}

/// Recovery from this store must not need cargo, a network or the project.
fn renew_executable(store: &Store, lock: &Lock, findings: &mut Vec<Finding>) {
    let renewed = std::env::current_exe()
        .map_err(anyhow::Error::from)
        .and_then(|executable| store.renew_executable(lock, &executable));
    if let Err(error) = renewed {
        let finding = Finding::advice("executable", format!("{error:#}"));
        findings.push(finding.hint("copy it to the store's bin/ by hand"));
    }
}

fn wanted<'a>(chosen: &'a Chosen, targets: &Targets) -> Result<Vec<&'a StoreEntry>> {
    if chosen.entries.is_empty() {
        return Err(Failure::new(Kind::NotFound, format!("there is no backup in {} yet", chosen.folder))
            .hint("is it the right destination? cargo xtask pull --remote DEST")
            .into());
    }
    let mut found: Vec<&StoreEntry> = match targets {
        Targets::All => chosen.entries.iter().collect(),
        Targets::Named(words) => {
            let now = Instant::now();
            words.iter().map(|word| select::resolve(&chosen.entries, word, now)).collect::<Result<_>>()?
        }
    };
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup_by(|a, b| a.id == b.id);
    Ok(found)
}

/// Backups of a copy that was lost are in a store of its own: what that means for the present one.
fn other_copy(store: &Store, present: Option<&crate::store::identity::Owner>) -> Option<Finding> {
    let (info, present) = (store.info()?, present?);
    (info.owner.relation(present) != Relation::Own).then(|| {
        let text = format!("this is the store of another working copy: {}", place::owner(&info.owner));
        let hint =
            "restore from it with --to DIR; if that copy is gone, cargo xtask backup --adopt makes it yours";
        Finding::advice("other-copy", text).hint(hint)
    })
}

fn report(ui: &Ui, store: &Store, pulled: &Pulled, findings: &[Finding]) {
    for finding in findings {
        ui.finding(finding);
    }
    for id in &pulled.pulled {
        ui.line(format!("brought {id}, every byte checked"));
    }
    let here = match pulled.here {
        0 => String::new(),
        n => format!(", {} here already", ui::counted(n as u64, "was", "were")),
    };
    ui.line(format!(
        "{} ({}) came into {}{here}",
        ui::counted(pulled.pulled.len() as u64, "backup", "backups"),
        ui::size(pulled.bytes),
        store.root().display()
    ));
    if !pulled.pulled.is_empty() {
        ui.note("what is there now: cargo xtask list");
    }
}
