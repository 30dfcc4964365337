//! Databases on their way into an archive: their copies are packed, and, beside that, checked and hashed.

use anyhow::{Context, Result, ensure};

use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Form};
use crate::archive::writer::{CHUNK, Writer};
use crate::base::digest::Digest;
use crate::base::facts::DatabaseFacts;
use crate::base::failure::ResultExt;
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::sqlite::check::{self, CheckReport};
use crate::sqlite::dump::Dumped;
use crate::sqlite::facts;

use super::add_dump::add_dump;
use super::add_frame::{Folders, LEVEL, meta, stream};
use super::copy_databases::{Copied, Source};
use super::unchanged::Carried;

/// What an image holds and whether it is sound.
pub struct Examined {
    report: CheckReport,
    facts: Option<DatabaseFacts>,
    /// Why its content can't be read although it is sound: what it needs is not there.
    unread: Option<String>,
}

/// What of a database is in the archive.
pub struct Packed {
    bytes: u64,
    image: Option<Digest>,
    dump: Option<Dumped>,
    findings: Vec<Finding>,
    /// What the earlier backup says, where it comes from there.
    carried: Option<Database>,
}

/// Checks and hashes every image; in the order of the databases, `None` for raw ones.
///
/// # Errors
/// When an image of ours can't be read, or the user stops it.
pub fn examine(copied: &Copied) -> Result<Vec<Option<Examined>>> {
    let examine = |source: &Source| match source {
        Source::Raw(_) | Source::Unchanged(_) => Ok(None),
        Source::Image(image) => {
            interrupt::check()?;
            let report = check::check(image)?;
            let (facts, unread) = match facts::facts(image) {
                Ok(facts) => (Some(facts), None),
                // Damage is in the report already.
                Err(_) if !report.is_sound() => (None, None),
                Err(error) if facts::is_about_database(&error) => (None, Some(why(&error))),
                Err(error) => return Err(error),
            };
            Ok(Some(Examined { report, facts, unread }))
        }
    };
    copied.databases.iter().map(|copy| examine(&copy.source)).collect()
}

/// Packs the copies: images, dumps if wanted, raw files; in the order of the databases.
///
/// # Errors
/// When the archive can't be written.
pub fn pack(
    copied: &Copied,
    writer: &mut Writer,
    folders: &mut Folders,
    dumps: bool,
    monitor: &dyn Monitor,
) -> Result<Vec<Packed>> {
    let mut all = Vec::new();
    for copy in &copied.databases {
        let mut packed = Packed { bytes: 0, image: None, dump: None, findings: Vec::new(), carried: None };
        match &copy.source {
            Source::Image(image) => {
                let place =
                    layout::place(&Part::Image(copy.path.clone()))?.context("an image has a place")?;
                folders.above(writer, &place)?;
                let size = std::fs::metadata(image).map(|meta| meta.len()).ok();
                monitor.step(&format!("packing {}", copy.path), size);
                let head = meta(place, &copy.attributes);
                let (bytes, digest) = stream(writer, head, image, LEVEL, CHUNK, monitor)?;
                (packed.bytes, packed.image) = (bytes, Some(digest));
                if dumps {
                    // How long a dump gets is not known before it is written.
                    monitor.step(&format!("dumping {}", copy.path), None);
                    let added = add_dump(writer, folders, copy, image, monitor)?;
                    (packed.dump, packed.findings) = (added.dumped, added.findings);
                }
            }
            Source::Unchanged(carried) => {
                let Carried { line, image, dump, findings } = carried.as_ref();
                for entry in [Some(image), dump.as_ref()].into_iter().flatten() {
                    folders.above(writer, &entry.meta.path)?;
                    let mut attributes = copy.attributes;
                    if entry.meta.path != image.meta.path {
                        attributes.mode = 0o600;
                    }
                    let done = writer.carry(meta(entry.meta.path.clone(), &attributes), entry)?;
                    ensure!(done, "{} can't be taken over", entry.meta.path);
                }
                packed.carried = Some(line.clone());
                packed.findings.clone_from(findings);
            }
            Source::Raw(files) => {
                monitor.step(&format!("packing {}", copy.path), None);
                for (path, file) in files {
                    let place = layout::place(&Part::Raw(path.clone()))?.context("raw bytes have a place")?;
                    folders.above(writer, &place)?;
                    let head = meta(place, &copy.attributes);
                    packed.bytes += stream(writer, head, file, LEVEL, CHUNK, monitor)?.0;
                }
            }
        }
        all.push(packed);
    }
    Ok(all)
}

