//! The twin: a git folder of our own in a scratch folder, with the project's refs, reflogs and a copy of
//! its index, borrowing the project's objects. Work on it can't change the project, and its configuration
//! names no program.
//!
//! New objects are written at the *desk*, a folder inside that borrows nothing: git and libgit2 both renew
//! the time of an object that they are about to write and find in a borrowed folder, which would be a
//! change of the project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::config::{self, Setting};
use super::refs::{self, Refs, Value};
use super::run::Program;
use super::{Git, reftable};
use crate::base::file_facts::create_private_dir;
use crate::base::finding::Finding;
use crate::base::{file_facts, interrupt, os_name};

/// A git folder of our own beside a working copy.
pub(super) struct Twin {
    /// The git folder.
    pub dir: PathBuf,
    /// The top of the project's working copy.
    pub root: PathBuf,
    /// The project's refs, those of `refs/xtask/` aside.
    pub refs: Refs,
    /// What HEAD says.
    pub head: Value,
    /// `sha1` or `sha256`.
    pub format: String,
    /// Whether the index is one file that lists every path: not split, not sparse.
    pub whole_index: bool,
    /// Whether the index has folders that stand for what is in them.
    pub sparse_index: bool,
    /// What went wrong on the way.
    pub findings: Vec<Finding>,
}

/// Settings that decide what a working file means; none of them names a program.
const COPIED: [&str; 9] = [
    "core.autocrlf",
    "core.eol",
    "core.safecrlf",
    "core.filemode",
    "core.symlinks",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.excludesfile",
    "core.attributesfile",
];

impl Git {
    /// Makes the twin of this repository in `dir`, which must not exist yet.
    ///
    /// # Errors
    /// When HEAD or the refs can't be read, or the folder can't be written.
    pub(super) fn twin(&self, dir: &Path) -> Result<Twin> {
        let mut findings = Vec::new();
        let desk = dir.join("desk");
        for folder in ["refs", "objects/info", "objects/pack", "logs", "info"] {
            create_private_dir(&dir.join(folder))?;
            create_private_dir(&desk.join(folder))?;
        }
        let (refs, head) = self.read_refs(dir, &mut findings)?;
        let twin = Twin {
            dir: dir.to_path_buf(),
            root: self.root.clone(),
            refs,
            head,
            format: self.object_format().to_owned(),
            whole_index: true,
            sparse_index: false,
            findings,
        };
        let head = match &twin.head {
            Value::Symbolic(name) => format!("ref: {name}\n"),
            Value::Id(id) => format!("{id}\n"),
        };
        write(&dir.join("HEAD"), head.as_bytes())?;
        twin.write_refs(&Refs::new())?;
        let settings = config::write(&self.twin_settings());
        for place in [dir, &desk] {
            write(&place.join("config"), settings.as_bytes())?;
            copy(&self.common.join("info/attributes"), &place.join("info/attributes"))?;
        }
        write(&desk.join("HEAD"), b"ref: refs/heads/main\n")?;
        let mut twin = twin;
        let mut alternates = self.alternates(&mut twin.findings)?;
        alternates.extend(quoted(&os_name::from_os(desk.join("objects").as_os_str())?));
        alternates.push(b'\n');
        write(&dir.join("objects/info/alternates"), &alternates)?;
        copy(&self.common.join("shallow"), &dir.join("shallow"))?;
        copy(&self.own.join("info/sparse-checkout"), &dir.join("info/sparse-checkout"))?;
        copy(&self.common.join("info/exclude"), &dir.join("info/exclude"))?;
        if !self.is_reftable() {
            copy(&self.own.join("logs/HEAD"), &dir.join("logs/HEAD"))?;
            copy_logs(&self.common.join("logs/refs"), &dir.join("logs/refs"))?;
        }
        copy(&self.own.join("index"), &dir.join("index"))?;
        for entry in fs::read_dir(&self.own).with_context(|| format!("can't read {}", self.own.display()))? {
            let name = entry?.file_name();
            if name.to_string_lossy().starts_with("sharedindex.") {
                twin.whole_index &= !copy(&self.own.join(&name), &dir.join(&name))?;
            }
        }
        // The extension that says that folders stand for what is in them (gitformat-index(5)).
        let index = fs::read(dir.join("index")).unwrap_or_default();
        twin.sparse_index = index.windows(4).any(|bytes| bytes == b"sdir");
        twin.whole_index &= !twin.sparse_index;
        Ok(twin)
    }

