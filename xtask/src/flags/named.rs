//! How backups are named by free words: an id, a beginning, a label, `latest`, or a time of several words.

use anyhow::{Result, bail};

use crate::base::clock::{self, Instant};
use crate::base::escape::escape;

/// One backup or none; several words are one when they are a time together (`2h ago`).
pub fn one(free: &[String]) -> Result<Option<String>> {
    let mut named = all(free);
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
pub fn all(free: &[String]) -> Vec<String> {
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
