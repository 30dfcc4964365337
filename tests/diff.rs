//! `diff`: what it tells of files and rows is what differs, whatever is on either side; and it only reads.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};
use support::child::Locker;
use support::dice::Dice;
use support::framework::{Framework, write};
use support::tree::{differences, fingerprint, without_sidecars};
use support::{Sandbox, git};

fn sql(database: &Path, batch: &str) {
    Connection::open(database).unwrap().execute_batch(batch).unwrap();
}

/// Adds so many pages that don't get smaller to the database that git ignores.
fn add_noise(sandbox: &Sandbox, pages: u32) {
    let batch = format!(
        "CREATE TABLE noise(a); WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {pages})
         INSERT INTO noise SELECT randomblob(4000) FROM c"
    );
    sql(&sandbox.project().join("memory/index.db"), &batch);
}

/// A commit, a tracked database, and one that git ignores; saved as `first`.
fn saved() -> Sandbox {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    write(&project, ".gitignore", "/memory/\n*.log\n");
    write(&project, "docs/guide.md", "one\n");
    write(&project, "docs/old.md", "old\n");
    write(&project, "run.sh", "#!/bin/sh\n");
    sql(
        &project.join("tracked.db"),
        "CREATE TABLE k(id INTEGER PRIMARY KEY, v); INSERT INTO k VALUES (1, 'a')",
    );
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "One"]);
    fs::create_dir(project.join("memory")).unwrap();
    sql(
        &project.join("memory/index.db"),
        "CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z');
         CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO w VALUES ('p', 1), ('q', 2);
         CREATE INDEX i ON t(a)",
    );
    write(&project, "private.log", "mine\n");
    sandbox.run(&["backup", "--label", "first"]).ok();
    sandbox
}

fn change(project: &Path) {
    write(project, "docs/guide.md", "one\nand two\n");
    write(project, "docs/deep/new.md", "new\n");
    fs::remove_file(project.join("docs/old.md")).unwrap();
    fs::create_dir(project.join("empty")).unwrap();
    sql(&project.join("tracked.db"), "INSERT INTO k VALUES (2, 'b')");
    sql(
        &project.join("memory/index.db"),
        "UPDATE t SET b = 'it''s'||char(27)||char(10) WHERE a = 1; DELETE FROM t WHERE a = 2;
         INSERT INTO t VALUES (4, NULL), (5, x'00ff'); UPDATE w SET v = 1.0 WHERE k = 'p';
         DROP INDEX i; CREATE INDEX i\nON t(b); PRAGMA user_version = 3",
    );
}

fn files(document: &Value) -> Vec<String> {
    let lines = document["files"].as_array().unwrap().iter();
    lines.map(|f| format!("{} {}", f["change"].as_str().unwrap(), f["path"].as_str().unwrap())).collect()
}

/// `path: change +added ~changed -removed` of each database.
fn databases(document: &Value) -> Vec<String> {
    let lines = document["databases"].as_array().unwrap().iter();
    lines
        .map(|d| {
            let counts = ["rows_added", "rows_changed", "rows_removed"].map(|name| d[name].to_string());
            let [added, changed, removed] = counts;
            let (path, change) = (d["path"].as_str().unwrap(), d["change"].as_str().unwrap());
            format!("{path}: {change} +{added} ~{changed} -{removed}")
        })
        .collect()
}

#[test]
fn nothing_differs_and_the_exit_code_is_0() {
    let sandbox = saved();
    for words in [
        &["diff"][..],
        &["diff", "first"],
        &["diff", "now", "first"],
        &["diff", "first", "latest"],
        &["diff", "HEAD"],
        &["diff", "git:main", "first"],
        &["diff", "main", "git:HEAD"],
        &["diff", "--rows", "--only", "docs", "--only", "**/*.db"],
    ] {
        let told = sandbox.run(words).ok().says("no difference between");
        assert_eq!(told.stdout, "", "{words:?}");
        let document = sandbox.run(&[words, &["--json"]].concat()).ok().json();
        assert_eq!((&document["equal"], &document["files"]), (&json!(true), &json!([])), "{words:?}");
    }
}

