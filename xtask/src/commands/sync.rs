//! `sync`: brings to the remote what it lacks.

use anyhow::Result;
use serde::Serialize;

use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::flags::Sync;
use crate::procedures::place::Place;
use crate::procedures::upload::{self, Options, Sent};
use crate::store::remote::Remote;
use crate::ui::{self, Style, Ui};

use super::log::Run;
use super::{Outcome, remote};

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    store: String,
    remote: remote::Told,
    findings: &'a [Finding],
}

/// Runs it.
///
/// # Errors
/// When nothing could be brought there.
pub fn run(ui: &Ui, place: &Place, options: &Sync) -> Result<Outcome> {
    let destination = remote::needed(place, options.remote.as_deref(), remote::Way::There)?;
    let remote = Remote::open(destination)?;
    let (store, mut findings) = place.open()?;
    ui.note(format!("to {}, by {}", remote.shown(), remote.by()));
    if let Some(note) = remote.note() {
        ui.note(note);
    }
    let mut line = Run::begin("sync");
    let progress = ui.progress();
    let options = Options { check: options.check, repair: options.repair };
    let sent = upload::upload(&store, &remote, options, &progress);
    drop(progress);
    let sent = match sent {
        Ok(sent) => sent,
        Err(error) => {
            line.failed(&store, &error);
            return Err(error);
        }
    };
    findings.extend(sent.findings.iter().cloned());
    findings.extend(sent.stopped.as_ref().map(|error| {
        Finding::problem("remote", format!("not everything is at the remote: {error:#}"))
            .hint("what went up stays; go on with: cargo xtask sync")
    }));
    let outcome = Outcome::of(&findings);
    line.bytes = (sent.bytes > 0).then_some(sent.bytes);
    // A store that may only be read was told of already.
    let _ = line.done(&store, outcome);
    report(ui, &remote, &sent, &findings);
    ui.document(&Document {
        store: store.root().display().to_string(),
        remote: remote::told(&remote, &sent),
        findings: &findings,
    })?;
    interrupt::check()?;
    Ok(outcome)
}

fn report(ui: &Ui, remote: &Remote, sent: &Sent, findings: &[Finding]) {
    for finding in findings {
        ui.finding(finding);
    }
    for (id, checked) in &sent.checked {
        let what = match (sent.uploaded.contains(id), sent.repaired.contains(id)) {
            (true, _) => "uploaded, ",
            (_, true) => "written again, ",
            _ => "",
        };
        match checked.same {
            true => ui.line(format!("{id}: {what}good there ({})", checked.by)),
            false => ui.styled(Style::Bad, format!("{id}: NOT GOOD there ({})", checked.by)),
        }
    }
    let place = remote::sentence(remote, sent);
    match sent.uploaded.len() {
        0 => ui.line(format!("nothing had to go up: {place}")),
        n => ui.line(format!(
            "{} ({}) went up: {place}",
            ui::counted(n as u64, "backup", "backups"),
            ui::size(sent.bytes)
        )),
    }
}
