//! Takes rows of the shell into one table: only such as may be missing, that fit the table, and that are neither in it
//! nor put aside as read from a page. Each is doubtful.

use anyhow::Result;
use rusqlite::params;
use rusqlite::types::{Value, ValueRef};

use super::Wanted;
use super::line::Line;
use crate::salvage::book::{Aside, Book, Key};
use crate::salvage::lookup::{By, Lookup};
use crate::salvage::record;
use crate::salvage::target::{Inserted, Inserter, Target};

/// Why a row is doubtful.
const WHY: &str = "only the .recover of sqlite3 reads it";

/// One table.
pub struct Taker<'a, 't> {
    /// Which.
    pub wanted: &'a Wanted<'a>,
    /// Rows that are in it now.
    pub taken: u64,
    /// Rows that a rule keeps out.
    pub aside: u64,
    book: &'a Book,
    inserter: Inserter<'t>,
    exists: Lookup<'t>,
    encoding: &'static str,
}

impl<'a, 't> Taker<'a, 't> {
    /// For a table that is there.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn new(
        target: &'t Target,
        book: &'a Book,
        wanted: &'a Wanted<'a>,
        encoding: &'static str,
    ) -> Result<Taker<'a, 't>> {
        let fields = &wanted.shape.layout.fields;
        let by = match (&wanted.shape.key, &wanted.shape.rowid) {
            (Some(key), _) => By::Columns(key.iter().map(|at| fields[*at].column.clone()).collect()),
            (None, rowid) => By::Rowid(rowid.as_deref().unwrap_or("rowid")),
        };
        let exists = Lookup::new(&target.connection, wanted.name, &by, &[], target.wide)?;
        let inserter = Inserter::new(target, wanted.name, wanted.shape)?;
        note_apart(book, wanted)?;
        Ok(Taker { wanted, taken: 0, aside: 0, book, inserter, exists, encoding })
    }

    /// Takes a row, if it is one that is missing.
    ///
    /// # Errors
    /// When something can't be read or written.
    pub fn take(&mut self, line: &Line) -> Result<()> {
        let wide: Vec<Vec<u8>> = line.values.iter().map(|value| self.text(value)).collect();
        let values: Vec<ValueRef<'_>> =
            line.values.iter().zip(&wide).map(|(v, text)| value(v, text)).collect();
        // Where it can't read a value, it prints an empty one.
        let is_empty = |value: &ValueRef<'_>| {
            matches!(value, ValueRef::Null | ValueRef::Text(b"") | ValueRef::Blob(b""))
        };
        if values.iter().all(is_empty) || self.wanted.shape.layout.misfit(&values).is_some() {
            return Ok(());
        }
        let bytes;
        let (search, key) = match (&self.wanted.shape.key, line.rowid) {
            (None, Some(rowid)) => (vec![ValueRef::Integer(rowid)], Key::Rowid(rowid)),
            (Some(key), None) => {
                let Some(parts) = key.iter().map(|at| values.get(*at).copied()).collect::<Option<Vec<_>>>()
                else {
                    return Ok(());
                };
                bytes = record::encode(&parts);
                (parts, Key::Primary(&bytes))
            }
            _ => return Ok(()),
        };
        if !self.may_be_missing(key)? || self.exists.find(&search, line.rowid.is_some(), |_| ())?.is_some() {
            return Ok(());
        }
        let is_apart = "SELECT EXISTS (SELECT 1 FROM apart WHERE tbl = ?1 AND key = ?2)";
        let mut is_apart = self.book.connection.prepare_cached(is_apart)?;
        if is_apart.query_row(params![self.wanted.table as i64, key], |row| row.get(0))? {
            return Ok(());
        }
        match self.inserter.insert(line.rowid.unwrap_or(0), &values)? {
            Inserted::Yes | Inserted::AgainstCheck => {
                self.taken += 1;
                self.book.found(self.wanted.table, key)?;
                self.book.doubt(self.wanted.table, key, WHY)
            }
            Inserted::No(rule) => {
                self.aside += 1;
                let (table, record) = (Some(self.wanted.name), record::encode(&values));
                let why = format!("of the .recover of sqlite3: {rule}");
                self.book.aside(&Aside { table, rowid: line.rowid, page: 0, why: &why, record: &record })
            }
        }
    }

    fn may_be_missing(&self, key: Key<'_>) -> Result<bool> {
        let is_open = match key {
            Key::Rowid(rowid) => {
                // They are in order.
                let open = self.wanted.open;
                let next = open.partition_point(|(_, high)| *high < rowid);
                open.get(next).is_some_and(|(low, _)| *low <= rowid)
            }
            Key::Primary(_) => self.wanted.is_open,
        };
        Ok(is_open || self.book.is_lost(self.wanted.table, key)?)
    }

    /// Text as the database stores it, where that is not UTF-8.
    fn text(&self, value: &Value) -> Vec<u8> {
        let Value::Text(text) = value else { return Vec::new() };
        match self.encoding {
            "UTF-16le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "UTF-16be" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            _ => text.clone().into_bytes(),
        }
    }
}

fn value<'v>(value: &'v Value, text: &'v [u8]) -> ValueRef<'v> {
    match value {
        Value::Text(_) => ValueRef::Text(text),
        other => ValueRef::from(other),
    }
}

/// Notes which rows of the table were read from pages and put aside.
fn note_apart(book: &Book, wanted: &Wanted<'_>) -> Result<()> {
    let table = wanted.table as i64;
    let mut note = book.connection.prepare_cached("INSERT OR IGNORE INTO apart VALUES (?1, ?2)")?;
    let sql = "SELECT rowid_, record FROM aside WHERE tbl = ?1 AND page > 0";
    let mut statement = book.connection.prepare_cached(sql)?;
    let mut rows = statement.query([wanted.name])?;
    while let Some(row) = rows.next()? {
        match (&wanted.shape.key, row.get_ref(0)?) {
            (None, ValueRef::Integer(rowid)) => note.execute(params![table, rowid])?,
            (Some(key), _) => {
                let values = record::decode_cut(row.get_ref(1)?.as_blob()?).unwrap_or_default();
                let parts = key.iter().map(|at| values.get(*at).copied().unwrap_or(ValueRef::Null));
                note.execute(params![table, record::encode(&parts.collect::<Vec<_>>())])?
            }
            _ => 0,
        };
    }
    Ok(())
}
