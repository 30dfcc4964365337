//! Puts the SQL dump of a database into an archive, in chunks that end at rows.

use std::path::Path;

use anyhow::{Context, Result};

use crate::archive::layout::{self, Part};
use crate::archive::writer::{CHUNK, Writer};
use crate::base::finding::Finding;
use crate::base::interrupt;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::sqlite::dump::{self, DumpSink, Dumped, Foreign, Gap, Lack, Reorder};

use super::add_databases::why;
use super::add_frame::{Folders, LEVEL, meta};
use super::copy_databases::Copy;

/// What became of a dump.
pub struct Added {
    /// What was written; absent where nothing is in the archive.
    pub dumped: Option<Dumped>,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

/// Adds the dump of an image, as far as the image can be read; where no dump can be made, nothing is added.
///
/// # Errors
/// When the archive can't be written.
pub fn add_dump(
    writer: &mut Writer,
    folders: &mut Folders,
    copy: &Copy,
    image: &Path,
    monitor: &dyn Monitor,
) -> Result<Added> {
    let place = layout::place(&Part::Dump(copy.path.clone()))?.context("a dump has a place")?;
    folders.above(writer, &place)?;
    let mut attributes = copy.attributes;
    attributes.mode = 0o600;
    writer.begin(meta(place, &attributes), LEVEL)?;
    let mut cutter =
        Cutter { writer, monitor, chunk: Vec::with_capacity(2 * CHUNK), row_start: 0, broken: None };
    let dumped = dump::dump(image, &mut cutter);
    let dumped = dumped.and_then(|dumped| cutter.flush().map(|()| dumped));
    if let Some(error) = cutter.broken.take() {
        return Err(error);
    }
    match dumped {
        Ok(dumped) => {
            writer.end()?;
            let findings = findings(&dumped, &copy.path);
            Ok(Added { dumped: Some(dumped), findings })
        }
        Err(error) => {
            interrupt::check()?;
            writer.abort()?;
            let message = format!("no SQL dump of the database could be made: {}", why(&error));
            let finding = Finding::problem("dump-failed", message)
                .at(&copy.path)
                .hint("its page image is in the backup");
            Ok(Added { dumped: None, findings: vec![finding] })
        }
    }
}

/// What is said of a dump that holds all rows; it is true as long as the database is the same.
pub const LASTING: [&str; 3] = ["dump-without-index", "dump-order", "module-missing"];

/// So many gaps of one database are told one by one.
const GAPS_MAX: usize = 5;

/// What can't come back from a dump alone. Where the page image has all of it, it is no problem, but whoever
/// restores from dumps has to know.
fn findings(dumped: &Dumped, path: &SafePath) -> Vec<Finding> {
    let image = format!("its page image has it: cargo xtask restore latest --only '{path}'");
    let lack = |lack: &Lack| {
        let Lack { index, table, reason } = lack;
        let text = format!(
            "the index {index} of the table {table} is not in the SQL dump, since only the application can make it: {reason}"
        );
        Finding::advice("dump-without-index", text).at(path).hint(image.clone())
    };
    let reorder = |reorder: &Reorder| {
        let (table, collations) = (&reorder.table, reorder.collations.join(", "));
        let text = format!(
            "keys of the table {table} are in the order of {collations}, which only the application knows; made              from the SQL dump, they are in the order of bytes until the application runs REINDEX"
        );
        Finding::advice("dump-order", text).at(path).hint(image.clone())
    };
    let foreign = |foreign: &Foreign| {
        let Foreign { table, module, parts } = foreign;
        let text = match parts.as_slice() {
            [] => format!(
                "the virtual table {table} needs the module {module}, which this program does not have, and keeps no tables in the database: what it shows is saved only where it really lies"
            ),
            parts => format!(
                "the virtual table {table} needs the module {module}, which this program does not have; its content is saved as the tables {}",
                parts.join(", ")
            ),
        };
        Finding::advice("module-missing", text).at(path)
    };
    let gap = |gap: &Gap| {
        let Gap { table, rows, reason } = gap;
        let text = format!(
            "the SQL dump has a gap, so it can't be loaded: of the table {table} it holds the {rows} rows before the \
             damage ({reason})"
        );
        let hint = format!("all rows that can still be read: cargo xtask salvage '{path}' --to FILE");
        Finding::problem("dump-partial", text).at(path).hint(hint)
    };
    let gaps = dumped.gaps.iter().take(GAPS_MAX).map(gap);
    let lacks = gaps.chain(dumped.lacks.iter().map(lack));
    lacks.chain(dumped.reorder.iter().map(reorder)).chain(dumped.foreign.iter().map(foreign)).collect()
}

/// Cuts a dump into chunks that end at rows, at places which depend on the rows' keys alone: a row that is
/// added or changed moves the cuts near it and no others.
struct Cutter<'a> {
    writer: &'a mut Writer,
    monitor: &'a dyn Monitor,
    chunk: Vec<u8>,
    row_start: usize,
    /// An error of the archive, which must not pass for one of the database.
    broken: Option<anyhow::Error>,
}

/// Chunks of a dump have at least so many bytes, and at most four times [`CHUNK`].
const DUMP_CHUNK_MIN: usize = CHUNK / 2;

impl Cutter<'_> {
    fn flush(&mut self) -> Result<()> {
        self.row_start = 0;
        self.monitor.advance(self.chunk.len() as u64);
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(2 * CHUNK));
        if let Err(error) = self.writer.chunk(chunk) {
            self.broken = Some(error);
            anyhow::bail!("the archive can't be written");
        }
        Ok(())
    }
}

impl DumpSink for Cutter<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        interrupt::check()?;
        while self.chunk.len() + bytes.len() > 4 * CHUNK {
            let (now, later) = bytes.split_at(4 * CHUNK - self.chunk.len());
            self.chunk.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
        self.chunk.extend_from_slice(bytes);
        Ok(())
    }

    fn row_end(&mut self, key_hash: u64) -> Result<()> {
        let row = (self.chunk.len() - self.row_start.min(self.chunk.len())) as u64;
        self.row_start = self.chunk.len();
        // A longer row is a likelier place, so that chunks are about as long whatever the rows are like.
        let likely = (u64::MAX / DUMP_CHUNK_MIN as u64).saturating_mul(row.max(1));
        if self.chunk.len() >= DUMP_CHUNK_MIN && key_hash < likely { self.flush() } else { Ok(()) }
    }
}
