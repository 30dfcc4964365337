//! One writing run at a time. The lock is the system's own on an open file, so it ends with the process,
//! however that ends, and can't be left behind. Reading takes none: a published archive never changes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts;
use crate::base::interrupt;

/// The lock's file in a store.
pub const LOCK_FILE: &str = ".lock";

/// The file that is locked for the moment in which a state is changed.
pub const STATE_LOCK_FILE: &str = ".state-lock";

/// The file that is locked while a run talks to the remote.
pub const REMOTE_LOCK_FILE: &str = ".remote-lock";

/// Who holds the lock, as written into its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
    command: String,
    since: Instant,
}

/// The right to write into a store; ends when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a store, at once or not at all; only where its holder was killed, and a program that it was
    /// about to start has the file for a moment more, is that waited for. `command` is what a user who finds it taken
    /// reads.
    ///
    /// # Errors
    /// Of kind `Locked` with who holds it; or when the store can't be written.
    pub fn take(store: &Path, command: &str) -> Result<Lock> {
        let path = store.join(LOCK_FILE);
        let mut file = open(&path).map_err(|error| not_writable(store, error))?;
        let until = std::time::Instant::now() + LAST_BREATH;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(&mut file);
                    if std::time::Instant::now() > until || !holder.as_ref().is_some_and(Holder::is_dead) {
                        return Err(taken(store, holder));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("can't lock {}", path.display()));
                }
            }
        }
        let host = super::identity::host_name();
        let holder =
            Holder { pid: std::process::id(), host, command: command.to_owned(), since: Instant::now() };
        let mut text = serde_json::to_vec(&holder)?;
        text.push(b'\n');
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&text));
        match written {
            // It is locked all the same, and nobody is named. A run may be what makes room again.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            written => written.map_err(|error| not_writable(store, error))?,
        }
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only for people who look: what the file says counts only while it is locked.
        let _ = self.file.set_len(0);
    }
}

/// How long a program that a killed run was about to start may keep its lock.
const LAST_BREATH: Duration = Duration::from_secs(2);

impl Holder {
    /// Whether it runs no more. Unknown counts as alive.
    #[cfg(unix)]
    fn is_dead(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        let gone = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
        self.host == super::identity::host_name() && pid.is_some_and(gone)
    }

    /// There a lock ends with the process that has it.
    #[cfg(not(unix))]
    fn is_dead(&self) -> bool {
        false
    }
}

/// Who is named in a lock's file. On Windows a locked file can't be read; and it may just be written. Then nobody is.
fn holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

fn taken(store: &Path, holder: Option<Holder>) -> anyhow::Error {
    let who = match holder {
        Some(holder) => {
            format!(
                "{:?}, process {} on {}, since {}",
                holder.command,
                holder.pid,
                holder.host,
                holder.since.local()
            )
        }
        None => "another run".to_owned(),
    };
    Failure::new(Kind::Locked, format!("the store {} is in use by {who}", store.display()))
        .hint("wait until it is done and try again; nothing was changed")
        .into()
}

/// Opens, and makes where missing, a file to lock.
fn open(path: &Path) -> io::Result<File> {
    match file_facts::create_private_file(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(path)
        }
        result => result,
    }
}

/// How long to wait for a lock that everybody holds for a moment only: a run that hangs must not stop others.
const MOMENT: Duration = Duration::from_secs(10);

/// Waits for the lock under which states are changed and the store is swept: each holds it for a moment.
///
/// # Errors
/// Of kind `Locked` when another run keeps it; when the store can't be written, or the user interrupts.
pub fn state_lock(store: &Path) -> Result<File> {
    let path = store.join(STATE_LOCK_FILE);
    let file = open(&path).map_err(|error| not_writable(store, error))?;
    let until = std::time::Instant::now() + MOMENT;
    loop {
        interrupt::check()?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(TryLockError::WouldBlock) => {
                let text = format!("another run keeps {} locked", path.display());
                let hint = "see which run of this tool hangs and end it";
                return Err(Failure::new(Kind::Locked, text).hint(hint).into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock {}", path.display()));
            }
        }
    }
}

