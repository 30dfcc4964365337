//! The user's own `sqlite3`, as the last means of a salvage. It gets a database of ours in a folder of ours to read, and
//! no settings of the user; it may take only so long and say only so much, and it is gone when we are: killed on the
//! way out, and by its next word when we were killed ourselves, since nobody listens any more.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::base::interrupt;
use crate::sqlite::salvage::Shell;

/// A file that is empty.
const EMPTY: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };
/// How long it may take in any case, and for each MiB of a database. It reads some hundred of them in a second.
const TIME: Duration = Duration::from_secs(60);
const TIME_PER_MIB: Duration = Duration::from_secs(1);
/// How many bytes it may say in any case, and for each byte of a database: a row of one byte takes about 80.
const SAID: u64 = 16 << 20;
const SAID_PER_BYTE: u64 = 100;
/// Bytes of what it says that are handed over at once, and how many such pieces may wait.
const PIECE: usize = 64 << 10;
const PIECES: usize = 8;

/// The first `sqlite3` on the search path.
pub struct Sqlite3 {
    program: Option<PathBuf>,
}

impl Sqlite3 {
    /// Looks for it. Relative entries of the path are passed over: they would mean a file of the project.
    pub fn find() -> Sqlite3 {
        let file = if cfg!(windows) { "sqlite3.exe" } else { "sqlite3" };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
        Sqlite3 { program: folders.map(|folder| folder.join(file)).find(|file| file.is_file()) }
    }

    /// A call in that folder.
    fn call(program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Its temporary files are large, and what the user has set is for the user.
        command.env("SQLITE_TMPDIR", folder).env("TMPDIR", folder).env("HOME", folder);
        command.env("XDG_CONFIG_HOME", folder).env_remove("SQLITE_HISTORY").env("LC_ALL", "C");
        command.args(["-init", EMPTY, "-batch"]);
        command
    }
}

impl Shell for Sqlite3 {
    fn version(&self) -> Result<Option<String>> {
        let Some(program) = &self.program else { return Ok(None) };
        let mut said = Vec::new();
        let mut command = Sqlite3::call(program, &std::env::temp_dir());
        command.arg("--version");
        // One that does not even tell its version is told by its path.
        let limits = Limits { time: TIME, said: PIECE as u64 };
        let ended = run(command, &limits, &mut |piece| {
            said.extend_from_slice(piece);
            Ok(())
        });
        interrupt::check()?;
        let text = String::from_utf8_lossy(&said);
        let version = text.split_whitespace().next().filter(|word| is_version(word));
        Ok(Some(match (ended, version) {
            (Ok(true), Some(version)) => version.to_owned(),
            _ => format!("({})", program.display()),
        }))
    }

    fn recover(&self, database: &Path, heard: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let Some(program) = &self.program else { return Ok(false) };
        let folder = database.parent().context("a file needs a folder")?;
        let name = database.file_name().context("a file needs a name")?;
        let size = std::fs::metadata(database)?.len();
        let mib = u32::try_from(size >> 20).unwrap_or(u32::MAX);
        let limits = Limits {
            time: TIME.saturating_add(TIME_PER_MIB.saturating_mul(mib)),
            said: SAID.saturating_add(SAID_PER_BYTE.saturating_mul(size)),
        };
        let mut command = Sqlite3::call(program, folder);
        command.arg("-readonly").arg(name).arg(".recover");
        run(command, &limits, heard)
    }
}

fn is_version(word: &str) -> bool {
    word.len() < 20 && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

struct Limits {
    time: Duration,
    said: u64,
}

/// Ends it, whatever happens.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // It may have ended by itself; both calls then have nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs it; whether it ended by itself, and well.
fn run(mut command: Command, limits: &Limits, heard: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
    interrupt::check()?;
    let Ok(child) = command.spawn() else { return Ok(false) };
    let mut child = Ending(child);
    let pieces = listen(child.0.stdout.take());
    let (start, mut left) = (Instant::now(), limits.said);
    loop {
        interrupt::check()?;
        match pieces.recv_timeout(Duration::from_millis(100)) {
            Ok(piece) => {
                heard(&piece)?;
                left = left.saturating_sub(piece.len() as u64);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if left == 0 || start.elapsed() > limits.time {
            return Ok(false);
        }
    }
    // It may close its output and go on.
    loop {
        if let Some(status) = child.0.try_wait().context("lost sqlite3")? {
            if status.code().is_none() {
                // Ctrl-C reaches it as well: then ours is on its way.
                std::thread::sleep(Duration::from_millis(50));
            }
            interrupt::check()?;
            return Ok(status.success());
        }
        interrupt::check()?;
        if start.elapsed() > limits.time {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A thread that reads until nobody writes any more, or nobody listens. It is not waited for.
fn listen(pipe: Option<ChildStdout>) -> Receiver<Vec<u8>> {
    let (send, pieces) = sync_channel(PIECES);
    if let Some(pipe) = pipe {
        std::thread::spawn(move || read(pipe, &send));
    }
    pieces
}

fn read(mut pipe: ChildStdout, send: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; PIECE];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(some) => {
                if send.send(buffer[..some].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // As at its end; the status tells how it ended.
            Err(_) => return,
        }
    }
}
