//! rsync as the way to a remote, over ssh or to a daemon. It has no rename and no digests to ask for, so its
//! own means are used: it writes under a temporary name and renames when the file is whole, keeps a part that
//! was interrupted aside (`.tmp-partial/`) and goes on from there, and a dry run by checksum reads a file back.
//!
//! Only plain options are used, that old versions and other implementations know as well; never `--delete`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::tool::{Ended, Stream, Tool};
use super::{Ask, Checked, Far, SMALL_MAX, Transport, tool_failed};
use crate::base::digest::Digest;
use crate::base::file_facts;
use crate::base::monitor::Monitor;
use crate::identity::STORE_FILE;

const NAME: &str = "rsync";

const WHY: &str = "the remote is reached by it";

/// Seconds without a byte after which rsync itself gives up.
const IDLE_S: u64 = 60;

/// Seconds for a connection to come about.
const CONNECT_S: u64 = 15;

/// A connection that asks nothing and notices when the other side is gone.
const SSH: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4";

/// Bytes per second that any disk there reads at least.
const READS_PER_S: u64 = 4 << 20;

/// rsync and where to.
pub struct Rsync {
    tool: Tool,
    /// As rsync takes it; a path can be appended.
    base: String,
    options: Vec<String>,
    hint: String,
}

impl Rsync {
    /// A daemon.
    ///
    /// # Errors
    /// When rsync is missing.
    pub fn daemon(spec: String) -> Result<Rsync> {
        let tool = Tool::need(NAME, WHY)?;
        let options = vec![format!("--contimeout={CONNECT_S}"), "--no-motd".to_owned()];
        let hint = format!("what does this say? rsync {}", joined(&spec, ""));
        Ok(Rsync { tool, base: spec, options, hint })
    }

    /// A host that ssh reaches; `doubt` tells why it may be none.
    ///
    /// # Errors
    /// When rsync or ssh is missing.
    pub fn ssh(host: &str, port: Option<u16>, path: &str, doubt: Option<&str>) -> Result<Rsync> {
        let why = doubt.map_or_else(|| WHY.to_owned(), |doubt| format!("{WHY} ({doubt})"));
        let tool = Tool::need(NAME, &why)?;
        let mut options = Vec::new();
        let at_port = port.map(|port| format!(" -p {port}")).unwrap_or_default();
        match std::env::var("RSYNC_RSH") {
            // What the user set up counts.
            Ok(shell) if !shell.is_empty() => {
                if port.is_some() {
                    options.push(format!("--rsh={shell}{at_port}"));
                }
            }
            _ => {
                Tool::need("ssh", "rsync reaches the remote through it")?;
                options.push(format!("--rsh={SSH}{at_port}"));
            }
        }
        // Versions before 3.2.4 hand the path to a shell there.
        if path.contains([' ', '\'', '"', '$', '&', ';', '(', ')', '<', '>', '|', '`']) {
            options.push("-s".to_owned());
        }
        let or = doubt.map(|doubt| format!("; {doubt}")).unwrap_or_default();
        let hint = format!(
            "ssh must get in without a question, by a key: what does this say? ssh -o BatchMode=yes{at_port} {host} true{or}"
        );
        Ok(Rsync { tool, base: format!("{host}:{path}"), options, hint })
    }

    fn at(&self, tail: &str) -> String {
        joined(&self.base, tail)
    }

    fn run(
        &self,
        dir: &Path,
        more: &[&str],
        paths: &[&str],
        quiet: Duration,
        heard: &mut dyn FnMut(Stream, &str),
    ) -> Result<Ended> {
        let mut words = self.options.clone();
        words.extend(more.iter().map(|&word| word.to_owned()));
        words.push("--".to_owned());
        words.extend(paths.iter().map(|&path| path.to_owned()));
        self.tool.run(dir, &words, quiet, heard)
    }

    /// A call that must succeed.
    fn must(&self, dir: &Path, more: &[&str], paths: &[&str]) -> Result<()> {
        let timeout = format!("--timeout={IDLE_S}");
        let more = [&[timeout.as_str()], more].concat();
        let ended = self.run(dir, &more, paths, Duration::from_secs(4 * IDLE_S), &mut |_, _| {})?;
        if ended.ok() { Ok(()) } else { Err(self.failed(&ended)) }
    }

