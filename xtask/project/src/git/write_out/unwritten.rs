//! What of a commit need not be written out: what nobody asked for, and files that lie in the working copy
//! already, byte for byte as git would write them. That is known without trusting any time stamp: their bytes
//! make the very id of the commit's blob, and nothing converts them on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::run::{Input, output};
use super::super::{Git, config};
use super::{Desk, Item, Mode};
use crate::base::file_facts::{self, Identity};
use crate::base::interrupt;
use crate::base::parallel;
use crate::base::safe_path::SafePath;
use crate::databases;

/// The working copy beside which a commit is written out.
pub struct Beside<'a> {
    /// Its top.
    pub root: &'a Path,
    /// Whether a path is asked for; the second word: as a folder.
    pub wants: &'a dyn Fn(&SafePath, bool) -> bool,
}

/// Why something of a commit was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// Nobody asked for it.
    Unasked,
    /// It lies in the working copy already; that is told by what it was when it was read.
    Same(Identity),
}

/// Attributes that make other bytes of a blob.
const CONVERTING: [&str; 5] = ["text", "crlf", "eol", "ident", "working-tree-encoding"];

impl Desk<'_> {
    /// What need not be written. The commit must be in the index.
    pub(super) fn unwritten(
        &self,
        beside: &Beside<'_>,
        settings: &BTreeMap<String, String>,
        items: &[Item],
    ) -> Result<BTreeMap<SafePath, Unwritten>> {
        let mut found = BTreeMap::new();
        let mut asked = Vec::new();
        for item in items {
            if !(beside.wants)(&item.path, item.mode == Mode::Submodule) {
                found.insert(item.path.clone(), Unwritten::Unasked);
            } else if matches!(item.mode, Mode::File | Mode::Executable) {
                asked.push(item);
            }
        }
        if !may_be_compared(self.git, settings) {
            return Ok(found);
        }
        if asked.is_empty() {
            return Ok(found);
        }
        let names: Vec<u8> =
            asked.iter().flat_map(|item| [item.path.bytes(), b"\0"]).flatten().copied().collect();
        let mut command = self.call();
        command.args(["check-attr", "--cached", "-z", "--stdin"]).args(CONVERTING);
        // Git tells of attributes while the files are read.
        let (same, told) = parallel::both(
            || read_all(beside.root, &asked),
            || output(command, Input::Bytes(&names)).context("git can't tell attributes"),
        )?;
        let (same, told) = (same?, told?);
        let same: Vec<(&SafePath, Identity)> =
            asked.iter().zip(same).filter_map(|(item, identity)| Some((&item.path, identity?))).collect();
        let fields: Vec<&[u8]> = told.split(|&b| b == 0).collect();
        let converts = |fields: &[&[u8]]| match (fields[1], fields[2]) {
            (_, b"unspecified" | b"unset") => false,
            // Marked as text: without a wish for other line ends its bytes stay as they are.
            (b"text", b"set" | b"auto") => cfg!(windows),
            (b"eol", b"lf") => false,
            _ => true,
        };
        let all = fields.chunks_exact(3).map(|fields| (fields[0], converts(fields)));
        let converted: std::collections::BTreeSet<&[u8]> =
            all.filter(|(_, converts)| *converts).map(|(path, _)| path).collect();
        let plain = same.into_iter().filter(|(path, _)| !converted.contains(path.bytes()));
        found.extend(plain.map(|(path, identity)| (path.clone(), Unwritten::Same(identity))));
        Ok(found)
    }

    /// Whether two names can be one on this disk: then every name must be tried.
    pub(super) fn folds_case(&self) -> Result<bool> {
        let probe = self.to.join("xtask-probe");
        fs::File::create_new(&probe).with_context(|| format!("can't write {}", probe.display()))?;
        let folds = fs::symlink_metadata(self.to.join("XTASK-PROBE")).is_ok();
        fs::remove_file(&probe)?;
        Ok(folds)
    }
}

/// What each file was when its bytes were found to make the id of its blob.
fn read_all(root: &Path, asked: &[&Item]) -> Result<Vec<Option<Identity>>> {
    let mut same = Vec::new();
    let read = |folders: &mut Folders, item: &'_ Item| same_bytes(root, item, folders);
    parallel::ordered(
        asked.chunks(64),
        Folders::default,
        |folders, piece: &[&Item]| piece.iter().map(|item| read(folders, item)).collect::<Vec<_>>(),
        |identities| {
            same.extend(identities);
            interrupt::check()
        },
    )?;
    Ok(same)
}

/// Bytes of a file that is read into memory as a whole.
const AT_ONCE: u64 = 1 << 20;

/// Which folders of a working copy are folders, and no links to some.
#[derive(Default)]
struct Folders(BTreeMap<SafePath, bool>);

impl Folders {
    fn are_folders(&mut self, root: &Path, folder: Option<SafePath>) -> bool {
        let Some(folder) = folder else { return true };
        if let Some(known) = self.0.get(&folder) {
            return *known;
        }
        let is_folder = |path: std::path::PathBuf| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
        let are = folder.below(root).is_ok_and(is_folder) && self.are_folders(root, folder.parent());
        self.0.insert(folder, are);
        are
    }
}

/// Whether the repository's settings leave bytes alone where no attribute says otherwise, and ids can be
/// computed here.
fn may_be_compared(git: &Git, settings: &BTreeMap<String, String>) -> bool {
    let ends =
        |name: &str, value: &str| settings.get(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
    let autocrlf = settings.get("core.autocrlf").map(String::as_str);
    git.object_format() == "sha1" && !config::is_true(autocrlf) && !ends("core.eol", "crlf")
}

/// What a file in the working copy was when its bytes were found to make the id of a blob. Databases and
/// what lies beside them are none of these: they are looked at on their own.
fn same_bytes(root: &Path, item: &Item, folders: &mut Folders) -> Option<Identity> {
    let full = item.path.below(root).ok()?;
    // Below a link it would be another file.
    if !folders.are_folders(root, item.path.parent()) {
        return None;
    }
    if databases::is_side_file(item.path.bytes()) {
        return None;
    }
    let look = || fs::symlink_metadata(&full).ok().filter(fs::Metadata::is_file);
    let before = file_facts::identity(&look()?);
    let id = if before.size <= AT_ONCE {
        let bytes = fs::read(&full).ok()?;
        if databases::begins_like_one(&bytes) {
            return None;
        }
        git2::Oid::hash_object(git2::ObjectType::Blob, &bytes).ok()?
    } else if databases::has_header(&full, before.size).ok()? {
        return None;
    } else {
        git2::Oid::hash_file(git2::ObjectType::Blob, &full).ok()?
    };
    let after = file_facts::identity(&look()?);
    (id.to_string() == item.id && before == after).then_some(after)
}
