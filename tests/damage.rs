//! Verify notices every damage, and a damaged or hostile archive does no harm: flipped bytes, cut and longer
//! files, archives put together anew so that only the deeper checks can tell, files that are no archive.
//!
//! `XTASK_TEST_FULL=1` flips 1,000 bytes instead of 200.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use support::forge::{self, Forge, Record};
use support::framework::write;
use support::killing::is_full;
use support::tree::{Fingerprint, fingerprint};
use support::{Output, Sandbox, archives, git};

/// A small project with two backups: an older one that stays good, and the one that is damaged.
struct Pair {
    sandbox: Sandbox,
    older: String,
    newer: String,
    archive: PathBuf,
    good: Vec<u8>,
}

impl Pair {
    fn new() -> Pair {
        let sandbox = Sandbox::new();
        let project = sandbox.project();
        git(&project, &["init", "-q", "-b", "main"]);
        for n in 0..12 {
            write(&project, &format!("docs/page {n}.md"), &format!("page {n}\n"));
        }
        write(&project, "docs/twin.md", "page 1\n"); // the same size and name length as another one
        write(&project, &format!("docs/{}.md", "long".repeat(30)), "a long name\n");
        let noise = |seed: u32| -> Vec<u8> {
            let step = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
            std::iter::successors(Some(seed), step).skip(1).take(200_000).map(|n| (n >> 24) as u8).collect()
        };
        fs::write(project.join("one.bin"), noise(1)).unwrap();
        fs::write(project.join("two.bin"), noise(2)).unwrap();
        git(&project, &["add", "."]);
        git(&project, &["commit", "-q", "-m", "First"]);
        fs::create_dir(project.join("memory")).unwrap();
        fs::create_dir(project.join("empty")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("docs", project.join("link")).unwrap();
        let connection = Connection::open(project.join("memory/index.db")).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y')",
            )
            .unwrap();
        drop(connection);
        let mut pair = Pair {
            sandbox,
            older: String::new(),
            newer: String::new(),
            archive: PathBuf::new(),
            good: Vec::new(),
        };
        let ids: Vec<String> = (0..2)
            .map(|_| pair.run(&["backup", "--json"]).ok().json()["id"].as_str().unwrap().to_owned())
            .collect();
        (pair.older, pair.newer) = (ids[0].clone(), ids[1].clone());
        pair.archive = pair.store().join(format!("{}.tar.gz", pair.newer));
        pair.good = fs::read(&pair.archive).unwrap();
        assert_eq!(archives(&pair.store()).len(), 2);
        pair
    }

    fn store(&self) -> PathBuf {
        self.sandbox.path("store")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let store = self.store();
        let mut words = arguments.to_vec();
        words.extend(["--store", store.to_str().unwrap()]);
        self.sandbox.run(&words)
    }

    fn verify(&self) -> Output {
        self.run(&["verify", &self.newer])
    }

    fn latest(&self) -> String {
        self.run(&["show", "latest", "--json"]).json()["manifest"]["id"].as_str().unwrap().to_owned()
    }

    fn digest_file(&self) -> PathBuf {
        self.store().join(format!("{}.tar.gz.sha256", self.newer))
    }

    /// The new bytes are noticed: exit 3, the backup is named, and what.
    #[track_caller]
    fn noticed(&self, bytes: &[u8], what: &str) -> Output {
        fs::write(&self.archive, bytes).unwrap();
        let output = self.verify();
        assert_eq!(output.code, 3, "{what}: {output:?}");
        assert!(output.stdout.contains(&format!("{}: DAMAGED", self.newer)), "{what}: {output:?}");
        output
    }

    /// It is remembered: `list` says so, and `latest` means the older one.
    #[track_caller]
    fn remembered(&self, what: &str) {
        let list = self.run(&["list", "--json"]).json();
        let backups = list["backups"].as_array().unwrap();
        let line = backups.iter().find(|line| line["id"] == self.newer).unwrap();
        assert!(!line["damage"].as_array().unwrap().is_empty(), "{what}: {line}");
        assert_eq!(self.latest(), self.older, "{what}");
        // Whoever asks for the newest one is told that there is a newer one.
        let verified = self.run(&["verify"]).code(3);
        assert!(verified.stdout.contains(&format!("{}: good", self.older)), "{verified:?}");
        assert!(verified.stderr.contains(&format!("after it is damaged: {}", self.newer)), "{verified:?}");
    }

