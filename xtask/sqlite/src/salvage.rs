//! Every readable row of a damaged database into a new one, and a true account of what is lost.
//!
//! SQLite stops at the first page that is wrong, so the pages are read here: each tells which rows it holds, whether
//! every byte of it adds up, and where it belongs. It works on a private copy, which it only reads. What comes from a
//! sound page is taken as it is; what comes from a damaged one is taken and named as doubtful; what was deleted stays
//! deleted. Nothing in the file is believed before it is held against the file's own size, so a hostile one ends as
//! soon as a damaged one, and memory grows with the number of pages (about 30 bytes each), not with their content.
//!
//! SQLite has no checksums on pages of the main file. A value that was altered where it stands is noticed only by what
//! contradicts it: an index, the type of its column, the encoding, a CHECK rule, or the backup.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rusqlite::params;

use self::book::{Book, Key};
use self::free::FreeList;
use self::holes::Range;
use self::indexes::Pair;
use self::merge::{Backup, Holed};
use self::pages::Pages;
use self::parts::Parts;
pub use self::recover::Shell;
use self::report::Told;
pub use self::report::{Report, TableReport};
use self::rows::{Came, Mover};
use self::schema::SCHEMA;
use self::shape::Shapes;
use self::target::Target;
use self::walk::{Forest, Tree};
use super::catalog::Object;
use crate::base::interrupt;
use crate::base::monitor::Monitor;

mod book;
mod btree;
mod finish;
mod found;
mod free;
mod holes;
mod indexes;
mod journal;
mod layout;
mod lookup;
mod merge;
mod orphans;
mod pages;
mod parts;
mod payload;
mod record;
mod recover;
mod report;
mod rows;
mod schema;
mod shape;
mod statements;
mod target;
mod text;
mod wal;
mod walk;

/// What is to be done.
pub struct Wish<'a> {
    /// A private copy of the database, with copies of what lies beside it.
    pub copy: &'a Path,
    /// The image of a backup's database, which fills the holes.
    pub backup: Option<&'a Path>,
    /// Where the new database is made; nothing is there yet.
    pub to: &'a Path,
    /// A private folder with room for what is noted about the rows.
    pub scratch: &'a Path,
    /// Whose `.recover` is asked for rows that are missing then.
    pub shell: Option<&'a dyn Shell>,
}

/// One table on its way.
struct Work {
    tree: usize,
    name: String,
    came: Came,
    /// Whether an index tells exactly which rows there are.
    is_exact: bool,
    /// Rowids that may be missing.
    open: Vec<Range>,
    /// Records of the backup that went aside.
    aside: u64,
    /// Whether all that a backup could have is looked up.
    is_made: bool,
}