#[test]
fn files_rows_and_schema_are_told_and_nothing_is_changed() {
    let sandbox = saved();
    let project = sandbox.project();
    change(&project);
    #[cfg(unix)]
    fs::set_permissions(project.join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let look = || (without_sidecars(fingerprint(&project, true)), fingerprint(&sandbox.store(), true));
    let before = look();
    let told = sandbox.run(&["diff", "--rows"]).code(3);
    for line in [
        "changed  docs/guide.md (4 B → 12 B)\n",
        "added    docs/deep/new.md (4 B)\n",
        "removed  docs/old.md (4 B)\n",
        "added    empty (a folder)\n",
        "memory/index.db: 2 rows added, 2 changed, 1 removed; 2 changes of the schema\n",
        "    - CREATE INDEX i ON t(a)\n",
        "    + CREATE INDEX i\n    + ON t(b)\n",
        "  user_version: 0 → 3\n",
        "  t: 2 rows added, 1 changed, 1 removed\n",
        "    ~ rowid=1  b: 'x' → 'it''s\\x1b\\n'\n",
        "    - rowid=2  a=2, b='y'\n",
        "    + rowid=5  a=5, b=x'00ff'\n",
        "    ~ k='p'  v: 1 → 1.0\n",
        "tracked.db: 1 row added\n",
        "    + id=2  v='b'\n",
    ] {
        assert!(told.stdout.contains(line), "no {line:?} in\n{}", told.stdout);
    }
    assert!(!told.stdout.contains('\x1b') && !told.stdout.contains("docs/deep ("), "{}", told.stdout);
    if cfg!(unix) {
        assert!(told.stdout.contains("mode     run.sh (644 → 755)\n"), "{}", told.stdout);
    }
    let document = sandbox.run(&["diff", "--json", "--rows-max", "1"]).code(3).json();
    assert_eq!((&document["before"]["kind"], &document["after"]["kind"]), (&json!("backup"), &json!("now")));
    assert_eq!(document["equal"], json!(false));
    let table = &document["databases"][0]["tables"][0];
    assert_eq!(
        table,
        &json!({"name": "t", "rows_added": 2, "rows_changed": 1, "rows_removed": 1, "rows": [
            {"change": "changed", "key": {"rowid": "1"}, "before": {"b": "'x'"}, "after": {"b": "'it''s\u{1b}\n'"}}
        ]})
    );
    // The other way round is the same story told backwards.
    let back = sandbox.run(&["diff", "now", "latest", "--json"]).code(3).json();
    assert_eq!(databases(&back), ["memory/index.db: changed +1 ~2 -2", "tracked.db: changed +0 ~0 -1"]);
    // A part of it.
    let part = sandbox.run(&["diff", "--only", "memory", "--json"]).code(3).json();
    assert_eq!((files(&part), databases(&part).len()), (vec![], 1));
    sandbox.run(&["diff", "--only", ".gitignore"]).ok();
    let after = look();
    assert_eq!(differences(&before.0, &after.0), Vec::<String>::new());
    assert_eq!(differences(&before.1, &after.1), Vec::<String>::new());
    assert_eq!(
        fs::read_dir(sandbox.path("tmp")).unwrap().count(),
        0,
        "nothing stays in the temporary folder"
    );

    // Between two backups, from a folder that is no project.
    sandbox.run(&["backup", "--label", "second"]).ok();
    let store = sandbox.store();
    let words = ["diff", "first", "second", "--json", "--store", store.to_str().unwrap()];
    let two = sandbox.run_from(support::binary(), &sandbox.path("home"), &words).code(3).json();
    for name in ["files", "same"] {
        assert_eq!(two[name], document[name], "{name}");
    }
    assert_eq!(databases(&two), databases(&document));
}

#[test]
fn a_commit_is_compared_by_what_git_tracks() {
    let sandbox = saved();
    let project = sandbox.project();
    change(&project);
    write(&project, "docs/added.md", "added to git\n");
    git(&project, &["add", "docs/added.md"]);
    git(&project, &["rm", "-q", "--cached", "run.sh"]);
    let told = sandbox.run(&["diff", "HEAD", "now", "--json"]).code(3).json();
    // run.sh lies there still, although git does not track it any more; what was never added is not "added".
    let expected = ["added docs/added.md", "changed docs/guide.md", "removed docs/old.md"];
    assert_eq!(files(&told), expected);
    assert_eq!(databases(&told), ["tracked.db: changed +1 ~0 -0"]);
    assert_eq!(told["not_compared"]["untracked"], 3, "new.md, index.db, private.log");
    assert_eq!(told["before"]["kind"], "commit");
    sandbox.run(&["backup"]).ok();
    let saved = sandbox.run(&["diff", "git:HEAD", "latest", "--json"]).code(3).json();
    assert_eq!((files(&saved), databases(&saved)), (files(&told), databases(&told)));
    assert_eq!(saved["not_compared"]["untracked"], 3);
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "Two"]);
    let commits = sandbox.run(&["diff", "HEAD~1", "HEAD", "--json"]).code(3).json();
    let expected =
        ["added docs/added.md", "added docs/deep/new.md", "changed docs/guide.md", "removed docs/old.md"];
    assert_eq!(files(&commits), expected);
    assert_eq!(databases(&commits), ["tracked.db: changed +1 ~0 -0"]);
    // The same bytes in another form: git's own conversion is told of.
    git(&project, &["config", "core.autocrlf", "true"]);
    write(&project, "docs/guide.md", "one\r\nand two\r\n");
    let crlf = sandbox.run(&["diff", "HEAD"]).code(3).says("git converts some files");
    assert_eq!(crlf.stdout, "changed  docs/guide.md (12 B → 14 B)\n");
}

