//! Backups at a remote: what is lost here is there, what is damaged there is found, nothing there is deleted,
//! and it all comes back. Against real servers of this machine, by each way there is.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use support::framework::{noise, write};
use support::killing::is_full;
use support::servers::{Far, WAYS, Way, find, free_port, put_before};
use support::{Output, Sandbox, archives, git, side_by_side, system};

/// A commit, a database, and one private file of so many bytes.
fn sandbox_of(bytes: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    let project = sandbox.project();
    git(&project, &["init", "-q", "-b", "main"]);
    write(&project, ".gitignore", "/memory/\n");
    write(&project, "docs/guide.md", "one\n");
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "One"]);
    fs::create_dir(project.join("memory")).unwrap();
    let database = Connection::open(project.join("memory/index.db")).unwrap();
    database.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    fs::write(project.join("memory/private"), noise(bytes, 7)).unwrap();
    sandbox
}

fn small() -> Sandbox {
    sandbox_of(50_000)
}

fn backup(sandbox: &Sandbox, far: &Far) -> Value {
    let output = sandbox.run(&["backup", "--json", "--remote", &far.destination]).ok();
    let document = output.json();
    assert_eq!(document["remote"]["uploaded"], serde_json::json!([document["id"]]), "{document:#}");
    document
}

fn sync(sandbox: &Sandbox, far: &Far, more: &[&str]) -> Output {
    sandbox.run(&[&["sync", "--json", "--remote", &far.destination], more].concat())
}

fn pull(sandbox: &Sandbox, far: &Far, more: &[&str]) -> Output {
    sandbox.run(&[&["pull", "--json", "--remote", &far.destination], more].concat())
}

fn codes(document: &Value) -> Vec<&str> {
    document["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect()
}

/// Name, size, inode and content of every file below.
fn look(folder: &Path) -> Vec<(String, u64, u64, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(look(&path));
        } else if meta.is_file() {
            let content = fs::read(&path).unwrap();
            found.push((path.display().to_string(), meta.len(), meta.ino(), content));
        }
    }
    found.sort();
    found
}

/// Bytes of all files below a folder in which somebody works.
fn look_sizes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => look_sizes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

/// By each way there is.
fn each(test: impl Fn(Sandbox, Far) + Sync) {
    by(&WAYS, test);
}

/// Ssh and a daemon differ in how rsync gets there, and one connection by ssh takes longer than all the rest:
/// what does not depend on that is tried by it in the long form only.
fn most(test: impl Fn(Sandbox, Far) + Sync) {
    let ways: Vec<Way> = WAYS.into_iter().filter(|way| is_full() || *way != Way::Ssh).collect();
    by(&ways, test);
}

/// All at once: each has its own sandbox, and most of the time is spent waiting for the tools.
fn by(ways: &[Way], test: impl Fn(Sandbox, Far) + Sync) {
    side_by_side(ways, |way| {
        let mut sandbox = small();
        if let Some(far) = Far::start(&mut sandbox, way) {
            test(sandbox, far);
        }
    });
}

#[test]
fn what_is_lost_here_is_there_and_comes_back() {
    each(|sandbox, far| {
        let first = backup(&sandbox, &far);
        let second = backup(&sandbox, &far);
        let advice = first["findings"].to_string();
        assert!(advice.contains("remote-private") && advice.contains("1 private file"), "{advice}");
        let here = sandbox.store();
        let there = far.folder();
        assert_eq!(archives(&here).len(), 2);
        for archive in archives(&here) {
            assert_eq!(
                fs::read(&archive).unwrap(),
                fs::read(there.join(archive.file_name().unwrap())).unwrap()
            );
        }
        // A second run sends nothing.
        fs::write(there.join("a stranger's file"), "stays").unwrap();
        let before = look(&far.root);
        let document = sync(&sandbox, &far, &[]).ok().json();
        assert_eq!(document["remote"]["uploaded"], serde_json::json!([]));
        assert_eq!(
            (&document["remote"]["there"], document["remote"]["checked"].as_array().unwrap().len()),
            (&2.into(), 0)
        );
        assert_eq!(look(&far.root), before);
        // A part of it is lost here: it stays there.
        let lost = first["archive"].as_str().unwrap();
        let saved = fs::read(lost).unwrap();
        for end in ["", ".sha256"] {
            fs::remove_file(format!("{lost}{end}")).unwrap();
        }
        sync(&sandbox, &far, &["--verify"]).ok();
        assert_eq!(look(&far.root), before);
        let document = pull(&sandbox, &far, &[]).ok().json();
        assert_eq!((&document["pulled"], &document["here"]), (&serde_json::json!([first["id"]]), &1.into()));
        assert_eq!(fs::read(lost).unwrap(), saved);
        // All of it.
        fs::remove_dir_all(&here).unwrap();
        let document = pull(&sandbox, &far, &["latest"]).ok().json();
        assert_eq!(document["pulled"], serde_json::json!([second["id"]]));
        let document = pull(&sandbox, &far, &["all"]).ok().json();
        assert_eq!(document["pulled"], serde_json::json!([first["id"]]));
        assert_eq!(fs::read(lost).unwrap(), saved);
        sandbox.run(&["verify", "all"]).ok();
        assert_eq!(look(&far.root), before);
        // It is this copy's own store again, and what came is known to be there.
        assert_eq!(codes(&sync(&sandbox, &far, &[]).ok().json()), Vec::<&str>::new());
        backup(&sandbox, &far);
        assert!(here.join("bin/xtask").exists());
        for folder in [&here, &there] {
            let left = look(folder).into_iter().find(|(name, ..)| name.contains("/.tmp-"));
            assert_eq!(left, None, "{:?}", far.way);
        }
    });
}

