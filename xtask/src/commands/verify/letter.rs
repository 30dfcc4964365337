//! What a mail about a verification says: short, plain, and with what to type next.

use std::path::Path;

use crate::base::clock::Instant;
use crate::base::escape::escape;
use crate::base::failure::hints_of;
use crate::base::finding::Finding;
use crate::procedures::prove::{self, Level};

use super::Line;

/// Where the backups are.
pub struct Where<'a> {
    /// This machine.
    pub host: &'a str,
    /// The project's folder, else what the store says of it.
    pub project: String,
    /// The store.
    pub store: &'a Path,
}

/// A mail.
#[derive(Debug, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// Several.
    pub text: String,
}

/// About a verification that came to an end.
pub fn of_result(place: &Where<'_>, level: Level, lines: &[Line], findings: &[Finding]) -> Letter {
    let count = |wanted: &dyn Fn(&Line) -> bool| lines.iter().filter(|line| wanted(line)).count();
    let damaged = count(&|line| !line.damage.is_empty());
    let unchecked = count(&|line| !line.ok && line.damage.is_empty());
    let mut counts = Vec::new();
    for (number, word) in
        [(damaged, "DAMAGED"), (unchecked, "not checked"), (lines.len() - damaged - unchecked, "good")]
    {
        if number > 0 {
            counts.push(format!("{number} {word}"));
        }
    }
    let counts = counts.join(", ");
    let mut text = head(place, &format!("Backups: {counts}."));
    text.push_str(&format!(
        "Checked: {}, {} local time\n\n",
        prove::extent(level as u8),
        Instant::now().local()
    ));
    for line in lines {
        let word = match (line.ok, line.damage.is_empty()) {
            (true, _) => "good",
            (false, true) => "not checked",
            (false, false) => "DAMAGED",
        };
        text.push_str(&format!("{}: {word}\n", line.id));
        text.extend(line.damage.iter().map(|damage| format!("  {}\n", plain(damage))));
    }
    for finding in findings.iter().filter(|finding| finding.is_problem()) {
        text.push_str(&format!("problem: {}\n", plain(&finding.message)));
        text.extend(finding.hint.iter().map(|hint| format!("  hint: {}\n", plain(hint))));
    }
    if damaged + unchecked > 0 {
        text.push_str(&next(place));
    }
    Letter { subject: subject(place, &counts), text }
}

/// About a verification that could not be done.
pub fn of_failure(place: &Where<'_>, error: &anyhow::Error) -> Letter {
    let mut text = head(place, "The backups could not be checked.");
    text.push_str(&format!("\n{}\n", plain(&format!("{error:#}"))));
    text.extend(hints_of(error).iter().map(|hint| format!("  hint: {}\n", plain(hint))));
    text.push_str(&next(place));
    Letter { subject: subject(place, "NOT CHECKED"), text }
}

/// A name or a message on one line, whatever is in it.
fn plain(text: &str) -> String {
    escape(text.as_bytes())
}

fn subject(place: &Where<'_>, what: &str) -> String {
    let name = Path::new(&place.project)
        .file_name()
        .map_or_else(String::new, |name| format!(" of {}", name.to_string_lossy()));
    format!("backups{name} on {}: {what}", place.host)
}

fn head(place: &Where<'_>, first: &str) -> String {
    let (project, store) = (plain(&place.project), plain(&place.store.display().to_string()));
    format!("{first}\n\nHost: {}\nProject: {project}\nStore: {store}\n", place.host)
}

fn next(place: &Where<'_>) -> String {
    let store = plain(&place.store.display().to_string());
    format!(
        "\nWhat to do, on that machine in the project's folder:\n\
         \x20 cargo xtask list --store '{store}'       which others there are\n\
         \x20 cargo xtask verify all --store '{store}' which of them are good\n\
         \x20 cargo xtask backup --store '{store}'     a new one\n\
         Nothing was changed. Don't delete a damaged backup before there is a good one.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::{Failure, Kind};

    fn place() -> Where<'static> {
        Where { host: "host", project: "/home/u/framework".to_owned(), store: Path::new("/store") }
    }

    fn line(id: &str, ok: bool, damage: &[&str]) -> Line {
        let damage = damage.iter().map(ToString::to_string).collect();
        Line { id: id.to_owned(), level: Level::Content, ok, damage }
    }

    #[test]
    fn it_says_which_what_and_what_to_type() {
        let lines = [
            line("20251201_120000", false, &["a byte is wrong"]),
            line("20251202_120000", true, &[]),
            line("20251203_120000", false, &[]),
        ];
        let findings = [
            Finding::problem("unchecked", "can't tell of 20251203_120000").hint("make room"),
            Finding::advice("state", "not remembered"),
        ];
        let letter = of_result(&place(), Level::Content, &lines, &findings);
        assert_eq!(letter.subject, "backups of framework on host: 1 DAMAGED, 1 not checked, 1 good");
        for part in [
            "Backups: 1 DAMAGED, 1 not checked, 1 good.\n",
            "Host: host\nProject: /home/u/framework\nStore: /store\n",
            "20251201_120000: DAMAGED\n  a byte is wrong\n20251202_120000: good\n20251203_120000: not checked\n",
            "problem: can't tell of 20251203_120000\n  hint: make room\n",
            "cargo xtask list --store '/store'",
        ] {
            assert!(letter.text.contains(part), "{part:?} in\n{}", letter.text);
        }
        assert!(!letter.text.contains("not remembered"));
        let good = of_result(&place(), Level::Content, &lines[1..2], &[]);
        assert_eq!(good.subject, "backups of framework on host: 1 good");
        assert!(!good.text.contains("What to do"));
    }

    #[test]
    fn a_failure_is_told_with_its_causes_and_hints() {
        let error: anyhow::Error =
            Failure::new(Kind::NotFound, "there is no store at /store").hint("mount it").into();
        let letter = of_failure(&place(), &error.context("looking"));
        assert_eq!(letter.subject, "backups of framework on host: NOT CHECKED");
        assert!(
            letter.text.contains("looking: there is no store at /store\n  hint: mount it\n"),
            "{}",
            letter.text
        );
    }
}
