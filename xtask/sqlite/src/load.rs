//! Builds a new database from a dump.
//!
//! A dump out of an archive is untrusted: SQL can read and write other files, load code, or compute for ever.
//! So every statement is held against a list of what a dump needs (`rules`), rows never run as SQL where they
//! are plain (`row`), time and memory are limited by what the dump's size can justify (`meter`), the file is
//! new and private, nothing of it stays after an error, and a dump without its COMMIT is an error. Every
//! refusal names the line.
//!
//! This thread reads and splits the dump, another one has the database. The other one can be left behind: when
//! it is caught in a single step of SQLite, which nothing can interrupt, loading fails all the same.

use std::fs::OpenOptions;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use self::statements::Statements;
use self::worker::Worker;
use crate::base::{durable, file_facts};

pub mod alone;
mod cut;
mod meter;
pub(crate) mod row;
mod rules;
mod statements;
#[cfg(test)]
mod tests;
mod worker;
mod writer;

/// Loads a dump into a new file that only its owner can read, and syncs it. Memory stays flat but for the
/// longest statement.
///
/// # Errors
/// When the file exists, when a statement fails or is not allowed (names its line), or when the dump ends
/// early. The file is removed then.
pub fn load(dump: &mut dyn BufRead, to: &Path) -> Result<Loaded> {
    let to = std::path::absolute(to)?;
    file_facts::create_private_file(&to).with_context(|| format!("can't create {}", to.display()))?;
    let partial = Partial(Some(to.clone()));
    let mut attempt = || -> Result<Loaded> {
        let loaded = run(dump, &to)?;
        OpenOptions::new().write(true).open(&to)?.sync_all()?;
        durable::sync_dir(to.parent().context("a file needs a folder")?)?;
        Ok(loaded)
    };
    let loaded = attempt().with_context(|| format!("can't load the dump into {}", to.display()))?;
    partial.keep();
    Ok(loaded)
}

/// What was loaded.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Whether there are rows that take much memory: whoever reads them goes [`alone`](alone::alone).
    pub has_long_rows: bool,
}

/// A file that is removed, with what SQLite may have put beside it, unless it is kept.
struct Partial(Option<PathBuf>);

impl Partial {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        for ending in ["", "-journal", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            // An error is on its way already; whoever made the folder clears what is left.
            let _ = durable::remove_file(Path::new(&name));
        }
    }
}

fn run(dump: &mut dyn BufRead, to: &Path) -> Result<Loaded> {
    let mut worker = Worker::start(to)?;
    let mut statements = Statements::new(dump);
    let read = loop {
        match statements.next(&mut worker) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // Whatever happened, the file is closed before it is synced or removed.
    let finished = worker.finish();
    read?;
    let complete = finished?;
    if let Some(line) = statements.unfinished() {
        bail!("the dump ends in the middle of the statement that begins at line {line}");
    }
    ensure!(complete, "the dump ends at line {} without its COMMIT", statements.line());
    Ok(Loaded { has_long_rows: statements.was_long() })
}
