//! Restores over a project from backups in every state, onto git in every state, and back again through as many as
//! there were: each state comes back as it was, and what can't be put back changes nothing.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use support::compare::{
    Repository, Rows, fsck, repository, repository_differences, row_differences, rows, working_files,
};
use support::forge::{self, Forge, plant};
use support::framework::{Framework, write};
use support::tree::{Fingerprint, differences, fingerprint};
use support::{Output, Sandbox, archives, git, git_at};

const NONE: Vec<String> = Vec::new();
const DATABASES: [&str; 3] = ["memory/index.db", "memory/vectors.db", "data/catalog.db"];

fn change(database: &Path, sql: &str) {
    Connection::open(database).unwrap().execute_batch(sql).unwrap();
}

/// Files, rows, and all that git tells.
struct State {
    files: Fingerprint,
    rows: BTreeMap<&'static str, Rows>,
    repository: Repository,
}

impl State {
    fn of(project: &Path) -> State {
        let databases = DATABASES.into_iter().filter(|name| project.join(name).exists());
        let rows = databases.map(|name| (name, rows(&project.join(name)))).collect();
        State { files: working_files(project, &DATABASES), rows, repository: repository(project) }
    }

    #[track_caller]
    fn is(&self, project: &Path, with_git: bool, when: &str) {
        let now = State::of(project);
        assert_eq!(differences(&self.files, &now.files), NONE, "{when}");
        assert_eq!(self.rows.keys().collect::<Vec<_>>(), now.rows.keys().collect::<Vec<_>>(), "{when}");
        for (name, rows) in &self.rows {
            assert_eq!(row_differences(rows, &now.rows[name]), NONE, "{when}: {name}");
        }
        if with_git {
            assert_eq!(repository_differences(&self.repository, &now.repository), NONE, "{when}");
            assert_eq!(fsck(project), NONE, "{when}");
        }
        assert!(!project.join(".xtask-restore").exists(), "{when}");
    }
}

/// A framework with a backup `first`, changed after that in files, rows and git.
fn changed() -> (Framework, State, State) {
    let framework = Framework::at_rest();
    let project = framework.project();
    let first = State::of(&project);
    framework.sandbox.run(&["backup", "--label", "first"]).ok();
    write(&project, "README.md", "changed\n");
    write(&project, "notes/later.md", "later\n");
    fs::remove_dir_all(project.join("docs")).unwrap();
    change(&framework.memory().join("index.db"), "DELETE FROM learnings WHERE id > 10");
    git(&project, &["branch", "later"]);
    git(&project, &["stash", "drop", "-q"]);
    git(&project, &["tag", "-d", "v0.1"]);
    git_at(&project, 1_764_100_000, &["commit", "-q", "-a", "-m", "Later"]);
    write(&project, "src/late.py", "late\n");
    git(&project, &["add", "src/late.py"]);
    let now = State::of(&project);
    (framework, first, now)
}

fn restore(sandbox: &Sandbox, more: &[&str]) -> Output {
    sandbox.run(&[&["restore", "first", "--force"], more].concat())
}

#[test]
fn git_comes_back_as_it_was_and_goes_again() {
    let (framework, first, now) = changed();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    restore(sandbox, &["--git", "--exact"]).ok();
    first.is(&project, true, "restored");
    sandbox.run(&["undo", "--force"]).ok();
    now.is(&project, true, "undone");
    sandbox.run(&["redo", "--force"]).ok();
    first.is(&project, true, "redone");
    sandbox.run(&["undo", "--force"]).ok();
    // Without --exact what came later stays, files and refs.
    let output = restore(sandbox, &["--git"]).ok();
    assert!(output.stdout.contains("cargo xtask undo"), "{output:?}");
    let later = format!("refs/heads/later {} ", git(&project, &["rev-parse", "later"]));
    assert!(now.repository["refs"].contains(&later), "{later}");
    assert_eq!(git(&project, &["rev-parse", "HEAD"]), first.repository["HEAD"].trim());
    assert!(project.join("notes/later.md").exists());
    for part in ["index", "stash", "stash@{1}", "reflog of refs/stash"] {
        assert_eq!(repository(&project)[part], first.repository[part], "{part}");
    }
    sandbox.run(&["undo", "--force"]).ok();
    now.is(&project, true, "undone again");
    // Not asked for, git stays as it is, to the byte.
    let bytes = |project: &Path| fingerprint(&project.join(".git"), false);
    let before = bytes(&project);
    restore(sandbox, &[]).ok();
    assert_eq!(differences(&before, &bytes(&project)), NONE);
}