/// Salvages a database.
///
/// # Errors
/// When there is nothing to be had, the disk is full, or the user asked to stop; nothing usable is at `to` then.
pub fn salvage(wish: &Wish<'_>, monitor: &dyn Monitor) -> Result<Report> {
    let mut pages = Pages::open(wish.copy)?;
    let backup = wish.backup.map(Backup::open).transpose().context("can't read the backup's database")?;
    let mut report = Report::default();
    if let Some(backup) = backup.as_ref().filter(|_| pages.facts.guessed) {
        pages.facts.encoding = match backup.encoding.as_str() {
            "UTF-16le" => "UTF-16le",
            "UTF-16be" => "UTF-16be",
            _ => "UTF-8",
        };
    }
    report.problems.append(&mut pages.faults);
    (report.pages, report.page_size) = (pages.count, pages.size);
    monitor.step("reading pages", Some(u64::from(pages.count) * pages.size as u64));
    let utf8 = pages.facts.encoding == "UTF-8";
    let mut forest = Forest::new(&pages);
    free::claim_maps(&mut forest);
    forest.plant(schema::tree(utf8))?;
    let early = match forest.trees[SCHEMA].holes.is_empty() {
        true => None,
        false => {
            let free = free::claim_free(&mut forest)?;
            forest.follow_hints()?;
            schema::find_lost_pages(&mut forest)?;
            Some(free)
        }
    };
    let mut schema = schema::read(&mut forest)?;
    report.problems.extend(schema.faults.iter().map(|fault| format!("the schema: {fault}")));
    if let Some(backup) = backup.as_ref().filter(|_| !schema.faults.is_empty() || pages.facts.guessed) {
        add_objects(&mut schema.objects, backup, &mut report);
    }
    if schema.objects.is_empty() && !report.problems.is_empty() && backup.is_none() && pages.count < 2 {
        bail!("there is nothing in it that can be read as a database");
    }
    let shapes = shape::shapes(&schema.objects, utf8)?;
    let trees = plant(&mut forest, &schema.objects, &shapes)?;
    let free = match early {
        Some(free) => free,
        None => free::claim_free(&mut forest)?,
    };
    if free == FreeList::Damaged {
        report.problems.push("the list of free pages is damaged".to_owned());
    }
    forest.follow_hints()?;
    let strays = orphans::allot(&mut forest, free)?;

    let book = Book::new(wish.scratch)?;
    let target = Target::create(wish.to, pages.size, &pages.facts)?;
    let mut works = make_tables(&target, &schema.objects, &shapes, &trees, &mut report)?;
    monitor.step("reading rows", Some(u64::from(pages.count) * pages.size as u64));
    move_rows(&mut forest, &target, &book, &shapes, &mut works, monitor)?;
    report.unallotted = rows::put_aside(&mut forest, &book, &strays.pages)?;
    for (name, tree) in unmade_tables(&schema.objects, &trees, &works) {
        report.unallotted += found::put_table_aside(&mut forest, &book, name, tree)?;
    }
    monitor.step("comparing with indexes", None);
    reckon(&forest, &target, &book, &mut works)?;
    ask_indexes(&mut forest, &target, &book, &schema.objects, &shapes, &trees, &mut works)?;
    monitor.step("asking sqlite3 for the rest", None);
    recover::ask(&forest, &target, &book, &shapes, &mut works, wish, &mut report)?;
    // After all that the damaged file itself holds: of a doubtful row the backup says whether it was so.
    if let Some(backup) = &backup {
        monitor.step("filling from the backup", None);
        fill(&forest, &target, &book, backup, &shapes, &mut works, &mut report)?;
    }
    let mut unbounded = HashSet::new();
    for work in &works {
        let tree = &forest.trees[work.tree];
        let keyed = shapes.tables.get(&work.name).is_some_and(|shape| shape.key.is_some());
        if keyed && !work.is_exact && !tree.holes.is_empty() {
            unbounded.insert(work.tree);
        }
    }
    for work in works.iter().filter(|work| work.is_made) {
        let Some(shape) = shapes.tables.get(&work.name) else { continue };
        let told = Told {
            table: work.tree,
            name: &work.name,
            shape,
            aside: work.came.aside + work.aside,
            open: work.open.clone(),
            is_unbounded: unbounded.contains(&work.tree),
            damaged: forest.trees[work.tree].damaged.clone(),
        };
        report.tables.push(report::table(&target, &book, told)?);
    }
    for object in schema.objects.iter().filter(|object| object.kind == "index") {
        if let Some(tree) = trees.get(&object.name)
            && !forest.trees[*tree].damaged.is_empty()
        {
            report.problems.push(format!("the index {} is damaged; it is built anew", object.name));
        }
    }
    report.lost_and_found = found::write(&target, &book, pages.facts.encoding)?;
    monitor.step("building indexes", None);
    finish::make_the_rest(&target, &schema.objects, &mut report)?;
    drop(forest);
    let made = target.finish(&pages.facts)?;
    finish::prove(&made, &schema.objects, &mut report)?;
    Ok(report)
}

/// What only the backup's schema knows.
fn add_objects(objects: &mut Vec<Object>, backup: &Backup, report: &mut Report) {
    let known: HashSet<(String, String)> = objects.iter().map(|o| (o.kind.clone(), o.name.clone())).collect();
    let mut added = Vec::new();
    for object in &backup.objects {
        if !known.contains(&(object.kind.clone(), object.name.clone())) {
            let Object { kind, name, table, root_page, sql } = object;
            added.push(format!("the {kind} {name}"));
            objects.push(Object {
                kind: kind.clone(),
                name: name.clone(),
                table: table.clone(),
                root_page: *root_page,
                sql: sql.clone(),
            });
        }
    }
    if !added.is_empty() {
        report.notes.push(format!("known from the backup's schema: {}", added.join(", ")));
    }
}

/// Walks the trees of tables first, then those of indexes; by name.
fn plant(forest: &mut Forest<'_>, objects: &[Object], shapes: &Shapes) -> Result<HashMap<String, usize>> {
    let mut trees = HashMap::new();
    for kind in ["table", "index"] {
        for object in objects.iter().filter(|object| object.kind == kind && object.root_page > 0) {
            interrupt::check()?;
            let table = shapes.tables.get(&object.name).filter(|_| kind == "table");
            let index = shapes.indexes.get(&object.name).filter(|_| kind == "index");
            let mut layout = table.map(|table| &table.layout).or(index.map(|index| &index.layout)).cloned();
            if kind == "index" && layout.is_none() {
                continue; // it is built anew from the rows, if it can be
            }
            let without_rowid = table.is_some_and(|table| table.key.is_some());
            let root = u32::try_from(object.root_page).unwrap_or(0);
            let is_table = kind == "table" && !without_rowid;
            let tree = Tree { root, is_table, layout: layout.take().unwrap_or_default(), ..Tree::default() };
            trees.insert(object.name.clone(), forest.plant(tree)?);
        }
    }
    Ok(trees)
}

