//! Refs and reflogs of a repository that keeps them in reftables, asked of the git command and written as
//! files.

use std::path::Path;

use anyhow::{Context, Result};

use super::refs::{self, Refs, Value};
use super::run::{Input, Program, answer, output};
use super::twin::write;
use crate::base::file_facts::create_private_dir;

/// Where the refs outside `refs/` (`ORIG_HEAD`, `CHERRY_PICK_HEAD`), which the file storage has as files of
/// the git folder, are written as such files.
pub(super) const ROOT_REFS: &str = "root-refs";

/// All refs and HEAD; the reflogs are written below `dir/logs`, the other refs outside `refs/` below
/// `dir/root-refs`.
///
/// # Errors
/// When git can't list them.
pub(super) fn read(program: &Program, root: &Path, dir: &Path) -> Result<(Refs, Value)> {
    let call = |args: &[&str]| {
        let mut command = program.at(root);
        command.args(args);
        command
    };
    let format = "--format=%(objectname) %(refname) %(symref)";
    let listed = output(call(&["for-each-ref", "--include-root-refs", format]), Input::Nothing)?;
    create_private_dir(&dir.join(ROOT_REFS))?;
    let mut refs = Refs::new();
    for line in String::from_utf8_lossy(&listed).lines() {
        let mut words = line.split(' ');
        let (Some(id), Some(name)) = (words.next(), words.next()) else { continue };
        if !name.starts_with("refs/") {
            let plain = name != "HEAD" && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            if plain && refs::is_id(id) {
                write(&dir.join(ROOT_REFS).join(name), format!("{id}\n").as_bytes())?;
            }
            continue;
        }
        let value = match words.next() {
            Some(target) if !target.is_empty() => Value::Symbolic(target.to_owned()),
            _ => Value::Id(id.to_owned()),
        };
        refs.insert(name.to_owned(), value);
    }
    refs.retain(|name, _| !name.starts_with("refs/xtask/"));
    let symbolic = answer(call(&["symbolic-ref", "-q", "HEAD"]), Input::Nothing)?;
    let head = if symbolic.ok {
        Value::Symbolic(symbolic.text())
    } else {
        let id = output(call(&["rev-parse", "--verify", "HEAD"]), Input::Nothing)?;
        refs::parse(&String::from_utf8_lossy(&id)).context("git tells no id of HEAD")?
    };
    let with_logs = output(call(&["reflog", "list"]), Input::Nothing)?;
    for name in String::from_utf8_lossy(&with_logs).lines() {
        if name != "HEAD" && !refs::is_name(name) {
            continue;
        }
        // Newest first: committer of the entry, its time, its message, and the id that it moved to.
        let format = "--format=%H%x00%gn%x00%ge%x00%gd%x00%gs";
        let log = output(call(&["log", "-g", "-z", "--date=raw", format, name, "--"]), Input::Nothing)?;
        let log = String::from_utf8_lossy(&log);
        let fields: Vec<&str> = log.split('\0').collect();
        let entries: Vec<&[&str]> = fields.chunks_exact(5).collect();
        let zero = "0".repeat(entries.first().map_or(40, |entry| entry[0].len()));
        let (mut lines, mut old) = (String::new(), zero);
        for entry in entries.iter().rev() {
            let time = entry[3].rsplit_once("@{").map_or("0 +0000", |(_, time)| time.trim_end_matches('}'));
            let (new, name, email, message) = (entry[0], entry[1], entry[2], entry[4]);
            lines.push_str(&format!("{old} {new} {name} <{email}> {time}\t{message}\n"));
            old = new.to_owned();
        }
        let path = dir.join("logs").join(name);
        create_private_dir(path.parent().unwrap_or(dir))?;
        write(&path, lines.as_bytes())?;
    }
    Ok((refs, head))
}
