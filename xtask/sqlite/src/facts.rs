//! What a database is, apart from how its pages lie: rows per table and a logical hash of every table and of
//! the whole. Two databases with the same hash hold the same schema and the same values, bit for bit.
//!
//! Page size and journal mode are facts on their own and no part of the hash: a restore through SQLite into
//! a live file keeps that file's.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::catalog::{self, Object};
use super::table_hash::{TableHasher, push_bytes};
use super::{header, open};
use crate::base::digest::{Digest, Hasher};
use crate::base::facts::{DatabaseFacts, TableFacts};

/// The facts of a private copy. Memory stays flat; every row is read.
///
/// # Errors
/// When it can't be opened, or is damaged where it is read.
pub fn facts(image: &Path) -> Result<DatabaseFacts> {
    let wal = file_asks_for_wal(image)?;
    let connection = open::immutable_for_rows(image)?;
    facts_of(&connection, wal).with_context(|| format!("can't read the content of {}", image.display()))
}

/// Whether an error of [`facts`] speaks of what the database needs and SQLite alone does not have, or of names
/// that are no UTF-8; not of this machine, and not of damage.
pub fn is_about_database(error: &anyhow::Error) -> bool {
    let mut errors = error.chain().filter_map(|cause| cause.downcast_ref::<rusqlite::Error>());
    errors.any(|error| open::code_of(error).is_none_or(|code| code == rusqlite::ErrorCode::Unknown))
}

/// Whether a private copy asks for WAL mode. Only before a connection has it open, and never on a live file.
///
/// # Errors
/// When it can't be read.
pub(super) fn file_asks_for_wal(image: &Path) -> Result<bool> {
    let mut first = Vec::new();
    File::open(image)
        .and_then(|file| file.take(100).read_to_end(&mut first))
        .with_context(|| format!("can't read {}", image.display()))?;
    Ok(header::asks_for_wal(&first))
}

fn facts_of(connection: &Connection, wal: bool) -> Result<DatabaseFacts> {
    let wide = catalog::is_wide(connection)?;
    let objects = catalog::objects(connection)?;
    let mut tables = Vec::new();
    for object in objects.iter().filter(|object| object.is_stored_table()) {
        tables.push(
            table_facts(connection, &object.name, wide)
                .with_context(|| format!("can't read the table {}", object.name))?,
        );
    }
    whole(connection, wal, objects.iter(), tables)
}

/// The facts of a database whose tables are known, and which consists of these objects.
///
/// # Errors
/// What SQLite returns.
pub(super) fn whole<'a>(
    connection: &Connection,
    wal: bool,
    objects: impl Iterator<Item = &'a Object>,
    mut tables: Vec<TableFacts>,
) -> Result<DatabaseFacts> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let (auto_vacuum, user_version) = (number("auto_vacuum")?, number("user_version")?);
    let application_id = number("application_id")?;
    let mut hasher = Hasher::new();
    let pragmas = format!(
        "encoding={encoding}\nauto_vacuum={auto_vacuum}\nuser_version={user_version}\napplication_id={application_id}\n"
    );
    hasher.update(pragmas.as_bytes());
    hasher.update(schema_digest(objects).bytes());
    for table in &tables {
        hasher.update(Digest::of(table.name.as_bytes()).bytes());
        hasher.update(&table.rows.to_le_bytes());
        hasher.update(table.logical.bytes());
    }
    Ok(DatabaseFacts {
        page_size: u32::try_from(number("page_size")?)?,
        pages: u64::try_from(number("page_count")?)?,
        journal_mode: if wal { "wal" } else { "delete" }.to_owned(),
        encoding,
        auto_vacuum,
        user_version,
        application_id,
        tables,
        logical: hasher.finish(),
    })
}

/// A hash of the schema that does not depend on the order in which things were made.
fn schema_digest<'a>(objects: impl Iterator<Item = &'a Object>) -> Digest {
    let mut lines: Vec<Vec<u8>> = objects
        .map(|object| {
            let mut line = Vec::new();
            for part in [&object.kind, &object.name, &object.table] {
                push_bytes(&mut line, b't', part.as_bytes());
            }
            match &object.sql {
                Some(sql) => push_bytes(&mut line, b't', sql),
                None => line.push(b'n'),
            }
            line
        })
        .collect();
    lines.sort();
    Digest::of(&lines.concat())
}

fn table_facts(connection: &Connection, table: &str, wide: bool) -> Result<TableFacts> {
    let shape = catalog::shape(connection, table, false)?;
    let mut statement = connection.prepare(&shape.select(table, true, wide))?;
    let columns = statement.column_count();
    let first_column = usize::from(shape.rowid.is_some());
    let step = if wide { 2 } else { 1 };
    let mut rows = statement.query([])?;
    let mut hasher = TableHasher::new();
    while let Some(row) = rows.next()? {
        hasher.row(if first_column == 1 { Some(row.get(0)?) } else { None });
        for column in (first_column..columns).step_by(step) {
            let is_text = wide && row.get_ref(column + 1)? == ValueRef::Integer(1);
            hasher.value(row.get_ref(column)?, is_text)?;
        }
    }
    Ok(hasher.finish(table))
}
