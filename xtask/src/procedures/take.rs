//! Takes a backup: scan, pin and copy the databases, copy git, write the archive, verify it, publish it.
//!
//! Everything is written under a temporary name in the store. Killed anywhere, the store is as it was; only
//! an archive that was read back and found whole gets its name. A backup, a guard's and a safety copy are
//! this one procedure with another kind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use anyhow::{Context, Result};

use crate::archive::manifest::{FORMAT, MANIFEST_NAME, Manifest};
use crate::archive::reuse::Reused;
use crate::archive::writer::Writer;
use crate::base::clock::Instant;
use crate::base::digest::Digest;
use crate::base::durable;
use crate::base::failure::{ResultExt, is_disk_full, tells_of_full_disk};
use crate::base::file_facts::Identity;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::interrupt;
use crate::base::kind::BackupKind;
use crate::base::monitor::Monitor;
use crate::base::parallel;
use crate::base::raw_path::RawPath;
use crate::base::safe_path::SafePath;
use crate::project::git::{self, Capture, Earlier, Opened};
use crate::project::root::Project;
use crate::project::scan::{EntryKind, Scan};
use crate::store::Store;
use crate::store::identity;
use crate::store::lock::Lock;
use crate::store::space::{free_bytes, shared_blocks};
use crate::store::state::{State, Verification};
use crate::store::summary::{SUMMARY_FORMAT, Summary};

use super::add_databases;
use super::add_files::{self, Added};
use super::add_frame::{self, Folders, LEVEL, private};
use super::add_git;
use super::copy_databases;
use super::earlier::{self, Damaged, Newest};
use super::unchanged::{self, Unchanged, Unread};
use super::{guard, lost_databases, prove, survey};

/// What is asked for.
pub struct Request {
    /// Why.
    pub kind: BackupKind,
    /// The user's own tag.
    pub label: Option<String>,
    /// Never to be rotated.
    pub pin: bool,
    /// Whether to write SQL dumps.
    pub dumps: bool,
    /// What is saved even where the configuration leaves it out.
    pub also: BTreeSet<SafePath>,
    /// Whether what an earlier backup holds is taken over in its compressed form.
    pub reuse: bool,
    /// Whether everything is read, also what looks as it did in the earlier backup.
    pub full_read: bool,
}

/// A backup that was taken.
pub struct Taken {
    /// What it is.
    pub manifest: Manifest,
    /// What stands beside it.
    pub summary: Summary,
    /// Where it is.
    pub archive: std::path::PathBuf,
    /// How long it took.
    pub took: Duration,
    /// Problems and advice, those of the manifest and those of the store.
    pub findings: Vec<Finding>,
    /// The earlier backup that parts were taken over from, and how many bytes of the archive they are.
    pub reused: Option<(BackupId, u64)>,
    /// What of it was not even read, since it did not change.
    pub unread: Unread,
}

/// Takes a backup into a store whose lock is held.
///
/// # Errors
/// When no whole, verified archive could be published; the store is then as it was. Something of the
/// project that could not be saved is a finding and no error.
pub fn take(
    project: &Project,
    store: &Store,
    lock: &Lock,
    request: &Request,
    monitor: &dyn Monitor,
) -> Result<Taken> {
    let began = Stopwatch::now();
    let mut outside = store.sweep(lock)?.findings;
    let newest = earlier::newest(store);
    let attempt = |newest: Option<&Newest>, reuse: bool| {
        take_inner(project, store, lock, request, newest, reuse, monitor)
    };
    // Each way to begin again is taken once, in whatever order the reasons come.
    let (mut reuse, mut emptied) = (request.reuse, false);
    let taken = loop {
        let error = match attempt(newest.as_ref(), reuse) {
            Ok(taken) => break Ok(taken),
            Err(error) => error,
        };
        match &newest {
            Some(newest) if reuse && Newest::is_to_blame(&error) => {
                interrupt::check()?;
                reuse = false;
                outside.push(earlier::damaged(&newest.id));
            }
            // What rotation removed waits only as long as there is room.
            _ if !emptied && is_disk_full(&error) && !store.empty_trash(lock)?.is_empty() => {
                emptied = true;
                let text = "the disk was full: the store's trash was emptied, and the backup began again";
                outside.push(Finding::advice("trash-emptied", text));
            }
            _ => break Err(error),
        }
    };
    let mut taken = taken
        .with_context(|| format!("no backup was made of {}", project.root.display()))
        .or_else(|error| {
            if is_disk_full(&error) {
                let free = free_bytes(store.root())
                    .map_or_else(String::new, |free| format!(", {} MiB are free now", free >> 20));
                return Err(error).hint(format!(
                    "make room on the disk of {}{free}, or name another store with --store DIR",
                    store.root().display()
                ));
            }
            Err(error)
        })?;
    // The backup is published: what goes wrong from here on is advice, not a failed backup.
    if let Err(error) = std::env::current_exe()
        .map_err(anyhow::Error::from)
        .and_then(|exe| store.renew_executable(lock, &exe))
    {
        outside.push(
            Finding::problem("executable", format!("{error:#}"))
                .hint("recovery needs this program: copy it to the store's bin/ by hand"),
        );
    }
    taken.findings.extend(outside);
    taken.took = began.elapsed();
    Ok(taken)
}