/// Makes the tables, and the indexes that forbid rows.
fn make_tables(
    target: &Target,
    objects: &[Object],
    shapes: &Shapes,
    trees: &HashMap<String, usize>,
    report: &mut Report,
) -> Result<Vec<Work>> {
    let mut works = Vec::new();
    let tables = || objects.iter().filter(|object| object.is_stored_table());
    let ordered = tables().filter(|o| o.is_internal()).chain(tables().filter(|o| !o.is_internal()));
    for object in ordered {
        let known = shapes.tables.contains_key(&object.name);
        let why = shapes.unmade.get(&object.name);
        let made = match (known, why) {
            (true, _) => target.make(object).map_err(|error| format!("{error:#}")),
            (false, why) => Err(why.map_or("it can't be made", String::as_str).to_owned()),
        };
        if let Err(why) = &made {
            report.problems.push(format!("the table {} can't be made here: {why}", object.name));
        }
        if let Some(tree) = trees.get(&object.name) {
            works.push(Work {
                tree: *tree,
                name: object.name.clone(),
                came: Came::default(),
                is_exact: false,
                open: Vec::new(),
                aside: 0,
                is_made: made.is_ok(),
            });
        }
    }
    for object in objects.iter().filter(|object| finish::is_unique_index(object)) {
        if let Err(error) = target.make(object) {
            report.problems.push(format!("the index {} can't be made here: {error:#}", object.name));
        }
    }
    Ok(works)
}

fn unmade_tables<'a>(
    objects: &'a [Object],
    trees: &'a HashMap<String, usize>,
    works: &'a [Work],
) -> Vec<(&'a str, usize)> {
    let made: HashSet<&str> =
        works.iter().filter(|work| work.is_made).map(|work| work.name.as_str()).collect();
    let tables = objects.iter().filter(|o| o.is_stored_table() && !made.contains(o.name.as_str()));
    tables.filter_map(|object| Some((object.name.as_str(), *trees.get(&object.name)?))).collect()
}

