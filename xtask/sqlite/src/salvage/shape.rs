//! What the records of each table and each index look like, as SQLite itself understands the statements that made
//! them: they are run in a database in memory that holds no rows. Nothing in them can do more there than make things.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Batch, Connection};

use super::layout::{Affinity, Field, Layout};
use super::statements;
use crate::base::interrupt;
use crate::catalog::{Object, quoted};

/// A table with rows of its own.
#[derive(Clone, Debug, Default)]
pub struct TableShape {
    /// The records of its b-tree.
    pub layout: Layout,
    /// The columns of its primary key, when it is WITHOUT ROWID; positions in the record.
    pub key: Option<Vec<usize>>,
    /// A name under which its rowid can be read and written.
    pub rowid: Option<String>,
}

/// An index.
#[derive(Clone, Debug, Default)]
pub struct IndexShape {
    /// The records of its b-tree.
    pub layout: Layout,
    /// Whether every row of its table has an entry.
    pub is_full: bool,
}

/// All of them, by name.
#[derive(Default)]
pub struct Shapes {
    /// Tables with rows of their own.
    pub tables: HashMap<String, TableShape>,
    /// Indexes, those that constraints made as well.
    pub indexes: HashMap<String, IndexShape>,
    /// Tables and indexes that can't be made here, and why.
    pub unmade: HashMap<String, String>,
}

/// Whether a statement of a schema runs right now.
pub type Making = Arc<AtomicBool>;

/// Allows what a dump may do, and stops when the user asks to.
///
/// # Errors
/// When SQLite does not know one of the switches.
pub fn tame(connection: &mut Connection) -> rusqlite::Result<Making> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.progress_handler(100_000, Some(|| interrupt::check().is_err()))?;
    let making = Making::default();
    let asked = Making::clone(&making);
    connection.authorizer(Some(move |context: AuthContext<'_>| match context.action {
        // No statement of a schema makes rows out of others.
        AuthAction::Select if asked.load(Ordering::Relaxed) => Authorization::Deny,
        _ => allowed(context),
    }))?;
    Ok(making)
}

/// What a dump may do, but for endless recursion, and questions about the schema.
fn allowed(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Pragma { pragma_name, .. }
            if ["table_xinfo", "table_list", "index_list", "index_xinfo"].contains(&pragma_name) =>
        {
            Authorization::Allow
        }
        AuthAction::Recursive => Authorization::Deny,
        _ => statements::allowed(context),
    }
}

/// Runs the statement that makes one object; nothing but `CREATE` is.
///
/// # Errors
/// When it is no such statement, or SQLite can't run it.
pub fn make(connection: &Connection, making: &Making, sql: &str) -> Result<()> {
    if !sql.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("CREATE ")) {
        bail!("it is no CREATE statement");
    }
    making.store(true, Ordering::Relaxed);
    let attempt = || -> Result<()> {
        let mut batch = Batch::new(connection, sql);
        let Some(mut statement) = batch.next()? else { bail!("it is empty") };
        {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
        }
        drop(statement);
        if batch.next()?.is_some() {
            bail!("it is more than one statement");
        }
        Ok(())
    };
    let made = attempt();
    making.store(false, Ordering::Relaxed);
    made
}

/// Makes everything that has rows or entries, and looks at it.
///
/// # Errors
/// When there is no memory, or the user asked to stop. What can't be made is told.
pub fn shapes(objects: &[Object], utf8: bool) -> Result<Shapes> {
    let mut connection = Connection::open_in_memory()?;
    let making = tame(&mut connection)?;
    let mut shapes = Shapes::default();
    for kind in ["table", "index"] {
        let wanted = objects.iter().filter(|object| object.kind == kind && !object.is_virtual_table());
        for object in wanted {
            interrupt::check()?;
            let Some(sql) = object.sql_text() else { continue };
            let internal = object.is_internal() && kind == "table";
            if internal {
                connection.execute_batch("PRAGMA writable_schema=ON")?;
            }
            let made = make(&connection, &making, sql);
            if internal {
                connection.execute_batch("PRAGMA writable_schema=OFF")?;
            }
            if let Err(error) = made
                && !(internal && exists(&connection, &object.name)?)
            {
                shapes.unmade.insert(object.name.clone(), format!("{error:#}"));
            }
        }
    }
    for object in objects.iter().filter(|object| object.is_stored_table()) {
        if exists(&connection, &object.name)? {
            let shape = table(&connection, &object.name, utf8)
                .with_context(|| format!("can't tell how the table {} is made", object.name))?;
            shapes.tables.insert(object.name.clone(), shape);
        }
    }
    for object in objects.iter().filter(|object| object.kind == "index") {
        if let Some(shape) = index(&connection, &object.name, &object.table, utf8)? {
            shapes.indexes.insert(object.name.clone(), shape);
        }
    }
    Ok(shapes)
}

