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

/// The measuring command is shown with its own options; here a tiny project is enough, and it is built
/// already.
#[cfg(unix)]
#[test]
fn the_readme_is_true() {
    let text = page("README.md");
    assert!(text.contains("python3 ci/measure.py"), "the measurement can be repeated");
    let framework = run_page("README.md", "mkdir ci; printf 'import sys\\n' > ci/measure.py");
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

/// What the measurements print is what the README says they print; a small run proves that they work.
#[cfg(target_os = "linux")]
#[test]
fn the_measurement_can_be_repeated() {
    for tool in ["python3", "sqlite3", "pigz"] {
        if which(tool).is_none() {
            return support::system::skip(tool);
        }
    }
    for (script, line) in [("measure.py", "ratio"), ("measure_load.py", "times as fast")] {
        assert!(page("README.md").contains(script), "{script} is not in the README");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci").join(script);
        let mut command = Sandbox::new().command("python3");
        command.current_dir(std::env::temp_dir()).env("TMPDIR", std::env::temp_dir());
        let ran = command
            .arg(script)
            .args(["--rounds", "1", "--megabytes", "2", "--binary"])
            .arg(support::binary())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && text.matches(line).count() == 2,
            "{text}{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
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
