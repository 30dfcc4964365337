//! Records with what of them lies on overflow pages (<https://www.sqlite.org/fileformat2.html>, section 1.6). A chain
//! ends where it should or the record is incomplete; each of its pages belongs to one record, so none goes around in
//! circles, and memory grows only with what is really there.

use std::io;

use super::btree::{self, Cell};
use super::walk::{Forest, owner};

const LEADS_ON: &str = "its last overflow page leads on";

/// How a record came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// All of it is there.
    Yes,
    /// All of it is there, and something about it is wrong.
    Doubtful(&'static str),
    /// The end is missing.
    Cut,
}

impl Forest<'_> {
    /// The record of a cell, put into `out`; with `claim` its overflow pages become its own, unless the chain is
    /// broken: it may have run into another record's, which still needs them.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn payload(&mut self, cell: &Cell, page: &[u8], out: &mut Vec<u8>, claim: bool) -> io::Result<Whole> {
        out.clear();
        out.shrink_to(1 << 20); // a huge record must not keep its memory
        out.extend_from_slice(&page[cell.at..cell.at + cell.local]);
        let mut claimed = Vec::new();
        let whole = self.chain(cell, out, claim.then_some(&mut claimed))?;
        if matches!(whole, Whole::Cut | Whole::Doubtful(LEADS_ON)) {
            for page in claimed {
                self.claim(page, owner::NOBODY);
            }
        }
        Ok(whole)
    }

    /// Follows the overflow pages; those that become the record's own are noted.
    fn chain(
        &mut self,
        cell: &Cell,
        out: &mut Vec<u8>,
        mut claimed: Option<&mut Vec<u32>>,
    ) -> io::Result<Whole> {
        let mut left = cell.payload - cell.local as u64;
        let mut next = cell.overflow;
        let mut steps = 0;
        let mut buffer = Vec::new();
        let mut doubt = None;
        let mut before_is_zero = ends_in_zeros(out);
        while left > 0 {
            steps += 1;
            let is_free = self.owner(next) == owner::NOBODY;
            let is_mine = claimed.is_none() && self.owner(next) == owner::OVERFLOW;
            if !(is_free || is_mine) || steps > self.pages.count || !self.pages.read(next, &mut buffer)? {
                return Ok(Whole::Cut);
            }
            let more = usize::try_from(left).unwrap_or(usize::MAX).min(self.pages.usable - 4);
            let follows = btree::four(&buffer, 0).unwrap_or(0);
            left -= more as u64;
            if left > 0 && follows == 0 {
                return Ok(Whole::Cut);
            }
            out.extend_from_slice(&buffer[4..4 + more]);
            if let Some(claimed) = &mut claimed {
                claimed.push(next);
                self.claim(next, owner::OVERFLOW);
            }
            if left == 0 && follows != 0 {
                doubt = Some(LEADS_ON);
            } else if self.pages.is_cut(next) {
                doubt = Some("the file ends in its last overflow page");
            } else if !before_is_zero && buffer.iter().all(|byte| *byte == 0) {
                // Zeros go on where there were some; they don't begin with a page.
                doubt = Some("its last overflow page is all zero");
            }
            before_is_zero = ends_in_zeros(out);
            next = follows;
        }
        Ok(doubt.map_or(Whole::Yes, Whole::Doubtful))
    }
}

fn ends_in_zeros(bytes: &[u8]) -> bool {
    bytes.iter().rev().take(16).all(|byte| *byte == 0)
}
