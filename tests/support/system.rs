//! Conditions that need the system's help: being somebody else than root, and a disk that is soon full.
//! Where they can't be had, a test says so loudly, and fails in CI on Linux: silence would look like a pass.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Sandbox;

#[cfg(unix)]
const NOBODY: u32 = 65534;

/// Tells that a test can't run here. In CI on Linux, where `.ci/run` installs all that is needed, it fails;
/// other systems have no busybox, no strace and no namespaces, and set `CI` as well.
#[track_caller]
pub fn skip(what: &str) {
    let must_run = cfg!(target_os = "linux") && std::env::var_os("CI").is_some();
    assert!(!must_run, "can't test this here: {what}");
    // Not through eprintln!, which the test harness would keep to itself.
    std::io::stderr().write_all(format!("\n*** SKIPPED: {what} ***\n").as_bytes()).unwrap();
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The folder with a sqlite3 shell whose `.recover` works: the one that `ci/recover_shell` builds, else one of the
/// system's; `None` (and told) where there is none.
pub fn recover_shell() -> Option<PathBuf> {
    let built = super::binary().ancestors().skip(2).take(2).map(|target| target.join("recover-shell"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let can = |folder: &PathBuf| {
        let mut shell = Command::new(folder.join("sqlite3"));
        let said = shell.args([":memory:", ".recover"]).stdin(Stdio::null()).stderr(Stdio::null()).output();
        said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("COMMIT;"))
    };
    let found = built.chain(std::env::split_paths(&path)).find(can);
    if found.is_none() {
        skip("no sqlite3 shell can .recover here: ci/recover_shell builds one");
    }
    found
}

/// Whether these tests may do everything.
#[cfg(unix)]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Nobody is root there.
#[cfg(windows)]
pub fn is_root() -> bool {
    false
}

impl Sandbox {
    /// What to put before a command so that it runs without root's rights; `None` (and told) where that
    /// can't be. Hands the whole sandbox to that user, as it is now; call it again after preparing more.
    #[cfg(unix)]
    pub fn unprivileged(&self) -> Option<Vec<OsString>> {
        if !is_root() {
            return Some(Vec::new());
        }
        let (uid, gid) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
        let words = ["setpriv", uid.as_str(), gid.as_str(), "--clear-groups", "--"];
        let reaches =
            |path: &Path| works(words[0], &[&words[1..], &["test", "-x", path.to_str().unwrap()]].concat());
        if !reaches(Path::new("/")) {
            skip("setpriv does not work here");
            return None;
        }
        if !reaches(&self.program()) {
            // Built where only root can look.
            std::fs::copy(super::binary(), self.path("xtask-copy")).unwrap();
        }
        give_away(self.folder.path());
        Some(words.iter().map(OsString::from).collect())
    }
}

#[cfg(unix)]
fn give_away(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if std::fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

/// What to put before a command so that it finds an empty file system of so many KiB at `mount`, an existing
/// folder; `None` (and told) where that can't be. The file system is gone when the command ends, so what it
/// held must be looked at by the same command (`Sandbox::shell_under`).
pub fn small_disk(kib: u64, mount: &Path) -> Option<Vec<OsString>> {
    let how = if is_root() { "-m" } else { "-Urm" };
    let script = "mount -t tmpfs -o \"size=$1k\" tmpfs \"$2\"; shift 2; exec \"$@\"";
    let size = kib.to_string();
    let words = ["unshare", how, "sh", "-euc", script, "sh", size.as_str(), mount.to_str().unwrap()];
    if !works(words[0], &[&words[1..], &["true"]].concat()) {
        skip("no small file system can be mounted here");
        return None;
    }
    Some(words.iter().map(OsString::from).collect())
}

/// What to put before a command so that it finds a file system at `mount`, an existing folder, whose files can share
/// blocks; it lies in the file `image`, so that what is in it stays from command to command. `None` (and told) where
/// that can't be.
pub fn sharing_disk(image: &Path, mount: &Path) -> Option<Vec<OsString>> {
    let made = std::fs::File::create(image).and_then(|file| file.set_len(600 << 20));
    let ready = made.is_ok() && is_root() && works("mkfs.xfs", &["-q", image.to_str().unwrap()]);
    let script = "mount -o loop \"$1\" \"$2\"; shift 2; exec \"$@\"";
    let words =
        ["unshare", "-m", "sh", "-euc", script, "sh", image.to_str().unwrap(), mount.to_str().unwrap()];
    if !ready || !works(words[0], &[&words[1..], &["true"]].concat()) {
        skip("no file system with shared blocks can be mounted here: mkfs.xfs and root's rights are needed");
        return None;
    }
    Some(words.iter().map(OsString::from).collect())
}

/// How a child that is the tool ends, and the most memory that it had, in KiB.
#[cfg(target_os = "linux")]
pub fn peak(mut child: std::process::Child) -> (std::process::ExitStatus, u64) {
    let mut peak_kib = 0;
    loop {
        // Before it has its own program, it is a part of this one.
        let is_it = |status: &String| status.starts_with("Name:\txtask\n");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        if let Some(status) = status.ok().filter(is_it) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            peak_kib = peak_kib.max(kib.unwrap_or(0));
        }
        if let Some(status) = child.try_wait().unwrap() {
            return (status, peak_kib);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// What to put before a command so that it has no network; empty (and told, on Linux) where that can't be.
pub fn without_network() -> Vec<OsString> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    if works("unshare", &["-rn", "--", "true"]) {
        // By its path: the command may have a PATH without it.
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join("unshare"))
            .find(|file| file.is_file());
        if let Some(unshare) = found {
            return vec![unshare.into_os_string(), "-rn".into(), "--".into()];
        }
    }
    skip("the network can't be taken away here: unshare -rn");
    Vec::new()
}
