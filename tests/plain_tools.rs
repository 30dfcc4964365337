//! An archive opens with plain tools, and its documents are enough to recover without this program: tar,
//! gzip and sha256sum of several makers, a reader in Python written from FORMAT.md, and the commands of
//! RESTORE.md with nothing on the PATH but what it asks for. eStargz as its published page tells.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use support::framework::{Framework, write};
use support::tree::{Fingerprint, differences, fingerprint};
use support::{Output, Sandbox, archives, forge, git, system};

/// Whether a program is there; says so loudly when not.
fn have(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|p| p.join(program).exists());
    if !found {
        system::skip(&format!("there is no {program}"));
    }
    found
}

/// A backup; the archive.
#[track_caller]
fn back_up(sandbox: &Sandbox) -> PathBuf {
    let store = sandbox.path("store");
    sandbox.run(&[OsStr::new("backup"), OsStr::new("--store"), store.as_os_str()]).ok();
    archives(&store).pop().unwrap()
}

#[track_caller]
fn works(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {shown}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Names and sizes that a tar program may stumble over.
fn hard_cases(project: &Path) {
    let long = vec!["x".repeat(60); 5].join("/");
    write(project, &format!("{long}/deep.md"), "a path of more than 300 bytes\n");
    write(project, &format!("docs/{}.md", "n".repeat(120)), "a name of more than 100 bytes\n");
    write(project, &format!("docs/{}", "m".repeat(251)), "a name of nearly 255 bytes\n");
    write(project, "docs/back\\slash \"quote\".md", "a backslash\n");
    write(project, "docs/tab\tand\rreturn.md", "control characters\n");
    write(project, "empty file", "");
    fs::create_dir_all(project.join(format!("{long}/an empty folder"))).unwrap();
    symlink("t/".repeat(130), project.join("link with a long target")).unwrap();
    symlink(OsStr::from_bytes(b"caf\xe9"), project.join("link to no UTF-8")).unwrap();
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(1_500_000)
    .collect();
    fs::write(project.join("noise.bin"), noise).unwrap();
    write(project, "large.txt", &"a line that comes again and again\n".repeat(50_000));
    for (name, mode) in [("noise.bin", 0o640), ("large.txt", 0o444), ("empty file", 0o755)] {
        fs::set_permissions(project.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(project.join(&long), fs::Permissions::from_mode(0o750)).unwrap();
}

/// The working files as a backup saves them.
fn saved(project: &Path) -> Fingerprint {
    let mut tree = fingerprint(project, false);
    let left_out =
        |name: &[u8]| [b".git".as_slice(), b"node_modules"].iter().any(|top| starts_below(name, top));
    tree.retain(|name, _| !left_out(name) && !is_database(name));
    tree
}

fn starts_below(name: &[u8], top: &[u8]) -> bool {
    name.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn is_database(name: &[u8]) -> bool {
    [".db", ".db-wal", ".db-shm"].iter().any(|end| name.ends_with(end.as_bytes()))
}

fn same(what: &str, before: &Fingerprint, after: &Fingerprint) {
    assert!(before.len() > 1, "{what}: nothing to compare");
    assert_eq!(differences(before, after), Vec::<String>::new(), "{what}");
}

const TARFILE: &str = "import sys, tarfile
archive = tarfile.open(sys.argv[1])
extra = {'filter': 'fully_trusted'} if hasattr(tarfile, 'fully_trusted_filter') else {}
archive.extractall(sys.argv[2], **extra)";

#[test]
fn every_tar_finds_the_same_in_it() {
    let framework = Framework::new();
    hard_cases(&framework.project());
    let before = saved(&framework.project());
    let sandbox = &framework.sandbox;
    let archive = back_up(sandbox);

    let gnu = sandbox.path("gnu");
    let readers: [(&str, &[&str]); 4] = [
        ("tar", &["tar", "-xpzf", "ARCHIVE", "-C", "TO"]),
        ("bsdtar", &["bsdtar", "-xpzf", "ARCHIVE", "-C", "TO"]),
        ("busybox", &["busybox", "tar", "-xpzf", "ARCHIVE", "-C", "TO"]),
        ("python3", &["python3", "-c", TARFILE, "ARCHIVE", "TO"]),
    ];
    for (program, words) in readers {
        if !have(program) {
            continue;
        }
        let to = if program == "tar" { gnu.clone() } else { sandbox.path(program) };
        fs::create_dir(&to).unwrap();
        let mut command = Command::new(words[0]);
        for word in &words[1..] {
            match *word {
                "ARCHIVE" => command.arg(&archive),
                "TO" => command.arg(&to),
                word => command.arg(word),
            };
        }
        works(command.env("LC_ALL", "C.UTF-8").env("PYTHONUTF8", "1"));
        same(program, &before, &fingerprint(&to.join("backup/files"), false));
        // All of it, not only the project's files, and with times: what the first one found, the others do.
        let times = |folder: &Path| {
            let mut tree = fingerprint(folder, true);
            tree.values_mut().filter(|entry| entry.kind == "dir").for_each(|entry| entry.mtime_ns = None);
            tree
        };
        same(program, &times(&gnu), &times(&to));
    }
    assert!(gnu.join("backup/databases/memory/index.db").exists());
}

#[test]
fn gzip_and_sha256sum_agree() {
    let framework = Framework::at_rest();
    hard_cases(&framework.project());
    let sandbox = &framework.sandbox;
    let archive = back_up(sandbox);
    let at = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(archive.parent().unwrap()).env("LC_ALL", "C.UTF-8");
        command
    };
    works(at("gzip").arg("-t").arg(&archive));
    if have("pigz") {
        works(at("pigz").arg("-t").arg(&archive));
    }
    let listed = works(at("sh").args(["-euc", "zcat -- \"$1\" | tar -t", "sh"]).arg(&archive));
    assert!(listed.ends_with("backup/SHA256SUMS\nstargz.index.json\n"), "{listed}");
    if !have("sha256sum") {
        return;
    }
    let beside = format!("{}.sha256", archive.display());
    works(at("sha256sum").args(["--strict", "-c"]).arg(beside));
    works(at("tar").args([
        "-xzf".as_ref(),
        archive.as_os_str(),
        "-C".as_ref(),
        sandbox.path("tmp").as_ref(),
    ]));
    let backup = sandbox.path("tmp/backup");
    let said =
        works(at("sha256sum").args(["--strict", "-c", "SHA256SUMS"]).current_dir(&backup).env("LC_ALL", "C"));
    // Each file of the archive stands in it, but itself.
    let files = fingerprint(&backup, false).values().filter(|entry| entry.kind == "file").count();
    assert_eq!(said.lines().count(), files - 1);
    fs::write(backup.join("files/empty file"), "no more").unwrap();
    let mut check = at("sha256sum");
    check.args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&backup);
    assert!(!check.output().unwrap().status.success());
}

fn python(archive: &Path, name: Option<&OsStr>) -> std::process::Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/read_by_index.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).arg(archive).args(name).env("LC_ALL", "C.UTF-8");
    command.output().unwrap()
}

