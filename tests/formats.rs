//! An archive of every format number ever released verifies and restores, and FORMAT.md names all that is in one.
//!
//! `tests/fixtures/format-N/` holds an archive of format N, as the tool of that time made it, and
//! `expected.txt`, what came back from it then. How to make a new one is told in `tests/fixtures/README.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use support::Sandbox;
use support::compare::{fsck, repository, rows, working_files};
use support::framework::{Framework, write};
use support::tree::fingerprint;

/// Every archive in the folder of fixtures: folder and id. One that is not listed fails a test.
const ARCHIVES: &[(&str, &str)] = &[("format-1", "20261123_145918")];

/// Databases of the project that the fixtures are made of.
const DATABASES: [&str; 2] = ["memory/index.db", "memory/plain.db"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md")).unwrap()
}

/// The number that this tool writes, as FORMAT.md tells.
fn current_format() -> u32 {
    let page = page();
    let number = page.lines().find_map(|line| line.strip_prefix("Format number ")).unwrap();
    number.split('.').next().unwrap().parse().unwrap()
}

#[test]
fn every_archive_is_listed_and_every_format_has_one() {
    let mut found = Vec::new();
    for name in fingerprint(&fixtures(), false).into_keys() {
        let name = String::from_utf8(name).unwrap();
        if name.contains(".tar.gz") && !name.ends_with(".sha256") {
            found.push(name);
        }
    }
    let listed: Vec<String> = ARCHIVES.iter().map(|(folder, id)| format!("{folder}/{id}.tar.gz")).collect();
    assert_eq!(found, listed);
    for number in 1..=current_format() {
        let folder = format!("format-{number}");
        assert!(ARCHIVES.iter().any(|(name, _)| *name == folder), "no archive of format {number}");
    }
}

#[test]
fn every_archive_verifies_and_restores_to_what_it_was() {
    for (folder, id) in ARCHIVES {
        let source = fixtures().join(folder);
        let sandbox = Sandbox::new();
        // A copy: nothing that happens here may change a fixture.
        let store = sandbox.path("store");
        fs::create_dir(&store).unwrap();
        for name in [format!("{id}.tar.gz"), format!("{id}.tar.gz.sha256")] {
            fs::copy(source.join(&name), store.join(&name)).unwrap();
        }
        let run = |words: &[&str]| sandbox.run(&[words, &["--store", store.to_str().unwrap()]].concat());
        let list = run(&["list", "--json"]).ok().json();
        assert_eq!(list["backups"][0]["id"], *id);
        let show = run(&["show", id, "--json"]).ok().json();
        let number: u32 = folder.strip_prefix("format-").unwrap().parse().unwrap();
        assert_eq!(show["manifest"]["format"], number, "{folder}");
        assert_eq!(show["manifest"]["databases"].as_array().unwrap().len(), DATABASES.len());
        run(&["verify", id]).ok();
        if !cfg!(target_os = "linux") {
            // Other systems refuse the name that is not UTF-8.
            continue;
        }
        run(&["verify", "all", "--full-test"]).ok();
        let expected = fs::read_to_string(source.join("expected.txt")).unwrap();
        let restore = |to: &str, more: &[&str]| {
            let target = sandbox.path(to);
            run(&[&["restore", id, "--to", target.to_str().unwrap()], more].concat()).ok();
            assert_eq!(fsck(&target), Vec::<String>::new());
            target
        };
        same(&expected, &listing(&restore("recovered", &[])));
        same(&expected, &listing(&restore("from dumps", &["--sql-only"])));
        assert_eq!(fingerprint(&store, false).iter().filter(|(name, _)| name.ends_with(b".gz")).count(), 1);
    }
}

