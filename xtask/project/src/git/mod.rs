//! Everything about git: what it tracks, what it is in the middle of, a copy of it, and putting that back.
//!
//! The project's `.git` is only ever read. Whatever must be computed or written happens in a *twin*: a
//! small git folder of our own with the same refs and a copy of the index, which borrows the project's
//! objects and whose configuration we wrote. So no lock, no refreshed index and no new object appears in
//! the project, and no filter, hook or monitor that its configuration names is ever run.
//!
//! git2 does what it does well; the git command does what it does better (packing), and everything where
//! libgit2 refuses a repository (SHA-256, reftable).

mod bundle;
mod bundle_write;
mod capture;
mod check;
mod classify;
mod commit_tree;
mod config;
mod facts;
mod increment;
mod moment;
mod put_back;
mod refs;
mod reftable;
pub mod replace;
pub mod revision;
mod run;
mod saved;
mod settings;
mod state;
pub mod tracked;
mod trees;
mod trees_library;
mod twin;
pub mod write_out;

#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};

pub use capture::Capture;
pub use check::check_bundles;
pub use classify::Classification;
pub use commit_tree::tracked_in;
pub use increment::{Beginning, Earlier};
pub use moment::{How, at};
pub use put_back::put_back;

use crate::base::failure::ResultExt;
use crate::base::os_name;
use run::{Input, Program, answer};

/// What opening a working copy came to.
pub enum Opened {
    /// There is no git here.
    None,
    /// A repository that can be read.
    Git(Box<Git>),
    /// There is one, but neither libgit2 nor the git command may or can read it.
    Refused {
        /// Why, in one sentence.
        reason: String,
        /// The next thing to do.
        hint: String,
    },
}

/// The repository of one working copy.
pub struct Git {
    /// The top of the working copy.
    root: PathBuf,
    /// Its git folder; in a linked worktree the one of its own.
    own: PathBuf,
    /// The git folder with objects and refs.
    common: PathBuf,
    /// libgit2's view; `None` where libgit2 refuses it.
    library: Option<git2::Repository>,
    /// The git command, where there is one.
    program: Option<Program>,
    /// The repository's own settings.
    settings: Vec<config::Setting>,
    /// Settings as git sees them, once somebody asked.
    effective: OnceLock<BTreeMap<String, String>>,
}

/// Opens the repository whose working copy has its top at `root`.
///
/// # Errors
/// When `.git` is there and can't be read.
pub fn open(root: &Path) -> Result<Opened> {
    open_with(root, Program::find())
}

fn open_with(root: &Path, program: Option<Program>) -> Result<Opened> {
    let root = root.canonicalize().with_context(|| format!("can't find {}", root.display()))?;
    let Some(own) = git_folder(&root)? else { return Ok(Opened::None) };
    let common = common_folder(&own)?;
    if !own.join("HEAD").exists() || !common.join("objects").is_dir() {
        return Ok(Opened::Refused {
            reason: format!("{} is no git repository: HEAD or objects is missing", own.display()),
            hint: "see what is in it; `git fsck` tells more".to_owned(),
        });
    }
    let library = match git2::Repository::open_ext(
        &root,
        git2::RepositoryOpenFlags::NO_SEARCH,
        std::iter::empty::<&std::ffi::OsStr>(),
    ) {
        Ok(repository) => Some(repository),
        Err(error) => match &program {
            // What libgit2 refuses, git itself may accept. It says so in its own words when it does not.
            Some(program) => {
                let mut command = program.at(&root);
                command.args(["rev-parse", "--git-dir"]);
                let answer = answer(command, Input::Nothing)?;
                if !answer.ok {
                    return Ok(refusal(&root, &answer.err));
                }
                None
            }
            None if error.code() == git2::ErrorCode::Owner => return Ok(refusal(&root, error.message())),
            None => {
                return Ok(Opened::Refused {
                    reason: format!("libgit2 can't open {}: {}", own.display(), error.message()),
                    hint: "install the git command: it reads repositories that libgit2 does not".to_owned(),
                });
            }
        },
    };
    let mut settings = config::read(&common.join("config"))?;
    settings.extend(config::read(&own.join("config.worktree"))?);
    Ok(Opened::Git(Box::new(Git {
        root,
        own,
        common,
        library,
        program,
        settings,
        effective: OnceLock::new(),
    })))
}

