//! What came since an earlier backup, as one bundle more: that backup's bundles are carried over as they are, and
//! the new one holds only objects that none of them has. It lists every ref of its time all the same, so the last
//! bundle tells what the repository was.
//!
//! Whatever is unusual (gaps, a history that was cut off, refs that were deleted or rewritten, too many bundles or
//! too large ones) gives one whole bundle again; so does git, when it can't make the small one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::bundle;
use super::bundle_write::listed;
use super::refs::Refs;
use super::run::{Input, Program, answer, answer_into, output};
use super::twin::Twin;
use crate::base::facts::GitFacts;
use crate::base::file_facts::create_private_file;

/// So many bundles follow a whole one at most.
const INCREMENTS_MAX: usize = 16;

/// Bytes of a pack without objects: its header and its checksum follow one another.
const PACK_HEADER: usize = 12;

/// What an earlier backup's bundles hold.
#[derive(Debug)]
pub struct Earlier {
    format: String,
    /// Names and sizes in bytes, in the order in which they are read.
    bundles: Vec<(String, u64)>,
    /// Id and name of every ref that the last one lists.
    listed: BTreeSet<(String, String)>,
    /// Ids behind which everything is in the bundles.
    tips: BTreeSet<String>,
    /// Where HEAD was, and the commits without parents that it comes from.
    commit: Option<String>,
    root_commits: Vec<String>,
}

/// The beginning of a bundle.
pub struct Beginning {
    /// Its name below `git/bundles/`.
    pub name: String,
    /// Bytes of all of it.
    pub size: u64,
    /// Its first bytes, up to the pack.
    pub bytes: Vec<u8>,
}

/// What a bundle is called, by its place in the row.
pub(super) fn bundle_name(number: usize) -> String {
    format!("{number:04}.bundle")
}

/// What came since.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Nothing: the earlier bundles tell all.
    Nothing,
    /// What the new bundle holds.
    Bundle,
    /// One whole bundle is better.
    Whole,
}

impl Earlier {
    /// Reads what a backup's bundles begin with. Only what they list is known to be in them: a reflog can mention what
    /// was not there to be packed. `None` when nothing can be built on it.
    ///
    /// # Errors
    /// When they are not the beginnings of bundles.
    pub fn read(facts: &GitFacts, bundles: &[Beginning]) -> Result<Option<Earlier>> {
        let is_named = |(number, bundle): (usize, &Beginning)| bundle.name == bundle_name(number);
        if facts.shallow || bundles.is_empty() || !bundles.iter().enumerate().all(is_named) {
            return Ok(None);
        }
        let (mut listed, mut tips) = (BTreeSet::new(), BTreeSet::new());
        for beginning in bundles {
            let header = bundle::parse(&mut beginning.bytes.as_slice())
                .with_context(|| format!("{} is no bundle that can be used", beginning.name))?;
            ensure!(header.format == facts.object_format, "{} is of another format", beginning.name);
            tips.extend(header.refs.iter().map(|(id, _)| id.clone()));
            listed = header.refs.into_iter().collect();
        }
        Ok(Some(Earlier {
            format: facts.object_format.clone(),
            bundles: bundles.iter().map(|bundle| (bundle.name.clone(), bundle.size)).collect(),
            listed,
            tips,
            commit: facts.commit.clone(),
            root_commits: facts.root_commits.clone(),
        }))
    }

    /// The commits without parents that a commit comes from, where they are known: they never change.
    pub(super) fn root_commits(&self, commit: Option<&str>) -> Option<Vec<String>> {
        let is_known = commit.is_some() && self.commit.as_deref() == commit && !self.root_commits.is_empty();
        is_known.then(|| self.root_commits.clone())
    }

    /// Names of its bundles.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.bundles.iter().map(|(name, _)| name)
    }

    /// Whether one more bundle is better than one whole one.
    fn can_grow(&self) -> bool {
        let base = self.bundles.first().map_or(0, |(_, size)| *size);
        let more: u64 = self.bundles.iter().skip(1).map(|(_, size)| size).sum();
        self.bundles.len() <= INCREMENTS_MAX && more <= base / 2
    }
}

