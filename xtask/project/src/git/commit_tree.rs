//! A commit as files: what lies where, and the content of blobs as git stores it. No filter is run and no line ending
//! converted, and nothing is written into the repository: objects are only read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::classify::paths;
use super::run::{Input, Program, answer, answer_into, output};
use super::{Git, config};
use crate::base::escape::escape;
use crate::base::safe_path::SafePath;

/// What a commit holds.
#[derive(Debug, Default)]
pub struct CommitTree {
    /// Files and links.
    pub blobs: BTreeMap<SafePath, Blob>,
    /// Submodules: of these it has only the id of a commit.
    pub modules: Vec<SafePath>,
    /// Paths that can't be used here, escaped.
    pub unusable: Vec<String>,
}

/// One file or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The id of its content.
    pub id: String,
    /// Bytes; `None` where the object is not here (a partial clone).
    pub size: Option<u64>,
    /// Whether it can be run.
    pub executable: bool,
    /// Whether it is a link, whose target is the content.
    pub is_link: bool,
}

/// Bytes of blobs that are read at once.
const BATCH: u64 = 64 << 20;

impl Git {
    /// The id of the commit that a revision means; `None` when it means none.
    ///
    /// # Errors
    /// When git can't be asked.
    pub fn commit_of(&self, revision: &str) -> Result<Option<String>> {
        if revision.is_empty() || revision.starts_with('-') {
            return Ok(None);
        }
        let wanted = format!("{revision}^{{commit}}");
        let Some(program) = &self.program else {
            let found = self.library()?.revparse_single(&wanted);
            return Ok(found.ok().map(|object| object.id().to_string()));
        };
        let mut command = program.at(&self.root);
        command.args(["rev-parse", "--verify", "--quiet", &wanted]);
        let answer = answer(command, Input::Nothing)?;
        Ok(answer.ok.then(|| answer.text()).filter(|id| !id.is_empty()))
    }

    /// What a commit holds.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn commit_tree(&self, id: &str) -> Result<CommitTree> {
        let listed = match &self.program {
            Some(program) => list_with_command(program, &self.root, id),
            None => list_with_library(self.library()?, id),
        };
        let mut tree = CommitTree::default();
        for (mode, id, path) in listed.with_context(|| format!("can't read the commit {id}"))? {
            let Ok(path) = SafePath::new(path.clone()) else {
                tree.unusable.push(escape(&path));
                continue;
            };
            if mode == 0o160_000 {
                tree.modules.push(path);
                continue;
            }
            let (executable, is_link) = (mode & 0o100 != 0, mode == 0o120_000);
            tree.blobs.insert(path, Blob { id, size: None, executable, is_link });
        }
        let ids: BTreeSet<&str> = tree.blobs.values().map(|blob| blob.id.as_str()).collect();
        let sizes = self.sizes(&ids)?;
        for blob in tree.blobs.values_mut() {
            blob.size = sizes.get(&blob.id).copied();
        }
        Ok(tree)
    }

    /// Reads the content of blobs, given by id and size; `each` gets the number of each and its bytes. `scratch` is a
    /// folder of ours.
    ///
    /// # Errors
    /// When one can't be read, or `each` fails.
    pub fn read_blobs(
        &self,
        blobs: &[(&str, u64)],
        scratch: &Path,
        each: &mut dyn FnMut(usize, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let Some(program) = &self.program else {
            for (number, (id, _)) in blobs.iter().enumerate() {
                let blob = self.library()?.find_blob(git2::Oid::from_str(id)?)?;
                each(number, &mut blob.content())?;
            }
            return Ok(());
        };
        let mut from = 0;
        while from < blobs.len() {
            // Through a file: a batch may hold one blob of any size.
            let (mut to, mut bytes) = (from, 0);
            while to < blobs.len() && (to == from || bytes + blobs[to].1 <= BATCH) {
                bytes += blobs[to].1;
                to += 1;
            }
            let ids: String = blobs[from..to].iter().map(|(id, _)| format!("{id}\n")).collect();
            let mut file = tempfile::tempfile_in(scratch).context("can't make a temporary file")?;
            let mut command = program.at(&self.root);
            command.args(["cat-file", "--batch"]);
            let answer = answer_into(command, Input::Bytes(ids.as_bytes()), file.try_clone()?)?;
            ensure!(answer.ok, "git cat-file failed: {}", answer.err);
            std::io::Seek::rewind(&mut file)?;
            read_batch(file, &blobs[from..to], &mut |number, content| each(from + number, content))?;
            from = to;
        }
        Ok(())
    }

    /// Whether git may store other bytes than lie in the working copy, as far as settings tell.
    pub fn converts(&self) -> bool {
        let settings = self.effective();
        settings.get("core.autocrlf").is_some_and(|value| value != "false")
    }

    /// Whether permissions on the disk tell whether a file can be run.
    pub fn trusts_modes(&self) -> bool {
        config::last(&self.settings, "core.filemode") != Some("false")
    }

    fn library(&self) -> Result<&git2::Repository> {
        self.library.as_ref().context("this repository needs the git command")
    }

    /// Sizes of those that are here.
    fn sizes(&self, ids: &BTreeSet<&str>) -> Result<BTreeMap<String, u64>> {
        let Some(program) = &self.program else {
            let objects = self.library()?.odb()?;
            let size = |id: &&str| objects.read_header(git2::Oid::from_str(id).ok()?).ok();
            let sizes = ids.iter().filter_map(|id| Some(((*id).to_owned(), size(id)?.0 as u64)));
            return Ok(sizes.collect());
        };
        let input: String = ids.iter().map(|id| format!("{id}\n")).collect();
        let mut command = program.at(&self.root);
        command.args(["cat-file", "--batch-check=%(objectname) %(objectsize)"]);
        let told = output(command, Input::Bytes(input.as_bytes()))?;
        let told = String::from_utf8_lossy(&told);
        let size = |line: &str| {
            let (id, size) = line.split_once(' ')?;
            Some((id.to_owned(), size.parse().ok()?)) // not `<id> missing`
        };
        Ok(told.lines().filter_map(size).collect())
    }
}

