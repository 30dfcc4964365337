//! Which backups rotation keeps, and by which rule: a pure function of what is known of them, the rules and
//! the time.
//!
//! - A day, a week or a month counts only when it has a good backup, and its newest good one is kept: so many
//!   months are so many months with backups in them, however long the pauses between. Days are local ones,
//!   weeks those of ISO 8601.
//! - A bad backup (damaged, or never found good) has no influence on what becomes of a good one. It stays as
//!   long as it is the only one of a day, week or month that is kept, or no good one before it and no good
//!   one after it is.
//! - A backup that holds less than half of an earlier one of the same day, week or month does not displace it:
//!   what is missing in it may have been lost.
//! - Pinned ones are apart: never touched, never counted. So are those that can't be judged.
//! - Safety copies and guards are groups of their own.
//! - A backup from the future was taken while the clock was wrong, or the clock is wrong now: it is never
//!   counted and stays until its time has come.
//! - Ages count from the newest good backup: where none are taken, none get too old.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::base::clock::{self, Instant, Periods, TimeZone};
use crate::base::id::BackupId;
use crate::base::keep::Keep;

/// So many guards, and so many safety copies, are kept at least.
pub const APART_MIN: usize = 20;

/// A guard or a safety copy younger than this is kept.
pub const APART_SECONDS: i64 = 30 * 86_400;

/// A backup that somebody took by hand is kept so long, however many there were that day.
pub const BY_HAND_SECONDS: i64 = 86_400;

/// What is rotated by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Taken by hand.
    Manual,
    /// Taken by a timer; by days, weeks and months together with those taken by hand.
    Scheduled,
    /// Taken before a migration.
    Guard,
    /// Taken before a restore.
    Safety,
}

/// Why a backup is never touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The user said so.
    Pinned,
    /// Its state can't be read: it may be pinned.
    StateUnreadable,
    /// A newer program wrote it.
    NewerFormat,
    /// A link stands in the place of its archive: what it points to is not ours to manage.
    Link,
}

/// How much a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Databases.
    pub databases: u64,
    /// Rows of all of them.
    pub rows: u64,
    /// Files.
    pub files: u64,
}

impl Extent {
    /// Whether so much is missing in a later one that it may be a loss: a database, or more than half of the
    /// rows or the files.
    pub fn is_fuller(&self, later: &Extent) -> bool {
        let halved = |before: u64, after: u64| before > after.saturating_mul(2);
        self.databases > later.databases || halved(self.rows, later.rows) || halved(self.files, later.files)
    }
}

/// What is known of a backup.
#[derive(Clone, Debug)]
pub struct Known {
    /// Which one.
    pub id: BackupId,
    /// What it is rotated with.
    pub group: Group,
    /// Whether it was found good, and no damage since.
    pub is_good: bool,
    /// Why it is never touched, if so.
    pub held: Option<Held>,
    /// How much it holds.
    pub extent: Extent,
}

/// A rule that keeps a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is never touched.
    Held(Held),
    /// It is from the future.
    Future,
    /// The newest good one.
    Newest,
    /// The newest good one of this day.
    Daily(String),
    /// The newest good one of this week.
    Weekly(String),
    /// The newest good one of this month.
    Monthly(String),
    /// Taken by hand not long ago.
    ByHand,
    /// One of the newest of its group.
    AmongNewest,
    /// A guard or safety copy that is not old.
    Young,
    /// The later one of its day, week or month holds much less.
    FullerThan(BackupId),
    /// There is no good one of this day, week or month.
    OnlyOneOf(String),
    /// It is not good; but there is no good one before, or none after it.
    NoneBetter,
}

impl Rule {
    /// One word, for a narrow column.
    pub fn word(&self) -> &'static str {
        match self {
            Rule::Held(Held::Pinned) => "pinned",
            Rule::Held(Held::StateUnreadable) => "pinned?",
            Rule::Held(Held::NewerFormat) => "newer",
            Rule::Held(Held::Link) => "link",
            Rule::Future => "future",
            Rule::Newest => "newest",
            Rule::Daily(_) => "daily",
            Rule::Weekly(_) => "weekly",
            Rule::Monthly(_) => "monthly",
            Rule::ByHand => "by hand",
            Rule::AmongNewest => "newest 20",
            Rule::Young => "30 days",
            Rule::FullerThan(_) => "fuller",
            Rule::OnlyOneOf(_) => "only one",
            Rule::NoneBetter => "none better",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Held(Held::StateUnreadable) => f.write_str("may be pinned: its state can't be read"),
            Rule::Held(Held::NewerFormat) => f.write_str("of a newer format"),
            Rule::Held(Held::Link) => f.write_str("its archive is a link"),
            Rule::Future => f.write_str("from the future"),
            Rule::Daily(day) => write!(f, "daily {day}"),
            Rule::Weekly(week) => write!(f, "weekly {week}"),
            Rule::Monthly(month) => write!(f, "monthly {month}"),
            Rule::ByHand => f.write_str("by hand within 24 h"),
            Rule::AmongNewest => write!(f, "newest {APART_MIN}"),
            Rule::Young => f.write_str("younger than 30 days"),
            Rule::FullerThan(id) => write!(f, "fuller than {id}"),
            Rule::OnlyOneOf(period) => write!(f, "only one of {period}"),
            Rule::NoneBetter => f.write_str("no good one before and after it"),
            Rule::Held(Held::Pinned) | Rule::Newest => f.write_str(self.word()),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What becomes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep {
        /// Why; never empty.
        rules: Vec<Rule>,
    },
    /// It goes.
    Remove,
}

impl Verdict {
    /// The rule that keeps it longest, in one word; `None` for one that goes.
    pub fn word(&self) -> Option<&'static str> {
        let rules = self.rules();
        let lasting = |rule: &&Rule| matches!(rule, Rule::Daily(_) | Rule::Weekly(_) | Rule::Monthly(_));
        let first = rules.first()?;
        match first {
            Rule::Newest | Rule::Held(_) | Rule::Future => Some(first.word()),
            _ => Some(rules.iter().rev().find(lasting).unwrap_or(first).word()),
        }
    }

