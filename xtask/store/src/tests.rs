//! The store on a real disk: opening and making it, publishing killed at every step, sweeping, states.

use super::catalog::StoreEntry;
use super::names::{ARCHIVE, STATE, SUM, SUMMARY};
use super::select::resolve;
use super::space::free_bytes;
use super::state::{State, Verification};
use super::summary::{SUMMARY_FORMAT, Summary};
use super::*;
use crate::base::digest::Digest;
use crate::base::failure::{hints_of, kind_of};
use crate::base::id::BackupId;
use crate::base::kind::BackupKind;
use crate::base::raw_path::RawPath;
use std::io::Write;

fn owner(path: &str, root: &str) -> Owner {
    Owner {
        host: "host".to_owned(),
        path: RawPath(path.as_bytes().to_vec()),
        root_commits: vec![root.to_owned()],
        remotes: Vec::new(),
    }
}

fn new_store() -> (tempfile::TempDir, Store) {
    let base = tempfile::tempdir().unwrap();
    let store = Store::create(&base.path().join("deep/store"), &owner("/p", "1")).unwrap();
    (base, store)
}

fn summary(id: &BackupId, kind: BackupKind, label: Option<&str>, content: &[u8]) -> Summary {
    Summary {
        format: SUMMARY_FORMAT,
        id: id.clone(),
        kind,
        label: label.map(ToOwned::to_owned),
        created: id.moment(),
        host: "host".to_owned(),
        path: RawPath(b"/p\xff".to_vec()),
        commit: None,
        branch: Some("main".to_owned()),
        dirty: true,
        databases: 2,
        rows: 3,
        files: 4,
        file_bytes: 5,
        archive_bytes: content.len() as u64,
        archive_sha256: Digest::of(content),
        problems: 0,
        advice: 1,
        archive_format: 1,
    }
}

fn id(text: &str) -> BackupId {
    text.parse().unwrap()
}

fn publish(store: &Store, id_text: &str, kind: BackupKind, label: Option<&str>) -> PathBuf {
    let lock = store.lock("test").unwrap();
    let mut file = store.temporary(&lock).unwrap();
    file.write_all(id_text.as_bytes()).unwrap();
    let summary = summary(&id(id_text), kind, label, id_text.as_bytes());
    store.publish(&lock, file, &summary, &State::default()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with(".lock") && !name.starts_with(".state-lock"));
    names.sort();
    names
}

fn ids(store: &Store) -> Vec<String> {
    store.list().unwrap().entries.iter().map(|entry| entry.id.to_string()).collect()
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_store_is_made_once_and_opened_again() {
    let (base, store) = new_store();
    let opened = Store::open(store.root()).unwrap();
    assert_eq!(opened.info().unwrap().owner, owner("/p", "1"));
    assert_eq!(opened.relation(&owner("/p", "1")), Some(Relation::Own));
    assert_eq!(kind_of(&Store::create(store.root(), &owner("/p", "1")).unwrap_err()), Kind::Refused);
    let missing = Store::open(&base.path().join("none")).unwrap_err();
    assert_eq!(kind_of(&missing), Kind::NotFound);
    assert!(!hints_of(&missing).is_empty());
    fs::write(base.path().join("file"), "").unwrap();
    assert!(Store::open(&base.path().join("file")).unwrap_err().to_string().contains("is a file"));
    assert_eq!(kind_of(&Store::open(&base.path().join("file/x")).unwrap_err()), Kind::NotFound);
    #[cfg(unix)]
    assert_eq!(mode(store.root()), 0o700);
}

#[test]
fn nobody_elses_folder_becomes_a_store() {
    let base = tempfile::tempdir().unwrap();
    for stranger in ["notes.txt", ".tmp-download"] {
        let folder = base.path().join("home");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(stranger), "precious").unwrap();
        let error = Store::create(&folder, &owner("/p", "1")).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Refused);
        assert!(error.to_string().contains(stranger));
        assert_eq!(kind_of(&Store::open(&folder).unwrap_err()), Kind::NotFound);
        assert_eq!(names(&folder), [stranger], "nothing was made in it");
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(base.path().join("disk/lost+found")).unwrap();
    Store::create(&base.path().join("disk"), &owner("/p", "1")).unwrap();
}

