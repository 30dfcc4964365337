//! How much a dump may cost, held against what it has used so far. What a dump is made of is fixed (`rules`,
//! `row`), but the tables that it makes can have generated columns, defaults and indexes on expressions, and those run.
//!
//! Honest dumps are far below these limits, on slow machines, too: processor time counts, not time of day, and
//! it grows with the bytes of the dump. SQLite asks between its steps; a single step that takes too long (two
//! huge values compared in a function) is left behind by `load`, which watches from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::base::{interrupt, usage};

/// SQLite asks after so many steps.
pub const STEPS: i32 = 10;

/// While values are short, only every so many questions need an answer.
const QUESTIONS: u64 = 20;

/// What one statement may take, however short it is.
const STATEMENT: Duration = Duration::from_secs(2);

/// What a whole dump may take, however short it is.
const TOTAL: Duration = Duration::from_secs(5);

/// Nanoseconds for each byte of a statement, of the whole dump, and for each byte that an index goes over. The
/// shortest rows take 40 on a machine of 2024, more with keys in no order, and an index over them 10; machines that
/// are twenty times as slow are still welcome.
const PER_BYTE: u64 = 1000;
const PER_BYTE_OF_ALL: u64 = 4000;
const PER_INDEXED_BYTE: u64 = 200;

/// So many indexes over everything that was loaded are paid for at most.
const INDEXES_MAX: u64 = 32;

/// Values may be so many times as long as the longest row: what is computed grows, and so does UTF-16.
const VALUE_FACTOR: u64 = 8;

/// And so much longer than that, where little is computed at once.
const VALUE_MORE: u64 = 64 << 10;

/// Where much is computed at once, all of it together is so large at most: for short rows, and for long ones.
/// SQLite does not ask between steps that follow each other without a jump, so this is what bounds memory there.
const COMPUTED_SHORT: u64 = 32 << 20;
const COMPUTED_LONG: u64 = 1 << 30;

/// What SQLite takes at most.
pub const VALUE_MAX: i32 = 1_000_000_000;

/// What was used, and what may be. Shared with SQLite's question between its steps.
#[derive(Default)]
pub struct Meter {
    /// Processor time of the loading thread when the dump began, in nanoseconds.
    begun: AtomicU64,
    /// The processor time at which the running statement has had its share, in nanoseconds.
    until: AtomicU64,
    /// Bytes of the dump that were begun.
    bytes: AtomicU64,
    /// Bytes that indexes went over.
    indexed: AtomicU64,
    /// The longest row so far.
    longest: AtomicU64,
    questions: AtomicU64,
    /// Whether the time was up.
    over: AtomicBool,
}

/// What is said of a statement that takes too long.
pub const TOO_LONG: &str = "it takes far longer than the rows of a dump can need";

/// How long a statement of so many bytes may take, with an index that goes over `indexed` bytes.
pub fn share(bytes: u64, indexed: u64) -> Duration {
    STATEMENT + Duration::from_nanos(bytes * PER_BYTE + indexed * PER_INDEXED_BYTE)
}

