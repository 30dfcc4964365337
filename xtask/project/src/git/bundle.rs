//! Bundles (gitformat-bundle(5)): the header by ourselves, since a bundle is untrusted input; the
//! pack behind it by `git index-pack` or libgit2, which check every object's hash.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::refs;
use super::run::{Input, Program, output};
use crate::base::facts::GitFacts;
use crate::base::interrupt;

/// Longest line of a header, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What stands before the pack.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// `sha1` or `sha256`.
    pub format: String,
    /// Commits that must be there already.
    pub needs: Vec<String>,
    /// Id and name of every ref; HEAD too.
    pub refs: Vec<(String, String)>,
    /// Where the pack begins, in bytes.
    pub pack_at: u64,
}

/// The bundles of an extracted backup, in the order in which they are read.
///
/// # Errors
/// When a name is more than a file's name.
pub(super) fn files(source: &Path, facts: &GitFacts) -> Result<Vec<PathBuf>> {
    let plain = |name: &String| {
        !name.is_empty()
            && !name.starts_with(['.', '-'])
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    let folder = source.join("bundles");
    let path =
        |name: &String| if plain(name) { Ok(folder.join(name)) } else { bail!("a bundle named {name:?}") };
    facts.bundles.iter().map(path).collect()
}

/// Reads a header; the file then stands at the pack.
///
/// # Errors
/// When the file is no bundle, or names a ref that git would not accept.
pub(super) fn header(path: &Path) -> Result<(Header, File)> {
    let read = || -> Result<(Header, File)> {
        if !path.symlink_metadata()?.is_file() {
            bail!("it is no regular file");
        }
        let mut reader = BufReader::new(File::open(path)?);
        let header = parse(&mut reader)?;
        let mut file = reader.into_inner();
        file.seek(SeekFrom::Start(header.pack_at))?;
        Ok((header, file))
    };
    read().with_context(|| format!("{} is no bundle that can be used", path.display()))
}

/// Reads a header.
///
/// # Errors
/// When it is none, or names a ref that git would not accept.
pub(super) fn parse(reader: &mut impl BufRead) -> Result<Header> {
    let mut at = 0;
    let mut line = || -> Result<String> {
        let mut bytes = Vec::new();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
        at += u64::try_from(read)?;
        match bytes.pop() {
            Some(b'\n') => Ok(String::from_utf8(bytes)?),
            _ => bail!("its header ends too early"),
        }
    };
    let mut header = Header { format: "sha1".to_owned(), ..Header::default() };
    let version = match line()?.as_str() {
        "# v2 git bundle" => 2,
        "# v3 git bundle" => 3,
        other => bail!("it begins with {other:?}"),
    };
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        if let Some(capability) = line.strip_prefix('@').filter(|_| version == 3) {
            match capability.split_once('=') {
                Some(("object-format", format @ ("sha1" | "sha256"))) => header.format = format.to_owned(),
                Some(("filter", _)) => {}
                _ => bail!("it asks for {capability:?}, which is unknown"),
            }
            continue;
        }
        if let Some(needed) = line.strip_prefix('-') {
            let id = needed.split(' ').next().unwrap_or_default();
            if !refs::is_id(id) {
                bail!("it needs {needed:?}, which is no commit");
            }
            header.needs.push(id.to_owned());
            continue;
        }
        match line.split_once(' ') {
            Some((id, name)) if refs::is_id(id) && (name == "HEAD" || refs::is_name(name)) => {
                header.refs.push((id.to_owned(), name.to_owned()));
            }
            _ => bail!("its header has the line {line:?}"),
        }
    }
    header.pack_at = at;
    Ok(header)
}

/// Writes a header.
///
/// # Errors
/// What the writer returns.
pub(super) fn write_header(
    format: &str,
    needs: &[String],
    listed: &[(String, String)],
    out: &mut impl Write,
) -> Result<()> {
    if format == "sha1" {
        writeln!(out, "# v2 git bundle")?;
    } else {
        writeln!(out, "# v3 git bundle\n@object-format={format}")?;
    }
    for id in needs {
        writeln!(out, "-{id} ")?;
    }
    for (id, name) in listed {
        writeln!(out, "{id} {name}")?;
    }
    Ok(writeln!(out)?)
}

/// Puts the objects of a bundle into a repository of our own; every object's hash is checked.
///
/// # Errors
/// When the pack is damaged, or needs objects that are not there.
pub(super) fn unpack(program: Option<&Program>, git_dir: &Path, path: &Path, mut pack: File) -> Result<()> {
    let unpacked = match program {
        Some(program) => {
            let mut command = program.on(git_dir);
            command.args(["index-pack", "--stdin", "--fix-thin"]);
            output(command, Input::Rest(pack)).map(drop)
        }
        None => unpack_with_library(git_dir, &mut pack),
    };
    unpacked.with_context(|| format!("the objects of {} can't be read", path.display()))
}

fn unpack_with_library(git_dir: &Path, pack: &mut File) -> Result<()> {
    let repository = git2::Repository::open(git_dir)?;
    let odb = repository.odb()?;
    let mut writer = odb.packwriter()?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        interrupt::check()?;
        match pack.read(&mut chunk)? {
            0 => break,
            read => std::io::Write::write_all(&mut writer, &chunk[..read])?,
        }
    }
    writer.commit()?;
    Ok(())
}

/// Which of these objects a repository of our own does not have.
///
/// # Errors
/// When it can't be asked.
pub(super) fn absent(program: Option<&Program>, git_dir: &Path, ids: &[&str]) -> Result<Vec<String>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(program) = program {
        let mut command = program.on(git_dir);
        command.args(["cat-file", "--batch-check"]);
        let asked = ids.join("\n") + "\n";
        let told = output(command, Input::Bytes(asked.as_bytes()))?;
        let told = String::from_utf8_lossy(&told).into_owned();
        return Ok(told
            .lines()
            .filter_map(|line| line.strip_suffix(" missing"))
            .map(str::to_owned)
            .collect());
    }
    let repository = git2::Repository::open(git_dir)?;
    let odb = repository.odb()?;
    let lost = |id: &&&str| git2::Oid::from_str(id).map_or(true, |oid| !odb.exists(oid));
    Ok(ids.iter().filter(lost).map(|id| (*id).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_header_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        let id = "1".repeat(40);
        let read = |text: String| {
            std::fs::write(&path, text).unwrap();
            header(&path)
        };
        let good = format!("# v2 git bundle\n-{id} why\n{id} refs/heads/main\n{id} HEAD\n\nPACK");
        let (parsed, mut file) = read(good.clone()).unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), parsed.refs.len(), parsed.needs.len()), ("PACK", 2, 1));
        for (from, to) in [
            ("refs/heads/main", "refs/heads/../../x"),
            ("refs/heads/main", "../hooks/post-checkout"),
            ("v2", "v9"),
            ("\n\nPACK", "\n"),
            (id.as_str(), "zz"),
        ] {
            assert!(read(good.replace(from, to)).is_err(), "{to}");
        }
        let facts = GitFacts { bundles: vec!["../x".into()], ..GitFacts::default() };
        assert!(files(folder.path(), &facts).is_err());
    }
}