#[test]
fn a_lost_or_damaged_store_file_does_not_stand_before_the_backups() {
    let (_base, store) = new_store();
    publish(&store, "20251201_120000", BackupKind::Manual, None);
    for damage in [None, Some("{"), Some("")] {
        match damage {
            None => fs::remove_file(store.root().join(STORE_FILE)).unwrap(),
            Some(text) => fs::write(store.root().join(STORE_FILE), text).unwrap(),
        }
        let opened = Store::open(store.root()).unwrap();
        assert!(opened.info().is_none() && opened.problem().is_some());
        assert_eq!(opened.relation(&owner("/p", "1")), None);
        assert_eq!(ids(&opened), ["20251201_120000"]);
    }
    let mut opened = Store::open(store.root()).unwrap();
    let lock = opened.lock("adopt").unwrap();
    opened.adopt(&lock, &owner("/q", "2")).unwrap();
    assert_eq!(Store::open(store.root()).unwrap().info().unwrap().owner, owner("/q", "2"));
    fs::write(store.root().join(STORE_FILE), "{\"format\": 99}").unwrap();
    assert_eq!(kind_of(&Store::open(store.root()).unwrap_err()), Kind::Refused);
}

#[test]
fn adopting_replaces_the_owner_and_refreshing_adds_to_it() {
    let (_base, mut store) = new_store();
    let lock = store.lock("backup").unwrap();
    assert!(!store.refresh(&lock, &owner("/p", "1")).unwrap());
    assert!(!store.refresh(&lock, &owner("/elsewhere", "1")).unwrap(), "another copy adds nothing");
    assert!(store.refresh(&lock, &owner("/p", "2")).unwrap());
    let created = store.info().unwrap().created;
    let read = || Store::open(store.root()).unwrap().info().unwrap().clone();
    assert_eq!(read().owner.root_commits, ["1", "2"]);
    store.clone().adopt(&lock, &owner("/q", "2")).unwrap();
    assert_eq!((read().owner, read().created), (owner("/q", "2"), created));
}

