//! Which page belongs to which tree.
//!
//! First every tree is walked from its root through sound pages alone, and each page belongs to the first that leads
//! to it with keys that fit: a page is visited once, so no loop and no page that two trees claim can make it endless
//! or invent rows. What a damaged page leads to is only a hint, which counts when nothing sound claims the page.

use anyhow::Result;
use std::io;

use super::btree::{self, Kind, Page};
use super::layout::Layout;
use super::pages::Pages;
use super::record;
use crate::base::interrupt;

/// Pages that belong to no tree.
pub mod owner {
    /// Nobody has claimed it.
    pub const NOBODY: u32 = 0;
    /// In the list of free pages.
    pub const FREE: u32 = u32::MAX;
    /// A map of parents, or the page of the locks.
    pub const OTHER: u32 = u32::MAX - 1;
    /// A part of a long record.
    pub const OVERFLOW: u32 = u32::MAX - 2;
}

/// A page with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its number.
    pub page: u32,
    /// All its rowids are at least this.
    pub low: i64,
    /// All its rowids are at most this.
    pub high: i64,
    /// Whether every byte of it adds up.
    pub sound: bool,
}

/// Rowids of which nothing sound tells whether they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first one.
    pub low: i64,
    /// The last one.
    pub high: i64,
    /// The damaged page; 0 when it is not known.
    pub page: u32,
}

/// One b-tree.
#[derive(Debug, Default)]
pub struct Tree {
    /// Where it begins.
    pub root: u32,
    /// Whether it has rowids.
    pub is_table: bool,
    /// What its records look like.
    pub layout: Layout,
    /// Its pages with rows, in the order in which they were found.
    pub leaves: Vec<Leaf>,
    /// What is missing.
    pub holes: Vec<Hole>,
    /// Pages of it that are damaged, as far as they are known.
    pub damaged: Vec<u32>,
}

/// A page that something damaged leads to.
#[derive(Clone, Copy)]
struct Hint {
    tree: usize,
    page: u32,
    low: i64,
    high: i64,
    /// What is missing if it is not taken.
    or_hole: bool,
}

/// All trees and who has which page.
pub struct Forest<'a> {
    /// The pages.
    pub pages: &'a Pages,
    /// The number of the tree that has a page, plus one, or one of [`owner`].
    pub owners: Vec<u32>,
    /// The trees.
    pub trees: Vec<Tree>,
    hints: Vec<Hint>,
    buffer: Vec<u8>,
}

/// A page yet to be looked at.
struct Visit {
    page: u32,
    low: i64,
    high: i64,
    from: u32,
}

