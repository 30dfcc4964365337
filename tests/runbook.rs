//! The runbook is true: each of its disasters is really caused, and then its own lines are typed, one after the
//! other, into a shell on a terminal, which answers `yes` where it is asked. Lines are taken from the page.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use support::compare::{
    Repository, Rows, fsck, repository, repository_differences, row_differences, rows, working_files,
};
use support::framework::{Framework, write};
use support::page::{blocks, page, with_cargo};
use support::tree::{Fingerprint, differences};
use support::{git, system};

const NONE: Vec<String> = Vec::new();
const PAGE: &str = "DISASTER_RECOVERY.md";
const DATABASES: [&str; 3] = ["memory/index.db", "memory/vectors.db", "data/catalog.db"];
/// Any exit code will do.
const ANY: i32 = -1;

/// A line that was typed, and what came of it.
struct Line {
    text: String,
    code: i32,
    output: String,
}

/// A part of the page: its heading begins so.
fn part(heading: &str) -> Vec<String> {
    let page = page(PAGE);
    let begin = page.find(&format!("\n## {heading}")).unwrap_or_else(|| panic!("no part {heading}"));
    let rest = &page[begin + 4..];
    let found = blocks(&rest[..rest.find("\n## ").unwrap_or(rest.len())]);
    assert!(!found.is_empty(), "{heading}");
    found
}

/// What a project is: rows, files, git.
struct State {
    rows: Vec<Rows>,
    files: Fingerprint,
    git: Repository,
}

impl State {
    fn of(folder: &Path) -> State {
        State {
            rows: DATABASES.iter().map(|name| rows(&folder.join(name))).collect(),
            files: working_files(folder, &DATABASES),
            git: repository(folder),
        }
    }

    #[track_caller]
    fn rows_are_those_in(&self, folder: &Path) {
        for (name, before) in DATABASES.iter().zip(&self.rows) {
            assert_eq!(row_differences(before, &rows(&folder.join(name))), NONE, "{name}");
        }
    }

    #[track_caller]
    fn files_are_those_in(&self, folder: &Path) {
        assert_eq!(differences(&self.files, &working_files(folder, &DATABASES)), NONE);
    }

    #[track_caller]
    fn git_is_that_in(&self, folder: &Path) {
        assert_eq!(repository_differences(&self.git, &repository(folder)), NONE);
    }
}

/// Somebody at a terminal.
struct Typist {
    framework: Framework,
    python: PathBuf,
    folder: PathBuf,
    prefix: Vec<OsString>,
    path: Option<PathBuf>,
    id: String,
}

impl Typist {
    /// With a project at rest that has a `Cargo.toml`, and no backup. `None` (and told) where a tool is missing.
    fn new() -> Option<Typist> {
        let mut framework = Framework::at_rest();
        with_cargo(&mut framework.sandbox);
        let data = framework.sandbox.path("home/.local/share");
        framework.sandbox.env("XDG_DATA_HOME", &data);
        framework.sandbox.env("GIT_CONFIG_COUNT", "0");
        write(&framework.project(), "Cargo.toml", "[workspace]\nmembers = []\n");
        let mut ask = framework.sandbox.command("python3");
        let told = framework.sandbox.output(ask.args(["-c", "import sys; print(sys.executable)"]));
        let shell = framework.sandbox.shell_under(&[], "sqlite3 --version");
        if told.code != 0 || shell.code != 0 {
            system::skip("python3 and sqlite3");
            return None;
        }
        let python = PathBuf::from(told.stdout.trim());
        let folder = framework.project();
        Some(Typist { framework, python, folder, prefix: Vec::new(), path: None, id: String::new() })
    }

    fn project(&self) -> PathBuf {
        self.framework.project()
    }

