//! argv to one typed command, read completely before anything happens: a mistyped `--dry-run` must never
//! turn into a real restore. What may be typed stands in [`table`], and what each verb makes of it in the
//! verb's own file; whatever is left over is refused.

mod backup;
mod diff;
mod guard;
mod help;
mod label;
mod list;
mod named;
mod pin;
mod prune;
mod pull;
mod redo;
mod restore;
mod restore_git;
mod salvage;
mod show;
mod status;
mod sync;
mod table;
mod undo;
mod unpin;
mod verify;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};

pub use self::backup::{Backup, BackupKind};
pub use self::diff::{Diff, State};
pub use self::guard::Guard;
pub use self::label::Label;
pub use self::prune::Prune;
pub use self::pull::Pull;
pub use self::redo::Redo;
pub use self::restore::{Restore, Target};
pub use self::restore_git::{GitTarget, RestoreGit, To};
pub use self::salvage::Salvage;
pub use self::status::Status;
pub use self::sync::Sync;
use self::table::{GLOBAL, PROGRAM, VERBS, Verb};
pub use self::undo::Undo;
pub use self::verify::{Targets, Verify};
use self::words::nearest;
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind};

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
    /// `restore-git`.
    RestoreGit(RestoreGit),
    /// `undo`.
    Undo(Undo),
    /// `redo`.
    Redo(Redo),
    /// `diff`.
    Diff(Diff),
    /// `guard`.
    Guard(Guard),
    /// `salvage`.
    Salvage(Salvage),
    /// `status`.
    Status(Status),
    /// `prune`.
    Prune(Prune),
    /// `pin BACKUP…`: as typed, words of a time joined; never empty.
    Pin(Vec<String>),
    /// `unpin BACKUP…`: likewise.
    Unpin(Vec<String>),
    /// `sync`.
    Sync(Sync),
    /// `pull`.
    Pull(Pull),
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
    if verb.words.is_empty()
        && let Some(more) = words.texts()?.first()
    {
        bail!("{} takes no further words; {} is left over", verb.name, escape(more.as_bytes()));
    }
    done((verb.read)(&mut words)?)
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

#[cfg(test)]
mod tests;
