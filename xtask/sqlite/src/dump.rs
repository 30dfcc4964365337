//! A database as SQL that the stock `sqlite3` shell (3.40 or newer) or `load` turns into a logically equal
//! one: what the shell's own `.dump` loses (pragmas, rowids, NUL in text, exact reals, carriage returns) is
//! all in it. Damage is an error, never a shorter dump: the COMMIT at the end is written only after the
//! last row was read.
//!
//! Order: pragmas, BEGIN, SQLite's own tables, tables with their rows, rows of SQLite's own tables, indexes,
//! views, triggers, virtual tables, COMMIT, journal mode.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::catalog::{self, Object, Shape, quoted};
use super::{literal, open};
use crate::base::interrupt;

/// The longest statement that every SQLite takes (SQLITE_MAX_SQL_LENGTH is 1,000,000,000 bytes).
const STATEMENT_MAX: usize = 999_999_000;

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

/// Writes a private copy as SQL. Memory stays flat but for the largest row.
///
/// # Errors
/// When the copy is damaged, when a row is too large for a statement (about 500 MB of blobs), when a name in
/// the schema is not UTF-8, or when the sink fails.
pub fn dump(image: &Path, sink: &mut dyn DumpSink) -> Result<()> {
    let wal = super::facts::file_asks_for_wal(image)?;
    let connection = open::immutable(image)?;
    write_all(&connection, wal, sink).with_context(|| format!("can't write {} as SQL", image.display()))
}

fn write_all(connection: &Connection, wal: bool, sink: &mut dyn DumpSink) -> Result<()> {
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
    let tables = || objects.iter().filter(|object| object.is_stored_table());
    let internal: Vec<&Object> = tables().filter(|object| object.is_internal()).collect();
    // Made first and by hand: sqlite_sequence can outlive the last table that needs it, and ANALYZE would
    // make more or fewer tables, depending on the version.
    write_with_writable_schema(sink, internal.iter().map(|object| statement(object)))?;
    let rows = Rows::new(connection, &encoding)?;
    for object in tables().filter(|object| !object.is_internal()) {
        sink.write(&statement(object)?)?;
        rows.write(object, sink).with_context(|| format!("can't read the table {}", object.name))?;
    }
    for object in internal {
        // Rows of other tables have filled sqlite_sequence.
        sink.write(format!("DELETE FROM {};\n", quoted(&object.name)).as_bytes())?;
        rows.write(object, sink).with_context(|| format!("can't read the table {}", object.name))?;
    }
    for kind in ["index", "view", "trigger"] {
        for object in objects.iter().filter(|object| object.kind == kind && object.sql.is_some()) {
            sink.write(&statement(object)?)?;
        }
    }
    // Virtual tables are only named: their modules need not be there, and their content came as tables.
    let named = objects.iter().filter(|object| object.is_virtual_table()).map(schema_row);
    let mended = objects.iter().filter(|object| !object.is_virtual_table()).filter_map(schema_text);
    write_with_writable_schema(sink, named.chain(mended))?;
    let (user_version, application_id) = (number("user_version")?, number("application_id")?);
    let mut end =
        format!("PRAGMA user_version={user_version};\nPRAGMA application_id={application_id};\nCOMMIT;\n");
    if wal {
        end.push_str("PRAGMA journal_mode=WAL;\n");
    }
    sink.write(end.as_bytes())
}

/// Statements that only pass while the schema may be written; nothing when there are none.
fn write_with_writable_schema(
    sink: &mut dyn DumpSink,
    statements: impl Iterator<Item = Result<Vec<u8>>>,
) -> Result<()> {
    let mut statements = statements.peekable();
    if statements.peek().is_none() {
        return Ok(());
    }
    sink.write(b"PRAGMA writable_schema=ON;\n")?;
    for statement in statements {
        sink.write(&statement?)?;
    }
    sink.write(b"PRAGMA writable_schema=OFF;\n")
}

/// The statement that makes an object.
fn statement(object: &Object) -> Result<Vec<u8>> {
    let sql = sql_of(object)?;
    let mut out = sql.as_bytes().to_vec();
    // A stored statement can end in a comment, which would swallow the semicolon.
    out.extend_from_slice(if sql.contains("--") { b"\n;\n" } else { b";\n" });
    Ok(out)
}

fn sql_of(object: &Object) -> Result<&str> {
    object.sql.as_deref().with_context(|| format!("the {} {} has no SQL", object.kind, object.name))
}

