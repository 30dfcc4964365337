//! Members are compressed on all cores, or taken over from an earlier archive, and written in the order in which
//! they were handed in.
//!
//! A bounded queue feeds the workers and a bounded queue feeds one writing thread, so memory is flat: a few
//! members per core. When writing fails (a full disk), the writing thread keeps taking and dropping what
//! comes, so nobody waits forever, and the error is returned by the next call.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use crate::base::digest::Digest;
use crate::copier::Copier;
use crate::index::Member;
use crate::member::{Compressor, Expander, Level, pad};
use crate::reuse::{Broken, Hole, Reuse};

/// A member to write.
pub struct Job {
    /// Its content.
    pub content: Vec<u8>,
    /// How hard to compress it.
    pub level: Level,
    /// The ranges of the content whose digests are wanted.
    pub ranges: Vec<Range<usize>>,
    /// Whether the digest of the whole content is wanted in the member table.
    pub shared: bool,
    /// Parts of the content that are to come from the earlier archive; zeros stand there.
    pub holes: Vec<Hole>,
}

/// What became of a member: its line of the table and the digests of its ranges.
pub struct Written {
    /// Its line of the member table.
    pub member: Member,
    /// The digests of the ranges asked for.
    pub digests: Vec<Digest>,
}

enum Step {
    Append {
        bytes: Vec<u8>,
        written: Written,
    },
    /// Takes a member over as it is in the earlier archive, from there on.
    Copy {
        from: u64,
        written: Written,
    },
    /// Puts other bytes of the same number in the place of a member.
    Replace {
        member: usize,
        bytes: Vec<u8>,
    },
    /// Forgets all members from this one on.
    CutBack {
        member: usize,
    },
    /// Hands over what has been written since the last time.
    Report {
        to: Sender<Vec<Written>>,
    },
    Failed(anyhow::Error),
}

/// The running pipeline.
pub struct Pipeline {
    jobs: Option<SyncSender<(u64, Job)>>,
    steps: Option<SyncSender<(u64, Step)>>,
    next_step: u64,
    failed: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<Result<File>>>,
}

impl Pipeline {
    /// Starts the threads. What `reuse` has is not compressed again; members end at multiples of `block` bytes, if
    /// there is one.
    pub fn start(file: File, workers: usize, reuse: Option<Arc<Reuse>>, block: Option<u64>) -> Pipeline {
        let (jobs, job_queue) = sync_channel::<(u64, Job)>(2 * workers);
        let (steps, step_queue) = sync_channel(2 * workers);
        let job_queue = Arc::new(Mutex::new(job_queue));
        let failed = Arc::new(AtomicBool::new(false));
        let workers = (0..workers)
            .map(|_| {
                let (queue, steps, reuse) = (Arc::clone(&job_queue), steps.clone(), reuse.clone());
                std::thread::spawn(move || pack_all(&queue, &steps, reuse.as_deref(), block))
            })
            .collect();
        let flag = Arc::clone(&failed);
        let writer = std::thread::spawn(move || write_all(file, reuse, block, &step_queue, &flag));
        Pipeline { jobs: Some(jobs), steps: Some(steps), next_step: 0, failed, workers, writer: Some(writer) }
    }

