//! The schema: what `sqlite_schema` still tells. Its rows are read like those of any table; where its pages are
//! damaged, pages of it that nothing leads to are looked for.

use anyhow::Result;
use rusqlite::types::ValueRef;

use super::btree::Kind;
use super::layout::{Affinity, Field, Layout};
use super::payload::Whole;
use super::record;
use super::walk::{Forest, Tree, owner};
use crate::base::interrupt;
use crate::catalog::Object;

/// The number of the schema's own tree.
pub const SCHEMA: usize = 0;
/// So many bytes of statements at most: no schema needs more, and they are kept in memory.
const BYTES_MAX: usize = 256 << 20;
/// So many objects at most: SQLite goes through all of them for each that is made, which takes minutes here.
const OBJECTS_MAX: usize = 20_000;

/// What there is.
#[derive(Default)]
pub struct Schema {
    /// Every object, in the order in which it was made.
    pub objects: Vec<Object>,
    /// What is wrong with it.
    pub faults: Vec<String>,
}

/// The tree of the schema, not walked yet.
pub fn tree(utf8: bool) -> Tree {
    let field = |column: &str, affinity, not_null| Field {
        column: column.to_owned(),
        affinity,
        not_null,
        is_rowid: false,
        strict: None,
    };
    let fields = vec![
        field("type", Affinity::Text, true),
        field("name", Affinity::Text, true),
        field("tbl_name", Affinity::Text, true),
        field("rootpage", Affinity::Blob, false),
        field("sql", Affinity::Text, false),
    ];
    Tree { root: 1, is_table: true, layout: Layout { fields, is_exact: true, utf8 }, ..Tree::default() }
}

/// Text of the database as a string; `None` where it is not valid.
fn text(bytes: &[u8], encoding: &str) -> Option<String> {
    if encoding == "UTF-8" {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    let (pairs, rest) = bytes.as_chunks::<2>();
    let unit = |pair: &[u8; 2]| match encoding {
        "UTF-16be" => u16::from_be_bytes(*pair),
        _ => u16::from_le_bytes(*pair),
    };
    let text = char::decode_utf16(pairs.iter().map(unit)).collect::<Result<String, _>>().ok();
    text.filter(|_| rest.is_empty())
}

/// Whether a record is a line of a schema.
fn object(values: &[ValueRef<'_>], encoding: &str) -> Option<Object> {
    let [ValueRef::Text(kind), ValueRef::Text(name), ValueRef::Text(table), root, sql] = values else {
        return None;
    };
    let kind = text(kind, encoding)?;
    if !["table", "index", "view", "trigger"].contains(&kind.as_str()) {
        return None;
    }
    let root_page = match root {
        ValueRef::Integer(root) if (0..=i64::from(u32::MAX)).contains(root) => *root,
        ValueRef::Null => 0,
        _ => return None,
    };
    let sql = match sql {
        ValueRef::Text(sql) => Some(text(sql, encoding)?),
        ValueRef::Null if kind == "index" => None,
        _ => return None,
    };
    Some(Object {
        kind,
        name: text(name, encoding)?,
        table: text(table, encoding)?,
        root_page,
        sql: sql.map(String::into_bytes),
    })
}

/// Looks for pages of the schema that nothing leads to. Free pages must have been claimed.
///
/// # Errors
/// When the file can't be read, or the user asked to stop.
pub fn find_lost_pages(forest: &mut Forest<'_>) -> Result<()> {
    if forest.trees[SCHEMA].holes.is_empty() {
        return Ok(());
    }
    let mut buffer = Vec::new();
    for number in 2..=forest.pages.count {
        if number % 1024 == 0 {
            interrupt::check()?;
        }
        if forest.owner(number) != owner::NOBODY {
            continue;
        }
        let Some(page) = forest.page(number, None, &mut buffer)? else { continue };
        if page.kind != Kind::TableLeaf || page.fault.is_some() || page.cells.is_empty() {
            continue;
        }
        let encoding = forest.pages.facts.encoding;
        let is_line = |cell: &super::btree::Cell| {
            let bytes = &buffer[cell.at..cell.at + cell.local];
            let values = record::decode_cut(bytes).unwrap_or_default();
            match values.as_slice() {
                // Of a long statement the end is elsewhere.
                [kind, name, table, root, _] if cell.overflow != 0 => {
                    object(&[*kind, *name, *table, *root, ValueRef::Text(b"")], encoding).is_some()
                }
                values => object(values, encoding).is_some(),
            }
        };
        if page.cells.iter().all(is_line) {
            forest.graft(SCHEMA, number, i64::MIN, i64::MAX)?;
        }
    }
    Ok(())
}

/// Reads the lines of the schema.
///
/// # Errors
/// When the file can't be read, or the user asked to stop.
pub fn read(forest: &mut Forest<'_>) -> Result<Schema> {
    let mut schema = Schema::default();
    let encoding = forest.pages.facts.encoding;
    let (mut buffer, mut record_bytes, mut total) = (Vec::new(), Vec::new(), 0);
    let mut lines: Vec<(i64, Object)> = Vec::new();
    let mut unreadable = 0_u64;
    for leaf in forest.trees[SCHEMA].leaves.clone() {
        interrupt::check()?;
        let Some(page) = forest.page(leaf.page, Some(Kind::TableLeaf), &mut buffer)? else { continue };
        for cell in &page.cells {
            let whole = forest.payload(cell, &buffer, &mut record_bytes, true)?;
            let values = record::decode(&record_bytes).filter(|_| whole != Whole::Cut);
            match values.and_then(|values| object(&values, encoding)) {
                Some(object) => {
                    total += record_bytes.len();
                    if total > BYTES_MAX || lines.len() == OBJECTS_MAX {
                        schema.faults.push("it is too long; the rest of it is left out".to_owned());
                        schema.objects = lines.into_iter().map(|(_, object)| object).collect();
                        return Ok(schema);
                    }
                    lines.push((cell.rowid, object));
                }
                None => unreadable += 1,
            }
        }
    }
    lines.sort_by_key(|(rowid, _)| *rowid);
    let mut seen = std::collections::HashSet::new();
    lines.retain(|(_, object)| seen.insert((object.kind == "trigger", object.name.to_ascii_lowercase())));
    schema.objects = lines.into_iter().map(|(_, object)| object).collect();
    if unreadable > 0 {
        schema.faults.push(format!("{unreadable} of its lines can't be read"));
    }
    if !forest.trees[SCHEMA].holes.is_empty() {
        schema.faults.push("pages of it are damaged, so tables may be missing".to_owned());
    }
    Ok(schema)
}
