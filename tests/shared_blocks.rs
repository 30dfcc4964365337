//! On a file system whose files can share blocks, a repeated backup costs the room of what changed, and every archive is
//! whole and plain all the same.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use support::framework::{noise, write};
use support::{Sandbox, git, system};

fn change(project: &Path, day: u32) {
    let database = Connection::open(project.join("memory/index.db")).unwrap();
    database.execute("UPDATE t SET x = hex(randomblob(300)) WHERE id % 400 = ?1", [day]).unwrap();
    write(project, "src/part7.rs", &format!("// {day}\n").repeat(300));
}

#[test]
fn whole_archives_share_what_did_not_change() {
    let sandbox = Sandbox::on_disk();
    let mount = sandbox.path("mount");
    fs::create_dir(&mount).unwrap();
    let Some(disk) = system::sharing_disk(&sandbox.path("image"), &mount) else { return };
    let project = sandbox.project();
    fs::create_dir_all(project.join("memory")).unwrap();
    git(&project, &["init", "-q"]);
    write(&project, ".gitignore", "memory/\n");
    for number in 0..100 {
        write(&project, &format!("src/part{number}.rs"), &format!("// {number}\n").repeat(200));
    }
    fs::write(project.join("memory/noise.bin"), noise(2_000_000, 5)).unwrap();
    git(&project, &["add", "."]);
    git(&project, &["commit", "-qm", "all"]);
    let database = Connection::open(project.join("memory/index.db")).unwrap();
    database.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)").unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000)
               INSERT INTO t(x) SELECT hex(randomblob(300)) FROM n";
    database.execute(sql, []).unwrap();
    drop(database);
    // Bytes in use on that disk, and bytes of all archives.
    let measure = |script: &str| -> (u64, u64) {
        let script = format!(
            "{script}; sync -f ../mount; df -B1 --output=used ../mount | tail -1; cat ../mount/s/*.gz | wc -c"
        );
        let told = sandbox.shell_under(&disk, &script).ok().stdout;
        let mut numbers = told.lines().rev().map(|line| line.trim().parse::<u64>().unwrap());
        let bytes = numbers.next().unwrap();
        (numbers.next().unwrap(), bytes)
    };
    let backup = "\"$XTASK\" backup --quiet --no-sql --store ../mount/s >&2";
    let first = measure(backup);
    let mut last = first;
    for day in 0..5 {
        change(&project, day);
        last = measure(backup);
    }
    let (room, bytes) = (last.0 - first.0, last.1 - first.1);
    assert!(bytes > 4 * first.1, "six whole archives: {bytes} more than {}", first.1);
    assert!(room * 3 < bytes, "five more archives of {bytes} bytes took {room} bytes");
    // The first one goes; the others are whole, for us and for plain tools.
    let script = "first=$(ls -tr ../mount/s/*.gz | head -1); rm \"${first%.tar.gz}\".*
        \"$XTASK\" verify all --quiet --store ../mount/s
        for archive in ../mount/s/*.gz; do gzip -t \"$archive\"; tar -tzf \"$archive\" >/dev/null; done
        mkdir ../plain; archive=$(ls -t ../mount/s/*.gz | head -1); tar -xzf \"$archive\" -C ../plain
        cd ../plain/backup && sha256sum --quiet -c SHA256SUMS";
    sandbox.shell_under(&disk, script).ok();
    let live = fs::read(project.join("memory/index.db")).unwrap();
    assert!(fs::read(sandbox.path("plain/backup/databases/memory/index.db")).unwrap() == live);
    // A store that was carried to another disk goes on from there, with padding or without.
    sandbox.shell_under(&disk, "cp -a ../mount/s ../store").ok();
    change(&project, 9);
    sandbox.run(&["backup", "--quiet", "--store", "../store"]).ok();
    sandbox.run(&["verify", "latest", "--full-test", "--store", "../store"]).ok();
    sandbox.shell_under(&disk, "rm -r ../mount/s; cp -a ../store ../mount/s").ok();
    measure(&format!("{backup}; \"$XTASK\" verify latest --full-test --quiet --store ../mount/s >&2"));
}