fn take_inner(
    project: &Project,
    store: &Store,
    lock: &Lock,
    request: &Request,
    newest: Option<&Newest>,
    reuse: bool,
    monitor: &dyn Monitor,
) -> Result<Taken> {
    let created = Instant::now();
    let id = store.new_id(created)?;
    monitor.step("scanning", None);
    let mut findings = Vec::new();
    let opened = git::open(&project.root).unwrap_or_else(|error| Opened::Refused {
        reason: format!("git can't be read: {error:#}"),
        hint: "see what `git status` says".to_owned(),
    });
    let base = newest.filter(|_| reuse);
    let unchanged = base.map(|newest| Unchanged::since(newest, project, created, request.full_read));
    let is_plain = |path: &SafePath, identity: &Identity| {
        unchanged.as_ref().is_some_and(|unchanged| unchanged.file(path, identity).is_some())
    };
    let scan = survey::survey(project, store.root(), &opened, &request.also, &is_plain, &mut findings)?;
    if request.kind != BackupKind::Safety {
        let since = |newest: &Newest| lost_databases::since(&newest.id, &newest.manifest, project, &scan);
        findings.extend(newest.map(since).unwrap_or_default());
        findings.extend(guard::half_way(&project.root));
    }
    let scratch = store.scratch()?;
    let (root, from) = (&project.root, unchanged.as_ref().map(|unchanged| (unchanged, request.dumps)));
    let copied = copy_databases::copy(root, &scan.databases, from, scratch.path(), monitor)?;
    let temporary = store.temporary(lock)?;
    let file = temporary.as_file().try_clone()?;
    let members = base.map(|newest| Arc::clone(&newest.reuse));
    let before = base.map_or(0, |newest| newest.reuse.so_far().bytes);
    let mut writer = Writer::new(file, parallel::workers(), LEVEL, members, shared_blocks(scratch.path()))?;
    let mut folders = Folders::new(created.0);
    let mut git_facts = None;
    // Git is copied, and the copies of the databases are checked and hashed, beside the packing.
    let (packed, examined, added) = std::thread::scope(|scope| -> Result<_> {
        let examining = scope.spawn(|| add_databases::examine(&copied));
        let (scan, folder) = (&scan, scratch.path());
        let history = base.and_then(|newest| newest.history.as_ref());
        let capturing = scope.spawn(move || capture(project, &opened, scan, folder, history));
        add_frame::add_recipe(&mut writer, &mut folders)?;
        let bytes = scan.entries.iter().filter(|e| e.kind == EntryKind::File).map(|e| e.identity.size).sum();
        monitor.step("packing files", Some(bytes));
        folders.above(&mut writer, &SafePath::new("backup/files/x")?)?;
        // Those folders have a new time each time.
        writer.end_shared()?;
        let from = unchanged.as_ref();
        let added = add_files::add_files(&mut writer, &project.root, &scan.entries, from, monitor)?;
        let packed = add_databases::pack(&copied, &mut writer, &mut folders, request.dumps, monitor)?;
        monitor.step("packing the git history", None);
        let (capture, of_git) =
            capturing.join().map_err(|_| anyhow::anyhow!("the thread that copies git panicked"))??;
        findings.extend(of_git);
        if let Some(capture) = capture {
            add_git::add_git(&mut writer, &mut folders, &capture, base, monitor)?;
            git_facts = Some(capture.facts);
        }
        monitor.step("checking databases", None);
        let examined = examining.join().map_err(|_| anyhow::anyhow!("the checking thread panicked"))??;
        Ok((packed, examined, added))
    })?;
    let instant = (!copied.databases.is_empty()).then_some(copied.instant);
    let (databases, of_databases) = add_databases::describe(copied, packed, examined)?;
    let Added { counts, findings: of_files } = added;
    let mut all = scan.findings;
    all.extend(findings);
    all.extend(of_databases);
    all.extend(of_files);
    let manifest = Manifest {
        format: FORMAT,
        tool: unchanged::TOOL.to_owned(),
        id,
        kind: request.kind,
        label: request.label.clone(),
        created,
        host: identity::host_name(),
        path: RawPath::of(&project.root)?,
        project: project.name.clone(),
        git: git_facts,
        read_in_full: unchanged.as_ref().and_then(Unchanged::read_in_full).or(Some(created)),
        instant,
        databases,
        files: counts,
        left_out: scan.left_out,
        findings: all,
    };
    let place = SafePath::new(MANIFEST_NAME)?;
    add_frame::add_alone(&mut writer, private(place, 0o600, created.0), &manifest.to_json()?, LEVEL)?;
    let finished = writer.finish(created.0)?;
    drop(scratch);

    let proven =
        prove::prove(temporary.path(), prove::Level::Archive, Some(finished.digest), store.root(), monitor)
            .context("the archive that was written does not verify")
            .hint("the disk or the memory of this machine may be failing; try another store with --store DIR")
            .map_err(|error| match base {
                // What was taken over without a look is the likelier culprit.
                Some(newest) if newest.reuse.so_far().unchecked > 0 && !prove::is_local(&error) => {
                    error.context(Damaged(newest.id.clone()))
                }
                _ => error,
            })?;
    let summary = summarize(&proven, finished.size, finished.digest);
    let mut state = State { pinned: request.pin, ..State::default() };
    let verification = Verification {
        at: Instant::now(),
        level: prove::Level::Archive as u8,
        ok: true,
        by: earlier::MADE_HERE.to_owned(),
    };
    let damage = damage_of(&proven);
    state.verifications.push(verification);
    state.damage = damage;
    monitor.step("publishing", None);
    let archive = store.publish(lock, temporary, &summary, &state)?;
    durable::sync_dir(store.root())?;
    let mut findings = proven.findings.clone();
    let reused = base.map(|newest| {
        let Reused { bytes, damaged, .. } = newest.reuse.so_far();
        let is_damaged = damaged > 0 || newest.is_damaged;
        findings.extend(is_damaged.then(|| earlier::damaged(&newest.id)));
        (newest.id.clone(), bytes - before)
    });
    let unread = unchanged.as_ref().map(Unchanged::so_far).unwrap_or_default();
    Ok(Taken { manifest: proven, summary, archive, took: Duration::ZERO, findings, reused, unread })
}

