//! The command line from outside: help, misuse, exit codes, and where what is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::process::Stdio;

use support::Sandbox;

const VERBS: [&str; 5] = ["backup", "list", "show", "verify", "restore"];

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
        (&["restore", "latest"], "restore latest --to DIR"),
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
