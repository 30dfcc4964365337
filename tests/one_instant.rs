//! Backups under a writer: none torn, none late, and the project untouched.
//!
//! Each archive is opened here with a tar reader of the test's own, so nothing of the tool's reading hides a
//! fault of its writing. `XTASK_TEST_FULL=1` takes 200 backups in each journal mode instead of a dozen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OpenFlags};
use support::child::{Journal, Ledger, Writer, crash_in_a_transaction, ledger};
use support::framework::{Framework, ROWS, write};
use support::killing::is_full;
use support::tree::{Fingerprint, differences, fingerprint};
use support::{Sandbox, git, system};

fn backups_per_mode() -> usize {
    if is_full() { 200 } else { 12 }
}

fn databases_of(archive: &Path, to: &Path) {
    let file = flate2::read::MultiGzDecoder::new(fs::File::open(archive).unwrap());
    for entry in tar::Archive::new(file).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.starts_with("backup/databases") || path.starts_with("backup/sql") {
            assert!(entry.unpack_in(to).unwrap());
        }
    }
}

fn read_only(path: &Path) -> Connection {
    let uri = format!("file://{}?immutable=1", path.display());
    Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI).unwrap()
}

fn integrity(path: &Path) {
    let answer: String = read_only(path).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok", "{}", path.display());
}

/// Loads a dump without the tool.
fn loaded(dump: &Path, to: &Path) {
    let connection = Connection::open(to).unwrap();
    connection.execute_batch(&fs::read_to_string(dump).unwrap()).unwrap();
    connection.close().unwrap();
    integrity(to);
}

/// Whether an archive is of one instant, images and dumps alike, and not older than `committed`.
#[track_caller]
fn one_instant(archive: &Path, committed: i64) -> Ledger {
    let folder = tempfile::tempdir().unwrap();
    databases_of(archive, folder.path());
    let (images, dumps) =
        (folder.path().join("backup/databases/memory"), folder.path().join("backup/sql/memory"));
    for name in ["index.db", "vectors.db"] {
        integrity(&images.join(name));
        loaded(&dumps.join(format!("{name}.sql")), &folder.path().join(name));
    }
    let image = ledger(&images.join("index.db"), &images.join("vectors.db"));
    let dump = ledger(&folder.path().join("index.db"), &folder.path().join("vectors.db"));
    assert!(image.whole, "{}: torn: {image:?}", archive.display());
    assert_eq!(image, dump, "{}: image and dump differ", archive.display());
    assert!(
        image.transactions >= committed,
        "{}: {} transactions, and {committed} were committed before it began",
        archive.display(),
        image.transactions
    );
    image
}

fn archive_of(stdout: &str) -> PathBuf {
    let document: serde_json::Value = serde_json::from_str(stdout).unwrap();
    assert_eq!(
        document["findings"].as_array().unwrap().iter().filter(|f| f["level"] == "problem").count(),
        0
    );
    PathBuf::from(document["archive"].as_str().unwrap())
}