#[test]
fn damage_there_is_found_never_brought_and_repaired_when_asked() {
    each(|sandbox, far| {
        let (a, b) = (backup(&sandbox, &far), backup(&sandbox, &far));
        let there = far.folder();
        let name = |document: &Value| there.join(format!("{}.tar.gz", document["id"].as_str().unwrap()));
        flip(&name(&a));
        // By names and sizes all is well; that is what --verify is for.
        sync(&sandbox, &far, &[]).ok();
        let document = sync(&sandbox, &far, &["--verify"]).code(3).json();
        assert_eq!(codes(&document), ["remote-damaged"], "{document:#}");
        assert!(document["findings"][0].to_string().contains(a["id"].as_str().unwrap()));
        // Once known, it is told every time.
        assert_eq!(codes(&sync(&sandbox, &far, &[]).code(3).json()), ["remote-damaged"]);
        let before = look(&far.root);
        // What is damaged does not come; the other does.
        let away = sandbox.path("away");
        fs::rename(sandbox.store(), &away).unwrap();
        let document = pull(&sandbox, &far, &[]).code(3).json();
        assert_eq!(
            (codes(&document), &document["pulled"]),
            (vec!["remote-damaged"], &serde_json::json!([b["id"]]))
        );
        assert_eq!(archives(&sandbox.store()).len(), 1);
        // Only there, and damaged: found as well.
        assert_eq!(codes(&sync(&sandbox, &far, &["--verify"]).code(3).json()), ["remote-damaged"]);
        assert_eq!(look(&far.root), before, "nothing there was touched");
        fs::remove_dir_all(sandbox.store()).unwrap();
        fs::rename(&away, a["store"].as_str().unwrap()).unwrap();
        let document = sync(&sandbox, &far, &["--repair"]).ok().json();
        assert_eq!(document["remote"]["repaired"], serde_json::json!([a["id"]]), "{document:#}");
        assert_eq!(fs::read(name(&a)).unwrap(), fs::read(a["archive"].as_str().unwrap()).unwrap());
        sync(&sandbox, &far, &["--verify"]).ok();
        // One that was cut off is seen by its size alone.
        fs::File::options().write(true).open(name(&b)).unwrap().set_len(1000).unwrap();
        assert_eq!(codes(&sync(&sandbox, &far, &[]).code(3).json()), ["remote-damaged"]);
        assert_eq!(fs::metadata(name(&b)).unwrap().len(), 1000, "and not written over unasked");
        sync(&sandbox, &far, &["--repair"]).ok();
        sync(&sandbox, &far, &["--verify"]).ok();
        // One that went away there goes up again.
        fs::remove_file(name(&b)).unwrap();
        let document = sync(&sandbox, &far, &[]).ok().json();
        assert_eq!(
            (codes(&document).contains(&"remote-lost"), &document["remote"]["uploaded"]),
            (true, &serde_json::json!([b["id"]]))
        );
    });
}