    fn store(&self) -> PathBuf {
        let stores = self.framework.sandbox.path("home/.local/share/xtask-backup");
        let mut found: Vec<PathBuf> =
            fs::read_dir(stores).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn backup(&self, label: &str) {
        self.framework.sandbox.run(&["backup", "--label", label]).ok();
    }

    fn change(&self, database: &str, sql: &str) {
        Connection::open(self.project().join(database)).unwrap().execute_batch(sql).unwrap();
    }

    /// Nothing but the store, git, and what every system has: no cargo, no project, no network.
    fn lose_all_but_the_store(&mut self) {
        let tools = self.framework.sandbox.path("few-tools");
        fs::create_dir(&tools).unwrap();
        for tool in ["git", "ls", "head", "cat"] {
            let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
                .map(|folder| folder.join(tool))
                .find(|file| file.is_file());
            std::os::unix::fs::symlink(found.unwrap(), tools.join(tool)).unwrap();
        }
        self.framework.sandbox.lose_the_project();
        self.prefix = system::without_network();
        self.path = Some(tools);
        self.folder = self.framework.sandbox.path("home");
    }

    /// Types blocks. Each line must end with 0, but for those that have a text with another code in `expected`.
    #[track_caller]
    fn types(&self, blocks: &[String], expected: &[(&str, i32)]) -> Vec<Line> {
        let lines: Vec<String> = blocks
            .iter()
            .flat_map(|block| block.lines())
            .map(|line| line.replace("20251201_120000", &self.id))
            .collect();
        let (script, terminal) =
            (self.framework.sandbox.path("lines.sh"), self.framework.sandbox.path("terminal.py"));
        let marked: Vec<String> = lines.iter().map(|line| format!("{line}\necho \"@@ $?\"\n")).collect();
        fs::write(&script, marked.concat()).unwrap();
        fs::write(
            &terminal,
            "import os, pty, sys\n\
             pid, fd = pty.fork()\n\
             if pid == 0: os.execv('/bin/sh', ['sh', sys.argv[1]])\n\
             seen, said = b'', 0\n\
             try:\n\
             \x20   while True:\n\
             \x20       seen += os.read(fd, 4096)\n\
             \x20       if seen.count(b'[yes/no]') > said:\n\
             \x20           said += 1\n\
             \x20           os.write(fd, b'yes\\n')\n\
             except OSError: pass\n\
             sys.stdout.buffer.write(seen)\n\
             os.waitpid(pid, 0)\n",
        )
        .unwrap();
        let mut command = self.framework.sandbox.command_under(&self.prefix, &self.python);
        command.arg(&terminal).arg(&script).current_dir(&self.folder);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let output = self.framework.sandbox.output(&mut command).ok().stdout.replace('\r', "");
        let mut told = output.as_str();
        let mut out = Vec::new();
        for text in lines {
            let (before, after) =
                told.split_once("@@ ").unwrap_or_else(|| panic!("no end: {text}\n{output}"));
            let (code, after) = after.split_once('\n').unwrap();
            let line = Line { text, code: code.parse().unwrap(), output: before.to_owned() };
            let wanted =
                expected.iter().find(|(part, _)| line.text.contains(part)).map_or(0, |(_, code)| *code);
            assert!(wanted == ANY || wanted == line.code, "{}\n{}\n{}", line.text, line.code, line.output);
            told = after;
            out.push(line);
        }
        out
    }
}

#[track_caller]
fn told<'a>(lines: &'a [Line], part: &str) -> &'a str {
    &lines.iter().find(|line| line.text.contains(part)).unwrap_or_else(|| panic!("no line {part}")).output
}

#[test]
fn the_worst_minute() {
    let Some(typist) = Typist::new() else { return };
    typist.backup("one");
    let before = State::of(&typist.project());
    typist.types(&part("The three commands"), &[]);
    let recovered = typist.framework.sandbox.path("recovered");
    before.rows_are_those_in(&recovered);
    before.files_are_those_in(&recovered);
    before.rows_are_those_in(&typist.project());
    before.files_are_those_in(&typist.project());
    before.git_is_that_in(&typist.project());
}

#[test]
fn when_cargo_and_the_project_are_gone() {
    let Some(mut typist) = Typist::new() else { return };
    typist.backup("one");
    let before = State::of(&typist.project());
    typist.lose_all_but_the_store();
    typist.types(&part("When cargo or the project is gone"), &[]);
    let recovered = typist.framework.sandbox.path("home/recovered");
    before.rows_are_those_in(&recovered);
    before.files_are_those_in(&recovered);
    assert_eq!(fsck(&recovered), NONE);
}

#[test]
fn a_database_is_corrupted() {
    let damage: [fn(&Path); 3] = [
        |index| {
            let mut bytes = fs::read(index).unwrap();
            bytes[4096..].fill(0xff);
            fs::write(index, bytes).unwrap();
        },
        |index| fs::write(index, "").unwrap(),
        |index| fs::write(index, "this is no database").unwrap(),
    ];
    for damage in damage {
        let Some(typist) = Typist::new() else { return };
        typist.backup("good");
        typist.change("memory/vectors.db", "DELETE FROM embeddings WHERE id > 990");
        write(&typist.project(), "docs/guide.md", "newer\n");
        let before = State::of(&typist.project());
        damage(&typist.project().join("memory/index.db"));
        let lines = typist.types(&part("1. "), &[("quick_check", ANY)]);
        assert_ne!(told(&lines, "quick_check"), "ok\n1000\n");
        assert!(told(&lines, "show").contains("learnings"));
        assert_eq!(told(&lines, "integrity_check"), "ok\n1000\n");
        before.rows_are_those_in(&typist.project());
        before.files_are_those_in(&typist.project());
        before.git_is_that_in(&typist.project());
    }
}

