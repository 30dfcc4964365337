//! What a dump may do: which statements, in which order, and what SQLite may do for each of them. Pure; SQLite
//! asks while it prepares a statement, so nothing that is refused here has run.
//!
//! A dump is pragmas, one transaction, pragmas. In the transaction: CREATE TABLE, INDEX, VIEW and TRIGGER; rows
//! for tables that the dump itself has made, or that SQLite keeps; emptying those; rows of `sqlite_schema` that have
//! no pages (virtual tables), and text and names of others; `ANALYZE sqlite_schema`. Nothing is
//! ever selected: no view and no trigger runs, and no module of a virtual table. A table that is only named in
//! `sqlite_schema` can't be made, nor get rows, later on: SQLite might take it for a virtual one.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};

use super::row::{Head, Mend, Value, Values};

/// What a statement is, by its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only space and comments.
    Nothing,
    /// PRAGMA
    Pragma,
    /// BEGIN
    Begin,
    /// COMMIT or END
    Commit,
    /// CREATE
    Create,
    /// INSERT
    Insert,
    /// DELETE
    Delete,
    /// UPDATE
    Update,
    /// ANALYZE
    Analyze,
}

/// Where in the dump we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Before,
    Within,
    After,
}

/// What was seen of a dump so far, and what may come next.
#[derive(Default)]
pub struct Rules {
    phase: Phase,
    /// What was admitted last; without one, nothing is allowed.
    kind: Option<Kind>,
    /// Tables that the dump has made, in lower case.
    made: HashSet<String>,
    /// Names that stand in rows of `sqlite_schema`, in lower case.
    named: HashSet<String>,
    /// Tables for whose rows something is computed, in lower case.
    computed: HashMap<String, Computed>,
    /// The table that is made or gets an index, in lower case, and whether that calls a function.
    subject: Option<String>,
    calls: bool,
    /// Why SQLite was told no.
    refused: Option<String>,
}

/// What is computed for the rows of a table.
#[derive(Clone, Copy)]
pub struct Computed {
    /// How many values at once, at most.
    pub values: u64,
    /// The line of the dump that makes the table.
    pub line: u64,
}

/// The longest word that begins a statement of a dump.
const WORD_MAX: usize = 7;

/// What a statement is.
///
/// # Errors
/// When a dump has none of that kind.
pub fn kind(sql: &str) -> Result<Kind> {
    let rest = after_comments(sql);
    let end = rest.bytes().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
    let word = rest[..end].to_ascii_uppercase();
    Ok(match word.as_str() {
        "" if rest.is_empty() || rest == ";" => Kind::Nothing,
        "PRAGMA" => Kind::Pragma,
        "BEGIN" => Kind::Begin,
        "COMMIT" | "END" => Kind::Commit,
        "CREATE" => Kind::Create,
        "INSERT" => Kind::Insert,
        "DELETE" => Kind::Delete,
        "UPDATE" => Kind::Update,
        "ANALYZE" => Kind::Analyze,
        _ if (1..=4 * WORD_MAX).contains(&word.len()) => bail!("{word} has no place in a dump"),
        _ => bail!("no statement of a dump begins like this"),
    })
}

/// Whether a CREATE makes an index, which goes over all rows of its table. Written as SQLite stores it.
pub fn makes_index(sql: &str) -> bool {
    let begins = |start: &str| sql.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start));
    begins("CREATE INDEX ") || begins("CREATE UNIQUE INDEX ")
}

/// How many values SQLite may have in memory at once for what is computed here: each argument, column, call and
/// link can be one.
fn values_at_once(sql: &str) -> u64 {
    let pipes = sql.matches("||").count();
    (pipes + sql.bytes().filter(|byte| matches!(byte, b'(' | b',')).count()) as u64
}

/// What follows after space and comments.
pub fn after_comments(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
        rest = if rest.starts_with("--") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if let Some(inside) = rest.strip_prefix("/*") {
            inside.find("*/").map_or("", |end| &inside[end + 2..])
        } else {
            return rest;
        };
    }
}

impl Rules {
    /// Lets a statement begin.
    ///
    /// # Errors
    /// When it has no place here.
    pub fn admit(&mut self, kind: Kind) -> Result<()> {
        match (self.phase, kind) {
            (_, Kind::Nothing | Kind::Pragma) | (Phase::Before, Kind::Begin) => {}
            (Phase::Before, _) => bail!("it stands before BEGIN"),
            (Phase::Within, Kind::Begin) => bail!("a dump is one transaction"),
            (Phase::Within, _) => {}
            (Phase::After, _) => bail!("it stands after COMMIT, where only pragmas may"),
        }
        self.kind = Some(kind);
        (self.refused, self.subject, self.calls) = (None, None, false);
        Ok(())
    }

