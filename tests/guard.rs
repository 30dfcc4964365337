//! `guard`: the command's own exit, input, output and signals go through; when it does not go well the databases
//! are as before, and what can't be put back is said and put back later.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use support::child::Locker;
use support::compare::{Rows, row_differences, rows};
use support::framework::{Framework, write};
use support::{Output, Sandbox, archives, system};

const NONE: Vec<String> = Vec::new();
const DATABASES: [&str; 2] = ["memory/index.db", "memory/vectors.db"];

/// Not a test of its own: what a command under guard does to a database; it waits for a file to appear then, with
/// the transaction open, where one is named.
#[test]
fn sql() {
    let Some(database) = std::env::var_os("GUARD_TEST_DATABASE") else { return };
    let connection = Connection::open(database).unwrap();
    connection.execute_batch(&std::env::var("GUARD_TEST_SQL").unwrap()).unwrap();
    if let Some(file) = std::env::var_os("GUARD_TEST_UNTIL").filter(|file| !file.is_empty()) {
        fs::write(Path::new(&file).with_extension("begun"), std::process::id().to_string()).unwrap();
        until(|| Path::new(&file).exists(), "the file to wait for");
    }
}

#[track_caller]
fn until(is: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A framework at rest, and `../sql DATABASE SQL [UNTIL-FILE]` for scripts in it.
struct Guarded {
    framework: Framework,
    before: Vec<Rows>,
}

impl Guarded {
    fn new() -> Guarded {
        let framework = Framework::at_rest();
        let script = format!(
            "#!/bin/sh\nGUARD_TEST_DATABASE=\"$1\" GUARD_TEST_SQL=\"$2\" GUARD_TEST_UNTIL=\"$3\" \
             exec '{}' sql --exact --nocapture --test-threads=1 >/dev/null\n",
            std::env::current_exe().unwrap().display()
        );
        let path = framework.sandbox.path("sql");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let before = DATABASES.iter().map(|name| rows(&framework.project().join(name))).collect();
        Guarded { framework, before }
    }

    fn sandbox(&self) -> &Sandbox {
        &self.framework.sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.framework.project().join(name)
    }

    /// Guards a shell script.
    fn guard(&self, options: &[&str], script: &str) -> Output {
        self.sandbox().run(&[&["guard"], options, &["--", "sh", "-euc", script]].concat())
    }

    /// The same without waiting.
    fn spawn(&self, script: &str) -> Child {
        let mut command = self.sandbox().command(self.sandbox().program());
        command.args(["guard", "--", "sh", "-euc", script]);
        // A group of its own is no terminal's foreground.
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[track_caller]
    fn is_as_before(&self) {
        for (name, before) in DATABASES.iter().zip(&self.before) {
            assert_eq!(row_differences(before, &rows(&self.path(name))), NONE, "{name}");
        }
        self.nothing_pending();
    }

    #[track_caller]
    fn nothing_pending(&self) {
        assert!(!self.path(".xtask-restore").exists(), "the workshop is still there");
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

fn finish(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

const SPOIL: &str = "../sql memory/index.db 'DELETE FROM learnings WHERE id > 3; CREATE TABLE half(x)'
                     ../sql memory/vectors.db 'DELETE FROM embeddings'\n";

#[test]
fn the_exit_is_the_commands() {
    let guarded = Guarded::new();
    let output = guarded
        .guard(&["--label", "before"], "../sql memory/index.db 'DELETE FROM learnings WHERE id = 1'")
        .ok();
    assert!(output.stderr.contains("the state before it is backup"), "{}", output.stderr);
    assert_eq!(rows(&guarded.path(DATABASES[0]))["learnings"].len(), 999);
    guarded.nothing_pending();
    guarded.sandbox().run(&["restore", "before", "--force"]).ok();
    guarded.is_as_before();
    for (end, code) in [("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let output = guarded.guard(&[], &format!("{SPOIL}{end}")).code(code);
        assert!(output.stderr.contains("the databases are as before"), "{}", output.stderr);
        guarded.is_as_before();
    }
    // What it left is not lost.
    guarded.sandbox().run(&["undo", "--force"]).ok();
    assert_eq!(rows(&guarded.path(DATABASES[0]))["learnings"].len(), 3);
    guarded.sandbox().run(&["redo", "--force"]).ok();
    guarded.is_as_before();
    guarded.guard(&[], "exit 3").code(3).says("it had changed nothing in the databases");
    let sandbox = guarded.sandbox();
    sandbox.run(&["guard", "--", "no-such-command-here"]).code(127).says("no-such-command-here");
    write(&guarded.framework.project(), "plain-text", "no program\n");
    sandbox.run(&["guard", "--", "./plain-text"]).code(126).says("ermission denied");
    guarded.is_as_before();
    // A word that looks like an option of ours is the command's.
    let told = sandbox.run(&["guard", "--", "echo", "--json", "--store", "--"]).ok();
    assert_eq!(told.stdout, "--json --store --\n");
}

#[test]
fn input_and_output_go_through_untouched() {
    let guarded = Guarded::new();
    let script = guarded.sandbox().path("talk.sh");
    // Bytes that are no text, a megabyte of them, and what comes in goes out on the other side.
    fs::write(
        &script,
        "printf '\\377\\000\\033[31m\\n'; head -c 1000000 /dev/zero; cat; printf 'err\\377' >&2\n",
    )
    .unwrap();
    let mut command = guarded.sandbox().command(guarded.sandbox().program());
    command.args(["guard", "--quiet", "--", "sh"]).arg(&script);
    let input = guarded.sandbox().path("input");
    let given: Vec<u8> = (0..=255_u8).cycle().take(300_000).collect();
    fs::write(&input, &given).unwrap();
    command.stdin(fs::File::open(&input).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = [b"\xff\0\x1b[31m\n".as_slice(), &vec![0; 1_000_000], &given].concat();
    assert!(output.stdout == expected, "{} bytes of {}", output.stdout.len(), expected.len());
    assert!(output.stderr.windows(4).any(|bytes| bytes == b"err\xff"));
    // With --json stdout is one document, and the command's own goes to stderr.
    let told = guarded.guard(&["--json"], "echo from the command; exit 7").code(7).says("from the command");
    let json = told.json();
    assert_eq!((&json["exit"], &json["put_back"]), (&7.into(), &false.into()));
    let told = guarded.guard(&["--json", "--check", "SELECT 0"], SPOIL).code(1).json();
    assert_eq!((&told["exit"], &told["put_back"]), (&1.into(), &true.into()));
    assert_eq!(told["failed_checks"].as_array().unwrap().len(), 1);
    assert!(told["left"].is_string() && told["backup"].is_string(), "{told}");
    guarded.is_as_before();
}

#[test]
fn checks_decide() {
    let guarded = Guarded::new();
    let change = "../sql memory/index.db 'DELETE FROM learnings WHERE id > 900'; ../sql memory/new.db 'CREATE TABLE fresh(x); INSERT INTO fresh VALUES (1)'\n";
    for (checks, says) in [
        (vec!["SELECT count(*) >= 1000 FROM learnings"], "is not true"),
        (vec!["SELECT 1", "SELECT count(*) FROM learnings WHERE id > 900"], "is not true"),
        (vec!["SELECT count(*) FROM no_such_table"], "no such table"),
        (vec!["SELEC 1"], "syntax error"),
        (vec!["SELECT 'true'"], "is not true"),
        (vec!["DELETE FROM learnings"], "readonly"),
        (vec!["SELECT 1 WHERE 0"], "gave no row"),
    ] {
        let options: Vec<&str> = checks.iter().flat_map(|sql| ["--check", sql]).collect();
        let output = guarded.guard(&options, change).code(1).says(says);
        assert!(output.stderr.contains("made the database memory/new.db"), "{}", output.stderr);
        guarded.is_as_before();
        fs::remove_file(guarded.path("memory/new.db")).unwrap();
    }
    // Both databases, and the one that the command made, in one question.
    let all = "SELECT (SELECT count(*) FROM \"index\".learnings) = 900 AND (SELECT count(*) FROM embeddings) = 1000 AND (SELECT x FROM new.fresh)";
    guarded.guard(&["--check", all, "--check", "SELECT 0.5"], change).ok();
    assert_eq!(rows(&guarded.path(DATABASES[0]))["learnings"].len(), 900);
    guarded.nothing_pending();
}

/// Two databases of one name, and one that has a name of SQLite's own: a good migration stays good.
#[test]
fn names_that_collide_fail_no_check() {
    let sandbox = Sandbox::new();
    for name in ["a/data.db", "b/data.db", "main.db"] {
        let path = sandbox.project().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let table = name.replace(['/', '.'], "_");
        Connection::open(&path).unwrap().execute_batch(&format!("CREATE TABLE {table}(x)")).unwrap();
    }
    let question = "SELECT (SELECT count(*) FROM \"b/data\".b_data_db) + (SELECT count(*) FROM main_db) = 0";
    sandbox.run(&["guard", "--check", question, "--", "true"]).ok();
}

#[test]
fn damage_by_the_command_is_seen_and_put_back() {
    let damage = [
        "rm memory/index.db",
        "rm memory/index.db*; mkdir memory/index.db; rmdir memory/index.db",
        "printf 'no database at all' > memory/index.db",
        ": > memory/index.db",
        "dd if=/dev/urandom of=memory/index.db bs=4096 seek=1 count=3 conv=notrunc 2>/dev/null",
        "truncate -s 9000 memory/vectors.db",
        "rm memory/vectors.db; printf x > memory/index.db",
        "mv memory/index.db memory/moved.db",
        "git clean -fdxq",
    ];
    for damage in damage {
        let guarded = Guarded::new();
        // Rows in the log only, as a process that was killed leaves them.
        support::child::delete_and_crash(&guarded.path(DATABASES[0]));
        let before: Vec<Rows> = DATABASES.iter().map(|name| rows(&guarded.path(name))).collect();
        let guarded = Guarded { before, ..guarded };
        for (end, code) in [("exit 0", 1), ("exit 9", 9)] {
            let output = guarded.guard(&[], &format!("{damage}\n{end}")).code(code);
            assert!(output.stderr.contains("safety copy"), "{damage}: {}", output.stderr);
            guarded.is_as_before();
        }
    }
}

/// A daemon that the command started keeps a database locked, and runs on.
#[test]
fn what_can_not_be_put_back_is_said_and_put_back_later() {
    let guarded = Guarded::new();
    let stop = guarded.sandbox().path("stop");
    let script = format!(
        "../sql memory/vectors.db 'DELETE FROM embeddings'
         ../sql memory/index.db 'DELETE FROM learnings; BEGIN IMMEDIATE' '{0}' </dev/null 2>/dev/null &
         while [ ! -e '{1}' ]; do sleep 0.05; done; exit 4",
        stop.display(),
        stop.with_extension("begun").display()
    );
    let output = guarded.guard(&[], &script).code(6);
    assert!(output.stderr.contains("memory/index.db locked"), "{}", output.stderr);
    assert!(output.stderr.contains("could not be put back"), "{}", output.stderr);
    assert!(!output.stderr.contains("as before"), "{}", output.stderr);
    guarded.sandbox().run(&["list"]).code(3).says("still runs");
    for words in
        [&["backup"][..], &["restore", "latest", "--force"], &["undo", "--force"], &["guard", "--", "true"]]
    {
        guarded.sandbox().run(words).code(5).says("still runs");
    }
    assert_eq!(rows(&guarded.path(DATABASES[1]))["embeddings"].len(), 0);
    let pid: i32 = fs::read_to_string(stop.with_extension("begun")).unwrap().parse().unwrap();
    fs::write(&stop, "").unwrap();
    until(|| !Path::new(&format!("/proc/{pid}")).exists() || cfg!(not(target_os = "linux")), "its end");
    guarded.sandbox().run(&["backup"]).ok().says("put back");
    guarded.is_as_before();
    // One that holds nothing that has to be put back is named all the same.
    let stop = guarded.sandbox().path("stop-2");
    let script = format!(
        "../sql memory/index.db 'SELECT 1' '{0}' </dev/null 2>/dev/null &
         while [ ! -e '{1}' ]; do sleep 0.05; done; {SPOIL} exit 4",
        stop.display(),
        stop.with_extension("begun").display()
    );
    guarded.guard(&[], &script).code(4).says("still runs").says("as before");
    guarded.is_as_before();
    fs::write(&stop, "").unwrap();
}

/// A command that spoils the databases, says so, and ends when it may.
fn spoils_and_waits(begun: &Path, go: &Path) -> String {
    format!(
        "{SPOIL} : > '{}'; while [ ! -e '{}' ]; do sleep 0.05; done; exit 4",
        begun.display(),
        go.display()
    )
}

/// The same by a program that was there before, which does not know the guard.
#[test]
fn a_lock_of_somebody_else_is_waited_for_by_nobody_and_named() {
    let guarded = Guarded::new();
    let (begun, go) = (guarded.sandbox().path("begun"), guarded.sandbox().path("go"));
    let script = spoils_and_waits(&begun, &go);
    let child = guarded.spawn(&script);
    until(|| begun.exists(), "the command");
    let locker = Locker::start(&guarded.path(DATABASES[0]), false);
    fs::write(&go, "").unwrap();
    finish(child).code(6).says("memory/index.db locked");
    guarded.sandbox().run(&["list"]).code(3).says("half-way");
    guarded.sandbox().run(&["restore", "latest", "--dry-run"]).code(3).says("half-way");
    guarded.sandbox().run(&["backup"]).code(6).says("memory/index.db locked");
    drop(locker);
    guarded.sandbox().run(&["undo", "--list"]).code(3);
    // Undo takes back what was just put back, and with that the migration is there again: said, and known.
    guarded.sandbox().run(&["backup"]).ok().says("cargo xtask undo");
    guarded.is_as_before();
    guarded.sandbox().run(&["undo", "--force"]).ok();
    assert_eq!(rows(&guarded.path(DATABASES[0]))["learnings"].len(), 3);
}

#[test]
fn a_backup_inside_works_and_a_second_guard_does_not() {
    let guarded = Guarded::new();
    let script = format!(
        "\"$XTASK\" backup --label inside >/dev/null
         code=0; \"$XTASK\" guard -- true || code=$?; [ $code = 5 ]
         {SPOIL} \"$XTASK\" backup --label half >/dev/null; exit 2"
    );
    guarded.guard(&[], &script).code(2);
    guarded.is_as_before();
    assert_eq!(archives(&guarded.sandbox().store()).len(), 3);
    guarded.sandbox().run(&["show", "inside"]).ok();
    // A restore of its own inside is a part of the command: taken back with all the rest.
    let script = "\"$XTASK\" restore half --force >/dev/null; exit 2";
    guarded.guard(&[], script).code(2);
    guarded.is_as_before();
}

/// Another run has the store when the databases must be put back, a nightly backup for one.
#[test]
fn another_run_in_the_store_is_waited_for() {
    let guarded = Guarded::new();
    let (begun, go) = (guarded.sandbox().path("begun"), guarded.sandbox().path("go"));
    let script = spoils_and_waits(&begun, &go);
    let mut child = guarded.spawn(&script);
    until(|| begun.exists(), "the command");
    let lock = fs::File::open(guarded.sandbox().store().join(".lock")).unwrap();
    lock.try_lock().unwrap();
    fs::write(&go, "").unwrap();
    let mut told = Vec::new();
    let stderr = child.stderr.as_mut().unwrap();
    while !String::from_utf8_lossy(&told).contains("waiting") {
        let mut bytes = [0; 1000];
        let got = std::io::Read::read(stderr, &mut bytes).unwrap();
        assert_ne!(got, 0, "{}", String::from_utf8_lossy(&told));
        told.extend_from_slice(&bytes[..got]);
    }
    drop(lock);
    finish(child).code(4).says("as before");
    guarded.is_as_before();
}

#[test]
fn what_could_not_be_put_back_is_not_begun() {
    let guarded = Guarded::new();
    let mut bytes = fs::read(guarded.path("memory/vectors.db")).unwrap();
    bytes[4096..].fill(0xff);
    fs::write(guarded.path("memory/vectors.db"), bytes).unwrap();
    guarded.guard(&[], ": > ran").code(1).says("the command was not run").says("memory/vectors.db");
    assert!(!guarded.path("ran").exists());
    guarded.nothing_pending();
    // No store, no backup, no command.
    let guarded = Guarded::new();
    let file = guarded.sandbox().path("a-file");
    fs::write(&file, "").unwrap();
    guarded.guard(&["--store", file.to_str().unwrap()], ": > ran").code(1);
    assert!(!guarded.path("ran").exists());
    guarded.nothing_pending();
}

#[test]
fn a_store_that_went_away_meanwhile_is_said_and_used_when_it_is_back() {
    let guarded = Guarded::new();
    guarded.sandbox().run(&["backup"]).ok();
    let (store, away) = (guarded.sandbox().store(), guarded.sandbox().path("away"));
    let script = format!("{SPOIL} mv '{}' '{}'; exit 4", store.display(), away.display());
    let output = guarded.guard(&[], &script);
    assert!(output.code != 0 && output.code != 4, "{output:?}");
    assert!(output.stderr.contains("could not be put back"), "{}", output.stderr);
    let output = guarded.sandbox().run(&["backup"]);
    assert!(output.code != 0, "{output:?}");
    assert_eq!(rows(&guarded.path(DATABASES[1]))["embeddings"].len(), 0);
    if store.exists() {
        fs::remove_dir_all(&store).unwrap();
    }
    fs::rename(&away, &store).unwrap();
    guarded.sandbox().run(&["backup"]).ok().says("put back");
    guarded.is_as_before();
    // And with it gone all through, a command that goes well has gone well.
    let script = format!("{SPOIL} mv '{}' '{}'", store.display(), away.display());
    guarded.guard(&[], &script).ok();
    assert_eq!(rows(&guarded.path(DATABASES[1]))["embeddings"].len(), 0);
    guarded.nothing_pending();
}

#[test]
fn without_databases_it_is_the_command_alone() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), "README.md", "x\n");
    sandbox.run(&["guard", "--", "true"]).ok();
    sandbox
        .run(&["guard", "--", "sh", "-c", "rm README.md; exit 9"])
        .code(9)
        .says("files that it changed stay");
    assert!(
        !sandbox.project().join("README.md").exists() && !sandbox.project().join(".xtask-restore").exists()
    );
    sandbox.run(&["guard", "--check", "SELECT 1", "--", "true"]).code(1).says("no database");
}

/// As many signals as come: the guard waits for its command, which alone decides.
#[test]
fn signals_are_the_commands_affair() {
    let guarded = Guarded::new();
    let (begun, seen, go) =
        (guarded.sandbox().path("begun"), guarded.sandbox().path("seen"), guarded.sandbox().path("go"));
    for (sent, name, code) in [(Signal::TERM, "TERM", 0), (Signal::INT, "INT", 5)] {
        for file in [&begun, &seen, &go] {
            drop(fs::remove_file(file)); // not there the first time
        }
        let script = format!(
            "trap ': > \"{1}\"' {name}; : > '{0}'; while [ ! -e '{2}' ]; do sleep 0.02 || true; done
             {SPOIL} exit {code}",
            begun.display(),
            seen.display(),
            go.display()
        );
        let child = guarded.spawn(&script);
        until(|| begun.exists(), "the command");
        for _ in 0..50 {
            signal(&child, sent);
        }
        until(|| seen.exists(), "the signal");
        fs::write(&go, "").unwrap();
        finish(child).code(code);
        if code == 0 {
            assert_eq!(rows(&guarded.path(DATABASES[1]))["embeddings"].len(), 0);
            guarded.nothing_pending();
            let id = guarded.sandbox().run(&["list", "--json"]).ok().json()["backups"][0]["id"].clone();
            guarded.sandbox().run(&["restore", id.as_str().unwrap(), "--force"]).ok();
        }
        guarded.is_as_before();
    }
}

/// Ctrl-C on a terminal: the command gets it once, also with its input from elsewhere, and the guard waits for
/// it and does its work, though it got the same signal.
#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_on_a_terminal() {
    if Command::new("python3").arg("--version").output().is_err() {
        return system::skip("python3");
    }
    let guarded = Guarded::new();
    let sandbox = guarded.sandbox();
    let script = sandbox.path("terminal.py");
    fs::write(
        &script,
        "import os, pty, sys, time\n\
         pid, fd = pty.fork()\n\
         if pid == 0:\n    os.execvp('sh', ['sh', '-c', 'exec \"$XTASK\" guard -- sh ./command.sh ' + sys.argv[2]])\n\
         while not os.path.exists('begun'): time.sleep(0.01)\n\
         os.write(fd, b'\\x03')\n\
         if sys.argv[1] == 'waits':\n\
         \x20   while not os.path.exists('ints'): time.sleep(0.01)\n\
         \x20   time.sleep(0.3)\n\
         \x20   open('go', 'w').close()\n\
         seen = b''\n\
         try:\n    while True: seen += os.read(fd, 4096)\n\
         except OSError: pass\n\
         sys.stdout.buffer.write(seen)\n\
         sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    )
    .unwrap();
    let run = |what: &str, redirection: &str, command: &str| {
        for name in ["begun", "ints", "go"] {
            drop(fs::remove_file(guarded.path(name))); // not there the first time
        }
        write(&guarded.framework.project(), "command.sh", &format!("set -eu\n{SPOIL}\n{command}\n"));
        let mut terminal = sandbox.command("python3");
        let output = sandbox.output(terminal.arg(&script).args([what, redirection]));
        assert!(output.stdout.contains("the databases are as before"), "{output:?}");
        guarded.is_as_before();
        output
    };
    let waits =
        "trap 'echo int >> ints' INT; : > begun; while [ ! -e go ]; do sleep 0.02 || true; done; exit 7";
    for redirection in ["", "</dev/null"] {
        run("waits", redirection, waits).code(7);
        assert_eq!(fs::read_to_string(guarded.path("ints")).unwrap(), "int\n", "{redirection}");
    }
    run("dies", "", ": > begun; exec sleep 60").code(130);
}
