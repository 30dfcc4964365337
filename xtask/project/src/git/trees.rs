//! The index and the working files as commits: staged and unsaved work that no ref of the project holds.
//!
//! Made in the twin with copies of the index. Files whose stat data is as the index remembers are not read
//! again. A commit's time is that of HEAD, so the same work gives the same commit, and a bundle of an
//! unchanged project is the same bytes. Databases keep the version that the index has: they are never
//! opened here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::classify::paths;
use super::run::{Input, Program, output};
use super::twin::{Twin, copy};
use crate::base::durable::remove_file;
use crate::base::escape::escape;
use crate::base::failure::tells_of_full_disk;
use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;
use crate::base::{interrupt, os_name};

/// Bits of an entry's flags that tell its stage (gitformat-index(5)).
pub(super) const STAGE_BITS: u16 = 0x3000;

/// What became of the work in a working copy.
#[derive(Default)]
pub(super) struct Work {
    /// The commit with the index's tree; HEAD's own when nothing is staged; none before there is anything.
    pub index: Option<String>,
    /// The commit with the working files; the same one when nothing differs.
    pub worktree: Option<String>,
    /// Whether anything was staged, modified or untracked.
    pub dirty: bool,
    /// Objects that only the index knows: both sides of conflicts, also of resolved ones.
    pub keep: BTreeSet<String>,
    /// What could not be read.
    pub findings: Vec<Finding>,
}

/// The commit that HEAD is at.
pub(super) struct Head {
    pub commit: String,
    pub tree: String,
    /// Seconds since 1970.
    pub time: i64,
}

/// One entry of the index.
pub(super) struct Entry<'a> {
    pub mode: &'a [u8],
    pub id: String,
    pub stage: u8,
    pub path: &'a [u8],
    /// Not in the working copy on purpose (sparse checkout).
    pub skipped: bool,
}

/// Commits index and working files of the twin with the git command.
///
/// # Errors
/// When git refuses; the caller can go on without.
pub(super) fn commit_with_command(
    twin: &Twin,
    program: &Program,
    leave_out: &BTreeSet<Vec<u8>>,
    saved: &dyn Fn(&[u8]) -> bool,
) -> Result<Work> {
    let mut work = Work::default();
    let head = head(twin, program)?;
    let run = |mut command: Command, file: &Path, args: &[&str], input: Input<'_>| {
        command.env("GIT_INDEX_FILE", file).args(args);
        output(command, input)
    };
    let read = |args: &[&str]| run(twin.call(program), &twin.dir.join("index"), args, Input::Nothing);
    let write = |file: &Path, args: &[&str], input: Input<'_>| {
        let told = run(twin.writing(program), file, args, input);
        if told.is_err() {
            unlock(file)?;
        }
        told
    };
    let index = twin.dir.join("index");
    let listed = list_index(twin, program)?;
    let entries: Vec<Entry<'_>> = paths(&listed).map(entry).collect::<Result<_>>()?;
    let undo = read(&["ls-files", "-z", "--resolve-undo"])?;
    for line in paths(&undo) {
        work.keep.extend(String::from_utf8_lossy(line).split(' ').nth(1).map(str::to_owned));
    }
    let conflicted = entries.iter().any(|entry| entry.stage > 0);
    let (staged, changed) = (twin.desk().join("index.staged"), twin.desk().join("index.changed"));
    copy(&index, &staged)?;
    copy(&index, &changed)?;
    if conflicted || !twin.whole_index {
        let mut merged = Vec::new();
        for entry in &entries {
            if entry.stage == 0 {
                merged.extend([entry.mode, b" ", entry.id.as_bytes(), b"\t", entry.path, b"\0"].concat());
            } else {
                work.keep.insert(entry.id.clone());
            }
        }
        remove_file(&staged)?;
        write(&staged, &["update-index", "-z", "--index-info"], Input::Bytes(&merged))?;
    }
    if !twin.whole_index {
        copy(&staged, &changed)?;
    }
    let index_tree = write(&staged, &["write-tree", "--missing-ok"], Input::Nothing)?;
    let untracked = read(&["ls-files", "-z", "--others", "--exclude-standard"])?;
    let tracked = entries.iter().filter(|e| !e.skipped && e.mode != b"160000").map(|e| e.path);
    // An untracked path that ends in / is another repository; the scan of the files names it.
    let others = paths(&untracked).filter(|path| !path.ends_with(b"/"));
    let candidates = tracked.chain(others).filter(|path| !leave_out.contains(*path));
    let (mut present, gone) = sort_by_presence(&twin.root, candidates)?;
    // What is there and not in the backup keeps the version that the index has, if any.
    present.retain(|path| saved(path));
    if !gone.is_empty() {
        let args = ["update-index", "-z", "--force-remove", "--stdin"];
        write(&changed, &args, Input::Bytes(&joined(&gone)))?;
    }
    let add = ["update-index", "-z", "--add", "--remove", "--replace", "--stdin"];
    let mut add_all = |paths: &[&[u8]]| write(&changed, &add, Input::Bytes(&joined(paths))).map(drop);
    let mut tries = TRIES_MAX;
    for path in all_but_the_refused(&present, &mut tries, &mut add_all)? {
        work.findings.push(refused(&twin.root, path));
    }
    let worktree_tree = write(&changed, &["write-tree", "--missing-ok"], Input::Nothing)?;

    let (index_tree, worktree_tree) = (text(&index_tree), text(&worktree_tree));
    let commit = |tree: &str, what: &str| -> Result<Option<String>> {
        match &head {
            Some(head) if head.tree == tree => return Ok(Some(head.commit.clone())),
            None if is_empty_tree(tree) => return Ok(None),
            _ => {}
        }
        let told = commit_text(tree, head.as_ref().map(|head| (head.commit.as_str(), head.time)), what);
        let args = ["hash-object", "-t", "commit", "-w", "--stdin"];
        Ok(Some(text(&write(&staged, &args, Input::Bytes(told.as_bytes()))?)))
    };
    work.index = commit(&index_tree, INDEX_MESSAGE)?;
    work.worktree = commit(&worktree_tree, WORKTREE_MESSAGE)?;
    let base = head.as_ref().map(|head| head.tree.as_str());
    let is_staged = base.map_or(!is_empty_tree(&index_tree), |tree| tree != index_tree);
    work.dirty = conflicted || is_staged || index_tree != worktree_tree;
    Ok(work)
}

