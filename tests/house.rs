//! The rules of the house, held by a test: who may import whom, where each outside crate lives, who prints, and
//! that the crate can be copied elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files that hold a verb each; a verb never imports another one. Helpers of `commands/` are not listed.
const VERBS: &[&str] = &[
    "backup",
    "list",
    "show",
    "verify",
    "restore",
    "undo",
    "redo",
    "restore_git",
    "diff",
    "guard",
    "salvage",
    "status",
    "prune",
    "pin",
    "unpin",
    "sync",
    "pull",
    "schedule",
    "drill",
    "embed",
];

/// The floors, and what each may import besides itself. `ui` knows the words of `flags`; nothing below
/// `commands` prints, so nothing there sees `ui`.
const FLOORS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("flags", &["base"]),
    ("ui", &["base", "flags"]),
    ("project", &["base"]),
    ("sqlite", &["base"]),
    ("archive", &["base"]),
    ("store", &["base"]),
    ("procedures", &["base", "project", "sqlite", "archive", "store"]),
    ("commands", &["base", "project", "sqlite", "archive", "store", "procedures", "ui", "flags"]),
    ("main", &["base", "project", "sqlite", "archive", "store", "procedures", "commands", "ui", "flags"]),
    ("testing", &[]),
];

/// Floors that are crates of their own, in a folder beside `src`, and what the tests share.
const CRATES: &[&str] = &["base", "project", "sqlite", "archive", "store", "testing"];

/// Outside crates with one home: a word that must not occur elsewhere, and the paths where it may.
const HOMES: &[(&str, &[&str])] = &[
    ("rusqlite", &["sqlite"]),
    ("memchr", &["sqlite"]),
    ("git2", &["project/git"]),
    ("sha2", &["base/digest"]),
    ("flate2", &["archive"]),
    ("tar", &["archive"]),
    ("pico_args", &["flags"]),
    ("jiff", &["base/clock"]),
    ("xshell", &["store/remote"]),
    ("data_encoding", &["base", "archive", "sqlite"]),
];

/// One source file: its path below `src`, after the name of its crate if it has one, without `.rs`, `/mod` and
/// `/lib`; and its code.
struct Source {
    name: String,
    text: String,
    /// Without comments, strings and tests.
    code: String,
}

impl Source {
    fn new(name: &str, text: &str) -> Source {
        let name = name.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib").to_owned();
        let is_test = name.ends_with("/tests") || name.contains("/tests/");
        let code = if is_test { String::new() } else { without_tests(&bare(text)) };
        Source { name, text: text.to_owned(), code }
    }

    fn parts(&self) -> Vec<&str> {
        self.name.split('/').collect()
    }

    fn floor(&self) -> &str {
        self.name.split('/').next().unwrap()
    }
}

fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = CRATES.iter().map(|name| (format!("{name}/"), top.join(name).join("src")));
    let mut sources = Vec::new();
    for (prefix, folder) in folders.chain([(String::new(), top.join("src"))]) {
        let mut files = Vec::new();
        collect(&folder, &mut files);
        assert!(!files.is_empty(), "no sources in {}", folder.display());
        sources.extend(files.iter().map(|path| {
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/");
            Source::new(&format!("{prefix}{name}"), &fs::read_to_string(path).unwrap())
        }));
    }
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code with comments, strings and characters blanked out.
fn bare(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut i = 0;
    let starts = |i: usize, what: &str| what.chars().enumerate().all(|(k, c)| chars.get(i + k) == Some(&c));
    while i < chars.len() {
        let word_before = i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_');
        if starts(i, "//") {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if starts(i, "/*") {
            while i < chars.len() && !starts(i, "*/") {
                i += 1;
            }
            i += 2;
        } else if let Some(hashes) = raw_string(&chars, i).filter(|_| !word_before || chars[i - 1] == 'b') {
            let end = format!("\"{}", "#".repeat(hashes));
            i += 2 + hashes;
            while i < chars.len() && !starts(i, &end) {
                i += 1;
            }
            i += end.len();
        } else if chars[i] == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
            out.push_str("\"\"");
        } else if chars[i] == '\'' && chars.get(i + 1) == Some(&'\\') {
            i += 3;
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else if chars[i] == '\'' && chars.get(i + 2) == Some(&'\'') {
            i += 3;
        } else {
            out.push(chars[i]);
            i += 1;
        }
    }
    out
}

/// How many hashes a raw string that begins here has.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    if chars[at] != 'r' {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// Unit tests stand at the end of a file; what is behind `#[cfg(test)]` and its module's `mod` is theirs.
fn without_tests(code: &str) -> String {
    for (at, _) in code.match_indices("#[cfg(").filter(|(at, _)| {
        let condition = code[*at..].split(']').next().unwrap_or_default();
        condition == "#[cfg(test)" || condition.starts_with("#[cfg(all(test,")
    }) {
        let item = code[at..].split(['{', ';']).next().unwrap_or_default();
        if item.contains("mod ") {
            return code[..at].to_owned();
        }
    }
    code.to_owned()
}

/// Every path from the top of the crate that a file names, as parts: `crate::a::{b, c::d}` gives two.
fn paths(source: &Source) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("crate::") {
        if !source.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            expand(&source.code[at + "crate::".len()..], &[], &mut found);
        }
    }
    // `super::` counted from the file's own module; a chain that stays inside the floor does no harm.
    let module = source.parts();
    let mut rest = source.code.as_str();
    while let Some(at) = rest.find("super::") {
        let mut up = 0;
        let mut tail = &rest[at..];
        while let Some(next) = tail.strip_prefix("super::") {
            up += 1;
            tail = next;
        }
        if up <= module.len() && module != ["main"] {
            let base: Vec<String> =
                module[..module.len() - up].iter().map(|part| (*part).to_owned()).collect();
            expand(tail, &base, &mut found);
        }
        rest = tail;
    }
    found
}

