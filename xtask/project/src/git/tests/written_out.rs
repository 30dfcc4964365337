//! A commit written out is what `git checkout` writes into an empty folder, with the git command and without.

use std::os::unix::fs::PermissionsExt;

use super::write_out::{Beside, Mode, WrittenOut, write_out};
use super::*;
use crate::base::{file_facts, os_name};

/// Mode and content of everything below a folder; of a link where it points.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_path_buf();
            let meta = fs::symlink_metadata(&path).unwrap();
            if name == Path::new(".git") {
                continue;
            }
            let content = if meta.is_symlink() {
                os_name::from_os(fs::read_link(&path).unwrap().as_os_str()).unwrap()
            } else if meta.is_dir() {
                open.push(path);
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            found.insert(name, (meta.permissions().mode(), content));
        }
    }
    found
}

/// What git itself writes into an empty folder: in a copy of the git folder, without an index.
pub fn by_git(sandbox: &Sandbox, root: &Path, rev: &str) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let folder = in_memory::tempdir().unwrap();
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let done = Command::new("cp").arg("-a").arg(root.join(".git")).arg(&copy).status().unwrap();
    assert!(done.success());
    let _ = fs::remove_file(copy.join(".git/index"));
    let script = "umask 022; exec git -c core.hooksPath=/dev/null checkout -q -f --detach \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh", rev])
        .current_dir(&copy)
        .env("HOME", sandbox.path("no-home"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    tree(&copy)
}

/// Writes a commit out with and without the git command and compares; nothing in the project changes.
pub fn same_as_git(sandbox: &Sandbox, root: &Path, rev: &str, also_without: bool) -> WrittenOut {
    let expected = by_git(sandbox, root, rev);
    let mut result = None;
    let all = [(true, false), (true, true), (false, false)];
    for (with, beside) in all.into_iter().filter(|(with, _)| *with || also_without) {
        let git = opened(root, if with { Program::find() } else { None });
        let before = (snapshot(root), snapshot(&git.common));
        let id = revision::resolve(&git, rev).unwrap();
        let folder = in_memory::tempdir().unwrap();
        let to = folder.path().join("to");
        let working_copy = Beside { root, wants: &|_, _| true };
        let written = write_out(&git, &id, &to, beside.then_some(&working_copy)).unwrap();
        for path in written.unwritten.keys() {
            // What was not written lies in the working copy already.
            let place = path.below(&to).unwrap();
            assert!(beside && !place.exists());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(path.below(root).unwrap(), &place).unwrap();
            let executable = written.tracked[path] == Mode::Executable;
            file_facts::set_mode(&place, if executable { 0o755 } else { 0o644 }).unwrap();
        }
        assert!(before == (snapshot(root), snapshot(&git.common)), "something changed");
        let found = tree(&to);
        for (path, thing) in &expected {
            let there =
                found.get(path).map(|(mode, bytes)| (format!("{mode:o}"), bytes.escape_ascii().to_string()));
            let thing = (format!("{:o}", thing.0), thing.1.escape_ascii().to_string());
            assert_eq!(
                there,
                Some(thing),
                "{} at {rev}, git command: {with}, beside: {beside}",
                path.display()
            );
        }
        assert_eq!(found.len(), expected.len(), "{:?}", found.keys());
        for (path, mode) in &written.tracked {
            let path = PathBuf::from(os_name::to_os(path.bytes()).unwrap());
            let bits = match mode {
                Mode::File => 0o100_644,
                Mode::Executable => 0o100_755,
                Mode::Link => 0o120_777,
                Mode::Submodule => 0o40_755,
            };
            assert_eq!(expected[&path].0, bits, "{}", path.display());
        }
        let things = expected.values().filter(|(mode, _)| mode & 0o170_000 != 0o40_000).count();
        let submodules = written.tracked.values().filter(|mode| **mode == Mode::Submodule).count();
        assert_eq!(written.tracked.len(), things + submodules);
        result.get_or_insert(written);
    }
    result.unwrap()
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())]
    }
}

