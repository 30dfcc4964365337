//! `guard -- COMMAND`: a backup, the command, checks; and the databases put back when it did not go well.

use std::collections::BTreeSet;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result};
use serde::Serialize;

use super::Outcome;
use super::log::Run;
use crate::archive::manifest::Manifest;
use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind, ResultExt, kind_of};
use crate::base::finding::Finding;
use crate::base::interrupt::{self, PassedOn};
use crate::base::kind::BackupKind;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::flags;
use crate::procedures::guard::{self, Guard, Note, Watch};
use crate::procedures::place::Place;
use crate::procedures::put_back::Done;
use crate::procedures::rotate;
use crate::procedures::take::{self, Request};
use crate::project::root::Project;
use crate::store::Store;
use crate::ui::Ui;

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    backup: String,
    /// The command's exit code; 128 and the signal's number when it was killed.
    exit: u8,
    failed_checks: &'a [String],
    put_back: bool,
    /// The safety copy of what the command left.
    left: Option<String>,
    findings: &'a [Finding],
}

/// Runs it.
///
/// # Errors
/// When the command was not run; or when it failed, and the databases could not be put back.
pub fn run(ui: &Ui, place: &Place, options: flags::Guard) -> Result<Outcome> {
    let project = place.project()?;
    let (manifest, note, mut findings) = before(ui, place, &project, &options)?;
    let mut on_duty = Guard::begin(&project.root, &note)?;
    if let Err(error) = interrupt::check() {
        on_duty.end()?;
        return Err(error).context("the command was not run");
    }
    let mut line = Run::begin("guard");
    line.id = Some(note.backup.to_string());
    let ended = run_command(ui, &options);
    // Before any database is opened.
    let made = guard::made(&project, &place.location.path, &manifest);
    let (exit, wrong) = match &ended {
        Ok(status) if status.success() => check(ui, &project, &manifest, &made, &options),
        Ok(status) => (code(*status), Vec::new()),
        Err(error) => (code_of_no_start(error), Vec::new()),
    };
    let well = exit == 0;
    let done = if well {
        Done::default()
    } else {
        say_why(ui, &note, &ended, &wrong);
        // What can't be seen is no reason to leave the databases as they are.
        if on_duty.something_runs().unwrap_or_default() {
            let finding = runs_on(&note);
            ui.finding(&finding);
            findings.push(finding);
        }
        match put_back(ui, place, &project, &note) {
            Ok(done) => done,
            Err(error) => {
                if let Ok((store, _)) = place.open() {
                    line.failed(&store, &error);
                }
                return Err(error);
            }
        }
    };
    on_duty.end()?;
    let mut more = done.findings.clone();
    if !well {
        // Where the project can't be read, putting back has failed, or has said so.
        more.extend(made.iter().flatten().map(stays));
    }
    more.iter().for_each(|finding| ui.finding(finding));
    findings.extend(more);
    let outcome = if well { Outcome::of(&findings) } else { Outcome::Exit(exit) };
    if let Ok((store, _)) = place.open() {
        // A store that can't be written any more costs the line about the run, not the run.
        let _ = line.done(&store, outcome);
    }
    if well {
        ui.note(format!("{}: done; the state before it is backup {}", note.command, note.backup));
    } else {
        match &done.safety {
            Some(left) => ui.note(format!(
                "the databases are as before {}; what it left is in the safety copy {left}, and cargo xtask undo brings that back",
                note.command
            )),
            None => ui.note("it had changed nothing in the databases"),
        }
        ui.note("files that it changed stay as they are");
    }
    ui.document(&Document {
        backup: note.backup.to_string(),
        exit,
        failed_checks: &wrong,
        put_back: done.safety.is_some(),
        left: done.safety.as_ref().map(ToString::to_string),
        findings: &findings,
    })?;
    Ok(outcome)
}

fn runs_on(note: &Note) -> Finding {
    let text =
        format!("something that {} started still runs, and may yet change the databases", note.command);
    Finding::problem("still-runs", text).hint("end it, and look at the databases again")
}

fn stays(path: &SafePath) -> Finding {
    let text = format!("the command made the database {path}, which stays");
    Finding::advice("made-by-command", text).hint("remove it where it is not wanted")
}

