//! Whether a recovery would work today: a pure function of what is known of the backups, of the disk, of the
//! copy elsewhere, and of the time.

use super::catalog::StoreEntry;
use super::retention::{Group, Known};
use super::state::Verification;
use crate::base::clock::Instant;
use crate::base::finding::Finding;

/// A check of the databases themselves should not be longer ago.
pub const DEEP_CHECK_SECONDS: i64 = 30 * 86_400;

/// The level of a check that looks into the databases.
const DEEP: u8 = 3;

/// What is known of a backup.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What the store says.
    pub entry: &'a StoreEntry,
    /// What rotation makes of it.
    pub known: &'a Known,
}

/// The copy of the store elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// Where it is, as the user named it.
    pub place: String,
    /// When the two were compared last; `None` for never.
    pub compared: Option<Instant>,
    /// Backups that are here and not there.
    pub missing: u64,
    /// Why the last attempt failed, if it did.
    pub failed: Option<String>,
}

/// What others know that matters here.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The copy elsewhere, where one is configured.
    pub remote: Option<Remote>,
    /// Bytes free on the disk of the store, where the system tells.
    pub free_bytes: Option<u64>,
}

/// The newest good backup that is no safety copy. One from the future only where there is no other.
pub fn newest_good<'a>(seen: &[Seen<'a>], now: Instant) -> Option<Seen<'a>> {
    let good = seen.iter().filter(|one| one.known.is_good && one.known.group != Group::Safety);
    good.max_by_key(|one| (one.known.id.moment() <= now, one.known.id.clone())).copied()
}

/// The newest check that looked into the databases of a backup, and of which one.
pub fn last_deep_check<'a>(seen: &[Seen<'a>]) -> Option<(Seen<'a>, &'a Verification)> {
    let checks = seen.iter().flat_map(|one| one.entry.state.verifications.iter().map(|check| (*one, check)));
    checks.filter(|(_, check)| check.ok && check.level >= DEEP).max_by_key(|(_, check)| check.at)
}

