//! What a database consists of, as its schema says: the tables that hold rows of their own and the columns
//! that are stored. Shadow tables and SQLite's own (`sqlite_sequence`, `sqlite_stat1`) are among them,
//! virtual tables are not.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::tokens;

/// One line of `sqlite_schema`.
pub struct Object {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table it belongs to.
    pub table: String,
    /// Where its rows begin; 0 where it has none of its own.
    pub root_page: i64,
    /// The statement that made it, which need not be UTF-8; absent for indexes that a constraint made.
    pub sql: Option<Vec<u8>>,
}

impl Object {
    /// Whether it is a table with rows of its own.
    pub fn is_stored_table(&self) -> bool {
        self.kind == "table" && self.root_page != 0
    }

    /// Whether it is a virtual table.
    pub fn is_virtual_table(&self) -> bool {
        self.kind == "table" && self.root_page == 0
    }

    /// The statement that made it, where it has one that is valid text.
    pub fn sql_text(&self) -> Option<&str> {
        self.sql.as_deref().and_then(|sql| std::str::from_utf8(sql).ok())
    }

    /// Whether SQLite keeps it for itself: its name can't be used by others.
    pub fn is_internal(&self) -> bool {
        self.name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"))
    }
}

/// How the rows of one table are read.
pub struct Shape {
    /// The columns that are read, in the order of the table: those that are stored. Of generated ones the
    /// stored are only among them when that was asked for.
    pub columns: Vec<String>,
    /// What each of these columns takes.
    pub details: Vec<Column>,
    /// Whether these are all columns of the table.
    pub all_stored: bool,
    /// Whether the table is STRICT.
    pub strict: bool,
    /// A name under which the rowid can be read; `None` without one, or where columns hide all names.
    pub rowid: Option<&'static str>,
    /// The column that is the rowid, if one is (`INTEGER PRIMARY KEY`), as a position in `columns`.
    pub rowid_column: Option<usize>,
    /// The columns of the primary key, as positions in `columns`.
    pub key_columns: Vec<usize>,
    /// Whether it has no rowids.
    pub without_rowid: bool,
    /// The order of its key, for a table WITHOUT ROWID. Said each time: the planner would take any index that
    /// has all columns, whatever the statement forbids.
    pub order: Option<String>,
}

/// What a column takes.
pub struct Column {
    /// Its type, as it was declared.
    pub declared: String,
    /// Whether NULL is forbidden.
    pub not_null: bool,
    /// Whether its values are computed (and stored).
    pub generated: bool,
}

/// Every object, in the order in which it was made. Of names that are not UTF-8, bytes are replaced.
///
/// # Errors
/// What SQLite returns.
pub fn objects(connection: &Connection) -> Result<Vec<Object>> {
    let sql = "SELECT type, name, tbl_name, ifnull(rootpage, 0), sql FROM sqlite_schema ORDER BY rowid";
    let mut statement = connection.prepare(sql)?;
    let objects = statement.query_map([], |row| {
        Ok(Object {
            kind: text(row, 0)?,
            name: text(row, 1)?,
            table: text(row, 2)?,
            root_page: row.get(3)?,
            sql: bytes(row, 4)?,
        })
    })?;
    objects.collect::<rusqlite::Result<_>>().context("can't read the schema")
}

fn bytes(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        _ => None,
    })
}

fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(row, at)?.unwrap_or_default()).into_owned())
}

/// The collations that the schema names and SQLite does not have.
///
/// # Errors
/// What SQLite returns.
pub fn foreign_collations(connection: &Connection) -> Result<BTreeSet<String>> {
    let objects = objects(connection)?;
    Ok(objects
        .iter()
        .filter_map(|object| object.sql.as_deref())
        .flat_map(tokens::foreign_collations)
        .collect())
}

/// One part of the key of an index.
pub struct KeyPart {
    /// The column; absent for an expression and for the rowid.
    pub column: Option<String>,
    /// Whether it runs backwards.
    pub descending: bool,
    /// Its collation.
    pub collation: String,
}

/// The key of an index.
///
/// # Errors
/// What SQLite returns.
pub fn key_parts(connection: &Connection, index: &str) -> rusqlite::Result<Vec<KeyPart>> {
    let sql = "SELECT name, \"desc\", coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno";
    let mut statement = connection.prepare(sql)?;
    let parts = statement.query_map([index], |row| {
        Ok(KeyPart { column: row.get(0)?, descending: row.get(1)?, collation: row.get(2)? })
    })?;
    parts.collect()
}

