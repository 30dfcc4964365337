//! Which backup somebody means: an id, the beginning of one, a label, `latest`, or a time. Pure over the
//! listing, and never a guess: what could mean two backups is refused with both named.

use anyhow::Result;

use super::catalog::StoreEntry;
use crate::base::clock::{self, Instant};
use crate::base::failure::{Failure, Kind};
use crate::base::kind::BackupKind;

/// So many candidates are named in an error.
const NAMED_MAX: usize = 5;

/// The backup that a word means: an exact id, the only id that begins so, the newest with exactly that
/// label, `latest`, or the newest at or before a time. `latest` and times pass over damaged backups and
/// safety copies, which hold the state that somebody wanted to leave.
///
/// # Errors
/// Of kind `NotFound`, with the nearest candidates in the hints.
pub fn resolve<'a>(entries: &'a [StoreEntry], word: &str, now: Instant) -> Result<&'a StoreEntry> {
    let word = word.trim();
    if let Some(exact) = entries.iter().find(|entry| entry.id.to_string() == word) {
        return Ok(exact);
    }
    let ordinary = || entries.iter().filter(|e| e.kind() != BackupKind::Safety && !e.is_damaged());
    let newest = |entry: &&StoreEntry| entry.id.clone();
    if word == "latest" {
        return ordinary().max_by_key(newest).ok_or_else(|| no_latest(entries));
    }
    let labelled = entries.iter().filter(|entry| entry.label() == Some(word)).max_by_key(newest);
    let begins_so: Vec<&StoreEntry> = if word.is_empty() {
        Vec::new()
    } else {
        entries.iter().filter(|entry| entry.id.to_string().starts_with(word)).collect()
    };
    match (begins_so.as_slice(), labelled) {
        ([only], _) => return Ok(only),
        (_, Some(labelled)) => return Ok(labelled),
        ([], None) => {}
        (several, None) => return Err(ambiguous(several, word)),
    }
    if let Some(moment) = clock::parse_typed(word, now, &clock::local_zone()) {
        return ordinary()
            .filter(|entry| entry.id.moment() <= moment)
            .max_by_key(newest)
            .ok_or_else(|| none_before(entries, moment));
    }
    Err(unknown(entries, word))
}

fn describe(entry: &StoreEntry) -> String {
    let label = entry.label().map(|label| format!(" {label:?}")).unwrap_or_default();
    let damaged = if entry.is_damaged() { ", damaged" } else { "" };
    format!("{}{label} ({}{damaged}, {})", entry.id, entry.kind(), entry.id.moment().local())
}

fn ambiguous(several: &[&StoreEntry], word: &str) -> anyhow::Error {
    let text = format!("{word:?} is the beginning of {} backups", several.len());
    let mut failure = Failure::new(Kind::NotFound, text);
    for entry in several.iter().rev().take(NAMED_MAX) {
        failure = failure.hint(describe(entry));
    }
    failure.into()
}

fn no_latest(entries: &[StoreEntry]) -> anyhow::Error {
    if entries.is_empty() {
        return empty();
    }
    let text = "there is no undamaged backup that is not a safety copy";
    with_newest(Failure::new(Kind::NotFound, text), entries)
}

fn none_before(entries: &[StoreEntry], moment: Instant) -> anyhow::Error {
    let Some(oldest) = entries.first() else { return empty() };
    let text = format!("there is no undamaged backup from {} ({}) or before", moment.local(), moment.utc());
    Failure::new(Kind::NotFound, text).hint(format!("the oldest one is {}", describe(oldest))).into()
}

fn unknown(entries: &[StoreEntry], word: &str) -> anyhow::Error {
    if entries.is_empty() {
        return empty();
    }
    let text = format!("no backup is called {word:?}");
    with_newest(Failure::new(Kind::NotFound, text), entries)
}

fn empty() -> anyhow::Error {
    Failure::new(Kind::NotFound, "there is no backup in this store yet")
        .hint("`cargo xtask backup` makes one")
        .into()
}

fn with_newest(failure: Failure, entries: &[StoreEntry]) -> anyhow::Error {
    let named: Vec<String> = entries.iter().rev().take(3).map(describe).collect();
    failure
        .hint(format!("the newest are {}", named.join("; ")))
        .hint(
            "`cargo xtask list` shows all; ids, beginnings of ids, labels, `latest` and times are understood",
        )
        .into()
}
