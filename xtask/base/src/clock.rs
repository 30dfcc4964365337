//! Moments: seconds since 1970, written in UTC for ids and files, typed and shown in local time.

use jiff::civil::{Date, DateTime, Time};
pub use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};
use serde::{Deserialize, Serialize};

/// A moment in whole seconds since 1970 UTC; in JSON as `2025-12-01T12:00:00Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Instant(pub i64);

impl Instant {
    /// Now.
    pub fn now() -> Instant {
        Instant(Timestamp::now().as_second())
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_second(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// `2025-12-01 14:00:00` in local time.
    pub fn local(self) -> String {
        self.timestamp().to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// `2025-12-01T12:00:00Z`.
    pub fn utc(self) -> String {
        self.timestamp().to_string()
    }

    /// How long before `now`, for people: `just now`, `5 min ago`, `3 h ago`, `12 days ago`.
    pub fn ago(self, now: Instant) -> String {
        let seconds = now.0 - self.0;
        match seconds {
            ..=-60 => "in the future".to_owned(),
            -59..=59 => "just now".to_owned(),
            60..=5399 => format!("{} min ago", (seconds + 30) / 60),
            5400..=172_799 => format!("{} h ago", (seconds + 1800) / 3600),
            _ => format!("{} days ago", (seconds + 43_200) / 86_400),
        }
    }
}

impl From<Instant> for String {
    fn from(moment: Instant) -> String {
        moment.utc()
    }
}

impl TryFrom<String> for Instant {
    type Error = String;
    fn try_from(text: String) -> Result<Instant, String> {
        let moment: Timestamp = text.parse().map_err(|e| format!("not a moment: {text:?}: {e}"))?;
        Ok(Instant(moment.as_second()))
    }
}

/// `YYYYMMDD_HHMMSS` in UTC.
pub fn compact_utc(moment: Instant) -> String {
    moment.timestamp().strftime("%Y%m%d_%H%M%S").to_string()
}

/// Reads `YYYYMMDD_HHMMSS` in UTC, and nothing else.
pub fn parse_compact_utc(text: &str) -> Option<Instant> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
    if bytes.len() != 15 || bytes[8] != b'_' || !digits(0..8) || !digits(9..15) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<i16>().ok();
    let small = |range: std::ops::Range<usize>| text[range].parse::<i8>().ok();
    let date = Date::new(number(0..4)?, small(4..6)?, small(6..8)?).ok()?;
    let time = Time::new(small(9..11)?, small(11..13)?, small(13..15)?, 0).ok()?;
    let zoned = DateTime::from_parts(date, time).to_zoned_datetime(TimeZone::UTC).ok()?;
    Some(Instant(zoned.timestamp().as_second()))
}

/// Reads a moment as people type it, in the given zone: `2025-12-01 14:00[:00]`, `2025-12-01` (the end of
/// that day), `2h ago`, `90min ago`, `3 days ago`. `None` when it is none of these.
pub fn parse_typed(text: &str, now: Instant, zone: &TimeZone) -> Option<Instant> {
    let text = text.trim();
    if let Some(amount) = text.strip_suffix("ago") {
        return Some(Instant(now.0.checked_sub(parse_span_seconds(amount.trim())?)?));
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(Instant(moment.as_second()));
    }
    if !text.contains('-') {
        return None; // `20251201` is the beginning of an id
    }
    let zoned: ZonedDateTime = match text.parse::<DateTime>() {
        Ok(at) if text.len() > 10 => at.to_zoned_datetime(zone.clone()).ok()?,
        _ => {
            let date: Date = text.parse().ok()?;
            let next_day = date.checked_add(1.day()).ok()?.to_zoned_datetime(zone.clone()).ok()?;
            return Some(Instant(next_day.timestamp().as_second() - 1));
        }
    };
    Some(Instant(zoned.timestamp().as_second()))
}

/// Reads a length of time as people type it (`26h`, `90 min`, `3 days`, `2w`), in seconds.
pub fn parse_span_seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let amount: i64 = text[..split].parse().ok()?;
    let unit = match text[split..].trim() {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    };
    amount.checked_mul(unit)
}

/// The day, the week and the month that a moment is in, as people name them. Each is ordered as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Periods {
    /// `2025-12-01`.
    pub day: String,
    /// `2025-W49`: the week of ISO 8601, with the year that it belongs to.
    pub week: String,
    /// `2025-12`.
    pub month: String,
}

/// In which day, week and month a moment is, in the given zone.
pub fn periods(moment: Instant, zone: &TimeZone) -> Periods {
    let date = moment.timestamp().to_zoned_datetime(zone.clone()).date();
    let week = date.iso_week_date();
    Periods {
        day: date.to_string(),
        week: format!("{:04}-W{:02}", week.year(), week.week()),
        month: format!("{:04}-{:02}", date.year(), date.month()),
    }
}

/// The zone of this machine.
pub fn local_zone() -> TimeZone {
    TimeZone::system()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_times_are_local_and_a_date_is_its_end() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now = parse_compact_utc("20251201_120000").unwrap();
        let cases = [
            ("2025-12-01 14:00", "20251201_120000"),
            ("2025-12-01T14:00:30", "20251201_120030"),
            ("2025-12-01", "20251201_215959"),
            ("2h ago", "20251201_100000"),
            ("90 min ago", "20251201_103000"),
            ("3 days ago", "20251128_120000"),
            ("2025-12-01T14:00:00Z", "20251201_140000"),
        ];
        for (typed, compact) in cases {
            let parsed = parse_typed(typed, now, &zone).map(compact_utc);
            assert_eq!(parsed.as_deref(), Some(compact), "{typed}");
        }
        for wrong in ["", "yesterday-ish", "2025-13-01", "ago", "h ago", "20251201", "-2h ago", "latest"] {
            assert_eq!(parse_typed(wrong, now, &zone), None, "{wrong}");
        }
    }

    #[test]
    fn a_week_belongs_to_the_year_of_its_thursday() {
        let utc = TimeZone::UTC;
        let of = |compact: &str, zone: &TimeZone| {
            let periods = periods(parse_compact_utc(compact).unwrap(), zone);
            [periods.day, periods.week, periods.month]
        };
        assert_eq!(of("20251231_120000", &utc), ["2025-12-31", "2026-W01", "2025-12"]);
        assert_eq!(of("20210103_120000", &utc), ["2021-01-03", "2020-W53", "2021-01"]);
        assert_eq!(of("20210104_120000", &utc), ["2021-01-04", "2021-W01", "2021-01"]);
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(of("20251231_233000", &east), ["2026-01-01", "2026-W01", "2026-01"]);
    }

    #[test]
    fn json_is_utc() {
        let moment = parse_compact_utc("20251201_120000").unwrap();
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(json, "\"2025-12-01T12:00:00Z\"");
        assert_eq!(serde_json::from_str::<Instant>(&json).unwrap(), moment);
    }
}
