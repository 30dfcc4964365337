//! Copies a pinned database page by page, as its read transaction sees it. The copy is byte for byte the
//! main file that a checkpoint would leave, so pages that did not change since the last backup are
//! recognised by their bytes. Unlike the backup API it leaves the header as it is.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::pin::Pinned;
use crate::base::failure::ResultExt;
use crate::base::{durable, file_facts, interrupt};

/// Bytes per write.
const BLOCK: usize = 1 << 20;

impl Pinned {
    /// Writes the image to a new file that only its owner can read, and tells how many bytes each step
    /// wrote. On failure the file is removed.
    ///
    /// # Errors
    /// When a page can't be read, or the file can't be written.
    pub fn copy_image(&self, to: &Path, on_bytes: &dyn Fn(u64)) -> Result<()> {
        copy_image(self.connection(), to, on_bytes, || self.still_unchanged())
            .with_context(|| format!("can't copy the database {} to {}", self.path(), to.display()))
    }
}

/// Writes what a connection's read transaction sees to a new file, which is removed unless `still_good`
/// says at the end that it is.
///
/// # Errors
/// When a page can't be read, or the file can't be written.
pub(super) fn copy_image(
    connection: &Connection,
    to: &Path,
    on_bytes: &dyn Fn(u64),
    still_good: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut file = file_facts::create_private_file(to)?;
    let copied = copy_pages(connection, &mut file, on_bytes).and_then(|()| still_good());
    if copied.is_err() {
        drop(file);
        // The error that led here is the one worth telling; whoever made the folder clears it.
        let _ = durable::remove_file(to);
    }
    copied
}

fn copy_pages(connection: &Connection, file: &mut File, on_bytes: &dyn Fn(u64)) -> Result<()> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page_size: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let page_size = page_size as usize;
    let mut statement = connection.prepare("SELECT pgno, data FROM sqlite_dbpage('main')").hint(
        "build it from inside the repository (cargo xtask …): .cargo/config.toml switches sqlite_dbpage on",
    )?;
    let mut rows = statement.query([])?;
    let mut block = Vec::with_capacity(BLOCK + page_size);
    let mut expected = 0;
    while let Some(row) = rows.next()? {
        expected += 1;
        let number: i64 = row.get(0)?;
        match row.get_ref(1)? {
            ValueRef::Blob(page) if number == expected && page.len() == page_size => {
                block.extend_from_slice(page);
            }
            _ => bail!("page {expected} of {pages} did not come as a whole page in its turn"),
        }
        if block.len() >= BLOCK {
            interrupt::check()?;
            file.write_all(&block)?;
            on_bytes(block.len() as u64);
            block.clear();
        }
    }
    if expected != pages {
        bail!("{expected} pages came, and the database has {pages}");
    }
    file.write_all(&block)?;
    on_bytes(block.len() as u64);
    Ok(())
}
