//! Commits as people name them: whatever git resolves to one. Questions only, asked where they are, so that
//! `HEAD@{yesterday}`, `@{upstream}` and an index's `:path` mean what they mean to git in this working copy.
//! A name that could mean two things is refused: on such a day nobody should have to guess which one it was.

mod by_library;

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, anyhow};
use serde::Serialize;

use super::Git;
use super::classify::paths;
use super::refs;
use super::run::{Answer, Input, Program, answer, output};
use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::failure::{Failure, Kind};

/// One commit, as far as people tell commits apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// In full.
    pub id: String,
    /// The author's name.
    pub author: String,
    /// When it was committed, by the committer's clock.
    pub moment: Instant,
    /// The first paragraph of its message, as one line.
    pub subject: String,
    /// What leads to it: `HEAD`, branches (`main`), tags (`tag: v1`), branches of remotes (`origin/main`), in
    /// that order.
    pub refs: Vec<String>,
}

impl Commit {
    /// The first ten digits of its id.
    pub fn short(&self) -> &str {
        self.id.get(..10).unwrap_or(&self.id)
    }
}

const LIST: &str = "cargo xtask restore-git list";

/// The commit that a revision means, as git reads it (gitrevisions(7)): an id or its beginning, a branch, a
/// tag, `HEAD~5`, `HEAD@{yesterday}`, `:/text`.
///
/// # Errors
/// `Usage` when it is none by its form, means a file or a folder, or could mean several things; `NotFound`
/// when there is nothing of that name, or the reflog does not reach back as far as it asks.
pub fn resolve(git: &Git, rev: &str) -> Result<Commit> {
    if rev.starts_with('-') || rev.is_empty() || rev.contains('\0') {
        let text = format!("{:?} is no name of a commit", escape(rev.as_bytes()));
        return Err(Failure::new(Kind::Usage, text).hint(LIST).into());
    }
    if rev.starts_with(':') && !rev.starts_with(":/") {
        return Err(is_no_commit(rev, "blob"));
    }
    if rev.starts_with('^') || rev.contains("..") && !rev.starts_with(":/") && !rev.contains("{/") {
        let text = format!("{} names more than one commit", escape(rev.as_bytes()));
        return Err(Failure::new(Kind::Usage, text).hint(LIST).into());
    }
    match (&git.program, &git.library) {
        (Some(program), _) => told(git, program, &id_by_command(git, program, rev)?),
        (None, Some(library)) => {
            let id = by_library::id(library, rev)?;
            by_library::commit(library, id, &by_library::names(library)?)
        }
        (None, None) => Err(anyhow!("this repository needs the git command")),
    }
}

/// The newest commits that HEAD comes from, newest first; none before the first commit.
///
/// # Errors
/// When the history can't be read that far.
pub fn recent(git: &Git, count: usize) -> Result<Vec<Commit>> {
    if let Some(program) = &git.program {
        if !ask(git, program, &["rev-parse", "--verify", "--quiet", "HEAD"])?.ok {
            return Ok(Vec::new());
        }
        return listed(git, program, &["-n", &count.to_string(), "HEAD"]);
    }
    let library = git.library.as_ref().context("this repository needs the git command")?;
    by_library::recent(library, count)
}

/// What a commit is, by its id.
///
/// # Errors
/// When it can't be read.
pub(super) fn commit(git: &Git, id: &str) -> Result<Commit> {
    match (&git.program, &git.library) {
        (Some(program), _) => told(git, program, id),
        (None, Some(library)) => {
            by_library::commit(library, git2::Oid::from_str(id)?, &by_library::names(library)?)
        }
        (None, None) => Err(anyhow!("this repository needs the git command")),
    }
}

/// Whether git still takes this for a repository.
///
/// # Errors
/// When it does not.
pub(super) fn check(git: &Git) -> Result<()> {
    match &git.program {
        Some(program) => ask(git, program, &["rev-parse", "--git-dir"]).map(drop),
        None => Ok(()),
    }
}

