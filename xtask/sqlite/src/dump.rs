//! A database as SQL that the stock `sqlite3` shell (3.40 or newer) or `load` turns into a logically equal
//! one: what the shell's own `.dump` loses (pragmas, rowids, NUL in text, exact reals, carriage returns) is
//! all in it.
//!
//! Damage never makes a dump that passes for a whole one: what can be read is written, but a dump with a gap
//! has no COMMIT, and ends with a statement that fails. And what is written is counted and hashed as it is
//! written, so that it can be held against a second reading of the image.
//!
//! Order: pragmas, BEGIN, SQLite's own tables, tables with their rows, rows of SQLite's own tables, real
//! statements of tables that needed a stand-in, indexes, views, triggers, virtual tables, COMMIT, journal mode.

use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::Connection;

use self::rows::{Rows, Table, Written};
use self::schema::Schema;
use super::catalog::{self, Object, Shape, quoted};
use super::{facts, open, tokens};
use crate::base::digest::Digest;
use crate::base::facts::{DatabaseFacts, TableFacts};

mod fits;
mod rows;
mod schema;
mod stand_in;

/// Receives a dump.
pub trait DumpSink {
    /// The next bytes: one row, or some statements. Called once per row, so a sink had better gather.
    ///
    /// # Errors
    /// Ends the dump.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// A good place to cut a chunk: between two rows. The hash depends on the table's name and the key of
    /// the row just written, so the same rows give the same cuts.
    ///
    /// # Errors
    /// Ends the dump.
    fn row_end(&mut self, key_hash: u64) -> Result<()>;
}

/// What was written.
#[must_use]
#[derive(Debug, Default)]
pub struct Dumped {
    /// The facts of what was written, from the values as they were written. Absent where there are gaps.
    pub facts: Option<DatabaseFacts>,
    /// The logical hash of the database that the dump makes, where it is another one: without indexes that
    /// only the application can make.
    pub logical: Option<Digest>,
    /// Tables that could not be read to their end. Such a dump can't be loaded.
    pub gaps: Vec<Gap>,
    /// Indexes that only the application can make.
    pub lacks: Vec<Lack>,
    /// Tables whose keys only the application can put in order.
    pub reorder: Vec<Reorder>,
    /// Virtual tables whose modules this program does not have.
    pub foreign: Vec<Foreign>,
}

/// A table that could not be read to its end.
#[derive(Debug)]
pub struct Gap {
    /// The table.
    pub table: String,
    /// So many rows are in the dump.
    pub rows: u64,
    /// Why no more.
    pub reason: String,
}

/// An index that is not in the dump.
#[derive(Debug)]
pub struct Lack {
    /// The index.
    pub index: String,
    /// Its table.
    pub table: String,
    /// Why.
    pub reason: String,
}

/// A table whose keys lie in the order of bytes in a database made from the dump.
#[derive(Debug)]
pub struct Reorder {
    /// The table.
    pub table: String,
    /// The collations of the application that its keys need.
    pub collations: Vec<String>,
}

/// A virtual table of a module that is not there. Its line of the schema is in the dump.
#[derive(Debug)]
pub struct Foreign {
    /// The virtual table.
    pub table: String,
    /// The module.
    pub module: String,
    /// The tables that hold its content, and are in the dump; none where it lies elsewhere.
    pub parts: Vec<String>,
}

/// Writes a private copy as SQL. Memory stays flat but for the largest row.
///
/// # Errors
/// When the schema is damaged, when a row is too large for a statement (about 500 MB of blobs), when a name in
/// the schema is not UTF-8, or when the sink fails. A table that is damaged is a gap.
pub fn dump(image: &Path, sink: &mut dyn DumpSink) -> Result<Dumped> {
    let wal = facts::file_asks_for_wal(image)?;
    let fault = open::schema_fault(&open::immutable(image)?)?;
    let connection = open::immutable_for_rows(image)?;
    write_all(&connection, wal, fault, sink)
        .with_context(|| format!("can't write {} as SQL", image.display()))
}

