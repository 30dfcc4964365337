//! Trees: what lies where. An archive, a disk and a commit can each become one, so that one comparison
//! serves all of them.

use std::collections::BTreeMap;

use super::digest::Digest;
use super::safe_path::SafePath;

/// What something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Digest of its content; `None` where it was not needed, since the size told enough.
        digest: Option<Digest>,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Where it points, as raw bytes.
        target: Vec<u8>,
    },
}

/// One thing in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, at most `0o7777`; a link has none that count.
    pub mode: u32,
}

impl Leaf {
    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// Bytes of a file; 0 of anything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            Kind::Folder | Kind::Link { .. } => 0,
        }
    }

    /// Whether both hold the same. Files whose digests are not both known do not.
    pub fn same_content(&self, other: &Leaf) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::File { digest: Some(a), .. }, Kind::File { digest: Some(b), .. }) => a == b,
            (Kind::File { .. }, Kind::File { .. }) => false,
            (a, b) => a == b,
        }
    }

    /// Whether permissions are the same, as far as they count.
    pub fn same_mode(&self, other: &Leaf) -> bool {
        self.mode == other.mode || matches!(self.kind, Kind::Link { .. })
    }
}

/// What lies where; a folder stands before what is in it.
pub type Tree = BTreeMap<SafePath, Leaf>;
