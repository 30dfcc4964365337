//! A restore over a living project: the restored rows are what everybody sees afterwards, old connections
//! included, or it is refused with the reason and nothing has changed.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use support::child::{Journal, Locker, Observer, Writer, crash_in_a_transaction, delete_and_crash, ledger};
use support::compare::{row_differences, rows, working_files};
use support::framework::{Framework, ROWS, write};
use support::tree::{differences, fingerprint, without_sidecars};
use support::{Output, Sandbox, system};

const NONE: Vec<String> = Vec::new();
const DATABASES: [&str; 3] = ["memory/index.db", "memory/vectors.db", "data/catalog.db"];

/// What a process that opens the database now sees.
fn learnings(database: &Path) -> i64 {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection.query_row("SELECT count(*) FROM learnings", [], |row| row.get(0)).unwrap()
}

fn change(database: &Path, sql: &str) {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// A framework at rest with its databases in one of the two modes, backed up.
fn backed_up(journal: Journal) -> Framework {
    let framework = Framework::at_rest();
    if journal == Journal::Delete {
        for name in ["index.db", "vectors.db"] {
            change(&framework.memory().join(name), "PRAGMA journal_mode = DELETE");
        }
    }
    framework.sandbox.run(&["backup"]).ok();
    framework
}

fn restore(sandbox: &Sandbox, more: &[&str]) -> Output {
    sandbox.run(&[&["restore", "latest", "--force"], more].concat())
}

/// The shell, another program with a SQLite of its own, sees the same.
#[track_caller]
fn shell_sees(database: &Path, expected: i64) {
    let output = std::process::Command::new("sqlite3")
        .arg(database)
        .arg("PRAGMA integrity_check; SELECT count(*) FROM learnings")
        .output();
    match output {
        Ok(output) => {
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("ok\n{expected}\n"));
        }
        Err(_) => system::skip("sqlite3 is not there"),
    }
}

