//! Backup after backup of one repository, each built on the one before: each comes back as the repository was.

use super::*;
use crate::base::facts::GitFacts;
use crate::git::increment::{Beginning, Earlier};

/// An extracted backup.
struct Saved {
    source: PathBuf,
    facts: GitFacts,
}

impl Saved {
    /// What the next one can be built on.
    fn earlier(&self) -> Option<Earlier> {
        let files = bundle::files(&self.source, &self.facts).unwrap();
        let beginnings: Vec<Beginning> = files
            .iter()
            .zip(&self.facts.bundles)
            .map(|(path, name)| {
                let (header, _) = bundle::header(path).unwrap();
                let mut bytes = fs::read(path).unwrap();
                let size = bytes.len() as u64;
                bytes.truncate(header.pack_at as usize);
                Beginning { name: name.clone(), size, bytes }
            })
            .collect();
        Earlier::read(&self.facts, &beginnings).unwrap()
    }
}

/// A repository and its backups.
struct Row {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    saved: Vec<Saved>,
}

impl Row {
    fn new() -> Row {
        let sandbox = Sandbox::new(&[]);
        let text = |seed: usize| (0..2000).map(|n| format!("{}\n", n * seed % 977)).collect::<String>();
        for number in 1..6 {
            sandbox.commit(&format!("file{number}.txt"), &text(number));
        }
        Row { sandbox, folder: in_memory::tempdir().unwrap(), saved: Vec::new() }
    }

    /// One backup more, which comes back; how many bundles came from the one before, and how many bytes are new.
    #[track_caller]
    fn back_up(&mut self) -> (usize, u64) {
        let saved = self.save();
        self.comes_back();
        saved
    }

    #[track_caller]
    fn save(&mut self) -> (usize, u64) {
        let source = self.folder.path().join(format!("{}", self.saved.len()));
        let scratch = in_memory::tempdir().unwrap();
        let earlier = self.saved.last().and_then(Saved::earlier);
        let git = opened(&self.sandbox.root, Program::find());
        let capture = git.capture(scratch.path(), &BTreeSet::new(), &|_| true, earlier.as_ref()).unwrap();
        assert!(capture.findings.iter().all(|finding| !finding.is_problem()), "{:?}", capture.findings);
        fs::create_dir_all(source.join("bundles")).unwrap();
        for name in &capture.carried {
            let before = &self.saved.last().unwrap().source;
            fs::copy(before.join("bundles").join(name), source.join("bundles").join(name)).unwrap();
        }
        let mut new = 0;
        for (path, name) in capture.bundles.iter().zip(&capture.facts.bundles[capture.carried.len()..]) {
            new += fs::copy(path, source.join("bundles").join(name)).unwrap();
        }
        for (name, path) in &capture.state {
            let path_to = name.below(&source).unwrap();
            fs::create_dir_all(path_to.parent().unwrap()).unwrap();
            fs::copy(path, path_to).unwrap();
        }
        assert_eq!(capture.facts.root_commits, git.root_commits().unwrap());
        self.saved.push(Saved { source, facts: capture.facts });
        (capture.carried.len(), new)
    }

    /// The newest backup gives the repository as it is, with the git command and without.
    #[track_caller]
    fn comes_back(&self) {
        let Saved { source, facts } = self.saved.last().unwrap();
        let expected = self.sandbox.observe(&self.sandbox.root);
        for program in [Program::find(), None] {
            let scratch = in_memory::tempdir().unwrap();
            let damage = check::check_with(program.as_ref(), source, facts, scratch.path()).unwrap();
            assert!(damage.is_empty(), "{damage:?}");
            let target = scratch.path().join("target");
            copy_files(&self.sandbox.root, &target);
            let done = put_back_with(program.as_ref(), source, facts, &target, false).unwrap();
            assert!(done.findings.is_empty(), "{:?}", done.findings);
            let found = self.sandbox.observe(&target);
            for (what, text) in &expected {
                assert_eq!(&found[what], text, "{what}, git command: {}", program.is_some());
            }
        }
    }

    fn git(&self, arguments: &[&str]) {
        self.sandbox.git(arguments);
    }
}