    /// Notes that the statement, which begins at this line, was carried out.
    pub fn done(&mut self, sql: &str, line: u64) {
        match self.kind {
            Some(Kind::Begin) => self.phase = Phase::Within,
            Some(Kind::Commit) => self.phase = Phase::After,
            _ => {}
        }
        let computes = self.calls || sql.contains("||");
        if let Some(table) = self.subject.take().filter(|_| computes) {
            self.computed.entry(table).or_insert(Computed { values: 0, line }).values += values_at_once(sql);
        }
    }

    /// How many values are computed at once for a row of this table, at most; 0 when none is.
    pub fn computed(&self, table: &str) -> u64 {
        self.computed.get(&table.to_ascii_lowercase()).map_or(0, |computed| computed.values)
    }

    /// All tables for whose rows something is computed.
    pub fn all_computed(&self) -> Vec<(String, Computed)> {
        self.computed.iter().map(|(table, computed)| (table.clone(), *computed)).collect()
    }

    /// The same for a statement that is no row.
    pub fn computed_by(&self, kind: Kind, sql: &str) -> u64 {
        match kind {
            Kind::Create => {
                let heaviest = self.computed.values().map(|computed| computed.values).max();
                heaviest.unwrap_or(0) + values_at_once(sql)
            }
            Kind::Update | Kind::Delete => values_at_once(sql),
            _ => 0,
        }
    }

    /// Whether a pragma had SQLite forget the schema, within the transaction.
    pub fn is_reset(&self, sql: &str) -> bool {
        self.phase == Phase::Within && contains(sql, "reset")
    }

