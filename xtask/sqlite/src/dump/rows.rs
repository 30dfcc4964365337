//! The rows of one table as INSERT statements, and their logical hash from the very values that are written. A large
//! blob goes out piece by piece: its digits are never in memory all at once.

use anyhow::{Result, bail};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::DumpSink;
use super::fits;
use crate::base::facts::TableFacts;
use crate::base::interrupt;
use crate::catalog::{Shape, quoted};
use crate::table_hash::TableHasher;
use crate::{literal, open};

/// The longest statement that every SQLite takes (SQLITE_MAX_SQL_LENGTH is 1,000,000,000 bytes).
const STATEMENT_MAX: usize = 999_999_000;

/// Of a larger blob, so many bytes are written at once.
const PIECE: usize = 256 << 10;

/// Where rows come from, and what they are written into.
pub struct Table<'a> {
    /// Its name in the image.
    pub name: &'a str,
    /// Its name while the dump is loaded.
    pub made: &'a str,
    /// How it is read. What its columns are called while the dump is loaded stands in `columns`.
    pub shape: &'a Shape,
    /// The names of its columns while the dump is loaded.
    pub columns: &'a [String],
    /// Whether it takes every value as it is.
    pub takes_all: bool,
}

/// What came of a table.
pub enum Written {
    /// All rows are written.
    Whole(TableFacts),
    /// The table would not take one of its own rows. Those before it are written.
    Misfit,
    /// The image is damaged. So many rows are written, and then this.
    Torn(u64, String),
}

/// Writes the rows of tables.
pub struct Rows<'a> {
    connection: &'a Connection,
    /// Text is UTF-16; with the upper half first.
    wide: Option<bool>,
}

impl<'a> Rows<'a> {
    pub fn new(connection: &'a Connection, encoding: &str) -> Result<Rows<'a>> {
        let wide = match encoding {
            "UTF-8" => None,
            "UTF-16le" => Some(false),
            "UTF-16be" => Some(true),
            other => bail!("the text encoding {other} is unknown"),
        };
        Ok(Rows { connection, wide })
    }

    pub fn write(&self, table: &Table<'_>, sink: &mut dyn DumpSink) -> Result<Written> {
        let shape = table.shape;
        // Where a column is the rowid, that column says it.
        let with_rowid = shape.rowid.is_some() && shape.rowid_column.is_none();
        let layout = Layout { with_rowid, wide: self.wide };
        let start = insert_start(table, with_rowid);
        let mut statement =
            self.connection.prepare(&shape.select(table.name, with_rowid, self.wide.is_some()))?;
        let values = shape.columns.len() + usize::from(with_rowid);
        let is_key = key_values(shape, with_rowid, values);
        let rules = if table.takes_all { Vec::new() } else { fits::rules(shape) };
        let seed = fnv(FNV_START, table.name.as_bytes());
        let mut rows = statement.query([])?;
        let mut line = Vec::new();
        let mut hasher = TableHasher::new();
        let mut since_check = 0;
        let mut count = 0;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Written::Whole(hasher.finish(table.name))),
                Err(error) if open::is_damage(&error) => return Ok(Written::Torn(count, error.to_string())),
                Err(error) => return Err(error.into()),
            };
            // Before any of it is written.
            if !layout.fits(row, &rules)? {
                return Ok(Written::Misfit);
            }
            line.clear();
            line.extend_from_slice(&start);
            hasher.row(layout.rowid(row, shape)?);
            let mut key = seed;
            // Bytes of this row that are written already.
            let mut gone = 0;
            for (value, is_key) in is_key.iter().enumerate() {
                if value > 0 {
                    line.push(b',');
                }
                let at = line.len();
                let (read, is_text) = layout.value(row, value)?;
                // The rowid, which comes first where it is no column, has no rules and is hashed already.
                if let Some(column) = value.checked_sub(usize::from(with_rowid))
                    && !shape.details[column].generated
                {
                    hasher.value(read, is_text)?;
                }
                let is_blob = self.wide.is_none() || !is_text;
                let (first, rest) = match read {
                    ValueRef::Blob(bytes) if is_blob && bytes.len() > PIECE => {
                        line.extend_from_slice(b"X'");
                        bytes.split_at(PIECE)
                    }
                    _ => {
                        push_value(&mut line, read, is_text, self.wide);
                        (&[][..], &[][..])
                    }
                };
                literal::push_digits(&mut line, first);
                if *is_key {
                    key = fnv(key, &line[at..line.len().min(at + KEY_BYTES_MAX)]);
                }
                for piece in rest.chunks(PIECE) {
                    gone += line.len();
                    check_length(gone)?;
                    sink.write(&line)?;
                    line.clear();
                    literal::push_digits(&mut line, piece);
                }
                if !rest.is_empty() {
                    line.push(b'\'');
                }
            }
            line.extend_from_slice(b");\n");
            let length = gone + line.len();
            check_length(length)?;
            sink.write(&line)?;
            sink.row_end(spread(key))?;
            count += 1;
            since_check += length;
            if since_check > 1 << 20 {
                interrupt::check()?;
                since_check = 0;
                line.shrink_to(1 << 20); // a huge row must not keep its memory
            }
        }
    }
}

