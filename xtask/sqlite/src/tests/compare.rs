//! Rows that differ: cases by hand, and generated tables against a comparison of sets.

use rusqlite::types::Value;

use super::*;
use crate::compare::{DatabaseChange, compare};

/// Two databases made by SQL, compared.
fn between(before: &str, after: &str) -> DatabaseChange {
    let folder = tempfile::tempdir().unwrap();
    let files = [("a.db", before), ("b.db", after)].map(|(name, sql)| {
        let file = folder.path().join(name);
        let made = Connection::open(&file).unwrap();
        made.execute_batch("PRAGMA foreign_keys=OFF").unwrap();
        made.execute_batch(sql).unwrap();
        file
    });
    let forth = compare(&files[0], &files[1]).unwrap();
    // The other way round is the same story told backwards.
    let back = compare(&files[1], &files[0]).unwrap();
    let turned = back.tables.iter().map(|t| (t.name.clone(), t.vanish, t.appear, t.change));
    assert!(forth.tables.iter().map(|t| (t.name.clone(), t.appear, t.vanish, t.change)).eq(turned));
    assert_eq!(forth.schema.len(), back.schema.len());
    forth
}

/// `table +appear -vanish ~change`, then the schema.
fn told(change: &DatabaseChange) -> String {
    let tables =
        change.tables.iter().map(|t| format!("{} +{} -{} ~{}", t.name, t.appear, t.vanish, t.change));
    let schema = change.schema.iter().map(|s| {
        let text = |sql: &Option<String>| sql.as_deref().unwrap_or("nothing").to_owned();
        format!("{} {}: {} > {}", s.kind, s.name, text(&s.before), text(&s.after))
    });
    tables.chain(schema).collect::<Vec<_>>().join("; ")
}

#[test]
fn rows_are_matched_by_their_key() {
    let wr = "CREATE TABLE t(a TEXT COLLATE NOCASE, b, c, PRIMARY KEY(b DESC, a)) WITHOUT ROWID;";
    let hidden = "CREATE TABLE t(rowid, oid, _rowid_);";
    let shown = "CREATE TABLE t(rowid, oid, _rowid_ INTEGER PRIMARY KEY);";
    let utf16 = "PRAGMA encoding='UTF-16le';";
    #[rustfmt::skip]
    let cases = [
        ("CREATE TABLE t(a);", "INSERT INTO t VALUES(1), (2), (3);", "INSERT INTO t VALUES(1), (9), (3), (4);", "t +1 -0 ~1"),
        ("CREATE TABLE t(a);", "INSERT INTO t VALUES(1);", "INSERT INTO t VALUES(1.0);", "t +0 -0 ~1"),
        ("CREATE TABLE t(a);", "INSERT INTO t VALUES(0.0);", "INSERT INTO t VALUES(0.0*-1);", "t +0 -0 ~1"),
        ("CREATE TABLE t(a);", "INSERT INTO t VALUES('a');", "INSERT INTO t VALUES(x'61');", "t +0 -0 ~1"),
        ("CREATE TABLE t(a);", "INSERT INTO t VALUES(NULL);", "INSERT INTO t VALUES(NULL);", ""),
        ("CREATE TABLE t(a);", "INSERT INTO t VALUES('a'||char(0)||'b');", "INSERT INTO t VALUES('a'||char(0)||'c');", "t +0 -0 ~1"),
        ("CREATE TABLE t(a);", "INSERT INTO t VALUES(cast(x'ff' AS TEXT));", "INSERT INTO t VALUES(cast(x'fe' AS TEXT));", "t +0 -0 ~1"),
        ("CREATE TABLE t(k INTEGER PRIMARY KEY, a);", "INSERT INTO t VALUES(-5, 1), (7, 2);", "INSERT INTO t VALUES(7, 3), (8, 1);", "t +1 -1 ~1"),
        (wr, "INSERT INTO t VALUES('a', 1, 0), ('b', 2, 0), ('C', 2, 0);", "INSERT INTO t VALUES('A', 1, 0), ('b', 2, 9), ('C', 2, 0);", "t +1 -1 ~1"),
        (wr, "INSERT INTO t VALUES('a', 1, 0), ('é', x'00', 0);", "INSERT INTO t VALUES('a', 1.0, 0), ('é', x'00', 1);", "t +0 -0 ~2"),
        (hidden, "INSERT INTO t VALUES(1,2,3), (1,2,3), (4,4,4);", "INSERT INTO t VALUES(4,4,4.0), (1,2,3), (0,0,0);", "t +2 -2 ~0"),
        (hidden, "INSERT INTO t VALUES(0,0,0), (0.0,0,0), (1,'',x''), (NULL,2,2);", "INSERT INTO t VALUES(NULL,2,2), (1,'',x''), (0.0,0,0), (0,0,0);", ""),
        (hidden, "INSERT INTO t VALUES(0.0,0,0), (1,1,1);", "INSERT INTO t VALUES(1,1,1), (0.0*-1,0,0);", "t +0 -0 ~1"),
        (shown, "INSERT INTO t VALUES(1,2,3), (1,2,4);", "INSERT INTO t VALUES(2,2,4), (1,2,3);", "t +0 -0 ~1"),
        ("CREATE TABLE t(a, b AS (a * 2), c AS (a || 1) STORED);", "INSERT INTO t VALUES(1), (2);", "INSERT INTO t VALUES(1), (3);", "t +0 -0 ~1"),
        ("CREATE TABLE \"a b\"\"c'\"(\"sel ect\", \"x,y\" PRIMARY KEY) WITHOUT ROWID;", "", "INSERT INTO \"a b\"\"c'\" VALUES(1, 1);", "a b\"c' +1 -0 ~0"),
        (utf16, "CREATE TABLE t(a); INSERT INTO t VALUES(cast(x'00d841' AS TEXT));", "CREATE TABLE t(a); INSERT INTO t VALUES(cast(x'00d941' AS TEXT));", "t +0 -0 ~1"),
        ("", "PRAGMA user_version=4", "PRAGMA user_version=-5", "pragma user_version: 4 > -5"),
    ];
    for (schema, before, after, wanted) in cases {
        assert_eq!(
            told(&between(&format!("{schema}{before}"), &format!("{schema}{after}"))),
            wanted,
            "{before}"
        );
        if !schema.contains("PRAGMA") && !before.contains("x'ff'") {
            let wide = |rows: &str| format!("PRAGMA encoding='UTF-16be';{schema}{rows}");
            assert_eq!(told(&between(&wide(before), &wide(after))), wanted, "UTF-16: {before}");
        }
    }
}

