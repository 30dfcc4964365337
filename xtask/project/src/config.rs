//! The configuration: the table `[workspace.metadata.backup]` (else `[package.metadata.backup]`) of the
//! `Cargo.toml` at the project's root. Everything has a default, so there need be none.
//!
//! A key or value that is not understood is an error, never ignored: a mistyped `exclude` would otherwise
//! be found out when it is too late. No secret is read from here, because the file is versioned.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::base::failure::{Failure, Kind, ResultExt};
use crate::base::keep::Keep;
use crate::base::mail_address::MailAddress;
use crate::base::pattern::Pattern;
use crate::base::safe_path::SafePath;

const KNOWN: [&str; 10] = [
    "databases",
    "exclude",
    "ignored",
    "max-ignored-size",
    "sql-dump",
    "history",
    "store",
    "keep",
    "alert",
    "remote",
];

/// What the user set, or the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Exactly the databases of the project; `None`: they are found by their header.
    pub databases: Option<Vec<SafePath>>,
    /// What is left out.
    pub exclude: Vec<Pattern>,
    /// Whether files that git ignores are taken.
    pub ignored: bool,
    /// Bytes above which a file that git ignores is left out.
    pub max_ignored_size: u64,
    /// Whether a SQL dump is made of each database.
    pub sql_dump: bool,
    /// Whether git's history is taken.
    pub history: bool,
    /// Where the backups live, absolute.
    pub store: Option<PathBuf>,
    /// How many backups rotation keeps.
    pub keep: Keep,
    /// Who is told by mail of a damaged backup, when `--alert-on-fail` asks for that.
    pub alert: Option<MailAddress>,
    /// Where a copy of the store goes, as written; a relative folder counts from the project's root.
    pub remote: Option<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            databases: None,
            exclude: Vec::new(),
            ignored: true,
            max_ignored_size: 100 << 20,
            sql_dump: true,
            history: true,
            store: None,
            keep: Keep::default(),
            alert: None,
            remote: None,
        }
    }
}

impl Config {
    /// Reads the configuration of the project at `root`.
    ///
    /// # Errors
    /// Of kind `Usage`, naming file and key, when something in it is not understood.
    pub fn load(root: &Path) -> Result<Config> {
        let file = root.join("Cargo.toml");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Config::default());
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("can't read the configuration in {}", file.display()))
                    .kind(Kind::Usage);
            }
        };
        let document: Table = text
            .parse()
            .with_context(|| format!("can't read the configuration in {}", file.display()))
            .kind(Kind::Usage)?;
        let table = ["workspace", "package"].into_iter().find_map(|section| {
            let found = document.get(section)?.get("metadata")?.get("backup")?;
            Some((format!("[{section}.metadata.backup]"), found))
        });
        let Some((name, value)) = table else { return Ok(Config::default()) };
        let place = format!("{name} of {}", file.display());
        let Value::Table(table) = value else {
            return Err(Failure::new(Kind::Usage, format!("{place} is no table")).into());
        };
        Config::from_table(table, root).with_context(|| format!("in {place}")).kind(Kind::Usage)
    }

    fn from_table(table: &Table, root: &Path) -> Result<Config> {
        let mut config = Config::default();
        for (key, value) in table {
            match key.as_str() {
                "databases" => {
                    let paths = list(key, value, |text| SafePath::new(text.trim_start_matches("./")))?;
                    config.databases = Some(paths);
                }
                "exclude" => config.exclude = list(key, value, |text| Pattern::new(text))?,
                "ignored" => config.ignored = switch(key, value)?,
                "max-ignored-size" => config.max_ignored_size = size(key, value)?,
                "sql-dump" => config.sql_dump = switch(key, value)?,
                "history" => config.history = switch(key, value)?,
                "store" => config.store = Some(folder(key, value, root)?),
                "keep" => config.keep = keep(key, value)?,
                "alert" => config.alert = Some(address(key, value)?),
                "remote" => config.remote = Some(text(key, value)?),
                _ => return Err(unknown(key, &KNOWN)),
            }
        }
        Ok(config)
    }
}

