//! The log of runs: one line of JSON each, appended in one write, so that a killed run costs at most its
//! own line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use super::Store;
use super::names::HISTORY_FILE;
use crate::base::file_facts;

impl Store {
    /// Appends a line.
    ///
    /// # Errors
    /// When the log can't be written.
    pub fn append_history(&self, line: &impl Serialize) -> Result<()> {
        let path = self.root().join(HISTORY_FILE);
        let json = serde_json::to_vec(line)?;
        let attempt = || -> io::Result<()> {
            match file_facts::create_private_file(&path) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
            // After a line that was cut off a new one begins.
            let start: &[u8] = if ends_whole(&mut file)? { b"" } else { b"\n" };
            file.write_all(&[start, &json, b"\n"].concat())?;
            file.sync_data()
        };
        attempt().with_context(|| format!("can't write {}", path.display()))
    }
}

fn ends_whole(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