#[test]
fn a_changed_schema_is_told_and_rows_still_match_where_they_can() {
    #[rustfmt::skip]
    let cases = [
        ("CREATE TABLE t(a);", "", "table t: CREATE TABLE t(a) > nothing"),
        ("", "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2);", "t +2 -0 ~0; table t: nothing > CREATE TABLE t(a)"),
        ("CREATE TABLE t(a);", "CREATE TABLE t(a); CREATE INDEX i ON t(a); CREATE VIEW v AS SELECT 1;",
         "index i: nothing > CREATE INDEX i ON t(a); view v: nothing > CREATE VIEW v AS SELECT 1"),
        // A new column is NULL in the old rows.
        ("CREATE TABLE t(a); INSERT INTO t VALUES(1), (2);", "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, NULL), (2, 0);",
         "t +0 -0 ~1; table t: CREATE TABLE t(a) > CREATE TABLE t(a, b)"),
        ("CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 2);", "CREATE TABLE t(b, A); INSERT INTO t VALUES(2, 1);",
         "table t: CREATE TABLE t(a, b) > CREATE TABLE t(b, A)"),
        // Another key: nothing can be matched.
        ("CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 2);", "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1, 2);",
         "t +1 -1 ~0; table t: CREATE TABLE t(a, b) > CREATE TABLE t(a INTEGER PRIMARY KEY, b)"),
        ("PRAGMA application_id=1;", "", "pragma application_id: 1 > 0"),
        ("PRAGMA encoding='UTF-16le'; CREATE TABLE t(a); INSERT INTO t VALUES('é'), ('b');",
         "CREATE TABLE t(a); INSERT INTO t VALUES('é'), ('c');", "t +0 -0 ~1; pragma encoding: UTF-16le > UTF-8"),
        ("PRAGMA encoding='UTF-16le'; CREATE TABLE t(a PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES('é');",
         "CREATE TABLE t(a PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES('é');", "t +1 -1 ~0; pragma encoding: UTF-16le > UTF-8"),
    ];
    for (before, after, wanted) in cases {
        assert_eq!(told(&between(before, after)), wanted, "{before} {after}");
    }
    let change =
        between("", "CREATE TABLE t(a); INSERT INTO t VALUES(1); CREATE TABLE u(b); INSERT INTO u VALUES(1)");
    assert_eq!((change.is_empty(), change.totals()), (false, (2, 0, 0)));
    assert!(between("CREATE TABLE t(a)", "CREATE TABLE t(a)").is_empty());
}

