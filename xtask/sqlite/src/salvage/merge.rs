//! What a backup still has: it fills the holes, and only these. A row that a sound page would hold if it existed was
//! deleted since, and stays deleted; of a table WITHOUT ROWID that is damaged every missing row counts as a hole.
//! A doubtful row that the backup has just so is doubtful no more; where it differs, the backup's goes aside.

use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::book::{Aside, Book, Key, List};
use super::holes::Range;
use super::lookup::{By, Lookup, is_same, read, values};
use super::record;
use super::shape::{self, TableShape};
use super::target::{Inserted, Inserter, Target};
use crate::base::interrupt;
use crate::catalog::{self, Object, quoted};
use crate::open;

/// So many rows are asked for at once.
const CHUNK: usize = 1000;

/// The backup's database.
pub struct Backup {
    connection: Connection,
    /// Its schema.
    pub objects: Vec<Object>,
    /// Its encoding.
    pub encoding: String,
}

impl Backup {
    /// Opens the image.
    ///
    /// # Errors
    /// When it can't be opened or is damaged.
    pub fn open(image: &Path) -> Result<Backup> {
        let connection = open::immutable(image)?;
        let objects = catalog::objects(&connection)?;
        let encoding = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
        Ok(Backup { connection, objects, encoding })
    }
}

/// A table with holes.
pub struct Holed<'a> {
    /// Its number.
    pub table: usize,
    /// Its name.
    pub name: &'a str,
    /// How it is made.
    pub shape: &'a TableShape,
    /// Rowids that may be missing.
    pub open: &'a [Range],
}

/// What is done for one table.
struct Filler<'a, 't> {
    holed: &'a Holed<'a>,
    target: &'t Target,
    book: &'a Book,
    inserter: Inserter<'t>,
    exists: Lookup<'t>,
    /// The columns that both have, in the order of the record.
    columns: Vec<String>,
    aside: u64,
}

/// Fills a table. Returns how many rows of the backup went aside; `None` when the backup has no such table, or one
/// that is made otherwise.
///
/// # Errors
/// When something can't be read or written, or the user asked to stop.
pub fn fill(backup: &Backup, target: &Target, book: &Book, holed: &Holed<'_>) -> Result<Option<u64>> {
    let known = |object: &Object| object.is_stored_table() && object.name == holed.name;
    if !backup.objects.iter().any(known) {
        return Ok(None);
    }
    let theirs = shape::written_columns(&backup.connection, holed.name)?;
    let generated = shape::written_columns(&target.connection, holed.name)?;
    // Columns that were added since are at the end, and get what new columns get.
    let fields = holed.shape.layout.fields.iter().map(|field| field.column.clone());
    let ours: Vec<String> = fields.filter(|name| generated.contains(name)).collect();
    let columns: Vec<String> = ours.iter().take_while(|name| theirs.contains(name)).cloned().collect();
    let with_rowid = holed.shape.key.is_none();
    let is_other = ours[columns.len()..].iter().any(|name| theirs.contains(name));
    let Some(by) = by(holed).filter(|_| !is_other && !columns.is_empty()) else { return Ok(None) };
    let exists = Lookup::new(&target.connection, holed.name, &by, &columns, target.wide)?;
    let inserter = Inserter::new(target, holed.name, holed.shape)?;
    let mut filler = Filler { holed, target, book, inserter, exists, columns, aside: 0 };
    if with_rowid {
        filler.ranges(backup)?;
        filler.doubts(backup)?;
    } else {
        filler.all(backup)?;
    }
    Ok(Some(filler.aside))
}

fn by<'a>(holed: &'a Holed<'_>) -> Option<By<'a>> {
    match &holed.shape.key {
        None => holed.shape.rowid.as_deref().map(By::Rowid),
        Some(key) => {
            let fields = &holed.shape.layout.fields;
            Some(By::Columns(key.iter().map(|at| fields[*at].column.clone()).collect()))
        }
    }
}

impl Filler<'_, '_> {
    fn select(&self, filter: &str) -> String {
        let rowid = self.holed.shape.rowid.as_deref().filter(|_| self.holed.shape.key.is_none());
        let wide = self.target.wide;
        let columns = self.columns.iter().map(|column| read(column, wide));
        let what: Vec<String> = rowid.map(str::to_owned).into_iter().chain(columns).collect();
        let filter = filter.replace("ROWID", rowid.unwrap_or("rowid"));
        format!("SELECT {} FROM {} {filter}", what.join(","), quoted(self.holed.name))
    }

