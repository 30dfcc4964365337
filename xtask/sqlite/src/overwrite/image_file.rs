//! A page image, read page by page: a private file that nobody writes to.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::page_one;

/// An image, before its first page.
pub struct ImageFile {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes per page; `None` for an image without pages, which any page size fits.
    pub page_size: Option<usize>,
    /// Pages that there are to read.
    pub pages: u32,
    /// The first bytes, as many as there are up to the length of a header.
    pub header: Vec<u8>,
}

impl ImageFile {
    /// Opens an image and looks whether it consists of whole pages.
    ///
    /// # Errors
    /// When it can't be read, or is no whole database.
    pub fn open(path: &Path) -> Result<ImageFile> {
        let attempt = || -> Result<ImageFile> {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            let mut header = Vec::new();
            (&file).take(page_one::HEADER as u64).read_to_end(&mut header)?;
            let (page_size, pages) = match (size, page_one::page_size(&header)) {
                (0, _) => (None, 0),
                (size, Some(page_size)) if size % page_size as u64 == 0 => {
                    let pages = u32::try_from(size / page_size as u64)?;
                    // SQLite's own files never end with it, and it can't be written.
                    let ends_badly = pages == page_one::lock_page(page_size);
                    (Some(page_size), pages - u32::from(ends_badly))
                }
                _ => bail!("it is not a whole SQLite database"),
            };
            let file = BufReader::with_capacity(1 << 20, File::open(path)?);
            Ok(ImageFile { path: path.to_path_buf(), file, page_size, pages, header })
        };
        attempt().with_context(|| format!("can't read the image {}", path.display()))
    }

    /// Reads the next page. One image without pages gives the page of an empty database, made to fit `live`,
    /// the first page of the live one.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&mut self, page: &mut [u8], live: &[u8]) -> Result<()> {
        if self.pages == 0 {
            page.copy_from_slice(&page_one::empty(live));
            return Ok(());
        }
        self.file.read_exact(page).with_context(|| format!("can't read the image {}", self.path.display()))
    }

    /// How many pages the live database has afterwards: SQLite has none without a page.
    pub fn pages_written(&self) -> u32 {
        self.pages.max(1)
    }
}
