//! What the indexes know of the rows: an entry without its row names one that is lost, and an entry with other values
//! tells that one of the two is damaged. Entries of damaged pages are used only for rows that may be missing, and prove nothing.

use anyhow::Result;
use rusqlite::types::ValueRef;

use super::book::{Book, Key};
use super::btree::Kind;
use super::holes::Range;
use super::lookup::{By, Lookup, is_same, positions, read, values as lookup_values};
use super::payload::Whole;
use super::record;
use super::shape::{IndexShape, TableShape};
use super::target::Target;
use super::walk::Forest;
use crate::base::interrupt;
use crate::catalog::quoted;

/// An index and its table.
pub struct Pair<'a> {
    /// The index's tree.
    pub tree: usize,
    /// Its name.
    pub name: &'a str,
    /// How it is made.
    pub shape: &'a IndexShape,
    /// The table's number.
    pub table: usize,
    /// The table's name.
    pub table_name: &'a str,
    /// How the table is made.
    pub table_shape: &'a TableShape,
    /// How many rows the table has.
    pub rows: u64,
    /// Rowids that may be missing.
    pub open: &'a [Range],
    /// Whether anything of the table may be missing.
    pub has_holes: bool,
}

/// Holds an index against its table. True when it is whole, so that what it does not know does not exist.
///
/// # Errors
/// When something can't be read or written, or the user asked to stop.
pub fn compare(forest: &mut Forest<'_>, target: &Target, book: &Book, pair: &Pair<'_>) -> Result<bool> {
    let Some(question) = Question::new(pair) else { return Ok(false) };
    let by_rowid = pair.table_shape.key.is_none();
    let by = match &pair.table_shape.rowid {
        Some(rowid) if by_rowid => By::Rowid(rowid),
        _ if by_rowid => return Ok(false), // columns hide its rowid
        _ => By::Columns(question.key_names.clone()),
    };
    let mut lookup = Lookup::new(&target.connection, pair.table_name, &by, &question.columns, target.wide)?;
    let tree = &forest.trees[pair.tree];
    let is_sound = tree.holes.is_empty() && tree.leaves.iter().all(|leaf| leaf.sound);
    let mut is_whole = pair.shape.is_full && is_sound;
    let why = format!("the index {} has other values", pair.name);
    let mut met = 0_u64;
    let entries = each_entry(forest, pair.tree, true, &mut |values, sound| {
        let Some(values) = values else {
            is_whole = false;
            return Ok(());
        };
        if values.len() != pair.shape.layout.fields.len() {
            return Ok(());
        }
        let key: Vec<ValueRef<'_>> = question.key.iter().map(|at| values[*at]).collect();
        let bytes;
        let named = match key.as_slice() {
            [ValueRef::Integer(rowid)] if by_rowid => Key::Rowid(*rowid),
            _ if by_rowid => return Ok(()),
            key => {
                bytes = record::encode(key);
                Key::Primary(&bytes)
            }
        };
        let same = lookup.find(&key, by_rowid, |found| {
            question.compared.iter().zip(found).all(|(at, found)| is_same(values[*at], *found))
        })?;
        match same {
            None => {
                let may_miss = match named {
                    Key::Rowid(rowid) => {
                        let at = pair.open.partition_point(|(_, high)| *high < rowid);
                        pair.open.get(at).is_some_and(|(low, _)| *low <= rowid)
                    }
                    Key::Primary(_) => pair.has_holes,
                };
                let believed = may_miss || book.is_lost(pair.table, named)?;
                if !believed && !sound {
                    return Ok(());
                }
                match believed && sound {
                    true => book.lost(pair.table, named)?,
                    // The page where it would be is sound: index or page are altered, nobody can tell which.
                    false => book.maybe(pair.table, named)?,
                }
                book.part(pair.table, named, pair.tree, &record::encode(values), believed)?;
            }
            Some(_) if !sound => {}
            Some(same) => {
                met += 1;
                if !same {
                    // It counts for more against a damaged page. Against a sound one nobody can tell which is
                    // right, and what stands there is not altered.
                    let counts = book.is_doubtful(pair.table, named)?;
                    book.part(pair.table, named, pair.tree, &record::encode(values), counts)?;
                    book.doubt(pair.table, named, &why)?;
                }
            }
        }
        Ok(())
    });
    entries?;
    if is_whole && met != pair.rows {
        suspect_unknown(forest, target, book, pair, &question)?;
    }
    Ok(is_whole)
}

