//! What the repository is now: refs as they lie on the disk, loose and packed apart, and those too that
//! nobody can read, since they must outlast what is done around them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::refs::{self, Refs, Value};
use super::refusals;
use crate::base::{interrupt, os_name};

/// A line of `packed-refs`, with the one that says what its tag leads to.
pub(super) struct Packed {
    pub id: String,
    pub lines: Vec<u8>,
}

/// The repository's side.
pub(super) struct Live {
    pub head: Value,
    /// Loose refs by their full name; `None` for what can't be read or is a link.
    pub loose: BTreeMap<Vec<u8>, Option<Value>>,
    pub packed: BTreeMap<Vec<u8>, Packed>,
    /// The refs that git sees, those of `refs/xtask/` aside.
    pub refs: Refs,
    /// Files below `logs/`, by their name there.
    pub logs: BTreeSet<Vec<u8>>,
    /// Locks of refs.
    pub locks: Vec<Vec<u8>>,
}

impl Live {
    /// # Errors
    /// When HEAD is damaged, or something can't be read.
    pub fn read(common: &Path) -> Result<Live> {
        let head = common.join("HEAD");
        let text = fs::read_to_string(&head).with_context(|| format!("can't read {}", head.display()))?;
        let head = refs::parse(&text).map_err(|error| refusals::damaged(&head, &error))?;
        let mut live = Live {
            head,
            loose: BTreeMap::new(),
            packed: BTreeMap::new(),
            refs: Refs::new(),
            logs: BTreeSet::new(),
            locks: Vec::new(),
        };
        // Loose ones first: git writes a ref to packed-refs before it removes the loose file.
        let mut names = Vec::new();
        files(&common.join("refs"), b"refs", &mut names)?;
        for name in names {
            if name.ends_with(b".lock") {
                live.locks.push(name);
                continue;
            }
            let path = common.join(os_name::to_os(&name)?);
            let meta = fs::symlink_metadata(&path);
            let read =
                meta.is_ok_and(|meta| meta.is_file()).then(|| fs::read_to_string(&path).ok()).flatten();
            live.loose.insert(name, read.and_then(|text| refs::parse(&text).ok()));
        }
        live.packed = packed(&common.join("packed-refs"))?;
        let seen = |name: &[u8]| {
            let name = std::str::from_utf8(name).ok().filter(|name| refs::is_name(name))?;
            (!name.starts_with("refs/xtask/")).then(|| name.to_owned())
        };
        for (name, line) in &live.packed {
            live.refs.extend(seen(name).map(|name| (name, Value::Id(line.id.clone()))));
        }
        for (name, value) in &live.loose {
            if let (Some(name), Some(value)) = (seen(name), value) {
                live.refs.insert(name, value.clone());
            }
        }
        let mut names = Vec::new();
        files(&common.join("logs"), b"", &mut names)?;
        live.logs.extend(names);
        Ok(live)
    }
}

/// The names of all that is no folder below a folder.
fn files(folder: &Path, name: &[u8], found: &mut Vec<Vec<u8>>) -> Result<()> {
    interrupt::check()?;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("can't read {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("can't read {}", folder.display()))?;
        let part = os_name::from_os(&entry.file_name())?;
        let full = if name.is_empty() { part } else { [name, b"/", &part].concat() };
        if entry.file_type()?.is_dir() {
            files(&entry.path(), &full, found)?;
        } else {
            found.push(full);
        }
    }
    Ok(())
}

fn packed(path: &Path) -> Result<BTreeMap<Vec<u8>, Packed>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.with_context(|| format!("can't read {}", path.display()))?,
    };
    let mut packed = BTreeMap::<Vec<u8>, Packed>::new();
    let mut last = None;
    for line in text.split_inclusive(|&b| b == b'\n') {
        let bare = line.trim_ascii_end();
        match bare.first() {
            None | Some(b'#') => continue,
            Some(b'^') => {
                if let Some(entry) = last.as_ref().and_then(|name| packed.get_mut(name)) {
                    entry.lines.extend(bare);
                    entry.lines.push(b'\n');
                }
                continue;
            }
            Some(_) => {}
        }
        // 40 digits (SHA-1) or 64 (SHA-256).
        let space = bare.iter().position(|&b| b == b' ').unwrap_or(bare.len());
        let id = std::str::from_utf8(&bare[..space]).ok().filter(|id| refs::is_id(id));
        let name = bare.get(space + 1..);
        let (Some(id), Some(name)) = (id, name) else {
            let error = anyhow::anyhow!(
                "a line is neither a ref nor a remark: {:?}",
                bare.escape_ascii().to_string()
            );
            return Err(refusals::damaged(path, &error));
        };
        packed.insert(name.to_vec(), Packed { id: id.to_owned(), lines: [bare, b"\n"].concat() });
        last = Some(name.to_vec());
    }
    Ok(packed)
}