#[test]
fn another_backup_of_the_same_name_is_never_written_over() {
    most(|sandbox, far| {
        let document = backup(&sandbox, &far);
        let (id, there) = (document["id"].as_str().unwrap(), far.folder());
        fs::write(there.join(format!("{id}.tar.gz")), "another one").unwrap();
        fs::write(there.join(format!("{id}.tar.gz.sha256")), format!("{}  {id}.tar.gz\n", "ab".repeat(32)))
            .unwrap();
        let before = look(&far.root);
        for more in [&[][..], &["--verify"], &["--repair"]] {
            let output = sync(&sandbox, &far, more).code(3);
            assert_eq!(codes(&output.json()), ["remote-other"], "{output:?}");
        }
        let output = pull(&sandbox, &far, &[]).code(3);
        assert_eq!(codes(&output.json()), ["remote-other"], "{output:?}");
        assert_eq!(look(&far.root), before);
        assert_eq!(fs::read(document["archive"].as_str().unwrap()).unwrap().len() as u64, document["bytes"]);
    });
}

#[test]
fn the_folder_of_another_copy_is_refused() {
    most(|sandbox, far| {
        backup(&sandbox, &far);
        let file = far.folder().join("store.json");
        let own = fs::read_to_string(&file).unwrap();
        let hosts = serde_json::from_str::<Value>(&own).unwrap()["host"].as_str().unwrap().to_owned();
        fs::write(&file, own.replace(&format!("\"host\": \"{hosts}\""), "\"host\": \"elsewhere\"")).unwrap();
        sandbox.run(&["backup", "--no-remote"]).ok();
        let before = look(&far.root);
        sync(&sandbox, &far, &[]).code(6).says("belongs to another working copy: elsewhere:");
        sandbox
            .run(&["backup", "--remote", &far.destination])
            .code(3)
            .says("the backup is in the store; it is not at the remote: ");
        pull(&sandbox, &far, &[]).code(6).says("belongs to another working copy: elsewhere:");
        // Nobody's is not ours either.
        fs::write(&file, "{").unwrap();
        let before_half = look(&far.root);
        sync(&sandbox, &far, &[]).code(6).says("does not say whose it is");
        assert_eq!(look(&far.root), before_half);
        fs::write(&file, &own).unwrap();
        assert_eq!(look(&far.root).len(), before.len());
        sync(&sandbox, &far, &[]).ok();
    });
}

/// The processes below one, in no order.
fn below(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let after = stat.rsplit(") ").next().unwrap();
        if after.split(' ').nth(1) == Some(parent.to_string().as_str()) {
            found.push(pid);
            found.extend(below(pid));
        }
    }
    found
}

fn kill(signal: &str, pid: u32) {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "kill -$0 $1", signal, &pid.to_string()]).stderr(Stdio::null());
    drop(command.status());
}

