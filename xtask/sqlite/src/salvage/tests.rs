//! Whatever the bytes of a file are: salvaging ends, soon, and what is made of it is a sound database.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use super::*;
use crate::check;
use xtask_testing as in_memory;

fn salvaged(file: &Path, backup: Option<&Path>) -> (tempfile::TempDir, Result<Report>) {
    let scratch = in_memory::tempdir().unwrap();
    let to = scratch.path().join("new");
    let report = salvage(&Wish { copy: file, backup, to: &to, scratch: scratch.path(), shell: None }, &());
    (scratch, report)
}

fn made(folder: &Path, name: &str, sql: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    path
}

const SMALL: &str = "
    PRAGMA page_size=512; PRAGMA auto_vacuum=1;
    CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL, b, CHECK (length(a) < 1000));
    CREATE TABLE w(k TEXT PRIMARY KEY, v, n INT) WITHOUT ROWID;
    CREATE TABLE s(x INT, y TEXT, g INT AS (x + 1), h TEXT AS (y || '!') STORED) STRICT;
    CREATE INDEX t_a ON t(a); CREATE UNIQUE INDEX w_v ON w(v); CREATE INDEX s_g ON s(g, length(y)) WHERE x > 3;
    WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200)
    INSERT INTO t SELECT i, 'row ' || i || hex(randomblob(8)), randomblob(i * 7 % 900) FROM c;
    INSERT INTO w SELECT a, id, id * 2 FROM t; INSERT INTO s SELECT id, a FROM t;
    CREATE VIEW v AS SELECT * FROM t; CREATE TRIGGER r AFTER DELETE ON t BEGIN DELETE FROM w WHERE k = old.a; END;
    DELETE FROM s WHERE x % 5 = 0;";

/// Thousands in the long form.
#[test]
fn thousands_of_altered_files_end_soon_in_a_sound_database() {
    let folder = in_memory::tempdir().unwrap();
    let good = fs::read(made(folder.path(), "good.db", SMALL)).unwrap();
    let full = std::env::var_os("XTASK_TEST_FULL").is_some_and(|value| value == "1");
    let rounds = if full { 20_000 } else { 600 };
    let mut seed = 11_u64;
    let mut roll = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as usize % below
    };
    let file = folder.path().join("bad.db");
    let mut readable = 0;
    for round in 0..rounds {
        let mut bytes = good.clone();
        for _ in 0..=roll(40) {
            let at = roll(bytes.len());
            match roll(6) {
                0 => bytes[at] ^= 1 << roll(8),
                1 => bytes[at] = [0, 0xff, 0x80, 0x7f, 5, 13][roll(6)],
                // Where it hurts: the first bytes of a page.
                2 => bytes[at / 512 * 512 + roll(16)] = roll(256) as u8,
                3 => {
                    let from = roll(bytes.len() / 512) * 512;
                    let page = bytes[from..from + 512].to_vec();
                    let to = roll(bytes.len() / 512) * 512;
                    bytes[to..to + 512].copy_from_slice(&page);
                }
                4 if roll(10) == 0 => bytes.truncate(at.max(600) / 256 * 256),
                // Pages that lead anywhere.
                _ => {
                    let at = at.min(bytes.len() - 4);
                    let page = roll(bytes.len() / 512 + 2) as u32;
                    bytes[at..at + 4].copy_from_slice(&page.to_be_bytes());
                }
            }
            if bytes.len() < 1024 {
                break;
            }
        }
        fs::write(&file, &bytes).unwrap();
        let began = Instant::now();
        let (scratch, report) = salvaged(&file, None);
        assert!(began.elapsed().as_secs() < 20, "round {round}");
        match report {
            Ok(report) => {
                readable += 1;
                let check = check::check(&scratch.path().join("new")).unwrap();
                assert!(check.is_sound(), "round {round}: {check:?}");
                assert!(report.rows() < 2000, "round {round}: {} rows out of 770", report.rows());
            }
            Err(error) => {
                let told = format!("{error:#}");
                assert!(!told.contains("a fault of this tool"), "round {round}: {told}");
            }
        }
    }
    assert!(readable > rounds * 9 / 10, "only {readable} of {rounds}");
}

