//! Writing a commit without the git command: libgit2 reads objects and attributes, the conversions are ours.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use git2::{AttrCheckFlags, AttrValue};

use super::super::Git;
use super::super::config::is_true;
use super::super::revision::Commit;
use super::super::twin::Twin;
use super::convert::{Attributes, Settings, Value, to_working_file};
use super::{Item, Mode, list};
use crate::base::failure::{Failure, Kind};
use crate::base::safe_path::SafePath;
use crate::base::{file_facts, interrupt, links, os_name};

/// Writes everything; files with the attribute `filter`, and its value.
///
/// # Errors
/// `Refused` when an object is missing or damaged, or an encoding is one that only the git command knows.
pub(super) fn write(
    git: &Git,
    twin: &Twin,
    settings: &BTreeMap<String, String>,
    commit: &Commit,
    items: &[Item],
    to: &Path,
) -> Result<Vec<(SafePath, String)>> {
    let repository = twin.library(&twin.dir)?;
    repository.set_workdir(to, false)?;
    let objects = repository.odb()?;
    let id = |item: &Item| git2::Oid::from_str(&item.id);
    let mut missing = Vec::new();
    for item in items.iter().filter(|item| item.mode != Mode::Submodule) {
        if !objects.exists(id(item)?) {
            missing.push(item);
        }
    }
    list::missing_objects(git, commit, &missing)?;
    // Attributes are asked of the commit: an index in memory that has nothing else.
    let mut index = git2::Index::new()?;
    index.read_tree(&repository.find_commit(git2::Oid::from_str(&commit.id)?)?.tree()?)?;
    repository.set_index(&mut index)?;
    let (ends, mut filters) = (Settings::new(settings), Vec::new());
    let with_links = settings.get("core.symlinks").is_none_or(|value| is_true(Some(value)));
    // Links come last, so that none is ever written through, whatever names are one on this disk.
    let (later, first): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| item.mode == Mode::Link);
    for item in first.into_iter().chain(later) {
        interrupt::check()?;
        let full = item.path.below(to)?;
        let folder = full.parent().unwrap_or(to);
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        let told = || format!("can't write {}", full.display());
        if item.mode == Mode::Submodule {
            fs::create_dir_all(&full).with_context(told)?;
            continue;
        }
        let blob = repository.find_blob(id(item)?).map_err(|error| {
            list::absent(
                git,
                &commit.id,
                &format!("the object {} ({}): {}", item.id, item.path, error.message()),
            )
        })?;
        if item.mode == Mode::Link {
            if with_links {
                links::create(blob.content(), &full).with_context(told)?;
            } else {
                file(&full, blob.content()).with_context(told)?;
            }
            continue;
        }
        let (attributes, filter) = attributes(&repository, &item.path)?;
        let content = to_working_file(blob.content(), &item.id, &attributes, ends).map_err(|name| {
            let text = format!("{} is to be written as {name}, which needs the git command", item.path);
            Failure::new(Kind::Refused, text).hint("install git")
        })?;
        file(&full, &content).with_context(told)?;
        if item.mode == Mode::Executable {
            file_facts::set_mode(&full, 0o755).with_context(told)?;
        }
        if let Value::Is(filter) = filter {
            filters.push((item.path.clone(), filter));
        }
    }
    Ok(filters)
}

/// A new file; where the name is there already, the commit has two that are one on this disk.
fn file(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let text = format!("{} and another name of the commit are one on this disk", path.display());
            Failure::new(Kind::Refused, text)
                .hint("restore on a disk that tells upper and lower case apart")
                .into()
        }
        _ => anyhow::Error::new(error),
    })?;
    Ok(file.write_all(content)?)
}

fn attributes(repository: &git2::Repository, path: &SafePath) -> Result<(Attributes, Value)> {
    let name = os_name::to_os(path.bytes())?;
    let ask = |attribute: &str| -> Result<Value> {
        let told = repository
            .get_attr_bytes(Path::new(&name), attribute, AttrCheckFlags::INDEX_ONLY)
            .with_context(|| format!("the attributes of {path} can't be read"))?;
        Ok(match AttrValue::from_bytes(told) {
            AttrValue::True => Value::Set,
            AttrValue::False => Value::Unset,
            AttrValue::Unspecified => Value::Unspecified,
            AttrValue::String(text) => Value::Is(text.to_owned()),
            AttrValue::Bytes(bytes) => Value::Is(String::from_utf8_lossy(bytes).into_owned()),
        })
    };
    let attributes = Attributes {
        text: ask("text")?,
        crlf: ask("crlf")?,
        eol: ask("eol")?,
        ident: ask("ident")?,
        encoding: ask("working-tree-encoding")?,
    };
    Ok((attributes, ask("filter")?))
}