/// How long a dump may have taken that got so far.
fn share_of_all(bytes: u64, indexed: u64) -> Duration {
    TOTAL + Duration::from_nanos(bytes * PER_BYTE_OF_ALL + indexed * PER_INDEXED_BYTE)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Meter {
    /// A meter that begins now, on the loading thread.
    pub fn start() -> Meter {
        let meter = Meter::default();
        meter.begun.store(nanos(usage::of_thread()), Ordering::Relaxed);
        meter
    }

    /// Gives rows that come now their share: so many bytes of the dump, the longest of them `longest` bytes.
    ///
    /// # Errors
    /// When the dump has used up its time.
    pub fn begin_rows(&self, bytes: usize, longest: usize) -> Result<()> {
        self.longest.fetch_max(longest as u64, Ordering::Relaxed);
        self.begin(bytes as u64, 0)
    }

    /// Gives a statement that is no row its share.
    ///
    /// # Errors
    /// When the dump has used up its time.
    pub fn begin_other(&self, bytes: usize, is_index: bool) -> Result<()> {
        let bytes = bytes as u64;
        let over = if is_index { self.bytes.load(Ordering::Relaxed) } else { 0 };
        self.begin(bytes, over)
    }

    fn begin(&self, bytes: u64, over: u64) -> Result<()> {
        let bytes_so_far = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let paid = self.indexed.load(Ordering::Relaxed) + over;
        let indexed = paid.min(INDEXES_MAX * bytes_so_far);
        self.indexed.store(indexed, Ordering::Relaxed);
        let now = usage::of_thread();
        let all = self.begun.load(Ordering::Relaxed) + nanos(share_of_all(bytes_so_far, indexed));
        self.until.store(all.min(nanos(now + share(bytes, over))), Ordering::Relaxed);
        ensure!(nanos(now) < all, "the dump up to here: {TOO_LONG}");
        Ok(())
    }

    /// How long a value may be, in bytes, where at most `computed` values are computed at once.
    pub fn value_max(&self, computed: u64) -> i32 {
        let longest = VALUE_FACTOR * self.longest.load(Ordering::Relaxed);
        let limit = match computed {
            0 => longest + VALUE_MORE,
            _ => {
                let more = (COMPUTED_SHORT / computed).clamp(1 << 10, VALUE_MORE);
                (longest + more).min((COMPUTED_LONG / computed).max(1 << 10))
            }
        };
        i32::try_from(limit).unwrap_or(VALUE_MAX).min(VALUE_MAX)
    }

    /// SQLite's question between its steps: whether to stop.
    pub fn is_over(&self) -> bool {
        let asked = self.questions.fetch_add(1, Ordering::Relaxed);
        if self.longest.load(Ordering::Relaxed) < 1 << 18 && !asked.is_multiple_of(QUESTIONS) {
            return false;
        }
        if interrupt::check().is_err() {
            return true;
        }
        let over = nanos(usage::of_thread()) > self.until.load(Ordering::Relaxed);
        self.over.fetch_or(over, Ordering::Relaxed);
        over
    }

    /// Whether a statement was stopped because its time was up.
    pub fn was_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_with_the_dump_and_not_with_the_number_of_indexes() {
        assert_eq!(share(0, 0), STATEMENT);
        assert_eq!(share(1 << 20, 0), STATEMENT + Duration::from_nanos(1_048_576_000));
        let meter = Meter::start();
        for (bytes, longest) in [(1000, 1000), (1000, 900), (2000, 1000)] {
            meter.begin_rows(bytes, longest).unwrap();
            assert_eq!(meter.value_max(0), 8000 + 65_536);
        }
        for _ in 0..1000 {
            meter.begin_other(0, true).unwrap();
        }
        assert_eq!(meter.indexed.load(Ordering::Relaxed), INDEXES_MAX * 4000);
    }

    #[test]
    fn much_that_is_computed_at_once_is_short() {
        let meter = Meter::start();
        meter.begin_rows(1000, 1000).unwrap();
        assert_eq!(meter.value_max(1), 8000 + 65_536);
        assert_eq!(meter.value_max(1000), 8000 + 33_554);
        assert_eq!(meter.value_max(1_000_000), 1073);
        meter.begin_rows(20_000_000, 20_000_000).unwrap();
        assert_eq!(meter.value_max(5), 160_065_536);
        assert_eq!(meter.value_max(100), 10_737_418);
        meter.begin_rows(500_000_000, 500_000_000).unwrap();
        assert_eq!(meter.value_max(0), 1_000_000_000);
    }

    #[test]
    fn whoever_takes_too_long_is_stopped() {
        let meter = Meter::start();
        meter.begin_rows(10, 10).unwrap();
        assert!((0..500).all(|_| !meter.is_over()) && !meter.was_over());
        meter.until.store(1, Ordering::Relaxed);
        assert!((0..500).any(|_| meter.is_over()));
        assert!(meter.was_over());
    }
}