    /// Brought back, it is good again.
    #[track_caller]
    fn repaired(&self) {
        fs::write(&self.archive, &self.good).unwrap();
        self.verify().ok();
        assert_eq!(self.latest(), self.newer);
    }
}

/// Numbers that look random and are the same in every run.
fn numbers(seed: u64) -> impl Iterator<Item = usize> {
    let step = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(seed), step).map(|state| (state >> 33) as usize)
}

#[test]
fn flipped_bytes_are_noticed_remembered_and_forgotten_once_repaired() {
    let pair = Pair::new();
    assert_eq!(pair.latest(), pair.newer);
    let digest = fs::read(pair.digest_file()).unwrap();
    let flips = if is_full() { 500 } else { 100 };
    for with_digest in [true, false] {
        let mut random = numbers(7 + u64::from(with_digest));
        for n in 0..flips {
            // One in five near the end, where index, seal and footer are.
            let length = pair.good.len();
            let from = if n % 5 == 0 { length - 1500 } else { 0 };
            let at = from + random.next().unwrap() % (length - from);
            let mut flipped = pair.good.clone();
            flipped[at] ^= 1 << (random.next().unwrap() % 8);
            let what = format!("byte {at} of {length}, digest beside it: {with_digest}");
            pair.noticed(&flipped, &what);
            if n % 25 == 0 {
                pair.remembered(&what);
                pair.repaired();
            }
        }
        pair.repaired();
        if with_digest {
            fs::remove_file(pair.digest_file()).unwrap();
        }
    }
    // A missing digest file is told, and no damage.
    let output = pair.verify().ok();
    assert!(output.stderr.contains(".sha256 is missing"), "{output:?}");
    // A damaged one is.
    for (at, byte) in [(0, b'x'), (0, digest[0] ^ 1), (70, b'x')] {
        let mut flipped = digest.clone();
        flipped[at] = byte;
        fs::write(pair.digest_file(), flipped).unwrap();
        pair.verify().code(3);
    }
    fs::write(pair.digest_file(), &digest[..40]).unwrap();
    pair.verify().code(3);
    fs::write(pair.digest_file(), &digest).unwrap();
    pair.repaired();
}

#[test]
fn cut_and_longer_archives_are_noticed() {
    let pair = Pair::new();
    let length = pair.good.len();
    let ends = [0, 1, 9, 10, 11, 50, 51, 61, 111, 112, 113];
    let near = ends.iter().map(|n| length - 1 - n);
    let cuts: Vec<usize> =
        ends.into_iter().chain(near).chain(numbers(3).take(8).map(|n| n % length)).collect();
    for end in cuts {
        pair.noticed(&pair.good[..end], &format!("cut after {end} of {length}"));
    }
    pair.remembered("cut");
    for more in
        [&b"\0"[..], b"x", &[0; 512], &pair.good[length - 51..], &pair.good[length - 112..], &pair.good]
    {
        let longer = [&pair.good, more].concat();
        pair.noticed(&longer, &format!("{} bytes more", more.len()));
        pair.noticed(&[more, &pair.good].concat(), &format!("{} bytes more in front", more.len()));
    }
    pair.repaired();
}

type Change = fn(&mut Forge);

const PAGE: &str = "backup/files/docs/page 1.md";
const OTHER: &str = "backup/files/docs/page 2.md";
const TWIN: &str = "backup/files/docs/twin.md";

fn swap_contents(forge: &mut Forge, a: &str, b: &str) {
    let (a, b) = (forge.at(a), forge.at(b));
    let content = forge.records[a].content.clone();
    let other = std::mem::replace(&mut forge.records[b].content, content);
    forge.records[a].content = other;
}