/// The names of all fields in a document, at any depth.
fn fields(document: &serde_json::Value, found: &mut BTreeSet<String>) {
    match document {
        serde_json::Value::Object(object) => {
            found.extend(object.keys().cloned());
            object.values().for_each(|value| fields(value, found));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

/// Every field that stands in a store, and every file, is on the page: what is not there nobody else can use.
#[cfg(target_os = "linux")]
#[test]
fn the_page_names_every_file_and_field() {
    let framework = Framework::at_rest();
    let project = framework.project();
    fs::write(project.join("memory/broken.db"), [b"SQLite format 3\0".as_slice(), &[0xaa; 4000]].concat())
        .unwrap();
    let store = framework.sandbox.path("store");
    let run = |words: &[&str], code: i32| {
        framework.sandbox.run(&[words, &["--store", store.to_str().unwrap()]].concat()).code(code)
    };
    run(&["backup", "--label", "with-all", "--pin"], 3);
    fs::remove_file(project.join("memory/broken.db")).unwrap();
    run(&["backup"], 0);
    run(&["verify", "all"], 3);
    let target = framework.sandbox.path("back");
    run(&["restore", "latest", "--to", target.to_str().unwrap()], 0);
    run(&["restore", "latest", "--to", target.to_str().unwrap()], 6);

    // Every run that does something has a line; those that only look have none.
    run(&["list"], 0);
    run(&["restore", "latest", "--to", target.join("x").to_str().unwrap(), "--dry-run"], 0);
    run(&["restore", "latest", "--verify-only"], 0);
    let history = fs::read_to_string(store.join("history.jsonl")).unwrap();
    let lines: Vec<String> = history
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| format!("{} {}", line["command"].as_str().unwrap(), line["exit"]))
        .collect();
    assert_eq!(lines, ["backup 3", "backup 0", "verify 3", "restore 0", "restore 6"]);

    let page = page();
    let (section, rest) = page.split_once("## The archive as a tar file").unwrap();
    let manifest = rest.split_once("## The manifest").unwrap().1;
    let index = rest.split_once("## The index").unwrap().1.split_once("## The manifest").unwrap().0;
    let store_json = section.split_once("`store.json` holds").unwrap().1;
    let (store_json, summary) = store_json.split_once("`<id>.json`, the summary").unwrap();
    let (summary, state) = summary.split_once("`<id>.state.json` may").unwrap();
    let (state, history) = state.split_once("Each line of `history.jsonl`").unwrap();
    let mut seen = BTreeSet::new();
    for (name, entry) in fingerprint(&store, false) {
        let name = String::from_utf8(name).unwrap();
        let text = || fs::read_to_string(store.join(&name)).unwrap();
        let (part, texts) = match name.as_str() {
            "store.json" => (store_json, vec![text()]),
            "history.jsonl" => (history, text().lines().map(str::to_owned).collect()),
            _ if name.ends_with(".state.json") => (state, vec![text()]),
            _ if name.ends_with(".json") => (summary, vec![text()]),
            _ if name.ends_with(".tar.gz") => {
                // Its own documents, out of the archive.
                let inside = |path: &str| {
                    let mut tar = std::process::Command::new("tar");
                    let output = tar.arg("-xzOf").arg(store.join(&name)).arg(path).output().unwrap();
                    String::from_utf8(output.stdout).unwrap()
                };
                named(index, &[inside("stargz.index.json")], &mut seen);
                (manifest, vec![inside("backup/manifest.json")])
            }
            _ => ("", Vec::new()),
        };
        named(part, &texts, &mut seen);
        let general = match name.split_once('.') {
            Some((id, ending)) if id.starts_with("20") => format!("20251201_120000.{ending} "),
            _ => name.clone(),
        };
        assert!(entry.kind == "dir" || section.contains(&general), "FORMAT.md does not name {name}");
    }
    // The names that this test must have met, or it looked at too little.
    for field in ["worktree_commit", "logical", "verifications", "damaged", "target", "nameBase64", "remotes"]
    {
        assert!(seen.contains(field), "{field} is in no document");
    }
}

#[track_caller]
fn named(part: &str, documents: &[String], seen: &mut BTreeSet<String>) {
    for document in documents {
        let mut found = BTreeSet::new();
        fields(&serde_json::from_str(document).unwrap(), &mut found);
        for field in &found {
            assert!(part.contains(&format!("`{field}`")), "FORMAT.md does not name the field {field}");
        }
        seen.extend(found);
    }
}

#[track_caller]
fn same(expected: &str, found: &str) {
    let differing: Vec<_> = expected.lines().zip(found.lines()).filter(|(a, b)| a != b).take(3).collect();
    assert!(expected == found, "first differences: {differing:#?}\nall of it:\n{found}");
}

/// What a project is, as text: files, what git tells, rows. Nothing in it depends on the machine.
fn listing(folder: &Path) -> String {
    let mut text = String::new();
    for (name, entry) in working_files(folder, &DATABASES) {
        let time = entry.mtime_ns.map_or_else(String::new, |ns| (ns / 1_000_000_000).to_string());
        let name = name.escape_ascii();
        writeln!(text, "{} {:o} {name} {} {time}", entry.kind, entry.mode, entry.content).unwrap();
    }
    // Not what other versions of git may word in another way.
    let worded =
        |what: &str| matches!(what, "staged" | "unstaged" | "object format" | "shallow" | "AUTO_MERGE");
    let patch = |what: &str| what.starts_with("stash@") && !what.ends_with(" parents");
    for (what, answer) in repository(folder).into_iter().filter(|(what, _)| !worded(what) && !patch(what)) {
        for line in answer.lines() {
            writeln!(text, "git {what}: {line}").unwrap();
        }
    }
    for database in DATABASES {
        for (table, lines) in rows(&folder.join(database)) {
            for line in lines {
                writeln!(text, "{database} {table}: {}", line.replace('\n', "\\n")).unwrap();
            }
        }
    }
    text
}

/// Not a test: makes the fixture of the present format again (see `tests/fixtures/README.md`). It runs in a
/// name space of its own, so that no machine's name, path or user gets into the archive.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "makes the fixture of the present format again"]
fn make_again() {
    use std::process::Command;
    if std::env::var_os("XTASK_FIXTURE_INSIDE").is_none() {
        let inside =
            "mount -t tmpfs tmpfs /mnt && echo fixture > /proc/sys/kernel/hostname && exec \"$0\" \"$@\"";
        let status = Command::new("unshare")
            .args(["-rmu", "sh", "-c", inside])
            .arg(std::env::current_exe().unwrap())
            .args(["make_again", "--exact", "--ignored", "--nocapture"])
            .env("XTASK_FIXTURE_INSIDE", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let project = Path::new("/mnt/project");
    fs::create_dir(project).unwrap();
    tiny(project);
    let sandbox = Sandbox::new();
    let store = sandbox.path("store");
    let arguments =
        ["backup", "--label", "fixture", "--store", store.to_str().unwrap(), "--project", "/mnt/project"];
    let told = [&arguments[..], &["--json"]].concat();
    let told = sandbox.run(&told).ok().json();
    assert_eq!(
        (&told["manifest"]["host"], &told["manifest"]["path"]),
        (&"fixture".into(), &"/mnt/project".into())
    );
    let folder = fixtures().join(format!("format-{}", current_format()));
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    let id = told["id"].as_str().unwrap();
    for name in [format!("{id}.tar.gz"), format!("{id}.tar.gz.sha256")] {
        fs::copy(store.join(&name), folder.join(&name)).unwrap();
    }
    // From the project itself, not from what comes back.
    fs::write(folder.join("expected.txt"), listing(project)).unwrap();
    // The list above, as it is in the source of this file.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/formats.rs");
    let text = fs::read_to_string(&source).unwrap();
    let start = format!("(\"format-{}\", \"", current_format());
    let (before, after) = text.split_once(&start).expect("a line of this format in ARCHIVES");
    let old = after.split_once('"').unwrap().0;
    let text = [before, &start, &after.replacen(old, id, 1)].concat();
    fs::write(&source, text).unwrap();
}

/// A project of a few kilobytes, always the same.
#[cfg(target_os = "linux")]
fn tiny(project: &Path) {
    use rusqlite::Connection;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, UNIX_EPOCH};
    use support::{git, git_at};
    const MOMENT: i64 = 1_764_000_000;
    git(project, &["init", "-q", "-b", "main"]);
    write(project, ".gitignore", "/memory/\n");
    write(project, "README.md", "# A tiny project\n");
    write(project, "scripts/run.sh", "#!/bin/sh\n");
    write(project, "docs/two words.md", "spaces\n");
    write(project, "docs/new\nline.md", "a newline in the name\n");
    fs::write(project.join(OsStr::from_bytes(b"docs/caf\xe9.md")), "not UTF-8\n").unwrap();
    fs::set_permissions(project.join("scripts/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("README.md", project.join("link")).unwrap();
    git(project, &["add", "-A"]);
    git_at(project, MOMENT, &["commit", "-q", "-m", "The first"]);
    git_at(project, MOMENT, &["tag", "-a", "-m", "A release", "v1"]);
    write(project, "README.md", "# A tiny project\n\nStashed.\n");
    git_at(project, MOMENT + 1, &["stash", "push", "-q", "-m", "a stash"]);
    write(project, "README.md", "# A tiny project\n\nModified.\n");
    write(project, "staged.md", "staged\n");
    git(project, &["add", "staged.md"]);
    write(project, "untracked.md", "untracked\n");
    write(project, "memory/private.md", "private\n");
    // Longer than a name in a tar header.
    write(project, &format!("{}/file.md", ["a folder with a long name"; 6].join("/")), "deep\n");
    fs::create_dir_all(project.join("empty/inside")).unwrap();
    for (name, mode) in [("index.db", "wal"), ("plain.db", "delete")] {
        let connection = Connection::open(project.join("memory").join(name)).unwrap();
        let sql = "PRAGMA user_version = 3;
            CREATE TABLE t(a, b); INSERT INTO t(rowid, a, b) VALUES (2, 'x', 0.1), (9, NULL, x'00ff');
            CREATE VIRTUAL TABLE words USING fts5(body); INSERT INTO words VALUES ('one two');";
        connection.pragma_update(None, "page_size", 1024).unwrap();
        connection.pragma_update(None, "journal_mode", mode).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.execute_batch("INSERT INTO t VALUES ('last', 5e-324)").unwrap();
    }
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(MOMENT).unwrap());
    let umask = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (name, entry) in fingerprint(project, false) {
        let path = project.join(OsStr::from_bytes(&name));
        match entry.kind {
            "file" if !name.starts_with(b".git/") => {
                umask(&path, if name.ends_with(b".sh") { 0o755 } else { 0o644 });
                fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
            }
            "dir" if !name.starts_with(b".git") => umask(&path, 0o755),
            _ => {}
        }
    }
    git(project, &["update-index", "-q", "--refresh"]);
}
