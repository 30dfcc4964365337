//! Other processes at the databases: this test binary started again, running the hidden test below. SQLite's
//! locks belong to processes, so a thread would prove nothing.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

const ROLE: &str = "SANDBOX_CHILD_ROLE";
const PLACE: &str = "SANDBOX_CHILD_PLACE";

/// How the databases keep their journal while they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    Wal,
    Delete,
}

/// A process of its own; killed when dropped, as a crash would.
pub struct Process {
    child: Child,
    reader: Option<JoinHandle<()>>,
    last: Arc<AtomicI64>,
}

impl Process {
    fn start(role: &str, place: &Path) -> Process {
        let name = module_path!().split_once("::").expect("a module below the crate").1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&format!("{name}::entry"), "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(PLACE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary starts again");
        let last = Arc::new(AtomicI64::new(-1));
        let seen = Arc::clone(&last);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            while let Some(Ok(line)) = lines.next() {
                if let Some(number) = line.strip_prefix('@').and_then(|number| number.parse().ok()) {
                    seen.store(number, Ordering::SeqCst);
                }
            }
        });
        let process = Process { child, reader: Some(reader), last };
        process.wait_for(0);
        process
    }

    /// The number it reported last. It reports after each commit, so at least as many are committed.
    fn reported(&self) -> i64 {
        self.last.load(Ordering::SeqCst)
    }

    fn wait_for(&self, number: i64) {
        let begun = Instant::now();
        while self.reported() < number {
            assert!(begun.elapsed() < Duration::from_secs(30), "the other process does not get to {number}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

/// Keeps both databases open, with rows that are only in the write-ahead log.
pub struct Holder(Process);

impl Holder {
    /// Adds 200 rows to each database in the folder, without a checkpoint, and stays.
    pub fn start(memory: &Path) -> Holder {
        Holder(Process::start("hold", memory))
    }
}

/// Writes to both databases in single transactions, all the time.
pub struct Writer(Process);

impl Writer {
    /// Begins to write; returns when the first transactions are committed.
    pub fn start(memory: &Path, journal: Journal) -> Writer {
        let role = if journal == Journal::Wal { "write-wal" } else { "write-delete" };
        let process = Process::start(role, memory);
        process.wait_for(process.reported() + 5);
        Writer(process)
    }

    /// The number of the last transaction known to be committed: one taken now holds at least this one.
    pub fn committed(&self) -> i64 {
        self.0.reported()
    }

    /// Waits until so many more transactions are committed.
    pub fn wait_for_more(&self, transactions: i64) {
        self.0.wait_for(self.committed() + transactions);
    }

    /// Ends it between two transactions, as a process that closes; returns the last number.
    pub fn stop(mut self) -> i64 {
        drop(self.0.child.stdin.take()); // the end of its stdin asks it to finish
        assert!(self.0.child.wait().unwrap().success(), "the writer failed");
        if let Some(reader) = self.0.reader.take() {
            reader.join().unwrap();
        }
        self.0.reported()
    }
}

/// Holds a write transaction open on one database until it is dropped.
pub struct Locker(Process);

impl Locker {
    /// Locks out other writers; `exclusively` also readers, where the journal is no write-ahead log.
    pub fn start(database: &Path, exclusively: bool) -> Locker {
        Locker(Process::start(if exclusively { "lock-exclusive" } else { "lock-immediate" }, database))
    }
}

/// Has a database open all the time, with one connection and one prepared statement, and looks when it is asked.
pub struct Observer(Process);

impl Observer {
    /// Opens it and looks once. `reading`: within a read transaction that stays open.
    pub fn start(database: &Path, reading: bool) -> Observer {
        Observer(Process::start(if reading { "observe-reading" } else { "observe" }, database))
    }

    /// How many rows of `learnings` it sees now; a read transaction is ended after that.
    pub fn rows(&mut self) -> i64 {
        self.0.last.store(-1, Ordering::SeqCst);
        let stdin = self.0.child.stdin.as_mut().unwrap();
        writeln!(stdin, "look").unwrap();
        self.0.wait_for(0);
        self.0.reported()
    }
}

/// What the two ledgers say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Transactions in `index.db`; their numbers begin with 1.
    pub transactions: i64,
    /// Whether both hold the same transactions, each complete.
    pub whole: bool,
}

/// Reads the ledgers in copies of the two databases; never of databases that a test still watches.
pub fn ledger(index: &Path, vectors: &Path) -> Ledger {
    let read = |path: &Path| -> (i64, i64, i64) {
        let connection = Connection::open(path).unwrap();
        let sql = "SELECT count(*), coalesce(max(n), 0), coalesce(sum(amount), 0) FROM ledger";
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
    };
    let (a, b) = (read(index), read(vectors));
    Ledger { transactions: a.0, whole: a.0 == a.1 && (a.0, a.1) == (b.0, b.1) && a.2 + b.2 == 0 }
}

/// Not a test of its own: what the other process runs. Without its variable it does nothing.
#[test]
fn entry() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    match role.to_str() {
        Some("hold") => hold(&place),
        Some("lock-immediate") => lock(&place, "IMMEDIATE"),
        Some("lock-exclusive") => lock(&place, "EXCLUSIVE"),
        Some("write-wal") => write(&place, "wal"),
        Some("write-delete") => write(&place, "delete"),
        Some("crash") => spill(&place),
        Some("observe") => observe(&place, false),
        Some("observe-reading") => observe(&place, true),
        Some("delete") => delete(&place),
        other => panic!("no role {other:?}"),
    }
}

fn report(number: i64) {
    // The test harness leaves an unfinished line before ours.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{number}").unwrap();
    out.flush().unwrap();
}

fn hold(memory: &Path) {
    let open = |name: &str, sql: &str| {
        let connection = Connection::open(memory.join(name)).unwrap();
        connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        connection.execute_batch(sql).unwrap();
        connection
    };
    let numbers = "WITH RECURSIVE c(x) AS (SELECT 1001 UNION ALL SELECT x + 1 FROM c WHERE x < 1200)";
    let index = open(
        "index.db",
        &format!(
            "{numbers} INSERT INTO learnings(id, title, body) SELECT x, 'late ' || x, hex(randomblob(40)) FROM c"
        ),
    );
    let vectors = open(
        "vectors.db",
        &format!("{numbers} INSERT INTO embeddings(id, embedding) SELECT x, randomblob(256) FROM c"),
    );
    report(0);
    // Until stdin ends, or the process is killed.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop((index, vectors));
}

fn observe(database: &Path, reading: bool) {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    if reading {
        connection.execute_batch("BEGIN").unwrap();
    }
    let mut statement = connection.prepare("SELECT count(*) FROM learnings").unwrap();
    let mut count = || statement.query_row([], |row| row.get::<_, i64>(0)).unwrap();
    report(count());
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).unwrap() > 0 {
        let seen = count();
        if !connection.is_autocommit() {
            connection.execute_batch("COMMIT").unwrap();
        }
        report(seen);
        line.clear();
    }
}

