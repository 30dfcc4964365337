//! How much processor time this process has used so far. It is not time of day: a limit on it meets nobody whose
//! machine is busy, asleep or has a slow disk.

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
}
