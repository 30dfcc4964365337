//! What `restore` over a project, `undo` and `redo` share: the plan is shown, somebody says yes, it is carried
//! out, and told, the command that reverses it as the last line.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::log::Run;
use super::{Outcome, show_plan};
use crate::base::failure::{Failure, Kind, hints_of, is_disk_full, kind_of};
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::origin::Origin;
use crate::procedures::prove;
use crate::procedures::put_back::{self, Done, GitStep, Order, Prepared};
use crate::project::git::revision::Commit;
use crate::project::plan::Change;
use crate::project::root::Project;
use crate::store::lock::Lock;
use crate::store::{self, Store};
use crate::ui::{self, Answer, Ui};

/// What is to be done, and in which words.
pub struct Job<'a> {
    /// To which project.
    pub project: &'a Project,
    /// The folder of its store.
    pub store: &'a Path,
    /// The store and its lock; none is needed for a dry run.
    pub writes: Option<(&'a Store, &'a Lock)>,
    /// The verb.
    pub command: &'static str,
    /// What is put back, for people: `backup 20251201_120000`.
    pub what: String,
    /// What is asked.
    pub question: String,
    /// Only show the plan.
    pub dry_run: bool,
    /// Don't ask.
    pub force: bool,
    /// Take a safety copy.
    pub safety: bool,
    /// The command that reverses it.
    pub reverse: &'static str,
    /// Who named the store: without that the command that reverses it would look elsewhere.
    pub named_by: store::location::Source,
    /// The commit that is put in place, where it is one.
    pub commit: Option<CommitLine<'a>>,
}

/// What `--json` says of a commit.
#[derive(Clone, Serialize)]
pub struct CommitLine<'a> {
    /// Which one.
    #[serde(flatten)]
    pub commit: &'a Commit,
    /// `reflog` or `commit-time`, where it was found by a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_by: Option<&'static str>,
    /// The backup that databases come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<CommitLine<'a>>,
    dry_run: bool,
    restored: bool,
    plan: show_plan::Document,
    safety: Option<String>,
    undo: Option<String>,
    not_applied: &'a [String],
    findings: &'a [Finding],
}

/// Runs it.
///
/// # Errors
/// When it was not done; everything is as it was then.
pub fn run(ui: &Ui, job: &Job<'_>, order: Order<'_>, mut findings: Vec<Finding>) -> Result<Outcome> {
    let origin = order.source.origin();
    let id = match &origin {
        Origin::Backup(id) => id.to_string(),
        Origin::Commit(id) => id.clone(),
    };
    let backup = order.source.backup().map(|backup| backup.manifest.id.clone());
    let mut line = Run::begin(job.command);
    line.id = Some(id.clone());
    let progress = ui.progress();
    let prepared = put_back::prepare(job.project, job.store, order, job.dry_run, &progress);
    drop(progress);
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let mut error = with_room(error, job);
            if let Some(id) = &backup {
                error = with_other_backup(error, id);
            }
            if let Some((store, _)) = job.writes {
                line.failed(store, &error);
            }
            return Err(error);
        }
    };
    findings.extend(prepared.findings.iter().cloned());
    let plan = show_plan::document(&prepared);
    let not_applied = match &prepared.git {
        GitStep::Create { not_applied } => not_applied.clone(),
        _ => Vec::new(),
    };
    let reverse = reverse(job, &prepared);
    let document = |restored: bool, done: &Done, findings: &[Finding]| {
        ui.document(&Document {
            id: id.clone(),
            commit: job.commit.clone(),
            dry_run: job.dry_run,
            restored,
            plan: plan.clone(),
            safety: done.safety.as_ref().map(ToString::to_string),
            undo: done.safety.as_ref().filter(|_| restored).map(|_| reverse.clone()),
            not_applied: &not_applied,
            findings,
        })
    };
    if job.dry_run {
        show_plan::whole(ui, &prepared);
        findings.iter().for_each(|finding| ui.finding(finding));
        ui.note(format!("dry run: this is what restoring {} would do; nothing was changed", job.what));
        prepared.discard()?;
        document(false, &Done::default(), &findings)?;
        return Ok(Outcome::of(&findings));
    }
    if prepared.is_empty() {
        prepared.discard()?;
        findings.iter().for_each(|finding| ui.finding(finding));
        ui.line(match findings.iter().any(Finding::is_problem) {
            true => {
                format!("but for that the project is as {} has it already; nothing was changed", job.what)
            }
            false => format!("the project is as {} has it already; nothing was changed", job.what),
        });
        document(false, &Done::default(), &findings)?;
        return Ok(Outcome::of(&findings));
    }
    if !job.force
        && let Err(error) = confirm(ui, job, &prepared, &findings)
    {
        prepared.discard()?;
        return Err(error);
    }
    let counts = Counts::of(&prepared);
    let Some((store, lock)) = job.writes else { anyhow::bail!("the store is not locked") };
    let progress = ui.progress();
    let done = prepared.apply(job.project, store, lock, job.safety, &progress);
    drop(progress);
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            let error = with_room(error, job);
            line.failed(store, &error);
            return Err(error);
        }
    };
    // What was found while it was planned is among them.
    let known = findings.len();
    let mut all = findings;
    all.extend(
        done.findings.iter().filter(|finding| !all[..known].contains(finding)).cloned().collect::<Vec<_>>(),
    );
    let seconds = line.seconds();
    // A store that can't be written any more: the undo record said so.
    let _ = line.done(store, Outcome::of(&all));
    all.iter().for_each(|finding| ui.finding(finding));
    report(ui, job, &reverse, &counts, &done, &not_applied, seconds);
    document(true, &done, &all)?;
    Ok(Outcome::of(&all))
}