#[test]
fn a_name_means_one_thing() {
    let sandbox = saved();
    let project = sandbox.project();
    write(&project, "docs/guide.md", "two\n");
    git(&project, &["commit", "-qam", "Two"]);
    git(&project, &["tag", "first", "HEAD~1"]);
    git(&project, &["tag", "2020-01-01"]);
    sandbox.run(&["diff", "first", "HEAD"]).code(3).says("the backup is compared");
    let forced = sandbox.run(&["diff", "git:first", "HEAD", "--json"]).code(3).json();
    assert_eq!(forced["before"]["kind"], "commit");
    sandbox.run(&["diff", "1000", "days", "ago", "HEAD"]).code(4).says("or before");
    sandbox.run(&["diff", "2020-01-01"]).code(4).says("or before");
    sandbox.run(&["diff", "git:2020-01-01"]).ok();
    sandbox.run(&["diff", "nothing-of-that-name"]).code(4).says("git knows no commit of that name either");
    sandbox.run(&["diff", "git:nothing"]).code(4).says("git knows no commit");
    sandbox.run(&["diff", "git:--all"]).code(4);
    // Commits need no store, and backups are missed.
    let empty = sandbox.path("home").join("none");
    let none = ["--store", empty.to_str().unwrap()];
    sandbox.run(&[&["diff", "HEAD~1", "HEAD"], &none[..]].concat()).code(3);
    sandbox.run(&[&["diff"], &none[..]].concat()).code(4).says("there is no store");
}

/// What can't be compared is named, counts as different, and hides nothing else.
#[test]
fn databases_that_cannot_be_read_hide_nothing() {
    let sandbox = saved();
    let project = sandbox.project();
    for name in ["damaged", "gutted", "locked", "scrambled", "gone"] {
        sql(
            &project.join(format!("memory/{name}.db")),
            "PRAGMA journal_mode = DELETE; CREATE TABLE t(a, b);
             WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2000)
             INSERT INTO t SELECT x, 'row ' || x FROM c",
        );
    }
    sandbox.run(&["backup"]).ok();
    change(&project);
    let damaged = project.join("memory/damaged.db");
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[4096..].fill(0xee);
    fs::write(&damaged, bytes).unwrap();
    fs::write(project.join("memory/gutted.db"), "").unwrap();
    fs::write(project.join("memory/gutted.db-wal"), "what was committed last").unwrap();
    fs::write(project.join("memory/scrambled.db"), "no database any more").unwrap();
    fs::remove_file(project.join("memory/gone.db")).unwrap();
    let locker = Locker::start(&project.join("memory/locked.db"), true);
    let document = sandbox.run(&["diff", "--json"]).code(3).json();
    assert_eq!(
        databases(&document),
        [
            "memory/damaged.db: incomparable +0 ~0 -0",
            "memory/gone.db: removed +0 ~0 -2000",
            "memory/gutted.db: incomparable +0 ~0 -0",
            "memory/index.db: changed +2 ~2 -1",
            "memory/locked.db: incomparable +0 ~0 -0",
            "memory/scrambled.db: incomparable +0 ~0 -0",
            "tracked.db: changed +1 ~0 -0",
        ]
    );
    let reason = |at: usize| document["databases"][at]["reason"].as_str().unwrap().to_owned();
    assert!(
        reason(4).contains("keeps it locked") && reason(2) == "now there is a file that is no database",
        "{document:#}"
    );
    assert!(!reason(0).contains("xtask-diff-"), "{document:#}");
    assert_eq!(files(&document).len(), 4, "{document:#}");
    assert!(project.join("memory/gutted.db-wal").exists());
    drop(locker);
    // A backup that holds such a one says so, also where the bytes are the same.
    sandbox.run(&["backup", "--label", "as-it-is"]).code(3);
    let document = sandbox.run(&["diff", "as-it-is", "--json"]).code(3).json();
    let damaged =
        document["findings"].as_array().unwrap().iter().find(|one| one["path"] == "memory/damaged.db");
    let is_incomparable =
        databases(&document).iter().any(|one| one.starts_with("memory/damaged.db: incompar"));
    assert!(damaged.is_some() || is_incomparable, "{document:#}");
    assert_eq!(document["equal"], json!(false));
}

