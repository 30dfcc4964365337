//! The logical hash of one table, value by value: whoever reads its rows in order, `facts` from an image and
//! `dump` while it writes them, comes to the same hash. Type and exact bits of every value count.

use anyhow::Result;
use rusqlite::types::ValueRef;

use crate::base::digest::Hasher;
use crate::base::facts::TableFacts;
use crate::base::interrupt;

/// Bytes given to the hasher at once.
const BLOCK: usize = 1 << 16;

/// Bytes of a large value between two looks whether to stop.
const BLOCKS: usize = 64 * BLOCK;

/// The running hash of one table's rows.
pub struct TableHasher {
    hasher: Hasher,
    block: Vec<u8>,
    rows: u64,
}

impl TableHasher {
    /// No row yet.
    pub fn new() -> TableHasher {
        TableHasher { hasher: Hasher::new(), block: Vec::with_capacity(2 * BLOCK), rows: 0 }
    }

    /// Begins a row, with its rowid where that can be read.
    pub fn row(&mut self, rowid: Option<i64>) {
        self.rows += 1;
        if let Some(rowid) = rowid {
            push_eight(&mut self.block, b'i', &rowid.to_le_bytes());
        }
    }

    /// Adds the next stored value of the row; `is_text` for text that comes as a blob.
    ///
    /// # Errors
    /// When the user stops the run.
    #[inline]
    pub fn value(&mut self, value: ValueRef<'_>, is_text: bool) -> Result<()> {
        if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = value
            && bytes.len() > BLOCK
        {
            let tag = if is_text || matches!(value, ValueRef::Text(_)) { b't' } else { b'b' };
            return self.large(tag, bytes);
        }
        let block = &mut self.block;
        match value {
            ValueRef::Null => block.push(b'n'),
            ValueRef::Integer(value) => push_eight(block, b'i', &value.to_le_bytes()),
            ValueRef::Real(value) => push_eight(block, b'r', &value.to_bits().to_le_bytes()),
            ValueRef::Text(bytes) => push_bytes(block, b't', bytes),
            ValueRef::Blob(bytes) => push_bytes(block, if is_text { b't' } else { b'b' }, bytes),
        }
        if block.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        interrupt::check()?;
        self.hasher.update(&self.block);
        self.block.clear();
        Ok(())
    }

    /// A large value is not copied.
    fn large(&mut self, tag: u8, bytes: &[u8]) -> Result<()> {
        push_eight(&mut self.block, tag, &(bytes.len() as u64).to_le_bytes());
        self.flush()?;
        for piece in bytes.chunks(BLOCKS) {
            interrupt::check()?;
            self.hasher.update(piece);
        }
        Ok(())
    }

    /// What is known of the table after its last row.
    pub fn finish(mut self, table: &str) -> TableFacts {
        self.hasher.update(&self.block);
        TableFacts { name: table.to_owned(), rows: self.rows, logical: self.hasher.finish() }
    }
}

fn push_eight(block: &mut Vec<u8>, tag: u8, bytes: &[u8; 8]) {
    block.push(tag);
    block.extend_from_slice(bytes);
}

/// Appends bytes with their length before them, so that no two rows run into each other.
pub fn push_bytes(block: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    push_eight(block, tag, &(bytes.len() as u64).to_le_bytes());
    block.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash is that of all values one after the other, whatever their sizes.
    #[test]
    fn large_values_are_hashed_as_small_ones_are() {
        let bytes: Vec<u8> =
            (0..3 * BLOCK as u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let sizes = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 7];
        let (mut hasher, mut plain) = (TableHasher::new(), Vec::new());
        for (row, size) in sizes.into_iter().enumerate() {
            hasher.row(Some(row as i64));
            push_eight(&mut plain, b'i', &(row as i64).to_le_bytes());
            for (value, is_text, tag) in [
                (ValueRef::Text(&bytes[..size]), false, b't'),
                (ValueRef::Blob(&bytes[..size]), false, b'b'),
                (ValueRef::Blob(&bytes[..size]), true, b't'),
            ] {
                hasher.value(value, is_text).unwrap();
                push_bytes(&mut plain, tag, &bytes[..size]);
            }
        }
        let facts = hasher.finish("t");
        assert_eq!((facts.rows, facts.logical), (7, crate::base::digest::Digest::of(&plain)));
    }
}
