//! Old backups go by the rules and no others, and none goes that may be needed: whatever is damaged, pinned,
//! killed, full or in the way.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::dated::{ENDS, moment, project, run, store};
use support::killing::{killed_at, tracer};
use support::tree::{differences, fingerprint};
use support::{Sandbox, system};

/// Ids of the archives in a folder.
fn ids(folder: &Path) -> BTreeSet<String> {
    if !folder.exists() {
        return BTreeSet::new();
    }
    let archives = support::archives(folder);
    archives.iter().map(|path| path.file_name().unwrap().to_str().unwrap().replace(".tar.gz", "")).collect()
}

fn set<'a>(ids: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    ids.into_iter().map(str::to_owned).collect()
}

/// Noon of each of these days.
fn noons(days: &str) -> BTreeSet<String> {
    days.split_whitespace().map(|day| format!("{}_120000", day.replace('-', ""))).collect()
}

/// Demands that a folder holds whole backups only: archives with all that belongs to them, and nothing else of
/// ours.
#[track_caller]
fn all_whole(folder: &Path, when: &str) {
    if !folder.exists() {
        return;
    }
    let archives = ids(folder);
    for id in &archives {
        for end in ENDS {
            assert!(folder.join(format!("{id}{end}")).exists(), "{when}: {id} lacks {end}");
        }
        let bytes = fs::read(folder.join(format!("{id}.tar.gz"))).unwrap();
        let sum = fs::read_to_string(folder.join(format!("{id}.tar.gz.sha256"))).unwrap();
        assert_eq!(sum, format!("{}  {id}.tar.gz\n", support::forge::sha256(&bytes)), "{when}");
    }
}

/// Files of a folder that belong to no archive there.
fn remains(folder: &Path) -> Vec<String> {
    let archives = ids(folder);
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let of_archive =
        |name: &str| archives.iter().any(|id| ENDS.iter().any(|end| name == format!("{id}{end}")));
    let parts = ["store.json", ".lock", ".state-lock", "history.jsonl", "bin", "safety", "trash"];
    names.filter(|name| !of_archive(name) && !parts.contains(&name.as_str())).collect()
}

fn change_state(store: &Path, id: &str, change: impl FnOnce(&mut Value)) {
    let path = store.join(format!("{id}.state.json"));
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    fs::write(path, state.to_string()).unwrap();
}

/// What the scripts got wrong (a month, weeks of laptops), in one go and for real: 400 days, one a day.
#[test]
fn four_hundred_days_leave_seven_days_four_weeks_and_twelve_months() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    let mut all = BTreeSet::new();
    for back in 0..400 {
        let day = jiff::civil::date(2025, 12, 31).checked_sub(jiff::Span::new().days(back)).unwrap();
        let id = day.strftime("%Y%m%d_120000").to_string();
        mould.plant(&id, "scheduled");
        all.insert(id);
    }
    let expected = noons(
        "2025-12-31 2025-12-30 2025-12-29 2025-12-28 2025-12-27 2025-12-26 2025-12-25 2025-12-21 2025-12-14 \
         2025-11-30 2025-10-31 2025-09-30 2025-08-31 2025-07-31 2025-06-30 2025-05-31 2025-04-30 2025-03-31 \
         2025-02-28 2025-01-31",
    );
    let before = fingerprint(&store, true);
    let dry = run(&sandbox, &["prune", "--dry-run", "--json"]).ok().json();
    assert_eq!(differences(&before, &fingerprint(&store, true)), Vec::<String>::new());
    let done = run(&sandbox, &["prune", "--json"]).ok().json();
    for document in [&dry, &done] {
        let of = |list: &str| -> BTreeSet<String> {
            let list = document[list].as_array().unwrap();
            list.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(of("kept"), expected);
        assert_eq!(of("removed"), all.difference(&expected).cloned().collect());
        let kept = document["kept"].as_array().unwrap();
        let rules = |id: &str| &kept.iter().find(|one| one["id"] == id).unwrap()["kept_by"];
        let newest = ["newest", "daily 2025-12-31", "weekly 2026-W01", "monthly 2025-12"];
        assert_eq!(rules("20251231_120000"), &json!(newest));
        assert_eq!(rules("20251214_120000"), &json!(["weekly 2025-W50"]));
        assert_eq!(rules("20250131_120000"), &json!(["monthly 2025-01"]));
    }
    assert_eq!((&dry["verified"], &done["verified"]), (&Value::Null, &json!("20251231_120000")));
    assert_eq!(ids(&store), expected);
    assert_eq!(ids(&store.join("trash")), all.difference(&expected).cloned().collect());
    all_whole(&store, "pruned");
    all_whole(&store.join("trash"), "pruned");
    // Really verified, databases too.
    let state: Value =
        serde_json::from_slice(&fs::read(store.join("20251231_120000.state.json")).unwrap()).unwrap();
    let last = state["verifications"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["by"], &last["level"], &last["ok"]), (&json!("prune"), &json!(3), &json!(true)));
    // What lies in the trash is in no list.
    let listing = run(&sandbox, &["list", "--json"]).ok().json();
    assert_eq!(listing["backups"].as_array().unwrap().len(), expected.len());
    run(&sandbox, &["show", "20251213"]).code(4);
    // There is nothing more to do, and nothing is verified for it.
    let again = run(&sandbox, &["prune", "--json"]).ok().json();
    assert_eq!((&again["removed"], &again["verified"]), (&json!([]), &Value::Null));
}

