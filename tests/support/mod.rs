//! What black-box tests share: a sandbox with a home of its own, a project like the real one, another process
//! that writes all the time, and ways to compare folders. Tests drive the real binary; nothing is mocked.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

pub mod child;
pub mod compare;
pub mod dated;
pub mod dice;
pub mod forge;
pub mod framework;
#[cfg(unix)]
pub mod history;
pub mod killing;
pub mod page;
pub mod servers;
pub mod system;
pub mod tree;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask_testing as in_memory;

/// A folder that holds all a run may touch: `home/`, `data/`, `tmp/` and `project/`. Removed at the end.
pub struct Sandbox {
    folder: tempfile::TempDir,
    environment: Vec<(OsString, OsString)>,
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn of(output: std::process::Output) -> Output {
        Output {
            // No code means a signal.
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Demands exit code 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.code(0)
    }

    /// Demands an exit code.
    #[track_caller]
    pub fn code(self, expected: i32) -> Output {
        assert_eq!(self.code, expected, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{error} in stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr),
        }
    }

    /// Demands a text on stderr.
    #[track_caller]
    pub fn says(self, part: &str) -> Output {
        assert!(self.stderr.contains(part), "no {part:?} in stderr:\n{}", self.stderr);
        self
    }
}

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_xtask"))
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox::new()
    }
}

impl Sandbox {
    /// An empty project folder, no git in it: in memory unless that is not [wanted](in_memory::is_wanted).
    pub fn new() -> Sandbox {
        if in_memory::is_wanted() { Sandbox::in_memory() } else { Sandbox::on_disk() }
    }

    /// The same, always where temporary files are: most projects lie on a disk.
    pub fn on_disk() -> Sandbox {
        Sandbox::below(&std::env::temp_dir()).expect("a temporary folder")
    }

    /// The same, always in memory where that can be.
    pub fn in_memory() -> Sandbox {
        in_memory::place().and_then(|place| Sandbox::below(place).ok()).unwrap_or_else(Sandbox::on_disk)
    }

    fn below(place: &Path) -> std::io::Result<Sandbox> {
        let folder = tempfile::Builder::new().prefix("sandbox-").tempdir_in(place)?;
        let sandbox = Sandbox { folder, environment: Vec::new() };
        for name in ["home", "data", "tmp", "project"] {
            std::fs::create_dir(sandbox.path(name))?;
        }
        Ok(sandbox)
    }

    /// A path in the sandbox.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The project.
    pub fn project(&self) -> PathBuf {
        self.path("project")
    }

    /// Where the default store comes to lie.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The binary as this sandbox runs it: a copy, once [`Sandbox::unprivileged`] had to make one.
    pub fn program(&self) -> PathBuf {
        let copy = self.path("xtask-copy");
        if copy.exists() { copy } else { binary().to_owned() }
    }

    /// Sets a variable for every later run.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
    }

    /// Runs the binary in the project.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        self.run_under(&[], arguments)
    }

    /// Runs the binary below another command (see [`system`]).
    pub fn run_under<S: AsRef<OsStr>>(&self, prefix: &[OsString], arguments: &[S]) -> Output {
        Output::of(
            self.command_under(prefix, self.program()).args(arguments).output().expect("the binary starts"),
        )
    }

    /// Runs a shell script in the project; `$XTASK` is the binary.
    pub fn shell_under(&self, prefix: &[OsString], script: &str) -> Output {
        let mut command = self.command_under(prefix, "/bin/sh");
        Output::of(command.args(["-euc", script]).output().expect("a shell starts"))
    }

    /// A program in the project, with the sandbox as its world and nothing on stdin.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_under(&[], program)
    }

    /// The same below another command.
    pub fn command_under(&self, prefix: &[OsString], program: impl AsRef<OsStr>) -> Command {
        let mut words = prefix.to_vec();
        words.push(program.as_ref().to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.project()).stdin(Stdio::null()).env_clear();
        for name in ["PATH", "SYSTEMROOT", "CI", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.path("home"))
            .env("XDG_DATA_HOME", self.data())
            .env("XDG_CONFIG_HOME", self.path("home/.config"))
            .env("XDG_CACHE_HOME", self.path("home/.cache"))
            .env("TMPDIR", self.path("tmp"))
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("XTASK", self.program());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Runs git in a folder, with no configuration but the folder's own, at a fixed time and as a fixed author;
/// returns stdout without the last line's end.
#[track_caller]
pub fn git<S: AsRef<OsStr>>(folder: &Path, arguments: &[S]) -> String {
    git_at(folder, 1_764_000_000, arguments)
}

/// The same at a moment in seconds since 1970.
#[track_caller]
pub fn git_at<S: AsRef<OsStr>>(folder: &Path, moment: i64, arguments: &[S]) -> String {
    let told = git_told(folder, moment, arguments, b"");
    String::from_utf8_lossy(&told).trim_end_matches('\n').to_owned()
}

/// The same with something to read on stdin; returns stdout byte for byte, as names need not be UTF-8.
#[track_caller]
pub fn git_told<S: AsRef<OsStr>>(folder: &Path, moment: i64, arguments: &[S], input: &[u8]) -> Vec<u8> {
    let date = format!("{moment} +0000");
    let mut child = Command::new("git")
        .args([
            "-c",
            "user.name=Somebody",
            "-c",
            "user.email=somebody@localhost",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(["-c", "commit.gpgSign=false", "-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(folder)
        .env("HOME", "/nonexistent")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_DATE", &date)
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_WORK_TREE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git starts");
    // Whoever does not read it is no failure here.
    drop(child.stdin.take().unwrap().write_all(input));
    let output = child.wait_with_output().unwrap();
    let shown: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    assert!(
        output.status.success(),
        "git {} failed: {}",
        shown.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Runs a test for each of these at once, and returns what each said, in their order. A panic names its case, which
/// is the name of the thread.
pub fn side_by_side<T, R>(cases: &[T], test: impl Fn(T) -> R + Sync) -> Vec<R>
where
    T: Copy + std::fmt::Debug + Send,
    R: Send,
{
    let test = &test;
    std::thread::scope(|scope| {
        let start = |case: T| {
            let thread = std::thread::Builder::new().name(format!("{case:?}"));
            thread.spawn_scoped(scope, move || test(case)).unwrap()
        };
        let threads: Vec<_> = cases.iter().copied().map(start).collect();
        let said = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        said.map(|said| said.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// The archives in a store, oldest first.
pub fn archives(store: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let mut archives: Vec<PathBuf> =
        names.filter(|path| path.to_string_lossy().ends_with(".tar.gz")).collect();
    archives.sort();
    archives
}
