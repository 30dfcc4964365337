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

/// The jobs for a change check what `.ci/run` checks.
#[test]
fn tests_in_ci_are_the_tests_of_a_person() {
    let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/run")).unwrap();
    let github = commands(&recipe("github.yml"), "test");
    for line in script.lines().filter(|line| line.starts_with("cargo ")) {
        assert!(github.iter().any(|other| other == line), "github.yml leaves out: {line}");
    }
    assert_eq!(commands(&recipe("gitlab.yml"), "test"), [".ci/run"]);
}
