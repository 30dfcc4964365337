//! The databases of a journal. Each is written in a transaction of SQLite's, and all of them are committed right
//! after the renames, so what they hold tells how far a killed restore came: the image, or what was there
//! before, or something that somebody has written since, which nobody overwrites.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Journal, Overwrite};
use crate::base::digest::Digest;
use crate::base::failure::{Failure, Kind};
use crate::base::file_facts;
use crate::base::finding::Finding;
use crate::base::links;
use crate::base::monitor::Monitor;
use crate::base::safe_path::SafePath;
use crate::sqlite::overwrite::{self, CommitFailure, Committed, Held, Obstacle};

/// How long to wait for others to leave a database.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked at a database again because somebody wrote to it just then.
const TRIES: usize = 3;

/// What a live database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// The image.
    Image,
    /// What was there before.
    Old,
    /// The image, and what somebody wrote since.
    ImageAndMore,
    /// What was there before, and what somebody wrote since.
    OldAndMore,
    /// Nothing: it is gone.
    Nothing,
}

impl Journal {
    /// Writes the databases whose locks are held since their old content was copied.
    pub(super) fn write_held(
        &self,
        root: &Path,
        mut held: Held,
        monitor: &dyn Monitor,
    ) -> Result<Vec<Finding>> {
        monitor.step("restoring databases", None);
        let work = self.work(root);
        for database in &self.databases {
            held.write(&database.path, &database.image.below(&work)?, &|bytes| monitor.advance(bytes))?;
        }
        let committed = held.commit().map_err(CommitFailure::into_error)?;
        self.compare_databases(root, &committed)
    }

    /// The databases are what was put back, as everybody who opens them now sees them.
    fn compare_databases(&self, root: &Path, committed: &Committed) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for database in &self.databases {
            let live = database.path.below(root)?;
            if !overwrite::holds_image(&live, &database.image.below(&self.work(root))?)? {
                let path = &database.path;
                ensure!(committed.is_written_since(path), "the database {path} is not what was put back");
                findings.push(written_since(path));
            }
        }
        Ok(findings)
    }

    fn holds(&self, database: &Overwrite, root: &Path) -> Result<Holds> {
        let live = database.path.below(root)?;
        let work = self.work(root);
        let (image, old) = (database.image.below(&work)?, database.old.below(&work)?);
        if !links::exists(&live)? {
            return Ok(Holds::Nothing);
        }
        if overwrite::holds_image(&live, &image)? {
            return Ok(Holds::Image);
        }
        if overwrite::holds_image(&live, &old)? {
            return Ok(Holds::Old);
        }
        // No image comes before every rename is done.
        for step in &self.renames {
            if self.is_to_do(step, root)? {
                return Ok(Holds::OldAndMore);
            }
        }
        Ok(match overwrite::is_nearer(&live, &image, &old)? {
            true => Holds::ImageAndMore,
            false => Holds::OldAndMore,
        })
    }

    /// Whether no database was written to before its image came.
    ///
    /// # Errors
    /// Names the first that was; what was written would not fit to what is restored.
    pub(super) fn databases_still_wanted(&self, root: &Path) -> Result<()> {
        for database in &self.databases {
            if self.holds(database, root)? == Holds::OldAndMore {
                bail!("somebody has written to the database {} since", database.path);
            }
        }
        Ok(())
    }

    /// Writes the databases of a restore that was killed, unless somebody wrote to them since.
    pub(super) fn write_again(&self, root: &Path, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        self.exchange(root, true, monitor)
    }

    /// Writes what the databases were before.
    pub(super) fn unwrite(&self, root: &Path, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        self.exchange(root, false, monitor)
    }

    fn exchange(&self, root: &Path, forward: bool, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        for _ in 0..TRIES {
            let Some(findings) = self.try_to_exchange(root, forward, monitor)? else { continue };
            for database in &self.databases {
                let (live, old) = (database.path.below(root)?, database.old.below(&self.work(root))?);
                // The rows are in, which counts. Programs that need WAL mode ask for it when they start.
                let _ = overwrite::give_mode(&live, &old);
            }
            return Ok(findings);
        }
        bail!("another program keeps writing to a database");
    }

    /// Each database that holds the first of two images gets the second. One that was written to by somebody
    /// since is left to them. `None` when somebody wrote to one just now.
    fn try_to_exchange(
        &self,
        root: &Path,
        forward: bool,
        monitor: &dyn Monitor,
    ) -> Result<Option<Vec<Finding>>> {
        let mut findings = Vec::new();
        let work = self.work(root);
        let mut todo = Vec::new();
        for database in &self.databases {
            let live = database.path.below(root)?;
            let (image, old) = (database.image.below(&work)?, database.old.below(&work)?);
            let (from, to) = if forward { (old, image) } else { (image, old) };
            match (self.holds(database, root)?, forward) {
                (Holds::Image, true) | (Holds::Old, false) => {}
                (Holds::Image, false) | (Holds::Old, true) => {
                    todo.push((database.path.clone(), live, from, to));
                }
                (Holds::ImageAndMore, true) => findings.push(written_since(&database.path)),
                (Holds::OldAndMore, false) => findings.push(written_before(&database.path)),
                (Holds::ImageAndMore, false) | (Holds::OldAndMore, true) => {
                    findings.push(self.stays(database, forward));
                }
                (Holds::Nothing, _) => put_anew(&to, &live, database, forward)?,
            }
        }
        if todo.is_empty() {
            return Ok(Some(findings));
        }
        let files: Vec<(SafePath, PathBuf)> =
            todo.iter().map(|(path, live, ..)| (path.clone(), live.clone())).collect();
        let mut held = hold_all(&files)?;
        for (path, live, from, to) in &todo {
            // Between looking and locking somebody may have come.
            if !overwrite::holds_image(live, from)? {
                return Ok(None);
            }
            held.write(path, to, &|bytes| monitor.advance(bytes))?;
        }
        held.commit().map_err(CommitFailure::into_error)?;
        Ok(Some(findings))
    }

    /// One that can't be brought to either side without losing what somebody wrote.
    fn stays(&self, database: &Overwrite, forward: bool) -> Finding {
        let (is, other) = match forward {
            true => ("is not restored", "restored"),
            false => ("stays restored", "as before"),
        };
        let text = format!("another program has written to the database, so it {is}; all else is {other}");
        let finding = Finding::problem("written-since", text).at(&database.path);
        match &self.record {
            Some(record) => finding.hint(format!("the state before is in the safety copy {}", record.id)),
            None => finding.hint("no safety copy was taken"),
        }
    }
}

