//! `lost_and_found`: a table of what has no place elsewhere, each record with the table it belongs to where that is
//! known, its rowid, the page it was on, and why it is here.

use anyhow::{Context, Result};
use rusqlite::types::ValueRef;

use super::book::{Aside, Book};
use super::btree::Kind;
use super::payload::Whole;
use super::record;
use super::target::{Bound, Target};
use super::walk::Forest;
use crate::base::interrupt;
use crate::catalog::quoted;

/// No table can have more values than this, beside our own columns.
const VALUES_MAX: usize = 1990;

/// Puts all rows of a table aside that can't be made.
///
/// # Errors
/// When something can't be read or written, or the user asked to stop.
pub fn put_table_aside(forest: &mut Forest<'_>, book: &Book, name: &str, tree: usize) -> Result<u64> {
    let (mut buffer, mut bytes, mut count) = (Vec::new(), Vec::new(), 0);
    for leaf in forest.trees[tree].leaves.clone() {
        interrupt::check()?;
        let Some(page) = forest.page(leaf.page, None, &mut buffer)? else { continue };
        for cell in page.cells.iter().filter(|_| page.kind != Kind::TableInterior) {
            let whole = forest.payload(cell, &buffer, &mut bytes, true)?;
            let why = match whole {
                Whole::Cut => "its table can't be made, and a part of it is missing",
                _ => "its table can't be made",
            };
            let rowid = page.kind.is_table().then_some(cell.rowid);
            book.aside(&Aside { table: Some(name), rowid, page: leaf.page, why, record: &bytes })?;
            count += 1;
        }
    }
    Ok(count)
}

/// Writes all that was put aside into a table of its own; its name, when there is anything.
///
/// # Errors
/// When something can't be read or written, or the user asked to stop.
pub fn write(target: &Target, book: &Book, encoding: &str) -> Result<Option<String>> {
    let Some(width) = width(book)? else { return Ok(None) };
    let mut name = "lost_and_found".to_owned();
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)";
    let mut number = 1;
    while target.connection.query_row(sql, [&name], |row| row.get::<_, bool>(0))? {
        number += 1;
        name = format!("lost_and_found_{number}");
    }
    let columns: Vec<String> = (0..width).map(|i| format!(", c{i}")).collect();
    let wide = encoding != "UTF-8";
    target.connection.execute_batch(&format!(
        "CREATE TABLE {}(\"table\" TEXT, \"rowid_was\" INTEGER, page INTEGER, why TEXT{})",
        quoted(&name),
        columns.concat()
    ))?;
    let value = |i: usize| match wide {
        true => format!(",iif(?{1},CAST(?{0} AS TEXT),?{0})", 5 + 2 * i, 6 + 2 * i),
        false => format!(",?{}", 5 + i),
    };
    let values: Vec<String> = (0..width).map(value).collect();
    let sql = format!("INSERT INTO {} VALUES (?1,?2,?3,?4{})", quoted(&name), values.concat());
    let mut insert = target.connection.prepare(&sql)?;
    let mut statement = book.connection.prepare("SELECT tbl, rowid_, page, why, record FROM aside")?;
    let mut rows = statement.query([])?;
    let mut count = 0_u64;
    while let Some(row) = rows.next()? {
        count += 1;
        if count.is_multiple_of(1024) {
            interrupt::check()?;
        }
        for at in 0..4 {
            insert.raw_bind_parameter(at + 1, Bound(row.get_ref(at)?))?;
        }
        let record = row.get_ref(4)?.as_blob().context("a record is bytes")?;
        let values = record::decode_cut(record).unwrap_or_default();
        for i in 0..width {
            let value = values.get(i).copied().unwrap_or(ValueRef::Null);
            match (value, wide) {
                (ValueRef::Text(bytes), true) => {
                    insert.raw_bind_parameter(5 + 2 * i, Bound(ValueRef::Blob(bytes)))?;
                    insert.raw_bind_parameter(6 + 2 * i, 1)?;
                }
                (value, true) => {
                    insert.raw_bind_parameter(5 + 2 * i, Bound(value))?;
                    insert.raw_bind_parameter(6 + 2 * i, 0)?;
                }
                (value, false) => insert.raw_bind_parameter(5 + i, Bound(value))?,
            }
        }
        insert.raw_execute()?;
    }
    Ok(Some(name))
}

/// How many values the longest record has; `None` without any record.
fn width(book: &Book) -> Result<Option<usize>> {
    let mut statement = book.connection.prepare("SELECT record FROM aside")?;
    let mut rows = statement.query([])?;
    let mut width = None;
    while let Some(row) = rows.next()? {
        let record = row.get_ref(0)?.as_blob().context("a record is bytes")?;
        let values = record::decode_cut(record).map_or(0, |values| values.len()).clamp(1, VALUES_MAX);
        width = width.max(Some(values));
    }
    Ok(width)
}