fn ask(git: &Git, program: &Program, args: &[&str]) -> Result<Answer> {
    let mut command = program.at(&git.root);
    command.args(["-c", "core.warnAmbiguousRefs=true", "-c", "advice.objectNameWarning=false"]).args(args);
    let told = answer(command, Input::Nothing)?;
    if !told.ok && told.err.contains("not a git repository") {
        let text = format!("git finds no repository in {}: {}", git.root.display(), told.err.trim());
        return Err(Failure::new(Kind::Failed, text)
            .hint("see that .git/HEAD and .git/objects are whole; git fsck tells more")
            .into());
    }
    Ok(told)
}

fn id_by_command(git: &Git, program: &Program, rev: &str) -> Result<String> {
    // The text of `:/text` goes to the end: it would take what is put behind it for its own.
    let asked = if rev.starts_with(":/") { rev.to_owned() } else { format!("{rev}^{{commit}}") };
    let first = ask(git, program, &["rev-parse", "--verify", &asked])?;
    doubtful(rev, &first.err)?;
    let (answer, id) = (&first, first.text());
    if answer.ok && refs::is_id(&id) && asked != rev {
        return Ok(id);
    }
    if answer.ok && refs::is_id(&id) {
        let peeled = ask(git, program, &["rev-parse", "--verify", &format!("{id}^{{commit}}")])?;
        if peeled.ok && refs::is_id(&peeled.text()) {
            return Ok(peeled.text());
        }
        return Err(is_no_commit(rev, &kind_of(git, program, &id)?));
    }
    if answer.ok {
        let text = format!("{} names more than a commit, or what is not in one", escape(rev.as_bytes()));
        return Err(Failure::new(Kind::Usage, text).hint(LIST).into());
    }
    // Not a commit, or nothing at all: both are refused, each in its own words.
    let anything = ask(git, program, &["rev-parse", "--verify", rev])?;
    doubtful(rev, &anything.err)?;
    if anything.ok && refs::is_id(&anything.text()) {
        let kind = kind_of(git, program, &anything.text())?;
        if matches!(kind.as_str(), "blob" | "tree" | "tag") {
            return Err(is_no_commit(rev, &kind));
        }
        if anything.text() == rev {
            return Err(unknown(git, rev));
        }
        let text = format!("{} is {}, which is not there", escape(rev.as_bytes()), anything.text());
        return Err(Failure::new(Kind::NotFound, text).hint("git fsck tells what is missing").into());
    }
    Err(unknown(git, rev))
}

/// What git warns of while it gives an answer all the same.
fn doubtful(rev: &str, said: &str) -> Result<()> {
    if let Some(line) = said.lines().find(|line| line.contains("only goes back to")) {
        return Err(before_the_log(rev, line.trim_start_matches("warning: ").trim()));
    }
    if said.contains("is ambiguous") {
        let candidates = said.lines().filter_map(|line| line.strip_prefix("hint:   ").map(str::trim));
        let candidates: Vec<String> = candidates.filter(|line| !line.is_empty()).map(str::to_owned).collect();
        return Err(ambiguous(rev, &candidates));
    }
    Ok(())
}

fn before_the_log(rev: &str, what: &str) -> Error {
    let text = format!("{} is before git's record of it: {what}", escape(rev.as_bytes()));
    Failure::new(Kind::NotFound, text)
        .hint("cargo xtask restore-git --at TIME goes by the times of the commits from there on")
        .into()
}

fn ambiguous(rev: &str, candidates: &[String]) -> Error {
    let text = format!("{} is ambiguous: it could mean several things", escape(rev.as_bytes()));
    let mut failure = Failure::new(Kind::Usage, text);
    for candidate in candidates.iter().take(5) {
        failure = failure.hint(format!("it could be {candidate}"));
    }
    failure.hint("name a ref in full (refs/heads/NAME, refs/tags/NAME), or more digits of the id").into()
}

fn kind_of(git: &Git, program: &Program, id: &str) -> Result<String> {
    Ok(ask(git, program, &["cat-file", "-t", id])?.text())
}

fn is_no_commit(rev: &str, kind: &str) -> Error {
    let what = match kind {
        "blob" => "a file",
        "tree" => "a folder",
        "tag" => "a tag of something that is no commit",
        _ => "something that can't be read as a commit",
    };
    Failure::new(Kind::Usage, format!("{} is no commit, but {what}", escape(rev.as_bytes())))
        .hint("name the commit, and the files with --only PATH")
        .hint(LIST)
        .into()
}

