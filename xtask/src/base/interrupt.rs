//! Ctrl-C and TERM set a flag; work looks at it between two steps and ends as after any other error, so
//! temporary files are removed and locks released. A second Ctrl-C ends the process at once, which leaves
//! no more behind than a kill does.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
        signal_hook::flag::register(*signal, Arc::clone(last_call))?;
        signal_hook::flag::register_usize(*signal, Arc::clone(number), usize::try_from(*signal)?)?;
        signal_hook::flag::register(*signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// Installs the handlers. Call once, at the start.
///
/// # Errors
/// When the system refuses.
#[cfg(windows)]
pub fn install() -> Result<()> {
    let flag = Arc::clone(STOPPED.get_or_init(Arc::default));
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// The number of a signal that came since the last call, and takes its effect away: whoever runs another command
/// passes it on and waits for that command's end.
#[cfg(unix)]
pub fn take_signal() -> Option<i32> {
    let number = SIGNAL.get()?.swap(0, Ordering::SeqCst);
    for flag in [&LAST_CALL, &STOPPED] {
        if let Some(flag) = flag.get() {
            flag.store(false, Ordering::SeqCst);
        }
    }
    i32::try_from(number).ok().filter(|number| *number != 0)
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
