//! Rows from their pages into the new database: first those of sound pages, so that what is certain comes before what
//! contradicts it, then those of damaged ones, which are doubtful.

use anyhow::Result;
use rusqlite::types::ValueRef;

use super::book::{Aside, Book, Key};
use super::btree::{Cell, Kind};
use super::holes::Range;
use super::payload::Whole;
use super::record;
use super::shape::TableShape;
use super::target::{Inserted, Inserter, Target};
use super::walk::{Forest, Leaf};
use crate::base::interrupt;
use crate::base::monitor::Monitor;

/// What came of one table.
#[derive(Clone, Debug, Default)]
pub struct Came {
    /// Rows in the table.
    pub rows: u64,
    /// Rows that were put aside.
    pub aside: u64,
    /// First and last rowid of sound pages, where the table misses rows.
    pub spans: Vec<Range>,
    /// The smallest rowid seen on a sound page.
    pub smallest: Option<i64>,
}

/// Moves the rows of a table.
pub struct Mover<'a, 't> {
    /// The table's tree.
    pub tree: usize,
    /// Its name.
    pub name: &'a str,
    /// How it is made.
    pub shape: &'a TableShape,
    /// Where rows go.
    pub inserter: Inserter<'t>,
    /// Where everything else goes.
    pub book: &'a Book,
    /// What came of it.
    pub came: Came,
}