/// A span as people write it: `26 h`, `3 days`.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// What is wrong, worst first.
pub fn judge(seen: &[Seen<'_>], outside: &Outside, age_seconds_max: i64, now: Instant) -> Vec<Finding> {
    let mut findings = Vec::new();
    let newest = newest_good(seen, now);
    findings.extend(of_age(seen, newest, age_seconds_max, now));
    for one in seen.iter().filter(|one| one.entry.is_damaged()) {
        let why = one.entry.state.damage.first().map_or("its size is not what it was", String::as_str);
        let text = format!("backup {} is damaged: {why}", one.known.id);
        findings.push(Finding::problem("damaged", text).hint(
            "cargo xtask verify BACKUP tells more; rotation removes it when good ones are around it, or remove its files from the store by hand; if the database itself is damaged, read what can be read: cargo xtask salvage DATABASE --to FILE --merge latest",
        ));
    }
    findings.extend(of_checks(seen, newest, now));
    findings.extend(outside.remote.as_ref().and_then(of_remote));
    if let (Some(newest), Some(free)) = (newest, outside.free_bytes)
        && free < newest.entry.size.saturating_mul(2)
    {
        let (free, size) = (free >> 20, newest.entry.size >> 20);
        let text =
            format!("the store's disk is nearly full: {free} MiB are free, and a backup has {size} MiB");
        findings
            .push(Finding::advice("low-space", text).hint("make room, or keep fewer (`keep` in Cargo.toml)"));
    }
    findings
}

fn of_age(seen: &[Seen<'_>], newest: Option<Seen<'_>>, age_seconds_max: i64, now: Instant) -> Vec<Finding> {
    let Some(newest) = newest else {
        return vec![match seen.len() {
            0 => Finding::problem("no-backup", "there is no backup").hint("cargo xtask backup"),
            count => Finding::problem(
                "no-good-backup",
                format!("none of the {count} backups in the store is known to be good, safety copies apart"),
            )
            .hint("cargo xtask verify all, and cargo xtask backup"),
        }];
    };
    let mut findings = Vec::new();
    let id = &newest.known.id;
    let age = now.0 - id.moment().0;
    if age > age_seconds_max {
        let text = format!(
            "the newest good backup, {id}, is {} old, and {} are allowed",
            span(age),
            span(age_seconds_max)
        );
        findings
            .push(Finding::problem("too-old", text).hint("cargo xtask backup; see why the timer did not"));
    } else if age < 0 {
        let text = format!("the newest good backup, {id}, is from the future, so nobody knows how old it is");
        findings.push(
            Finding::problem("future", text).hint("set the clock of this machine, then: cargo xtask backup"),
        );
    }
    let ahead: Vec<String> = (seen.iter())
        .filter(|one| one.known.id.moment() > now && one.known.id != *id)
        .map(|one| one.known.id.to_string())
        .collect();
    if !ahead.is_empty() {
        let text = format!("backups from the future: {}. Was or is the clock wrong?", ahead.join(", "));
        findings.push(
            Finding::advice("future", text).hint("`latest` means the newest of them; name others by id"),
        );
    }
    findings
}

fn of_checks(seen: &[Seen<'_>], newest: Option<Seen<'_>>, now: Instant) -> Option<Finding> {
    newest?;
    let text = match last_deep_check(seen) {
        None => "no backup was ever verified with its databases".to_owned(),
        Some((_, check)) if now.0 - check.at.0 > DEEP_CHECK_SECONDS => {
            format!("the last verification with databases was {} ago", span(now.0 - check.at.0))
        }
        Some(_) => return None,
    };
    Some(Finding::advice("not-verified", text).hint("cargo xtask verify latest --full-test"))
}

fn of_remote(remote: &Remote) -> Option<Finding> {
    let place = &remote.place;
    let text = match (&remote.failed, remote.compared) {
        (Some(reason), _) => format!("the copy of the store in {place} could not be renewed: {reason}"),
        (None, None) => format!("there is no copy of the store in {place} yet"),
        (None, Some(_)) if remote.missing > 0 => {
            format!("the copy of the store in {place} lacks {} backups", remote.missing)
        }
        (None, Some(_)) => return None,
    };
    Some(Finding::problem("remote", text).hint("cargo xtask sync"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::BackupId;
    use crate::retention::Extent;
    use crate::state::State;

    const NOW: &str = "20251201_120000";
    const HOUR: i64 = 3600;

    fn now() -> Instant {
        NOW.parse::<BackupId>().unwrap().moment()
    }

    fn backup(hours_ago: i64, is_good: bool) -> (StoreEntry, Known) {
        let at = Instant(now().0 - hours_ago * HOUR);
        let id = BackupId::new(at, 1);
        let check = |level| Verification { at, level, ok: true, by: "backup".to_owned() };
        let damage = if is_good { Vec::new() } else { vec!["it is not what it was".to_owned()] };
        let state = State { verifications: vec![check(2), check(3)], damage, ..State::default() };
        let entry = StoreEntry {
            id: id.clone(),
            archive: "x".into(),
            size: 10 << 20,
            safety: false,
            summary: None,
            state,
        };
        let known = Known { id, group: Group::Scheduled, is_good, held: None, extent: Extent::default() };
        (entry, known)
    }

    fn codes(backups: &[(StoreEntry, Known)], outside: &Outside) -> Vec<String> {
        let seen: Vec<Seen<'_>> = backups.iter().map(|(entry, known)| Seen { entry, known }).collect();
        let findings = judge(&seen, outside, 26 * HOUR, now());
        let mark = |finding: &Finding| if finding.is_problem() { "!" } else { "" };
        findings.iter().map(|finding| format!("{}{}", mark(finding), finding.code)).collect()
    }

    #[test]
    fn a_good_backup_of_today_is_all_that_is_asked_for() {
        let nothing = Outside::default();
        let mut safety = backup(1, true);
        safety.1.group = Group::Safety;
        let mut guard = backup(1, true);
        guard.1.group = Group::Guard;
        type Case<'a> = (&'a str, Vec<(StoreEntry, Known)>, &'a [&'a str]);
        let cases: Vec<Case<'_>> = vec![
            ("none", vec![], &["!no-backup"]),
            ("one", vec![backup(3, true)], &[]),
            ("at the limit", vec![backup(26, true)], &[]),
            ("too old", vec![backup(27, true)], &["!too-old"]),
            ("a damaged one after it", vec![backup(30, true), backup(1, false)], &["!too-old", "!damaged"]),
            ("a damaged one before it", vec![backup(30, false), backup(1, true)], &["!damaged"]),
            ("damaged ones only", vec![backup(1, false)], &["!no-good-backup", "!damaged"]),
            ("a safety copy only", vec![safety.clone()], &["!no-good-backup"]),
            ("a safety copy is no backup", vec![backup(30, true), safety], &["!too-old"]),
            ("a guard is one", vec![backup(30, true), guard], &[]),
            ("from the future", vec![backup(-30, true)], &["!future"]),
            ("one of them from the future", vec![backup(1, true), backup(-30, true)], &["future"]),
        ];
        for (name, backups, expected) in cases {
            assert_eq!(codes(&backups, &nothing), expected, "{name}");
        }
    }

    #[test]
    fn checks_room_and_the_remote() {
        let mut never = backup(1, true);
        never.0.state.verifications.truncate(1);
        let mut long_ago = backup(1, true);
        long_ago.0.state.verifications[1].at = Instant(now().0 - 31 * 24 * HOUR);
        let good = || backup(1, true);
        let free = |mib: u64| Outside { free_bytes: Some(mib << 20), ..Outside::default() };
        let remote = |compared, missing, failed: Option<&str>| Outside {
            remote: Some(Remote {
                place: "there".into(),
                compared,
                missing,
                failed: failed.map(ToOwned::to_owned),
            }),
            ..Outside::default()
        };
        let cases: [(_, Outside, &[&str]); 8] = [
            (never, Outside::default(), &["not-verified"]),
            (long_ago, Outside::default(), &["not-verified"]),
            (good(), free(20), &[]),
            (good(), free(19), &["low-space"]),
            (good(), remote(Some(now()), 0, None), &[]),
            (good(), remote(Some(now()), 2, None), &["!remote"]),
            (good(), remote(None, 0, None), &["!remote"]),
            (good(), remote(Some(now()), 0, Some("no route")), &["!remote"]),
        ];
        for (number, (one, outside, expected)) in cases.into_iter().enumerate() {
            assert_eq!(codes(&[one], &outside), expected, "case {number}");
        }
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in [(90, "90 s"), (7199, "119 min"), (93_600, "26 h"), (259_200, "3 days")] {
            assert_eq!(span(seconds), text);
        }
    }
}