/// What every SQLite takes as one statement.
fn check_length(length: usize) -> Result<()> {
    if length > STATEMENT_MAX {
        bail!("a row is too large for an SQL statement: {length} bytes as text and more");
    }
    Ok(())
}

/// Where the values of a row stand.
struct Layout {
    with_rowid: bool,
    wide: Option<bool>,
}

impl Layout {
    /// Whether the columns of a row keep to the rules; there are none where the table takes everything.
    fn fits(&self, row: &Row<'_>, rules: &[fits::Rule]) -> rusqlite::Result<bool> {
        for (column, rule) in rules.iter().enumerate() {
            let (read, is_text) = self.value(row, column + usize::from(self.with_rowid))?;
            if !rule.fits(read, is_text) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A value, the rowid before the columns, and whether it is text that comes as a blob.
    fn value<'r>(&self, row: &'r Row<'_>, value: usize) -> rusqlite::Result<(ValueRef<'r>, bool)> {
        let is_column = !self.with_rowid || value > 0;
        if self.wide.is_some() && is_column {
            // Each column has a second one that says whether it is text.
            let at = 2 * value - usize::from(self.with_rowid);
            return Ok((row.get_ref(at)?, row.get_ref(at + 1)? == ValueRef::Integer(1)));
        }
        Ok((row.get_ref(value)?, false))
    }

    fn rowid(&self, row: &Row<'_>, shape: &Shape) -> Result<Option<i64>> {
        let Some(at) = (if self.with_rowid { Some(0) } else { shape.rowid.and(shape.rowid_column) }) else {
            return Ok(None);
        };
        match self.value(row, at)?.0 {
            ValueRef::Integer(rowid) => Ok(Some(rowid)),
            _ => bail!("a rowid is no integer"),
        }
    }
}

fn push_value(line: &mut Vec<u8>, value: ValueRef<'_>, is_text: bool, wide: Option<bool>) {
    match (value, wide.filter(|_| is_text)) {
        (ValueRef::Null, _) => line.extend_from_slice(b"NULL"),
        (ValueRef::Integer(value), _) => literal::push_integer(line, value),
        (ValueRef::Real(value), _) => literal::push_real(line, value),
        (ValueRef::Text(bytes), _) => literal::push_text(line, bytes),
        (ValueRef::Blob(bytes), Some(big)) => literal::push_wide_text(line, bytes, big),
        (ValueRef::Blob(bytes), None) => literal::push_blob(line, bytes),
    }
}

/// `INSERT INTO "t"(…) VALUES(`; columns are named only where they are not all and alone.
fn insert_start(table: &Table<'_>, with_rowid: bool) -> Vec<u8> {
    let mut sql = format!("INSERT INTO {}", quoted(table.made));
    if with_rowid || !table.shape.all_stored {
        let rowid = table.shape.rowid.filter(|_| with_rowid).map(str::to_owned);
        let names: Vec<String> =
            rowid.into_iter().chain(table.columns.iter().map(|name| quoted(name))).collect();
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
