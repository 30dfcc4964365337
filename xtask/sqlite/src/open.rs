//! Opening databases. A live one: read-write, never created, never waiting, never checkpointed when it is
//! closed. A private copy, so that reading it leaves no trace: immutable, so SQLite takes no locks, looks for
//! no side files and creates none, even when the copy asks for WAL mode.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Opens a copy that nobody writes to.
///
/// # Errors
/// When there is no such file or SQLite can't open it. Damage shows only when it is read.
pub fn immutable(image: &Path) -> Result<Connection> {
    let absolute = std::path::absolute(image)?;
    let attempt = || -> Result<Connection> {
        if !std::fs::metadata(&absolute)?.is_file() {
            bail!("it is not a file");
        }
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(immutable_uri(&absolute)?, flags)?;
        harden(&connection)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    };
    attempt().with_context(|| format!("can't open the database {}", image.display()))
}

/// Opens a copy to read its rows, also those of tables that are keyed by a collation which only the
/// application has: SQLite does not even begin with such a table while it can't compare. A stand-in with
/// that name is there for this connection, and compares bytes. It is good for reading from one end to the
/// other, which compares nothing; never for looking up, and never for a check of the order.
///
/// # Errors
/// As [`immutable`].
pub fn immutable_for_rows(image: &Path) -> Result<Connection> {
    let connection = immutable(image)?;
    if schema_fault(&connection)?.is_some() {
        be_lenient(&connection)?; // whoever asks for a table that can't be had learns it there
    }
    for name in super::catalog::foreign_collations(&connection).unwrap_or_default() {
        connection.create_collation(name.as_str(), |a: &str, b: &str| a.cmp(b))?;
    }
    Ok(connection)
}

/// Why the schema can't be read as a whole, if it can't: one line of it that SQLite does not understand keeps
/// it from all tables.
///
/// # Errors
/// What SQLite returns, but for damage.
pub fn schema_fault(connection: &Connection) -> rusqlite::Result<Option<String>> {
    match connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())) {
        Ok(()) => Ok(None),
        Err(error) if code_of(&error) == Some(ErrorCode::DatabaseCorrupt) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Has SQLite pass over what it does not understand in a schema, for a connection that only reads. That is a
/// side of `writable_schema`, so writing is forbidden beside it.
///
/// # Errors
/// What SQLite returns.
pub fn be_lenient(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA query_only=ON")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.execute_batch("PRAGMA writable_schema=ON")
}

/// Opens a live database to read it: read-write, since only so can the sidecars of WAL mode be shared.
/// SQLite itself falls back to read-only where the file does not allow more.
///
/// # Errors
/// When there is no such file, or it can't be opened. Nothing is created.
pub fn open_live(file: &Path) -> rusqlite::Result<Connection> {
    // An absolute path: one that starts with `file:` would be taken for a URI.
    let absolute = std::path::absolute(file).map_err(|_| rusqlite::Error::InvalidPath(file.to_path_buf()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(absolute, flags)?;
    harden(&connection)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// Nothing that stands in a schema may do more than read and compute.
///
/// # Errors
/// When SQLite does not know one of the switches.
pub fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// `file:/…?immutable=1` of an absolute path.
///
/// # Errors
/// On Windows, when the path is not Unicode.
pub fn immutable_uri(absolute: &Path) -> Result<String> {
    let bytes = crate::base::os_name::from_os(absolute.as_os_str())?;
    let mut uri = "file://".to_owned();
    if !bytes.starts_with(b"/") {
        uri.push('/'); // C:/… on Windows
    }
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' | b':' => {
                uri.push(char::from(byte));
            }
            _ => write!(uri, "%{byte:02X}")?,
        }
    }
    uri.push_str("?immutable=1");
    Ok(uri)
}

/// The code of an SQLite error, where it is one.
pub fn code_of(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

/// Whether the error says that the file is no database or a damaged one.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(code_of(error), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether the error says that somebody else holds a lock.
pub fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        code_of(error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a b.db", "50%.db", "a?mode=rw.db", "a#b.db", "ü&'\".db", "%41.db"] {
            let path = folder.path().join(name);
            let made = Connection::open(&path).unwrap();
            made.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(7)")
                .unwrap();
            drop(made);
            let read = immutable(&path).unwrap();
            let a: i64 = read.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(a, 7, "{name}");
        }
        // No sidecars, and nothing else was created.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6);
        assert!(immutable(&folder.path().join("absent.db")).is_err());
    }
}
