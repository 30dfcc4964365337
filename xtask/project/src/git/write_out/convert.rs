//! What git makes of a file's content on its way into a working copy: `ident`, then line ends, then the
//! encoding. The rules are those of gitattributes(5) and git-config(1) (`core.autocrlf`, `core.eol`); where
//! they leave something open, those of git's own code: a text that is only guessed to be one is left alone
//! when it has a CR already, or looks binary.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::config::is_true;
use super::encoding;

/// What an attribute says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Value {
    #[default]
    Unspecified,
    Set,
    Unset,
    Is(String),
}

/// The attributes of one file that count.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    pub text: Value,
    /// What `text` was called once.
    pub crlf: Value,
    pub eol: Value,
    pub ident: Value,
    pub encoding: Value,
}

/// How line ends are written where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    auto: Option<Ends>,
    /// What a file that is text gets.
    text: Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Lf,
    CrLf,
}

/// What becomes of a file's line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Nothing,
    Always(Ends),
    IfText(Ends),
}

impl Settings {
    /// From settings by their lower-case name.
    pub fn new(settings: &BTreeMap<String, String>) -> Settings {
        let get = |name: &str| settings.get(name).map(String::as_str);
        let native = if cfg!(windows) { Ends::CrLf } else { Ends::Lf };
        let auto = match get("core.autocrlf") {
            Some(value) if value.eq_ignore_ascii_case("input") => Some(Ends::Lf),
            value if is_true(value) => Some(Ends::CrLf),
            _ => None,
        };
        let by_eol = match get("core.eol").map(str::to_ascii_lowercase).as_deref() {
            Some("lf") => Ends::Lf,
            Some("crlf") => Ends::CrLf,
            _ => native,
        };
        Settings { auto, text: auto.unwrap_or(by_eol) }
    }
}

impl Attributes {
    fn action(&self, settings: Settings) -> Action {
        enum Said {
            Nothing,
            Binary,
            Text,
            Input,
            Auto,
        }
        let said = |value: &Value| match value {
            Value::Set => Said::Text,
            Value::Unset => Said::Binary,
            Value::Is(text) if text == "input" => Said::Input,
            Value::Is(text) if text == "auto" => Said::Auto,
            _ => Said::Nothing,
        };
        let mut what = said(&self.text);
        if matches!(what, Said::Nothing) {
            what = said(&self.crlf);
        }
        let eol = match &self.eol {
            Value::Is(text) if text == "lf" => Some(Ends::Lf),
            Value::Is(text) if text == "crlf" => Some(Ends::CrLf),
            _ => None,
        };
        match (what, eol) {
            (Said::Binary, _) => Action::Nothing,
            (Said::Auto, eol) => Action::IfText(eol.unwrap_or(settings.text)),
            (_, Some(ends)) => Action::Always(ends),
            (Said::Text, None) => Action::Always(settings.text),
            (Said::Input, None) => Action::Always(Ends::Lf),
            (Said::Nothing, None) => settings.auto.map_or(Action::Nothing, Action::IfText),
        }
    }
}

/// The content of a working file.
///
/// # Errors
/// The name of the encoding, where it is one that only the git command knows.
pub(super) fn to_working_file<'a>(
    blob: &'a [u8],
    id: &str,
    attributes: &Attributes,
    settings: Settings,
) -> Result<Cow<'a, [u8]>, String> {
    let mut content = Cow::Borrowed(blob);
    if attributes.ident == Value::Set
        && let Some(with_id) = ident(&content, id)
    {
        content = Cow::Owned(with_id);
    }
    let ends = match attributes.action(settings) {
        Action::Always(Ends::CrLf) => true,
        Action::IfText(Ends::CrLf) => is_plain_text(&content),
        _ => false,
    };
    if ends && content.contains(&b'\n') {
        content = Cow::Owned(with_crlf(&content));
    }
    if let Value::Is(name) = &attributes.encoding
        && !content.is_empty()
        && let Some(encoded) = encoding::encode(&content, name)?
    {
        content = Cow::Owned(encoded);
    }
    Ok(content)
}

