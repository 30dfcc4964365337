//! Random schemas with random rows: dumped, loaded by the shell and by us, and the same afterwards. A seed
//! gives the same database each time, and stands in what a failure says. `XTASK_TEST_FULL=1` takes 3,000
//! seeds instead of 60; `XTASK_TEST_SEED=N` takes one.

use std::fmt::Write as _;

use super::features::round;
use super::*;

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 33) as usize % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

const ODD_NAMES: &[&str] = &[
    "a",
    "B",
    "rowid",
    "oid",
    "_rowid_",
    "select",
    "group",
    "it's",
    "say \"x\"",
    "semi;colon",
    "new\nline",
    "--",
    "/*",
    " ",
    "",
    "1",
    "é😀",
    "[x]",
    "`t`",
    "end",
    "begin",
    "a.b",
    "%s",
    "values",
    "c\r\nd",
    "e\rf",
    "go",
    "\t",
    "sqlite",
    "null",
    "collate",
];

fn name(dice: &mut Dice, taken: &mut Vec<String>) -> String {
    loop {
        let mut name =
            if dice.one_in(3) { dice.of(ODD_NAMES).to_owned() } else { format!("n{}", dice.below(50)) };
        if dice.one_in(6) {
            name.push_str(dice.of(ODD_NAMES));
        }
        let lower = name.to_lowercase();
        if !lower.starts_with("sqlite_") && !taken.contains(&lower) {
            taken.push(lower);
            return name;
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as SQL; made by other means than those of the dump.
fn value(dice: &mut Dice) -> String {
    match dice.below(14) {
        0 => "NULL".to_owned(),
        1 => (dice.bits() as i64 >> dice.below(64)).max(-i64::MAX).to_string(),
        2 => {
            dice.of(&["0", "1", "-1", "9223372036854775807", "-9223372036854775808", "4294967296"]).to_owned()
        }
        3..=5 => {
            let any = f64::from_bits(dice.bits());
            if any.is_finite() { format!("{any:e}") } else { "9e999".to_owned() }
        }
        6 => format!("{}.{}", dice.below(1000), dice.below(100)),
        7 => dice
            .of(&["9e999", "-9e999", "5e-324", "-0.0", "3.0", "1e300 * 10", "0.1", "2.2250738585072011e-308"])
            .to_owned(),
        8 => format!("X'{}'", hex(dice)),
        9 => format!("CAST(X'{}' AS TEXT)", hex(dice)),
        10 => dice
            .of(&[
                "'12'",
                "' 1e3'",
                "'2024-01-01'",
                "'0x10'",
                "''",
                "'it''s'",
                "';'",
                "'--'",
                "'NULL'",
                "'.5'",
            ])
            .to_owned(),
        11 => dice
            .of(&[
                "char(0)",
                "char(13,10)",
                "'a'||char(13)",
                "char(65279)||'x'",
                "'\r\n'",
                "'\n/\n'",
                "'\ngo\n.quit\n'",
                "char(1114111)",
            ])
            .to_owned(),
        12 => format!("'{}'", "wörd ".repeat(dice.below(40))),
        _ => format!("zeroblob({})", if dice.one_in(8) { dice.below(9000) } else { dice.below(20) }),
    }
}

fn hex(dice: &mut Dice) -> String {
    let length = dice.below(12);
    (0..length).fold(String::new(), |mut text, _| {
        write!(text, "{:02x}", dice.bits() >> 56).unwrap();
        text
    })
}

const TYPES: &[&str] = &[
    "",
    "INT",
    "INTEGER",
    "TEXT",
    "REAL",
    "BLOB",
    "NUMERIC",
    "VARCHAR(10)",
    "DATETIME",
    "DOUBLE PRECISION",
    "ANY",
];
const STRICT_TYPES: &[&str] = &["INT", "INTEGER", "TEXT", "REAL", "BLOB", "ANY"];
const COLLATIONS: &[&str] = &["", "", "", " COLLATE NOCASE", " COLLATE RTRIM", " COLLATE BINARY"];

struct Table {
    name: String,
    /// Columns that rows are given in.
    columns: Vec<String>,
}

/// `CREATE TABLE`, and what rows can be put into it.
fn table(dice: &mut Dice, name: String) -> (String, Table) {
    let strict = dice.one_in(5);
    let mut taken = Vec::new();
    let count = 1 + dice.below(6);
    let (mut parts, mut columns) = (Vec::new(), Vec::new());
    let mut without_rowid = false;
    let integer_key = dice.one_in(3);
    for at in 0..count {
        let column = self::name(dice, &mut taken);
        let mut sql = quoted(&column);
        if at == 0 && integer_key {
            sql.push_str(if dice.one_in(2) {
                " INTEGER PRIMARY KEY AUTOINCREMENT"
            } else {
                " INTEGER PRIMARY KEY"
            });
        } else {
            write!(sql, " {}{}", dice.of(if strict { STRICT_TYPES } else { TYPES }), dice.of(COLLATIONS))
                .unwrap();
            match dice.below(9) {
                0 => sql.push_str(" UNIQUE"),
                1 => write!(sql, " DEFAULT ({})", value(dice)).unwrap(),
                2 => sql.push_str(" NOT NULL"),
                3 => sql.push_str(" CHECK (1)"),
                4 => sql.push_str(" REFERENCES nowhere"),
                _ => {}
            }
        }
        parts.push(sql);
        columns.push(column);
    }
    for _ in 0..dice.below(3) {
        let column = self::name(dice, &mut taken);
        let from = quoted(&columns[dice.below(columns.len())]);
        let kind = if dice.one_in(2) { "STORED" } else { "VIRTUAL" };
        let of = if strict { "ANY" } else { "" };
        let expression =
            dice.of(&["hex({})", "({} || 'x')", "typeof({})", "{}", "coalesce({}, 5)"]).replace("{}", &from);
        parts.push(format!("{} {of} AS ({expression}) {kind}", quoted(&column)));
    }
    if !integer_key && dice.one_in(2) {
        let first = dice.below(columns.len());
        let mut keys = vec![format!(
            "{}{}{}",
            quoted(&columns[first]),
            dice.of(COLLATIONS),
            dice.of(&["", " DESC", " ASC"])
        )];
        if dice.one_in(2) {
            let second = dice.below(columns.len());
            if second != first {
                keys.push(quoted(&columns[second]));
            }
        }
        parts.push(format!("PRIMARY KEY({})", keys.join(",")));
        without_rowid = dice.one_in(2);
    }
    let mut options = Vec::new();
    if strict {
        options.push("STRICT");
    }
    if without_rowid {
        options.push("WITHOUT ROWID");
    }
    let separator = dice.of(&[",", ", ", ",\n", ",\r\n", " /* ; */ , ", ", -- it's;\n"]);
    let sql = format!("CREATE TABLE {}({}){}", quoted(&name), parts.join(separator), options.join(","));
    (sql, Table { name, columns })
}

/// Fills a database; a statement that SQLite refuses is left out, as long as most are not.
fn fill(connection: &Connection, dice: &mut Dice, seed: u64) -> usize {
    let mut taken = Vec::new();
    let mut tables = Vec::new();
    let (mut tried, mut done) = (0, 0);
    let mut run = |sql: &str, tried: &mut usize| {
        *tried += 1;
        let ok = connection.execute_batch(sql).is_ok();
        done += usize::from(ok);
        ok
    };
    for _ in 0..1 + dice.below(5) {
        let name = name(dice, &mut taken);
        let (sql, table) = self::table(dice, name);
        if run(&sql, &mut tried) {
            tables.push(table);
        }
    }
    for table in &tables {
        for _ in 0..dice.below(30) {
            let values: Vec<String> = table.columns.iter().map(|_| value(dice)).collect();
            let mut names: Vec<String> = table.columns.iter().map(|name| quoted(name)).collect();
            let mut values = values;
            if dice.one_in(4) {
                names.push("_rowid_".to_owned());
                values.push((dice.bits() as i64 >> dice.below(60)).to_string());
            }
            // What is refused (a key twice, a type) is no row.
            let _ = connection.execute_batch(&format!(
                "INSERT INTO {}({}) VALUES({})",
                quoted(&table.name),
                names.join(","),
                values.join(",")
            ));
        }
        if dice.one_in(3) {
            let _ = connection
                .execute_batch(&format!("DELETE FROM {} WHERE _rowid_ % 3 = 0", quoted(&table.name)));
        }
    }
    for _ in 0..dice.below(4) {
        if tables.is_empty() {
            break;
        }
        let table = &tables[dice.below(tables.len())];
        let (name, column) =
            (quoted(&name(dice, &mut taken)), quoted(&table.columns[dice.below(table.columns.len())]));
        let on = quoted(&table.name);
        let sql = match dice.below(5) {
            0 => format!("CREATE INDEX {name} ON {on}({column}{} DESC)", dice.of(COLLATIONS)),
            1 => {
                format!("CREATE INDEX {name} ON {on}(typeof({column}), {column}) WHERE {column} IS NOT NULL")
            }
            2 => format!("CREATE VIEW {name}(x) AS\r\nSELECT {column} FROM {on} -- end\n"),
            3 => format!("CREATE TRIGGER {name} BEFORE INSERT ON {on} BEGIN SELECT raise(ABORT, ';'); END"),
            _ => format!("CREATE TRIGGER {name} AFTER INSERT ON {on} BEGIN DELETE FROM {on}; END"),
        };
        run(&sql, &mut tried);
    }
    if dice.one_in(3) {
        run("ANALYZE", &mut tried);
    }
    if dice.one_in(3) {
        run(
            "CREATE VIRTUAL TABLE fts USING fts5(a, b, prefix=2); INSERT INTO fts VALUES('one two', 3)",
            &mut tried,
        );
    }
    if dice.one_in(2) {
        run(
            &format!(
                "PRAGMA user_version={}; PRAGMA application_id={}",
                dice.bits() as i32,
                dice.bits() as i32
            ),
            &mut tried,
        );
    }
    assert!(done * 3 > tried, "seed {seed}: only {done} of {tried} statements were good");
    tables.len()
}

fn run_seed(seed: u64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.db");
    let mut dice = Dice::new(seed);
    let connection = Connection::open(&file).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size={}; PRAGMA encoding='{}'; PRAGMA auto_vacuum={}; PRAGMA foreign_keys=OFF; PRAGMA journal_mode={}; PRAGMA synchronous=OFF",
            512 << dice.below(8),
            dice.of(&["UTF-8", "UTF-16le", "UTF-16be"]),
            dice.below(3),
            dice.of(&["wal", "delete"])
        ))
        .unwrap();
    let tables = fill(&connection, &mut dice, seed);
    drop(connection);
    let (dumped, _) = round(&file, &format!("seed {seed}"), &[]);
    assert!(dumped.reorder.is_empty() && dumped.foreign.is_empty(), "seed {seed}: {dumped:?}");
    // In a name, the end of a line of Windows can't be said to the shell: such an index is left out, and no other.
    let connection = Connection::open(&file).unwrap();
    for lack in &dumped.lacks {
        let sql = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1";
        let made: String = connection.query_row(sql, [&lack.index], |row| row.get(0)).unwrap();
        assert!(made.contains("c\r\nd"), "seed {seed}: {made}: {lack:?}");
    }
    tables
}

#[test]
fn random_databases_survive_a_dump() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("XTASK_TEST_SEED") {
        run_seed(seed);
        return;
    }
    let full = number("XTASK_TEST_FULL") == Some(1);
    let seeds = if full { 3_000 } else { 60 };
    let tables: usize = (0..seeds).map(run_seed).sum();
    assert!(tables as u64 > seeds, "{tables} tables in {seeds} databases");
}
