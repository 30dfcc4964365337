//! The digest beside an archive, in the form that `sha256sum -c` reads.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result};

use super::catalog::StoreEntry;
use super::names::{self, SUM};
use crate::base::digest::Digest;

/// No such file is longer.
const BYTES_MAX: u64 = 4096;

/// The digest that a file tells of an archive of that name; `None` when there is no such file.
///
/// # Errors
/// When the file can't be read, or is not what it should be.
pub fn read(file: &Path, archive: &str) -> Result<Option<Digest>> {
    let shown = || format!("can't read {}", file.display());
    let mut text = String::new();
    match File::open(file) {
        Ok(file) => file.take(BYTES_MAX).read_to_string(&mut text).with_context(shown)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(shown),
    };
    let digest = text.strip_suffix(&format!("  {archive}\n")).and_then(|digest| digest.parse().ok());
    digest.map(Some).with_context(|| format!("{} is damaged", file.display()))
}

/// The content of such a file.
pub fn text(digest: &Digest, archive: &str) -> String {
    format!("{digest}  {archive}\n")
}

impl StoreEntry {
    /// The digest of this backup's archive, as it was when it was made; `None` when nothing tells it any more.
    ///
    /// # Errors
    /// When the file that tells it can't be read or is damaged.
    pub fn digest(&self) -> Result<Option<Digest>> {
        let name = self.archive.file_name().unwrap_or_default().to_string_lossy();
        let beside = read(&names::beside(&self.archive, &self.id, SUM), &name)?;
        Ok(beside.or_else(|| self.summary.as_ref().map(|summary| summary.archive_sha256)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_of_sha256sum_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.tar.gz.sha256");
        let digest = Digest::of(b"x");
        assert_eq!(read(&file, "x.tar.gz").unwrap(), None);
        std::fs::write(&file, text(&digest, "x.tar.gz")).unwrap();
        assert_eq!(read(&file, "x.tar.gz").unwrap(), Some(digest));
        assert!(read(&file, "y.tar.gz").is_err());
        for wrong in ["", "abc  x.tar.gz\n", "\u{0}"] {
            std::fs::write(&file, wrong).unwrap();
            assert!(read(&file, "x.tar.gz").is_err(), "{wrong:?}");
        }
    }
}