/// Whether a file that nobody called text passes for one, and has no CR yet.
fn is_plain_text(content: &[u8]) -> bool {
    let (mut printable, mut odd) = (0_usize, 0_usize);
    for &b in content {
        match b {
            b'\r' | 0 => return false,
            b'\n' => {}
            0x08 | b'\t' | 0x1b | 0x0c => printable += 1,
            0x7f | 0..=31 => odd += 1,
            _ => printable += 1,
        }
    }
    // The mark that DOS put at the end of a file.
    if content.last() == Some(&0x1a) {
        odd -= 1;
    }
    printable >> 7 >= odd
}

fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(content.len() + content.len() / 16);
    let mut before = 0;
    for &b in content {
        if b == b'\n' && before != b'\r' {
            found.push(b'\r');
        }
        found.push(b);
        before = b;
    }
    found
}

/// `$Id$` with the object's id in it; `None` where there is none.
fn ident(content: &[u8], id: &str) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    let (mut rest, mut changed) = (content, false);
    while let Some(at) = rest.iter().position(|&b| b == b'$') {
        found.extend(&rest[..=at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(b"Id$") {
            rest = after;
        } else if let Some(value) = rest.strip_prefix(b"Id:") {
            let Some(end) = value.iter().position(|&b| b == b'$') else { break };
            let inside = &value[..end];
            // Of another version control, or no keyword at all.
            let space = inside.iter().skip(1).position(|&b| b == b' ').map(|at| at + 1);
            if inside.contains(&b'\n') || space.is_some_and(|at| at + 1 < inside.len()) {
                continue;
            }
            rest = &value[end + 1..];
        } else {
            continue;
        }
        found.extend(format!("Id: {id} $").as_bytes());
        changed = true;
    }
    found.extend(rest);
    changed.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(autocrlf: &str, eol: &str) -> Settings {
        let pairs = [("core.autocrlf", autocrlf), ("core.eol", eol)];
        Settings::new(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn value(text: &str) -> Value {
        match text {
            "" => Value::Unspecified,
            "+" => Value::Set,
            "-" => Value::Unset,
            text => Value::Is(text.to_owned()),
        }
    }

    #[test]
    fn line_ends_follow_attributes_before_settings() {
        use Action::{Always, IfText, Nothing};
        use Ends::{CrLf, Lf};
        for (text, eol, autocrlf, core_eol, expected) in [
            ("", "", "false", "lf", Nothing),
            ("", "", "true", "lf", IfText(CrLf)),
            ("", "", "input", "lf", IfText(Lf)),
            ("+", "", "false", "lf", Always(Lf)),
            ("+", "", "false", "crlf", Always(CrLf)),
            ("+", "", "true", "lf", Always(CrLf)),
            ("+", "lf", "true", "crlf", Always(Lf)),
            ("-", "crlf", "true", "crlf", Nothing),
            ("", "crlf", "false", "lf", Always(CrLf)),
            ("auto", "crlf", "false", "lf", IfText(CrLf)),
            ("auto", "", "false", "crlf", IfText(CrLf)),
            ("auto", "lf", "true", "crlf", IfText(Lf)),
            ("input", "", "true", "crlf", Always(Lf)),
        ] {
            let attributes = Attributes { text: value(text), eol: value(eol), ..Attributes::default() };
            let found = attributes.action(settings(autocrlf, core_eol));
            assert_eq!(found, expected, "{text} {eol} {autocrlf} {core_eol}");
        }
    }

    #[test]
    fn keywords_of_others_stay() {
        for (before, after) in [
            ("a $Id$ b", Some("a $Id: 12 $ b")),
            ("$Id: old $", Some("$Id: 12 $")),
            ("$Id:$$Id$", Some("$Id: 12 $$Id: 12 $")),
            ("$Id: a.c 1.2 joe $", None),
            ("$Id: \n$", None),
            ("$Id: no end", None),
            ("$Idx$ $ $", None),
        ] {
            let found = ident(before.as_bytes(), "12").map(|found| String::from_utf8(found).unwrap());
            assert_eq!(found.as_deref(), after, "{before}");
        }
    }

    #[test]
    fn a_guess_leaves_alone_what_may_be_no_text() {
        assert!(is_plain_text(b"a\nb\n") && is_plain_text(b"") && is_plain_text(b"a\x1a"));
        assert!(!is_plain_text(b"a\r\nb\n") && !is_plain_text(b"a\0\n") && !is_plain_text(b"a\x01\n"));
        assert_eq!(with_crlf(b"\na\r\nb\n"), b"\r\na\r\nb\r\n");
    }
}
