//! A copy of the store elsewhere, reached through what the user has: a folder, rsync, or rclone.
//!
//! There, each working copy has a folder of its own, named after its project and a digest of its machine and
//! path, with a `store.json` that says so: two machines never mix. Nothing there is ever deleted, and an
//! archive that is there is never written again, unless the user asks for a damaged one to be repaired. What
//! a far side lists is untrusted: only names of ours are looked at, and no other name is ever used in a path.

pub mod catalog;
pub mod destination;
mod folder;
pub mod plan;
mod rclone;
mod rsync;
mod tool;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

use self::destination::Destination;
use super::identity::{self, Owner, StoreInfo};
use super::names::{self, Name};
use crate::base::digest::Digest;
use crate::base::failure::{Failure, Kind, kind_of};
use crate::base::monitor::Monitor;
use crate::base::os_name;

/// Files that are read as a whole are no larger: `store.json`, digests, summaries.
const SMALL_MAX: u64 = 1 << 20;

/// A file or a folder there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Far {
    name: String,
    bytes: u64,
    is_folder: bool,
}

/// What a transport can do. `folder` is the name of a folder at the destination, `dir` one of this machine.
trait Transport {
    /// What is in a folder there; `None` when it is not there.
    fn list(&self, folder: &str) -> Result<Option<Vec<Far>>>;
    /// Makes a folder there with the `store.json` that lies in `dir`, unless it has one.
    fn found(&self, folder: &str, dir: &Path) -> Result<()>;
    /// Writes these small files of `dir` there, over older ones.
    fn put_small(&self, folder: &str, dir: &Path, names: &[String]) -> Result<()>;
    /// Writes an archive that lies in `dir`; one that is there stays, unless `replace` is given.
    fn put(&self, folder: &str, dir: &Path, name: &str, replace: bool, monitor: &dyn Monitor) -> Result<()>;
    /// Brings the small files whose names end so into `dir`. None there is fine.
    fn small(&self, folder: &str, endings: &[&str], dir: &Path) -> Result<()>;
    /// Brings the `store.json` of every folder there into a folder of its name in `dir`.
    fn owners(&self, dir: &Path) -> Result<()>;
    /// Brings one file into `dir`.
    fn fetch(&self, folder: &str, name: &str, dir: &Path, monitor: &dyn Monitor) -> Result<()>;
    /// Whether the content there is the one of this digest, and how that was seen. `here` is the same file in
    /// this store, known to be good; `dir` an empty folder with room for it.
    fn check(&self, ask: &Ask<'_>, dir: &Path, monitor: &dyn Monitor) -> Result<Checked>;
}

/// A file there and what it should be.
struct Ask<'a> {
    folder: &'a str,
    name: &'a str,
    bytes: u64,
    digest: Digest,
    here: Option<&'a Path>,
}

/// What was seen of a file there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether its content is what it should be.
    pub same: bool,
    /// How that was seen, for people.
    pub by: &'static str,
}

/// A file of ours there, by its name.
pub type Listing = BTreeMap<String, u64>;

/// A destination whose tool was found.
pub struct Remote {
    transport: Box<dyn Transport>,
    shown: String,
    by: &'static str,
    note: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.shown, self.by)
    }
}

impl Remote {
    /// Finds the tool. Nothing at the destination is looked at.
    ///
    /// # Errors
    /// When the tool is missing, or rclone can't tell whether it knows a name.
    pub fn open(destination: Destination) -> Result<Remote> {
        let (mut note, mut doubt) = (None, None);
        let settled = match &destination {
            Destination::Named { name, .. } => {
                let meaning = rclone::knows(name)?;
                (note, doubt) = (Some(meaning.note), meaning.doubt);
                destination.settle(meaning.known)?
            }
            _ => destination,
        };
        let shown = settled.shown();
        let (transport, by): (Box<dyn Transport>, _) = match settled {
            Destination::Folder(path) => (Box::new(folder::Folder::new(path)), "a folder"),
            Destination::Rclone { name, path } => (Box::new(rclone::Rclone::new(&name, &path)?), "rclone"),
            Destination::Daemon(spec) => (Box::new(rsync::Rsync::daemon(spec)?), "rsync"),
            Destination::Ssh { host, port, path } => {
                (Box::new(rsync::Rsync::ssh(&host, port, &path, doubt.as_deref())?), "rsync over ssh")
            }
            // Settled above.
            Destination::Named { .. } => (Box::new(folder::Folder::new(shown.clone().into())), "a folder"),
        };
        Ok(Remote { transport, shown, by, note })
    }

