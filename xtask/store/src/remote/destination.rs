//! Where a remote is, read from what was typed. One text means one place: whoever could mean two is asked
//! (`NAME:path` is rclone's when rclone knows the name, else a host), and nothing is guessed from a tool
//! that happens to be installed. A password in it is refused: it would show in the list of processes, and in
//! a versioned file it would be published.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::failure::{Failure, Kind};

/// Where a remote is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A folder of this machine: a mounted disk or share.
    Folder(PathBuf),
    /// rsync over ssh.
    Ssh {
        /// `host` or `user@host`.
        host: String,
        /// Another port than ssh's own.
        port: Option<u16>,
        /// The path there; a relative one counts from the user's home.
        path: String,
    },
    /// An rsync daemon, as rsync takes it: `rsync://host/module/path` or `host::module/path`.
    Daemon(String),
    /// A remote of rclone.
    Rclone {
        /// As `rclone listremotes` names it, without the colon.
        name: String,
        /// The path there.
        path: String,
    },
    /// `NAME:path`: rclone's, when it knows the name, else a host.
    Named {
        /// What stands before the colon.
        name: String,
        /// What stands behind it.
        path: String,
    },
}

impl Destination {
    /// As people write it.
    pub fn shown(&self) -> String {
        match self {
            Destination::Folder(path) => path.display().to_string(),
            Destination::Ssh { host, port: None, path } => format!("{host}:{path}"),
            Destination::Ssh { host, port: Some(port), path } => format!("ssh://{host}:{port}{path}"),
            Destination::Daemon(spec) => spec.clone(),
            Destination::Rclone { name, path } | Destination::Named { name, path } => {
                format!("{name}:{path}")
            }
        }
    }

    /// Reads a destination. A relative folder counts from `base`; `~/` from `home`, where one is given.
    ///
    /// # Errors
    /// Of kind `Usage`, when it is not understood, or holds a password.
    pub fn parse(text: &str, base: &Path, home: Option<&Path>) -> Result<Destination> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(wrong("the remote is empty or has control characters in it"));
        }
        if holds_password(text) {
            let failure = Failure::new(Kind::Usage, "the remote's address holds a password");
            return Err(failure
                .hint("leave it out: ssh takes keys, an rsync daemon RSYNC_PASSWORD, rclone its own configuration")
                .into());
        }
        let shown = || format!("the remote {text:?}");
        if let Some(path) = text.strip_prefix("file://") {
            let path = path.strip_prefix("localhost").unwrap_or(path);
            let whole = decoded(path).filter(|path| path.starts_with('/'));
            let whole =
                whole.ok_or_else(|| wrong(format!("{} names no absolute path after file://", shown())))?;
            return Ok(Destination::Folder(drive(&whole).into()));
        }
        if let Some(rest) = text.strip_prefix("rclone:") {
            let (name, path) = rest.split_once(':').unwrap_or((rest, ""));
            if !is_rclone_name(name) {
                return Err(wrong(format!("{} names no remote of rclone: rclone:NAME:path", shown())));
            }
            return Ok(Destination::Rclone { name: name.to_owned(), path: path.to_owned() });
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let (host, port) = match host.rsplit_once(':') {
                Some((before, port)) if !host.ends_with(']') => {
                    let port = port.parse::<u16>();
                    (before, Some(port.map_err(|_| wrong(format!("{} has no such port", shown())))?))
                }
                _ => (host, None),
            };
            if path.is_empty() {
                return Err(wrong(format!("{} has no path: ssh://HOST/PATH", shown())));
            }
            let (host, path) = (checked_host(host)?, checked_path(path)?);
            return Ok(Destination::Ssh { host, port, path });
        }
        if let Some(rest) = text.strip_prefix("rsync://") {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            checked_host(host)?;
            if checked_path(path)?.trim_matches('/').is_empty() {
                return Err(wrong(format!("{} names no module: rsync://HOST/MODULE/PATH", shown())));
            }
            return Ok(Destination::Daemon(text.to_owned()));
        }
        if text.contains("://") && !text.starts_with(['/', '.', '~']) {
            let scheme = text.split("://").next().unwrap_or_default();
            return Err(Failure::new(Kind::Usage, format!("{} is of no kind that is known: {scheme}", shown()))
                .hint("a folder, user@host:path, rsync://host/module/path, or NAME:path of rclone (which reaches S3, WebDAV and many more: rclone config)")
                .into());
        }
        let colon = text.find(':').filter(|&colon| !text[..colon].contains('/'));
        match colon {
            Some(1) if cfg!(windows) && text.as_bytes()[0].is_ascii_alphabetic() => {}
            Some(colon) => return far(text, &text[..colon], &text[colon + 1..]),
            None => {}
        }
        let path = match (text.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => base.join(text),
        };
        Ok(Destination::Folder(path))
    }
}

