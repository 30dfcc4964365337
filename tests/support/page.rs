//! The pages that people read, and the commands in them.

use std::fs;
use std::path::Path;

use super::Sandbox;

/// A page of this repository.
pub fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The shell blocks of a page or of a part of one, in order; a block inside a list is indented.
pub fn blocks(page: &str) -> Vec<String> {
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

/// A `cargo` for the sandbox: `cargo xtask` is the binary, `cargo test` is what runs this; nothing else. Like the
/// real one it refuses a broken `Cargo.toml`.
pub fn with_cargo(sandbox: &mut Sandbox) {
    let bin = sandbox.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let script = "#!/bin/sh\nif grep -q '^<<<<' Cargo.toml 2>/dev/null; then echo 'error: invalid Cargo.toml' >&2; exit 101; fi\n\
                  case \"$1\" in\nxtask) shift; exec \"$XTASK\" \"$@\" ;;\ntest) exit 0 ;;\nesac\necho \"cargo $*?\" >&2\nexit 9\n";
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