    /// Where it is, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// By what it is reached.
    pub fn by(&self) -> &'static str {
        self.by
    }

    /// Why it is reached by that, where it could have been something else.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The files of ours in a folder there, with their bytes; `None` when the folder is not there.
    ///
    /// # Errors
    /// When the far side can't be reached or read.
    pub fn list(&self, folder: &str) -> Result<Option<Listing>> {
        let Some(listed) = self.transport.list(folder).with_context(|| self.cant("read", folder))? else {
            return Ok(None);
        };
        let ours = listed.into_iter().filter(|far| !far.is_folder && is_ours(&far.name));
        Ok(Some(ours.map(|far| (far.name, far.bytes)).collect()))
    }

    /// Makes the folder of a store there, unless it is there; `dir` holds the `store.json` for it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn found(&self, folder: &str, dir: &Path) -> Result<()> {
        self.transport.found(folder, dir).with_context(|| self.cant("write into", folder))
    }

    /// Whose folder it is; `None` when it has no `store.json`, or one that can't be understood. `dir` is an
    /// empty folder.
    ///
    /// # Errors
    /// When the far side can't be read; of kind `Refused`, when a newer version of this tool made the folder.
    pub fn owner(&self, folder: &str, dir: &Path) -> Result<Option<StoreInfo>> {
        self.transport
            .small(folder, &[identity::STORE_FILE], dir)
            .with_context(|| self.cant("read", folder))?;
        self.understand(folder, dir)
    }

    fn understand(&self, folder: &str, dir: &Path) -> Result<Option<StoreInfo>> {
        match identity::read(dir) {
            Ok(info) => Ok(Some(info)),
            Err(error) if kind_of(&error) == Kind::Refused => {
                let text = format!("{} was made by a newer version of this tool", self.at(folder));
                Err(Failure::new(Kind::Refused, text).hint("use that version").into())
            }
            // No file, or half of one: nobody's.
            Err(_) => Ok(None),
        }
    }

    /// The folders there that say whose they are. `dir` is an empty folder.
    ///
    /// # Errors
    /// When the far side can't be read.
    pub fn owners(&self, dir: &Path) -> Result<Vec<(String, StoreInfo)>> {
        self.transport.owners(dir).with_context(|| format!("can't read {}", self.shown))?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_folder_name(&name) {
                continue;
            }
            // One that is newer, or not understood, is none to choose.
            if let Ok(info) = identity::read(&entry.path()) {
                found.push((name, info));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Writes small files there.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn put_small(&self, folder: &str, dir: &Path, names: &[String]) -> Result<()> {
        self.transport.put_small(folder, dir, names).with_context(|| self.cant("write into", folder))
    }

    /// Writes an archive there: under a temporary name first, and never over one that is there unless
    /// `replace` is given.
    ///
    /// # Errors
    /// When it can't be written; then nothing of that name is there, or what was there before.
    pub fn put(&self, folder: &str, archive: &Path, replace: bool, monitor: &dyn Monitor) -> Result<()> {
        let dir = archive.parent().context("an archive lies in a folder")?;
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        self.transport
            .put(folder, dir, &name, replace, monitor)
            .with_context(|| format!("can't upload {name} to {}", self.at(folder)))
    }

    /// Brings small files with these endings into an empty folder.
    ///
    /// # Errors
    /// When the far side can't be read.
    pub fn small(&self, folder: &str, endings: &[&str], dir: &Path) -> Result<()> {
        self.transport.small(folder, endings, dir).with_context(|| self.cant("read", folder))
    }

    /// Brings an archive into an empty folder.
    ///
    /// # Errors
    /// When it can't be read there or written here.
    pub fn fetch(&self, folder: &str, name: &str, dir: &Path, monitor: &dyn Monitor) -> Result<()> {
        self.transport
            .fetch(folder, name, dir, monitor)
            .with_context(|| format!("can't bring {name} from {}", self.at(folder)))
    }

    /// Reads an archive there back, by what the transport offers. `here` is the same archive in the store,
    /// if it is there and good.
    ///
    /// # Errors
    /// When it could not be seen whether it is good.
    pub fn check(
        &self,
        folder: &str,
        (name, bytes, digest): (&str, u64, Digest),
        here: Option<&Path>,
        dir: &Path,
        monitor: &dyn Monitor,
    ) -> Result<Checked> {
        let ask = Ask { folder, name, bytes, digest, here };
        self.transport
            .check(&ask, dir, monitor)
            .with_context(|| format!("can't read {name} back from {}", self.at(folder)))
    }

    /// A folder there, for people.
    pub fn at(&self, folder: &str) -> String {
        let between = if self.shown.ends_with(['/', ':']) { "" } else { "/" };
        format!("{}{between}{folder}", self.shown)
    }

    fn cant(&self, what: &str, folder: &str) -> String {
        format!("can't {what} the remote {}", self.at(folder))
    }
}

/// The name of a store's folder there: the project's, and a digest of machine and path.
///
/// # Errors
/// On Windows, when the path is not Unicode.
pub fn folder_name(owner: &Owner) -> Result<String> {
    let path = os_name::to_os(&owner.path.0)?;
    let project = Path::new(&path).file_name().unwrap_or("root".as_ref()).to_string_lossy().into_owned();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let mut name: String = project.chars().map(plain).take(64).collect();
    if name.starts_with(['.', '-']) {
        name.replace_range(..1, "_");
    }
    let digest = Digest::of(&[owner.host.as_bytes(), b"\0", &owner.path.0].concat()).to_string();
    Ok(format!("{name}-{}", digest.get(..8).unwrap_or_default()))
}

/// Whether a name can be that of a folder there: no path, no option, no pattern.
pub fn is_folder_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.len() <= 255 && !name.starts_with(['.', '-']) && name.chars().all(plain)
}

