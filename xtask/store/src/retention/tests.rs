//! Four hundred simulated days against tables worked out by hand, each rule by itself, and what must hold
//! whatever happens.

use super::*;
use crate::base::clock::parse_compact_utc;

const DAY: i64 = 86_400;

fn id(text: &str) -> BackupId {
    text.parse().unwrap()
}

/// A moment from `2025-12-01` and an hour of UTC.
fn at(day: &str, hour: i64) -> Instant {
    let midnight = parse_compact_utc(&format!("{}_000000", day.replace('-', ""))).unwrap();
    Instant(midnight.0 + hour * 3600)
}

fn good(id: BackupId) -> Known {
    let extent = Extent { databases: 2, rows: 8000, files: 600 };
    Known { id, group: Group::Scheduled, is_good: true, held: None, extent }
}

fn bad(id: BackupId) -> Known {
    Known { is_good: false, ..good(id) }
}

/// A store through which time goes: each backup is followed by a rotation.
#[derive(Default)]
struct Simulation {
    known: Vec<Known>,
    keep: Keep,
}

impl Simulation {
    fn backup(&mut self, known: Known, now: Instant) {
        self.known.push(known);
        self.rotate(now);
    }

    fn rotate(&mut self, now: Instant) {
        let verdicts = judge(&self.known, &self.keep, now, &TimeZone::UTC);
        let mut verdicts = verdicts.iter();
        self.known.retain(|_| *verdicts.next().unwrap() != Verdict::Remove);
    }

    /// Backups at these hours of each wanted day, `days` days long, the last of them `last`.
    fn days(&mut self, last: &str, days: i64, hours: &[i64], wanted: &dyn Fn(Instant) -> bool) {
        let end = at(last, 0).0;
        for midnight in (0..days).rev().map(|back| Instant(end - back * DAY)).filter(|day| wanted(*day)) {
            for hour in hours {
                let now = Instant(midnight.0 + hour * 3600);
                self.backup(good(BackupId::new(now, 1)), now);
            }
        }
    }

    /// The days that are left, newest first; with the hour where it is not noon.
    fn left(&self) -> Vec<String> {
        let mut ids: Vec<&BackupId> = self.known.iter().map(|known| &known.id).collect();
        ids.sort();
        let day = |id: &BackupId| {
            let text = id.to_string();
            let hour = if &text[9..11] == "12" { String::new() } else { format!(" {}", &text[9..11]) };
            format!("{}-{}-{}{hour}", &text[..4], &text[4..6], &text[6..8])
        };
        ids.into_iter().rev().map(day).collect()
    }
}

/// Days of a table, newest first: `2025-12-31 30 29 | 11-30 | 2024-12-31`. A year and a month stay what they
/// are until another one is written.
fn table(text: &str) -> Vec<String> {
    let (mut year, mut month) = (String::new(), String::new());
    let words = text.split_whitespace().filter(|word| *word != "|");
    words
        .map(|word| {
            let parts: Vec<&str> = word.split('-').collect();
            if let [.., m, _] = parts[..] {
                month = m.to_owned();
            }
            if let [y, ..] = parts[..]
                && parts.len() == 3
            {
                year = y.to_owned();
            }
            format!("{year}-{month}-{}", parts[parts.len() - 1])
        })
        .collect()
}

fn weekday(day: Instant) -> i64 {
    // 1970-01-01 was a Thursday; Monday is 0.
    (day.0 / DAY + 3) % 7
}

#[test]
fn daily() {
    let mut simulation = Simulation::default();
    simulation.days("2025-12-31", 400, &[12], &|_| true);
    // Seven days; the Sundays that end the weeks 52, 51 and 50; the last days of eleven earlier months.
    let expected = "2025-12-31 30 29 28 27 26 25 | 21 14 | 11-30 10-31 09-30 08-31 07-31 06-30 05-31 04-30 \
                    03-31 02-28 01-31";
    assert_eq!(simulation.left(), table(expected));
}