fn write_all(
    connection: &Connection,
    wal: bool,
    fault: Option<String>,
    sink: &mut dyn DumpSink,
) -> Result<Dumped> {
    let objects = catalog::objects(connection)?;
    let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    sink.write(
        format!(
            "PRAGMA page_size={};\nPRAGMA encoding='{encoding}';\nPRAGMA auto_vacuum={};\nPRAGMA foreign_keys=OFF;\nPRAGMA ignore_check_constraints=ON;\nBEGIN;\n",
            number("page_size")?,
            number("auto_vacuum")?
        )
        .as_bytes(),
    )?;
    let mut dumped = Dumped::default();
    let tables = || objects.iter().filter(|object| object.is_stored_table());
    let internal: Vec<&Object> = tables().filter(|object| object.is_internal()).collect();
    let mut schema = Schema::new(connection, &objects)?;
    if encoding != "UTF-8" && tables().next().is_none() {
        sink.write(keep_encoding(&objects).as_bytes())?;
    }
    // Made first and by hand: sqlite_sequence can outlive the last table that needs it, and ANALYZE would
    // make more or fewer tables, depending on the version.
    if !internal.is_empty() {
        sink.write(b"PRAGMA writable_schema=ON;\n")?;
        internal.iter().try_for_each(|object| schema.internal(object, sink))?;
        sink.write(b"PRAGMA writable_schema=OFF;\n")?;
    }
    let rows = Rows::new(connection, &encoding)?;
    let mut facts = Vec::new();
    for object in tables().filter(|object| !object.is_internal()) {
        if fault.is_some()
            && let Err(error) = catalog::shape(connection, &object.name, true)
        {
            dumped.gaps.push(Gap {
                table: object.name.clone(),
                rows: 0,
                reason: error.root_cause().to_string(),
            });
            continue;
        }
        write_table(object, &mut schema, &rows, sink)
            .and_then(|written| dumped.note(object, written, &mut facts, sink))
            .with_context(|| format!("can't read the table {}", object.name))?;
    }
    for object in internal {
        // Rows of other tables have filled sqlite_sequence. Others of SQLite's names are nobody's but the user's.
        if object.name.eq_ignore_ascii_case("sqlite_sequence") {
            sink.write(format!("DELETE FROM {};\n", quoted(&object.name)).as_bytes())?;
        }
        catalog::shape(connection, &object.name, false)
            .and_then(|shape| rows.write(&plain(object, &shape, true), sink))
            .and_then(|written| dumped.note(object, written, &mut facts, sink))
            .with_context(|| format!("can't read the table {}", object.name))?;
    }
    schema.mend_tables(sink)?;
    let with_sql = |kind: &'static str| objects.iter().filter(move |o| o.kind == kind && o.sql.is_some());
    with_sql("index").try_for_each(|object| schema.index(object, sink))?;
    for object in objects.iter().filter(|object| object.is_virtual_table()) {
        schema.line(object)?;
    }
    with_sql("view")
        .chain(with_sql("trigger"))
        .try_for_each(|object| schema.view_or_trigger(object, sink))?;
    schema.complete(sink)?;
    match fault {
        None => schema.compare()?,
        Some(reason) if dumped.gaps.is_empty() => {
            dumped.gaps.push(Gap { table: "sqlite_schema".to_owned(), rows: 0, reason });
        }
        Some(_) => {}
    }
    dumped.foreign = foreign(connection, &objects)?;
    (dumped.lacks, dumped.reorder) = (schema.lacks, schema.reorder);
    if let Some(gap) = dumped.gaps.first() {
        sink.write(unloadable(gap).as_bytes())?;
        return Ok(dumped);
    }
    let (user_version, application_id) = (number("user_version")?, number("application_id")?);
    let mut end =
        format!("PRAGMA user_version={user_version};\nPRAGMA application_id={application_id};\nCOMMIT;\n");
    if wal {
        end.push_str("PRAGMA journal_mode=WAL;\n");
    }
    sink.write(end.as_bytes())?;
    if !dumped.lacks.is_empty() {
        let is_there = |object: &&Object| !dumped.lacks.iter().any(|lack| lack.index == object.name);
        let made = facts::whole(connection, wal, objects.iter().filter(is_there), facts.clone())?;
        dumped.logical = Some(made.logical);
    }
    dumped.facts = Some(facts::whole(connection, wal, objects.iter(), facts)?);
    Ok(dumped)
}