#[test]
fn a_reader_written_from_the_page_alone_finds_every_entry() {
    if !have("python3") {
        return;
    }
    let framework = Framework::at_rest();
    hard_cases(&framework.project());
    let sandbox = &framework.sandbox;
    let archive = back_up(sandbox);
    let output = python(&archive, None);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let found: Vec<&[u8]> = output.stdout.split(|&b| b == b'\n').collect();
    let holds = |part: &[u8]| found.iter().any(|line| line.ends_with(part));
    assert!(holds(b"backup/docs/caf\xe9.md") || holds(b"backup/files/docs/caf\xe9.md"));
    assert!(holds(b"-> caf\xe9") && holds(b"/deep.md") && holds(b"reg 0755 0 backup/files/empty file"));

    // One file out of all, by its offset: read even when the rest of the archive is gone.
    let project = framework.project();
    let one = |archive: &Path, name: &OsStr| {
        let output = python(archive, Some(name));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name:?}: {said}");
        output.stdout
    };
    let odd = OsStr::from_bytes(b"docs/caf\xe9.md");
    let names = ["noise.bin", "large.txt", "empty file"].map(OsStr::new).into_iter().chain([odd]);
    for name in names {
        let path = [b"backup/files/", name.as_bytes()].concat();
        let expected = fs::read(project.join(name)).unwrap();
        assert!(one(&archive, OsStr::from_bytes(&path)) == expected, "{name:?}");
    }
    let mut bytes = fs::read(&archive).unwrap();
    let (index, end) = forge::index(&bytes);
    let line = |kind: &str| {
        let entries = index["entries"].as_array().unwrap().iter();
        let mut lines =
            entries.filter(|line| line["name"] == "backup/files/noise.bin" && line["type"] == kind);
        lines.next_back().unwrap()["offset"].as_u64().unwrap() as usize
    };
    let (first, last) = (line("reg"), line("chunk"));
    let sizes = index["members"].as_array().unwrap().iter().map(|member| member["size"].as_u64().unwrap());
    let last_end = sizes
        .scan(0, |at, size| {
            Some({
                *at += size;
                *at
            })
        })
        .find(|&at| at > last as u64)
        .unwrap();
    bytes[..first].fill(0);
    bytes[last_end as usize..end].fill(0);
    let rest = sandbox.path("rest.tar.gz");
    fs::write(&rest, &bytes).unwrap();
    let found = one(&rest, OsStr::new("backup/files/noise.bin"));
    assert!(found == fs::read(project.join("noise.bin")).unwrap());

    // And it can say no.
    let good = fs::read(&archive).unwrap();
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x55;
        fs::write(&rest, &flipped).unwrap();
        let output = python(&rest, None);
        assert_eq!(output.status.code(), Some(1), "byte {at}");
    }
}

