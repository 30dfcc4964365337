//! A long history of random commits, always the same one, with everything in it that a working copy can be: names
//! of every kind, modes, links, files that become folders and back, line ends, merges. And what must be there when
//! such a commit was put over a working copy, reckoned from what git itself writes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::dice::Dice;
use super::tree::{Fingerprint, fingerprint};
use super::{git, git_told};

/// The moment of the first commit; each is an hour after the one before.
pub const BEGINNING: i64 = 1_700_000_000;

/// Names that fall together in turn: what is a file in one commit is a folder in another.
const PATHS: [&[u8]; 30] = [
    b"README.md",
    b"docs/guide.md",
    b"docs/name with spaces.md",
    b"docs/new\nline.md",
    b"docs/tab\tand \"quotes\".md",
    b"docs/back\\slash.md",
    b"docs/-leading-dash.md",
    "docs/名前.md".as_bytes(),
    b"-dash",
    b"src/main.py",
    b"src/deep",
    b"src/deep/er",
    b"src/deep/er/and/deeper.py",
    b"src/deep/er/other.py",
    b"run.sh",
    b"tools/run.sh",
    b"link",
    b"link/inside",
    b"link/inside/deeper",
    b"links/one",
    b"links/two",
    b"links",
    b"win.bat",
    b"windows/other.bat",
    b"windows",
    b"model.bin",
    // Not on every system.
    b"docs/caf\xe9.md",
    b"\xff\xfe/\xfd",
    b"names/CASE.md",
    b"names/case.md",
];

fn paths() -> &'static [&'static [u8]] {
    if cfg!(target_os = "linux") { &PATHS } else { &PATHS[..26] }
}

const CONTENTS: [&str; 8] = [
    "",
    "one\n",
    "one\ntwo\nthree\n",
    "#!/bin/sh\necho run\n",
    "no end of line",
    "caf\u{e9} 名前\n",
    "a\0b\n",
    "$Format:%H$ $Id$\n",
];

const TARGETS: [&str; 6] = ["README.md", "docs", "../outside", "/nowhere/at/all", "link", "src/main.py"];

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
    oid sha256:0000000000000000000000000000000000000000000000000000000000000000\nsize 5\n";

/// What all commits ignore, and what some do.
pub const IGNORE: &str = "/private/\n*.log\n*.db\n";
const IGNORES_MORE: &str = "/private/\n*.log\n*.db\n/cellar/\n";

const ATTRIBUTES: [&str; 3] = ["*.bat eol=crlf\n", "*.bat text eol=crlf\n*.bin filter=lfs -text\n", ""];