    /// Hands in a member; waits while the queue is full.
    ///
    /// # Errors
    /// When writing has failed.
    pub fn submit(&mut self, job: Job) -> Result<()> {
        let number = self.number();
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send((number, job)).is_ok());
        self.after_send(sent)
    }

    /// Takes a member of the earlier archive over as it is, from so many bytes into that file on.
    ///
    /// # Errors
    /// When writing has failed.
    pub fn copy(&mut self, from: u64, written: Written) -> Result<()> {
        self.step(Step::Copy { from, written })
    }

    /// Replaces a member that was written stored by other content of the same length.
    ///
    /// # Errors
    /// When writing has failed.
    pub fn replace(&mut self, member: usize, bytes: Vec<u8>) -> Result<()> {
        self.step(Step::Replace { member, bytes })
    }

    /// Takes back all members from this one on.
    ///
    /// # Errors
    /// When writing has failed.
    pub fn cut_back(&mut self, member: usize) -> Result<()> {
        self.step(Step::CutBack { member })
    }

    /// Waits until everything handed in is written, and says what became of the members since last time.
    ///
    /// # Errors
    /// When writing has failed.
    pub fn report(&mut self) -> Result<Vec<Written>> {
        let (to, reply) = channel();
        self.step(Step::Report { to })?;
        match reply.recv() {
            Ok(written) => Ok(written),
            Err(_) => Err(self.error()),
        }
    }

    /// Ends the threads; the file stands at its end.
    ///
    /// # Errors
    /// When writing has failed.
    pub fn finish(mut self) -> Result<File> {
        self.join()
    }

    fn number(&mut self) -> u64 {
        self.next_step += 1;
        self.next_step - 1
    }

    fn step(&mut self, step: Step) -> Result<()> {
        let number = self.number();
        let sent = self.steps.as_ref().is_some_and(|steps| steps.send((number, step)).is_ok());
        self.after_send(sent)
    }

    fn after_send(&mut self, sent: bool) -> Result<()> {
        if sent && !self.failed.load(Ordering::Relaxed) { Ok(()) } else { Err(self.error()) }
    }

    fn error(&mut self) -> anyhow::Error {
        match self.join() {
            Err(error) => error,
            Ok(_) => anyhow!("the writing thread ended early"),
        }
    }

    fn join(&mut self) -> Result<File> {
        self.jobs = None;
        self.steps = None;
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| anyhow!("a compressing thread panicked"))?;
        }
        let writer = self.writer.take().context("writing has failed before")?;
        writer.join().map_err(|_| anyhow!("the writing thread panicked"))?
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Whoever drops it early is on the way out with an error of its own.
        let _ = self.join();
    }
}

fn pack_all(
    queue: &Mutex<Receiver<(u64, Job)>>,
    steps: &SyncSender<(u64, Step)>,
    reuse: Option<&Reuse>,
    block: Option<u64>,
) {
    let (mut compressor, mut expander) = (Compressor::default(), Expander::default());
    loop {
        // A poisoned lock means that another worker panicked; joining reports it.
        let next = queue.lock().map(|queue| queue.recv());
        let Ok(Ok((number, mut job))) = next else { return };
        let step = pack(&mut job, reuse, block, &mut compressor, &mut expander).unwrap_or_else(Step::Failed);
        if steps.send((number, step)).is_err() {
            return;
        }
    }
}

/// One member.
fn pack(
    job: &mut Job,
    reuse: Option<&Reuse>,
    block: Option<u64>,
    compressor: &mut Compressor,
    expander: &mut Expander,
) -> Result<Step> {
    let mut known = None;
    if !job.holes.is_empty() {
        let reuse = reuse.context("holes are filled from an earlier archive")?;
        known = reuse.fill(&mut job.content, &job.holes, expander)?;
    }
    let digests: Vec<Digest> =
        job.ranges.iter().map(|range| Digest::of(&job.content[range.clone()])).collect();
    let digest = job.shared.then(|| Digest::of(&job.content));
    // One that is not shared is known by its one chunk.
    let known_by = digest.as_ref().or(digests.first());
    if known.is_none() {
        known = reuse.zip(known_by).and_then(|(reuse, by)| reuse.member(by, &job.content, expander));
    }
    let length = job.content.len() as u64;
    let written = |size: u64| Written { member: Member { size, length, digest }, digests };
    // As it is, so that its blocks can be shared.
    if let (Some(known), Some(_)) = (&known, block)
        && known.is_aligned(block)
    {
        return Ok(Step::Copy { from: known.from, written: written(known.bytes.len() as u64) });
    }
    let bytes = match known {
        Some(known) => {
            reuse.into_iter().for_each(|reuse| reuse.count_taken(known.bytes.len() as u64));
            known.bytes
        }
        None => compressor.member(&job.content, job.level)?,
    };
    let bytes = pad(bytes, block)?;
    Ok(Step::Append { written: written(bytes.len() as u64), bytes })
}