fn refusal(root: &Path, message: &str) -> Opened {
    let line = message.lines().map(str::trim).find(|line| line.starts_with("git config --global --add"));
    let owner = line.is_some() || message.contains("dubious ownership") || message.contains("not owned by");
    let hint = match line {
        Some(line) => line.to_owned(),
        None if owner => format!("git config --global --add safe.directory '{}'", root.display()),
        None => format!("see what `git -C '{}' status` says", root.display()),
    };
    let first = message.lines().next().unwrap_or_default();
    Opened::Refused { reason: format!("git refuses {}: {first}", root.display()), hint }
}

/// The top of the working copy around a folder, also of one that libgit2 refuses; `None` outside of any,
/// and in a bare repository.
pub fn discover(from: &Path) -> Option<PathBuf> {
    let from = from.canonicalize().ok()?;
    // A .git that can't be followed is this project's all the same; `open` says what is wrong with it.
    from.ancestors().find(|folder| !matches!(git_folder(folder), Ok(None))).map(Path::to_path_buf)
}

/// The git folder of a working copy: `.git` itself, or where the file `.git` leads.
fn git_folder(root: &Path) -> Result<Option<PathBuf>> {
    let path = root.join(".git");
    let Some(meta) = there(fs::metadata(&path), &path)? else { return Ok(None) };
    if meta.is_dir() {
        // An empty folder named .git makes no repository; git looks further up, and so does `discover`.
        let head = there(path.join("HEAD").symlink_metadata(), &path)?;
        return Ok((head.is_some() || path.join("objects").is_dir()).then_some(path));
    }
    let text = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
    let Some(target) = text.strip_prefix(b"gitdir:".as_slice()) else { return Ok(None) };
    let folder = root.join(os_name::to_os(target.trim_ascii())?);
    let found = folder
        .canonicalize()
        .with_context(|| format!("{} leads to {}, which can't be found", path.display(), folder.display()));
    found.map(Some).hint("bring back what it leads to, or move the file .git aside")
}

/// What can't be looked at must not pass for what is not there.
fn there(looked: std::io::Result<fs::Metadata>, path: &Path) -> Result<Option<fs::Metadata>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match looked {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Where objects and refs are: named by the file `commondir` in a linked worktree's folder.
fn common_folder(own: &Path) -> Result<PathBuf> {
    match fs::read(own.join("commondir")) {
        Ok(text) => {
            let folder = own.join(os_name::to_os(text.trim_ascii())?);
            folder.canonicalize().with_context(|| format!("can't find {}", folder.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(own.to_path_buf()),
        Err(error) => Err(error).with_context(|| format!("can't read {}/commondir", own.display())),
    }
}

impl Git {
    /// `sha1` or `sha256`.
    fn object_format(&self) -> &str {
        config::last(&self.settings, "extensions.objectformat").unwrap_or("sha1")
    }

    fn is_reftable(&self) -> bool {
        config::last(&self.settings, "extensions.refstorage") == Some("reftable")
    }

    /// Whether objects are fetched from a remote only when they are needed.
    fn is_partial(&self) -> bool {
        settings::is_partial(&self.settings)
    }

    /// Settings as git sees them here, the user's and the system's files included, by lower-case name; where
    /// nobody set one it is absent. None at all where they can't be read: git's defaults then hold.
    fn effective(&self) -> &BTreeMap<String, String> {
        self.effective.get_or_init(|| self.read_effective())
    }

    fn read_effective(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        if let Some(program) = &self.program {
            let mut command = program.at(&self.root);
            command.args(["config", "--list", "-z"]);
            if let Ok(answer) = answer(command, Input::Nothing)
                && answer.ok
            {
                for line in classify::paths(&answer.out) {
                    let text = String::from_utf8_lossy(line);
                    // A key without a value means yes.
                    let (name, value) = text.split_once('\n').unwrap_or((&text, "true"));
                    found.insert(name.to_lowercase(), value.to_owned());
                }
                return found;
            }
        }
        let config = self.library.as_ref().and_then(|library| library.config().ok());
        let entries = config.as_ref().and_then(|config| config.entries(None).ok());
        if let Some(mut entries) = entries {
            while let Some(Ok(entry)) = entries.next() {
                let (Ok(name), Ok(value)) = (entry.name(), entry.value()) else { continue };
                found.insert(name.to_lowercase(), value.to_owned());
            }
        }
        found
    }
}
