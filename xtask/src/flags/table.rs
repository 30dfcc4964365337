//! The command line as data: every verb with its options, words for people, examples and exit codes. The
//! parser accepts what stands here and the help prints what stands here, so neither can drift from the other.
//! Each verb stands in a file of its own, with what its options mean.

use anyhow::Result;

use super::words::Words;
use super::{
    Command, backup, diff, guard, list, pin, prune, pull, redo, restore, restore_git, salvage, show, status,
    sync, undo, unpin, verify,
};

/// One option.
pub struct Opt {
    /// `--label`.
    pub name: &'static str,
    /// What its value is called in the help; `None` for a switch.
    pub value: Option<&'static str>,
    /// Whether it may be given more than once.
    pub repeated: bool,
    /// One line for the help.
    pub about: &'static str,
}

/// An option without a value.
pub const fn switch(name: &'static str, about: &'static str) -> Opt {
    Opt { name, value: None, repeated: false, about }
}

/// An option with a value, which may be given once.
pub const fn value(name: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt { name, value: Some(value), repeated: false, about }
}

/// Which paths of a project a verb deals with.
pub const ONLY: Opt = Opt {
    name: "--only",
    value: Some("PATH"),
    repeated: true,
    about: "only this file or folder, from the top of the project; *, ? and **/ match names and folders \
(quote them); may be given more than once",
};

/// One verb.
pub struct Verb {
    /// What is typed.
    pub name: &'static str,
    /// Its free words, as in a usage line; empty when it takes none.
    pub words: &'static str,
    /// One line for the list of verbs.
    pub brief: &'static str,
    /// What it does, in two or three sentences.
    pub about: &'static str,
    /// Its own options.
    pub options: &'static [Opt],
    /// What to type, and what that does.
    pub examples: &'static [(&'static str, &'static str)],
    /// The exit codes that matter here, beside 0.
    pub exits: &'static [(u8, &'static str)],
    /// Makes the command of its options and free words.
    pub read: fn(&mut Words) -> Result<Command>,
}

/// What the program is called in usage lines: how it is run inside a project.
pub const PROGRAM: &str = "cargo xtask";

/// Options of every verb, before or after it.
pub const GLOBAL: &[Opt] = &[
    value("--project", "DIR", "the project to protect; default: the git repository around this folder"),
    value(
        "--store",
        "DIR",
        "the folder of backups; default: BACKUP_ROOT, else the configuration, else yours",
    ),
    switch("--json", "one JSON document on stdout, talk on stderr"),
    switch("--quiet", "no notes, no advice, no progress; problems, errors and results stay"),
    value("--color", "WHEN", "auto, always or never; auto: on a terminal, unless NO_COLOR is set"),
    switch("--help", "this help (also -h)"),
    switch("--version", "the version of this tool"),
];

/// How a backup is named on the command line.
pub const BACKUP_NOTE: &str = "\
BACKUP is an id (20251201_120000), the beginning of one, a label, latest (the newest undamaged backup), or
a local time: 2025-12-01 14:00, 2025-12-01 (the end of that day), 2h ago. A time means the newest backup at
or before it.";

/// Exit code 1.
pub const FAILED: (u8, &str) = (1, "failed; nothing was changed");
/// Exit code 2.
pub const USAGE: (u8, &str) = (2, "wrong use of the command line or the configuration");
/// Exit code 4.
pub const NOT_FOUND: (u8, &str) = (4, "no such backup");
/// Exit code 5.
pub const LOCKED: (u8, &str) = (5, "another run holds the lock");

/// All verbs, in the order of the help.
pub static VERBS: &[Verb] = &[
    backup::VERB,
    list::VERB,
    show::VERB,
    verify::VERB,
    restore::VERB,
    restore_git::VERB,
    undo::VERB,
    redo::VERB,
    diff::VERB,
    guard::VERB,
    salvage::VERB,
    status::VERB,
    prune::VERB,
    pin::VERB,
    unpin::VERB,
    sync::VERB,
    pull::VERB,
];

/// The verb of that name.
pub fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// Every option of every verb and the global ones; the same name may come more than once.
pub fn all_options() -> impl Iterator<Item = &'static Opt> {
    GLOBAL.iter().chain(VERBS.iter().flat_map(|verb| verb.options))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words are read before the verb is known, so a name must mean the same everywhere.
    #[test]
    fn an_option_takes_a_value_everywhere_or_nowhere() {
        for a in all_options() {
            assert!(a.name.starts_with("--") && a.name.len() > 3, "{}", a.name);
            for b in all_options().filter(|b| b.name == a.name) {
                assert_eq!(a.value.is_some(), b.value.is_some(), "{}", a.name);
            }
        }
    }

    #[test]
    fn every_verb_has_two_examples_with_its_own_options() {
        for verb in VERBS {
            assert_eq!(verb.examples.len(), 2, "{}", verb.name);
            for (line, _) in verb.examples {
                assert_eq!(line.split(' ').next(), Some(verb.name));
            }
        }
    }
}
