//! The recipes in `ci/` are run as they stand: a recipe that nobody runs is wrong by the time it is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use support::framework::Framework;

fn recipe(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The shell lines of one job: `run:` with one line or a block, and the items of `script:`. Enough YAML for
/// the two recipes; what it can't read shows as a missing command below.
fn commands(text: &str, job: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().peekable();
    let start = lines.by_ref().find(|line| line.trim() == format!("{job}:"));
    let job_indent = indent(start.unwrap_or_else(|| panic!("no job {job}")));
    let mut found = Vec::new();
    while let Some(line) = lines.next_if(|line| line.trim().is_empty() || indent(line) > job_indent) {
        let key = line.trim().trim_start_matches("- ");
        let value = key.strip_prefix("run:").or_else(|| key.strip_prefix("script:"));
        match value.map(str::trim) {
            Some("|" | "") => {
                while let Some(inner) = lines.next_if(|inner| indent(inner) > indent(line)) {
                    found.push(inner.trim().trim_start_matches("- ").to_owned());
                }
            }
            Some(command) => found.push(command.to_owned()),
            None => {}
        }
    }
    found
}

#[test]
fn the_small_parser_reads_what_the_recipes_use() {
    let text = "jobs:\n  a:\n    steps:\n      - run: one\n      - name: x\n        run: |\n          two\n          three\n      - uses: y\n  b:\n    script:\n      - four\n      - five \"$X\"\n    other: z\n";
    assert_eq!(commands(text, "a"), ["one", "two", "three"]);
    assert_eq!(commands(text, "b"), ["four", "five \"$X\""]);
}

/// The nightly jobs: backup, verify, and what comes after, in a framework of their own.
#[cfg(unix)]
#[test]
fn the_nightly_jobs_run_as_they_stand() {
    for name in ["github.yml", "gitlab.yml"] {
        let mut framework = Framework::at_rest();
        let store = framework.sandbox.path("backups");
        framework.sandbox.env("BACKUP_ROOT", &store);
        let lines = commands(&recipe(name), "backup");
        for verb in ["backup", "verify"] {
            let wanted = format!("cargo xtask {verb}");
            assert!(lines.iter().any(|line| line.starts_with(&wanted)), "{name}: {lines:?}");
        }
        // The alias does the same, after compiling.
        let alias = "cargo() { test \"$1\" = xtask; shift; \"$XTASK\" \"$@\"; }";
        for line in &lines {
            let output = framework.sandbox.shell_under(&[], &format!("{alias}\n{line}"));
            assert_eq!(output.code, 0, "{name}: {line}\n{}{}", output.stdout, output.stderr);
        }
        let archives = fs::read_dir(&store)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tar.gz"));
        assert_eq!(archives.count(), 1, "{name}");
    }
}

/// Every program that the tests look for is one that `.ci/run` installs, with a package that has it.
#[test]
fn all_that_tests_need_is_installed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = fs::read_to_string(root.join(".ci/run")).unwrap();
    let tools = ["sqlite3", "pigz", "busybox", "bsdtar", "python3", "git", "strace", "unshare", "setpriv"];
    for tool in tools.into_iter().chain(["rsync", "sshd", "ssh", "rclone", "mkfs.xfs"]) {
        assert!(script.contains(&format!("[{tool}]=")), "{tool} is not installed");
    }
    // And these are all: what is looked for by name in the tests stands in that list or is everywhere.
    let everywhere = ["cp", "rm", "tar", "gzip", "sha256sum", "sh", "true", "test", "mkfifo", "cargo"];
    for entry in fs::read_dir(root.join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let text = if path.extension().is_some_and(|end| end == "rs") {
            fs::read_to_string(&path).unwrap()
        } else {
            continue;
        };
        for start in ["have(\"", "find(\"", "which(\"", "Command::new(\""] {
            // A text is searched by a method of that name, too.
            for (at, _) in text.match_indices(start).filter(|(at, _)| !text[..*at].ends_with('.')) {
                let name = text[at + start.len()..].split('"').next().unwrap();
                let name = name.rsplit('/').next().unwrap();
                let known = everywhere.contains(&name) || script.contains(&format!("[{name}]="));
                assert!(known || !name.chars().all(char::is_alphanumeric), "{}: {name}", path.display());
            }
        }
    }
}

/// The jobs for a change check what `.ci/run` checks.
#[test]
fn tests_in_ci_are_the_tests_of_a_person() {
    let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/run")).unwrap();
    let github = commands(&recipe("github.yml"), "test");
    let [linux, others] = github.as_slice() else { panic!("{github:?}") };
    assert!(linux.ends_with(" .ci/run"), "{linux}");
    assert!(script.lines().any(|line| line == others), "not what a person runs: {others}");
    // In a shell of another user nothing may be missing: what the recipe hands on is what cargo needs.
    if cfg!(unix) {
        let shown = linux.replacen("sudo ", "", 1).replace(".ci/run", "cargo --version");
        assert_ne!(shown, *linux);
        let run = std::process::Command::new("/bin/sh").args(["-euc", &shown]).output().unwrap();
        assert!(run.status.success(), "{shown}: {}", String::from_utf8_lossy(&run.stderr));
    }
    assert_eq!(commands(&recipe("gitlab.yml"), "test"), [".ci/run"]);
}
