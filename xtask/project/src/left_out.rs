//! Counts what a backup leaves out, a folder at a time, so that ten thousand ignored files are one line.

use std::collections::BTreeMap;

use crate::base::facts::LeftOut;
use crate::base::safe_path::SafePath;

/// What was left out so far.
#[derive(Default)]
pub struct Ledger(BTreeMap<(&'static str, SafePath), Group>);

#[derive(Default)]
struct Group {
    files: u64,
    bytes: u64,
    /// A lone file is named itself, not the folder that it is in.
    only: Option<SafePath>,
}

impl Ledger {
    /// A folder was left out as a whole; files and bytes are 0 where it was not counted.
    pub fn folder(&mut self, reason: &'static str, folder: &SafePath, files: u64, bytes: u64) {
        let group = self.0.entry((reason, folder.clone())).or_default();
        group.files += files;
        group.bytes += bytes;
        group.only = None;
    }

    /// A file was left out, counted with its own name.
    pub fn file(&mut self, reason: &'static str, file: &SafePath, bytes: u64) {
        self.folder(reason, file, 1, bytes);
    }

    /// A file was left out, counted with others of the folder it is in.
    pub fn among_others(&mut self, reason: &'static str, file: &SafePath, bytes: u64) {
        let Some(folder) = file.parent() else { return self.file(reason, file, bytes) };
        let group = self.0.entry((reason, folder)).or_default();
        group.only = (group.files == 0).then(|| file.clone());
        group.files += 1;
        group.bytes += bytes;
    }

    /// The list for the manifest, by reason and path.
    pub fn finish(self) -> Vec<LeftOut> {
        let line = |((reason, path), group): ((&str, SafePath), Group)| LeftOut {
            reason: reason.to_owned(),
            path: group.only.unwrap_or(path),
            files: group.files,
            bytes: group.bytes,
        };
        self.0.into_iter().map(line).collect()
    }
}

/// Bytes for people (`1.5 GiB`).
pub fn size_text(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (bytes.max(1).ilog2() / 10) as usize;
    if power == 0 {
        return format!("{bytes} {}", units[0]);
    }
    // One digit after the point, in whole numbers: tenths of the unit, rounded down.
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {}", tenths / 10, tenths % 10, units[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_file_is_named_and_several_are_counted() {
        let path = |text: &str| SafePath::new(text).unwrap();
        let mut ledger = Ledger::default();
        ledger.among_others("excluded", &path("a/1.log"), 5);
        ledger.among_others("excluded", &path("b/1.log"), 5);
        ledger.among_others("excluded", &path("b/2.log"), 6);
        ledger.among_others("excluded", &path("top.log"), 7);
        ledger.folder("cache", &path("b"), 0, 0);
        let lines: Vec<(String, String, u64, u64)> =
            ledger.finish().into_iter().map(|l| (l.reason, l.path.to_string(), l.files, l.bytes)).collect();
        let line =
            |reason: &str, path: &str, files, bytes| (reason.to_owned(), path.to_owned(), files, bytes);
        assert_eq!(
            lines,
            [
                line("cache", "b", 0, 0),
                line("excluded", "a/1.log", 1, 5),
                line("excluded", "b", 2, 11),
                line("excluded", "top.log", 1, 7),
            ]
        );
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }
}
