//! Builds a new database from a dump, one statement at a time.
//!
//! A dump out of an archive is untrusted: SQL can read and write other files (ATTACH), load code, or change
//! settings. So every statement is held against a list of what a dump needs, the file is new and private,
//! nothing of it stays after an error, and a dump without its COMMIT is an error.

use std::fs::OpenOptions;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};
use rusqlite::limits::Limit;
use rusqlite::{Batch, Connection, OpenFlags};

use super::statement::Scanner;
use crate::base::{durable, file_facts, interrupt};

/// Loads a dump into a new file that only its owner can read, and syncs it.
///
/// # Errors
/// When the file exists, when a statement fails or is not allowed (names its line), or when the dump ends
/// early. The file is removed then.
pub fn load(dump: &mut dyn BufRead, to: &Path) -> Result<()> {
    let to = std::path::absolute(to)?;
    file_facts::create_private_file(&to).with_context(|| format!("can't create {}", to.display()))?;
    let partial = Partial(Some(to.clone()));
    let mut attempt = || -> Result<()> {
        let connection = prepare_database(&to)?;
        run(&connection, dump)?;
        connection.close().map_err(|(_, error)| error)?;
        OpenOptions::new().write(true).open(&to)?.sync_all()?;
        durable::sync_dir(to.parent().context("a file needs a folder")?)?;
        Ok(())
    };
    attempt().with_context(|| format!("can't load the dump into {}", to.display()))?;
    partial.keep();
    Ok(())
}

/// A file that is removed, with what SQLite may have put beside it, unless it is kept.
struct Partial(Option<PathBuf>);

impl Partial {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        for ending in ["", "-journal", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            // An error is on its way already; whoever made the folder clears what is left.
            let _ = durable::remove_file(Path::new(&name));
        }
    }
}

fn prepare_database(to: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(to, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    // The file is new and its own backup is the dump: no journal, no sync before the end.
    connection.execute_batch(
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-65536;",
    )?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.authorizer(Some(allowed))?;
    Ok(connection)
}

/// What a dump may do; everything else is refused.
fn allowed(context: AuthContext<'_>) -> Authorization {
    let is_fine = match context.action {
        AuthAction::Select
        | AuthAction::Recursive
        | AuthAction::Read { .. }
        | AuthAction::Delete { .. }
        | AuthAction::CreateTable { .. }
        | AuthAction::CreateIndex { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::Reindex { .. }
        | AuthAction::Analyze { .. } => true,
        // Through this table, pages could be written raw.
        AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. } => {
            !table_name.eq_ignore_ascii_case("sqlite_dbpage")
        }
        // A dump of a damaged database, made by the shell, ends in a ROLLBACK.
        AuthAction::Transaction { operation } => !matches!(operation, TransactionOperation::Rollback),
        AuthAction::Function { function_name } => {
            !["load_extension", "fts3_tokenizer"].iter().any(|name| function_name.eq_ignore_ascii_case(name))
        }
        AuthAction::Pragma { pragma_name, pragma_value } => is_allowed_pragma(pragma_name, pragma_value),
        _ => false,
    };
    if is_fine { Authorization::Allow } else { Authorization::Deny }
}

fn is_allowed_pragma(name: &str, value: Option<&str>) -> bool {
    match name.to_ascii_lowercase().as_str() {
        "page_size"
        | "encoding"
        | "auto_vacuum"
        | "ignore_check_constraints"
        | "writable_schema"
        | "user_version"
        | "application_id" => true,
        "foreign_keys" => value.is_some_and(|v| v.eq_ignore_ascii_case("off") || v == "0"),
        "journal_mode" => {
            value.is_some_and(|v| v.eq_ignore_ascii_case("wal") || v.eq_ignore_ascii_case("delete"))
        }
        _ => false,
    }
}

fn run(connection: &Connection, dump: &mut dyn BufRead) -> Result<()> {
    let mut scanner = Scanner::default();
    let mut statement = Vec::new();
    let (mut line, mut first_line) = (1_u64, 1_u64);
    let mut since_check = 0;
    let mut changed = false;
    loop {
        let piece = dump.fill_buf().with_context(|| format!("can't read the dump after line {line}"))?;
        if piece.is_empty() {
            break;
        }
        if statement.is_empty() {
            // Space between statements belongs to none.
            let space = piece.iter().take_while(|b| b.is_ascii_whitespace()).count();
            line += piece[..space].iter().filter(|b| **b == b'\n').count() as u64;
            first_line = line;
            if space > 0 {
                dump.consume(space);
                continue;
            }
        }
        let end = scanner.feed(piece);
        let used = end.unwrap_or(piece.len());
        statement.extend_from_slice(&piece[..used]);
        line += piece[..used].iter().filter(|b| **b == b'\n').count() as u64;
        dump.consume(used);
        since_check += used;
        if end.is_some() {
            changed |= execute(connection, &statement)
                .with_context(|| format!("the statement that begins at line {first_line}"))?;
            statement.clear();
            statement.shrink_to(1 << 20); // a huge statement must not keep its memory
        }
        if since_check > 1 << 20 {
            interrupt::check()?;
            since_check = 0;
        }
    }
    if !scanner.is_at_start() {
        bail!("the dump ends in the middle of the statement that begins at line {first_line}");
    }
    if !connection.is_autocommit() || !changed {
        bail!("the dump ends at line {line} without its COMMIT");
    }
    Ok(())
}

/// Runs one statement; true when it ended a transaction.
fn execute(connection: &Connection, sql: &[u8]) -> Result<bool> {
    let sql = std::str::from_utf8(sql).context("it is not UTF-8")?;
    let was_open = !connection.is_autocommit();
    // Normally one; SQLite decides, so that nothing can hide behind a semicolon, and none is fine.
    let mut batch = Batch::new(connection, sql);
    while let Some(mut prepared) = batch.next()? {
        let mut rows = prepared.raw_query();
        while rows.next()?.is_some() {}
    }
    Ok(was_open && connection.is_autocommit())
}
