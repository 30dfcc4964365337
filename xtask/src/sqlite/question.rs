//! A question about a whole project's data: one query that sees the tables of several databases, all of them
//! private copies that can't be changed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rusqlite::types::ValueRef;

use super::open;
use crate::base::interrupt;

/// So many steps of SQLite's machine pass between two looks whether the user asked to stop.
const STEPS: i32 = 100_000;

/// Whether the first value of the first row is true, as SQL understands it. The first image is `main`; each
/// also goes by its own name. A table's name alone means the first image that has one.
///
/// # Errors
/// When there is no image, the text is not one query, it fails, or it gives no row.
pub fn is_true(images: &[(String, PathBuf)], sql: &str) -> Result<bool> {
    let Some(((_, first), others)) = images.split_first() else { bail!("there is no database to ask") };
    let mut connection = open::immutable(first)?;
    for (name, image) in others {
        let uri = open::immutable_uri(&std::path::absolute(image)?)?;
        connection
            .execute("ATTACH ?1 AS ?2", [uri.as_str(), name.as_str()])
            .with_context(|| format!("can't ask the database {name}"))?;
    }
    connection.progress_handler(STEPS, Some(|| interrupt::check().is_err()))?;
    let attempt = || -> rusqlite::Result<Option<bool>> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(match row.get_ref(0)? {
            ValueRef::Integer(value) => value != 0,
            ValueRef::Real(value) => value != 0.0,
            ValueRef::Text(_) | ValueRef::Blob(_) | ValueRef::Null => false,
        }))
    };
    let answer = attempt();
    interrupt::check()?;
    match answer.with_context(|| format!("can't ask {sql:?}"))? {
        Some(answer) => Ok(answer),
        None => bail!("{sql:?} gave no row"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn a_question_sees_all_databases_and_changes_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut images = Vec::new();
        for (name, sql) in
            [("a", "CREATE TABLE x(v); INSERT INTO x VALUES (1), (2)"), ("b-c", "CREATE TABLE y(v)")]
        {
            let path = folder.path().join(format!("{name}.db"));
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            images.push((name.to_owned(), path));
        }
        for (sql, expected) in [
            ("SELECT count(*) FROM x", Some(true)),
            ("SELECT count(*) FROM y", Some(false)),
            ("SELECT 1 FROM \"b-c\".y UNION ALL SELECT 0", Some(false)),
            ("SELECT 'true'", Some(false)),
            ("SELECT 0.5", Some(true)),
            ("SELECT v FROM y", None),
            ("SELECT", None),
            ("DELETE FROM x RETURNING 1", None),
            ("SELECT 1; SELECT 2", None),
            ("ATTACH 'z.db' AS z", None),
        ] {
            assert_eq!(is_true(&images, sql).ok(), expected, "{sql}");
        }
        assert!(is_true(&[], "SELECT 1").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
