//! A disk that fills up costs a message and nothing else: whatever step it hits, the store, the target and
//! what is known of a backup are as before, and with room again the same command works.
//!
//! Each test has a small file system of its own and leaves so much room on it, step by step. In full form
//! (`XTASK_TEST_FULL=1`) the steps are smaller.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use support::framework::{noise, write};
use support::killing::is_full;
use support::{Sandbox, git, system};

fn database(path: &Path, rows: u32) {
    let connection = Connection::open(path).unwrap();
    let sql = format!(
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB); CREATE INDEX i ON t(b);
         WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows})
         INSERT INTO t SELECT x, randomblob(60) FROM c"
    );
    connection.execute_batch(&sql).unwrap();
}

/// About 300 KiB each of history, files and two databases.
fn sandbox() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    std::fs::write(project.join("tracked"), noise(150_000, 1)).unwrap();
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "One"]);
    std::fs::write(project.join("new"), noise(150_000, 2)).unwrap();
    database(&project.join("a.db"), 1500);
    database(&project.join("b.db"), 1500);
    let mount = sandbox.path("small");
    std::fs::create_dir(&mount).unwrap();
    (sandbox, mount)
}

/// Shell functions: `leave KIB` fills the file system but for so much, `run` tries a command and reports,
/// `compare_store` tells whether all is in the store as it was at the last look.
const TOOLS: &str = r#"
leave() {
    rm -f "$MOUNT/filler"
    free=$(($(df -k --output=avail "$MOUNT" | tail -n 1) - $1))
    if [ $free -gt 0 ]; then fallocate -l $((free * 1024)) "$MOUNT/filler"; fi
}
state() {
    (cd "$1" && find . -type f ! -name history.jsonl ! -name .lock ! -name .state-lock \
        -exec b2sum {} + | sort -k 2; find . -type d | sort)
}
compare_store() {
    now=$(state "$MOUNT/store")
    if [ "$now" = "${before:-}" ]; then echo same; fi
    before=$now
}
run() {
    code=0; "$@" > "$TMPDIR/out" 2> "$TMPDIR/err" || code=$?
    rm -f "$MOUNT/filler"
    echo "@ $code"; cat "$TMPDIR/err"
}
"#;

struct Step {
    /// KiB that were free.
    free: u64,
    code: i32,
    text: String,
}

/// Runs a script for each amount of free room: `$1`. It calls `run` once, and may print more.
fn steps(sandbox: &Sandbox, mount: &Path, first: &str, each: &str, room: &[u64]) -> Option<Vec<Step>> {
    let prefix = system::small_disk(100_000, mount)?;
    let room: Vec<String> = room.iter().map(u64::to_string).collect();
    let script = format!(
        "MOUNT='{}'\n{TOOLS}\n{first}\nfor free_kib in {}; do\n  echo \"# $free_kib\"\n{each}\ndone\necho '# 0'",
        mount.display(),
        room.join(" ")
    );
    let output = sandbox.shell_under(&prefix, &script).ok();
    let mut steps = Vec::new();
    for part in output.stdout.split("# ").skip(1) {
        let (free, rest) = part.split_once('\n').unwrap_or((part, ""));
        let Some(rest) = rest.strip_prefix("@ ") else { continue };
        let (code, text) = rest.split_once('\n').unwrap();
        let (free, code) = (free.parse().unwrap(), code.parse().unwrap());
        steps.push(Step { free, code, text: text.to_owned() });
    }
    assert_eq!(steps.len(), room.len(), "{output:?}");
    Some(steps)
}

fn range(from: u64, to: u64, step: usize) -> Vec<u64> {
    let step = if is_full() { step / 4 } else { step };
    (from..=to).step_by(step.max(4)).collect()
}

/// Too little room fails with a reason and a next step; from some amount on it works, and never in between.
#[track_caller]
fn judge(steps: &[Step]) {
    let works = steps.iter().position(|step| step.code == 0).expect("no step had room enough");
    assert!(works > 2, "hardly any step had too little room");
    for step in &steps[..works] {
        assert_eq!(step.code, 1, "{} KiB: {}", step.free, step.text);
        for part in ["error: ", "hint: make room on "] {
            assert!(step.text.contains(part), "{} KiB, no {part:?}: {}", step.free, step.text);
        }
        let full = ["No space left on device", "database or disk is full", "Out of diskspace", "code 4874"];
        assert!(full.iter().any(|words| step.text.contains(words)), "{} KiB: {}", step.free, step.text);
        assert!(!step.text.contains("damaged"), "{} KiB: {}", step.free, step.text);
        assert!(step.text.contains("\nsame\n"), "{} KiB: something changed\n{}", step.free, step.text);
    }
    for step in &steps[works..] {
        assert_eq!(step.code, 0, "{} KiB: {}", step.free, step.text);
    }
}

fn reasons(steps: &[Step]) -> BTreeSet<&str> {
    steps.iter().flat_map(|s| s.text.lines()).filter_map(|l| l.trim().strip_prefix("because: ")).collect()
}

