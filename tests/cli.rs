//! The command line from outside: help, misuse, exit codes, and where what is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::Path;
use std::process::Stdio;

use rusqlite::Connection;
use serde_json::Value;
use support::framework::write;
use support::{Sandbox, archives, git};

const VERBS: [&str; 17] = [
    "backup",
    "list",
    "show",
    "verify",
    "restore",
    "restore-git",
    "undo",
    "redo",
    "diff",
    "guard",
    "salvage",
    "status",
    "prune",
    "pin",
    "unpin",
    "sync",
    "pull",
];

#[test]
fn help_is_on_stdout_and_exit_0() {
    let sandbox = Sandbox::new();
    let general = sandbox.run(&["--help"]).ok();
    assert_eq!(general.stderr, "");
    assert_eq!(general.stdout, sandbox.run(&["help"]).ok().stdout);
    assert_eq!(general.stdout, sandbox.run(&["-h"]).ok().stdout);
    for verb in VERBS {
        assert!(general.stdout.contains(&format!("\n  {verb} ")), "{verb}");
        let help = sandbox.run(&["help", verb]).ok();
        assert_eq!(help.stderr, "");
        assert_eq!(help.stdout, sandbox.run(&[verb, "--help"]).ok().stdout);
        for part in [&format!("Usage: cargo xtask {verb}"), "Examples\n", "Exit codes\n", "--project DIR"] {
            assert!(help.stdout.contains(part), "{verb}: no {part:?} in\n{}", help.stdout);
        }
    }
    assert!(sandbox.run(&["--version"]).ok().stdout.starts_with("xtask "));
}

#[test]
fn help_shows_only_what_is_there() {
    let help = Sandbox::new().run(&["help"]).ok().stdout;
    let listed: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Verbs")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(listed, VERBS);
}