    /// A transfer that tells how far it is.
    fn transfer(&self, dir: &Path, more: &[&str], paths: &[&str], monitor: &dyn Monitor) -> Result<()> {
        let timeout = format!("--timeout={IDLE_S}");
        let more = [&[timeout.as_str(), "--progress", "--no-h"], more].concat();
        let mut seen = 0;
        let ended = self.run(dir, &more, paths, Duration::from_secs(4 * IDLE_S), &mut |stream, line| {
            if let Some(done) = progress(line).filter(|_| stream == Stream::Out) {
                monitor.advance(done.saturating_sub(seen));
                seen = seen.max(done);
            }
        })?;
        if ended.ok() { Ok(()) } else { Err(self.failed(&ended)) }
    }

    fn failed(&self, ended: &Ended) -> anyhow::Error {
        let full = ended.said.contains("No space left on device");
        let hint = if full { "make room there" } else { self.hint.as_str() };
        tool_failed(NAME, ended, Some(hint))
    }
}

/// Whether rsync failed only because there is no such folder or file there.
fn is_missing(ended: &Ended) -> bool {
    ended.code == Some(23) && ended.said.contains("No such file or directory")
}

/// A path below a place, as rsync takes it.
fn joined(base: &str, tail: &str) -> String {
    let between = if base.ends_with(['/', ':']) { "" } else { "/" };
    format!("{base}{between}{tail}")
}

/// `          32768  10%  1.2MB/s …`: how many bytes are done.
fn progress(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    let bytes = words.next()?.replace(',', "").parse().ok()?;
    words.next()?.ends_with('%').then_some(bytes)
}

/// `-rw-------         300,000 2025/12/01 12:00:00 name`: what is there. The name begins after one space.
fn listed(line: &str) -> Option<Far> {
    let mut rest = line;
    let mut word = || -> Option<&str> {
        let (word, more) = rest.trim_start().split_once(' ')?;
        rest = more;
        Some(word)
    };
    let mode = word()?;
    let bytes = word()?.replace(',', "").parse().ok()?;
    let (day, time) = (word()?, word()?);
    let shaped = mode.len() >= 10 && day.split('/').count() == 3 && time.split(':').count() == 3;
    let is_folder = mode.starts_with('d');
    let known = shaped && (is_folder || mode.starts_with('-'));
    known.then(|| Far { name: rest.to_owned(), bytes, is_folder })
}

impl Transport for Rsync {
    fn list(&self, folder: &str) -> Result<Option<Vec<Far>>> {
        let mut found = Vec::new();
        let timeout = format!("--timeout={IDLE_S}");
        let more = [timeout.as_str(), "--list-only", "--no-h"];
        let from = self.at(&format!("{folder}/"));
        let quiet = Duration::from_secs(4 * IDLE_S);
        let ended = self.run(Path::new("."), &more, &[&from], quiet, &mut |stream, line| {
            found.extend(listed(line).filter(|_| stream == Stream::Out));
        })?;
        match ended.ok() {
            true => Ok(Some(found)),
            false if is_missing(&ended) => Ok(None),
            false => Err(self.failed(&ended)),
        }
    }

    fn found(&self, folder: &str, dir: &Path) -> Result<()> {
        // With the folder around it, so that rsync makes that one and the destination, if need be.
        let copy = tempfile::tempdir().context("can't make a temporary folder")?;
        file_facts::create_private_dir(&copy.path().join(folder))?;
        fs::copy(dir.join(STORE_FILE), copy.path().join(folder).join(STORE_FILE))?;
        self.must(copy.path(), &["-r", "--ignore-existing"], &[&format!("./{folder}"), &self.at("")])
    }

    fn put_small(&self, folder: &str, dir: &Path, names: &[String]) -> Result<()> {
        let mut paths: Vec<String> = names.iter().map(|name| format!("./{name}")).collect();
        paths.push(self.at(&format!("{folder}/")));
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.must(dir, &["--checksum"], &paths)
    }

    fn put(&self, folder: &str, dir: &Path, name: &str, replace: bool, monitor: &dyn Monitor) -> Result<()> {
        let how = if replace { "--checksum" } else { "--ignore-existing" };
        let paths = [format!("./{name}"), self.at(&format!("{folder}/"))];
        self.transfer(
            dir,
            &["--partial-dir=.tmp-partial", "--copy-links", how],
            &[&paths[0], &paths[1]],
            monitor,
        )
    }