#[test]
fn a_collation_that_only_the_application_has_is_not_needed() {
    let made = |rows: &str| {
        format!(
            "CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY, b); INSERT INTO t VALUES {rows};
             PRAGMA writable_schema=ON;
             UPDATE sqlite_schema SET sql=replace(sql, 'NOCASE', 'theirs'); PRAGMA writable_schema=RESET;"
        )
    };
    let change = between(&made("('a', 1), ('B', 2), ('c', 3)"), &made("('a', 1), ('B', 0), ('d', 3)"));
    assert_eq!(told(&change), "t +0 -0 ~2");
}

#[test]
fn databases_with_everything_in_them_equal_themselves_and_damage_is_an_error() {
    let project = tempfile::tempdir().unwrap();
    let outcome = pinned(&make_databases(project.path()));
    let (folder, files) = images(&outcome);
    for image in &files {
        assert!(compare(image, image).unwrap().is_empty(), "{}", image.display());
        // What came out of a dump has other pages and the same rows.
        let loaded = folder.path().join("loaded");
        load(&mut BufReader::new(dumped(image).sql.as_slice()), &loaded).unwrap();
        assert_eq!(told(&compare(image, &loaded).unwrap()), "", "{}", image.display());
        fs::remove_file(loaded).unwrap();
    }
    let (odd, plain) = (&files[2], &files[3]);
    assert!(compare(odd, plain).unwrap().totals().0 > 0);
    let mut bytes = fs::read(plain).unwrap();
    bytes[4096..].fill(0xee);
    fs::write(plain, bytes).unwrap();
    assert!(compare(odd, plain).is_err());
}

/// The same numbers each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    /// Few different values, so that keys meet, and all that look alike and are not.
    fn value(&mut self) -> Value {
        match self.roll(14) {
            0 => Value::Null,
            1..4 => Value::Integer(self.roll(6) as i64 - 2),
            4..6 => Value::Real(self.roll(6) as f64 - 2.0),
            6 => Value::Real([-0.0, 0.5, 1e300, f64::INFINITY][self.roll(4) as usize]),
            7 => Value::Integer([i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1][self.roll(4) as usize]),
            8..10 => Value::Blob(vec![b"aA\0\xff"[self.roll(4) as usize]; self.roll(3) as usize]),
            _ => Value::Text(
                ["", "a", "A", "b", "é", "z", "\u{ff5e}", "😀", "a\0b", "1", "0.0"][self.roll(11) as usize]
                    .into(),
            ),
        }
    }
}

/// A value with its type and bits.
fn exact(value: &Value) -> String {
    match value {
        Value::Real(real) => format!("r{:x}", real.to_bits()),
        other => format!("{other:?}"),
    }
}

/// What SQLite takes for the same value under BINARY is the same text.
fn as_key(value: &Value) -> String {
    match value {
        Value::Real(real) if real.trunc() == *real && real.abs() < 9e18 => {
            exact(&Value::Integer(*real as i64))
        }
        other => exact(other),
    }
}

struct Form {
    create: &'static str,
    columns: usize,
    /// The columns of the key in `SELECT` below; all of them where it is the whole row.
    key: &'static [usize],
    select: &'static str,
}

const FORMS: &[Form] = &[
    Form { create: "CREATE TABLE t(a, b)", columns: 2, key: &[0], select: "SELECT rowid, a, b FROM t" },
    Form {
        create: "CREATE TABLE t(a UNIQUE, b TEXT PRIMARY KEY)",
        columns: 2,
        key: &[0],
        select: "SELECT rowid, a, b FROM t",
    },
    Form {
        create: "CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
        columns: 2,
        key: &[0],
        select: "SELECT a, b FROM t",
    },
    Form {
        create: "CREATE TABLE t(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID",
        columns: 2,
        key: &[0, 1],
        select: "SELECT a, b FROM t",
    },
    Form {
        create: "CREATE TABLE t(a, b COLLATE NOCASE, c, PRIMARY KEY(b DESC, c COLLATE RTRIM)) WITHOUT ROWID",
        columns: 3,
        key: &[1, 2],
        select: "SELECT a, b, c FROM t",
    },
    Form {
        create: "CREATE TABLE t(rowid REAL, oid, _rowid_)",
        columns: 3,
        key: &[0, 1, 2],
        select: "SELECT rowid, oid, _rowid_ FROM t",
    },
];