#[test]
fn a_lost_repository_comes_back_with_git_and_without_it() {
    for without in [false, true] {
        let (mut framework, first, _) = changed();
        let project = framework.project();
        if without {
            let tools = framework.sandbox.path("tools");
            fs::create_dir(&tools).unwrap();
            framework.sandbox.env("PATH", &tools);
        }
        let sandbox = &framework.sandbox;
        fs::remove_dir_all(project.join(".git")).unwrap();
        let before = State::of(&project);
        let output = restore(sandbox, &["--exact"]);
        assert!(matches!(output.code, 0 | 3), "{output:?}");
        let now = State::of(&project);
        for part in ["refs", "HEAD", "index", "status", "stash", "commits", "reflog of HEAD"] {
            assert_eq!(first.repository[part], now.repository[part], "{without}: {part}\n{output:?}");
        }
        assert_eq!(differences(&first.files, &now.files), NONE);
        assert_eq!(fsck(&project), NONE);
        let output = sandbox.run(&["undo", "--force"]);
        assert!(matches!(output.code, 0 | 3), "{output:?}");
        assert!(!project.join(".git").exists());
        assert_eq!(differences(&before.files, &working_files(&project, &DATABASES)), NONE);
        let output = sandbox.run(&["redo", "--force"]);
        assert!(matches!(output.code, 0 | 3), "{output:?}");
        assert_eq!(repository(&project)["refs"], first.repository["refs"], "{output:?}");
    }
}

#[test]
fn no_git_and_no_commit_yet() {
    for unborn in [false, true] {
        let sandbox = Sandbox::new();
        let project = sandbox.project();
        if unborn {
            git(&project, &["init", "-q", "-b", "main"]);
        }
        write(&project, "a.md", "a\n");
        change(&project.join("x.db"), "CREATE TABLE t(a); INSERT INTO t VALUES (1)");
        if unborn {
            git(&project, &["add", "a.md"]);
        }
        sandbox.run(&["backup", "--label", "first"]).ok();
        let first = repository(&project);
        write(&project, "a.md", "b\n");
        write(&project, "c.md", "c\n");
        change(&project.join("x.db"), "DELETE FROM t");
        if unborn {
            git(&project, &["add", "c.md"]);
            git(&project, &["commit", "-q", "-m", "One"]);
        }
        let now = repository(&project);
        let before = working_files(&project, &["x.db"]);
        let options: &[&str] = if unborn { &["--git", "--exact"] } else { &["--exact"] };
        restore(&sandbox, options).ok();
        assert_eq!(fs::read_to_string(project.join("a.md")).unwrap(), "a\n");
        assert!(!project.join("c.md").exists());
        if unborn {
            assert_eq!(repository_differences(&first, &repository(&project)), NONE);
        } else {
            restore(&sandbox, &["--git"]).code(6).says("holds no git history");
        }
        sandbox.run(&["undo", "--force"]).ok();
        assert_eq!(differences(&before, &working_files(&project, &["x.db"])), NONE);
        assert_eq!(repository_differences(&now, &repository(&project)), NONE);
    }
}