const PATHS: [&str; 18] = [
    "a.txt",
    "b.bin",
    "c.c",
    "dir",
    "dir/a.txt",
    "dir/sub",
    "dir/sub/c.c",
    "dir/sub/d.txt",
    "link",
    "-x.txt",
    "new\\nline.txt",
    "\\303\\274 \\361.c",
    "!first/a.txt",
    "!first/c.c",
    "run.sh",
    "deep/er/and/deeper/e.txt",
    "e.txt",
    "E.txt",
];

const ATTRIBUTES: [&str; 16] = [
    "*.txt text",
    "*.txt text=auto eol=crlf",
    "*.c ident",
    "*.txt eol=crlf",
    "* text=auto",
    "*.bin binary",
    "*.txt working-tree-encoding=UTF-16",
    "*.txt working-tree-encoding=utf-16le-bom",
    "*.c export-ignore",
    "*.txt export-subst",
    "[attr]mine text eol=crlf\n*.c mine ident",
    "dir/** eol=crlf ident",
    "*.c filter=evil",
    "*.c crlf",
    "*.txt -text",
    "*.c working-tree-encoding=UTF-32BE text",
];

const CONTENTS: [&[u8]; 16] = [
    b"long enough that one odd byte alone makes no binary of it, whatever is counted: so it is the CR at the end of \
      this line that counts, and not the number of odd bytes in it\r\nlast\n",
    b"one\ntwo\n",
    b"one\r\ntwo\r\n",
    b"one\r\ntwo\nthree",
    b"",
    b"\n",
    b"a\0b\n",
    b"$Id$\n$Id: old $ $Id: x 1.2 me $\n",
    b"$Id:$ $Id: \n $\n",
    b"caf\xe9\n",
    "ünïcode 😀\n".as_bytes(),
    b"\r\n\n\r",
    b"$Format:%H$\n",
    b"\x01\x02\n",
    b"text\n\x1a",
    b"\xef\xbb\xbfmark\n",
];

/// Forty commits, made without any filter or attribute on the way in.
fn history(sandbox: &Sandbox, seed: u64) {
    let mut dice = Dice(seed);
    let mut files: BTreeMap<String, (&str, Vec<u8>)> = BTreeMap::new();
    let mut stream = Vec::new();
    for commit in 0..40 {
        for _ in 0..=dice.roll(5) {
            let mut path = dice.of(&PATHS).to_owned();
            let mut thing = (dice.of(&["100644", "100644", "100755", "120000"]), dice.of(&CONTENTS).to_vec());
            match dice.roll(8) {
                0 => drop(files.remove(&path)),
                // Renamed as it is.
                1 => {
                    let Some(other) = files.keys().nth(dice.roll(files.len().max(1))).cloned() else {
                        continue;
                    };
                    thing = files.remove(&other).unwrap();
                }
                2 | 3 => {
                    path = dice
                        .of(&[".gitattributes", "dir/.gitattributes", "!first/.gitattributes"])
                        .to_owned();
                    let lines: Vec<&str> = (0..=dice.roll(3)).map(|_| dice.of(&ATTRIBUTES)).collect();
                    thing = ("100644", (lines.join("\n") + "\n").into_bytes());
                }
                _ => {}
            }
            if thing.0 == "120000" {
                let target = dice.of(&["a.txt", "dir", "../outside", "/nowhere", "caf\u{e9}"]);
                thing.1 = target.as_bytes().to_vec();
            }
            files.retain(|known, _| {
                !known.starts_with(&format!("{path}/")) && !path.starts_with(&format!("{known}/"))
            });
            files.insert(path, thing);
        }
        let time = 1_700_000_000 + commit * 3600;
        stream.extend(
            format!("commit refs/heads/main\ncommitter T <t@example.com> {time} +0000\ndata 2\nc\n").bytes(),
        );
        stream.extend(b"deleteall\n");
        for (path, (mode, content)) in &files {
            stream.extend(format!("M {mode} inline \"{path}\"\ndata {}\n", content.len()).bytes());
            stream.extend(content);
            stream.push(b'\n');
        }
    }
    let mut command = Command::new("git");
    command
        .args(["fast-import", "--quiet", "--force"])
        .current_dir(&sandbox.root)
        .env("HOME", sandbox.path("no-home"));
    let output = run::output(command, run::Input::Bytes(&stream));
    output.unwrap();
}

