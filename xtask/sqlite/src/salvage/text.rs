//! Full-text indexes: what they keep is made of the rows that they are about. Where something of it is lost it is
//! built anew by the module itself, from these rows; the loss is none then.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::Result;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use super::target;
use crate::base::interrupt;
use crate::catalog::{Object, quoted};

/// A full-text index.
pub struct TextIndex<'a> {
    /// Its name.
    pub name: &'a str,
    is_fts5: bool,
}

impl<'a> TextIndex<'a> {
    /// Whether an object is one.
    pub fn of(object: &'a Object) -> Option<TextIndex<'a>> {
        let sql = object.sql_text().unwrap_or_default().to_ascii_lowercase();
        let has = |module: &str| sql.contains(&format!("using {module}"));
        let is_text = object.is_virtual_table() && (has("fts3") || has("fts4") || has("fts5"));
        is_text.then(|| TextIndex { name: &object.name, is_fts5: has("fts5") })
    }

    /// Whether a table holds what is made of the rows, and not the rows.
    pub fn owns(&self, table: &str) -> bool {
        let endings: &[&str] = match self.is_fts5 {
            true => &["_data", "_idx", "_docsize", "_config"],
            false => &["_segments", "_segdir", "_docsize", "_stat"],
        };
        endings.iter().any(|ending| {
            table.strip_suffix(ending).is_some_and(|start| start.eq_ignore_ascii_case(self.name))
        })
    }
}

/// Builds them anew, each as a whole or not at all; which of them, by name.
///
/// # Errors
/// When the database can't be opened or written. One that keeps no rows can't be rebuilt, which is no error.
pub fn rebuild(path: &Path, indexes: &[TextIndex<'_>]) -> Result<Vec<String>> {
    let connection = target::open(path)?;
    // Nothing but our own statements is run; those of the schema may do no more than compute.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let mut rebuilt = Vec::new();
    for index in indexes {
        interrupt::check()?;
        if [false, true].iter().any(|empty| attempt(&connection, index, *empty).is_ok()) {
            rebuilt.push(index.name.to_owned());
        }
    }
    connection.close().map_err(|(_, error)| error)?;
    OpenOptions::new().write(true).open(path)?.sync_all()?;
    Ok(rebuilt)
}

/// With `empty`, everything it keeps is first made as it is in a new one, which the module can at least open.
fn attempt(connection: &Connection, index: &TextIndex<'_>, empty: bool) -> Result<()> {
    let own = |ending: &str| quoted(&format!("{}{ending}", index.name));
    let table = quoted(index.name);
    connection.execute_batch("BEGIN")?;
    let work = || -> rusqlite::Result<()> {
        if empty && index.is_fts5 {
            connection.execute_batch(&format!(
                "DELETE FROM {data}; DELETE FROM {}; INSERT OR REPLACE INTO {} VALUES ('version', 4);
                 INSERT INTO {data} VALUES (1, x''), (10, x'00000000000000');",
                own("_idx"),
                own("_config"),
                data = own("_data")
            ))?;
        }
        connection.execute_batch(&format!(
            "INSERT INTO {table}({table}) VALUES ('rebuild'); INSERT INTO {table}({table}) VALUES ('integrity-check')"
        ))
    };
    match work() {
        Ok(()) => Ok(connection.execute_batch("COMMIT")?),
        Err(error) => {
            connection.execute_batch("ROLLBACK")?;
            Err(error.into())
        }
    }
}