impl<'a> Forest<'a> {
    /// Nothing is claimed yet.
    pub fn new(pages: &'a Pages) -> Forest<'a> {
        Forest {
            pages,
            owners: vec![owner::NOBODY; pages.count as usize + 1],
            trees: Vec::new(),
            hints: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Who has a page; [`owner::OTHER`] when there is no such page.
    pub fn owner(&self, page: u32) -> u32 {
        match page {
            0 => owner::OTHER,
            page => self.owners.get(page as usize).copied().unwrap_or(owner::OTHER),
        }
    }

    /// Gives a page to somebody.
    pub fn claim(&mut self, page: u32, by: u32) {
        if let Some(owner) = self.owners.get_mut(page as usize) {
            *owner = by;
        }
    }

    /// A page as one of a b-tree, with its content in `buffer`.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn page(&self, number: u32, kind: Option<Kind>, buffer: &mut Vec<u8>) -> io::Result<Option<Page>> {
        if !self.pages.read(number, buffer)? {
            return Ok(None);
        }
        let is_first = number == 1;
        let mut page = match kind {
            Some(kind) => Some(btree::parse_as(buffer, self.pages.usable, is_first, kind)),
            None => btree::parse(buffer, self.pages.usable, is_first),
        };
        if let Some(page) = page.as_mut().filter(|_| self.pages.is_cut(number)) {
            page.fault.get_or_insert("the file ends in it");
        }
        Ok(page)
    }

    /// Adds a tree and walks it from its root.
    ///
    /// # Errors
    /// When the file can't be read, or the user asked to stop.
    pub fn plant(&mut self, tree: Tree) -> Result<usize> {
        let (number, root) = (self.trees.len(), tree.root);
        self.trees.push(tree);
        self.walk(number, Visit { page: root, low: i64::MIN, high: i64::MAX, from: 0 })?;
        Ok(number)
    }

    /// Walks down from a page that belongs to a tree for a reason of its own.
    ///
    /// # Errors
    /// When the file can't be read, or the user asked to stop.
    pub fn graft(&mut self, tree: usize, page: u32, low: i64, high: i64) -> Result<()> {
        self.walk(tree, Visit { page, low, high, from: 0 })
    }

    /// Takes the pages that damaged ones lead to, where nothing sound has claimed them.
    ///
    /// # Errors
    /// When the file can't be read, or the user asked to stop.
    pub fn follow_hints(&mut self) -> Result<()> {
        // What is found that way can lead on.
        while !self.hints.is_empty() {
            for hint in std::mem::take(&mut self.hints) {
                if self.owner(hint.page) == owner::NOBODY && self.suits(hint.tree, hint.page)? {
                    let Hint { page, low, high, .. } = hint;
                    self.walk(hint.tree, Visit { page, low, high, from: 0 })?;
                } else if hint.or_hole {
                    self.trees[hint.tree].holes.push(Hole {
                        low: hint.low,
                        high: hint.high,
                        page: hint.page,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether what a page holds can belong to a tree.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn suits(&mut self, tree: usize, number: u32) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let page = self.page(number, None, &mut buffer)?;
        let tree = &self.trees[tree];
        let fits = |cell: &&btree::Cell| {
            record::decode(&buffer[cell.at..cell.at + cell.local])
                .is_some_and(|values| tree.layout.misfit(&values).is_none())
        };
        let suits = page.is_some_and(|page| {
            if page.kind.is_table() != tree.is_table {
                return false;
            }
            let sample: Vec<&btree::Cell> =
                page.cells.iter().filter(|cell| cell.overflow == 0).take(16).collect();
            let good = sample.iter().filter(|cell| fits(cell)).count();
            // Of a damaged page not every cell can be good.
            page.kind == Kind::TableInterior
                || good == sample.len()
                || (page.fault.is_some() && 2 * good >= sample.len())
        });
        self.buffer = buffer;
        Ok(suits)
    }

    fn walk(&mut self, number: usize, start: Visit) -> Result<()> {
        let mut waiting = vec![start];
        let mut count = 0_u32;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(visit) = waiting.pop() {
            count += 1;
            if count.is_multiple_of(1024) {
                interrupt::check()?;
            }
            if self.owner(visit.page) != owner::NOBODY {
                // It leads into another tree, around in a circle, or to nowhere.
                self.miss(number, &visit);
                continue;
            }
            let found = self.page(visit.page, None, &mut buffer)?;
            let is_table = self.trees[number].is_table;
            match found {
                Some(page) if page.kind.is_table() != is_table => self.miss(number, &visit),
                Some(page) if page.kind == Kind::TableInterior => {
                    self.table_interior(number, &visit, &page, &mut waiting);
                }
                Some(page) if page.kind == Kind::TableLeaf => self.table_leaf(number, &visit, &page, &buffer),
                Some(page) => self.index(number, &visit, &page, &buffer, &mut waiting),
                None => self.strange(number, &visit, &mut buffer)?,
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    /// A page that can't be had where one should be; whoever leads there may be what is wrong.
    fn miss(&mut self, number: usize, visit: &Visit) {
        let tree = &mut self.trees[number];
        tree.holes.push(Hole { low: visit.low, high: visit.high, page: visit.page });
        let wrong = if visit.from == 0 { visit.page } else { visit.from };
        if tree.damaged.last() != Some(&wrong) {
            tree.damaged.push(wrong);
        }
    }

    fn table_interior(&mut self, number: usize, visit: &Visit, page: &Page, waiting: &mut Vec<Visit>) {
        let keys = || page.cells.iter().map(|cell| cell.rowid);
        let ascending = keys().zip(keys().skip(1)).all(|(a, b)| a < b);
        let inside = keys().all(|key| key >= visit.low && key <= visit.high);
        if page.fault.is_none() && ascending && !inside && visit.from != 0 {
            // Its parent or itself is wrong about the keys.
            self.hints.push(Hint {
                tree: number,
                page: visit.page,
                low: i64::MIN,
                high: i64::MAX,
                or_hole: true,
            });
            self.trees[number].damaged.push(visit.from);
            return;
        }
        self.claim(visit.page, number as u32 + 1);
        let children: Vec<u32> = page.cells.iter().map(|cell| cell.child).chain([page.right]).collect();
        if page.fault.is_some() || !ascending || !inside {
            let tree = &mut self.trees[number];
            tree.damaged.push(visit.page);
            tree.holes.push(Hole { low: visit.low, high: visit.high, page: visit.page });
            let hint = |page| Hint { tree: number, page, low: visit.low, high: visit.high, or_hole: false };
            self.hints.extend(children.into_iter().map(hint));
            return;
        }
        let mut low = visit.low;
        let mut visits = Vec::with_capacity(children.len());
        for (child, high) in children.into_iter().zip(keys().chain([visit.high])) {
            visits.push(Visit { page: child, low, high, from: visit.page });
            low = high.saturating_add(1);
        }
        waiting.extend(visits.into_iter().rev());
    }

    fn table_leaf(&mut self, number: usize, visit: &Visit, page: &Page, buffer: &[u8]) {
        let keys = || page.cells.iter().map(|cell| cell.rowid);
        let sound = page.fault.is_none()
            && keys().zip(keys().skip(1)).all(|(a, b)| a < b)
            && page.cells.iter().all(|cell| adds_up(cell, buffer));
        let inside = keys().all(|key| key >= visit.low && key <= visit.high);
        if sound && !inside && visit.from != 0 {
            self.hints.push(Hint {
                tree: number,
                page: visit.page,
                low: i64::MIN,
                high: i64::MAX,
                or_hole: true,
            });
            self.trees[number].damaged.push(visit.from);
            return;
        }
        self.claim(visit.page, number as u32 + 1);
        let tree = &mut self.trees[number];
        tree.leaves.push(Leaf { page: visit.page, low: visit.low, high: visit.high, sound });
        if !sound {
            tree.damaged.push(visit.page);
            tree.holes.push(Hole { low: visit.low, high: visit.high, page: visit.page });
        }
    }

    fn index(&mut self, number: usize, visit: &Visit, page: &Page, buffer: &[u8], waiting: &mut Vec<Visit>) {
        let layout = &self.trees[number].layout;
        // Pages of indexes look alike: what is none of this one is told by its records.
        let is_alien = |cell: &btree::Cell| {
            let bytes = &buffer[cell.at..cell.at + cell.local];
            cell.overflow == 0
                && record::decode(bytes).is_some_and(|values| {
                    values.len() > layout.fields.len()
                        || (layout.is_exact && values.len() != layout.fields.len())
                })
        };
        if page.fault.is_none() && visit.from != 0 && page.cells.iter().any(is_alien) {
            self.miss(number, visit);
            return;
        }
        let sound = page.fault.is_none() && page.cells.iter().all(|cell| adds_up(cell, buffer));
        self.claim(visit.page, number as u32 + 1);
        let tree = &mut self.trees[number];
        tree.leaves.push(Leaf { page: visit.page, low: visit.low, high: visit.high, sound });
        if !sound {
            tree.damaged.push(visit.page);
            tree.holes.push(Hole { low: visit.low, high: visit.high, page: visit.page });
        }
        if !page.kind.is_interior() {
            return;
        }
        for child in page.cells.iter().map(|cell| cell.child).chain([page.right]) {
            if sound {
                waiting.push(Visit { page: child, low: visit.low, high: visit.high, from: visit.page });
            } else {
                let (low, high) = (visit.low, visit.high);
                self.hints.push(Hint { tree: number, page: child, low, high, or_hole: false });
            }
        }
    }

    /// A page that says of itself that it is none of a b-tree: perhaps only that is damaged.
    fn strange(&mut self, number: usize, visit: &Visit, buffer: &mut Vec<u8>) -> Result<()> {
        let tree = &mut self.trees[number];
        tree.holes.push(Hole { low: visit.low, high: visit.high, page: visit.page });
        tree.damaged.push(visit.page);
        let tree = &self.trees[number];
        let kind = if tree.is_table { Kind::TableLeaf } else { Kind::IndexLeaf };
        let Some(page) = self.page(visit.page, Some(kind), buffer)? else { return Ok(()) };
        let bytes = &buffer;
        let fits = |cell: &btree::Cell| {
            let inside = !tree.is_table || (cell.rowid >= visit.low && cell.rowid <= visit.high);
            inside
                && cell.overflow == 0
                && record::decode(&bytes[cell.at..cell.at + cell.local])
                    .is_some_and(|values| !values.is_empty() && tree.layout.misfit(&values).is_none())
        };
        let good = page.cells.iter().filter(|cell| fits(cell)).count();
        // Most of what is there must be what should be there.
        if good > 0 && 2 * good >= page.cells.len() {
            self.claim(visit.page, number as u32 + 1);
            let tree = &mut self.trees[number];
            let Visit { page, low, high, .. } = *visit;
            tree.leaves.push(Leaf { page, low, high, sound: false });
            return Ok(());
        }
        // Or it led to others.
        let kind = if tree.is_table { Kind::TableInterior } else { Kind::IndexInterior };
        let Some(page) = self.page(visit.page, Some(kind), buffer)? else { return Ok(()) };
        let Visit { low, high, .. } = *visit;
        if !page.cells.is_empty() {
            let children = page.cells.iter().map(|cell| cell.child).chain([page.right]);
            self.hints.extend(children.map(|page| Hint { tree: number, page, low, high, or_hole: false }));
        }
        Ok(())
    }
}

fn adds_up(cell: &btree::Cell, buffer: &[u8]) -> bool {
    record::adds_up(&buffer[cell.at..cell.at + cell.local], cell.payload) != Some(false)
}
