//! How the rows of one table are read so that they can be merged with those of another: which columns, in
//! which order.

use std::cmp::Ordering;

use anyhow::Result;
use rusqlite::{Connection, Row};

use super::cell::Cell;
use crate::catalog::{self, quoted};

/// What tells rows apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The rowid; with the column that shows it, where a primary key is the rowid.
    Rowid(Option<String>),
    /// The columns of the primary key of a table WITHOUT ROWID.
    Primary(Vec<String>),
    /// The whole row: its rowid can't be read, since columns hide all its names.
    Row,
}

/// A table with rows of its own.
pub struct Table {
    name: String,
    /// An expression for the rowid.
    rowid: Option<String>,
    /// Its stored columns.
    pub columns: Vec<String>,
    /// What tells its rows apart.
    pub key: Key,
}

impl Key {
    /// Whether it is a number, in every encoding the same.
    pub fn is_rowid(&self) -> bool {
        matches!(self, Key::Rowid(_))
    }
}

impl Table {
    /// Looks how a table is made.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn of(connection: &Connection, name: &str) -> Result<Table> {
        let shape = catalog::shape(connection, name, false)?;
        let rowid_column = shape.rowid_column.map(|at| shape.columns[at].clone());
        let rowid = shape.rowid.map(str::to_owned).or_else(|| rowid_column.as_deref().map(quoted));
        let key = if shape.without_rowid {
            let sql = "SELECT name FROM pragma_table_xinfo(?1) WHERE pk > 0 ORDER BY pk";
            let mut statement = connection.prepare(sql)?;
            let names = statement.query_map([name], |row| row.get(0))?;
            Key::Primary(names.collect::<rusqlite::Result<_>>()?)
        } else if rowid.is_some() {
            Key::Rowid(rowid_column)
        } else {
            Key::Row
        };
        Ok(Table { name: name.to_owned(), rowid, columns: shape.columns, key })
    }

    /// A `SELECT` of these columns in the order of the key, the rowid before them where it is the key. A
    /// column that this table does not have is NULL. With `raw` text comes as its bytes, and after every
    /// column stands whether it is text.
    pub fn select(&self, columns: &[String], raw: bool) -> String {
        let mut parts: Vec<String> = self.rowid.iter().filter(|_| self.key.is_rowid()).cloned().collect();
        for name in columns {
            let Some(own) = self.columns.iter().find(|own| own.eq_ignore_ascii_case(name)) else {
                parts.push(if raw { "NULL,0" } else { "NULL" }.to_owned());
                continue;
            };
            let column = quoted(own);
            parts.push(match raw {
                true => {
                    let text = format!("typeof({column})='text'");
                    format!("iif({text},CAST({column} AS BLOB),{column}),{text}")
                }
                false => column,
            });
        }
        let binary = |name: &str| format!("{} COLLATE BINARY", quoted(name));
        let order: Vec<String> = match &self.key {
            Key::Rowid(_) => self.rowid.iter().cloned().collect(),
            Key::Primary(names) => names.iter().map(|name| binary(name)).collect(),
            // In this order equal rows come together, and none else between them.
            Key::Row => columns
                .iter()
                .filter(|name| self.columns.iter().any(|own| own.eq_ignore_ascii_case(name)))
                .map(|name| format!("{},typeof({})='real'", binary(name), quoted(name)))
                .collect(),
        };
        format!("SELECT {} FROM {} ORDER BY {}", parts.join(","), quoted(&self.name), order.join(","))
    }

    /// How the rows of such a `SELECT` are read.
    pub fn layout(&self, columns: &[String], raw: bool) -> Layout {
        let position = |name: &String| columns.iter().position(|column| column.eq_ignore_ascii_case(name));
        let key = match &self.key {
            Key::Rowid(_) => KeyAt::First,
            Key::Primary(names) => KeyAt::Columns(names.iter().filter_map(position).collect()),
            Key::Row => KeyAt::All,
        };
        Layout { key, columns: columns.len(), raw }
    }
}

/// Where key and columns stand in a row.
pub struct Layout {
    key: KeyAt,
    columns: usize,
    raw: bool,
}

enum KeyAt {
    First,
    Columns(Vec<usize>),
    All,
}

impl Layout {
    /// Whether text comes as it is stored.
    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// Which row comes first; equal are two with the same key.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn order(&self, a: &Row<'_>, b: &Row<'_>) -> rusqlite::Result<Ordering> {
        match &self.key {
            KeyAt::First => Ok(a.get::<_, i64>(0)?.cmp(&b.get(0)?)),
            KeyAt::Columns(columns) => {
                self.first_difference(a, b, columns.iter().copied(), |a, b| a.order(b))
            }
            KeyAt::All => self.first_difference(a, b, 0..self.columns, |a, b| a.typed_order(b)),
        }
    }

    /// Whether all values are the same.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn is_same(&self, a: &Row<'_>, b: &Row<'_>) -> rusqlite::Result<bool> {
        for column in 0..self.columns {
            if !self.cell(a, column)?.is_same(self.cell(b, column)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn first_difference(
        &self,
        a: &Row<'_>,
        b: &Row<'_>,
        mut columns: impl Iterator<Item = usize>,
        order: fn(Cell<'_>, Cell<'_>) -> Ordering,
    ) -> rusqlite::Result<Ordering> {
        columns.try_fold(Ordering::Equal, |before, column| match before {
            Ordering::Equal => Ok(order(self.cell(a, column)?, self.cell(b, column)?)),
            decided => Ok(decided),
        })
    }

    /// The value of a column.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn cell<'r>(&self, row: &'r Row<'_>, column: usize) -> rusqlite::Result<Cell<'r>> {
        let first = usize::from(matches!(self.key, KeyAt::First));
        let at = first + if self.raw { 2 * column } else { column };
        let is_text = self.raw && row.get::<_, i64>(at + 1)? == 1;
        Ok(Cell::new(row.get_ref(at)?, is_text))
    }
}

/// The columns of two tables, each once.
pub fn union(a: &[String], b: &[String]) -> Vec<String> {
    let new = b.iter().filter(|name| !a.iter().any(|known| known.eq_ignore_ascii_case(name)));
    a.iter().chain(new).cloned().collect()
}