/// What has a host or a name before its first colon.
fn far(text: &str, name: &str, path: &str) -> Result<Destination> {
    if let Some(module) = path.strip_prefix(':') {
        checked_host(name)?;
        if checked_path(module)?.trim_matches('/').is_empty() {
            return Err(wrong(format!("the remote {text:?} names no module: host::module/path")));
        }
        return Ok(Destination::Daemon(text.to_owned()));
    }
    if name.contains('@') {
        return Ok(Destination::Ssh { host: checked_host(name)?, port: None, path: checked_path(path)? });
    }
    if !is_rclone_name(name) {
        checked_host(name)?;
    }
    Ok(Destination::Named { name: name.to_owned(), path: path.to_owned() })
}

impl Destination {
    /// The same place with `NAME:path` settled, once it is known whether rclone knows the name.
    ///
    /// # Errors
    /// Of kind `Usage`, when a host can't be called so.
    pub fn settle(self, rclone_knows: bool) -> Result<Destination> {
        match self {
            Destination::Named { name, path } if rclone_knows => Ok(Destination::Rclone { name, path }),
            Destination::Named { name, path } => {
                Ok(Destination::Ssh { host: checked_host(&name)?, port: None, path: checked_path(&path)? })
            }
            settled => Ok(settled),
        }
    }
}

fn wrong(message: impl Into<String>) -> anyhow::Error {
    Failure::new(Kind::Usage, message)
        .hint("a remote is a folder, user@host:path, rsync://host/module/path, or NAME:path of rclone")
        .into()
}

/// `user:password@` behind a scheme, or before a host.
fn holds_password(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let before = authority.rsplit_once('@').map(|(before, _)| before);
    before.is_some_and(|before| before.contains(':'))
}

/// A host that ssh and rsync take for nothing else. One that began with a dash would be an option.
fn checked_host(host: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@[]:%+".contains(c) || !c.is_ascii();
    if host.is_empty() || host.starts_with(['-', '@', ':']) || host.contains("@-") || !host.chars().all(plain)
    {
        return Err(wrong(format!("{host:?} is no name of a host")));
    }
    Ok(host.to_owned())
}

/// A path that the other side does not take for a pattern.
fn checked_path(path: &str) -> Result<String> {
    if path.contains(['*', '?', '[', ']', '\\']) {
        return Err(wrong(format!("the path {path:?} there would be taken for a pattern")));
    }
    Ok(path.to_owned())
}

/// As `rclone config` allows them.
fn is_rclone_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "_-.+@ ".contains(c);
    !name.is_empty() && !name.starts_with(['-', ' ']) && !name.ends_with(' ') && name.chars().all(plain)
}

