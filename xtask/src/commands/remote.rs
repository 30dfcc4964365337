//! What `backup`, `sync` and `pull` share: which remote is meant, and what is told of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::base::failure::{Failure, Kind, ResultExt, kind_of};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::procedures::place::Place;
use crate::procedures::upload::{self, Options, Sent};
use crate::project::config::Config;
use crate::store::Store;
use crate::store::remote::Remote;
use crate::store::remote::destination::Destination;
use crate::ui::{self, Ui};

/// The variable of the scripts that this replaces.
const VARIABLE: &str = "REMOTE_BACKUP_DEST";

/// Which way backups go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the remote.
    There,
    /// From the remote. A machine that lost everything may have its disks anywhere.
    Back,
}

/// What `--json` says of the remote.
#[derive(Serialize)]
pub struct Told {
    destination: String,
    by: &'static str,
    folder: String,
    uploaded: Vec<String>,
    bytes: u64,
    checked: Vec<Line>,
    repaired: Vec<String>,
    there: usize,
}

#[derive(Serialize)]
struct Line {
    id: String,
    ok: bool,
    by: &'static str,
}

/// Which remote is meant: what was typed, else the environment, else the configuration; `None` when none is.
///
/// # Errors
/// Of kind `Usage`, when it is not understood; or when it is to be written and lies in the project or the store.
pub fn wanted(place: &Place, typed: Option<&str>, way: Way) -> Result<Option<Destination>> {
    let here = || std::env::current_dir().context("the current folder is gone");
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let home = dirs::home_dir();
    let destination = if let Some(typed) = typed {
        Destination::parse(typed, &here()?, None).context("in --remote").kind(Kind::Usage)?
    } else if let Some(value) = variable {
        let text = value.to_str().context("it is no text");
        let read = text.and_then(|text| Destination::parse(text, &here()?, None));
        read.with_context(|| format!("in {VARIABLE}")).kind(Kind::Usage)?
    } else {
        let Some(root) = &place.root else { return Ok(None) };
        let Some(text) = Config::load(root)?.remote else { return Ok(None) };
        Destination::parse(&text, root, home.as_deref())
            .with_context(|| format!("in `remote` of {}", root.join("Cargo.toml").display()))
            .kind(Kind::Usage)?
    };
    let Destination::Folder(path) = destination else { return Ok(Some(destination)) };
    let path = settled(&path)?;
    if way == Way::Back {
        return Ok(Some(Destination::Folder(path)));
    }
    let mut inside = vec![(settled(&place.location.path)?, "the store")];
    inside.extend(place.root.as_deref().map(settled).transpose()?.map(|root| (root, "the project")));
    for (around, what) in inside {
        if path.starts_with(&around) {
            let text = format!("the remote {} lies in {what}: it would be lost with it", path.display());
            return Err(Failure::new(Kind::Usage, text).hint("name a folder on another disk").into());
        }
    }
    Ok(Some(Destination::Folder(path)))
}

/// The same, and a failure where none is meant.
///
/// # Errors
/// As [`wanted`], and when there is none.
pub fn needed(place: &Place, typed: Option<&str>, way: Way) -> Result<Destination> {
    let none = || {
        Failure::new(Kind::Usage, "no remote is named")
            .hint(format!(
                "--remote DEST, {VARIABLE}, or `remote` in [workspace.metadata.backup] of Cargo.toml"
            ))
            .hint("a remote is a folder, user@host:path, rsync://host/module/path, or NAME:path of rclone")
            .into()
    };
    wanted(place, typed, way)?.ok_or_else(none)
}

/// Absolute, with links and `..` resolved as far as there is something.
fn settled(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("can't use {}", path.display()))?;
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
        }
    }
    Ok(path)
}

/// Brings a store to its remote after a backup was taken: the backup is there whatever comes of this, so a
/// failure is a problem and no error.
///
/// # Errors
/// When the user interrupts.
pub fn after_backup(
    ui: &Ui,
    store: &Store,
    remote: Result<Remote>,
    findings: &mut Vec<Finding>,
) -> Result<Option<Told>> {
    if let Some(note) = remote.as_ref().ok().and_then(Remote::note) {
        ui.note(note);
    }
    let progress = ui.progress();
    let sent = remote
        .and_then(|remote| Ok((upload::upload(store, &remote, Options::default(), &progress)?, remote)));
    drop(progress);
    let before = findings.len();
    let told = match sent {
        Ok((sent, remote)) => {
            let whole = sent.stopped.is_none() && !sent.findings.iter().any(Finding::is_problem);
            findings.extend(sent.findings.iter().cloned());
            findings.extend(sent.stopped.as_ref().map(upload::not_there));
            if whole {
                ui.line(format!("  and at the remote: {}", sentence(&remote, &sent)));
            }
            Some(told(&remote, &sent))
        }
        Err(error) => {
            interrupt::check().context("the backup is in the store; it is not at the remote")?;
            if kind_of(&error) == Kind::Interrupted {
                return Err(error);
            }
            findings.push(upload::not_there(&error));
            None
        }
    };
    for finding in &findings[before..] {
        ui.finding(finding);
    }
    Ok(told)
}

/// `/far/project-0123abcd, 3 backups there, read back (its SHA-256)`.
pub fn sentence(remote: &Remote, sent: &Sent) -> String {
    let mut ways: Vec<&str> = sent.checked.iter().map(|(_, checked)| checked.by).collect();
    ways.sort_unstable();
    ways.dedup();
    let read_back = match ways.is_empty() {
        true => String::new(),
        false => format!(", read back ({})", ways.join(", ")),
    };
    format!(
        "{}, {} there{read_back}",
        remote.at(&sent.folder),
        ui::counted(sent.there as u64, "backup", "backups")
    )
}

/// For `--json`.
pub fn told(remote: &Remote, sent: &Sent) -> Told {
    let words = |ids: &[crate::base::id::BackupId]| ids.iter().map(ToString::to_string).collect();
    Told {
        destination: remote.shown().to_owned(),
        by: remote.by(),
        folder: sent.folder.clone(),
        uploaded: words(&sent.uploaded),
        bytes: sent.bytes,
        checked: sent
            .checked
            .iter()
            .map(|(id, checked)| Line { id: id.to_string(), ok: checked.same, by: checked.by })
            .collect(),
        repaired: words(&sent.repaired),
        there: sent.there,
    }
}
