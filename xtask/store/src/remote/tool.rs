//! Runs the tools of the user that reach a remote: rsync (with ssh) and rclone.
//!
//! A tool is looked for before anything else happens, and a missing one is named with what to do. No shell is
//! between us and it. It gets nothing on its standard input, so it can't wait for an answer; it ends when the
//! user stops us, and when nothing was heard of it for too long. What it says is passed on without passwords.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use xshell::{Shell, cmd};

use crate::base::failure::{Failure, Kind};
use crate::base::interrupt;

/// A line beyond this many bytes is cut.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// So many of the last lines on standard error are kept for a message.
const TAIL_LINES_MAX: usize = 6;

/// How long a tool that was told to end may clean up after itself.
const TO_END: Duration = Duration::from_secs(3);

/// A program of this machine.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    name: &'static str,
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The last lines of its standard error, without passwords.
    pub said: String,
}

impl Ended {
    /// Whether it ended with status 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

impl Tool {
    /// The first program of that name on the search path. Relative entries are passed over: they would mean a
    /// file of the project.
    pub fn find(name: &'static str) -> Option<Tool> {
        let file = if cfg!(windows) { format!("{name}.exe") } else { name.to_owned() };
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&file))
            .find(|file| file.is_file())
            .map(|program| Tool { program, name })
    }

    /// The same, and a failure where it is missing.
    ///
    /// # Errors
    /// Says what to install; `why` tells what it is needed for.
    pub fn need(name: &'static str, why: &str) -> Result<Tool> {
        Tool::find(name).ok_or_else(|| {
            Failure::new(Kind::Failed, format!("{name} is not installed, and {why}"))
                .hint(format!(
                    "install it (on Debian: apt install {}), then: cargo xtask sync",
                    package(name)
                ))
                .into()
        })
    }

    /// Runs it in `folder` and waits. `heard` gets every line, also those that end in a carriage return.
    ///
    /// # Errors
    /// When it can't be started, says nothing for longer than `quiet_max`, or the user interrupts. That it
    /// failed is no error here.
    pub fn run(
        &self,
        folder: &Path,
        arguments: &[String],
        quiet_max: Duration,
        heard: &mut dyn FnMut(Stream, &str),
    ) -> Result<Ended> {
        interrupt::check()?;
        let name = self.name;
        let shell = Shell::new().context("the current folder is gone")?;
        shell.change_dir(folder);
        let program = &self.program;
        // Messages are read here, so they must be the ones that are known.
        let call = cmd!(shell, "{program} {arguments...}").env("LC_ALL", "C");
        let mut command: Command = call.into();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("can't start {}", program.display()))?;
        let lines = listen(&mut child);
        let mut tail: Vec<String> = Vec::new();
        let mut last = Instant::now();
        let mut ended: Option<(ExitStatus, Instant)> = None;
        loop {
            if let Err(stop) = interrupt::check() {
                end(&mut child);
                return Err(stop);
            }
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok((stream, line)) => {
                    last = Instant::now();
                    heard(stream, &line);
                    if stream == Stream::Err && !line.trim().is_empty() {
                        tail.push(line);
                        let surplus = tail.len().saturating_sub(TAIL_LINES_MAX);
                        tail.drain(..surplus);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    if last.elapsed() > quiet_max && ended.is_none() {
                        end(&mut child);
                        let seconds = quiet_max.as_secs();
                        return Err(anyhow!("{name} was ended: it said nothing for {seconds} s"));
                    }
                    match ended {
                        // What it started itself may keep its output open.
                        Some((_, since)) if since.elapsed() > TO_END => break,
                        Some(_) => {}
                        None => {
                            ended = child.try_wait().context("lost a tool")?.map(|s| (s, Instant::now()));
                        }
                    }
                }
            }
        }
        let status = match ended {
            Some((status, _)) => status,
            None => child.wait().with_context(|| format!("lost {name}"))?,
        };
        if status.code().is_none() || !status.success() {
            // Ctrl-C reaches it as well: then ours is on its way.
            std::thread::sleep(Duration::from_millis(50));
        }
        interrupt::check()?;
        Ok(Ended { code: status.code(), said: without_secrets(&tail.join("\n")) })
    }
}

