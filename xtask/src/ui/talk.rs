//! stderr, shared by messages and the progress line, so that neither is written into the other.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where talk goes. What can't be written is dropped: there is no other place left to say so.
pub struct Talk {
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    line_shown: bool,
}

impl Talk {
    /// Talk on a stream.
    pub fn new(out: Box<dyn Write + Send>) -> Talk {
        Talk { inner: Mutex::new(Inner { out, line_shown: false }) }
    }

    /// Whole lines; a progress line makes room for them.
    pub fn print(&self, text: &str) {
        let mut inner = self.lock();
        inner.clear();
        inner.write(&format!("{text}\n"));
    }

    /// Text that the user's answer follows on the same line.
    pub fn prompt(&self, text: &str) {
        let mut inner = self.lock();
        inner.clear();
        inner.write(text);
    }

    /// Replaces the progress line.
    pub fn draw(&self, line: &str) {
        let mut inner = self.lock();
        inner.write(&format!("\r{line}\x1b[K"));
        inner.line_shown = true;
    }

    /// Takes the progress line away.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while writing leaves nothing half-done that matters here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn clear(&mut self) {
        if std::mem::take(&mut self.line_shown) {
            self.write("\r\x1b[K");
        }
    }

    fn write(&mut self, text: &str) {
        let written: io::Result<()> = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        drop(written); // a closed stderr must not end the work, and there is nobody to tell
    }
}