#[test]
fn on_weekdays_only() {
    let mut simulation = Simulation::default();
    simulation.days("2025-12-31", 400, &[12], &|day| weekday(day) < 5);
    // Days, weeks and months end with the last weekday in them: Fridays 26, 19, 12 December, 28 November.
    let expected = "2025-12-31 30 29 26 25 24 23 | 19 12 | 11-28 10-31 09-30 08-29 07-31 06-30 05-30 04-30 \
                    03-31 02-28 01-31";
    assert_eq!(simulation.left(), table(expected));
}

#[test]
fn twice_a_day() {
    let mut simulation = Simulation::default();
    simulation.days("2025-12-31", 400, &[6, 12], &|_| true);
    // The later one of each day; as many as with one a day.
    let expected = "2025-12-31 30 29 28 27 26 25 | 21 14 | 11-30 10-31 09-30 08-31 07-31 06-30 05-31 04-30 \
                    03-31 02-28 01-31";
    assert_eq!(simulation.left(), table(expected));
}

#[test]
fn gaps_of_nine_days_and_of_two_months() {
    let in_a_gap = |day: Instant| {
        let within = |from: &str, to: &str| at(from, 0) <= day && day <= at(to, 0);
        within("2025-07-01", "2025-08-31") || within("2025-12-15", "2025-12-23")
    };
    let mut simulation = Simulation::default();
    simulation.days("2025-12-24", 393, &[12], &|day| !in_a_gap(day));
    // Right after the nine days: the week 51 (15 to 21 December) has none, so the weeks 52, 50, 49 and 48
    // count; July and August have none, so twelve months reach back to November of the year before.
    let expected = "2025-12-24 14 13 12 11 10 09 | 07 | 11-30 | 10-31 09-30 06-30 05-31 04-30 03-31 02-28 \
                    01-31 2024-12-31 2024-11-30";
    assert_eq!(simulation.left(), table(expected));
    simulation.days("2025-12-31", 7, &[12], &|_| true);
    // The weeks 1 of 2026, 52, 50 and 49.
    let expected = "2025-12-31 30 29 28 27 26 25 | 14 07 | 11-30 10-31 09-30 06-30 05-31 04-30 03-31 02-28 \
                    01-31 2024-12-31 2024-11-30";
    assert_eq!(simulation.left(), table(expected));
}

#[test]
fn a_clock_set_back_and_right_again() {
    let mut simulation = Simulation::default();
    simulation.days("2025-12-31", 400, &[12], &|_| true);
    // Half a year back, for five days: what is from the future now stays, all of it.
    simulation.days("2025-06-19", 5, &[12], &|_| true);
    let expected = "2025-12-31 30 29 28 27 26 25 21 14 11-30 10-31 09-30 08-31 07-31 06-30 \
                    | 06-19 18 17 16 15 | 05-31 04-30 03-31 02-28 01-31";
    assert_eq!(simulation.left(), table(expected));
    // Right again: the five days are long past, and cost none of the others its place. The weeks 2 and 1 of
    // 2026 end with what there is of them; January takes the place of the January before.
    simulation.days("2026-01-10", 5, &[12], &|_| true);
    let expected = "2026-01-10 09 08 07 06 | 2025-12-31 30 28 21 11-30 10-31 09-30 08-31 07-31 06-30 05-31 \
                    04-30 03-31 02-28";
    assert_eq!(simulation.left(), table(expected));
}

#[test]
fn one_backup_from_a_clock_that_was_ahead() {
    let mut simulation = Simulation::default();
    simulation.days("2025-12-30", 399, &[12], &|_| true);
    simulation.backup(good(id("20361224_120000")), at("2036-12-24", 12));
    simulation.days("2025-12-31", 1, &[12], &|_| true);
    // When it was taken, nobody could know that its time was wrong: it took the place of one day, one week
    // (14 December went) and one month (31 January went). Now it takes none any more.
    let expected = "2036-12-24 2025-12-31 30 29 28 27 26 25 | 21 | 11-30 10-31 09-30 08-31 07-31 06-30 \
                    05-31 04-30 03-31 02-28";
    assert_eq!(simulation.left(), table(expected));
}

