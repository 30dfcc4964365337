//! Where the project is: the folder that was named, else the top of the git working copy, else the
//! nearest folder above that looks like a framework, else the current one.
//!
//! The root of the file system and a home folder are never taken by guessing: a command that was typed in
//! the wrong place must not back up, or restore over, everything a person has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::config::Config;
use crate::base::failure::{Failure, Kind, ResultExt};

/// The working copy that is protected.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its folder: absolute, without links.
    pub root: PathBuf,
    /// The name of its folder, for people.
    pub name: String,
    /// What the user configured.
    pub config: Config,
}

impl Project {
    /// The project at a root that [`locate`] found, with its configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn at(root: PathBuf) -> Result<Project> {
        let config = Config::load(&root)?;
        Ok(Project::with_config(root, config))
    }

    /// The project at a root with a given configuration: what reads backups must go on when the
    /// configuration can't be read, since bringing it back may be just what is wanted.
    pub fn with_config(root: PathBuf, config: Config) -> Project {
        let name = root.file_name().map_or("root".into(), |name| name.to_string_lossy().into_owned());
        Project { root, name, config }
    }
}

/// Finds the root of the project: absolute, without links.
///
/// # Errors
/// Of kind `Usage`, when the named folder is none, or when only `/` or a home folder was found.
pub fn locate(explicit: Option<&Path>, cwd: &Path, git_top: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(named) = explicit {
        let folder = cwd.join(named);
        let shown = folder.display().to_string();
        let root = canonical(&folder)
            .with_context(|| format!("there is no project folder {shown}"))
            .kind(Kind::Usage)?;
        if !root.is_dir() {
            return Err(Failure::new(Kind::Usage, format!("{shown} is no folder"))
                .hint("--project names the folder of the project")
                .into());
        }
        return Ok(root);
    }
    let cwd = canonical(cwd).with_context(|| format!("can't enter the folder {}", cwd.display()))?;
    let found = match git_top {
        Some(top) => canonical(&top).with_context(|| format!("can't enter the folder {}", top.display()))?,
        None => cwd.ancestors().find(|folder| looks_like_one(folder)).unwrap_or(&cwd).to_path_buf(),
    };
    let home = dirs::home_dir().and_then(|home| canonical(&home).ok());
    refuse_everything(&found, home.as_deref())?;
    Ok(found)
}

/// Refuses `/` and the home folder.
fn refuse_everything(found: &Path, home: Option<&Path>) -> Result<()> {
    let what = if found.parent().is_none() {
        "the root of the file system"
    } else if home == Some(found) {
        "your home folder"
    } else {
        return Ok(());
    };
    let message = format!("{} is {what}, which is taken for a project only when named", found.display());
    Err(Failure::new(Kind::Usage, message)
        .hint("go to the project's folder, or name it with --project DIR")
        .into())
}

fn looks_like_one(folder: &Path) -> bool {
    if folder.join(".cargo/config.toml").is_file() && folder.join("xtask").is_dir() {
        return true;
    }
    // What can't be read or is no TOML doesn't mark a project; Config::load says so where it matters.
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).ok();
    manifest.and_then(|text| text.parse::<toml::Table>().ok()).is_some_and(|t| t.contains_key("workspace"))
}

#[cfg(unix)]
pub(super) fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    path.canonicalize()
}

/// Without the prefix `\\?\`, which git and other tools don't take.
#[cfg(windows)]
pub(super) fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    use std::path::{Component, Prefix};
    let long = path.canonicalize()?;
    let mut parts = long.components();
    if let Some(Component::Prefix(prefix)) = parts.next()
        && let Prefix::VerbatimDisk(letter) = prefix.kind()
    {
        let mut short = PathBuf::from(format!("{}:", char::from(letter)));
        short.push(parts.as_path());
        return Ok(short);
    }
    Ok(long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::kind_of;
    use std::fs;

    #[test]
    fn the_order_in_which_a_project_is_looked_for() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().canonicalize().unwrap();
        let deep = top.join("framework/a/b");
        fs::create_dir_all(&deep).unwrap();
        let find = |explicit: Option<&Path>, git: Option<PathBuf>| locate(explicit, &deep, git).unwrap();
        assert_eq!(find(None, None), deep);
        fs::write(top.join("Cargo.toml"), "[workspace]\n").unwrap();
        assert_eq!(find(None, None), top);
        fs::create_dir_all(top.join("framework/xtask")).unwrap();
        fs::create_dir_all(top.join("framework/.cargo")).unwrap();
        assert_eq!(find(None, None), top);
        fs::write(top.join("framework/.cargo/config.toml"), "").unwrap();
        assert_eq!(find(None, None), top.join("framework"));
        assert_eq!(find(None, Some(top.join("framework/a"))), top.join("framework/a"));
        let explicit = find(Some(Path::new("../..")), Some(top.clone()));
        assert_eq!(explicit, top.join("framework"));
        let project = Project::at(locate(Some(&deep), &top, None).unwrap()).unwrap();
        assert_eq!((project.name.as_str(), project.config), ("b", Config::default()));
    }

    #[test]
    fn a_named_folder_must_be_one() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("file"), "").unwrap();
        for wrong in ["file", "missing"] {
            let error = locate(Some(Path::new(wrong)), base.path(), None).unwrap_err();
            assert_eq!(kind_of(&error), Kind::Usage);
            assert!(error.to_string().contains(wrong));
        }
    }

    #[test]
    fn everything_a_person_has_is_no_project_unless_named() {
        let base = tempfile::tempdir().unwrap();
        assert!(refuse_everything(base.path(), Some(base.path())).is_err());
        assert!(refuse_everything(base.path(), Some(&base.path().join("home"))).is_ok());
        assert!(refuse_everything(base.path(), None).is_ok());
        let top = base.path().ancestors().last().unwrap();
        assert_eq!(kind_of(&refuse_everything(top, None).unwrap_err()), Kind::Usage);
        assert!(locate(Some(top), base.path(), None).is_ok());
    }
}
