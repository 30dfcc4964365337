//! `salvage` on the command line.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::Command;
use super::table::{NOT_FOUND, USAGE, Verb, value};
use super::words::{self, Words};
use crate::base::escape::escape;

/// What may be typed.
pub const VERB: Verb = Verb {
    name: "salvage",
    words: "DATABASE",
    brief: "every readable row of a damaged database into a new one, and what is lost",
    about: "Reads a damaged SQLite database page by page and writes every row that can be read into a new file, which \
must not exist, with its schema and its indexes built anew. The damaged database is only read, as bytes. What comes \
from damaged pages is doubtful and named, what has no place goes into the table lost_and_found, and a report beside \
the new file tells per table what was read, what is doubtful and what is lost. Where rows may be missing then, the \
sqlite3 on the PATH is asked, if it can .recover: a row that only it reads is doubtful. With --merge the holes are filled from \
a backup of the same database; what undamaged pages show to be deleted since stays deleted. SQLite has no checksums: \
a value that was altered in place is noticed only when an index, the type of its column or the backup contradicts it.",
    options: &[
        value("--to", "FILE", "the new database; FILE.report.json is the report"),
        value("--merge", "BACKUP", "fill the holes from this backup (an id, a label, latest or a time)"),
    ],
    examples: &[
        ("salvage memory/index.db --to recovered.db", "what can be read of it"),
        (
            "salvage memory/index.db --to recovered.db --merge latest",
            "and the newest backup's rows in the holes",
        ),
    ],
    exits: &[
        (1, "nothing could be salvaged, and nothing was written"),
        USAGE,
        (3, "salvaged, but something is lost or doubtful"),
        NOT_FOUND,
        (6, "refused: FILE exists, or is no place for a database"),
    ],
    read,
};

/// `salvage`.
#[derive(Debug, PartialEq, Eq)]
pub struct Salvage {
    /// The damaged database, as typed.
    pub database: PathBuf,
    /// `--to FILE`.
    pub to: PathBuf,
    /// `--merge BACKUP`.
    pub merge: Option<String>,
}

fn read(words: &mut Words) -> Result<Command> {
    let to = words.value("--to").map(PathBuf::from);
    let merge = words.value("--merge").map(|word| words::text(&word)).transpose()?;
    let database = match words.free.as_slice() {
        [database] if !database.is_empty() => PathBuf::from(database),
        [] | [_] => bail!("which database? name its file"),
        [_, more, ..] => {
            bail!("one database can be named; {} is left over", escape(more.as_encoded_bytes()))
        }
    };
    let Some(to) = to.filter(|to| !to.as_os_str().is_empty()) else {
        bail!("--to FILE is missing: where the new database goes");
    };
    if merge.as_deref().is_some_and(|merge| merge.trim().is_empty()) {
        bail!("the name of the backup is empty");
    }
    Ok(Command::Salvage(Salvage { database, to, merge }))
}