/// Rows by key, with their exact values, each as often as it is there.
fn all_rows(file: &Path, form: &Form) -> BTreeMap<String, Vec<String>> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare(form.select).unwrap();
    let columns = statement.column_count();
    let mut found = BTreeMap::new();
    let mut rows = statement.query([]).unwrap();
    let whole = form.key.len() == form.columns && form.create.contains("_rowid_");
    while let Some(row) = rows.next().unwrap() {
        let values: Vec<Value> = (0..columns).map(|i| row.get(i).unwrap()).collect();
        let row: Vec<String> = values.iter().map(exact).collect();
        let key: Vec<String> =
            form.key.iter().map(|i| if whole { row[*i].clone() } else { as_key(&values[*i]) }).collect();
        found.entry(key.join("|")).or_insert_with(Vec::new).push(row.join("|"));
    }
    found
}

#[test]
fn generated_tables_are_compared_as_sets_of_rows_are() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut seen = (0, 0, 0);
    for round in 0..240 {
        let form = &FORMS[round % FORMS.len()];
        let encoding = ["UTF-8", "UTF-16le", "UTF-16be"][round / FORMS.len() % 3];
        let folder = tempfile::tempdir().unwrap();
        let files = ["a.db", "b.db"].map(|name| folder.path().join(name));
        let a = Connection::open(&files[0]).unwrap();
        a.execute_batch(&format!("PRAGMA synchronous=OFF; PRAGMA encoding='{encoding}'; {};", form.create))
            .unwrap();
        let marks = ["?1", "?1,?2", "?1,?2,?3"][form.columns - 1];
        let fill = |connection: &Connection, dice: &mut Dice, rows: u64| {
            let hides = form.create.contains("_rowid_");
            let mut insert = connection.prepare(&format!("INSERT OR IGNORE INTO t VALUES({marks})")).unwrap();
            for _ in 0..rows {
                let values: Vec<Value> = (0..form.columns)
                    .map(|_| dice.value())
                    // Without a key a negative zero and a zero are matched in any order.
                    .map(|value| if hides && value == Value::Real(0.0) { Value::Null } else { value })
                    .collect();
                // A value that the key does not take is left out.
                let _ = insert.execute(rusqlite::params_from_iter(values));
            }
        };
        let rows = dice.roll(60);
        fill(&a, &mut dice, rows);
        drop(a);
        fs::copy(&files[0], &files[1]).unwrap();
        let b = Connection::open(&files[1]).unwrap();
        b.execute_batch("PRAGMA synchronous=OFF").unwrap();
        let column = if form.create.contains("_rowid_") { "oid" } else { "a" };
        for _ in 0..dice.roll(12) {
            let value = dice.value();
            let (from, to) = (dice.value(), dice.value());
            let _ =
                b.execute(&format!("UPDATE OR IGNORE t SET {column}=?1 WHERE {column} IS ?2"), [to, from]);
            b.execute(&format!("DELETE FROM t WHERE {column} IS ?1"), [value]).unwrap();
            let rows = dice.roll(5);
            fill(&b, &mut dice, rows);
        }
        drop(b);
        let (old, new) = (all_rows(&files[0], form), all_rows(&files[1], form));
        let (mut appear, mut vanish, mut change) = (0, 0, 0);
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let count = |rows: Option<&Vec<String>>| rows.map_or(0, Vec::len) as u64;
            let (before, after) = (count(old.get(key)), count(new.get(key)));
            appear += after.saturating_sub(before);
            vanish += before.saturating_sub(after);
            change += u64::from(before == 1 && after == 1 && old[key] != new[key]);
        }
        let found = compare(&files[0], &files[1]).unwrap();
        assert_eq!(found.totals(), (appear, vanish, change), "round {round}, {encoding}: {}", form.create);
        assert_eq!(found.is_empty(), (appear, vanish, change) == (0, 0, 0));
        seen = (seen.0 + appear, seen.1 + vanish, seen.2 + change);
    }
    assert!(seen.0 > 500 && seen.1 > 500 && seen.2 > 50, "too little happened: {seen:?}");
}