/// What `docs/estargz.md` of containerd's stargz-snapshotter says MUST be so. What it does not know, small
/// files that share a member, is `innerOffset` of that project's Go package.
#[test]
fn it_is_an_estargz_as_published() {
    let framework = Framework::at_rest();
    hard_cases(&framework.project());
    let archive = back_up(&framework.sandbox);
    let bytes = fs::read(&archive).unwrap();
    let footer = &bytes[bytes.len() - 51..];
    assert_eq!(footer[..10], *b"\x1f\x8b\x08\x04\0\0\0\0\0\xff");
    assert_eq!((&footer[10..16], &footer[32..38]), (b"\x1a\0SG\x16\0".as_slice(), b"STARGZ".as_slice()));
    assert_eq!(footer[38..], *b"\x01\0\0\xff\xff\0\0\0\0\0\0\0\0");
    // The index begins a member, as the last entry of the tar stream, and is of version 1.
    let (index, offset) = forge::index(&bytes);
    assert_eq!(index["version"], 1);
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut tar).unwrap();
    assert!(tar.ends_with(&[0; 1024]));
    let entries = index["entries"].as_array().unwrap();
    assert_eq!(entries[0]["name"], ".no.prefetch.landmark");
    let names = works(Command::new("tar").args(["--quoting-style=escape", "-tzf"]).arg(&archive));
    assert_eq!(names.lines().count(), entries.iter().filter(|line| line["type"] != "chunk").count() + 1);

    let mut chunks: Vec<(&str, Vec<u8>, u64, &str)> = Vec::new();
    let (mut last, mut position) = ("", (0, 0));
    for line in entries {
        let text = |field: &str| line[field].as_str().unwrap_or_else(|| panic!("no {field}: {line}"));
        let number = |field: &str| line.get(field).map_or(0, |value| value.as_u64().unwrap());
        let (name, kind) = (text("name"), text("type"));
        let has = |field: &str| line.get(field).is_some();
        match kind {
            "dir" => {
                // The complete path stored in the tar file, which ends in a slash.
                assert!(name.ends_with('/'), "{line}");
                assert!(!has("size") && !has("offset") && !has("digest"), "{line}");
            }
            "symlink" => assert!(has("linkName") && !has("offset") && !has("digest"), "{line}"),
            "reg" => {
                last = name;
                assert_eq!(number("chunkOffset"), 0);
                assert!(text("digest").starts_with("sha256:"));
            }
            "chunk" => assert!(name == last && has("offset") && has("chunkOffset"), "{line}"),
            other => panic!("{other}: {line}"),
        }
        if kind != "chunk" {
            assert!(number("mode") > 0 || kind == "symlink", "{line}");
            jiff_like(text("modtime"));
        }
        if kind == "chunk" || (kind == "reg" && number("size") > 0) {
            // The landmark's member starts at 0, and a field that is zero is absent, in Go as here.
            assert!(has("offset") || name == ".no.prefetch.landmark" || number("innerOffset") > 0, "{line}");
            let here = (number("offset"), number("innerOffset"));
            assert!(here >= position, "{line} lies before the one above it");
            position = here;
            let content = forge::member(&bytes[usize::try_from(here.0).unwrap()..]);
            let inner = usize::try_from(here.1).unwrap();
            if kind == "reg" {
                chunks.push((name, Vec::new(), number("size"), text("digest")));
            }
            let (_, whole, size, _) = chunks.last_mut().unwrap();
            assert_eq!(whole.len() as u64, number("chunkOffset"), "{line}");
            // Zero in the last chunk of a file: it goes to the file's end.
            let left = *size - whole.len() as u64;
            let length = match number("chunkSize") {
                0 => left,
                size => {
                    assert!(size < left, "the last chunk must leave out its size: {line}");
                    size
                }
            };
            let chunk = &content[inner..inner + usize::try_from(length).unwrap()];
            assert_eq!(text("chunkDigest"), format!("sha256:{}", forge::sha256(chunk)), "{line}");
            whole.extend(chunk);
        }
    }
    for (name, whole, size, digest) in chunks {
        assert_eq!(
            (whole.len() as u64, digest),
            (size, &*format!("sha256:{}", forge::sha256(&whole))),
            "{name}"
        );
        if name == ".no.prefetch.landmark" {
            assert_eq!(whole, [0xf]);
        }
    }
    assert!(offset < bytes.len());
}

