//! A table that takes the rows of another one as they lie, whatever that one's statement says: no types, no
//! rules, no computed columns, the same keys. Its pages are then those of the real table, so that the real
//! statement can be put in its place in `sqlite_schema`.
//!
//! Needed where a plain SQLite can't run the real statement (a function or collation of the application, a
//! string in double quotes), where the table would not take its own rows, and where it stores what it computes.

use anyhow::{Context, Result};
use rusqlite::Connection;

use super::schema::is_safe_name;
use crate::catalog::{self, KeyPart, Object, Shape, quoted};
use crate::tokens;

/// Such a table.
pub struct StandIn {
    /// What it is called until the real statement is in its place.
    pub name: String,
    /// Its statement, without a semicolon.
    pub sql: String,
    /// How the real table is read: generated columns that are stored are among its columns.
    pub shape: Shape,
    /// What its columns are called.
    pub columns: Vec<String>,
    /// Collations that only the application has, in which keys of the real table are ordered.
    pub foreign_order: Vec<String>,
}

/// One of its keys.
struct Key {
    primary: bool,
    parts: Vec<KeyPart>,
}

impl StandIn {
    /// One for this table; `None` where a key is one of columns that are not stored.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn of(connection: &Connection, table: &Object) -> Result<Option<StandIn>> {
        let shape = catalog::shape(connection, &table.name, true)?;
        let is_safe = is_safe_name(&table.name) && shape.columns.iter().all(|name| is_safe_name(name));
        let columns: Vec<String> = match is_safe {
            true => shape.columns.clone(),
            false => (1..=shape.columns.len()).map(|at| format!("column {at}")).collect(),
        };
        let name = if is_safe { table.name.clone() } else { format!("stand-in {}", table.root_page) };
        let keys = keys(connection, &table.name)
            .with_context(|| format!("can't read the keys of the table {}", table.name))?;
        let mut parts: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        if let Some(at) = shape.rowid_column {
            parts[at].push_str(" INTEGER PRIMARY KEY");
        }
        let renamed = |name: &str| {
            let at = shape.columns.iter().position(|column| column == name);
            at.map(|at| quoted(&columns[at]))
        };
        for key in &keys {
            let list: Option<Vec<String>> = key
                .parts
                .iter()
                .map(|part| Some(part_sql(&renamed(part.column.as_deref()?)?, part)))
                .collect();
            let Some(list) = list else { return Ok(None) };
            let word = if key.primary { "PRIMARY KEY" } else { "UNIQUE" };
            parts.push(format!("{word}({})", list.join(",")));
        }
        let end = if shape.without_rowid { " WITHOUT ROWID" } else { "" };
        let sql = format!("CREATE TABLE {}({}){end}", quoted(&name), parts.join(","));
        let collations = keys.iter().flat_map(|key| &key.parts).map(|part| part.collation.clone());
        let mut foreign_order: Vec<String> = collations.filter(|name| !tokens::is_built_in(name)).collect();
        foreign_order.sort();
        foreign_order.dedup();
        Ok(Some(StandIn { name, sql, shape, columns, foreign_order }))
    }
}

fn part_sql(column: &str, part: &KeyPart) -> String {
    let mut sql = column.to_owned();
    // One that the application alone has is left out: its place is taken by the order of bytes.
    if tokens::is_built_in(&part.collation) {
        sql.push_str(&format!(" COLLATE {}", part.collation));
    }
    if part.descending {
        sql.push_str(" DESC");
    }
    sql
}

/// The keys of a table that have an index of their own, in the order in which those were made.
fn keys(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Key>> {
    let sql = "SELECT name, origin FROM pragma_index_list(?1) WHERE origin <> 'c'";
    let mut statement = connection.prepare(sql)?;
    let mut named: Vec<(String, String)> = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    // `sqlite_autoindex_NAME_3`
    named.sort_by_key(|(name, _)| name.rsplit('_').next().and_then(|number| number.parse::<u64>().ok()));
    named
        .into_iter()
        .map(|(name, origin)| {
            Ok(Key { primary: origin == "pk", parts: catalog::key_parts(connection, &name)? })
        })
        .collect()
}