fn exists(connection: &Connection, table: &str) -> Result<bool> {
    // Found by its name at once, however many there are.
    let sql = "SELECT EXISTS (SELECT 1 FROM pragma_table_list(?1) WHERE schema = 'main')";
    Ok(connection.query_row(sql, [table], |row| row.get(0))?)
}

/// One column as `pragma_table_xinfo` tells it.
struct Column {
    name: String,
    declared: String,
    not_null: bool,
    key: i64,
    hidden: i64,
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<Column>> {
    let sql = "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1)";
    let mut statement = connection.prepare(sql)?;
    let columns = statement.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            declared: row.get(1)?,
            not_null: row.get(2)?,
            key: row.get(3)?,
            hidden: row.get(4)?,
        })
    })?;
    Ok(columns.collect::<rusqlite::Result<_>>()?)
}

fn field(column: &Column, strict: bool) -> Field {
    let any = strict && column.declared.eq_ignore_ascii_case("ANY");
    Field {
        column: column.name.clone(),
        affinity: if any { Affinity::Blob } else { Affinity::of(&column.declared) },
        not_null: column.not_null,
        is_rowid: false,
        strict: strict.then(|| column.declared.to_ascii_uppercase()),
    }
}

fn table(connection: &Connection, name: &str, utf8: bool) -> Result<TableShape> {
    let columns = columns(connection, name)?;
    let (without_rowid, strict): (bool, bool) = connection.query_row(
        "SELECT wr, strict FROM pragma_table_list(?1) WHERE schema = 'main'",
        [name],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let key_index: Option<String> = {
        let mut statement =
            connection.prepare("SELECT name FROM pragma_index_list(?1) WHERE origin = 'pk'")?;
        let mut rows = statement.query([name])?;
        rows.next()?.map(|row| row.get(0)).transpose()?
    };
    if without_rowid {
        let index = key_index.context("a table WITHOUT ROWID has a primary key")?;
        let mut statement =
            connection.prepare("SELECT cid, key FROM pragma_index_xinfo(?1) ORDER BY seqno")?;
        let found =
            statement.query_map([index], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)))?;
        let (mut fields, mut key) = (Vec::new(), Vec::new());
        for found in found {
            let (cid, is_key) = found?;
            let column = usize::try_from(cid).ok().and_then(|cid| columns.get(cid));
            if is_key {
                key.push(fields.len());
            }
            fields.push(field(column.context("a column of the key is unknown")?, strict));
        }
        let layout = Layout { fields, is_exact: false, utf8 };
        return Ok(TableShape { layout, key: Some(key), rowid: None });
    }
    let keys = columns.iter().filter(|column| column.key > 0).count();
    // What is generated when it is read has no place in a record.
    let stored = columns.iter().filter(|column| column.hidden != 2);
    let fields = stored
        .map(|column| Field {
            is_rowid: keys == 1 && column.key > 0 && key_index.is_none(),
            ..field(column, strict)
        })
        .collect();
    let hides = |alias: &str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(alias));
    let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|alias| !hides(alias)).map(str::to_owned);
    let alias = columns.iter().find(|c| keys == 1 && c.key > 0 && key_index.is_none());
    let rowid = rowid.or_else(|| alias.map(|column| quoted(&column.name)));
    Ok(TableShape { layout: Layout { fields, is_exact: false, utf8 }, key: None, rowid })
}

fn index(connection: &Connection, name: &str, table: &str, utf8: bool) -> Result<Option<IndexShape>> {
    let mut statement = connection.prepare("SELECT partial FROM pragma_index_list(?1) WHERE name = ?2")?;
    let mut rows = statement.query([table, name])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let partial: bool = row.get(0)?;
    let columns = columns(connection, table)?;
    let mut statement = connection.prepare("SELECT cid FROM pragma_index_xinfo(?1) ORDER BY seqno")?;
    let mut fields = Vec::new();
    for cid in statement.query_map([name], |row| row.get::<_, i64>(0))? {
        let column = usize::try_from(cid?).ok().and_then(|cid| columns.get(cid));
        // An index keeps values as they are stored, and has no rules of its own.
        let column = column.map(|column| field(column, false).column);
        fields.push(Field {
            column: column.unwrap_or_default(),
            affinity: Affinity::Blob,
            not_null: false,
            is_rowid: false,
            strict: None,
        });
    }
    let layout = Layout { fields, is_exact: true, utf8 };
    Ok(Some(IndexShape { layout, is_full: !partial }))
}

/// The columns of a table that are stored and not generated: those that an INSERT names.
///
/// # Errors
/// What SQLite returns.
pub fn written_columns(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let columns = columns(connection, table)?;
    Ok(columns.into_iter().filter(|column| column.hidden == 0).map(|column| column.name).collect())
}