/// A database notes its encoding when the first table or view is made. Where there is none to be made, a view
/// comes and goes. SQLite remembers its name, so that is one that nothing else has.
fn keep_encoding(objects: &[Object]) -> String {
    let longest = objects.iter().map(|object| object.name.len()).max().unwrap_or(0);
    let name = format!("encoding{}", "_".repeat(longest));
    format!(
        "CREATE VIEW {name} AS SELECT 1;\nPRAGMA writable_schema=ON;\nDELETE FROM sqlite_schema;\nPRAGMA writable_schema=OFF;\n"
    )
}

/// Makes a table and writes its rows.
fn write_table(
    object: &Object,
    schema: &mut Schema<'_>,
    rows: &Rows<'_>,
    sink: &mut dyn DumpSink,
) -> Result<Written> {
    let stand_in = match schema.table(object, sink)? {
        Some(stand_in) => stand_in,
        None => {
            let shape = catalog::shape(schema.image(), &object.name, false)?;
            match rows.write(&plain(object, &shape, false), sink)? {
                Written::Misfit => schema.relax(object, sink)?,
                written => return Ok(written),
            }
        }
    };
    let (shape, columns) = (&stand_in.shape, &stand_in.columns[..]);
    rows.write(&Table { name: &object.name, made: &stand_in.name, shape, columns, takes_all: true }, sink)
}

/// A table that is made as it was.
fn plain<'a>(object: &'a Object, shape: &'a Shape, takes_all: bool) -> Table<'a> {
    Table { name: &object.name, made: &object.name, shape, columns: &shape.columns, takes_all }
}

impl Dumped {
    fn note(
        &mut self,
        object: &Object,
        written: Written,
        facts: &mut Vec<TableFacts>,
        sink: &mut dyn DumpSink,
    ) -> Result<()> {
        match written {
            Written::Whole(table) => facts.push(table),
            Written::Torn(rows, reason) => {
                sink.write(format!("-- Here the damage begins: {reason}\n").as_bytes())?;
                self.gaps.push(Gap { table: object.name.clone(), rows, reason });
            }
            Written::Misfit => anyhow::bail!("it does not take its own rows"),
        }
        Ok(())
    }
}

/// The end of a dump with a gap: whoever loads it fails, whatever he loads it with.
fn unloadable(gap: &Gap) -> String {
    let name = format!("this dump is not whole: the database was damaged in the table {}", gap.table);
    let name = quoted(&name.replace(['\r', '\n'], " "));
    format!(
        "-- This dump is not whole, so it has no COMMIT. What it holds was read before the damage.\nINSERT INTO {name} VALUES(NULL);\n"
    )
}

/// Virtual tables whose modules are not there.
fn foreign(connection: &Connection, objects: &[Object]) -> Result<Vec<Foreign>> {
    let mut all = Vec::new();
    let mut statement = connection
        .prepare("SELECT EXISTS (SELECT 1 FROM pragma_module_list WHERE name = ?1 COLLATE NOCASE)")?;
    for object in objects.iter().filter(|object| object.is_virtual_table()) {
        let module = object.sql.as_deref().and_then(tokens::module).unwrap_or_default();
        if !statement.query_row([&module], |row| row.get::<_, bool>(0))? {
            let start = format!("{}_", object.name);
            let is_part = |o: &&Object| {
                o.is_stored_table()
                    && o.name.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(&start))
            };
            let parts = objects.iter().filter(is_part).map(|o| o.name.clone()).collect();
            all.push(Foreign { table: object.name.clone(), module, parts });
        }
    }
    Ok(all)
}