#[test]
fn misuse_is_exit_2_with_the_usage_on_stderr_and_touches_nothing() {
    let sandbox = Sandbox::new();
    let cases: &[(&[&str], &str)] = &[
        (&[], "no verb"),
        (&["backpu"], "did you mean backup?"),
        (&["backup", "--labl", "x"], "did you mean --label?"),
        (&["backup", "--label"], "--label needs a value"),
        (&["backup", "--label", "latest"], "meaning of its own"),
        (&["backup", "--to", "x"], "an option of restore"),
        (&["backup", "now"], "left over"),
        (&["list", "--full-test"], "an option of verify"),
        (&["show"], "which backup?"),
        (&["verify", "all", "latest"], "either all or some"),
        (&["status", "--max-age", "soon"], "a span such as 26h"),
        (&["status", "--max-age", "0h"], "a span such as 26h"),
        (&["verify", "--email", "-x"], "--email needs a value"),
        (&["verify", "--email=a b"], "no address of mail"),
        (&["pin"], "which backup?"),
        (&["unpin"], "which backup?"),
        (&["prune", "--dryrun"], "did you mean --dry-run?"),
        (&["prune", "latest"], "left over"),
        (&["restore", "latest", "--to", "x", "--git"], "--git is for a restore over the project"),
        (&["guard", "true"], "stands behind --"),
        (&["undo", "latest"], "left over"),
        (&["restore", "latest", "--to", "--dry-run"], "--to needs a value"),
        (&["restore", "latest", "--to", "x", "--dryrun"], "did you mean --dry-run?"),
        (&["restore", "latest", "--to", "x", "--only", "../x"], "inside the project"),
        (&["help", "undo-everything"], "unknown verb"),
    ];
    for (arguments, part) in cases {
        let output = sandbox.run(arguments).code(2).says(part).says("usage: cargo xtask ");
        assert_eq!(output.stdout, "", "{arguments:?}");
        assert!(output.stderr.starts_with("error: "), "{}", output.stderr);
    }
    for folder in ["project", "data", "home"] {
        assert_eq!(std::fs::read_dir(sandbox.path(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[test]
fn with_json_a_misuse_is_one_document_too() {
    let output = Sandbox::new().run(&["backup", "--labl", "x", "--json"]).code(2).says("error: ");
    let document = output.json();
    assert_eq!(document["exit_code"], 2);
    assert_eq!(document["error"]["kind"], "usage");
}

#[test]
fn colors_come_only_when_asked_for() {
    let mut sandbox = Sandbox::new();
    assert!(!sandbox.run(&["backpu"]).code(2).stderr.contains('\x1b'));
    assert!(sandbox.run(&["backpu", "--color", "always"]).code(2).stderr.contains("\x1b[1;31merror:"));
    sandbox.env("NO_COLOR", "1");
    assert!(sandbox.run(&["--color=always", "backpu"]).code(2).stderr.contains('\x1b'));
    assert!(!sandbox.run(&["--color=never", "backpu"]).code(2).stderr.contains('\x1b'));
}

/// `xtask help | head -1`: a reader that goes away is no failure and no panic.
#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = sandbox
        .command(support::binary())
        .arg("help")
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let sandbox = Sandbox::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output =
        sandbox.command(support::binary()).arg("help").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"));
}

/// A commit, and one database that git ignores.
fn small_project() -> Sandbox {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    write(&project, ".gitignore", "/memory/*\n*.big\n");
    write(&project, "docs/guide.md", "one\n");
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "One"]);
    database(&project.join("memory/index.db"));
    sandbox
}

fn database(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    Connection::open(path).unwrap().execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
}

/// Each key of the configuration, one by one, as the README shows them.
#[test]
fn every_key_of_the_configuration_does_what_the_readme_says() {
    let sandbox = small_project();
    let project = sandbox.project();
    write(&project, "logs/run.log", "a line\n");
    write(&project, "scratch.tmp", "temporary\n");
    write(&project, "memory/note.md", "private\n");
    write(&project, "one.big", &"x".repeat(3000));
    database(&project.join("memory/other.db"));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let shown = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let keys: Vec<&str> = shown.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    let mut tried = Vec::new();
    let mut with = |line: &str, code: i32| {
        tried.extend(line.split_once(" = ").map(|(key, _)| key.to_owned()));
        write(&project, "Cargo.toml", &format!("[workspace.metadata.backup]\n{line}\n"));
        let document = sandbox.run(&["backup", "--json"]).code(code).json();
        let target = sandbox.path("back");
        let archive = document["archive"].as_str().unwrap();
        let store = document["store"].as_str().unwrap();
        let words = ["restore", document["id"].as_str().unwrap(), "--store", store, "--to"];
        assert_eq!(sandbox.run(&[words.as_slice(), &[target.to_str().unwrap()]].concat()).code, 0, "{line}");
        let there: Vec<bool> = [
            "docs/guide.md",
            "logs/run.log",
            "scratch.tmp",
            "memory/note.md",
            "one.big",
            "memory/index.db",
            "memory/other.db",
            ".git",
        ]
        .iter()
        .map(|name| target.join(name).exists())
        .collect();
        std::fs::remove_dir_all(&target).unwrap();
        let dumps = document["manifest"]["databases"][0]["dump"].as_bool().unwrap();
        assert!(Path::new(archive).exists());
        (there, dumps, store.to_owned())
    };
    let all = vec![true; 8];
    let without = |missing: &[usize]| (0..8).map(|n| !missing.contains(&n)).collect::<Vec<_>>();
    assert_eq!(with("", 0).0, all);
    // A database that the list leaves out is a problem.
    assert_eq!(with("databases = [\"memory/index.db\"]", 3).0, without(&[6]));
    assert_eq!(with("exclude = [\"logs/\", \"*.tmp\"]", 0).0, without(&[1, 2]));
    assert_eq!(with("ignored = false", 0).0, without(&[3, 4]));
    assert_eq!(with("max-ignored-size = \"2 KiB\"", 0).0, without(&[4]));
    assert_eq!(with("history = false", 0).0, without(&[7]));
    assert!(with("sql-dump = true", 0).1);
    let (files, dumps, default) = with("sql-dump = false", 0);
    assert!(files == all && !dumps);
    assert_eq!(with("alert = \"ops@example.com\"", 0).0, all);
    // A second of the same day; taken by a timer, since those by hand stay for a day.
    assert_eq!(with("keep = { daily = 7, weekly = 4, monthly = 12 }", 0).0, all);
    let timer = ["backup", "--kind", "scheduled", "--json"];
    let id = sandbox.run(&timer).ok().json()["id"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.run(&timer).ok().json()["removed"], serde_json::json!([id]));
    assert_eq!(with("remote = \"../elsewhere\"", 0).0, all);
    assert_eq!(std::fs::read_dir(sandbox.path("elsewhere")).unwrap().count(), 1);
    let (files, _, store) = with("store = \"../backups\"", 0);
    assert_eq!(files, all);
    assert!(store != default && Path::new(&store).ends_with("backups"), "{store}");
    for key in keys {
        assert!(tried.iter().any(|tried| tried == key), "no test of the key {key}");
    }
    // A flag beats the variable, which beats the file.
    let (flag, variable) = (sandbox.path("by-flag"), sandbox.path("by-variable"));
    let mut command = sandbox.command(sandbox.program());
    let output = command.env("BACKUP_ROOT", &variable).args(["backup"]).output().unwrap();
    assert!(output.status.success());
    let mut command = sandbox.command(sandbox.program());
    let words = ["--store", flag.to_str().unwrap(), "backup"];
    assert!(command.env("BACKUP_ROOT", &variable).args(words).output().unwrap().status.success());
    assert_eq!((archives(&flag).len(), archives(&variable).len()), (1, 1));
    assert_eq!(archives(Path::new(&store)).len(), 1);
}

/// `--project` and `--store` mean the same before and after the verb, from anywhere.
#[test]
fn project_and_store_stand_before_or_after_the_verb() {
    let sandbox = small_project();
    let project = sandbox.project();
    let project = project.to_str().unwrap();
    let from_elsewhere = |words: &[&str]| {
        let mut command = sandbox.command(sandbox.program());
        let output = command.args(words).current_dir(sandbox.path("home")).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    from_elsewhere(&["--project", project, "--store", "../s", "backup"]);
    from_elsewhere(&["backup", "--project", project, "--store=../s"]);
    from_elsewhere(&[&format!("--project={project}"), "backup", "--store", "../s"]);
    assert_eq!(archives(&sandbox.path("s")).len(), 3);
    for words in [
        ["list", "--json", "--project", project, "--store", "../s"],
        ["--json", "--store", "../s", "--project", project, "list"],
    ] {
        let listed: Value = serde_json::from_str(&from_elsewhere(&words)).unwrap();
        assert_eq!(listed["backups"].as_array().unwrap().len(), 3);
    }
    from_elsewhere(&["--store", "../s", "verify", "all"]);
    from_elsewhere(&["--store", "../s", "restore", "latest", "--to", "../back"]);
    assert!(sandbox.path("back/docs/guide.md").exists());
}
