//! Pages that hold rows and that nothing leads to any more: what was below a damaged page. Each is allotted to the one
//! table that misses rows there and whose columns its records fit; where several do, the map of parents decides, if
//! the database has one. What can't be allotted is kept apart, and no guess is made.

use anyhow::Result;

use super::btree::{Cell, Kind, Page};
use super::free::FreeList;
use super::record;
use super::walk::{Forest, owner};
use crate::base::interrupt;

/// So many times a page is held against a tree: more than any damage needs, and less than a hostile file wants.
const BUDGET: u64 = 50_000_000;

/// Pages that could be allotted to no table.
#[derive(Debug, Default)]
pub struct Strays {
    /// Leaves of tables with rowids.
    pub pages: Vec<u32>,
}

/// Goes through all pages that nobody claims.
///
/// # Errors
/// When the file can't be read, or the user asked to stop.
pub fn allot(forest: &mut Forest<'_>, free: FreeList) -> Result<Strays> {
    let mut strays = Strays::default();
    if forest.trees.iter().all(|tree| tree.holes.is_empty()) && free == FreeList::Whole {
        return Ok(strays);
    }
    let tops = tops(forest)?;
    let mut budget = BUDGET;
    let mut buffer = Vec::new();
    for number in tops {
        interrupt::check()?;
        if forest.owner(number) != owner::NOBODY {
            continue;
        }
        let Some(leaf) = first_leaf(forest, number)? else { continue };
        let Some(page) = forest.page(leaf, None, &mut buffer)? else { continue };
        if page.cells.is_empty() {
            continue;
        }
        let trees = forest.trees.len() as u64;
        if budget < trees {
            strays.pages.extend((page.kind == Kind::TableLeaf).then_some(number));
            continue;
        }
        budget -= trees;
        let candidates = candidates(forest, &page, &buffer);
        let mut map = Vec::new();
        let by_map = match forest.pages.parent(number, &mut map)? {
            Some((5, parent)) => candidates.iter().copied().find(|tree| {
                forest.owner(parent) == *tree as u32 + 1 || forest.trees[*tree].damaged.contains(&parent)
            }),
            _ => None,
        };
        let chosen = match (by_map, candidates.as_slice()) {
            (Some(tree), _) => Some(tree),
            (None, [tree]) => Some(*tree),
            _ => None,
        };
        match chosen {
            Some(tree) => {
                let before = forest.trees[tree].leaves.len();
                let spot = forest.trees[tree].holes.iter().find(|hole| is_in(hole, &page)).copied();
                let (low, high) = spot.map_or((i64::MIN, i64::MAX), |hole| (hole.low, hole.high));
                forest.graft(tree, number, low, high)?;
                if free == FreeList::Damaged && by_map.is_none() {
                    // It may be one whose rows were deleted.
                    for leaf in &mut forest.trees[tree].leaves[before..] {
                        leaf.sound = false;
                    }
                }
            }
            None if page.kind == Kind::TableLeaf && free == FreeList::Whole => strays.pages.push(number),
            None => {}
        }
    }
    Ok(strays)
}

fn is_in(hole: &super::walk::Hole, page: &Page) -> bool {
    let rowids = || page.cells.iter().map(|cell| cell.rowid);
    !page.kind.is_table() || rowids().all(|rowid| rowid >= hole.low && rowid <= hole.high)
}

/// The pages that nobody claims and that no other such page leads to.
fn tops(forest: &Forest<'_>) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut below = std::collections::HashSet::new();
    let mut buffer = Vec::new();
    for number in 1..=forest.pages.count {
        if number % 1024 == 0 {
            interrupt::check()?;
        }
        if forest.owner(number) != owner::NOBODY {
            continue;
        }
        let Some(page) = forest.page(number, None, &mut buffer)? else { continue };
        // Only what is sound in itself: anything might look a little like a page.
        if page.fault.is_some() || (page.cells.is_empty() && page.right == 0) {
            continue;
        }
        found.push(number);
        if page.kind.is_interior() {
            below.extend(page.cells.iter().map(|cell| cell.child).chain([page.right]));
        }
    }
    // Interior pages may lead to each other in a circle: then all of them are tops.
    let tops: Vec<u32> = found.iter().copied().filter(|number| !below.contains(number)).collect();
    Ok(if tops.is_empty() { found } else { tops })
}

/// The leftmost leaf below a page.
fn first_leaf(forest: &Forest<'_>, top: u32) -> Result<Option<u32>> {
    let (mut number, mut buffer) = (top, Vec::new());
    // No tree is deeper.
    for _ in 0..20 {
        if forest.owner(number) != owner::NOBODY {
            return Ok(None);
        }
        match forest.page(number, None, &mut buffer)? {
            Some(page) if page.kind == Kind::TableInterior => {
                number = page.cells.first().map_or(page.right, |cell| cell.child);
            }
            Some(_) => return Ok(Some(number)),
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// The trees that miss something there and whose records look like these.
fn candidates(forest: &Forest<'_>, page: &Page, bytes: &[u8]) -> Vec<usize> {
    let sample: Vec<&Cell> = page.cells.iter().filter(|cell| cell.overflow == 0).take(16).collect();
    let trees = forest.trees.iter().enumerate().filter(|(_, tree)| {
        tree.is_table == page.kind.is_table()
            && !tree.layout.fields.is_empty()
            && tree.holes.iter().any(|hole| is_in(hole, page))
            && sample.iter().all(|cell| {
                record::decode(&bytes[cell.at..cell.at + cell.local])
                    .is_some_and(|values| tree.layout.misfit(&values).is_none())
            })
    });
    let mut found: Vec<usize> = trees.map(|(number, _)| number).collect();
    // A table with just as many columns beats one to which columns may have been added later.
    let width =
        |cell: &&Cell| record::decode(&bytes[cell.at..cell.at + cell.local]).map(|values| values.len());
    if let Some(Some(columns)) = sample.first().map(width) {
        let exact = |tree: &usize| forest.trees[*tree].layout.fields.len() == columns;
        if found.iter().any(exact) {
            found.retain(exact);
        }
    }
    found
}
