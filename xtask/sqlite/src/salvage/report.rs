//! What was read, what is doubtful and what is lost: the facts, for people and scripts to be shown.

use anyhow::Result;
use serde::Serialize;

use super::book::{Book, List};
use super::holes::{self, Range};
use super::shape::TableShape;
use super::target::Target;
use crate::base::interrupt;
use crate::catalog::quoted;

/// So many ranges of each sort are told.
const RANGES_MAX: usize = 1000;
/// So many rowids are asked for at once.
const CHUNK: usize = 1000;

/// Rows of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// Rows that were read from sound pages, or that a backup confirms.
    pub read: u64,
    /// Rows in the table that are doubtful.
    pub doubtful: u64,
    /// Records that have no place in the table; they are in `lost_and_found`.
    pub aside: u64,
    /// Rows that come from the backup.
    pub from_backup: u64,
    /// Rows that existed and are not in the table, as far as an index or a page tells.
    pub lost: u64,
    /// Rows that may be lost, these included; `None` where nothing tells how many. Rowids below 1 are reckoned with
    /// only where the table has some.
    pub lost_at_most: Option<u64>,
    /// The doubtful rows, by rowid: from, to. Empty where there are no rowids.
    pub doubtful_rowids: Vec<Range>,
    /// Why they are, and how many for each reason.
    pub doubts: Vec<Doubt>,
    /// The rows that are known to be lost.
    pub lost_rowids: Vec<Range>,
    /// Rowids that may have been lost; an end that is not known is `null`.
    pub maybe_lost_rowids: Vec<(Option<i64>, Option<i64>)>,
    /// The rows that come from the backup.
    pub backup_rowids: Vec<Range>,
    /// Whether there were too many ranges to tell all of them.
    pub shortened: bool,
    /// Whether it is a full-text index's own and was built anew from the rows; nothing of it counts as lost then.
    pub built_anew: bool,
    /// Pages of the table that are damaged, as far as they are known.
    pub damaged_pages: Vec<u32>,
}

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// What it is.
    pub why: String,
    /// How many rows.
    pub rows: u64,
}

impl TableReport {
    /// Whether all of the table was there.
    pub fn is_whole(&self) -> bool {
        self.doubtful == 0
            && self.aside == 0
            && self.from_backup == 0
            && self.lost == 0
            && self.lost_at_most == Some(0)
            && self.damaged_pages.is_empty()
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every table with rows of its own, in the order in which they were made.
    pub tables: Vec<TableReport>,
    /// Records of which nothing tells the table; they are in `lost_and_found`.
    pub unallotted: u64,
    /// The table of what has no place elsewhere; absent when there is nothing.
    pub lost_and_found: Option<String>,
    /// What is damaged or lost beside rows, each a sentence.
    pub problems: Vec<String>,
    /// What was done about it, each a sentence.
    pub notes: Vec<String>,
    /// Pages of the database.
    pub pages: u32,
    /// Bytes of a page.
    pub page_size: usize,
}

impl Report {
    /// Whether nothing was lost and nothing is doubtful.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.unallotted == 0 && self.tables.iter().all(TableReport::is_whole)
    }

    /// Rows in all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.read + table.doubtful + table.from_backup).sum()
    }
}

/// What is reported of a table that the new database has.
pub struct Told<'a> {
    /// Its number in the book.
    pub table: usize,
    /// Its name.
    pub name: &'a str,
    /// How it is made.
    pub shape: &'a TableShape,
    /// Records put aside.
    pub aside: u64,
    /// Rowids that may be missing.
    pub open: Vec<Range>,
    /// Whether rows may be missing of which nobody knows how many.
    pub is_unbounded: bool,
    /// Its damaged pages.
    pub damaged: Vec<u32>,
}

