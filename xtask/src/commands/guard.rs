//! `guard -- COMMAND`: a backup, the command, checks; and the databases put back when it did not go well.

use std::collections::BTreeSet;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Outcome;
use super::log::Run;
use crate::archive::manifest::Manifest;
use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::finding::Finding;
use crate::base::kind::BackupKind;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::flags;
use crate::procedures::guard::{self, Guard, Note};
use crate::procedures::place::Place;
use crate::procedures::put_back::Done;
use crate::procedures::rotate;
use crate::procedures::take::{self, Request};
use crate::project::root::Project;
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
    let on_duty = Guard::begin(&project.root, &note)?;
    let mut line = Run::begin("guard");
    line.id = Some(note.backup.to_string());
    let ended = run_command(&options);
    let paths: Vec<SafePath> = manifest.databases.iter().map(|database| database.path.clone()).collect();
    let (exit, wrong) = match &ended {
        Ok(status) if status.success() => {
            let scratch = tempfile::Builder::new().prefix("xtask-guard-").tempdir()?;
            let progress = ui.progress();
            let wrong = guard::judge(&project, &paths, &options.checks, scratch.path());
            drop(progress);
            match wrong {
                Ok(wrong) => (u8::from(!wrong.is_empty()), wrong),
                // What can't be checked has not passed.
                Err(error) => (1, vec![format!("the databases can't be checked: {error:#}")]),
            }
        }
        Ok(status) => (code(*status), Vec::new()),
        Err(_) => (127, Vec::new()),
    };
    let well = exit == 0;
    let done = if well {
        Done::default()
    } else {
        say_why(ui, &note, &ended, &wrong);
        put_back(ui, place, &project, &note)?
    };
    on_duty.end()?;
    findings.extend(done.findings.iter().cloned());
    done.findings.iter().for_each(|finding| ui.finding(finding));
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
                "the databases are as before {}; what it left is in the safety copy {left}",
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

/// The backup that is gone back to. The store is free again while the command runs.
fn before(
    ui: &Ui,
    place: &Place,
    project: &Project,
    options: &flags::Guard,
) -> Result<(Manifest, Note, Vec<Finding>)> {
    if guard::is_running(&project.root) {
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

/// Runs the command and passes on what signals come meanwhile.
fn run_command(options: &flags::Guard) -> Result<ExitStatus> {
    let Some((program, arguments)) = options.command.split_first() else { anyhow::bail!("no command") };
    let mut child = Command::new(program)
        .args(arguments)
        .spawn()
        .with_context(|| format!("can't run {}", escape(program.as_encoded_bytes())))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        pass_on(&child);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From a terminal, Ctrl-C reaches the command by itself.
#[cfg(unix)]
fn pass_on(child: &std::process::Child) {
    use std::io::IsTerminal;
    let Some(number) = crate::base::interrupt::take_signal() else { return };
    let by_terminal = std::io::stdin().is_terminal() && number == rustix::process::Signal::INT.as_raw();
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let (Some(pid), Some(signal), false) =
        (pid, rustix::process::Signal::from_named_raw(number), by_terminal)
    {
        // It may have ended in this very moment.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Windows hands Ctrl-C to every program of a console by itself.
#[cfg(windows)]
fn pass_on(_child: &std::process::Child) {}

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

fn put_back(ui: &Ui, place: &Place, project: &Project, note: &Note) -> Result<Done> {
    let failed = || format!("the databases are as {} left them: they could not be put back", note.command);
    let hint = "stop what keeps them busy, then any command that changes something puts them back, `cargo xtask backup` for one";
    let (store, lock) = place.open_to_write(project, false, "guard").with_context(failed).hint(hint)?;
    let progress = ui.progress();
    let done = guard::put_back(project, &store, &lock, &note.backup, &progress);
    drop(progress);
    done.with_context(failed).hint(hint)
}
