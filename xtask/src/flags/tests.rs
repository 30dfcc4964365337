//! Every way to say something, and every way to say it wrong.

use super::restore::Here;
use super::*;
use crate::base::failure::{hints_of, kind_of};
use crate::base::safe_path::SafePath;

fn parsed(line: &str) -> Result<Invocation> {
    // `·` stands for a space inside a word here.
    parse(line.split_whitespace().map(|word| OsString::from(word.replace('·', " "))).collect())
}

fn command_of(line: &str) -> Command {
    parsed(line).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

fn restore_to(backup: &str, folder: &str) -> Restore {
    Restore {
        backup: backup.to_owned(),
        target: Target::Folder(folder.into()),
        only: Vec::new(),
        sql_only: false,
        dry_run: false,
        with_code: false,
        force: false,
        here: Here::default(),
    }
}

fn verify(names: &[&str], full_test: bool) -> Command {
    let targets = Targets::Named(names.iter().map(|&name| name.to_owned()).collect());
    Command::Verify(Verify { targets, full_test, alert_on_fail: false, email: None })
}

fn pull(targets: Targets) -> Command {
    Command::Pull(Pull { targets, remote: None, from: None, adopt: false })
}

#[test]
fn every_verb_and_option_is_understood() {
    let label = || Some("before-x".parse::<Label>().unwrap());
    let all = Backup {
        label: label(),
        pin: true,
        kind: BackupKind::Guard,
        no_sql: true,
        adopt: true,
        ..Backup::default()
    };
    let path = |text: &str| SafePath::new(text).unwrap();
    let cases = [
        ("backup", Command::Backup(Backup::default())),
        ("backup --label before-x --pin --kind guard --no-sql --adopt", Command::Backup(all)),
        ("backup --label=before-x", Command::Backup(Backup { label: label(), ..Backup::default() })),
        ("backup --pin --pin", Command::Backup(Backup { pin: true, ..Backup::default() })),
        (
            "backup --kind scheduled",
            Command::Backup(Backup { kind: BackupKind::Scheduled, ..Backup::default() }),
        ),
        ("backup --no-remote", Command::Backup(Backup { no_remote: true, ..Backup::default() })),
        (
            "backup --remote me@host:x",
            Command::Backup(Backup { remote: Some("me@host:x".into()), ..Backup::default() }),
        ),
        ("sync", Command::Sync(Sync::default())),
        (
            "sync --remote ../far --verify --repair",
            Command::Sync(Sync { remote: Some("../far".into()), check: true, repair: true }),
        ),
        ("pull", pull(Targets::All)),
        ("pull all", pull(Targets::All)),
        ("pull latest 2h ago", pull(Targets::Named(vec!["latest".into(), "2h ago".into()]))),
        (
            "pull a --remote=-rf --from p-1 --adopt",
            Command::Pull(Pull {
                targets: Targets::Named(vec!["a".into()]),
                remote: Some("-rf".into()),
                from: Some("p-1".into()),
                adopt: true,
            }),
        ),
        ("list", Command::List),
        ("-- list", Command::List),
        ("restore list", Command::List),
        ("restore", Command::ListForRestore),
        ("restore --to x --dry-run", Command::ListForRestore),
        ("show latest", Command::Show("latest".into())),
        ("show 2h ago", Command::Show("2h ago".into())),
        ("show 3 days ago", Command::Show("3 days ago".into())),
        ("show 2025-12-01·14:00", Command::Show("2025-12-01 14:00".into())),
        ("verify", verify(&["latest"], false)),
        ("verify --full-test a b", verify(&["a", "b"], true)),
        ("verify 2h ago a 2025-12-01 14:00", verify(&["2h ago", "a", "2025-12-01 14:00"], false)),
        ("prune", Command::Prune(Prune { dry_run: false })),
        ("prune --dry-run", Command::Prune(Prune { dry_run: true })),
        ("pin latest 2h ago", Command::Pin(vec!["latest".into(), "2h ago".into()])),
        ("unpin a", Command::Unpin(vec!["a".into()])),
        (
            "verify all --alert-on-fail --email ops@example.com",
            Command::Verify(Verify {
                targets: Targets::All,
                full_test: false,
                alert_on_fail: true,
                email: Some("ops@example.com".parse().unwrap()),
            }),
        ),
        (
            "salvage a.db --to b.db --merge 2h·ago",
            Command::Salvage(Salvage {
                database: "a.db".into(),
                to: "b.db".into(),
                merge: Some("2h ago".into()),
            }),
        ),
        (
            "salvage --to=-b -- --a",
            Command::Salvage(Salvage { database: "--a".into(), to: "-b".into(), merge: None }),
        ),
        ("status", Command::Status(Status { age_seconds_max: 93_600 })),
        ("status --max-age 3·days", Command::Status(Status { age_seconds_max: 259_200 })),
        ("restore latest --to x", Command::Restore(restore_to("latest", "x"))),
        (
            "restore latest --exact --git --no-backup --adopt --other-project",
            Command::Restore(Restore {
                target: Target::Here,
                here: Here { exact: true, git: true, no_backup: true, adopt: true, other_project: true },
                ..restore_to("latest", "")
            }),
        ),
        (
            "guard --label v2 --check SELECT·1 --check=SELECT·2 -- ./migrate --label x --store",
            Command::Guard(Guard {
                label: Some("v2".parse().unwrap()),
                checks: vec!["SELECT 1".into(), "SELECT 2".into()],
                command: ["./migrate", "--label", "x", "--store"].map(OsString::from).to_vec(),
            }),
        ),
        ("undo --force", Command::Undo(Undo { force: true, ..Undo::default() })),
        ("undo --list --dry-run", Command::Undo(Undo { list: true, dry_run: true, force: false })),
        ("redo --dry-run", Command::Redo(Redo { dry_run: true, force: false })),
        ("restore --to x -- latest", Command::Restore(restore_to("latest", "x"))),
        ("restore --to=-x latest", Command::Restore(restore_to("latest", "-x"))),
        ("restore 2025-12-01 14:00 --to x", Command::Restore(restore_to("2025-12-01 14:00", "x"))),
        ("restore 2h --to x ago", Command::Restore(restore_to("2h ago", "x"))),
        (
            "restore a --only ./memory/ --only=b/c --sql-only --dry-run --with-code --force --to x",
            Command::Restore(Restore {
                only: vec![path("memory"), path("b/c")],
                sql_only: true,
                dry_run: true,
                with_code: true,
                force: true,
                ..restore_to("a", "x")
            }),
        ),
        (
            "restore a --verify-only --force",
            Command::Restore(Restore { target: Target::Nowhere, force: true, ..restore_to("a", "") }),
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(command_of(line), expected, "{line}");
    }
}

#[test]
fn global_options_stand_anywhere() {
    let expected = Invocation {
        project: Some("p".into()),
        store: Some("s".into()),
        appearance: Appearance { json: true, quiet: true, color: Color::Never },
        command: Command::Show("a".into()),
    };
    for line in [
        "--project p --store s --json --quiet --color never show a",
        "show a --project p --store s --json --quiet --color never",
        "--quiet --project=p show --color=never a --json --store=s",
    ] {
        assert_eq!(parsed(line).unwrap(), expected, "{line}");
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert_eq!(appearance(&argv), expected.appearance);
    }
}

#[test]
fn help_and_version_are_answers() {
    for line in ["--help", "-h", "help", "--json --help"] {
        assert_eq!(command_of(line), Command::Print(help::general()), "{line}");
    }
    for verb in VERBS {
        let expected = Command::Print(help::of(verb));
        for line in ["help V", "V --help", "V -h", "--help V", "V --frobnicate more words -h"] {
            assert_eq!(command_of(&line.replace('V', verb.name)), expected, "{line}");
        }
    }
    let version = Command::Print(format!("xtask {}\n", env!("CARGO_PKG_VERSION")));
    for line in ["--version", "list --version"] {
        assert_eq!(command_of(line), version);
    }
    // After `--` it is a word.
    assert!(parsed("show -- --help").is_ok_and(|i| i.command == Command::Show("--help".into())));
}

#[test]
fn misuse_is_refused_with_the_reason_and_the_usage() {
    let cases = [
        ("", "no verb"),
        ("--json", "no verb"),
        ("backpu", "did you mean backup?"),
        ("frobnicate", "unknown verb frobnicate"),
        ("help frobnicate", "unknown verb"),
        ("help list show", "show is left over"),
        ("help --frob", "unknown option --frob"),
        ("--frobnicate list", "unknown option --frobnicate"),
        ("--pin backup", "--pin is an option of backup: write it after the verb"),
        ("backup --pinn", "did you mean --pin?"),
        ("backup --to x", "--to is an option of restore and salvage, not of backup"),
        ("backup -p", "unknown option -p"),
        ("backup extra", "extra is left over"),
        ("backup --remote x --no-remote", "contradict"),
        ("sync latest", "latest is left over"),
        ("sync --remote", "--remote needs a value"),
        ("sync --from x", "--from is an option of pull, not of sync"),
        ("pull all latest", "either all or some"),
        ("backup -- --pin", "--pin is left over"),
        ("backup --label", "--label needs a value"),
        ("backup --label=", "--label needs a value"),
        ("backup --label --pin", "--label needs a value"),
        ("backup --label --json a", "--label needs a value"),
        ("backup --label=--pin", "--label needs a value"),
        ("backup --label a --label b", "--label is given 2 times"),
        ("backup --label latest", "meaning of its own"),
        ("backup --label a/b", "letters, digits"),
        ("backup --label 20251201_120000", "looks like an id"),
        ("backup --kind safety", "manual, scheduled or guard"),
        ("backup --pin=yes", "--pin takes no value"),
        ("--color sometimes list", "auto, always or never"),
        ("--color list", "--color is auto, always or never, not list"),
        ("--project a --project b list", "--project is given 2 times"),
        ("list latest", "latest is left over"),
        ("list --full-test", "--full-test is an option of verify, not of list"),
        ("show", "which backup?"),
        ("salvage", "which database?"),
        ("salvage a", "--to FILE is missing"),
        ("salvage a --to", "--to needs a value"),
        ("salvage a b --to c", "one database can be named; b is left over"),
        ("salvage a --to b --merge ·", "the name of the backup is empty"),
        ("show a b", "one backup can be named, not 2: a, b"),
        ("verify all latest", "either all or some"),
        ("verify --quick", "unknown option --quick"),
        ("restore latest --to x --exact", "--exact is for a restore over the project"),
        ("restore latest --verify-only --git", "--git is for a restore over the project"),
        ("restore-git a b", "one commit can be named; b is left over"),
        ("restore-git a --at 2h", "either a commit or --at; a is left over"),
        ("restore-git --at soon", "--at needs a time"),
        ("restore-git a --branch b", "--branch names the branch of --checkout"),
        ("restore-git a --checkout --only b", "does not go with --only"),
        ("restore-git a --keep-databases --restore-databases", "contradict each other"),
        ("restore-git a --count 3", "--count is for list"),
        ("restore-git list --count none", "--count is a number from 1 to 100,000"),
        ("restore-git list --force", "--force is for a restore; name a commit"),
        ("restore-git --only x", "--only and --branch are for a restore"),
        ("diff a b c", "two states can be compared, not 3: a, b, c"),
        ("diff now", "now against what?"),
        ("diff now now", "both sides are now"),
        ("diff git:", "git: needs a commit"),
        ("diff a --rows-max few", "--rows-max is a number from 1 to 100,000"),
        ("diff a --rows=5", "--rows takes no value"),
        ("diff a --exact", "--exact is an option of restore, not of diff"),
        ("guard ./migrate", "stands behind --"),
        ("guard --", "stands behind --"),
        ("guard ./migrate -- ./other", "stands behind --"),
        ("undo latest", "takes no further words"),
        ("restore latest --to --dry-run", "--to needs a value"),
        ("restore latest --to x --dry-ru", "did you mean --dry-run?"),
        ("restore latest memory/index.db --to x", "one backup can be named, not 2"),
        ("restore all --to x", "one backup"),
        ("restore latest --to x --only ../y", "inside the project"),
        ("restore latest --to x --only /etc/passwd", "inside the project"),
        ("restore latest --to x --only ./", "inside the project"),
        ("restore latest --to x --to y", "--to is given 2 times"),
        ("restore -2h ago --to x", "unknown option -2h"),
    ];
    for (line, part) in cases {
        let error = match parsed(line) {
            Err(error) => error,
            Ok(invocation) => panic!("{line:?} was taken as {invocation:?}"),
        };
        assert!(error.to_string().contains(part), "{line:?}: {error}");
        assert_eq!(kind_of(&error), Kind::Usage);
        let usage = hints_of(&error).pop().unwrap();
        assert!(usage.starts_with("usage: cargo xtask "), "{usage}");
        let known = VERBS.iter().find(|verb| line.starts_with(&format!("{} ", verb.name)));
        if let Some(verb) = known {
            assert!(
                usage.contains(&format!("xtask {}", verb.name)) || line.contains("--label"),
                "{line}: {usage}"
            );
        }
    }
}

/// Every option in the table is read by its verb: leaving one out would accept it and do nothing.
#[test]
fn no_option_is_accepted_and_ignored() {
    for verb in VERBS {
        let command = if verb.name == "guard" { " -- x" } else { "" };
        // It says what holds anyway.
        for option in verb.options.iter().filter(|option| option.name != "--keep-databases") {
            let base = match (verb.name, option.name) {
                ("restore-git", "--at" | "--count") => "restore-git",
                ("restore-git", "--branch") => "restore-git a --checkout",
                ("restore-git", _) => "restore-git a",
                ("restore", _) => "restore a",
                ("show", _) => "show a",
                ("salvage", "--to") => continue, // always needed
                ("salvage", _) => "salvage a --to b",
                (name, _) => name,
            };
            let value = match (option.name, option.value) {
                (_, None) => "",
                ("--kind", _) => " guard",
                ("--max-age" | "--at", _) => " 3h",
                ("--rows-max" | "--count", _) => " 3",
                _ => " word",
            };
            assert_ne!(
                command_of(&format!("{base}{command}")),
                command_of(&format!("{base} {}{value}{command}", option.name)),
                "{}",
                option.name
            );
        }
    }
}

#[test]
fn the_examples_of_the_help_are_right() {
    for verb in VERBS {
        for (line, _) in verb.examples {
            // Spaces between quotes are part of a word.
            let words = line.split('\'').enumerate();
            let line: String = words
                .map(|(n, part)| if n % 2 == 1 { part.replace(' ', "·") } else { part.into() })
                .collect();
            assert!(parsed(&line).is_ok(), "{line}");
        }
    }
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_text_and_quotes_are_part_of_a_name() {
    use std::os::unix::ffi::OsStringExt;
    let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let folder = PathBuf::from(raw(b"caf\xe9"));
    for argv in [
        vec!["restore".into(), "a".into(), "--to".into(), raw(b"caf\xe9"), raw(b"--only=x\xff")],
        vec!["restore".into(), raw(b"--to=caf\xe9"), "a".into(), "--only".into(), raw(b"x\xff")],
    ] {
        let Command::Restore(restore) = parse(argv).unwrap().command else { panic!("no restore") };
        assert_eq!(restore.target, Target::Folder(folder.clone()));
        assert_eq!(restore.only, [SafePath::new(b"x\xff".to_vec()).unwrap()]);
    }
    let quoted = parse(vec!["--project=\"p\"".into(), "list".into()]).unwrap();
    assert_eq!(quoted.project, Some("\"p\"".into()));
    for wrong in
        [vec![raw(b"caf\xe9")], vec!["show".into(), raw(b"\xff")], vec!["list".into(), raw(b"--\xff=1")]]
    {
        let error = parse(wrong).unwrap_err();
        assert!(error.to_string().contains("\\x"), "{error}");
    }
}

#[test]
fn commits_are_named_as_git_names_them_or_by_a_time() {
    let to = |line: &str| match command_of(line) {
        Command::RestoreGit(RestoreGit::To(to)) => to,
        other => panic!("{line}: {other:?}"),
    };
    for (line, revision) in [
        ("restore-git HEAD~5", "HEAD~5"),
        ("restore-git HEAD@{yesterday} --dry-run", "HEAD@{yesterday}"),
        ("restore-git :/fix·the·bug --force", ":/fix·the·bug"),
    ] {
        assert_eq!(to(line).target, GitTarget::Revision(revision.replace('·', " ")), "{line}");
    }
    for line in
        ["restore-git --at 2h", "restore-git --at 2h·ago", "restore-git --at 2h ago", "restore-git --at=2h"]
    {
        let GitTarget::Moment(moment) = to(line).target else { panic!("{line}") };
        let seconds = crate::base::clock::Instant::now().0 - moment.0;
        assert!((7200..7260).contains(&seconds), "{line}: {seconds}");
    }
    let all = to("restore-git a --restore-databases --checkout --branch b --no-backup --adopt --dry-run");
    assert!(all.databases && all.no_backup && all.adopt && all.dry_run && !all.force && all.only.is_empty());
    assert_eq!(all.checkout, Some(Some("b".to_owned())));
    assert_eq!(to("restore-git a --checkout").checkout, Some(None));
    assert_eq!(to("restore-git a --keep-databases --only b --only c/").only.len(), 2);
    for (line, count, asked) in
        [("restore-git", 20, false), ("restore-git list", 20, true), ("restore-git list --count 3", 3, true)]
    {
        assert_eq!(command_of(line), Command::RestoreGit(RestoreGit::List { count, asked }), "{line}");
    }
}