#[test]
fn only_what_came_since_is_written() {
    let mut row = Row::new();
    let (carried, whole) = row.back_up();
    assert_eq!(carried, 0);
    assert_eq!(row.back_up(), (1, 0), "nothing happened since");
    row.sandbox.commit("new.txt", "new\n");
    let (carried, new) = row.back_up();
    assert!(carried == 1 && 0 < new && new < whole / 4, "{carried}, {new} of {whole} bytes");
    assert_eq!(row.back_up(), (2, 0));
    // Refs that lead to what is there already.
    row.git(&["branch", "other", "HEAD~2"]);
    row.git(&["tag", "-a", "-m", "m", "annotated", "HEAD~1"]);
    assert_eq!(row.back_up().0, 2);
    row.git(&["branch", "third", "HEAD~3"]);
    assert_eq!(row.back_up().0, 3);
    // Unsaved work, staged and not.
    row.sandbox.write("file1.txt", "staged\n");
    row.git(&["add", "file1.txt"]);
    row.sandbox.write("file1.txt", "unstaged\n");
    row.sandbox.write("untracked.txt", "untracked\n");
    assert_eq!(row.back_up().0, 4);
    row.git(&["stash", "-q"]);
    assert_eq!(row.back_up().0, 5);
    row.git(&["stash", "drop", "-q"]);
    assert_eq!(row.back_up().0, 0, "what was in the stash does not stay");
}

/// A deleted branch is not there again, and a rewritten one is as it is now; what nobody leads to any more does not
/// stay for ever.
#[test]
fn what_was_rewritten_or_deleted_gives_a_whole_one() {
    let mut row = Row::new();
    row.git(&["branch", "side", "HEAD~1"]);
    row.git(&["checkout", "-q", "side"]);
    row.sandbox.commit("side.txt", "side\n");
    row.git(&["checkout", "-q", "main"]);
    assert_eq!(row.back_up().0, 0);
    row.git(&["commit", "-q", "--amend", "-m", "amended"]);
    assert_eq!(row.back_up().0, 1, "the reflog leads to what was rewritten");
    row.git(&["branch", "-q", "-D", "side"]);
    assert_eq!(row.back_up().0, 2, "the reflog of HEAD leads to what was deleted");
    row.git(&["branch", "other", "HEAD~2"]);
    row.git(&["checkout", "-q", "other"]);
    row.sandbox.commit("other.txt", "other\n");
    row.git(&["checkout", "-q", "main"]);
    row.back_up();
    row.git(&["branch", "-q", "-D", "other"]);
    row.git(&["reflog", "expire", "--expire=now", "--all"]);
    assert_eq!(row.back_up().0, 0, "nothing leads there any more");
    // One that was merged leads to nothing else.
    row.git(&["branch", "merged", "HEAD~1"]);
    assert_eq!(row.back_up().0, 1);
    row.git(&["branch", "-q", "-d", "merged"]);
    assert_eq!(row.back_up().0, 2, "nothing is lost with a branch that was merged");
    row.git(&["reset", "-q", "--hard", "HEAD~1"]);
    assert_eq!(row.back_up().0, 3, "back by one");
    // Forth and back again: what only the reflog knows is new, once.
    row.sandbox.commit("short.txt", "short\n");
    row.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let (carried, new) = row.back_up();
    assert!(carried == 4 && new > 0);
    assert_eq!(row.back_up(), (5, 0));
    // Another repository in the same place, seen from a detached HEAD.
    row.git(&["checkout", "-q", "--detach"]);
    row.git(&["branch", "-q", "-D", "main"]);
    fs::remove_file(row.sandbox.root.join(".git/ORIG_HEAD")).unwrap();
    row.git(&["reflog", "expire", "--expire=now", "--all"]);
    row.back_up();
    row.git(&["checkout", "-q", "--orphan", "main"]);
    row.sandbox.commit("another.txt", "another\n");
    row.git(&["reflog", "expire", "--expire=now", "--all"]);
    assert_eq!(row.back_up().0, 0, "HEAD alone led there");
}

/// A reflog mentions what was not there to be packed, and is there again later.
#[test]
fn what_was_missing_then_is_not_taken_for_saved() {
    let mut row = Row::new();
    row.git(&["checkout", "-q", "--detach"]);
    row.sandbox.commit("lost.txt", "lost\n");
    let id = row.sandbox.git(&["rev-parse", "HEAD"]);
    row.git(&["checkout", "-q", "main"]);
    let (start, end) = id.trim().split_at(2);
    let object = row.sandbox.root.join(".git/objects").join(start).join(end);
    let aside = row.folder.path().join("aside");
    fs::rename(&object, &aside).unwrap();
    let torn = format!("{} {}", id.trim(), row.sandbox.git(&["rev-parse", "main"]).trim());
    let log = row.sandbox.root.join(".git/logs/HEAD");
    let whole = fs::read(&log).unwrap();
    row.save();
    fs::rename(&aside, &object).unwrap();
    // And half a line, as a crash leaves it.
    fs::write(&log, [&whole, torn.as_bytes()].concat()).unwrap();
    row.save();
    fs::write(&log, &whole).unwrap();
    row.git(&["branch", "rescued", id.trim()]);
    row.back_up();
}