/// Counts and lists.
///
/// # Errors
/// When something can't be read, or the user asked to stop.
pub fn table(target: &Target, book: &Book, told: Told<'_>) -> Result<TableReport> {
    let Told { table, name, shape, aside, open, is_unbounded, damaged } = told;
    let sql = format!("SELECT count(*) FROM {} NOT INDEXED", quoted(name));
    let rows = target.connection.query_row(&sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    let mut report = TableReport { table: name.to_owned(), aside, ..TableReport::default() };
    report.doubtful = book.count(List::Doubt, table)?;
    report.from_backup = book.count(List::Filled, table)?;
    report.read = rows.saturating_sub(report.doubtful + report.from_backup);
    report.lost = book.count(List::Lost, table)?;
    let maybe = book.count(List::Maybe, table)?;
    report.damaged_pages = damaged;
    report.damaged_pages.sort_unstable();
    report.damaged_pages.dedup();
    let mut statement = book.connection.prepare(
        "SELECT why, count(*) FROM doubt WHERE tbl = ?1 GROUP BY why ORDER BY count(*) DESC LIMIT 20",
    )?;
    let doubts = statement.query_map([table as i64], |row| {
        Ok(Doubt { why: row.get(0)?, rows: row.get::<_, i64>(1)?.unsigned_abs() })
    })?;
    report.doubts = doubts.collect::<rusqlite::Result<_>>()?;
    report.lost_at_most = if is_unbounded { None } else { Some(report.lost + maybe) };
    let Some(rowid) = shape.rowid.as_deref().filter(|_| shape.key.is_none()) else { return Ok(report) };
    let from = format!("FROM {} NOT INDEXED WHERE {rowid} BETWEEN ?1 AND ?2", quoted(name));
    let mut between = target.connection.prepare(&format!("SELECT EXISTS (SELECT 1 {from})"))?;
    let mut shortened = false;
    let mut ranges = |list| -> Result<Vec<Range>> {
        let mut ranges: Vec<Range> = Vec::new();
        let mut next = i64::MIN;
        loop {
            interrupt::check()?;
            let chunk = book.rowids(list, table, next, CHUNK)?;
            for rowid in &chunk {
                if let Some(last) = ranges.last_mut() {
                    // One range as long as no other row lies between.
                    let joins = last.1.checked_add(1) == Some(*rowid)
                        || !between.query_row([last.1 + 1, rowid - 1], |row| row.get::<_, bool>(0))?;
                    if joins {
                        last.1 = *rowid;
                        continue;
                    }
                }
                if ranges.len() == RANGES_MAX {
                    shortened = true;
                    return Ok(ranges);
                }
                ranges.push((*rowid, *rowid));
            }
            match chunk.last().and_then(|last| last.checked_add(1)) {
                Some(after) if chunk.len() == CHUNK => next = after,
                _ => return Ok(ranges),
            }
        }
    };
    report.doubtful_rowids = ranges(List::Doubt)?;
    report.lost_rowids = ranges(List::Lost)?;
    report.backup_rowids = ranges(List::Filled)?;
    let mut count = target.connection.prepare(&format!("SELECT count(*) {from}"))?;
    let mut most = Some(u128::from(report.lost + maybe));
    let named = ranges(List::Maybe)?;
    report.maybe_lost_rowids = named.iter().map(|(low, high)| (Some(*low), Some(*high))).collect();
    let mut lost_inside =
        book.connection.prepare("SELECT count(*) FROM lost WHERE tbl = ?1 AND key BETWEEN ?2 AND ?3")?;
    // What the backup filled is missing no more.
    let open = if shortened { open } else { holes::without(open, report.backup_rowids.clone()) };
    for (low, high) in open {
        let there = count.query_row([low, high], |row| row.get::<_, i64>(0))?;
        let known = lost_inside.query_row([table as i64, low, high], |row| row.get::<_, i64>(0))?;
        let more = holes::length((low, high)).saturating_sub(u128::from((there + known).unsigned_abs()));
        if more == 0 {
            continue;
        }
        let end = |at: i64| (at != i64::MIN && at != i64::MAX).then_some(at);
        if end(low).is_none() || end(high).is_none() {
            most = None;
        }
        most = most.map(|most| most + more);
        if report.maybe_lost_rowids.len() < RANGES_MAX {
            report.maybe_lost_rowids.push((end(low), end(high)));
        } else {
            shortened = true;
        }
    }
    report.lost_at_most = if is_unbounded { None } else { most.and_then(|most| u64::try_from(most).ok()) };
    report.shortened = shortened;
    Ok(report)
}