fn package(name: &str) -> &str {
    if name == "ssh" { "openssh-client" } else { name }
}

/// Two threads that read lines until nobody writes any more. They are not waited for: what a tool started
/// itself may live on.
fn listen(child: &mut Child) -> Receiver<(Stream, String)> {
    let (send, lines) = channel();
    if let Some(pipe) = child.stdout.take() {
        let send = send.clone();
        std::thread::spawn(move || read_lines(pipe, Stream::Out, &send));
    }
    if let Some(pipe) = child.stderr.take() {
        std::thread::spawn(move || read_lines(pipe, Stream::Err, &send));
    }
    lines
}

fn read_lines(mut pipe: impl Read, stream: Stream, send: &Sender<(Stream, String)>) {
    let mut line: Vec<u8> = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let n = match pipe.read(&mut buffer) {
            Ok(n) if n > 0 => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // The end, however it came; the status tells how the tool ended.
            _ => break,
        };
        for &byte in &buffer[..n] {
            if byte == b'\n' || byte == b'\r' {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                if send.send((stream, text)).is_err() {
                    return;
                }
            } else if line.len() < LINE_BYTES_MAX {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        // Nobody listens any more when the tool was ended.
        let _ = send.send((stream, String::from_utf8_lossy(&line).into_owned()));
    }
}

/// Ends a tool: asked first, so that it can remove what is unfinished.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Ok(Some(pid)) = i32::try_from(child.id()).map(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let until = Instant::now() + TO_END;
        while Instant::now() < until {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // The same.
    let _ = child.kill();
    let _ = child.wait();
}

/// What a tool said without passwords: those in addresses, and those that it got by its environment.
fn without_secrets(text: &str) -> String {
    let words = ["PASS", "TOKEN", "SECRET", "KEY"];
    let secrets: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("RCLONE_") || name.starts_with("RSYNC_"))
        .filter(|(name, value)| words.iter().any(|word| name.contains(word)) && value.len() > 2)
        .map(|(_, value)| value)
        .collect();
    masked(text, &secrets)
}

fn masked(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        text = text.replace(secret.as_str(), "***");
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = after.find(['/', ' ', '"', '\n']).map_or(after, |end| &after[..end]);
        rest = after;
        if let Some(at_sign) = authority.rfind('@')
            && let Some(colon) = authority[..at_sign].find(':')
        {
            out.push_str(&authority[..=colon]);
            out.push_str("***");
            rest = &after[at_sign..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked() {
        let secrets = vec!["hunter2".to_owned()];
        for (text, expected) in [
            ("no one here", "no one here"),
            ("GET https://me:pw@host/x: 403", "GET https://me:***@host/x: 403"),
            ("https://host/a@b:c and rsync://a:b:c@h", "https://host/a@b:c and rsync://a:***@h"),
            ("with hunter2 in it", "with *** in it"),
            ("https://me@host/x", "https://me@host/x"),
        ] {
            assert_eq!(masked(text, &secrets), expected);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_tool_is_heard_and_its_end_is_seen() {
        let tool = Tool::find("sh").unwrap();
        let mut lines = Vec::new();
        let words = ["-c", "printf 'a\\rb\\n'; printf c; echo broken >&2; exit 7"].map(str::to_owned);
        let ended = tool
            .run(Path::new("/"), &words, Duration::from_secs(20), &mut |stream, line| {
                lines.push((stream == Stream::Out, line.to_owned()));
            })
            .unwrap();
        assert_eq!((ended.code, ended.said.as_str()), (Some(7), "broken"));
        let out: Vec<&str> = lines.iter().filter(|(out, _)| *out).map(|(_, line)| line.as_str()).collect();
        assert_eq!(out, ["a", "b", "c"]);
        let error = Tool::need("no-such-tool", "it is needed").unwrap_err();
        assert!(error.to_string().contains("no-such-tool is not installed"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_tool_that_says_nothing_is_ended() {
        let tool = Tool::find("sh").unwrap();
        let words = ["-c", "exec sleep 600"].map(str::to_owned);
        let error = tool.run(Path::new("/"), &words, Duration::from_millis(300), &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("said nothing"), "{error}");
    }
}
