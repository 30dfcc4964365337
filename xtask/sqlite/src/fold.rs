//! A private copy of a database with what lay beside it: made one file, as the next program that opens it
//! would see it.

use std::path::Path;

use anyhow::{Context, Result};

use super::open;
use crate::base::durable;

/// Takes what a write-ahead log or a hot journal beside a private copy holds into the copy, and removes both.
///
/// # Errors
/// When it can't be opened, or is damaged where it is read.
pub fn fold(image: &Path) -> Result<()> {
    let attempt = || -> Result<()> {
        let connection = open::open_live(image)?;
        // A hot journal is played back by the first read, a log by the checkpoint.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        anyhow::ensure!(busy == 0, "another program has it open");
        Ok(())
    };
    attempt().with_context(|| format!("can't read {} with what lies beside it", image.display()))?;
    for side in ["-wal", "-shm", "-journal"] {
        let mut path = image.as_os_str().to_owned();
        path.push(side);
        durable::remove_file(Path::new(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use std::fs;

    #[test]
    fn a_log_beside_a_copy_becomes_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (live, copy) = (folder.path().join("live.db"), folder.path().join("copy.db"));
        let writer = Connection::open(&live).unwrap();
        writer.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(7)").unwrap();
        fs::copy(&live, &copy).unwrap();
        fs::copy(folder.path().join("live.db-wal"), folder.path().join("copy.db-wal")).unwrap();
        fold(&copy).unwrap();
        let read = open::immutable(&copy).unwrap();
        assert_eq!(read.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
        assert!(!folder.path().join("copy.db-wal").exists() && !folder.path().join("copy.db-shm").exists());
    }
}