/// Moves all rows; those of SQLite's own tables last, since others write into `sqlite_sequence`.
fn move_rows(
    forest: &mut Forest<'_>,
    target: &Target,
    book: &Book,
    shapes: &Shapes,
    works: &mut [Work],
    monitor: &dyn Monitor,
) -> Result<()> {
    let is_own = |name: &str| name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"));
    for own in [false, true] {
        for work in works.iter_mut().filter(|work| work.is_made && is_own(&work.name) == own) {
            let Some(shape) = shapes.tables.get(&work.name) else { continue };
            let counted = if own { own_rows(target, &work.name)? } else { Vec::new() };
            let mover = Mover::new(target, book, work.tree, &work.name, shape)?;
            work.came = mover
                .run(forest, monitor)
                .with_context(|| format!("can't salvage the table {}", work.name))?;
            if work.name.eq_ignore_ascii_case("sqlite_sequence") {
                for (name, number) in counted {
                    let sql = "INSERT INTO sqlite_sequence(name,seq) SELECT ?1,?2 WHERE NOT EXISTS
                               (SELECT 1 FROM sqlite_sequence WHERE name = ?1)";
                    if target.connection.execute(sql, params![name, number])? > 0 {
                        let rowid = target.connection.last_insert_rowid();
                        book.doubt(work.tree, Key::Rowid(rowid), "it was made anew from the largest rowid")?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Empties a table of SQLite's own that inserting has filled; what was in it, of `sqlite_sequence`.
fn own_rows(target: &Target, name: &str) -> Result<Vec<(String, i64)>> {
    let mut rows = Vec::new();
    if name.eq_ignore_ascii_case("sqlite_sequence") {
        let mut statement = target.connection.prepare("SELECT name, seq FROM sqlite_sequence")?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows = found.collect::<rusqlite::Result<_>>()?;
    }
    target.connection.execute_batch(&format!("DELETE FROM {}", super::catalog::quoted(name)))?;
    Ok(rows)
}

fn ask_indexes(
    forest: &mut Forest<'_>,
    target: &Target,
    book: &Book,
    objects: &[Object],
    shapes: &Shapes,
    trees: &HashMap<String, usize>,
    works: &mut [Work],
) -> Result<()> {
    let made = works.iter().enumerate().filter(|(_, work)| work.is_made);
    let by_name: HashMap<String, usize> =
        made.map(|(number, work)| (work.name.to_ascii_lowercase(), number)).collect();
    // Which columns the indexes of each table have.
    let mut columns: HashMap<usize, HashMap<i64, Vec<String>>> = HashMap::new();
    for object in objects.iter().filter(|object| object.kind == "index") {
        let (Some(tree), Some(shape)) = (trees.get(&object.name), shapes.indexes.get(&object.name)) else {
            continue;
        };
        let Some(number) = by_name.get(&object.table.to_ascii_lowercase()) else { continue };
        let names = shape.layout.fields.iter().map(|field| field.column.clone()).collect();
        columns.entry(*number).or_default().insert(*tree as i64, names);
        let work = &mut works[*number];
        let Some(table_shape) = shapes.tables.get(&work.name) else { continue };
        let pair = Pair {
            tree: *tree,
            name: &object.name,
            shape,
            table: work.tree,
            table_name: &work.name,
            table_shape,
            rows: work.came.rows,
            open: &work.open,
            has_holes: !forest.trees[work.tree].holes.is_empty(),
        };
        let exact = indexes::compare(forest, target, book, &pair)
            .with_context(|| format!("can't compare the index {} with its table", object.name))?;
        work.is_exact |= exact;
    }
    // What a whole index does not know does not exist.
    for work in works.iter_mut().filter(|work| work.is_exact) {
        work.open.clear();
    }
    for (number, indexes) in columns {
        let work = &mut works[number];
        let Some(shape) = shapes.tables.get(&work.name) else { continue };
        let parts = Parts { table: work.tree, name: &work.name, shape, indexes };
        let (whole, aside) = parts::rebuild(target, book, &parts)?;
        work.came.rows += whole;
        work.came.aside += aside;
    }
    Ok(())
}

/// Which rowids may be missing.
fn reckon(forest: &Forest<'_>, target: &Target, book: &Book, works: &mut [Work]) -> Result<()> {
    // Numbers of AUTOINCREMENT are never given twice, so the last one that was given bounds all of them.
    let mut last: HashMap<String, i64> = HashMap::new();
    if let Some(own) = works.iter().find(|work| work.is_made && work.name == "sqlite_sequence")
        && forest.trees[own.tree].holes.is_empty()
        && book.count(book::List::Doubt, own.tree)? == 0
    {
        let mut statement = target.connection.prepare("SELECT name, seq FROM sqlite_sequence")?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        last = found.collect::<rusqlite::Result<_>>().unwrap_or_default();
    }
    for work in works.iter_mut() {
        let tree = &forest.trees[work.tree];
        if !tree.is_table {
            continue;
        }
        let holes = tree.holes.iter().map(|hole| (hole.low, hole.high)).collect();
        let mut open = holes::without(holes, work.came.spans.clone());
        let lowest = if work.came.smallest.is_some_and(|smallest| smallest < 1) { i64::MIN } else { 1 };
        let highest = last.get(&work.name).copied().unwrap_or(i64::MAX);
        for range in &mut open {
            range.0 = range.0.max(lowest);
            range.1 = range.1.min(highest);
        }
        open.retain(|(low, high)| low <= high);
        work.open = open;
    }
    Ok(())
}

fn fill(
    forest: &Forest<'_>,
    target: &Target,
    book: &Book,
    backup: &Backup,
    shapes: &Shapes,
    works: &mut [Work],
    report: &mut Report,
) -> Result<()> {
    if backup.encoding != forest.pages.facts.encoding {
        report.problems.push(format!(
            "the backup stores text as {}, this database as {}: nothing was filled",
            backup.encoding, forest.pages.facts.encoding
        ));
        return Ok(());
    }
    for work in works.iter_mut().filter(|work| work.is_made) {
        let tree = &forest.trees[work.tree];
        let touched = !tree.holes.is_empty()
            || !work.open.is_empty()
            || work.came.aside > 0
            || book.count(book::List::Lost, work.tree)? > 0
            || book.count(book::List::Doubt, work.tree)? > 0;
        let Some(shape) = shapes.tables.get(&work.name).filter(|_| touched) else { continue };
        let holed = Holed { table: work.tree, name: &work.name, shape, open: &work.open };
        let filled = merge::fill(backup, target, book, &holed)
            .with_context(|| format!("can't fill the table {} from the backup", work.name))?;
        match filled {
            Some(aside) => work.aside += aside,
            None => report.problems.push(format!(
                "the backup has no table {} with these columns, so it fills none of it",
                work.name
            )),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
