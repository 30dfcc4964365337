//! A run's line in the store's history: what was done, when, how it ended. The same for every verb that does
//! something; those that only look leave none. A store that can't be written stays without: the run counts,
//! not the line about it.

use anyhow::Result;
use serde::Serialize;

use super::{EXIT_WITH_PROBLEMS, Outcome};
use crate::base::clock::Instant;
use crate::base::failure::kind_of;
use crate::store::Store;

/// A line of the history.
#[derive(Serialize)]
pub struct Run {
    at: Instant,
    command: &'static str,
    exit: u8,
    /// The backup that was taken or restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    seconds: f64,
    /// Bytes of the archive that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many backups were verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<usize>,
    /// Ids of those that were found damaged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// Ids of those that rotation removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// The folder that was restored into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    began: std::time::Instant,
}

impl Run {
    /// A run that begins now.
    pub fn begin(command: &'static str) -> Run {
        Run {
            at: Instant::now(),
            command,
            exit: 0,
            id: None,
            seconds: 0.0,
            bytes: None,
            verified: None,
            damaged: Vec::new(),
            removed: Vec::new(),
            target: None,
            error: None,
            began: std::time::Instant::now(),
        }
    }

    /// Seconds since it began, to the millisecond.
    pub fn seconds(&self) -> f64 {
        (self.began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }

    /// Writes the line of a run that failed. That the line can't be written, too, is not said: the error
    /// itself is what the user must see.
    pub fn failed(mut self, store: &Store, error: &anyhow::Error) {
        self.exit = kind_of(error).exit_code();
        self.error = Some(format!("{error:#}"));
        let _ = self.write(store);
    }

    /// Writes the line of a run that did what it could.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn done(mut self, store: &Store, outcome: Outcome) -> Result<()> {
        self.exit = match outcome {
            Outcome::WithProblems => EXIT_WITH_PROBLEMS,
            Outcome::Exit(code) => code,
            Outcome::Done | Outcome::WrongUse => 0,
        };
        self.write(store)
    }

    fn write(mut self, store: &Store) -> Result<()> {
        self.at = Instant::now();
        self.seconds = self.seconds();
        store.append_history(&self)
    }
}
