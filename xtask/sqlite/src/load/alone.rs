//! Where several dumps are loaded at once, one of them has a long statement in memory. What is said of the memory of
//! one holds for all together.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use anyhow::Result;

use crate::base::interrupt;

static ALONE: Mutex<()> = Mutex::new(());

/// How often to look whether the other one is done.
const LOOK: Duration = Duration::from_millis(10);

/// As long as it lives, nobody else has large values in memory.
#[must_use]
pub struct Alone {
    _held: MutexGuard<'static, ()>,
}

/// Waits until nobody else has large values in memory.
///
/// # Errors
/// When the user stops the run.
pub fn alone() -> Result<Alone> {
    loop {
        interrupt::check()?;
        match ALONE.try_lock() {
            Ok(held) => return Ok(Alone { _held: held }),
            // There is nothing in it that could be wrong.
            Err(TryLockError::Poisoned(held)) => return Ok(Alone { _held: PoisonError::into_inner(held) }),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
        }
    }
}