#[test]
fn a_removed_backup_comes_back_with_a_move_as_the_output_tells() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    for day in 1..=3 {
        mould.plant(&format!("2025060{day}_120000"), "scheduled");
    }
    mould.plant("20250601_130000", "scheduled");
    let said = run(&sandbox, &["prune"]).ok().stderr;
    assert_eq!(ids(&store.join("trash")), set(["20250601_120000"]));
    let command = said.split("to take one back: ").nth(1).unwrap().lines().next().unwrap();
    let command = command.replace("cargo xtask", "\"$XTASK\"");
    sandbox.shell_under(&[], &format!("{command} --store '{}'", store.display())).ok();
    assert!(ids(&store.join("trash")).is_empty());
    run(&sandbox, &["verify", "20250601_120000"]).ok();
    run(&sandbox, &["prune"]).ok();
    assert!(ids(&store).contains("20250601_120000"), "it is pinned");
    run(&sandbox, &["unpin", "20250601_120000"]).ok();
    run(&sandbox, &["prune"]).ok();
    assert!(!ids(&store).contains("20250601_120000"));
}

/// A backup for scripts, of the day on which the test runs.
fn backup(sandbox: &Sandbox, more: &[&str]) -> Value {
    let words = [&["backup", "--kind", "scheduled", "--json"], more].concat();
    run(sandbox, &words).ok().json()
}

#[test]
fn every_backup_rotates_and_says_what_it_removed() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    for hour in 10..13 {
        mould.plant(&format!("20250601_{hour}0000"), "scheduled");
    }
    let document = backup(&sandbox, &[]);
    assert_eq!(document["removed"], json!(["20250601_100000", "20250601_110000"]));
    let new = document["id"].as_str().unwrap();
    assert_eq!(ids(&store), set(["20250601_120000", new]));
    let log = fs::read_to_string(store.join("history.jsonl")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["removed"], document["removed"]);
    // By hand, several of a day stay.
    for _ in 0..2 {
        run(&sandbox, &["backup"]).ok();
    }
    assert_eq!(ids(&store).len(), 3, "the one of the timer has a newer one of its day");
}

#[test]
fn a_label_alone_keeps_nothing_and_a_pin_keeps_everything() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    for (hour, label) in [(10, "plain"), (11, "dear"), (12, "last")] {
        mould.plant_changed(&format!("20250601_{hour}0000"), "scheduled", &|manifest| {
            manifest["label"] = json!(label);
        });
    }
    let pinned = run(&sandbox, &["pin", "dear", "20250601_11", "--json"]).ok().json();
    assert_eq!(pinned["backups"], json!([{"id": "20250601_110000", "pinned": true, "changed": true}]));
    assert!(run(&sandbox, &["pin", "dear"]).ok().stdout.contains("was pinned already"));
    // One that is not there changes none.
    run(&sandbox, &["pin", "last", "nonsense"]).code(4);
    run(&sandbox, &["prune"]).ok();
    assert_eq!(ids(&store), set(["20250601_110000", "20250601_120000"]));
    let shown = run(&sandbox, &["show", "dear", "--json"]).ok().json();
    assert_eq!(shown["kept_by"], json!(["pinned"]));
    // A state that can't be read may have been a pin.
    fs::write(store.join("20250601_110000.state.json"), "{").unwrap();
    run(&sandbox, &["prune"]).ok();
    assert_eq!(ids(&store).len(), 2);
    fs::remove_file(store.join("20250601_110000.state.json")).unwrap();
    run(&sandbox, &["verify", "dear"]).ok();
    run(&sandbox, &["unpin", "dear"]).ok();
    run(&sandbox, &["prune"]).ok();
    assert_eq!(ids(&store), set(["20250601_120000"]));
}

