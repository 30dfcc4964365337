//! Is a copy sound? SQLite's own full check, which since 3.44 asks FTS5, FTS3 and R*Tree for theirs too, so
//! none of the commands is needed that would have to write. What is merely against a rule of the
//! application (foreign keys, CHECK, NOT NULL) was like that in the original: it is told apart from damage.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;

use super::catalog::{self, quoted};
use super::open;
use crate::base::{interrupt, usage};

/// How many messages of each kind are kept.
const MESSAGES_MAX: usize = 100;

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Damage, in SQLite's words; nothing when the copy is sound. At most 100 messages.
    pub damage: Vec<String>,
    /// The tables that the damage is in; none where it is in the schema or in no table.
    pub tables: Vec<String>,
    /// Rows that break a CHECK, NOT NULL or type rule; no damage. At most 100 messages.
    pub violations: Vec<String>,
    /// Rows whose foreign key leads nowhere; no damage.
    pub foreign_keys: u64,
    /// What could not be checked, and why (a collation or function of the application's own).
    pub unchecked: Vec<String>,
}

impl CheckReport {
    fn add(&mut self, lines: Vec<String>) {
        for line in lines {
            let list = if is_rule(&line) { &mut self.violations } else { &mut self.damage };
            if list.len() < MESSAGES_MAX {
                list.push(line);
            }
        }
    }

    /// Whether no damage was found.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Checks a private copy, without changing it. Damage is not an error.
///
/// # Errors
/// When the file can't be opened or read for another reason than damage.
pub fn check(image: &Path) -> Result<CheckReport> {
    let mut connection = open::immutable(image)?;
    let bytes = std::fs::metadata(image).with_context(|| format!("can't read {}", image.display()))?.len();
    let until = usage::of_thread() + TIME + Duration::from_nanos(bytes.saturating_mul(NANOSECONDS_PER_BYTE));
    let stop = move || interrupt::check().is_err() || usage::of_thread() > until;
    connection.progress_handler(STEPS, Some(stop))?;
    let mut report = CheckReport::default();
    let done = integrity(&connection, &mut report).and_then(|()| foreign_keys(&connection, &mut report));
    interrupt::check()?;
    done.map_err(|error| match usage::of_thread() > until {
        true => error.context("it takes far longer than a database of its size can need"),
        false => error,
    })
    .with_context(|| format!("can't check {}", image.display()))?;
    if !report.is_sound() {
        report.tables = damaged_tables(&connection);
    }
    Ok(report)
}

/// So many steps of SQLite's machine pass between two looks at the clock.
const STEPS: i32 = 10_000;

/// What a check may take: a schema can hold expressions and views that never end, and SQLite evaluates CHECKs, and
/// views behind full-text indexes. Honest ones take about 4 nanoseconds of processor time for each byte.
const TIME: Duration = Duration::from_secs(10);
const NANOSECONDS_PER_BYTE: u64 = 2000;

fn integrity(connection: &Connection, report: &mut CheckReport) -> Result<()> {
    match messages(connection, &MESSAGES_MAX.to_string()) {
        Ok(lines) => {
            report.add(lines);
            Ok(())
        }
        Err(error) => {
            let is_unchecked = open::code_of(&error) == Some(rusqlite::ErrorCode::Unknown);
            file_error(error, "integrity_check", report)?;
            // One table with a collation of the application keeps all others from being checked.
            if is_unchecked {
                for table in tables(connection) {
                    match messages(connection, &quoted(&table)) {
                        Ok(lines) => report.add(lines),
                        Err(error) => file_error(error, &format!("integrity_check of {table}"), report)?,
                    }
                }
                report.unchecked.dedup();
            }
            Ok(())
        }
    }
}

/// What SQLite says of the whole or of one table; `ok` is not among it.
fn messages(connection: &Connection, argument: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({argument})"))?;
    let lines = statement.query_map([], |row| {
        // A message can quote a damaged name.
        Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned())
    })?;
    lines.filter(|line| line.as_ref().map_or(true, |line| line != "ok")).collect()
}

/// The tables that can be checked one by one. One that is called like a number can't be named to the pragma.
fn tables(connection: &Connection) -> Vec<String> {
    let objects = catalog::objects(connection).unwrap_or_default();
    let named = objects.into_iter().filter(|object| object.is_stored_table()).map(|object| object.name);
    named.filter(|name| name.parse::<i64>().is_err()).collect()
}

/// The tables that are damaged, or whose indexes are, or that the schema names and SQLite can't make out.
fn damaged_tables(connection: &Connection) -> Vec<String> {
    // Where the schema has a fault, SQLite passes over that line now; the copy can't be written to anyway.
    if catalog::objects(connection).is_err() && open::be_lenient(connection).is_err() {
        return Vec::new();
    }
    let is_damaged = |table: &String| match messages(connection, &quoted(table)) {
        Ok(lines) => lines.iter().any(|line| !is_rule(line)),
        Err(error) => open::is_damage(&error) || catalog::shape(connection, table, false).is_err(),
    };
    tables(connection).into_iter().filter(is_damaged).collect()
}

/// Whether a message of integrity_check speaks of a rule that a row breaks, not of the file's structure
/// (the texts stand in SQLite's `pragma.c`).
fn is_rule(message: &str) -> bool {
    let starts = ["CHECK constraint failed in ", "NULL value in ", "NUMERIC value in ", "TEXT value in "];
    // `non-INT value in t.a` of a STRICT table; `non-unique entry in index` is damage.
    starts.iter().any(|start| message.starts_with(start))
        || (message.starts_with("non-") && message.contains(" value in "))
}

fn foreign_keys(connection: &Connection, report: &mut CheckReport) -> Result<()> {
    let attempt = || -> rusqlite::Result<u64> {
        let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    match attempt() {
        Ok(count) => {
            report.foreign_keys = count;
            Ok(())
        }
        Err(error) => file_error(error, "foreign_key_check", report),
    }
}

/// Files an error of a check: damage, or a schema that needs what only the application has, or a real error.
fn file_error(error: rusqlite::Error, what: &str, report: &mut CheckReport) -> Result<()> {
    if open::is_damage(&error) {
        let message = error.to_string();
        if !report.damage.contains(&message) {
            report.damage.push(message);
        }
        return Ok(());
    }
    if open::code_of(&error) == Some(rusqlite::ErrorCode::Unknown) {
        report.unchecked.push(format!("{what}: {error}"));
        return Ok(());
    }
    Err(error.into())
}