/// Removes the lock that a git which was killed left on an index of ours, which nobody else uses: a file that is cut short
/// while git has it mapped kills it.
fn unlock(index: &Path) -> Result<()> {
    let mut lock = index.as_os_str().to_owned();
    lock.push(".lock");
    Ok(remove_file(Path::new(&lock))?)
}

/// So many calls may be spent on finding out which files git refuses.
const TRIES_MAX: u32 = 200;

/// Adds paths together, or, where git refuses some, every half of them on its own; those refused in the end.
/// Git takes all or nothing, and one file that can't be read, or shrinks while git reads it, must not keep
/// the others out.
fn all_but_the_refused<'a>(
    paths: &[&'a [u8]],
    tries: &mut u32,
    add: &mut dyn FnMut(&[&[u8]]) -> Result<()>,
) -> Result<Vec<&'a [u8]>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    // A file alone gets a second chance: it may only have changed.
    let error = match add(paths).or_else(|error| if paths.len() > 1 { Err(error) } else { add(paths) }) {
        Ok(()) => return Ok(Vec::new()),
        Err(error) => error,
    };
    interrupt::check()?;
    *tries = tries.saturating_sub(1);
    if *tries == 0 || tells_of_full_disk(&format!("{error:#}")) {
        return Err(error);
    }
    if let [only] = paths {
        return Ok(vec![only]);
    }
    let (first, second) = paths.split_at(paths.len() / 2);
    let mut refused = all_but_the_refused(first, tries, add)?;
    refused.extend(all_but_the_refused(second, tries, add)?);
    Ok(refused)
}

/// A file that git can't take. One that only changes is no problem here: it is in the backup as a file.
fn refused(root: &Path, path: &[u8]) -> Finding {
    let message = format!("{} is not in git's copy of unsaved work", escape(path));
    let finding = if is_readable(root, path) {
        Finding::advice("git-worktree", format!("{message}: it changed while git read it"))
    } else {
        Finding::problem("git-worktree", format!("{message}: it can't be read"))
            .hint("make it readable for the user who runs the backup")
    };
    match SafePath::new(path) {
        Ok(path) => finding.at(&path),
        Err(_) => finding,
    }
}

pub(super) const INDEX_MESSAGE: &str = "What was staged when the backup was made";
pub(super) const WORKTREE_MESSAGE: &str = "The working files when the backup was made";

/// A commit as git stores it. Written by ourselves, so that neither the user's name nor a key is asked for.
pub(super) fn commit_text(tree: &str, parent: Option<(&str, i64)>, message: &str) -> String {
    let (parent, time) = parent.map_or((String::new(), 0), |(id, time)| (format!("parent {id}\n"), time));
    let who = format!("xtask <xtask@localhost> {time} +0000");
    format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\n{message}\n")
}

