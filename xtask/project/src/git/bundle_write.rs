//! Writing the bundle: with `git pack-objects` and a header of our own; where objects are missing or damaged, with as
//! much as can be read; without the git command, with libgit2's pack builder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::bundle;
use super::refs::{self, Refs, Value};
use super::run::{Answer, Input, Program, answer, answer_into, output};
use super::twin::Twin;
use crate::base::failure::tells_of_full_disk;
use crate::base::file_facts::create_private_file;
use crate::base::finding::Finding;
use crate::base::interrupt;

/// What writing came to.
#[derive(Default)]
pub(super) struct Written {
    /// The bundle; `None` where there is nothing to put into one.
    pub bundle: Option<PathBuf>,
    /// Objects that are referred to and not there, one id a line; empty when the history is whole.
    pub missing: Option<PathBuf>,
    pub findings: Vec<Finding>,
}

const FSCK: &str =
    "`git fsck --full` tells which objects are damaged; a clone or an older backup may have them";

/// Writes all refs of the twin (`ours` too) into `path`.
///
/// # Errors
/// When the user asked to stop, or the folder can't be written. A damaged history is a finding.
pub(super) fn write(
    twin: &Twin,
    program: Option<&Program>,
    ours: &Refs,
    partial: bool,
    path: &Path,
) -> Result<Written> {
    let mut written = Written::default();
    let listed = listed(twin, ours);
    if listed.is_empty() {
        return Ok(written);
    }
    let Some(program) = program else {
        match write_with_library(twin, &listed, path) {
            Ok(()) => written.bundle = Some(path.to_path_buf()),
            Err(error) => {
                interrupt::check()?;
                room(&format!("{error:#}"))?;
                written.findings.push(problem(format!("git's history is not in the backup: {error:#}")));
            }
        }
        return Ok(written);
    };
    let mut why = String::new();
    if !partial {
        let whole = pack(twin, program, &["--all", "--reflog"], &listed, path)?;
        if whole.ok {
            written.bundle = Some(path.to_path_buf());
            return Ok(written);
        }
        why = reason(&whole.err);
        room(&whole.err)?;
        if pack(twin, program, &["--all"], &listed, path)?.ok {
            let what = "what only reflogs hold (older stash entries, amended commits) is not in the backup";
            written.findings.push(problem(format!("{what}: {why}")));
            written.bundle = Some(path.to_path_buf());
            return Ok(written);
        }
    }
    // With gaps: every object that is there, and a list of those that are not.
    match write_with_gaps(twin, program, &listed, path) {
        Ok((missing, count)) => {
            if !partial {
                let what = format!("{count} objects of git's history are missing or damaged ({why})");
                written.findings.push(problem(format!("{what}; all others are in the backup")));
            }
            written.missing = (count > 0).then_some(missing);
            written.bundle = Some(path.to_path_buf());
        }
        Err(error) => {
            interrupt::check()?;
            room(&format!("{error:#}"))?;
            if why.is_empty() {
                why = format!("{error:#}");
            }
            let (good, bad) = whole_refs(twin, program, &listed)?;
            let names = bad.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let what = format!(
                "the history of {} refs is damaged and not in the backup ({names}): {why}",
                bad.len()
            );
            written.findings.push(problem(what));
            let listed: Vec<_> = listed.iter().filter(|(_, name)| good.contains(name)).cloned().collect();
            if !good.is_empty() && pack(twin, program, &[], &listed, path)?.ok {
                written.bundle = Some(path.to_path_buf());
            }
        }
    }
    Ok(written)
}

/// Packs everything behind the ids listed, and behind what `also` says, into a bundle. Into a file first: git copies
/// what is packed already as it is, and compares its checksum only where it does not write to a pipe.
fn pack(
    twin: &Twin,
    program: &Program,
    also: &[&str],
    listed: &[(String, String)],
    path: &Path,
) -> Result<Answer> {
    let mut command = program.on(&twin.dir);
    command.args(["-c", "core.fsync=none", "pack-objects", "--revs", "--quiet", "--delta-base-offset"]);
    command.args(also).arg(twin.dir.join("whole"));
    let ids: String = listed.iter().map(|(id, _)| format!("{id}\n")).collect();
    let packed = answer(command, Input::Bytes(ids.as_bytes()))?;
    if packed.ok {
        let pack = twin.dir.join(format!("whole-{}.pack", packed.text()));
        join(&twin.format, listed, &pack, path)?;
    }
    Ok(packed)
}