#[test]
fn iso_week_53() {
    let mut simulation = Simulation::default();
    simulation.days("2021-01-10", 400, &[12], &|_| true);
    // Weeks that end on 10 January (1), 3 January (53 of 2020), 27 December (52) and 20 December (51).
    let expected = "2021-01-10 09 08 07 06 05 04 | 03 | 2020-12-31 27 20 | 11-30 10-31 09-30 08-31 07-31 \
                    06-30 05-31 04-30 03-31 02-29";
    assert_eq!(simulation.left(), table(expected));
}

/// The verdict of each id, as words.
fn words(known: &[Known], keep: Keep, now: &str) -> Vec<(String, String)> {
    let verdicts = judge(known, &keep, parse_compact_utc(now).unwrap(), &TimeZone::UTC);
    let shown = |verdict: &Verdict| {
        let rules: Vec<String> = verdict.rules().iter().map(ToString::to_string).collect();
        if rules.is_empty() { "goes".to_owned() } else { rules.join(", ") }
    };
    known.iter().zip(&verdicts).map(|(one, verdict)| (one.id.to_string(), shown(verdict))).collect()
}

#[track_caller]
fn expect(known: &[Known], keep: Keep, now: &str, expected: &[&str]) {
    let found = words(known, keep, now);
    let found: Vec<&str> = found.iter().map(|(_, words)| words.as_str()).collect();
    assert_eq!(found, expected);
}

const ONE: Keep = Keep { daily: 1, weekly: 1, monthly: 1 };
const NONE: Keep = Keep { daily: 0, weekly: 0, monthly: 0 };

#[test]
fn each_is_told_all_its_rules() {
    let known = [good(id("20251201_120000")), good(id("20251202_120000")), good(id("20251202_120000-2"))];
    let all = "newest, daily 2025-12-02, weekly 2025-W49, monthly 2025-12";
    expect(&known, ONE, "20251203_000000", &["goes", "goes", all]);
    expect(&known, Keep::default(), "20251203_000000", &["daily 2025-12-01", "goes", all]);
    expect(&known, NONE, "20251203_000000", &["goes", "goes", "newest"]);
    assert!(judge(&[], &NONE, Instant(0), &TimeZone::UTC).is_empty());
}

#[test]
fn a_day_is_one_of_the_zone() {
    let known = [good(id("20251201_220000")), good(id("20251201_230000"))];
    let two_days = Keep { daily: 2, ..NONE };
    let count = |zone: &str| {
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let verdicts = judge(&known, &two_days, at("2025-12-03", 0), &zone);
        verdicts.iter().filter(|verdict| **verdict != Verdict::Remove).count()
    };
    assert_eq!((count("Etc/UTC"), count("Etc/GMT-1")), (1, 2));
}

#[test]
fn a_bad_one_never_takes_the_place_of_a_good_one() {
    // Nine days without a backup, then one of an emptied database (a table of the old scripts).
    let known = [
        good(id("20251120_120000")),
        good(id("20251121_120000")),
        good(id("20251122_120000")),
        bad(id("20251201_120000")),
    ];
    let newest = "newest, daily 2025-11-22, weekly 2025-W47, monthly 2025-11";
    let only = "only one of 2025-12-01, only one of 2025-W49, only one of 2025-12";
    expect(&known, ONE, "20251201_120001", &["goes", "goes", newest, only]);
    // Several bad ones of a day, between good ones: the newest stays as its witness, until the day is too old.
    let known = [
        good(id("20251120_120000")),
        bad(id("20251121_120000")),
        bad(id("20251121_130000")),
        good(id("20251122_120000")),
    ];
    let keep = |daily| Keep { daily, ..NONE };
    let newest = "newest, daily 2025-11-22";
    let first = "daily 2025-11-20";
    expect(&known, keep(2), "20251123_000000", &[first, "goes", "only one of 2025-11-21", newest]);
    expect(
        &known,
        keep(1),
        "20251123_000000",
        &["goes", "no good one before and after it", "no good one before and after it", newest],
    );
}