/// Takes, at once or not at all, the right to talk to the remote of a store: two runs would write under the
/// same temporary names there. It ends when dropped.
///
/// # Errors
/// Of kind `Locked` when another run has it; or when the store can't be written.
pub fn remote_lock(store: &Path) -> Result<File> {
    let path = store.join(REMOTE_LOCK_FILE);
    let file = open(&path).map_err(|error| not_writable(store, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let text = format!("another run is just talking to the remote of {}", store.display());
            Err(Failure::new(Kind::Locked, text).hint("when it is done: cargo xtask sync").into())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("can't lock {}", path.display()))
        }
    }
}

/// Says in plain words that a store can't be written.
pub fn not_writable(store: &Path, error: io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only: mount it for writing",
        io::ErrorKind::PermissionDenied => "give yourself the right to write there",
        io::ErrorKind::StorageFull => "make room on its file system",
        io::ErrorKind::NotADirectory => {
            "a file is in the way of its folder: name another store with --store DIR"
        }
        _ => "name another store with --store DIR",
    };
    let text = format!("can't write into the store {}", store.display());
    Failure::wrap(Kind::Failed, anyhow::Error::new(error).context(text)).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::kind_of;
    use std::fs;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let store = tempfile::tempdir().unwrap();
        let lock = Lock::take(store.path(), "backup --label x").unwrap();
        let error = Lock::take(store.path(), "prune").unwrap_err();
        assert_eq!(kind_of(&error), Kind::Locked);
        let text = error.to_string();
        let pid = format!("process {}", std::process::id());
        assert!(text.contains("backup --label x") && text.contains(&pid), "{text}");
        drop(lock);
        assert_eq!(fs::read(store.path().join(LOCK_FILE)).unwrap(), b"");
        Lock::take(store.path(), "prune").unwrap();
    }

    #[test]
    fn what_a_killed_run_left_in_the_file_locks_nobody_out() {
        let store = tempfile::tempdir().unwrap();
        fs::write(store.path().join(LOCK_FILE), "{\"pid\": 1, and much more than the next one writes")
            .unwrap();
        let _lock = Lock::take(store.path(), "x").unwrap();
        let text = fs::read_to_string(store.path().join(LOCK_FILE)).unwrap();
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap().command, "x");
    }

    const CHILD: &str = "XTASK_TEST_LOCK_STORE";

    /// Not a test by itself: the other process of the next one. It locks and waits to be killed.
    #[test]
    fn child_that_holds_the_lock() {
        let Some(store) = std::env::var_os(CHILD) else { return };
        let _lock = Lock::take(Path::new(&store), "child").unwrap();
        fs::write(Path::new(&store).join("held"), "").unwrap();
        std::thread::sleep(std::time::Duration::from_secs(60));
    }

    #[test]
    fn killing_the_holder_releases_it() {
        let store = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::child_that_holds_the_lock"])
            .env(CHILD, store.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while !store.path().join("held").exists() {
            assert!(child.try_wait().unwrap().is_none(), "the child ended early");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let taken = Lock::take(store.path(), "x").unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(taken.to_string().contains(&format!("process {}", child.id())), "{taken}");
        Lock::take(store.path(), "x").unwrap();
    }

    /// As a program that a run started when it was killed: it has the file, and so the lock, for a moment more.
    #[cfg(unix)]
    #[test]
    fn the_last_breath_of_a_killed_run_is_waited_for() {
        let store = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let host = crate::identity::host_name();
        let holder = Holder { pid: gone.id(), host, command: "x".to_owned(), since: Instant::now() };
        fs::write(store.path().join(LOCK_FILE), serde_json::to_vec(&holder).unwrap()).unwrap();
        let held = File::open(store.path().join(LOCK_FILE)).unwrap();
        held.lock().unwrap();
        let began = std::time::Instant::now();
        assert!(Lock::take(store.path(), "y").is_err() && began.elapsed() >= LAST_BREATH);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                drop(held);
            });
            Lock::take(store.path(), "y").unwrap();
        });
    }

    #[test]
    fn a_store_that_can_not_be_written_is_named() {
        let store = tempfile::tempdir().unwrap();
        // A folder in place of the file fails for root too.
        fs::create_dir(store.path().join(LOCK_FILE)).unwrap();
        let error = Lock::take(store.path(), "x").unwrap_err();
        assert!(error.to_string().contains("can't write into the store"), "{error:#}");
    }
}