    fn read_refs(&self, dir: &Path, findings: &mut Vec<Finding>) -> Result<(Refs, Value)> {
        if self.is_reftable() {
            let program = self.program.as_ref().context("reftable needs the git command")?;
            return reftable::read(program, &self.root, dir);
        }
        let (refs, broken) = refs::read_files(&self.common, &self.own)?;
        if !broken.is_empty() {
            let names = broken.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            findings.push(
                Finding::problem(
                    "git-refs",
                    format!("{} refs can't be read and are not in the backup: {names}", broken.len()),
                )
                .hint("`git fsck` tells more; a broken ref can be deleted with `git update-ref -d`"),
            );
        }
        let path = self.own.join("HEAD");
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        let head = refs::parse(&text).with_context(|| format!("{} is damaged", path.display()))?;
        Ok((refs, head))
    }

    fn twin_settings(&self) -> Vec<Setting> {
        let setting = |section: &str, key: &str, value: &str| Setting {
            section: section.to_owned(),
            subsection: String::new(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let sha256 = self.object_format() != "sha1";
        let mut settings = vec![
            setting("core", "repositoryformatversion", if sha256 { "1" } else { "0" }),
            setting("core", "bare", "false"),
            setting("core", "logallrefupdates", "false"),
            // Unchanged projects give unchanged bundles: with several threads the deltas would differ.
            setting("pack", "threads", "1"),
            // Deltas that the project's packs have are taken over, and none are searched for: git keeps the
            // number of objects outside packs small itself, and searching costs more than all the rest.
            setting("pack", "window", "0"),
            // What is not compressed already is compressed when it is archived, on all cores.
            setting("pack", "compression", "0"),
        ];
        let effective = self.effective();
        for name in COPIED {
            if let Some(value) = effective.get(name) {
                settings.push(setting("core", name.trim_start_matches("core."), value));
            }
        }
        // Without these git would expand a sparse index, and write (renew) trees of the project for it.
        for (section, key) in
            [("core", "sparsecheckout"), ("core", "sparsecheckoutcone"), ("index", "sparse")]
        {
            if let Some(value) = effective.get(&format!("{section}.{key}")) {
                settings.push(setting(section, key, value));
            }
        }
        if sha256 {
            settings.push(setting("extensions", "objectformat", self.object_format()));
        }
        settings.retain(config::writable);
        settings
    }

    /// The folders that objects are borrowed from, as lines of `objects/info/alternates`. Those of the
    /// project's own alternates are written out, since git ignores a relative one at second hand.
    fn alternates(&self, findings: &mut Vec<Finding>) -> Result<Vec<u8>> {
        let (mut folders, mut at) = (vec![self.common.join("objects")], 0);
        while let Some(folder) = folders.get(at).cloned() {
            at += 1;
            let text = fs::read(folder.join("info/alternates")).unwrap_or_default();
            for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty() && line[0] != b'#') {
                let next = folder.join(os_name::to_os(line)?);
                if !next.is_dir() {
                    findings.push(
                        Finding::problem(
                            "git-alternates",
                            format!("git borrows objects from {}, which can't be reached", next.display()),
                        )
                        .hint("make that folder reachable, or run `git repack -a -d` where it is"),
                    );
                } else if !folders.contains(&next) {
                    folders.push(next);
                }
            }
        }
        let mut lines = Vec::new();
        for folder in &folders {
            lines.extend(quoted(&os_name::from_os(folder.as_os_str())?));
            lines.push(b'\n');
        }
        Ok(lines)
    }
}

/// A path as a line: quoted as in C where it would not be read as it stands.
fn quoted(path: &[u8]) -> Vec<u8> {
    if !path.contains(&b'\n') && !matches!(path.first(), Some(b'"' | b'#')) {
        return path.to_vec();
    }
    let mut line = vec![b'"'];
    for &b in path {
        match b {
            b'\n' => line.extend(b"\\n"),
            b'"' | b'\\' => line.extend([b'\\', b]),
            b => line.push(b),
        }
    }
    line.push(b'"');
    line
}

impl Twin {
    /// The commit that HEAD is at.
    pub fn commit(&self) -> Option<String> {
        refs::resolve(&self.refs, &self.head)
    }

