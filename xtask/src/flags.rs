//! argv to one typed command, read completely before anything happens: a mistyped `--dry-run` must never
//! turn into a real restore. What may be typed stands in [`table`]; whatever is left over is refused.

mod help;
mod label;
mod table;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};

pub use self::label::Label;
use self::table::{GLOBAL, PROGRAM, VERBS, Verb};
use self::words::{Words, nearest};
use crate::base::clock::{self, Instant};
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind};
use crate::base::os_name;
use crate::base::safe_path::SafePath;

/// When to use colors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// How the user wants to be talked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appearance {
    /// `--json`.
    pub json: bool,
    /// `--quiet`.
    pub quiet: bool,
    /// `--color`.
    pub color: Color,
}

/// What was typed, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `--project DIR`, as typed.
    pub project: Option<PathBuf>,
    /// `--store DIR`, as typed.
    pub store: Option<PathBuf>,
    /// `--json`, `--quiet`, `--color`.
    pub appearance: Appearance,
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print this text on stdout, exit 0: help, or the version.
    Print(String),
    /// `backup`.
    Backup(Backup),
    /// `list`, also as `restore list`.
    List,
    /// `restore` without a backup named: print the list and end with exit code 2.
    ListForRestore,
    /// `show BACKUP`: as typed, words joined by one space.
    Show(String),
    /// `verify`.
    Verify(Verify),
    /// `restore`.
    Restore(Restore),
}

/// `backup`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Backup {
    /// `--label L`.
    pub label: Option<Label>,
    /// `--pin`.
    pub pin: bool,
    /// `--kind K`.
    pub kind: BackupKind,
    /// `--no-sql`: no dumps.
    pub no_sql: bool,
    /// `--adopt`: take over a store that belongs to another working copy.
    pub adopt: bool,
}

/// The kinds of backup that can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackupKind {
    /// By hand.
    #[default]
    Manual,
    /// By cron and the like.
    Scheduled,
    /// Before a migration.
    Guard,
}

/// `verify`.
#[derive(Debug, PartialEq, Eq)]
pub struct Verify {
    /// Which ones.
    pub targets: Targets,
    /// `--full-test`.
    pub full_test: bool,
}

/// Which backups to verify.
#[derive(Debug, PartialEq, Eq)]
pub enum Targets {
    /// Every one in the store.
    All,
    /// These, as typed; never empty (`latest` when none was named).
    Named(Vec<String>),
}