impl<'a, 't> Mover<'a, 't> {
    /// For a table that the new database has.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn new(
        target: &'t Target,
        book: &'a Book,
        tree: usize,
        name: &'a str,
        shape: &'a TableShape,
    ) -> Result<Mover<'a, 't>> {
        let inserter = Inserter::new(target, name, shape)?;
        Ok(Mover { tree, name, shape, inserter, book, came: Came::default() })
    }

    /// Moves all of them.
    ///
    /// # Errors
    /// When something can't be read or written, or the user asked to stop.
    pub fn run(mut self, forest: &mut Forest<'_>, monitor: &dyn Monitor) -> Result<Came> {
        let leaves = forest.trees[self.tree].leaves.clone();
        let wants_spans = !forest.trees[self.tree].holes.is_empty();
        let (mut page, mut bytes) = (Vec::new(), Vec::new());
        for wanted in [true, false] {
            for leaf in leaves.iter().filter(|leaf| leaf.sound == wanted) {
                interrupt::check()?;
                self.leaf(forest, leaf, &mut page, &mut bytes, wants_spans)?;
                monitor.advance(forest.pages.size as u64);
            }
        }
        Ok(self.came)
    }

    fn leaf(
        &mut self,
        forest: &mut Forest<'_>,
        leaf: &Leaf,
        buffer: &mut Vec<u8>,
        bytes: &mut Vec<u8>,
        wants_spans: bool,
    ) -> Result<()> {
        let kind = if self.shape.key.is_none() { Some(Kind::TableLeaf) } else { None };
        let found = match forest.page(leaf.page, kind, buffer)? {
            None => forest.page(leaf.page, Some(Kind::IndexLeaf), buffer)?,
            some => some,
        };
        let Some(page) = found else { return Ok(()) };
        if let (Some(first), Some(last)) = (page.cells.first(), page.cells.last())
            && leaf.sound
            && kind.is_some()
        {
            if wants_spans {
                self.came.spans.push((first.rowid, last.rowid));
            }
            let smallest = self.came.smallest.get_or_insert(first.rowid);
            *smallest = first.rowid.min(*smallest);
        }
        for cell in &page.cells {
            let mut whole = forest.payload(cell, buffer, bytes, true)?;
            if (whole == Whole::Cut || record::decode(bytes).is_none()) && !leaf.sound {
                // Its length may be all that is wrong: what is in it tells the length, too.
                let rest = &buffer[cell.at..forest.pages.usable];
                let own = record::length(rest).filter(|length| *length > 1 && *length <= rest.len());
                if let Some(length) = own {
                    bytes.clear();
                    bytes.extend_from_slice(&rest[..length]);
                    whole = Whole::Yes;
                }
            }
            self.cell(leaf, cell, bytes, whole)?;
        }
        Ok(())
    }

    fn cell(&mut self, leaf: &Leaf, cell: &Cell, bytes: &[u8], whole: Whole) -> Result<()> {
        let is_keyed = self.shape.key.is_some();
        let rowid = (!is_keyed).then_some(cell.rowid);
        let decoded = record::decode(bytes).filter(|_| whole != Whole::Cut);
        let Some(values) = decoded else {
            // On a sound page the row existed; on another one nothing is certain.
            if leaf.sound || !is_garbage(bytes) {
                self.aside(rowid, leaf.page, "a part of it is missing", bytes)?;
                if leaf.sound {
                    self.note_lost(rowid, bytes)?;
                }
            }
            return Ok(());
        };
        let layout = &self.shape.layout;
        let misfit = layout.misfit(&values);
        let outside = rowid.is_some_and(|rowid| rowid < leaf.low || rowid > leaf.high);
        if !leaf.sound && (misfit.is_some() || outside) {
            let why = misfit.unwrap_or("its rowid is none of its page");
            return self.aside(rowid, leaf.page, why, bytes);
        }
        if values.len() > layout.fields.len() {
            return self.aside(rowid, leaf.page, "it has more values than the table has columns", bytes);
        }
        let mut why = match (leaf.sound, whole) {
            (false, _) => Some("its page is damaged"),
            (true, Whole::Doubtful(why)) => Some(why),
            (true, _) => misfit.or_else(|| layout.doubt(&values)),
        };
        match self.inserter.insert(cell.rowid, &values)? {
            Inserted::Yes => {}
            Inserted::AgainstCheck => why = why.or(Some("it breaks a CHECK rule")),
            Inserted::No(rule) => return self.aside(rowid, leaf.page, &rule, bytes),
        }
        self.came.rows += 1;
        if let Some(why) = why {
            match (&self.shape.key, rowid) {
                (Some(key), _) => {
                    let key: Vec<ValueRef<'_>> =
                        key.iter().map(|at| values.get(*at).copied().unwrap_or(ValueRef::Null)).collect();
                    self.book.doubt(self.tree, Key::Primary(&record::encode(&key)), why)?;
                }
                (None, rowid) => self.book.doubt(self.tree, Key::Rowid(rowid.unwrap_or(0)), why)?,
            }
        }
        Ok(())
    }

    /// A row that existed and of which a part is missing.
    fn note_lost(&mut self, rowid: Option<i64>, bytes: &[u8]) -> Result<()> {
        if let Some(rowid) = rowid {
            return self.book.lost(self.tree, Key::Rowid(rowid));
        }
        let values = record::decode_cut(bytes).unwrap_or_default();
        let key = self.shape.key.iter().flatten();
        let key: Vec<ValueRef<'_>> =
            key.map(|at| values.get(*at).copied().unwrap_or(ValueRef::Null)).collect();
        self.book.lost(self.tree, Key::Primary(&record::encode(&key)))
    }

    fn aside(&mut self, rowid: Option<i64>, page: u32, why: &str, record: &[u8]) -> Result<()> {
        self.came.aside += 1;
        self.book.aside(&Aside { table: Some(self.name), rowid, page, why, record })
    }
}

/// Whether not even the beginning can be read as a record.
fn is_garbage(bytes: &[u8]) -> bool {
    record::decode_cut(bytes).is_none_or(|values| values.iter().all(|value| *value == ValueRef::Null))
}

/// Puts all records of pages aside that could be allotted to no table.
///
/// # Errors
/// When something can't be read or written, or the user asked to stop.
pub fn put_aside(forest: &mut Forest<'_>, book: &Book, pages: &[u32]) -> Result<u64> {
    let (mut buffer, mut bytes, mut count) = (Vec::new(), Vec::new(), 0);
    for number in pages {
        interrupt::check()?;
        let Some(page) = forest.page(*number, Some(Kind::TableLeaf), &mut buffer)? else { continue };
        for cell in &page.cells {
            let whole = forest.payload(cell, &buffer, &mut bytes, true)?;
            let why = match whole {
                Whole::Cut => "nothing tells of which table it is, and a part of it is missing",
                _ => "nothing tells of which table it is",
            };
            let rowid = Some(cell.rowid);
            book.aside(&Aside { table: None, rowid, page: *number, why, record: &bytes })?;
            count += 1;
        }
    }
    Ok(count)
}
