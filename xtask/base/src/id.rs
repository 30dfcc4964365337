//! The id of a backup: its UTC second as `YYYYMMDD_HHMMSS`, and `-2`, `-3` … when that second is taken.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::clock::{self, Instant};

/// A backup's id. Ordered by time, then by its number within the second.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BackupId {
    second: String,
    number: u32,
}

impl BackupId {
    /// The `number`-th id (from 1) of a moment.
    pub fn new(moment: Instant, number: u32) -> BackupId {
        BackupId { second: clock::compact_utc(moment), number: number.max(1) }
    }

    /// The moment it names.
    pub fn moment(&self) -> Instant {
        // Checked when the id was made.
        clock::parse_compact_utc(&self.second).unwrap_or_default()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => f.write_str(&self.second),
            n => write!(f, "{}-{n}", self.second),
        }
    }
}

impl FromStr for BackupId {
    type Err = String;

    fn from_str(text: &str) -> Result<BackupId, String> {
        let wrong = || format!("not a backup id: {text:?}");
        let (second, number) = match text.split_once('-') {
            None => (text, 1),
            Some((second, digits)) => {
                let number = digits.parse().map_err(|_| wrong())?;
                // One way to write each id: no -1, no leading zero or sign.
                if number < 2 || u32::to_string(&number) != digits {
                    return Err(wrong());
                }
                (second, number)
            }
        };
        clock::parse_compact_utc(second).ok_or_else(wrong)?;
        Ok(BackupId { second: second.to_owned(), number })
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for BackupId {
    type Error = String;
    fn try_from(text: String) -> Result<BackupId, String> {
        text.parse()
    }
}

impl PartialOrd for BackupId {
    fn partial_cmp(&self, other: &BackupId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BackupId {
    fn cmp(&self, other: &BackupId) -> Ordering {
        (&self.second, self.number).cmp(&(&other.second, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_to_write_each_id() {
        for good in ["20251201_120000", "20251201_120000-2", "20240229_235959-10"] {
            assert_eq!(good.parse::<BackupId>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "20251201",
            "20251201_120000-1",
            "20251201_120000-02",
            "20251201_120000-+2",
            "20250229_000000",
            "20251201_120000-",
            "2025120a_120000",
            "20251201_250000",
            "../20251201_120000",
            "20251201 120000",
        ] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_tenth_of_a_second_comes_after_the_ninth() {
        let id = |text: &str| text.parse::<BackupId>().unwrap();
        assert!(id("20251201_120000-10") > id("20251201_120000-9"));
        assert!(id("20251201_120001") > id("20251201_120000-10"));
        assert!(id("20251201_120000-2") > id("20251201_120000"));
    }
}
