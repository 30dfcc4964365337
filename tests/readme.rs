//! Every command that the README shows runs as shown. The runbook's are in `runbook.rs`.
//!
//! Its shell blocks run in order, in one sandbox, with a `cargo` that starts the binary under test.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::Path;

use support::Sandbox;
use support::framework::Framework;
use support::page::{blocks, page, with_cargo};

fn run_page(name: &str, prepare: &str) -> Framework {
    let mut framework = Framework::at_rest();
    with_cargo(&mut framework.sandbox);
    // Stores lie where the page says they do on this system.
    let data = framework.sandbox.path("home/.local/share");
    framework.sandbox.env("XDG_DATA_HOME", &data);
    framework.sandbox.shell_under(&[], prepare).ok();
    let blocks = blocks(&page(name));
    assert!(blocks.len() > 2, "{name} has only {} blocks", blocks.len());
    for block in blocks {
        let ran = framework.sandbox.shell_under(&[], &block);
        assert_eq!(ran.code, 0, "{name}:\n{block}\nstdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    }
    framework
}

/// The measuring commands are shown as for a real measurement; here they do nothing, and are tried below.
#[cfg(unix)]
#[test]
fn the_readme_is_true() {
    let text = page("README.md");
    for command in ["python3 ci/measure.py", "python3 ci/compare.py --write BENCHMARKS.md"] {
        assert!(text.contains(command), "{command}: the measurement can be repeated");
    }
    let framework = run_page("README.md", "mkdir ci; touch ci/measure.py ci/compare.py");
    for (folder, file) in [
        ("recovered", "memory/index.db"),
        ("only-docs", "docs/guide.md"),
        ("only-index", "memory/index.db"),
        ("index-from-its-dump", "memory/index.db"),
    ] {
        assert!(framework.sandbox.path(folder).join(file).exists(), "{folder}/{file}");
    }
    assert!(!framework.sandbox.path("nothing-is-written").exists());
    assert!(!framework.sandbox.path("only-docs/src").exists());
}

fn which(tool: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

/// Whether something that every measurement needs is missing here.
#[cfg(target_os = "linux")]
fn cannot_measure() -> bool {
    let missing = ["python3", "sqlite3", "pigz"].into_iter().find(|tool| which(tool).is_none());
    missing.inspect(|tool| support::system::skip(tool)).is_some()
}

/// What a measuring script prints about the binary under test.
#[cfg(target_os = "linux")]
fn measured(script: &str, arguments: &[&str]) -> String {
    assert!(page("README.md").contains(script), "{script} is not in the README");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci").join(script);
    let mut command = Sandbox::new().command("python3");
    command.current_dir(std::env::temp_dir()).env("TMPDIR", std::env::temp_dir()).arg(path);
    let ran = command.args(arguments).arg("--binary").arg(support::binary()).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{script}: {text}{errors}");
    text.into_owned()
}

/// What the measurements print is what the README says they print; a small run proves that they work.
#[cfg(target_os = "linux")]
#[test]
fn the_measurement_can_be_repeated() {
    if cannot_measure() {
        return;
    }
    for (script, line) in [("measure.py", "ratio"), ("measure_load.py", "times as fast")] {
        let text = measured(script, &["--rounds", "1", "--megabytes", "2"]);
        assert_eq!(text.matches(line).count(), 2, "{script}: {text}");
    }
    let text = measured("measure_git.py", &["--rounds", "1", "--commits", "20", "--files", "10"]);
    assert!(text.contains("restore-git list") && text.contains("ratio"), "{text}");
}

/// Every part of the benchmark works, on tiny projects, and the page that it writes has them all; but for the daily
/// backups, which would mount a file system. The other tools need not be installed here.
#[cfg(target_os = "linux")]
#[test]
fn the_benchmark_can_be_repeated() {
    if cannot_measure() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("BENCHMARKS.md");
    let sections = "first,first-dump,unchanged,verify,restore,one-file,size,changed,dump,load,history,list,large-first,\
                    large-verify,large-restore,large-changed,memory";
    let arguments =
        ["--quick", "--tools", "pigz,rustic", "--only", sections, "--write", file.to_str().unwrap()];
    let printed = measured("compare.py", &arguments);
    let written = std::fs::read_to_string(&file).unwrap();
    for part in [
        "First backup, images",
        "First backup with dumps",
        "Nothing changed",
        "Verify, all data read",
        "Restore all",
        "Restore one file",
        "Size of the archive",
        "1 % changed",
        "Dump, ",
        "The command, load of dumps",
        "One new commit",
        "`list` of 20 backups",
        "Memory",
    ] {
        let title = format!("## {part}");
        assert!(printed.contains(&title) && written.contains(&title), "{part}: {printed}{written}");
    }
    let (missing, measured) =
        (written.contains("- rustic: it is not installed"), written.contains(", rustic "));
    assert!(missing != measured, "either measured or left out, and said: {written}");
    for said in ["| First backup with dumps, 2 MB | shell scripts |", "- everything but first"] {
        assert!(written.contains(said), "{said}: {written}");
    }
    assert!(!written.contains("was cut"), "{written}");
}

/// The tables of commands and exit codes name what there is.
#[test]
fn the_readme_names_every_verb() {
    let text = page("README.md");
    let help = Sandbox::new().run(&["--help"]).ok().stdout;
    let table = text.lines().filter(|line| line.starts_with("| `")).collect::<String>();
    let verbs =
        ["restore", "undo", "redo", "diff", "guard", "status", "prune", "pin", "unpin", "sync", "pull"];
    for verb in ["backup", "list", "show", "verify"].iter().chain(&verbs) {
        assert!(table.contains(&format!("`{verb}")), "{verb} is not in the README");
        assert!(help.contains(verb), "{verb} is not in the help");
    }
}
