//! Whether two databases are logically the same, by a reading that shares nothing with the code under test:
//! every value as `typeof` and its bytes, every rowid that has a name, the schema, every pragma.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

/// All that counts, as text: comparing two shows where they differ.
pub type Portrait = BTreeMap<String, Vec<String>>;

/// How a database looks. `collations` are compared byte by byte.
pub fn portrait(file: &Path, collations: &[&str]) -> Portrait {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    for name in collations {
        connection.create_collation(*name, |a: &str, b: &str| a.as_bytes().cmp(b.as_bytes())).unwrap();
    }
    let mut portrait = Portrait::new();
    for pragma in ["user_version", "application_id", "page_size", "auto_vacuum", "encoding", "journal_mode"] {
        let value = connection.query_row(&format!("PRAGMA {pragma}"), [], |row| Ok(shown(row, 0))).unwrap();
        portrait.insert(format!("pragma {pragma}"), vec![value]);
    }
    let schema = "SELECT type, name, tbl_name, sql, rootpage > 0 FROM sqlite_master";
    portrait.insert("schema".to_owned(), lines(&connection, schema));
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0";
    for hex in lines(&connection, tables) {
        let name = name_of(&hex);
        let table = format!("\"{}\"", name.replace('"', "\"\""));
        // Generated columns as well: what they compute must be the same.
        let mut columns: Vec<String> = Vec::new();
        let mut statement = connection.prepare(&format!("PRAGMA table_xinfo({table})")).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (column, hidden): (String, i64) = (row.get("name").unwrap(), row.get("hidden").unwrap());
            if hidden != 2 {
                columns.push(column);
            }
        }
        let hides = |alias: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(alias));
        let alias = ["_rowid_", "oid", "rowid"].into_iter().find(|alias| !hides(alias));
        let mut parts: Vec<String> = Vec::new();
        for column in &columns {
            let column = format!("\"{}\"", column.replace('"', "\"\""));
            parts.push(format!("typeof({column}), CAST({column} AS BLOB), {column}"));
        }
        let list = parts.join(",");
        let with_rowid = alias.map(|alias| format!("SELECT {alias}, {list} FROM {table}"));
        let content = match with_rowid.filter(|sql| connection.prepare(sql).is_ok()) {
            Some(sql) => lines(&connection, &sql),
            None => lines(&connection, &format!("SELECT {list} FROM {table}")),
        };
        portrait.insert(format!("table {name}"), content);
    }
    portrait
}

fn lines(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        lines.push((0..columns).map(|at| shown(row, at)).collect::<Vec<_>>().join(" "));
    }
    lines.sort();
    lines
}

fn shown(row: &Row<'_>, at: usize) -> String {
    match row.get_ref(at).unwrap() {
        ValueRef::Null => "n".to_owned(),
        ValueRef::Integer(value) => format!("i{value}"),
        ValueRef::Real(value) => format!("r{:016x}", value.to_bits()),
        ValueRef::Text(bytes) => format!("t{}", data_encoding::HEXLOWER.encode(bytes)),
        ValueRef::Blob(bytes) => format!("b{}", data_encoding::HEXLOWER.encode(bytes)),
    }
}

fn name_of(hex: &str) -> String {
    String::from_utf8(data_encoding::HEXLOWER.decode(&hex.as_bytes()[1..]).unwrap()).unwrap()
}

/// Names the first things that differ.
#[track_caller]
pub fn assert_same(wanted: &Portrait, got: &Portrait, what: &str) {
    for (name, lines) in wanted {
        let Some(other) = got.get(name) else { panic!("{what}: {name} is missing") };
        for (line, other) in lines.iter().zip(other) {
            assert_eq!(line, other, "{what}: {name}");
        }
        assert_eq!(lines.len(), other.len(), "{what}: {name}");
    }
    assert_eq!(
        wanted.len(),
        got.len(),
        "{what}: {:?}",
        got.keys().filter(|k| !wanted.contains_key(*k)).collect::<Vec<_>>()
    );
}