#[test]
fn a_stale_log_does_not_bring_deleted_rows_back_to_death() {
    let mut framework = Framework::new();
    framework.sandbox.run(&["backup"]).ok();
    framework.release();
    let index = framework.memory().join("index.db");
    delete_and_crash(&index);
    assert!(fs::metadata(framework.memory().join("index.db-wal")).unwrap().len() > 0);
    restore(&framework.sandbox, &[]).ok();
    assert_eq!(learnings(&index), ROWS);
    shell_sees(&index, ROWS);
    // And it stays so when the log is written back.
    change(&index, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(learnings(&index), ROWS);
}

#[test]
fn a_hot_journal_is_no_trap() {
    let framework = backed_up(Journal::Delete);
    let index = framework.memory().join("index.db");
    let before = rows(&index);
    crash_in_a_transaction(&index);
    assert!(framework.memory().join("index.db-journal").exists());
    change(&framework.memory().join("vectors.db"), "DELETE FROM embeddings");
    restore(&framework.sandbox, &[]).ok();
    assert_eq!(row_differences(&before, &rows(&index)), NONE);
    shell_sees(&index, 1000);
}

#[test]
fn who_has_the_database_open_sees_the_restored_rows() {
    for journal in [Journal::Wal, Journal::Delete] {
        let framework = backed_up(journal);
        let index = framework.memory().join("index.db");
        let mut idle = Observer::start(&index, false);
        // A new table and a new column too: what a connection remembers of the schema is wrong afterwards.
        change(
            &index,
            "DELETE FROM learnings WHERE id > 10; ALTER TABLE learnings ADD COLUMN extra;
                        CREATE TABLE later(x); INSERT INTO later VALUES (1)",
        );
        assert_eq!(idle.rows(), 10);
        restore(&framework.sandbox, &[]).ok();
        assert_eq!((idle.rows(), learnings(&index)), (1000, 1000), "{journal:?}");
        shell_sees(&index, 1000);
        // It may go on writing, and everybody sees that as well.
        change(&index, "INSERT INTO learnings VALUES (5000, 'after', NULL)");
        assert_eq!(idle.rows(), 1001);
    }
}

#[test]
fn a_reader_sees_one_state_or_the_other() {
    let framework = backed_up(Journal::Wal);
    let index = framework.memory().join("index.db");
    change(&index, "DELETE FROM learnings WHERE id > 10");
    let mut reader = Observer::start(&index, true);
    restore(&framework.sandbox, &[]).ok();
    assert_eq!(reader.rows(), 10, "its transaction is of the time before");
    assert_eq!((reader.rows(), learnings(&index)), (1000, 1000));
}

#[test]
fn a_reader_that_does_not_leave_is_named_and_nothing_has_changed() {
    let framework = backed_up(Journal::Delete);
    let index = framework.memory().join("index.db");
    change(&index, "DELETE FROM learnings WHERE id > 10");
    write(&framework.project(), "docs/guide.md", "changed\n");
    let before = fingerprint(&framework.project(), false);
    let mut reader = Observer::start(&index, true);
    let output = restore(&framework.sandbox, &[]).code(6);
    assert!(output.stderr.contains("index.db"), "{output:?}");
    assert_eq!((reader.rows(), learnings(&index)), (10, 10));
    drop(reader);
    assert_eq!(differences(&before, &fingerprint(&framework.project(), false)), NONE);
    restore(&framework.sandbox, &[]).ok();
    assert_eq!(learnings(&index), 1000);
}

#[test]
fn a_writer_that_does_not_leave_is_named_and_loses_nothing() {
    for journal in [Journal::Wal, Journal::Delete] {
        let framework = backed_up(journal);
        let memory = framework.memory();
        write(&framework.project(), "docs/guide.md", "changed\n");
        let writer = Writer::start(&memory, journal);
        let output = restore(&framework.sandbox, &[]);
        let committed = writer.committed();
        writer.wait_for_more(5);
        let last = writer.stop();
        let output = output.code(6);
        assert!(output.stderr.contains("writ") && output.stderr.contains(".db"), "{journal:?} {output:?}");
        assert_eq!(fs::read_to_string(framework.project().join("docs/guide.md")).unwrap(), "changed\n");
        let found = ledger(&memory.join("index.db"), &memory.join("vectors.db"));
        assert!(found.whole && found.transactions == last && last >= committed, "{found:?} {last}");
        assert!(!framework.project().join(".xtask-restore").exists());
        restore(&framework.sandbox, &[]).ok();
        assert_eq!(ledger(&memory.join("index.db"), &memory.join("vectors.db")).transactions, 0);
    }
}

#[test]
fn a_lock_that_is_held_is_named_and_nothing_has_changed() {
    let framework = backed_up(Journal::Wal);
    let index = framework.memory().join("index.db");
    change(&index, "DELETE FROM learnings WHERE id > 10");
    write(&framework.project(), "docs/guide.md", "changed\n");
    let before = without_sidecars(fingerprint(&framework.project(), false));
    let locker = Locker::start(&index, false);
    restore(&framework.sandbox, &["--no-backup"]).code(6).says("keeps the database memory/index.db locked");
    assert_eq!(differences(&before, &without_sidecars(fingerprint(&framework.project(), false))), NONE);
    drop(locker);
    restore(&framework.sandbox, &["--no-backup"]).ok();
    assert_eq!(learnings(&index), 1000);
}

#[test]
fn another_page_size_comes_back_or_is_refused() {
    for journal in [Journal::Wal, Journal::Delete] {
        for open in [false, true] {
            let framework = backed_up(journal);
            let index = framework.memory().join("index.db");
            let before = rows(&index);
            change(
                &index,
                "PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM; DELETE FROM learnings WHERE id > 10",
            );
            if journal == Journal::Wal {
                change(&index, "PRAGMA journal_mode = WAL");
            }
            let mut idle = open.then(|| Observer::start(&index, false));
            let output = restore(&framework.sandbox, &[]);
            let expected = if output.code == 6 { 10 } else { 1000 };
            assert!(output.code == 0 || (open && output.code == 6), "{journal:?} {open}: {output:?}");
            if let Some(idle) = &mut idle {
                assert_eq!(idle.rows(), expected, "{journal:?}");
            }
            assert_eq!(learnings(&index), expected, "{journal:?} {open}");
            shell_sees(&index, expected);
            drop(idle);
            if output.code == 6 {
                restore(&framework.sandbox, &[]).ok();
            }
            assert_eq!(row_differences(&before, &rows(&index)), NONE, "{journal:?} {open}");
        }
    }
}

/// What SQLite can't open any more comes back too, whatever lies beside it.
#[test]
fn a_database_that_is_none_any_more_comes_back() {
    let damage: [fn(&Path); 6] = [
        |index| fs::write(index, "no database at all").unwrap(),
        |index| fs::write(index, "").unwrap(),
        // To SQLite one byte is none.
        |index| fs::write(index, "x").unwrap(),
        |index| fs::remove_file(index).unwrap(),
        |index| {
            let mut bytes = fs::read(index).unwrap();
            bytes[4096..].fill(0xff);
            fs::write(index, bytes).unwrap();
        },
        |index| {
            let bytes = fs::read(index).unwrap();
            fs::write(index, &bytes[..bytes.len() / 2 + 100]).unwrap();
        },
    ];
    for (number, damage) in damage.iter().enumerate() {
        let framework = backed_up(Journal::Wal);
        let index = framework.memory().join("index.db");
        let before = rows(&index);
        delete_and_crash(&index);
        damage(&index);
        let output = restore(&framework.sandbox, &[]);
        assert!(matches!(output.code, 0 | 3), "{number}: {output:?}");
        assert_eq!(row_differences(&before, &rows(&index)), NONE, "{number}");
        shell_sees(&index, 1000);
        // And what was there comes back by undo, however bad it was.
        let output = framework.sandbox.run(&["undo", "--force"]);
        assert!(matches!(output.code, 0 | 3), "{number}: {output:?}");
        framework.sandbox.run(&["redo", "--force"]).code(0);
        assert_eq!(row_differences(&before, &rows(&index)), NONE, "{number}");
    }
}

/// An empty file, and nothing beside it that has anything in it: SQLite takes that for a good database.
#[test]
fn a_database_that_was_emptied_comes_back() {
    for journal in [Journal::Wal, Journal::Delete] {
        let framework = backed_up(journal);
        let index = framework.memory().join("index.db");
        let before = rows(&index);
        change(&index, "PRAGMA wal_checkpoint(TRUNCATE)");
        fs::write(&index, "").unwrap();
        restore(&framework.sandbox, &[]).ok();
        assert_eq!(row_differences(&before, &rows(&index)), NONE, "{journal:?}");
        shell_sees(&index, 1000);
        framework.sandbox.run(&["undo", "--force"]).ok();
        assert_eq!(fs::metadata(&index).unwrap().len(), 0);
        framework.sandbox.run(&["redo", "--force"]).ok();
        assert_eq!(row_differences(&before, &rows(&index)), NONE, "{journal:?}");
    }
}

#[test]
fn files_become_what_they_were_and_nothing_else_is_touched() {
    let framework = Framework::at_rest();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    let before = working_files(&project, &DATABASES);
    let repository = fingerprint(&project.join(".git"), false);
    sandbox.run(&["backup"]).ok();
    scatter(&project);
    let scattered = working_files(&project, &DATABASES);
    let output = restore(sandbox, &[]).ok();
    assert!(output.stdout.ends_with("cargo xtask undo\n"), "{}", output.stdout);
    let mut after = working_files(&project, &DATABASES);
    let later = ["notes/later.md", "new", "new/deep", "new/deep/file"];
    for name in later {
        assert!(after.remove(name.as_bytes()).is_some(), "{name} stays");
    }
    assert_eq!(differences(&before, &after), NONE);
    assert_eq!(differences(&repository, &fingerprint(&project.join(".git"), false)), NONE);
    sandbox.run(&["undo", "--force"]).ok();
    assert_eq!(differences(&scattered, &working_files(&project, &DATABASES)), NONE);
    // Exactly: what is not in the backup goes.
    restore(sandbox, &["--exact"]).ok();
    assert_eq!(differences(&before, &working_files(&project, &DATABASES)), NONE);
    sandbox.run(&["undo", "--force"]).ok();
    assert_eq!(differences(&scattered, &working_files(&project, &DATABASES)), NONE);
    assert!(!project.join(".xtask-restore").exists());
}

/// Changes of every sort: content, mode, removed, added, a file where a folder was, a folder where a link was.
fn scatter(project: &Path) {
    write(project, "README.md", "another\n");
    fs::remove_dir_all(project.join("docs")).unwrap();
    write(project, "docs", "a file where a folder was\n");
    fs::remove_file(project.join("memory/secret.md")).unwrap();
    fs::create_dir(project.join("memory/secret.md")).unwrap();
    write(project, "memory/secret.md/inside", "a folder where a file was\n");
    write(project, "notes/later.md", "later\n");
    write(project, "new/deep/file", "new\n");
    fs::remove_dir_all(project.join("inbox")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        fs::set_permissions(project.join("scripts/run.sh"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(project.join("src"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_file(project.join("link-inside")).unwrap();
        fs::create_dir(project.join("link-inside")).unwrap();
        fs::remove_file(project.join("link-outside")).unwrap();
        symlink("/etc/passwd", project.join("link-outside")).unwrap();
        fs::remove_file(project.join("src/part1.py")).unwrap();
        symlink("part2.py", project.join("src/part1.py")).unwrap();
    }
}

#[test]
fn only_what_is_named_is_put_back() {
    let framework = backed_up(Journal::Wal);
    let (sandbox, project) = (&framework.sandbox, framework.project());
    let index = framework.memory().join("index.db");
    let vectors = framework.memory().join("vectors.db");
    change(&index, "DELETE FROM learnings");
    change(&vectors, "DELETE FROM embeddings");
    write(&project, "docs/guide.md", "changed\n");
    write(&project, "README.md", "changed\n");
    restore(sandbox, &["--only", "memory/index.db"]).ok();
    assert_eq!(learnings(&index), 1000);
    let count = |path: &Path| rows(path)["embeddings"].len();
    assert_eq!(count(&vectors), 0);
    restore(sandbox, &["--only", "docs", "--only", "**/vectors.db"]).ok();
    assert_eq!(fs::read_to_string(project.join("docs/guide.md")).unwrap(), "guide\n");
    assert_eq!(count(&vectors), 1000);
    assert_eq!(fs::read_to_string(project.join("README.md")).unwrap(), "changed\n");
    restore(sandbox, &["--only", "nothing/like/it"]).code(4);
    // Nothing is said of what was not asked for.
    write(&project, "docs/later.md", "later\n");
    let told = sandbox.run(&["restore", "latest", "--only", "docs", "--dry-run"]).ok().stdout;
    let stays: Vec<&str> = told.lines().filter(|line| line.starts_with("stays")).collect();
    assert_eq!(stays, ["stays    docs/later.md (not in the backup; --exact removes it)"]);
    let told = sandbox.run(&["undo", "--dry-run"]).ok().stdout;
    assert!(!told.contains("stays"), "{told}");
    change(&index, "DELETE FROM learnings");
    restore(sandbox, &["--only", "memory/index.db", "--sql-only"]).ok();
    assert_eq!(learnings(&index), 1000);
    shell_sees(&index, 1000);
}

#[test]
fn a_dry_run_leaves_no_trace_and_tells_all() {
    let framework = backed_up(Journal::Delete);
    let (sandbox, project) = (&framework.sandbox, framework.project());
    change(
        &framework.memory().join("index.db"),
        "DELETE FROM learnings WHERE id <= 100; UPDATE learnings SET title = 'x' WHERE id > 990; INSERT INTO learnings VALUES (7000, 'later', '')",
    );
    scatter(&project);
    let (before, data) = (fingerprint(&project, true), fingerprint(&sandbox.data(), true));
    let output = sandbox.run(&["restore", "latest", "--dry-run"]).ok();
    assert_eq!(differences(&before, &fingerprint(&project, true)), NONE);
    assert_eq!(differences(&data, &fingerprint(&sandbox.data(), true)), NONE);
    assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0);
    for line in [
        "replace  README.md (",
        "create   inbox/empty/deeper (a folder)",
        "keep     src/state.py",
        "stays    notes/later.md",
        "replace  memory/index.db: 100 rows appear, 10 change, 1 vanish",
        "keep     memory/vectors.db: ",
    ] {
        assert!(output.stdout.lines().any(|l| l.starts_with(line)), "{line}\n{}", output.stdout);
    }
    let json = sandbox.run(&["restore", "latest", "--dry-run", "--exact", "--json"]).ok().json();
    let index = json["plan"]["databases"].as_array().unwrap().iter().find(|d| d["path"] == "memory/index.db");
    assert_eq!(index.unwrap()["vanish"], 1);
    let changes = json["plan"]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["path"] == "notes/later.md" && change["change"] == "remove"));
    assert_eq!(differences(&before, &fingerprint(&project, true)), NONE);
}

#[test]
fn nobody_to_ask_is_a_refusal() {
    let framework = backed_up(Journal::Wal);
    write(&framework.project(), "README.md", "changed\n");
    let before = without_sidecars(fingerprint(&framework.project(), false));
    framework.sandbox.run(&["restore", "latest"]).code(6).says("--force");
    framework.sandbox.run(&["restore", "latest", "--json"]).code(6);
    assert_eq!(differences(&before, &without_sidecars(fingerprint(&framework.project(), false))), NONE);
    restore(&framework.sandbox, &[]).ok();
    let output = restore(&framework.sandbox, &[]).ok();
    assert!(output.stdout.contains("nothing was changed"), "{}", output.stdout);
    framework.sandbox.run(&["undo"]).code(6).says("--force");
}

/// On a terminal the question is asked, and only yes counts.
#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_only_yes_counts() {
    let framework = backed_up(Journal::Wal);
    let script = framework.sandbox.path("terminal.py");
    fs::write(
        &script,
        "import os, pty, sys\n\
         pid, fd = pty.fork()\n\
         if pid == 0:\n    os.execv(sys.argv[2], [sys.argv[2], 'restore', 'latest', '--color', 'never'])\n\
         seen = b''\n\
         try:\n    while b'[yes/no]' not in seen: seen += os.read(fd, 4096)\n\
         \x20   os.write(fd, sys.argv[1].encode() + b'\\n')\n\
         \x20   while True: seen += os.read(fd, 4096)\n\
         except OSError: pass\n\
         sys.stdout.buffer.write(seen)\n\
         sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    )
    .unwrap();
    let answer = |word: &str| {
        let mut command = framework.sandbox.command("python3");
        command.arg(&script).arg(word).arg(framework.sandbox.program());
        framework.sandbox.output(&mut command)
    };
    for word in ["no", "", "yess", "ye"] {
        write(&framework.project(), "README.md", "changed\n");
        let output = answer(word).code(6);
        assert!(output.stdout.contains("replace  README.md"), "{}", output.stdout);
        assert_eq!(fs::read_to_string(framework.project().join("README.md")).unwrap(), "changed\n", "{word}");
        assert!(!framework.project().join(".xtask-restore").exists());
    }
    answer("yes").ok();
    assert_ne!(fs::read_to_string(framework.project().join("README.md")).unwrap(), "changed\n");
}

/// What was made after a restore, in a folder that it had brought, is not the restore's to take away.
#[test]
fn undo_leaves_what_came_later() {
    let framework = backed_up(Journal::Wal);
    let (sandbox, project) = (&framework.sandbox, framework.project());
    fs::remove_dir_all(project.join("docs")).unwrap();
    restore(sandbox, &[]).ok();
    change(&project.join("docs/later.db"), "CREATE TABLE t(x); INSERT INTO t VALUES (1)");
    write(&project, "docs/later.md", "later\n");
    sandbox.run(&["undo", "--force"]).ok();
    assert!(!project.join("docs/guide.md").exists());
    assert_eq!(rows(&project.join("docs/later.db"))["t"].len(), 1);
    assert_eq!(fs::read_to_string(project.join("docs/later.md")).unwrap(), "later\n");
    sandbox.run(&["redo", "--force"]).ok();
    assert_eq!(fs::read_to_string(project.join("docs/guide.md")).unwrap(), "guide\n");
    assert_eq!(rows(&project.join("docs/later.db"))["t"].len(), 1);
    // Exactly: it is in no backup, and goes; undo brings all of it back.
    restore(sandbox, &["--exact"]).ok();
    assert!(!project.join("docs/later.db").exists() && !project.join("docs/later.md").exists());
    sandbox.run(&["undo", "--force"]).ok();
    assert_eq!(rows(&project.join("docs/later.db"))["t"].len(), 1);
    // A file comes where a folder with a database is.
    fs::remove_file(project.join("README.md")).unwrap();
    fs::create_dir(project.join("README.md")).unwrap();
    change(&project.join("README.md/deep.db"), "CREATE TABLE t(x); INSERT INTO t VALUES (2)");
    restore(sandbox, &[]).ok();
    assert!(project.join("README.md").is_file());
    sandbox.run(&["undo", "--force"]).ok();
    assert_eq!(rows(&project.join("README.md/deep.db"))["t"].len(), 1);
}
