//! `restore BACKUP --verify-only`: whether the backup could be restored; nothing is written.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::base::failure::{Kind, ResultExt, is_disk_full, kind_of};
use crate::base::finding::Finding;
use crate::procedures::prove::{self, Level};
use crate::procedures::take;
use crate::store::catalog::StoreEntry;
use crate::ui::Ui;

use super::super::Outcome;

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    id: String,
    restored: bool,
    findings: Vec<Finding>,
}

/// Runs it.
///
/// # Errors
/// When it can't be told whether the backup is good.
pub fn run(ui: &Ui, entry: &StoreEntry, mut findings: Vec<Finding>) -> Result<Outcome> {
    let scratch = tempfile::Builder::new().prefix("xtask-verify-").tempdir()?;
    let progress = ui.progress();
    let proved = prove::prove(&entry.archive, Level::Content, None, scratch.path(), &progress);
    drop(progress);
    let damage = match proved {
        Ok(manifest) => take::damage_of(&manifest),
        Err(error) if is_disk_full(&error) => {
            return Err(error)
                .with_context(|| format!("can't tell whether backup {} is good", entry.id))
                .hint(format!("make room on the disk of {}", std::env::temp_dir().display()));
        }
        // These say nothing about the backup.
        Err(error) if !matches!(kind_of(&error), Kind::Failed | Kind::Refused) => return Err(error),
        Err(error) if prove::is_local(&error) || prove::is_newer(&entry.archive) => {
            return Err(error)
                .with_context(|| format!("can't tell whether backup {} is good", entry.id))
                .hint("choose another backup: cargo xtask list");
        }
        // It was looked at, and that is what was asked for.
        Err(error) => vec![format!("{error:#}")],
    };
    findings.extend(damage.iter().map(|damage| {
        Finding::problem("damaged", format!("backup {} is damaged: {damage}", entry.id))
            .hint("choose another backup: cargo xtask list")
    }));
    for finding in &findings {
        ui.finding(finding);
    }
    let verdict = if damage.is_empty() { "good" } else { "DAMAGED" };
    ui.line(format!("backup {} is {verdict}; nothing was restored", entry.id));
    ui.document(&Document { id: entry.id.to_string(), restored: false, findings: findings.clone() })?;
    Ok(Outcome::of(&findings))
}