/// `restore`.
#[derive(Debug, PartialEq, Eq)]
pub struct Restore {
    /// An id, a prefix, a label, `latest` or a time, as typed; words joined by one space.
    pub backup: String,
    /// Where to.
    pub target: Target,
    /// `--only PATH`…; empty means everything.
    pub only: Vec<SafePath>,
    /// `--sql-only`.
    pub sql_only: bool,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--with-code`: hooks and settings that can run programs too.
    pub with_code: bool,
    /// `--force`: answers yes, and nothing else.
    pub force: bool,
}

/// Where a restore goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// `--to DIR`.
    Folder(PathBuf),
    /// `--verify-only`: the backup is verified, nothing is written.
    Nowhere,
}

/// `--json`, `--quiet` and `--color` alone, from arguments that may be wrong otherwise: so that a misuse is
/// reported in the way the user asked for.
pub fn appearance(argv: &[OsString]) -> Appearance {
    let words: Vec<&OsString> = argv.iter().take_while(|word| *word != "--").collect();
    let has = |name: &str| words.iter().any(|word| *word == name);
    let color = |name: &str| {
        has(&format!("--color={name}")) || {
            words.windows(2).any(|pair| pair[0] == "--color" && pair[1] == name)
        }
    };
    let color = match (color("always"), color("never")) {
        (true, false) => Color::Always,
        (false, true) => Color::Never,
        _ => Color::Auto,
    };
    Appearance { json: has("--json"), quiet: has("--quiet"), color }
}

/// Reads the arguments, without the program's name.
///
/// # Errors
/// A failure of kind `Usage`; its last hint is `usage: …`, the line of the verb, where one is known.
pub fn parse(argv: Vec<OsString>) -> Result<Invocation> {
    // A guess for what fails before the verb is known, good enough to choose a usage line.
    let mut verb = argv.iter().find_map(|word| table::verb(word.to_str()?));
    read(argv, &mut verb).map_err(|message| {
        let usage = verb.map_or_else(help::general_usage, help::usage);
        let more = verb.map_or_else(String::new, |verb| format!(" {}", verb.name));
        Failure::new(Kind::Usage, format!("{message:#}"))
            .hint(format!("`{PROGRAM} help{more}` tells more"))
            .hint(format!("usage: {usage}"))
            .into()
    })
}

fn read(argv: Vec<OsString>, found: &mut Option<&'static Verb>) -> Result<Invocation> {
    let mut arguments = words::prepare(argv).map_err(anyhow::Error::msg)?;
    let mut words = words::none();
    arguments.take(GLOBAL, &mut words).map_err(anyhow::Error::msg)?;
    let help_wanted = words.switch("--help");
    let version_wanted = words.switch("--version");
    let appearance = Appearance {
        json: words.switch("--json"),
        quiet: words.switch("--quiet"),
        color: color(words.value("--color"))?,
    };
    let project = words.value("--project").map(PathBuf::from);
    let store = words.value("--store").map(PathBuf::from);
    let done = |command| Ok(Invocation { project, store, appearance, command });

    let Some(first) = arguments.take_first() else {
        if help_wanted {
            return done(Command::Print(help::general()));
        }
        if version_wanted {
            return done(Command::Print(version()));
        }
        bail!("no verb: what should be done?");
    };
    if first.as_encoded_bytes().starts_with(b"-") {
        bail!(words::unknown(&first, None));
    }
    if first == "help" {
        arguments.finish(None, &mut words).map_err(anyhow::Error::msg)?;
        return match words.free.as_slice() {
            [] => done(Command::Print(help::general())),
            [name] => done(Command::Print(help::of(known(name)?))),
            [_, more, ..] => bail!("help takes one verb; {} is left over", escape(more.as_encoded_bytes())),
        };
    }
    let verb = known(&first)?;
    *found = Some(verb);
    if help_wanted {
        return done(Command::Print(help::of(verb)));
    }
    if version_wanted {
        return done(Command::Print(version()));
    }
    arguments.take(verb.options, &mut words).map_err(anyhow::Error::msg)?;
    arguments.finish(Some(verb), &mut words).map_err(anyhow::Error::msg)?;
    done(command(verb, words)?)
}

fn version() -> String {
    format!("xtask {}\n", env!("CARGO_PKG_VERSION"))
}

fn known(name: &OsString) -> Result<&'static Verb> {
    let shown = escape(name.as_encoded_bytes());
    if let Some(verb) = table::verb(&shown) {
        return Ok(verb);
    }
    match nearest(&shown, VERBS.iter().map(|verb| verb.name).chain(["help"])) {
        Some(near) => bail!("unknown verb {shown}; did you mean {near}?"),
        None => bail!("unknown verb {shown}"),
    }
}

fn color(value: Option<OsString>) -> Result<Color> {
    let Some(value) = value else { return Ok(Color::Auto) };
    match value.to_str() {
        Some("auto") => Ok(Color::Auto),
        Some("always") => Ok(Color::Always),
        Some("never") => Ok(Color::Never),
        _ => bail!("--color is auto, always or never, not {}", escape(value.as_encoded_bytes())),
    }
}

fn command(verb: &'static Verb, mut words: Words) -> Result<Command> {
    let free = std::mem::take(&mut words.free);
    let free = free.iter().map(text).collect::<Result<Vec<String>>>()?;
    if verb.words.is_empty()
        && let Some(more) = free.first()
    {
        bail!("{} takes no further words; {} is left over", verb.name, escape(more.as_bytes()));
    }
    match verb.name {
        "backup" => Ok(Command::Backup(backup(&mut words)?)),
        "list" => Ok(Command::List),
        "show" => match one(&free)? {
            Some(backup) => Ok(Command::Show(backup)),
            None => bail!("which backup? `{PROGRAM} show latest` shows the newest"),
        },
        "verify" => {
            Ok(Command::Verify(Verify { targets: targets(&free)?, full_test: words.switch("--full-test") }))
        }
        "restore" => restore(&free, &mut words),
        other => bail!("the verb {other} is listed and not read"),
    }
}

fn backup(words: &mut Words) -> Result<Backup> {
    let label = match words.value("--label") {
        Some(label) => Some(text(&label)?.parse::<Label>().map_err(anyhow::Error::msg)?),
        None => None,
    };
    let kind = match words.value("--kind") {
        None => BackupKind::Manual,
        Some(kind) => match kind.to_str() {
            Some("manual") => BackupKind::Manual,
            Some("scheduled") => BackupKind::Scheduled,
            Some("guard") => BackupKind::Guard,
            _ => bail!("--kind is manual, scheduled or guard, not {}", escape(kind.as_encoded_bytes())),
        },
    };
    let (pin, no_sql, adopt) = (words.switch("--pin"), words.switch("--no-sql"), words.switch("--adopt"));
    Ok(Backup { label, pin, kind, no_sql, adopt })
}

fn targets(free: &[String]) -> Result<Targets> {
    let named = named(free);
    match named.iter().any(|name| name == "all") {
        true if named.len() > 1 => bail!("all means every backup; name either all or some"),
        true => Ok(Targets::All),
        false if named.is_empty() => Ok(Targets::Named(vec!["latest".to_owned()])),
        false => Ok(Targets::Named(named)),
    }
}

fn restore(free: &[String], words: &mut Words) -> Result<Command> {
    let only = words.values("--only").iter().map(only).collect::<Result<Vec<SafePath>>>()?;
    let to = words.value("--to").map(PathBuf::from);
    let Some(backup) = one(free)? else { return Ok(Command::ListForRestore) };
    if backup == "list" {
        return Ok(Command::List);
    }
    if backup == "all" {
        bail!("restore takes one backup; all is none");
    }
    let target = match (words.switch("--verify-only"), to) {
        (true, _) => Target::Nowhere,
        (false, Some(folder)) => Target::Folder(folder),
        (false, None) => bail!(
            "restoring over a living project is not part of this version; name a folder to restore into: \
             `{PROGRAM} restore {} --to DIR`",
            escape(backup.as_bytes())
        ),
    };
    Ok(Command::Restore(Restore {
        backup,
        target,
        only,
        sql_only: words.switch("--sql-only"),
        dry_run: words.switch("--dry-run"),
        with_code: words.switch("--with-code"),
        force: words.switch("--force"),
    }))
}

fn only(path: &OsString) -> Result<SafePath> {
    let shown = escape(path.as_encoded_bytes());
    let mut bytes = os_name::from_os(path)?;
    while let Some(rest) = bytes.strip_prefix(b"./") {
        bytes = rest.to_vec();
    }
    while bytes.len() > 1 && bytes.ends_with(b"/") {
        bytes.pop();
    }
    SafePath::new(bytes).map_err(|error| {
        anyhow::anyhow!("--only {shown} must be a path inside the project, from its root: {error:#}")
    })
}

fn text(word: &OsString) -> Result<String> {
    match word.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("{} is no text", escape(word.as_encoded_bytes())),
    }
}

/// One backup or none; several words are one when they are a time together (`2h ago`).
fn one(free: &[String]) -> Result<Option<String>> {
    let mut named = named(free);
    if named.len() > 1 {
        let shown: Vec<String> = named.iter().map(|name| escape(name.as_bytes())).collect();
        bail!("one backup can be named, not {}: {}", named.len(), shown.join(", "));
    }
    if named.first().is_some_and(String::is_empty) {
        bail!("the name of the backup is empty");
    }
    Ok(named.pop())
}

/// Joins words that are a time together; the others stand for themselves.
fn named(free: &[String]) -> Vec<String> {
    let (now, zone) = (Instant::now(), clock::local_zone());
    let mut names = Vec::new();
    let mut rest = free;
    while !rest.is_empty() {
        let longest = (2..=rest.len().min(3))
            .rev()
            .find(|&count| clock::parse_typed(&rest[..count].join(" "), now, &zone).is_some())
            .unwrap_or(1);
        names.push(rest[..longest].join(" "));
        rest = &rest[longest..];
    }
    names
}

#[cfg(test)]
mod tests;