fn write_all(
    file: File,
    reuse: Option<Arc<Reuse>>,
    block: Option<u64>,
    queue: &Receiver<(u64, Step)>,
    failed: &AtomicBool,
) -> Result<File> {
    let mut writing = Writing {
        file: BufWriter::with_capacity(1 << 20, file),
        copier: reuse.map(Copier::new),
        block,
        starts: vec![0],
        reported: 0,
        written: Vec::new(),
    };
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    let mut outcome = Ok(());
    while let Ok((number, step)) = queue.recv() {
        waiting.insert(number, step);
        while let Some(step) = waiting.remove(&next) {
            next += 1;
            if outcome.is_ok() {
                outcome = writing.take(step).context("can't write the archive");
                failed.store(outcome.is_err(), Ordering::Relaxed);
            }
        }
    }
    outcome?;
    if let Some(copier) = &mut writing.copier {
        copier.flush(&mut writing.file)?;
    }
    writing.file.into_inner().map_err(|error| error.into_error()).context("can't write the archive")
}

struct Writing {
    file: BufWriter<File>,
    copier: Option<Copier>,
    block: Option<u64>,
    /// Where each member starts; the last one is the end.
    starts: Vec<u64>,
    /// How many members have been reported.
    reported: usize,
    written: Vec<Written>,
}

impl Writing {
    fn take(&mut self, step: Step) -> Result<()> {
        let end = self.starts.last().copied().unwrap_or_default();
        if let Some(copier) = self.copier.as_mut().filter(|_| !matches!(step, Step::Copy { .. })) {
            copier.flush(&mut self.file)?;
        }
        match step {
            Step::Failed(error) => return Err(error),
            Step::Append { bytes, written } => {
                self.file.write_all(&bytes)?;
                self.starts.push(end + bytes.len() as u64);
                self.written.push(written);
            }
            Step::Copy { from, mut written } => {
                let copier = self.copier.as_mut().context("members are copied from an earlier archive")?;
                let size = written.member.size;
                if self.block.is_some_and(|block| !from.is_multiple_of(block) || !size.is_multiple_of(block))
                {
                    // One from before there was padding.
                    copier.flush(&mut self.file)?;
                    let bytes = pad(copier.read(from, size)?, self.block).context(Broken)?;
                    written.member.size = bytes.len() as u64;
                    return self.take(Step::Append { bytes, written });
                }
                copier.take(from, written.member.size, &mut self.file)?;
                self.starts.push(end + written.member.size);
                self.written.push(written);
            }
            Step::Replace { member, bytes } => {
                let bytes = pad(bytes, self.block)?;
                let at = self.start(member)?;
                let fits = self.starts.get(member + 1) == Some(&(at + bytes.len() as u64));
                anyhow::ensure!(fits, "a header that does not fit in its place");
                self.file.seek(SeekFrom::Start(at))?;
                self.file.write_all(&bytes)?;
                self.file.seek(SeekFrom::Start(end))?;
            }
            Step::CutBack { member } => {
                let at = self.start(member)?;
                self.file.flush()?;
                self.file.get_ref().set_len(at)?;
                self.file.seek(SeekFrom::Start(at))?;
                self.starts.truncate(member + 1);
                self.written.truncate(member.saturating_sub(self.reported));
            }
            Step::Report { to } => {
                self.file.flush()?;
                self.reported += self.written.len();
                // Nobody waits for it only when the other side is gone.
                let _ = to.send(std::mem::take(&mut self.written));
            }
        }
        Ok(())
    }

    fn start(&self, member: usize) -> Result<u64> {
        self.starts.get(member).copied().context("a member that was never written")
    }
}