#[test]
fn nothing_is_removed_when_the_newest_that_stays_is_damaged() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    for id in ["20250601_100000", "20250601_110000", "20250602_100000", "20250602_110000"] {
        mould.plant(id, "scheduled");
    }
    let before = ids(&store);
    let newest = store.join("20250602_110000.tar.gz");
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let output = run(&sandbox, &["prune", "--json"]).code(3).says("nothing was removed");
    assert_eq!(output.json()["removed"], json!([]));
    assert_eq!(output.json()["findings"][0]["code"], "damaged");
    assert_eq!(ids(&store), before);
    // That is known now: the next run verifies the next newest, and the damaged one took no place of it.
    let output = run(&sandbox, &["prune", "--json"]).ok().json();
    assert_eq!(output["verified"], "20250602_100000");
    assert_eq!(ids(&store), set(["20250601_110000", "20250602_100000", "20250602_110000"]));
    // It goes when a good one came after it.
    backup(&sandbox, &[]);
    assert!(!ids(&store).contains("20250602_110000"));
    assert!(ids(&store).contains("20250602_100000"));
}

#[test]
fn where_no_backup_is_known_to_be_good_nothing_is_removed() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    let all = ["20250601_100000", "20250601_110000", "20250601_120000"];
    for id in all {
        mould.plant(id, "scheduled");
        fs::remove_file(store.join(format!("{id}.state.json"))).unwrap();
    }
    run(&sandbox, &["prune"]).code(3).says("no backup here is known to be good").says("verify all");
    assert_eq!(ids(&store), set(all));
    run(&sandbox, &["verify", "all"]).ok();
    run(&sandbox, &["prune"]).ok();
    assert_eq!(ids(&store), set(["20250601_120000"]));
}

/// The table of the scripts: nine days without a backup, then one of a database that was emptied.
#[test]
fn an_emptied_database_does_not_push_out_what_held_it() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    for day in 1..=3 {
        mould.plant(&format!("2025060{day}_120000"), "scheduled");
    }
    fs::write(sandbox.project().join("index.db"), "").unwrap();
    let output = run(&sandbox, &["backup", "--kind", "scheduled"]).code(3).says("none any more");
    assert!(output.stderr.contains("much less than in backup 20250603_120000"), "{}", output.stderr);
    assert_eq!(ids(&store).len(), 4);
    // Nor on the same day, by a timer that runs every hour.
    let database = |rows: &str| {
        fs::remove_file(sandbox.project().join("index.db")).unwrap();
        let connection = rusqlite::Connection::open(sandbox.project().join("index.db")).unwrap();
        connection.execute_batch(&format!("CREATE TABLE t(a); INSERT INTO t VALUES {rows}")).unwrap();
    };
    database("(1), (2), (3), (4), (5)");
    let full = backup(&sandbox, &[])["id"].as_str().unwrap().to_owned();
    database("(1)");
    for _ in 0..3 {
        backup(&sandbox, &[]);
    }
    assert!(ids(&store).contains(&full));
    assert_eq!(ids(&store).len(), 5);
}

#[test]
fn safety_copies_are_a_group_of_their_own() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    for minute in 0..30 {
        mould.plant(&format!("20250601_12{minute:02}00"), "safety");
        mould.plant(&format!("20250602_12{minute:02}00"), "guard");
    }
    mould.plant("20250720_120000", "scheduled");
    run(&sandbox, &["prune"]).ok();
    assert_eq!((ids(&store.join("safety")).len(), ids(&store).len()), (20, 21));
    assert!(ids(&store.join("safety")).contains("20250601_122900"));
    assert_eq!(ids(&store.join("trash")).len(), 20);
    all_whole(&store.join("trash"), "pruned");
    // And come back from the trash as what they are.
    let (trash, safety) = (store.join("trash"), store.join("safety"));
    for end in ENDS {
        let name = format!("20250601_120000{end}");
        fs::rename(trash.join(&name), safety.join(&name)).unwrap();
    }
    run(&sandbox, &["verify", "20250601_120000"]).ok();
}

