//! A database for the shell: the pages as they are, below a schema of ours that has only the tables that miss rows, with
//! names of ours and without any rule. What stands in the damaged schema, which the shell would run, is not in it; nor
//! is what free pages still hold, since it was deleted; nor pages whose rows were all read, which a damaged page might
//! lead to from another table.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::Wanted;
use super::line::Line;
use crate::base::{file_facts, interrupt};
use crate::salvage::btree::Cell;
use crate::salvage::walk::{Forest, owner};
use crate::salvage::{record, target};

/// A text that `.recover` must have understood to print it in one line.
const EXAMPLE: &str = "it's\nhere";

/// Writes it to a new file.
///
/// # Errors
/// When it can't be written, or the user asked to stop.
pub fn write(forest: &Forest<'_>, wanted: &[Wanted<'_>], to: &Path) -> Result<()> {
    let attempt = || -> Result<()> {
        file_facts::create_private_file(to)?;
        let mut file = OpenOptions::new().write(true).open(to)?;
        let (pages, mut buffer) = (forest.pages, Vec::new());
        let read = read_well(forest)?;
        file.write_all(&first_page(pages.size, pages.usable, pages.count, pages.facts.encoding))?;
        for number in 2..=pages.count {
            if number % 1024 == 0 {
                interrupt::check()?;
            }
            let is_wanted = forest.owner(number) != owner::FREE && !read.contains(&number);
            if is_wanted && pages.read(number, &mut buffer)? && buffer.iter().any(|byte| *byte != 0) {
                file.seek(SeekFrom::Start(u64::from(number - 1) * pages.size as u64))?;
                file.write_all(&buffer[..pages.size])?;
            }
        }
        file.set_len(u64::from(pages.count) * pages.size as u64)?;
        drop(file);
        let connection = target::open(to)?;
        connection.execute_batch("PRAGMA writable_schema=ON; BEGIN")?;
        for (number, one) in wanted.iter().enumerate() {
            let sql = "INSERT INTO sqlite_schema VALUES('table',?1,?1,?2,?3)";
            connection.execute(sql, params![format!("t{number}"), one.root, statement(number, one)])?;
        }
        connection.execute_batch("COMMIT")?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(())
    };
    attempt().with_context(|| format!("can't write {}", to.display()))
}

/// The sound pages all of whose records have just the values of the table that has them: those that lack some may be of
/// another one.
fn read_well(forest: &Forest<'_>) -> Result<HashSet<u32>> {
    let (mut well, mut buffer) = (HashSet::new(), Vec::new());
    for tree in &forest.trees {
        for leaf in tree.leaves.iter().filter(|leaf| leaf.sound) {
            interrupt::check()?;
            let Some(page) = forest.page(leaf.page, None, &mut buffer)? else { continue };
            let fits = |cell: &Cell| {
                record::decode_cut(&buffer[cell.at..cell.at + cell.local]).is_some_and(|values| {
                    values.len() == tree.layout.fields.len()
                        && (cell.overflow != 0 || tree.layout.misfit(&values).is_none())
                })
            };
            if !page.kind.is_interior() && page.cells.iter().all(fits) {
                well.insert(leaf.page);
            }
        }
    }
    Ok(well)
}

/// A table whose records look the same. One column more shows which have too many values, so are of another table.
fn statement(number: usize, one: &Wanted<'_>) -> String {
    let columns: Vec<String> = (0..=one.shape.layout.fields.len()).map(|i| format!("c{i}")).collect();
    let columns = columns.join(",");
    match &one.shape.key {
        None => format!("CREATE TABLE t{number}({columns})"),
        Some(key) => {
            let key: Vec<String> = key.iter().map(|at| format!("c{at}")).collect();
            format!("CREATE TABLE t{number}({columns},PRIMARY KEY({})) WITHOUT ROWID", key.join(","))
        }
    }
}

/// The first page of a database without tables and free pages
/// (<https://www.sqlite.org/fileformat2.html>, sections 1.3 and 1.6).
fn first_page(size: usize, usable: usize, count: u32, encoding: &str) -> Vec<u8> {
    let mut page = vec![0; size];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"SQLite format 3\0");
    // 65536 is written as 1, and so is the place where cells begin: as 0.
    put(16, &if size == 65536 { [0, 1] } else { (size as u16).to_be_bytes() });
    put(18, &[1, 1, (size - usable) as u8, 64, 32, 32]);
    let number = match encoding {
        "UTF-16le" => 2,
        "UTF-16be" => 3,
        _ => 1_u32,
    };
    for (at, word) in [(24, 1), (28, count), (40, 1), (44, 4), (56, number), (92, 1), (96, 3_040_000)] {
        put(at, &u32::to_be_bytes(word));
    }
    put(100, &[13, 0, 0, 0, 0]);
    put(105, &(usable as u16).to_be_bytes());
    page
}

/// A sound database of one row.
///
/// # Errors
/// When it can't be written.
pub fn write_example(to: &Path) -> Result<()> {
    let attempt = || -> Result<()> {
        file_facts::create_private_file(to)?;
        let connection: Connection = target::open(to)?;
        connection.execute_batch("CREATE TABLE t0(c0)")?;
        connection.execute("INSERT INTO t0 VALUES(?1)", [EXAMPLE])?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(())
    };
    attempt().with_context(|| format!("can't write {}", to.display()))
}

/// Whether it is that row.
pub fn is_example(line: &Line) -> bool {
    *line == Line { table: 0, rowid: Some(1), values: vec![Value::Text(EXAMPLE.to_owned())] }
}
