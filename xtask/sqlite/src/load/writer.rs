//! Carries out the statements of a dump in the new database, one by one. Rows of plain values go through one
//! prepared statement per table, with the values bound; everything else goes through SQLite's parser, under
//! the eyes of `rules` and `meter`.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::Authorization;
use rusqlite::limits::Limit;
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags, Statement};

use super::cut::Cut;
use super::meter::{self, Meter};
use super::row::{self, Value, Values};
use super::rules::{self, Kind, Rules};
use super::statements;
use crate::base::interrupt;
use crate::catalog::quoted;

/// The new database, opened for nothing but a dump.
pub struct Target {
    connection: Connection,
    rules: Arc<Mutex<Rules>>,
    meter: Arc<Meter>,
}

/// Instructions of a compiled statement, at most: columns that are generated from each other double them.
const INSTRUCTIONS_MAX: i32 = 250_000;

/// Opens a new, empty file.
///
/// # Errors
/// What SQLite returns.
pub fn open(to: &Path) -> Result<Target> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(to, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    // The file is new and its own backup is the dump: no journal, no sync before the end.
    connection.execute_batch(
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;
         PRAGMA cache_size=-8192; PRAGMA ignore_check_constraints=ON;",
    )?;
    for (switch, on) in [
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    ] {
        connection.set_db_config(switch, on)?;
    }
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, INSTRUCTIONS_MAX)?;
    let rules = Arc::new(Mutex::new(Rules::default()));
    let asked = Arc::clone(&rules);
    connection
        .authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| lock(&asked).judge(&context)))?;
    let meter = Arc::new(Meter::start());
    let asked = Arc::clone(&meter);
    connection.progress_handler(meter::STEPS, Some(move || asked.is_over()))?;
    Ok(Target { connection, rules, meter })
}

fn lock(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Target {
    /// What carries out statements.
    pub fn writer(&self) -> Writer<'_> {
        Writer { target: self, insert: None, asked: None }
    }

    /// Whether the dump came to its COMMIT.
    pub fn is_complete(&self) -> bool {
        lock(&self.rules).is_complete() && self.connection.is_autocommit()
    }

    /// Evaluates the CHECKs of tables that call functions in them, once and within bounds: whoever checks the
    /// database later on, evaluates them too. That rows break one is no error, they did so before.
    ///
    /// # Errors
    /// When one takes too much; names the line that makes the table, which is `shown` meanwhile.
    pub fn evaluate_checks(&mut self, shown: &AtomicU64) -> Result<()> {
        let tables = lock(&self.rules).all_computed();
        if tables.is_empty() {
            return Ok(());
        }
        // The dump has had its say.
        self.connection.authorizer(None::<fn(rusqlite::hooks::AuthContext<'_>) -> Authorization>)?;
        self.connection.execute_batch("PRAGMA ignore_check_constraints=OFF")?;
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, meter::VALUE_MAX)?;
        // As whoever opens it will read it; one that can't be read is for the check to tell.
        let _ = self
            .connection
            .execute_batch("PRAGMA writable_schema=RESET; SELECT 1 FROM sqlite_schema LIMIT 0");
        for (table, computed) in tables {
            shown.store(computed.line, Ordering::Relaxed);
            let attempt = || -> Result<()> {
                self.meter.begin_other(0, true)?;
                let length = self.meter.value_max(computed.values);
                self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, length)?;
                let checked = self.connection.prepare(&format!("PRAGMA quick_check({})", quoted(&table)));
                let checked = checked.and_then(|mut statement| {
                    let mut rows = statement.query([])?;
                    while rows.next()?.is_some() {}
                    Ok(())
                });
                interrupt::check()?;
                ensure!(!self.meter.was_over(), "{}", meter::TOO_LONG);
                match checked {
                    Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => Err(error.into()),
                    _ => Ok(()), // what else is wrong with it is for others to find
                }
            };
            attempt().with_context(|| format!("the statement that begins at line {}", computed.line))?;
        }
        Ok(())
    }

    /// Closes the database.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn close(self) -> Result<()> {
        self.connection.close().map_err(|(_, error)| error)?;
        Ok(())
    }
}

/// Carries out statements, and keeps the one prepared that inserts into the table at hand.
pub struct Writer<'a> {
    target: &'a Target,
    insert: Option<Insert<'a>>,
    /// For one row of which SQLite has to say what values are.
    asked: Option<Statement<'a>>,
}

