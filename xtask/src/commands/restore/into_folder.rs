//! `restore BACKUP --to DIR`: brings a project, or parts of it, back into an empty folder.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::archive::header::Kind as EntryKind;
use crate::archive::layout::{self, Part};
use crate::archive::manifest::Manifest;
use crate::archive::reader::Archive;
use crate::base::failure::{Failure, Kind, ResultExt, hints_of, is_disk_full, kind_of};
use crate::base::finding::Finding;
use crate::base::pattern::Pattern;
use crate::flags::Restore;
use crate::procedures::bring_back::{self, Brought, Wish};
use crate::procedures::{prove, staging};
use crate::store::Store;
use crate::store::catalog::StoreEntry;
use crate::ui::{self, Ui};

use super::super::Outcome;
use super::super::log::Run;

/// What `--json` prints.
#[derive(Serialize, Default)]
struct Document {
    id: String,
    target: Option<String>,
    dry_run: bool,
    files: u64,
    bytes: u64,
    links: u64,
    databases: Vec<String>,
    git: bool,
    not_applied: Vec<String>,
    findings: Vec<Finding>,
}

/// Runs it.
///
/// # Errors
/// When the backup is damaged, or the target can't be used; nothing was left behind then.
pub fn run(
    ui: &Ui,
    store: &Store,
    entry: &StoreEntry,
    target: &Path,
    options: &Restore,
    mut findings: Vec<Finding>,
) -> Result<Outcome> {
    let (archive, manifest) = prove::open(&entry.archive).hint("choose another backup: cargo xtask list")?;
    let only = options.only.iter().map(|path| Pattern::from_top(path.bytes())).collect::<Result<Vec<_>>>()?;
    let wish = Wish { only: &only, from_dumps: options.sql_only, with_code: options.with_code };
    if options.dry_run {
        return dry_run(ui, &archive, &manifest, target, &wish, findings);
    }
    // So that a message names a place that can be found again.
    let target = &std::path::absolute(target)
        .with_context(|| format!("can't tell where {} is: the current folder is gone", target.display()))?;
    refuse_store(store.root(), target)?;
    let mut run = Run::begin("restore");
    run.id = Some(entry.id.to_string());
    run.target = Some(target.display().to_string());
    let progress = ui.progress();
    let brought = bring_back::bring_back(&archive, &manifest, target, &wish, &progress)
                .with_context(|| format!("backup {} was not restored, and nothing was left behind", entry.id))
                .or_else(|error| match is_disk_full(&error) {
                    true => Err(error).hint(format!(
                        "make room on the disk of {}, or name a folder on another one",
                        target.display()
                    )),
                    false if kind_of(&error) == Kind::Failed && hints_of(&error).is_empty() => Err(error)
                        .hint("choose another backup (cargo xtask list), or name what you need with --only PATH: it may be undamaged"),
                    false => Err(error),
                });
    drop(progress);
    let brought = match brought {
        Ok(brought) => brought,
        Err(error) => {
            run.failed(store, &error);
            return Err(error);
        }
    };
    findings.extend(brought.findings.iter().cloned());
    // Restoring from a store that may only be read is as good as any other.
    let _ = run.done(store, Outcome::of(&findings));
    report(ui, &manifest, target, &brought, &findings);
    ui.document(&Document {
        id: entry.id.to_string(),
        target: Some(target.display().to_string()),
        files: brought.written.files,
        bytes: brought.written.bytes,
        links: brought.written.links,
        databases: brought.databases.iter().map(ToString::to_string).collect(),
        git: brought.git,
        not_applied: brought.not_applied.clone(),
        findings: findings.clone(),
        dry_run: false,
    })?;
    Ok(Outcome::of(&findings))
}

/// A store holds backups and nothing else: what is restored into it would be taken for part of it.
fn refuse_store(store: &Path, target: &Path) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    let Some(store) = real(store) else { return Ok(()) };
    let existing = target.ancestors().find_map(real);
    if !existing.is_some_and(|folder| folder.starts_with(&store)) {
        return Ok(());
    }
    let message = format!("{} is in the store {}", target.display(), store.display());
    Err(Failure::new(Kind::Refused, message).hint("name a new or an empty folder elsewhere").into())
}

fn report(ui: &Ui, manifest: &Manifest, target: &Path, brought: &Brought, findings: &[Finding]) {
    for finding in findings {
        ui.finding(finding);
    }
    ui.line(format!(
        "restored backup {} into {}: {} ({}), {}, {}",
        manifest.id,
        target.display(),
        ui::counted(brought.written.files, "file", "files"),
        ui::size(brought.written.bytes),
        ui::counted(brought.databases.len() as u64, "database", "databases"),
        if brought.git { "with its history" } else { "without history" }
    ));
    for path in &brought.databases {
        let facts =
            manifest.databases.iter().find(|database| database.path == *path).and_then(|d| d.facts.as_ref());
        if let Some(facts) = facts {
            ui.line(format!(
                "  {path}: {}, checked against the manifest",
                ui::counted(facts.rows(), "row", "rows")
            ));
        }
    }
    if !brought.not_applied.is_empty() {
        ui.note(format!(
            "not applied, because it can run programs: {} (look at it in the archive's backup/git/, or restore --with-code)",
            brought.not_applied.join(", ")
        ));
    }
}

fn dry_run(
    ui: &Ui,
    archive: &Archive,
    manifest: &Manifest,
    target: &Path,
    wish: &Wish<'_>,
    findings: Vec<Finding>,
) -> Result<Outcome> {
    staging::look(target)?;
    let mut document = Document {
        id: manifest.id.to_string(),
        target: Some(target.display().to_string()),
        dry_run: true,
        git: wish.only.is_empty() && manifest.git.is_some(),
        findings,
        ..Document::default()
    };
    for entry in &archive.index().entries {
        let part = layout::part(&entry.meta.path, entry.kind == EntryKind::Folder);
        if !wish.wants(&part, entry.kind == EntryKind::Folder) {
            continue;
        }
        let path = match part {
            Part::Image(path) | Part::Dump(path) => {
                document.databases.push(path.to_string());
                path
            }
            Part::File(path) | Part::Raw(path) => path,
            Part::Git(_) | Part::Frame => continue,
        };
        match &entry.kind {
            EntryKind::Folder => continue,
            EntryKind::Link { .. } => document.links += 1,
            EntryKind::File { size } => {
                document.files += 1;
                document.bytes += size;
            }
        }
        ui.line(format!("create {path}"));
    }
    for finding in &document.findings {
        ui.finding(finding);
    }
    ui.note(format!(
        "dry run: {} ({}), {} and {} would be written to {}; nothing was",
        ui::counted(document.files, "file", "files"),
        ui::size(document.bytes),
        ui::counted(document.links, "link", "links"),
        if document.git { "the history" } else { "no history" },
        target.display()
    ));
    ui.document(&document)?;
    Ok(Outcome::of(&document.findings))
}
