//! Ranges of rowids: what is left of some when others are taken away, and how many they are. Pure.

/// From the first to the last, both included.
pub type Range = (i64, i64);

/// In order, and joined where they touch or overlap.
pub fn united(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.retain(|(low, high)| low <= high);
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::new();
    for (low, high) in ranges {
        match out.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => out.push((low, high)),
        }
    }
    out
}

/// What is left of some ranges when others are taken away.
pub fn without(ranges: Vec<Range>, taken: Vec<Range>) -> Vec<Range> {
    let taken = united(taken);
    let mut out = Vec::new();
    for (low, high) in united(ranges) {
        let mut low = Some(low);
        let first = taken.partition_point(|(_, end)| Some(*end) < low);
        for (from, to) in &taken[first..] {
            let Some(start) = low else { break };
            if *from > high {
                break;
            }
            if *from > start {
                out.push((start, from - 1));
            }
            low = to.checked_add(1).filter(|next| *next <= high);
        }
        out.extend(low.map(|low| (low, high)));
    }
    out
}

/// How many rowids a range has.
pub fn length(range: Range) -> u128 {
    u128::try_from(i128::from(range.1) - i128::from(range.0) + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_taken_away() {
        assert_eq!(united(vec![(5, 9), (1, 2), (3, 4), (20, 30), (25, 26), (7, 6)]), [(1, 9), (20, 30)]);
        assert_eq!(without(vec![(1, 10)], vec![(3, 4), (10, 20)]), [(1, 2), (5, 9)]);
        assert_eq!(without(vec![(1, 10), (20, 30)], vec![(0, 40)]), []);
        assert_eq!(without(vec![(1, 10)], vec![]), [(1, 10)]);
        let all = (i64::MIN, i64::MAX);
        assert_eq!(without(vec![all], vec![(0, 0)]), [(i64::MIN, -1), (1, i64::MAX)]);
        assert_eq!(without(vec![all], vec![all]), []);
        assert_eq!(length(all), 1 << 64);
    }

    /// Against the same done number by number.
    #[test]
    fn taking_away_is_the_same_number_by_number() {
        let mut seed = 9_u64;
        let mut roll = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            ((seed >> 20) % below) as i64
        };
        for _ in 0..2000 {
            let mut some = |many: u64| -> Vec<Range> {
                (0..many)
                    .map(|_| {
                        let low = roll(40);
                        (low, low + roll(8))
                    })
                    .collect()
            };
            let (a, b) = (some(4), some(5));
            let has = |ranges: &[Range], n: i64| ranges.iter().any(|(low, high)| *low <= n && n <= *high);
            let left = without(a.clone(), b.clone());
            for n in -1..60 {
                assert_eq!(has(&left, n), has(&a, n) && !has(&b, n), "{a:?} {b:?} {n}");
            }
        }
    }
}
