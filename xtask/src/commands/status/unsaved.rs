//! What of the project the newest good backup does not hold, in numbers and a few names.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::safe_path::SafePath;
use crate::procedures::since::Since;
use crate::project::scan::Scan;
use crate::ui;

/// So many paths of a kind are named; the others are counted.
const NAMED_MAX: usize = 5;

/// What is not saved.
#[derive(Serialize)]
pub struct Unsaved {
    databases: Vec<SafePath>,
    new: Sample,
    changed: Sample,
    gone: Sample,
    left_out: BTreeMap<String, LeftOut>,
}

/// How many paths, and the first of them.
#[derive(Serialize)]
struct Sample {
    count: usize,
    first: Vec<SafePath>,
}

/// What is left out for one reason.
#[derive(Default, Serialize)]
struct LeftOut {
    count: usize,
    bytes: u64,
    first: Vec<SafePath>,
}

impl Sample {
    fn of(paths: &[SafePath]) -> Sample {
        Sample { count: paths.len(), first: paths.iter().take(NAMED_MAX).cloned().collect() }
    }
}

impl Unsaved {
    /// Counts.
    pub fn of(since: &Since, scan: &Scan) -> Unsaved {
        let mut left_out: BTreeMap<String, LeftOut> = BTreeMap::new();
        for item in &scan.left_out {
            let sort = left_out.entry(item.reason.clone()).or_default();
            sort.count += 1;
            sort.bytes = sort.bytes.saturating_add(item.bytes);
            if sort.first.len() < NAMED_MAX {
                sort.first.push(item.path.clone());
            }
        }
        Unsaved {
            databases: since.databases.clone(),
            new: Sample::of(&since.new),
            changed: Sample::of(&since.changed),
            gone: Sample::of(&since.gone),
            left_out,
        }
    }

    /// New, changed and missing files in one line.
    pub fn changes(&self) -> String {
        let part = |paths: &Sample, word: &str| (paths.count > 0).then(|| format!("{} {word}", paths.count));
        let parts = [part(&self.changed, "changed"), part(&self.new, "new"), part(&self.gone, "gone")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            return "no file changed (databases are not compared)".to_owned();
        }
        let all = self.changed.first.iter().chain(&self.new.first).chain(&self.gone.first);
        let named: Vec<String> = all.take(NAMED_MAX).map(ToString::to_string).collect();
        let count = self.changed.count + self.new.count + self.gone.count;
        let more = if count > named.len() { ", …" } else { "" };
        format!("files {}: {}{more}", parts.join(", "), named.join(", "))
    }

    /// What is left out on purpose, in one line.
    pub fn left_out(&self) -> String {
        if self.left_out.is_empty() {
            return "nothing".to_owned();
        }
        let sort = |(reason, sort): (&String, &LeftOut)| {
            let first = sort.first.first().map_or_else(String::new, ToString::to_string);
            let more = if sort.count > 1 { ", …" } else { "" };
            let bytes = if sort.bytes > 0 { format!(", {}", ui::size(sort.bytes)) } else { String::new() };
            format!("{} {reason} ({first}{more}{bytes})", sort.count)
        };
        self.left_out.iter().map(sort).collect::<Vec<_>>().join("; ")
    }
}
