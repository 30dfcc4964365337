//! The end of the new database: what follows from its rows, and the proof that it is sound.

use std::path::Path;

use anyhow::{Result, bail};

use super::report::{Report, TableReport};
use super::target::Target;
use super::text::{self, TextIndex};
use crate::base::failure::is_disk_full;
use crate::base::interrupt;
use crate::catalog::Object;
use crate::check;

/// Whether it is an index that keeps rows out of its table, and not one that a constraint made.
pub fn is_unique_index(object: &Object) -> bool {
    let unique = |sql: &str| sql.get(..13).is_some_and(|start| start.eq_ignore_ascii_case("CREATE UNIQUE"));
    object.kind == "index" && object.sql_text().is_some_and(unique)
}

/// Indexes that forbid nothing, views, triggers, and the names of virtual tables.
///
/// # Errors
/// When the disk is full or the user asked to stop. What SQLite can't make is told.
pub fn make_the_rest(target: &Target, objects: &[Object], report: &mut Report) -> Result<()> {
    for kind in ["index", "view", "trigger"] {
        let wanted = objects.iter().filter(|o| o.kind == kind && o.sql.is_some() && !is_unique_index(o));
        for object in wanted {
            interrupt::check()?;
            if let Err(error) = target.make(object) {
                if is_disk_full(&error) {
                    return Err(error);
                }
                report.problems.push(format!("the {kind} {} can't be made here: {error:#}", object.name));
            }
        }
    }
    for object in objects.iter().filter(|object| object.is_virtual_table()) {
        if let Err(error) = target.name_virtual_table(object) {
            if is_disk_full(&error) {
                return Err(error);
            }
            report.problems.push(format!("the virtual table {} can't be named here: {error:#}", object.name));
        }
    }
    Ok(())
}

/// The new database must be sound. A full-text index of which something is lost is built anew from its rows.
///
/// # Errors
/// When it is not, or can't be read.
pub fn prove(made: &Path, objects: &[Object], report: &mut Report) -> Result<()> {
    let mut found = check::check(made)?;
    let is_hurt = |index: &TextIndex<'_>| {
        !found.is_sound()
            || report.tables.iter().any(|table| !table.is_whole() && is_about(index, &table.table))
    };
    let hurt: Vec<TextIndex<'_>> = objects.iter().filter_map(TextIndex::of).filter(is_hurt).collect();
    if !hurt.is_empty() {
        if report
            .tables
            .iter()
            .all(|table| table.is_whole() || !hurt.iter().any(|one| is_about(one, &table.table)))
        {
            report
                .problems
                .extend(found.damage.iter().map(|damage| format!("rows and their index disagree: {damage}")));
        }
        let rebuilt = text::rebuild(made, &hurt)?;
        for index in hurt.iter().filter(|index| rebuilt.iter().any(|name| name == index.name)) {
            report.notes.push(format!("the full-text index {} was built anew from its rows", index.name));
            for table in report.tables.iter_mut().filter(|table| index.owns(&table.table)) {
                *table = TableReport {
                    table: table.table.clone(),
                    read: table.read + table.doubtful + table.from_backup,
                    lost_at_most: Some(0),
                    built_anew: true,
                    ..TableReport::default()
                };
            }
        }
        found = check::check(made)?;
    }
    for damage in &found.damage {
        // What a module says of its own tables; the tables themselves are sound.
        let is_module = !damage.starts_with("malformed database schema")
            && objects.iter().any(|o| o.is_virtual_table() && damage.contains(&o.name));
        if !is_module {
            bail!("the new database is not sound, which is a fault of this tool: {damage}");
        }
        report.problems.push(damage.lines().collect::<Vec<_>>().join(" "));
    }
    Ok(())
}

/// Whether a table is a full-text index's own, or holds its rows.
fn is_about(index: &TextIndex<'_>, table: &str) -> bool {
    index.owns(table) || table.eq_ignore_ascii_case(&format!("{}_content", index.name))
}