/// A history that finds no room is no damaged one: that ends the copying.
fn room(words: &str) -> Result<()> {
    anyhow::ensure!(!tells_of_full_disk(words), "{}", reason(words));
    Ok(())
}

fn problem(message: String) -> Finding {
    Finding::problem("git-history", message).hint(FSCK)
}

/// The first line of git's message without its prefix.
fn reason(err: &str) -> String {
    let line = err.lines().find(|line| !line.starts_with("warning:")).unwrap_or("git gave no reason");
    line.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned()
}

/// Id and name of all that a bundle of this twin lists; HEAD last.
pub(super) fn listed(twin: &Twin, ours: &Refs) -> Vec<(String, String)> {
    let all = twin.refs.iter().chain(ours);
    let mut listed: Vec<(String, String)> =
        all.filter_map(|(name, value)| Some((refs::resolve(&twin.refs, value)?, name.clone()))).collect();
    listed.extend(twin.commit().map(|id| (id, "HEAD".to_owned())));
    listed
}

/// A bundle of our header and a pack that is there as a file.
fn join(format: &str, listed: &[(String, String)], pack: &Path, path: &Path) -> Result<()> {
    durable_remove(path)?;
    let mut out = BufWriter::new(create_private_file(path)?);
    bundle::write_header(format, &[], listed, &mut out)?;
    std::io::copy(&mut File::open(pack)?, &mut out)?;
    out.flush()?;
    fs::remove_file(pack)?;
    Ok(())
}

/// What an attempt that failed has left.
fn durable_remove(path: &Path) -> Result<()> {
    crate::base::durable::remove_file(path).with_context(|| format!("can't remove {}", path.display()))
}

/// The list of what is missing, and how many that are.
fn write_with_gaps(
    twin: &Twin,
    program: &Program,
    listed: &[(String, String)],
    path: &Path,
) -> Result<(PathBuf, usize)> {
    let names = twin.dir.join("objects.list");
    let mut command = program.on(&twin.dir);
    command.args(["rev-list", "--objects", "--missing=print", "--all", "--reflog"]);
    let told = answer_into(command, Input::Nothing, create_private_file(&names)?)?;
    if !told.ok {
        bail!("{}", reason(&told.err));
    }
    let mut bad = BTreeSet::new();
    let (hash, lost) = match pack_without(twin, program, &names, &bad) {
        Ok(packed) => packed,
        Err(error) => {
            // Some are there and can't be read.
            bad = damaged(twin, program)?;
            if bad.is_empty() {
                return Err(error);
            }
            pack_without(twin, program, &names, &bad)?
        }
    };
    let missing = twin.dir.join("missing");
    let mut gaps = BufWriter::new(create_private_file(&missing)?);
    for id in &lost {
        writeln!(gaps, "{id}")?;
    }
    gaps.flush()?;
    let there: Vec<_> = listed.iter().filter(|(id, _)| !lost.contains(id)).cloned().collect();
    join(&twin.format, &there, &twin.dir.join(format!("gaps-{hash}.pack")), path)?;
    Ok((missing, lost.len()))
}

/// Packs the objects of a list but those that are missing or bad; the pack's hash and the ids left out.
fn pack_without(
    twin: &Twin,
    program: &Program,
    names: &Path,
    bad: &BTreeSet<String>,
) -> Result<(String, BTreeSet<String>)> {
    let wanted = twin.dir.join("objects.wanted");
    durable_remove(&wanted)?;
    let mut out = BufWriter::new(create_private_file(&wanted)?);
    let mut lost = BTreeSet::new();
    for line in BufReader::new(File::open(names)?).split(b'\n') {
        let line = line?;
        let id = String::from_utf8_lossy(line.split(|&b| b == b' ').next().unwrap_or_default()).into_owned();
        if let Some(id) = id.strip_prefix('?') {
            lost.insert(id.to_owned());
        } else if bad.contains(&id) {
            lost.insert(id);
        } else {
            // The path behind the id helps git to find what resembles what.
            out.write_all(&[&line, b"\n".as_slice()].concat())?;
        }
    }
    out.flush()?;
    let mut command = program.on(&twin.dir);
    command.args(["pack-objects", "--quiet", "--delta-base-offset"]).arg(twin.dir.join("gaps"));
    let hash = output(command, Input::Rest(File::open(&wanted)?))?;
    Ok((String::from_utf8_lossy(&hash).trim().to_owned(), lost))
}

