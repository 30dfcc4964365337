//! `verify --alert-on-fail` and `--email`: who gets a mail, when, and what is in it. The mail program is a
//! program called `sendmail`, as on any machine; this one keeps what it gets.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::dated::{project, run, store};
use support::framework::write;
use support::{Sandbox, system};

const KEEPS: &str = "#!/bin/sh\nn=$(ls \"$MAILS\" | wc -l)\n(echo \"args: $*\"; cat) > \"$MAILS/$n\"\n";

fn install(sandbox: &mut Sandbox, name: &str, script: &str) {
    let bin = sandbox.path("mail-bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(sandbox.path("mails")).unwrap();
    let program = bin.join(name);
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(bin).chain(std::env::split_paths(&path));
    sandbox.env("PATH", std::env::join_paths(all).unwrap());
    sandbox.env("MAILS", sandbox.path("mails"));
}

/// The mails that came since this was asked last.
fn mails(sandbox: &Sandbox) -> Vec<String> {
    let folder = sandbox.path("mails");
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        fs::remove_file(path).unwrap();
        text
    };
    names.iter().map(read).collect()
}

fn damage(archive: &Path) {
    let mut bytes = fs::read(archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(archive, bytes).unwrap();
}

#[test]
fn an_alert_comes_when_something_is_wrong_and_only_then() {
    let (mut sandbox, mould) = project();
    install(&mut sandbox, "sendmail", KEEPS);
    let store = store(&sandbox);
    mould.plant("20250601_120000", "scheduled");
    mould.plant("20250602_120000", "scheduled");
    let alert = ["verify", "all", "--alert-on-fail", "--email", "ops@example.com"];
    run(&sandbox, &alert).ok();
    assert_eq!(mails(&sandbox), Vec::<String>::new());

    damage(&store.join("20250602_120000.tar.gz"));
    let output = run(&sandbox, &[&alert[..], &["--json"]].concat()).code(3);
    assert_eq!(output.json()["mailed"], "ops@example.com");
    let mail = mails(&sandbox).remove(0);
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    for part in [
        "args: -i ops@example.com\n",
        "To: ops@example.com\n",
        &format!("Subject: backups of project on {host}: 1 DAMAGED, 1 good\n"),
        "Auto-Submitted: auto-generated\n",
        &format!("Store: {}\n", store.display()),
        &format!("Project: {}\n", sandbox.project().canonicalize().unwrap().display()),
        "20250601_120000: good\n20250602_120000: DAMAGED\n  ",
        "cargo xtask verify all --store",
    ] {
        assert!(mail.contains(part), "no {part:?} in\n{mail}");
    }
    // What can't be checked is as bad: a disk that is not mounted, an empty store.
    for words in [["--store", "../nowhere"], ["--project", "."]] {
        let words = [&alert[..], &words].concat();
        sandbox.run(&words).code(4);
        let mail = mails(&sandbox).remove(0);
        assert!(mail.contains(": NOT CHECKED\n") && mail.contains("there is no store at"), "{mail}");
    }
    // Wrong use is nobody else's business.
    run(&sandbox, &[&alert[..], &["latest"]].concat()).code(2);
    assert_eq!(mails(&sandbox), Vec::<String>::new());
}

#[test]
fn without_alert_on_fail_the_result_comes_in_any_case() {
    let (mut sandbox, mould) = project();
    install(&mut sandbox, "sendmail", KEEPS);
    mould.plant("20250601_120000", "scheduled");
    run(&sandbox, &["verify", "--email", "root"]).ok().says("a mail went to root");
    let mail = mails(&sandbox).remove(0);
    assert!(mail.contains(": 1 good\n") && !mail.contains("What to do"), "{mail}");
    run(&sandbox, &["verify"]).ok();
    assert_eq!(mails(&sandbox), Vec::<String>::new());
}

#[test]
fn the_configuration_names_who_is_told() {
    let (mut sandbox, mould) = project();
    install(&mut sandbox, "sendmail", KEEPS);
    mould.plant("20250601_120000", "scheduled");
    damage(&store(&sandbox).join("20250601_120000.tar.gz"));
    let alert = ["verify", "20250601", "--alert-on-fail"];
    run(&sandbox, &alert).code(2).says("who is told").says("--email");
    write(&sandbox.project(), "Cargo.toml", "[workspace.metadata.backup]\nalert = \"team@example.com\"\n");
    run(&sandbox, &alert).code(3);
    assert!(mails(&sandbox).remove(0).contains("To: team@example.com\n"));
    run(&sandbox, &[&alert[..], &["--email", "me@example.com"]].concat()).code(3);
    assert!(mails(&sandbox).remove(0).contains("To: me@example.com\n"));
    // Alone it does nothing: a mail comes when one is asked for.
    run(&sandbox, &["verify", "20250601"]).code(3);
    assert_eq!(mails(&sandbox), Vec::<String>::new());
}

#[test]
fn a_mail_that_can_not_be_sent_is_a_problem() {
    let (mut sandbox, mould) = project();
    install(&mut sandbox, "sendmail", "#!/bin/sh\ncat > /dev/null\necho 'no \x1b[31mroute' >&2\nexit 75\n");
    mould.plant("20250601_120000", "scheduled");
    let output = run(&sandbox, &["verify", "--email", "ops@example.com", "--json"]).code(3);
    let document = output.json();
    assert_eq!((&document["ok"], &document["mailed"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(document["findings"][0]["code"], "mail");
    assert!(output.stderr.contains("no mail went to ops@example.com"), "{}", output.stderr);
    assert!(output.stderr.contains("route") && !output.stderr.contains('\x1b'), "{}", output.stderr);
    // The failure keeps its own exit code.
    sandbox
        .run(&["verify", "--store", "../nowhere", "--email", "ops@example.com"])
        .code(4)
        .says("no mail went to");
}

#[test]
fn names_of_the_project_end_up_in_no_header_and_no_option() {
    let (mut sandbox, _) = project();
    install(&mut sandbox, "sendmail", KEEPS);
    let hostile = sandbox.path("x\nBcc: victim@example.com\n.\n~!touch y");
    fs::create_dir(&hostile).unwrap();
    fs::write(hostile.join("a"), "a").unwrap();
    let mut command = sandbox.command(sandbox.program());
    let words = ["verify", "--email", "ops@example.com", "--project", "."];
    let output = command.args(words).current_dir(&hostile).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let mail = mails(&sandbox).remove(0);
    let (head, text) = mail.split_once("\n\n").unwrap();
    assert_eq!(head.lines().filter(|line| line.starts_with("Subject: ")).count(), 1);
    assert!(
        !mail.lines().any(|line| line.starts_with("Bcc") || line == "." || line.starts_with('~')),
        "{mail}"
    );
    assert!(text.contains("Bcc: victim@example.com"), "named, on a line of something else:\n{mail}");
    for address in ["-oQ/tmp", "a@b\nBcc: c@d", "|sh", ""] {
        run(&sandbox, &["verify", &format!("--email={address}")]).code(2);
    }
    assert_eq!(mails(&sandbox), Vec::<String>::new());
}

#[test]
fn where_there_is_no_sendmail_mail_will_do() {
    let usual = ["/usr/sbin", "/usr/lib", "/sbin"].map(|folder| Path::new(folder).join("sendmail"));
    let path = std::env::var_os("PATH").unwrap();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("sendmail"));
    if usual.into_iter().chain(on_path).any(|program| program.exists()) {
        // It would get a real mail.
        return system::skip("this machine has a sendmail of its own");
    }
    let (mut sandbox, mould) = project();
    mould.plant("20250601_120000", "scheduled");
    let words = ["verify", "--email", "ops@example.com"];
    run(&sandbox, &words).code(3).says("no program that sends mail").says("hint: install one");
    install(&mut sandbox, "mail", KEEPS);
    run(&sandbox, &words).ok();
    let mail = mails(&sandbox).remove(0);
    assert!(mail.starts_with("args: -s backups of project on "), "{mail}");
    assert!(mail.lines().next().unwrap().ends_with(": 1 good ops@example.com"), "{mail}");
}
