//! The schema of a dump: each statement is tried on an empty database in memory, as the `sqlite3` shell would
//! read it, before it is written. What a plain SQLite can't make so, is made in another way: a table by a
//! stand-in whose statement is replaced after its rows, a view or trigger by its line in `sqlite_schema`. An
//! index that only the application can make is left out, and said. At the end the trial database must have
//! the schema of the image, so that nothing is lost silently.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Batch, Connection};

use super::stand_in::StandIn;
use super::{DumpSink, Lack, Reorder};
use crate::catalog::{self, KeyPart, Object};
use crate::{literal, tokens};

const OPEN_SCHEMA: &[u8] = b"PRAGMA writable_schema=ON;\n";
const CLOSE_SCHEMA: &[u8] = b"PRAGMA writable_schema=OFF;\n";
/// Closes it, too, and has the schema read anew.
const READ_SCHEMA: &[u8] = b"PRAGMA writable_schema=RESET;\n";

/// Writes the schema, and keeps what must be put right later.
pub struct Schema<'a> {
    image: &'a Connection,
    objects: &'a [Object],
    trial: Connection,
    /// Statements that put real tables in their places, once their rows are in, for those that get an index.
    mends: Vec<u8>,
    /// Lines of `sqlite_schema`, and texts of other objects, for the end.
    late: Vec<u8>,
    /// Indexes that are left out.
    pub lacks: Vec<Lack>,
    /// Tables whose keys come into another order.
    pub reorder: Vec<Reorder>,
}