/// Writes what came since into `path`.
///
/// # Errors
/// When git can't, or the user asked to stop. One whole bundle may be possible then.
pub(super) fn write(
    twin: &Twin,
    program: &Program,
    ours: &Refs,
    earlier: &Earlier,
    path: &Path,
) -> Result<Since> {
    let is_cut_off = twin.dir.join("shallow").metadata().is_ok_and(|meta| meta.len() > 0);
    if is_cut_off || twin.format != earlier.format || !earlier.can_grow() {
        return Ok(Since::Whole);
    }
    let tips: Vec<&str> = earlier.tips.iter().map(String::as_str).collect();
    let absent: BTreeSet<String> = bundle::absent(Some(program), &twin.dir, &tips)?.into_iter().collect();
    let listed = listed(twin, ours);
    if forgets(twin, program, earlier, &absent, &listed)? {
        return Ok(Since::Whole);
    }
    let not: String = tips.iter().filter(|id| !absent.contains(**id)).map(|id| format!("^{id}\n")).collect();
    let pack = path.with_extension("pack");
    let mut command = program.on(&twin.dir);
    command.args(["pack-objects", "--revs", "--all", "--reflog", "--thin", "--stdout", "-q"]);
    command.arg("--delta-base-offset");
    let told = answer_into(command, Input::Bytes(not.as_bytes()), create_private_file(&pack)?)?;
    ensure!(told.ok, "git pack-objects failed: {}", told.err);
    prove(twin, program, &pack)?;
    let is_empty = is_empty(&pack)?;
    if is_empty && listed.iter().cloned().collect::<BTreeSet<_>>() == earlier.listed {
        remove(&pack)?;
        return Ok(Since::Nothing);
    }
    let needs = if is_empty { Vec::new() } else { boundary(twin, program, &not)? };
    let mut out = BufWriter::new(create_private_file(path)?);
    bundle::write_header(&twin.format, &needs, &listed, &mut out)?;
    std::io::copy(&mut File::open(&pack)?, &mut out)?;
    out.flush()?;
    remove(&pack)?;
    Ok(Since::Bundle)
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("can't remove {}", path.display()))
}

/// Git copies what is packed already without looking at it: unpacks it once, on what is there.
fn prove(twin: &Twin, program: &Program, pack: &Path) -> Result<()> {
    let mut command = program.on(&twin.dir);
    command.args(["index-pack", "--stdin", "--fix-thin"]);
    output(command, Input::Rest(File::open(pack)?)).map(drop)
}

/// Whether the earlier bundles hold what no ref of now leads to any more: a ref was deleted or rewritten, HEAD or the
/// stash went away. Our refs, and the stash, whose entries are all of their own, are others every time.
fn forgets(
    twin: &Twin,
    program: &Program,
    earlier: &Earlier,
    absent: &BTreeSet<String>,
    listed: &[(String, String)],
) -> Result<bool> {
    let has_stash = listed.iter().any(|(_, name)| name == "refs/stash");
    let lasts = |name: &str| match name {
        "HEAD" | "refs/xtask/head" => true,
        "refs/stash" => !has_stash,
        _ => name.starts_with("refs/") && !name.starts_with("refs/xtask/"),
    };
    let now: BTreeSet<&str> = listed.iter().map(|(id, _)| id.as_str()).collect();
    let then = earlier.listed.iter().filter(|(_, name)| lasts(name)).map(|(id, _)| id.as_str());
    let then: BTreeSet<&str> = then.filter(|id| !now.contains(id)).collect();
    if then.is_empty() {
        return Ok(false);
    }
    if then.iter().any(|id| absent.contains(*id)) {
        return Ok(true);
    }
    let lines = then.iter().map(|id| format!("{id}\n")).chain(now.iter().map(|id| format!("^{id}\n")));
    let mut command = program.on(&twin.dir);
    command.args(["rev-list", "--objects", "--max-count=1", "--stdin"]);
    Ok(!output(command, Input::Bytes(lines.collect::<String>().as_bytes()))?.is_empty())
}

/// The commits that must be there already.
fn boundary(twin: &Twin, program: &Program, not: &str) -> Result<Vec<String>> {
    let mut command = program.on(&twin.dir);
    command.args(["rev-list", "--boundary", "--all", "--reflog", "--stdin"]);
    let told = answer(command, Input::Bytes(not.as_bytes()))?;
    ensure!(told.ok, "git rev-list failed: {}", told.err);
    let text = told.text();
    let needs: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix('-')).collect();
    Ok(needs.into_iter().map(str::to_owned).collect())
}

/// Whether a pack holds no object (gitformat-pack(5): signature, version, number of objects).
fn is_empty(pack: &Path) -> Result<bool> {
    let mut header = [0; PACK_HEADER];
    File::open(pack)?.read_exact(&mut header).context("git made no pack")?;
    if !header.starts_with(b"PACK") {
        bail!("git made no pack");
    }
    Ok(header[8..] == [0; 4])
}