/// The command that reverses it. A store that was named on the command line, or in a configuration that is about
/// to be replaced, is named again.
fn reverse(job: &Job<'_>, prepared: &Prepared<'_>) -> String {
    use store::location::Source;
    let replaces_configuration = || prepared.plan.steps.iter().any(|step| step.path.bytes() == b"Cargo.toml");
    match job.named_by {
        Source::Flag => {}
        Source::Configuration if replaces_configuration() => {}
        _ => return job.reverse.to_owned(),
    }
    let path = std::path::absolute(job.store).unwrap_or_else(|_| job.store.to_path_buf());
    format!("{} --store '{}'", job.reverse, path.display())
}

fn with_room(error: anyhow::Error, job: &Job<'_>) -> anyhow::Error {
    if !is_disk_full(&error) {
        return error;
    }
    let hint =
        format!("make room on the disks of {} and {}", job.project.root.display(), job.store.display());
    Failure::wrap(kind_of(&error), error).hint(hint).into()
}

/// What to do where a backup is not whole. Other failures have hints of their own, or are not about it.
fn with_other_backup(error: anyhow::Error, id: &BackupId) -> anyhow::Error {
    let kind = kind_of(&error);
    if kind != Kind::Failed || !hints_of(&error).is_empty() || prove::is_local(&error) {
        return error;
    }
    Failure::wrap(kind, error)
        .hint(format!("see what is damaged: cargo xtask verify {id} --full-test"))
        .hint("name with --only what you need most, or choose another backup: cargo xtask list")
        .into()
}

fn confirm(ui: &Ui, job: &Job<'_>, prepared: &Prepared<'_>, findings: &[Finding]) -> Result<()> {
    show_plan::brief(ui, prepared);
    findings.iter().for_each(|finding| ui.finding(finding));
    match ui.ask(&job.question) {
        Answer::Yes => Ok(()),
        Answer::No => Err(Failure::new(Kind::Refused, "not confirmed; nothing was changed").into()),
        Answer::Nobody => {
            Err(Failure::new(Kind::Refused, "nobody is there to confirm this; nothing was changed")
                .hint("see what it would do: --dry-run")
                .hint("or answer yes beforehand: --force")
                .into())
        }
    }
}

/// What there is to tell afterwards.
struct Counts {
    created: u64,
    replaced: u64,
    removed: u64,
    modes: u64,
    rows: Vec<(String, Option<u64>, &'static str)>,
    git: Option<String>,
}

impl Counts {
    fn of(prepared: &Prepared<'_>) -> Counts {
        let plan = &prepared.plan;
        let changed = prepared.databases.iter().filter(|step| step.state != put_back::State::Same);
        Counts {
            created: plan.count(Change::Create),
            replaced: plan.count(Change::Replace),
            removed: plan.count(Change::Remove) + prepared.databases_removed.len() as u64,
            modes: plan.count(Change::Mode),
            rows: changed
                .map(|step| {
                    let word = if step.of_commit { "the commit" } else { "the backup" };
                    (step.path().to_string(), step.rows(), word)
                })
                .collect(),
            git: show_plan::git_words(&prepared.git),
        }
    }
}

fn report(
    ui: &Ui,
    job: &Job<'_>,
    reverse: &str,
    counts: &Counts,
    done: &Done,
    not_applied: &[String],
    seconds: f64,
) {
    let parts: Vec<String> = [
        (counts.created, "created"),
        (counts.replaced, "replaced"),
        (counts.removed, "removed"),
        (counts.modes, "given other permissions"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{} {word}", ui::count(*count)))
    .collect();
    let files = if parts.is_empty() { "no file changed".to_owned() } else { parts.join(", ") };
    ui.line(format!(
        "restored {} over {} in {}: {files}",
        job.what,
        job.project.root.display(),
        ui::duration(Duration::from_secs_f64(seconds))
    ));
    for (path, rows, word) in &counts.rows {
        match rows {
            Some(rows) => {
                ui.line(format!("  {path}: {}, compared with {word}", ui::counted(*rows, "row", "rows")))
            }
            None => ui.line(format!("  {path}: its files, byte for byte")),
        }
    }
    if let Some(git) = &counts.git {
        ui.line(format!("  git: {git}"));
    }
    if !not_applied.is_empty() {
        ui.note(format!(
            "not applied, because it can run programs: {} (restore --with-code applies it)",
            not_applied.join(", ")
        ));
    }
    match &done.safety {
        Some(safety) => {
            ui.note(format!("the state before is in the safety copy {safety}; this takes it back:"));
            ui.line(reverse);
        }
        None => ui.note("no safety copy was taken, so this can't be taken back"),
    }
}
