//! An image's pages into the open write transaction of a live database, through the `sqlite_dbpage` table.
//!
//! Pages are compared one by one, so memory is flat and only what differs is written. Page 1 is written last
//! and in one statement with the cut: it carries the new schema cookie, on which every later statement would
//! read a schema anew, and a cut only counts when nothing is written after it. SQLite's own journal makes
//! all of it one step: until the commit everybody sees what was there before.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, params};

use super::image_file::ImageFile;
use super::{page_one, patiently};
use crate::base::interrupt;

/// How many bytes are written before SQLite's cache gives them to the file, so that it stays small even when
/// somebody reads in rollback-journal mode and keeps it from doing so by itself.
const FLUSH_BYTES: usize = 4 << 20;

/// How many bytes are told of at once.
const STEP: usize = 1 << 20;

const SELECT: &str = "SELECT data FROM sqlite_dbpage('main')";
const INSERT: &str = "INSERT INTO sqlite_dbpage(pgno, data) VALUES(?1, ?2)";
const INSERT_AND_CUT: &str = "INSERT INTO sqlite_dbpage(pgno, data) VALUES(1, ?1), (?2, NULL)";

/// Writes what differs into the open transaction, and claims the room that it needs. In rollback-journal
/// mode that waits until nobody reads, and from then on nobody can. Returns the number of pages that differ;
/// with 0 nothing was written. The image has the page size of the live database, or no pages.
///
/// # Errors
/// When the image or a page can't be read, a page can't be written, or somebody reads for longer than
/// `patience`.
pub fn write(
    connection: &Connection,
    image: &mut ImageFile,
    live_was_empty: bool,
    patience: Duration,
    on_bytes: &dyn Fn(u64),
) -> Result<u64> {
    let live_pages = page_count(connection)?;
    let page_size = page_size(connection)?;
    let pages = image.pages_written();
    let mut insert = connection.prepare(INSERT)?;
    let mut select = connection.prepare(SELECT)?;
    let mut live = select.query([])?;
    let (mut live_first, mut image_first) = (Vec::new(), Vec::new());
    let mut page = vec![0; page_size];
    let mut last = 1; // the number of the page that `page` holds
    let (mut changed, mut unflushed, mut untold) = (u64::from(live_pages.saturating_sub(pages)), 0, 0);
    for number in 1..=pages {
        let there = match live.next()? {
            Some(row) => Some(row.get_ref(0)?.as_blob()?),
            None => None,
        };
        if number == 1 {
            live_first = there.context("it has no page 1")?.to_vec();
            image.read(&mut page, &live_first)?;
            image_first = page.clone();
        } else {
            image.read(&mut page, &live_first)?;
            if number != page_one::lock_page(page_size) {
                last = number;
                // Beyond its end a file can hold remains of what it was cut off.
                if there != Some(page.as_slice()) {
                    insert.execute(params![number, page])?;
                    changed += 1;
                    unflushed += page_size;
                }
            }
        }
        if unflushed >= FLUSH_BYTES {
            flush(connection, patience)?;
            unflushed = 0;
        }
        untold += page_size;
        if untold >= STEP || number == pages {
            interrupt::check()?;
            on_bytes(untold as u64);
            untold = 0;
        }
    }
    drop(live);
    if changed == 0 && page_one::is_same(&live_first, &image_first) {
        return Ok(0);
    }
    if unflushed == 0 && last != 1 {
        // Page 1 alone stays in the cache until the commit. Any other page, as it is, makes SQLite take now
        // the lock which it needs then.
        insert.execute(params![last, page])?;
    }
    if page_one::is_auto_vacuum(&live_first) {
        // Else the commit would move pages about as the *old* page 1 asks for.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let first = page_one::merged(&live_first, &image_first, pages, live_was_empty);
    if live_pages > pages {
        connection.prepare(INSERT_AND_CUT)?.execute(params![first, pages + 1])?;
    } else {
        insert.execute(params![1, first])?;
    }
    flush(connection, patience)?;
    Ok(changed + 1)
}

/// Whether the live database holds the pages of an image, as the connection's read transaction sees it.
///
/// # Errors
/// When the image or a page can't be read.
pub fn is_equal(connection: &Connection, image: &mut ImageFile) -> Result<bool> {
    let live_pages = page_count(connection)?;
    if live_pages == 0 {
        return Ok(image.pages == 0);
    }
    let page_size = page_size(connection)?;
    if live_pages != image.pages_written() || image.page_size.is_some_and(|size| size != page_size) {
        return Ok(false);
    }
    let mut select = connection.prepare(SELECT)?;
    let mut live = select.query([])?;
    let mut page = vec![0; page_size];
    for number in 1..=live_pages {
        let Some(row) = live.next()? else { bail!("page {number} of {live_pages} did not come") };
        let there = row.get_ref(0)?.as_blob()?;
        image.read(&mut page, there)?;
        let equal = match number {
            1 => page_one::is_same(there, &page),
            // Nothing is stored there.
            _ if number == page_one::lock_page(page_size) => true,
            _ => there == page.as_slice(),
        };
        if !equal {
            return Ok(false);
        }
        if number % 256 == 0 {
            interrupt::check()?;
        }
    }
    Ok(true)
}

/// How many pages of the live database differ from those of an image, those included that only one of them has.
/// Page 1 does not count, which every writer changes.
///
/// # Errors
/// As [`is_equal`].
pub fn differing(connection: &Connection, image: &mut ImageFile) -> Result<u64> {
    let (live_pages, page_size) = (page_count(connection)?, page_size(connection)?);
    if image.page_size.is_some_and(|size| size != page_size) {
        return Ok(u64::from(live_pages.max(image.pages)));
    }
    let mut select = connection.prepare(SELECT)?;
    let mut live = select.query([])?;
    let mut page = vec![0; page_size];
    let mut count = u64::from(live_pages.abs_diff(image.pages));
    for number in 1..=live_pages.min(image.pages) {
        let Some(row) = live.next()? else { bail!("page {number} of {live_pages} did not come") };
        let there = row.get_ref(0)?.as_blob()?;
        image.read(&mut page, there)?;
        count += u64::from(number != 1 && there != page.as_slice());
        if number % 256 == 0 {
            interrupt::check()?;
        }
    }
    Ok(count)
}

/// Pages of the database, as the connection's transaction sees it.
///
/// # Errors
/// What SQLite returns.
pub fn page_count(connection: &Connection) -> Result<u32> {
    Ok(connection.pragma_query_value(None, "page_count", |row| row.get(0))?)
}

/// Bytes of a page of the live database.
///
/// # Errors
/// What SQLite returns.
pub fn page_size(connection: &Connection) -> Result<usize> {
    let size: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(size as usize)
}

/// Page 1 of the live database.
///
/// # Errors
/// What SQLite returns; also when some object of the database has taken the name of SQLite's table of pages.
pub fn first_page(connection: &Connection) -> rusqlite::Result<Vec<u8>> {
    connection.query_row("SELECT data FROM sqlite_dbpage('main') WHERE pgno = 1", [], |row| row.get(0))
}

/// Gives what was written to the file: into the log in WAL mode, else into the database itself, with its
/// journal complete before.
fn flush(connection: &Connection, patience: Duration) -> Result<()> {
    patiently(patience, || connection.cache_flush())
}
