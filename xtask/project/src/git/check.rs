//! Proves the bundles of an extracted backup: every object's hash, every ref, and that nothing that they
//! refer to is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::put_back::skeleton;
use super::run::{Input, Program, answer};
use super::{bundle, refs, saved};
use crate::base::facts::GitFacts;
use crate::base::interrupt;

/// What is wrong with the bundles of the extracted `git/` folder `source`; empty when they are good.
/// `scratch` is an empty folder with room for them.
///
/// # Errors
/// When the scratch folder can't be written, or the user asked to stop. Damage is no error.
pub fn check_bundles(source: &Path, facts: &GitFacts, scratch: &Path) -> Result<Vec<String>> {
    check_with(Program::find().as_ref(), source, facts, scratch)
}

pub(super) fn check_with(
    program: Option<&Program>,
    source: &Path,
    facts: &GitFacts,
    scratch: &Path,
) -> Result<Vec<String>> {
    let format = if facts.object_format.is_empty() { "sha1" } else { facts.object_format.as_str() };
    let dir = scratch.join("check.git");
    skeleton(&dir, &[], format)?;
    let files = match bundle::files(source, facts) {
        Ok(files) => files,
        Err(error) => return Ok(vec![format!("{error:#}")]),
    };
    if program.is_none() && format == "sha256" {
        // Without git only the headers of a SHA-256 history can be read.
        return Ok(files
            .iter()
            .filter_map(|path| bundle::header(path).err())
            .map(|e| format!("{e:#}"))
            .collect());
    }
    let read = |name: &str| -> Result<String> {
        Ok(saved::text(source, name)?.map(|(_, text)| text).unwrap_or_default())
    };
    let shallow = read("shallow")?;
    if !shallow.is_empty() {
        fs::write(dir.join("shallow"), &shallow).with_context(|| format!("can't write {}", dir.display()))?;
    }
    let (mut damage, mut listed) = (Vec::new(), BTreeMap::new());
    for path in &files {
        interrupt::check()?;
        let step = || -> Result<Vec<(String, String)>> {
            let (header, pack) = bundle::header(path)?;
            anyhow::ensure!(header.format == format, "{} is of another object format", path.display());
            bundle::unpack(program, &dir, path, pack)?;
            Ok(header.refs)
        };
        match step() {
            Ok(found) => listed = found.into_iter().map(|(id, name)| (name, id)).collect(),
            Err(error) => {
                interrupt::check()?;
                damage.push(format!("{error:#}"));
            }
        }
    }
    if !damage.is_empty() {
        return Ok(damage);
    }
    let ids: BTreeSet<&str> = listed.values().map(String::as_str).collect();
    let ids: Vec<&str> = ids.into_iter().collect();
    for id in bundle::absent(program, &dir, &ids)? {
        damage.push(format!("the bundles list {id} and do not have it"));
    }
    let told = [&facts.commit, &facts.index_commit, &facts.worktree_commit];
    for id in told.into_iter().flatten().filter(|id| !files.is_empty() && !ids.contains(&id.as_str())) {
        let known = refs::is_id(id) && bundle::absent(program, &dir, &[id])?.is_empty();
        // A history that was damaged when it was saved has told so then.
        if !known && read("missing")?.is_empty() {
            damage.push(format!("the manifest names {id}, which the bundles do not have"));
        }
    }
    if damage.is_empty() && !ids.is_empty() {
        connected(program, &dir, &ids, &read("missing")?, &mut damage)?;
    }
    Ok(damage)
}

/// Walks from every ref to everything that it needs.
fn connected(
    program: Option<&Program>,
    dir: &Path,
    ids: &[&str],
    known: &str,
    damage: &mut Vec<String>,
) -> Result<()> {
    let Some(program) = program else {
        let repository = git2::Repository::open(dir)?;
        let mut walk = repository.revwalk()?;
        for id in ids {
            let object = repository.find_object(git2::Oid::from_str(id)?, None)?;
            if let Ok(commit) = object.peel_to_commit() {
                walk.push(commit.id())?;
            }
        }
        for (count, id) in walk.enumerate() {
            if count % 1024 == 0 {
                interrupt::check()?;
            }
            if let Err(error) = id.and_then(|id| repository.find_commit(id)?.tree().map(drop)) {
                damage.push(format!("the history is not whole: {}", error.message()));
                break;
            }
        }
        return Ok(());
    };
    let known: BTreeSet<&str> = known.lines().collect();
    let mut command = program.on(dir);
    command.args(["rev-list", "--objects", "--quiet", "--stdin"]);
    if !known.is_empty() {
        command.arg("--missing=print");
    }
    let walked = answer(command, Input::Bytes((ids.join("\n") + "\n").as_bytes()))?;
    if !walked.ok {
        damage.push(format!("the history is not whole: {}", walked.err));
    }
    for id in walked.text().lines().filter_map(|line| line.strip_prefix('?')) {
        if !known.contains(id) {
            damage.push(format!("{id} is missing in the history"));
        }
    }
    Ok(())
}