/// `None` before the first commit.
fn head(twin: &Twin, program: &Program) -> Result<Option<Head>> {
    let Some(commit) = twin.commit() else { return Ok(None) };
    let mut command = twin.call(program);
    command.args(["log", "-1", "--no-show-signature", "--format=%T %ct", &commit, "--"]);
    let told = text(&output(command, Input::Nothing).context("the commit of HEAD can't be read")?);
    let (tree, time) = told.split_once(' ').context("git tells nothing of HEAD")?;
    Ok(Some(Head { tree: tree.to_owned(), time: time.parse().unwrap_or(0), commit }))
}

/// Every entry of the index as `<tag> <mode> <id> <stage>\t<path>`, each ended by NUL. Folders that stand for
/// what is in them are written out here: git itself would write trees for that.
///
/// # Errors
/// When git can't read the index.
pub(super) fn list_index(twin: &Twin, program: &Program) -> Result<Vec<u8>> {
    let args: &[&str] = if twin.sparse_index { &["--sparse"] } else { &[] };
    let listed = output_of(twin, program, &[&["ls-files", "-z", "-s", "-t"], args].concat(), Input::Nothing)?;
    if !twin.sparse_index {
        return Ok(listed);
    }
    let mut whole = Vec::new();
    for line in paths(&listed) {
        let folder = entry(line)?;
        if folder.mode != b"040000" {
            whole.extend([line, b"\0"].concat());
            continue;
        }
        let inside =
            output_of(twin, program, &["ls-tree", "-r", "-z", "--full-tree", &folder.id], Input::Nothing)?;
        for line in paths(&inside) {
            // `<mode> <type> <id>\t<path>`
            let mut fields = line.splitn(2, |&b| b == b'\t');
            let (facts, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let words: Vec<&[u8]> = facts.split(|&b| b == b' ').collect();
            let [mode, _, id] = words.as_slice() else { bail!("an entry of a tree: {}", escape(line)) };
            whole.extend([b"S ", *mode, b" ", id, b" 0\t", folder.path, path, b"\0"].concat());
        }
    }
    Ok(whole)
}

/// `H 100644 <id> 0\t<path>`.
pub(super) fn entry(line: &[u8]) -> Result<Entry<'_>> {
    let tab = line.iter().position(|&b| b == b'\t').context("an entry of the index without a path")?;
    let words: Vec<&[u8]> = line[..tab].split(|&b| b == b' ').collect();
    let [tag, mode, id, stage] = words.as_slice() else { bail!("an entry of the index: {}", escape(line)) };
    Ok(Entry {
        mode,
        id: String::from_utf8_lossy(id).into_owned(),
        stage: stage.first().map_or(0, |b| b.wrapping_sub(b'0')),
        path: &line[tab + 1..],
        skipped: matches!(tag, [b'S' | b's']),
    })
}

type Sorted<'a> = (Vec<&'a [u8]>, Vec<&'a [u8]>);

/// Which paths are there as files or links, and which are gone. What lies behind a link that took a
/// folder's place is gone; pipes and sockets are neither.
fn sort_by_presence<'a>(root: &Path, candidates: impl Iterator<Item = &'a [u8]>) -> Result<Sorted<'a>> {
    let (mut present, mut gone) = (Vec::new(), Vec::new());
    let mut real_folders: std::collections::HashMap<&[u8], bool> = std::collections::HashMap::new();
    for (count, path) in candidates.enumerate() {
        if count % 4096 == 0 {
            interrupt::check()?;
        }
        let folders = path.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(at, _)| &path[..at]);
        let mut reachable = true;
        for folder in folders {
            let full = root.join(os_name::to_os(folder)?);
            reachable &= *real_folders
                .entry(folder)
                .or_insert_with(|| fs::symlink_metadata(full).is_ok_and(|meta| meta.is_dir()));
        }
        let meta = fs::symlink_metadata(root.join(os_name::to_os(path)?));
        match meta {
            Ok(meta) if reachable && (meta.is_file() || meta.is_symlink()) => present.push(path),
            Ok(meta) if reachable && !meta.is_dir() => {}
            _ => gone.push(path),
        }
    }
    Ok((present, gone))
}

fn is_readable(root: &Path, path: &[u8]) -> bool {
    let Ok(name) = os_name::to_os(path) else { return false };
    let path = root.join(name);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => fs::File::open(&path).is_ok(),
        _ => true,
    }
}

fn joined(paths: &[&[u8]]) -> Vec<u8> {
    paths.iter().flat_map(|path| [*path, b"\0".as_slice()]).flatten().copied().collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// The id of the tree without entries, in both object formats.
pub(super) fn is_empty_tree(id: &str) -> bool {
    matches!(
        id,
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
            | "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
    )
}

fn output_of(twin: &Twin, program: &Program, args: &[&str], input: Input<'_>) -> Result<Vec<u8>> {
    let mut command = twin.call(program);
    command.args(args);
    output(command, input)
}