    /// Rows in the holes, and those that an index knows to be lost.
    fn ranges(&mut self, backup: &Backup) -> Result<()> {
        let sql = self.select("WHERE ROWID BETWEEN ?1 AND ?2 ORDER BY ROWID");
        let mut statement = backup.connection.prepare(&sql).context("can't ask the backup")?;
        for range in self.holed.open {
            self.range(&mut statement, *range)?;
        }
        let mut from = i64::MIN;
        loop {
            let lost = self.book.rowids(List::Lost, self.holed.table, from, CHUNK)?;
            let Some(last) = lost.last() else { break };
            for rowid in &lost {
                self.range(&mut statement, (*rowid, *rowid))?;
            }
            match last.checked_add(1) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(())
    }

    fn range(&mut self, statement: &mut rusqlite::Statement<'_>, (low, high): Range) -> Result<()> {
        interrupt::check()?;
        let mut rows = statement.query([low, high])?;
        while let Some(row) = rows.next()? {
            let rowid: i64 = row.get(0)?;
            let values = values(row, 1, self.columns.len(), self.target.wide)?;
            if self.exists.find(&[ValueRef::Integer(rowid)], true, |_| ())?.is_none() {
                self.put(rowid, Key::Rowid(rowid), &values)?;
            }
        }
        Ok(())
    }

    /// Doubtful rows against what the backup has.
    fn doubts(&mut self, backup: &Backup) -> Result<()> {
        let sql = self.select("WHERE ROWID = ?1");
        let mut statement = backup.connection.prepare(&sql).context("can't ask the backup")?;
        let mut from = i64::MIN;
        loop {
            interrupt::check()?;
            let doubtful = self.book.rowids(List::Doubt, self.holed.table, from, CHUNK)?;
            let Some(last) = doubtful.last() else { return Ok(()) };
            for rowid in &doubtful {
                let mut rows = statement.query([rowid])?;
                let Some(row) = rows.next()? else { continue };
                let theirs = values(row, 1, self.columns.len(), self.target.wide)?;
                let key = [ValueRef::Integer(*rowid)];
                let same = self.exists.find(&key, true, |ours| all_same(ours, &theirs))?;
                self.judge(Some(*rowid), Key::Rowid(*rowid), same == Some(true), &theirs)?;
            }
            match last.checked_add(1) {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// Every row of a table WITHOUT ROWID.
    fn all(&mut self, backup: &Backup) -> Result<()> {
        let key_at: Vec<usize> = self.holed.shape.key.clone().unwrap_or_default();
        let mut statement = backup.connection.prepare(&self.select("")).context("can't ask the backup")?;
        let mut rows = statement.query([])?;
        let mut count = 0_u64;
        while let Some(row) = rows.next()? {
            count += 1;
            if count.is_multiple_of(4096) {
                interrupt::check()?;
            }
            let theirs = values(row, 0, self.columns.len(), self.target.wide)?;
            let key: Option<Vec<ValueRef<'_>>> = key_at.iter().map(|at| theirs.get(*at).copied()).collect();
            let Some(key) = key else { return Ok(()) };
            let named = record::encode(&key);
            let same = self.exists.find(&key, false, |ours| all_same(ours, &theirs))?;
            match same {
                None => self.put(0, Key::Primary(&named), &theirs)?,
                Some(same) if self.book.is_doubtful(self.holed.table, Key::Primary(&named))? => {
                    self.judge(None, Key::Primary(&named), same, &theirs)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, rowid: i64, key: Key<'_>, theirs: &[ValueRef<'_>]) -> Result<()> {
        let record = self.record(theirs);
        match self.inserter.insert(rowid, &record)? {
            Inserted::Yes | Inserted::AgainstCheck => self.book.filled(self.holed.table, key),
            Inserted::No(rule) => {
                let rowid = matches!(key, Key::Rowid(_)).then_some(rowid);
                self.put_aside(rowid, &format!("of the backup: {rule}"), theirs)
            }
        }
    }

    fn judge(&mut self, rowid: Option<i64>, key: Key<'_>, same: bool, theirs: &[ValueRef<'_>]) -> Result<()> {
        if same {
            return self.book.trust(self.holed.table, key);
        }
        self.put_aside(rowid, "of the backup, where the row has other values", theirs)
    }

    fn put_aside(&mut self, rowid: Option<i64>, why: &str, theirs: &[ValueRef<'_>]) -> Result<()> {
        self.aside += 1;
        let record = record::encode(&self.record(theirs));
        self.book.aside(&Aside { table: Some(self.holed.name), rowid, page: 0, why, record: &record })
    }

    /// Values of the backup as a record of the table.
    fn record<'v>(&self, theirs: &[ValueRef<'v>]) -> Vec<ValueRef<'v>> {
        let mut theirs = self.columns.iter().zip(theirs).peekable();
        let mut record = Vec::new();
        for field in &self.holed.shape.layout.fields {
            match theirs.next_if(|(column, _)| **column == field.column) {
                Some((_, value)) => record.push(*value),
                // Generated columns are not written.
                None if theirs.peek().is_some() => record.push(ValueRef::Null),
                None => break,
            }
        }
        record
    }
}

fn all_same(a: &[ValueRef<'_>], b: &[ValueRef<'_>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(*a, *b))
}
