//! The first bytes of a database file (<https://www.sqlite.org/fileformat2.html>, section 1.3). Pure.

/// What every SQLite file that is not empty starts with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Whether a file that starts with these bytes is a SQLite database; 16 bytes are enough.
pub fn is_database_header(first: &[u8]) -> bool {
    first.starts_with(MAGIC)
}

/// Whether the file asks for WAL mode: its write version is 2. Needs 19 bytes.
pub fn asks_for_wal(first: &[u8]) -> bool {
    is_database_header(first) && first.get(18) == Some(&2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_recognised() {
        assert!(is_database_header(b"SQLite format 3\0more"));
        assert!(!is_database_header(b"SQLite format 3"));
        assert!(!is_database_header(b""));
        assert!(!asks_for_wal(b"SQLite format 3\0"));
        assert!(asks_for_wal(b"SQLite format 3\0\x10\x00\x02\x02"));
        assert!(!asks_for_wal(b"SQLite format 3\0\x10\x00\x01\x01"));
    }
}
