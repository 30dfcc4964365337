//! What a folder holds, for comparing two of them byte by byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// One entry, without following links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `file`, `dir`, `link` or `other`.
    pub kind: &'static str,
    /// Permission bits; 0 for links and where there are none.
    pub mode: u32,
    /// SHA-256 of a file, target of a link, else empty.
    pub content: String,
    /// Modification time in nanoseconds since 1970, when asked for; never for links.
    pub mtime_ns: Option<u128>,
}

/// Everything below a folder, `.git` included: raw path, slash-separated → entry.
pub type Fingerprint = BTreeMap<Vec<u8>, Entry>;

/// Takes the fingerprint of a folder.
pub fn fingerprint(folder: &Path, with_times: bool) -> Fingerprint {
    let mut out = Fingerprint::new();
    walk(folder, b"", with_times, &mut out);
    out
}

/// The paths that differ between two fingerprints, with how; empty when they are the same.
pub fn differences(before: &Fingerprint, after: &Fingerprint) -> Vec<String> {
    let mut names: Vec<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            format!("{}: {:?} -> {:?}", String::from_utf8_lossy(name), before.get(name), after.get(name))
        })
        .collect()
}

/// Leaves out what SQLite may make beside a database that is only read.
pub fn without_sidecars(mut tree: Fingerprint) -> Fingerprint {
    tree.retain(|name, _| !name.ends_with(b"-wal") && !name.ends_with(b"-shm"));
    tree
}

fn walk(folder: &Path, prefix: &[u8], with_times: bool, out: &mut Fingerprint) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let entry = entry.unwrap();
        let path = entry.path();
        let mut name = prefix.to_vec();
        name.extend(entry.file_name().as_encoded_bytes());
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = match meta.file_type() {
            t if t.is_symlink() => "link",
            t if t.is_dir() => "dir",
            t if t.is_file() => "file",
            _ => "other",
        };
        let content = match kind {
            "link" => {
                String::from_utf8_lossy(fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes()).into()
            }
            "file" => sha256(&path),
            _ => String::new(),
        };
        let mtime =
            meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let mtime_ns = (with_times && kind != "link").then_some(mtime);
        out.insert(name.clone(), Entry { kind, mode: mode(&meta, kind), content, mtime_ns });
        if kind == "dir" {
            name.push(b'/');
            walk(&path, &name, with_times, out);
        }
    }
}

/// SHA-256 of a file in lower-case hexadecimal.
pub fn sha256(path: &Path) -> String {
    let mut hasher = Sha256::new();
    std::io::copy(&mut fs::File::open(path).unwrap(), &mut HashWriter(&mut hasher)).unwrap();
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
fn mode(meta: &fs::Metadata, kind: &str) -> u32 {
    use std::os::unix::fs::MetadataExt;
    if kind == "link" { 0 } else { meta.mode() & 0o7777 }
}

#[cfg(windows)]
fn mode(_meta: &fs::Metadata, _kind: &str) -> u32 {
    0
}
