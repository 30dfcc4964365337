//! What `status` tells a person and a monitor: by its exit code, its one document, and what is named.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};
use support::dated::{project, run, store};
use support::framework::write;
use support::tree::{differences, fingerprint};
use support::{Sandbox, git};

fn codes(document: &Value) -> Vec<String> {
    let findings = document["findings"].as_array().unwrap();
    let mark = |finding: &Value| if finding["level"] == "problem" { "!" } else { "" };
    findings.iter().map(|one| format!("{}{}", mark(one), one["code"].as_str().unwrap())).collect()
}

fn status(sandbox: &Sandbox, code: i32) -> Value {
    let document = run(sandbox, &["status", "--json"]).code(code).json();
    assert_eq!(document["ok"], code == 0);
    document
}

/// A commit, a file that git ignores, and a database.
fn small_project() -> Sandbox {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    write(&project, ".gitignore", "*.db\nprivate.md\n");
    write(&project, "docs/guide.md", "one\n");
    write(&project, "private.md", "mine\n");
    write(&project, "docs/old.md", "old\n");
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "One"]);
    database(&sandbox, "index.db");
    sandbox
}

fn database(sandbox: &Sandbox, name: &str) {
    let connection = Connection::open(sandbox.project().join(name)).unwrap();
    connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
}

#[test]
fn no_backup_is_a_problem_and_no_failure() {
    let sandbox = small_project();
    let document = status(&sandbox, 3);
    assert_eq!(codes(&document), ["!no-store", "!database-not-saved"]);
    assert_eq!((&document["newest"], &document["backups"]["all"]), (&Value::Null, &json!(0)));
    assert!(!store(&sandbox).exists());
    run(&sandbox, &["backup"]).ok();
    let archive = support::archives(&store(&sandbox)).remove(0);
    fs::remove_file(archive).unwrap();
    assert_eq!(codes(&status(&sandbox, 3)), ["!no-backup", "!database-not-saved"]);
}

#[test]
fn it_names_what_the_newest_good_backup_lacks_and_changes_nothing() {
    let sandbox = small_project();
    let project = sandbox.project();
    run(&sandbox, &["backup"]).ok();
    let document = status(&sandbox, 0);
    assert_eq!(codes(&document), ["not-verified"], "advice only");
    run(&sandbox, &["verify"]).ok();
    let before = (fingerprint(&project, true), fingerprint(&store(&sandbox), true));
    let document = status(&sandbox, 0);
    assert_eq!(codes(&document), Vec::<String>::new());
    assert_eq!(document["last_deep_check"]["level"], 3);
    for kind in ["new", "changed", "gone"] {
        assert_eq!(document["unsaved"][kind]["count"], 0, "{kind}");
    }
    let said = run(&sandbox, &["status"]).ok();
    assert!(said.stdout.contains("a recovery would work today") && said.stderr.is_empty(), "{said:?}");
    let after = (fingerprint(&project, true), fingerprint(&store(&sandbox), true));
    assert_eq!(differences(&before.0, &after.0), Vec::<String>::new());
    assert_eq!(differences(&before.1, &after.1), Vec::<String>::new());

    write(&project, "docs/guide.md", "changed\n");
    write(&project, "private too.md", "also mine\n");
    fs::remove_file(project.join("docs/old.md")).unwrap();
    write(&project, "node_modules/x/y.js", "cache\n");
    database(&sandbox, "vectors.db");
    let document = status(&sandbox, 3);
    let unsaved = &document["unsaved"];
    assert_eq!(unsaved["databases"], json!(["vectors.db"]));
    assert_eq!(unsaved["new"], json!({"count": 1, "first": ["private too.md"]}));
    assert_eq!(unsaved["changed"], json!({"count": 1, "first": ["docs/guide.md"]}));
    assert_eq!(unsaved["gone"], json!({"count": 1, "first": ["docs/old.md"]}));
    assert_eq!(unsaved["left_out"]["cache"]["first"], json!(["node_modules"]));
    assert_eq!(codes(&document), ["!database-not-saved"]);
    run(&sandbox, &["backup"]).ok();
    assert_eq!(status(&sandbox, 0)["unsaved"]["databases"], json!([]));
}

#[test]
fn what_the_next_backup_would_say_is_said_now() {
    let sandbox = small_project();
    let configured = "[workspace.metadata.backup]\ndatabases = [\"index.db\", \"gone.db\"]\n";
    write(&sandbox.project(), "Cargo.toml", configured);
    database(&sandbox, "other.db");
    run(&sandbox, &["backup"]).code(3);
    run(&sandbox, &["verify"]).ok();
    assert_eq!(codes(&status(&sandbox, 3)), ["!database-not-listed", "!database-missing"]);
    // What was wrong then and is not now stays wrong in that backup.
    write(&sandbox.project(), "Cargo.toml", "");
    let document = status(&sandbox, 3);
    assert_eq!(codes(&document), ["!database-not-saved", "!database-not-listed", "!database-missing"]);
    assert!(document["findings"][1]["message"].as_str().unwrap().starts_with("in the newest good backup"));
    run(&sandbox, &["backup"]).ok();
    assert_eq!(codes(&status(&sandbox, 0)), Vec::<String>::new());
    // A configuration that can't be read: no backup can be taken.
    write(&sandbox.project(), "Cargo.toml", "[workspace.metadata.backup]\nexlude = []\n");
    assert_eq!(codes(&status(&sandbox, 3)), ["!configuration"]);
}

