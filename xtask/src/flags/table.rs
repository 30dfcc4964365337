//! The command line as data: every verb with its options, words for people, examples and exit codes. The
//! parser accepts what stands here and the help prints what stands here, so neither can drift from the other.

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

const fn switch(name: &'static str, about: &'static str) -> Opt {
    Opt { name, value: None, repeated: false, about }
}

const fn value(name: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt { name, value: Some(value), repeated: false, about }
}

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

const FAILED: (u8, &str) = (1, "failed; nothing was changed");
const USAGE: (u8, &str) = (2, "wrong use of the command line or the configuration");
const NOT_FOUND: (u8, &str) = (4, "no such backup");
const LOCKED: (u8, &str) = (5, "another run holds the lock");

/// All verbs, in the order of the help.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "backup",
        words: "",
        brief: "save the project: files, git history, databases",
        about: "Takes a backup of the project: working files (tracked, untracked and ignored), git history with \
stashes and uncommitted work, and every SQLite database as of one instant. The archive is checked before it \
gets its name in the store. Nothing in the project is changed, and others may go on writing.",
        options: &[
            value(
                "--label",
                "L",
                "a name of your own: 1 to 64 letters, digits, '.', '_', '-', with a letter in it",
            ),
            switch("--pin", "never remove this backup by rotation"),
            value("--kind", "K", "why it is taken: manual (default), scheduled or guard"),
            switch("--no-sql", "leave out the SQL dumps; the databases themselves are always in it"),
            switch("--adopt", "make this working copy the owner of a store that belongs to another one"),
        ],
        examples: &[
            ("backup", "a backup of the project around this folder"),
            ("backup --label before-upgrade --pin", "one that is easy to find and never rotated"),
        ],
        exits: &[
            FAILED,
            USAGE,
            (3, "the backup was taken, but something of the project is not in it"),
            LOCKED,
            (6, "refused: the store belongs to another working copy"),
        ],
    },
    Verb {
        name: "list",
        words: "",
        brief: "what is in the store",
        about: "Lists the backups in the store, newest first, with age, size, kind, commit and when each was \
last verified. Reads only.",
        options: &[],
        examples: &[("list", "the backups of this project"), ("list --json", "the same for scripts")],
        exits: &[
            (1, "the store can't be read"),
            USAGE,
            (3, "at least one backup can't be read"),
            (4, "there is no store yet"),
        ],
    },
    Verb {
        name: "show",
        words: "BACKUP",
        brief: "what one backup holds",
        about: "Shows what one backup holds: its facts, each database with its tables and rows, the state of \
git, what was left out, and what was found while it was taken. Reads only.",
        options: &[],
        examples: &[("show latest", "the newest one"), ("show before-upgrade", "the one with that label")],
        exits: &[(1, "its archive can't be read"), USAGE, NOT_FOUND],
    },
    Verb {
        name: "verify",
        words: "[BACKUP…|latest|all]",
        brief: "prove that backups can be restored",
        about: "Proves that backups are good: the archive can be read, every checksum holds, and every database \
passes SQLite's own checks and has the rows that the manifest counted. --full-test really restores into a \
scratch folder and compares. Without a backup named it takes latest. The project is not touched.",
        options: &[switch("--full-test", "also restore all of it into a scratch folder and compare")],
        examples: &[
            ("verify", "the newest backup"),
            ("verify all --full-test", "every backup, with a real restore of each"),
        ],
        exits: &[
            (1, "it can't be told whether the backup is good"),
            USAGE,
            (3, "at least one backup is damaged, or one of several could not be checked"),
            NOT_FOUND,
        ],
    },
    Verb {
        name: "restore",
        words: "BACKUP|latest|TIME",
        brief: "put a backup into another folder",
        about: "Restores a backup into a folder: files with their modes and links, git history with stashes and \
index, and the databases. The archive is verified first, and what was restored is compared with the manifest \
afterwards. Without a backup named it prints the list and ends with exit code 2.",
        options: &[
            value("--to", "DIR", "the folder to restore into; new or empty"),
            Opt {
                name: "--only",
                value: Some("PATH"),
                repeated: true,
                about: "only this file or folder, from the top of the project; *, ? and **/ match names and folders \
(quote them); may be given more than once",
            },
            switch("--sql-only", "build the databases from the SQL dumps instead of the saved pages"),
            switch("--verify-only", "verify the backup and restore nothing"),
            switch("--dry-run", "print what would be restored and change nothing"),
            switch("--with-code", "also put back git hooks and settings that can run programs"),
            switch("--force", "answer yes to the question whether to go on, and nothing else"),
        ],
        examples: &[
            ("restore latest --to /tmp/recovered", "all of the newest backup"),
            ("restore 2h ago --only memory/index.db --to /tmp/old", "one database as it was then"),
        ],
        exits: &[
            FAILED,
            USAGE,
            (3, "restored, but something could not come back; with --verify-only: the backup is damaged"),
            NOT_FOUND,
            (5, "another restore into that folder is running"),
            (6, "refused: it would overwrite something, and nobody was there to confirm"),
        ],
    },
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