/// The lines of the manifest, and what the user should know of the databases.
///
/// # Errors
/// When a dump does not hold what its image holds.
pub fn describe(
    copied: Copied,
    packed: Vec<Packed>,
    examined: Vec<Option<Examined>>,
) -> Result<(Vec<Database>, Vec<Finding>)> {
    let mut lines = Vec::new();
    let mut findings = copied.findings;
    for ((copy, packed), examined) in copied.databases.into_iter().zip(packed).zip(examined) {
        if let Some(line) = packed.carried {
            findings.extend(packed.findings);
            lines.push(Database { mode: copy.attributes.mode, seen: copy.seen, ..line });
            continue;
        }
        if let (Some(dumped), Some(examined)) = (&packed.dump, &examined) {
            cross_check(&copy.path, dumped, examined)?;
        }
        findings.extend(examined.iter().flat_map(|examined| judge(&copy.path, examined)));
        findings.extend(packed.findings);
        let (report, facts) = match examined {
            Some(examined) => (examined.report, examined.facts),
            None => (CheckReport::default(), None),
        };
        let dumped = packed.dump.as_ref();
        lines.push(Database {
            path: copy.path,
            form: if packed.image.is_some() { Form::Image } else { Form::Raw },
            mode: copy.attributes.mode,
            bytes: packed.bytes,
            image: packed.image,
            dump: dumped.is_some(),
            dump_partial: dumped.is_some_and(|dumped| !dumped.gaps.is_empty()),
            dump_logical: dumped.and_then(|dumped| dumped.logical),
            facts,
            damage: report.damage,
            damaged_tables: report.tables,
            foreign_key_violations: report.foreign_keys,
            seen: copy.seen,
        });
    }
    Ok((lines, findings))
}

/// Holds what was written as SQL, counted and hashed as it was written, against a second reading of the image.
/// Both are of one and the same file, so a difference is a fault of this machine or of this program, and no
/// backup is made of it.
fn cross_check(path: &SafePath, dumped: &Dumped, examined: &Examined) -> Result<()> {
    let attempt = || -> Result<()> {
        let Some(read) = &examined.facts else { return Ok(()) };
        let Some(written) = &dumped.facts else {
            let gap = dumped.gaps.first().map_or("", |gap| &gap.table);
            ensure!(!examined.report.is_sound(), "only the beginning of the table {gap} could be written");
            return Ok(());
        };
        for (written, read) in written.tables.iter().zip(&read.tables) {
            let (rows, name) = (written.rows, &written.name);
            ensure!(*name == read.name, "the table {} is missing", read.name);
            ensure!(
                rows == read.rows,
                "{rows} rows of the table {name} were written, and it has {}",
                read.rows
            );
            ensure!(written.logical == read.logical, "other values of the table {name} were written");
        }
        ensure!(written == read, "another schema was written");
        Ok(())
    };
    attempt()
        .with_context(|| format!("the SQL dump of {path} is not what its page image holds"))
        .hint("the memory or the disk of this machine may be failing; run it once more: cargo xtask backup")
}