type Files = BTreeMap<Vec<u8>, (&'static str, Vec<u8>)>;

/// Puts something where it belongs; what can't be beside it goes.
fn place(files: &mut Files, path: &[u8], thing: (&'static str, Vec<u8>)) {
    files.retain(|known, _| !below(known, path) && !below(path, known));
    files.insert(path.to_vec(), thing);
}

/// Whether a path is in a folder, at any depth.
pub fn below(path: &[u8], folder: &[u8]) -> bool {
    path.len() > folder.len() && path.starts_with(folder) && path[folder.len()] == b'/'
}

fn change(files: &mut Files, dice: &mut Dice, number: usize) {
    let path = dice.of(paths()).to_vec();
    match dice.roll(10) {
        0 | 1 => drop(files.remove(&path)),
        // Renamed as it is.
        2 => {
            let other = files.keys().nth(dice.place(files.len().max(1))).cloned();
            if let Some(thing) = other.and_then(|other| files.remove(&other)) {
                place(files, &path, thing);
            }
        }
        3 | 4 => {
            if let Some((mode, _)) = files.get_mut(&path).filter(|(mode, _)| *mode != "120000") {
                *mode = if *mode == "100644" { "100755" } else { "100644" };
            }
        }
        5 => place(files, &path, ("120000", dice.of(&TARGETS).as_bytes().to_vec())),
        6 => {
            let attributes = dice.of(&ATTRIBUTES).as_bytes().to_vec();
            place(files, b".gitattributes", ("100644", attributes));
            let ignore = *dice.of(&[IGNORE, IGNORES_MORE]);
            place(files, b".gitignore", ("100644", ignore.as_bytes().to_vec()));
        }
        _ => {
            let mode = *dice.of(&["100644", "100644", "100755"]);
            let mut content = dice.of(&CONTENTS).as_bytes().to_vec();
            if path.ends_with(b".bin") {
                content = POINTER.as_bytes().to_vec();
            } else if dice.roll(2) == 0 {
                content.extend(format!("of commit {number}\n").bytes());
            }
            place(files, &path, (mode, content));
        }
    }
}

/// The stream of one commit: everything in it anew.
fn write(stream: &mut Vec<u8>, branch: &str, number: usize, parents: &[usize], files: &Files) {
    let time = BEGINNING + 3600 * i64::try_from(number).unwrap();
    let message = format!("Commit {number}");
    let (mark, who) = (number + 1, format!("Somebody <somebody@localhost> {time} +0000"));
    let head = format!(
        "commit refs/heads/{branch}\nmark :{mark}\nauthor {who}\ncommitter {who}\ndata {}\n{message}\n",
        message.len()
    );
    stream.extend(head.bytes());
    for (at, parent) in parents.iter().enumerate() {
        let word = if at == 0 { "from" } else { "merge" };
        stream.extend(format!("{word} :{}\n", parent + 1).bytes());
    }
    stream.extend(b"deleteall\n");
    for (path, (mode, content)) in files {
        let quoted: String = path.iter().map(|byte| format!("\\{byte:03o}")).collect();
        stream.extend(format!("M {mode} inline \"{quoted}\"\ndata {}\n", content.len()).bytes());
        stream.extend(content);
        stream.push(b'\n');
    }
}

/// Makes a repository with so many commits on `main`, and `main` checked out; every twentieth is a merge of a
/// branch with one commit of its own. Returns all of them, oldest first.
pub fn import(project: &Path, count: usize, seed: u64) -> Vec<String> {
    usual_umask();
    git(project, &["init", "-q", "-b", "main"]);
    let mut dice = Dice::new(seed);
    let mut files = Files::new();
    place(&mut files, b".gitignore", ("100644", IGNORE.as_bytes().to_vec()));
    for n in 0..12 {
        let path = format!("data/part {n}/numbers.txt");
        place(&mut files, path.as_bytes(), ("100644", format!("{n}\n").into_bytes()));
    }
    let mut stream = Vec::new();
    let mut parents = Vec::new();
    for number in 0..count {
        if number % 20 == 19 {
            let mut theirs = files.clone();
            change(&mut theirs, &mut dice, number);
            change(&mut theirs, &mut dice, number);
            write(&mut stream, "side", number, &parents, &theirs);
            theirs.retain(|path, thing| files.get(path) != Some(thing));
            theirs.into_iter().for_each(|(path, thing)| place(&mut files, &path, thing));
            parents.push(number);
            continue;
        }
        for _ in 0..=dice.roll(6) {
            change(&mut files, &mut dice, number);
        }
        write(&mut stream, "main", number, &parents, &files);
        parents = vec![number];
    }
    stream.extend(b"done\n");
    git_told(project, BEGINNING, &["fast-import", "--quiet", "--done", "--date-format=raw"], &stream);
    git(project, &["reset", "-q", "--hard", "main"]);
    git(project, &["rev-list", "--reverse", "--date-order", "main"]).lines().map(str::to_owned).collect()
}

/// New files are for everybody to read, here and in whatever is started from here.
fn usual_umask() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
}

/// A path below a folder, by its raw name.
pub fn at(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

/// A copy of a repository's git folder, to ask git itself in.
pub struct Checkouts(PathBuf);

impl Checkouts {
    /// Copies it as it is now into a new folder.
    pub fn copy(project: &Path, to: PathBuf) -> Checkouts {
        usual_umask();
        fs::create_dir(&to).unwrap();
        let done = Command::new("cp").arg("-a").arg(project.join(".git")).arg(&to).status().unwrap();
        assert!(done.success());
        // Whoever holds it works elsewhere.
        drop(fs::remove_file(to.join(".git/index.lock")));
        Checkouts(to)
    }

    /// What `git checkout` of a commit writes into an empty folder: no index, no hook, the usual umask.
    pub fn of(&self, commit: &str) -> Fingerprint {
        for entry in fs::read_dir(&self.0).unwrap() {
            let path = entry.unwrap().path();
            match fs::symlink_metadata(&path).unwrap().is_dir() {
                true if path.ends_with(".git") => {}
                true => fs::remove_dir_all(&path).unwrap(),
                false => fs::remove_file(&path).unwrap(),
            }
        }
        // There is none the first time.
        drop(fs::remove_file(self.0.join(".git/index")));
        let output = Command::new("git")
            .args(["-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null"])
            .args(["checkout", "-q", "-f", "--detach", commit])
            .current_dir(&self.0)
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        without_git(fingerprint(&self.0, false))
    }
}

/// The working files only.
pub fn without_git(mut files: Fingerprint) -> Fingerprint {
    files.retain(|name, _| name != b".git" && !name.starts_with(b".git/"));
    files
}

/// Everything that the index names.
pub fn tracked(project: &Path) -> BTreeSet<Vec<u8>> {
    let told = git_told(project, BEGINNING, &["ls-files", "-z"], b"");
    told.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// What must be in the working copy when a commit was put over it: of what was there what git tracks and what is
/// in the way is gone, folders that only held such things too, and everything of the commit is there.
pub fn over(before: &Fingerprint, tracked: &BTreeSet<Vec<u8>>, commit: &Fingerprint) -> Fingerprint {
    let is_in_way = |path: &[u8]| {
        let mut leaves = commit.iter().filter(|(_, entry)| entry.kind != "dir").map(|(name, _)| name);
        leaves.any(|name| name == path || below(name, path) || below(path, name))
    };
    let is_folder = |path: &[u8]| before.get(path).is_some_and(|entry| entry.kind == "dir");
    let mut after = Fingerprint::new();
    for (path, entry) in before.iter().filter(|(_, entry)| entry.kind != "dir") {
        if !tracked.contains(path) && !is_in_way(path) {
            after.insert(path.clone(), entry.clone());
        }
    }
    // From the depths up, so that what is in a folder is decided before it.
    let mut folders: Vec<&Vec<u8>> = before.keys().filter(|path| is_folder(path)).collect();
    folders.sort_by_key(|path| std::cmp::Reverse(path.iter().filter(|byte| **byte == b'/').count()));
    for folder in folders {
        let becomes_another =
            commit.iter().any(|(name, entry)| entry.kind != "dir" && (name == folder || below(folder, name)));
        let was_empty = !before.keys().any(|path| below(path, folder));
        let holds = after.keys().any(|path| below(path, folder));
        if !becomes_another && (was_empty || holds) {
            after.insert(folder.clone(), before[folder].clone());
        }
    }
    for (path, entry) in commit {
        let mut entry = entry.clone();
        match before.get(path).filter(|there| there.kind == entry.kind) {
            // Whether it can be run is all that git knows of a mode.
            Some(there) if entry.kind == "file" => {
                let may_read = there.mode & 0o444;
                entry.mode = match entry.mode & 0o100 != 0 {
                    true => there.mode | (may_read >> 2),
                    false => there.mode & !0o111,
                };
            }
            Some(there) => entry.mode = there.mode,
            None => {}
        }
        after.insert(path.clone(), entry);
    }
    after
}

/// Writes a file, or a link where `target` says so, whatever was in its place; false where something above it is
/// no folder.
pub fn put(project: &Path, name: &[u8], content: &[u8], is_link: bool) -> bool {
    let path = at(project, name);
    let mut above: Vec<&Path> = path.ancestors().skip(1).take_while(|above| *above != project).collect();
    above.reverse();
    for folder in above {
        match fs::symlink_metadata(folder) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return false,
            Err(_) => fs::create_dir(folder).unwrap(),
        }
    }
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path).unwrap(),
        Ok(_) => fs::remove_file(&path).unwrap(),
        Err(_) => {}
    }
    if is_link {
        symlink(OsStr::from_bytes(content), &path).unwrap();
    } else {
        fs::write(&path, content).unwrap();
    }
    true
}