/// A prepared INSERT for all rows that begin alike.
struct Insert<'a> {
    /// All up to the bracket after VALUES.
    text: String,
    /// How many values follow.
    count: usize,
    /// Whether it is for one row: those of the schema are looked at each.
    once: bool,
    /// How many are computed at once for a row.
    computed: u64,
    statement: Statement<'a>,
}

impl<'a> Writer<'a> {
    /// Gives rows that are `bytes` long together, the longest of them `longest`, their share of time.
    ///
    /// # Errors
    /// What SQLite returns, and when the dump has used up its time.
    pub fn begin(&self, bytes: usize, longest: usize) -> Result<()> {
        self.target.meter.begin_rows(bytes, longest)?;
        self.limit(self.insert.as_ref().map_or(0, |insert| insert.computed), 0)
    }

    /// Limits values for a statement that computes so many at once; its own text fits, in UTF-16, too.
    fn limit(&self, computed: u64, text: usize) -> Result<()> {
        let own = i32::try_from(2 * text + 1000).unwrap_or(i32::MAX);
        let length = self.target.meter.value_max(computed).max(own);
        self.target.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, length)?;
        Ok(())
    }

    /// Carries out one statement, which begins at this line. One that is no row gets a share of its own.
    ///
    /// # Errors
    /// When it is not allowed, or fails.
    pub fn execute(&mut self, sql: &[u8], line: u64) -> Result<()> {
        let attempt = match self.read(sql, &[], line) {
            Ok(Some(row)) => self.put(row),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        attempt.or_else(|error| self.explain(error))
    }

    /// Carries out a batch that is one long row. Its text is freed before SQLite copies its values, and each of these
    /// once it is copied: of a value there are never more than two in memory.
    ///
    /// # Errors
    /// As [`execute`](Writer::execute).
    pub fn execute_long(&mut self, batch: &mut statements::Batch, line: u64) -> Result<()> {
        let row = self.read(&batch.text, &batch.cuts, line);
        let row = row.map(|row| row.map(|row| row.into_iter().map(Value::into_owned).collect()));
        batch.clear();
        let attempt = match row {
            Ok(Some(row)) => self.put(row),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Some(insert) = &mut self.insert {
            insert.statement.clear_bindings();
        }
        attempt.or_else(|error| self.explain(error))
    }

    /// What is said of a statement that failed.
    fn explain(&self, error: anyhow::Error) -> Result<()> {
        interrupt::check()?;
        ensure!(!self.target.meter.was_over(), "{}", meter::TOO_LONG);
        Err(match lock(&self.target.rules).refusal() {
            Some(what) => anyhow!("a dump may not do this: {what}"),
            None => in_short(error),
        })
    }

    /// The values of a row, which is ready to be [`put`](Writer::put); any other statement is carried out.
    fn read<'s>(&mut self, sql: &'s [u8], cuts: &'s [Cut], line: u64) -> Result<Option<Vec<Value<'s>>>> {
        let sql = std::str::from_utf8(sql).context("it is not UTF-8")?;
        // SQL ends there, and what follows would never be seen.
        ensure!(memchr::memchr(0, sql.as_bytes()).is_none(), "it has a NUL in it");
        // Rows that follow each other have the same place in the dump.
        if let Some(insert) = self.insert.as_ref().filter(|insert| sql.starts_with(&insert.text)) {
            let (head, count) = (insert.text.len(), insert.count);
            return match row::values(sql, head, count, cuts).context(NO_VALUES)? {
                Values::Known(known) if known.len() == count => Ok(Some(known)),
                Values::Known(known) => bail!("it has {} values, the row before has {count}", known.len()),
                Values::Asked(values) => self.ask_row(&sql[..head], values).map(Some),
            };
        }
        let kind = rules::kind(sql)?;
        lock(&self.target.rules).admit(kind)?;
        self.insert = None;
        if kind == Kind::Insert {
            ensure!(cuts.is_empty() || rules::after_comments(sql).len() == sql.len(), NO_VALUES);
            return self.first_row(rules::after_comments(sql), cuts).map(Some);
        }
        ensure!(cuts.is_empty(), NO_VALUES); // only of rows anything is cut
        if kind == Kind::Update {
            let mend = row::mend(sql).context("it is no mending of a line of the schema")?;
            lock(&self.target.rules).mend(&mend, line)?;
        } else if kind == Kind::Delete {
            let table = row::emptied(sql).context("it is no DELETE FROM a whole table")?;
            lock(&self.target.rules).empty(&table)?;
        }
        let is_index = kind == Kind::Create && rules::makes_index(sql);
        self.target.meter.begin_other(sql.len(), is_index)?;
        if kind == Kind::Pragma {
            return self.pragma(sql, line).map(|()| None);
        }
        let computed = lock(&self.target.rules).computed_by(kind, sql);
        self.limit(computed, sql.len())?;
        self.ask(sql)?;
        lock(&self.target.rules).done(sql, line);
        Ok(None)
    }

    /// A pragma computes nothing, but may have the schema read anew, which is as long as it is.
    fn pragma(&mut self, sql: &str, line: u64) -> Result<()> {
        self.target.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, meter::VALUE_MAX)?;
        self.ask(sql)?;
        let mut rules = lock(&self.target.rules);
        rules.done(sql, line);
        if rules.is_reset(sql) {
            // SQLite would do so at the next statement, whose limit is its own.
            rules.admit(Kind::Analyze)?;
            drop(rules);
            self.target.connection.prepare("ANALYZE sqlite_schema")?;
        }
        Ok(())
    }

    /// A row for another table than the one before.
    fn first_row<'s>(&mut self, sql: &'s str, cuts: &'s [Cut]) -> Result<Vec<Value<'s>>> {
        let head = row::head(sql).context("it is no INSERT INTO a table, VALUES of one row")?;
        let values = row::values(sql, head.bytes, 0, cuts).context(NO_VALUES)?;
        let computed = {
            let mut rules = lock(&self.target.rules);
            rules.row(&head, &values)?;
            rules.computed(&head.table)
        };
        self.limit(computed, 0)?;
        let (text, once) = (sql[..head.bytes].to_owned(), rules::is_schema(&head.table));
        let known = match values {
            Values::Known(known) => known,
            Values::Asked(values) => return self.ask_row(&text, values),
        };
        let count = known.len();
        let statement = self.target.connection.prepare(&format!("{text}{})", vec!["?"; count].join(",")))?;
        self.insert = Some(Insert { text, count, once, computed, statement });
        Ok(known)
    }

    /// A row of which SQLite has to say what some values are: those are read by it, as they are written, and the
    /// bytes of raw text are given to it to be taken for text.
    fn ask_row<'s>(&mut self, head: &str, values: Vec<Result<Value<'s>, &str>>) -> Result<Vec<Value<'s>>> {
        let written = values.iter().map(|value| match value {
            Ok(Value::Raw(_)) => "CAST(? AS TEXT)",
            Ok(_) => "?",
            Err(written) => written,
        });
        let sql = format!("{head}{})", written.collect::<Vec<_>>().join(","));
        self.asked = Some(self.target.connection.prepare(&sql)?);
        Ok(values.into_iter().filter_map(Result::ok).collect())
    }

    /// Puts a row, whose values have been [`read`](Writer::read), into its table.
    fn put(&mut self, values: Vec<Value<'_>>) -> Result<()> {
        let mut asked = self.asked.take();
        let statement = match (&mut asked, &mut self.insert) {
            (Some(asked), _) => asked,
            (None, Some(insert)) => &mut insert.statement,
            (None, None) => bail!("it has no place"),
        };
        for (number, value) in values.into_iter().enumerate() {
            statement.raw_bind_parameter(number + 1, &value)?;
        }
        statement.raw_execute()?;
        if self.insert.as_ref().is_some_and(|insert| insert.once) {
            self.insert = None;
        }
        Ok(())
    }

    /// Lets SQLite read and carry out one statement.
    fn ask(&mut self, sql: &str) -> Result<()> {
        // SQLite decides what one statement is, so that nothing can hide behind a semicolon; none is fine.
        let mut batch = Batch::new(&self.target.connection, sql);
        let mut count = 0;
        while let Some(mut prepared) = batch.next()? {
            count += 1;
            ensure!(count == 1, "it is more than one statement");
            let mut rows = prepared.raw_query();
            while rows.next()?.is_some() {}
        }
        Ok(())
    }
}

/// An error of SQLite's without the statement that it quotes, which can be long, and not for a terminal.
fn in_short(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<rusqlite::Error>() {
        Ok(rusqlite::Error::SqlInputError { msg, .. }) => {
            let short: String = msg.chars().take(TOLD_MAX).collect();
            anyhow!("{}", short.escape_debug())
        }
        Ok(other) => other.into(),
        Err(error) => error,
    }
}

/// Characters that are told of what a dump says, at most.
const TOLD_MAX: usize = 200;

const NO_VALUES: &str = "its values are not those of one row, written as a dump writes them";