/// The shape of a table with rows of its own; `with_generated` reads generated columns that are stored, too.
///
/// # Errors
/// What SQLite returns, and column names that are not UTF-8.
pub fn shape(connection: &Connection, table: &str, with_generated: bool) -> Result<Shape> {
    let attempt = || -> rusqlite::Result<Shape> {
        let mut all_names = Vec::new();
        let (mut columns, mut details, mut key_columns) = (Vec::new(), Vec::new(), Vec::new());
        let sql = "SELECT name, hidden, pk, type, \"notnull\" FROM pragma_table_xinfo(?1)";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([table])?;
        while let Some(row) = rows.next()? {
            let (name, hidden, key): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if hidden == 0 || with_generated && hidden == STORED {
                if key > 0 {
                    key_columns.push(columns.len());
                }
                columns.push(name.clone());
                details.push(Column {
                    declared: text(row, 3)?,
                    not_null: row.get(4)?,
                    generated: hidden == STORED,
                });
            }
            all_names.push(name);
        }
        let (without_rowid, strict): (bool, bool) = connection.query_row(
            "SELECT wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ?1",
            [table],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let key_index: Option<String> = connection
            .query_row("SELECT name FROM pragma_index_list(?1) WHERE origin = 'pk'", [table], |row| {
                row.get(0)
            })
            .optional()?;
        let hidden_name = |alias: &str| all_names.iter().any(|name| name.eq_ignore_ascii_case(alias));
        let rowid = if without_rowid {
            None
        } else {
            ["rowid", "_rowid_", "oid"].into_iter().find(|alias| !hidden_name(alias))
        };
        // Only a primary key that is the rowid itself needs no index.
        let is_rowid = !without_rowid && key_index.is_none() && key_columns.len() == 1;
        let order = match &key_index {
            Some(index) if without_rowid => Some(order_of(&key_parts(connection, index)?)),
            _ => None,
        };
        Ok(Shape {
            all_stored: columns.len() == all_names.len(),
            strict,
            rowid,
            rowid_column: key_columns.first().copied().filter(|_| is_rowid),
            key_columns,
            columns,
            details,
            without_rowid,
            order,
        })
    };
    attempt()
        .map_err(|error| {
            let is_unknown = error == rusqlite::Error::QueryReturnedNoRows;
            let error = anyhow::Error::new(error);
            match is_unknown {
                true => error.context(
                    "SQLite knows no table of that name: it is not UTF-8, or its statement names another",
                ),
                false => error,
            }
        })
        .with_context(|| format!("can't read how the table {table} is made"))
}

/// The order of a key. Where a part of it is ordered by the application, whoever loads a dump can't know how:
/// then it is that of the bytes.
fn order_of(parts: &[KeyPart]) -> String {
    let is_foreign = parts.iter().any(|part| !tokens::is_built_in(&part.collation));
    let term = |part: &KeyPart| {
        let collation = if is_foreign { "BINARY" } else { &part.collation };
        let column = quoted(part.column.as_deref()?);
        Some(format!("{column} COLLATE {collation}{}", if part.descending { " DESC" } else { "" }))
    };
    parts.iter().filter_map(term).collect::<Vec<_>>().join(",")
}

/// What `pragma_table_xinfo` calls a generated column that is stored.
const STORED: i64 = 3;

impl Shape {
    /// A `SELECT` that yields every row in key order: the rowid first where `with_rowid` asks for it and
    /// there is one, then the stored columns. In a UTF-16 database (`wide`) every column is followed by 1
    /// when it is text, and text comes as its raw bytes: SQLite would mend what is not valid.
    pub fn select(&self, table: &str, with_rowid: bool, wide: bool) -> String {
        let mut sql = "SELECT ".to_owned();
        if let (true, Some(rowid)) = (with_rowid, self.rowid) {
            sql.push_str(rowid);
            sql.push(',');
        }
        for (i, column) in self.columns.iter().enumerate() {
            let column = quoted(column);
            if i > 0 {
                sql.push(',');
            }
            if wide {
                let text = format!("typeof({column})='text'");
                sql.push_str(&format!("iif({text},CAST({column} AS BLOB),{column}),{text}"));
            } else {
                sql.push_str(&column);
            }
        }
        // Without this, a covering index might decide the order.
        sql.push_str(&format!(" FROM {} NOT INDEXED", quoted(table)));
        if let Some(rowid) = self.rowid {
            sql.push_str(&format!(" ORDER BY {rowid}"));
        } else if let Some(order) = &self.order {
            sql.push_str(&format!(" ORDER BY {order}"));
        }
        sql
    }
}

/// A name as an SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether text is stored as UTF-16.
///
/// # Errors
/// What SQLite returns.
pub fn is_wide(connection: &Connection) -> Result<bool> {
    let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
    Ok(encoding.starts_with("UTF-16"))
}
