//! Where the store is: what was typed, else the environment, else the store that the running executable
//! lies in, else the configuration, else a folder of its own in the platform's data folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::identity::STORE_FILE;
use crate::base::digest::Digest;
use crate::base::failure::{Failure, Kind};
use crate::base::os_name;

/// The variable of the scripts that this replaces.
pub const VARIABLE: &str = "BACKUP_ROOT";

/// Who said where the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--store`.
    Flag,
    /// `BACKUP_ROOT`.
    Environment,
    /// The executable lies in the `bin` folder of a store.
    Executable,
    /// `store` in the configuration.
    Configuration,
    /// Nobody.
    Default,
}

/// Where the store is, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Absolute; links resolved as far as the path exists.
    pub path: PathBuf,
    /// Who said so.
    pub source: Source,
}

/// What the location is chosen from. Relative paths count from `cwd`.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// `--store`.
    pub flag: Option<&'a Path>,
    /// The value of [`VARIABLE`]; an empty one counts as none.
    pub environment: Option<&'a OsStr>,
    /// `store` of the configuration, absolute.
    pub configured: Option<&'a Path>,
    /// The project, absolute.
    pub project_root: &'a Path,
    /// The running executable.
    pub executable: &'a Path,
    /// The current folder.
    pub cwd: &'a Path,
}

/// Chooses the store.
///
/// # Errors
/// When nobody said and the platform names no data folder.
pub fn resolve(wishes: &Wishes<'_>) -> Result<Location> {
    let environment = wishes.environment.filter(|value| !value.is_empty()).map(Path::new);
    let (path, source) = if let Some(path) = wishes.flag {
        (wishes.cwd.join(path), Source::Flag)
    } else if let Some(path) = environment {
        (wishes.cwd.join(path), Source::Environment)
    } else if let Some(path) = store_around(wishes.executable) {
        (path, Source::Executable)
    } else if let Some(path) = wishes.configured {
        (wishes.project_root.join(path), Source::Configuration)
    } else {
        (default_path(wishes.project_root)?, Source::Default)
    };
    Ok(Location { path: settle(&path)?, source })
}

/// The folder that holds the stores nobody chose a place for.
///
/// # Errors
/// When the platform names no data folder.
pub fn default_base() -> Result<PathBuf> {
    let data = dirs::data_local_dir().ok_or_else(|| {
        Failure::new(Kind::Usage, "this user has no data folder, so there is no default store")
            .hint("name one with --store DIR or BACKUP_ROOT")
    })?;
    Ok(data.join("xtask-backup"))
}

/// The default store of a project: named after its folder and a short hash of its path, so that two
/// copies of one project never share one.
///
/// # Errors
/// As [`default_base`].
pub fn default_path(project_root: &Path) -> Result<PathBuf> {
    let digest = Digest::of(&os_name::from_os(project_root.as_os_str())?).to_string();
    let mut name = project_root.file_name().unwrap_or(OsStr::new("root")).to_os_string();
    name.push("-");
    name.push(&digest[..8]);
    Ok(default_base()?.join(name))
}

/// What is typed to run this program, where it lies in a store: its path, as a shell reads it. `None` where cargo
/// runs it.
pub fn program() -> Option<String> {
    let executable = std::env::current_exe().ok()?;
    store_around(&executable)?;
    let path = executable.to_str()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:\\".contains(c);
    Some(if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) })
}

/// The store in whose `bin` folder an executable lies.
fn store_around(executable: &Path) -> Option<PathBuf> {
    let bin = executable.parent()?;
    let store = bin.parent()?;
    (bin.file_name()? == "bin" && store.join(STORE_FILE).is_file()).then(|| store.to_path_buf())
}

/// Absolute, without `..` and links as far as it exists.
fn settle(path: &Path) -> Result<PathBuf> {
    let path =
        std::path::absolute(path).with_context(|| format!("can't use {} as a store", path.display()))?;
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn flag_beats_environment_beats_executable_beats_file_beats_default() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("store/bin")).unwrap();
        let executable = top.join("store/bin/xtask");
        let root = top.join("project");
        let mut wishes = Wishes {
            flag: Some(Path::new("by-flag")),
            environment: Some(OsStr::new("by-environment")),
            configured: Some(Path::new("/configured")),
            project_root: &root,
            executable: &executable,
            cwd: &top,
        };
        let chosen = |wishes: &Wishes<'_>| {
            let location = resolve(wishes).unwrap();
            (location.path, location.source)
        };
        assert_eq!(chosen(&wishes), (top.join("by-flag"), Source::Flag));
        wishes.flag = None;
        assert_eq!(chosen(&wishes), (top.join("by-environment"), Source::Environment));
        wishes.environment = Some(OsStr::new(""));
        assert_eq!(chosen(&wishes), ("/configured".into(), Source::Configuration), "no store.json beside");
        fs::write(top.join("store/store.json"), "{}").unwrap();
        assert_eq!(chosen(&wishes), (top.join("store"), Source::Executable));
        wishes.executable = &root;
        wishes.configured = None;
        let (path, source) = chosen(&wishes);
        assert_eq!(source, Source::Default);
        assert!(path.file_name().unwrap().to_string_lossy().starts_with("project-"));
        assert_eq!(path.parent().unwrap().file_name().unwrap(), "xtask-backup");
    }

    #[test]
    fn two_copies_never_share_a_default_store() {
        let a = default_path(Path::new("/a/project")).unwrap();
        assert_eq!(a, default_path(Path::new("/a/project")).unwrap());
        assert_ne!(a, default_path(Path::new("/b/project")).unwrap());
        assert_eq!(a.file_name().unwrap().len(), "project-".len() + 8);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_resolved_as_far_as_there_is_something() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().canonicalize().unwrap();
        fs::create_dir(top.join("real")).unwrap();
        std::os::unix::fs::symlink("real", top.join("link")).unwrap();
        assert_eq!(settle(&top.join("link/new/store")).unwrap(), top.join("real/new/store"));
    }
}