    /// Whether the dump came to its COMMIT.
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::After
    }

    /// Why SQLite was told no, if it was.
    pub fn refusal(&mut self) -> Option<String> {
        self.refused.take()
    }

    /// Holds a row against the rules: where it goes, and what a row of `sqlite_schema` says.
    ///
    /// # Errors
    /// When it has no place in a dump.
    pub fn row(&mut self, head: &Head, values: &Values<'_>) -> Result<()> {
        let table = head.table.to_ascii_lowercase();
        if !is_schema(&table) {
            ensure!(
                is_internal(&table) || self.is_ours(&table),
                "the dump has made no table {:?} for this row",
                head.table
            );
            return Ok(());
        }
        const COLUMNS: [&str; 5] = ["type", "name", "tbl_name", "rootpage", "sql"];
        let named = head.columns.as_ref().is_some_and(|columns| {
            columns.len() == COLUMNS.len()
                && columns.iter().zip(COLUMNS).all(|(name, column)| name.eq_ignore_ascii_case(column))
        });
        ensure!(named, "a row of the schema names type, name, tbl_name, rootpage and sql");
        let fault = "a row of the schema may only name what has no pages";
        let at = |at: usize| match values {
            Values::Known(values) => values.get(at),
            Values::Asked(values) => values.get(at).and_then(|value| value.as_ref().ok()),
        };
        ensure!(at(3) == Some(&Value::Integer(0)), fault);
        for at in [at(1), at(2)] {
            self.named.insert(at.and_then(plain_text).context(fault)?.to_ascii_lowercase());
        }
        Ok(())
    }

    /// Holds the mending of a line of the schema against the rules.
    ///
    /// # Errors
    /// When it is anything else, or makes a virtual table.
    pub fn mend(&mut self, mend: &Mend<'_>, line: u64) -> Result<()> {
        let sql = mend.sql.as_ref().and_then(plain_text).unwrap_or_default();
        ensure!(!makes_virtual_table(&sql), "it makes a virtual table");
        let computes = ["||", "CHECK", "AS", "DEFAULT", "INDEX"].iter().any(|word| contains(&sql, word));
        let names = mend.names.iter().chain(mend.renamed.iter().flatten());
        for name in names.filter(|_| computes).filter_map(plain_text) {
            let entry = self.computed.entry(name.to_ascii_lowercase());
            entry.or_insert(Computed { values: 0, line }).values += values_at_once(&sql);
        }
        Ok(())
    }

    /// Holds the emptying of a table against the rules.
    ///
    /// # Errors
    /// When the dump has not made it, and SQLite does not keep it.
    pub fn empty(&self, table: &str) -> Result<()> {
        let name = table.to_ascii_lowercase();
        ensure!(
            is_schema(&name) || is_internal(&name) || self.is_ours(&name),
            "the dump has made no table {table:?} to be emptied"
        );
        Ok(())
    }

    fn is_ours(&self, table: &str) -> bool {
        self.made.contains(table)
    }

    /// Answers SQLite's question whether it may do something for the statement that was admitted.
    pub fn judge(&mut self, context: &AuthContext<'_>) -> Authorization {
        // Views and triggers do not run, and there is one database.
        let here = context.accessor.is_none() && context.database_name.is_none_or(|name| name == "main");
        if here && self.kind.is_some_and(|kind| self.allows(kind, &context.action)) {
            return Authorization::Allow;
        }
        let what = format!("{:?}", context.action);
        self.refused.get_or_insert_with(|| what.chars().take(200).collect());
        Authorization::Deny
    }

    fn allows(&mut self, kind: Kind, action: &AuthAction<'_>) -> bool {
        match (kind, action) {
            (Kind::Pragma, AuthAction::Pragma { pragma_name, pragma_value }) => {
                self.allows_pragma(pragma_name, *pragma_value)
            }
            (Kind::Begin, AuthAction::Transaction { operation }) => {
                matches!(operation, TransactionOperation::Begin)
            }
            // SQLite calls a COMMIT so; a ROLLBACK, with which the shell ends the dump of a damaged database, not.
            (Kind::Commit, AuthAction::Transaction { operation }) => {
                matches!(operation, TransactionOperation::Unknown)
            }
            (Kind::Create, AuthAction::CreateTable { table_name }) => {
                self.subject = Some(table_name.to_ascii_lowercase());
                self.make(table_name) && self.made.insert(table_name.to_ascii_lowercase())
            }
            (Kind::Create, AuthAction::CreateView { view_name }) => self.make(view_name),
            (Kind::Create, AuthAction::CreateIndex { table_name, .. }) => {
                self.subject = Some(table_name.to_ascii_lowercase());
                true
            }
            (Kind::Create, AuthAction::CreateTrigger { .. }) => true,
            (Kind::Create, AuthAction::Reindex { .. }) => true,
            // How SQLite itself keeps its schema.
            (Kind::Create, AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. }) => {
                is_schema(table_name)
            }
            (Kind::Insert, AuthAction::Insert { table_name }) => {
                let table = table_name.to_ascii_lowercase();
                is_schema(&table) || is_internal(&table) || self.is_ours(&table)
            }
            (Kind::Analyze, AuthAction::Delete { table_name }) => is_internal(table_name),
            (Kind::Delete, AuthAction::Delete { table_name }) => self.empty(table_name).is_ok(),
            (Kind::Update, AuthAction::Update { table_name, column_name }) => {
                is_schema(table_name) && ["name", "tbl_name", "sql"].contains(column_name)
            }
            (Kind::Analyze, AuthAction::Analyze { table_name }) => is_schema(table_name),
            // It makes the tables that it finds missing.
            (Kind::Analyze, AuthAction::CreateTable { table_name }) => is_internal(table_name),
            (Kind::Analyze, AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. }) => {
                is_schema(table_name)
            }
            (Kind::Analyze, AuthAction::Read { .. } | AuthAction::Select) => true,
            (Kind::Analyze, AuthAction::Function { function_name }) => *function_name == "count",
            // What a row is made of: generated columns, DEFAULT, and indexes on expressions.
            (Kind::Create | Kind::Insert | Kind::Delete | Kind::Update, AuthAction::Read { .. }) => true,
            (
                Kind::Create | Kind::Insert | Kind::Update | Kind::Delete,
                AuthAction::Function { function_name },
            ) => {
                self.calls = true;
                !["load_extension", "fts3_tokenizer"].contains(function_name)
            }
            _ => false,
        }
    }

    /// Whether a table or view of that name may be made.
    fn make(&self, name: &str) -> bool {
        !self.named.contains(&name.to_ascii_lowercase())
    }

    fn allows_pragma(&self, name: &str, value: Option<&str>) -> bool {
        let value = value.unwrap_or_default().to_ascii_lowercase();
        let one_of = |list: &[&str]| list.contains(&value.as_str());
        let on = one_of(&["on", "1", "yes", "true"]);
        let off = one_of(&["off", "0", "no", "false"]);
        match name.to_ascii_lowercase().as_str() {
            "page_size" | "encoding" | "auto_vacuum" => self.phase == Phase::Before,
            "user_version" | "application_id" => true,
            // CHECK would run the dump's own expressions, and rows that break one were in the original.
            "ignore_check_constraints" => on,
            // RESET has SQLite read the schema that the dump has written: not once it names virtual tables.
            "writable_schema" => on || off || (one_of(&["reset"]) && self.named.is_empty()),
            "foreign_keys" => off,
            "journal_mode" => self.phase == Phase::After && one_of(&["wal", "delete"]),
            _ => false,
        }
    }
}

