//! Runs the git command so that it changes nothing and runs nothing that a repository names.
//!
//! Every `GIT_*` variable of the caller is dropped; optional locks, hooks, the file monitor, pagers,
//! prompts, lazy fetching and every network protocol are off; the user's and the system's configuration
//! are not read. Not through a shell, and not through `xshell` either: packs stream through a file handle,
//! and a long call must end when the user says stop.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::base::interrupt;

#[cfg(unix)]
const NOWHERE: &str = "/dev/null";
#[cfg(windows)]
const NOWHERE: &str = "NUL";

#[cfg(unix)]
const FILE_NAME: &str = "git";
#[cfg(windows)]
const FILE_NAME: &str = "git.exe";

/// Stderr beyond this many bytes is dropped: enough for a message, and memory stays flat.
const STDERR_BYTES_MAX: u64 = 64 * 1024;

/// The git command of this machine.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

/// What a call gets on its standard input.
pub enum Input<'a> {
    /// Nothing.
    Nothing,
    /// These bytes.
    Bytes(&'a [u8]),
    /// The rest of a file, from where it stands.
    Rest(File),
}

/// What a call answered.
pub struct Answer {
    /// Whether it ended with status 0.
    pub ok: bool,
    /// Its standard output.
    pub out: Vec<u8>,
    /// The beginning of its standard error, trimmed.
    pub err: String,
}

impl Answer {
    /// Standard output as trimmed text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim().to_owned()
    }
}

impl Program {
    /// The first `git` on the search path. Relative entries are passed over: they would mean a file of the
    /// project.
    pub fn find() -> Option<Program> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(FILE_NAME))
            .find(|file| file.is_file())
            .map(Program)
    }

    /// A call on a repository whose configuration is ours, seeing no other configuration.
    pub fn on(&self, git_dir: &Path) -> Command {
        let mut command = self.bare();
        command.env("GIT_DIR", git_dir).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", NOWHERE);
        command.current_dir(git_dir);
        command
    }

    /// A call that finds the repository from a folder, as a person's call would, with the user's own
    /// configuration (`safe.directory`, `core.excludesFile`). For questions only.
    pub fn at(&self, folder: &Path) -> Command {
        let mut command = self.bare();
        command.current_dir(folder);
        command
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(&self.0);
        for (name, _) in std::env::vars_os() {
            let lent = ["GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"];
            if name.to_string_lossy().starts_with("GIT_") && !lent.iter().any(|kept| name == *kept) {
                command.env_remove(&name);
            }
        }
        command
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_TRACE2", "0")
            .env("LC_ALL", "C")
            .arg("--no-pager")
            .args(["-c", "core.fsmonitor=false", "-c", &format!("core.hooksPath={NOWHERE}")])
            .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.untrackedCache=false"]);
        command
    }
}

/// Runs a call to its end.
///
/// # Errors
/// When it can't be started, or the user asked to stop (it is killed then). A status other than 0 is no
/// error here.
pub fn answer(command: Command, input: Input<'_>) -> Result<Answer> {
    ended(command, input, None)
}

/// Runs a call whose standard output goes into a file; `Answer::out` stays empty.
///
/// # Errors
/// As [`answer`].
pub fn answer_into(command: Command, input: Input<'_>, out: File) -> Result<Answer> {
    ended(command, input, Some(out))
}

fn ended(mut command: Command, input: Input<'_>, out: Option<File>) -> Result<Answer> {
    interrupt::check()?;
    let name = shown(&command);
    let (stdin, bytes) = match input {
        Input::Nothing => (Stdio::null(), None),
        Input::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
        Input::Rest(file) => (Stdio::from(file), None),
    };
    command.stdin(stdin).stdout(out.map_or_else(Stdio::piped, Stdio::from)).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("can't start {name}"))?;
    // The handle of an input file lives in the command too; git must be the only one that reads it.
    drop(command);
    let (pipe_in, pipe_out, pipe_err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let (done, ended) = channel();
        let out = scope.spawn(move || {
            let mut bytes = Vec::new();
            pipe_out.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
        });
        let err = scope.spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe_err {
                // A message that can't be read is only a poorer message; the status still counts.
                let _ = pipe.by_ref().take(STDERR_BYTES_MAX).read_to_end(&mut bytes);
                let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            }
            // The receiver is gone only when the call was killed, and then nobody waits.
            let _ = done.send(());
            String::from_utf8_lossy(&bytes).trim().to_owned()
        });
        if let (Some(mut pipe), Some(bytes)) = (pipe_in, bytes) {
            // A program that stops reading early tells why in its status.
            scope.spawn(move || drop(pipe.write_all(bytes)));
        }
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_millis(100)) {
            if let Err(stop) = interrupt::check() {
                // It may have ended by itself in this moment; both calls then have nothing to do.
                let _ = child.kill();
                let _ = child.wait();
                return Err(stop);
            }
        }
        let status = child.wait().with_context(|| format!("lost {name}"))?;
        if status.code().is_none() {
            // Ended by a signal: the one that ended it may be on its way to us, too.
            std::thread::sleep(Duration::from_millis(50));
        }
        interrupt::check()?;
        let out = out.join().map_err(|_| anyhow!("the reader of {name} stopped"))?;
        let err = err.join().map_err(|_| anyhow!("the reader of {name} stopped"))?;
        Ok(Answer { ok: status.success(), out: out.with_context(|| format!("reading from {name}"))?, err })
    })
}

/// Where an output goes that nobody reads.
///
/// # Errors
/// What the system returns.
pub fn nowhere() -> Result<File> {
    File::options().write(true).open(NOWHERE).with_context(|| format!("can't open {NOWHERE}"))
}

/// Runs a call that must succeed; its standard output.
///
/// # Errors
/// When it can't be started, or ends with another status than 0: git's own message is the error's.
pub fn output(command: Command, input: Input<'_>) -> Result<Vec<u8>> {
    let name = shown(&command);
    let answer = answer(command, input)?;
    if answer.ok { Ok(answer.out) } else { Err(anyhow!("{name} failed: {}", answer.err)) }
}

/// `git write-tree`: the verb without our own options.
fn shown(command: &Command) -> String {
    let mut words = command.get_args().map(OsStr::to_string_lossy).peekable();
    while let Some(word) = words.next() {
        match word.as_ref() {
            "-c" => drop(words.next()),
            option if option.starts_with('-') => {}
            verb => return format!("git {verb}"),
        }
    }
    "git".to_owned()
}
