//! Sends a short mail through this machine's own mail program: whatever a machine has for cron's mail serves
//! here as well, and no password is needed.
//!
//! The address was checked before, the subject is made plain ASCII of one line, and the text can't steer the
//! program, so nothing that a backup or a path is called ends up in a header or as an option.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind};
use crate::base::mail_address::MailAddress;

/// Where `sendmail` lies although it is not on a user's PATH.
const USUAL: [&str; 3] = ["/usr/sbin", "/usr/lib", "/sbin"];

/// A mail program hands a mail on and ends; one that doesn't must not keep a timer's job for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of mail have at most 998 bytes (RFC 5322, 2.1.1).
const LINE_MAX: usize = 900;

/// Sends it. Returns the program that took it.
///
/// # Errors
/// When there is no such program, or it refuses, or doesn't end.
pub fn send(to: &MailAddress, subject: &str, text: &str) -> Result<PathBuf> {
    let subject = one_line(subject);
    let body: String = text.lines().map(|line| format!("{}\n", harmless(line))).collect();
    let (program, arguments, input) = if let Some(program) = find("sendmail") {
        let head = format!(
            "To: {to}\nSubject: {subject}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        );
        // -i: a line with nothing but a dot is not the end.
        (program, vec!["-i".to_owned(), to.to_string()], head + &body)
    } else if let Some(program) = find("mail") {
        (program, vec!["-s".to_owned(), subject, to.to_string()], body)
    } else {
        return Err(Failure::new(Kind::Failed, "this machine has no program that sends mail")
            .hint("install one that has a `sendmail`, such as msmtp-mta or postfix")
            .into());
    };
    run(&program, &arguments, &input)
        .with_context(|| format!("{} did not take the mail", program.display()))?;
    Ok(program)
}

fn run(program: &Path, arguments: &[String], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let status = wait(&mut child)?;
    if !status.success() {
        let said = child.stderr.take().map_or_else(String::new, |mut stderr| {
            let mut bytes = Vec::new();
            // What can't be read is not told; the exit status is.
            let _ = std::io::Read::read_to_end(&mut stderr, &mut bytes);
            escape(String::from_utf8_lossy(&bytes).trim().as_bytes())
        });
        bail!("{status}{}{said}", if said.is_empty() { "" } else { ": " });
    }
    // A program that ended well without reading all of it has not sent it.
    written.unwrap_or(Ok(())).context("it did not read all of it")
}

fn wait(child: &mut Child) -> Result<std::process::ExitStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            // It may have ended just now.
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not end within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = USUAL.iter().map(PathBuf::from);
    // A relative folder on the PATH would be looked for in the project.
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).chain(usual);
    folders.map(|folder| folder.join(name)).find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(windows)]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// For a header: one line of plain ASCII.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().map(plain).take(200).collect()
}

/// For the text: nothing that a mail program takes for a command (`~` begins one in some), and no endless line.
fn harmless(line: &str) -> String {
    let clean = escape(line.as_bytes());
    let mut end = clean.len().min(LINE_MAX);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    let cut = if end < clean.len() { " …" } else { "" };
    let space = if clean.starts_with(['~', '.']) || clean.starts_with("From ") { " " } else { "" };
    format!("{space}{}{cut}", &clean[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_mail_steers_the_program() {
        assert_eq!(one_line("a\r\nBcc: b@example.com\té"), "a??Bcc: b@example.com??");
        assert_eq!(one_line(&"x".repeat(500)).len(), 200);
        for (line, expected) in [
            ("plain – text", "plain – text"),
            ("~!rm x", " ~!rm x"),
            (".", " ."),
            ("From here", " From here"),
            ("a\x1b[2J", "a\\x1b[2J"),
        ] {
            assert_eq!(harmless(line), expected);
        }
        let long = harmless(&"ä".repeat(2000));
        assert!(long.len() < 998 && long.ends_with(" …"), "{}", long.len());
    }
}