/// A destroyed header makes a database an ordinary file, which every backup saves without a word.
#[test]
fn a_database_that_is_none_any_more_is_told_until_it_is_one_again() {
    let sandbox = small_project();
    database(&sandbox, "left.db");
    run(&sandbox, &["backup"]).ok();
    let id = run(&sandbox, &["list", "--json"]).ok().json()["backups"][0]["id"].as_str().unwrap().to_owned();
    for name in ["index.db", "left.db"] {
        write(&sandbox.project(), name, "no database\n");
    }
    let told = || codes(&status(&sandbox, 3)).iter().filter(|code| *code == "!no-database-any-more").count();
    assert_eq!(told(), 2);
    for _ in 0..3 {
        run(&sandbox, &["backup"]).code(3).says("index.db").says("none any more");
        assert_eq!(told(), 2);
    }
    // One is excluded; the other comes back as the hint says.
    let restore = format!("cargo xtask restore {id} --only 'index.db'");
    run(&sandbox, &["backup"]).code(3).says(&restore);
    run(&sandbox, &["restore", &id, "--only", "index.db", "--force"]).ok();
    write(&sandbox.project(), "Cargo.toml", "[workspace.metadata.backup]\nexclude = ['left.db']\n");
    run(&sandbox, &["backup"]).ok();
    assert!(!codes(&status(&sandbox, 0)).contains(&"!no-database-any-more".to_owned()));
}

#[test]
fn age_and_damage_decide_over_the_exit_code() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    mould.plant("20250601_120000", "scheduled");
    mould.plant("20250602_120000", "scheduled");
    assert!(codes(&status(&sandbox, 3)).contains(&"!too-old".to_owned()));
    run(&sandbox, &["status", "--max-age", "90000d"]).ok();
    run(&sandbox, &["status", "--max-age", "tomorrow"]).code(2).says("--max-age is a span");
    // The newest is damaged: the one before counts, and both are told.
    let newest = store.join("20250602_120000.tar.gz");
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    run(&sandbox, &["verify", "20250602"]).code(3);
    let document = run(&sandbox, &["status", "--json", "--max-age", "90000d"]).code(3).json();
    assert!(codes(&document).contains(&"!damaged".to_owned()));
    assert_eq!(document["newest"]["id"], "20250601_120000");
    assert_eq!(document["backups"]["damaged"], 1);
}

#[test]
fn a_store_alone_has_a_status_and_an_unfinished_restore_is_told() {
    let sandbox = small_project();
    run(&sandbox, &["backup"]).ok();
    run(&sandbox, &["verify"]).ok();
    let mut command = sandbox.command(sandbox.program());
    let store = store(&sandbox);
    let words = ["status", "--json", "--store", store.to_str().unwrap()];
    let output = command.args(words).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["project"], &document["unsaved"]), (&Value::Null, &Value::Null));
    write(&sandbox.project(), ".xtask-restore/journal.json", "{}");
    assert_eq!(codes(&status(&sandbox, 3)), ["!unfinished-restore"]);
    fs::remove_dir_all(sandbox.project().join(".xtask-restore")).unwrap();
    status(&sandbox, 0);
    // A store that can't be read is no answer.
    fs::remove_dir_all(&store).unwrap();
    fs::write(&store, "").unwrap();
    run(&sandbox, &["status"]).code(1).says("is a file");
}

#[test]
fn a_remote_that_is_behind_is_told() {
    let sandbox = small_project();
    let configure = |lines: &str| {
        write(&sandbox.project(), "Cargo.toml", &format!("[workspace.metadata.backup]\n{lines}\n"));
    };
    configure("remote = \"../elsewhere\"");
    run(&sandbox, &["backup", "--no-remote"]).ok();
    run(&sandbox, &["verify"]).ok();
    assert_eq!(codes(&status(&sandbox, 3)), ["!remote"], "there is no copy yet");
    run(&sandbox, &["sync"]).ok();
    assert_eq!(codes(&status(&sandbox, 0)), [""; 0]);
    run(&sandbox, &["backup", "--no-remote", "--pin"]).ok();
    run(&sandbox, &["verify"]).ok();
    assert_eq!(codes(&status(&sandbox, 3)), ["!remote"], "it lacks one");
    run(&sandbox, &["sync"]).ok();
    status(&sandbox, 0);
    // The last try failed.
    fs::remove_dir_all(sandbox.path("elsewhere")).unwrap();
    fs::write(sandbox.path("elsewhere"), "no folder").unwrap();
    run(&sandbox, &["backup"]).code(3);
    run(&sandbox, &["verify"]).ok();
    assert!(codes(&status(&sandbox, 3)).contains(&"!remote".to_owned()));
    configure("remote = ''");
    assert!(!codes(&status(&sandbox, 3)).is_empty());
}