/// Changes of every sort in a working copy: staged, not staged, untracked, ignored, some of it in the way of a
/// commit that is about to come.
pub fn unsettle(project: &Path, dice: &mut Dice, coming: &Fingerprint) {
    let known: Vec<Vec<u8>> =
        tracked(project).into_iter().filter(|name| !name.starts_with(b".git")).collect();
    let file = |name: &[u8], content: &str| put(project, name, content.as_bytes(), false);
    let inside = |name: &[u8]| [name, b"/untracked inside.md"].concat();
    staged(project, dice, &known);
    file(any(dice, &known), "not staged\n");
    file(any(dice, &known), "not staged either\n");
    put(project, any(dice, &known), b"src/main.py", true);
    // What was a file is a folder now.
    file(&inside(any(dice, &known)), "untracked\n");
    for n in 0..6 {
        let path = at(project, any(dice, &known));
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        match n {
            0 => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
                fs::write(path.join("untracked.md"), "untracked\n").unwrap();
            }
            1 => fs::remove_file(&path).unwrap(),
            _ => set_mode(&path, *dice.of(&[0o600, 0o640, 0o700, 0o755, 0o664])),
        }
    }
    in_the_way(project, dice, coming);
    file(b"notes/untracked.md", "untracked\n");
    file(b"cellar/ignored now and then.md", "a bottle\n");
    file(b"private/secret.md", "for one pair of eyes\n");
    set_mode(&project.join("private/secret.md"), 0o600);
    file(b"run.log", "a line\n");
    file(b"data/part 3/private.log", "a line\n");
    fs::create_dir_all(project.join("empty/deeper")).unwrap();
}

