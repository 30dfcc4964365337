//! A question about a whole project's data: one query that sees the tables of several databases, all of them
//! private copies that can't be changed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rusqlite::types::ValueRef;

use super::open;
use crate::base::interrupt;
use crate::base::safe_path::SafePath;

/// So many databases SQLite attaches at most.
const ATTACHED_MAX: usize = 10;

/// So many steps of SQLite's machine pass between two looks whether the user asked to stop.
const STEPS: i32 = 100_000;

/// By which name each database goes in a question: its file's, without the ending; its path's, where two files
/// have the same name or SQLite uses the name itself. Never two the same, as SQLite compares names.
pub fn names(paths: &[&SafePath]) -> Vec<String> {
    let stem = |bytes: &[u8]| {
        let whole = String::from_utf8_lossy(bytes).into_owned();
        let short = whole.rsplit_once('.').map(|(stem, _)| stem).filter(|stem| !stem.is_empty());
        short.map(str::to_owned).unwrap_or(whole)
    };
    let short: Vec<String> = paths.iter().map(|path| stem(path.name())).collect();
    let mut taken: BTreeSet<String> = BTreeSet::from(["main".to_owned(), "temp".to_owned()]);
    let mut names = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let same = short.iter().filter(|other| other.eq_ignore_ascii_case(&short[number])).count();
        let whole = String::from_utf8_lossy(path.bytes()).into_owned();
        let mut candidates = vec![stem(path.bytes()), whole.clone()];
        if same == 1 {
            candidates.insert(0, short[number].clone());
        }
        let free = candidates.into_iter().find(|name| !taken.contains(&name.to_ascii_lowercase()));
        // What is left are names that differ in case only, or are not UTF-8.
        let name = free.unwrap_or_else(|| format!("{whole}#{number}"));
        taken.insert(name.to_ascii_lowercase());
        names.push(name);
    }
    names
}

/// Whether the first value of the first row is true, as SQL understands it. The first image is `main`; each
/// also goes by its own name. A table's name alone means the first image that has one.
///
/// # Errors
/// When there is no image, the text is not one query, it fails, or it gives no row.
pub fn is_true(images: &[(String, PathBuf)], sql: &str) -> Result<bool> {
    let meant;
    let images = if images.len() > ATTACHED_MAX {
        meant = those_meant(images, sql)?;
        &meant
    } else {
        images
    };
    let Some(((_, first), _)) = images.split_first() else { bail!("there is no database to ask") };
    let mut connection = open::immutable(first)?;
    for (name, image) in images {
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

/// Those that a question can mean: the text has the database's name in it, or one of its tables'. SQLite does
/// not attach more than ten.
fn those_meant(images: &[(String, PathBuf)], sql: &str) -> Result<Vec<(String, PathBuf)>> {
    let sql = sql.to_ascii_lowercase();
    let mut meant = Vec::new();
    for (name, image) in images {
        let connection = open::immutable(image)?;
        let mut statement = connection.prepare("SELECT lower(name) FROM sqlite_schema")?;
        let tables = statement.query_map([], |row| row.get::<_, String>(0))?;
        // A name that is not UTF-8 stands in no question.
        let mut tables = tables.filter_map(rusqlite::Result::ok);
        if sql.contains(&name.to_ascii_lowercase()) || tables.any(|table| sql.contains(&table)) {
            meant.push((name.clone(), image.clone()));
        }
    }
    if meant.is_empty() {
        meant.extend(images.first().cloned());
    }
    Ok(meant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn every_database_has_a_name_of_its_own() {
        for (paths, expected) in [
            (vec!["memory/index.db", "memory/vectors.db"], vec!["index", "vectors"]),
            (vec!["a/index.db", "b/Index.db", "c.db"], vec!["a/index", "b/Index", "c"]),
            (vec!["main.db", "x/temp.db", "main"], vec!["main.db", "x/temp", "main#2"]),
            (vec!["a", "x/a.db", "x/a.sqlite", ".db"], vec!["a", "x/a", "x/a.sqlite", ".db"]),
        ] {
            let paths: Vec<SafePath> = paths.iter().map(|path| SafePath::new(*path).unwrap()).collect();
            assert_eq!(names(&paths.iter().collect::<Vec<_>>()), expected);
        }
    }

    #[test]
    fn more_databases_than_sqlite_attaches() {
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<(String, PathBuf)> = (0..15)
            .map(|n| {
                let path = folder.path().join(format!("{n}.db"));
                let sql = format!("CREATE TABLE table_{n:02}(v); INSERT INTO table_{n:02} VALUES ({n})");
                Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
                (format!("base-{n:02}"), path)
            })
            .collect();
        let last = "SELECT (SELECT v FROM TABLE_14) = 14 AND (SELECT v FROM \"base-07\".table_07) = 7";
        assert!(is_true(&images, last).unwrap());
        assert!(is_true(&images, "SELECT 1").unwrap());
        let all: Vec<String> = (0..15).map(|n| format!("(SELECT v FROM table_{n:02})")).collect();
        assert!(is_true(&images, &format!("SELECT {}", all.join(" + "))).is_err());
        assert!(is_true(&images[..10], &format!("SELECT {}", all[..10].join(" + "))).unwrap());
    }

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