/// A database that somebody removed since comes as a file.
fn put_anew(image: &Path, live: &Path, database: &Overwrite, forward: bool) -> Result<()> {
    let attempt = || -> Result<()> {
        let mut copied = image.as_os_str().to_owned();
        copied.push("-copy");
        let copied = PathBuf::from(copied);
        fs::copy(image, &copied)?;
        file_facts::set_mode(&copied, if forward { database.mode.0 } else { database.mode.1 })?;
        for side in ["-wal", "-shm", "-journal"] {
            let mut beside = live.as_os_str().to_owned();
            beside.push(side);
            anyhow::ensure!(
                !fs::symlink_metadata(&beside).is_ok_and(|meta| meta.len() > 0 && side != "-shm"),
                "{} is still there",
                Path::new(&beside).display()
            );
            crate::base::durable::remove_file(Path::new(&beside))?;
        }
        fs::rename(&copied, live)?;
        Ok(())
    };
    attempt().with_context(|| format!("the database {} is gone, and can't be made anew", live.display()))
}

/// Digest of a file of ours.
pub fn digest(path: &Path) -> Result<Digest> {
    let file = fs::File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(Digest::of_reader(&mut std::io::BufReader::with_capacity(1 << 20, file))?.0)
}

/// Holds all databases, or says who is in the way.
fn hold_all(files: &[(SafePath, PathBuf)]) -> Result<Held> {
    let (held, missing) = overwrite::hold(files, PATIENCE)?;
    match missing.into_iter().next() {
        None => Ok(held),
        Some(one) if one.obstacle == Obstacle::Busy => Err(busy(&one.path, &one.reason)),
        Some(one) => bail!("the database {} can't be written: {}", one.path, one.reason),
    }
}

/// A program keeps a database locked.
pub fn busy(path: &SafePath, reason: &str) -> anyhow::Error {
    let text = format!(
        "another program keeps the database {path} locked ({reason}), and did not leave within {} s",
        PATIENCE.as_secs()
    );
    Failure::new(Kind::Refused, text).hint("stop the program that writes to it, and run this again").into()
}

fn written_since(path: &SafePath) -> Finding {
    Finding::advice("written-since", "another program has written to the database since it was put back")
        .at(path)
}

fn written_before(path: &SafePath) -> Finding {
    let text = "another program has written to the database meanwhile; that stays";
    Finding::advice("written-since", text).at(path)
}