/// RFC 3339 in UTC.
fn jiff_like(text: &str) {
    assert!(text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(), "{text}");
}

/// All that a database holds: schema, pragmas, and every row with its types.
fn contents(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let rows = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let columns = statement.column_count();
        let mapped = statement.query_map([], |row| {
            let cells: Vec<String> = (0..columns).map(|i| format!("{:?}", row.get_ref(i).unwrap())).collect();
            Ok(cells.join("|"))
        });
        mapped.unwrap().map(Result::unwrap).collect()
    };
    let mut out = rows("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name");
    for pragma in ["user_version", "application_id", "encoding"] {
        out.extend(rows(&format!("PRAGMA {pragma}")));
    }
    let mut tables = connection
        .prepare(
            "SELECT name, wr FROM pragma_table_list WHERE type = 'table' AND schema = 'main' ORDER BY name",
        )
        .unwrap();
    let tables = tables.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))).unwrap();
    for table in tables {
        let (name, without_rowid) = table.unwrap();
        if name == "sqlite_schema" {
            continue; // its page numbers are no content
        }
        let rowid = if without_rowid { "" } else { "rowid, " };
        out.push(name.clone());
        out.extend(rows(&format!("SELECT {rowid}* FROM \"{name}\" ORDER BY 1")));
    }
    out
}

fn databases(project: &Path) -> Vec<String> {
    let tree = fingerprint(project, false);
    let names =
        tree.keys().filter(|name| name.ends_with(b".db")).map(|n| String::from_utf8(n.clone()).unwrap());
    names.collect()
}

/// What git says about a project, from refs to the state of a merge.
fn git_facts(project: &Path) -> Vec<String> {
    let ask = |words: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "safe.directory=*", "-c", "core.quotePath=true"])
            .args(words)
            .current_dir(project)
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        format!("{words:?}: {:?} {}", output.status.code(), String::from_utf8_lossy(&output.stdout))
    };
    [
        &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"][..],
        &["symbolic-ref", "HEAD"],
        &["rev-parse", "HEAD"],
        &["log", "--all", "--format=%H %s"],
        &["stash", "list"],
        &["show", "--stat", "stash@{1}"],
        &["reflog", "--all"],
        &["status", "--porcelain=v2", "--branch"],
        &["ls-files", "--stage"],
        &["diff", "HEAD"],
        &["diff", "--cached"],
        &["rev-parse", "MERGE_HEAD"],
        &["rev-parse", "AUTO_MERGE"],
        &["rev-parse", "--is-shallow-repository"],
        &["config", "--get-all", "remote.origin.url"],
        &["config", "--get-all", "remote.origin.fetch"],
    ]
    .map(ask)
    .to_vec()
}

/// Takes the project away and brings it back with the commands of RESTORE.md as the archive holds it, with
/// nothing on the PATH but what that page asks for and the shell's everyday tools.
#[track_caller]
fn recovers_by_hand(sandbox: &Sandbox) -> Output {
    let project = sandbox.project();
    let has_git = project.join(".git").exists();
    let (files, names) = (saved(&project), databases(&project));
    let rows: Vec<_> = names.iter().map(|name| contents(&project.join(name))).collect();
    let history = if has_git { git_facts(&project) } else { Vec::new() };
    let archive = back_up(sandbox);
    fs::remove_dir_all(&project).unwrap();
    let output = by_hand(sandbox, &archive).ok();
    assert_eq!(output.stderr, "");

    let back = sandbox.path("by hand/project");
    fs::rename(&back, &project).unwrap();
    let after = saved(&project);
    same("files", &files, &after);
    assert_eq!(databases(&project), names);
    for (name, rows) in names.iter().zip(&rows) {
        let now = contents(&project.join(name));
        assert!(now == *rows, "{name} has other rows");
    }
    assert_eq!(project.join(".git").exists(), has_git);
    if has_git {
        assert_eq!(git_facts(&project), history);
        // An unborn branch is no error, loose ends of a reflog would be.
        git(&project, &["fsck", "--strict", "--no-dangling"]);
    }
    output
}