fn unknown(key: &str, known: &[&'static str]) -> anyhow::Error {
    let nearest = known.iter().copied().min_by_key(|known| distance(known, key));
    let failure = Failure::new(Kind::Usage, format!("unknown key `{key}`"));
    match nearest.filter(|known| distance(known, key) <= 3) {
        Some(known) => failure.hint(format!("did you mean `{known}`?")),
        None => failure,
    }
    .hint(format!("known keys: {}", known.join(", ")))
    .into()
}

fn wrong(key: &str, value: &Value, expected: &str) -> anyhow::Error {
    Failure::new(Kind::Usage, format!("`{key}` must be {expected}, and is {value}")).into()
}

fn switch(key: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(key, value, "true or false"))
}

fn list<T>(key: &str, value: &Value, read: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    let expected = "a list of strings";
    let items = value.as_array().ok_or_else(|| wrong(key, value, expected))?;
    let read_item = |item: &Value| {
        let text = item.as_str().ok_or_else(|| wrong(key, value, expected))?;
        read(text).with_context(|| format!("in `{key}`"))
    };
    items.iter().map(read_item).collect()
}

fn address(key: &str, value: &Value) -> Result<MailAddress> {
    let text = value.as_str().ok_or_else(|| wrong(key, value, "an address of mail"))?;
    text.parse().map_err(|_| wrong(key, value, "an address of mail such as \"ops@example.com\""))
}

fn keep(key: &str, value: &Value) -> Result<Keep> {
    let expected = "a table such as { daily = 7, weekly = 4, monthly = 12 }";
    let table = value.as_table().ok_or_else(|| wrong(key, value, expected))?;
    let mut keep = Keep::default();
    for (name, value) in table {
        let count = match name.as_str() {
            "daily" => &mut keep.daily,
            "weekly" => &mut keep.weekly,
            "monthly" => &mut keep.monthly,
            _ => {
                return Err(unknown(name, &["daily", "weekly", "monthly"])).context("in `keep`");
            }
        };
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        *count = number.ok_or_else(|| wrong(&format!("keep.{name}"), value, "a number of backups"))?;
    }
    Ok(keep)
}

fn size(key: &str, value: &Value) -> Result<u64> {
    let read = match value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        Value::String(text) => parse_size(text),
        _ => None,
    };
    read.ok_or_else(|| wrong(key, value, "a number of bytes or a size such as \"100 MiB\" or \"1GB\""))
}

/// A size in bytes as people write it: `4096`, `100 MiB`, `1GB`, `500k`. Units with an `i`, and bare
/// letters, count in 1024; the others in 1000.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let factor: u64 = match unit.as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn text(key: &str, value: &Value) -> Result<String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    // What is written here may be a password, so it is not repeated.
    let wrong = || Failure::new(Kind::Usage, format!("`{key}` must be a text that is not empty"));
    Ok(text.ok_or_else(wrong)?.to_owned())
}

fn folder(key: &str, value: &Value, root: &Path) -> Result<PathBuf> {
    let expected = "the path of a folder";
    let text = value.as_str().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| wrong(key, value, expected))?;
    // No shell reads this file, so the usual short form for the home folder is understood here.
    if let Some(rest) = text.strip_prefix("~/") {
        let home = dirs::home_dir().context("the home folder of this user is not known")?;
        return Ok(home.join(rest));
    }
    Ok(root.join(text))
}