fn random_commits(seed: u64, settings: &[&[(&str, &str)]]) {
    let sandbox = Sandbox::new(&[]);
    history(&sandbox, seed);
    for back in 0..40 {
        for (key, _) in settings.iter().flat_map(|pairs| pairs.iter()) {
            sandbox.try_git(&sandbox.root, &["config", "--unset-all", key]);
        }
        for (key, value) in settings[back % settings.len()] {
            sandbox.git(&["config", key, value]);
        }
        same_as_git(&sandbox, &sandbox.root, &format!("main~{back}"), true);
    }
}

#[test]
fn forty_random_commits() {
    random_commits(1, &[&[]]);
}

#[test]
fn forty_random_commits_under_settings_of_line_ends() {
    let settings: [&[(&str, &str)]; 5] = [
        &[("core.autocrlf", "true")],
        &[("core.eol", "crlf")],
        &[("core.autocrlf", "input"), ("core.eol", "lf")],
        &[("core.symlinks", "false"), ("core.filemode", "false")],
        &[],
    ];
    random_commits(2, &settings);
}

#[test]
fn attributes_of_the_user_and_of_the_repository_count() {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("a.txt", "one\n");
    sandbox.commit("b.c", "$Id$\n");
    let file = sandbox.path("attributes");
    fs::write(&file, "*.c ident\n").unwrap();
    sandbox.git(&["config", "core.attributesFile", file.to_str().unwrap()]);
    fs::create_dir_all(sandbox.root.join(".git/info")).unwrap();
    fs::write(sandbox.root.join(".git/info/attributes"), "*.txt eol=crlf\n").unwrap();
    // What stands in the working copy now is of another time.
    sandbox.write(".gitattributes", "* -text -ident\n");
    let found = by_git(&sandbox, &sandbox.root, "HEAD");
    assert_eq!(found[Path::new("a.txt")].1, b"one\r\n");
    assert!(found[Path::new("b.c")].1.len() > 40);
    same_as_git(&sandbox, &sandbox.root, "HEAD", true);
}

#[test]
fn unsaved_work_and_operations_under_way_do_no_harm() {
    let sandbox = Sandbox::new(&[]);
    sandbox.commit("a.txt", "one\n");
    sandbox.git(&["switch", "-q", "-c", "side"]);
    sandbox.commit("a.txt", "side\n");
    sandbox.git(&["switch", "-q", "main"]);
    sandbox.commit("a.txt", "main\n");
    assert!(!sandbox.try_git(&sandbox.root, &["merge", "side"]).status.success());
    sandbox.write("b.txt", "meant to be added\n");
    sandbox.git(&["add", "-N", "b.txt"]);
    same_as_git(&sandbox, &sandbox.root, "HEAD~1", true);
    for git in [opened(&sandbox.root, Program::find()), opened(&sandbox.root, None)] {
        let tracked = tracked::tracked(&git).unwrap();
        assert!(tracked[b"a.txt".as_slice()].conflicted && !tracked[b"b.txt".as_slice()].conflicted);
        assert_eq!(tracked.len(), 2);
        assert_eq!(tracked::with_command(&opened(&sandbox.root, Program::find())).unwrap(), tracked);
    }
}

#[test]
fn a_sparse_checkout_leaves_out_what_git_leaves_out() {
    for more in [&[][..], &["--sparse-index"][..]] {
        let sandbox = Sandbox::new(&[]);
        sandbox.commit("a.txt", "one\n");
        sandbox.commit("in/b.txt", "two\n");
        sandbox.commit("out/deep/c.txt", "three\n");
        sandbox.git(&["rm", "-q", "out/deep/c.txt"]);
        sandbox.commit("out/d.txt", "four\n");
        sandbox.git(&[&["sparse-checkout", "set", "--cone"], more, &["in"]].concat());
        let written = same_as_git(&sandbox, &sandbox.root, "HEAD~1", false);
        let left_out: Vec<String> = written.left_out.iter().map(ToString::to_string).collect();
        assert_eq!(left_out, ["out/deep/c.txt"]);
        assert_eq!(written.findings.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), ["sparse-checkout"]);
        let tracked = tracked::tracked(&opened(&sandbox.root, Program::find())).unwrap();
        assert!(tracked[b"out/d.txt".as_slice()].skipped && !tracked[b"in/b.txt".as_slice()].skipped);
        let git = opened(&sandbox.root, None);
        let error =
            write_out(&git, &named(&git, &git_id(&sandbox, "HEAD")), &sandbox.path("to"), None).unwrap_err();
        assert!(format!("{error:#}").contains("needs the git command"), "{error:#}");
    }
}

