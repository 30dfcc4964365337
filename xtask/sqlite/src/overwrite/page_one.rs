//! The rules of page 1, which holds the header (<https://www.sqlite.org/fileformat2.html>, section 1.3) and
//! the beginning of the schema. Pure.
//!
//! What belongs to the live file stays: its journal mode, and its change counter, which SQLite counts on.
//! The schema cookie becomes one that neither history has had: a connection that knows a schema under either
//! cookie reads it again, though two histories can have used the same cookie for different schemas.

use std::ops::Range;

/// The header of a database, in bytes.
pub const HEADER: usize = 100;

/// Write and read version: 2 in WAL mode.
const JOURNAL_MODE: Range<usize> = 18..20;
/// Change counter, and the size in pages, which is only valid when the two counters agree.
const COUNTER_AND_SIZE: Range<usize> = 24..32;
const SIZE: Range<usize> = 28..32;
const COOKIE: Range<usize> = 40..44;
const LARGEST_ROOT: Range<usize> = 52..56;
const ENCODING: Range<usize> = 56..60;
/// The counter for which the size is valid, and the version of SQLite that wrote last.
const VALID_FOR: Range<usize> = 92..100;

/// The page size in bytes that a header names; `None` when it is no header.
pub fn page_size(header: &[u8]) -> Option<usize> {
    if header.len() < HEADER || !crate::header::is_database_header(header) {
        return None;
    }
    let size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => usize::from(size),
    };
    (size.is_power_of_two() && size >= 512).then_some(size)
}

/// The page that holds the bytes at 1 GiB, on which SQLite takes its locks and stores nothing.
pub fn lock_page(page_size: usize) -> u32 {
    (0x4000_0000 / page_size) as u32 + 1
}

/// Whether text in one is not stored as text in the other is. A database without a table has not decided.
pub fn encodings_differ(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (number(a, ENCODING), number(b, ENCODING));
    a != 0 && b != 0 && a != b
}

/// Whether it is made so that pages can be moved to its end (`auto_vacuum`).
pub fn is_auto_vacuum(page: &[u8]) -> bool {
    number(page, LARGEST_ROOT) != 0
}

/// Whether it says that the database is in WAL mode.
pub fn is_wal(page: &[u8]) -> bool {
    page.get(18) == Some(&2)
}

/// The schema cookie.
pub fn cookie(page: &[u8]) -> u32 {
    number(page, COOKIE)
}

/// A cookie that is neither of the two, and later than both but where the count starts anew.
pub fn next_cookie(a: u32, b: u32) -> u32 {
    let mut next = a.max(b).wrapping_add(1);
    // A connection that has read nothing yet may take 0 for what it knows.
    while next == 0 || next == a || next == b {
        next = next.wrapping_add(1);
    }
    next
}

/// Whether two first pages differ in counters, journal mode and the schema cookie at most. Sizes in pages
/// are compared by who knows them.
pub fn is_same(a: &[u8], b: &[u8]) -> bool {
    let blank = |page: &[u8]| {
        let mut page = page.to_vec();
        for range in [JOURNAL_MODE, COUNTER_AND_SIZE, COOKIE, VALID_FOR] {
            page[range].fill(0);
        }
        page
    };
    a.len() == b.len() && blank(a) == blank(b)
}

/// The first page that makes a live file hold an image of so many pages. A file that was empty has no
/// journal mode to keep.
pub fn merged(live: &[u8], image: &[u8], pages: u32, live_was_empty: bool) -> Vec<u8> {
    let mut page = image.to_vec();
    if !live_was_empty {
        page[JOURNAL_MODE].copy_from_slice(&live[JOURNAL_MODE]);
    }
    page[COUNTER_AND_SIZE].copy_from_slice(&live[COUNTER_AND_SIZE]);
    page[VALID_FOR].copy_from_slice(&live[VALID_FOR]);
    page[SIZE].copy_from_slice(&pages.to_be_bytes());
    page[COOKIE].copy_from_slice(&next_cookie(cookie(live), cookie(image)).to_be_bytes());
    page
}

/// The only page of a database with nothing in it, like one that SQLite makes.
pub fn empty(live: &[u8]) -> Vec<u8> {
    let mut page = vec![0; live.len()];
    page[..24].copy_from_slice(&live[..24]); // magic, page size, journal mode, reserved bytes
    page[SIZE].copy_from_slice(&1_u32.to_be_bytes());
    page[HEADER] = 0x0d; // a leaf of a table, without cells
    let usable = live.len() - usize::from(live[20]);
    // 65536 is stored as 0.
    page[HEADER + 5..HEADER + 7].copy_from_slice(&(usable as u16).to_be_bytes());
    page
}

/// A big-endian number; 0 where the page is too short to hold it.
fn number(page: &[u8], range: Range<usize>) -> u32 {
    page.get(range).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_never_one_that_was() {
        for (a, b, wanted) in [
            (1, 1, 2),
            (1, 9, 10),
            (9, 1, 10),
            (0, 0, 1),
            (u32::MAX, 3, 1),
            (u32::MAX, 1, 2),
            (u32::MAX - 1, u32::MAX, 1),
        ] {
            assert_eq!(next_cookie(a, b), wanted, "{a} {b}");
        }
    }

    #[test]
    fn counters_do_not_make_a_difference_and_everything_else_does() {
        let page: Vec<u8> = (0..512_u32).map(|i| i as u8).collect();
        for at in 0..512 {
            let mut other = page.clone();
            other[at] ^= 1;
            let counter = matches!(at, 18 | 19 | 24..=31 | 40..=43 | 92..=99);
            assert_eq!(is_same(&page, &other), counter, "byte {at}");
        }
    }

    #[test]
    fn a_merged_page_is_the_image_with_what_belongs_to_the_live_file() {
        let live = vec![1_u8; 512];
        let image = vec![2_u8; 512];
        let page = merged(&live, &image, 7, false);
        assert!(is_same(&page, &image) && !is_same(&page, &live));
        assert_eq!((&page[18..20], &page[24..28], &page[92..100]), (&live[..2], &live[..4], &live[..8]));
        assert_eq!((&page[28..32], cookie(&page)), (&[0, 0, 0, 7][..], 0x0202_0203));
        assert_eq!(merged(&live, &image, 7, true)[18..20], image[..2]);
    }

    #[test]
    fn a_page_size_is_read_as_sqlite_does() {
        let mut header = b"SQLite format 3\0".to_vec();
        header.resize(100, 0);
        for (bytes, size) in [
            ([2, 0], Some(512)),
            ([16, 0], Some(4096)),
            ([0, 1], Some(65536)),
            ([1, 0], None),
            ([0, 0], None),
            ([16, 1], None),
        ] {
            header[16..18].copy_from_slice(&bytes);
            assert_eq!(page_size(&header), size);
        }
        assert_eq!(page_size(&header[..99]), None);
        assert_eq!((lock_page(4096), lock_page(65536), lock_page(512)), (262_145, 16_385, 2_097_153));
    }
}
