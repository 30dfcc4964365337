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
use super::{header, open};
use crate::base::digest::{Digest, Hasher};
use crate::base::facts::{DatabaseFacts, TableFacts};
use crate::base::interrupt;

/// Bytes given to the hasher at once.
const BLOCK: usize = 1 << 16;

/// The facts of a private copy. Memory stays flat; every row is read.
///
/// # Errors
/// When it can't be opened, or is damaged where it is read.
pub fn facts(image: &Path) -> Result<DatabaseFacts> {
    let wal = file_asks_for_wal(image)?;
    let connection = open::immutable(image)?;
    facts_of(&connection, wal).with_context(|| format!("can't read the content of {}", image.display()))
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
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
    let wide = catalog::is_wide(connection)?;
    let objects = catalog::objects(connection)?;
    let mut tables = Vec::new();
    for object in objects.iter().filter(|object| object.is_stored_table()) {
        tables.push(
            table_facts(connection, &object.name, wide)
                .with_context(|| format!("can't read the table {}", object.name))?,
        );
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let (auto_vacuum, user_version) = (number("auto_vacuum")?, number("user_version")?);
    let application_id = number("application_id")?;
    let mut hasher = Hasher::new();
    let pragmas = format!(
        "encoding={encoding}\nauto_vacuum={auto_vacuum}\nuser_version={user_version}\napplication_id={application_id}\n"
    );
    hasher.update(pragmas.as_bytes());
    hasher.update(schema_digest(&objects).bytes());
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
fn schema_digest(objects: &[Object]) -> Digest {
    let mut lines: Vec<Vec<u8>> = objects
        .iter()
        .map(|object| {
            let mut line = Vec::new();
            for part in [&object.kind, &object.name, &object.table] {
                push_bytes(&mut line, b't', part.as_bytes());
            }
            match &object.sql {
                Some(sql) => push_bytes(&mut line, b't', sql.as_bytes()),
                None => line.push(b'n'),
            }
            line
        })
        .collect();
    lines.sort();
    Digest::of(&lines.concat())
}

fn table_facts(connection: &Connection, table: &str, wide: bool) -> Result<TableFacts> {
    let shape = catalog::shape(connection, table)?;
    let mut statement = connection.prepare(&shape.select(table, true, wide))?;
    let columns = statement.column_count();
    let first_column = usize::from(shape.rowid.is_some());
    let mut rows = statement.query([])?;
    let mut hasher = Hasher::new();
    let mut block = Vec::with_capacity(2 * BLOCK);
    let mut count = 0;
    while let Some(row) = rows.next()? {
        count += 1;
        let mut column = 0;
        while column < columns {
            let value = row.get_ref(column)?;
            let is_text = wide && column >= first_column && row.get_ref(column + 1)? == ValueRef::Integer(1);
            match value {
                ValueRef::Null => block.push(b'n'),
                ValueRef::Integer(value) => push_eight(&mut block, b'i', &value.to_le_bytes()),
                ValueRef::Real(value) => push_eight(&mut block, b'r', &value.to_bits().to_le_bytes()),
                ValueRef::Text(bytes) => push_bytes(&mut block, b't', bytes),
                ValueRef::Blob(bytes) => push_bytes(&mut block, if is_text { b't' } else { b'b' }, bytes),
            }
            column += if wide && column >= first_column { 2 } else { 1 };
            if block.len() >= BLOCK {
                interrupt::check()?;
                hasher.update(&block);
                // A huge value must not keep its memory until the end of the table.
                block.clear();
                block.shrink_to(2 * BLOCK);
            }
        }
    }
    hasher.update(&block);
    Ok(TableFacts { name: table.to_owned(), rows: count, logical: hasher.finish() })
}

fn push_eight(block: &mut Vec<u8>, tag: u8, bytes: &[u8; 8]) {
    block.push(tag);
    block.extend_from_slice(bytes);
}

fn push_bytes(block: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    push_eight(block, tag, &(bytes.len() as u64).to_le_bytes());
    block.extend_from_slice(bytes);
}
