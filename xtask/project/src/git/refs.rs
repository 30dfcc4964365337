//! Refs: their names, checked by git's rules (git-check-ref-format(1)), and reading all of them from the
//! files where git keeps them, without any library's opinion of the repository. Only the reftable storage
//! needs the git command (see `reftable`).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::base::{interrupt, os_name};

/// What a ref says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An object's id.
    Id(String),
    /// Another ref's name.
    Symbolic(String),
}

/// Refs by name.
pub type Refs = BTreeMap<String, Value>;

/// Whether this is an object's id in full: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
pub fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether git accepts this as a ref's full name (`refs/heads/main`).
pub fn is_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    name.strip_prefix("refs/").is_some_and(|rest| {
        !rest.is_empty()
            && !name.ends_with('.')
            && !name.contains("..")
            && !name.contains("@{")
            && !name.contains(odd)
            && name.split('/').all(|part| {
                !part.is_empty()
                    && !part.starts_with(['.', '-'])
                    && !part.ends_with(".lock")
                    && os_name::refused_part(part.as_bytes()).is_none()
            })
    })
}

/// What the text of a `HEAD` or of a loose ref says.
///
/// # Errors
/// When it is neither `ref: NAME` nor an id.
pub fn parse(text: &str) -> Result<Value> {
    let text = text.trim_end_matches(['\n', '\r', ' ']);
    if let Some(name) = text.strip_prefix("ref:") {
        let name = name.trim();
        if is_name(name) {
            return Ok(Value::Symbolic(name.to_owned()));
        }
    } else if is_id(text) {
        return Ok(Value::Id(text.to_owned()));
    }
    bail!("neither a ref's name nor an id: {text:?}")
}

/// All refs of a repository whose refs are files, and the names of those that can't be read. `own` is the
/// git folder of this working copy; in a linked one it holds the few refs that are its own.
///
/// # Errors
/// When a folder or `packed-refs` can't be read.
pub fn read_files(common: &Path, own: &Path) -> Result<(Refs, Vec<String>)> {
    let (mut loose, mut broken) = (Refs::new(), Vec::new());
    // Loose ones first: git writes a ref to packed-refs before it removes the loose file.
    walk(&common.join("refs"), "refs", &mut loose, &mut broken)?;
    let linked = own != common;
    if linked {
        let is_own = |name: &str| OWN.iter().any(|folder| name.starts_with(folder));
        loose.retain(|name, _| !is_own(name));
        for folder in OWN {
            let folder = folder.trim_end_matches('/');
            walk(&own.join(folder), folder, &mut loose, &mut broken)?;
        }
    }
    let mut refs = Refs::new();
    let path = common.join("packed-refs");
    let packed = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("can't read {}", path.display()))?,
    };
    for line in packed.lines().filter(|line| !line.starts_with(['#', '^'])) {
        match line.split_once(' ') {
            Some((id, name)) if is_id(id) && is_name(name) => {
                refs.insert(name.to_owned(), Value::Id(id.to_owned()));
            }
            _ => broken.push(line.chars().take(200).collect()),
        }
    }
    refs.extend(loose);
    refs.retain(|name, _| !name.starts_with("refs/xtask/"));
    Ok((refs, broken))
}

/// Refs that each working copy has for itself (gitrepository-layout(5)).
const OWN: [&str; 3] = ["refs/bisect/", "refs/worktree/", "refs/rewritten/"];

fn walk(folder: &Path, name: &str, refs: &mut Refs, broken: &mut Vec<String>) -> Result<()> {
    interrupt::check()?;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("can't read {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("can't read {}", folder.display()))?;
        let part = entry.file_name();
        let full = format!("{name}/{}", part.to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &full, refs, broken)?;
            continue;
        }
        if full.ends_with(".lock") {
            continue; // a ref that is being written: its old value is what counts
        }
        let value = match std::fs::read_to_string(entry.path()) {
            // Packed or deleted since the folder was read.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.ok().and_then(|text| parse(&text).ok()),
        };
        match value {
            Some(value) if is_name(&full) && part.to_str().is_some() => drop(refs.insert(full, value)),
            _ => broken.push(full),
        }
    }
    Ok(())
}

/// The id that a ref leads to; `None` where it leads nowhere.
pub fn resolve(refs: &Refs, value: &Value) -> Option<String> {
    let mut value = value;
    for _ in 0..8 {
        match value {
            Value::Id(id) => return Some(id.clone()),
            Value::Symbolic(name) => value = refs.get(name)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_gits_rules() {
        for good in ["refs/heads/main", "refs/heads/ü", "refs/stash", "refs/remotes/origin/HEAD", "refs/a/@"]
        {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "HEAD",
            "refs/",
            "refs/heads/",
            "refs/heads/../x",
            "refs/heads/.x",
            "refs/heads/-x",
            "refs/heads/x.lock",
            "refs/heads/a b",
            "refs/heads/a\nb",
            "refs/heads/a@{1}",
            "refs//x",
            "refs/x.",
            "/refs/heads/x",
            "refs/heads/a:b",
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(parse("ref: ../../x").is_err() && parse("zz").is_err() && parse("").is_err());
        assert_eq!(parse("ref: refs/heads/m\n").unwrap(), Value::Symbolic("refs/heads/m".into()));
    }
}