#[test]
fn a_published_backup_is_private_complete_and_listed() {
    let (_base, store) = new_store();
    let archive = publish(&store, "20251201_120000", BackupKind::Manual, Some("before"));
    let safety = publish(&store, "20251201_120001", BackupKind::Safety, None);
    assert_eq!(safety, store.root().join("safety/20251201_120001.tar.gz"));
    assert_eq!(
        names(store.root()),
        [
            "20251201_120000.json",
            "20251201_120000.tar.gz",
            "20251201_120000.tar.gz.sha256",
            "safety",
            "store.json"
        ]
    );
    let sum = fs::read_to_string(archive.with_extension("gz.sha256")).unwrap();
    assert_eq!(sum, format!("{}  20251201_120000.tar.gz\n", Digest::of(b"20251201_120000")));
    let listing = store.list().unwrap();
    assert!(listing.strays.is_empty());
    let [first, second] = listing.entries.as_slice() else { panic!("{listing:?}") };
    let content = b"20251201_120000";
    assert_eq!(first.summary, Some(summary(&first.id, BackupKind::Manual, Some("before"), content)));
    assert_eq!((first.size, first.kind(), first.label()), (15, BackupKind::Manual, Some("before")));
    assert_eq!((second.kind(), second.safety), (BackupKind::Safety, true));
    assert!(!first.is_damaged());
    #[cfg(unix)]
    for path in [archive.clone(), archive.with_extension("gz.sha256"), safety] {
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
    fs::write(&archive, "cut off").unwrap();
    assert!(store.list().unwrap().entries[0].is_damaged());
}

#[test]
fn killed_at_any_step_of_publishing_the_store_is_as_it_was_or_has_the_backup() {
    let pinned = State { pinned: true, ..State::default() };
    for steps in 0..=4 {
        let (_base, store) = new_store();
        publish(&store, "20251130_120000", BackupKind::Manual, None);
        let before = names(store.root());
        let new = summary(&id("20251201_120000"), BackupKind::Manual, None, b"content");
        let archive = store.archive_path(new.kind, &new.id);
        // What a run that is killed after so many steps leaves; and inside a step, its temporary file.
        fs::write(store.root().join(".tmp-archive"), b"content").unwrap();
        fs::write(store.root().join(".tmp-inside-a-step"), b"{").unwrap();
        fs::create_dir_all(store.root().join(".tmp-scratch/work/deep")).unwrap();
        let sidecars = publish::sidecars(&archive, &new, &pinned).unwrap();
        assert_eq!(sidecars.len(), 3);
        for (path, content) in sidecars.iter().take(steps) {
            fs::write(path, content).unwrap();
        }
        if steps == 4 {
            fs::rename(store.root().join(".tmp-archive"), &archive).unwrap();
        }
        let complete: &[&str] = &["20251130_120000", "20251201_120000"];
        let expected = if steps == 4 { complete } else { &complete[..1] };
        assert_eq!(ids(&store), expected, "before sweeping, after {steps} steps");
        let lock = store.lock("next").unwrap();
        let swept = store.sweep(&lock).unwrap();
        assert!(swept.findings.is_empty());
        assert_eq!(ids(&store), expected, "after {steps} steps");
        if steps == 4 {
            assert_eq!(swept.removed.len(), 2);
            assert!(store.list().unwrap().entries[1].state.pinned);
        } else {
            assert_eq!(swept.removed.len(), 3 + steps);
            assert_eq!(names(store.root()), before);
            assert_eq!(store.new_id(new.id.moment()).unwrap(), new.id, "the id is free again");
        }
        assert!(store.sweep(&lock).unwrap().removed.is_empty());
    }
}

#[test]
fn a_failed_publication_leaves_nothing_and_replaces_nothing() {
    let (_base, store) = new_store();
    let archive = publish(&store, "20251201_120000", BackupKind::Manual, None);
    let before = names(store.root());
    let lock = store.lock("test").unwrap();
    let attempt = |summary: &Summary| {
        let mut file = store.temporary(&lock).unwrap();
        file.write_all(b"other").unwrap();
        store.publish(&lock, file, summary, &State::default())
    };
    let again = summary(&id("20251201_120000"), BackupKind::Manual, None, b"other");
    assert!(attempt(&again).unwrap_err().to_string().contains("already"));
    let wrong = summary(&id("20251201_120001"), BackupKind::Manual, None, b"not this long");
    assert!(attempt(&wrong).is_err());
    // A folder in the place of the summary makes the second step fail, for root too.
    fs::create_dir(store.root().join(format!("20251201_120002{SUMMARY}"))).unwrap();
    assert!(attempt(&summary(&id("20251201_120002"), BackupKind::Manual, None, b"other")).is_err());
    fs::remove_dir(store.root().join(format!("20251201_120002{SUMMARY}"))).unwrap();
    assert_eq!(names(store.root()), before);
    assert_eq!(fs::read(archive).unwrap(), b"20251201_120000");
}

#[test]
fn ids_are_new_in_every_corner_of_the_store() {
    let (_base, store) = new_store();
    let moment = id("20251201_120000").moment();
    let next = || store.new_id(moment).unwrap().to_string();
    assert_eq!(next(), "20251201_120000");
    publish(&store, "20251201_120000", BackupKind::Manual, None);
    assert_eq!(next(), "20251201_120000-2");
    publish(&store, "20251201_120000-2", BackupKind::Safety, None);
    assert_eq!(next(), "20251201_120000-3");
    fs::create_dir(store.root().join(TRASH)).unwrap();
    fs::write(store.root().join("trash/20251201_120000-3.tar.gz"), "").unwrap();
    fs::write(store.root().join(format!("20251201_120000-4{STATE}")), "").unwrap();
    assert_eq!(next(), "20251201_120000-5");
}

#[test]
fn sweeping_leaves_alone_what_is_not_ours_or_in_use() {
    let (_base, store) = new_store();
    publish(&store, "20251201_120000", BackupKind::Manual, None);
    let scratch = store.scratch().unwrap();
    fs::write(scratch.path().join("work in progress"), "").unwrap();
    fs::write(store.root().join("notes.json"), "").unwrap();
    fs::write(store.root().join("foreign.tar.gz"), "").unwrap();
    fs::create_dir(store.root().join("safety")).unwrap();
    fs::write(store.root().join(format!("safety/20251201_120009{SUM}")), "").unwrap();
    let lock = store.lock("test").unwrap();
    let swept = store.sweep(&lock).unwrap();
    assert_eq!(swept.removed, [store.root().join(format!("safety/20251201_120009{SUM}"))]);
    assert!(scratch.path().join("work in progress").exists());
    let strays = store.list().unwrap().strays;
    assert_eq!(strays, [store.root().join("foreign.tar.gz"), store.root().join("notes.json")]);
    let outer = scratch.path().parent().unwrap().to_path_buf();
    #[cfg(unix)]
    {
        assert_eq!((mode(&outer), mode(scratch.path())), (0o700, 0o700));
        let locked = scratch.path().join("restored/read-only");
        fs::create_dir_all(&locked).unwrap();
        fs::write(locked.join("file"), "").unwrap();
        file_facts::set_mode(&locked, 0o500).unwrap();
    }
    drop(scratch);
    assert!(!outer.exists());
}

#[test]
fn states_and_summaries_change_beside_an_archive_that_does_not() {
    let (_base, store) = new_store();
    let archive = publish(&store, "20251201_120000", BackupKind::Manual, None);
    let entry = |store: &Store| store.list().unwrap().entries[0].clone();
    let check = |ok, level| Verification { at: Instant(5), level, ok, by: "verify".to_owned() };
    store.update_state(&entry(&store), |state| state.pinned = true).unwrap();
    store.update_state(&entry(&store), |s| s.record(check(false, 3), vec!["a.db".to_owned()])).unwrap();
    let after = entry(&store);
    assert!(after.state.pinned && after.is_damaged());
    store.update_state(&after, |state| state.record(check(true, 1), Vec::new())).unwrap();
    assert!(entry(&store).is_damaged(), "that it is readable takes nothing back");
    store.update_state(&after, |state| state.record(check(true, 3), Vec::new())).unwrap();
    assert!(!entry(&store).is_damaged() && entry(&store).state.verifications.len() == 3);
    for _ in 0..40 {
        store.update_state(&after, |state| state.record(check(true, 3), Vec::new())).unwrap();
    }
    assert_eq!(entry(&store).state.verifications.len(), 30);

    fs::write(archive.with_file_name(format!("20251201_120000{SUMMARY}")), "{").unwrap();
    assert_eq!((entry(&store).summary, entry(&store).kind()), (None, BackupKind::Manual));
    let rebuilt = summary(&id("20251201_120000"), BackupKind::Guard, None, b"20251201_120000");
    store.rewrite_summary(&entry(&store), &rebuilt).unwrap();
    assert_eq!(entry(&store).kind(), BackupKind::Guard);

    fs::write(archive.with_file_name(format!("20251201_120000{STATE}")), "{").unwrap();
    let unknown = entry(&store);
    assert!(unknown.state.pinned && unknown.state.unreadable.is_some(), "it may have been pinned");
    assert!(store.update_state(&unknown, |state| state.pinned = false).is_err());
    fs::remove_file(&archive).unwrap();
    assert_eq!(kind_of(&store.update_state(&unknown, |_| {}).unwrap_err()), Kind::NotFound);
    assert!(!names(store.root()).contains(&format!("20251201_120000{ARCHIVE}")));
}

#[test]
fn words_for_backups() {
    let (_base, store) = new_store();
    for (id, kind, label) in [
        ("20251130_080000", BackupKind::Scheduled, Some("nightly")),
        ("20251201_120000", BackupKind::Manual, None),
        ("20251201_120000-2", BackupKind::Guard, Some("nightly")),
        ("20251202_090000", BackupKind::Manual, Some("broken")),
        ("20251203_100000", BackupKind::Safety, None),
    ] {
        publish(&store, id, kind, label);
    }
    let broken = store.list().unwrap().entries[3].clone();
    store.update_state(&broken, |state| state.damage.push("x".to_owned())).unwrap();
    let entries = store.list().unwrap().entries;
    let now = id("20251203_120000").moment();
    for (word, expected) in [
        ("20251201_120000", "20251201_120000"),
        ("20251201_120000-", "20251201_120000-2"),
        ("20251130", "20251130_080000"),
        ("20251203", "20251203_100000"),
        ("nightly", "20251201_120000-2"),
        ("broken", "20251202_090000"),
        ("latest", "20251201_120000-2"),
        ("2025-12-03T11:00:00Z", "20251201_120000-2"),
        ("2025-12-01T12:00:00Z", "20251201_120000-2"),
        ("2025-12-01T11:59:59Z", "20251130_080000"),
        ("2 days ago", "20251201_120000-2"),
    ] {
        assert_eq!(resolve(&entries, word, now).unwrap().id.to_string(), expected, "{word}");
    }
    for (word, hint) in [
        ("20251201", "20251201_120000-2"),
        ("2025", "20251203_100000"),
        ("2025-11-01T00:00:00Z", "20251130_080000"),
        ("night", "20251203_100000"),
        ("", "20251203_100000"),
    ] {
        let error = resolve(&entries, word, now).unwrap_err();
        assert_eq!(kind_of(&error), Kind::NotFound, "{word}");
        assert!(hints_of(&error).iter().any(|text| text.contains(hint)), "{word}: {:?}", hints_of(&error));
    }
    let only_safety: Vec<StoreEntry> = entries[3..].to_vec();
    assert_eq!(kind_of(&resolve(&only_safety, "latest", now).unwrap_err()), Kind::NotFound);
    for word in ["latest", "x", "1h ago"] {
        assert!(resolve(&[], word, now).unwrap_err().to_string().contains("no backup in this store"));
    }
}

#[test]
fn a_thousand_backups_list_at_once() {
    let (_base, store) = new_store();
    for n in 0..1000 {
        let id = BackupId::new(Instant(1_700_000_000 + n), 1);
        let archive = store.archive_path(BackupKind::Manual, &id);
        let summary = summary(&id, BackupKind::Manual, None, b"");
        for (path, content) in publish::sidecars(&archive, &summary, &State::default()).unwrap() {
            fs::write(path, content).unwrap();
        }
        fs::write(archive, "").unwrap();
    }
    let begin = std::time::Instant::now();
    assert_eq!(store.list().unwrap().entries.len(), 1000);
    // Far above what it takes (some 30 ms), for busy machines; far below opening the archives.
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
}

#[test]
fn the_history_grows_by_whole_lines() {
    let (_base, store) = new_store();
    store.append_history(&serde_json::json!({"run": 1})).unwrap();
    let path = store.root().join("history.jsonl");
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"cut").unwrap();
    store.append_history(&serde_json::json!({"run": 2, "text": "two\nlines"})).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"run\":1}\n{\"cut\n{\"run\":2,\"text\":\"two\\nlines\"}\n");
    #[cfg(unix)]
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn the_executable_is_renewed_only_when_it_changed() {
    let (base, store) = new_store();
    let running = base.path().join("xtask-running");
    fs::write(&running, "program").unwrap();
    let lock = store.lock("backup").unwrap();
    assert!(store.renew_executable(&lock, &running).unwrap());
    let copy = store.executable_path();
    assert_eq!(fs::read(&copy).unwrap(), b"program");
    #[cfg(unix)]
    assert_eq!(mode(&copy), 0o700);
    assert!(!store.renew_executable(&lock, &running).unwrap());
    file_facts::set_mtime(&fs::File::options().write(true).open(&running).unwrap(), 1_000_000_000).unwrap();
    assert!(store.renew_executable(&lock, &running).unwrap());
    assert!(!store.renew_executable(&lock, &running).unwrap());
    fs::write(&running, "another program").unwrap();
    assert!(store.renew_executable(&lock, &running).unwrap());
    assert!(!store.renew_executable(&lock, &copy).unwrap(), "running from there");
    assert_eq!(names(&store.root().join("bin")).len(), 1);
}

