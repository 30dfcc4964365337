//! rclone as the way to a remote. Its remotes are of many kinds, so what one can do is asked first: where it
//! can rename, an archive is written under a temporary name, unless rclone does that by itself; stores of
//! objects show a file only when it is whole. A digest is asked for where there is one of SHA-256, and else
//! the file is read back. Never `rclone sync`, which deletes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::tool::{Ended, Stream, Tool};
use super::{Ask, Checked, Far, SMALL_MAX, Transport, tool_failed};
use crate::base::digest::Digest;
use crate::base::durable::TEMPORARY_PREFIX;
use crate::base::failure::{Failure, Kind};
use crate::base::monitor::Monitor;
use crate::identity::STORE_FILE;

const NAME: &str = "rclone";

/// Never a question; and bounded waiting.
const ALWAYS: [&str; 5] =
    ["--ask-password=false", "--contimeout=15s", "--timeout=30s", "--low-level-retries=4", "--use-json-log"];

/// A transfer is worth a second try, and tells how far it is.
const TRANSFER: [&str; 3] = ["--retries=2", "--stats=1s", "--stats-log-level=NOTICE"];

/// Questions are asked once.
const ONCE: [&str; 1] = ["--retries=1"];

/// How long it may say nothing: its own limits several times over.
const QUIET: Duration = Duration::from_secs(600);

/// Bytes per second that any remote gives at least.
const READS_PER_S: u64 = 256 << 10;

/// rclone's status for a folder that is not there.
const NO_FOLDER: i32 = 3;

/// rclone and where to.
pub struct Rclone {
    tool: Tool,
    /// `NAME:path`.
    base: String,
    name: String,
}

/// What a name before a colon is.
pub struct Meaning {
    /// Whether it is a remote of rclone; else it is a host.
    pub known: bool,
    /// A sentence that tells so.
    pub note: String,
    /// What to think of when that host can't be reached.
    pub doubt: Option<String>,
}

/// Whether rclone knows a remote of that name.
///
/// # Errors
/// When rclone is there and can't tell: a remote of rclone must not be taken for a host.
pub fn knows(name: &str) -> Result<Meaning> {
    let Some(tool) = Tool::find(NAME) else {
        let note = format!("{name:?} is taken for a host: rclone, which could know it, is not installed");
        let doubt = Some(format!("if {name:?} is a remote of rclone, install rclone"));
        return Ok(Meaning { known: false, note, doubt });
    };
    let wanted = format!("{name}:");
    let (mut known, mut words) = (false, vec!["listremotes".to_owned()]);
    words.extend(ALWAYS.map(str::to_owned));
    let ended = tool.run(Path::new("."), &words, Duration::from_secs(60), &mut |stream, line| {
        known |= stream == Stream::Out && line == wanted;
    })?;
    if !ended.ok() {
        let text = format!("can't tell whether {name:?} is a remote of rclone or a host: {}", plain(&ended));
        return Err(Failure::new(Kind::Failed, text)
            .hint("write rclone:NAME:path for a remote of rclone, ssh://HOST/path for a host")
            .into());
    }
    let note = match known {
        true => format!("{name:?} is a remote of rclone (ssh://{name}/… would be a host)"),
        false => format!("{name:?} is taken for a host: rclone knows no such remote"),
    };
    let doubt = (!known)
        .then(|| format!("if {name:?} is a remote of rclone, it has another name there: rclone listremotes"));
    Ok(Meaning { known, note, doubt })
}

/// What a remote can do.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Abilities {
    hashes: Vec<String>,
    features: Features,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Features {
    r#move: bool,
    partial_uploads: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    name: String,
    size: i64,
    is_dir: bool,
}

impl Rclone {
    /// A remote by its name.
    ///
    /// # Errors
    /// When rclone is missing.
    pub fn new(name: &str, path: &str) -> Result<Rclone> {
        let tool = Tool::need(NAME, "the remote is reached by it")?;
        Ok(Rclone { tool, base: format!("{name}:{path}"), name: name.to_owned() })
    }

    fn at(&self, tail: &str) -> String {
        let between = if self.base.ends_with(['/', ':']) { "" } else { "/" };
        format!("{}{between}{tail}", self.base)
    }

