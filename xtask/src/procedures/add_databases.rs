//! Databases on their way into an archive: their copies are packed, and, beside that, checked and hashed.

use anyhow::{Context, Result};

use crate::archive::layout::{self, Part};
use crate::archive::manifest::{Database, Form};
use crate::archive::writer::{CHUNK, Writer};
use crate::base::digest::Digest;
use crate::base::facts::DatabaseFacts;
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::sqlite::check::{self, CheckReport};
use crate::sqlite::facts;

use super::add_dump::add_dump;
use super::add_frame::{Folders, LEVEL, meta, stream};
use super::copy_databases::{Copied, Source};

/// What an image holds and whether it is sound.
pub struct Examined {
    report: CheckReport,
    facts: Option<DatabaseFacts>,
}

/// What of a database is in the archive.
pub struct Packed {
    bytes: u64,
    image: Option<Digest>,
    dump: bool,
    findings: Vec<Finding>,
}

/// Checks and hashes every image; in the order of the databases, `None` for raw ones.
///
/// # Errors
/// When an image of ours can't be read, or the user stops it.
pub fn examine(copied: &Copied) -> Result<Vec<Option<Examined>>> {
    let examine = |source: &Source| match source {
        Source::Raw(_) => Ok(None),
        Source::Image(image) => {
            interrupt::check()?;
            let report = check::check(image)?;
            let facts = match facts::facts(image) {
                Ok(facts) => Some(facts),
                Err(error) if report.is_sound() => return Err(error),
                // Damage is in the report already.
                Err(_) => None,
            };
            Ok(Some(Examined { report, facts }))
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
        let mut packed = Packed { bytes: 0, image: None, dump: false, findings: Vec::new() };
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
                    match add_dump(writer, folders, copy, image, monitor)? {
                        None => packed.dump = true,
                        Some(finding) => packed.findings.push(finding),
                    }
                }
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
pub fn describe(
    copied: Copied,
    packed: Vec<Packed>,
    examined: Vec<Option<Examined>>,
) -> (Vec<Database>, Vec<Finding>) {
    let mut lines = Vec::new();
    let mut findings = copied.findings;
    for ((copy, packed), examined) in copied.databases.into_iter().zip(packed).zip(examined) {
        findings.extend(examined.iter().flat_map(|examined| judge(&copy.path, examined)));
        findings.extend(packed.findings);
        let (report, facts) = match examined {
            Some(examined) => (examined.report, examined.facts),
            None => (CheckReport::default(), None),
        };
        lines.push(Database {
            path: copy.path,
            form: if packed.image.is_some() { Form::Image } else { Form::Raw },
            mode: copy.attributes.mode,
            bytes: packed.bytes,
            image: packed.image,
            dump: packed.dump,
            facts,
            damage: report.damage,
            foreign_key_violations: report.foreign_keys,
        });
    }
    (lines, findings)
}

fn judge(path: &SafePath, examined: &Examined) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(first) = examined.report.damage.first() {
        let more = match examined.report.damage.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        findings.push(
            Finding::problem("database-damaged", format!("the database itself is damaged: {first}{more}"))
                .at(path)
                .hint("this backup is not counted as a good one; bring the database back from an earlier one: cargo xtask list"),
        );
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