#[test]
fn the_trash_is_emptied_after_a_week_and_keeps_its_ids() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    let trash = store.join("trash");
    for id in ["20250601_100000", "20250601_110000", "20250601_120000", "20250601_130000", "20250601_140000"]
    {
        mould.plant(id, "scheduled");
    }
    run(&sandbox, &["prune"]).ok();
    assert_eq!(ids(&trash).len(), 4);
    // Ages count from the newest backup, so nothing gets old where none are taken.
    change_state(&trash, "20250601_100000", |state| state["removed"] = json!("2025-05-26T00:00:00Z"));
    change_state(&trash, "20250601_110000", |state| state["removed"] = json!("2025-05-25T00:00:00Z"));
    change_state(&trash, "20250601_120000", |state| state["removed"] = json!("2036-01-01T00:00:00Z"));
    change_state(&trash, "20250601_130000", |state| drop(state.as_object_mut().unwrap().remove("removed")));
    let done = run(&sandbox, &["prune", "--json"]).ok().json();
    assert_eq!(
        (&done["deleted"], &done["verified"]),
        (&json!(["20250601_110000"]), &json!("20250601_140000"))
    );
    assert_eq!(ids(&trash), set(["20250601_100000", "20250601_120000", "20250601_130000"]));
    assert_eq!(remains(&trash), Vec::<String>::new());
    // What told of the future, or of no time, waits from now on.
    for id in ["20250601_120000", "20250601_130000"] {
        change_state(&trash, id, |state| assert!(state["removed"].as_str().unwrap() < "2036"));
    }
    // The next real backup is more than a week younger than the first one's removal.
    backup(&sandbox, &[]);
    assert_eq!(ids(&trash), set(["20250601_120000", "20250601_130000"]));
}

#[cfg(unix)]
#[test]
fn what_fails_in_the_store_costs_no_backup() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    for id in ["20250601_100000", "20250601_110000"] {
        mould.plant(id, "scheduled");
    }
    // The trash lies on a disk that is not there.
    std::os::unix::fs::symlink("/nonexistent/trash", store.join("trash")).unwrap();
    run(&sandbox, &["prune"]).code(3).says("problem: can't write into the store");
    let output = run(&sandbox, &["backup", "--json"]).code(3);
    let document = output.json();
    let codes: Vec<&Value> = document["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
    assert!(codes.contains(&&json!("rotation")), "{codes:?}");
    run(&sandbox, &["verify", output.json()["id"].as_str().unwrap()]).ok();
    assert_eq!(ids(&store).len(), 3);
    all_whole(&store, "no trash");
    fs::remove_file(store.join("trash")).unwrap();
    // The same id in the trash already: neither replaces the other.
    fs::create_dir(store.join("trash")).unwrap();
    fs::write(store.join("trash/20250601_100000.tar.gz"), "another").unwrap();
    run(&sandbox, &["prune"]).code(3).says("is there already");
    assert_eq!(fs::read_to_string(store.join("trash/20250601_100000.tar.gz")).unwrap(), "another");
    all_whole(&store, "taken");
    fs::remove_file(store.join("trash/20250601_100000.tar.gz")).unwrap();
    run(&sandbox, &["prune"]).ok();
    all_whole(&store, "at last");
    assert_eq!(ids(&store.join("trash")), set(["20250601_100000"]));
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_an_archive_is_left_alone() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    for id in ["20250601_100000", "20250601_110000", "20250601_120000"] {
        mould.plant(id, "scheduled");
    }
    let elsewhere = sandbox.path("elsewhere.tar.gz");
    fs::rename(store.join("20250601_100000.tar.gz"), &elsewhere).unwrap();
    std::os::unix::fs::symlink("../elsewhere.tar.gz", store.join("20250601_100000.tar.gz")).unwrap();
    run(&sandbox, &["prune"]).ok();
    assert_eq!(ids(&store), set(["20250601_100000", "20250601_120000"]));
    run(&sandbox, &["verify", "20250601_100000"]).ok();
}

#[test]
fn only_the_owner_of_a_store_prunes_it() {
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    mould.plant("20250601_100000", "scheduled");
    mould.plant("20250601_110000", "scheduled");
    run(&sandbox, &["prune", "--store", "nowhere"]).code(2);
    sandbox.run(&["prune", "--store", "../nowhere"]).code(4);
    assert!(!sandbox.path("nowhere").exists());
    let other = sandbox.path("other");
    fs::create_dir(&other).unwrap();
    let words = ["prune", "--project", other.to_str().unwrap(), "--store", store.to_str().unwrap()];
    sandbox.run(&words).code(6).says("belongs to another");
    // Without a project nobody knows its rules.
    let mut command = sandbox.command(sandbox.program());
    let words = ["prune", "--store", store.to_str().unwrap()];
    let output = command.args(words).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(ids(&store).len(), 2);
    // Somebody writes.
    let lock = fs::File::open(store.join(".lock")).unwrap();
    lock.lock().unwrap();
    run(&sandbox, &["prune"]).code(5);
    run(&sandbox, &["prune", "--dry-run"]).ok();
    run(&sandbox, &["pin", "20250601_100000"]).ok();
    drop(lock);
    run(&sandbox, &["prune"]).ok();
    assert_eq!(ids(&store).len(), 2, "pinned meanwhile");
}