/// Runs the commands of an archive's own RESTORE.md; the project is in `by hand/project` then.
#[track_caller]
fn by_hand(sandbox: &Sandbox, archive: &Path) -> Output {
    let (room, bin) = (sandbox.path("by hand"), sandbox.path("bin"));
    fs::create_dir(&room).unwrap();
    fs::create_dir(&bin).unwrap();
    for program in ["tar", "gzip", "sha256sum", "sqlite3", "git", "cp", "mkdir", "echo"] {
        let paths = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|p| p.exists());
        symlink(found.unwrap_or_else(|| panic!("no {program}")), bin.join(program)).unwrap();
    }
    fs::copy(archive, room.join("backup.tar.gz")).unwrap();
    let page = works(Command::new("tar").arg("-xzOf").arg(archive).arg("backup/RESTORE.md"));
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 4, "{page}");
    let mut command = Command::new("/bin/sh");
    command.args(["-euc", &blocks.concat()]).current_dir(&room).env_clear().stdin(Stdio::null());
    command.env("PATH", &bin).env("HOME", sandbox.path("home"));
    let output = command.output().unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn can_recover() -> bool {
    ["tar", "gzip", "sha256sum", "sqlite3", "git"].into_iter().all(have)
}

#[test]
fn by_hand_a_framework_comes_back() {
    if !can_recover() {
        return;
    }
    let mut framework = Framework::new();
    hard_cases(&framework.project());
    write(&framework.project(), ".git/info/exclude", "/noise.bin\n");
    git(&framework.project(), &["update-index", "--split-index"]);
    framework.release(); // the rows stay in the write-ahead log
    recovers_by_hand(&framework.sandbox);
    // The dumps are the second way the page names.
    let backup = framework.sandbox.path("by hand/backup");
    for name in ["memory/index.db", "memory/vectors.db", "data/catalog.db"] {
        let loaded = framework.sandbox.path("loaded.db");
        let dump = fs::File::open(backup.join(format!("sql/{name}.sql"))).unwrap();
        let output = Command::new("sqlite3").arg("-bail").arg(&loaded).stdin(dump).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(contents(&loaded) == contents(&framework.project().join(name)), "{name} from its dump");
        fs::remove_file(loaded).unwrap();
    }
}

/// A shell script in the project, as somebody.
fn prepare(sandbox: &Sandbox, script: &str) {
    let who = "export GIT_AUTHOR_NAME=Somebody GIT_AUTHOR_EMAIL=somebody@localhost \
               GIT_COMMITTER_NAME=Somebody GIT_COMMITTER_EMAIL=somebody@localhost\n";
    sandbox.shell_under(&[], &format!("{who}{script}")).ok();
}

