//! Bad input gets a clear error that names the path and the next step, the right exit code, and nothing is
//! lost. Permissions and full disks have files of their own.
//!
//! A database that stays locked is waited for as long as the tool is patient (20 s).

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde_json::Value;
use support::child::Locker;
use support::framework::{Framework, write};
use support::{Output, Sandbox, archives, git, tree};

/// A small project: two commits and one database that git ignores.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    write(&project, ".gitignore", "/memory/*\n");
    write(&project, "docs/guide.md", "one\n");
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "One"]);
    write(&project, "docs/guide.md", "two\n");
    git(&project, &["commit", "-q", "-a", "-m", "Two"]);
    database(&project.join("memory/index.db"), 500);
    sandbox
}

fn database(path: &Path, rows: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let connection = Connection::open(path).unwrap();
    let sql = format!(
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b);
         WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows})
         INSERT INTO t SELECT x, hex(randomblob(30)) FROM c"
    );
    connection.execute_batch(&sql).unwrap();
}

/// The findings of a document, as `level code path`.
fn findings(document: &Value) -> Vec<String> {
    let list = document["findings"].as_array().unwrap();
    let word = |f: &Value, key: &str| f[key].as_str().unwrap_or("-").to_owned();
    let mut found: Vec<String> = list
        .iter()
        .map(|f| format!("{} {} {}", word(f, "level"), word(f, "code"), word(f, "path")))
        .collect();
    found.sort();
    found
}

/// The names in the commit of the working files that an archive's bundle holds.
fn unsaved_work(sandbox: &Sandbox, archive: &Path) -> String {
    let folder = sandbox.path("bundle");
    std::fs::create_dir(&folder).unwrap();
    let mut tar = std::process::Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(&folder).arg("backup/git/bundles/0000.bundle");
    assert!(tar.status().unwrap().success());
    git(&folder, &["init", "-q"]);
    git(&folder, &["fetch", "-q", "backup/git/bundles/0000.bundle", "refs/xtask/worktree:refs/heads/saved"]);
    git(&folder, &["ls-tree", "-r", "--name-only", "saved"])
}

/// A folder but for the log of runs, which every restore and verify may add a line to.
fn but_for_the_log(folder: &Path) -> tree::Fingerprint {
    let mut found = tree::fingerprint(folder, false);
    found.retain(|name, _| !name.ends_with(b"history.jsonl"));
    found
}

/// What was left out, as `reason path`.
fn left_out(document: &Value) -> Vec<String> {
    let list = document["manifest"]["left_out"].as_array().unwrap();
    list.iter()
        .map(|l| format!("{} {}", l["reason"].as_str().unwrap(), l["path"].as_str().unwrap()))
        .collect()
}

/// An error says what, where and what next; with `--json` it is one document with the same code.
#[track_caller]
fn fails(sandbox: &Sandbox, words: &[&str], code: i32, parts: &[&str]) -> Output {
    let output = sandbox.run(words).code(code);
    for part in ["error: ", "hint: "].iter().chain(parts) {
        assert!(output.stderr.contains(part), "{words:?}: no {part:?} in\n{}", output.stderr);
    }
    assert_eq!(output.stdout, "", "{words:?}");
    let json = sandbox.run(&[words, &["--json"]].concat()).code(code).json();
    assert_eq!(json["exit_code"], code, "{words:?}");
    assert!(json["error"]["message"].is_string() && json["error"]["hints"][0].is_string(), "{json}");
    output
}

#[test]
fn no_store() {
    let sandbox = sandbox();
    let base = sandbox.data().join("xtask-backup");
    for words in [
        ["list"].as_slice(),
        &["show", "latest"],
        &["verify"],
        &["verify", "all"],
        &["restore", "latest", "--to", "../back"],
        &["restore"],
    ] {
        fails(&sandbox, words, 4, &["there is no store at", base.to_str().unwrap(), "cargo xtask backup"]);
    }
    assert!(!base.exists() && !sandbox.path("back").exists(), "looking makes nothing");
    // A folder that is none.
    std::fs::create_dir(sandbox.path("other")).unwrap();
    write(&sandbox.path("other"), "mine", "mine\n");
    let other = sandbox.path("other");
    let named = ["--store", other.to_str().unwrap()];
    fails(&sandbox, &[&["list"], named.as_slice()].concat(), 4, &["is no store of backups", named[1]]);
    fails(&sandbox, &[&["backup"], named.as_slice()].concat(), 6, &["not empty: it holds mine", named[1]]);
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
}

