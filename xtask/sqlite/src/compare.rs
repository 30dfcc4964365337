//! What separates two databases, in rows: how many appear, vanish and change in each table, and what became
//! of the schema. Both are private copies.
//!
//! Rows are matched by their key: the rowid, or the primary key of a table WITHOUT ROWID. Both sides are read
//! in the order of the key and merged, so memory stays flat whatever the tables hold. Values are compared
//! with their type and to the last bit: 1, 1.0 and '1' are three values.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::{Connection, Row};

use self::row::Reading;
pub use self::row::{Field, RowChange};
use self::table::Table;
use super::catalog::{self, Object};
use super::open;
use crate::base::interrupt;

mod cell;
mod row;
mod table;

/// Rows of one table that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChange {
    /// The table.
    pub name: String,
    /// Rows that only the later database has.
    pub appear: u64,
    /// Rows that only the earlier database has.
    pub vanish: u64,
    /// Rows with the same key and other values.
    pub change: u64,
    /// The first of these rows, in the order of the key, as far as they were asked for.
    pub rows: Vec<RowChange>,
}

/// One object of the schema that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// `table`, `index`, `view` or `trigger`; `pragma` for `user_version` and other numbers of the header.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The statement that made it, or the number; `None` where it is not there.
    pub before: Option<String>,
    /// The same of the later database.
    pub after: Option<String>,
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseChange {
    /// The tables with rows that differ, by name.
    pub tables: Vec<TableChange>,
    /// The objects of the schema that differ, by kind and name.
    pub schema: Vec<SchemaChange>,
}

impl DatabaseChange {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.schema.is_empty()
    }

    /// Rows that appear, vanish and change, in all tables.
    pub fn totals(&self) -> (u64, u64, u64) {
        self.tables.iter().fold((0, 0, 0), |(appear, vanish, change), table| {
            (appear + table.appear, vanish + table.vanish, change + table.change)
        })
    }
}

/// Is given every row that differs, as it was and as it is, and how the two are read; one of them is absent where
/// it appears or vanishes.
type Visitor<'v> = dyn FnMut(Option<&Row<'_>>, Option<&Row<'_>>, &Reading<'_>) -> Result<()> + 'v;

/// Compares two private copies. Of a column that only one side has, the other side's rows count as NULL
/// there. Where the key is not made of the same columns, no row is matched: all of them vanish and appear.
///
/// # Errors
/// When one can't be opened, or is damaged where it is read.
pub fn compare(before: &Path, after: &Path) -> Result<DatabaseChange> {
    compare_rows(before, after, 0)
}

/// The same, and tells up to `rows_max` rows of each table, with the beginnings of their values: memory stays flat
/// however many rows differ, and however long they are.
///
/// # Errors
/// As [`compare`].
pub fn compare_rows(before: &Path, after: &Path, rows_max: usize) -> Result<DatabaseChange> {
    let attempt = || -> Result<DatabaseChange> {
        let (a, b) = (Side::open(before)?, Side::open(after)?);
        let mut tables = Vec::new();
        let names: BTreeSet<&str> = a.tables().chain(b.tables()).collect();
        for name in names {
            let mut counts =
                TableChange { name: name.to_owned(), appear: 0, vanish: 0, change: 0, rows: Vec::new() };
            visit(&a, &b, name, &mut |old, new, reading| {
                match (old, new) {
                    (None, _) => counts.appear += 1,
                    (_, None) => counts.vanish += 1,
                    _ => counts.change += 1,
                }
                if counts.rows.len() < rows_max {
                    counts.rows.push(reading.told(old, new)?);
                }
                Ok(())
            })
            .with_context(|| format!("can't compare the table {name}"))?;
            if (counts.appear, counts.vanish, counts.change) != (0, 0, 0) {
                tables.push(counts);
            }
        }
        Ok(DatabaseChange { tables, schema: schema_changes(&a, &b)? })
    };
    attempt().with_context(|| format!("can't compare {} with {}", before.display(), after.display()))
}

/// One of the two databases.
struct Side {
    connection: Connection,
    objects: Vec<Object>,
    encoding: String,
}

impl Side {
    fn open(image: &Path) -> Result<Side> {
        let connection = open::immutable_for_rows(image)?;
        let objects = catalog::objects(&connection)?;
        let encoding = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
        Ok(Side { connection, objects, encoding })
    }

    fn tables(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().filter(|object| object.is_stored_table()).map(|object| object.name.as_str())
    }