#[test]
fn by_hand_a_history_in_several_bundles_comes_back() {
    if !can_recover() {
        return;
    }
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q"]);
    for number in 0..20 {
        let text: String = (0..5000).map(|n| format!("{}\n", n * (7919 + number) % 10007)).collect();
        write(&project, &format!("docs/{number}.md"), &text);
    }
    for round in 0..3 {
        write(&project, "a.md", &format!("{round}\n").repeat(1000 * (3 - round)));
        git(&project, &["add", "."]);
        git(&project, &["commit", "-qm", "more"]);
        git(&project, &["branch", &format!("then{round}")]);
        back_up(&sandbox);
        // The next one has another second, and so sorts behind.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    git(&project, &["checkout", "-q", "--detach"]);
    git(&project, &["commit", "-q", "--allow-empty", "-m", "only in the reflog"]);
    let of_reflog = git(&project, &["rev-parse", "HEAD"]);
    git(&project, &["checkout", "-q", "-"]);
    back_up(&sandbox);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    git(&project, &["branch", "-d", "then1"]);
    git(&project, &["branch", "-f", "then2", "HEAD~1"]);
    write(&project, "a.md", "stashed\n");
    git(&project, &["stash", "-q"]);
    write(&project, "a.md", "staged\n");
    git(&project, &["add", "."]);
    recovers_by_hand(&sandbox);
    let bundles = sandbox.path("by hand/backup/git/bundles");
    assert_eq!(fs::read_dir(bundles).unwrap().count(), 5);
    git(&project, &["cat-file", "-e", of_reflog.trim()]);
}

#[test]
fn by_hand_a_shallow_clone_comes_back() {
    if !can_recover() {
        return;
    }
    let origin = Framework::at_rest();
    let sandbox = Sandbox::new();
    let url = format!("file://{}", origin.project().display());
    prepare(&sandbox, &format!("git clone -q --depth 5 '{url}' . && echo more >> README.md && : > new.md"));
    prepare(&sandbox, "mkdir -p memory && echo 'private' > memory/note.md");
    recovers_by_hand(&sandbox);
    assert_eq!(git(&sandbox.project(), &["rev-list", "--count", "HEAD"]), "5");
}

const MERGE: &str =
    "git init -q -b main . && echo base > a.md && echo base > b.md && git add . && git commit -qm base
git checkout -qb other && echo theirs > a.md && echo more > b.md && git commit -qam theirs
git checkout -q main && echo ours > a.md && git commit -qam ours
if git merge -q other > /dev/null; then exit 9; fi
test -f .git/MERGE_HEAD";

#[test]
fn by_hand_a_merge_in_progress_comes_back() {
    if !can_recover() {
        return;
    }
    let sandbox = Sandbox::new();
    prepare(&sandbox, MERGE);
    recovers_by_hand(&sandbox);
    assert!(git(&sandbox.project(), &["status", "--porcelain"]).contains("UU a.md"));
    // And it can be finished.
    prepare(&sandbox, "echo both > a.md && git add a.md && git commit -qm merged");
    assert_eq!(git(&sandbox.project(), &["log", "-1", "--format=%s %p"]).split(' ').count(), 3);
}

/// What SQLite could not open comes back as the bytes that it was, with its side files.
#[test]
fn by_hand_a_damaged_database_comes_back_as_it_was() {
    if !can_recover() {
        return;
    }
    let sandbox = Sandbox::new();
    let broken = [b"SQLite format 3\0".as_slice(), &[0xaa; 4000]].concat();
    write(&sandbox.project(), "memory/note.md", "a note\n");
    fs::write(sandbox.project().join("memory/broken.db"), &broken).unwrap();
    fs::write(sandbox.project().join("memory/broken.db-wal"), [0xbb; 600]).unwrap();
    let store = sandbox.path("store");
    sandbox.run(&["backup", "--store", store.to_str().unwrap()]).code(3).says("memory/broken.db");
    by_hand(&sandbox, &archives(&store).pop().unwrap()).ok();
    let back = sandbox.path("by hand/project");
    assert!(fs::read(back.join("memory/broken.db")).unwrap() == broken);
    assert_eq!(fs::read(back.join("memory/broken.db-wal")).unwrap(), [0xbb; 600]);
    assert!(back.join("memory/note.md").exists());
}

#[test]
fn by_hand_a_history_with_a_missing_object_comes_back() {
    if !can_recover() {
        return;
    }
    let sandbox = Sandbox::new();
    prepare(
        &sandbox,
        "git init -q -b main . && echo a > a && git add a && git commit -qm one && echo b > a && git commit -qam two",
    );
    let lost = git(&sandbox.project(), &["rev-parse", "HEAD~1:a"]);
    fs::remove_file(sandbox.project().join(format!(".git/objects/{}/{}", &lost[..2], &lost[2..]))).unwrap();
    let store = sandbox.path("store");
    sandbox.run(&["backup", "--store", store.to_str().unwrap()]).code(3).says("missing or damaged");
    by_hand(&sandbox, &archives(&store).pop().unwrap()).ok();
    let log = git(&sandbox.path("by hand/project"), &["log", "--format=%s"]);
    assert_eq!(log, "two\none");
}

#[test]
fn by_hand_without_git_without_databases_without_commits() {
    if !can_recover() {
        return;
    }
    let sandbox = Sandbox::new();
    prepare(
        &sandbox,
        "mkdir -p memory && echo x > memory/note.md && sqlite3 memory/index.db 'CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)'",
    );
    prepare(&sandbox, "echo y > y.md; : > z.md; mkdir -p only/folders");
    recovers_by_hand(&sandbox);

    let sandbox = Sandbox::new();
    prepare(
        &sandbox,
        "git init -q -b main . && echo x > x.md && echo y > y.md && git add x.md && mkdir d && : > d/e",
    );
    recovers_by_hand(&sandbox);
    assert!(git(&sandbox.project(), &["status", "--porcelain"]).contains("A  x.md"));
}
