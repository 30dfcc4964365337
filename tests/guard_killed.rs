//! `guard` around a migration of several transactions, killed at many moments: the databases are exactly those
//! before or exactly those after, and those before whenever the guard did not see success.
//!
//! `XTASK_TEST_FULL=1` takes 120 moments instead of 30.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use support::compare::{Rows, row_differences, rows};
use support::framework::Framework;
use support::killing::is_full;
use support::side_by_side;

const NONE: Vec<String> = Vec::new();
const DATABASES: [&str; 2] = ["index.db", "vectors.db"];
const STEPS: usize = 12;

/// Not a test of its own: the migration. Each step is a transaction over both databases, and is noted.
#[test]
fn migration() {
    let Some(memory) = std::env::var_os("GUARD_TEST_MEMORY").map(PathBuf::from) else { return };
    let notes = PathBuf::from(std::env::var_os("GUARD_TEST_NOTES").unwrap());
    let mut note = fs::File::create(&notes).unwrap();
    writeln!(note, "{}", std::process::id()).unwrap();
    let connection = Connection::open(memory.join("index.db")).unwrap();
    connection.execute("ATTACH ?1 AS v", [memory.join("vectors.db").to_str().unwrap()]).unwrap();
    connection.execute_batch("PRAGMA cache_size = 10").unwrap();
    for step in 0..STEPS {
        let sql = format!(
            "BEGIN; ALTER TABLE learnings ADD COLUMN step_{step} TEXT;
             UPDATE learnings SET step_{step} = title || '{step}', body = hex(body) || '{step}' WHERE id % 3 = {step} % 3;
             DELETE FROM v.embeddings WHERE id % {STEPS} = {step};
             INSERT INTO v.embeddings SELECT 10000 * {} + id, zeroblob(200) FROM learnings WHERE id % 9 = 0;
             COMMIT",
            step + 1
        );
        connection.execute_batch(&sql).unwrap();
        writeln!(note, "{step}").unwrap();
        std::thread::sleep(Duration::from_millis(8));
    }
    connection.execute_batch("BEGIN; DROP TABLE metrics; CREATE TABLE v.done(x); COMMIT").unwrap();
}

struct Stage {
    framework: Framework,
    pristine: PathBuf,
    before: Vec<Rows>,
    after: Vec<Rows>,
    /// How long all of it takes.
    takes: Duration,
    /// How long the command takes.
    command_takes: Duration,
}

impl Stage {
    fn new() -> Stage {
        let framework = Framework::at_rest();
        let pristine = framework.sandbox.path("pristine");
        fs::create_dir(&pristine).unwrap();
        for name in DATABASES {
            fs::copy(framework.memory().join(name), pristine.join(name)).unwrap();
        }
        framework.sandbox.run(&["backup"]).ok();
        let before = state(&framework.memory());
        let (takes, command_takes) = (Duration::ZERO, Duration::ZERO);
        let mut stage = Stage { framework, pristine, before, after: Vec::new(), takes, command_takes };
        let begun = Instant::now();
        let mut guard = stage.spawn();
        while stage.command().0.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let command_begun = Instant::now();
        while stage.command().1 < STEPS {
            std::thread::sleep(Duration::from_millis(1));
        }
        stage.command_takes = command_begun.elapsed();
        assert!(guard.wait().unwrap().success());
        stage.takes = begun.elapsed();
        stage.after = state(&stage.framework.memory());
        assert_ne!(stage.before, stage.after);
        stage.reset();
        stage
    }

    fn notes(&self) -> PathBuf {
        self.framework.sandbox.path("notes")
    }