/// Reads one use tree after its prefix. Returns how many bytes it took.
fn expand(text: &str, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let skip = text.len() - text.trim_start().len();
    let body = &text[skip..];
    if let Some(inside) = body.strip_prefix('{') {
        let mut used = 0;
        loop {
            let rest = &inside[used..];
            let space = rest.len() - rest.trim_start().len();
            match rest.trim_start().chars().next() {
                Some('}') | None => return skip + 1 + used + space + 1,
                Some(',') => used += space + 1,
                Some(_) => used += expand(rest, prefix, found).max(1),
            }
        }
    }
    let end = body.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(body.len());
    let mut path = prefix.to_vec();
    path.push(body[..end].to_owned());
    if let Some(more) = body[end..].strip_prefix("::") {
        return skip + end + 2 + expand(more, &path, found);
    }
    found.push(path);
    // A new name (`as x`) up to the next separator is not a path.
    let rest = &body[end..];
    let renamed = if rest.starts_with(" as ") { rest.find([',', '}', ';']).unwrap_or(rest.len()) } else { 0 };
    skip + end + renamed
}

fn floor_faults(source: &Source) -> Vec<String> {
    let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == source.floor()) else {
        return vec![format!("{} stands on no floor", source.name)];
    };
    let mut faults = Vec::new();
    for path in paths(source) {
        let target = path[0].as_str();
        let on_a_floor = FLOORS.iter().any(|(name, _)| *name == target);
        if on_a_floor && target != source.floor() && !allowed.contains(&target) {
            faults.push(format!("{} imports {}", source.name, path.join("::")));
        }
        let verb = |name: Option<&str>| VERBS.iter().find(|verb| Some(**verb) == name).copied();
        let (own, other) = (verb(source.parts().get(1).copied()), verb(path.get(1).map(String::as_str)));
        if source.floor() == "commands" && target == "commands" && other.is_some() && other != own {
            faults.push(format!("{} imports another verb: {}", source.name, path.join("::")));
        }
    }
    faults
}

fn home_faults(source: &Source) -> Vec<String> {
    let at_home = |home: &str| source.name == home || source.name.starts_with(&format!("{home}/"));
    HOMES
        .iter()
        .filter(|(_, homes)| !homes.iter().any(|home| at_home(home)))
        .filter(|(word, _)| names_crate(&source.code, word))
        .map(|(word, homes)| format!("{} uses {word}, which lives in {}", source.name, homes.join(", ")))
        .collect()
}

/// Whether code names an outside crate: `name::` or `use name` that is no part of a longer path.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        let after = &code[at + name.len()..];
        let stands_alone = !before.is_alphanumeric() && before != '_' && before != ':';
        stands_alone && (after.starts_with("::") || (code[..at].ends_with("use ") && after.starts_with(';')))
    })
}