fn unknown(git: &Git, rev: &str) -> Error {
    let unborn = recent(git, 1).is_ok_and(|found| found.is_empty());
    let text = if unborn {
        format!("there is no commit {}: nothing is committed on this branch yet", escape(rev.as_bytes()))
    } else {
        format!("there is no commit {}", escape(rev.as_bytes()))
    };
    let failure = Failure::new(Kind::NotFound, text).hint(LIST);
    if git.is_shallow() {
        return failure.hint("this is a shallow clone; git fetch --unshallow gets the rest").into();
    }
    failure.into()
}

fn told(git: &Git, program: &Program, id: &str) -> Result<Commit> {
    listed(git, program, &["-n", "1", id])?
        .pop()
        .with_context(|| format!("git tells nothing of the commit {id}"))
}

/// What git tells of the commits of a walk.
pub(super) fn listed(git: &Git, program: &Program, walk: &[&str]) -> Result<Vec<Commit>> {
    let mut command = program.at(&git.root);
    command.args(["-c", "log.showSignature=false", "log", "-z", "--no-show-signature", "--no-notes"]);
    command.args(["--encoding=UTF-8", "--no-mailmap", "--no-patch", "--format=tformat:%H %ct%n%an%n%s"]);
    command.args(walk).arg("--");
    let log = output(command, Input::Nothing).context("the history can't be read")?;
    let names = names_by_command(git, program)?;
    let mut found = Vec::new();
    for line in paths(&log) {
        let text = String::from_utf8_lossy(line);
        // Neither an author nor a subject has more than one line.
        let mut fields = text.splitn(3, '\n');
        let mut next = || fields.next().with_context(|| format!("git log said {text:?}"));
        let (first, author, subject) = (next()?, next()?, next()?);
        let (id, time) = first.split_once(' ').with_context(|| format!("git log said {text:?}"))?;
        found.push(Commit {
            id: id.to_owned(),
            author: author.to_owned(),
            moment: Instant(time.parse().with_context(|| format!("git log gave the time {time:?}"))?),
            subject: subject.to_owned(),
            refs: names.get(id).cloned().unwrap_or_default(),
        });
    }
    Ok(found)
}

/// Names of commits by their id.
type Names = BTreeMap<String, Vec<String>>;

/// `main`, `tag: v1`, `origin/main`; none for what people don't call a commit by.
fn short_name(name: &str) -> Option<(u8, String)> {
    if let Some(branch) = name.strip_prefix("refs/heads/") {
        return Some((1, branch.to_owned()));
    }
    if let Some(tag) = name.strip_prefix("refs/tags/") {
        return Some((2, format!("tag: {tag}")));
    }
    name.strip_prefix("refs/remotes/").map(|branch| (3, branch.to_owned()))
}

fn sorted(mut all: Vec<(String, (u8, String))>) -> Names {
    all.sort_by(|a, b| a.1.cmp(&b.1));
    let mut names = Names::new();
    for (id, (_, name)) in all {
        names.entry(id).or_default().push(name);
    }
    names
}

fn names_by_command(git: &Git, program: &Program) -> Result<Names> {
    let list = |format: &str| ask(git, program, &["for-each-ref", format]);
    let mut listed = list("--format=%(objectname) %(*objectname) %(refname)")?;
    if !listed.ok {
        // One ref that leads nowhere ends the whole list. Without looking at objects there is one, of which
        // only annotated tags are lost, and names are no more than a help.
        listed = list("--format=%(objectname)  %(refname)")?;
    }
    let mut all = Vec::new();
    for line in String::from_utf8_lossy(&listed.out).lines() {
        let mut words = line.split(' ');
        let (Some(id), Some(peeled), Some(name)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let id = if peeled.is_empty() { id } else { peeled };
        all.extend(short_name(name).map(|name| (id.to_owned(), name)));
    }
    let head = ask(git, program, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
    all.extend(head.ok.then(|| (head.text(), (0, "HEAD".to_owned()))));
    Ok(sorted(all))
}