    fn run(
        &self,
        dir: &Path,
        words: &[&str],
        paths: &[&str],
        quiet: Duration,
        heard: &mut dyn FnMut(Stream, &str),
    ) -> Result<Ended> {
        let once: &[&str] = if words.iter().any(|word| word.starts_with("--retries")) { &[] } else { &ONCE };
        let all = [words, once, &ALWAYS, &["--"], paths].concat();
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        self.tool.run(dir, &all, quiet, heard)
    }

    fn must(&self, dir: &Path, words: &[&str], paths: &[&str]) -> Result<()> {
        let ended = self.run(dir, words, paths, QUIET, &mut |_, _| {})?;
        if ended.ok() { Ok(()) } else { Err(self.failed(&ended)) }
    }

    fn transfer(&self, dir: &Path, words: &[&str], paths: &[&str], monitor: &dyn Monitor) -> Result<()> {
        let mut seen = 0;
        let words = [words, &TRANSFER].concat();
        let ended = self.run(dir, &words, paths, QUIET, &mut |_, line| {
            if let Some(done) = progress(line) {
                monitor.advance(done.saturating_sub(seen));
                seen = seen.max(done);
            }
        })?;
        if ended.ok() { Ok(()) } else { Err(self.failed(&ended)) }
    }

    /// What the remote can do; an rclone that can't tell is taken for one that can do nothing.
    fn abilities(&self) -> Result<Abilities> {
        let mut text = String::new();
        let ended =
            self.run(Path::new("."), &["backend", "features"], &[&self.base], QUIET, &mut |stream, line| {
                if stream == Stream::Out {
                    text.push_str(line);
                    text.push('\n');
                }
            })?;
        if !ended.ok() {
            return Ok(Abilities::default());
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    fn failed(&self, ended: &Ended) -> anyhow::Error {
        let said = Ended { code: ended.code, said: plain(ended) };
        let hint = format!("what does this say? rclone lsd {}:", self.name);
        tool_failed(NAME, &said, Some(&hint))
    }
}

/// The messages in rclone's log, without what is around them.
fn plain(ended: &Ended) -> String {
    #[derive(Deserialize)]
    struct Line {
        msg: String,
        #[serde(default)]
        level: String,
    }
    let lines = ended.said.lines().filter_map(|line| match serde_json::from_str::<Line>(line) {
        Ok(line) if matches!(line.level.as_str(), "error" | "fatal" | "critical" | "") => {
            Some(line.msg.trim().to_owned())
        }
        Ok(_) => None,
        Err(_) => Some(line.trim().to_owned()),
    });
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// How many bytes a line of statistics tells of.
fn progress(line: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Line {
        stats: Stats,
    }
    #[derive(Deserialize)]
    struct Stats {
        bytes: u64,
    }
    if !line.contains("\"stats\"") {
        return None;
    }
    serde_json::from_str::<Line>(line).ok().map(|line| line.stats.bytes)
}

impl Transport for Rclone {
    fn list(&self, folder: &str) -> Result<Option<Vec<Far>>> {
        let mut text = String::new();
        let words = ["lsjson", "--no-modtime", "--no-mimetype"];
        let ended = self.run(Path::new("."), &words, &[&self.at(folder)], QUIET, &mut |stream, line| {
            if stream == Stream::Out {
                text.push_str(line);
                text.push('\n');
            }
        })?;
        if ended.code == Some(NO_FOLDER) {
            return Ok(None);
        }
        if !ended.ok() {
            return Err(self.failed(&ended));
        }
        let items: Vec<Item> = serde_json::from_str(&text).context("can't understand rclone's listing")?;
        let found: Vec<Far> = items
            .into_iter()
            .map(|item| Far {
                name: item.name,
                // A negative size is one that is not known.
                bytes: u64::try_from(item.size).unwrap_or(u64::MAX),
                is_folder: item.is_dir,
            })
            .collect();
        // Where folders are only beginnings of names, one that is not there is an empty one.
        Ok(if found.is_empty() { None } else { Some(found) })
    }

    fn found(&self, folder: &str, dir: &Path) -> Result<()> {
        let to = self.at(&format!("{folder}/{STORE_FILE}"));
        self.must(dir, &["copyto", "--ignore-existing"], &[&format!("./{STORE_FILE}"), &to])
    }

    fn put_small(&self, folder: &str, dir: &Path, names: &[String]) -> Result<()> {
        let include: Vec<String> = names.iter().map(|name| format!("--include=/{name}")).collect();
        let mut words = vec!["copy", "--ignore-times", "--max-depth=1"];
        words.extend(include.iter().map(String::as_str));
        self.must(dir, &words, &["./", &self.at(folder)])
    }

    fn put(&self, folder: &str, dir: &Path, name: &str, replace: bool, monitor: &dyn Monitor) -> Result<()> {
        let how = if replace { "--ignore-times" } else { "--ignore-existing" };
        let features = self.abilities()?.features;
        let (from, to) = (format!("./{name}"), self.at(&format!("{folder}/{name}")));
        if features.partial_uploads || !features.r#move {
            return self.transfer(dir, &["copyto", "--copy-links", how], &[&from, &to], monitor);
        }
        let aside = self.at(&format!("{folder}/{TEMPORARY_PREFIX}{name}"));
        self.transfer(dir, &["copyto", "--copy-links", "--ignore-times"], &[&from, &aside], monitor)?;
        self.must(dir, &["moveto", how], &[&aside, &to])
    }

    fn small(&self, folder: &str, endings: &[&str], dir: &Path) -> Result<()> {
        let include: Vec<String> = endings.iter().map(|ending| format!("--include=/*{ending}")).collect();
        let size = format!("--max-size={SMALL_MAX}b");
        let mut words = vec!["copy", "--max-depth=1", "--transfers=8", size.as_str()];
        words.extend(include.iter().map(String::as_str));
        self.must(dir, &words, &[&self.at(folder), "./"])
    }

    fn owners(&self, dir: &Path) -> Result<()> {
        let size = format!("--max-size={SMALL_MAX}b");
        let words = ["copy", "--max-depth=2", "--transfers=8", "--include=/*/store.json", size.as_str()];
        self.must(dir, &words, &[&self.base, "./"])
    }

    fn fetch(&self, folder: &str, name: &str, dir: &Path, monitor: &dyn Monitor) -> Result<()> {
        let from = self.at(&format!("{folder}/{name}"));
        self.transfer(dir, &["copyto"], &[&from, &format!("./{name}")], monitor)
    }

    fn check(&self, ask: &Ask<'_>, dir: &Path, monitor: &dyn Monitor) -> Result<Checked> {
        let hashes = self.abilities()?.hashes;
        let native = hashes.iter().any(|name| name.replace('-', "").eq_ignore_ascii_case("sha256"));
        let mut words = vec!["hashsum", "sha256"];
        if !native {
            words.push("--download");
            words.extend(TRANSFER);
        }
        let path = self.at(&format!("{}/{}", ask.folder, ask.name));
        let quiet = QUIET + Duration::from_secs(ask.bytes / READS_PER_S);
        let (mut found, mut seen): (Option<Digest>, u64) = (None, 0);
        let ended = self.run(dir, &words, &[&path], quiet, &mut |stream, line| match stream {
            Stream::Out => {
                found = line.split_whitespace().next().and_then(|word| word.parse().ok()).or(found)
            }
            Stream::Err => {
                let done = progress(line).unwrap_or(seen);
                monitor.advance(done.saturating_sub(seen));
                seen = seen.max(done);
            }
        })?;
        let by = if native { "rclone hashsum" } else { "rclone hashsum --download" };
        match found {
            Some(digest) if ended.ok() => Ok(Checked { same: digest == ask.digest, by }),
            _ if matches!(ended.code, Some(NO_FOLDER | 4)) => Ok(Checked { same: false, by }),
            _ => Err(self.failed(&ended)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rclone_says_is_understood() {
        let line =
            r#"{"level":"warning","msg":"x","source":"y","stats":{"bytes":32768,"errors":0},"time":"z"}"#;
        assert_eq!(progress(line), Some(32768));
        assert_eq!(progress("20251201_120000.tar.gz"), None);
        let said = format!(
            "{line}\n{}\nnot json",
            r#"{"level":"error","msg":"error listing: directory not found","source":"a"}"#
        );
        let ended = Ended { code: Some(1), said };
        assert_eq!(plain(&ended), "error listing: directory not found; not json");
        let features = r#"{"Hashes":["md5","sha256"],"Features":{"Move":true,"Copy":false}}"#;
        let abilities: Abilities = serde_json::from_str(features).unwrap();
        assert!(abilities.features.r#move && !abilities.features.partial_uploads);
        assert_eq!(abilities.hashes, ["md5", "sha256"]);
    }
}