fn is_ours(name: &str) -> bool {
    name == identity::STORE_FILE || matches!(names::parse(name), Name::Archive(_) | Name::Sidecar(_))
}

/// Adds what a failure of a tool means for the user.
fn tool_failed(tool: &str, ended: &tool::Ended, hint: Option<&str>) -> anyhow::Error {
    let status = ended.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with status {code}"));
    let said = if ended.said.is_empty() { "it said nothing" } else { ended.said.as_str() };
    let failure = Failure::new(Kind::Failed, format!("{tool} ended {status}: {said}"));
    match hint {
        Some(hint) => failure.hint(hint).into(),
        None => failure.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::raw_path::RawPath;

    #[test]
    fn two_machines_and_two_copies_never_share_a_folder() {
        let owner = |host: &str, path: &str| Owner {
            host: host.to_owned(),
            path: RawPath(path.as_bytes().to_vec()),
            ..Owner::default()
        };
        let name = |host, path| folder_name(&owner(host, path)).unwrap();
        let one = name("a", "/x/project");
        assert!(one.starts_with("project-") && one.len() == "project-".len() + 8, "{one}");
        assert_eq!(one, name("a", "/x/project"));
        assert_ne!(one, name("b", "/x/project"));
        assert_ne!(one, name("a", "/y/project"));
        for hostile in ["/x/-rf", "/x/.git", "/x/a b*c?[d]", "/x/\u{e9}\n\x1b[2J", "/", "/x/a;b$(c)"] {
            assert!(is_folder_name(&name("a", hostile)), "{hostile:?}: {}", name("a", hostile));
        }
    }

    #[test]
    fn no_name_of_a_far_side_becomes_a_path() {
        for hostile in ["", ".", "..", "../x", "a/b", "-rf", ".hidden", "a b", "a\nb", "*", "a\\b", "c:x"] {
            assert!(!is_folder_name(hostile), "{hostile:?}");
        }
        assert!(is_folder_name("project-0123abcd"));
        for (name, ours) in [
            ("20251201_120000.tar.gz", true),
            ("20251201_120000-2.tar.gz.sha256", true),
            ("store.json", true),
            ("../20251201_120000.tar.gz", false),
            ("-rf", false),
            (".tmp-20251201_120000.tar.gz", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