#[test]
fn a_long_row_begins_anew() {
    let mut row = Row::new();
    row.back_up();
    let mut carried = Vec::new();
    for number in 0..20 {
        row.sandbox.commit("counter.txt", &format!("{number}\n"));
        carried.push(row.back_up().0);
    }
    assert_eq!(carried[..16], (1..=16).collect::<Vec<_>>());
    assert_eq!(carried[16..18], [0, 1]);
    // Too large ones, too.
    row.sandbox.write("large.txt", &noise(400_000));
    row.sandbox.commit("small.txt", "with a large one\n");
    let (before, new) = row.back_up();
    assert!(before > 0 && new > 100_000);
    row.sandbox.commit("small.txt", "small\n");
    assert_eq!(row.back_up().0, 0, "half as large as the first one");
}

/// Text that does not compress well, the same each time.
fn noise(length: usize) -> String {
    let mut state = 9_u32;
    let next = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + (state >> 24) as u8 % 90)
    });
    next.take(length).collect()
}

/// A history that is damaged by now is whole in the bundles that are carried over.
#[test]
fn damage_of_what_is_saved_already_does_not_matter() {
    let mut row = Row::new();
    // One that is not in the index any more: git itself refuses to commit without the others.
    row.sandbox.commit("file1.txt", "other\n");
    row.back_up();
    let blob = row.sandbox.git(&["rev-parse", "HEAD~1:file1.txt"]);
    let (start, end) = blob.trim().split_at(2);
    fs::remove_file(row.sandbox.root.join(".git/objects").join(start).join(end)).unwrap();
    let earlier = row.saved.last().and_then(Saved::earlier);
    row.sandbox.commit("new.txt", "new\n");
    let git = opened(&row.sandbox.root, Program::find());
    let scratch = in_memory::tempdir().unwrap();
    let capture = git.capture(scratch.path(), &BTreeSet::new(), &|_| true, earlier.as_ref()).unwrap();
    assert_eq!(capture.carried.len(), 1, "{:?}", capture.findings);
}

/// A bit of a pack fell over: git would copy the object as it is, and nobody would know before the worst day.
#[test]
fn what_is_packed_and_damaged_is_told() {
    let mut row = Row::new();
    row.sandbox.write("large.txt", &noise(200_000));
    row.sandbox.commit("small.txt", "with a large one\n");
    row.git(&["repack", "-adq"]);
    let folder = row.sandbox.root.join(".git/objects/pack");
    let pack = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let pack = pack.filter(|path| path.extension().is_some_and(|end| end == "pack")).last().unwrap();
    let whole = fs::read(&pack).unwrap();
    let mut spoiled = whole.clone();
    let middle = whole.len() / 2;
    spoiled[middle] ^= 4;
    fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&pack, &spoiled).unwrap();
    let git = opened(&row.sandbox.root, Program::find());
    let scratch = in_memory::tempdir().unwrap();
    let capture = git.capture(scratch.path(), &BTreeSet::new(), &|_| true, None).unwrap();
    let told = capture.findings.iter().find(|finding| finding.code == "git-history" && finding.is_problem());
    assert!(told.is_some(), "{:?}", capture.findings);
    // The same where the objects are new since the backup before.
    fs::write(&pack, &whole).unwrap();
    row.back_up();
    row.sandbox.write("new.txt", &noise(150_000));
    row.sandbox.commit("more.txt", "more\n");
    row.git(&["repack", "-dq"]);
    let newer = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let newer = newer.filter(|path| path.extension().is_some_and(|end| end == "pack") && *path != pack);
    let newer = newer.last().unwrap();
    let mut spoiled = fs::read(&newer).unwrap();
    let middle = spoiled.len() / 2;
    spoiled[middle] ^= 4;
    fs::set_permissions(&newer, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&newer, &spoiled).unwrap();
    let earlier = row.saved.last().and_then(Saved::earlier);
    let scratch = in_memory::tempdir().unwrap();
    let capture = git.capture(scratch.path(), &BTreeSet::new(), &|_| true, earlier.as_ref()).unwrap();
    assert!(capture.carried.is_empty());
    assert!(capture.findings.iter().any(|finding| finding.code == "git-history"), "{:?}", capture.findings);
}