/// A file that can't be read is not equal to anything.
#[cfg(unix)]
#[test]
fn what_cannot_be_read_counts_as_changed() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = saved();
    let Some(prefix) = sandbox.unprivileged() else { return };
    let guide = sandbox.project().join("docs/guide.md");
    sandbox.run_under(&prefix, &["diff"]).ok();
    fs::set_permissions(&guide, fs::Permissions::from_mode(0o000)).unwrap();
    let told = sandbox.run_under(&prefix, &["diff", "--json"]).code(3).json();
    assert_eq!(files(&told), ["changed docs/guide.md"]);
    assert!(told["findings"].to_string().contains("docs/guide.md"), "{told:#}");
    // A folder whose content is hidden: nothing in it passes for removed without a word.
    fs::set_permissions(&guide, fs::Permissions::from_mode(0o644)).unwrap();
    let docs = sandbox.project().join("docs");
    fs::set_permissions(&docs, fs::Permissions::from_mode(0o000)).unwrap();
    let hidden = sandbox.run_under(&prefix, &["diff"]);
    fs::set_permissions(&docs, fs::Permissions::from_mode(0o755)).unwrap();
    let hidden = hidden.code(3).says("docs");
    assert_eq!(hidden.stdout, "mode     docs (755 → 000)\n");
}

/// A disk without room for the copies: a failure with the way out, and nothing stays.
#[cfg(target_os = "linux")]
#[test]
fn a_full_temporary_folder_is_told_and_left_empty() {
    let sandbox = saved();
    add_noise(&sandbox, 1000);
    let Some(prefix) = support::system::small_disk(1024, &sandbox.path("tmp")) else { return };
    let script = "code=0; \"$XTASK\" diff || code=$?; ls \"$TMPDIR\" | sed 's/^/left: /'; exit $code";
    let told = sandbox.shell_under(&prefix, script).code(1).says("no room for the databases").says("TMPDIR");
    assert!(!told.stdout.contains("left: "), "{told:?}");
}

/// The page image of a database is damaged in the archive: its rows are compared by the dump.
#[test]
fn a_damaged_image_is_compared_by_its_dump() {
    let sandbox = saved();
    add_noise(&sandbox, 200);
    let taken = sandbox.run(&["backup", "--label", "noisy", "--json"]).ok().json();
    sql(&sandbox.project().join("memory/index.db"), "DELETE FROM t WHERE a = 1");
    let archive = Path::new(taken["archive"].as_str().unwrap());
    let mut bytes = fs::read(archive).unwrap();
    let (index, _) = support::forge::index(&bytes);
    let entries = index["entries"].as_array().unwrap();
    let image = entries.iter().find(|entry| entry["name"] == "backup/databases/memory/index.db").unwrap();
    let at = usize::try_from(image["offset"].as_u64().unwrap()).unwrap();
    bytes[at + 2000] ^= 0x55;
    fs::write(archive, bytes).unwrap();
    let document = sandbox.run(&["diff", "noisy", "--json"]).code(3).json();
    assert_eq!(databases(&document), ["memory/index.db: changed +0 ~0 -1"]);
    assert!(document["findings"].to_string().contains("image-damaged"), "{document:#}");
}