/// Starts a sync that is slow, and waits until more of the archive is there than before.
fn begun(sandbox: &Sandbox, far: &Far) -> Child {
    let there = || look_sizes(&far.root);
    let before = there();
    let mut command = sandbox.command(sandbox.program());
    command.args(["sync", "--remote", &far.destination]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    while there() < before + 300_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[cfg(target_os = "linux")]
#[test]
fn an_upload_that_is_killed_leaves_no_half_archive_and_goes_on() {
    side_by_side(&[Way::Daemon, Way::Ssh, Way::Rclone], |way| {
        let mut sandbox = sandbox_of(3_000_000);
        let Some(far) = Far::start(&mut sandbox, way) else { return };
        if way != Way::Rclone {
            let rsync = find("rsync").unwrap();
            put_before(&mut sandbox, "rsync", &format!("exec '{}' $SLOWLY \"$@\"", rsync.display()));
        }
        // So slow that there is a middle.
        let slowly = |sandbox: &mut Sandbox, is: bool| {
            sandbox.env("RCLONE_BWLIMIT", if is { "1M" } else { "off" });
            sandbox.env("SLOWLY", if is { "--bwlimit=1000" } else { "" });
        };
        slowly(&mut sandbox, true);
        let document = sandbox.run(&["backup", "--json"]).ok().json();
        let whole = document["bytes"].as_u64().unwrap();
        for (signal, tool) in [("KILL", false), ("KILL", true), ("TERM", false)] {
            let mut child = begun(&sandbox, &far);
            let tools = below(child.id());
            if tool {
                // The tool alone, as when the machine there goes down.
                tools.iter().for_each(|&pid| kill(signal, pid));
            } else {
                kill(signal, child.id());
            }
            let status = child.wait().unwrap();
            match (signal, tool) {
                ("TERM", _) => assert_eq!(status.code(), Some(130), "{way:?}"),
                (_, true) => assert_eq!(status.code(), Some(1), "{way:?}"),
                _ => assert_eq!(status.code(), None),
            }
            if signal == "TERM" {
                // It took its tools with it; what those started ends as soon as it is told so.
                let begun = Instant::now();
                let lives = |pid: &&u32| Path::new(&format!("/proc/{pid}/stat")).exists();
                while tools.iter().any(|pid| lives(&pid)) {
                    assert!(begun.elapsed() < Duration::from_secs(30), "{way:?}: the tool goes on");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            // A tool that outlives its killed parent may go on; nothing more comes from these.
            tools.iter().for_each(|&pid| kill("KILL", pid));
            std::thread::sleep(Duration::from_millis(300));
            let name = format!("{}.tar.gz", document["id"].as_str().unwrap());
            let half = far.folder().join(&name);
            assert!(
                !half.exists(),
                "{way:?} {signal}: {} of {whole} bytes",
                fs::metadata(&half).unwrap().len()
            );
            // Nothing that lies there can be taken for a backup.
            let away = sandbox.path("away");
            fs::rename(sandbox.store(), &away).unwrap();
            pull(&sandbox, &far, &[]).code(4).says("there is no backup in ");
            drop(fs::remove_dir_all(document["store"].as_str().unwrap()));
            fs::rename(&away, document["store"].as_str().unwrap()).unwrap();
        }
        slowly(&mut sandbox, false);
        let document = sync(&sandbox, &far, &[]).ok().json();
        assert_eq!(document["remote"]["uploaded"].as_array().unwrap().len(), 1);
        sync(&sandbox, &far, &["--verify"]).ok();
        // The same on the way back.
        slowly(&mut sandbox, true);
        let here = sandbox.store();
        fs::rename(&here, sandbox.path("away")).unwrap();
        let mut command = sandbox.command(sandbox.program());
        command.args(["pull", "--remote", &far.destination]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while !here.exists() || look_sizes(&here) < 300_000 {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing arrives");
            std::thread::sleep(Duration::from_millis(5));
        }
        let tools = below(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        tools.iter().for_each(|&pid| kill("KILL", pid));
        assert_eq!(archives(&here), Vec::<PathBuf>::new());
        slowly(&mut sandbox, false);
        assert_eq!(pull(&sandbox, &far, &[]).ok().json()["pulled"].as_array().unwrap().len(), 1);
        assert_eq!(
            fs::read(&archives(&here)[0]).unwrap(),
            fs::read(&archives(&sandbox.path("away"))[0]).unwrap()
        );
        assert!(!look(&here).iter().any(|(name, ..)| name.contains("/.tmp-")));
        let names: Vec<String> = look(&far.root).into_iter().map(|(name, ..)| name).collect();
        assert!(!names.iter().any(|name| name.contains(".tmp-")), "{names:?}");
    });
}

#[test]
fn a_copy_into_a_folder_that_is_killed_leaves_no_half_archive() {
    let mut sandbox = sandbox_of(20_000_000);
    let far = Far::start(&mut sandbox, Way::Folder).unwrap();
    let document = sandbox.run(&["backup", "--json"]).ok().json();
    let name = format!("{}.tar.gz", document["id"].as_str().unwrap());
    for round in 0..20 {
        let mut command = sandbox.command(sandbox.program());
        command.args(["sync", "--remote", &far.destination]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(folder) = fs::read_dir(&far.root).unwrap().next() {
            let archive = folder.unwrap().path().join(&name);
            if archive.exists() {
                assert_eq!(
                    fs::read(&archive).unwrap(),
                    fs::read(document["archive"].as_str().unwrap()).unwrap()
                );
                fs::remove_file(&archive).unwrap();
            }
        }
    }
    // What an earlier run left under the temporary name is written over.
    sync(&sandbox, &far, &[]).ok();
    fs::remove_file(far.folder().join(&name)).unwrap();
    fs::write(far.folder().join(format!(".tmp-{name}")), "half").unwrap();
    sync(&sandbox, &far, &["--verify"]).ok();
    sync(&sandbox, &far, &["--verify"]).ok();
    assert!(!look(&far.root).iter().any(|(name, ..)| name.contains(".tmp-")));
}

#[test]
fn a_remote_that_can_not_be_reached_does_not_cost_the_backup() {
    each(|sandbox, mut far| {
        backup(&sandbox, &far);
        far.stop();
        if far.way == Way::Folder {
            fs::rename(&far.root, sandbox.path("unplugged")).unwrap();
        }
        let begun = Instant::now();
        let output = sandbox.run(&["backup", "--json", "--remote", &far.destination]).code(3);
        let document = output.json();
        assert!(
            output.stderr.contains("the backup is in the store; it is not at the remote: "),
            "{output:?}"
        );
        assert!(output.stderr.contains("  hint: "), "{output:?}");
        assert_eq!(document["remote"], Value::Null);
        assert!(codes(&document).contains(&"remote"));
        assert!(Path::new(document["archive"].as_str().unwrap()).exists());
        assert_eq!(archives(&sandbox.store()).len(), 2);
        for verb in ["sync", "pull"] {
            let output = sandbox.run(&[verb, "--remote", &far.destination]).code(1);
            assert!(output.stderr.contains("hint: "), "{output:?}");
        }
        // Within the tools' own limits, which are seconds for a closed port.
        assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
        let state: Value =
            serde_json::from_slice(&fs::read(sandbox.store().join("remote.json")).unwrap()).unwrap();
        let state = &state["remotes"][0];
        assert!(state["error"].is_string() && state["complete"].is_string(), "{state:#}");
        assert_eq!(state["backups"].as_array().unwrap().len(), 1);
    });
}

/// A disk that is not mounted looks like an empty folder.
#[test]
fn a_destination_that_lost_everything_is_not_filled_silently() {
    most(|sandbox, far| {
        backup(&sandbox, &far);
        fs::remove_dir_all(far.folder()).unwrap();
        sync(&sandbox, &far, &[]).code(1).says("is not there").says("cargo xtask sync --repair");
        assert_eq!(look(&far.root).len(), 0);
        let document = sync(&sandbox, &far, &["--repair"]).ok().json();
        assert_eq!(document["remote"]["uploaded"].as_array().unwrap().len(), 1);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_there_costs_a_message_and_nothing_else() {
    let sandbox = sandbox_of(2_000_000);
    let mount = sandbox.path("small");
    fs::create_dir(&mount).unwrap();
    let Some(prefix) = system::small_disk(4000, &mount) else { return };
    let script = format!(
        r#"M='{}'
        fallocate -l 3000000 "$M/filler"
        code=0; "$XTASK" backup --remote "$M/far" 2> "$TMPDIR/err" || code=$?
        cat "$TMPDIR/err"; echo "@ $code"
        find "$M/far" -name '*.tar.gz' -o -name '.tmp-*'
        code=0; "$XTASK" sync --remote "$M/far" 2>> "$TMPDIR/err" || code=$?
        echo "@ $code"
        rm "$M/filler"
        "$XTASK" sync --remote "$M/far" --verify
        find "$M/far" -name '*.tar.gz' -o -name '.tmp-*'"#,
        mount.display()
    );
    let output = sandbox.shell_under(&prefix, &script).ok();
    let text = &output.stdout;
    assert!(text.contains("it is not at the remote") && text.contains("No space left on device"), "{text}");
    assert!(text.contains("@ 3\n@ 1\n"), "nothing of that name was left there: {text}");
    assert!(text.contains("went up") && text.trim_end().ends_with(".tar.gz"), "{text}");
}

#[test]
fn a_destination_that_may_only_be_read_is_named() {
    let mut sandbox = small();
    if let Some(far) = Far::read_only_daemon(&mut sandbox) {
        sandbox
            .run(&["backup", "--remote", &far.destination])
            .code(3)
            .says("it is not at the remote")
            .says("read only");
    }
    let sandbox = small();
    let locked = sandbox.path("locked");
    fs::create_dir(&locked).unwrap();
    let Some(prefix) = sandbox.unprivileged() else { return };
    let script = format!(
        "chmod 500 '{0}'\n\"$XTASK\" backup --remote '{0}' || test $? = 3\n\"$XTASK\" sync --remote '{0}' || test $? = 1\nchmod 700 '{0}'",
        locked.display()
    );
    sandbox.shell_under(&prefix, &script).ok().says("Permission denied").says("it is not at the remote");
}

#[test]
fn a_store_that_may_only_be_read_goes_up_all_the_same() {
    let mut sandbox = small();
    let far = Far::start(&mut sandbox, Way::Folder).unwrap();
    sandbox.run(&["backup"]).ok();
    let Some(prefix) = sandbox.unprivileged() else { return };
    let script = format!(
        "chmod 500 '{0}'\n\"$XTASK\" sync --remote '{1}'\nchmod 700 '{0}'",
        sandbox.store().display(),
        far.destination
    );
    sandbox.shell_under(&prefix, &script).ok().says("nothing of this is remembered");
    assert_eq!(archives(&far.folder()).len(), 1);
}

/// Nothing that lies there has power over us.
#[test]
fn hostile_names_there_do_nothing() {
    most(|sandbox, far| {
        backup(&sandbox, &far);
        let there = far.folder();
        for name in
            ["-rf", "--delete", "a\nb\u{1b}[2J.json", "..tar.gz", ".sha256", "20251201_120000.tar.gz;id"]
        {
            fs::write(there.join(name), "x").unwrap();
        }
        fs::create_dir(there.join("20251201_120000.tar.gz")).unwrap();
        fs::create_dir(there.join("..json")).unwrap();
        fs::create_dir(far.root.join("-rf")).unwrap();
        fs::write(far.root.join("-rf/store.json"), fs::read(there.join("store.json")).unwrap()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", there.join("20251202_120000.tar.gz")).unwrap();
        // Its names are those of a backup, its content is none.
        fs::write(there.join("20251203_120000.tar.gz"), "no archive").unwrap();
        fs::write(there.join("20251203_120000.json"), "{\"id\": \"../../x\"}").unwrap();
        fs::write(there.join("20251203_120000.state.json"), "[").unwrap();
        let before = look(&far.root);
        sync(&sandbox, &far, &[]).ok();
        assert_eq!(look(&far.root), before);
        fs::remove_dir_all(sandbox.store()).unwrap();
        let document = pull(&sandbox, &far, &[]).code(3).json();
        assert_eq!(document["pulled"].as_array().unwrap().len(), 1, "{document:#}");
        let codes = codes(&document);
        assert!(codes.iter().all(|code| *code == "remote-damaged") && !codes.is_empty(), "{document:#}");
        let own: Vec<String> = look(&sandbox.store()).into_iter().map(|(name, ..)| name).collect();
        assert!(!own.iter().any(|name| name.contains("2025120") || name.contains("passwd")), "{own:?}");
        assert_eq!(look(&far.root), before);
    });
}

#[test]
fn what_could_be_an_option_or_a_command_is_refused_as_an_address() {
    let sandbox = small();
    let mark = sandbox.path("mark");
    for address in [
        format!("-oProxyCommand=touch {}:x", mark.display()),
        format!("ssh://-oProxyCommand=touch%20{}/x", mark.display()),
        "rsync://me:hunter2@localhost/module".to_owned(),
        "me:hunter2@localhost:x".to_owned(),
        "s3://bucket/x".to_owned(),
        format!("{}/inside", sandbox.project().display()),
    ] {
        for verb in ["sync", "backup"] {
            let output = sandbox.run(&[verb, &format!("--remote={address}")]).code(2);
            assert!(!output.stderr.contains("hunter2"), "{output:?}");
        }
    }
    write(
        &sandbox.project(),
        "Cargo.toml",
        "[workspace.metadata.backup]\nremote = \"me:hunter2@localhost:x\"\n",
    );
    let output = sandbox.run(&["backup"]).code(2).says("password").says("Cargo.toml");
    assert!(!output.stderr.contains("hunter2"), "{output:?}");
    assert!(!mark.exists() && !sandbox.data().join("xtask-backup").exists());
}

/// Rows 39 to 41 of what the scripts did.
#[test]
fn a_remote_of_rclone_never_goes_to_rsync() {
    let mut sandbox = small();
    let Some(far) = Far::start(&mut sandbox, Way::Rclone) else { return };
    let mark = sandbox.path("rsync was called");
    put_before(&mut sandbox, "rsync", &format!("touch '{}'; exit 1", mark.display()));
    let document = backup(&sandbox, &far);
    assert_eq!(document["remote"]["by"], "rclone");
    sync(&sandbox, &far, &[]).ok().says("\"far\" is a remote of rclone");
    sandbox.run(&["sync", "--remote", "rclone:far:below"]).ok();
    assert!(!mark.exists());
    // A name that it does not know is a host, and that is said.
    let output = sandbox.run(&["sync", "--remote", "elsewhere:x"]).code(1);
    assert!(output.stderr.contains("rclone knows no such remote") && mark.exists(), "{output:?}");
    // When it can't tell, nothing is guessed.
    fs::remove_file(&mark).unwrap();
    put_before(&mut sandbox, "rclone", "echo 'bad config' >&2; exit 1");
    sandbox
        .run(&["sync", "--remote", "far:below"])
        .code(1)
        .says("can't tell whether")
        .says("rclone:NAME:path");
    assert!(!mark.exists());
}

#[test]
fn a_tool_that_is_missing_is_named_before_anything_happens() {
    let mut sandbox = small();
    let only = sandbox.path("only");
    fs::create_dir(&only).unwrap();
    std::os::unix::fs::symlink(find("git").unwrap(), only.join("git")).unwrap();
    sandbox.env("PATH", &only);
    for (address, tool) in [("me@host:x", "rsync"), ("host::m/x", "rsync"), ("rclone:far:x", "rclone")] {
        sandbox.run(&["sync", "--remote", address]).code(1).says("is not installed");
        let output = sandbox.run(&["backup", "--remote", address]).code(3);
        let wanted = format!("{tool} is not installed");
        assert!(output.stderr.starts_with("advice: the backup will not be at the remote"), "{output:?}");
        assert!(output.stderr.contains(&wanted) && output.stderr.contains("hint: install it"), "{output:?}");
        sandbox.run(&["sync", "--remote", address]).code(1).says(&wanted);
        sandbox.run(&["pull", "--remote", address]).code(1).says(&wanted);
    }
    sandbox
        .run(&["sync", "--remote", "far:x"])
        .code(1)
        .says("if \"far\" is a remote of rclone, install rclone");
}

#[test]
fn a_fresh_clone_is_shown_the_backups_of_the_lost_one() {
    most(|mut sandbox, far| {
        let first = backup(&sandbox, &far);
        let theirs = far.folder();
        let name = theirs.file_name().unwrap().to_str().unwrap().to_owned();
        // Another machine: nothing of the old one but the remote and a clone.
        let clone = sandbox.path("clone");
        git(
            &sandbox.path("home"),
            &["clone", "-q", sandbox.project().to_str().unwrap(), clone.to_str().unwrap()],
        );
        fs::remove_dir_all(sandbox.store()).unwrap();
        sandbox.lose_the_project();
        fs::rename(&clone, sandbox.path("elsewhere")).unwrap();
        fs::create_dir(sandbox.project()).unwrap();
        let project = sandbox.path("elsewhere");
        sandbox.env("XDG_DATA_HOME", sandbox.path("data"));
        let run = |words: &[&str]| sandbox.run(&[words, &["--project", project.to_str().unwrap()]].concat());
        let output = run(&["pull", "--remote", &far.destination]).code(4);
        assert!(output.stderr.contains(&format!("--from {name} is of the same project: ")), "{output:?}");
        assert_eq!(fs::read_dir(sandbox.data().join("xtask-backup")).unwrap().count(), 0);
        run(&["pull", "--remote", &far.destination, "--from", "../x"]).code(2);
        run(&["pull", "--remote", &far.destination, "--from", "nothing-0123abcd"]).code(4);
        run(&["pull", "--remote", &far.destination, "--from", &name]).ok().says("another working copy");
        // It is still the lost copy's: read, but not written.
        run(&["restore", "latest", "--to", sandbox.path("back").to_str().unwrap()]).ok();
        assert!(sandbox.path("back/memory/private").exists());
        run(&["backup", "--no-remote"]).code(6);
        run(&["backup", "--adopt", "--no-remote"]).ok();
        // From now on there is a folder of its own there; that of the lost copy stays.
        let before = look(&theirs);
        let document = run(&["sync", "--json", "--remote", &far.destination]).ok().json();
        assert_eq!(document["remote"]["uploaded"].as_array().unwrap().len(), 2);
        assert_ne!(document["remote"]["folder"], name.as_str());
        assert_eq!(look(&theirs), before);
        // Backups of another copy are mixed into a store only when asked for.
        let archive = sandbox.store().join(format!("{}.tar.gz", first["id"].as_str().unwrap()));
        fs::remove_file(&archive).unwrap();
        run(&["pull", "--remote", &far.destination, "--from", &name]).code(6).says("--adopt");
        assert!(!archive.exists());
        run(&["pull", "--remote", &far.destination, "--from", &name, "--adopt"]).ok();
        assert!(archive.exists());
    });
}

#[test]
fn safety_copies_stay_damage_stays_and_pins_travel() {
    most(|sandbox, far| {
        let taken: Vec<Value> = ["one", "two", "three"]
            .iter()
            .map(|label| sandbox.run(&["backup", "--json", "--label", label]).ok().json())
            .collect();
        let id = |n: usize| taken[n]["id"].as_str().unwrap();
        let here = sandbox.store();
        fs::create_dir_all(here.join("safety")).unwrap();
        for end in [".tar.gz", ".tar.gz.sha256", ".json", ".state.json"] {
            let name = format!("{}{end}", id(0));
            fs::rename(here.join(&name), here.join("safety").join(&name)).unwrap();
        }
        flip(Path::new(taken[1]["archive"].as_str().unwrap()));
        let document = sync(&sandbox, &far, &[]).code(3).json();
        assert_eq!(document["remote"]["uploaded"], serde_json::json!([id(2)]), "{document:#}");
        assert!(codes(&document).contains(&"damaged"));
        assert_eq!(archives(&far.folder()).len(), 1);
        // A pin that is set later goes there, and comes back.
        let state = here.join(format!("{}.state.json", id(2)));
        let pinned = fs::read_to_string(&state).unwrap().replace("\"pinned\":false", "\"pinned\":true");
        fs::write(&state, &pinned).unwrap();
        fs::remove_file(taken[1]["archive"].as_str().unwrap()).unwrap();
        let document = sync(&sandbox, &far, &[]).ok().json();
        assert_eq!(document["remote"]["uploaded"], serde_json::json!([]));
        fs::remove_dir_all(&here).unwrap();
        pull(&sandbox, &far, &["three"]).ok();
        let listed = sandbox.run(&["list", "--json"]).ok().json();
        assert_eq!(
            (listed["backups"].as_array().unwrap().len(), &listed["backups"][0]["pinned"]),
            (1, &true.into())
        );
    });
}

/// An empty store of the lost copy would stand in the way of the new one.
#[test]
fn a_pull_that_brings_nothing_leaves_no_store() {
    most(|sandbox, far| {
        let document = backup(&sandbox, &far);
        let name = far.folder().file_name().unwrap().to_str().unwrap().to_owned();
        flip(&far.folder().join(format!("{}.tar.gz", document["id"].as_str().unwrap())));
        let new = sandbox.path("new");
        let words = ["--from", &name, "--store", new.to_str().unwrap()];
        assert_eq!(codes(&pull(&sandbox, &far, &words).code(3).json()), ["remote-damaged"]);
        assert!(!new.exists());
        // Without the file that tells its digest, its own seal still does.
        fs::remove_file(far.folder().join(format!("{}.tar.gz.sha256", document["id"].as_str().unwrap())))
            .unwrap();
        assert_eq!(codes(&pull(&sandbox, &far, &words).code(3).json()), ["remote-damaged"]);
        flip(&far.folder().join(format!("{}.tar.gz", document["id"].as_str().unwrap())));
        pull(&sandbox, &far, &words).ok();
        assert_eq!(archives(&new).len(), 1);
    });
}

#[test]
fn two_runs_are_not_at_the_remote_at_once() {
    let mut sandbox = small();
    let far = Far::start(&mut sandbox, Way::Folder).unwrap();
    backup(&sandbox, &far);
    let lock = fs::File::options().write(true).open(sandbox.store().join(".remote-lock")).unwrap();
    lock.lock().unwrap();
    sync(&sandbox, &far, &[]).code(5).says("another run");
    // The backup is taken all the same.
    sandbox
        .run(&["backup", "--remote", &far.destination])
        .code(3)
        .says("it is not at the remote: another run");
    drop(lock);
    let document = sync(&sandbox, &far, &[]).ok().json();
    assert_eq!(document["remote"]["uploaded"].as_array().unwrap().len(), 1);
}

#[test]
fn what_was_typed_beats_the_environment_which_beats_the_file() {
    let sandbox = small();
    let at = |name: &str| sandbox.path(name);
    write(&sandbox.project(), "Cargo.toml", "[workspace.metadata.backup]\nremote = \"../by-file\"\n");
    let run = |environment: &str, words: &[&str]| {
        let mut command = sandbox.command(sandbox.program());
        let output = command.env("REMOTE_BACKUP_DEST", environment).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("", &["backup", "--no-remote"]);
    assert!(!at("by-file").exists());
    run("", &["backup"]);
    assert!(at("by-file").exists());
    run("../by-environment", &["sync"]);
    assert!(at("by-environment").exists() && !at("by-flag").exists());
    run("../by-environment", &["sync", "--remote", at("by-flag").to_str().unwrap()]);
    assert!(at("by-flag").exists());
    // With no remote nothing is said of one.
    fs::remove_file(sandbox.project().join("Cargo.toml")).unwrap();
    let output = sandbox.run(&["backup", "--json"]).ok();
    assert!(!output.stderr.contains("remote") && output.json()["remote"].is_null());
    sandbox.run(&["sync"]).code(2).says("no remote is named");
    sandbox.run(&["pull"]).code(2).says("no remote is named");
    // Nobody answers there: bounded, and no question is asked.
    let closed = format!("ssh://127.0.0.1:{}/x", free_port());
    if find("rsync").is_some() && find("ssh").is_some() {
        sandbox.run(&["sync", "--remote", &closed]).code(1).says("hint: ");
    }
}