/// What somebody changed, and what verify has to say. Seal, footer, index, digests and the list of checksums
/// fit again, unless the change is about them.
const CHANGES: &[(&str, &str, Change)] = &[
    ("an entry is in the index only", "the order of its chunks|the index says", |f| {
        f.record(PAGE).in_tar = false;
    }),
    ("an entry is in the tar stream only", "the index says", |f| f.record(PAGE).line = None),
    ("the last entry is in the tar stream only", "SHA256SUMS|list of checksums", |f| {
        f.record("backup/SHA256SUMS").line = None;
    }),
    ("an entry is missing in both", "the manifest tells of", |f| {
        let at = f.at(PAGE);
        f.records.remove(at);
    }),
    ("a folder is missing in both", "the manifest tells of", |f| {
        let at = f.at("backup/files/empty/");
        f.records.remove(at);
    }),
    ("the list of checksums is missing", "list of checksums", |f| {
        let at = f.at("backup/SHA256SUMS");
        f.records.remove(at);
    }),
    ("the manifest is missing", "manifest.json", |f| {
        let at = f.at("backup/manifest.json");
        f.records.remove(at);
    }),
    ("the image is missing", "the image of memory/index.db is missing", |f| {
        let at = f.at("backup/databases/memory/index.db");
        f.records.remove(at);
    }),
    ("the dump is missing", "the dump of memory/index.db is missing", |f| {
        let at = f.at("backup/sql/memory/index.db.sql");
        f.records.remove(at);
    }),
    ("a bundle is missing", "the bundle 0000.bundle is missing", |f| {
        let at = f.at("backup/git/bundles/0000.bundle");
        f.records.remove(at);
    }),
    ("an entry is doubled in both", "it is there twice", |f| {
        let record = f.record(PAGE).clone();
        f.add(record);
    }),
    ("an entry is doubled in the tar stream", "the index says|is not in the index", |f| {
        let mut record = f.record(PAGE).clone();
        record.line = None;
        f.add(record);
    }),
    ("two entries are swapped in the tar stream", "the index says", |f| {
        let (a, b) = (f.at(PAGE), f.at(OTHER));
        let (line, other) = (f.records[a].line.clone(), f.records[b].line.clone());
        f.records.swap(a, b);
        (f.records[a].line, f.records[b].line) = (line, other);
    }),
    (
        "the contents of two entries are swapped, the list of checksums is the old one",
        "list of checksums",
        |f| {
            f.sums = false;
            swap_contents(f, PAGE, OTHER);
        },
    ),
    ("the contents of two entries are swapped, the index is the old one", "does not have its digest", |f| {
        let digest =
            |f: &mut Forge, name: &str| json!(format!("sha256:{}", forge::sha256(&f.record(name).content)));
        let (a, b) = (digest(f, PAGE), digest(f, OTHER));
        swap_contents(f, PAGE, OTHER);
        for (name, digest) in [(PAGE, a), (OTHER, b)] {
            f.record(name).lies = [("digest", &digest), ("chunkDigest", &digest)]
                .map(|(field, value)| (field.to_owned(), value.clone()))
                .into_iter()
                .collect();
        }
    }),
    ("an index that takes one file's content from another", "lies elsewhere|the order of its chunks", |f| {
        // The same bytes, so that every digest fits.
        f.record(TWIN).lies.insert("offset".into(), json!(0));
    }),
    ("another list of checksums", "list of checksums", |f| {
        f.sums = false;
        let record = f.record("backup/SHA256SUMS");
        record.content[0] ^= 1;
    }),
    ("a line of the list of checksums is missing", "list of checksums", |f| {
        f.sums = false;
        let record = f.record("backup/SHA256SUMS");
        let end = record.content.iter().position(|&b| b == b'\n').unwrap() + 1;
        let rest = record.content[end..].to_vec();
        record.replace(&rest);
    }),
    ("a manifest that names a database more", "the image of memory/other.db is missing", |f| {
        f.manifest(|manifest| {
            let mut other = manifest["databases"][0].clone();
            other["path"] = json!("memory/other.db");
            manifest["databases"].as_array_mut().unwrap().push(other);
        });
    }),
    ("a manifest that names a raw database more", "memory/other.db", |f| {
        f.manifest(|manifest| {
            let raw = json!({"path": "memory/other.db", "form": "raw", "mode": 420, "bytes": 3});
            manifest["databases"].as_array_mut().unwrap().push(raw);
        });
    }),
    ("a raw database that the manifest does not name", "memory/other.db", |f| {
        f.add(Record::new(b"backup/raw/", b'5', b"", b""));
        f.add(Record::new(b"backup/raw/memory/", b'5', b"", b""));
        f.add(Record::new(b"backup/raw/memory/other.db", b'0', b"raw", b""));
    }),
    ("a manifest that names no database", "and not in the manifest", |f| {
        f.manifest(|manifest| manifest["databases"] = json!([]));
    }),
    ("a manifest with another digest of an image", "is another one", |f| {
        f.manifest(|manifest| manifest["databases"][0]["image"] = json!("0".repeat(64)));
    }),
    ("a manifest with another number of rows", "does not hold what the manifest tells", |f| {
        f.manifest(|manifest| manifest["databases"][0]["facts"]["tables"][0]["rows"] = json!(3));
    }),
    ("a manifest that knows fewer files", "the manifest tells of", |f| {
        f.manifest(|manifest| {
            let files = manifest["files"]["files"].as_u64().unwrap();
            manifest["files"]["files"] = json!(files - 1);
        });
    }),
    ("a manifest with a bundle more", "the bundle 0001.bundle is missing", |f| {
        f.manifest(|manifest| manifest["git"]["bundles"].as_array_mut().unwrap().push(json!("0001.bundle")));
    }),
    ("a manifest of another backup", "another backup", |f| {
        f.manifest(|manifest| manifest["id"] = json!("20200101_000000"));
    }),
    ("a manifest that is no JSON", "manifest is not readable", |f| {
        f.record("backup/manifest.json").replace(b"{");
    }),
    ("a damaged bundle", "the history is damaged", |f| {
        let record = f.record("backup/git/bundles/0000.bundle");
        let middle = record.content.len() / 2;
        record.content[middle] ^= 1;
    }),
    ("another mode in a header", "their facts differ", |f| alter(f, 100, b"0000777")),
    ("another owner in a header", "their facts differ", |f| alter(f, 108, b"0001750")),
    ("another time in a header", "their facts differ", |f| alter(f, 136, b"14000000000")),
    ("a user's name in a header", "not as it was written", |f| alter(f, 265, b"root")),
    ("bytes in a header's unused end", "not as it was written", |f| alter(f, 505, b"hidden")),
    ("a wrong checksum of a header", "checksum", |f| {
        let record = f.record(PAGE);
        record.head[148] ^= 1;
    }),
    ("another mode in the index", "their facts differ", |f| {
        f.record(PAGE).lies.insert("mode".into(), json!(0o755));
    }),
    ("a mode with bits that are none", "its mode", |f| {
        f.record(PAGE).lies.insert("mode".into(), json!(0o100_755));
    }),
    ("bytes hidden in the padding", "bytes hide in the padding", |f| f.record(PAGE).padding[3] = 1),
    ("a block more after the padding", "ends before its index", |f| f.record(PAGE).padding.extend([0; 512])),
    ("a long name for an entry that has a short one", "their facts differ", |f| {
        let mut long = forge::header(b"././@LongLink", b'L', 23, b"");
        long.extend([b"backup/files/docs/evil".as_slice(), &[0; 490]].concat());
        let record = f.record(PAGE);
        record.head = [long, record.head.clone()].concat();
    }),
    ("a member more that is not in the index", "evil.md is not in the index", |f| {
        let record = Record::new(b"evil.md", b'0', b"evil", b"");
        f.extra = Some([record.head, record.content, record.padding].concat());
    }),
    ("a member of zeros more: the tar stream ends early", "ends before its index", |f| {
        f.extra = Some(vec![0; 1024])
    }),
    ("an entry outside of backup/", "evil.md", |f| f.add(Record::new(b"evil.md", b'0', b"evil", b""))),
    ("an entry that is no part of a backup", "backup/evil.md", |f| {
        f.add(Record::new(b"backup/evil.md", b'0', b"evil", b""));
    }),
    ("a file more among the files", "the manifest tells of", |f| {
        f.add(Record::new(b"backup/files/evil.md", b'0', b"evil", b""));
    }),
];

