//! `backup`: protects the project as it is now.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use crate::base::finding::Finding;
use crate::base::kind::BackupKind;
use crate::flags;
use crate::procedures::place::Place;
use crate::procedures::rotate;
use crate::procedures::take::{self, Request, Taken};
use crate::procedures::unchanged::Unread;
use crate::procedures::upload;
use crate::store::remote::Remote;
use crate::ui::{self, Ui};

use super::log::Run;
use super::{Outcome, remote};

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    id: String,
    archive: String,
    sha256: String,
    bytes: u64,
    reused: Option<Reused>,
    unread: Unread,
    seconds: f64,
    store: String,
    removed: Vec<String>,
    remote: Option<remote::Told>,
    findings: &'a [Finding],
    manifest: &'a crate::archive::manifest::Manifest,
}

/// What was taken over in its compressed form.
#[derive(Serialize)]
struct Reused {
    from: String,
    bytes: u64,
}

/// Runs it.
///
/// # Errors
/// When no backup was made.
pub fn run(ui: &Ui, place: &Place, options: flags::Backup) -> Result<Outcome> {
    let project = place.project()?;
    // A remote that is not understood is wrong use; one that can't be reached must not cost the backup.
    let remote = match options.no_remote {
        true => None,
        false => remote::wanted(place, options.remote.as_deref(), remote::Way::There)?,
    };
    let remote = remote.map(Remote::open);
    if let Some(Err(error)) = &remote {
        ui.finding(&upload::will_not_be_there(error));
    }
    let (store, lock) = place.open_to_write(&project, options.adopt, "backup")?;
    let kind = match options.kind {
        flags::BackupKind::Manual => BackupKind::Manual,
        flags::BackupKind::Scheduled => BackupKind::Scheduled,
        flags::BackupKind::Guard => BackupKind::Guard,
    };
    let request = Request {
        kind,
        label: options.label.map(|label| label.as_str().to_owned()),
        pin: options.pin,
        dumps: !options.no_sql && project.config.sql_dump,
        also: BTreeSet::new(),
        reuse: !options.no_reuse,
        full_read: options.full_read,
    };
    let mut line = Run::begin("backup");
    let progress = ui.progress();
    let taken = take::take(&project, &store, &lock, &request, &progress);
    drop(progress);
    let mut taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            line.failed(&store, &error);
            return Err(error);
        }
    };
    let progress = ui.progress();
    let rotated = rotate::after_backup(&store, &lock, &project.config.keep, &taken.manifest.id, &progress);
    drop(progress);
    taken.findings.extend(rotated.findings);
    let removed: Vec<String> = rotated.removed.iter().map(|entry| entry.id.to_string()).collect();
    line.removed.clone_from(&removed);
    line.id = Some(taken.manifest.id.to_string());
    line.bytes = Some(taken.summary.archive_bytes);
    let seconds = line.seconds();
    // Others may take backups while this one travels.
    drop(lock);
    report(ui, &taken);
    if !removed.is_empty() {
        ui.line(format!("  removed by rotation: {} (in the store's trash for 7 days)", removed.join(", ")));
    }
    let sent = remote.map(|remote| remote::after_backup(ui, &store, remote, &mut taken.findings)).transpose();
    let sent = match sent {
        Ok(sent) => sent.flatten(),
        Err(error) => {
            line.failed(&store, &error);
            return Err(error);
        }
    };
    if let Err(error) = line.done(&store, Outcome::of(&taken.findings)) {
        let text = format!("this run is not in the store's history: {error:#}");
        let finding = Finding::advice("history-file", text);
        ui.finding(&finding);
        taken.findings.push(finding);
    }
    ui.document(&Document {
        id: taken.manifest.id.to_string(),
        archive: taken.archive.display().to_string(),
        sha256: taken.summary.archive_sha256.to_string(),
        bytes: taken.summary.archive_bytes,
        reused: taken.reused.as_ref().map(|(id, bytes)| Reused { from: id.to_string(), bytes: *bytes }),
        unread: taken.unread,
        seconds,
        store: store.root().display().to_string(),
        removed,
        remote: sent,
        findings: &taken.findings,
        manifest: &taken.manifest,
    })?;
    Ok(Outcome::of(&taken.findings))
}

fn report(ui: &Ui, taken: &Taken) {
    let manifest = &taken.manifest;
    for finding in &taken.findings {
        ui.finding(finding);
    }
    ui.line(format!(
        "backup {}: {} in {}, verified{}",
        manifest.id,
        ui::size(taken.summary.archive_bytes),
        ui::duration(taken.took),
        reused(taken)
    ));
    let rows = taken.summary.rows;
    ui.line(format!(
        "  {} ({}), {} ({}), {}",
        ui::counted(taken.summary.databases, "database", "databases"),
        ui::counted(rows, "row", "rows"),
        ui::counted(manifest.files.files, "file", "files"),
        ui::size(manifest.files.bytes),
        match &manifest.git {
            None => "no git".to_owned(),
            Some(git) => match (&git.commit, &git.branch) {
                (None, _) => "no commit yet".to_owned(),
                (Some(commit), branch) => format!(
                    "history at {}{}{}",
                    commit.get(..10).unwrap_or(commit),
                    branch.as_ref().map_or_else(String::new, |branch| format!(" ({branch})")),
                    if git.dirty { " with uncommitted work" } else { "" }
                ),
            },
        }
    ));
    if !manifest.left_out.is_empty() {
        ui.line(format!("  left out: {}", left_out(manifest)));
    }
    ui.line(format!("  {}", taken.archive.display()));
    if Outcome::of(&taken.findings) == Outcome::WithProblems {
        ui.note("not everything is protected: see the problems above");
    }
}

/// `; 60 MiB of it as in 20251201_120000`, where it is worth a word, and what was not even read.
fn reused(taken: &Taken) -> String {
    let unread = &taken.unread;
    let counted = match unread.files + unread.databases {
        0 => String::new(),
        _ => format!(
            " ({} and {} unchanged, not read again)",
            ui::counted(unread.files, "file", "files"),
            ui::counted(unread.databases, "database", "databases")
        ),
    };
    match &taken.reused {
        Some((id, bytes)) if *bytes > 0 => format!("; {} of it as in {id}{counted}", ui::size(*bytes)),
        _ => String::new(),
    }
}

fn left_out(manifest: &crate::archive::manifest::Manifest) -> String {
    let mut words: Vec<&str> = manifest.left_out.iter().map(|item| item.reason.as_str()).collect();
    words.sort_unstable();
    let counts =
        words.chunk_by(|a, b| a == b).filter_map(|run| Some(format!("{} {}", run.len(), run.first()?)));
    format!("{} (cargo xtask show {})", counts.collect::<Vec<_>>().join(", "), manifest.id)
}
