//! How much processor time this process has used so far. It is not time of day: a limit on it meets nobody whose
//! machine is busy, asleep or has a slow disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(unix)]
mod system {
    use super::*;
    use rustix::time::{ClockId, Timespec, clock_gettime};

    fn duration(time: Timespec) -> Duration {
        // Neither is ever negative on these clocks.
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    pub fn of_process() -> Duration {
        duration(clock_gettime(ClockId::ProcessCPUTime))
    }

    pub fn of_thread() -> Duration {
        duration(clock_gettime(ClockId::ThreadCPUTime))
    }
}

#[cfg(not(unix))]
mod system {
    use super::*;
    use std::sync::OnceLock;
    use std::time::Instant;

    /// Time of day counts for a quarter.
    pub fn of_process() -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed() / 4
    }

    pub fn of_thread() -> Duration {
        of_process()
    }
}

/// Processor time of all threads of this process since it began. Where the system does not tell, a quarter
/// of the time that went by.
pub fn of_process() -> Duration {
    system::of_process()
}

/// Processor time of the calling thread, or what [`of_process`] gives instead.
pub fn of_thread() -> Duration {
    system::of_thread()
}

/// Tells from outside how much processor time a thread has used, while others of this process work, too.
pub struct ThreadClock {
    /// Where Linux tells it.
    file: Option<PathBuf>,
}

impl ThreadClock {
    /// Of the calling thread.
    pub fn of_this_thread() -> ThreadClock {
        let folder = std::fs::read_link("/proc/thread-self").ok();
        let file = folder.map(|folder| Path::new("/proc").join(folder).join("schedstat"));
        ThreadClock { file: file.filter(|file| nanoseconds(file).is_some()) }
    }

    /// What it has used so far. Where the system does not tell, what the process has used.
    pub fn used(&self) -> Duration {
        match &self.file {
            // One that has ended uses nothing more.
            Some(file) => nanoseconds(file).map_or(Duration::ZERO, Duration::from_nanos),
            None => of_process(),
        }
    }
}

/// The first number of `schedstat` (Linux, `Documentation/scheduler/sched-stats.rst`).
fn nanoseconds(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_and_waiting_does_not() {
        let before = (of_process(), of_thread());
        std::thread::sleep(Duration::from_millis(80));
        assert!(of_thread() - before.1 < Duration::from_millis(40));
        let mut sum = 1_u64;
        while of_thread() - before.1 < Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_mul(31));
        }
        assert!(of_process() - before.0 >= Duration::from_millis(10));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_is_told_from_others() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let (here, stop) = (ThreadClock::of_this_thread(), AtomicBool::new(false));
        let (send, clock) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send.send(ThreadClock::of_this_thread()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let other = clock.recv().unwrap();
            let before = (here.used(), other.used());
            while other.used() - before.1 < Duration::from_millis(100) {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
            assert!(here.used() - before.0 < Duration::from_millis(80));
        });
    }
}