#[test]
fn where_nothing_is_good_everything_stays() {
    let known: Vec<Known> = (10..30).map(|day| bad(id(&format!("202511{day}_120000")))).collect();
    let verdicts = judge(&known, &NONE, at("2025-12-01", 0), &TimeZone::UTC);
    assert!(verdicts.iter().all(|verdict| *verdict != Verdict::Remove));
}

#[test]
fn what_is_held_is_apart() {
    let held = |text: &str, held| Known { held: Some(held), ..good(id(text)) };
    let known = [
        held("20251120_120000", Held::Pinned),
        held("20251121_120000", Held::StateUnreadable),
        held("20251122_120000", Held::NewerFormat),
        held("20251123_120000", Held::Link),
        good(id("20251123_130000")),
        held("20251123_140000", Held::Pinned),
    ];
    let expected = [
        "pinned",
        "may be pinned: its state can't be read",
        "of a newer format",
        "its archive is a link",
        "newest",
        "pinned",
    ];
    expect(&known, NONE, "20251124_000000", &expected);
}

#[test]
fn what_lost_much_does_not_displace_what_has_it() {
    let rows = |text: &str, rows| {
        let mut known = good(id(text));
        known.extent.rows = rows;
        known
    };
    let known = [
        rows("20251201_080000", 7900),
        rows("20251201_090000", 8000),
        rows("20251201_100000", 10),
        rows("20251201_110000", 12),
        rows("20251202_080000", 12),
    ];
    let day = Keep { daily: 2, ..NONE };
    let last = "newest, daily 2025-12-02";
    let fuller = "fuller than 20251201_110000";
    expect(&known, day, "20251203_000000", &["goes", fuller, "goes", "daily 2025-12-01", last]);
    // Nor in the week, when the day is too old to count.
    let week = Keep { weekly: 1, ..NONE };
    let last = "newest, weekly 2025-W49";
    expect(&known, week, "20251203_000000", &["goes", "fuller than 20251202_080000", "goes", "goes", last]);
    for (before, after, is_fuller) in [
        ((2, 8000, 600), (2, 4000, 300), false),
        ((2, 8000, 600), (2, 3999, 600), true),
        ((2, 8000, 600), (2, 8000, 299), true),
        ((2, 8000, 600), (1, 8000, 600), true),
        ((1, 1, 0), (1, 0, 0), true),
        ((0, 0, 0), (0, 0, 0), false),
        ((1, u64::MAX, u64::MAX), (1, u64::MAX, u64::MAX), false),
    ] {
        let extent = |(databases, rows, files)| Extent { databases, rows, files };
        assert_eq!(extent(before).is_fuller(&extent(after)), is_fuller, "{before:?} {after:?}");
    }
}

#[test]
fn what_was_taken_by_hand_stays_for_a_day() {
    let manual = |text: &str| Known { group: Group::Manual, ..good(id(text)) };
    let known = [manual("20251201_120000"), manual("20251201_120001"), manual("20251202_120000")];
    let newest = "newest, by hand within 24 h";
    expect(&known, NONE, "20260101_000000", &["goes", "by hand within 24 h", newest]);
}

