//! Rows out of what the indexes know of them: lost ones, and ones of damaged pages where the two disagree. Where all
//! columns of a row are known, it is whole again, and doubtful all the same; what it had before is put aside, and so
//! is what is known of a row that can't be made whole.

use std::collections::HashMap;

use anyhow::{Context, Result};
use rusqlite::types::ValueRef;

use super::book::{Aside, Book, Key};
use super::lookup::{By, Lookup};
use super::record;
use super::shape::TableShape;
use super::target::{Inserted, Inserter, Target};
use crate::base::interrupt;

/// What is rebuilt of one table.
pub struct Parts<'a> {
    /// The table's number.
    pub table: usize,
    /// Its name.
    pub name: &'a str,
    /// How it is made.
    pub shape: &'a TableShape,
    /// The columns of each of its indexes, by the index's number; empty names for expressions.
    pub indexes: HashMap<i64, Vec<String>>,
}

/// Rebuilds rows; how many are in the table again, and how many records were put aside.
///
/// # Errors
/// When something can't be read or written, or the user asked to stop.
pub fn rebuild(target: &Target, book: &Book, parts: &Parts<'_>) -> Result<(u64, u64)> {
    let (mut whole, mut aside) = (0, 0);
    let by = match (&parts.shape.key, &parts.shape.rowid) {
        (None, Some(rowid)) => By::Rowid(rowid),
        (None, None) => return Ok((0, 0)), // columns hide its rowid
        (Some(key), _) => {
            By::Columns(key.iter().map(|at| parts.shape.layout.fields[*at].column.clone()).collect())
        }
    };
    let inserter = Inserter::new(target, parts.name, parts.shape)?;
    let columns: Vec<String> = parts.shape.layout.fields.iter().map(|field| field.column.clone()).collect();
    let there = Lookup::new(&target.connection, parts.name, &by, &columns, target.wide)?;
    let removal = Lookup::removal(&target.connection, parts.name, &by, target.wide)?;
    let mut table = TableAgain { inserter, there, removal };
    let mut statement =
        book.connection.prepare("SELECT key, idx, record, counts FROM part WHERE tbl = ?1 ORDER BY key")?;
    let mut rows = statement.query([parts.table as i64])?;
    let mut row = rows.next()?;
    let mut current: Option<Known> = None;
    // One row more than there are: the last one has to be dealt with, too.
    loop {
        let part = match row {
            Some(row) => {
                let key = match row.get_ref(0)? {
                    ValueRef::Integer(rowid) => Id::Rowid(rowid),
                    value => Id::Primary(value.as_blob().context("a key is bytes")?.to_vec()),
                };
                let record = row.get_ref(2)?.as_blob().context("a record is bytes")?.to_vec();
                Some((key, row.get::<_, i64>(1)?, record, row.get::<_, bool>(3)?))
            }
            None => None,
        };
        let is_same = matches!((&part, &current), (Some((key, ..)), Some(known)) if *key == known.id);
        if !is_same && let Some(known) = current.take() {
            interrupt::check()?;
            let (again, put_aside) = known.put(&mut table, book, parts)?;
            whole += again;
            aside += put_aside;
        }
        let Some((key, index, record, counts)) = part else { return Ok((whole, aside)) };
        current
            .get_or_insert_with(|| Known { id: key, records: Vec::new() })
            .records
            .push((index, record, counts));
        row = rows.next()?;
    }
}

#[derive(PartialEq, Eq)]
enum Id {
    Rowid(i64),
    Primary(Vec<u8>),
}

/// The table in the new database.
struct TableAgain<'t> {
    inserter: Inserter<'t>,
    there: Lookup<'t>,
    removal: Lookup<'t>,
}

/// A row, and what each index knows of it.
struct Known {
    id: Id,
    records: Vec<(i64, Vec<u8>, bool)>,
}

impl Known {
    /// How many rows the table has more than before, and how many records were put aside.
    fn put(&self, table: &mut TableAgain<'_>, book: &Book, parts: &Parts<'_>) -> Result<(u64, u64)> {
        let mut known: HashMap<&str, ValueRef<'_>> = HashMap::new();
        // Of two indexes that contradict the table, only the ones that count for more change it.
        let any_counts = self.records.iter().any(|(_, _, counts)| *counts);
        for (index, record, _) in self.records.iter().filter(|(_, _, counts)| *counts || !any_counts) {
            let (Some(names), Some(values)) = (parts.indexes.get(index), record::decode(record)) else {
                continue;
            };
            known.extend(names.iter().map(String::as_str).zip(values));
        }
        let (rowid, primary) = match &self.id {
            Id::Rowid(rowid) => (*rowid, None),
            Id::Primary(bytes) => (0, Some(record::decode(bytes).context("a key is a record")?)),
        };
        let key = match &self.id {
            Id::Rowid(rowid) => Key::Rowid(*rowid),
            Id::Primary(bytes) => Key::Primary(bytes),
        };
        let by_rowid = [ValueRef::Integer(rowid)];
        let search = primary.as_deref().unwrap_or(&by_rowid);
        let before = table.there.find(search, primary.is_none(), record::encode)?;
        let old = before.as_deref().map(|bytes| record::decode(bytes).unwrap_or_default());
        let fields = &parts.shape.layout.fields;
        let values: Vec<Option<ValueRef<'_>>> = (0..fields.len())
            .map(|at| match &fields[at] {
                field if field.is_rowid => Some(ValueRef::Null),
                field => known
                    .get(field.column.as_str())
                    .copied()
                    .or(old.as_ref().and_then(|old| old.get(at).copied())),
            })
            .collect();
        let named = primary.is_none().then_some(rowid);
        let aside = |why: &str, record: &[u8]| -> Result<()> {
            book.aside(&Aside { table: Some(parts.name), rowid: named, page: 0, why, record })
        };
        let all: Option<Vec<ValueRef<'_>>> = values.iter().copied().collect();
        if !any_counts {
            let why = match before {
                Some(_) => "as an index has it, where the row has other values",
                None => "an index has it, and the page where it would be has not",
            };
            let values: Vec<ValueRef<'_>> =
                values.iter().map(|value| value.unwrap_or(ValueRef::Null)).collect();
            aside(why, &record::encode(&values))?;
            return Ok((0, 1));
        }
        let mut why = "what indexes know of a lost row".to_owned();
        if let Some(all) = all {
            if old.is_some() {
                table.removal.find(search, primary.is_none(), |_| ())?;
            }
            match (table.inserter.insert(rowid, &all)?, &before) {
                (Inserted::No(rule), Some(before)) => {
                    // What was there comes back; it is in nobody's way.
                    let old = record::decode(before).unwrap_or_default();
                    table.inserter.insert(rowid, &old)?;
                    why = format!("from indexes: {rule}");
                }
                (Inserted::No(rule), None) => why = format!("from indexes: {rule}"),
                (_, Some(before)) => {
                    book.doubt(parts.table, key, "it is as an index has it")?;
                    aside("a row before it was made as an index has it", before)?;
                    return Ok((0, 1));
                }
                (_, None) => {
                    book.found(parts.table, key)?;
                    book.doubt(parts.table, key, "its page is lost; indexes have all of it")?;
                    return Ok((1, 0));
                }
            }
        }
        let values: Vec<ValueRef<'_>> =
            values.into_iter().map(|value| value.unwrap_or(ValueRef::Null)).collect();
        aside(&why, &record::encode(&values))?;
        Ok((0, 1))
    }
}
