//! What is kept about rows while salvaging, in a scratch database, so that memory stays flat however many rows are
//! concerned: which are doubtful and why, which are known to be lost, and the records that have no place in a table.

use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params};

/// A row of a table: its rowid, or the values of its primary key as a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The rowid.
    Rowid(i64),
    /// The primary key of a table WITHOUT ROWID.
    Primary(&'a [u8]),
}

impl ToSql for Key<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Key::Rowid(rowid) => ValueRef::Integer(*rowid),
            Key::Primary(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A record that has no place in a table.
pub struct Aside<'a> {
    /// The table it belongs to, where that is known.
    pub table: Option<&'a str>,
    /// Its rowid; `None` without one.
    pub rowid: Option<i64>,
    /// The page it was on; 0 when it comes from elsewhere.
    pub page: u32,
    /// Why it was put aside.
    pub why: &'a str,
    /// Its bytes, of which the end may be missing.
    pub record: &'a [u8],
}

/// The book.
pub struct Book {
    /// The scratch database.
    pub connection: Connection,
}

impl Book {
    /// Opens an empty one in a private folder.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(folder: &Path) -> Result<Book> {
        let attempt = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(folder.join("book"))?;
            connection.execute_batch(
                "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; BEGIN;
                 CREATE TABLE doubt(tbl INT, key, why TEXT, PRIMARY KEY(tbl, key)) WITHOUT ROWID;
                 CREATE TABLE lost(tbl INT, key, PRIMARY KEY(tbl, key)) WITHOUT ROWID;
                 CREATE TABLE maybe(tbl INT, key, PRIMARY KEY(tbl, key)) WITHOUT ROWID;
                 CREATE TABLE filled(tbl INT, key, PRIMARY KEY(tbl, key)) WITHOUT ROWID;
                 CREATE TABLE part(tbl INT, key, idx INT, record BLOB, counts INT, PRIMARY KEY(tbl, key, idx)) WITHOUT ROWID;
                 CREATE TABLE seen(key PRIMARY KEY) WITHOUT ROWID;
                 CREATE TABLE apart(tbl INT, key, PRIMARY KEY(tbl, key)) WITHOUT ROWID;
                 CREATE TABLE aside(tbl TEXT, rowid_ INT, page INT, why TEXT, record BLOB);",
            )?;
            Ok(connection)
        };
        let connection = attempt().with_context(|| format!("can't make a book in {}", folder.display()))?;
        Ok(Book { connection })
    }

    /// Marks a row that is in its table as doubtful. The first reason stays.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn doubt(&self, table: usize, key: Key<'_>, why: &str) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO doubt VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute(params![table as i64, key, why])?;
        Ok(())
    }

    /// Whether a row is doubtful.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn is_doubtful(&self, table: usize, key: Key<'_>) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM doubt WHERE tbl = ?1 AND key = ?2)";
        Ok(self.connection.prepare_cached(sql)?.query_row(params![table as i64, key], |row| row.get(0))?)
    }

    /// Takes a doubt back.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn trust(&self, table: usize, key: Key<'_>) -> Result<()> {
        let sql = "DELETE FROM doubt WHERE tbl = ?1 AND key = ?2";
        self.connection.prepare_cached(sql)?.execute(params![table as i64, key])?;
        Ok(())
    }

    /// Marks a row as one that existed and is lost.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn lost(&self, table: usize, key: Key<'_>) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO lost VALUES (?1, ?2)";
        self.connection.prepare_cached(sql)?.execute(params![table as i64, key])?;
        Ok(())
    }

    /// Whether a row is known to be lost.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn is_lost(&self, table: usize, key: Key<'_>) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM lost WHERE tbl = ?1 AND key = ?2)";
        Ok(self.connection.prepare_cached(sql)?.query_row(params![table as i64, key], |row| row.get(0))?)
    }

    /// Marks a row that an index names and a sound page has not: one of the two is altered.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn maybe(&self, table: usize, key: Key<'_>) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO maybe VALUES (?1, ?2)";
        self.connection.prepare_cached(sql)?.execute(params![table as i64, key])?;
        Ok(())
    }

    /// Keeps what an index knows of a row that is lost, or has other values; `counts` when it counts for more than
    /// what the table has.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn part(&self, table: usize, key: Key<'_>, index: usize, record: &[u8], counts: bool) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO part VALUES (?1, ?2, ?3, ?4, ?5)";
        self.connection.prepare_cached(sql)?.execute(params![
            table as i64,
            key,
            index as i64,
            record,
            counts
        ])?;
        Ok(())
    }

    /// Marks a lost row as one that is there after all.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn found(&self, table: usize, key: Key<'_>) -> Result<()> {
        for list in [List::Lost, List::Maybe] {
            let sql = format!("DELETE FROM {} WHERE tbl = ?1 AND key = ?2", list.name());
            self.connection.prepare_cached(&sql)?.execute(params![table as i64, key])?;
        }
        Ok(())
    }

    /// Marks a row as one that comes from the backup, and as lost no more.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn filled(&self, table: usize, key: Key<'_>) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO filled VALUES (?1, ?2)";
        self.connection.prepare_cached(sql)?.execute(params![table as i64, key])?;
        self.found(table, key)
    }

    /// Keeps a record.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn aside(&self, aside: &Aside<'_>) -> Result<()> {
        let sql = "INSERT INTO aside VALUES (?1, ?2, ?3, ?4, ?5)";
        let Aside { table, rowid, page, why, record } = aside;
        self.connection.prepare_cached(sql)?.execute(params![table, rowid, page, why, record])?;
        Ok(())
    }

    /// How many rows one of the lists has for a table.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn count(&self, list: List, table: usize) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {} WHERE tbl = ?1", list.name());
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row([table as i64], |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    /// The rowids of one of the lists, in order, from `after` on, at most so many.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn rowids(&self, list: List, table: usize, from: i64, many: usize) -> Result<Vec<i64>> {
        let sql = format!(
            "SELECT key FROM {} WHERE tbl = ?1 AND typeof(key) = 'integer' AND key >= ?2 ORDER BY key LIMIT ?3",
            list.name()
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_map(params![table as i64, from, many as i64], |row| row.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }
}

/// The lists of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// In their table, and doubtful.
    Doubt,
    /// Known to have existed.
    Lost,
    /// Named by an index, against its page.
    Maybe,
    /// From the backup.
    Filled,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            List::Doubt => "doubt",
            List::Lost => "lost",
            List::Maybe => "maybe",
            List::Filled => "filled",
        }
    }
}
