//! A label: a user's own name for a backup. It can't be taken for an id, a time or a word with a meaning of
//! its own, so `restore NAME` never means two things.

use std::fmt;
use std::str::FromStr;

use crate::base::clock::{self, Instant};

/// Words that mean something else where a backup is named.
const RESERVED: &[&str] = &["latest", "all", "now", "list"];

/// A label, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Label, String> {
        if text.is_empty() || text.len() > 64 {
            return Err(format!("a label has 1 to 64 characters, not {}", text.chars().count()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(wrong) = text.chars().find(|&c| !allowed(c)) {
            return Err(format!("a label is made of letters, digits, '.', '_' and '-'; {wrong:?} is none"));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err("a label begins with a letter or a digit".to_owned());
        }
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Err(format!("{text:?} has a meaning of its own where a backup is named"));
        }
        // Digits alone would read as the beginning of an id.
        let looks_like_an_id = !text.contains(|c: char| c.is_ascii_alphabetic());
        if looks_like_an_id || clock::parse_typed(text, Instant::now(), &clock::local_zone()).is_some() {
            return Err(format!("{text:?} looks like an id or a time; a label needs a word in it"));
        }
        Ok(Label(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_nothing_but_a_label() {
        let long = "x".repeat(64);
        for good in ["before-upgrade", "v1.2", "a", "2025-12-01-evening", "1x", long.as_str()] {
            assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
        }
        let too_long = "x".repeat(65);
        for bad in [
            "",
            "latest",
            "ALL",
            "now",
            "list",
            "20251201",
            "2025",
            "20251201_120000",
            "20251201_120000-2",
            "2025-12-01",
            "2025-12-01T14",
            "2hago",
            "-x",
            ".hidden",
            "..",
            "a b",
            "a/b",
            "a:b",
            "ä",
            "a\n",
            too_long.as_str(),
        ] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }
}
