//! `salvage`: of a database that was damaged in every way that a disk knows, all rows that can be had come back, none
//! of an undamaged page is altered or invented, and what the report says is true. The test knows what was damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use support::dice::Dice;
use support::killing::is_full;
use support::{Output, Sandbox, side_by_side};

/// Rows of each table: by their rowid, or by all of their values where there is none.
type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// So large a database, in rows per table.
const ROWS: u64 = 1200;
const ROWS_FULL: u64 = 24_000;

fn word(dice: &mut Dice, length: u64) -> String {
    (0..length).map(|_| *dice.of(b"abcdefghijklmnop ") as char).collect()
}

/// Tables of every make; some rows and one table are deleted again, so that there are free pages.
fn fill(path: &Path, rows: u64, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE plain(a INTEGER, b TEXT, c REAL, d BLOB);
             CREATE TABLE noted(id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INTEGER);
             CREATE INDEX noted_name ON noted(name); CREATE INDEX noted_n ON noted(n) WHERE n > 500;
             CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
             CREATE TABLE keyed(k TEXT, s INTEGER, v TEXT, PRIMARY KEY (k, s)) WITHOUT ROWID;
             CREATE INDEX keyed_v ON keyed(v);
             CREATE TABLE large(id INTEGER PRIMARY KEY, body TEXT, bytes BLOB);
             CREATE TABLE only_once(u TEXT UNIQUE, w REAL);
             CREATE TABLE strict(i INTEGER, t TEXT) STRICT;
             CREATE VIRTUAL TABLE found USING fts5(title, body);
             CREATE TABLE gone(x);
             CREATE VIEW seen AS SELECT * FROM plain;
             CREATE TRIGGER kept AFTER INSERT ON plain BEGIN DELETE FROM counted WHERE id = -1; END;
             PRAGMA user_version = 7; PRAGMA application_id = 99;",
        )
        .unwrap();
    let transaction = connection.transaction().unwrap();
    for i in 1..=rows {
        let blob: Vec<u8> = (0..dice.roll(40)).map(|_| dice.roll(256) as u8).collect();
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            transaction.prepare_cached(sql).unwrap().execute(values).unwrap();
        };
        let number = dice.roll(1 << 40) as i64;
        let length = 5 + dice.roll(70);
        run(
            "INSERT INTO plain VALUES (?,?,?,?)",
            &[&number, &word(&mut dice, length), &(number as f64 / 7.0), &blob],
        );
        let n = dice.roll(1000) as i64;
        run("INSERT INTO noted VALUES (?,?,?)", &[&(i as i64 * 3), &word(&mut dice, 20), &n]);
        let length = 10 + dice.roll(50);
        run("INSERT INTO counted(v) VALUES (?)", &[&word(&mut dice, length)]);
        run("INSERT INTO keyed VALUES (?,?,?)", &[&word(&mut dice, 9), &(i as i64), &word(&mut dice, 30)]);
        run("INSERT INTO strict VALUES (?,?)", &[&(i as i64), &word(&mut dice, 25)]);
        run("INSERT INTO gone VALUES (?)", &[&word(&mut dice, 100)]);
        if i % 2 == 0 {
            run(
                "INSERT INTO only_once VALUES (?,?)",
                &[&format!("{} {i}", word(&mut dice, 9)), &(number as f64)],
            );
        }
        if i % 20 == 0 {
            let length = *dice.of(&[100, 3000, 9000]);
            let bytes: Vec<u8> = (0..*dice.of(&[10, 6000])).map(|_| 1 + dice.roll(255) as u8).collect();
            run("INSERT INTO large VALUES (NULL,?,?)", &[&word(&mut dice, length), &bytes]);
        }
        if i % 10 == 0 {
            run("INSERT INTO found VALUES (?,?)", &[&word(&mut dice, 20), &word(&mut dice, 150)]);
        }
    }
    transaction
        .execute_batch(
            "DELETE FROM plain WHERE a % 17 = 0; DELETE FROM counted WHERE id % 9 = 0; DROP TABLE gone",
        )
        .unwrap();
    transaction.commit().unwrap();
}

fn reader(path: &Path) -> Connection {
    let uri = format!("file:{}?immutable=1", path.display());
    Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI).unwrap()
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(value) => format!("i{value}"),
        ValueRef::Real(value) => format!("r{:x}", value.to_bits()),
        ValueRef::Text(bytes) => format!("t{}", String::from_utf8_lossy(bytes)),
        ValueRef::Blob(bytes) => format!("b{bytes:?}"),
    }
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

