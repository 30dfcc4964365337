//! Pages of b-trees (<https://www.sqlite.org/fileformat2.html>, section 1.6). Pure, and safe with any bytes.
//!
//! A page is sound only when every byte of it is accounted for, as SQLite's own check demands: cells, free blocks
//! and fragments add up and don't overlap. Of a page that is not, the cells that can be read are given all the same;
//! whoever uses them knows that they are doubtful.

use super::record::varint;

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows of a table.
    TableLeaf,
    /// Leads to other pages of a table, by rowid.
    TableInterior,
    /// Entries of an index, or rows of a table WITHOUT ROWID.
    IndexLeaf,
    /// The same, and leads to other pages.
    IndexInterior,
}

impl Kind {
    /// By the first byte of a page.
    pub fn of(byte: u8) -> Option<Kind> {
        Some(match byte {
            2 => Kind::IndexInterior,
            5 => Kind::TableInterior,
            10 => Kind::IndexLeaf,
            13 => Kind::TableLeaf,
            _ => return None,
        })
    }

    /// Whether it leads to other pages.
    pub fn is_interior(self) -> bool {
        matches!(self, Kind::TableInterior | Kind::IndexInterior)
    }

    /// Whether it belongs to a table with rowids.
    pub fn is_table(self) -> bool {
        matches!(self, Kind::TableLeaf | Kind::TableInterior)
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The page to its left; 0 on leaves.
    pub child: u32,
    /// The rowid; 0 in indexes.
    pub rowid: i64,
    /// How long its record is, in bytes; 0 where it has none.
    pub payload: u64,
    /// Where the part of the record that is on this page begins.
    pub at: usize,
    /// How many bytes of the record are on this page.
    pub local: usize,
    /// The first overflow page; 0 without one.
    pub overflow: u32,
}

/// A page, understood.
#[derive(Clone, Debug)]
pub struct Page {
    /// What it is.
    pub kind: Kind,
    /// Its cells in their order, as far as they can be read.
    pub cells: Vec<Cell>,
    /// The rightmost child of an interior page; 0 on leaves.
    pub right: u32,
    /// What is wrong with it, if anything.
    pub fault: Option<&'static str>,
}

/// A page of the kind that its first byte says; `None` when that is none. `is_first` for page 1, which begins with
/// the header of the database.
pub fn parse(bytes: &[u8], usable: usize, is_first: bool) -> Option<Page> {
    let kind = Kind::of(*bytes.get(if is_first { 100 } else { 0 })?)?;
    Some(parse_as(bytes, usable, is_first, kind))
}

/// The same for a page whose kind is known from elsewhere.
pub fn parse_as(bytes: &[u8], usable: usize, is_first: bool, kind: Kind) -> Page {
    let start = if is_first { 100 } else { 0 };
    let mut page = Page { kind, cells: Vec::new(), right: 0, fault: None };
    let usable = usable.min(bytes.len());
    let size = if kind.is_interior() { 12 } else { 8 };
    if start + size > usable {
        page.fault = Some("it is too short");
        return page;
    }
    if Kind::of(bytes[start]) != Some(kind) {
        page.fault = Some("its first byte is not that of such a page");
    }
    let two = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let first_free = two(start + 1);
    let count = two(start + 3);
    let content = match two(start + 5) {
        0 => 65536,
        other => other,
    };
    let fragments = usize::from(bytes[start + 7]);
    if kind.is_interior() {
        page.right = four(bytes, start + 8).unwrap_or(0);
    }
    let pointers = start + size;
    let pointers_end = pointers + 2 * count;
    if pointers_end > usable || content < pointers_end || content > usable {
        page.fault.get_or_insert("its header does not fit its size");
    }
    // What lies where: cells and free blocks.
    let mut taken: Vec<(usize, usize)> = Vec::with_capacity(count);
    for i in 0..count {
        let place = pointers + 2 * i;
        if place + 2 > usable {
            break;
        }
        let mut at = two(place);
        if at + 4 > usable {
            page.fault.get_or_insert("a cell points outside of it");
            at &= bytes.len() - 1; // only bits that a page of this size has no use for
        }
        // Even with a damaged header nothing begins among the pointers.
        let cell = (at >= pointers && at + 4 <= usable).then(|| cell(bytes, usable, at, kind)).flatten();
        match cell {
            Some((cell, length)) => {
                if at < content {
                    page.fault.get_or_insert("a cell lies where none can be");
                }
                taken.push((at, length));
                page.cells.push(cell);
            }
            None => {
                page.fault.get_or_insert("a cell points outside of it");
            }
        }
    }
    if page.fault.is_none() {
        page.fault = space_fault(bytes, usable, content, first_free, fragments, &mut taken);
    }
    page
}

/// Whether cells, free blocks and fragments make up all of the content area.
fn space_fault(
    bytes: &[u8],
    usable: usize,
    content: usize,
    first_free: usize,
    fragments: usize,
    taken: &mut Vec<(usize, usize)>,
) -> Option<&'static str> {
    let mut free = first_free;
    while free != 0 {
        if free < content || free + 4 > usable {
            return Some("a free block points outside of it");
        }
        let next = usize::from(u16::from_be_bytes([bytes[free], bytes[free + 1]]));
        let length = usize::from(u16::from_be_bytes([bytes[free + 2], bytes[free + 3]]));
        if length < 4 || free + length > usable || (next != 0 && next < free + length) {
            return Some("its free blocks are broken");
        }
        taken.push((free, length));
        free = next;
    }
    taken.sort_unstable();
    let (mut end, mut gaps) = (content, 0);
    for (at, length) in taken.iter() {
        if *at < end {
            return Some("two of its cells overlap");
        }
        gaps += at - end;
        end = at + length;
    }
    (gaps + (usable - end) != fragments).then_some("its space does not add up")
}