#[cfg(target_os = "linux")]
#[test]
fn a_backup_that_finds_no_room_empties_the_trash_first() {
    let (sandbox, _) = project();
    let mount = sandbox.path("small");
    fs::create_dir(&mount).unwrap();
    let noise: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(sandbox.project().join("noise"), &noise).unwrap();
    // Room for the program itself and about ten backups; all but the newest go to the trash.
    let room = fs::metadata(sandbox.program()).unwrap().len() / 1024 + 16_000;
    let Some(prefix) = system::small_disk(room, &mount) else { return };
    let script = r#"
        for n in $(seq 24); do "$XTASK" backup --kind scheduled --store "$MOUNT/store" 2>&1; done
        # Not a byte free, not even for the name of who locks the store. What is in the trash is enough.
        truncate -s 200000 noise
        while fallocate -l 4096 "$MOUNT/filler$((n += 1))" 2>/dev/null; do :; done
        df -k --output=avail "$MOUNT"
        "$XTASK" backup --kind scheduled --store "$MOUNT/store" 2>&1
        rm "$MOUNT"/filler*
        "$XTASK" verify --store "$MOUNT/store"
        ls "$MOUNT/store/trash" | grep -c 'gz$'
    "#;
    let output = sandbox.shell_under(&prefix, &format!("MOUNT='{}'\n{script}", mount.display())).ok();
    let emptied = output.stdout.matches("trash was emptied").count();
    assert!((2..12).contains(&emptied), "{output:?}");
    assert!(output.stdout.lines().any(|line| line.trim() == "0"), "{output:?}");
    assert_eq!(output.stdout.matches(", verified").count(), 25, "{output:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_prune_killed_at_any_step_loses_nothing_but_what_was_meant() {
    if !tracer() {
        return;
    }
    let (sandbox, mould) = project();
    let store = store(&sandbox);
    let trash = store.join("trash");
    for id in ["20250520_100000", "20250601_100000", "20250601_110000", "20250602_120000"] {
        mould.plant(id, "scheduled");
    }
    for minute in 0..21 {
        mould.plant(&format!("20250401_12{minute:02}00"), "safety");
    }
    // One that is in the trash for long enough.
    mould.plant("20250501_100000", "scheduled");
    fs::create_dir(&trash).unwrap();
    for end in ENDS {
        let name = format!("20250501_100000{end}");
        fs::rename(store.join(&name), trash.join(&name)).unwrap();
    }
    change_state(&trash, "20250501_100000", |state| state["removed"] = json!(moment("20250502_000000")));
    let start = sandbox.path("start");
    copy(&store, &start);
    run(&sandbox, &["prune"]).ok();
    let go = set(["20250401_120000", "20250601_100000"]);
    assert_eq!(ids(&trash), go);
    let look = || (ids(&store), ids(&store.join("safety")), ids(&trash));
    let end = look();
    let start_ids = (ids(&start), ids(&start.join("safety")));
    let prune = ["prune".into(), "--store".into(), store.clone().into_os_string()];
    let mut total = 0;
    for (call, step) in
        [("rename", 1), ("renameat2", 1), ("unlink", 1), ("fsync", 1), ("mkdir", 1), ("openat", 7)]
    {
        let mut n = 1;
        loop {
            fs::remove_dir_all(&store).unwrap();
            copy(&start, &store);
            if !killed_at(&sandbox, call, n, &prune) {
                break;
            }
            let when = format!("killed at {call} {n}");
            for folder in [&store, &store.join("safety"), &trash] {
                all_whole(folder, &when);
            }
            let (ordinary, safety, removed) = look();
            // What is not there any more is in the trash, and was meant to be.
            let gone: BTreeSet<String> = start_ids.0.difference(&ordinary).cloned().collect();
            let gone = &gone | &start_ids.1.difference(&safety).cloned().collect();
            assert!(gone.is_subset(&go), "{when}: {gone:?}");
            let removed: BTreeSet<String> =
                removed.into_iter().filter(|id| id != "20250501_100000").collect();
            assert_eq!(removed, gone, "{when}");
            run(&sandbox, &["list"]).ok();
            run(&sandbox, &["prune"]).ok();
            assert_eq!(look(), end, "{when}");
            for folder in [&store, &store.join("safety"), &trash] {
                assert_eq!(remains(folder), Vec::<String>::new(), "{when}");
            }
            total += 1;
            n += step;
        }
    }
    assert!(total > 40, "{total}");
}