fn is_keyed(table: &str) -> bool {
    ["keyed", "found_idx", "found_config"].contains(&table)
}

/// What a full-text index makes of its rows.
fn derived(table: &str) -> bool {
    ["found_data", "found_idx", "found_docsize", "found_config"].contains(&table)
}

/// All rows, as far as SQLite reads them: a plain dump of a damaged database has no more.
fn rows(path: &Path) -> Rows {
    let connection = reader(path);
    let mut all = Rows::new();
    for table in tables(&connection).unwrap_or_default() {
        let found = all.entry(table.clone()).or_default();
        let keyed = is_keyed(&table);
        let what = if keyed { "*" } else { "rowid, *" };
        let Ok(mut statement) = connection.prepare(&format!("SELECT {what} FROM \"{table}\"")) else {
            continue;
        };
        let count = statement.column_count();
        let Ok(mut rows) = statement.query([]) else { continue };
        while let Ok(Some(row)) = rows.next() {
            let values: Vec<String> = (0..count).map(|i| shown(row.get_ref(i).unwrap())).collect();
            let key = if keyed { values.join("|") } else { values[0].clone() };
            found.insert(key, values[usize::from(!keyed)..].join("|"));
        }
    }
    all
}

/// Records that were put aside, as rows of their tables.
fn aside(
    path: &Path,
    table: &str,
    columns: usize,
    rowid_column: Option<usize>,
) -> BTreeSet<(String, String)> {
    let connection = reader(path);
    let sql = "SELECT * FROM lost_and_found WHERE \"table\" = ?1";
    let Ok(mut statement) = connection.prepare(sql) else { return BTreeSet::new() };
    let width = statement.column_count();
    let mut found = BTreeSet::new();
    let mut rows = statement.query([table]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let rowid = shown(row.get_ref(1).unwrap());
        let mut values: Vec<String> =
            (0..columns.min(width - 4)).map(|i| shown(row.get_ref(4 + i).unwrap())).collect();
        if let Some(at) = rowid_column.filter(|at| values.get(*at).is_some_and(|value| value == "null")) {
            values[at] = rowid.clone();
        }
        let all = values.join("|");
        found.insert((if is_keyed(table) { all.clone() } else { rowid }, all));
    }
    found
}

/// What the undamaged file is like: rows, and which pages each of them lives on.
struct Truth {
    bytes: Vec<u8>,
    page: usize,
    rows: Rows,
    /// By table and rowid: its page first, then its overflow pages.
    lives: BTreeMap<(String, i64), Vec<usize>>,
    /// Pages of tables WITHOUT ROWID and of indexes, by name.
    interior: Vec<usize>,
    columns: BTreeMap<String, (usize, Option<usize>)>,
}

impl Truth {
    fn of(path: &Path) -> Truth {
        let bytes = fs::read(path).unwrap();
        let connection = Connection::open(path).unwrap();
        let page: usize =
            connection.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0)).unwrap() as usize;
        let mut statement = connection.prepare("SELECT name, pageno, pagetype FROM dbstat").unwrap();
        let mut found = statement.query([]).unwrap();
        let (mut lives, mut interior) = (BTreeMap::new(), Vec::new());
        while let Some(row) = found.next().unwrap() {
            let (name, number, kind): (String, i64, String) =
                (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
            let number = number as usize;
            match kind.as_str() {
                "leaf" if number > 1 => leaf(&bytes, page, number, &name, &mut lives),
                "internal" => interior.push(number),
                _ => {}
            }
        }
        let mut columns = BTreeMap::new();
        for table in tables(&connection).unwrap() {
            let mut statement = connection.prepare("SELECT type, pk FROM pragma_table_info(?1)").unwrap();
            let all: Vec<(String, i64)> = statement
                .query_map([&table], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            let keys = all.iter().filter(|(_, key)| *key > 0).count();
            let at = all.iter().position(|(kind, key)| keys == 1 && *key > 0 && kind == "INTEGER");
            columns.insert(table, (all.len(), at));
        }
        Truth { page, rows: rows(path), lives, interior, columns, bytes }
    }
}

fn varint(bytes: &[u8]) -> (u64, usize) {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(8).enumerate() {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return (value, i + 1);
        }
    }
    (value << 8 | u64::from(bytes[8]), 9)
}