/// Why a backup does not count as a good one.
pub fn damage_of(manifest: &Manifest) -> Vec<String> {
    let damaged =
        manifest.databases.iter().filter(|database| !database.damage.is_empty() || database.facts.is_none());
    damaged
        .map(|database| format!("the database {} was damaged or unreadable when it was saved", database.path))
        .collect()
}

/// What a listing says of a backup.
pub fn summarize(manifest: &Manifest, size: u64, digest: Digest) -> Summary {
    let git = manifest.git.as_ref();
    let problems = manifest.findings.iter().filter(|finding| finding.is_problem()).count() as u64;
    Summary {
        format: SUMMARY_FORMAT,
        id: manifest.id.clone(),
        kind: manifest.kind,
        label: manifest.label.clone(),
        created: manifest.created,
        host: manifest.host.clone(),
        path: manifest.path.clone(),
        commit: git.and_then(|git| git.commit.clone()),
        branch: git.and_then(|git| git.branch.clone()),
        dirty: git.is_some_and(|git| git.dirty),
        databases: manifest.databases.len() as u64,
        rows: manifest
            .databases
            .iter()
            .filter_map(|d| d.facts.as_ref())
            .fold(0, |sum, facts| sum.saturating_add(facts.rows())),
        files: manifest.files.files,
        file_bytes: manifest.files.bytes,
        archive_bytes: size,
        archive_sha256: digest,
        problems,
        advice: manifest.findings.len() as u64 - problems,
        archive_format: manifest.format,
    }
}

/// Copies git, unless there is none, it is refused, or the configuration leaves the history out.
fn capture(
    project: &Project,
    opened: &Opened,
    scan: &Scan,
    scratch: &std::path::Path,
    earlier: Option<&Earlier>,
) -> Result<(Option<Capture>, Vec<Finding>)> {
    let Opened::Git(git) = opened else { return Ok((None, Vec::new())) };
    if !project.config.history {
        let finding = Finding::advice("history-off", "the history is left out, as `history = false` says");
        return Ok((None, vec![finding]));
    }
    let leave_out: BTreeSet<Vec<u8>> =
        scan.databases.iter().chain(&scan.sidecars).map(|path| path.bytes().to_vec()).collect();
    let folder = scratch.join("git");
    crate::base::file_facts::create_private_dir(&folder)?;
    // Ordered by their paths.
    let saved = |path: &[u8]| scan.entries.binary_search_by(|entry| entry.path.bytes().cmp(path)).is_ok();
    let mut capture = match git.capture(&folder, &leave_out, &saved, earlier) {
        Ok(capture) => capture,
        Err(error) => {
            interrupt::check()?;
            if is_disk_full(&error) {
                return Err(error.context("git's history can't be copied"));
            }
            // Whatever became of git must not cost the files and the databases.
            let finding = Finding::problem("git-refused", format!("the history is not saved: {error:#}"))
                .hint("see what `git status` says");
            return Ok((None, vec![finding]));
        }
    };
    // A history that found no room is no damaged one: what the disk did must not pass for what git is.
    if let Some(full) = capture.findings.iter().find(|f| f.is_problem() && tells_of_full_disk(&f.message)) {
        anyhow::bail!("git's history can't be copied: {}", full.message);
    }
    let mut findings = std::mem::take(&mut capture.findings);
    if capture.facts.commit.is_none() {
        findings.push(Finding::advice("no-commit", "there is no commit yet, so there is no history to save"));
    }
    Ok((Some(capture), findings))
}
