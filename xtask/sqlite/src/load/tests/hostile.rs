//! Hostile dumps: each is refused with the line number, in bounded time and memory, and nothing stays. Every
//! one is loaded by a process of its own, so that time and memory can be told.

use std::fs;
use std::time::Duration;

use super::child::load_in_child;
use crate::base::parallel;

mod built;
mod lists;

use built::{broken, expensive};
use lists::{NO_CREATE, NO_PRAGMAS, NO_ROWS, NO_SCHEMA, NO_STATEMENTS};

/// Processor time that any of them may take, whole process, beside 8 microseconds for each byte.
const CPU_MAX: Duration = Duration::from_secs(8);

/// Memory that any of them may take, whole process, beside four times its longest statement.
const MEMORY_MAX: u64 = 64 << 20;

/// A dump and how it is refused.
struct Case {
    dump: Vec<u8>,
    /// The line that is named; 0 for any.
    line: u64,
    /// A part of what is said.
    says: &'static str,
}

const START: &str = "PRAGMA foreign_keys=OFF;\nBEGIN;\nCREATE TABLE t(a, b);\nINSERT INTO t VALUES(1,'x');\n";

/// After four good lines, this.
fn inside(statement: &str) -> Case {
    says(statement, "")
}

fn says(statement: &str, says: &'static str) -> Case {
    Case { dump: format!("{START}{statement}\nCOMMIT;\n").into_bytes(), line: 5, says }
}

/// A good table of another kind first, then what is refused.
fn with(table: &str, statement: &str, says: &'static str) -> Case {
    assert!(!table.contains('\n'));
    Case { dump: format!("BEGIN;\n{table}\n{statement}\nCOMMIT;\n").into_bytes(), line: 3, says }
}

fn cases() -> Vec<Case> {
    let open = "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT); PRAGMA writable_schema=ON;";
    let lists = [NO_STATEMENTS, NO_CREATE, NO_ROWS].into_iter().flatten().map(|statement| inside(statement));
    let pragmas = NO_PRAGMAS.iter().map(|pragma| says(&format!("PRAGMA {pragma};"), "may not do this"));
    let schema = NO_SCHEMA.iter().map(|statement| with(open, statement, ""));
    lists.chain(pragmas).chain(schema).chain(expensive()).chain(broken()).collect()
}

/// Empty when all is as it should be.
fn fault(case: &Case) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dump.sql"), &case.dump).unwrap();
    let told = load_in_child(folder.path());
    let error = told.error.unwrap_or_else(|| "it is loaded".to_owned());
    let longest = case.dump.split_inclusive(|byte| *byte == b';').map(<[u8]>::len).max().unwrap_or(0);
    let mut faults = Vec::new();
    let named = error.split("line ").skip(1).any(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse() == Ok(case.line) || (case.line == 0 && end > 0)
    });
    if !named {
        faults.push(format!("line {} is not named", case.line));
    }
    if !error.contains(case.says) {
        faults.push(format!("it does not say {:?}", case.says));
    }
    if told.cpu > CPU_MAX + Duration::from_micros(8 * case.dump.len() as u64) {
        faults.push(format!("it took {:?}", told.cpu));
    }
    if told.memory > MEMORY_MAX + 4 * longest as u64 {
        faults.push(format!("it had {} MiB of memory", told.memory >> 20));
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    if left != ["dump.sql"] {
        faults.push(format!("there are {left:?}"));
    }
    if faults.is_empty() {
        return String::new();
    }
    let short = |text: &str| text.chars().take(300).collect::<String>();
    let shown = short(&String::from_utf8_lossy(&case.dump));
    format!("{shown:?}\n    {}\n    {}\n", short(&error), faults.join(", "))
}

#[test]
fn every_one_is_refused_with_its_line_and_in_bounds() {
    let cases = cases();
    assert!(cases.len() > 200, "{}", cases.len());
    let mut faults = Vec::new();
    parallel::ordered(
        cases.iter(),
        || (),
        |(), case| fault(case),
        |fault| {
            if !fault.is_empty() {
                faults.push(fault);
            }
            Ok(())
        },
    )
    .unwrap();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}