/// Names of every kind, in a project like the real one.
#[test]
fn hostile_names_are_compared_and_harmless() {
    let mut framework = Framework::at_rest();
    framework.release();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    sandbox.run(&["backup"]).ok();
    sandbox.run(&["diff"]).ok();
    write(&project, "docs/-x \x1b[31m\n.md", "new\n");
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        fs::write(project.join(std::ffi::OsStr::from_bytes(b"docs/caf\xe9.md")), "other\n").unwrap();
    }
    sql(
        &project.join("memory/index.db"),
        "CREATE TABLE \"a\x1b[31m\nb\"(\"c\x1b\nd\"); INSERT INTO \"a\x1b[31m\nb\" VALUES ('\x1b[2J')",
    );
    let told = sandbox.run(&["diff", "--rows"]).code(3);
    assert!(!told.stdout.contains('\x1b') && !told.stderr.contains('\x1b'), "{told:?}");
    assert!(told.stdout.contains("  a\\x1b[31m\\nb: 1 row added\n"), "{}", told.stdout);
    assert!(told.stdout.contains("added    docs/-x \\x1b[31m\\n.md (4 B)\n"), "{}", told.stdout);
    let document = sandbox.run(&["diff", "--json"]).code(3).json();
    if cfg!(target_os = "linux") {
        assert!(document["files"].to_string().contains("caf\\\\xe9.md"), "{document:#}");
    }
}

fn value(dice: &mut Dice) -> Sql {
    match dice.roll(8) {
        0 => Sql::Null,
        1 | 2 => Sql::Integer(dice.roll(9) as i64 - 4),
        3 => Sql::Real(dice.roll(9) as f64 / 2.0 + 0.25),
        4 => Sql::Blob(vec![dice.roll(256) as u8; dice.roll(4) as usize]),
        _ => Sql::Text(dice.of(&["", "a", "A", "é", "z'z", "😀", "1"]).to_string()),
    }
}

/// Tables, and what their rows are told apart by.
const TABLES: [(&str, &str, &[usize]); 5] = [
    ("plain", "CREATE TABLE plain(a, b)", &[0]),
    ("numbered", "CREATE TABLE numbered(a INTEGER PRIMARY KEY, b)", &[0]),
    ("named", "CREATE TABLE named(a TEXT PRIMARY KEY, b)", &[0]),
    ("without", "CREATE TABLE without(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID", &[0, 1]),
    ("hidden", "CREATE TABLE hidden(rowid, oid, _rowid_)", &[0, 1, 2]),
];

/// Rows by key, each as often as it is there.
fn by_key(database: &Path, table: &str, key: &[usize]) -> BTreeMap<String, Vec<String>> {
    let connection = Connection::open(database).unwrap();
    let columns = if table == "plain" || table == "named" { "rowid, *" } else { "*" };
    let mut statement = connection.prepare(&format!("SELECT {columns} FROM {table}")).unwrap();
    let count = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next().unwrap() {
        let values: Vec<String> =
            (0..count).map(|at| format!("{:?}", row.get::<_, Sql>(at).unwrap())).collect();
        let key: Vec<&str> = key.iter().map(|at| values[*at].as_str()).collect();
        found.entry(key.join("|")).or_insert_with(Vec::new).push(values.join("|"));
    }
    found
}