#[test]
fn guards_and_safety_copies_have_rules_of_their_own() {
    for group in [Group::Guard, Group::Safety] {
        let of = |minute: usize, day: &str, is_good| Known {
            group,
            is_good,
            ..good(id(&format!("{day}_12{minute:02}00")))
        };
        let mut known: Vec<Known> = (0..25).map(|minute| of(minute, "20250601", minute != 24)).collect();
        known.extend((0..3).map(|minute| of(minute, "20251115", true)));
        known.push(good(id("20251201_120000")));
        let verdicts = judge(&known, &ONE, at("2025-12-01", 13), &TimeZone::UTC);
        let kept: Vec<bool> = verdicts.iter().map(|verdict| *verdict != Verdict::Remove).collect();
        // Three young ones, and of the old ones the 17 newest good ones and the bad one before them.
        let expected: Vec<bool> = (0..29).map(|n| n >= 7).collect();
        assert_eq!(kept, expected, "{group:?}");
        assert_eq!(verdicts[25].rules(), [Rule::AmongNewest, Rule::Young]);
        // They are in nobody's way: the ordinary one has its own day, week and month.
        assert_eq!(verdicts[28].rules().len(), 4);
    }
    // Where no backup was taken for long, nothing got older.
    let safety = |day: u32| Known { group: Group::Safety, ..good(id(&format!("202506{day:02}_120000"))) };
    let known: Vec<Known> = (1..31).map(safety).chain([good(id("20250630_130000"))]).collect();
    let verdicts = judge(&known, &ONE, at("2026-06-01", 0), &TimeZone::UTC);
    assert!(verdicts.iter().all(|verdict| *verdict != Verdict::Remove));
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn whatever_happens_a_good_one_stays_and_no_bad_one_costs_a_good_one_its_place() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut removed, mut bad_ones) = (0, 0);
    for _ in 0..300 {
        let mut count = || u32::try_from(dice.below(4)).unwrap();
        let mut simulation = Simulation {
            keep: Keep { daily: count(), weekly: count(), monthly: count() },
            known: Vec::new(),
        };
        let mut now = Instant(1_750_000_000);
        for _ in 0..80 {
            now = match dice.below(20) {
                0 => Instant(now.0 - 200 * DAY),
                1 => Instant(now.0 + 200 * DAY),
                2 => Instant(now.0 + 40 * DAY),
                _ => Instant(now.0 + i64::try_from(dice.below(3 * 86_400)).unwrap()),
            };
            let group = [Group::Manual, Group::Scheduled, Group::Scheduled, Group::Guard, Group::Safety];
            let group = group[usize::try_from(dice.below(5)).unwrap()];
            let extent = Extent { databases: 1, rows: dice.below(5), files: 10 };
            let held = (dice.below(15) == 0).then_some(Held::Pinned);
            let is_good = dice.below(3) > 0;
            bad_ones += usize::from(!is_good);
            let new = BackupId::new(now, 1);
            if simulation.known.iter().all(|one| one.id != new) {
                simulation.known.push(Known { id: new, group, is_good, held, extent });
            }
            // Damage is found, and damaged ones are brought back.
            if let Some(at) = dice.below(10).checked_sub(7).map(|at| usize::try_from(at).unwrap())
                && at < simulation.known.len()
            {
                simulation.known[at].is_good ^= true;
            }
            let before = simulation.known.clone();
            let verdicts = judge(&before, &simulation.keep, now, &TimeZone::UTC);
            simulation.rotate(now);
            let any_good = |known: &[Known]| known.iter().any(|one| one.is_good);
            assert_eq!(any_good(&before), any_good(&simulation.known));
            removed += before.len() - simulation.known.len();
            for (one, verdict) in before.iter().zip(&verdicts) {
                assert!(one.held.is_none() || *verdict != Verdict::Remove);
                assert!(*verdict != (Verdict::Keep { rules: Vec::new() }));
            }
            // Without the bad ones the good ones have the same verdicts.
            let alone: Vec<Known> = before.iter().filter(|one| one.is_good).cloned().collect();
            let of_the_good = before.iter().zip(&verdicts).filter(|(one, _)| one.is_good);
            let of_the_good: Vec<Verdict> = of_the_good.map(|(_, verdict)| verdict.clone()).collect();
            if !alone.is_empty() {
                assert_eq!(judge(&alone, &simulation.keep, now, &TimeZone::UTC), of_the_good);
            }
            // A second rotation finds nothing to do.
            let settled = simulation.known.len();
            simulation.rotate(now);
            assert_eq!(simulation.known.len(), settled);
        }
    }
    assert!(removed > 5000 && bad_ones > 5000, "{removed} {bad_ones}");
}