/// Ten in a row, some with git, taken back one by one and put on again one by one.
#[test]
fn ten_restores_are_undone_and_redone_one_by_one() {
    let framework = Framework::at_rest();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    let index = framework.memory().join("index.db");
    let mut ids = Vec::new();
    for n in 0..4 {
        write(&project, "README.md", &format!("state {n}\n"));
        write(&project, &format!("notes/of {n}/note.md"), "a note\n");
        // A file and a folder of one name in turn.
        let changing = project.join("notes/changing");
        drop(fs::remove_dir_all(&changing).or_else(|_| fs::remove_file(&changing)));
        write(&project, ["notes/changing", "notes/changing/inside"][n % 2], &format!("{n}\n"));
        change(&index, &format!("DELETE FROM learnings WHERE id % 7 = {n}"));
        git_at(&project, 1_764_200_000 + n as i64, &["commit", "-q", "-a", "-m", "State"]);
        git(&project, &["branch", &format!("of-{n}")]);
        let id = sandbox.run(&["backup", "--json"]).ok().json()["id"].as_str().unwrap().to_owned();
        ids.push(id);
    }
    let mut states = vec![State::of(&project)];
    for n in 0..10 {
        let mut words = vec!["restore", &ids[(n * 3 + 1) % 4], "--force"];
        words.extend([&["--exact", "--git"][..], &["--exact"], &["--git"], &[]][n % 4]);
        sandbox.run(&words).ok();
        states.push(State::of(&project));
    }
    for n in (0..10).rev() {
        sandbox.run(&["undo", "--force"]).ok();
        states[n].is(&project, true, &format!("undone to {n}"));
    }
    sandbox.run(&["undo", "--force"]).code(4);
    for (n, state) in states.iter().enumerate().skip(1) {
        sandbox.run(&["redo", "--force"]).ok();
        state.is(&project, true, &format!("redone to {n}"));
    }
    sandbox.run(&["redo", "--force"]).code(4);
    sandbox.run(&["undo", "--force"]).ok();
    states[9].is(&project, true, "undone after all");
    sandbox.run(&["verify", "all"]).ok();
}

/// Refused or failed, and all is as it was.
#[track_caller]
fn changes_nothing(framework: &Framework, code: i32, says: &str, options: &[&str]) {
    let project = framework.project();
    let before = State::of(&project);
    let output = framework.sandbox.run(&[&["restore", "latest", "--force"], options].concat());
    assert_eq!(output.code, code, "{says}: {output:?}");
    assert!(output.stderr.contains(says) && output.stderr.contains("hint: "), "{says}: {output:?}");
    before.is(&project, true, says);
}

fn archive(framework: &Framework) -> PathBuf {
    archives(&framework.sandbox.store()).remove(0)
}

#[test]
fn a_backup_of_another_project_or_a_newer_form_is_refused() {
    let (framework, first, _) = changed();
    let archive = archive(&framework);
    let whole = fs::read(&archive).unwrap();
    let forged = |change: fn(&mut serde_json::Value)| {
        let mut forge = Forge::open(&archive);
        forge.manifest(change);
        plant(&archive, &forge.bytes());
    };
    forged(|manifest| {
        manifest["host"] = "elsewhere".into();
        manifest["git"]["root_commits"] = serde_json::json!(["0123456789012345678901234567890123456789"]);
        manifest["git"]["remotes"] = serde_json::json!([]);
    });
    changes_nothing(&framework, 6, "is of another project", &[]);
    changes_nothing(&framework, 6, "is of another project", &["--git", "--exact", "--no-backup", "--adopt"]);
    framework.sandbox.run(&["restore", "latest", "--force", "--exact", "--git", "--other-project"]).ok();
    first.is(&framework.project(), true, "another project");
    framework.sandbox.run(&["undo", "--force"]).ok();
    plant(&archive, &whole);
    forged(|manifest| manifest["format"] = 99.into());
    changes_nothing(&framework, 1, "newer", &[]);
}

