//! Which commit `restore-git` means: names as git reads them, times by what was checked out then, and the list of
//! commits with the backup that belongs to each. Whatever is unclear is refused with the next step, and nothing has
//! changed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use serde_json::{Value, json};
use support::dated::{self, Mould};
use support::framework::{Framework, write};
use support::history;
use support::tree::{differences, fingerprint};
use support::{Output, Sandbox, git, git_at, git_told};

const NONE: Vec<String> = Vec::new();
const DAY: i64 = 86_400;
/// 2025-11-20, 12:00 UTC.
const FIRST: i64 = 1_763_640_000;
/// When One, Two and Three were made.
const MOMENTS: [i64; 3] = [FIRST, FIRST + 5 * DAY, FIRST + 10 * DAY];

/// Three commits, of 20, 25 and 30 November 2025, and a database that git ignores.
fn three_commits() -> (Sandbox, [String; 3]) {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    git_at(&project, FIRST, &["init", "-q", "-b", "main"]);
    write(&project, ".gitignore", "*.db\n");
    let ids = [("One", MOMENTS[0]), ("Two", MOMENTS[1]), ("Three", MOMENTS[2])].map(|(name, moment)| {
        write(&project, "state", &format!("{name}\n"));
        git_at(&project, moment, &["add", "."]);
        git_at(&project, moment, &["commit", "-q", "-m", name]);
        git(&project, &["rev-parse", "HEAD"])
    });
    let database = Connection::open(project.join("index.db")).unwrap();
    database.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    (sandbox, ids)
}