/// A cell and how many bytes of the page it takes; `None` when it leads outside.
fn cell(bytes: &[u8], usable: usize, start: usize, kind: Kind) -> Option<(Cell, usize)> {
    let mut at = start;
    let mut child = 0;
    if kind.is_interior() {
        child = four(bytes, at)?;
        at += 4;
    }
    let page = bytes.get(..usable)?;
    if kind == Kind::TableInterior {
        let (key, used) = varint(page.get(at..)?)?;
        let cell = Cell { child, rowid: key as i64, payload: 0, at: at + used, local: 0, overflow: 0 };
        return Some((cell, at + used - start));
    }
    let (payload, used) = varint(page.get(at..)?)?;
    at += used;
    let mut rowid = 0;
    if kind == Kind::TableLeaf {
        let (key, used) = varint(page.get(at..)?)?;
        rowid = key as i64;
        at += used;
    }
    let local = local_bytes(payload, usable, kind)?;
    let mut end = at.checked_add(local)?;
    let mut overflow = 0;
    if local as u64 != payload {
        overflow = four(page, end)?;
        end += 4;
    }
    if end > usable {
        return None;
    }
    Some((Cell { child, rowid, payload, at, local, overflow }, (end - start).max(4)))
}

/// How much of a record stays on its page; `None` when no record is that long.
fn local_bytes(payload: u64, usable: usize, kind: Kind) -> Option<usize> {
    let max = if kind == Kind::TableLeaf { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
    if payload <= max as u64 {
        return usize::try_from(payload).ok();
    }
    if payload > i32::MAX as u64 {
        return None;
    }
    let min = (usable - 12) * 32 / 255 - 23;
    let fits = min + (usize::try_from(payload).ok()? - min) % (usable - 4);
    Some(if fits <= max { fits } else { min })
}

/// Four bytes as a number.
pub fn four(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_make_it_panic() {
        let mut seed = 7_u64;
        for round in 0..20_000 {
            let mut bytes: Vec<u8> = Vec::with_capacity(512);
            while bytes.len() < 512 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                bytes.extend_from_slice(&seed.to_le_bytes());
            }
            for kind in [Kind::TableLeaf, Kind::TableInterior, Kind::IndexLeaf, Kind::IndexInterior] {
                let page = parse_as(&bytes, 480, round % 2 == 0, kind);
                for cell in &page.cells {
                    assert!(cell.at + cell.local <= 480);
                }
            }
        }
    }

    #[test]
    fn an_empty_leaf_is_sound_and_every_changed_byte_of_its_header_is_seen() {
        let mut bytes = vec![0; 512];
        bytes[0] = 13;
        bytes[5] = 2; // the content begins at 512
        assert_eq!(parse(&bytes, 512, false).unwrap().fault, None);
        for at in 1..8 {
            let mut other = bytes.clone();
            other[at] ^= 0x11;
            let page = parse(&other, 512, false).unwrap();
            // A content area of free space can't be told from what was never used, if its start moved up.
            assert!(page.fault.is_some() || at == 5 || at == 6, "{at}");
        }
    }
}