fn any<'a>(dice: &mut Dice, names: &'a [Vec<u8>]) -> &'a [u8] {
    &names[dice.place(names.len())]
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Changed, added, removed, meant to be added, and no longer tracked.
fn staged(project: &Path, dice: &mut Dice, known: &[Vec<u8>]) {
    let stage = |words: &[&str], name: &[u8]| {
        let mut all: Vec<&OsStr> = vec![OsStr::new("--literal-pathspecs")];
        all.extend(words.iter().map(OsStr::new).chain([OsStr::new("--"), OsStr::from_bytes(name)]));
        git_told(project, BEGINNING, &all, b"");
    };
    let add = |name: &[u8], content: &str, words: &[&str]| {
        if put(project, name, content.as_bytes(), false) {
            stage(words, name);
        }
    };
    stage(&["rm", "-q", "--cached"], any(dice, known));
    stage(&["rm", "-q", "-f", "--ignore-unmatch"], any(dice, known));
    add(any(dice, known), "staged\n", &["add", "-f"]);
    add(any(dice, known), "staged, too\n", &["add", "-f"]);
    add(b"staged/new.md", "staged\n", &["add"]);
    add(b"meant/to be added.md", "meant\n", &["add", "-N"]);
}

/// Untracked files where the commit has a file, a folder, or something below.
fn in_the_way(project: &Path, dice: &mut Dice, coming: &Fingerprint) {
    let known = tracked(project);
    let is_free = |name: &[u8]| {
        let by = |known: &Vec<u8>| known == name || below(known, name) || below(name, known);
        fs::symlink_metadata(at(project, name)).is_err() && !known.iter().any(by)
    };
    let new: Vec<&Vec<u8>> =
        coming.keys().filter(|name| is_free(name) && !name.starts_with(b".git")).collect();
    for n in 0..new.len().min(4) {
        let name = *dice.of(&new);
        match n % 2 {
            0 => drop(put(project, name, b"in the way\n", false)),
            _ => drop(put(project, &[name, &b"/in the way/deep.md"[..]].concat(), b"in the way\n", false)),
        }
    }
}
