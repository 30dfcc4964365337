//! The same work on many pieces, on all cores, with the results in the order of the pieces. Flat memory: a
//! few pieces per core are under way at once. And a few works beside each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};

/// How many threads work at once.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(16)
}

/// Calls `work` on every piece, each thread with a state of its own from `state`, and `take` on every result
/// in the order of the pieces, on the calling thread. Ends early with the first error of `take`.
///
/// # Errors
/// The first error of `take`.
pub fn ordered<T: Send, S, R: Send>(
    pieces: impl Iterator<Item = T> + Send,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) -> R + Sync,
    take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    ordered_on(workers(), pieces, state, work, take)
}

fn ordered_on<T: Send, S, R: Send>(
    threads: usize,
    pieces: impl Iterator<Item = T> + Send,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let source = Mutex::new(pieces.enumerate());
    std::thread::scope(|scope| {
        let (results, queue) = sync_channel::<(usize, R)>(2 * threads);
        for _ in 0..threads {
            let (results, source, state, work) = (results.clone(), &source, &state, &work);
            scope.spawn(move || {
                let mut own = state();
                loop {
                    let next = source.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((number, piece)) = next else { return };
                    // The receiver is gone once `take` has failed.
                    if results.send((number, work(&mut own, piece))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let (mut waiting, mut next) = (BTreeMap::new(), 0);
        for (number, result) in &queue {
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&next) {
                next += 1;
                take(result)?;
            }
        }
        Ok(())
    })
}

/// Works on a few large pieces, at most `most` of them at once and never more than there are cores; the results
/// are in the order of the pieces. Once one has failed no other is begun, and those that are under way are waited for.
///
/// # Errors
/// The first error in the order of the pieces.
pub fn side_by_side<T: Send, R: Send>(
    most: usize,
    pieces: Vec<T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let failed = AtomicBool::new(false);
    let until_failure = pieces.into_iter().take_while(|_| !failed.load(Ordering::Relaxed));
    let work = |(): &mut (), piece| {
        let result = work(piece);
        failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    };
    let mut results = Vec::new();
    ordered_on(
        workers().min(most).max(1),
        until_failure,
        || (),
        work,
        |result| {
            results.push(result?);
            Ok(())
        },
    )?;
    Ok(results)
}

/// Does both, `other` on a thread of its own, and waits for both.
///
/// # Errors
/// When the thread panicked.
pub fn both<A, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        Ok((one, other.join().map_err(|_| anyhow!("a thread panicked"))?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn both_are_done() {
        let (here, there) = both(|| std::thread::current().id(), || std::thread::current().id()).unwrap();
        assert!(here == std::thread::current().id() && there != here);
    }

    #[test]
    fn few_large_pieces_keep_their_order_and_the_first_error_counts() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |n: u64| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20 - n));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(n)
        };
        assert_eq!(side_by_side(2, (0..8).collect(), work).unwrap(), (0..8).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= 2);
        let begun = AtomicUsize::new(0);
        let fails = |n: u64| -> Result<()> {
            begun.fetch_add(1, Ordering::SeqCst);
            anyhow::bail!("{n}");
        };
        assert_eq!(side_by_side(2, (0..100).collect(), fails).unwrap_err().to_string(), "0");
        assert!(begun.load(Ordering::SeqCst) <= 4, "{begun:?}");
        assert_eq!(side_by_side(2, Vec::new(), fails).unwrap(), Vec::new());
    }

    #[test]
    fn results_come_in_order_and_an_error_ends_it() {
        let mut seen = Vec::new();
        let keep = |n| {
            seen.push(n);
            Ok(())
        };
        ordered(0..1000, || (), |(), n| n * 2, keep).unwrap();
        assert_eq!(seen, (0..1000).map(|n| n * 2).collect::<Vec<_>>());
        let stop = |n| if n == 7 { anyhow::bail!("seven") } else { Ok(()) };
        assert!(ordered(0..1_000_000, || (), |(), n| n, stop).is_err());
    }
}
