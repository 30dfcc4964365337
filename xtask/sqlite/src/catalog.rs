//! What a database consists of, as its schema says: the tables that hold rows of their own and the columns
//! that are stored. Shadow tables and SQLite's own (`sqlite_sequence`, `sqlite_stat1`) are among them,
//! virtual tables are not.

use anyhow::{Context, Result};
use rusqlite::Connection;

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
    /// The statement that made it; absent for indexes that a constraint made.
    pub sql: Option<String>,
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

    /// Whether SQLite keeps it for itself: its name can't be used by others.
    pub fn is_internal(&self) -> bool {
        self.name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"))
    }
}

/// How the rows of one table are read.
pub struct Shape {
    /// Stored columns, in the order of the table; generated ones are left out.
    pub columns: Vec<String>,
    /// Whether every column of the table is stored.
    pub all_stored: bool,
    /// A name under which the rowid can be read; `None` without one, or where columns hide all names.
    pub rowid: Option<&'static str>,
    /// The column that is the rowid, if one is (`INTEGER PRIMARY KEY`), as a position in `columns`.
    pub rowid_column: Option<usize>,
    /// The columns of the primary key, as positions in `columns`.
    pub key_columns: Vec<usize>,
}

/// Every object, in the order in which it was made.
///
/// # Errors
/// What SQLite returns, and names that are not UTF-8.
pub fn objects(connection: &Connection) -> Result<Vec<Object>> {
    let sql = "SELECT type, name, tbl_name, ifnull(rootpage, 0), sql FROM sqlite_schema ORDER BY rowid";
    let mut statement = connection.prepare(sql)?;
    let objects = statement.query_map([], |row| {
        Ok(Object {
            kind: row.get(0)?,
            name: row.get(1)?,
            table: row.get(2)?,
            root_page: row.get(3)?,
            sql: row.get(4)?,
        })
    })?;
    objects.collect::<rusqlite::Result<_>>().context("can't read the schema")
}

/// The shape of a table with rows of its own.
///
/// # Errors
/// What SQLite returns, and column names that are not UTF-8.
pub fn shape(connection: &Connection, table: &str) -> Result<Shape> {
    let attempt = || -> rusqlite::Result<Shape> {
        let mut all_names = Vec::new();
        let (mut columns, mut key_columns) = (Vec::new(), Vec::new());
        let mut statement = connection.prepare("SELECT name, hidden, pk FROM pragma_table_xinfo(?1)")?;
        let mut rows = statement.query([table])?;
        while let Some(row) = rows.next()? {
            let (name, hidden, key): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if hidden == 0 {
                if key > 0 {
                    key_columns.push(columns.len());
                }
                columns.push(name.clone());
            }
            all_names.push(name);
        }
        let without_rowid: bool = connection.query_row(
            "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1",
            [table],
            |row| row.get(0),
        )?;
        let key_has_index: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')",
            [table],
            |row| row.get(0),
        )?;
        let hidden_name = |alias: &str| all_names.iter().any(|name| name.eq_ignore_ascii_case(alias));
        let rowid = if without_rowid {
            None
        } else {
            ["rowid", "_rowid_", "oid"].into_iter().find(|alias| !hidden_name(alias))
        };
        // Only a primary key that is the rowid itself needs no index.
        let is_rowid = !without_rowid && !key_has_index && key_columns.len() == 1;
        Ok(Shape {
            all_stored: columns.len() == all_names.len(),
            rowid,
            rowid_column: key_columns.first().copied().filter(|_| is_rowid),
            key_columns,
            columns,
        })
    };
    attempt().with_context(|| format!("can't read how the table {table} is made"))
}

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