/// The commit of an id, which need not be whole.
pub fn named(git: &Git, id: &str) -> revision::Commit {
    revision::resolve(git, id).unwrap()
}

pub fn git_id(sandbox: &Sandbox, rev: &str) -> String {
    sandbox.git(&["rev-parse", rev]).trim().to_owned()
}

#[test]
fn submodules_are_empty_folders_and_named() {
    let sandbox = Sandbox::new(&[]);
    sandbox.git_in(&sandbox.path(""), &["init", "-q", "-b", "main", "inner"]);
    let inner = sandbox.path("inner");
    sandbox.git_in(&inner, &["commit", "-q", "--allow-empty", "-m", "i"]);
    sandbox.git(&["submodule", "add", "-q", inner.to_str().unwrap(), "sub/inner"]);
    sandbox.git(&["commit", "-q", "-m", "with a submodule"]);
    let same = same_as_git(&sandbox, &sandbox.root, "HEAD", true);
    assert!(same.findings.iter().all(|finding| finding.code == "submodules" && !finding.is_problem()));
    assert_eq!(same.findings.len(), 1);
    sandbox.git_in(&sandbox.root.join("sub/inner"), &["commit", "-q", "--allow-empty", "-m", "j"]);
    sandbox.git(&["commit", "-q", "-a", "-m", "moved"]);
    let moved = same_as_git(&sandbox, &sandbox.root, "HEAD~1", true);
    assert!(
        moved.findings[0].is_problem() && moved.findings[0].message.contains("sub/inner at "),
        "{moved:?}"
    );
}

#[test]
fn pointers_of_lfs_are_named() {
    let sandbox = Sandbox::new(&[]);
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n", "0".repeat(64));
    for name in ["a.big", "b.big", "c.big", "d.big"] {
        sandbox.write(name, &pointer);
    }
    sandbox.write("text.txt", "version https://git-lfs.github.com/spec/v1 is a format\n");
    sandbox.commit(".gitattributes", "*.big filter=lfs -text\n");
    let written = same_as_git(&sandbox, &sandbox.root, "HEAD", true);
    let finding = &written.findings[0];
    assert_eq!((written.findings.len(), finding.code.as_str()), (1, "lfs-pointers"));
    assert!(
        finding.message.starts_with("4 files") && finding.message.ends_with("a.big, b.big, c.big and 1 more"),
        "{finding:?}"
    );
}

#[test]
fn sha256_reftables_shallow_clones_and_linked_working_copies() {
    for args in [&["--object-format=sha256"][..], &["--ref-format=reftable"][..]] {
        let sandbox = Sandbox::new(args);
        sandbox.commit("a.c", "$Id$\n");
        sandbox.commit(".gitattributes", "*.c ident eol=crlf\n");
        same_as_git(&sandbox, &sandbox.root, "HEAD", false);
        same_as_git(&sandbox, &sandbox.root, "HEAD~1", false);
    }
    let sandbox = Sandbox::new(&[]);
    for text in ["one\n", "two\n", "three\n"] {
        sandbox.commit("a.txt", text);
    }
    let url = format!("file://{}", sandbox.root.display());
    sandbox.git_in(&sandbox.path(""), &["clone", "-q", "--depth", "2", &url, "shallow"]);
    same_as_git(&sandbox, &sandbox.path("shallow"), "HEAD~1", true);
    sandbox.git(&["worktree", "add", "-q", "--detach", "../linked"]);
    for program in [Program::find(), None] {
        let git = opened(&sandbox.path("linked"), program);
        let commit = revision::resolve(&git, "HEAD~1").unwrap();
        let to = in_memory::tempdir().unwrap();
        write_out(&git, &commit, to.path(), None).unwrap();
        assert_eq!(fs::read(to.path().join("a.txt")).unwrap(), b"two\n");
    }
}
