//! `SHA256SUMS`: one line per file below `backup/`, as `sha256sum -c` reads them from inside that folder. The
//! list doesn't name itself. A name with a backslash, a newline or a carriage return is escaped the way
//! coreutils do, with a backslash before the digest.

use crate::index::Entry;

/// The folder that holds everything.
pub const TOP: &[u8] = b"backup/";

/// The lines for these entries; entries that are no files or lie elsewhere have none.
pub fn lines(entries: &[Entry]) -> impl Iterator<Item = Vec<u8>> {
    entries.iter().filter_map(|entry| {
        let name = entry.meta.path.bytes().strip_prefix(TOP)?;
        Some(line(&entry.digest?.to_string(), name))
    })
}

fn line(digest: &str, name: &[u8]) -> Vec<u8> {
    let escaped = name.iter().any(|b| matches!(b, b'\\' | b'\n' | b'\r'));
    let mut line = Vec::with_capacity(name.len() + 68);
    if escaped {
        line.push(b'\\');
    }
    line.extend_from_slice(digest.as_bytes());
    line.extend_from_slice(b"  ");
    for &byte in name {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_escaped_as_coreutils_do() {
        assert_eq!(line("ab", b"x y"), b"ab  x y\n");
        assert_eq!(line("ab", b"x\ny\\"), b"\\ab  x\\ny\\\\\n");
        assert_eq!(line("ab", b"\xff"), b"ab  \xff\n");
    }
}
