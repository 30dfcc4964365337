//! The backup that holds the databases of a commit's time. Pure over the listing.

use super::catalog::StoreEntry;
use crate::base::clock::Instant;
use crate::base::kind::BackupKind;

/// A backup, and why it is the nearest.
#[derive(Clone, Copy, Debug)]
pub struct Nearest<'a> {
    /// Which one.
    pub entry: &'a StoreEntry,
    /// Whether it was taken while HEAD was at that commit.
    pub names_commit: bool,
}

/// The last one that was taken at a commit, else the newest at or before its time. Damaged ones and safety
/// copies, which hold the state that somebody wanted to leave, are passed over.
pub fn of_commit<'a>(entries: &'a [StoreEntry], commit: &str, moment: Instant) -> Option<Nearest<'a>> {
    let names = |entry: &&StoreEntry| {
        entry.summary.as_ref().is_some_and(|summary| summary.commit.as_deref() == Some(commit))
    };
    let named = good(entries).filter(names).max_by_key(|entry| entry.id.clone());
    named.map(|entry| Nearest { entry, names_commit: true }).or_else(|| at_or_before(entries, moment))
}

/// The newest one at or before a moment.
pub fn at_or_before(entries: &[StoreEntry], moment: Instant) -> Option<Nearest<'_>> {
    let before = good(entries).filter(|entry| entry.id.moment() <= moment);
    before.max_by_key(|entry| entry.id.clone()).map(|entry| Nearest { entry, names_commit: false })
}

fn good(entries: &[StoreEntry]) -> impl Iterator<Item = &StoreEntry> {
    entries.iter().filter(|entry| entry.kind() != BackupKind::Safety && !entry.is_damaged())
}

impl Nearest<'_> {
    /// Seconds from a moment to the backup; negative where it is older.
    pub fn seconds_after(&self, moment: Instant) -> i64 {
        self.entry.id.moment().0 - moment.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::base::id::BackupId;
    use crate::base::raw_path::RawPath;
    use crate::state::State;
    use crate::summary::{SUMMARY_FORMAT, Summary};

    const DAY: i64 = 86_400;

    /// `3a` a backup of day 3 at commit `a`; `!` behind it damaged, `?` a safety copy, `-` no commit.
    fn entries(text: &str) -> Vec<StoreEntry> {
        let entry = |word: &str| {
            let (day, rest) = word.split_at(1);
            let (commit, mark) = rest.split_at(1);
            let id = BackupId::new(Instant(day.parse::<i64>().unwrap() * DAY), 1);
            let summary = Summary {
                format: SUMMARY_FORMAT,
                id: id.clone(),
                kind: BackupKind::Manual,
                label: None,
                created: id.moment(),
                host: String::new(),
                path: RawPath(Vec::new()),
                commit: (commit != "-").then(|| commit.to_owned()),
                branch: None,
                dirty: false,
                databases: 0,
                rows: 0,
                files: 0,
                file_bytes: 0,
                archive_bytes: 5,
                archive_sha256: Digest::of(b""),
                problems: 0,
                advice: 0,
                archive_format: 1,
            };
            let size = if mark == "!" { 4 } else { 5 };
            let (archive, state) = (std::path::PathBuf::from(word), State::default());
            StoreEntry { id, archive, size, safety: mark == "?", summary: Some(summary), state }
        };
        text.split_whitespace().map(entry).collect()
    }

    #[test]
    fn which_backup_holds_the_databases_of_a_commit() {
        for (all, commit, day, found) in [
            ("", "a", 5, None),
            ("1a 2a 3b", "a", 1, Some(("2a", true))),
            // However long after the commit: HEAD was still there.
            ("1a 9a", "a", 1, Some(("9a", true))),
            ("1a 9a!", "a", 1, Some(("1a", true))),
            ("1a 9a?", "a", 1, Some(("1a", true))),
            ("1a! 2b 3c", "a", 2, Some(("2b", false))),
            ("2b 3c", "a", 1, None),
            ("2- 3c", "a", 2, Some(("2-", false))),
            ("1c 2c!", "a", 2, Some(("1c", false))),
        ] {
            let entries = entries(all);
            let nearest = of_commit(&entries, commit, Instant(day * DAY));
            let shown = nearest.map(|n| (n.entry.archive.to_str().unwrap(), n.names_commit));
            assert_eq!(shown, found, "{commit} of day {day} among {all}");
        }
        let entries = entries("1a 4a");
        let nearest = at_or_before(&entries, Instant(3 * DAY)).unwrap();
        assert_eq!((nearest.entry.archive.to_str(), nearest.names_commit), (Some("1a"), false));
        assert_eq!(nearest.seconds_after(Instant(3 * DAY)), -2 * DAY);
    }
}