const BACKUP: &str = r#"
    leave $free_kib
    run "$XTASK" backup --store "$MOUNT/store"
    compare_store
"#;
const FIRST_BACKUP: &str =
    "\"$XTASK\" backup --quiet --store \"$MOUNT/store\" > \"$TMPDIR/first\"\ncompare_store";

#[test]
fn a_backup_that_finds_no_room_leaves_the_store_as_it_was() {
    let (sandbox, mount) = sandbox();
    let Some(steps) = steps(&sandbox, &mount, FIRST_BACKUP, BACKUP, &range(0, 2400, 96)) else { return };
    judge(&steps);
    let reasons = reasons(&steps);
    for step in ["can't copy the database", "can't write the archive"] {
        assert!(reasons.iter().any(|reason| reason.starts_with(step)), "{step}: {reasons:?}");
    }
}

#[test]
fn the_last_files_of_a_backup_find_no_room() {
    let sandbox = Sandbox::new();
    let mount = sandbox.path("small");
    std::fs::create_dir(&mount).unwrap();
    // Without databases and git the archive is all that is written before it is published.
    std::fs::write(sandbox.project().join("noise"), noise(100_000, 3)).unwrap();
    let room: Vec<u64> = (0..10).map(|n| 88 + 4 * n).collect();
    let Some(steps) = steps(&sandbox, &mount, FIRST_BACKUP, BACKUP, &room) else { return };
    judge(&steps);
    let reasons = reasons(&steps);
    assert!(
        reasons
            .iter()
            .any(|r| r.starts_with("can't write ") && r.contains(".sha256") || r.ends_with(".json")),
        "no step hit the publishing: {reasons:?}"
    );
}

/// Databases and files would fit; the history, far larger, does not. That is no damaged history.
#[test]
fn a_history_without_room_is_not_left_away() {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    let mount = sandbox.path("small");
    std::fs::create_dir(&mount).unwrap();
    git(&project, &["init", "-q", "-b", "main"]);
    std::fs::write(project.join("big"), noise(2_000_000, 4)).unwrap();
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "Big"]);
    git(&project, &["rm", "-q", "big"]);
    write(&project, "small", "small\n");
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "Small"]);
    for without_git in [false, true] {
        let name = if without_git { "PATH=\"$TMPDIR/tools\"; export PATH" } else { "" };
        // Only what the script itself needs.
        let tools = "mkdir -p \"$TMPDIR/tools\"; for tool in df tail fallocate rm cat find sort b2sum; do \
                     ln -sf \"$(command -v $tool)\" \"$TMPDIR/tools/\"; done";
        let first = format!("{FIRST_BACKUP}\n{tools}\n{name}");
        let Some(steps) = steps(&sandbox, &mount, &first, BACKUP, &range(40, 4840, 600)) else { return };
        judge(&steps);
    }
}

#[test]
fn a_restore_that_finds_no_room_leaves_nothing_behind() {
    let (sandbox, mount) = sandbox();
    sandbox.run(&["backup"]).ok();
    for option in ["", "--sql-only"] {
        let each = format!(
            r#"
    rm -rf "$MOUNT/new"
    before=$(state "$MOUNT")
    leave $free_kib
    run "$XTASK" restore latest {option} --to "$MOUNT/new/and/deep"
    if [ "$(state "$MOUNT")" = "$before" ]; then echo same; fi
"#
        );
        let Some(steps) = steps(&sandbox, &mount, "", &each, &range(0, 3600, 240)) else { return };
        judge(&steps);
    }
    // A folder that was there stays, empty.
    let each = r#"
    rm -rf "$MOUNT/there"; mkdir "$MOUNT/there"
    before=$(state "$MOUNT")
    leave $free_kib
    run "$XTASK" restore latest --to "$MOUNT/there"
    if [ "$(state "$MOUNT")" = "$before" ]; then echo same; fi
"#;
    let Some(steps) = steps(&sandbox, &mount, "", each, &[100, 700, 1400, 8000]) else { return };
    judge(&steps);
}