    fn spawn(&self) -> Child {
        let sandbox = &self.framework.sandbox;
        drop(fs::remove_file(self.notes())); // not there the first time
        let mut command = sandbox.command(sandbox.program());
        command.env("GUARD_TEST_MEMORY", self.framework.memory()).env("GUARD_TEST_NOTES", self.notes());
        command.args(["guard", "--check", "SELECT count(*) = 1000 FROM learnings", "--"]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["migration", "--exact", "--nocapture", "--test-threads=1"]);
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The command's process, and how many steps it has done.
    fn command(&self) -> (Option<Pid>, usize) {
        let text = fs::read_to_string(self.notes()).unwrap_or_default();
        let mut lines = text.lines();
        let pid = lines.next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
        (pid, lines.count())
    }

    fn reset(&self) {
        let memory = self.framework.memory();
        for name in DATABASES {
            for side in ["-wal", "-shm", "-journal"] {
                drop(fs::remove_file(memory.join(format!("{name}{side}")))); // not always there
            }
            fs::copy(self.pristine.join(name), memory.join(name)).unwrap();
        }
        assert_eq!(state(&memory), self.before);
    }
}

fn state(memory: &Path) -> Vec<Rows> {
    DATABASES.iter().map(|name| rows(&memory.join(name))).collect()
}

#[track_caller]
fn is_exactly(expected: &[Rows], now: &[Rows], when: &str) {
    for (expected, now) in expected.iter().zip(now) {
        assert_eq!(row_differences(expected, now), NONE, "{when}");
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

fn alive(pid: Pid) -> bool {
    // A zombie, whose parent was killed, is nobody any more.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    if cfg!(target_os = "linux") {
        !stat.is_empty() && !stat.contains(") Z ")
    } else {
        rustix::process::test_kill_process(pid).is_ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    CommandOnly,
    GuardOnly,
    GuardThenCommand,
    Both,
    Term,
    Int,
}

const WAYS: [Way; 6] =
    [Way::CommandOnly, Way::GuardOnly, Way::GuardThenCommand, Way::Both, Way::Term, Way::Int];

#[test]
fn before_or_after_and_nothing_else() {
    let rounds = if is_full() { 120 } else { 30 };
    // Two stages: a guard waits for its command, and the test for both.
    let halves = side_by_side(&[0, 1], |half| some_rounds((half..rounds).step_by(2)));
    let sum = |of: fn(&Seen) -> usize| halves.iter().map(of).sum::<usize>();
    let (in_the_middle, put_back) = (sum(|seen| seen.in_the_middle), sum(|seen| seen.put_back));
    let went_well = sum(|seen| seen.went_well);
    println!(
        "{rounds} kills: {in_the_middle} in the middle, {put_back} put back later, {went_well} too late"
    );
    assert!(in_the_middle * 5 >= rounds && put_back * 10 >= rounds, "{in_the_middle} {put_back} of {rounds}");
}

/// How often what happened.
#[derive(Default)]
struct Seen {
    in_the_middle: usize,
    went_well: usize,
    put_back: usize,
}

fn some_rounds(rounds: impl Iterator<Item = usize>) -> Seen {
    let stage = Stage::new();
    let mut happened = Seen::default();
    for round in rounds {
        let way = WAYS[round % WAYS.len()];
        // The golden ratio spreads them evenly, whatever the number of rounds.
        let share = (round as f64 * 0.618_033_988_749_895).fract();
        let mut guard = stage.spawn();
        // In turn: anywhere, and while the command runs.
        if way == Way::CommandOnly || (round / WAYS.len()).is_multiple_of(2) {
            let begun = Instant::now();
            while stage.command().0.is_none() {
                assert!(begun.elapsed() < Duration::from_secs(60), "the command does not begin");
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(stage.command_takes.mul_f64(share));
        } else {
            std::thread::sleep(stage.takes.mul_f64(share * 1.1));
        }
        let (command, steps) = stage.command();
        let when = format!("round {round}, {way:?} at {share:.3}, after {steps} steps");
        // Whoever is gone already can't be killed any more, which is as good.
        match way {
            Way::CommandOnly => kill_process(command.unwrap(), Signal::KILL).unwrap_or_default(),
            Way::Term => kill_process(pid_of(&guard), Signal::TERM).unwrap_or_default(),
            Way::Int => kill_process(pid_of(&guard), Signal::INT).unwrap_or_default(),
            Way::Both => kill_process_group(pid_of(&guard), Signal::KILL).unwrap_or_default(),
            Way::GuardOnly | Way::GuardThenCommand => {
                kill_process(pid_of(&guard), Signal::KILL).unwrap_or_default()
            }
        }
        let status = guard.wait().unwrap();
        // It may have begun after it was looked for.
        let command = stage.command().0;
        let pending = stage.framework.project().join(".xtask-restore/guard.json").exists();
        if way == Way::GuardThenCommand
            && let Some(command) = command
        {
            kill_process(command, Signal::KILL).unwrap_or_default();
        }
        if (1..=STEPS).contains(&steps) {
            happened.in_the_middle += 1;
        }
        if let Some(command) = command {
            if way == Way::GuardOnly && pending && alive(command) {
                let output = stage.framework.sandbox.run(&["backup"]);
                // It may have ended meanwhile.
                assert!(output.code == 5 || output.code == 0, "{when}: {output:?}");
            }
            let begun = Instant::now();
            while alive(command) {
                assert!(begun.elapsed() < Duration::from_secs(60), "{when}: the command does not end");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let seen = state(&stage.framework.memory());
        // One that was just starting, so that nobody knew it yet, may run on for a moment.
        let begun = Instant::now();
        let output = loop {
            let output = stage.framework.sandbox.run(&["backup"]);
            if output.code != 5 || begun.elapsed() > Duration::from_secs(60) {
                break output.ok();
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let now = state(&stage.framework.memory());
        match status.code() {
            Some(0) => {
                is_exactly(&stage.after, &now, &when);
                happened.went_well += 1;
            }
            Some(code) => {
                let expected: &[i32] = match way {
                    Way::CommandOnly => &[137],
                    Way::Term => &[143, 130],
                    Way::Int => &[130],
                    _ => &[],
                };
                assert!(expected.contains(&code), "{when}: exit {code}");
                is_exactly(&stage.before, &seen, &when);
                is_exactly(&stage.before, &now, &when);
            }
            None if pending => {
                assert!(
                    output.stderr.contains("a guard was interrupted") || way == Way::GuardOnly,
                    "{when}: {}",
                    output.stderr
                );
                is_exactly(&stage.before, &now, &when);
                happened.put_back += 1;
            }
            // Before the command began, or after its success was noted.
            None => is_exactly(if command.is_some() { &stage.after } else { &stage.before }, &now, &when),
        }
        assert!(!stage.framework.project().join(".xtask-restore").exists(), "{when}");
        stage.reset();
    }
    happened
}
