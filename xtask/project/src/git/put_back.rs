//! A repository from an extracted backup: a fresh, normal `.git`, made under a temporary name and renamed
//! into place as the last step. No template, no hook, no user's configuration has a say, and what is read
//! is untrusted: names are checked, links are not followed, and only settings that are data are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::bundle;
use super::config::{self, Setting};
use super::refs::Value;
use super::run::Program;
use super::saved::{self, regular};
use super::settings::{self, Fate};
use super::state::SHARED_FILES;
use super::twin::{copy, write};
use crate::base::escape::escape;
use crate::base::facts::GitFacts;
use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::file_facts::{create_private_dir, set_mode};
use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;
use crate::base::{durable, interrupt, links, os_name};

/// What putting a repository back came to.
#[derive(Debug, Default)]
pub struct PutBack {
    /// What could not come back.
    pub findings: Vec<Finding>,
    /// Hooks and settings that can run code and were not applied: `hook pre-commit`, `config alias.x`.
    pub not_applied: Vec<String>,
}

/// Makes `target/.git` from the extracted `git/` folder of a backup. The working files may be there already
/// or come later. With `apply_code`, hooks and settings that can run code are applied too.
///
/// # Errors
/// When `target/.git` is there already, a bundle is damaged, or something can't be written; `target` then
/// is as it was.
pub fn put_back(source: &Path, facts: &GitFacts, target: &Path, apply_code: bool) -> Result<PutBack> {
    put_back_with(Program::find().as_ref(), source, facts, target, apply_code)
}

pub(super) fn put_back_with(
    program: Option<&Program>,
    source: &Path,
    facts: &GitFacts,
    target: &Path,
    apply_code: bool,
) -> Result<PutBack> {
    let place = target.join(".git");
    if links::exists(&place)? {
        let message = format!("{} is there already", place.display());
        return Err(Failure::new(Kind::Refused, message).hint("move it aside first").into());
    }
    let fresh = tempfile::Builder::new()
        .prefix(durable::TEMPORARY_PREFIX)
        .tempdir_in(target)
        .with_context(|| format!("can't write into {}", target.display()))?;
    let git = Putting { program, source, dir: fresh.path() };
    let done = git.all(facts, apply_code)?;
    // The temporary folder is private; a repository is as readable as the user's other folders.
    let like = fs::metadata(target)?;
    fs::set_permissions(fresh.path(), like.permissions())?;
    fs::rename(fresh.path(), &place).with_context(|| format!("can't make {}", place.display()))?;
    // It has its final name now, so there is nothing left to remove.
    let _ = fresh.keep();
    durable::sync_dir(target)?;
    Ok(done)
}

/// Makes an empty repository of our own in a folder.
///
/// # Errors
/// When it can't be written.
pub(super) fn skeleton(dir: &Path, settings: &[Setting], format: &str) -> Result<()> {
    for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
        fs::create_dir_all(dir.join(folder)).with_context(|| format!("can't make {}", dir.display()))?;
    }
    let own = |section: &str, key: &str, value: &str| Setting {
        section: section.to_owned(),
        subsection: String::new(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let extended = format != "sha1" || settings.iter().any(|s| s.section == "extensions");
    let mut all = vec![
        own("core", "repositoryformatversion", if extended { "1" } else { "0" }),
        own("core", "bare", "false"),
    ];
    match format {
        "sha1" => {}
        "sha256" => all.push(own("extensions", "objectformat", format)),
        other => bail!("the object format {other:?} is unknown"),
    }
    all.extend_from_slice(settings);
    write(&dir.join("config"), config::write(&all).as_bytes())?;
    write(&dir.join("HEAD"), b"ref: refs/heads/main\n")
}

struct Putting<'a> {
    program: Option<&'a Program>,
    source: &'a Path,
    dir: &'a Path,
}