/// A text, however it is encoded: good enough for names and keywords.
fn plain_text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone().into_owned()),
        Value::Raw(bytes) => {
            let bytes: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => None,
    }
}

fn contains(sql: &str, word: &str) -> bool {
    sql.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether a statement begins with CREATE VIRTUAL.
fn makes_virtual_table(sql: &str) -> bool {
    let rest = after_comments(sql.trim_start_matches('\u{feff}'));
    let begins =
        |text: &str, word: &str| text.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
    begins(rest, "CREATE") && begins(after_comments(&rest[6..]), "VIRTUAL")
}

/// Whether a table is the schema itself.
pub fn is_schema(table: &str) -> bool {
    ["sqlite_schema", "sqlite_master"].iter().any(|name| table.eq_ignore_ascii_case(name))
}

/// Tables that SQLite keeps beside the schema; the name in lower case.
fn is_internal(table: &str) -> bool {
    ["sqlite_sequence", "sqlite_stat1", "sqlite_stat2", "sqlite_stat3", "sqlite_stat4"].contains(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_known_by_its_first_word() {
        for (sql, expected) in [
            ("", Some(Kind::Nothing)),
            (" -- a\n /* b */ ;", Some(Kind::Nothing)),
            ("/* a */ -- b\nbegin;", Some(Kind::Begin)),
            ("END", Some(Kind::Commit)),
            ("INSERT INTO t", Some(Kind::Insert)),
            ("/**/create", Some(Kind::Create)),
            ("ROLLBACK;", None),
            ("SELECT 1", None),
            ("EXPLAIN PRAGMA x", None),
            (".read x", None),
            ("\u{feff}BEGIN", None),
            ("(SELECT 1)", None),
            ("REPLACE INTO t VALUES(1)", None),
        ] {
            assert_eq!(kind(sql).ok(), expected, "{sql}");
        }
    }

    #[test]
    fn a_dump_is_pragmas_one_transaction_pragmas() {
        use Kind::{Analyze, Begin, Commit, Create, Insert, Nothing, Pragma};
        for (kinds, good) in [
            (&[Pragma, Nothing, Begin, Create, Insert, Pragma, Commit, Pragma][..], true),
            (&[Create], false),
            (&[Commit], false),
            (&[Begin, Begin], false),
            (&[Begin, Commit, Begin], false),
            (&[Begin, Commit, Insert], false),
            (&[Begin, Commit, Analyze], false),
        ] {
            let mut rules = Rules::default();
            let all = kinds.iter().all(|kind| {
                let admitted = rules.admit(*kind).is_ok();
                rules.done("", 1);
                admitted
            });
            assert_eq!(all, good, "{kinds:?}");
            assert!(!good || rules.is_complete());
        }
    }

    #[test]
    fn what_is_only_named_in_the_schema_is_never_made() {
        let head = |table: &str, columns: &[&str]| Head {
            bytes: 0,
            table: table.to_owned(),
            columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
        };
        let schema = head("SQLite_Master", &["type", "name", "tbl_name", "rootpage", "sql"]);
        let text = |text: &str| Value::Text(text.to_owned().into());
        let row = |root: i64| {
            Values::Known(vec![text("table"), text("V"), text("Other"), Value::Integer(root), text("x")])
        };
        let mut rules = Rules::default();
        assert!(
            rules.row(&schema, &row(3)).is_err()
                && rules.row(&schema, &Values::Asked(vec![Err("1e5")])).is_err()
        );
        assert!(rules.row(&head("sqlite_schema", &["sql"]), &row(0)).is_err());
        assert!(rules.make("v") && rules.make("other"));
        rules.row(&schema, &row(0)).unwrap();
        assert!(!rules.make("v") && !rules.make("OTHER") && rules.make("t"));
        assert!(rules.row(&head("v", &["a"]), &row(0)).is_err());
    }
}