#[test]
fn generated_databases_are_compared_as_brute_force_does() {
    for seed in [1_u64, 77, 4242] {
        let mut dice = Dice::new(seed);
        let sandbox = Sandbox::new();
        let project = sandbox.project();
        let (now, then) = (project.join("x.db"), sandbox.path("then.db"));
        let connection = Connection::open(&now).unwrap();
        connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
        let fill = |dice: &mut Dice, rows: u64| {
            for (table, create, _) in TABLES {
                let marks = if create.contains("oid") { "?1, ?2, ?3" } else { "?1, ?2" };
                let sql = format!("INSERT OR IGNORE INTO {table} VALUES ({marks})");
                for _ in 0..rows {
                    let values: Vec<Sql> = (0..marks.matches('?').count()).map(|_| value(dice)).collect();
                    // A value that the key does not take is left out.
                    let _ = connection.execute(&sql, rusqlite::params_from_iter(values));
                }
            }
        };
        TABLES.iter().for_each(|(_, create, _)| connection.execute_batch(create).unwrap());
        fill(&mut dice, 150);
        sandbox.run(&["backup"]).ok();
        fs::copy(&now, &then).unwrap();
        for (table, ..) in TABLES {
            let column = if table == "hidden" { "oid" } else { "b" };
            for _ in 0..6 {
                let (from, to, gone) = (value(&mut dice), value(&mut dice), value(&mut dice));
                let update = format!("UPDATE OR IGNORE {table} SET {column} = ?1 WHERE {column} IS ?2");
                let _ = connection.execute(&update, [to, from]);
                let delete = format!("DELETE FROM {table} WHERE {column} IS ?1 AND abs(random()) % 2");
                connection.execute(&delete, [gone]).unwrap();
            }
        }
        fill(&mut dice, 12);
        let document = sandbox.run(&["diff", "--json", "--rows-max", "10000"]).code(3).json();
        let told = &document["databases"][0]["tables"];
        let mut seen = 0;
        for (table, _, key) in TABLES {
            let (old, new) = (by_key(&then, table, key), by_key(&now, table, key));
            let (mut added, mut changed, mut removed) = (0, 0, 0);
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let count = |rows: Option<&Vec<String>>| rows.map_or(0, Vec::len);
                let (before, after) = (count(old.get(key)), count(new.get(key)));
                added += after.saturating_sub(before);
                removed += before.saturating_sub(after);
                changed += usize::from(before == 1 && after == 1 && old[key] != new[key]);
            }
            let one = told.as_array().unwrap().iter().find(|one| one["name"] == table);
            let counts = |name: &str| one.map_or(json!(0), |one| one[name].clone());
            let found = ["rows_added", "rows_changed", "rows_removed"].map(counts);
            assert_eq!(found, [json!(added), json!(changed), json!(removed)], "{table}, seed {seed}");
            // Every row that is counted is listed.
            let listed = one.map_or(0, |one| one["rows"].as_array().unwrap().len());
            assert_eq!(listed, added + changed + removed, "{table}, seed {seed}");
            seen += listed;
        }
        assert!(seen > 60, "too little happened: {seen}");
    }
}

/// Neither of two large databases is held in memory, and Ctrl-C leaves nothing behind.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat_and_an_interrupt_leaves_nothing() {
    const MEGABYTES: u64 = 160;
    let sandbox = Sandbox::new();
    let database = sandbox.project().join("large.db");
    let connection = Connection::open(&database).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, a, b);
             CREATE TABLE u(a, b);
             WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {})
             INSERT INTO t SELECT x, x * 7, zeroblob(1000) FROM c;
             INSERT INTO u SELECT a, hex(a) FROM t",
            MEGABYTES * 1000
        ))
        .unwrap();
    sandbox.run(&["backup", "--no-sql"]).ok();
    // One row in a hundred.
    connection
        .execute_batch("UPDATE t SET a = -a WHERE id % 100 = 7; DELETE FROM u WHERE rowid % 100 = 3")
        .unwrap();
    drop(connection);
    let start = |words: &[&str]| {
        let mut command = sandbox.command(support::binary());
        command.args(words).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.spawn().unwrap()
    };
    let (status, peak_kib) = support::system::peak(start(&["diff", "--rows-max", "2000"]));
    assert_eq!(status.code(), Some(3));
    assert!(peak_kib > 1024 && peak_kib < MEGABYTES * 1024 / 2, "{peak_kib} KiB");
    let document = sandbox.run(&["diff", "--json"]).code(3).json();
    let changed = MEGABYTES * 10;
    assert_eq!(databases(&document), [format!("large.db: changed +0 ~{changed} -{changed}")]);

    let tmp = sandbox.path("tmp");
    let mut child = start(&["diff"]);
    let is_there = || fs::read_dir(&tmp).unwrap().next().is_some();
    while !is_there() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!is_there(), "the temporary folder is not empty");
}