/// A line of `sqlite_schema`, for a virtual table.
fn schema_row(object: &Object) -> Result<Vec<u8>> {
    let mut out = b"INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',".to_vec();
    for text in [object.name.as_str(), object.table.as_str()] {
        literal::push_text(&mut out, text.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(b"0,");
    literal::push_text(&mut out, sql_of(object)?.as_bytes());
    out.extend_from_slice(b");\n");
    Ok(out)
}

/// Puts back the text of an object whose carriage returns the shell has dropped; `None` without any.
fn schema_text(object: &Object) -> Option<Result<Vec<u8>>> {
    let sql = object.sql.as_deref().filter(|sql| sql.contains('\r'))?;
    let mut out = b"UPDATE sqlite_schema SET sql=".to_vec();
    literal::push_text(&mut out, sql.as_bytes());
    out.extend_from_slice(b" WHERE type=");
    literal::push_text(&mut out, object.kind.as_bytes());
    out.extend_from_slice(b" AND name=");
    literal::push_text(&mut out, object.name.as_bytes());
    out.extend_from_slice(b";\n");
    Some(Ok(out))
}

/// Writes the rows of tables.
struct Rows<'a> {
    connection: &'a Connection,
    /// Text is UTF-16; with the upper half first.
    wide: Option<bool>,
}

impl<'a> Rows<'a> {
    fn new(connection: &'a Connection, encoding: &str) -> Result<Rows<'a>> {
        let wide = match encoding {
            "UTF-8" => None,
            "UTF-16le" => Some(false),
            "UTF-16be" => Some(true),
            other => bail!("the text encoding {other} is unknown"),
        };
        Ok(Rows { connection, wide })
    }

    fn write(&self, object: &Object, sink: &mut dyn DumpSink) -> Result<()> {
        let shape = catalog::shape(self.connection, &object.name)?;
        // Where a column is the rowid, that column says it.
        let with_rowid = shape.rowid.is_some() && shape.rowid_column.is_none();
        let start = insert_start(&object.name, &shape, with_rowid);
        let select = shape.select(&object.name, with_rowid, self.wide.is_some());
        let mut statement = self.connection.prepare(&select)?;
        let values = shape.columns.len() + usize::from(with_rowid);
        let is_key = key_values(&shape, with_rowid, values);
        let seed = fnv(FNV_START, object.name.as_bytes());
        let mut rows = statement.query([])?;
        let mut line = Vec::new();
        let mut since_check = 0;
        while let Some(row) = rows.next()? {
            line.clear();
            line.extend_from_slice(&start);
            let mut key = seed;
            for (value, is_key) in is_key.iter().enumerate() {
                if value > 0 {
                    line.push(b',');
                }
                let at = line.len();
                self.push_value(&mut line, row, value, with_rowid)?;
                if *is_key {
                    key = fnv(key, &line[at..line.len().min(at + KEY_BYTES_MAX)]);
                }
            }
            line.extend_from_slice(b");\n");
            if line.len() > STATEMENT_MAX {
                bail!("a row is too large for an SQL statement: {} bytes as text", line.len());
            }
            sink.write(&line)?;
            sink.row_end(spread(key))?;
            since_check += line.len();
            if since_check > 1 << 20 {
                interrupt::check()?;
                since_check = 0;
                line.shrink_to(1 << 20); // a huge row must not keep its memory
            }
        }
        Ok(())
    }

    fn push_value(&self, line: &mut Vec<u8>, row: &Row<'_>, value: usize, with_rowid: bool) -> Result<()> {
        let is_column = !with_rowid || value > 0;
        let (at, big) = match self.wide {
            // Each column has a second one that says whether it is text.
            Some(big) if is_column => {
                let at = 2 * value - usize::from(with_rowid);
                (at, (row.get_ref(at + 1)? == ValueRef::Integer(1)).then_some(big))
            }
            _ => (value, None),
        };
        match (row.get_ref(at)?, big) {
            (ValueRef::Null, _) => line.extend_from_slice(b"NULL"),
            (ValueRef::Integer(value), _) => literal::push_integer(line, value),
            (ValueRef::Real(value), _) => literal::push_real(line, value),
            (ValueRef::Text(bytes), _) => literal::push_text(line, bytes),
            (ValueRef::Blob(bytes), Some(big)) => literal::push_wide_text(line, bytes, big),
            (ValueRef::Blob(bytes), None) => literal::push_blob(line, bytes),
        }
        Ok(())
    }
}

/// `INSERT INTO "t"(…) VALUES(`; columns are named only where they are not all and alone.
fn insert_start(table: &str, shape: &Shape, with_rowid: bool) -> Vec<u8> {
    let mut sql = format!("INSERT INTO {}", quoted(table));
    if with_rowid || !shape.all_stored {
        let rowid = shape.rowid.filter(|_| with_rowid).map(str::to_owned);
        let names: Vec<String> =
            rowid.into_iter().chain(shape.columns.iter().map(|name| quoted(name))).collect();
        sql.push_str(&format!("({})", names.join(",")));
    }
    sql.push_str(" VALUES(");
    sql.into_bytes()
}

/// Which of a row's values are its key: the rowid, or the primary key, or all where neither can be read.
fn key_values(shape: &Shape, with_rowid: bool, values: usize) -> Vec<bool> {
    (0..values)
        .map(|value| {
            if with_rowid {
                value == 0
            } else {
                shape.key_columns.is_empty() || shape.key_columns.contains(&value)
            }
        })
        .collect()
}

/// How many bytes of one key value count.
const KEY_BYTES_MAX: usize = 256;

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: short keys, no secret.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Spreads a hash over all its bits, so that any of them can decide about a cut (MurmurHash3's finisher).
fn spread(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
