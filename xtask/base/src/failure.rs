//! An error with a kind (it picks the exit code), a chain of causes and hints (the next command to type).
//!
//! Any `anyhow::Error` is a failure of kind [`Kind::Failed`] unless a [`Failure`] in its chain says
//! otherwise, so ordinary code uses `?` and `context`, and only the place that knows better picks a kind.

use std::error::Error;
use std::fmt;
use std::io;

/// What went wrong, in the published vocabulary of exit codes. The codes only ever grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It failed, and nothing was changed or everything was rolled back: 1.
    Failed,
    /// Wrong use of the command line or the configuration: 2.
    Usage,
    /// No such backup, store or commit: 4.
    NotFound,
    /// Another run holds the lock: 5.
    Locked,
    /// Refused: it would destroy or overwrite something, and nobody was there to confirm: 6.
    Refused,
    /// Stopped by Ctrl-C or TERM: 130.
    Interrupted,
}

impl Kind {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound => 4,
            Kind::Locked => 5,
            Kind::Refused => 6,
            Kind::Interrupted => 130,
        }
    }
}

/// An error of a known kind, with hints.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    source: Option<Box<dyn Error + Send + Sync + 'static>>,
}

impl Failure {
    /// A failure with a message of its own.
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Adds the next thing to do, as a sentence or a command to type.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// Gives an existing error a kind; its message and causes stay.
    pub fn wrap(kind: Kind, error: anyhow::Error) -> Failure {
        let (message, hints) = (error.to_string(), hints_of(&error));
        Failure { kind, message, hints, source: Some(error.into()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // A wrapped error lends its message, so its own line is not repeated among the causes.
        self.source.as_ref().and_then(|inner| inner.source())
    }
}

/// The kind of any error: that of the outermost [`Failure`] in its chain, else [`Kind::Failed`].
pub fn kind_of(error: &anyhow::Error) -> Kind {
    error.chain().find_map(|e| e.downcast_ref::<Failure>()).map_or(Kind::Failed, |f| f.kind)
}

/// The hints of every [`Failure`] in the chain, outermost first, each once.
pub fn hints_of(error: &anyhow::Error) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    for hint in error.chain().filter_map(|e| e.downcast_ref::<Failure>()).flat_map(|f| &f.hints) {
        if !hints.contains(hint) {
            hints.push(hint.clone());
        }
    }
    hints
}

/// Whether an error comes from a disk or a quota that is full. SQLite and the git command tell it in words
/// only, the same ones everywhere: git is run in the C locale.
pub fn is_disk_full(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
            || tells_of_full_disk(&cause.to_string())
    })
}

/// The same of words that are not an error any more. 4874 is SQLite's number for a file of shared memory, beside a
/// database in WAL mode, that finds no room.
pub fn tells_of_full_disk(text: &str) -> bool {
    [
        "No space left on device",
        "Disk quota exceeded",
        "database or disk is full",
        "Out of diskspace",
        "Error code 4874:",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// `.hint(…)` and `.kind(…)` on any result.
pub trait ResultExt<T> {
    /// Adds a hint; the kind stays what it was.
    ///
    /// # Errors
    /// The error it was called on.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
    /// Sets the kind.
    ///
    /// # Errors
    /// The error it was called on.
    fn kind(self, kind: Kind) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> ResultExt<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            Failure::wrap(kind_of(&error), error).hint(hint).into()
        })
    }

    fn kind(self, kind: Kind) -> anyhow::Result<T> {
        self.map_err(|error| Failure::wrap(kind, error.into()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn a_kind_survives_context_and_a_hint_survives_both() {
        let inner: anyhow::Error = Failure::new(Kind::NotFound, "no backup x").hint("try list").into();
        let outer = Err::<(), _>(inner).context("while restoring").hint("or pull").unwrap_err();
        assert_eq!(kind_of(&outer), Kind::NotFound);
        assert!(hints_of(&outer).contains(&"or pull".to_owned()));
        assert!(hints_of(&outer).contains(&"try list".to_owned()));
        let wrapped = Err::<(), _>(outer).hint("or wait").unwrap_err();
        assert_eq!(hints_of(&wrapped).len(), 3, "each once: {:?}", hints_of(&wrapped));
        let outer = wrapped;
        assert_eq!(outer.to_string(), "while restoring");
        let causes: Vec<String> = outer.chain().skip(1).map(ToString::to_string).collect();
        assert_eq!(causes.last().map(String::as_str), Some("no backup x"));
    }

    #[test]
    fn a_full_disk_is_known_whoever_tells_of_it() {
        let system = anyhow::Error::new(io::Error::from(io::ErrorKind::StorageFull)).context("can't write x");
        assert!(is_disk_full(&system));
        assert!(is_disk_full(&anyhow!("fatal: write error: No space left on device").context("no pack")));
        assert!(is_disk_full(&anyhow!("database or disk is full")));
        assert!(!is_disk_full(&anyhow!("database disk image is malformed")));
    }

    #[test]
    fn an_ordinary_error_is_a_plain_failure() {
        assert_eq!(kind_of(&anyhow!("x")).exit_code(), 1);
    }
}
