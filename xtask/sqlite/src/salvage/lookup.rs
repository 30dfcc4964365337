//! Finds one row by its key and gives some of its columns, bit for bit, in any database of the same make.

use std::collections::HashMap;

use anyhow::Result;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement};

use super::target::Bound;
use crate::catalog::quoted;

/// What tells the row.
pub enum By<'a> {
    /// Its rowid, which can be read under this name.
    Rowid(&'a str),
    /// These columns.
    Columns(Vec<String>),
}

/// The prepared question.
pub struct Lookup<'c> {
    statement: Statement<'c>,
    columns: usize,
    wide: bool,
}

/// An expression for a column; in UTF-16 its text comes as bytes, and after it whether it is text.
pub fn read(column: &str, wide: bool) -> String {
    let column = quoted(column);
    if !wide {
        return column;
    }
    let text = format!("typeof({column})='text'");
    format!("iif({text},CAST({column} AS BLOB),{column}),{text}")
}

/// The values that such expressions gave, from a column of the result on.
///
/// # Errors
/// What SQLite returns.
pub fn values<'r>(
    row: &'r Row<'_>,
    from: usize,
    count: usize,
    wide: bool,
) -> rusqlite::Result<Vec<ValueRef<'r>>> {
    (0..count)
        .map(|i| {
            if !wide {
                return row.get_ref(from + i);
            }
            let is_text = row.get_ref(from + 2 * i + 1)? == ValueRef::Integer(1);
            Ok(match row.get_ref(from + 2 * i)? {
                ValueRef::Blob(bytes) if is_text => ValueRef::Text(bytes),
                value => value,
            })
        })
        .collect()
}

/// Whether two values are the same, as an index or a column of type REAL may store them: 1 and 1.0 are.
pub fn is_same(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    match (a, b) {
        (ValueRef::Real(a), ValueRef::Real(b)) => a.to_bits() == b.to_bits(),
        (ValueRef::Integer(whole), ValueRef::Real(real))
        | (ValueRef::Real(real), ValueRef::Integer(whole)) => whole as f64 == real,
        (a, b) => a == b,
    }
}

impl<'c> Lookup<'c> {
    /// Asks for these columns of a table; an empty list asks only whether the row is there.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn new(
        connection: &'c Connection,
        table: &str,
        by: &By<'_>,
        columns: &[String],
        wide: bool,
    ) -> Result<Lookup<'c>> {
        let what: Vec<String> = columns.iter().map(|column| read(column, wide)).collect();
        let what = if what.is_empty() { "1".to_owned() } else { what.join(",") };
        // An index might be wrong where the table is right.
        let plain = if matches!(by, By::Rowid(_)) { " NOT INDEXED" } else { "" };
        let sql = format!("SELECT {what} FROM {}{plain} WHERE {}", quoted(table), filter(by, wide));
        Ok(Lookup { statement: connection.prepare(&sql)?, columns: columns.len(), wide })
    }

    /// Not a question: removes the row.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn removal(connection: &'c Connection, table: &str, by: &By<'_>, wide: bool) -> Result<Lookup<'c>> {
        let sql = format!("DELETE FROM {} WHERE {}", quoted(table), filter(by, wide));
        Ok(Lookup { statement: connection.prepare(&sql)?, columns: 0, wide })
    }

    /// Calls with the row's values, if it is there.
    ///
    /// # Errors
    /// What SQLite returns, and the call.
    pub fn find<T>(
        &mut self,
        key: &[ValueRef<'_>],
        by_rowid: bool,
        call: impl FnOnce(&[ValueRef<'_>]) -> T,
    ) -> Result<Option<T>> {
        let mut at = 0;
        let mut bind = |statement: &mut Statement<'_>, value: ValueRef<'_>| {
            at += 1;
            statement.raw_bind_parameter(at, Bound(value))
        };
        for value in key {
            match (*value, self.wide && !by_rowid) {
                (ValueRef::Text(bytes), true) => {
                    bind(&mut self.statement, ValueRef::Blob(bytes))?;
                    bind(&mut self.statement, ValueRef::Integer(1))?;
                }
                (value, true) => {
                    bind(&mut self.statement, value)?;
                    bind(&mut self.statement, ValueRef::Integer(0))?;
                }
                (value, false) => bind(&mut self.statement, value)?,
            }
        }
        let (columns, wide) = (self.columns, self.wide);
        let mut rows = self.statement.raw_query();
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(call(&values(row, 0, columns, wide)?)))
    }
}

/// The condition that finds the row.
fn filter(by: &By<'_>, wide: bool) -> String {
    match by {
        By::Rowid(name) => format!("{name} = ?1"),
        By::Columns(names) => {
            let part = |(i, name): (usize, &String)| {
                let value = match wide {
                    true => format!("iif(?{1},CAST(?{0} AS TEXT),?{0})", 2 * i + 1, 2 * i + 2),
                    false => format!("?{}", i + 1),
                };
                format!("{} = {value}", quoted(name))
            };
            names.iter().enumerate().map(part).collect::<Vec<_>>().join(" AND ")
        }
    }
}

/// Where each of these names stands in a list; `None` when one is missing.
pub fn positions(names: &[String], list: &[String]) -> Option<Vec<usize>> {
    let at: HashMap<&str, usize> =
        list.iter().enumerate().rev().map(|(i, name)| (name.as_str(), i)).collect();
    names.iter().map(|name| at.get(name.as_str()).copied()).collect()
}