#[test]
fn verifying_without_room_does_not_call_a_backup_damaged() {
    let (sandbox, mount) = sandbox();
    for option in ["", "--full-test"] {
        let each = format!(
            r#"
    leave $free_kib
    run "$XTASK" verify {option} --store "$MOUNT/store"
    compare_store
    if grep -q '"ok":false' "$MOUNT"/store/*.state.json; then echo 'called damaged'; exit 1; fi
"#
        );
        let Some(steps) = steps(&sandbox, &mount, FIRST_BACKUP, &each, &range(0, 4800, 400)) else { return };
        judge(&steps);
    }
    sandbox.run(&["backup"]).ok();
    let each = r#"
    before=$(state "$MOUNT")
    leave $free_kib
    TMPDIR="$MOUNT" run "$XTASK" restore latest --verify-only
    if [ "$(state "$MOUNT")" = "$before" ]; then echo same; fi
"#;
    // `run` itself writes to TMPDIR, which is elsewhere.
    let each = each.replace("TMPDIR=\"$MOUNT\" run \"$XTASK\"", "run env TMPDIR=\"$MOUNT\" \"$XTASK\"");
    let Some(steps) = steps(&sandbox, &mount, "", &each, &range(0, 3200, 400)) else { return };
    judge(&steps);
}

/// A restore over a project with databases of either journal mode, and one that is missing; and what must be the
/// same afterwards: `reset` makes it from the same copy each time, so one look before is enough. `$STORE` is where
/// the backups are.
const OVER: &str = r#"
seen() {
    # Not git's own files: after undo a ref may be packed that was loose before.
    (cd "$1" && find . -path "./.git$2" -prune -o -type f ! -name '*.db' ! -name '*.db-*' -exec b2sum {} + \
        | sort -k 2; find . -path "./.git$2" -prune -o ! -name '*.db-*' -printf '%m %y %p %l\n' | sort
        git for-each-ref; git ls-files -s; git fsck --no-dangling 2>&1
        for db in *.db; do echo "$db"; sqlite3 "$db" 'PRAGMA journal_mode; PRAGMA integrity_check' .dump; done)
}
reset() {
    rm -rf "$MOUNT/project" "$STORE/safety" "$STORE/history.jsonl"
    cp -a "$TMPDIR/ruined" "$MOUNT/project"
}
xtask() { "$XTASK" "$@" --project "$MOUNT/project" --store "$STORE"; }
cp -a . "$MOUNT/project"
xtask backup --label first --quiet > "$TMPDIR/first"
cd "$MOUNT/project"
head -c 150000 tracked | tail -c 120000 > new; rm tracked; echo later > later
sqlite3 a.db 'DELETE FROM t WHERE a % 2' && sqlite3 b.db 'UPDATE t SET b = a WHERE a > 700' && rm c.db
git -c user.name=n -c user.email=e add -A && git -c user.name=n -c user.email=e commit -q -m Later
cd "$MOUNT"; cp -a project "$TMPDIR/ruined"
reset
exactly=$(seen project /objects); loosely=$(seen project '')
"#;

/// Runs a command over that project with ever more room: it changes nothing, or all of it is done and comes back.
#[track_caller]
fn over_a_project(store: &str, command: &str, room: &[u64]) {
    if !works("sqlite3") {
        return system::skip("sqlite3 is not there");
    }
    let (sandbox, mount) = sandbox();
    let project = sandbox.project();
    database(&project.join("c.db"), 700);
    let connection = Connection::open(project.join("a.db")).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    drop(connection);
    let first = format!("STORE=\"{store}\"\n{OVER}");
    let undo = if command.contains("--no-backup") { ":" } else { "xtask undo --force --quiet" };
    let each = format!(
        r#"
    reset
    leave $free_kib
    run xtask {command} --force
    if [ $code = 0 ]; then
        {undo}; before=$loosely; now=$(seen project '')
    else
        before=$exactly; now=$(seen project /objects)
    fi
    echo "$before" > "$TMPDIR/before"; echo "$now" | diff "$TMPDIR/before" - && echo same || true
    if [ -n "$(ls -A "$STORE" | grep tmp)" ]; then echo 'the store was left in a mess'; ls -A "$STORE"; exit 1; fi
"#
    );
    let Some(steps) = steps(&sandbox, &mount, &first, &each, room) else { return };
    judge(&steps);
    let reasons = reasons(&steps);
    println!("{store} {command}: {reasons:#?}");
    for step in steps.iter().filter(|step| step.code == 0 && !command.contains("--no-backup")) {
        assert!(step.text.contains("\nsame\n"), "{command}: undo did not bring it back: {}", step.text);
    }
}

#[test]
fn a_restore_over_a_project_that_finds_no_room_changes_nothing() {
    over_a_project("$TMPDIR/store", "restore first", &range(0, 4000, 200));
}

#[test]
fn a_restore_over_a_project_that_finds_no_room_for_its_safety_copy_changes_nothing() {
    over_a_project("$MOUNT/store", "restore first", &range(0, 4000, 200));
}

#[test]
fn an_exact_restore_with_git_that_finds_no_room_changes_nothing() {
    over_a_project("$TMPDIR/store", "restore first --git --exact", &range(0, 4000, 200));
}

#[test]
fn a_restore_of_databases_that_finds_no_room_changes_nothing() {
    over_a_project("$TMPDIR/store", "restore first --sql-only --no-backup", &range(0, 4000, 200));
}

#[test]
fn a_commit_that_finds_no_room_changes_nothing() {
    over_a_project(
        "$TMPDIR/store",
        "restore-git HEAD~1 --checkout --restore-databases",
        &range(0, 2400, 200),
    );
    if is_full() {
        over_a_project("$MOUNT/store", "restore-git HEAD~1 --checkout", &range(0, 4000, 200));
    }
}

fn works(program: &str) -> bool {
    std::process::Command::new(program).arg("--version").output().is_ok()
}