fn start(sandbox: &Sandbox, store: &Path) -> Child {
    sandbox
        .command(sandbox.program())
        .args([OsStr::new("backup"), OsStr::new("--json"), OsStr::new("--store"), store.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(child: Child) -> PathBuf {
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    archive_of(&stdout)
}

/// In rounds of a new framework each: what one writer has written so far is read again by every check.
fn under_a_writer(journal: Journal) {
    let mut left = backups_per_mode();
    while left > 0 {
        let count = left.min(20);
        round_under_a_writer(journal, count);
        left -= count;
    }
}

fn round_under_a_writer(journal: Journal, count: usize) {
    let mut framework = Framework::new();
    if journal == Journal::Delete {
        framework.release(); // else the mode can't be changed
    }
    let sandbox = &framework.sandbox;
    // Databases are pinned in the order of their names. With these between the two of the ledger, a tool that
    // pins one after the other tears it nearly every time, and not once in a hundred.
    for n in 0..30 {
        let connection = Connection::open(framework.memory().join(format!("k{n:02}.db"))).unwrap();
        connection
            .execute_batch("PRAGMA synchronous = OFF; CREATE TABLE t(a); INSERT INTO t VALUES (1)")
            .unwrap();
    }
    let writer = Writer::start(&framework.memory(), journal);
    let (mut during, mut torn_at_most) = (0, Vec::new());
    let mut taken = 0;
    while taken < count {
        // Every third round three at once, each into a store of its own: they also contend for the locks.
        let stores: Vec<PathBuf> = (0..if taken % 5 == 2 { 3 } else { 1 })
            .map(|n| sandbox.path(format!("store-{}", (taken + n) % 3)))
            .collect();
        let committed = writer.committed();
        let children: Vec<Child> = stores.iter().map(|store| start(sandbox, store)).collect();
        let archives: Vec<PathBuf> = children.into_iter().map(finish).collect();
        during += writer.committed() - committed;
        for archive in archives {
            torn_at_most.push(one_instant(&archive, committed).transactions);
            if taken % 6 == 5 {
                restored(sandbox, &archive, committed);
            }
            fs::remove_file(&archive).unwrap();
            taken += 1;
        }
        writer.wait_for_more(1); // it goes on, whatever the backup held
    }
    println!("{journal:?}: {taken} backups, {during} transactions committed while they ran");
    assert!(journal == Journal::Delete || during > 0, "the writer stood still in WAL mode");
    let last = writer.stop();
    let live = ledger(&framework.memory().join("index.db"), &framework.memory().join("vectors.db"));
    assert!(live.whole && live.transactions == last, "{live:?}, {last}");
    assert!(torn_at_most.iter().all(|n| *n <= last));
}

/// The same check through the tool's own way back.
fn restored(sandbox: &Sandbox, archive: &Path, committed: i64) {
    let id = archive.file_name().unwrap().to_str().unwrap().strip_suffix(".tar.gz").unwrap();
    for (number, more) in [&[][..], &["--sql-only"][..]].into_iter().enumerate() {
        let to = sandbox.path(format!("back-{number}"));
        let mut words = vec!["restore", id, "--only", "memory", "--to", to.to_str().unwrap(), "--store"];
        words.push(archive.parent().unwrap().to_str().unwrap());
        words.extend(more);
        sandbox.run(&words).ok();
        let found = ledger(&to.join("memory/index.db"), &to.join("memory/vectors.db"));
        assert!(found.whole && found.transactions >= committed, "{words:?}: {found:?}, {committed}");
        fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn none_is_torn_or_late_in_wal_mode() {
    under_a_writer(Journal::Wal);
}

#[test]
fn none_is_torn_or_late_in_rollback_mode() {
    under_a_writer(Journal::Delete);
}

#[test]
fn readers_read_on() {
    for journal in [Journal::Wal, Journal::Delete] {
        let framework = Framework::at_rest();
        let index = framework.memory().join("index.db");
        let mode = if journal == Journal::Wal { "wal" } else { "delete" };
        let connection = Connection::open(&index).unwrap();
        connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
        connection.busy_timeout(std::time::Duration::ZERO).unwrap(); // it must never have to wait
        let done = AtomicBool::new(false);
        let reads = std::thread::scope(|scope| {
            let backup = scope.spawn(|| {
                let output = framework.sandbox.run(&["backup"]);
                done.store(true, Ordering::SeqCst);
                output
            });
            let mut reads = 0;
            while !done.load(Ordering::SeqCst) {
                let rows: i64 =
                    connection.query_row("SELECT count(*) FROM learnings", [], |row| row.get(0)).unwrap();
                assert_eq!(rows, 1000);
                reads += 1;
            }
            backup.join().unwrap().ok();
            reads
        });
        assert!(reads > 0, "{journal:?}");
    }
}

#[test]
fn several_in_one_second_have_names_of_their_own() {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), "note.md", "a note\n");
    let mut ids: Vec<String> = Vec::new();
    let mut fastest = u128::MAX;
    for _ in 0..30 {
        let begun = std::time::Instant::now();
        let output = sandbox.run(&["backup", "--json"]).ok();
        fastest = fastest.min(begun.elapsed().as_millis());
        ids.push(output.json()["id"].as_str().unwrap().to_owned());
        if ids.iter().any(|id| id.ends_with("-3")) {
            break;
        }
    }
    if !ids.iter().any(|id| id.ends_with("-3")) {
        assert!(fastest > 250, "three backups of {fastest} ms never were in one second: {ids:?}");
        return system::skip("this machine is too slow for three backups in one second");
    }
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    let third = ids.iter().find(|id| id.ends_with("-3")).unwrap();
    let second = third.strip_suffix("-3").unwrap();
    assert!(ids.contains(&second.to_owned()) && ids.contains(&format!("{second}-2")), "{ids:?}");
    // The order in which they were taken is the one in which they are listed, and the last one is the latest.
    let listing = sandbox.run(&["list", "--json"]).ok().json();
    let mut listed: Vec<&str> =
        listing["backups"].as_array().unwrap().iter().map(|b| b["id"].as_str().unwrap()).collect();
    if listed.first() != ids.first().map(String::as_str).as_ref() {
        listed.reverse();
    }
    assert_eq!(listed, ids);
    let latest = sandbox.run(&["show", "latest", "--json"]).ok();
    assert!(latest.stdout.contains(ids.last().unwrap().as_str()), "{}", latest.stdout);
    sandbox.run(&["verify", "all"]).ok();
}

/// Path → inode, and time of the last change of any kind in seconds and nanoseconds.
type Changes = BTreeMap<PathBuf, (u64, i64, i64)>;

/// What no program may have done to a file: inode and time of the last change of any kind.
#[cfg(unix)]
fn changes(folder: &Path) -> Changes {
    use std::os::unix::fs::MetadataExt;
    let mut out = BTreeMap::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let meta = fs::symlink_metadata(entry.path()).unwrap();
            out.insert(entry.path(), (meta.ino(), meta.ctime(), meta.ctime_nsec()));
            if meta.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    out
}

#[cfg(windows)]
fn changes(_folder: &Path) -> Changes {
    BTreeMap::new()
}

/// Folders before and after. What SQLite makes beside a database does not count, nor that its folder is newer
/// for it.
struct Watch {
    folders: Vec<(PathBuf, Fingerprint, Changes)>,
}

fn is_sidecar(name: &[u8]) -> bool {
    name.ends_with(b"-wal") || name.ends_with(b"-shm")
}

impl Watch {
    fn over(folders: &[PathBuf]) -> Watch {
        let one = |folder: &PathBuf| (folder.clone(), fingerprint(folder, true), changes(folder));
        Watch { folders: folders.iter().map(one).collect() }
    }

    #[track_caller]
    fn unchanged(&self, what: &str) {
        for (folder, before, changed) in &self.folders {
            let mut before = before.clone();
            let mut after = fingerprint(folder, true);
            let mut now = changes(folder);
            let mut changed = changed.clone();
            let made: Vec<Vec<u8>> =
                (after.keys().filter(|name| is_sidecar(name) && !before.contains_key(*name)))
                    .cloned()
                    .collect();
            for name in made {
                if name.ends_with(b"-wal") {
                    let path = folder.join(String::from_utf8(name.clone()).unwrap());
                    assert_eq!(
                        fs::metadata(&path).unwrap().len(),
                        0,
                        "{what}: {} was written",
                        path.display()
                    );
                }
                let parent: Vec<u8> = name.rsplitn(2, |b| *b == b'/').nth(1).unwrap_or_default().to_vec();
                for tree in [&mut before, &mut after] {
                    if let Some(entry) = tree.get_mut(&parent) {
                        entry.mtime_ns = None;
                    }
                }
                let parent = folder.join(String::from_utf8(parent).unwrap());
                for list in [&mut changed, &mut now] {
                    list.remove(&parent);
                }
                after.remove(&name);
            }
            // The index of a log in shared memory says who reads: not a change of the database.
            for tree in [&mut before, &mut after] {
                tree.retain(|name, _| !name.ends_with(b"-shm"));
            }
            for list in [&mut changed, &mut now] {
                list.retain(|path, _| !is_sidecar(path.as_os_str().as_encoded_bytes()));
            }
            assert_eq!(differences(&before, &after), Vec::<String>::new(), "{what}: {}", folder.display());
            let touched: Vec<_> =
                now.iter().filter(|(path, seen)| changed.get(*path) != Some(*seen)).collect();
            assert!(touched.is_empty(), "{what}: touched {touched:?}");
        }
    }
}

/// Two backups (the second finds a store), and everything else that only reads the project.
#[track_caller]
fn leaves_alone(framework: &Framework, more: &[PathBuf], what: &str) {
    let mut folders = vec![framework.project()];
    folders.extend_from_slice(more);
    let watch = Watch::over(&folders);
    let sandbox = &framework.sandbox;
    sandbox.run(&["backup"]).ok();
    watch.unchanged(what);
    sandbox.run(&["backup", "--no-sql"]).ok();
    sandbox.run(&["list"]).ok();
    sandbox.run(&["show", "latest"]).ok();
    sandbox.run(&["verify", "latest"]).ok();
    watch.unchanged(what);
}

#[test]
fn a_quiet_project_stays_as_it_is() {
    let framework = Framework::at_rest();
    leaves_alone(&framework, &[], "quiet");
    let status = git(&framework.project(), &["status", "--porcelain"]);
    assert!(!status.contains("data/catalog.db"), "the tracked database is modified:\n{status}");
}

#[test]
fn a_project_with_open_databases_stays_as_it_is() {
    let framework = Framework::new();
    leaves_alone(&framework, &[], "open");
    let rows: i64 = read_only_live(&framework.memory().join("index.db"));
    assert_eq!(rows, ROWS);
}

fn read_only_live(path: &Path) -> i64 {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row("SELECT count(*) FROM learnings", [], |row| row.get(0)).unwrap()
}

#[test]
fn an_index_that_is_out_of_date_is_not_refreshed() {
    let framework = Framework::at_rest();
    let project = framework.project();
    // Long ago: what was written within one second is judged by its content.
    let now = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
    for name in git(&project, &["ls-files"]).lines() {
        let path = project.join(name);
        if path.is_file() && !path.is_symlink() {
            fs::File::options().write(true).open(&path).unwrap().set_modified(now).unwrap();
        }
    }
    leaves_alone(&framework, &[], "stat-dirty");
    // It was out of date: git itself would have written it.
    let before = fs::read(project.join(".git/index")).unwrap();
    let status = git(&project, &["status", "--porcelain"]);
    assert_ne!(before, fs::read(project.join(".git/index")).unwrap());
    assert!(!status.contains("data/catalog.db"), "{status}");
}

#[test]
fn packs_alternates_and_unusual_indexes_stay_as_they_are() {
    let framework = Framework::at_rest();
    let project = framework.project();
    git(&project, &["repack", "-adq"]);
    git(&project, &["pack-refs", "--all"]);
    git(&project, &["commit-graph", "write", "--reachable"]);
    git(&project, &["update-index", "--split-index", "--untracked-cache"]);
    leaves_alone(&framework, &[], "packed, split index");
    git(&project, &["update-index", "--no-split-index"]);

    let lender = framework.sandbox.path("lender");
    fs::create_dir(&lender).unwrap();
    git(&lender, &["init", "-q", "--bare", "."]);
    git(&project, &["push", "-q", lender.to_str().unwrap(), "main", "v0.2"]);
    let objects = lender.join("objects").display().to_string() + "\n";
    write(&project, ".git/objects/info/alternates", &objects);
    git(&project, &["repack", "-adlq"]);
    leaves_alone(&framework, std::slice::from_ref(&lender), "alternates");
    git(&project, &["fsck", "--no-dangling"]);
}

#[test]
fn a_linked_worktree_leaves_its_main_one_as_it_is() {
    let framework = Framework::at_rest();
    let linked = framework.sandbox.path("linked");
    git(&framework.project(), &["worktree", "add", "-q", linked.to_str().unwrap(), "feature"]);
    write(&linked, "src/feature.py", "FEATURE = 'changed'\n");
    let watch = Watch::over(&[framework.project(), linked.clone()]);
    framework.sandbox.run(&["backup", "--project", linked.to_str().unwrap()]).ok();
    watch.unchanged("linked worktree");
}

#[cfg(unix)]
#[test]
fn nothing_that_the_configuration_names_is_run() {
    use std::os::unix::fs::PermissionsExt;
    let mut framework = Framework::at_rest();
    let project = framework.project();
    let (trap, ran) = (framework.sandbox.path("trap"), framework.sandbox.path("ran"));
    fs::write(&trap, format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\ncat\n", ran.display())).unwrap();
    let executable = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    executable(&trap);
    let hooks = [
        "post-index-change",
        "reference-transaction",
        "pre-auto-gc",
        "post-checkout",
        "pre-commit",
        "commit-msg",
        "post-commit",
        "fsmonitor-watchman",
        "pre-push",
        "update",
        "post-rewrite",
    ];
    for hook in hooks {
        let path = project.join(".git/hooks").join(hook);
        fs::copy(&trap, &path).unwrap();
        executable(&path);
    }
    write(&project, ".gitattributes", "*.py filter=trap diff=trap merge=trap\n*.md diff=trap filter=long\n");
    let trap = trap.to_str().unwrap().to_owned();
    let settings = [
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "core.askPass",
        "core.alternateRefsCommand",
        "core.gitProxy",
        "diff.external",
        "diff.trap.textconv",
        "diff.trap.command",
        "filter.trap.clean",
        "filter.trap.smudge",
        "filter.long.process",
        "merge.trap.driver",
        "gc.recentObjectsHook",
        "credential.helper",
        "gpg.program",
        "sequence.editor",
        "interactive.diffFilter",
        "uploadpack.packObjectsHook",
    ];
    // The repository's own configuration, one that it includes, and the user's.
    let lines: String = (settings.iter())
        .map(|name| {
            let (section, key) = name.rsplit_once('.').unwrap();
            let section =
                section.split_once('.').map_or(format!("[{section}]"), |(a, b)| format!("[{a} \"{b}\"]"));
            format!("{section}\n\t{key} = {trap}\n")
        })
        .collect();
    let own = fs::read_to_string(project.join(".git/config")).unwrap();
    write(&project, ".git/config", &format!("{own}{lines}[include]\n\tpath = included\n"));
    write(&project, ".git/included", &lines);
    let home = framework.sandbox.path("home");
    write(&home, ".gitconfig", &lines);
    for name in ["GIT_EXTERNAL_DIFF", "GIT_EDITOR", "GIT_PAGER", "GIT_ASKPASS", "GIT_SSH_COMMAND"] {
        framework.sandbox.env(name, &trap);
    }
    drop(fs::remove_file(&ran)); // what preparing ran
    leaves_alone(&framework, &[home], "traps");
    let seen = fs::read_to_string(&ran).unwrap_or_default();
    assert!(seen.is_empty(), "run by a backup:\n{seen}");
    // The traps do work.
    drop(framework.sandbox.command("git").args(["diff"]).output().unwrap());
    assert!(fs::read_to_string(&ran).unwrap_or_default().contains("trap"));
}

/// All rows of `learnings`, `metrics` and `ledger`, to compare.
fn content(path: &Path) -> Vec<String> {
    let connection = read_only(path);
    let mut rows = Vec::new();
    for table in ["learnings", "metrics", "ledger"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let found = statement.query_map([], |row| {
            (0..columns).map(|n| row.get::<_, rusqlite::types::Value>(n)).collect::<Result<Vec<_>, _>>()
        });
        rows.extend(found.unwrap().map(|row| format!("{table}: {:?}", row.unwrap())));
    }
    rows
}

fn image_of(archive: &Path, to: &Path) -> PathBuf {
    databases_of(archive, to);
    to.join("backup/databases/memory/index.db")
}

/// SQLite itself rolls a hot journal back as soon as anyone reads the database. So the backup holds the
/// committed state, and in the project the database is as it was before the transaction, the journal gone.
#[test]
fn after_a_crash_in_rollback_mode_the_committed_state_is_saved() {
    let framework = Framework::at_rest();
    let index = framework.memory().join("index.db");
    let connection = Connection::open(&index).unwrap();
    connection.query_row("PRAGMA journal_mode = delete", [], |_| Ok(())).unwrap();
    drop(connection);
    let (bytes, rows) = (fs::read(&index).unwrap(), content(&index));
    crash_in_a_transaction(&index);
    let journal = framework.memory().join("index.db-journal");
    assert!(fs::metadata(&journal).unwrap().len() > 0);
    assert_ne!(fs::read(&index).unwrap(), bytes, "the transaction has not reached the file");

    let before = fingerprint(&framework.project(), false);
    let output = framework.sandbox.run(&["backup", "--json"]).ok();
    let scratch = tempfile::tempdir().unwrap();
    let image = image_of(&archive_of(&output.stdout), scratch.path());
    integrity(&image);
    assert!(content(&image) == rows, "not the committed rows");
    assert!(fs::read(&index).unwrap() == bytes, "the project's database is not the one before the crash");
    let after = fingerprint(&framework.project(), false);
    let changed: Vec<String> = differences(&before, &after)
        .into_iter()
        .filter(|line| !line.contains("-shm: ") && !line.contains("-wal: "))
        .map(|line| line.split(": ").next().unwrap().to_owned())
        .collect();
    assert_eq!(changed, ["memory/index.db", "memory/index.db-journal"]);
    // The one change that a backup makes in a project, so it says so; the next one has nothing to say.
    assert_eq!(hot_journals(&output), ["memory/index.db"]);
    assert_eq!(hot_journals(&framework.sandbox.run(&["backup", "--json"]).ok()), Vec::<String>::new());
}

/// Which databases had a journal that a crash left.
fn hot_journals(output: &support::Output) -> Vec<String> {
    let document = output.json();
    let findings = document["findings"].as_array().unwrap();
    let hot = findings.iter().filter(|finding| finding["code"] == "hot-journal");
    hot.map(|finding| finding["path"].as_str().unwrap().to_owned()).collect()
}

/// The journal of a program that is writing now is not a crashed one, nor is one that its mode leaves behind.
#[test]
fn journals_in_use_are_not_taken_for_crashed_ones() {
    let framework = Framework::at_rest();
    let index = framework.memory().join("index.db");
    let writer = Connection::open(&index).unwrap();
    writer.query_row("PRAGMA journal_mode = persist", [], |_| Ok(())).unwrap();
    writer.execute_batch("CREATE TABLE more(a); INSERT INTO more VALUES (1)").unwrap();
    let journal = framework.memory().join("index.db-journal");
    assert!(fs::metadata(&journal).unwrap().len() > 0);
    assert_eq!(hot_journals(&framework.sandbox.run(&["backup", "--json"]).ok()), Vec::<String>::new());

    // From here on in the middle of a transaction that has reached the journal.
    writer.execute_batch("PRAGMA cache_size = 2; BEGIN IMMEDIATE; UPDATE more SET a = 2").unwrap();
    writer
        .execute_batch("UPDATE ledger SET amount = amount + 1 WHERE n < 0; UPDATE learnings SET body = 'x'")
        .unwrap();
    let rolled_back = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        writer.execute_batch("ROLLBACK").unwrap();
    });
    assert_ne!(fs::read(&journal).unwrap()[0], 0, "nothing has reached the journal");
    assert_eq!(hot_journals(&framework.sandbox.run(&["backup", "--json"]).ok()), Vec::<String>::new());
    rolled_back.join().unwrap();
}

/// A write-ahead log is only read: what was committed into it is saved, what was not is left out, and the log
/// stays as the crash left it.
#[test]
fn after_a_crash_in_wal_mode_the_committed_state_is_saved() {
    let mut framework = Framework::new();
    framework.release();
    let index = framework.memory().join("index.db");
    let log = framework.memory().join("index.db-wal");
    let committed = fs::metadata(&log).unwrap().len();
    crash_in_a_transaction(&index);
    assert!(fs::metadata(&log).unwrap().len() > committed, "nothing uncommitted is in the log");

    let watch = Watch::over(&[framework.project()]);
    let output = framework.sandbox.run(&["backup", "--json"]).ok();
    watch.unchanged("log left by a crash");
    let scratch = tempfile::tempdir().unwrap();
    let image = image_of(&archive_of(&output.stdout), scratch.path());
    integrity(&image);
    let rows = content(&image);
    let count = |table: &str| rows.iter().filter(|row| row.starts_with(table)).count();
    assert_eq!((count("learnings"), count("metrics"), count("ledger")), (1200, 3, 0));
}
