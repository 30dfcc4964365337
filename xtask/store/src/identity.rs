//! Whose store it is (`store.json`), and how it is related to the project at hand. A store belongs to one
//! working copy: two that write into one would rotate each other's backups away.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::clock::Instant;
use crate::base::failure::{Failure, Kind};
use crate::base::raw_path::RawPath;

/// The file in a store that says whose it is.
pub const STORE_FILE: &str = "store.json";

/// The newest form of it that this tool reads.
pub const STORE_FORMAT: u32 = 1;

/// A working copy: where it is and what makes it the same project as another copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Name of the machine.
    pub host: String,
    /// Its folder.
    pub path: RawPath,
    /// Ids of the commits without parents that HEAD comes from.
    #[serde(default)]
    pub root_commits: Vec<String>,
    /// URLs of its remotes, without passwords.
    #[serde(default)]
    pub remotes: Vec<String>,
}

impl Owner {
    /// The working copy at `root` on this machine.
    ///
    /// # Errors
    /// On Windows, when the path is not Unicode.
    pub fn here(root: &Path, root_commits: Vec<String>, remotes: Vec<String>) -> Result<Owner> {
        Ok(Owner { host: host_name(), path: RawPath::of(root)?, root_commits, remotes })
    }

    /// Whether a root commit or a remote is common to both.
    pub fn shares_history(&self, other: &Owner) -> bool {
        let common = |a: &[String], b: &[String]| a.iter().any(|one| b.contains(one));
        common(&self.root_commits, &other.root_commits) || common(&self.remotes, &other.remotes)
    }

    /// What the store of this owner is to the project `present`. The same folder of the same machine
    /// stays the owner whatever its history became: losing that is what backups are for.
    pub fn relation(&self, present: &Owner) -> Relation {
        if self.host == present.host && self.path == present.path {
            Relation::Own
        } else if self.shares_history(present) {
            Relation::SameProject
        } else {
            Relation::Foreign
        }
    }
}

/// What a store is to the present project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Its own.
    Own,
    /// That of another copy: may be read; written only after `--adopt`.
    SameProject,
    /// That of another project.
    Foreign,
}

/// The content of `store.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// Version of the store's form.
    pub format: u32,
    /// Whose it is.
    #[serde(flatten)]
    pub owner: Owner,
    /// When it was made.
    pub created: Instant,
}

/// Reads the `store.json` of a store.
///
/// # Errors
/// When there is none, it can't be understood, or it is of a newer form.
pub fn read(store: &Path) -> Result<StoreInfo> {
    #[derive(Deserialize)]
    struct Form {
        format: u32,
    }
    let file = store.join(STORE_FILE);
    let shown = || format!("can't read {}", file.display());
    let bytes = std::fs::read(&file).with_context(shown)?;
    let form: Form = serde_json::from_slice(&bytes).with_context(shown)?;
    if form.format > STORE_FORMAT {
        let text = format!("the store {} was made by a newer version of this tool", store.display());
        return Err(Failure::new(Kind::Refused, text)
            .hint("use the executable that lies in its bin folder")
            .into());
    }
    serde_json::from_slice(&bytes).with_context(shown)
}

/// The stores in `base` that belong to other copies of the project of `owner`, with whose they are. What
/// is no store, or can't be read, is not among them: this only looks for help.
pub fn stores_of_same_project(base: &Path, owner: &Owner) -> Vec<(PathBuf, StoreInfo)> {
    let Ok(entries) = std::fs::read_dir(base) else { return Vec::new() };
    let mut stores: Vec<(PathBuf, StoreInfo)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), read(&entry.path()).ok()?)))
        .filter(|(_, info)| info.owner.relation(owner) == Relation::SameProject)
        .collect();
    stores.sort_by(|a, b| a.0.cmp(&b.0));
    stores
}

/// The name of this machine.
#[cfg(unix)]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of this machine.
#[cfg(windows)]
pub fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "windows".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn owner(host: &str, path: &str, roots: &[&str], remotes: &[&str]) -> Owner {
        let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let path = RawPath(path.as_bytes().to_vec());
        Owner { host: host.to_owned(), path, root_commits: list(roots), remotes: list(remotes) }
    }

    #[test]
    fn relations() {
        let store = owner("a", "/p", &["1", "2"], &["url"]);
        for (present, expected) in [
            (owner("a", "/p", &["1"], &[]), Relation::Own),
            (owner("a", "/p", &["9"], &[]), Relation::Own),
            (owner("b", "/p", &["2"], &[]), Relation::SameProject),
            (owner("a", "/q", &[], &["url"]), Relation::SameProject),
            (owner("a", "/q", &[], &[]), Relation::Foreign),
            (owner("b", "/p", &["9"], &["other"]), Relation::Foreign),
        ] {
            assert_eq!(store.relation(&present), expected, "{present:?}");
        }
        assert_eq!(
            owner("a", "/p", &[], &[]).relation(&owner("b", "/p", &[], &[])),
            Relation::Foreign,
            "having no history in common is nothing in common"
        );
    }

    #[test]
    fn a_fresh_clone_finds_the_store_of_the_lost_one() {
        let base = tempfile::tempdir().unwrap();
        let save = |name: &str, text: &str| {
            fs::create_dir(base.path().join(name)).unwrap();
            fs::write(base.path().join(name).join(STORE_FILE), text).unwrap();
        };
        let info = |owner: Owner| StoreInfo { format: 1, owner, created: Instant(0) };
        let json = |owner: Owner| serde_json::to_string(&info(owner)).unwrap();
        save("lost", &json(owner("a", "/old", &["1"], &[])));
        save("own", &json(owner("a", "/new", &["1"], &[])));
        save("other", &json(owner("a", "/x", &["7"], &[])));
        save("damaged", "{");
        save("newer", &json(owner("a", "/old", &["1"], &[])).replace("\"format\":1", "\"format\":2"));
        fs::write(base.path().join("file"), "").unwrap();
        let found = stores_of_same_project(base.path(), &owner("a", "/new", &["1"], &[]));
        let names: Vec<_> = found.iter().map(|(path, _)| path.file_name().unwrap()).collect();
        assert_eq!(names, ["lost"]);
        assert!(stores_of_same_project(&base.path().join("missing"), &Owner::default()).is_empty());
        assert!(read(&base.path().join("newer")).unwrap_err().to_string().contains("newer version"));
    }

    #[test]
    fn a_path_that_is_not_utf8_survives() {
        let mut info = StoreInfo { format: 1, owner: owner("a", "", &[], &[]), created: Instant(0) };
        info.owner.path = RawPath(b"/caf\xe9".to_vec());
        let json = serde_json::to_string(&info).unwrap();
        assert_eq!(serde_json::from_str::<StoreInfo>(&json).unwrap(), info);
        assert!(!host_name().is_empty());
    }
}
