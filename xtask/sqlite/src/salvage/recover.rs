//! The last means: what the `.recover` of a `sqlite3` shell reads of rows that are missing here. It decodes in its own
//! way, and more boldly, so every row of it is doubtful; it adds rows and never changes one.
//!
//! The shell runs whatever stands in the schema of the database that it recovers, in its safe mode as well. So it gets
//! a database whose schema is ours (`image`), and nothing of what it prints is run either: lines are read as values
//! (`line`). Only rows come in that may be missing by our own account, and none that was read or put aside here.

use std::path::Path;

use anyhow::Result;

use self::line::{Line, Reader};
use self::taker::Taker;
use super::book::{Book, List};
use super::holes::Range;
use super::report::Report;
use super::shape::{Shapes, TableShape};
use super::target::Target;
use super::walk::Forest;
use super::{Wish, Work};
use crate::base::{durable, interrupt};

mod image;
mod line;
mod taker;

/// A row whose line is longer than this is passed over: it is held in memory.
const LINE_BYTES_MAX: usize = 64 << 20;

/// A `sqlite3` shell.
pub trait Shell {
    /// Its version; `None` where there is no shell.
    ///
    /// # Errors
    /// When the user asked to stop.
    fn version(&self) -> Result<Option<String>>;

    /// Lets it `.recover` a database, and hands over what it prints, piece by piece. Returns whether it came to a good
    /// end.
    ///
    /// # Errors
    /// Those of `heard`, and when the user asked to stop; the shell is gone then.
    fn recover(&self, database: &Path, heard: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool>;
}

/// A table that misses rows.
pub struct Wanted<'a> {
    /// Its tree.
    table: usize,
    name: &'a str,
    shape: &'a TableShape,
    /// The first page of its tree.
    root: u32,
    /// Rowids that may be missing.
    open: &'a [Range],
    /// Whether any key may be.
    is_open: bool,
}

/// Asks the shell for what is missing.
///
/// # Errors
/// When something can't be read or written here, or the user asked to stop. That the shell can't help is told.
pub fn ask(
    forest: &Forest<'_>,
    target: &Target,
    book: &Book,
    shapes: &Shapes,
    works: &mut [Work],
    wish: &Wish<'_>,
    report: &mut Report,
) -> Result<()> {
    let (Some(shell), wanted) = (wish.shell, wanted(forest, book, shapes, works)?) else { return Ok(()) };
    if wanted.is_empty() {
        return Ok(());
    }
    let Some(version) = shell.version()? else {
        report.notes.push("no sqlite3 is installed whose .recover could be asked for the rest".to_owned());
        return Ok(());
    };
    let (example, file) = (wish.scratch.join("can-recover"), wish.scratch.join("to-recover"));
    let can = image::write_example(&example).and_then(|()| can_recover(shell, &example));
    let ready =
        can.and_then(|can| if can { image::write(forest, &wanted, &file).map(|()| true) } else { Ok(false) });
    let why_not = match ready {
        Ok(true) => None,
        Ok(false) => {
            Some(", which is installed, can't .recover, so it was not asked for the rest".to_owned())
        }
        // What is in the way of this is in the way of nothing else: all that was read is in the new database.
        Err(error) => Some(format!(" could not be asked for the rest: {error:#}")),
    };
    interrupt::check()?;
    if let Some(why_not) = why_not {
        remove(&[&example, &file]);
        report.notes.push(format!("sqlite3 {version}{why_not}"));
        return Ok(());
    }
    let mut takers = Vec::new();
    for one in &wanted {
        takers.push(Taker::new(target, book, one, forest.pages.facts.encoding)?);
    }
    let well = listen(shell, &file, &mut |line| match takers.get_mut(line.table) {
        Some(taker) => taker.take(&line),
        None => Ok(()),
    })?;
    remove(&[&example, &file]);
    let taken: u64 = takers.iter().map(|taker| taker.taken).sum();
    let asides: Vec<(usize, u64)> = takers.iter().map(|taker| (taker.wanted.table, taker.aside)).collect();
    drop(takers);
    for (table, aside) in asides {
        for work in works.iter_mut().filter(|work| work.tree == table) {
            work.aside += aside;
        }
    }
    let gave = match taken {
        0 => "has none of it".to_owned(),
        1 => "gave 1 row, which is doubtful".to_owned(),
        many => format!("gave {many} rows, which are doubtful"),
    };
    let end = if well { "" } else { "; it did not come to its end" };
    report.notes.push(format!("the .recover of sqlite3 {version} was asked for the rest: it {gave}{end}"));
    Ok(())
}

/// The tables that a row of the shell could go into.
fn wanted<'a>(
    forest: &Forest<'_>,
    book: &Book,
    shapes: &'a Shapes,
    works: &'a [Work],
) -> Result<Vec<Wanted<'a>>> {
    let mut wanted = Vec::new();
    for work in works.iter().filter(|work| work.is_made) {
        let tree = &forest.trees[work.tree];
        let Some(shape) = shapes.tables.get(&work.name) else { continue };
        // A rowid that columns hide can't be asked for.
        let has_key = shape.key.is_some() || shape.rowid.is_some();
        let is_open = shape.key.is_some() && !work.is_exact && !tree.holes.is_empty();
        let misses = is_open || !work.open.is_empty() || book.count(List::Lost, work.tree)? > 0;
        if has_key && misses && tree.root > 1 && !shape.layout.fields.is_empty() {
            let (table, root) = (work.tree, tree.root);
            wanted.push(Wanted { table, name: &work.name, shape, root, open: &work.open, is_open });
        }
    }
    Ok(wanted)
}

/// Makes room; what can't be removed now goes with its folder.
fn remove(files: &[&Path]) {
    for file in files {
        let _ = durable::remove_file(file);
    }
}

/// Lets the shell recover a database of one row: many are built without that.
fn can_recover(shell: &dyn Shell, example: &Path) -> Result<bool> {
    let mut has_row = false;
    listen(shell, example, &mut |line| {
        has_row |= image::is_example(&line);
        Ok(())
    })?;
    Ok(has_row)
}

/// Hands over the rows of a database; whether the shell came to a good end.
fn listen(shell: &dyn Shell, file: &Path, call: &mut dyn FnMut(Line) -> Result<()>) -> Result<bool> {
    let (mut reader, mut rest, mut is_long) = (Reader::new()?, Vec::new(), false);
    shell.recover(file, &mut |mut piece| {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            rest.extend_from_slice(&piece[..end]);
            piece = &piece[end + 1..];
            if !std::mem::take(&mut is_long)
                && let Some(line) = reader.read(&rest)
            {
                call(line)?;
            }
            rest.clear();
        }
        rest.extend_from_slice(piece);
        if rest.len() > LINE_BYTES_MAX {
            rest.clear();
            is_long = true;
        }
        Ok(())
    })
}