    /// The rules that keep it; none for one that goes.
    pub fn rules(&self) -> &[Rule] {
        match self {
            Verdict::Keep { rules } => rules,
            Verdict::Remove => &[],
        }
    }
}

/// The moment from which ages count: that of the newest good backup, as far as it is not in the future.
pub fn reference(known: &[Known], now: Instant) -> Instant {
    let moments = known.iter().filter(|one| one.is_good).map(|one| one.id.moment());
    moments.filter(|moment| *moment <= now).max().unwrap_or(now)
}

/// Chooses the day, the week or the month.
type PeriodOf = fn(Periods) -> String;

/// The rule of that day, week or month.
type RuleOf = fn(String) -> Rule;

/// Judges each backup, in the order in which they are given. At least one good one stays, if there is one.
pub fn judge(known: &[Known], keep: &Keep, now: Instant, zone: &TimeZone) -> Vec<Verdict> {
    let mut rules: Vec<Vec<Rule>> = vec![Vec::new(); known.len()];
    let mut newest_first: Vec<usize> = (0..known.len()).collect();
    newest_first.sort_by(|a, b| known[*b].id.cmp(&known[*a].id));
    let reference = reference(known, now);
    newest_first.retain(|&at| {
        let one = &known[at];
        let apart = one.held.map(Rule::Held).or((one.id.moment() > now).then_some(Rule::Future));
        let free = apart.is_none();
        rules[at].extend(apart);
        free
    });
    let age = |at: usize| reference.0 - known[at].id.moment().0;
    let of = |wanted: &[Group]| -> Vec<usize> {
        newest_first.iter().copied().filter(|&at| wanted.contains(&known[at].group)).collect()
    };

    let ordinary = of(&[Group::Manual, Group::Scheduled]);
    if let Some(&newest) = ordinary.iter().find(|&&at| known[at].is_good) {
        rules[newest].push(Rule::Newest);
    }
    let kinds: [(u32, PeriodOf, RuleOf); 3] = [
        (keep.daily, |periods| periods.day, Rule::Daily),
        (keep.weekly, |periods| periods.week, Rule::Weekly),
        (keep.monthly, |periods| periods.month, Rule::Monthly),
    ];
    for (count, period, rule) in kinds {
        let mut buckets: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for &at in &ordinary {
            buckets.entry(period(clock::periods(known[at].id.moment(), zone))).or_default().push(at);
        }
        fill(known, &buckets, count, rule, &mut rules);
    }
    for &at in ordinary.iter().filter(|&&at| known[at].group == Group::Manual && age(at) < BY_HAND_SECONDS) {
        rules[at].push(Rule::ByHand);
    }
    for group in [Group::Guard, Group::Safety] {
        let mut good = 0;
        for at in of(&[group]) {
            if good < APART_MIN {
                rules[at].push(Rule::AmongNewest);
                good += usize::from(known[at].is_good);
            }
            if age(at) < APART_SECONDS {
                rules[at].push(Rule::Young);
            }
        }
    }
    keep_what_nothing_replaces(known, &newest_first, &mut rules);
    let verdict = |rules: Vec<Rule>| if rules.is_empty() { Verdict::Remove } else { Verdict::Keep { rules } };
    rules.into_iter().map(verdict).collect()
}

/// Keeps the newest good one of the newest `count` periods that have one.
fn fill(
    known: &[Known],
    buckets: &BTreeMap<String, Vec<usize>>,
    count: u32,
    rule: RuleOf,
    rules: &mut [Vec<Rule>],
) {
    let mut filled = 0;
    for (period, members) in buckets.iter().rev() {
        if filled == count {
            break;
        }
        let mut good = members.iter().copied().filter(|&at| known[at].is_good);
        let Some(newest) = good.next() else {
            rules[members[0]].push(Rule::OnlyOneOf(period.clone()));
            continue;
        };
        filled += 1;
        rules[newest].push(rule(period.clone()));
        if let Some(fuller) = good.find(|&at| known[at].extent.is_fuller(&known[newest].extent)) {
            let rule = Rule::FullerThan(known[newest].id.clone());
            if !rules[fuller].contains(&rule) {
                rules[fuller].push(rule);
            }
        }
    }
}

/// Keeps each bad one that has no good one on both sides of it among those that stay.
fn keep_what_nothing_replaces(known: &[Known], free: &[usize], rules: &mut [Vec<Rule>]) {
    let stays =
        |at: &usize| known[*at].is_good && known[*at].group != Group::Safety && !rules[*at].is_empty();
    let kept: Vec<&BackupId> = (0..known.len()).filter(stays).map(|at| &known[at].id).collect();
    let (oldest, newest) = (kept.iter().min().copied(), kept.iter().max().copied());
    let lone: Vec<usize> = free
        .iter()
        .copied()
        .filter(|&at| {
            let id = &known[at].id;
            let between =
                oldest.is_some_and(|oldest| oldest < id) && newest.is_some_and(|newest| id < newest);
            !known[at].is_good && rules[at].is_empty() && !between
        })
        .collect();
    for at in lone {
        rules[at].push(Rule::NoneBetter);
    }
}

#[cfg(test)]
mod tests;
