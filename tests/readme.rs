//! Every command that the README and the runbook show runs as shown.
//!
//! Each page's shell blocks run in order, in one sandbox, with a `cargo` that starts the binary under test.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use support::framework::Framework;
use support::{Sandbox, tree};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The shell blocks of a page, in order; a block inside a list is indented.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut current: Option<String> = None;
    for line in page.lines() {
        match (&mut current, line.trim()) {
            (None, "```sh") => current = Some(String::new()),
            (Some(_), "```") => blocks.extend(current.take()),
            (Some(block), _) => {
                block.push_str(line.trim_start());
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(current.is_none(), "a block that does not end");
    blocks
}

/// A `cargo` for the sandbox: `cargo xtask` is the binary, `cargo test` is what runs this; nothing else.
fn with_cargo(sandbox: &mut Sandbox) {
    let bin = sandbox.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let script = "#!/bin/sh\ncase \"$1\" in\nxtask) shift; exec \"$XTASK\" \"$@\" ;;\ntest) exit 0 ;;\nesac\necho \"cargo $*?\" >&2\nexit 9\n";
    let cargo = bin.join("cargo");
    fs::write(&cargo, script).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(bin).chain(std::env::split_paths(&path));
    sandbox.env("PATH", std::env::join_paths(all).unwrap());
}

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

#[cfg(unix)]
#[test]
fn the_runbook_is_true() {
    if which("sqlite3").is_none() {
        return support::system::skip("sqlite3");
    }
    let framework = run_page(
        "DISASTER_RECOVERY.md",
        // Of two on one day rotation removes the first.
        "cargo xtask backup --kind scheduled; cargo xtask backup --kind scheduled",
    );
    let look = |folder: &Path| tree::without_sidecars(tree::fingerprint(folder, false));
    let (before, after) = (look(&framework.project()), look(&framework.sandbox.path("recovered")));
    let differ = tree::differences(&before, &after);
    let of_ours: Vec<&String> = differ
        .iter()
        .filter(|line| {
            !line.starts_with(".git:") && !line.starts_with(".git/") && !line.contains("node_modules")
        })
        .collect();
    assert!(of_ours.is_empty(), "{of_ours:#?}");
}

fn which(tool: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

/// What `measure.py` prints is what the README says it prints; a small run proves that it works.
#[cfg(target_os = "linux")]
#[test]
fn the_measurement_can_be_repeated() {
    for tool in ["python3", "sqlite3", "pigz"] {
        if which(tool).is_none() {
            return support::system::skip(tool);
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/measure.py");
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
        ran.status.success() && text.matches("ratio").count() == 2,
        "{text}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// The tables of commands and exit codes name what there is.
#[test]
fn the_readme_names_every_verb() {
    let text = page("README.md");
    let help = Sandbox::new().run(&["--help"]).ok().stdout;
    let table = text.lines().filter(|line| line.starts_with("| `")).collect::<String>();
    let verbs = ["restore", "undo", "redo", "diff", "guard", "status", "prune", "pin", "unpin"];
    for verb in ["backup", "list", "show", "verify"].iter().chain(&verbs) {
        assert!(table.contains(&format!("`{verb}")), "{verb} is not in the README");
        assert!(help.contains(verb), "{verb} is not in the help");
    }
}
