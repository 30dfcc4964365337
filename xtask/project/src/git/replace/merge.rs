//! What becomes of each ref and reflog that is there, given what the backup holds. Decisions only.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::super::refs::Value;
use super::compare::differs;
use super::live::Live;
use super::wanted::Wanted;
use crate::base::escape::escape;
use crate::base::finding::Finding;
use crate::base::os_name;

/// What becomes of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It becomes what the backup says.
    Saved,
    /// The backup does not hold it, and it stays as it is.
    Stays,
    /// The backup does not hold it, and its name can't be beside one of the backup (`a`, and `a/b`).
    Yields,
    /// The backup does not hold it, and it goes.
    Goes,
}

/// Both sides, compared.
pub(super) struct Merge<'a> {
    live: &'a Live,
    wanted: &'a Wanted,
    saved: BTreeSet<&'a [u8]>,
    saved_logs: BTreeSet<&'a [u8]>,
    exact: bool,
}

impl<'a> Merge<'a> {
    pub fn new(live: &'a Live, wanted: &'a Wanted, exact: bool) -> Merge<'a> {
        let saved = wanted.refs.keys().map(String::as_bytes).collect();
        Merge { live, wanted, saved, saved_logs: wanted.logs(), exact }
    }

    /// What becomes of a ref.
    pub fn of(&self, name: &[u8]) -> Fate {
        let known = std::str::from_utf8(name).ok().filter(|name| self.live.refs.contains_key(*name));
        match known {
            _ if self.saved.contains(name) => Fate::Saved,
            _ if clashes(&self.saved, name) => Fate::Yields,
            // What nobody can read is in no backup either: it stays where it is.
            None => Fate::Stays,
            Some(_) if self.exact => Fate::Goes,
            // HEAD was at a branch before its first commit, and is again.
            Some(name) if matches!(&self.wanted.head, Value::Symbolic(unborn) if unborn == name) => {
                Fate::Goes
            }
            // The marks of a bisect or a rebase come and go with it.
            Some(name) if name.starts_with("refs/bisect/") || name.starts_with("refs/rewritten/") => {
                Fate::Goes
            }
            Some(_) => Fate::Stays,
        }
    }

    /// What becomes of a reflog: with its ref, as a rule.
    pub fn of_log(&self, name: &[u8]) -> Fate {
        if self.saved_logs.contains(name) {
            return Fate::Saved;
        }
        if clashes(&self.saved_logs, name) {
            return Fate::Yields;
        }
        let is_ref = self.live.loose.contains_key(name) || self.live.packed.contains_key(name);
        match self.of(name) {
            // The backup has the ref, and no log of it.
            Fate::Saved => Fate::Goes,
            Fate::Stays if name == b"HEAD" || (self.exact && !is_ref) => Fate::Goes,
            fate => fate,
        }
    }

    /// Names of the reflogs that would change.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn logs_that_differ(&self, source: &Path, common: &Path) -> Result<Vec<String>> {
        let mut names: BTreeSet<&[u8]> = self.saved_logs.clone();
        names.extend(self.live.logs.iter().map(Vec::as_slice));
        let mut found = Vec::new();
        for name in names {
            let path = Path::new("logs").join(os_name::to_os(name)?);
            let changes = match self.of_log(name) {
                Fate::Saved => differs(&source.join(&path), &common.join(&path))?,
                Fate::Stays => false,
                Fate::Yields | Fate::Goes => true,
            };
            if changes {
                found.push(escape(name));
            }
        }
        Ok(found)
    }

    /// What of this is worth a word.
    pub fn advice(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let live: BTreeSet<&[u8]> =
            self.live.loose.keys().chain(self.live.packed.keys()).map(Vec::as_slice).collect();
        let list = |names: Vec<&[u8]>| names.into_iter().take(5).map(escape).collect::<Vec<_>>().join(", ");
        let yielding: Vec<&[u8]> =
            live.iter().copied().filter(|name| !self.exact && self.of(name) == Fate::Yields).collect();
        if !yielding.is_empty() {
            let what = format!(
                "{} later refs go, since their names can't be beside those of the backup: {}",
                yielding.len(),
                list(yielding)
            );
            findings.push(Finding::advice("git-ref-yields", what).hint("the safety backup has them"));
        }
        let broken = |name: &&[u8]| {
            self.of(name) == Fate::Stays
                && !name.starts_with(b"refs/xtask/")
                && !std::str::from_utf8(name).is_ok_and(|name| self.live.refs.contains_key(name))
        };
        let broken: Vec<&[u8]> = live.iter().copied().filter(broken).collect();
        if !broken.is_empty() {
            let what = format!("{} refs can't be read and stay as they are: {}", broken.len(), list(broken));
            findings.push(
                Finding::advice("git-refs", what)
                    .hint("`git fsck` tells more; a broken ref can be deleted with `git update-ref -d`"),
            );
        }
        findings
    }

    /// Whether the loose file of a ref stays as it is.
    pub fn loose_stays(&self, name: &[u8]) -> bool {
        match self.of(name) {
            Fate::Saved => {
                let wanted = std::str::from_utf8(name).ok().and_then(|name| self.wanted.refs.get(name));
                self.live.loose.get(name).is_some_and(|value| value.as_ref() == wanted && wanted.is_some())
            }
            fate => fate == Fate::Stays,
        }
    }

    /// Whether the line of a packed ref stays as it is.
    pub fn packed_stays(&self, name: &[u8]) -> bool {
        match self.of(name) {
            Fate::Saved => {
                let wanted = std::str::from_utf8(name).ok().and_then(|name| self.wanted.refs.get(name));
                let line = self.live.packed.get(name);
                line.is_some_and(|line| wanted == Some(&Value::Id(line.id.clone())))
            }
            fate => fate == Fate::Stays,
        }
    }
}

/// Whether a name can't be beside these: one of them is a folder for the other.
fn clashes(names: &BTreeSet<&[u8]>, name: &[u8]) -> bool {
    let inside = [name, b"/"].concat();
    let above = (0..name.len()).filter(|&at| name[at] == b'/').any(|at| names.contains(&name[..at]));
    above || names.range(inside.as_slice()..).next().is_some_and(|next| next.starts_with(&inside))
}