/// Other bytes in the header of a page, with a right checksum.
fn alter(forge: &mut Forge, at: usize, bytes: &[u8]) {
    let record = forge.record(PAGE);
    let start = record.head.len() - forge::BLOCK + at;
    record.head[start..start + bytes.len()].copy_from_slice(bytes);
    forge::checksum(&mut record.head);
}

#[test]
fn what_was_put_together_anew_is_noticed_by_the_deeper_checks() {
    let pair = Pair::new();
    let forge = Forge::open(&pair.archive);
    // The tool of this test, tested: nothing changed is nothing noticed.
    forge::plant(&pair.archive, &forge.bytes());
    pair.verify().ok();
    let mut wrong = Vec::new();
    for (what, says, change) in CHANGES {
        let mut changed = forge.clone();
        change(&mut changed);
        forge::plant(&pair.archive, &changed.bytes());
        let output = pair.verify();
        let said = output.stdout.split("DAMAGED\n").nth(1).map(|rest| rest.lines().next().unwrap_or(""));
        if output.code != 3 || !says.split('|').any(|part| said.is_some_and(|said| said.contains(part))) {
            wrong.push(format!("{what}: exit {}, {said:?}, wanted {says:?}", output.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    pair.remembered("the last one");
    forge::plant(&pair.archive, &pair.good);
    pair.repaired();
}

/// Entries that lead outside of the target, or bring in code.
fn hostile() -> Vec<(&'static str, Vec<Record>)> {
    let file = |name: &[u8]| Record::new(name, b'0', b"evil", b"");
    let folder = |name: &[u8]| Record::new(name, b'5', b"", b"");
    let link = |name: &[u8], target: &[u8]| Record::new(name, b'2', b"", target);
    vec![
        ("absolute", vec![file(b"/OUTSIDE/absolute")]),
        ("absolute below files", vec![file(b"backup/files//OUTSIDE/absolute")]),
        ("up", vec![file(b"backup/files/../../../../outside/up")]),
        ("up at the top", vec![file(b"../outside/up")]),
        ("dot", vec![file(b"backup/files/./dot")]),
        ("below a link", vec![link(b"backup/files/out", b"../../outside"), file(b"backup/files/out/evil")]),
        (
            "a link in place of a folder",
            vec![
                folder(b"backup/files/out/"),
                link(b"backup/files/out", b"../../outside"),
                file(b"backup/files/out/evil"),
            ],
        ),
        (
            "a file twice, first a link",
            vec![link(b"backup/files/x", b"../../outside/x"), file(b"backup/files/x")],
        ),
        ("files as a link", vec![link(b"backup/files", b"../../outside")]),
        (
            "an image through a link among the files",
            vec![
                link(b"backup/files/out", b"../../outside"),
                folder(b"backup/databases/out/"),
                file(b"backup/databases/out/evil.db"),
            ],
        ),
        (
            "a link through a link, as the bytes of a database",
            vec![
                link(b"backup/files/out", b"../../../../../outside"),
                folder(b"backup/raw/"),
                folder(b"backup/raw/out/"),
                link(b"backup/raw/out/evil.db", b"x"),
            ],
        ),
        (
            "a link through a link, as an image",
            vec![
                link(b"backup/files/out", b"../../../../../outside"),
                folder(b"backup/databases/out/"),
                link(b"backup/databases/out/evil.db", b"x"),
            ],
        ),
        (
            "hooks",
            vec![
                folder(b"backup/files/.git/"),
                folder(b"backup/files/.git/hooks/"),
                file(b"backup/files/.git/hooks/x"),
            ],
        ),
        ("hooks in other letters", vec![folder(b"backup/files/.GIT/"), file(b"backup/files/.GIT/config")]),
        (
            "hooks of a module",
            vec![
                folder(b"backup/files/a/"),
                folder(b"backup/files/a/.git/"),
                file(b"backup/files/a/.git/config"),
            ],
        ),
        ("staging", vec![folder(b"backup/files/.xtask-restore/"), file(b"backup/files/.xtask-restore/x")]),
        ("hard link", vec![Record::new(b"backup/files/hard", b'1', b"", b"/etc/passwd")]),
        ("device", vec![Record::new(b"backup/files/device", b'3', b"", b"")]),
        ("pipe", vec![Record::new(b"backup/files/pipe", b'6', b"", b"")]),
        ("no folder", vec![file(b"backup/files/nowhere/x")]),
        ("a name with NUL", {
            let mut record = file(b"backup/files/nul");
            record.line.as_mut().unwrap().insert("name".into(), json!("backup/files/n\u{0}l"));
            vec![record]
        }),
    ]
}

/// Makes the manifest's counts fit what is among the files, so that they don't give it away.
fn recount(forge: &mut Forge) {
    let count = |kind: u8| {
        let of_kind = forge.records.iter().filter(|r| r.head[r.head.len() - forge::BLOCK + 156] == kind);
        let below =
            of_kind.filter(|r| r.name().strip_prefix("backup/files/").is_some_and(|rest| !rest.is_empty()));
        (below.clone().count(), below.map(|r| r.content.len()).sum::<usize>())
    };
    let (files, links, folders) = (count(b'0'), count(b'2'), count(b'5'));
    forge.manifest(|manifest| {
        manifest["files"]["files"] = json!(files.0);
        manifest["files"]["bytes"] = json!(files.1);
        manifest["files"]["links"] = json!(links.0);
        manifest["files"]["folders"] = json!(folders.0);
    });
}

/// Everything in the sandbox but the store, whose state may change, and the scratch folder.
fn outside(sandbox: &Sandbox) -> Fingerprint {
    let mut tree = fingerprint(&sandbox.path(""), true);
    tree.retain(|name, _| !name.starts_with(b"store") && !name.starts_with(b"tmp"));
    // Targets come and go in it.
    tree.get_mut(b"targets".as_slice()).unwrap().mtime_ns = None;
    tree
}

#[test]
fn a_hostile_archive_is_refused_and_writes_nothing() {
    let pair = Pair::new();
    fs::create_dir(pair.sandbox.path("outside")).unwrap();
    fs::create_dir(pair.sandbox.path("targets")).unwrap();
    let forge = Forge::open(&pair.archive);
    let place = pair.sandbox.path("outside").display().to_string();
    let before = outside(&pair.sandbox);
    let mut wrong = Vec::new();
    for (what, records) in hostile() {
        let mut changed = forge.clone();
        for mut record in records {
            if what.starts_with("absolute") {
                let name = record.name().replace("/OUTSIDE", &place);
                record.line.as_mut().unwrap().insert("name".into(), json!(name));
                let mut head = vec![0; 100];
                head[..name.len()].copy_from_slice(name.as_bytes());
                record.head[..100].copy_from_slice(&head);
                forge::checksum(&mut record.head);
            }
            changed.add(record);
        }
        recount(&mut changed);
        forge::plant(&pair.archive, &changed.bytes());
        let target = pair.sandbox.path("targets/it");
        let verified = pair.verify().code;
        let restored = pair.run(&["restore", &pair.newer, "--to", target.to_str().unwrap()]).code;
        let left = target.exists();
        let only =
            pair.run(&["restore", &pair.newer, "--only", "docs", "--to", target.to_str().unwrap()]).code;
        if verified != 3 || ![1, 6].contains(&restored) || left {
            wrong.push(format!("{what}: verify {verified}, restore {restored}, left: {left}"));
        }
        if only == 0 {
            fs::remove_dir_all(&target).unwrap(); // one good part out of it
        }
        let after = support::tree::differences(&before, &outside(&pair.sandbox));
        wrong.extend(after.into_iter().map(|change| format!("{what}: {change}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_newer_format_is_refused_with_a_hint_and_is_no_damage() {
    let pair = Pair::new();
    let mut forge = Forge::open(&pair.archive);
    forge.manifest(|manifest| manifest["format"] = json!(2));
    forge::plant(&pair.archive, &forge.bytes());
    let target = pair.sandbox.path("target");
    for arguments in [&["show", &pair.newer][..], &["restore", &pair.newer, "--to", target.to_str().unwrap()]]
    {
        pair.run(arguments).code(1).says("of format 2").says("bin/");
    }
    let output = pair.run(&["verify", "all"]).code(3).says("of format 2").says("bin/");
    assert!(!output.stdout.contains("DAMAGED"), "{output:?}");
    assert!(output.stdout.contains(&format!("{}: good", pair.older)), "{output:?}");
    assert!(!target.exists());
    let list = pair.run(&["list"]);
    assert!(list.code == 3 && list.stderr.contains("of format 2"), "{list:?}");
    assert!(list.stdout.contains("newer format") && !list.stdout.contains("DAMAGED"), "{list:?}");
    assert!(list.stderr.contains("bin/") && !list.stderr.contains("tells more"), "{list:?}");
    let output = pair.run(&["restore", &pair.newer, "--verify-only"]).code(1).says("can't tell whether");
    assert!(!output.stdout.contains("DAMAGED"), "{output:?}");
    // Nothing is noted that would keep a newer program from using it.
    let state = fs::read_to_string(pair.store().join(format!("{}.state.json", pair.newer))).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["damage"], json!([]));
    // A field that this program does not know is no reason to refuse.
    let mut forge = Forge::open(&pair.archive);
    forge.manifest(|manifest| {
        manifest["format"] = json!(1);
        manifest["new"] = json!({"field": 1});
        manifest["databases"][0]["new"] = json!(1);
    });
    forge::plant(&pair.archive, &forge.bytes());
    pair.verify().ok();
}

#[test]
fn files_of_somebody_else_in_the_store_are_named() {
    let pair = Pair::new();
    let store = pair.store();
    let plain = pair.sandbox.command("tar").args(["-czf", "../plain.tar.gz", "docs"]).status();
    assert!(plain.is_ok_and(|status| status.success()));
    let plain = fs::read(pair.sandbox.path("plain.tar.gz")).unwrap();
    for (id, content) in [
        ("20200101_000000", plain.as_slice()),
        ("20200102_000000", b"a text, and nothing else; long enough to be no footer, and more than one line of it\n\nand more of it, as it goes\n"),
        ("20200103_000000", b""),
    ] {
        fs::write(store.join(format!("{id}.tar.gz")), content).unwrap();
    }
    fs::create_dir(store.join("20200104_000000.tar.gz")).unwrap();
    fs::write(store.join("holiday.tar.gz"), &plain).unwrap();
    fs::write(store.join("notes.txt"), "notes\n").unwrap();

    let list = pair.run(&["list"]).code(3);
    for id in ["20200101_000000", "20200102_000000", "20200103_000000"] {
        assert!(list.stderr.contains(&format!("backup {id} can't be read")), "{list:?}");
        let line = list.stdout.lines().find(|line| line.contains(id)).unwrap();
        assert!(line.contains("DAMAGED"), "{line}");
        let output = pair.run(&["verify", id]).code(3);
        assert!(output.stdout.contains(&format!("{id}: DAMAGED")), "{output:?}");
        let target = pair.sandbox.path("target");
        let output = pair.run(&["restore", id, "--to", target.to_str().unwrap()]).code(1);
        assert!(output.stderr.contains(&format!("{id}.tar.gz")) && !target.exists(), "{output:?}");
    }
    for stray in ["20200104_000000.tar.gz", "holiday.tar.gz", "notes.txt"] {
        assert!(list.stderr.contains(&format!("{stray} is no part of the store")), "{stray}: {list:?}");
    }
    pair.run(&["verify", "20200104_000000"]).code(4);
    // They are left alone, and the good ones stay good.
    let output = pair.run(&["verify", "all"]).code(3);
    for id in [&pair.older, &pair.newer] {
        assert!(output.stdout.contains(&format!("{id}: good")), "{output:?}");
    }
    assert_eq!(pair.latest(), pair.newer);
    pair.run(&["backup"]).ok();
    assert!(store.join("20200104_000000.tar.gz").is_dir() && store.join("notes.txt").exists());
    assert_eq!(fs::read(store.join("20200101_000000.tar.gz")).unwrap(), plain);
}

/// Damages the content of one file, which has members of its own.
fn damage_one(pair: &Pair, name: &str) {
    let (index, _) = forge::index(&pair.good);
    let mut lines = index["entries"].as_array().unwrap().iter();
    let line = lines.find(|line| line["name"] == format!("backup/files/{name}")).unwrap();
    let mut damaged = pair.good.clone();
    damaged[usize::try_from(line["offset"].as_u64().unwrap()).unwrap() + 5000] ^= 1;
    fs::write(&pair.archive, damaged).unwrap();
}

#[test]
fn a_restore_of_a_damaged_archive_leaves_the_target_as_it_was() {
    let pair = Pair::new();
    damage_one(&pair, "two.bin");
    let target = pair.sandbox.path("target");
    let to = target.to_str().unwrap();
    let names = |folder: &Path| fingerprint(folder, true);
    let output = pair.run(&["restore", &pair.newer, "--to", to]).code(1);
    assert!(output.stderr.contains(&pair.newer) && !target.exists(), "{output:?}");
    fs::create_dir(&target).unwrap();
    for damaged in [
        &["restore", &pair.newer, "--to", to][..],
        &["restore", &pair.newer, "--only", "two.bin", "--to", to],
    ] {
        pair.run(damaged).code(1);
        assert!(names(&target).is_empty());
    }
    pair.run(&["restore", &pair.newer, "--verify-only"]).code(3);
    // The rest can still be had.
    for good in ["one.bin", "docs", "memory/index.db"] {
        pair.run(&["restore", &pair.newer, "--only", good, "--to", to]).ok();
        let (back, was) = (names(&target), names(&pair.sandbox.project()));
        assert!(!back.is_empty());
        for (name, entry) in back.iter().filter(|(_, entry)| entry.kind == "file") {
            let is_database = name.ends_with(b".db"); // compared by the tool itself
            assert!(is_database || was[name].content == entry.content, "{}", String::from_utf8_lossy(name));
        }
        fs::remove_dir_all(&target).unwrap();
    }
    // A damaged index could give a file another name, mode or place: nothing is restored then.
    let (_, offset) = forge::index(&pair.good);
    let end = pair.good.len() - forge::FOOTER - forge::SEAL;
    for at in (offset..end - 30).step_by((end - offset) / 40).chain(end - 8..end) {
        let mut damaged = pair.good.clone();
        damaged[at] ^= 1;
        fs::write(&pair.archive, damaged).unwrap();
        let output = pair.run(&["restore", &pair.newer, "--only", "one.bin", "--to", to]);
        assert_eq!(output.code, 1, "byte {at} of {offset} to {end}: {output:?}");
        assert!(output.stderr.contains("cargo xtask list") && !target.exists(), "{output:?}");
    }
}

#[test]
fn numbers_beyond_all_bounds_in_a_manifest_stop_nothing() {
    let pair = Pair::new();
    let mut forge = Forge::open(&pair.archive);
    forge.manifest(|manifest| {
        let tables = manifest["databases"][0]["facts"]["tables"].as_array_mut().unwrap();
        tables[0]["rows"] = json!(u64::MAX);
        let mut twin = tables[0].clone();
        twin["name"] = json!("u");
        tables.push(twin);
    });
    forge::plant(&pair.archive, &forge.bytes());
    pair.run(&["list"]).ok();
    pair.run(&["show", &pair.newer]).ok();
    let target = pair.sandbox.path("target");
    pair.run(&["restore", &pair.newer, "--to", target.to_str().unwrap()]).code(1).says("rows");
    pair.verify().code(3);
}