#[test]
fn room_is_known_also_for_a_folder_that_is_not_there_yet() {
    let (base, _store) = new_store();
    let free = free_bytes(&base.path().join("not/there/yet"));
    assert_eq!(free.is_some(), cfg!(unix));
    assert_ne!(free, Some(0));
}

#[cfg(unix)]
#[test]
fn a_store_without_the_right_to_write_says_so() {
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root can write everywhere; run the tests as an ordinary user for this one");
        return;
    }
    let (_base, store) = new_store();
    file_facts::set_mode(store.root(), 0o500).unwrap();
    let errors = [store.lock("x").unwrap_err(), store.scratch().unwrap_err()];
    file_facts::set_mode(store.root(), 0o700).unwrap();
    for error in errors {
        assert!(error.to_string().contains("can't write into the store"), "{error:#}");
        assert!(hints_of(&error).iter().any(|hint| hint.contains("right to write")), "{error:#}");
    }
}

#[test]
fn a_pin_that_comes_in_time_keeps_a_backup_out_of_the_trash() {
    let (_base, store) = new_store();
    let lock = || store.lock("test").unwrap();
    let archive = publish(&store, "20251201_120000", BackupKind::Manual, None);
    // What a rotation decided on before the pin.
    let entry = store.list().unwrap().entries[0].clone();
    store.update_state(&entry, |state| state.pinned = true).unwrap();
    assert!(!store.discard(&lock(), &entry, Instant(9)).unwrap());
    store.update_state(&entry, |state| state.pinned = false).unwrap();
    assert!(store.discard(&lock(), &entry, Instant(9)).unwrap());
    let late = store.update_state(&entry, |state| state.pinned = true).unwrap_err();
    assert_eq!((kind_of(&late), archive.exists()), (Kind::NotFound, false));
    let trash = store.trash().unwrap();
    assert_eq!((trash[0].id.clone(), trash[0].removed), (entry.id.clone(), Some(Instant(9))));
    assert_eq!(names(&store.trash_path()).len(), 4);
    #[cfg(unix)]
    assert_eq!(mode(&store.trash_path()), 0o700);
    assert_eq!(store.new_id(entry.id.moment()).unwrap(), id("20251201_120000-2"));
}