impl<'a> Schema<'a> {
    pub fn new(image: &'a Connection, objects: &'a [Object]) -> Result<Schema<'a>> {
        let mut trial = Connection::open_in_memory()?;
        trial.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        trial.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        trial.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
        trial.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        trial.authorizer(Some(allowed))?;
        let (mends, late) = (Vec::new(), Vec::new());
        Ok(Schema { image, objects, trial, mends, late, lacks: Vec::new(), reorder: Vec::new() })
    }

    /// The database that is dumped.
    pub fn image(&self) -> &'a Connection {
        self.image
    }

    /// Makes a table of SQLite's own, while the schema may be written.
    pub fn internal(&mut self, object: &Object, sink: &mut dyn DumpSink) -> Result<()> {
        let made = self.run(&[OPEN_SCHEMA, &statement(object)?, CLOSE_SCHEMA].concat());
        made.map_err(anyhow::Error::msg)
            .with_context(|| format!("can't make the table {} again", object.name))?;
        sink.write(&statement(object)?)
    }

    /// Makes a table: as it was made, or a stand-in for it.
    pub fn table(&mut self, object: &Object, sink: &mut dyn DumpSink) -> Result<Option<StandIn>> {
        let sql = statement(object)?;
        let shape = catalog::shape(self.image, &object.name, true)?;
        // What was computed and stored is data, and other versions of SQLite may compute something else.
        let is_computed = shape.details.iter().any(|column| column.generated);
        let is_safe = is_safe_name(&object.name) && shape.columns.iter().all(|name| is_safe_name(name));
        let is_safe = is_safe && !tokens::quotes_return(&sql, "");
        let computed = if is_computed { StandIn::of(self.image, object)? } else { None };
        if is_safe && computed.is_none() {
            match self.attempt(&sql, object) {
                Ok(Made::AsItWas) => return sink.write(&sql).map(|()| None),
                Ok(Made::WithOtherText) => {
                    self.late.extend(mend(object, &object.name)?);
                    return sink.write(&sql).map(|()| None);
                }
                Err(_) => {} // then a stand-in
            }
        }
        let stand_in = computed.map_or_else(|| self.stand_in(object), Ok)?;
        let create = [stand_in.sql.as_bytes(), b";\n"].concat();
        self.run(&create).map_err(anyhow::Error::msg).with_context(|| cannot(object))?;
        sink.write(&create)?;
        self.replace(object, &stand_in)?;
        Ok(Some(stand_in))
    }

    /// Makes a stand-in of a table that was made as it was, and would not take its own rows. Rows that it has
    /// are removed.
    pub fn relax(&mut self, object: &Object, sink: &mut dyn DumpSink) -> Result<StandIn> {
        let stand_in = self.stand_in(object)?;
        let mut sql = format!("DELETE FROM {};\n", catalog::quoted(&object.name)).into_bytes();
        sql.extend_from_slice(OPEN_SCHEMA);
        sql.extend_from_slice(b"UPDATE sqlite_schema SET sql=");
        literal::push_text(&mut sql, stand_in.sql.as_bytes());
        sql.extend(condition("table", &object.name));
        sql.extend_from_slice(READ_SCHEMA);
        self.run(&sql).map_err(anyhow::Error::msg).with_context(|| cannot(object))?;
        sink.write(&sql)?;
        self.replace(object, &stand_in)?;
        Ok(stand_in)
    }

    fn stand_in(&self, object: &Object) -> Result<StandIn> {
        StandIn::of(self.image, object)?.with_context(|| {
            format!("a key of the table {} is one of columns that are not stored", object.name)
        })
    }

    /// Notes what puts the real table in the place of its stand-in.
    fn replace(&mut self, object: &Object, stand_in: &StandIn) -> Result<()> {
        // Most indexes are the same on the stand-in; then there is time until the end, and nothing is read anew.
        let mut is_early = stand_in.name != object.name;
        for index in
            self.objects.iter().filter(|o| o.kind == "index" && o.sql.is_some() && o.table == object.name)
        {
            is_early |= self.needs_real_table(index, stand_in)?;
        }
        let mends = if is_early { &mut self.mends } else { &mut self.late };
        mends.extend(mend(object, &stand_in.name)?);
        if stand_in.name != object.name {
            let own = self
                .objects
                .iter()
                .filter(|o| o.kind == "index" && o.sql.is_none() && o.table == object.name);
            for index in own {
                let number = index.name.rsplit('_').next().unwrap_or_default();
                let mut sql = b"UPDATE sqlite_schema SET name=".to_vec();
                literal::push_text(&mut sql, index.name.as_bytes());
                sql.extend_from_slice(b",tbl_name=");
                literal::push_text(&mut sql, index.table.as_bytes());
                sql.extend(condition("index", &format!("sqlite_autoindex_{}_{number}", stand_in.name)));
                self.mends.extend(sql);
            }
        }
        if !stand_in.foreign_order.is_empty() {
            let (table, collations) = (object.name.clone(), stand_in.foreign_order.clone());
            self.reorder.retain(|reorder| reorder.table != table);
            self.reorder.push(Reorder { table, collations });
        }
        Ok(())
    }

    /// Whether an index would be another one on the stand-in: with an expression or a WHERE, on a column that is
    /// not stored, or in another order than that of bytes.
    fn needs_real_table(&self, index: &Object, stand_in: &StandIn) -> Result<bool> {
        let sql = "SELECT partial FROM pragma_index_list(?1) WHERE name = ?2";
        let is_partial: bool = self.image.query_row(sql, [&index.table, &index.name], |row| row.get(0))?;
        let is_plain = |part: &KeyPart| {
            let is_stored = part.column.as_ref().is_some_and(|name| stand_in.columns.contains(name));
            is_stored && part.collation.eq_ignore_ascii_case("BINARY")
        };
        Ok(is_partial || !catalog::key_parts(self.image, &index.name)?.iter().all(is_plain))
    }

    /// Puts the real tables in their places: after all rows, before the first index.
    pub fn mend_tables(&mut self, sink: &mut dyn DumpSink) -> Result<()> {
        if self.mends.is_empty() {
            return Ok(());
        }
        let sql = [OPEN_SCHEMA, &std::mem::take(&mut self.mends), READ_SCHEMA].concat();
        self.run(&sql)
            .map_err(anyhow::Error::msg)
            .context("can't put the tables of the schema in their places")?;
        sink.write(&sql)
    }

    /// Makes an index, or leaves it out.
    pub fn index(&mut self, object: &Object, sink: &mut dyn DumpSink) -> Result<()> {
        let mut sql = statement(object)?;
        if object.is_internal() {
            sql = [OPEN_SCHEMA, &sql, CLOSE_SCHEMA].concat();
        }
        let mut made = match tokens::quotes_return(&sql, &object.name) {
            true => Err("the sqlite3 shell drops a carriage return in its text".to_owned()),
            false => self.attempt(&sql, object),
        };
        if made.is_err() && !sql.contains(&b'\r') {
            // A string in double quotes: the newest shells refuse it, all others don't.
            self.trial.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
            made = self.attempt(&sql, object);
            self.trial.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
        }
        match made {
            Ok(Made::AsItWas) => sink.write(&sql),
            Ok(Made::WithOtherText) => {
                self.late.extend(mend(object, &object.name)?);
                sink.write(&sql)
            }
            Err(reason) => {
                let (index, table) = (object.name.clone(), object.table.clone());
                self.lacks.push(Lack { index, table, reason });
                Ok(())
            }
        }
    }

    /// Makes a view or a trigger, at once or as a line of the schema at the end.
    pub fn view_or_trigger(&mut self, object: &Object, sink: &mut dyn DumpSink) -> Result<()> {
        let sql = statement(object)?;
        match self.attempt(&sql, object) {
            Ok(Made::AsItWas) => return sink.write(&sql),
            Ok(Made::WithOtherText) => {
                self.late.extend(mend(object, &object.name)?);
                return sink.write(&sql);
            }
            Err(_) => {}
        }
        self.line(object)
    }

    /// Adds an object that has no pages of its own as a line of `sqlite_schema`. For virtual tables, too: their
    /// modules need not be there, and their content came as tables.
    pub fn line(&mut self, object: &Object) -> Result<()> {
        let mut out = b"INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES(".to_vec();
        for text in [object.kind.as_str(), object.name.as_str(), object.table.as_str()] {
            literal::push_text(&mut out, text.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(b"0,");
        literal::push_text(&mut out, sql_of(object)?);
        out.extend_from_slice(b");\n");
        self.late.extend(out);
        Ok(())
    }

    /// Writes what is left.
    pub fn complete(&mut self, sink: &mut dyn DumpSink) -> Result<()> {
        if !self.late.is_empty() {
            let sql = [OPEN_SCHEMA, &std::mem::take(&mut self.late), CLOSE_SCHEMA].concat();
            self.run(&sql).map_err(anyhow::Error::msg).context("can't complete the schema")?;
            sink.write(&sql)?;
        }
        Ok(())
    }

    /// Holds the schema that was made against that of the image.
    pub fn compare(&self) -> Result<()> {
        let left_out: BTreeSet<&str> = self.lacks.iter().map(|lack| lack.index.as_str()).collect();
        let lines = |objects: &[Object],
                     left_out: &BTreeSet<&str>|
         -> BTreeSet<(String, String, String, Option<Vec<u8>>)> {
            let kept = objects.iter().filter(|o| !(o.kind == "index" && left_out.contains(o.name.as_str())));
            kept.map(|o| (o.kind.clone(), o.name.clone(), o.table.clone(), o.sql.clone())).collect()
        };
        let (wanted, made) =
            (lines(self.objects, &left_out), lines(&catalog::objects(&self.trial)?, &BTreeSet::new()));
        if let Some((kind, name, ..)) = wanted.symmetric_difference(&made).next() {
            bail!("the {kind} {name} can't be written as SQL that makes it again as it is");
        }
        Ok(())
    }

    /// Runs a statement that makes an object, and looks what it made. Nothing is left of one that fails.
    fn attempt(&self, sql: &[u8], object: &Object) -> Result<Made, String> {
        if has_terminator(sql) {
            return Err("the sqlite3 shell would take a line of its statement for the end".to_owned());
        }
        let before = self.newest();
        self.trial.execute_batch("SAVEPOINT attempt").map_err(|error| error.to_string())?;
        let made = self.run(sql).and_then(|()| self.look(object, before));
        let end = if made.is_ok() { "" } else { "ROLLBACK TO attempt;" };
        // What failed may have left the schema open.
        self.trial
            .execute_batch(&format!("{end} RELEASE attempt; PRAGMA writable_schema=OFF"))
            .map_err(|error| error.to_string())?;
        made
    }

    fn newest(&self) -> i64 {
        self.trial
            .query_row("SELECT ifnull(max(rowid), 0) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap_or(0)
    }

    fn look(&self, object: &Object, before: i64) -> Result<Made, String> {
        let sql = "SELECT type, name, tbl_name, CAST(sql AS BLOB) FROM sqlite_schema WHERE rowid > ?1 AND sql NOT NULL";
        let made: Vec<(String, String, String, Vec<u8>)> = self
            .trial
            .prepare(sql)
            .and_then(|mut statement| {
                statement
                    .query_map([before], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
                    .collect()
            })
            .map_err(|error| error.to_string())?;
        match made.as_slice() {
            [(kind, name, table, sql)]
                if *kind == object.kind
                    && *name == as_read(&object.name)
                    && *table == as_read(&object.table) =>
            {
                Ok(if object.sql.as_ref() == Some(sql) { Made::AsItWas } else { Made::WithOtherText })
            }
            _ => Err("its statement makes something else".to_owned()),
        }
    }

    /// Runs statements as the shell would read them.
    fn run(&self, sql: &[u8]) -> Result<(), String> {
        let sql = std::str::from_utf8(sql).map_err(|_| "its statement is not UTF-8".to_owned())?;
        let read = as_read(sql);
        let attempt = || -> rusqlite::Result<()> {
            let mut batch = Batch::new(&self.trial, &read);
            while let Some(mut prepared) = batch.next()? {
                let mut rows = prepared.raw_query();
                while rows.next()?.is_some() {}
            }
            Ok(())
        };
        attempt().map_err(|error| error.to_string())
    }
}

/// What a statement made.
enum Made {
    AsItWas,
    /// The shell drops carriage returns, for one.
    WithOtherText,
}

/// What making a schema needs.
fn allowed(context: AuthContext<'_>) -> Authorization {
    let is_fine = match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::CreateVtable { .. } => false,
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("load_extension"),
        AuthAction::Pragma { pragma_name, .. } => pragma_name.eq_ignore_ascii_case("writable_schema"),
        _ => true,
    };
    if is_fine { Authorization::Allow } else { Authorization::Deny }
}

/// What the shell makes of a text with line ends of Windows.
fn as_read(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// Whether the shell takes a name as it is: it drops carriage returns at ends of lines.
pub fn is_safe_name(name: &str) -> bool {
    !name.contains('\r')
}

/// Whether the shell would take a line of a statement for its end: `/` and `go`, alone.
fn has_terminator(sql: &[u8]) -> bool {
    sql.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .any(|line| line == b"/" || line.eq_ignore_ascii_case(b"go"))
}

/// The statement that makes an object.
///
/// # Errors
/// When it has none.
fn statement(object: &Object) -> Result<Vec<u8>> {
    let sql = sql_of(object)?;
    let mut out = sql.to_vec();
    // A stored statement can end in a comment, which would swallow the semicolon.
    let has_comment = sql.windows(2).any(|pair| pair == b"--");
    out.extend_from_slice(if has_comment { b"\n;\n" } else { b";\n" });
    Ok(out)
}

fn sql_of(object: &Object) -> Result<&[u8]> {
    object.sql.as_deref().with_context(|| format!("the {} {} has no SQL", object.kind, object.name))
}

/// Puts back the name and the text of an object that was made under the name `made`.
fn mend(object: &Object, made: &str) -> Result<Vec<u8>> {
    let mut out = b"UPDATE sqlite_schema SET ".to_vec();
    if object.name != made || as_read(made) != made {
        out.extend_from_slice(b"name=");
        literal::push_text(&mut out, object.name.as_bytes());
        out.extend_from_slice(b",tbl_name=");
        literal::push_text(&mut out, object.table.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(b"sql=");
    literal::push_text(&mut out, sql_of(object)?);
    out.extend(condition(&object.kind, made));
    Ok(out)
}

/// The line of an object, by its name as it stands in its statement, and as the shell reads that.
fn condition(kind: &str, name: &str) -> Vec<u8> {
    let mut out = b" WHERE type=".to_vec();
    literal::push_text(&mut out, kind.as_bytes());
    out.extend_from_slice(b" AND name IN (");
    literal::push_text(&mut out, name.as_bytes());
    if as_read(name) != name {
        out.push(b',');
        literal::push_text(&mut out, as_read(name).as_bytes());
    }
    out.extend_from_slice(b");\n");
    out
}

fn cannot(object: &Object) -> String {
    format!("can't make a table that takes the rows of {}", object.name)
}
