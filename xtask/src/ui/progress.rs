//! One line that tells how far a long step is. Work only adds to a counter; a thread of its own draws, so a
//! step that reports nothing for a while still shows that it is alive.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::format::{clean, duration, fit, size};
use super::talk::Talk;
use crate::base::monitor::Monitor;

/// A step that is over before this is never shown.
const SILENT: Duration = Duration::from_millis(250);
/// At most ten updates a second.
const BETWEEN: Duration = Duration::from_millis(100);

/// Draws the progress of the work that it is handed to, until it is dropped.
pub struct Progress {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

struct Shared {
    talk: Arc<Talk>,
    step: Mutex<Option<Step>>,
    done: AtomicU64,
    stop: AtomicBool,
    wake: Condvar,
}

struct Step {
    name: String,
    total: Option<u64>,
    begun: Instant,
}

impl Progress {
    /// Progress on a terminal, or nowhere.
    pub(super) fn new(talk: Arc<Talk>, shown: bool) -> Progress {
        let shared = Arc::new(Shared {
            talk,
            step: Mutex::new(None),
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            wake: Condvar::new(),
        });
        let drawer = shown.then(|| {
            let shared = Arc::clone(&shared);
            // No thread to be had means no progress line, and the work goes on.
            std::thread::Builder::new().name("progress".to_owned()).spawn(move || shared.run()).ok()
        });
        Progress { shared, drawer: drawer.flatten() }
    }
}

impl Monitor for Progress {
    fn step(&self, name: &str, bytes_total: Option<u64>) {
        let mut step = self.shared.lock();
        self.shared.done.store(0, Ordering::Relaxed);
        *step = Some(Step { name: clean(name), total: bytes_total, begun: Instant::now() });
        drop(step);
        self.shared.talk.clear();
    }

    fn advance(&self, bytes: u64) {
        self.shared.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let step = self.shared.lock();
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(step);
        self.shared.wake.notify_all();
        if let Some(drawer) = self.drawer.take() {
            drop(drawer.join()); // a drawer that panicked has drawn badly, no more
        }
        self.shared.talk.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Step>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut step = self.lock();
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(step) = step.as_ref().filter(|step| step.begun.elapsed() >= SILENT) {
                let done = self.done.load(Ordering::Relaxed);
                let text = line(&step.name, done, step.total, step.begun.elapsed());
                // The last column stays free: some terminals go to the next line when it is written.
                self.talk.draw(&fit(&text, terminal_width().saturating_sub(1)));
            }
            let waited = self.wake.wait_timeout(step, BETWEEN);
            step = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// `copying databases  31 %  12.3 MiB of 40.0 MiB  6.1 MiB/s`, what matters most first, because a narrow
/// terminal cuts it; without bytes, how long it has been.
fn line(name: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = u128::from(done) * 1000 / elapsed.as_millis().max(1);
    let rate = size(u64::try_from(rate).unwrap_or(u64::MAX));
    match total {
        _ if done == 0 => format!("{name}  {}", duration(elapsed)),
        Some(total) if total > 0 && done <= total => {
            let percent = u128::from(done) * 100 / u128::from(total);
            format!("{name}  {percent} %  {} of {}  {rate}/s", size(done), size(total))
        }
        _ => format!("{name}  {}  {rate}/s", size(done)),
    }
}

/// How many columns the terminal has on which results appear; `None` where they go elsewhere.
pub fn result_columns() -> Option<usize> {
    let out = std::io::stdout();
    out.is_terminal().then(|| width_of(&out))
}

fn terminal_width() -> usize {
    width_of(&std::io::stderr())
}

#[cfg(unix)]
fn width_of(terminal: &impl std::os::fd::AsFd) -> usize {
    let columns = rustix::termios::tcgetwinsize(terminal).map_or(0, |size| size.ws_col);
    if columns == 0 { 80 } else { usize::from(columns) }
}

#[cfg(windows)]
fn width_of<T>(_terminal: &T) -> usize {
    80
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_short_step_shows_nothing_and_a_long_one_a_few_lines_that_go_away() {
        let screen = Screen::default();
        let talk = Arc::new(Talk::new(Box::new(screen.clone())));
        let progress = Progress::new(Arc::clone(&talk), true);
        progress.step("short", Some(10));
        std::thread::sleep(Duration::from_millis(120));
        assert_eq!(screen.text(), "");
        progress.step("long \x1b[2J", Some(4096));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(700) {
            progress.advance(1);
            std::thread::sleep(Duration::from_millis(1));
        }
        talk.print("a message");
        drop(progress);
        let text = screen.text();
        assert!(!text.contains("short") && text.contains("\rlong \\x1b[2J  "), "{text:?}");
        assert!(text.contains("of 4.0 KiB  "), "{text:?}");
        let drawn = text.matches("long").count();
        assert!((1..=7).contains(&drawn), "{drawn} lines drawn");
        assert!(text.contains("\x1b[K\r\x1b[Ka message\n"), "{text:?}");
        let last = text.rsplit('\n').next().unwrap();
        assert!(last.is_empty() || last.ends_with("\r\x1b[K"), "{text:?}");
    }

    #[test]
    fn nowhere_is_silent() {
        let screen = Screen::default();
        let progress = Progress::new(Arc::new(Talk::new(Box::new(screen.clone()))), false);
        progress.step("step", None);
        std::thread::sleep(Duration::from_millis(400));
        drop(progress);
        assert_eq!(screen.text(), "");
    }

    #[test]
    fn the_line_tells_what_is_known() {
        let second = Duration::from_secs(1);
        assert_eq!(line("a", 512, Some(1024), second), "a  50 %  512 B of 1.0 KiB  512 B/s");
        // A file that grew meanwhile.
        assert_eq!(line("a", 2048, Some(1024), second), "a  2.0 KiB  2.0 KiB/s");
        assert_eq!(line("a", 512, None, second), "a  512 B  512 B/s");
        assert_eq!(line("a", 0, Some(0), second), "a  1.0 s");
    }
}
