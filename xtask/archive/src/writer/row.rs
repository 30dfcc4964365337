//! Whether what gathers in a shared member is just a row of entries of the earlier archive: the same headers, one
//! after the other, and no content that was read anew. Then the bytes between their contents are the same, too.

use crate::header::{Kind, Meta};
use crate::reuse::Reuse;

/// A row of entries.
#[derive(Default)]
pub struct Row {
    /// The number of the earlier entry that has to come next.
    next: Option<usize>,
    is_broken: bool,
}

impl Row {
    /// One more entry.
    pub fn add(&mut self, reuse: Option<&Reuse>, meta: &Meta, kind: &Kind) {
        let Some(archive) = reuse.map(Reuse::archive).filter(|_| !self.is_broken) else { return self.end() };
        let number = self.next.or_else(|| archive.number(&meta.path));
        let earlier = number.and_then(|number| archive.index().entries.get(number));
        match (number, earlier) {
            (Some(number), Some(entry)) if entry.meta == *meta && entry.kind == *kind => {
                self.next = Some(number + 1);
            }
            _ => self.end(),
        }
    }

    /// Something else comes in between.
    pub fn end(&mut self) {
        self.is_broken = true;
    }

    /// This row; a new one begins.
    pub fn take(&mut self) -> Row {
        std::mem::take(self)
    }

    /// Whether all of it was a row.
    pub fn is_unbroken(&self) -> bool {
        !self.is_broken && self.next.is_some()
    }
}
