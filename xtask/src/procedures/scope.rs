//! Which part of a project a restore is about.

use std::collections::BTreeSet;

use crate::base::pattern::Pattern;
use crate::base::safe_path::SafePath;

/// Which part of a project.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All of it.
    All,
    /// What these patterns cover.
    Only(Vec<Pattern>),
    /// Exactly these paths.
    Paths(BTreeSet<SafePath>),
}

impl Scope {
    /// Whether a path belongs to it.
    pub fn has(&self, path: &SafePath, is_folder: bool) -> bool {
        match self {
            Scope::All => true,
            Scope::Only(patterns) => patterns.iter().any(|pattern| pattern.covers(path, is_folder)),
            Scope::Paths(paths) => paths.contains(path),
        }
    }
}