/// `%20` and its like undone; `None` when that gives no text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(more.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &more[2..];
        } else {
            bytes.push(first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok().filter(|path| !path.chars().any(char::is_control))
}

/// `/C:/x` is `C:/x` on Windows.
fn drive(path: &str) -> &str {
    let bytes = path.as_bytes();
    let has_drive = bytes.len() > 2 && bytes[1].is_ascii_alphabetic() && bytes[2] == b':';
    if cfg!(windows) && has_drive { &path[1..] } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::kind_of;

    fn parse(text: &str) -> Result<Destination> {
        Destination::parse(text, Path::new("/base"), Some(Path::new("/home/me")))
    }

    #[cfg(unix)]
    #[test]
    fn every_form_means_one_place() {
        let folder = |path: &str| Destination::Folder(path.into());
        let ssh = |host: &str, port: Option<u16>, path: &str| Destination::Ssh {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        let named = |name: &str, path: &str| Destination::Named { name: name.into(), path: path.into() };
        let rclone = |name: &str, path: &str| Destination::Rclone { name: name.into(), path: path.into() };
        let daemon = |spec: &str| Destination::Daemon(spec.to_owned());
        for (text, expected) in [
            ("/mnt/disk", folder("/mnt/disk")),
            ("../far", folder("/base/../far")),
            ("./host:path", folder("/base/./host:path")),
            ("a/b:c", folder("/base/a/b:c")),
            ("-rf", folder("/base/-rf")),
            ("~/far", folder("/home/me/far")),
            ("file:///mnt/a%20disk", folder("/mnt/a disk")),
            ("file://localhost/mnt", folder("/mnt")),
            ("me@host:backups", ssh("me@host", None, "backups")),
            ("me@host:", ssh("me@host", None, "")),
            ("ssh://me@host:2222/srv/x", ssh("me@host", Some(2222), "/srv/x")),
            ("ssh://host/srv", ssh("host", None, "/srv")),
            ("ssh://[::1]/srv", ssh("[::1]", None, "/srv")),
            ("ssh://me@[::1]:22/srv", ssh("me@[::1]", Some(22), "/srv")),
            ("rsync://host/module/x", daemon("rsync://host/module/x")),
            ("rsync://me@host:873/module", daemon("rsync://me@host:873/module")),
            ("host::module/x", daemon("host::module/x")),
            ("remote:bucket", named("remote", "bucket")),
            ("host:/srv/x", named("host", "/srv/x")),
            ("rclone:remote:bucket/x", rclone("remote", "bucket/x")),
            ("rclone:remote:", rclone("remote", "")),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        assert_eq!(named("a", "b").settle(true).unwrap(), rclone("a", "b"));
        assert_eq!(named("a", "b").settle(false).unwrap(), ssh("a", None, "b"));
        assert_eq!(folder("/x").settle(true).unwrap(), folder("/x"));
        assert!(named("a b", "c").settle(false).is_err());
    }

    #[test]
    fn what_is_not_understood_is_wrong_use() {
        for text in [
            "",
            "a\nb",
            "s3://bucket/x",
            "https://host/x",
            "file://relative",
            "file:///a%zz",
            "file:///a%00",
            "rsync://host",
            "rsync://host/",
            "host::",
            "ssh://host",
            "ssh://host:port/x",
            "ssh://-oProxyCommand=x/y",
            "-oProxyCommand=x@h:path",
            "me@-oProxyCommand=x:path",
            "-rf:path",
            "rclone:",
            "rclone::webdav,pass=x:",
            "rclone:-x:path",
            "me@host:a*",
            "rsync://host/module/[a]",
            "a;b:path",
            ":path",
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(kind_of(&error), Kind::Usage, "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_refused_and_never_repeated() {
        for text in [
            "rsync://me:hunter2@host/module",
            "ssh://me:hunter2@host/x",
            "me:hunter2@host:path",
            "me:hunter2@host::module",
            "https://me:hunter2@host/x",
        ] {
            let error = parse(text).expect_err(text);
            let all = format!("{error:#} {:?}", crate::base::failure::hints_of(&error));
            assert!(all.contains("password") && !all.contains("hunter2"), "{all}");
        }
    }
}