    /// Writes all refs and those of `ours` (`refs/xtask/…`).
    ///
    /// # Errors
    /// When the files can't be written.
    pub fn write_refs(&self, ours: &Refs) -> Result<()> {
        let mut lines = String::new();
        for (name, value) in self.refs.iter().chain(ours) {
            match value {
                Value::Id(id) => lines.push_str(&format!("{id} {name}\n")),
                Value::Symbolic(target) => {
                    let path = self.dir.join(name);
                    create_private_dir(path.parent().unwrap_or(&self.dir))?;
                    write(&path, format!("ref: {target}\n").as_bytes())?;
                }
            }
        }
        write(&self.dir.join("packed-refs"), lines.as_bytes())
    }

    /// A call of git on the twin, with the project's working files.
    pub fn call(&self, program: &Program) -> Command {
        let mut command = program.on(&self.dir);
        // In the working copy, because git reads path names relative to where it stands.
        command.env("GIT_WORK_TREE", &self.root).current_dir(&self.root);
        command
    }

    /// A call of git at the desk, where objects are written, with the project's working files.
    pub fn writing(&self, program: &Program) -> Command {
        let mut command = self.call(program);
        command.env("GIT_DIR", self.desk());
        command
    }

    /// Where objects are written.
    pub fn desk(&self) -> PathBuf {
        self.dir.join("desk")
    }

    /// libgit2's view of the twin, or of its desk, with the project's working files.
    ///
    /// # Errors
    /// When libgit2 refuses it.
    pub fn library(&self, git_dir: &Path) -> Result<git2::Repository> {
        let repository = git2::Repository::open(git_dir).context("libgit2 can't read the history")?;
        repository.set_workdir(&self.root, false)?;
        Ok(repository)
    }
}

/// Writes a file of the twin.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("can't write {}", path.display()))
}

/// Copies a file with its modification time, and the right to run it, which a hook needs; one that is not
/// there is none there either. Whether it was.
pub(super) fn copy(from: &Path, to: &Path) -> Result<bool> {
    let mut source = match fs::File::open(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        opened => opened.with_context(|| format!("can't read {}", from.display()))?,
    };
    let meta = source.metadata().with_context(|| format!("can't read {}", from.display()))?;
    let mut target = fs::File::create(to).with_context(|| format!("can't write {}", to.display()))?;
    std::io::copy(&mut source, &mut target)
        .with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
    if file_facts::attributes(&meta).mode & 0o100 != 0 && cfg!(unix) {
        file_facts::set_mode(to, 0o700).with_context(|| format!("can't set the mode of {}", to.display()))?;
    }
    // Git compares the index's own time with those of the files to tell which it must look into.
    if let Ok(time) = meta.modified() {
        target.set_modified(time).with_context(|| format!("can't set the time of {}", to.display()))?;
    }
    Ok(true)
}

/// Copies reflogs, the regular files only.
fn copy_logs(from: &Path, to: &Path) -> Result<()> {
    interrupt::check()?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("can't read {}", from.display()))?,
    };
    create_private_dir(to)?;
    for entry in entries {
        let entry = entry.with_context(|| format!("can't read {}", from.display()))?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_logs(&entry.path(), &target)?;
        } else if kind.is_file() {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}