fn delete(database: &Path) {
    let connection = Connection::open(database).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection.execute_batch("DELETE FROM learnings WHERE id % 2 = 0; DELETE FROM metrics").unwrap();
    report(0);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(connection);
}

fn lock(database: &Path, how: &str) {
    let connection = Connection::open(database).unwrap();
    connection.execute_batch(&format!("BEGIN {how}")).unwrap();
    report(0);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(connection);
}

fn write(memory: &Path, journal: &str) {
    let connection = Connection::open(memory.join("index.db")).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection.execute("ATTACH ?1 AS v", [memory.join("vectors.db").to_str().unwrap()]).unwrap();
    for schema in ["main", "v"] {
        let sql = format!("PRAGMA {schema}.journal_mode = {journal}");
        let mode: String = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(mode, journal, "somebody else has {schema} open");
    }
    // No test cuts the power, and waiting for the disk would only slow the writer down.
    connection.execute_batch("PRAGMA main.synchronous = OFF; PRAGMA v.synchronous = OFF").unwrap();
    let mut n: i64 =
        connection.query_row("SELECT coalesce(max(n), 0) FROM ledger", [], |row| row.get(0)).unwrap();
    report(n);
    let (stop, stopped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        drop(std::io::stdin().read_line(&mut line)); // an end of any kind means stop
        let _ = stop.send(()); // the receiver is gone when it stopped by itself
    });
    while stopped.try_recv().is_err() {
        let amount = n % 97 + 1;
        let sql = format!(
            "BEGIN IMMEDIATE;
             INSERT INTO main.ledger VALUES ({0}, {amount});
             INSERT INTO v.ledger VALUES ({0}, -{amount});
             COMMIT",
            n + 1
        );
        match connection.execute_batch(&sql) {
            Ok(()) => {
                n += 1;
                report(n);
            }
            Err(error) => {
                let busy = matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                );
                assert!(busy, "{error}");
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK").unwrap();
                }
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Begins a transaction on a database that is so large that half of it is in the files before the commit,
/// and is killed in the middle of it, as by a power cut.
pub fn crash_in_a_transaction(database: &Path) {
    drop(Process::start("crash", database));
}

/// Deletes every second row of `learnings`, in the write-ahead log only, and is killed: the log stays.
pub fn delete_and_crash(database: &Path) {
    drop(Process::start("delete", database));
}

fn spill(database: &Path) {
    let connection = Connection::open(database).unwrap();
    connection.execute_batch("PRAGMA cache_size = 5; PRAGMA cache_spill = 5; BEGIN IMMEDIATE").unwrap();
    let sql = "UPDATE learnings SET body = hex(randomblob(300)) WHERE id % 3 = 0; DELETE FROM metrics;
               INSERT INTO ledger SELECT 1000000 + id, 1 FROM learnings";
    connection.execute_batch(sql).unwrap();
    report(0);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(connection);
}