#[test]
fn another_copys_store_is_used_only_after_it_was_adopted() {
    let (framework, first, _) = changed();
    let sandbox = &framework.sandbox;
    let store = sandbox.store();
    let copy = sandbox.path("copy");
    git(&sandbox.path(""), &["clone", "-q", "project", "copy"]);
    write(&copy, "README.md", "of the copy\n");
    let run = |words: &[&str]| {
        let all = [words, &["--store", store.to_str().unwrap()]].concat();
        sandbox.run_from(&sandbox.program(), &copy, &all)
    };
    let before = fingerprint(&copy, false);
    run(&["restore", "first", "--force"]).code(6).says("another copy of this project").says("--adopt");
    run(&["restore", "first", "--dry-run"]).ok();
    assert_eq!(differences(&before, &fingerprint(&copy, false)), NONE);
    run(&["restore", "first", "--force", "--exact", "--git", "--adopt"]).ok();
    // A file that is the same already keeps its time.
    let timeless = |mut files: Fingerprint| {
        files.values_mut().for_each(|entry| entry.mtime_ns = None);
        files
    };
    let there = timeless(working_files(&copy, &DATABASES));
    assert_eq!(differences(&timeless(first.files), &there), NONE);
    run(&["undo", "--force"]).ok();
    assert_eq!(fs::read_to_string(copy.join("README.md")).unwrap(), "of the copy\n");
    // And the first copy does not have it any more.
    restore(sandbox, &[]).code(6);
}

#[test]
fn damage_in_the_archive() {
    // A page image: what its dump makes is as good, and that is said.
    let (framework, first, _) = changed();
    let image = "backup/databases/memory/index.db";
    let path = archive(&framework);
    let mut forge = Forge::open(&path);
    let mut content = forge.record(image).content.clone();
    content[5000..6000].fill(7);
    forge.record(image).replace(&content);
    plant(&path, &forge.bytes());
    let output =
        framework.sandbox.run(&["restore", "latest", "--force"]).code(3).says("comes from its SQL dump");
    assert!(output.stdout.contains("cargo xtask undo"), "{output:?}");
    let mut restored = rows(&framework.memory().join("index.db"));
    let mut wanted = first.rows["memory/index.db"].clone();
    // A dump does not keep on which page things are.
    for rows in [&mut restored, &mut wanted] {
        rows.remove("pragma journal_mode");
    }
    assert_eq!(row_differences(&wanted, &restored), NONE);
    // And without one nothing is done.
    let dump = forge.record("backup/sql/memory/index.db.sql");
    let mut content = dump.content.clone();
    let at = content.len() / 2;
    content[at] ^= 1;
    dump.replace(&content);
    plant(&path, &forge.bytes());
    change(&framework.memory().join("index.db"), "DELETE FROM learnings WHERE id > 10");
    changes_nothing(&framework, 1, "memory/index.db", &[]);
}

/// Flips one bit in the bytes of an entry.
fn flip(path: &Path, name: &str) {
    let mut bytes = fs::read(path).unwrap();
    let (index, _) = forge::index(&bytes);
    let line = index["entries"].as_array().unwrap().iter().find(|line| line["name"] == name).unwrap().clone();
    let at = usize::try_from(line["offset"].as_u64().unwrap()).unwrap() + 30;
    bytes[at] ^= 0x10;
    plant(path, &bytes);
}

#[test]
fn a_damaged_file_is_not_put_back() {
    let (framework, first, _) = changed();
    let path = archive(&framework);
    let whole = fs::read(&path).unwrap();
    // An archive in which each entry has a member of its own.
    let forge = Forge::open(&path);
    plant(&path, &forge.bytes());
    flip(&path, "backup/files/README.md");
    changes_nothing(&framework, 1, "damaged", &[]);
    changes_nothing(&framework, 1, "damaged", &["--git", "--exact", "--no-backup"]);
    changes_nothing(&framework, 1, "damaged", &["--only", "README.md"]);
    // What does not need it comes back.
    framework.sandbox.run(&["restore", "latest", "--force", "--only", "memory", "--only", "docs"]).ok();
    let project = framework.project();
    assert_eq!(rows(&framework.memory().join("index.db")), first.rows["memory/index.db"]);
    assert_eq!(fs::read_to_string(project.join("docs/guide.md")).unwrap(), "guide\n");
    // A bundle: git is not touched, and nothing else is.
    plant(&path, &forge.bytes());
    flip(&path, "backup/git/bundles/0000.bundle");
    framework.sandbox.run(&["undo", "--force"]).ok();
    git(&project, &["tag", "-d", "v0.2"]);
    let pack = fs::read_dir(project.join(".git/objects")).unwrap().count();
    changes_nothing(&framework, 1, "damaged", &["--git", "--exact"]);
    assert_eq!(fs::read_dir(project.join(".git/objects")).unwrap().count(), pack);
    plant(&path, &whole);
    framework.sandbox.run(&["restore", "latest", "--force", "--git", "--exact"]).ok();
    first.is(&project, true, "whole again");
}