/// What is wrong after a command that went well, and the exit code for it.
fn check(
    ui: &Ui,
    project: &Project,
    manifest: &Manifest,
    made: &Result<Vec<SafePath>>,
    options: &flags::Guard,
) -> (u8, Vec<String>) {
    let progress = ui.progress();
    let wrong = match made {
        Ok(made) => guard::judge(project, manifest, made, &options.checks),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    drop(progress);
    if interrupt::check().is_err() {
        // It is taken back, which must not be stopped by the same signal.
        interrupt::forget();
        return (Kind::Interrupted.exit_code(), vec!["the checks were interrupted".to_owned()]);
    }
    match wrong {
        Ok(wrong) => (u8::from(!wrong.is_empty()), wrong),
        // What can't be checked has not passed.
        Err(error) => (1, vec![format!("the databases can't be checked: {error:#}")]),
    }
}

/// The backup that is gone back to. The store is free again while the command runs.
fn before(
    ui: &Ui,
    place: &Place,
    project: &Project,
    options: &flags::Guard,
) -> Result<(Manifest, Note, Vec<Finding>)> {
    if guard::watch(&project.root) != Watch::Nobody {
        return Err(Failure::new(Kind::Locked, "a guarded command is running in this project already")
            .hint("wait until it is done")
            .into());
    }
    let (store, lock) = place.open_to_write(project, false, "guard")?;
    let request = Request {
        kind: BackupKind::Guard,
        label: options.label.as_ref().map(|label| label.as_str().to_owned()),
        pin: false,
        dumps: project.config.sql_dump,
        also: BTreeSet::new(),
        reuse: true,
        full_read: false,
    };
    let progress = ui.progress();
    let taken = take::take(project, &store, &lock, &request, &progress);
    let mut taken = taken.context("the command was not run")?;
    let rotated = rotate::after_backup(&store, &lock, &project.config.keep, &taken.manifest.id, &progress);
    drop(progress);
    taken.findings.extend(rotated.findings);
    taken.findings.iter().for_each(|finding| ui.finding(finding));
    let damage = take::damage_of(&taken.manifest);
    let torn = taken.findings.iter().find(|finding| finding.code == "not-one-instant");
    if let Some(why) = damage.first().or(torn.map(|finding| &finding.message)) {
        let text = format!("the command was not run, because the databases could not be put back: {why}");
        return Err(Failure::new(Kind::Failed, text)
            .hint("bring the database back first: cargo xtask list")
            .into());
    }
    let command: Vec<String> = options.command.iter().map(|word| escape(word.as_encoded_bytes())).collect();
    let note = Note {
        backup: taken.manifest.id.clone(),
        store: RawPath::of(store.root())?,
        command: command.join(" "),
        since: Instant::now(),
    };
    ui.note(format!("backup {} taken; now running {}", note.backup, note.command));
    Ok((taken.manifest, note, taken.findings))
}

/// Runs the command and passes on what signals come meanwhile. They are its affair: whether it ends by them, and
/// how, is seen by its exit.
fn run_command(ui: &Ui, options: &flags::Guard) -> Result<ExitStatus> {
    let Some((program, arguments)) = options.command.split_first() else { anyhow::bail!("no command") };
    let mut command = Command::new(program);
    command.args(arguments).stdout(ui.stdout_for_another().context("can't hand stderr on")?);
    let signals = interrupt::pass_on();
    let mut child =
        command.spawn().with_context(|| format!("can't run {}", escape(program.as_encoded_bytes())))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        pass_on(&signals, &child);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What is typed on a terminal reaches the command by itself; twice would cut its own cleaning up short.
#[cfg(unix)]
fn pass_on(signals: &PassedOn, child: &std::process::Child) {
    use rustix::process::{Pid, Signal};
    let Some(number) = signals.take() else { return };
    let typed = [Signal::INT, Signal::QUIT].iter().any(|signal| signal.as_raw() == number);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal), false) =
        (pid, Signal::from_named_raw(number), typed && is_in_foreground())
    {
        // It may have ended in this very moment.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether we, and the command with us, are what the terminal's keys are for.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Windows hands Ctrl-C to every program of a console by itself.
#[cfg(windows)]
fn pass_on(_signals: &PassedOn, _child: &std::process::Child) {}

/// As shells tell it: 126 when there is such a command and it can't be run.
fn code_of_no_start(error: &anyhow::Error) -> u8 {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    if kind == Some(std::io::ErrorKind::PermissionDenied) { 126 } else { 127 }
}

#[cfg(unix)]
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(number).unwrap_or(1)
}

#[cfg(windows)]
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn say_why(ui: &Ui, note: &Note, ended: &Result<ExitStatus>, wrong: &[String]) {
    match ended {
        Ok(status) if status.success() => {
            for wrong in wrong {
                ui.finding(&Finding::problem("check-failed", wrong));
            }
        }
        Ok(status) => {
            let text = format!("{} failed: {status}", note.command);
            ui.finding(&Finding::problem("command-failed", text));
        }
        Err(error) => ui.finding(&Finding::problem("command-failed", format!("{error:#}"))),
    }
    ui.note(format!("putting the databases back from backup {}", note.backup));
}

/// How long to wait for a run that has the store, such as a nightly backup. It has nothing to do with us, and
/// until it ends the databases are as the command left them.
const PATIENCE: Duration = Duration::from_secs(600);

fn put_back(ui: &Ui, place: &Place, project: &Project, note: &Note) -> Result<Done> {
    let failed = || format!("the databases are as {} left them: they could not be put back", note.command);
    let hint = "stop what keeps them busy, then any command that changes something puts them back, `cargo xtask backup` for one";
    // A signal that ended the command may come to us a second time.
    let _until_done = interrupt::until_done();
    let until = Clock::now() + PATIENCE;
    let mut waiting = false;
    let (store, lock) = loop {
        // As it is: where it has gone away, no new one is made in its place.
        let opened =
            Store::open(&place.location.path).and_then(|store| store.lock("guard").map(|lock| (store, lock)));
        match opened {
            Err(error) if kind_of(&error) == Kind::Locked && Clock::now() < until => {
                if !waiting {
                    ui.note(format!("waiting, because {error:#}"));
                    waiting = true;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) if kind_of(&error) == Kind::NotFound => {
                return Err(error).with_context(failed).kind(Kind::Failed).hint(
                    "bring the store back, then any command that changes something puts them back, `cargo xtask backup` for one",
                );
            }
            opened => break opened.with_context(failed).hint(hint)?,
        }
    };
    let progress = ui.progress();
    let done = guard::put_back(project, &store, &lock, &note.backup, &progress);
    drop(progress);
    done.with_context(failed).hint(hint)
}