#[test]
fn circles_and_endless_chains_end() {
    let folder = in_memory::tempdir().unwrap();
    let path = made(
        folder.path(),
        "a.db",
        "PRAGMA page_size=512; CREATE TABLE t(a);
         WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300)
         INSERT INTO t SELECT randomblob(100) FROM c; INSERT INTO t VALUES (randomblob(5000))",
    );
    let good = fs::read(&path).unwrap();
    let pages = good.len() / 512;
    // Every child of the root is the root, and each overflow page is followed by itself.
    let mut bytes = good.clone();
    let root = &mut bytes[512..1024];
    let count = usize::from(u16::from_be_bytes([root[3], root[4]]));
    for i in 0..count {
        let at = usize::from(u16::from_be_bytes([root[12 + 2 * i], root[13 + 2 * i]]));
        root[at..at + 4].copy_from_slice(&2_u32.to_be_bytes());
    }
    fs::write(&path, &bytes).unwrap();
    let (_scratch, report) = salvaged(&path, None);
    assert!(report.unwrap().rows() > 0, "leaves that nothing leads to are found");
    let mut bytes = good;
    for page in 3..=pages {
        if Some(13) != bytes.get((page - 1) * 512).copied() {
            let own = u32::try_from(page).unwrap().to_be_bytes();
            bytes[(page - 1) * 512..(page - 1) * 512 + 4].copy_from_slice(&own);
        }
    }
    fs::write(&path, &bytes).unwrap();
    let (_scratch, report) = salvaged(&path, None);
    let table = &report.unwrap().tables[0];
    assert_eq!((table.read, table.lost, table.aside), (300, 1, 1));
}

/// What a schema can say to make trouble.
#[test]
fn a_hostile_schema_does_no_harm() {
    let folder = in_memory::tempdir().unwrap();
    let path = made(
        folder.path(),
        "a.db",
        "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2); CREATE TABLE u(b); PRAGMA writable_schema=ON;
         UPDATE sqlite_schema SET sql = 'CREATE TABLE u AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c' WHERE name = 'u';
         INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 3, 'DROP TABLE t');
         INSERT INTO sqlite_schema VALUES ('table', 'y', 'y', 3, 'CREATE TABLE y(a); DELETE FROM t');
         INSERT INTO sqlite_schema VALUES ('index', 'z', 't', 3, 'ATTACH ''/tmp/xtask-evil'' AS e');
         INSERT INTO sqlite_schema VALUES ('table', 't', 't', 2, 'CREATE TABLE t(q, r, s)');
         INSERT INTO sqlite_schema VALUES ('view', 'big', 'big', 0, 'CREATE VIEW big AS SELECT randomblob(1 << 30)');",
    );
    let (scratch, report) = salvaged(&path, None);
    let report = report.unwrap();
    let new = Connection::open(scratch.path().join("new")).unwrap();
    let rows: i64 = new.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2);
    for part in ["the table u", "the table x", "the table y", "the index z"] {
        assert!(
            report.problems.iter().any(|problem| problem.contains(part)),
            "{part}: {:?}",
            report.problems
        );
    }
    assert!(!Path::new("/tmp/xtask-evil").exists());
}

/// Without its header nothing tells whether a database has maps of parents but what is there.
#[test]
fn a_damaged_header_hides_no_page() {
    for vacuum in [0, 1] {
        for damage in [0, 0xab] {
            let folder = in_memory::tempdir().unwrap();
            let path = made(
                folder.path(),
                "a.db",
                &format!(
                    "PRAGMA page_size=512; PRAGMA auto_vacuum={vacuum}; CREATE TABLE t(a);
                     WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000)
                     INSERT INTO t SELECT 'row ' || i || hex(randomblob(40)) FROM c;"
                ),
            );
            let mut bytes = fs::read(&path).unwrap();
            assert!(bytes.len() > 3 * 103 * 512, "more than two maps");
            bytes[..100].fill(damage);
            fs::write(&path, &bytes).unwrap();
            let (scratch, report) = salvaged(&path, None);
            let table = &report.unwrap().tables[0];
            assert_eq!((table.read, table.lost_at_most), (2000, Some(0)), "{vacuum} {damage}: {table:?}");
            let new = Connection::open(scratch.path().join("new")).unwrap();
            let kept: i64 = new.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).unwrap();
            assert_eq!(kept != 0, vacuum != 0, "{damage}");
        }
    }
}