/// The paths in an index file.
///
/// # Errors
/// When it is none, or one that libgit2 does not read (a split or a sparse one).
pub fn tracked_in(index: &Path) -> Result<BTreeSet<Vec<u8>>> {
    let index = git2::Index::open(index).with_context(|| format!("can't read {}", index.display()))?;
    Ok(index.iter().map(|entry| entry.path).collect())
}

/// Mode, id, path.
type Listed = Vec<(u32, String, Vec<u8>)>;

fn list_with_command(program: &Program, root: &Path, commit: &str) -> Result<Listed> {
    let mut command = program.at(root);
    command.args(["ls-tree", "-r", "-z", "--full-tree", commit]);
    let out = output(command, Input::Nothing)?;
    let mut listed = Vec::new();
    for line in paths(&out) {
        // `<mode> <type> <id>\t<path>`
        let tab = line.iter().position(|&b| b == b'\t').context("an entry of a tree without a path")?;
        let facts = String::from_utf8_lossy(&line[..tab]).into_owned();
        let words: Vec<&str> = facts.split(' ').collect();
        let [mode, _, id] = words.as_slice() else { bail!("an entry of a tree: {}", escape(line)) };
        listed.push((u32::from_str_radix(mode, 8)?, (*id).to_owned(), line[tab + 1..].to_vec()));
    }
    Ok(listed)
}

fn list_with_library(library: &git2::Repository, commit: &str) -> Result<Listed> {
    let tree = library.find_commit(git2::Oid::from_str(commit)?)?.tree()?;
    let mut listed = Vec::new();
    let mut folders = vec![(Vec::new(), tree)];
    while let Some((above, tree)) = folders.pop() {
        for entry in &tree {
            let path = [above.as_slice(), entry.name_bytes()].concat();
            // Modes are bits, and never negative.
            let mode = entry.filemode() as u32;
            if entry.kind() == Some(git2::ObjectType::Tree) {
                let inside = library.find_tree(entry.id())?;
                folders.push(([path.as_slice(), b"/"].concat(), inside));
            } else {
                listed.push((mode, entry.id().to_string(), path));
            }
        }
    }
    Ok(listed)
}

/// `<id> <type> <size>`, the content, and the end of a line; for each that was asked for.
fn read_batch(
    file: File,
    blobs: &[(&str, u64)],
    each: &mut dyn FnMut(usize, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut reader = BufReader::with_capacity(256 << 10, file);
    for (number, (id, size)) in blobs.iter().enumerate() {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        ensure!(line.trim_end() == format!("{id} blob {size}"), "git tells of {id}: {}", line.trim_end());
        let mut content = (&mut reader).take(*size);
        each(number, &mut content)?;
        std::io::copy(&mut content, &mut std::io::sink())?;
        let mut end = [0];
        reader.read_exact(&mut end)?;
    }
    Ok(())
}