#[test]
fn files_were_deleted() {
    let git_too: [fn(&Path); 3] = [
        |_| {},
        |project| fs::remove_dir_all(project.join(".git")).unwrap(),
        |project| {
            fs::remove_file(project.join(".git/HEAD")).unwrap();
            fs::remove_dir_all(project.join(".git/refs")).unwrap();
        },
    ];
    for git_too in git_too {
        let Some(typist) = Typist::new() else { return };
        typist.backup("good");
        typist.change("memory/index.db", "INSERT INTO learnings VALUES (5000, 'newer', NULL)");
        write(&typist.project(), "src/newer.py", "NEWER = 1\n");
        let before = State::of(&typist.project());
        let project = typist.project();
        fs::remove_dir_all(project.join("docs")).unwrap();
        fs::remove_dir_all(project.join("memory/failures")).unwrap();
        fs::write(project.join("memory/README.md"), "").unwrap();
        fs::remove_file(project.join("memory/vectors.db")).unwrap();
        git_too(&project);
        let lines = typist.types(&part("2. "), &[]);
        assert!(told(&lines, "--dry-run").contains("memory/failures"));
        before.rows_are_those_in(&project);
        before.files_are_those_in(&project);
        before.git_is_that_in(&project);
    }
}

#[test]
fn a_bad_update_or_configuration() {
    let Some(typist) = Typist::new() else { return };
    let project = typist.project();
    write(&project, "update.sh", "#!/bin/sh\nsqlite3 memory/index.db 'DELETE FROM learnings'\n");
    fs::set_permissions(project.join("update.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    typist.backup("before-update");
    let before = State::of(&project);
    typist
        .change("memory/index.db", "ALTER TABLE learnings ADD COLUMN v2; DELETE FROM learnings WHERE id > 5");
    typist.change("memory/vectors.db", "DROP TABLE embeddings");
    write(&project, "src/state.py", "STEP = 'the update'\n");
    git(&project, &["commit", "-q", "-a", "-m", "The update"]);
    let blocks = part("3. ");
    let (repair, rest) = blocks.split_at(2);
    typist.types(repair, &[]);
    before.rows_are_those_in(&project);
    before.files_are_those_in(&project);
    before.git_is_that_in(&project);
    // And now one commit too many, with uncommitted work beside it.
    write(&project, "src/broken.py", "def broken(:\n");
    git(&project, &["add", "src/broken.py"]);
    git(&project, &["commit", "-q", "-m", "The bad commit", "--", "src/broken.py"]);
    let (back, rest) = rest.split_at(1);
    let rows = State::of(&project);
    typist.types(back, &[]);
    assert!(!project.join("src/broken.py").exists());
    rows.rows_are_those_in(&project);
    assert_eq!(git(&project, &["diff", "HEAD~1", "--stat"]), "");
    typist.types(&["cargo xtask restore before-update --git --exact\n".to_owned()], &[]);
    before.git_is_that_in(&project);
    // And now its configuration.
    write(&project, "Cargo.toml", "<<<<<<< HEAD\n[workspace]\n=======\n");
    typist.types(&["cargo xtask list\n".to_owned()], &[("list", 101)]);
    let lines = typist.types(rest, &[("guard", 1)]);
    assert!(told(&lines, "guard").contains("is not true"), "{}", told(&lines, "guard"));
    before.rows_are_those_in(&project);
    before.files_are_those_in(&project);
    before.git_is_that_in(&project);
}

#[test]
fn the_whole_machine_is_lost() {
    let Some(mut typist) = Typist::new() else { return };
    typist.backup("one");
    let before = State::of(&typist.project());
    let rescued = typist.framework.sandbox.path("home/rescued-store");
    fs::rename(typist.store(), rescued).unwrap();
    fs::remove_dir_all(typist.framework.sandbox.path("home/.local")).unwrap();
    typist.lose_all_but_the_store();
    typist.types(&part("4. "), &[]);
    let recovered = typist.framework.sandbox.path("home/recovered");
    before.rows_are_those_in(&recovered);
    before.files_are_those_in(&recovered);
    before.git_is_that_in(&recovered);
    assert_eq!(fsck(&recovered), NONE);
}

#[test]
fn a_backup_is_corrupt() {
    let Some(mut typist) = Typist::new() else { return };
    typist.backup("good");
    // So much that the middle of the archive is in this database.
    typist.change(
        "memory/vectors.db",
        "INSERT INTO embeddings SELECT 5000 + id, randomblob(4000) FROM embeddings",
    );
    write(&typist.project(), "docs/only-here.md", "in the damaged one\n");
    typist.backup("soon-damaged");
    fs::remove_file(typist.project().join("docs/only-here.md")).unwrap();
    let shown = typist.framework.sandbox.run(&["show", "soon-damaged", "--json"]).ok().json();
    typist.id = shown["manifest"]["id"].as_str().unwrap().to_owned();
    let archive = typist.store().join(format!("{}.tar.gz", typist.id));
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0);
    fs::write(&archive, bytes).unwrap();
    let lines = typist.types(&part("5. "), &[("verify all", 3)]);
    assert!(told(&lines, "xtask list").contains("damaged"), "{}", told(&lines, "xtask list"));
    assert!(told(&lines, "ls ../from").contains("only-here.md"));
    // What `latest` means is the new one, and everything is in it.
    typist.framework.sandbox.run(&["restore", "latest", "--to", "../again"]).ok();
    State::of(&typist.project()).rows_are_those_in(&typist.framework.sandbox.path("again"));
}

#[test]
fn databases_and_files_are_out_of_step() {
    let Some(typist) = Typist::new() else { return };
    let project = typist.project();
    typist.backup("old");
    typist.change("memory/index.db", "INSERT INTO learnings VALUES (3000, 'see failures/new.md', NULL)");
    write(&project, "memory/failures/new.md", "a new note\n");
    git(&project, &["commit", "-q", "-a", "-m", "Later"]);
    typist.backup("together");
    let before = State::of(&project);
    typist.framework.sandbox.run(&["restore", "old", "--only", "memory/index.db", "--force"]).ok();
    fs::remove_file(project.join("memory/failures/new.md")).unwrap();
    git(&project, &["checkout", "-q", "-f", "HEAD~4"]);
    fs::remove_file(project.join("docs/-leading-dash.md")).unwrap();
    let lines = typist.types(&part("6. "), &[]);
    assert!(told(&lines, "undo --list").contains("undo takes this back"));
    before.rows_are_those_in(&project);
    before.files_are_those_in(&project);
    before.git_is_that_in(&project);
    assert!(!lines[lines.len() - 2].output.contains("replace "), "{}", lines[lines.len() - 2].output);
}

#[test]
fn a_database_is_readable_in_parts() {
    let Some(typist) = Typist::new() else { return };
    typist.backup("good");
    typist.change(
        "memory/index.db",
        "WITH RECURSIVE c(x) AS (SELECT 2001 UNION ALL SELECT x + 1 FROM c WHERE x < 2100)
         INSERT INTO learnings SELECT x, 'newer ' || x, 'after the backup' FROM c;
         UPDATE learnings SET body = 'changed' WHERE id = 7; PRAGMA wal_checkpoint(TRUNCATE)",
    );
    let index = typist.project().join("memory/index.db");
    let wanted = rows(&index)["learnings"].len();
    let mut bytes = fs::read(&index).unwrap();
    // In the middle of the table, a leaf with rows that the backup has.
    let needle = "名前 500".as_bytes();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap() / 4096 * 4096;
    bytes[at..at + 4096].fill(0xff);
    fs::write(&index, bytes).unwrap();
    let lines = typist.types(&part("7. "), &[("xtask salvage", 3)]);
    assert!(told(&lines, "xtask salvage").contains("from backup"), "{}", told(&lines, "xtask salvage"));
    assert_eq!(told(&lines, "salvaged.db 'SELECT count(*)"), format!("{wanted}\n"));
    let newer = Connection::open(&index).unwrap().query_row(
        "SELECT count(*) FROM learnings WHERE id > 2000 OR body = 'changed'",
        [],
        |row| row.get(0),
    );
    assert_eq!(newer, Ok(101));
    assert_eq!(told(&lines, "integrity_check"), format!("ok\n{wanted}\n"));
    let ids: i64 = Connection::open(&index)
        .unwrap()
        .query_row("SELECT count(DISTINCT id) FROM learnings WHERE title IS NOT NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(usize::try_from(ids).unwrap(), wanted);
}

#[test]
fn the_wrong_backup_was_restored() {
    let Some(typist) = Typist::new() else { return };
    let project = typist.project();
    typist.backup("monday");
    typist.change("memory/index.db", "DELETE FROM learnings WHERE id <= 500");
    write(&project, "docs/tuesday.md", "tuesday\n");
    typist.backup("tuesday");
    typist.change("memory/index.db", "DELETE FROM learnings WHERE id <= 900");
    write(&project, "docs/guide.md", "wednesday\n");
    git(&project, &["commit", "-q", "-a", "-m", "Wednesday"]);
    let before = State::of(&project);
    typist.framework.sandbox.run(&["restore", "monday", "--git", "--exact", "--force"]).ok();
    assert_eq!(rows(&project.join("memory/index.db"))["learnings"].len(), 1000);
    let lines = typist.types(&part("8. "), &[]);
    assert!(told(&lines, "undo --dry-run").contains("memory/index.db"));
    before.rows_are_those_in(&project);
    before.files_are_those_in(&project);
    before.git_is_that_in(&project);
}

#[test]
fn a_backup_that_was_there_is_gone() {
    let Some(typist) = Typist::new() else { return };
    // Of two on one day that nobody took by hand, rotation removes the first.
    for _ in 0..2 {
        typist.framework.sandbox.run(&["backup", "--kind", "scheduled"]).ok();
    }
    typist.types(&part("A backup that was there is gone"), &[]);
    let listing = typist.framework.sandbox.run(&["list", "--json"]).ok().json();
    assert_eq!(listing["backups"].as_array().unwrap().len(), 2);
}

/// On a new machine there is the code, from somewhere, and the remote.
#[test]
fn the_whole_machine_is_lost_but_the_remote() {
    let Some(mut typist) = Typist::new() else { return };
    typist.backup("one");
    let sandbox = &typist.framework.sandbox;
    let remote = sandbox.path("far");
    sandbox.run(&["sync", "--remote", remote.to_str().unwrap()]).ok();
    let before = State::of(&typist.project());
    let clone = sandbox.path("clone");
    git(&typist.project(), &["clone", "-q", ".", clone.to_str().unwrap()]);
    fs::remove_dir_all(sandbox.path("home/.local")).unwrap();
    typist.framework.sandbox.lose_the_project();
    let page = page(PAGE);
    let text = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(text.contains("pull --remote DEST --from NAME"), "{text}");
    let name = fs::read_dir(&remote).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let block = text.replace("DEST", remote.to_str().unwrap()).replace("NAME", &name);
    typist.folder = clone;
    // The first shows what is there, and is no pull yet.
    let shows = format!("pull --remote {}\n", remote.to_str().unwrap());
    let lines = typist.types(&[block], &[("--from", 0), ("pull", ANY)]);
    assert!(lines[0].output.contains(&name), "{shows}{}", lines[0].output);
    let recovered = typist.framework.sandbox.path("home/recovered");
    before.rows_are_those_in(&recovered);
    before.files_are_those_in(&recovered);
    before.git_is_that_in(&recovered);
}

/// The page keeps its own rules: every scenario has all its parts, what is linked is there, and no command in a
/// block is one that this tool does not have.
#[test]
fn the_page_is_whole() {
    let text = page(PAGE);
    for number in 1..=8 {
        let begin = text.find(&format!("\n## {number}. ")).unwrap_or_else(|| panic!("scenario {number}"));
        let rest = &text[begin + 4..];
        let part = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
        for what in ["**Symptoms.**", "**Diagnosis.**", "**Steps.**", "**Check.**", "**Time**", "**Lost**"] {
            assert!(part.contains(what), "{number}: {what}");
        }
    }
    let anchors: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| {
            let kept = title.to_lowercase().replace(' ', "-");
            kept.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
        })
        .collect();
    for link in text.split("](#").skip(1) {
        let anchor = link.split(')').next().unwrap();
        assert!(anchors.iter().any(|known| known == anchor), "no {anchor} in {anchors:?}");
    }
    let help = support::Sandbox::new().run(&["--help"]).ok().stdout;
    for word in text.split("xtask ").skip(1).filter_map(|rest| rest.split([' ', '\n', '`']).next()) {
        let is_verb = word.chars().all(|c| c.is_ascii_lowercase()) && !word.is_empty();
        let named = help.lines().any(|line| line.trim_start().starts_with(&format!("{word} ")));
        assert!(!is_verb || named, "{word} is no command");
    }
    assert!(page("README.md").contains("(DISASTER_RECOVERY.md)"));
}
