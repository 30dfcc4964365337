//! The write locks that make a pin one instant, and the waiting for them. Taken with BEGIN IMMEDIATE and
//! given back with ROLLBACK, with nothing written between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::open::{self, open_live};

/// How long a lock that is not free is tried again while others are held: long enough for the last steps
/// of a commit, short enough to be nobody's trouble.
pub const SPIN: Duration = Duration::from_millis(2);

/// The connections that hold the write locks while the read transactions open. Two paths of one file
/// (a link) share one, else we would wait for ourselves.
pub struct Lockers {
    /// One per file, and the paths that lead to it.
    lockers: Vec<(Option<Connection>, Vec<PathBuf>)>,
}

impl Lockers {
    /// Opens them, one for each file.
    pub fn open(files: &[PathBuf]) -> Lockers {
        let mut groups: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for file in files {
            // A path that does not resolve is reported when it is read.
            let real = std::fs::canonicalize(file).unwrap_or_else(|_| file.clone());
            groups.entry(real).or_default().push(file.clone());
        }
        let locker = |real: &PathBuf| {
            let connection = open_live(real).ok()?; // without one it is among the missing
            match connection.is_readonly("main") {
                Ok(false) => Some(connection),
                _ => None,
            }
        };
        Lockers { lockers: groups.into_iter().map(|(real, files)| (locker(&real), files)).collect() }
    }

    /// Takes every lock that is free, in sorted order and with hardly any waiting.
    pub fn take(&self) -> Missing {
        let until = Clock::now() + SPIN;
        loop {
            let mut missing = Missing::default();
            for (locker, files) in &self.lockers {
                let tried = match locker {
                    Some(locker) if locker.is_autocommit() => locker.execute_batch("BEGIN IMMEDIATE"),
                    Some(_) => Ok(()), // held since an earlier try
                    None => Err(rusqlite::Error::InvalidQuery),
                };
                match tried {
                    Ok(()) => continue,
                    // What can't be read is not in the backup, so it can't be torn either.
                    Err(error) if open::is_damage(&error) => continue,
                    Err(error) if open::is_busy(&error) => {}
                    Err(_) => missing.forever += 1,
                }
                missing.files.extend(files.first().cloned());
            }
            if !missing.is_worth_waiting() || Clock::now() >= until {
                return missing;
            }
            std::thread::sleep(SPIN / 40);
        }
    }

    /// Whether the lock of the file behind this path is held, so that nobody is in the middle of writing it.
    pub fn hold(&self, file: &Path) -> bool {
        self.lockers.iter().any(|(locker, files)| {
            locker.as_ref().is_some_and(|locker| !locker.is_autocommit())
                && files.iter().any(|one| one == file)
        })
    }

    /// Gives every lock back.
    pub fn release(&self) {
        for (locker, _) in &self.lockers {
            if let Some(locker) = locker
                && !locker.is_autocommit()
            {
                // Nothing was written, so there is nothing that a failure could leave behind; the lock
                // goes with the connection at the latest.
                let _ = locker.execute_batch("ROLLBACK");
            }
        }
    }
}

/// The locks that could not be had.
#[derive(Default)]
pub struct Missing {
    /// One path of each file.
    pub files: Vec<PathBuf>,
    /// How many of them we can never lock, for want of the right to write.
    pub forever: usize,
}

impl Missing {
    /// With two or more missing there is no common instant; others' locks may be free later, but where we
    /// can't lock two at all, waiting is pointless.
    pub fn is_worth_waiting(&self) -> bool {
        self.files.len() > 1 && self.forever < 2
    }
}

/// Waiting between rounds: growing from a fraction of a millisecond, with jitter so that two of us, or a
/// writer with a rhythm of its own, do not meet again and again.
pub struct Pause {
    until: Clock,
    next: Duration,
}

impl Pause {
    /// Starts the clock.
    pub fn new(patience: Duration) -> Pause {
        Pause { until: Clock::now() + patience, next: Duration::from_micros(500) }
    }

    /// Whether patience has run out.
    pub fn is_over(&self) -> bool {
        Clock::now() >= self.until
    }

    /// Sleeps, each time for a little longer.
    pub fn wait(&mut self) {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
        let jitter = f64::from(nanos % 1000) / 1000.0; // 0 to 1
        let left = self.until.saturating_duration_since(Clock::now());
        std::thread::sleep(self.next.mul_f64(0.5 + jitter).min(left));
        self.next = (self.next * 3 / 2).min(Duration::from_millis(25));
    }
}