/// How many letters must change to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::{hints_of, kind_of};

    fn load(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), text).unwrap();
        let mut config = Config::load(folder.path())?;
        if let Some(store) = &config.store {
            config.store = store.strip_prefix(folder.path()).map(Path::to_path_buf).ok().or(config.store);
        }
        Ok(config)
    }

    #[test]
    fn no_file_and_no_table_mean_defaults() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Config::load(folder.path()).unwrap(), Config::default());
        assert_eq!(load("").unwrap(), Config::default());
        assert_eq!(load("[workspace]\nmembers = []\n").unwrap(), Config::default());
        assert_eq!(load("[workspace.metadata.backup]\n").unwrap(), Config::default());
        assert_eq!(Config::default().max_ignored_size, 104_857_600);
    }

    #[test]
    fn every_key_is_read() {
        let config = load(
            r#"
            [workspace.metadata.backup]
            databases = ["memory/index.db", "./b.db"]
            exclude = ["*.log", "build/"]
            ignored = false
            max-ignored-size = "2 GiB"
            sql-dump = false
            history = false
            store = "../store"
            keep = { daily = 0, monthly = 24 }
            alert = "ops@example.com"
            remote = "me@host:backups"
            [package]
            metadata.backup.ignored = true
            "#,
        )
        .unwrap();
        let path = |text: &str| SafePath::new(text).unwrap();
        assert_eq!(config.databases, Some(vec![path("memory/index.db"), path("b.db")]));
        assert!(config.exclude.len() == 2 && config.exclude[1].matches(b"x/build", true));
        assert!(!config.ignored && !config.sql_dump && !config.history);
        assert_eq!(config.max_ignored_size, 2 << 30);
        assert_eq!(config.store, Some("../store".into()));
        assert_eq!(config.alert.as_ref().map(MailAddress::as_str), Some("ops@example.com"));
        assert_eq!(config.keep, Keep { daily: 0, weekly: 4, monthly: 24 });
        assert_eq!(config.remote.as_deref(), Some("me@host:backups"));
        assert!(!load("[package.metadata.backup]\nignored = false\n").unwrap().ignored);
        assert_eq!(load("[package.metadata.backup]\nstore = '/b'").unwrap().store, Some("/b".into()));
    }

    #[test]
    fn what_is_not_understood_is_wrong_use_that_names_the_key() {
        for (line, key) in [
            ("exlude = []", "exlude"),
            ("remote = ''", "remote"),
            ("remote = 7", "remote"),
            ("keep = 7", "keep"),
            ("keep = { daily = -1 }", "keep.daily"),
            ("keep = { weekly = '4' }", "keep.weekly"),
            ("alert = '-x'", "alert"),
            ("alert = 1", "alert"),
            ("keep = { yearly = 1 }", "yearly"),
            ("ignored = 'no'", "ignored"),
            ("max-ignored-size = -1", "max-ignored-size"),
            ("max-ignored-size = '1 XB'", "max-ignored-size"),
            ("max-ignored-size = '99999999999 TiB'", "max-ignored-size"),
            ("databases = 'a.db'", "databases"),
            ("databases = ['/etc/a.db']", "databases"),
            ("databases = ['../a.db']", "databases"),
            ("exclude = [1]", "exclude"),
            ("exclude = ['']", "exclude"),
            ("store = ''", "store"),
        ] {
            let error = load(&format!("[workspace.metadata.backup]\n{line}\n")).unwrap_err();
            assert_eq!(kind_of(&error), Kind::Usage, "{line}");
            let chain = format!("{error:#}");
            assert!(chain.contains(&format!("`{key}`")) && chain.contains("Cargo.toml"), "{chain}");
        }
        let error = load("[workspace.metadata.backup]\nexlude = []\n").unwrap_err();
        assert!(hints_of(&error).iter().any(|hint| hint.contains("`exclude`")), "{error:?}");
        assert_eq!(kind_of(&load("not toml").unwrap_err()), Kind::Usage);
        assert_eq!(kind_of(&load("[workspace.metadata]\nbackup = 1").unwrap_err()), Kind::Usage);
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("1GB", 1_000_000_000), (" 2 k ", 2048), ("3 MiB", 3 << 20)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for wrong in ["", "MiB", "-1", "1.5 GB", "1 XB", "1 M B"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