fn print_faults(source: &Source) -> Vec<String> {
    ["println!", "print!", "eprintln!", "eprint!", "dbg!", "io::stdout()", "io::stderr()"]
        .iter()
        .filter(|word| source.floor() != "ui" && source.code.contains(*word))
        .map(|word| format!("{} prints with {word}; only ui prints", source.name))
        .collect()
}

fn panic_faults(source: &Source) -> Vec<String> {
    [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("]
        .iter()
        .filter(|word| source.code.contains(*word))
        .map(|word| format!("{} has {word} outside tests", source.name))
        .collect()
}

fn form_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//!") {
        faults.push(format!("{} does not begin with //! and what it is for", source.name));
    }
    let lines = source.text.lines().count();
    if lines > 500 {
        faults.push(format!("{} has {lines} lines: one concept to a file", source.name));
    }
    faults
}

#[track_caller]
fn hold(check: fn(&Source) -> Vec<String>) {
    let faults: Vec<String> = sources().iter().flat_map(check).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_file_imports_only_from_floors_below() {
    hold(floor_faults);
}

#[test]
fn each_outside_crate_has_one_home() {
    hold(home_faults);
}

#[test]
fn only_ui_prints() {
    hold(print_faults);
}

#[test]
fn nothing_panics_on_purpose() {
    hold(panic_faults);
}

#[test]
fn each_file_says_what_it_is_for_and_is_short() {
    hold(form_faults);
}

/// The compiler finds what nobody uses only inside a crate: across crates it is looked for here.
#[test]
fn what_a_floor_offers_is_used() {
    let all = sources();
    let words = |code: &str| -> Vec<String> {
        let parts = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        parts.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let mut count = std::collections::HashMap::new();
    for word in all.iter().flat_map(|source| words(&source.code)) {
        *count.entry(word).or_insert(0) += 1;
    }
    let offers = ["fn", "struct", "enum", "trait", "const", "static", "type"];
    let mut unused = Vec::new();
    for source in all.iter().filter(|source| CRATES.contains(&source.floor()) && source.floor() != "testing")
    {
        for pair in source.code.split("pub ").skip(1).map(|rest| words(&rest[..rest.len().min(200)])) {
            let [kind, name, ..] = pair.as_slice() else { continue };
            if offers.contains(&kind.as_str()) && count[name] < 2 {
                unused.push(format!("{}: {name}", source.name));
            }
        }
    }
    assert!(count["SafePath"] > 2 && unused.is_empty(), "used by nobody:\n{}", unused.join("\n"));
}

/// Cargo itself holds the floors that are crates: each may name only those below it. All are held to the same.
#[test]
fn the_crates_of_the_floors_name_only_floors_below() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |folder: &Path| fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let lints = |text: &str| {
        let at = text.find("[lints.rust]").unwrap();
        text[at..].split("\n# ").next().unwrap().trim().to_owned()
    };
    for name in CRATES {
        let text = read(&top.join(name));
        let (_, allowed) = FLOORS.iter().find(|(floor, _)| floor == name).unwrap();
        for line in text.lines().filter(|line| line.contains("path = ")) {
            let below = |floor: &&str| line == format!("xtask-{floor} = {{ path = \"../{floor}\" }}");
            assert!(allowed.iter().chain(&["testing"]).any(below), "{name}: {line}");
        }
        assert_eq!(lints(&text), lints(&read(top)), "{name}");
    }
}

/// What a copy of the crate leaves out: from the first test of this repository on, and its comment.
fn split_manifest() -> (String, String) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let tests = text.find("[[test]]").unwrap();
    let at = text[..tests].rfind("\n\n").unwrap() + 1;
    (text[..at].to_owned(), text[at..].to_owned())
}

