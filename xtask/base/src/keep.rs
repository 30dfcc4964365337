//! How many backups rotation keeps: words that the configuration writes and the store's rules read.

use serde::Serialize;

/// Of how many days, weeks and months the newest good backup is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// Days that have a good backup.
    pub daily: u32,
    /// Weeks of ISO 8601 that have one.
    pub weekly: u32,
    /// Months that have one.
    pub monthly: u32,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { daily: 7, weekly: 4, monthly: 12 }
    }
}