#[test]
fn an_empty_store() {
    let sandbox = sandbox();
    sandbox.run(&["backup"]).ok();
    for entry in std::fs::read_dir(sandbox.store()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("store.json") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let listed = sandbox.run(&["list"]).ok();
    assert!(listed.stdout.contains("no backup in") && listed.stdout.contains("cargo xtask backup"));
    assert_eq!(sandbox.run(&["list", "--json"]).ok().json()["backups"], serde_json::json!([]));
    for words in [
        ["show", "latest"].as_slice(),
        &["verify"],
        &["verify", "all"],
        &["restore", "latest", "--to", "../back"],
        &["restore", "2h ago", "--to", "../back"],
    ] {
        fails(&sandbox, words, 4, &["no backup in this store yet"]);
    }
}

#[test]
fn an_unknown_or_ambiguous_backup() {
    let sandbox = sandbox();
    sandbox.run(&["backup", "--label", "mine"]).ok();
    sandbox.run(&["backup"]).ok();
    let id = archives(&sandbox.store())[0].file_name().unwrap().to_str().unwrap()[..15].to_owned();
    for verb in ["show", "verify"] {
        fails(
            &sandbox,
            &[verb, "nonsense"],
            4,
            &["no backup is called \"nonsense\"", &id, "cargo xtask list"],
        );
        fails(&sandbox, &[verb, "20"], 4, &["\"20\" is the beginning of 2 backups", &id]);
        fails(&sandbox, &[verb, "1999-01-01"], 4, &["no undamaged backup from 1999-01-01", &id]);
        sandbox.run(&[verb, "mine"]).ok();
    }
    // One of several that is unknown stops all of it.
    let output = fails(&sandbox, &["verify", "mine", "nonsense"], 4, &["nonsense"]);
    assert!(!output.stdout.contains("good"));
    fails(&sandbox, &["restore", "nonsense", "--to", "../back"], 4, &["nonsense"]);
    assert!(!sandbox.path("back").exists());
}

#[test]
fn a_store_that_is_a_file() {
    let sandbox = sandbox();
    let file = sandbox.path("file");
    std::fs::write(&file, "content").unwrap();
    let below = file.join("store");
    let (file, below) = (file.to_str().unwrap(), below.to_str().unwrap());
    for verb in ["backup", "list", "verify"] {
        fails(&sandbox, &[verb, "--store", file], 1, &["is a file, not a store of backups", file]);
    }
    fails(
        &sandbox,
        &["backup", "--store", below],
        1,
        &["can't write into the store", below, "a file is in the way"],
    );
    fails(&sandbox, &["list", "--store", below], 4, &["there is no store at", below]);
    assert_eq!(std::fs::read(file).unwrap(), b"content");
}

/// A store in the project must not swallow itself: neither through the files nor through git.
#[test]
fn a_store_inside_the_project() {
    for without_git in [false, true] {
        let mut sandbox = sandbox();
        if without_git {
            sandbox.env("PATH", "/nonexistent");
        }
        let first = sandbox.run(&["backup", "--store", "backups", "--json"]).ok().json();
        let second = sandbox.run(&["backup", "--store", "backups", "--json"]).ok().json();
        for document in [&first, &second] {
            assert_eq!(findings(document), ["advice store-in-project backups"]);
            assert_eq!(left_out(document), ["store backups"]);
        }
        let size = |document: &Value| document["bytes"].as_u64().unwrap();
        assert!(size(&second) < size(&first) + 1000, "{} after {}", size(&second), size(&first));
        sandbox.run(&["restore", "latest", "--store", "backups", "--to", "../back"]).ok();
        assert!(!sandbox.path("back/backups").exists());
    }
    let sandbox = sandbox();
    fails(&sandbox, &["backup", "--store", "."], 6, &["not empty"]);
    assert!(!sandbox.project().join("store.json").exists());
}

#[cfg(unix)]
#[test]
fn relative_and_odd_places() {
    let mut sandbox = sandbox();
    let odd = "a store\nwith 'two' lines";
    sandbox.env("BACKUP_ROOT", format!("../../{odd}"));
    sandbox.env("TMPDIR", "../../a tmp\nx");
    std::fs::create_dir(sandbox.path("a tmp\nx")).unwrap();
    // From a folder below: relative ones count from where the user is.
    let run = |words: &[&str]| {
        let mut command = sandbox.command(sandbox.program());
        command.current_dir(sandbox.project().join("docs")).args(words);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["backup"]);
    assert_eq!(archives(&sandbox.path(odd)).len(), 1);
    run(&["list"]);
    run(&["show", "latest"]);
    run(&["verify", "--full-test"]);
    run(&["restore", "latest", "--verify-only"]);
    run(&["restore", "latest", "--to", "../../back\nhere/and there"]);
    let (before, after) = (sandbox.project(), sandbox.path("back\nhere/and there"));
    assert_eq!(
        std::fs::read(before.join("docs/guide.md")).unwrap(),
        std::fs::read(after.join("docs/guide.md")).unwrap()
    );
    git(&after, &["fsck", "--strict"]);
    assert_eq!(std::fs::read_dir(sandbox.path("a tmp\nx")).unwrap().count(), 0);
    assert!(!sandbox.data().join("xtask-backup").exists());
}

#[test]
fn projects_with_little_or_unusual_git() {
    // Not a repository; one without commits; in the middle of a merge; a shallow clone.
    let expected = [
        ("none", vec!["advice no-database -", "advice no-git -"], Value::Null),
        ("unborn", vec!["advice no-commit -", "advice no-database -"], Value::Null),
        ("merge", vec!["advice no-database -"], "merge".into()),
        ("shallow", vec!["advice no-database -", "advice shallow-clone -"], Value::Null),
    ];
    for (case, told, operation) in expected {
        let sandbox = Sandbox::new();
        let project = sandbox.project();
        write(&project, "file", "one\n");
        if case != "none" {
            git(&project, &["init", "-q", "-b", "main"]);
        }
        if matches!(case, "merge" | "shallow") {
            git(&project, &["add", "-A"]);
            git(&project, &["commit", "-q", "-m", "One"]);
            git(&project, &["checkout", "-q", "-b", "other"]);
            write(&project, "file", "two\n");
            git(&project, &["commit", "-q", "-a", "-m", "Two"]);
        }
        if case == "merge" {
            git(&project, &["checkout", "-q", "main"]);
            write(&project, "file", "three\n");
            git(&project, &["commit", "-q", "-a", "-m", "Three"]);
            let mut merge = std::process::Command::new("git");
            merge.args(["-c", "user.name=Somebody", "-c", "user.email=somebody@localhost"]);
            merge.args(["merge", "-q", "other"]).current_dir(&project).env("HOME", "/nonexistent");
            assert!(!merge.output().unwrap().status.success(), "there is a conflict");
        }
        if case == "shallow" {
            let url = format!("file://{}", project.display());
            std::fs::rename(&project, sandbox.path("origin")).unwrap();
            let url = url.replace("/project", "/origin");
            git(&sandbox.path(""), &["clone", "-q", "--depth", "1", &url, "project"]);
        }
        let document = sandbox.run(&["backup", "--json"]).ok().json();
        assert_eq!(findings(&document), told, "{case}");
        let saved = &document["manifest"]["git"];
        assert_eq!(saved["operation"], operation, "{case}");
        assert_eq!(saved["shallow"] == true, case == "shallow");
        sandbox.run(&["verify", "--full-test"]).ok();
        sandbox.run(&["restore", "latest", "--to", "../back"]).ok();
        let back = sandbox.path("back");
        assert_eq!(std::fs::read(back.join("file")).unwrap(), std::fs::read(project.join("file")).unwrap());
        if case != "none" {
            let status = |folder: &Path| git(folder, &["status", "--porcelain"]);
            assert_eq!(status(&back), status(&project), "{case}");
        }
    }
}

#[test]
fn the_store_of_another_copy() {
    let sandbox = sandbox();
    sandbox.run(&["backup"]).ok();
    let store = sandbox.store();
    let named = ["--store", store.to_str().unwrap()];
    let clone = sandbox.path("clone");
    git(&sandbox.path(""), &["clone", "-q", "project", "clone"]);
    write(&sandbox.path("stranger"), "file", "x\n");
    let run = |folder: &str, words: &[&str]| {
        let mut all = vec!["--project", folder];
        all.extend(words);
        sandbox.run(&all)
    };
    let before = but_for_the_log(&store);
    for (folder, whose) in [("../clone", "another copy of this project"), ("../stranger", "another project")]
    {
        let output = run(folder, &[&["backup"], named.as_slice()].concat()).code(6);
        output.says(whose).says(store.to_str().unwrap()).says("--adopt").says("--store DIR");
        for words in [["list"].as_slice(), &["show", "latest"]] {
            run(folder, &[words, named.as_slice()].concat()).ok().says("another working copy");
        }
        let to = format!("../back{}", folder.len());
        run(folder, &[&["restore", "latest", "--to", &to], named.as_slice()].concat()).ok();
    }
    assert_eq!(tree::differences(&before, &but_for_the_log(&store)), Vec::<String>::new());
    // A fresh clone with no store of its own is shown the one of the lost copy.
    run("../clone", &["list"]).code(4).says("another copy of this project").says(store.to_str().unwrap());
    run("../clone", &[&["backup", "--adopt"], named.as_slice()].concat()).ok();
    assert_eq!(archives(&store).len(), 2);
    fails(&sandbox, &[&["backup"], named.as_slice()].concat(), 6, &[clone.to_str().unwrap()]);
    // A store that lost its papers is nobody's until it is adopted; reading goes on.
    std::fs::remove_file(store.join("store.json")).unwrap();
    run("../clone", &[&["list"], named.as_slice()].concat()).ok().says("not known whose store");
    run("../clone", &[&["backup"], named.as_slice()].concat())
        .code(6)
        .says("not known whose")
        .says("--adopt");
    run("../clone", &[&["backup", "--adopt"], named.as_slice()].concat()).ok();
    assert_eq!(archives(&store).len(), 3);
    // A newer form is refused, whatever is asked.
    let text = std::fs::read_to_string(store.join("store.json")).unwrap();
    std::fs::write(store.join("store.json"), text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    for verb in ["backup", "list", "verify"] {
        fails(&sandbox, &[&[verb], named.as_slice()].concat(), 6, &["newer version of this tool", named[1]]);
    }
}

/// Does something again and again until it is dropped.
struct Busy(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Busy {
    fn start(mut step: impl FnMut(u64) + Send + 'static) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut n = 0;
            while !stopped.load(Ordering::Relaxed) {
                n += 1;
                step(n);
            }
        });
        Busy(stop, Some(thread))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}

/// Backs up until a finding of that code is seen; every archive must be whole, whatever happened.
#[track_caller]
fn until(sandbox: &Sandbox, code: &str) -> Value {
    for _ in 0..120 {
        let output = sandbox.run(&["backup", "--json"]);
        assert!(output.code == 0 || output.code == 3, "{output:?}");
        let document = output.json();
        let problem = findings(&document).iter().any(|finding| finding.starts_with("problem"));
        assert_eq!(output.code == 3, problem, "{output:?}");
        sandbox.run(&["verify", "--quiet"]).ok();
        let id = document["id"].as_str().unwrap();
        let to = sandbox.path(format!("back-{id}"));
        let back = sandbox.run(&["restore", id, "--to", to.to_str().unwrap()]);
        assert!(back.code == 0 || back.code == 3, "{back:?}");
        if findings(&document).iter().any(|finding| finding.contains(code)) {
            assert!(output.stderr.contains("hint: "), "{}", output.stderr);
            return document;
        }
    }
    panic!("no {code} in 120 backups");
}

#[test]
fn files_that_change_while_they_are_read() {
    for (code, size) in [("file-changed", 6_000_000_usize), ("file-vanished", 10)] {
        let sandbox = sandbox();
        let project = sandbox.project();
        let target = project.join("moving");
        std::fs::create_dir(&target).unwrap();
        let _busy = Busy::start(move |n| {
            if code == "file-changed" {
                // Grows, shrinks, is written in place.
                let path = target.join(format!("{}", n % 3));
                let mut bytes = vec![b'x'; size + (n as usize % 5) * 1000];
                bytes[0] = n as u8;
                std::fs::write(path, bytes).unwrap();
            } else {
                for number in 0..100 {
                    std::fs::write(target.join(number.to_string()), "content\n").unwrap();
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
                for number in 0..100 {
                    std::fs::remove_file(target.join(number.to_string())).unwrap();
                }
            }
        });
        until(&sandbox, code);
    }
}

#[test]
fn small_files_that_grow_without_end() {
    let sandbox = sandbox();
    let path = sandbox.project().join("log.txt");
    std::fs::write(&path, "begin\n").unwrap();
    let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let _busy = Busy::start(move |n| {
        use std::io::Write;
        (&file).write_all(b"x\n").unwrap();
        if n % 30_000 == 0 {
            file.set_len(6).unwrap();
        }
    });
    let document = until(&sandbox, "file-changed");
    assert_eq!(
        findings(&document).iter().filter(|finding| finding.starts_with("problem")).count(),
        1,
        "{document}"
    );
}

/// A file that is cut short while git has it mapped kills git, which leaves its lock on the index behind.
#[cfg(unix)]
#[test]
fn a_git_that_is_killed_does_not_keep_the_next_one_out() {
    let mut sandbox = sandbox();
    let (bin, killed) = (sandbox.path("bin"), sandbox.path("killed"));
    std::fs::create_dir(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let real =
        std::env::split_paths(&path).map(|folder| folder.join("git")).find(|file| file.is_file()).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *update-index*--add*) if mkdir '{}' 2>/dev/null; then
            : > \"$GIT_INDEX_FILE.lock\"; kill -BUS $$; fi;; esac\nexec '{}' \"$@\"\n",
        killed.display(),
        real.display()
    );
    std::fs::write(bin.join("git"), script).unwrap();
    std::fs::set_permissions(bin.join("git"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(sandbox.project().join("new.txt"), "unsaved\n").unwrap();
    sandbox.env("PATH", format!("{}:{path}", bin.display()));
    let document = sandbox.run(&["backup", "--json"]).ok().json();
    assert!(killed.exists(), "git was not killed");
    assert_eq!(document["manifest"]["git"]["dirty"], true);
    assert!(document["manifest"]["git"]["worktree_commit"].is_string(), "{document}");
}

#[test]
fn a_database_that_comes_and_goes() {
    let sandbox = sandbox();
    let memory = sandbox.project().join("memory");
    database(&memory.join("second.db"), 100);
    let aside = sandbox.path("aside.db");
    let _busy = Busy::start(move |_| {
        std::fs::rename(memory.join("second.db"), &aside).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
        std::fs::rename(&aside, memory.join("second.db")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    });
    let document = until(&sandbox, "database-vanished");
    let databases = document["manifest"]["databases"].as_array().unwrap();
    assert!(databases.iter().any(|database| database["path"] == "memory/index.db"));
}

#[test]
fn a_damaged_database_does_not_become_the_newest_good_backup() {
    let sandbox = sandbox();
    let first = sandbox.run(&["backup", "--json"]).ok().json();
    let path = sandbox.project().join("memory/index.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let good = bytes.clone();
    for byte in &mut bytes[3 * 4096..6 * 4096] {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, &bytes).unwrap();
    let output = sandbox.run(&["backup", "--json"]).code(3);
    let document = output.json();
    assert!(findings(&document).contains(&"problem database-damaged memory/index.db".to_owned()));
    let output = output
        .says("the database itself is damaged in the table t")
        .says("cargo xtask salvage 'memory/index.db' --to FILE")
        .says("cargo xtask restore latest --only 'memory/index.db'");
    assert!(!output.stderr.contains(".tmp-"), "{}", output.stderr);
    let id = document["id"].as_str().unwrap();
    assert!(sandbox.run(&["list"]).ok().stdout.contains("DAMAGED"));
    assert_eq!(sandbox.run(&["show", "latest", "--json"]).ok().json()["manifest"]["id"], first["id"]);
    sandbox.run(&["verify"]).code(3).says(&format!("since what came after it is damaged: {id}"));
    assert!(sandbox.run(&["verify", id]).code(3).stdout.contains("memory/index.db"));
    // What was saved is the bytes as they were, marked.
    sandbox.run(&["restore", id, "--to", "../back"]).code(3).says("it was damaged when it was saved");
    assert_eq!(std::fs::read(sandbox.path("back/memory/index.db")).unwrap(), bytes);
    sandbox.run(&["restore", "latest", "--to", "../good"]).ok();
    assert_eq!(std::fs::read(sandbox.path("good/memory/index.db")).unwrap(), good);
    // One that SQLite does not open at all.
    bytes[16..100].fill(0xff);
    std::fs::write(&path, &bytes).unwrap();
    let document = sandbox.run(&["backup", "--json"]).code(3).says("can't open the database").json();
    assert_eq!(document["manifest"]["databases"][0]["form"], "raw");
    let id = document["id"].as_str().unwrap();
    assert_eq!(sandbox.run(&["show", "latest", "--json"]).ok().json()["manifest"]["id"], first["id"]);
    sandbox.run(&["restore", id, "--to", "../raw"]).code(3);
    assert_eq!(std::fs::read(sandbox.path("raw/memory/index.db")).unwrap(), bytes);
}

#[test]
fn what_looks_like_a_database_and_is_none() {
    let sandbox = sandbox();
    let project = sandbox.project();
    write(&project, "text.db", "just text\n");
    write(&project, "empty.db", "");
    write(&project, "short.db", "SQLite format 3");
    let document = sandbox.run(&["backup", "--json"]).ok().json();
    assert_eq!(document["manifest"]["databases"].as_array().unwrap().len(), 1);
    sandbox.run(&["restore", "latest", "--to", "../back"]).ok();
    for (name, content) in [("text.db", "just text\n"), ("empty.db", ""), ("short.db", "SQLite format 3")] {
        assert_eq!(std::fs::read_to_string(sandbox.path("back").join(name)).unwrap(), content);
    }
    // An empty one that the configuration names is a database; a text is a damaged one.
    let config = |list: &str| {
        write(&project, "Cargo.toml", &format!("[workspace.metadata.backup]\ndatabases = [{list}]\n"));
    };
    config("\"memory/index.db\", \"empty.db\"");
    let document = sandbox.run(&["backup", "--json"]).ok().json();
    assert_eq!(document["manifest"]["databases"].as_array().unwrap().len(), 2);
    sandbox.run(&["verify", "--full-test"]).ok();
    config("\"memory/index.db\", \"text.db\"");
    let document = sandbox.run(&["backup", "--json"]).code(3).json();
    assert_eq!(findings(&document), ["problem database-unreadable text.db"]);
    // Missing from the disk, missing from the list.
    config("\"empty.db\", \"gone.db\"");
    let output = sandbox.run(&["backup", "--json"]).code(3).says("gone.db").says("correct `databases`");
    assert_eq!(
        findings(&output.json()),
        [
            "advice shrunk -",
            "problem database-missing gone.db",
            "problem database-not-listed memory/index.db"
        ]
    );
}

#[cfg(unix)]
#[test]
fn databases_behind_links_in_ignored_folders_and_in_caches() {
    let sandbox = sandbox();
    let project = sandbox.project();
    std::os::unix::fs::symlink("memory/index.db", project.join("link.db")).unwrap();
    database(&sandbox.path("outside.db"), 10);
    std::os::unix::fs::symlink(sandbox.path("outside.db"), project.join("outside.db")).unwrap();
    database(&project.join("memory/deep/er/notes.sqlite"), 10);
    database(&project.join("node_modules/x/cache.db"), 10);
    let document = sandbox.run(&["backup", "--json"]).ok().json();
    let saved: Vec<&str> = document["manifest"]["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|database| database["path"].as_str().unwrap())
        .collect();
    assert_eq!(saved, ["memory/deep/er/notes.sqlite", "memory/index.db"]);
    assert_eq!(left_out(&document), ["cache node_modules"]);
    sandbox.run(&["restore", "latest", "--to", "../back"]).ok();
    let target = |name: &str| std::fs::read_link(sandbox.path("back").join(name)).unwrap();
    assert_eq!(target("link.db"), Path::new("memory/index.db"));
    assert_eq!(target("outside.db"), sandbox.path("outside.db"));
    // A link in the list is refused with the reason; the file in a cache is taken when it is named.
    let list = "[workspace.metadata.backup]\ndatabases = [\"memory/index.db\", \"memory/deep/er/notes.sqlite\", \
                \"outside.db\", \"node_modules/x/cache.db\"]\n";
    write(&project, "Cargo.toml", list);
    let output = sandbox.run(&["backup", "--json"]).code(3).says("it is a link");
    assert_eq!(findings(&output.json()), ["problem database-missing outside.db"]);
    assert_eq!(output.json()["manifest"]["databases"].as_array().unwrap().len(), 3);
}

#[test]
fn a_database_locked_by_somebody_else() {
    // In rollback mode an exclusive lock keeps readers out as well; in WAL mode nobody.
    for (mode, form, code) in [("wal", "image", 0), ("delete", "raw", 3)] {
        let sandbox = sandbox();
        let path = sandbox.project().join("memory/index.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", mode).unwrap();
        drop(connection);
        let good = sandbox.run(&["backup", "--json"]).ok().json();
        let locker = Locker::start(&path, true);
        let output = sandbox.run(&["backup", "--json"]).code(code);
        let document = output.json();
        assert_eq!(document["manifest"]["databases"][0]["form"], form, "{mode}");
        if code == 3 {
            let expected = ["advice shrunk -", "problem database-locked memory/index.db"];
            assert_eq!(findings(&document), expected);
            output.says("stayed locked").says("stop the program that locks it");
            let latest = sandbox.run(&["show", "latest", "--json"]).ok().json();
            assert_eq!(latest["manifest"]["id"], good["id"]);
        }
        drop(locker);
        sandbox.run(&["backup"]).ok();
    }
}

#[test]
fn archives_that_are_none() {
    let sandbox = sandbox();
    sandbox.run(&["backup"]).ok();
    sandbox.run(&["backup"]).ok();
    let store = sandbox.store();
    let all = archives(&store);
    let bytes = std::fs::read(&all[1]).unwrap();
    let id = all[1].file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz").to_owned();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (what, content) in [
        ("truncated", bytes[..bytes.len() / 2].to_vec()),
        ("flipped", flipped),
        ("empty", Vec::new()),
        ("foreign", b"\x1f\x8b\x08 something else".repeat(30)),
    ] {
        std::fs::write(&all[1], &content).unwrap();
        let output = sandbox.run(&["verify", &id]).code(3);
        assert!(output.stdout.contains("DAMAGED"), "{what}");
        output.says("use another backup");
        // The check was done, and it found damage: the same exit code from both.
        let output = sandbox.run(&["restore", &id, "--verify-only"]).code(3);
        assert!(output.stdout.contains(&format!("backup {id} is DAMAGED")), "{what}: {output:?}");
        output.says("problem: ").says("hint: choose another backup");
        let told = sandbox.run(&["restore", &id, "--verify-only", "--json"]).code(3).json();
        assert_eq!((&told["id"], &told["findings"][0]["level"]), (&id.as_str().into(), &"problem".into()));
        let output = sandbox.run(&["show", &id]);
        assert!(output.code == 0 || output.stderr.contains("hint: "), "{what}: {output:?}");
        // Nothing is said twice.
        let told = sandbox.run(&["verify", &id]).stdout;
        assert_eq!(told.matches(".tar.gz").count(), 1, "{told}");
        if what == "flipped" {
            // What was hit is the image of the database, and its dump is whole.
            let output = sandbox.run(&["restore", &id, "--to", "../back"]).code(3);
            output.says("comes from its SQL dump");
            std::fs::remove_dir_all(sandbox.path("back")).unwrap();
        } else {
            fails(&sandbox, &["restore", &id, "--to", "../back"], 1, &["20", "choose another backup"]);
        }
        sandbox.run(&["list"]).says(&format!("cargo xtask verify {id}"));
        assert!(!sandbox.path("back").exists(), "{what}");
        sandbox.run(&["restore", "latest", "--dry-run", "--to", "../back"]).ok();
    }
}

#[test]
fn targets_that_can_not_be_restored_into() {
    let sandbox = sandbox();
    sandbox.run(&["backup"]).ok();
    let at = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    write(&sandbox.path("full"), "mine", "mine\n");
    write(&sandbox.path("full"), ".xtask-restore/journal", "of somebody else\n");
    std::fs::write(sandbox.path("file"), "file").unwrap();
    let in_store = sandbox.store().join("sub").to_str().unwrap().to_owned();
    let before = but_for_the_log(&sandbox.path(""));
    for (target, code, parts) in [
        (at("full"), 6, ["is not empty: it holds mine", "a new or an empty folder"]),
        (at("file"), 1, ["can't restore into", "a new or an empty folder"]),
        (at("file/below"), 1, ["can't restore into", "a new or an empty folder"]),
        (in_store, 6, ["is in the store", "elsewhere"]),
        (at("project"), 6, ["is not empty", "a new or an empty folder"]),
    ] {
        let parts = [parts.as_slice(), &[target.as_str()]].concat();
        fails(&sandbox, &["restore", "latest", "--to", &target], code, &parts);
        fails(&sandbox, &["restore", "latest", "--force", "--to", &target], code, &parts);
    }
    // Named from where the user is, said in full.
    fails(&sandbox, &["restore", "latest", "--to", "."], 6, &[sandbox.project().to_str().unwrap()]);
    fails(
        &sandbox,
        &["restore", "latest", "--to", "../x/y", "--only", "no/such"],
        4,
        &["matches --only", "--dry-run"],
    );
    assert_eq!(tree::differences(&before, &but_for_the_log(&sandbox.path(""))), Vec::<String>::new());
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    for target in ["../empty", "../new", "../with/parents"] {
        sandbox.run(&["restore", "latest", "--to", target]).ok();
    }
}

#[test]
fn a_wrong_configuration() {
    let sandbox = sandbox();
    let file = sandbox.project().join("Cargo.toml");
    for (line, part) in [
        ("exclud = []", "did you mean `exclude`?"),
        ("ignored = \"no\"", "`ignored` must be true or false"),
        ("max-ignored-size = \"big\"", "\"100 MiB\""),
        ("databases = \"x.db\"", "a list of strings"),
        ("databases = [\"../x.db\"]", "databases"),
        ("store = 3", "the path of a folder"),
        ("sql-dump = ", "can't read the configuration"),
    ] {
        write(&sandbox.project(), "Cargo.toml", &format!("[workspace.metadata.backup]\n{line}\n"));
        let output = sandbox.run(&["backup"]).code(2);
        output.says(part).says(file.to_str().unwrap());
        assert!(!sandbox.data().join("xtask-backup").exists(), "{line}");
    }
    // Reading backups goes on, where the place of the store is said otherwise.
    std::fs::remove_file(&file).unwrap();
    sandbox.run(&["backup"]).ok();
    let store = sandbox.store();
    write(&sandbox.project(), "Cargo.toml", "no toml");
    let named = ["--store", store.to_str().unwrap()];
    sandbox.run(&[&["list"], named.as_slice()].concat()).ok();
    sandbox.run(&[&["restore", "latest", "--to", "../back"], named.as_slice()].concat()).ok();
}

#[cfg(unix)]
#[test]
fn without_home_and_without_the_git_command() {
    let sandbox = sandbox();
    git(&sandbox.project(), &["tag", "-a", "-m", "Tagged", "v1"]);
    write(&sandbox.project(), "docs/new.md", "not yet in git\n");
    let run = |words: &[&str]| {
        let mut command = sandbox.command(sandbox.program());
        command.env_remove("HOME").env_remove("XDG_DATA_HOME").env("PATH", "/nonexistent");
        let output = command.args(words).args(["--store", "../store"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["backup"]);
    run(&["list"]);
    run(&["verify", "--full-test"]);
    run(&["restore", "latest", "--to", "../back"]);
    let (before, after) = (sandbox.project(), sandbox.path("back"));
    for words in [["show-ref"].as_slice(), &["status", "--porcelain"], &["log", "--oneline"]] {
        let refs = |folder| git(folder, words).lines().filter(|l| !l.contains("refs/xtask/")).count();
        assert_eq!(refs(&before), refs(&after), "{words:?}");
    }
    git(&after, &["fsck", "--strict"]);
}

#[cfg(unix)]
#[test]
fn sockets_pipes_odd_names_and_repositories_inside() {
    use std::os::unix::ffi::OsStringExt;
    let sandbox = sandbox();
    let project = sandbox.project();
    let _socket = std::os::unix::net::UnixListener::bind(project.join("socket")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(project.join("pipe")).status().unwrap().success());
    let odd = OsString::from_vec(b"docs/caf\xe9\nline".to_vec());
    std::fs::write(project.join(&odd), "odd").unwrap();
    let odd_database = OsString::from_vec(b"memory/\xff.db".to_vec());
    database(&project.join(&odd_database), 5);
    // A repository inside, and a submodule.
    git(&project, &["init", "-q", "nested"]);
    write(&project, "nested/file", "nested\n");
    git(&sandbox.path(""), &["clone", "-q", "project", "library"]);
    git(&project, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../library", "lib"]);
    let output = sandbox.run(&["backup", "--json"]).code(3);
    let document = output.json();
    assert_eq!(
        findings(&document),
        [
            "advice special-file pipe",
            "advice special-file socket",
            "problem nested-git lib",
            "problem nested-git nested"
        ]
    );
    assert_eq!(
        left_out(&document),
        ["nested-git lib/.git", "nested-git nested/.git", "special pipe", "special socket"]
    );
    output.says("its files are saved, its history is not").says("hint: ");
    sandbox.run(&["verify", "--full-test"]).ok();
    assert!(sandbox.run(&["show", "latest"]).ok().stdout.contains("special"));
    sandbox.run(&["restore", "latest", "--to", "../back"]).ok();
    let back = sandbox.path("back");
    assert_eq!(std::fs::read(back.join(&odd)).unwrap(), b"odd");
    assert!(back.join(&odd_database).is_file());
    assert_eq!(std::fs::read(back.join("nested/file")).unwrap(), b"nested\n");
    assert_eq!(std::fs::read(back.join("lib/docs/guide.md")).unwrap(), b"two\n");
    assert!(!back.join("pipe").exists() && !back.join("socket").exists());
}

#[cfg(unix)]
#[test]
fn names_that_others_take_for_git_and_side_files_that_are_none() {
    let sandbox = sandbox();
    let project = sandbox.project();
    write(&project, ".GIT/config", "x\n");
    write(&project, "docs/git~1", "x\n");
    write(&project, "broken.db", "SQLite format 3\0and then nothing of the kind");
    assert!(
        std::process::Command::new("mkfifo").arg(project.join("broken.db-wal")).status().unwrap().success()
    );
    std::os::unix::fs::symlink("docs/guide.md", project.join("broken.db-journal")).unwrap();
    let document = sandbox.run(&["backup", "--json"]).code(3).json();
    assert_eq!(
        findings(&document),
        [
            "problem bad-name .GIT",
            "problem bad-name docs/git~1",
            "problem database-unreadable broken.db",
            "problem none-good -",
            "problem side-file broken.db-journal",
            "problem side-file broken.db-wal",
        ]
    );
    // With a broken database in it, it is not `latest`.
    let id = document["manifest"]["id"].as_str().unwrap();
    sandbox.run(&["restore", id, "--to", "../back"]).code(3);
    assert!(sandbox.path("back/memory/index.db").is_file() && !sandbox.path("back/.GIT").exists());
    // A list of databases that leads into git does not cost the backup either.
    database(&project.join(".git/inside.db"), 3);
    let list = "[workspace.metadata.backup]\ndatabases = [\"memory/index.db\", \".git/inside.db\"]\n";
    write(&project, "Cargo.toml", list);
    let document = sandbox.run(&["backup", "--json"]).code(3).json();
    assert!(findings(&document).contains(&"problem database-missing .git/inside.db".to_owned()));
}

#[test]
fn what_is_left_out_is_named() {
    let sandbox = sandbox();
    let project = sandbox.project();
    write(&project, "node_modules/a/index.js", "x\n");
    write(&project, "build/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    write(&project, "build/object.o", "x\n");
    write(&project, "secret/key.txt", "a secret\n");
    write(&project, "memory/private.md", "private\n");
    let large = std::fs::File::create(project.join("memory/large.bin")).unwrap();
    large.set_len(101 << 20).unwrap();
    write(&project, "Cargo.toml", "[workspace.metadata.backup]\nexclude = [\"secret\"]\n");
    let document = sandbox.run(&["backup", "--json"]).ok().json();
    assert_eq!(
        left_out(&document),
        ["cache build", "cache node_modules", "excluded secret", "large-ignored memory/large.bin"]
    );
    let shown = sandbox.run(&["show", "latest"]).ok().stdout;
    for word in ["node_modules", "build", "secret", "memory/large.bin", "101.0 MiB"] {
        assert!(shown.contains(word), "{word}\n{shown}");
    }
    assert!(sandbox.run(&["backup"]).ok().stdout.contains("left out: 2 cache, 1 excluded, 1 large-ignored"));
    sandbox.run(&["restore", "latest", "--to", "../back"]).ok();
    let back = sandbox.path("back");
    assert!(back.join("memory/private.md").exists() && !back.join("memory/large.bin").exists());
    // Not through git's copy of unsaved work either.
    let saved = unsaved_work(&sandbox, archives(&sandbox.store()).last().unwrap());
    assert!(saved.contains("Cargo.toml"), "{saved}");
    for word in ["secret", "node_modules", "build"] {
        assert!(!saved.contains(word) && !back.join(word).exists(), "{word}\n{saved}");
    }
    write(&project, "Cargo.toml", "[workspace.metadata.backup]\nignored = false\n");
    let document = sandbox.run(&["backup", "--json"]).ok().json();
    assert_eq!(left_out(&document), ["cache build", "cache node_modules", "ignored memory"]);
    assert_eq!(
        document["manifest"]["databases"].as_array().unwrap().len(),
        1,
        "databases are taken all the same"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing_but_the_store() {
    let sandbox = sandbox();
    for n in 0..2000 {
        write(&sandbox.project(), &format!("many/{}/{n}.txt", n % 50), &format!("{n}\n").repeat(200));
    }
    let script = "\"$XTASK\" backup & pid=$!; until ls \"$XDG_DATA_HOME\"/xtask-backup/*/.tmp-* > ls.txt 2>&1; do sleep 0.01; done; \
         kill -INT $pid; code=0; wait $pid || code=$?; exit $code";
    // A shell lets a background process ignore Ctrl-C; TERM is taken the same way.
    let output = sandbox.shell_under(&[], &script.replace("-INT", "-TERM")).code(130);
    assert!(output.stderr.contains("error: "), "{output:?}");
    let store = sandbox.store();
    assert_eq!(archives(&store), Vec::<PathBuf>::new());
    let left: Vec<String> = tree::fingerprint(&store, false)
        .into_keys()
        .map(|name| String::from_utf8_lossy(&name).into_owned())
        .filter(|name| name.contains(".tmp-"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    sandbox.run(&["backup"]).ok();
}

/// Opening it would make SQLite remove the log that holds all rows.
#[test]
fn the_log_of_a_database_that_was_emptied_is_saved_and_stays() {
    let mut framework = Framework::new();
    let project = framework.project();
    write(
        &project,
        "Cargo.toml",
        "[workspace.metadata.backup]\ndatabases = [\"memory/index.db\", \"memory/vectors.db\", \"data/catalog.db\"]\n",
    );
    framework.release();
    let (index, log) = (framework.memory().join("index.db"), framework.memory().join("index.db-wal"));
    std::fs::write(&index, "").unwrap();
    let before = std::fs::read(&log).unwrap();
    assert!(!before.is_empty());
    let output = framework.sandbox.run(&["backup", "--json"]).code(3);
    assert!(output.stderr.contains("memory/index.db"), "{output:?}");
    assert_eq!(std::fs::read(&log).unwrap(), before, "it is still there");
    let id = output.json()["id"].as_str().unwrap().to_owned();
    let target = framework.sandbox.path("there");
    framework.sandbox.run(&["restore", &id, "--to", target.to_str().unwrap()]).code(3);
    assert_eq!(std::fs::read(target.join("memory/index.db-wal")).unwrap(), before, "and in the backup");
}

#[test]
fn a_database_that_is_none_any_more_is_told_with_the_way_back() {
    let framework = Framework::at_rest();
    let sandbox = &framework.sandbox;
    sandbox.run(&["backup"]).ok();
    let (index, vectors) = (framework.memory().join("index.db"), framework.memory().join("vectors.db"));
    std::fs::write(&index, "garbage, and no header of a database").unwrap();
    std::fs::remove_file(&vectors).unwrap();
    let output = sandbox.run(&["backup", "--json"]).code(3).json();
    let found: Vec<(&str, &str)> = output["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["code"].as_str().unwrap(), finding["path"].as_str().unwrap_or_default()))
        .collect();
    assert!(found.contains(&("no-database-any-more", "memory/index.db")), "{found:?}");
    assert!(found.contains(&("database-gone", "memory/vectors.db")), "{found:?}");
    let findings = output["findings"].as_array().unwrap();
    let one = findings.iter().find(|finding| finding["code"] == "no-database-any-more").unwrap();
    let hint = one["hint"].as_str().unwrap();
    let command = hint.split("cargo xtask ").nth(1).unwrap();
    sandbox.shell_under(&[], &format!("\"$XTASK\" {command} --force")).ok();
    let rows = Connection::open(&index)
        .unwrap()
        .query_row("SELECT count(*) FROM learnings", [], |r| r.get::<_, i64>(0));
    assert_eq!(rows.unwrap(), 1000);
}
