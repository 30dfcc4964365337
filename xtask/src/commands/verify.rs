//! `verify`: whether backups are what was saved, and whether a project comes back from them.

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind, hints_of, kind_of};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::mail_address::MailAddress;
use crate::flags::{Targets, Verify};
use crate::procedures::place::Place;
use crate::procedures::prove::Level;
use crate::procedures::{check_backup, mail};
use crate::store::catalog::StoreEntry;
use crate::store::{Store, identity, select};
use crate::ui::{Style, Ui};

use super::Outcome;
use super::log::Run;

mod letter;

/// One result for `--json`.
#[derive(Serialize)]
struct Line {
    id: String,
    level: Level,
    ok: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damage: Vec<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    store: String,
    ok: bool,
    backups: &'a [Line],
    /// Who got a mail.
    mailed: Option<&'a str>,
    findings: &'a [Finding],
}

/// What a verification came to.
struct Verified {
    store: Store,
    lines: Vec<Line>,
    findings: Vec<Finding>,
    run: Run,
}

/// Runs it.
///
/// # Errors
/// When there is no such backup, or it can't be told whether it is good.
pub fn run(ui: &Ui, place: &Place, options: &Verify) -> Result<Outcome> {
    let to = recipient(place, options)?;
    let level = if options.full_test { Level::Restore } else { Level::Content };
    let Verified { store, lines, mut findings, mut run } = match verify(ui, place, options, level) {
        Ok(verified) => verified,
        Err(error) => {
            // Wrong use, or what the user stopped, is no news for anybody else.
            let is_news = !matches!(kind_of(&error), Kind::Usage | Kind::Interrupted);
            if let Some(to) = to.filter(|_| is_news && interrupt::check().is_ok()) {
                let host = identity::host_name();
                let letter = letter::of_failure(&address(place, None, &host), &error);
                match mail::send(&to, &letter.subject, &letter.text) {
                    Ok(_) => ui.note(format!("a mail went to {to}")),
                    Err(error) => ui.finding(&not_sent(&to, &error)),
                }
            }
            return Err(error);
        }
    };
    let ok = lines.iter().all(|line| line.ok);
    let outcome = |findings: &[Finding]| if ok { Outcome::of(findings) } else { Outcome::WithProblems };
    let wanted = !options.alert_on_fail || outcome(&findings) != Outcome::Done;
    let mut mailed = None;
    if let Some(to) = to.as_ref().filter(|_| wanted) {
        let host = identity::host_name();
        let letter = letter::of_result(&address(place, Some(&store), &host), level, &lines, &findings);
        match mail::send(to, &letter.subject, &letter.text) {
            Ok(_) => {
                ui.note(format!("a mail went to {to}"));
                mailed = Some(to.as_str());
            }
            Err(error) => {
                let finding = not_sent(to, &error);
                ui.finding(&finding);
                findings.push(finding);
            }
        }
    }
    let outcome = outcome(&findings);
    run.verified = Some(lines.len());
    run.damaged = lines.iter().filter(|line| !line.damage.is_empty()).map(|line| line.id.clone()).collect();
    // A store that may only be read: each backup said already that nothing is remembered.
    let _ = run.done(&store, outcome);
    ui.document(&Document {
        store: store.root().display().to_string(),
        ok,
        backups: &lines,
        mailed,
        findings: &findings,
    })?;
    Ok(outcome)
}

/// Who gets a mail, if anything is to be told.
fn recipient(place: &Place, options: &Verify) -> Result<Option<MailAddress>> {
    if options.email.is_some() || !options.alert_on_fail {
        return Ok(options.email.clone());
    }
    let configured = match &place.root {
        Some(_) => place.project()?.config.alert,
        None => None,
    };
    let failure = || {
        Failure::new(Kind::Usage, "--alert-on-fail needs to know who is told")
            .hint("add --email ADDRESS, or `alert = \"ADDRESS\"` to the configuration in Cargo.toml")
    };
    Ok(Some(configured.ok_or_else(failure)?))
}

fn not_sent(to: &MailAddress, error: &anyhow::Error) -> Finding {
    let finding = Finding::problem("mail", format!("no mail went to {to}: {error:#}"));
    hints_of(error).into_iter().fold(finding, Finding::hint)
}

