//! The new database. It is built like one that is loaded from a dump: SQLite's own tables by hand, tables, rows, then
//! indexes, views, triggers and the names of virtual tables. A rule that a row breaks keeps that row out of its
//! table, and never quietly: the caller is told.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement, params};

use super::pages::Facts;
use super::shape::{self, Making, TableShape};
use crate::base::file_facts;
use crate::catalog::{Object, quoted};
use crate::open as opening;
use crate::tokens;

/// The new database, while it is built.
pub struct Target {
    /// Where it is.
    pub path: PathBuf,
    /// It, open.
    pub connection: Connection,
    /// Whether text is UTF-16.
    pub wide: bool,
    making: Making,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is in its table.
    Yes,
    /// It is, although it breaks a CHECK rule.
    AgainstCheck,
    /// It is not: which rule forbids it.
    No(String),
}

/// A value to be bound.
pub struct Bound<'a>(pub ValueRef<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

impl Target {
    /// Makes an empty one that only its owner can read.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(path: &Path, page_size: usize, facts: &Facts) -> Result<Target> {
        let attempt = || -> Result<(Connection, Making)> {
            file_facts::create_private_file(path)?;
            let mut connection = open(path)?;
            connection.execute_batch(&format!(
                "PRAGMA page_size={page_size}; PRAGMA encoding='{}'; PRAGMA auto_vacuum={};",
                facts.encoding, facts.auto_vacuum
            ))?;
            let making = shape::tame(&mut connection)?;
            connection.execute_batch("BEGIN")?;
            Ok((connection, making))
        };
        let (connection, making) = attempt().with_context(|| format!("can't make {}", path.display()))?;
        Ok(Target { path: path.to_path_buf(), connection, wide: facts.encoding != "UTF-8", making })
    }

    /// Makes an object; for SQLite's own tables the schema is opened for it.
    ///
    /// # Errors
    /// When SQLite can't run its statement.
    pub fn make(&self, object: &Object) -> Result<()> {
        let sql = object.sql_text().context("it has no statement")?;
        if object.kind == "table" && object.is_internal() {
            return self.with_schema_open(|connection| shape::make(connection, &self.making, sql));
        }
        shape::make(&self.connection, &self.making, sql)
    }

    /// Names a virtual table, whose module need not be there.
    ///
    /// # Errors
    /// When its statement makes no virtual table, its name is taken, or the schema can't be written.
    pub fn name_virtual_table(&self, object: &Object) -> Result<()> {
        let sql = object.sql_text().unwrap_or_default();
        // Any other line without pages makes the whole schema unreadable.
        let begins = |start: &str| sql.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start));
        let makes_one = begins("CREATE VIRTUAL TABLE ") && tokens::module(sql.as_bytes()).is_some();
        ensure!(makes_one, "its statement makes no virtual table");
        let taken = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)";
        let is_taken: bool = self.connection.query_row(taken, [&object.name], |row| row.get(0))?;
        ensure!(!is_taken, "something else has its name");
        self.with_schema_open(|connection| {
            connection.execute(
                "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',?1,?2,0,?3)",
                params![object.name, object.name, sql],
            )?;
            Ok(())
        })
    }

    fn with_schema_open(&self, work: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        self.connection.execute_batch("PRAGMA writable_schema=ON")?;
        let done = work(&self.connection);
        self.connection.execute_batch("PRAGMA writable_schema=OFF")?;
        done
    }

    /// Ends it: the numbers of the header, and everything onto the disk.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn finish(self, facts: &Facts) -> Result<PathBuf> {
        let Target { path, connection, .. } = self;
        let attempt = || -> Result<()> {
            connection.execute_batch(&format!(
                "PRAGMA user_version={}; PRAGMA application_id={}; COMMIT",
                facts.user_version, facts.application_id
            ))?;
            if facts.wal {
                connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
            }
            connection.close().map_err(|(_, error)| error)?;
            OpenOptions::new().write(true).open(&path)?.sync_all()?;
            Ok(())
        };
        attempt().with_context(|| format!("can't finish {}", path.display()))?;
        Ok(path)
    }
}

/// Opens a database of ours to write it.
///
/// # Errors
/// What SQLite returns.
pub fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(std::path::absolute(path)?, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    // It is new, and its source is still there. What a refused row has begun is taken back in memory.
    connection.execute_batch(
        "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;
         PRAGMA cache_size=-65536; PRAGMA temp_store=FILE;",
    )?;
    Ok(connection)
}

/// Puts records of one table into it.
pub struct Inserter<'t> {
    target: &'t Target,
    table: String,
    rowid: Option<String>,
    /// The columns that are written, as positions in the record.
    written: Vec<(usize, String)>,
    /// By how many values the record has.
    statements: Vec<Option<Statement<'t>>>,
}