/// Is given each entry, and whether its page is sound.
type OnEntry<'c> = dyn FnMut(Option<&[ValueRef<'_>]>, bool) -> Result<()> + 'c;

/// Calls for each entry, with `None` for one that can't be read, and with whether its page is sound; those of other
/// pages only where they are wanted.
fn each_entry(forest: &mut Forest<'_>, tree: usize, all: bool, call: &mut OnEntry<'_>) -> Result<()> {
    let (mut buffer, mut bytes) = (Vec::new(), Vec::new());
    for leaf in forest.trees[tree].leaves.clone().iter().filter(|leaf| all || leaf.sound) {
        interrupt::check()?;
        let Some(page) = forest.page(leaf.page, None, &mut buffer)? else { continue };
        if !matches!(page.kind, Kind::IndexLeaf | Kind::IndexInterior) {
            continue;
        }
        for cell in &page.cells {
            let whole = forest.payload(cell, &buffer, &mut bytes, false)?;
            let values = record::decode(&bytes).filter(|_| whole == Whole::Yes);
            call(values.as_deref(), leaf.sound)?;
        }
    }
    Ok(())
}

/// Rows that a whole index does not know: their key may have been altered.
fn suspect_unknown(
    forest: &mut Forest<'_>,
    target: &Target,
    book: &Book,
    pair: &Pair<'_>,
    question: &Question,
) -> Result<()> {
    let by_rowid = pair.table_shape.key.is_none();
    book.connection.execute_batch("DELETE FROM seen")?;
    let mut note = book.connection.prepare("INSERT OR IGNORE INTO seen VALUES (?1)")?;
    each_entry(forest, pair.tree, false, &mut |values, _| {
        let Some(values) = values.filter(|values| values.len() == pair.shape.layout.fields.len()) else {
            return Ok(());
        };
        let key: Vec<ValueRef<'_>> = question.key.iter().map(|at| values[*at]).collect();
        match key.as_slice() {
            [ValueRef::Integer(rowid)] if by_rowid => note.execute([rowid])?,
            _ if by_rowid => 0,
            key => note.execute([record::encode(key)])?,
        };
        Ok(())
    })?;
    drop(note);
    let mut knows = book.connection.prepare("SELECT EXISTS (SELECT 1 FROM seen WHERE key = ?1)")?;
    let what = match &pair.table_shape.rowid {
        Some(rowid) if by_rowid => rowid.clone(),
        _ => question.key_names.iter().map(|name| read(name, target.wide)).collect::<Vec<_>>().join(","),
    };
    let sql = format!("SELECT {what} FROM {}", quoted(pair.table_name));
    let mut statement = target.connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let why = format!("the index {} does not know it", pair.name);
    while let Some(row) = rows.next()? {
        let bytes;
        let key = if by_rowid {
            Key::Rowid(row.get(0)?)
        } else {
            bytes = record::encode(&lookup_values(row, 0, question.key_names.len(), target.wide)?);
            Key::Primary(&bytes)
        };
        if !knows.query_row([key], |row| row.get::<_, bool>(0))? {
            book.doubt(pair.table, key, &why)?;
        }
    }
    Ok(())
}

/// What is asked of the table for each entry.
struct Question {
    /// Where the key stands in the entry.
    key: Vec<usize>,
    /// The columns of the key.
    key_names: Vec<String>,
    /// The columns to compare.
    columns: Vec<String>,
    /// Where they stand in the entry.
    compared: Vec<usize>,
}

impl Question {
    fn new(pair: &Pair<'_>) -> Option<Question> {
        let names: Vec<String> = pair.shape.layout.fields.iter().map(|field| field.column.clone()).collect();
        let last = names.len().checked_sub(1)?;
        let (key, key_names) = match &pair.table_shape.key {
            None => (vec![last], Vec::new()),
            Some(key) => {
                let fields = &pair.table_shape.layout.fields;
                let key_names: Vec<String> = key.iter().map(|at| fields[*at].column.clone()).collect();
                (positions(&key_names, &names)?, key_names)
            }
        };
        // Not the rowid at the end, and no expression.
        let end = if pair.table_shape.key.is_none() { last } else { names.len() };
        let compared: Vec<usize> = (0..end).filter(|at| !names[*at].is_empty()).collect();
        let columns = compared.iter().map(|at| names[*at].clone()).collect();
        Some(Question { key, key_names, columns, compared })
    }
}
