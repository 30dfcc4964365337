//! Loads a dump in a process of its own (this test binary, started again), so that time and memory can be told.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::load;
use crate::base::usage;

/// Where the child finds the dump.
const FOLDER: &str = "XTASK_LOAD_FOLDER";

/// What came of it.
pub struct Told {
    /// The error with its causes; `None` when the dump was loaded.
    pub error: Option<String>,
    /// The most memory that the whole process had, in bytes; 0 where the system does not tell.
    pub memory: u64,
    /// Processor time of the whole process.
    pub cpu: Duration,
}

/// Loads `dump.sql` of a folder into `new.db`.
#[track_caller]
pub fn load_in_child(folder: &Path) -> Told {
    let test = format!("{}::one_dump", module_path!().split_once("::").unwrap().1);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--ignored", "--test-threads=1"])
        .env(FOLDER, folder)
        .current_dir(folder)
        .output()
        .unwrap();
    let told = fs::read_to_string(folder.join("told")).unwrap_or_default();
    fs::remove_file(folder.join("told")).unwrap_or_else(|_| panic!("the child told nothing: {child:?}"));
    let mut lines = told.splitn(3, '\n');
    let mut number = || lines.next().unwrap().parse::<u64>().unwrap();
    let (memory, cpu) = (number(), Duration::from_millis(number()));
    let error = lines.next().filter(|error| !error.is_empty()).map(str::to_owned);
    Told { error, memory, cpu }
}

/// Not a test of its own: loads the one dump that it is given, and tells what it took.
#[test]
#[ignore = "started by other tests"]
fn one_dump() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut dump = BufReader::with_capacity(256 << 10, fs::File::open(folder.join("dump.sql")).unwrap());
    let error = load(&mut dump, &folder.join("new.db")).err().map(|error| format!("{error:#}"));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    let memory = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    let cpu = usage::of_process().as_millis();
    fs::write(folder.join("told"), format!("{memory}\n{cpu}\n{}", error.unwrap_or_default())).unwrap();
}