#[test]
fn without_a_safety_copy_there_is_no_way_back_and_that_is_said() {
    let (framework, first, _) = changed();
    let sandbox = &framework.sandbox;
    let output = restore(sandbox, &["--no-backup", "--exact", "--git"]).ok().says("can't be taken back");
    assert!(!output.stdout.contains("undo"), "{output:?}");
    first.is(&framework.project(), true, "no safety copy");
    assert_eq!(sandbox.run(&["undo", "--list", "--json"]).ok().json()["restores"], serde_json::json!([]));
    sandbox.run(&["undo", "--force"]).code(4);
}

/// Backups in a folder of the project itself.
#[test]
fn a_store_inside_the_project_stays_as_it_is() {
    for exclude in [false, true] {
        let framework = Framework::at_rest();
        let (sandbox, project) = (&framework.sandbox, framework.project());
        let store = project.join("safe/backups");
        if exclude {
            write(&project, ".git/info/exclude", "/safe/\n");
        }
        let run = |words: &[&str]| sandbox.run(&[words, &["--store", store.to_str().unwrap()]].concat());
        run(&["backup", "--label", "first"]).ok();
        write(&project, "README.md", "changed\n");
        write(&project, "safe/note.md", "beside the store\n");
        let archive = archives(&store).remove(0);
        let before = fs::read(&archive).unwrap();
        let seen = |project: &Path| {
            let mut files = working_files(project, &DATABASES);
            files.retain(|name, _| !name.starts_with(b"safe/backups/"));
            files
        };
        let changed = seen(&project);
        for options in [&[][..], &["--exact"], &["--exact", "--git"]] {
            run(&[&["restore", "first", "--force"], options].concat()).ok();
            assert_ne!(fs::read_to_string(project.join("README.md")).unwrap(), "changed\n");
            assert_eq!(project.join("safe/note.md").exists(), options.is_empty(), "{options:?}");
            run(&["undo", "--force"]).ok();
            assert_eq!(differences(&changed, &seen(&project)), NONE, "{options:?}");
            assert_eq!(fs::read(&archive).unwrap(), before);
        }
        run(&["verify", "all"]).ok();
        assert_eq!(run(&["undo", "--list", "--json"]).ok().json()["restores"].as_array().unwrap().len(), 6);
    }
}

/// The configuration is among what was lost.
#[test]
fn a_configuration_that_can_not_be_read_comes_back() {
    let framework = Framework::at_rest();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    let good = "[workspace]\n[workspace.metadata.backup]\nignored = true\n";
    write(&project, "Cargo.toml", good);
    sandbox.run(&["backup", "--label", "first"]).ok();
    for bad in ["[[[", "[workspace.metadata.backup]\nno-such-key = 1\n"] {
        write(&project, "Cargo.toml", bad);
        let store = sandbox.store();
        let named = ["--store", store.to_str().unwrap()];
        restore(sandbox, &named).ok().says("the defaults hold");
        assert_eq!(fs::read_to_string(project.join("Cargo.toml")).unwrap(), good);
        sandbox.run(&[&["undo", "--force"][..], &named].concat()).ok();
        assert_eq!(fs::read_to_string(project.join("Cargo.toml")).unwrap(), bad);
        sandbox.run(&[&["redo", "--force"][..], &named].concat()).ok();
        assert_eq!(fs::read_to_string(project.join("Cargo.toml")).unwrap(), good);
    }
}