impl<'t> Inserter<'t> {
    /// For a table that is there.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn new(target: &'t Target, table: &str, shape: &TableShape) -> Result<Inserter<'t>> {
        let columns = shape::written_columns(&target.connection, table)?;
        let fields = shape.layout.fields.iter().enumerate();
        let is_written = |name: &String| columns.contains(name);
        let written = fields
            .filter(|(_, field)| is_written(&field.column) && !(field.is_rowid && shape.rowid.is_some()))
            .map(|(at, field)| (at, field.column.clone()))
            .collect();
        Ok(Inserter {
            target,
            table: table.to_owned(),
            rowid: shape.rowid.clone(),
            written,
            statements: Vec::new(),
        })
    }

    /// Inserts one. `values` are those of the record; of text in UTF-16 they are the bytes.
    ///
    /// # Errors
    /// When the database can't be written; what a rule forbids is no error.
    pub fn insert(&mut self, rowid: i64, values: &[ValueRef<'_>]) -> Result<Inserted> {
        match self.run(rowid, values) {
            Ok(()) => Ok(Inserted::Yes),
            Err(error) if is_check(&error) => {
                // Rows are what is wanted; that they break the rule is told.
                self.target.connection.execute_batch("PRAGMA ignore_check_constraints=ON")?;
                let again = self.run(rowid, values);
                self.target.connection.execute_batch("PRAGMA ignore_check_constraints=OFF")?;
                match again {
                    Ok(()) => Ok(Inserted::AgainstCheck),
                    Err(error) => refused(error),
                }
            }
            Err(error) => refused(error),
        }
    }

    fn run(&mut self, rowid: i64, values: &[ValueRef<'_>]) -> rusqlite::Result<()> {
        let count = values.len();
        if self.statements.len() <= count {
            self.statements.resize_with(count + 1, || None);
        }
        let wide = self.target.wide;
        let statement = match &mut self.statements[count] {
            Some(statement) => statement,
            none => {
                let sql = insert_sql(&self.table, self.rowid.as_deref(), &self.written, count, wide);
                none.insert(self.target.connection.prepare(&sql)?)
            }
        };
        let mut at = 0;
        let mut bind = |value: ValueRef<'_>| {
            at += 1;
            statement.raw_bind_parameter(at, Bound(value))
        };
        if self.rowid.is_some() {
            bind(ValueRef::Integer(rowid))?;
        }
        for (position, _) in self.written.iter().filter(|(position, _)| *position < count) {
            match (values[*position], wide) {
                (ValueRef::Text(bytes), true) => {
                    bind(ValueRef::Blob(bytes))?;
                    bind(ValueRef::Integer(1))?;
                }
                (value, true) => {
                    bind(value)?;
                    bind(ValueRef::Integer(0))?;
                }
                (value, false) => bind(value)?,
            }
        }
        statement.raw_execute().map(|_| ())
    }
}

fn insert_sql(
    table: &str,
    rowid: Option<&str>,
    written: &[(usize, String)],
    count: usize,
    wide: bool,
) -> String {
    let mut names: Vec<String> = rowid.into_iter().map(str::to_owned).collect();
    let mut places: Vec<String> = rowid.into_iter().map(|_| "?".to_owned()).collect();
    for (_, column) in written.iter().filter(|(position, _)| *position < count) {
        names.push(quoted(column));
        let next = 2 * places.len() + if rowid.is_some() { 0 } else { 1 };
        // Text comes as its bytes, and beside it whether it is text.
        places.push(match wide {
            true => format!("iif(?{},CAST(?{next} AS TEXT),?{next})", next + 1),
            false => "?".to_owned(),
        });
    }
    if names.is_empty() {
        return format!("INSERT INTO {} DEFAULT VALUES", quoted(table));
    }
    format!("INSERT INTO {}({}) VALUES({})", quoted(table), names.join(","), places.join(","))
}

fn is_check(error: &rusqlite::Error) -> bool {
    // SQLITE_CONSTRAINT_CHECK
    error.sqlite_error().is_some_and(|error| error.extended_code == 275)
}

/// What a rule forbids is told; everything else is an error.
fn refused(error: rusqlite::Error) -> Result<Inserted> {
    match opening::code_of(&error) {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            Ok(Inserted::No(error.to_string()))
        }
        _ => Err(error).context("can't write a row"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_as_they_are_bound() {
        let written = [(0, "a".to_owned()), (1, "b\"".to_owned())];
        assert_eq!(
            insert_sql("t", Some("rowid"), &written, 1, false),
            "INSERT INTO \"t\"(rowid,\"a\") VALUES(?,?)"
        );
        assert_eq!(
            insert_sql("t", Some("oid"), &written, 2, true),
            "INSERT INTO \"t\"(oid,\"a\",\"b\"\"\") VALUES(?,iif(?3,CAST(?2 AS TEXT),?2),iif(?5,CAST(?4 AS TEXT),?4))"
        );
        assert_eq!(
            insert_sql("t", None, &written, 2, true),
            "INSERT INTO \"t\"(\"a\",\"b\"\"\") VALUES(iif(?2,CAST(?1 AS TEXT),?1),iif(?4,CAST(?3 AS TEXT),?3))"
        );
    }
}