impl Putting<'_> {
    fn all(&self, facts: &GitFacts, apply_code: bool) -> Result<PutBack> {
        let mut done = PutBack::default();
        let program = self.program;
        if program.is_none() && facts.object_format == "sha256" {
            return Err(Failure::new(Kind::Failed, "libgit2 can't write a SHA-256 repository"))
                .hint("install the git command");
        }
        let wished = self.settings(apply_code, &mut done)?;
        let format = if facts.object_format.is_empty() { "sha1" } else { &facts.object_format };
        skeleton(self.dir, &wished, format)?;
        self.shallow()?;
        let mut listed = BTreeMap::new();
        for path in bundle::files(self.source, facts)? {
            interrupt::check()?;
            let (header, pack) = bundle::header(&path)?;
            if header.format != format {
                bail!("{} is of another object format than the backup says", path.display());
            }
            let needs: Vec<&str> = header.needs.iter().map(String::as_str).collect();
            if let Some(id) = bundle::absent(program, self.dir, &needs)?.first() {
                bail!("{} needs {id}, which no earlier bundle has", path.display());
            }
            bundle::unpack(program, self.dir, &path, pack)?;
            // The last one tells what the repository was.
            listed = header.refs.into_iter().map(|(id, name)| (name, id)).collect();
        }
        if settings::is_partial(&wished) {
            self.promise()?;
        }
        self.refs(listed, &mut done)?;
        self.head()?;
        self.files(&mut done)?;
        self.hooks(apply_code, &mut done)?;
        Ok(done)
    }

    /// The settings that are applied; the others are named.
    fn settings(&self, apply_code: bool, done: &mut PutBack) -> Result<Vec<Setting>> {
        let (mut applied, mut named) = (Vec::new(), BTreeSet::new());
        for name in ["config", "config.worktree"] {
            let Some(path) = regular(self.source, &SafePath::new(name)?)? else { continue };
            let read = match config::read(&path) {
                Ok(read) => read,
                Err(error) => {
                    let what = format!("the saved configuration can't be read: {error:#}");
                    done.findings.push(Finding::problem("git-config", what));
                    continue;
                }
            };
            for setting in read {
                match settings::fate(&setting) {
                    Fate::Apply => applied.push(setting),
                    Fate::Drop => {}
                    Fate::Ask if apply_code && config::writable(&setting) => applied.push(setting),
                    Fate::Ask => drop(named.insert(format!("config {}", escape(setting.name().as_bytes())))),
                }
            }
        }
        done.not_applied.extend(named);
        Ok(applied)
    }

    /// Where the history was cut off; before the objects, which would look broken without.
    fn shallow(&self) -> Result<()> {
        let text: String = saved::shallow(self.source)?.iter().map(|id| format!("{id}\n")).collect();
        if text.is_empty() { Ok(()) } else { write(&self.dir.join("shallow"), text.as_bytes()) }
    }

    /// Marks the packs of a partial clone, so that git knows that gaps are to be expected.
    fn promise(&self) -> Result<()> {
        for entry in fs::read_dir(self.dir.join("objects/pack"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "pack") {
                write(&path.with_extension("promisor"), b"")?;
            }
        }
        Ok(())
    }

    fn refs(&self, listed: BTreeMap<String, String>, done: &mut PutBack) -> Result<()> {
        let refs = saved::refs(self.source, listed)?;
        let ids: BTreeSet<&str> = refs
            .values()
            .filter_map(|v| if let Value::Id(id) = v { Some(id.as_str()) } else { None })
            .collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let absent: BTreeSet<String> = bundle::absent(self.program, self.dir, &ids)?.into_iter().collect();
        let mut packed = "# pack-refs with: sorted \n".to_owned();
        for (name, value) in &refs {
            match value {
                Value::Id(id) if absent.contains(id) => {
                    let what = format!("the ref {name} leads to {id}, which is not in the backup");
                    done.findings.push(Finding::problem("git-ref", what));
                }
                Value::Id(id) => packed.push_str(&format!("{id} {name}\n")),
                Value::Symbolic(_) => {
                    let path = SafePath::new(name.as_bytes())?.below(self.dir)?;
                    fs::create_dir_all(path.parent().unwrap_or(self.dir))?;
                    write(&path, saved::line(value).as_bytes())?;
                }
            }
        }
        write(&self.dir.join("packed-refs"), packed.as_bytes())
    }

    fn head(&self) -> Result<()> {
        write(&self.dir.join("HEAD"), saved::line(&saved::head(self.source)?).as_bytes())
    }

    /// Index, reflogs, what a running operation keeps, and what all working copies share.
    fn files(&self, done: &mut PutBack) -> Result<()> {
        for name in saved::state(self.source, &mut done.findings)? {
            self.file(&name)?;
        }
        for name in SHARED_FILES.iter().filter(|name| !["config", "shallow"].contains(name)) {
            self.file(&SafePath::new(*name)?)?;
        }
        Ok(())
    }

    fn file(&self, name: &SafePath) -> Result<()> {
        interrupt::check()?;
        let Some(from) = regular(self.source, name)? else { return Ok(()) };
        let to = name.below(self.dir)?;
        fs::create_dir_all(to.parent().unwrap_or(self.dir))?;
        copy(&from, &to).map(drop)
    }

    fn hooks(&self, apply_code: bool, done: &mut PutBack) -> Result<()> {
        let folder = self.source.join("hooks");
        if !fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir()) {
            return Ok(());
        }
        create_private_dir(&self.dir.join("hooks"))?;
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))? {
            names.insert(os_name::from_os(&entry?.file_name())?);
        }
        for name in names {
            let path = SafePath::new([b"hooks/".as_slice(), &name].concat())?;
            if !apply_code {
                done.not_applied.push(format!("hook {}", escape(&name)));
            } else if let Some(from) = regular(self.source, &path)? {
                self.file(&path)?;
                let mode = crate::base::file_facts::attributes(&fs::metadata(from)?).mode;
                set_mode(&path.below(self.dir)?, mode & 0o755)?;
            }
        }
        Ok(())
    }
}