/// Objects that are there and can't be read: what `git fsck` mentions, each tried.
fn damaged(twin: &Twin, program: &Program) -> Result<BTreeSet<String>> {
    let mut command = program.on(&twin.dir);
    command.args(["fsck", "--full", "--no-dangling", "--no-progress"]);
    let told = answer(command, Input::Nothing)?;
    let text = told.err + &String::from_utf8_lossy(&told.out);
    // A loose object is mentioned as the name of its file, with a slash after two digits.
    let text = text.replace('/', "");
    let words = text.split(|c: char| !c.is_ascii_hexdigit());
    let width = if twin.format == "sha1" { 40 } else { 64 };
    let tails = words.filter_map(|word| word.get(word.len().checked_sub(width)?..));
    let candidates: BTreeSet<&str> = tails.filter(|word| refs::is_id(word)).collect();
    let mut bad = BTreeSet::new();
    for id in candidates {
        let mut command = program.on(&twin.dir);
        // To the end of the object, whatever its type, and nothing of it kept in memory.
        command.args(["cat-file", "-p", id]);
        let nowhere = tempfile::tempfile_in(&twin.dir)?;
        if !answer_into(command, Input::Nothing, nowhere)?.ok {
            bad.insert(id.to_owned());
        }
    }
    Ok(bad)
}

/// The refs whose history is whole, and the names of the others. One call of git per ref.
fn whole_refs(
    twin: &Twin,
    program: &Program,
    listed: &[(String, String)],
) -> Result<(Vec<String>, Vec<String>)> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut known = String::new();
    for (id, name) in listed.iter().rev() {
        let mut command = program.on(&twin.dir);
        command.args(["rev-list", "--objects", "--quiet", "--stdin"]);
        if answer(command, Input::Bytes(format!("{known}{id}\n").as_bytes()))?.ok {
            known.push_str(&format!("^{id}\n"));
            good.push(name.clone());
        } else {
            bad.push(name.clone());
        }
    }
    Ok((good, bad))
}

/// The same bundle from libgit2.
fn write_with_library(twin: &Twin, listed: &[(String, String)], path: &Path) -> Result<()> {
    let repository = twin.library(&twin.dir)?;
    let odb = repository.odb()?;
    let mut builder = repository.packbuilder()?;
    builder.set_progress_callback(|_, _, _| interrupt::check().is_ok())?;
    let mut walk = repository.revwalk()?;
    let mut start = |id: git2::Oid, builder: &mut git2::PackBuilder<'_>| -> Result<()> {
        let mut id = id;
        loop {
            match odb.read_header(id)?.1 {
                git2::ObjectType::Commit => return Ok(walk.push(id)?),
                git2::ObjectType::Tag => {
                    builder.insert_object(id, None)?;
                    id = repository.find_tag(id)?.target_id();
                }
                _ => return Ok(builder.insert_recursive(id, None)?),
            }
        }
    };
    for (id, name) in listed {
        start(git2::Oid::from_str(id)?, &mut builder).with_context(|| format!("{name} can't be read"))?;
    }
    for id in logged(&twin.dir.join("logs"))? {
        let id = git2::Oid::from_str(&id)?;
        // Reflogs outlive what they mention, for git as well.
        if odb.exists(id) {
            start(id, &mut builder)?;
        }
    }
    builder.insert_walk(&mut walk)?;
    builder.write(&twin.dir, 0o600)?;
    let name = builder.name()?.context("libgit2 wrote a pack without a name")?.to_owned();
    join(&twin.format, listed, &twin.dir.join(format!("pack-{name}.pack")), path)
}

/// Every id that a reflog mentions.
fn logged(folder: &Path) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            ids.append(&mut logged(&entry.path())?);
            continue;
        }
        for line in BufReader::new(File::open(entry.path())?).split(b'\n') {
            let line = line?;
            let words = line.split(|&b| b == b' ').take(2).filter_map(|word| std::str::from_utf8(word).ok());
            let real = |word: &&str| refs::is_id(word) && word.bytes().any(|b| b != b'0');
            ids.extend(words.filter(real).map(str::to_owned));
        }
    }
    Ok(ids)
}

/// Refs of our own for objects that nothing else holds: `refs/xtask/<folder>/<n>`.
pub(super) fn keep<'a>(ours: &mut Refs, folder: &str, ids: impl Iterator<Item = &'a str>) {
    for (number, id) in ids.enumerate() {
        ours.insert(format!("refs/xtask/{folder}/{number}"), Value::Id(id.to_owned()));
    }
}