/// `xtask/` is copied into other repositories.
#[test]
fn the_crate_names_nothing_outside_itself() {
    let (own, tests) = split_manifest();
    assert!(!own.contains("..") && !own.contains("workspace = true"), "{own}");
    for line in tests.lines() {
        let known = ["[[test]]", "name = ", "path = \"../tests/", "# "];
        assert!(
            line.is_empty() || known.iter().any(|start| line.starts_with(start)),
            "in the last section: {line}"
        );
    }
    // Names in code; data in strings may look like paths, and goes nowhere.
    for source in sources() {
        for word in ["include_str!", "include_bytes!", "include!", "#[path"] {
            for (at, _) in source.text.match_indices(word) {
                let line = source.text[at..].lines().next().unwrap();
                assert!(!line.contains(".."), "{}: {line}", source.name);
            }
        }
        let at_build = source.text.contains("env!(\"CARGO_MANIFEST_DIR\")");
        assert!(!at_build, "{} looks for its own source", source.name);
    }
    assert!(!Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs").exists());
}

/// A copy as README.md tells it: cargo understands it, and in the long form it builds with all its tests.
#[test]
fn a_copy_of_the_crate_stands_alone() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = crate_folder.parent().unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(crate_folder, &copy.path().join("xtask"));
    copy_folder(&here.join(".cargo"), &copy.path().join(".cargo"));
    fs::write(copy.path().join("xtask/Cargo.toml"), split_manifest().0).unwrap();
    fs::write(copy.path().join("Cargo.toml"), "[workspace]\nmembers = [\"xtask\"]\nresolver = \"3\"\n")
        .unwrap();
    // Only so that the test needs no network.
    fs::copy(here.join("Cargo.lock"), copy.path().join("Cargo.lock")).unwrap();
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let target = copy.path().join("target");
        command.args(arguments).current_dir(copy.path()).env("CARGO_TARGET_DIR", target);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "cargo {arguments:?}: {said}");
    };
    cargo(&["tree", "--quiet", "--offline", "--locked"]);
    if std::env::var_os("XTASK_TEST_FULL").is_some_and(|value| value == "1") {
        cargo(&["check", "--quiet", "--offline", "--locked", "--all-targets"]);
        cargo(&["xtask", "--version"]);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The checks themselves: each must see the fault, and must not see one in a comment or a string.
#[test]
fn the_checks_can_fail() {
    let floor = |name: &str, text: &str| floor_faults(&Source::new(name, text)).len();
    assert_eq!(floor("store/lock.rs", "use crate::base::id::BackupId;\nuse super::catalog::X;"), 0);
    assert_eq!(floor("store/lock.rs", "use crate::{base::id, sqlite::{snapshot, dump}};"), 2);
    assert_eq!(floor("store/lock.rs", "fn f() { crate::ui::size(1); }"), 1);
    assert_eq!(floor("store/mod.rs", "use super::archive::X;"), 1);
    assert_eq!(floor("project/git/refs.rs", "use super::super::super::store::X;"), 1);
    assert_eq!(floor("base/id.rs", "// crate::store\nconst A: &str = \"crate::store\";"), 0);
    assert_eq!(floor("procedures/take.rs", "use crate::commands::list;"), 1);
    assert_eq!(floor("commands/backup.rs", "use crate::commands::{list::run as l, backup::x, context};"), 1);
    assert_eq!(floor("commands/backup/plan.rs", "use super::x; use super::super::list;"), 1);
    assert_eq!(floor("commands/context.rs", "use crate::procedures::take;"), 0);
    assert_eq!(floor("cellar/x.rs", ""), 1);
    let home = |name: &str, text: &str| home_faults(&Source::new(name, text)).len();
    assert_eq!(home("store/x.rs", "use rusqlite::Connection;"), 1);
    assert_eq!(home("store/x.rs", "fn f(c: &git2::Repository) {}"), 1);
    assert_eq!(home("project/git/x.rs", "fn f(c: &git2::Repository) {}"), 0);
    assert_eq!(home("store/x.rs", "let tar = 1; self::tar::x(); // sha2::Sha256"), 0);
    let tested = "fn f() {}\n#[cfg(test)]\nmod tests { use rusqlite::Connection; }";
    assert_eq!(home("procedures/take.rs", tested), 0);
    assert_eq!(print_faults(&Source::new("store/x.rs", "fn f() { println!(\"\") }")).len(), 1);
    assert_eq!(print_faults(&Source::new("ui.rs", "fn f() { println!(\"\") }")).len(), 0);
    assert_eq!(panic_faults(&Source::new("a.rs", "x.unwrap(); '\"'; y.expect(\"\");")).len(), 2);
    assert_eq!(panic_faults(&Source::new("a.rs", "r#\"x.unwrap()\"#; b'\\''; \"\\\".unwrap()\"")).len(), 0);
    assert_eq!(form_faults(&Source::new("a.rs", "fn f() {}")).len(), 1);
}