    fn small(&self, folder: &str, endings: &[&str], dir: &Path) -> Result<()> {
        let mut more: Vec<String> = endings.iter().map(|ending| format!("--include=/*{ending}")).collect();
        more.extend(["--exclude=*".to_owned(), format!("--max-size={SMALL_MAX}"), "-d".to_owned()]);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        self.must(dir, &more, &[&self.at(&format!("{folder}/")), "./"])
    }

    fn owners(&self, dir: &Path) -> Result<()> {
        let only = ["--include=/*/", "--include=/*/store.json", "--exclude=*"];
        let size = format!("--max-size={SMALL_MAX}");
        let more = [&["-r", "--prune-empty-dirs", size.as_str()], &only[..]].concat();
        self.must(dir, &more, &[&self.at(""), "./"])
    }

    fn fetch(&self, folder: &str, name: &str, dir: &Path, monitor: &dyn Monitor) -> Result<()> {
        self.transfer(dir, &[], &[&self.at(&format!("{folder}/{name}")), "./"], monitor)
    }

    fn check(&self, ask: &Ask<'_>, dir: &Path, monitor: &dyn Monitor) -> Result<Checked> {
        let Some(here) = ask.here else {
            let by = "bringing it here";
            self.fetch(ask.folder, ask.name, dir, monitor)?;
            let path = dir.join(ask.name);
            let (digest, bytes) = Digest::of_reader(&mut fs::File::open(&path)?)?;
            fs::remove_file(&path)?;
            return Ok(Checked { same: bytes == ask.bytes && digest == ask.digest, by });
        };
        let dir = here.parent().map(Path::to_path_buf).unwrap_or_default();
        // While it is read there, nothing is sent.
        let wait = IDLE_S + ask.bytes / READS_PER_S;
        let timeout = format!("--timeout={wait}");
        let more = [timeout.as_str(), "--checksum", "--dry-run", "--itemize-changes", "--copy-links"];
        let paths = [format!("./{}", ask.name), self.at(&format!("{}/", ask.folder))];
        let mut differs = false;
        let quiet = Duration::from_secs(wait + IDLE_S);
        let ended = self.run(&dir, &more, &[&paths[0], &paths[1]], quiet, &mut |stream, line| {
            // `<fc..…… name`: it would be sent again.
            differs |= stream == Stream::Out && line.trim_end().ends_with(ask.name);
        })?;
        if !ended.ok() {
            return Err(self.failed(&ended));
        }
        Ok(Checked { same: !differs, by: "rsync --checksum" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_and_nothing_else_is() {
        let file = |name: &str, bytes| Far { name: name.to_owned(), bytes, is_folder: false };
        for (line, expected) in [
            ("-rw-------      300000 2026/11/24 20:29:07 x", Some(file("x", 300_000))),
            ("-rw-r--r--   1,300,000 2026/11/24 20:29:07  a b", Some(file(" a b", 1_300_000))),
            ("-rw-------           0 2026/11/24 20:29:07 -rf", Some(file("-rf", 0))),
            (
                "drwx------        4096 2026/11/24 20:29:07 .",
                Some(Far { name: ".".into(), bytes: 4096, is_folder: true }),
            ),
            ("lrwxrwxrwx          11 2026/11/24 20:29:07 a -> b", None),
            ("Welcome to this host, today 2026/11/24 at 20:29:07", None),
            ("", None),
        ] {
            assert_eq!(listed(line), expected, "{line}");
        }
        assert_eq!(
            progress("         300000 100%  284.77MB/s    0:00:00 (xfr#1, to-chk=0/1)"),
            Some(300_000)
        );
        assert_eq!(progress("20251201_120000.tar.gz"), None);
    }

    #[test]
    fn a_path_is_appended_where_it_belongs() {
        for (base, expected) in [
            ("host:", "host:f/"),
            ("host:/", "host:/f/"),
            ("host:a/b", "host:a/b/f/"),
            ("host:a/", "host:a/f/"),
            ("rsync://host/module", "rsync://host/module/f/"),
        ] {
            assert_eq!(joined(base, "f/"), expected);
        }
    }
}