    /// How a table is read; `None` where there is none.
    fn table(&self, name: &str) -> Result<Option<Table>> {
        if self.tables().any(|table| table == name) {
            Table::of(&self.connection, name).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// Tells of every row of one table that differs.
fn visit(a: &Side, b: &Side, name: &str, visitor: &mut Visitor<'_>) -> Result<()> {
    let same_encoding = a.encoding == b.encoding;
    // Text as it lies there, where both store it alike: SQLite would mend what is not valid UTF-16.
    let raw = same_encoding && a.encoding.starts_with("UTF-16");
    match (a.table(name)?, b.table(name)?) {
        (Some(old), Some(new)) if old.key == new.key && (same_encoding || old.key.is_rowid()) => {
            merge(a, &old, b, &new, raw, visitor)
        }
        (old, new) => {
            if let Some(old) = old {
                each(a, &old, &mut |row, reading| visitor(Some(row), None, reading))?;
            }
            if let Some(new) = new {
                each(b, &new, &mut |row, reading| visitor(None, Some(row), reading))?;
            }
            Ok(())
        }
    }
}

/// Goes through both sides in the order of the key.
fn merge(a: &Side, old: &Table, b: &Side, new: &Table, raw: bool, visitor: &mut Visitor<'_>) -> Result<()> {
    let columns = table::union(&old.columns, &new.columns);
    let layout = old.layout(&columns, raw);
    // Where keys match, both sides call their columns alike.
    let reading = Reading { columns: &columns, key: &new.key, layout: &layout, encoding: &b.encoding };
    let mut old_rows = a.connection.prepare(&old.select(&columns, raw))?;
    let mut new_rows = b.connection.prepare(&new.select(&columns, raw))?;
    let (mut old_rows, mut new_rows) = (old_rows.query([])?, new_rows.query([])?);
    let (mut old_row, mut new_row) = (old_rows.next()?, new_rows.next()?);
    let mut count: u64 = 0;
    loop {
        count += 1;
        if count.is_multiple_of(4096) {
            interrupt::check()?;
        }
        let order = match (old_row, new_row) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => {
                let order = layout.order(old, new)?;
                if order == Ordering::Equal && !layout.is_same(old, new)? {
                    visitor(Some(old), Some(new), &reading)?;
                }
                order
            }
        };
        match order {
            Ordering::Less => visitor(old_row, None, &reading)?,
            Ordering::Greater => visitor(None, new_row, &reading)?,
            Ordering::Equal => {}
        }
        if order != Ordering::Greater {
            old_row = old_rows.next()?;
        }
        if order != Ordering::Less {
            new_row = new_rows.next()?;
        }
    }
}

/// Calls for each row of a table.
fn each(
    side: &Side,
    table: &Table,
    call: &mut dyn FnMut(&Row<'_>, &Reading<'_>) -> Result<()>,
) -> Result<()> {
    let layout = table.layout(&table.columns, false);
    let reading =
        Reading { columns: &table.columns, key: &table.key, layout: &layout, encoding: &side.encoding };
    let mut statement = side.connection.prepare(&table.select(&table.columns, false))?;
    let mut rows = statement.query([])?;
    let mut count: u64 = 0;
    while let Some(row) = rows.next()? {
        count += 1;
        if count.is_multiple_of(4096) {
            interrupt::check()?;
        }
        call(row, &reading)?;
    }
    Ok(())
}

/// What was added, removed and changed in the schema. Indexes that a constraint made have no statement and
/// follow from their table's.
fn schema_changes(a: &Side, b: &Side) -> Result<Vec<SchemaChange>> {
    let mut all: BTreeMap<(String, String), [Option<String>; 2]> = BTreeMap::new();
    for (i, side) in [a, b].into_iter().enumerate() {
        for object in side.objects.iter().filter(|object| object.sql.is_some()) {
            all.entry((object.kind.clone(), object.name.clone())).or_default()[i] =
                object.sql.as_deref().map(|sql| String::from_utf8_lossy(sql).into_owned());
        }
        for name in ["application_id", "auto_vacuum", "user_version"] {
            let number: i64 = side.connection.pragma_query_value(None, name, |row| row.get(0))?;
            all.entry(("pragma".to_owned(), name.to_owned())).or_default()[i] = Some(number.to_string());
        }
        all.entry(("pragma".to_owned(), "encoding".to_owned())).or_default()[i] = Some(side.encoding.clone());
    }
    let changes = all.into_iter().filter(|(_, [before, after])| before != after);
    Ok(changes.map(|((kind, name), [before, after])| SchemaChange { kind, name, before, after }).collect())
}