/// Which commit it would be, without doing it.
fn meant(sandbox: &Sandbox, words: &[&str]) -> String {
    let all = [&["restore-git"], words, &["--dry-run", "--json"]].concat();
    sandbox.run(&all).ok().json()["commit"]["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(sandbox: &Sandbox, words: &[&str], code: i32) -> Output {
    let before = fingerprint(&sandbox.project(), true);
    let told = sandbox.run(&[&["restore-git", "--force"], words].concat());
    assert_eq!(told.code, code, "{words:?}: {told:?}");
    assert!(told.stderr.contains("error: ") && told.stderr.contains("hint: "), "{words:?}: {told:?}");
    assert_eq!(differences(&before, &fingerprint(&sandbox.project(), true)), NONE, "{words:?}");
    told
}

#[test]
fn whatever_git_takes_for_a_commit_is_one() {
    let mut framework = Framework::at_rest();
    let project = framework.project();
    let ask = |rev: &str| git(&project, &["rev-parse", &format!("{rev}^{{commit}}")]);
    let full = ask("HEAD~3");
    let found: BTreeMap<&str, String> = ["HEAD", "HEAD~5", "v0.1", "v0.2", "feature", "main~2", "HEAD^"]
        .into_iter()
        .chain(["HEAD@{1}", "stash@{1}", "refs/heads/feature", "main@{0}", &full, &full[..7]])
        .map(|rev| (rev, ask(rev)))
        .collect();
    for (rev, id) in &found {
        assert_eq!(&meant(&framework.sandbox, &[rev]), id, "{rev}");
    }
    assert_eq!(meant(&framework.sandbox, &[":/Step 9"]), ask("HEAD~21"));
    // The same without the git command.
    let tools = framework.sandbox.path("no-tools");
    fs::create_dir(&tools).unwrap();
    framework.sandbox.env("PATH", &tools);
    for (rev, id) in &found {
        assert_eq!(&meant(&framework.sandbox, &[rev]), id, "{rev} without git");
    }
}

#[test]
fn what_is_no_commit_is_refused() {
    let framework = Framework::at_rest();
    let (sandbox, project) = (&framework.sandbox, framework.project());
    let blob = git(&project, &["rev-parse", "HEAD:README.md"]);
    git(&project, &["tag", "of-a-file", &blob]);
    git(&project, &["branch", "twice"]);
    git(&project, &["tag", "twice", "HEAD~1"]);
    for rev in
        ["HEAD:README.md", "HEAD:docs", "HEAD^{tree}", ":README.md", "of-a-file", &blob, "HEAD~2..HEAD"]
    {
        refused(sandbox, &[rev], 2);
    }
    refused(sandbox, &["twice"], 2).says("ambiguous");
    for rev in ["no-such-thing", "HEAD~500", ":/no commit says this", "v0.1:no/such/file"] {
        refused(sandbox, &[rev], 4);
    }
    refused(sandbox, &["0123456789012345678901234567890123456789"], 4);
    refused(sandbox, &[""], 2);
    refused(sandbox, &["--no-such-option"], 2);
}

#[test]
fn the_beginning_of_two_ids_is_refused_with_both_named() {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    let mut ids = history::import(&project, 900, 3);
    ids.sort();
    let pair = ids.windows(2).find(|pair| pair[0][..4] == pair[1][..4]).expect("two that begin the same");
    let told = refused(&sandbox, &[&pair[0][..4]], 2).says("ambiguous");
    for id in pair {
        assert!(told.stderr.contains(&id[..7]), "{id}: {told:?}");
    }
    assert_eq!(meant(&sandbox, &[&pair[1][..12]]), pair[1]);
}

/// By what HEAD's reflog says, commits that nobody can reach any more included.
#[test]
fn a_time_is_what_was_checked_out_then() {
    let (mut sandbox, [one, two, three]) = three_commits();
    let project = sandbox.project();
    let four = MOMENTS[2] + 2 * DAY;
    git_at(&project, MOMENTS[2] + DAY, &["reset", "-q", "--hard", "HEAD~2"]);
    write(&project, "state", "Four\n");
    git_at(&project, four, &["commit", "-q", "-a", "-m", "Four"]);
    for (time, id) in [
        ("2025-11-20 12:00", &one),
        ("2025-11-25 11:59", &one),
        ("2025-11-25 12:00:00", &two),
        ("2025-11-29", &two),
        ("2025-11-30 13:00", &three),
        ("2025-12-01", &one),
        ("2025-12-02 11:59", &one),
    ] {
        assert_eq!(&meant(&sandbox, &["--at", time]), id, "{time}");
    }
    let told = sandbox.run(&["restore-git", "--at", "2025-11-30 13:00", "--keep-databases", "--force"]).ok();
    assert!(format!("{}{}", told.stdout, told.stderr).contains("reflog"), "{told:?}");
    assert_eq!(fs::read_to_string(project.join("state")).unwrap(), "Three\n");
    sandbox.run(&["undo", "--force"]).ok();
    refused(&sandbox, &["--at", "2025-11-20 11:59"], 4).says(&one[..7]);
    refused(&sandbox, &["--at", "whenever"], 2);
    refused(&sandbox, &["--at"], 2);
    refused(&sandbox, &["--at", "2025-11-25", "HEAD"], 2);
    // As it is typed where somebody lives.
    sandbox.env("TZ", "Europe/Berlin");
    assert_eq!(meant(&sandbox, &["--at", "2025-11-25 13:00"]), two);
    assert_eq!(meant(&sandbox, &["--at", "2025-11-25 12:59"]), one);
}

/// In a clone of later: by the times of the commits, along first parents.
#[test]
fn before_the_reflog_the_times_of_the_commits_count() {
    let (sandbox, [one, two, three]) = three_commits();
    let project = sandbox.project();
    git(&project, &["checkout", "-q", "-b", "side", &one]);
    write(&project, "aside", "aside\n");
    git_at(&project, MOMENTS[1] + DAY, &["add", "."]);
    git_at(&project, MOMENTS[1] + DAY, &["commit", "-q", "-m", "Aside"]);
    git(&project, &["checkout", "-q", "main"]);
    git_at(&project, MOMENTS[2] + DAY, &["merge", "-q", "-m", "Merge", "side"]);
    let merge = git(&project, &["rev-parse", "HEAD"]);
    fs::rename(&project, sandbox.path("origin")).unwrap();
    git_at(&sandbox.path(""), MOMENTS[2] + 30 * DAY, &["clone", "-q", "origin", "project"]);
    for (time, id) in [
        ("2025-11-24", &one),
        // Not the commit of that day, which was made elsewhere.
        ("2025-11-27", &two),
        ("2025-11-30 12:00", &three),
        ("2025-12-24", &merge),
    ] {
        assert_eq!(&meant(&sandbox, &["--at", time]), id, "{time}");
    }
    let told = sandbox.run(&["restore-git", "--at", "2025-11-27", "--force"]).ok();
    let said = format!("{}{}", told.stdout, told.stderr);
    assert!(said.contains("time") && said.contains("reflog") && said.contains("commit"), "{told:?}");
    assert_eq!(fs::read_to_string(project.join("state")).unwrap(), "Two\n");
    refused(&sandbox, &["--at", "2025-11-20 11:59"], 4).says(&one[..7]);
}

#[test]
fn so_long_ago() {
    let sandbox = Sandbox::in_memory();
    let project = sandbox.project();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    git(&project, &["init", "-q", "-b", "main"]);
    for (name, hours) in [("One", 5), ("Two", 3), ("Three", 1)] {
        write(&project, "state", &format!("{name}\n"));
        git_at(&project, now - 3600 * hours, &["add", "."]);
        git_at(&project, now - 3600 * hours, &["commit", "-q", "-m", name]);
    }
    for (words, rev) in [
        (&["--at", "2h"][..], "HEAD~1"),
        (&["--at", "2h ago"], "HEAD~1"),
        (&["--at", "240 min ago"], "HEAD~2"),
        (&["--at=30min"], "HEAD"),
    ] {
        assert_eq!(meant(&sandbox, words), git(&project, &["rev-parse", rev]), "{words:?}");
    }
}

fn list(sandbox: &Sandbox, more: &[&str]) -> Value {
    dated::run(sandbox, &[&["restore-git", "list", "--json"], more].concat()).ok().json()
}

/// Id, whether it names the commit, and how far apart they are, of each commit's backup.
fn backups(document: &Value) -> Vec<Value> {
    let one = |commit: &Value| {
        let backup = &commit["backup"];
        let apart = backup["apart_seconds"].as_i64().map(i64::abs);
        if backup.is_null() { Value::Null } else { json!([backup["id"], backup["names_commit"], apart]) }
    };
    document["commits"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn each_commit_has_the_backup_of_its_time() {
    let (sandbox, [one, two, three]) = three_commits();
    let project = sandbox.project();
    git(&project, &["tag", "v1", &two]);
    git(&project, &["branch", "other", &one]);
    // No store at all.
    let document = list(&sandbox, &[]);
    assert_eq!(backups(&document), vec![Value::Null; 3]);
    assert!(!dated::store(&sandbox).exists() && !sandbox.data().join("xtask-backup").exists());
    let commits = document["commits"].as_array().unwrap();
    let part = |name: &str| commits.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(part("id"), [&three, &two, &one].map(|id| json!(id)));
    assert_eq!(part("subject"), [json!("Three"), json!("Two"), json!("One")]);
    assert_eq!(part("author"), vec![json!("Somebody"); 3]);
    assert_eq!(part("moment")[1], "2025-11-25T12:00:00Z");
    assert_eq!(part("refs"), [json!(["HEAD", "main"]), json!(["tag: v1"]), json!(["other"])]);
    assert!(document["findings"].is_array(), "{document:#}");

    dated::run(&sandbox, &["backup"]).ok();
    let mould = Mould::cast(&dated::store(&sandbox));
    let of = |commit: &str| {
        let commit = commit.to_owned();
        move |manifest: &mut Value| manifest["git"]["commit"] = json!(commit)
    };
    mould.plant_changed("20251121_120000", "manual", &of(&one));
    mould.plant_changed("20251122_120000", "guard", &of(&one));
    mould.plant_changed("20251123_120000", "safety", &of(&one));
    mould.plant_changed("20251123_130000", "manual", &of(&one));
    mould.plant_changed("20251129_120000", "manual", &of("0123456789012345678901234567890123456789"));
    // The newest of One's is damaged.
    let damaged = dated::store(&sandbox).join("20251123_130000.tar.gz");
    let content = fs::read(&damaged).unwrap();
    fs::write(&damaged, &content[..content.len() - 9]).unwrap();
    let expected = [
        json!(["20251129_120000", false, DAY]),
        json!(["20251122_120000", false, 3 * DAY]),
        json!(["20251122_120000", true, 2 * DAY]),
    ];
    assert_eq!(backups(&list(&sandbox, &[])), expected);
    // One that was made later and names the commit is nearer than any of before; what the archive says holds
    // without its summary, too.
    mould.plant_changed("20251202_120000", "manual", &of(&three));
    mould.plant_changed("20251203_120000", "manual", &of(&two));
    for _ in 0..2 {
        let expected = [
            json!(["20251202_120000", true, 2 * DAY]),
            json!(["20251203_120000", true, 8 * DAY]),
            json!(["20251122_120000", true, 2 * DAY]),
        ];
        assert_eq!(backups(&list(&sandbox, &[])), expected);
        drop(fs::remove_file(dated::store(&sandbox).join("20251203_120000.json")));
    }
    let told = dated::run(&sandbox, &["restore-git", "list"]).ok().stdout;
    for words in [&three[..7], &one[..7], "Two", "Somebody", "tag: v1", "20251202_120000", "20251122_120000"]
    {
        assert!(told.contains(words), "{words}\n{told}");
    }
    let at = |name: &str| told.find(name).unwrap();
    assert!(at("Three") < at("Two") && at("Two") < at("One"), "{told}");
}

/// What somebody wrote into a commit does nothing to a terminal, nor to the list.
#[test]
fn odd_names_and_subjects_are_listed() {
    let (sandbox, _) = three_commits();
    let project = sandbox.project();
    let (who, subject) = ("A\u{1}B \u{1b}[31m", "\u{1}\u{1b}[2J \u{7}caf\u{e9}");
    let stream = format!(
        "commit refs/heads/main\nauthor {who} <a> 1764600000 +0000\ncommitter {who} <a> 1764600000 +0000\n\
         data {}\n{subject}\nfrom refs/heads/main^0\n\n",
        subject.len()
    );
    git_told(&project, FIRST, &["fast-import", "--quiet"], stream.as_bytes());
    let document = list(&sandbox, &[]);
    let newest = &document["commits"][0];
    assert_eq!((&newest["moment"], &newest["refs"][0]), (&json!("2025-12-01T14:40:00Z"), &json!("HEAD")));
    assert_eq!(document["commits"][1]["subject"], "Three");
    for words in [&["restore-git", "list"][..], &["restore-git", "HEAD", "--dry-run"]] {
        let told = sandbox.run(words).ok();
        assert!(!told.stdout.contains(['\u{1b}', '\u{1}', '\u{7}']), "{told:?}");
        assert!(!told.stderr.contains(['\u{1b}', '\u{1}', '\u{7}']), "{told:?}");
    }
}

#[test]
fn the_list_is_as_long_as_asked_and_alone_is_wrong_use() {
    let framework = Framework::at_rest();
    let sandbox = &framework.sandbox;
    let count = |words: &[&str]| {
        let document = sandbox.run(&[&["restore-git", "list", "--json"], words].concat()).ok().json();
        document["commits"].as_array().unwrap().len()
    };
    assert_eq!((count(&[]), count(&["--count", "3"]), count(&["--count", "500"])), (20, 3, 30));
    for wrong in ["x", "-1", ""] {
        sandbox.run(&["restore-git", "list", "--count", wrong]).code(2);
    }
    let listed = sandbox.run(&["restore-git", "list"]).ok().stdout;
    assert!(
        listed.contains("Step 30") && listed.contains("Step 11") && !listed.contains("Step 10"),
        "{listed}"
    );
    assert_eq!(sandbox.run(&["restore-git"]).code(2).stdout, listed);
    sandbox.run(&["backup"]).ok();
    let head = git(&framework.project(), &["rev-parse", "HEAD"]);
    let document = sandbox.run(&["restore-git", "--json"]).code(2).json();
    let newest = &document["commits"][0];
    assert_eq!(
        (&newest["id"], &newest["backup"]["names_commit"]),
        (&json!(head), &json!(true)),
        "{newest:#}"
    );
    assert_eq!(document["commits"][1]["backup"], Value::Null, "no backup is as old as that");
}
