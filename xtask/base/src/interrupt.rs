//! Ctrl-C and TERM set a flag; work looks at it between two steps and ends as after any other error, so
//! temporary files are removed and locks released. A second Ctrl-C ends the process at once, which leaves
//! no more behind than a kill does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
#[cfg(unix)]
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::failure::{Failure, Kind};

static STOPPED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Set by the first signal: the next one ends the process.
static LAST_CALL: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// The number of the signal that came last; 0 before.
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Installs the handlers. Call once, at the start.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn install() -> Result<()> {
    use signal_hook::consts::TERM_SIGNALS;
    let flag = STOPPED.get_or_init(Arc::default);
    let last_call = LAST_CALL.get_or_init(Arc::default);
    let number = SIGNAL.get_or_init(Arc::default);
    for signal in TERM_SIGNALS {
        // In this order: the second signal finds the flag set and ends the process.
        signal_hook::flag::register_conditional_shutdown(*signal, 130, Arc::clone(last_call))?;
        signal_hook::flag::register_usize(*signal, Arc::clone(number), usize::try_from(*signal)?)?;
        signal_hook::flag::register(*signal, Arc::clone(flag))?;
    }
    arm()
}

/// What sets the last call, for each signal.
#[cfg(unix)]
static ARMED: Mutex<Vec<signal_hook::SigId>> = Mutex::new(Vec::new());

/// From now on the first signal is the last call.
#[cfg(unix)]
fn arm() -> Result<()> {
    let last_call = LAST_CALL.get_or_init(Arc::default);
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in signal_hook::consts::TERM_SIGNALS {
        armed.push(signal_hook::flag::register(*signal, Arc::clone(last_call))?);
    }
    Ok(())
}

/// From now on no signal is.
#[cfg(unix)]
fn disarm() {
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    for id in armed.drain(..) {
        signal_hook::low_level::unregister(id);
    }
}

/// Installs the handlers. Call once, at the start.
///
/// # Errors
/// When the system refuses.
#[cfg(windows)]
pub fn install() -> Result<()> {
    let flag = Arc::clone(STOPPED.get_or_init(Arc::default));
    ctrlc::set_handler(move || {
        if !PASSED_ON.load(Ordering::SeqCst) && flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Whether another command gets the signals.
#[cfg(windows)]
static PASSED_ON: AtomicBool = AtomicBool::new(false);

#[cfg(windows)]
fn arm() -> Result<()> {
    PASSED_ON.store(false, Ordering::SeqCst);
    Ok(())
}

#[cfg(windows)]
fn disarm() {
    PASSED_ON.store(true, Ordering::SeqCst);
}

/// As long as it lives, signals are meant for another command: not even many of them end this process, and
/// [`PassedOn::take`] tells which came. What came until its end has no effect on what follows.
#[must_use]
pub struct PassedOn(());

/// Begins to pass signals on.
pub fn pass_on() -> PassedOn {
    disarm();
    PassedOn(())
}

impl PassedOn {
    /// The number of a signal that came since the last call.
    #[cfg(unix)]
    pub fn take(&self) -> Option<i32> {
        let number = SIGNAL.get()?.swap(0, Ordering::SeqCst);
        i32::try_from(number).ok().filter(|number| *number != 0)
    }
}

impl Drop for PassedOn {
    fn drop(&mut self) {
        forget();
        // Registered once before, so it can be again; and if not, a second signal is like the first.
        let _ = arm();
    }
}

/// Forgets that the user asked to stop: what has to be done for it is done by the caller.
pub fn forget() {
    if let Some(number) = SIGNAL.get() {
        number.store(0, Ordering::SeqCst);
    }
    for flag in [&LAST_CALL, &STOPPED] {
        if let Some(flag) = flag.get() {
            flag.store(false, Ordering::SeqCst);
        }
    }
}

static UNTIL_DONE: AtomicUsize = AtomicUsize::new(0);

/// As long as it lives, [`check`] lets work go on: what is in the middle of changing the project must come to
/// one of its two ends first.
#[must_use]
pub struct UntilDone(());

/// Puts off stopping.
pub fn until_done() -> UntilDone {
    UNTIL_DONE.fetch_add(1, Ordering::SeqCst);
    UntilDone(())
}

impl Drop for UntilDone {
    fn drop(&mut self) {
        UNTIL_DONE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Fails when the user asked to stop. Cheap: call it once per chunk.
///
/// # Errors
/// A failure of kind `Interrupted`.
pub fn check() -> Result<()> {
    match STOPPED.get() {
        Some(flag) if flag.load(Ordering::Relaxed) && UNTIL_DONE.load(Ordering::Relaxed) == 0 => {
            Err(Failure::new(Kind::Interrupted, "interrupted").into())
        }
        _ => Ok(()),
    }
}