/// Why a copy of ours can't be read, without the name of the copy, which is gone by the time somebody reads it.
pub fn why(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

/// So many names are told.
const NAMES_MAX: usize = 10;

fn names(all: &[String]) -> String {
    let shown = all.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > NAMES_MAX { format!("{shown} and {} more", all.len() - NAMES_MAX) } else { shown }
}

/// The command that reads what can be read of a damaged database.
pub fn salvage(path: &SafePath) -> String {
    format!("cargo xtask salvage '{path}' --to FILE --merge latest")
}

fn judge(path: &SafePath, examined: &Examined) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(first) = examined.report.damage.first() {
        let more = match examined.report.damage.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let place = match examined.report.tables.as_slice() {
            [] => String::new(),
            [table] => format!(" in the table {table}"),
            tables => format!(" in the tables {}", names(tables)),
        };
        findings.push(
            Finding::problem(
                "database-damaged",
                format!("the database itself is damaged{place}: {first}{more}"),
            )
            .at(path)
            .hint(format!(
                "this backup is not counted as a good one; what can still be read of it: {}; or as it was in \
                     the last good one: cargo xtask restore latest --only '{path}'",
                salvage(path)
            )),
        );
    }
    if let Some(reason) = &examined.unread {
        let text = format!(
            "its pages are saved, but its content can't be read without its application: {reason}; so nothing of it \
             was counted or compared"
        );
        findings.push(
            Finding::problem("database-unread", text)
                .at(path)
                .hint("this backup is not counted as a good one; leave the database out with `exclude` of Cargo.toml if it does not matter, then: cargo xtask backup"),
        );
    }
    if let Some(first) = examined.report.unchecked.first() {
        let text = format!("not all of it can be checked without its application: {first}");
        findings.push(Finding::advice("database-unchecked", text).at(path));
    }
    if examined.report.foreign_keys > 0 {
        let n = examined.report.foreign_keys;
        findings.push(
            Finding::advice(
                "foreign-keys",
                format!("{n} rows refer to rows that are not there; they are saved as they are"),
            )
            .at(path),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::dump::{self, DumpSink, Gap};

    struct Nowhere;

    impl DumpSink for Nowhere {
        fn write(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn row_end(&mut self, _: u64) -> Result<()> {
            Ok(())
        }
    }

    /// A database, dumped and read once more.
    fn both(sql: &str) -> (Dumped, Examined) {
        let folder = tempfile::tempdir().unwrap();
        let (image, script) = (folder.path().join("a.db"), format!("BEGIN;{sql};COMMIT;"));
        crate::sqlite::load::load(&mut script.as_bytes(), &image).unwrap();
        let examined = Examined {
            report: check::check(&image).unwrap(),
            facts: facts::facts(&image).ok(),
            unread: None,
        };
        (dump::dump(&image, &mut Nowhere).unwrap(), examined)
    }

    #[test]
    fn a_dump_that_does_not_hold_its_image_is_an_error_that_says_where() {
        let path = SafePath::new("memory/index.db").unwrap();
        let check = |dumped: &Dumped, examined: &Examined| {
            cross_check(&path, dumped, examined).map_err(|error| format!("{error:#}"))
        };
        let table = "CREATE TABLE t(a);CREATE TABLE u(a);INSERT INTO t VALUES(1);INSERT INTO t VALUES(2)";
        let (dumped, examined) = both(table);
        check(&dumped, &examined).unwrap();
        let last = "t VALUES(2)";
        for (other, said) in [
            ("t VALUES(2);INSERT INTO u VALUES(5)", "0 rows of the table u were written, and it has 1"),
            ("t VALUES(2.0)", "other values of the table t were written"),
            ("t(rowid,a) VALUES(9,2)", "other values of the table t were written"),
            ("t VALUES(2);CREATE TABLE v(a)", "another schema was written"),
            ("t VALUES(2);CREATE INDEX i ON t(a)", "another schema was written"),
            ("t VALUES(2);PRAGMA user_version=3", "another schema was written"),
        ] {
            let (_, examined) = both(&table.replace(last, other));
            let error = check(&dumped, &examined).unwrap_err();
            assert!(error.contains("memory/index.db") && error.contains(said), "{other}: {error}");
        }
        // A gap is only fine where the check found damage, too.
        let gap = Gap { table: "t".to_owned(), rows: 1, reason: "malformed".to_owned() };
        let torn = Dumped { gaps: vec![gap], ..Dumped::default() };
        assert!(check(&torn, &examined).unwrap_err().contains("only the beginning of the table t"));
        let mut damaged = examined;
        damaged.report.damage.push("malformed".to_owned());
        check(&torn, &damaged).unwrap();
    }
}
