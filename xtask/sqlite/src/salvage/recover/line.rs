//! One line of what `.recover` prints, where it is a row: `INSERT OR IGNORE INTO 't0'(_rowid_, 'c0', …) VALUES (…);`.
//! The names are ours (`image`), and line ends within text are written otherwise, so a row is one line. It is
//! read, not run: what is no plain value makes it no row.

use anyhow::Result;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::Value as Owned;

use crate::load::row::{self, Value, Values};

/// A row.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// The number of its table.
    pub table: usize,
    /// Its rowid, where it has one.
    pub rowid: Option<i64>,
    /// Its values, in the order of the record.
    pub values: Vec<Owned>,
}

/// Reads lines.
pub struct Reader {
    /// Tells which number a literal means, and nothing else.
    asked: Connection,
}

impl Reader {
    /// A new one.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Reader> {
        let mut asked = Connection::open_in_memory()?;
        asked.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        asked.authorizer(Some(|context: AuthContext<'_>| match context.action {
            AuthAction::Select => Authorization::Allow,
            AuthAction::Function { function_name: "replace" | "char" | "unistr" } => Authorization::Allow,
            _ => Authorization::Deny,
        }))?;
        Ok(Reader { asked })
    }

    /// A line without its end; `None` when it is no row.
    pub fn read(&mut self, line: &[u8]) -> Option<Line> {
        let line = std::str::from_utf8(line).ok()?;
        let rest = line.strip_suffix('\r').unwrap_or(line).strip_prefix("INSERT OR IGNORE INTO ")?;
        let end = rest.find(" VALUES (")?;
        let head = row::head(&format!("INSERT INTO {} VALUES(", &rest[..end]))?;
        let table = head.table.strip_prefix('t')?.parse().ok()?;
        let names = head.columns?;
        let has_rowid = names.first().is_some_and(|name| name == "_rowid_");
        let columns = &names[usize::from(has_rowid)..];
        if columns.iter().enumerate().any(|(i, name)| *name != format!("c{i}")) {
            return None;
        }
        let start = end + " VALUES (".len();
        let mut values: Vec<Owned> = match row::values(rest, start, names.len(), &[])? {
            Values::Known(known) => known.into_iter().map(owned).collect(),
            Values::Asked(_) => self.ask(rest[start..].strip_suffix(");")?, names.len())?,
        };
        if values.len() != names.len() {
            return None;
        }
        let rowid = match has_rowid.then(|| values.remove(0)) {
            Some(Owned::Integer(rowid)) => Some(rowid),
            Some(_) => return None,
            None => None,
        };
        Some(Line { table, rowid, values })
    }

    /// The values of a list that was read and found harmless.
    fn ask(&self, list: &str, count: usize) -> Option<Vec<Owned>> {
        let all = |row: &rusqlite::Row<'_>| (0..count).map(|i| row.get(i)).collect::<rusqlite::Result<_>>();
        // What SQLite can't read either is no row.
        self.asked.query_row(&format!("SELECT {list}"), [], all).ok()
    }
}

fn owned(value: Value<'_>) -> Owned {
    match value {
        Value::Null => Owned::Null,
        Value::Integer(value) => Owned::Integer(value),
        Value::Real(value) => Owned::Real(value),
        Value::Text(text) => Owned::Text(text.into_owned()),
        Value::Blob(bytes) | Value::Raw(bytes) => Owned::Blob(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_recover_prints_is_read() {
        let mut reader = Reader::new().unwrap();
        let text = |text: &str| Owned::Text(text.to_owned());
        for (line, rowid, values) in [
            (
                "'t7'(_rowid_, 'c0', 'c1') VALUES (-3, NULL, X'00FF');",
                Some(-3),
                vec![Owned::Null, Owned::Blob(vec![0, 255])],
            ),
            ("'t7'('c0') VALUES ('it''s VALUES (');", None, vec![text("it's VALUES (")]),
            (
                "'t7'('c0', 'c1') VALUES (9.0e+999, -1.5);\r",
                None,
                vec![Owned::Real(f64::INFINITY), Owned::Real(-1.5)],
            ),
            (
                "'t7'('c0', 'c1') VALUES (3.14159265358979312, 1e-310);",
                None,
                vec![Owned::Real(std::f64::consts::PI), Owned::Real(1e-310)],
            ),
            (
                "'t7'('c0') VALUES (replace(replace('a\\r\\nb','\\n', char(10)),'\\r', char(13)));",
                None,
                vec![text("a\r\nb")],
            ),
            ("'t7'('c0', 'c1') VALUES (unistr('a\\u000a'), 2);", None, vec![text("a\n"), Owned::Integer(2)]),
        ] {
            let read = reader.read(format!("INSERT OR IGNORE INTO {line}").as_bytes());
            assert_eq!(read, Some(Line { table: 7, rowid, values }), "{line}");
        }
    }

    #[test]
    fn everything_else_is_no_row() {
        let mut reader = Reader::new().unwrap();
        for line in [
            "",
            "BEGIN;",
            "ATTACH 'x' AS y;",
            "INSERT INTO 't0'('c0') VALUES (1);",
            "INSERT OR IGNORE INTO 'lost_and_found'('c0') VALUES (1);",
            "INSERT OR IGNORE INTO 't0'('c1') VALUES (1);",
            "INSERT OR IGNORE INTO 't0'('c0', 'c1') VALUES (1);",
            "INSERT OR IGNORE INTO 't0'(_rowid_, 'c0') VALUES ('1', 1);",
            "INSERT OR IGNORE INTO 't0'('c0') VALUES (1)",
            "INSERT OR IGNORE INTO 't0'('c0') VALUES (1); ATTACH 'x' AS y;",
            "INSERT OR IGNORE INTO 't0'('c0') VALUES (readfile('x'));",
            "INSERT OR IGNORE INTO 't0'('c0') VALUES ((SELECT 1));",
            "INSERT OR IGNORE INTO 't0'('c0') VALUES (1e9, load_extension('x'));",
            "INSERT OR IGNORE INTO 't-1'('c0') VALUES (1);",
        ] {
            assert_eq!(reader.read(line.as_bytes()), None, "{line}");
        }
        assert_eq!(reader.read(b"INSERT OR IGNORE INTO 't0'('c0') VALUES ('\xff');"), None);
        assert!(reader.asked.query_row("SELECT load_extension('x')", [], |_| Ok(())).is_err());
    }
}
