//! Pages that belong to no tree by right: free ones, maps of parents, the page of the locks. What free pages still
//! hold was deleted, so they are kept apart; whether their list is whole decides how far a page that nobody claims can
//! be trusted.

use std::io;

use super::btree;
use super::walk::{Forest, owner};

/// What the list of free pages is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeList {
    /// As long as the header says, and without a fault.
    Whole,
    /// Pages that nobody claims may be free ones.
    Damaged,
}

/// Claims maps of parents and the page of the locks.
pub fn claim_maps(forest: &mut Forest<'_>) {
    let lock = forest.pages.lock_page();
    forest.claim(lock, owner::OTHER);
    if forest.pages.facts.auto_vacuum == 0 {
        return;
    }
    let each = forest.pages.usable / 5 + 1;
    for first in (2..=forest.pages.count).step_by(each) {
        let map = if first == lock { first + 1 } else { first };
        forest.claim(map, owner::OTHER);
    }
}

/// Claims the free pages.
///
/// # Errors
/// When the file can't be read.
pub fn claim_free(forest: &mut Forest<'_>) -> io::Result<FreeList> {
    let facts = forest.pages.facts.clone();
    let mut trunk = facts.free_first;
    let mut found = 0_u32;
    let mut whole = !facts.guessed;
    let mut buffer = Vec::new();
    while trunk != 0 {
        if forest.owner(trunk) != owner::NOBODY || !forest.pages.read(trunk, &mut buffer)? {
            whole = false;
            break;
        }
        forest.claim(trunk, owner::FREE);
        found += 1;
        let next = btree::four(&buffer, 0).unwrap_or(0);
        let count = btree::four(&buffer, 4).unwrap_or(0) as usize;
        if count > forest.pages.usable / 4 - 2 {
            whole = false;
            break;
        }
        for i in 0..count {
            let page = btree::four(&buffer, 8 + 4 * i).unwrap_or(0);
            match forest.owner(page) {
                owner::NOBODY => {
                    forest.claim(page, owner::FREE);
                    found += 1;
                }
                _ => whole = false,
            }
        }
        trunk = next;
    }
    if whole && found == facts.free_count { Ok(FreeList::Whole) } else { Ok(FreeList::Damaged) }
}
