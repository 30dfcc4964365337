//! Killing a run at one of its system calls, with `strace`, which hits the moments that are too short for a clock.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Sandbox, system};

/// Whether the slow, complete form of a test is wanted.
pub fn is_full() -> bool {
    std::env::var_os("XTASK_TEST_FULL").is_some_and(|value| value == "1")
}

/// Whether `strace` can be used; where it can't, that is told.
pub fn tracer() -> bool {
    let works =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        system::skip("strace is not there or may not trace, so no run is killed at a given system call");
        return false;
    }
    true
}

/// Runs the tool and kills its main thread at the n-th call; false when there were not so many.
#[track_caller]
pub fn killed_at(sandbox: &Sandbox, call: &str, n: usize, words: &[OsString]) -> bool {
    let mut command = sandbox.command("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={n}"), "--"]);
    command.arg(sandbox.program()).args(words).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().unwrap();
    if output.status.code().is_some_and(|code| matches!(code, 0 | 3)) {
        return false;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), None, "not killed at {call} {n}, but failed:\n{said}");
    true
}

/// One system call of a run: its kind, the how many-th of that kind, and what it was told.
#[derive(Clone, Debug)]
pub struct Call {
    pub kind: String,
    pub number: usize,
    pub line: String,
}

/// Runs the tool and tells which calls of these kinds its main thread made, in their order.
#[track_caller]
pub fn calls(sandbox: &Sandbox, kinds: &[&str], words: &[OsString]) -> Vec<Call> {
    let log = sandbox.path("strace.log");
    let mut command = sandbox.command("strace");
    command.args(["-qq", "-s", "200", "-o"]).arg(&log).args([
        "-e",
        &format!("trace={}", kinds.join(",")),
        "--",
    ]);
    let output = command.arg(sandbox.program()).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| matches!(code, 0 | 3)), "{said}");
    listed(&log)
}

fn listed(log: &Path) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        let Some((kind, _)) = line.split_once('(') else { continue };
        let number = calls.iter().filter(|call| call.kind == kind).count() + 1;
        calls.push(Call { kind: kind.to_owned(), number, line: line.to_owned() });
    }
    calls
}

/// A run that is stopped in the middle; it goes on, and is waited for, with [`Stopped::go_on`].
#[cfg(unix)]
pub struct Stopped {
    tracer: std::process::Child,
    id: rustix::process::Pid,
}

/// Runs the tool and stops it at the n-th call, as somebody does with Ctrl-Z.
#[cfg(unix)]
#[track_caller]
pub fn stopped_at(sandbox: &Sandbox, call: &str, n: usize, words: &[OsString]) -> Stopped {
    let mut command = sandbox.command("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=STOP:when={n}"), "--"]);
    command.arg(sandbox.program()).args(words).stdout(Stdio::null()).stderr(Stdio::piped());
    let tracer = command.spawn().unwrap();
    let begun = std::time::Instant::now();
    let (mut id, mut stopped) = (None, 0);
    // It is so for a moment, too, whenever strace looks.
    while stopped < 20 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "it does not stop at {call} {n}");
        std::thread::sleep(std::time::Duration::from_millis(5));
        let task = format!("/proc/{0}/task/{0}/children", tracer.id());
        let children = std::fs::read_to_string(task).unwrap_or_default();
        id = children.split_whitespace().next().and_then(|id| id.parse().ok());
        let status = format!("/proc/{}/status", id.unwrap_or_default());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let is_stopped = status.lines().any(|line| line.to_lowercase().starts_with("state:\tt"));
        stopped = if is_stopped { stopped + 1 } else { 0 };
    }
    Stopped { tracer, id: rustix::process::Pid::from_raw(id.unwrap()).unwrap() }
}

#[cfg(unix)]
impl Stopped {
    /// Lets it end, and returns how.
    pub fn go_on(self) -> super::Output {
        rustix::process::kill_process(self.id, rustix::process::Signal::CONT).unwrap();
        super::Output::of(self.tracer.wait_with_output().unwrap())
    }
}
