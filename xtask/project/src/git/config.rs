//! Git's configuration files, read and written by ourselves: nothing is included, nothing expanded,
//! nothing run, whoever wrote the file. Syntax: git-config(1), "Syntax".

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// One setting: `remote.origin.url` is section `remote`, subsection `origin`, key `url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Lower case.
    pub section: String,
    /// As written; empty when there is none.
    pub subsection: String,
    /// Lower case.
    pub key: String,
    /// `true` for a key without a value.
    pub value: String,
}

impl Setting {
    /// `remote.origin.url`.
    pub fn name(&self) -> String {
        match self.subsection.as_str() {
            "" => format!("{}.{}", self.section, self.key),
            subsection => format!("{}.{subsection}.{}", self.section, self.key),
        }
    }
}

/// All settings of a file in its order; none when there is no such file. Bytes that are not UTF-8 are
/// replaced.
///
/// # Errors
/// When it can't be read, or is not a configuration.
pub fn read(path: &Path) -> Result<Vec<Setting>> {
    match std::fs::read(path) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// The last value of a setting by its name (`core.autocrlf`).
pub fn last<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    settings.iter().rev().find(|setting| setting.name() == name).map(|setting| setting.value.as_str())
}

/// Whether a value means yes.
pub fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1"))
}

fn parse(text: &str) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let (mut section, mut subsection) = (String::new(), String::new());
    let mut rest = text.trim_start_matches('\u{feff}').chars().peekable();
    while let Some(&c) = rest.peek() {
        match c {
            c if c.is_whitespace() => drop(rest.next()),
            '#' | ';' => while rest.next().is_some_and(|c| c != '\n') {},
            '[' => {
                rest.next();
                (section, subsection) = header(&mut rest)?;
            }
            c if c.is_ascii_alphabetic() && !section.is_empty() => {
                let mut key = String::new();
                while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '-') {
                    key.push(c.to_ascii_lowercase());
                }
                while rest.next_if(|c| matches!(c, ' ' | '\t' | '\r')).is_some() {}
                let value = match rest.next_if_eq(&'=') {
                    Some(_) => value(&mut rest)?,
                    None if matches!(rest.peek(), None | Some('\n' | '#' | ';')) => "true".to_owned(),
                    None => bail!("the key {section}.{key} is followed by neither = nor a new line"),
                };
                let (section, subsection) = (section.clone(), subsection.clone());
                settings.push(Setting { section, subsection, key, value });
            }
            c => bail!("not a configuration of git: {c:?} where a section or a key should stand"),
        }
    }
    Ok(settings)
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// `core]` or `remote "origin"]`; also the old form `branch.main]`.
fn header(rest: &mut Rest<'_>) -> Result<(String, String)> {
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) {
        name.push(c.to_ascii_lowercase());
    }
    let mut subsection = None;
    while rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
    if rest.next_if_eq(&'"').is_some() {
        let mut text = String::new();
        loop {
            match rest.next() {
                Some('"') => break,
                Some('\\') => text.extend(rest.next()),
                Some('\n') | None => bail!("the section {name} does not end"),
                Some(c) => text.push(c),
            }
        }
        subsection = Some(text);
    }
    if rest.next() != Some(']') || name.is_empty() {
        bail!("the section {name} does not end");
    }
    Ok(match (subsection, name.split_once('.')) {
        (Some(subsection), _) => (name, subsection),
        (None, Some((section, subsection))) => (section.to_owned(), subsection.to_owned()),
        (None, None) => (name, String::new()),
    })
}

fn value(rest: &mut Rest<'_>) -> Result<String> {
    let (mut value, mut kept, mut quoted) = (String::new(), 0, false);
    while let Some(c) = rest.next() {
        match c {
            '\n' if quoted => bail!("a quoted value does not end"),
            '\n' => {
                value.truncate(kept);
                return Ok(value);
            }
            '#' | ';' if !quoted => while rest.next_if(|c| *c != '\n').is_some() {},
            '"' => {
                quoted = !quoted;
                kept = value.len();
            }
            '\\' => {
                match rest.next() {
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some('b') => value.push('\u{8}'),
                    Some('\n') => continue,
                    Some('\r') if rest.next_if_eq(&'\n').is_some() => continue,
                    Some(c @ ('"' | '\\')) => value.push(c),
                    other => bail!("a value has the unknown escape \\{}", other.unwrap_or(' ')),
                }
                kept = value.len();
            }
            // Space around a value is no part of it; the first characters decide where it begins.
            c if c.is_whitespace() && !quoted => {
                if !value.is_empty() {
                    value.push(c);
                }
            }
            c => {
                value.push(c);
                kept = value.len();
            }
        }
    }
    if quoted {
        bail!("a quoted value does not end");
    }
    value.truncate(kept);
    Ok(value)
}

/// The settings as a file. Call it only with what [`writable`] accepts.
pub fn write(settings: &[Setting]) -> String {
    let mut text = String::new();
    let quote = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
    let mut open: Option<(&str, &str)> = None;
    for Setting { section, subsection, key, value } in settings {
        if open != Some((section, subsection)) {
            open = Some((section, subsection));
            // Writing into a String can't fail.
            let _ = match subsection.as_str() {
                "" => writeln!(text, "[{section}]"),
                subsection => writeln!(text, "[{section} \"{}\"]", quote(subsection)),
            };
        }
        let _ = writeln!(text, "\t{key} = \"{}\"", quote(value).replace('\n', "\\n").replace('\t', "\\t"));
    }
    text
}

/// Whether a setting can be written without becoming more than itself: no control character anywhere.
pub fn writable(setting: &Setting) -> bool {
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    word(&setting.section)
        && word(&setting.key)
        && !setting.subsection.chars().chain(setting.value.chars()).any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "# c\n[Core]\n\tautoCRLF = input ; why\n\tbare\n[remote \"o\\\"x\"]\n url = \" a;b\" c  \n\
                    fetch = +refs/heads/*:\\\nrefs/x/*\n[branch.main]\n\tmerge=refs/heads/main";
        let settings = parse(text).unwrap();
        let named: Vec<(String, &str)> = settings.iter().map(|s| (s.name(), s.value.as_str())).collect();
        let expected = [
            ("core.autocrlf", "input"),
            ("core.bare", "true"),
            ("remote.o\"x.url", " a;b c"),
            ("remote.o\"x.fetch", "+refs/heads/*:refs/x/*"),
            ("branch.main.merge", "refs/heads/main"),
        ];
        assert_eq!(named, expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(parse(&write(&settings)).unwrap(), settings);
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for bad in ["x = 1", "[core", "[core]\na b", "[a \"b\n\"]", "[a]\nb = \"c\n", "[a]\nb = \\q", "\0"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let smuggled = parse("[a]\nb = \"x\\ny\"").unwrap();
        assert!(!writable(&smuggled[0]));
    }
}
