//! The thread that has the database, and the line to it. It is watched: a batch may take so much time, and when
//! it does not come back although SQLite was told to stop, it is left behind. It ends with the process then.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::meter;
use super::statements::Batch;
use super::writer;
use crate::base::interrupt;
use crate::base::usage::ThreadClock;

/// How often we look after it.
const LOOK: Duration = Duration::from_millis(100);

/// What it gets beyond its share before it is left behind: time to stop by itself.
const GRACE: Duration = Duration::from_secs(1);

/// So many looks it gets to end after an interrupt.
const LOOKS_AFTER_INTERRUPT: u32 = 20;

/// What comes back.
enum Answer {
    /// A batch was carried out; its memory.
    Done(Batch),
    /// The database is closed; whether the dump was complete.
    Closed(bool),
    /// A statement could not be carried out.
    Failed(anyhow::Error),
}

/// The line to the thread that has the database.
pub struct Worker {
    /// Gone once no more batches come.
    batches: Option<SyncSender<Batch>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// The line of the statement that is carried out now.
    line: Arc<AtomicU64>,
    /// Batches under way, and what the older of them may take.
    under_way: usize,
    share: Duration,
    /// Bytes handed over.
    bytes: u64,
    spare: Batch,
    /// What the thread has used; once it runs.
    clock: Arc<OnceLock<ThreadClock>>,
}

impl Worker {
    /// Opens the database in a new thread.
    ///
    /// # Errors
    /// When the system has no thread for us.
    pub fn start(to: &Path) -> Result<Worker> {
        let (batches, inbox) = sync_channel(1);
        let (outbox, answers) = sync_channel(4);
        let line = Arc::new(AtomicU64::new(1));
        let (to, shown) = (to.to_path_buf(), Arc::clone(&line));
        let clock = Arc::<OnceLock<ThreadClock>>::default();
        let own = Arc::clone(&clock);
        let work = move || {
            own.get_or_init(ThreadClock::of_this_thread);
            let answer = carry_out(&to, &inbox, &outbox, &shown).map_or_else(Answer::Failed, Answer::Closed);
            let _ = outbox.send(answer); // nobody listens after an error of their own
        };
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(work)?;
        Ok(Worker {
            batches: Some(batches),
            answers,
            thread: Some(thread),
            line,
            under_way: 0,
            share: Duration::ZERO,
            bytes: 0,
            spare: Batch::default(),
            clock,
        })
    }

    /// Hands a batch over; returns an empty one.
    ///
    /// # Errors
    /// When a statement of an earlier one could not be carried out.
    pub fn send(&mut self, batch: Batch) -> Result<Batch> {
        while self.under_way > 1 {
            self.wait()?;
        }
        let bytes = batch.bytes as u64;
        let share = meter::share(bytes, if batch.is_other() { self.bytes } else { 0 });
        self.bytes += bytes;
        self.share = self.share.max(share);
        self.under_way += 1;
        let sent = self.batches.as_ref().is_some_and(|batches| batches.send(batch).is_ok());
        if !sent {
            self.wait()?;
            bail!("the thread that loads is gone");
        }
        Ok(std::mem::take(&mut self.spare))
    }

    /// Waits until all that was handed over is carried out.
    ///
    /// # Errors
    /// When a statement could not be carried out.
    pub fn wait_until_idle(&mut self) -> Result<()> {
        while self.under_way > 0 {
            self.wait()?;
        }
        Ok(())
    }

    /// Ends the work, and closes the database; whether the dump was complete.
    ///
    /// # Errors
    /// When a statement could not be carried out, or the database could not be closed.
    pub fn finish(mut self) -> Result<bool> {
        self.batches = None;
        // What is left are checks of tables, which go over all rows.
        self.share = self.share.max(meter::share(0, self.bytes));
        loop {
            if let Some(complete) = self.wait()? {
                return Ok(complete);
            }
        }
    }

    /// Waits for one answer; whether the dump was complete, when that was the last one.
    fn wait(&mut self) -> Result<Option<bool>> {
        let (mut looks, mut looks_after_interrupt, mut since) = (0, 0, None);
        loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(Answer::Done(batch)) => {
                    self.under_way = self.under_way.saturating_sub(1);
                    if self.under_way == 0 {
                        self.share = Duration::ZERO;
                    }
                    self.spare = batch;
                    return Ok(None);
                }
                Ok(Answer::Closed(complete)) => {
                    self.join();
                    return Ok(Some(complete));
                }
                Ok(Answer::Failed(error)) => {
                    self.join();
                    return Err(error);
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the thread that loads is gone"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            looks += 1;
            if interrupt::check().is_err() {
                looks_after_interrupt += 1;
                if looks_after_interrupt > LOOKS_AFTER_INTERRUPT {
                    interrupt::check()?;
                }
            }
            // Both: where a thread's time is not told other threads may have used it, and a clock goes on while nobody
            // works.
            let used = self.clock.get().map_or(Duration::ZERO, ThreadClock::used);
            let used = used.saturating_sub(*since.get_or_insert(used));
            if used.min(LOOK * looks) > self.share + GRACE {
                // Not joined: it can't be stopped. It goes on in a file that is removed, until the process ends.
                self.thread = None;
                let line = self.line.load(Ordering::Relaxed);
                bail!("the statement that begins at line {line}: {}", meter::TOO_LONG);
            }
        }
    }

    /// The thread has said its last word and is about to end.
    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has told all there is
        }
    }
}

fn carry_out(
    to: &Path,
    inbox: &Receiver<Batch>,
    outbox: &SyncSender<Answer>,
    shown: &AtomicU64,
) -> Result<bool> {
    let mut target = writer::open(to)?;
    let mut writer = target.writer();
    for mut batch in inbox {
        if !batch.is_other() {
            let line = batch.ends.first().map_or(1, |(_, line)| *line);
            writer
                .begin(batch.bytes, batch.longest)
                .with_context(|| format!("the statement that begins at line {line}"))?;
        }
        if batch.is_long_row() {
            let line = batch.ends.first().map_or(1, |(_, line)| *line);
            shown.store(line, Ordering::Relaxed);
            writer
                .execute_long(&mut batch, line)
                .with_context(|| format!("the statement that begins at line {line}"))?;
        }
        let mut start = 0;
        for (end, line) in &batch.ends {
            shown.store(*line, Ordering::Relaxed);
            let statement = batch.text.get(start..*end).unwrap_or_default();
            writer
                .execute(statement, *line)
                .with_context(|| format!("the statement that begins at line {line}"))?;
            start = *end;
        }
        batch.clear();
        if outbox.send(Answer::Done(batch)).is_err() {
            bail!("nobody waits for it");
        }
    }
    drop(writer);
    let complete = target.is_complete();
    if complete {
        target.evaluate_checks(shown)?;
    }
    target.close()?;
    Ok(complete)
}