/// What a mail says about where the backups are.
fn address<'a>(place: &'a Place, store: Option<&Store>, host: &'a str) -> letter::Where<'a> {
    let of_store = store.and_then(Store::info).map(|info| escape(&info.owner.path.0));
    let project = match &place.root {
        Some(root) => root.display().to_string(),
        None => of_store.unwrap_or_else(|| "not known".to_owned()),
    };
    letter::Where { host, project, store: &place.location.path }
}

fn verify(ui: &Ui, place: &Place, options: &Verify, level: Level) -> Result<Verified> {
    let (store, mut findings) = place.open()?;
    let listing = store.list()?;
    let chosen: Vec<&StoreEntry> = match &options.targets {
        Targets::All if listing.entries.is_empty() => {
            vec![select::resolve(&listing.entries, "latest", Instant::now())?]
        }
        Targets::All => listing.entries.iter().collect(),
        Targets::Named(words) => {
            let now = Instant::now();
            words.iter().map(|word| select::resolve(&listing.entries, word, now)).collect::<Result<_>>()?
        }
    };
    if let Targets::Named(words) = &options.targets
        && let Some(at) = words.iter().position(|word| word == "latest")
    {
        findings.extend(chosen.get(at).and_then(|entry| passed_over(&listing.entries, entry)));
    }
    for finding in &findings {
        ui.finding(finding);
    }
    let mut lines = Vec::new();
    let mut run = Run::begin("verify");
    let several = chosen.len() > 1;
    for entry in chosen {
        let (line, more) = match one(ui, &store, entry, level) {
            Ok(verified) => verified,
            // The others can still be judged, and whoever asked for several wants to know of each.
            Err(error) if several && kind_of(&error) == Kind::Failed => unjudged(entry, level, &error),
            Err(error) => {
                run.id = Some(entry.id.to_string());
                run.failed(&store, &error);
                return Err(error);
            }
        };
        if line.ok {
            ui.styled(Style::Good, format!("{}: good, {}", entry.id, words(level)));
        } else if line.damage.is_empty() {
            ui.line(format!("{}: not checked", entry.id));
        } else {
            ui.styled(Style::Bad, format!("{}: DAMAGED", entry.id));
            for damage in &line.damage {
                ui.line(format!("  {damage}"));
            }
        }
        for finding in &more {
            ui.finding(finding);
        }
        findings.extend(more);
        lines.push(line);
    }
    if lines.iter().any(|line| !line.damage.is_empty()) {
        ui.note("use another backup (cargo xtask list); a damaged archive may still give single files: cargo xtask restore BACKUP --only PATH --to DIR");
    }
    Ok(Verified { store, lines, findings, run })
}

/// `latest` is the newest undamaged one: who asks for it wants to know of those after it.
fn passed_over(entries: &[StoreEntry], chosen: &StoreEntry) -> Option<Finding> {
    let newer = entries.iter().filter(|entry| !entry.safety && entry.id > chosen.id && entry.is_damaged());
    let ids: Vec<String> = newer.map(|entry| entry.id.to_string()).collect();
    let last = ids.last()?;
    let text = format!("latest is {}, since what came after it is damaged: {}", chosen.id, ids.join(", "));
    let hint = format!("see what is wrong: cargo xtask verify {last}");
    Some(Finding::problem("newer-damaged", text).hint(hint))
}

fn words(level: Level) -> &'static str {
    match level {
        Level::Readable => "readable",
        Level::Archive => "every byte checked",
        Level::Content => "every byte, databases and history checked",
        Level::Restore => "really restored in a scratch folder, dumps too",
    }
}

/// One of several that could not be looked at.
fn unjudged(entry: &StoreEntry, level: Level, error: &anyhow::Error) -> (Line, Vec<Finding>) {
    let finding = Finding::problem("unchecked", format!("{error:#}"));
    let finding = hints_of(error).into_iter().fold(finding, Finding::hint);
    (Line { id: entry.id.to_string(), level, ok: false, damage: Vec::new() }, vec![finding])
}

fn one(ui: &Ui, store: &Store, entry: &StoreEntry, level: Level) -> Result<(Line, Vec<Finding>)> {
    let progress = ui.progress();
    let checked = check_backup::check(store, entry, level, "verify", &progress)?;
    Ok((Line { id: entry.id.to_string(), level, ok: checked.ok, damage: checked.damage }, checked.findings))
}
