//! A path inside the project: relative, slash-separated raw bytes, without `..`, `.`, empty parts or NUL.
//!
//! Everything that is written while restoring goes through this type, so a hostile archive can't name a
//! place outside its target. Names need not be UTF-8; in JSON such a name is an object with the escaped
//! text and the raw bytes in base64.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::escape::escape;
use super::os_name;
use super::raw_path::RawPath;

/// A path inside the project. Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafePath(Vec<u8>);

impl SafePath {
    /// Checks raw bytes.
    ///
    /// # Errors
    /// When the path is empty, absolute, or has a part that is empty, `.`, `..` or contains NUL; on
    /// Windows also a backslash, a drive or stream colon, or a reserved device name.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<SafePath> {
        let bytes = bytes.into();
        let shown = escape(&bytes);
        if bytes.is_empty() {
            bail!("an empty path");
        }
        for part in bytes.split(|&b| b == b'/') {
            match part {
                b"" => bail!("the path {shown} is absolute or has an empty part"),
                b"." | b".." => bail!("the path {shown} has a part that is {}", escape(part)),
                _ if part.contains(&0) => bail!("the path {shown} has a NUL byte"),
                _ => {}
            }
            if let Some(reason) = os_name::refused_part(part) {
                bail!("the path {shown} can't be written on this system: {reason}");
            }
        }
        Ok(SafePath(bytes))
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or(&self.0)
    }

    /// The path of the folder it is in; `None` at the top.
    pub fn parent(&self) -> Option<SafePath> {
        let end = self.0.iter().rposition(|&b| b == b'/')?;
        Some(SafePath(self.0[..end].to_vec()))
    }

    /// The path of an entry of this folder.
    ///
    /// # Errors
    /// As [`SafePath::new`].
    pub fn join(&self, name: &[u8]) -> Result<SafePath> {
        SafePath::new([&self.0, b"/".as_slice(), name].concat())
    }

    /// The parts, from the top.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// The path below a root, for the system.
    ///
    /// # Errors
    /// When this system can't express the name (Windows and bytes that are not Unicode).
    pub fn below(&self, root: &Path) -> Result<PathBuf> {
        let mut path = root.to_path_buf();
        for part in self.parts() {
            path.push(os_name::to_os(part)?);
        }
        Ok(path)
    }
}

/// Whether some system takes this part of a path for `.git`: Windows and macOS do so for other letters, and
/// Windows for its short form. Git itself tracks no such name.
pub fn is_git_name(part: &[u8]) -> bool {
    part.eq_ignore_ascii_case(b".git") || part.eq_ignore_ascii_case(b"git~1")
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", escape(&self.0))
    }
}

impl Serialize for SafePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawPath(self.0.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SafePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SafePath, D::Error> {
        SafePath::new(RawPath::deserialize(deserializer)?.0).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_inside_are_accepted() {
        for good in ["a", "a/b", "-rf", "a b", "…", "a\nb", "..a", "a..", "...", ".git2"] {
            assert!(SafePath::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b"] {
            assert!(SafePath::new(bad).is_err(), "{bad:?}");
        }
        assert!(SafePath::new(b"caf\xe9".to_vec()).is_ok());
    }

    #[test]
    fn json_keeps_every_byte() {
        for name in [b"plain".to_vec(), b"caf\xe9/\n\\".to_vec(), "ümlaut".into()] {
            let path = SafePath::new(name).unwrap();
            let json = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<SafePath>(&json).unwrap(), path);
        }
        assert!(serde_json::from_str::<SafePath>("\"../x\"").is_err());
    }

    #[test]
    fn a_path_knows_its_folder_and_its_name() {
        let path = |text: &str| SafePath::new(text).unwrap();
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), None);
        assert_eq!(path("a/b").name(), b"b");
    }
}
