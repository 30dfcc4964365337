//! The tools of the other tests, tested: a sandbox that proves nothing would let everything pass.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use rusqlite::{Connection, OpenFlags};
use support::child::{Journal, Locker, Writer, ledger};
use support::framework::{COMMITS, Framework, ROWS};
use support::{Sandbox, git, system, tree};

fn rows(path: &std::path::Path, table: &str) -> i64 {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn a_framework_has_all_that_a_backup_must_bring_back() {
    let framework = Framework::new();
    let project = framework.project();
    assert_eq!(git(&project, &["rev-list", "--count", "main"]), COMMITS.to_string());
    assert_eq!(git(&project, &["stash", "list"]).lines().count(), 2);
    assert_eq!(git(&project, &["cat-file", "-t", "v0.1"]), "commit");
    assert_eq!(git(&project, &["cat-file", "-t", "v0.2"]), "tag");
    assert_eq!(git(&project, &["branch", "--list"]).lines().count(), 2);
    git(&project, &["fsck", "--strict", "--no-dangling"]);
    let status = git(&project, &["status", "--porcelain"]);
    for line in [" M README.md", "AM src/staged.py", " D docs/-leading-dash.md", "?? notes/"] {
        assert!(status.lines().any(|l| l == line), "{line}\n{status}");
    }
    assert!(!status.contains("memory") && !status.contains("data/"), "{status}");

    // The last 200 rows are in the write-ahead log only.
    let (index, vectors) = (framework.memory().join("index.db"), framework.memory().join("vectors.db"));
    let copy = framework.sandbox.path("copy.db");
    std::fs::copy(&index, &copy).unwrap();
    assert_eq!((rows(&index, "learnings"), rows(&vectors, "embeddings")), (ROWS, ROWS));
    assert_eq!(rows(&copy, "learnings"), 1000);
}

#[test]
fn a_writer_never_stops_and_stays_in_balance() {
    for journal in [Journal::Wal, Journal::Delete] {
        let mut framework = Framework::new();
        if journal == Journal::Delete {
            framework.release();
        }
        let memory = framework.memory();
        let writer = Writer::start(&memory, journal);
        let before = writer.committed();
        assert!(before >= 5);
        writer.wait_for_more(50);
        let last = writer.stop();
        assert!(last >= before + 50);
        let found = ledger(&memory.join("index.db"), &memory.join("vectors.db"));
        assert!(found.whole && found.transactions == last, "{journal:?}: {found:?}, reported {last}");
        // And a torn pair is seen.
        let vectors = Connection::open(memory.join("vectors.db")).unwrap();
        vectors.execute("DELETE FROM ledger WHERE n = (SELECT max(n) FROM ledger)", []).unwrap();
        drop(vectors);
        assert!(!ledger(&memory.join("index.db"), &memory.join("vectors.db")).whole);
    }
}

#[test]
fn a_locker_keeps_others_out_until_it_goes() {
    let framework = Framework::at_rest();
    let path = framework.memory().join("index.db");
    let locker = Locker::start(&path, false);
    let connection = Connection::open(&path).unwrap();
    connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(connection.execute_batch("BEGIN IMMEDIATE").is_err());
    drop(locker);
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
}

#[test]
fn a_fingerprint_sees_content_mode_and_names() {
    let framework = Framework::at_rest();
    let project = framework.project();
    let before = tree::fingerprint(&project, true);
    assert!(before.keys().any(|name| name.starts_with(b".git/objects/")));
    assert_eq!(tree::differences(&before, &tree::fingerprint(&project, true)), Vec::<String>::new());
    std::fs::write(project.join("docs/guide.md"), "other").unwrap();
    std::fs::remove_dir(project.join("inbox/empty/deeper")).unwrap();
    let changed = tree::differences(&before, &tree::fingerprint(&project, false));
    assert!(changed.iter().any(|line| line.starts_with("docs/guide.md: ")), "{changed:?}");
    assert!(changed.iter().any(|line| line.starts_with("inbox/empty/deeper: ")), "{changed:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn somebody_else_than_root_and_a_small_disk_can_be_had() {
    let sandbox = Sandbox::new();
    let mount = sandbox.path("small");
    std::fs::create_dir(&mount).unwrap();
    if let Some(prefix) = system::small_disk(64, &mount) {
        let script = "if head -c 1000000 /dev/zero > \"$1\"; then exit 9; fi";
        let output = sandbox.shell_under(&prefix, &script.replace("$1", mount.join("x").to_str().unwrap()));
        output.ok().says("No space left");
        assert!(!mount.join("x").exists());
    }
    if let Some(prefix) = sandbox.unprivileged() {
        let output = sandbox
            .shell_under(&prefix, "test \"$(id -u)\" != 0; mkdir locked; chmod 500 locked; touch locked/x");
        assert!(output.code != 0, "{output:?}");
        sandbox.run_under(&prefix, &["--version"]).ok();
    }
}