/// The rows of a leaf of a table.
fn leaf(
    bytes: &[u8],
    size: usize,
    number: usize,
    name: &str,
    lives: &mut BTreeMap<(String, i64), Vec<usize>>,
) {
    let at = |number: usize| (number - 1) * size;
    let page = &bytes[at(number)..at(number + 1)];
    if page[0] != 13 {
        return;
    }
    let two = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let next = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    for i in 0..two(3) {
        let mut place = two(8 + 2 * i);
        let (length, used) = varint(&page[place..]);
        place += used;
        let (rowid, used) = varint(&page[place..]);
        place += used;
        let mut pages = vec![number];
        let length = length as usize;
        if length > size - 35 {
            let min = (size - 12) * 32 / 255 - 23;
            let fits = min + (length - min) % (size - 4);
            let local = if fits <= size - 35 { fits } else { min };
            let mut follow = next(&page[place + local..]);
            while follow != 0 {
                pages.push(follow);
                follow = next(&bytes[at(follow)..]);
            }
        }
        lives.insert((name.to_owned(), rowid as i64), pages);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Zeros,
    Garbage,
    /// One bit.
    Flip,
    /// Some bytes.
    Bytes,
    /// The file ends before, or in it.
    Cut,
}

/// Damages a copy; what happened to each page.
fn damage(truth: &Truth, dice: &mut Dice) -> (Vec<u8>, BTreeMap<usize, Damage>) {
    let mut bytes = truth.bytes.clone();
    let pages = bytes.len() / truth.page;
    let mut hit = BTreeMap::new();
    if dice.roll(6) == 0 {
        let keep = bytes.len() / 2 + dice.place(bytes.len() / 2);
        bytes.truncate(keep);
        hit.extend((keep / truth.page + 1..=pages).map(|page| (page, Damage::Cut)));
        return (bytes, hit);
    }
    let one = *dice.of(&[Damage::Zeros, Damage::Garbage, Damage::Flip, Damage::Bytes]);
    let mixed = dice.roll(2) == 0;
    for _ in 0..*dice.of(&[1, 1, 2, 3, 6, 15]) {
        // Page 1 has a test of its own.
        let page = match dice.roll(6) {
            0 => *dice.of(&truth.interior),
            _ => 2 + dice.place(pages - 1),
        };
        let how = if mixed {
            *dice.of(&[Damage::Zeros, Damage::Garbage, Damage::Flip, Damage::Bytes])
        } else {
            one
        };
        let place = (page - 1) * truth.page;
        let content = &mut bytes[place..place + truth.page];
        match how {
            Damage::Zeros | Damage::Cut => content.fill(0),
            Damage::Garbage => content.iter_mut().for_each(|byte| *byte = dice.roll(256) as u8),
            Damage::Flip => content[dice.place(truth.page)] ^= 1 << dice.roll(8),
            Damage::Bytes => {
                for _ in 0..16 {
                    let at = if dice.roll(2) == 0 { dice.place(40) } else { dice.place(truth.page) };
                    content[at] = dice.roll(256) as u8;
                }
            }
        }
        // What was worse before stays so.
        let worst = hit.get(&page).copied().filter(|before| !matches!(before, Damage::Flip | Damage::Bytes));
        hit.insert(page, worst.unwrap_or(how));
    }
    (bytes, hit)
}

/// What the shell's `.recover` makes of it.
fn recovered(shell: &Path, file: &Path, scratch: &Path) -> Option<Rows> {
    let to = scratch.join("recovered.db");
    drop(fs::remove_file(&to));
    let mut reads = Command::new(shell)
        .arg(file)
        .arg(".recover")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sql = reads.stdout.take().unwrap();
    let mut writes =
        Command::new(shell).arg(&to).stdin(sql).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    writes.wait().unwrap();
    reads.wait().unwrap();
    to.exists().then(|| rows(&to))
}

fn is_in(rowid: i64, ranges: &Value) -> bool {
    ranges.as_array().unwrap().iter().any(|range| {
        range[0].as_i64().is_none_or(|low| low <= rowid) && range[1].as_i64().is_none_or(|high| rowid <= high)
    })
}

fn rowid(key: &str) -> i64 {
    key.strip_prefix('i').unwrap().parse().unwrap()
}

fn remove(path: &Path) {
    drop(fs::remove_file(path));
    drop(fs::remove_file(format!("{}.report.json", path.display())));
}

fn salvage(sandbox: &Sandbox, file: &Path, to: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["salvage", file.to_str().unwrap(), "--to", to.to_str().unwrap(), "--json"];
    arguments.extend(more);
    sandbox.run(&arguments)
}

#[track_caller]
fn check(path: &Path, seed: u64) {
    let told: String = reader(path).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(told, "ok", "{seed}");
}

/// How many rows that truly existed were had: by us, by a plain dump, by the shell.
#[derive(Debug, Default)]
struct Score {
    ours: usize,
    dump: usize,
    shell: usize,
}

/// One damaged copy: everything that is promised, held against the truth.
fn hold(sandbox: &Sandbox, truth: &Truth, recover: Option<&Path>, seed: u64, score: &mut Score) {
    let (bytes, hit) = damage(truth, &mut Dice::new(seed));
    let (file, to) = (sandbox.path("damaged.db"), sandbox.path("new.db"));
    remove(&to);
    fs::write(&file, &bytes).unwrap();
    let output = salvage(sandbox, &file, &to, &[]);
    assert!([0, 3].contains(&output.code), "{seed}: {output:?}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "{seed}: the source was changed");
    let report = output.json();
    let beside = fs::read(format!("{}.report.json", to.display())).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&beside).unwrap(), report);
    check(&to, seed);
    let words = |path: &Path| -> BTreeSet<i64> {
        let letters: Vec<String> = ('a'..='p').map(|letter| format!("{letter}*")).collect();
        let sql = format!("SELECT rowid FROM found WHERE found MATCH '{}'", letters.join(" OR "));
        let connection = reader(path);
        let mut statement = connection.prepare(&sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let in_index = words(&to);
    let (new, dump) = (rows(&to), rows(&file));
    let shell = recover.and_then(|shell| recovered(shell, &file, &sandbox.path("tmp")));
    // What is altered in place need not show; where it was is looked at below.
    let any_in_place = hit.values().any(|how| matches!(how, Damage::Flip | Damage::Bytes));
    if output.code == 0 && !any_in_place {
        let other = truth.rows.iter().find(|(name, rows)| !derived(name) && new.get(*name) != Some(rows));
        assert_eq!(other, None, "{seed}");
    }
    for (name, wanted) in truth.rows.iter().filter(|(name, _)| !derived(name)) {
        let none = BTreeMap::new();
        let got = new.get(name).unwrap_or(&none);
        let (columns, rowid_column) = truth.columns[name];
        let aside = aside(&to, name, columns, rowid_column);
        let is_had = |(key, row): &(&String, &String)| {
            got.get(*key) == Some(row) || aside.contains(&((*key).clone(), (*row).clone()))
        };
        let ours = wanted.iter().filter(is_had).count();
        let of = |rows: &Rows| {
            let theirs = rows.get(name).unwrap_or(&none);
            wanted.iter().filter(|(key, row)| theirs.get(*key) == Some(row)).count()
        };
        score.ours += ours;
        score.dump += of(&dump);
        assert!(ours >= of(&dump), "{seed}: {name}: {ours} rows, a dump has {}: {hit:?}", of(&dump));
        if let Some(shell) = &shell {
            score.shell += of(shell);
            assert!(ours >= of(shell), "{seed}: {name}: {ours} rows, .recover has {}: {hit:?}", of(shell));
        }
        let table = report["tables"].as_array().unwrap().iter().find(|table| table["table"] == **name);
        let table = table.unwrap_or_else(|| panic!("{seed}: nothing is told of {name}"));
        numbers_are_true(seed, table, wanted, got);
        if name == "found_content" {
            let missing = wanted
                .iter()
                .filter(|(key, row)| got.get(*key) == Some(row) && !in_index.contains(&rowid(key)));
            assert_eq!(missing.count(), 0, "{seed}: words can't be found");
        }
        if !is_keyed(name) {
            rowids_are_true(seed, truth, &hit, name, table, wanted, got);
        }
    }
}

fn numbers_are_true(
    seed: u64,
    table: &Value,
    wanted: &BTreeMap<String, String>,
    got: &BTreeMap<String, String>,
) {
    let number = |name: &str| table[name].as_u64().unwrap();
    let name = &table["table"];
    assert_eq!(number("read") + number("doubtful"), got.len() as u64, "{seed}: {name}");
    let wrong = got.iter().filter(|(key, row)| wanted.get(*key) != Some(row)).count() as u64;
    let lost = wanted.keys().filter(|key| !got.contains_key(*key)).count() as u64;
    // Where values are the key, an altered one counts as one lost and one that is wrong.
    let altered = if table["doubtful_rowids"].as_array().unwrap().is_empty() { wrong } else { 0 };
    assert!(number("lost") <= lost, "{seed}: {name}: {lost} lost, told {}", number("lost"));
    if let Some(most) = table["lost_at_most"].as_u64() {
        assert!(lost <= most + altered, "{seed}: {name}: {lost} lost, told at most {most}");
    }
}

fn rowids_are_true(
    seed: u64,
    truth: &Truth,
    hit: &BTreeMap<usize, Damage>,
    name: &str,
    table: &Value,
    wanted: &BTreeMap<String, String>,
    got: &BTreeMap<String, String>,
) {
    if table["shortened"] == true {
        return; // its ranges are not all told, and that is
    }
    let doubtful = |key: &str| is_in(rowid(key), &table["doubtful_rowids"]);
    let count = got.keys().filter(|key| doubtful(key)).count() as u64;
    assert_eq!(count, table["doubtful"].as_u64().unwrap(), "{seed}: {name}");
    for (key, row) in got.iter().filter(|(key, _)| !doubtful(key)) {
        let lives = truth.lives.get(&(name.to_owned(), rowid(key)));
        let how: Vec<Damage> =
            lives.into_iter().flatten().filter_map(|page| hit.get(page)).copied().collect();
        let in_place = how.iter().any(|how| matches!(how, Damage::Flip | Damage::Bytes));
        let whole_pages = how.iter().any(|how| !matches!(how, Damage::Flip | Damage::Bytes));
        // SQLite has no checksums: what is altered in place need not show.
        assert!(
            wanted.get(key) == Some(row) || in_place,
            "{seed}: {name} {key} is altered or invented: {how:?}"
        );
        assert!(!whole_pages, "{seed}: {name} {key} was on a damaged page and is not doubtful: {how:?}");
    }
    for key in wanted.keys().filter(|key| !got.contains_key(*key)) {
        let is_told =
            is_in(rowid(key), &table["lost_rowids"]) || is_in(rowid(key), &table["maybe_lost_rowids"]);
        assert!(is_told, "{seed}: {name} {key} is lost, and nothing tells of it: {table}");
    }
    for key in got.keys() {
        assert!(!is_in(rowid(key), &table["lost_rowids"]), "{seed}: {name} {key} is told lost, and is there");
    }
}

#[test]
fn damaged_copies_give_what_can_be_had_and_the_report_is_true() {
    let folder = Sandbox::new();
    let base = folder.path("base.db");
    fill(&base, if is_full() { ROWS_FULL } else { ROWS }, 1);
    let truth = Truth::of(&base);
    let copies = if is_full() { 200 } else { 12 };
    let recover = support::system::recover_shell().map(|folder| folder.join("sqlite3"));
    let scores = side_by_side(&[0, 1], |half| {
        let (mut sandbox, mut score) = (Sandbox::new(), Score::default());
        // What is read here is compared with what the shell reads: it must not help.
        sandbox.env("PATH", "/nowhere");
        for seed in (half..copies).step_by(2) {
            hold(&sandbox, &truth, recover.as_deref(), seed, &mut score);
            println!("copy {seed} holds: {score:?}");
        }
        score
    });
    println!("{copies} copies of {} bytes: {scores:?}", truth.bytes.len());
    assert!(scores.iter().all(|score| score.ours > score.dump));
    assert!(recover.is_none() || scores.iter().all(|score| score.shell > 0));
}

#[test]
fn an_undamaged_database_comes_out_the_same_with_exit_0() {
    for settings in [
        "",
        "PRAGMA page_size = 512; PRAGMA auto_vacuum = 1;",
        "PRAGMA page_size = 65536; PRAGMA encoding = 'UTF-16le'; PRAGMA auto_vacuum = 2;",
        "PRAGMA encoding = 'UTF-16be'; PRAGMA journal_mode = wal;",
    ] {
        let sandbox = Sandbox::new();
        let (base, to) = (sandbox.path("base.db"), sandbox.path("new.db"));
        let connection = Connection::open(&base).unwrap();
        connection.execute_batch(settings).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE odd(\"a \"\"b\" TEXT COLLATE NOCASE, \"select\" REAL, rowid TEXT, PRIMARY KEY (rowid));
                 INSERT INTO odd VALUES ('x' || char(0) || 'y', -0.0, 'k'), (CAST(x'ff00d8ff' AS TEXT), 5e-324, 'l'),
                                        (NULL, 9e999, 'm'), (x'', 2, 'n');
                 CREATE TABLE made(x INT, y AS (x * 2), z TEXT AS (x || 'z') STORED); INSERT INTO made VALUES (1), (2);
                 CREATE TABLE later(a); INSERT INTO later VALUES (1); ALTER TABLE later ADD COLUMN b DEFAULT 'new';
                 INSERT INTO later VALUES (2, 3);",
            )
            .unwrap();
        drop(connection);
        fill(&base, 300, 3);
        let doubtful = if settings.contains("UTF-16") { 0 } else { 1 };
        // Text that is not valid in the encoding may be damaged, or was written so.
        salvage(&sandbox, &base, &to, &[]).code(if doubtful > 0 { 3 } else { 0 });
        let mut wanted = rows(&base);
        let got = rows(&to);
        for (name, table) in &mut wanted {
            assert_eq!(Some(&*table), got.get(name), "{settings}: {name}");
        }
        let facts = |path: &Path, what: &str| -> String {
            reader(path)
                .query_row(&format!("SELECT * FROM pragma_{what}"), [], |row| Ok(shown(row.get_ref(0)?)))
                .unwrap()
        };
        for what in
            ["user_version", "application_id", "encoding", "page_size", "auto_vacuum", "integrity_check"]
        {
            assert_eq!(facts(&base, what), facts(&to, what), "{settings}: {what}");
        }
        let schema = |path: &Path| -> BTreeSet<String> {
            let connection = reader(path);
            let sql = "SELECT type || name || ifnull(sql, '') FROM sqlite_schema";
            let mut statement = connection.prepare(sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(schema(&base), schema(&to), "{settings}");
        assert_eq!(fs::read(&base).unwrap()[18], fs::read(&to).unwrap()[18], "{settings}: WAL mode");
    }
}

/// Copies a database with what lies beside it, as a crash leaves it.
fn crashed(from: &Path, to: &Path) {
    for side in ["", "-wal", "-journal"] {
        let source = PathBuf::from(format!("{}{side}", from.display()));
        if source.exists() {
            fs::copy(&source, format!("{}{side}", to.display())).unwrap();
        }
    }
}

#[test]
fn committed_frames_of_the_log_count_and_a_hot_journal_is_rolled_back() {
    let sandbox = Sandbox::new();
    let (live, copy, to) = (sandbox.path("live.db"), sandbox.path("copy.db"), sandbox.path("new.db"));
    let writer = Connection::open(&live).unwrap();
    writer
        .execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a); INSERT INTO t VALUES (1);
             PRAGMA cache_size = 2; BEGIN; INSERT INTO t VALUES (2); COMMIT; BEGIN;
             WITH RECURSIVE c(x) AS (SELECT 3 UNION ALL SELECT x + 1 FROM c WHERE x < 900)
             INSERT INTO t SELECT randomblob(500) FROM c",
        )
        .unwrap();
    crashed(&live, &copy);
    let before: Vec<Vec<u8>> =
        ["", "-wal"].map(|side| fs::read(format!("{}{side}", copy.display())).unwrap()).into();
    assert!(before[1].len() > 100_000, "the open transaction is in the log");
    salvage(&sandbox, &copy, &to, &[]).ok();
    assert_eq!(rows(&to)["t"].len(), 2);
    let after: Vec<Vec<u8>> =
        ["", "-wal"].map(|side| fs::read(format!("{}{side}", copy.display())).unwrap()).into();
    assert!(before == after && !sandbox.path("copy.db-shm").exists());
    drop(writer);

    let (live, copy, to) = (sandbox.path("live2.db"), sandbox.path("copy2.db"), sandbox.path("new2.db"));
    let writer = Connection::open(&live).unwrap();
    writer
        .execute_batch(
            "PRAGMA cache_size = 2; CREATE TABLE t(a, b);
             WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 500)
             INSERT INTO t SELECT x, randomblob(100) FROM c;
             BEGIN; UPDATE t SET a = -a; DELETE FROM t WHERE a < -250; PRAGMA cache_spill = 1;
             INSERT INTO t SELECT a, randomblob(300) FROM t;",
        )
        .unwrap();
    crashed(&live, &copy);
    drop(writer);
    assert!(sandbox.path("copy2.db-journal").exists());
    salvage(&sandbox, &copy, &to, &[]).ok();
    // SQLite itself rolls it back the same way.
    let sum = |path: &Path| -> (i64, i64) {
        let connection = Connection::open(path).unwrap();
        connection
            .query_row("SELECT count(*), sum(a) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    };
    assert_eq!(sum(&to), (500, 500 * 501 / 2));
    assert_eq!(sum(&copy), sum(&to));
}

#[test]
fn a_backup_an_hour_older_fills_the_holes() {
    let copies = if is_full() { 40 } else { 3 };
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.project().join("memory")).unwrap();
    let file = sandbox.project().join("memory/index.db");
    fill(&file, if is_full() { ROWS_FULL } else { ROWS }, 5);
    let earlier = rows(&file);
    sandbox.run(&["backup"]).ok();
    let change = "INSERT INTO plain SELECT a + 1, b, c, d FROM plain LIMIT 200; UPDATE noted SET n = n + 1 WHERE id % 10 = 0;
                  INSERT INTO counted(v) SELECT v || 'x' FROM counted LIMIT 150; INSERT INTO keyed SELECT k || 'y', s, v FROM keyed LIMIT 90;
                  INSERT INTO large(body, bytes) SELECT body, bytes FROM large LIMIT 9;";
    Connection::open(&file).unwrap().execute_batch(change).unwrap();
    let truth = Truth::of(&file);
    let (alone, merged) = (sandbox.path("alone.db"), sandbox.path("merged.db"));
    for seed in 100..100 + copies {
        let (bytes, hit) = damage(&truth, &mut Dice::new(seed));
        remove(&alone);
        remove(&merged);
        fs::write(&file, &bytes).unwrap();
        salvage(&sandbox, &file, &alone, &[]);
        let report = salvage(&sandbox, &file, &merged, &["--merge", "latest"]).json();
        check(&merged, seed);
        let (alone, new) = (rows(&alone), rows(&merged));
        for (name, had) in &earlier {
            // What is kept to find words in is made of the rows.
            if derived(name) || name.starts_with("sqlite_") {
                continue;
            }
            for key in had.keys().chain(alone[name].keys()) {
                assert!(
                    new[name].contains_key(key) || is_keyed(name),
                    "{seed}: {name} {key} is missing: {hit:?}"
                );
            }
            let table =
                report["tables"].as_array().unwrap().iter().find(|table| table["table"] == **name).unwrap();
            if is_keyed(name) {
                let keys = |rows: &BTreeMap<String, String>| -> BTreeSet<String> {
                    rows.keys().map(|row| row.split('|').take(2).collect::<Vec<_>>().join("|")).collect()
                };
                let (has, earlier, alone) = (keys(&new[name]), keys(had), keys(&alone[name]));
                assert!(earlier.union(&alone).all(|key| has.contains(key)), "{seed}: {name}: {hit:?}");
                continue;
            }
            let filled = new[name].keys().filter(|key| is_in(rowid(key), &table["backup_rowids"]));
            for key in filled.clone() {
                assert_eq!(new[name].get(key), had.get(key), "{seed}: {name} {key}");
                assert!(!alone[name].contains_key(key), "{seed}: {name} {key}");
            }
            assert_eq!(filled.count() as u64, table["from_backup"].as_u64().unwrap(), "{seed}: {name}");
            for (key, row) in &new[name] {
                let is_marked = is_in(rowid(key), &table["backup_rowids"])
                    || is_in(rowid(key), &table["doubtful_rowids"]);
                let lives = truth.lives.get(&(name.clone(), rowid(key)));
                let in_place = lives.into_iter().flatten().any(|page| hit.contains_key(page));
                assert!(
                    truth.rows[name].get(key) == Some(row) || is_marked || in_place,
                    "{seed}: {name} {key}"
                );
            }
        }
    }
}

#[test]
fn the_first_page_may_be_gone_where_a_backup_knows_the_schema() {
    let sandbox = Sandbox::new();
    let file = sandbox.project().join("a.db");
    fill(&file, 300, 9);
    let wanted = rows(&file);
    sandbox.run(&["backup"]).ok();
    let mut bytes = fs::read(&file).unwrap();
    bytes[..4096].fill(0);
    fs::write(&file, &bytes).unwrap();
    let (alone, merged) = (sandbox.path("alone.db"), sandbox.path("merged.db"));
    let report = salvage(&sandbox, &file, &alone, &[]).code(3).json();
    // Nothing tells which rows are whose, but they are there.
    assert!(report["unallotted"].as_u64().unwrap() == 0 || rows(&alone).contains_key("lost_and_found"));
    salvage(&sandbox, &file, &merged, &["--merge", "latest"]).code(3);
    let got = rows(&merged);
    for (name, rows) in &wanted {
        assert_eq!(Some(rows), got.get(name), "{name}");
    }
}

#[test]
fn nothing_is_replaced_and_nothing_is_left_behind() {
    let sandbox = Sandbox::new();
    let file = sandbox.project().join("a.db");
    fill(&file, 40, 2);
    sandbox.run(&["backup"]).ok();
    let listing = |folder: &Path| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    fs::write(sandbox.project().join("taken.db"), "mine").unwrap();
    fs::write(sandbox.project().join("b.db.report.json"), "mine").unwrap();
    fs::write(sandbox.project().join("text"), "no database\n".repeat(40)).unwrap();
    let store = sandbox.run(&["backup", "--json"]).ok().json()["archive"].as_str().unwrap().to_owned();
    fs::create_dir(sandbox.project().join(".xtask-restore")).unwrap();
    let before = listing(&sandbox.project());
    let in_store = Path::new(&store).with_file_name("x.db");
    for (to, code) in [
        ("taken.db", 6),
        ("b.db", 6),
        ("a.db", 6),
        ("a.db-wal", 6),
        (".xtask-restore/x.db", 6),
        (in_store.to_str().unwrap(), 6),
        ("nowhere/x.db", 2),
    ] {
        let output = sandbox.run(&["salvage", "a.db", "--to", to]).code(code);
        assert!(output.stderr.contains("hint: "), "{to}: {}", output.stderr);
    }
    sandbox.run(&["salvage", "absent.db", "--to", "x.db"]).code(2).says("hint: ");
    sandbox.run(&["salvage", ".", "--to", "x.db"]).code(2).says("is no file");
    sandbox.run(&["salvage", "a.db", "--to", "x.db", "--merge", "nosuch"]).code(4);
    sandbox.run(&["salvage", "text", "--to", "x.db"]).code(1).says("nothing could be salvaged");
    assert_eq!(listing(&sandbox.project()), before);
    // Outside of any project, too.
    let outside = sandbox.path("tmp/other.db");
    fs::copy(&file, &outside).unwrap();
    let done = Output::of(
        sandbox
            .command(sandbox.program())
            .current_dir(sandbox.path("tmp"))
            .args(["salvage", "other.db", "--to", "new.db"])
            .output()
            .unwrap(),
    );
    assert!(done.ok().stdout.contains("nothing is lost, and nothing is doubtful"));
    #[cfg(unix)]
    for name in ["tmp/new.db", "tmp/new.db.report.json"] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_damaged_log_is_told_and_what_was_committed_before_the_damage_counts() {
    let sandbox = Sandbox::new();
    let (live, copy, to) = (sandbox.path("live.db"), sandbox.path("copy.db"), sandbox.path("new.db"));
    let writer = Connection::open(&live).unwrap();
    writer
        .execute_batch("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a)")
        .unwrap();
    for i in 0..50 {
        writer.execute("INSERT INTO t VALUES (?1)", [i]).unwrap();
    }
    crashed(&live, &copy);
    drop(writer);
    let log = sandbox.path("copy.db-wal");
    let good = fs::read(&log).unwrap();
    let frames = (good.len() - 32) / (4096 + 24);
    let mut dice = Dice::new(4);
    for round in 0..20 {
        remove(&to);
        let mut bytes = good.clone();
        let at = 32 + dice.place(good.len() - 32);
        bytes[at] ^= 1 << dice.roll(8);
        fs::write(&log, &bytes).unwrap();
        let frame = (at - 32) / (4096 + 24);
        let output = salvage(&sandbox, &copy, &to, &[]);
        // The first frames make the table, each after them is a row. Salt that differs makes the rest an older log.
        let expected = 50_usize.saturating_sub(frames - frame);
        let rows = if output.code == 1 { 0 } else { rows(&to).get("t").map_or(0, BTreeMap::len) };
        assert!(rows.abs_diff(expected) <= 1, "{round}: frame {frame} of {frames}: {rows} rows");
        let in_salt = (8..16).contains(&((at - 32) % (4096 + 24)));
        assert!(in_salt || output.code != 0, "{round}: {output:?}");
    }
}

#[test]
fn a_run_that_was_killed_leaves_no_file_of_that_name_and_the_next_one_cleans_up() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("base.db");
    fill(&file, 3000, 8);
    let before = fs::read(&file).unwrap();
    let wanted = rows(&file);
    let mut left = 0;
    for round in 0..12_u64 {
        let to = sandbox.path(format!("new-{round}.db"));
        let words = ["salvage", file.to_str().unwrap(), "--to", to.to_str().unwrap()];
        let mut child = sandbox.command(sandbox.program()).args(words).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5 + round * 12));
        drop(child.kill());
        child.wait().unwrap();
        let remains = || {
            let names = fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().starts_with(".tmp-")).count()
        };
        left += remains();
        // A name is a whole database.
        if to.exists() {
            assert_eq!(rows(&to), wanted, "{round}");
        }
        let again = sandbox.path("again.db");
        remove(&again);
        salvage(&sandbox, &file, &again, &[]).ok();
        assert_eq!(remains(), 0, "{round}");
    }
    assert!(left > 0, "no run was killed in the middle");
    assert_eq!(fs::read(&file).unwrap(), before);
}
