//! Globs on paths of the project, on raw bytes: `*` and `?` stay within a name, `**` as a whole part goes
//! through any number of folders, a trailing `/` means folders only. Serves what the configuration
//! excludes and what a restore is limited to.
//!
//! `?` stands for one character where the name is UTF-8 and for one byte where it is not. Matching never
//! goes back further than to the last star, so no pattern takes long. On Unix `\*` and `\?` stand for
//! themselves; on Windows a backslash is a slash, as people type it there.

use std::fmt;

use anyhow::{Result, bail};

use super::escape::escape;
use super::safe_path::SafePath;

/// A pattern, ready to be matched.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Vec<u8>,
    parts: Vec<Part>,
    folders_only: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of folders, also none.
    AnyDepth,
    /// One name.
    Name(Vec<Token>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyCharacter,
    AnyText,
}

impl Pattern {
    /// A pattern as in an ignore list: without a slash (other than a last one) it matches at any depth,
    /// with one it counts from the top of the project.
    ///
    /// # Errors
    /// When it is empty or has a part that is empty, `..` or contains NUL.
    pub fn new(text: impl AsRef<[u8]>) -> Result<Pattern> {
        let mut pattern = Pattern::from_top(&text)?;
        let written = slashes(text.as_ref());
        let trimmed = written.strip_suffix(b"/").unwrap_or(&written);
        if !trimmed.contains(&b'/') && pattern.parts.first() != Some(&Part::AnyDepth) {
            pattern.parts.insert(0, Part::AnyDepth);
        }
        Ok(pattern)
    }

    /// A pattern that always counts from the top of the project, as a path that somebody types does:
    /// `notes.md` is that one file, `**/notes.md` is every one.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn from_top(text: impl AsRef<[u8]>) -> Result<Pattern> {
        let text = text.as_ref().to_vec();
        let shown = escape(&text);
        let mut rest = slashes(&text);
        while rest.starts_with(b"./") {
            rest.drain(..2);
        }
        if rest.starts_with(b"/") {
            rest.remove(0);
        }
        let folders_only = rest.ends_with(b"/");
        if folders_only {
            rest.pop();
        }
        if rest.is_empty() {
            bail!("the pattern {shown:?} is empty");
        }
        let mut parts = Vec::new();
        for part in rest.split(|&b| b == b'/') {
            match part {
                b"" => bail!("the pattern {shown:?} has an empty part"),
                b"." | b".." => bail!("the pattern {shown:?} has a part that is {}", escape(part)),
                _ if part.contains(&0) => bail!("the pattern {shown:?} has a NUL byte"),
                b"**" if parts.last() == Some(&Part::AnyDepth) => {}
                b"**" => parts.push(Part::AnyDepth),
                _ => parts.push(Part::Name(tokens(part))),
            }
        }
        if parts.last() == Some(&Part::AnyDepth) {
            // `a/**` is everything in a, not a itself.
            parts.push(Part::Name(vec![Token::AnyText]));
        }
        Ok(Pattern { text, parts, folders_only })
    }

    /// Whether it matches exactly this file or folder.
    pub fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        if self.folders_only && !is_folder {
            return false;
        }
        let names: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
        star_match(&self.parts, &names, |part| *part == Part::AnyDepth, one_part, |_| 1)
    }

    /// Whether it matches this file or folder, or a folder that it is in.
    pub fn covers(&self, path: &SafePath, is_folder: bool) -> bool {
        let bytes = path.bytes();
        let above = bytes.iter().enumerate().filter(|&(_, &b)| b == b'/');
        self.matches(bytes, is_folder) || above.into_iter().any(|(end, _)| self.matches(&bytes[..end], true))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.text))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", escape(&self.text))
    }
}

fn slashes(text: &[u8]) -> Vec<u8> {
    let native = |&b: &u8| if cfg!(windows) && b == b'\\' { b'/' } else { b };
    text.iter().map(native).collect()
}

fn tokens(part: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut bytes = part.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let token = match byte {
            b'*' if tokens.last() == Some(&Token::AnyText) => continue,
            b'*' => Token::AnyText,
            b'?' => Token::AnyCharacter,
            b'\\' => match bytes.next_if(|next| matches!(next, b'*' | b'?')) {
                Some(literal) => Token::Byte(literal),
                None => Token::Byte(byte),
            },
            byte => Token::Byte(byte),
        };
        tokens.push(token);
    }
    tokens
}

fn one_part(part: &Part, names: &[&[u8]]) -> Option<usize> {
    match part {
        Part::AnyDepth => None,
        Part::Name(tokens) => {
            let whole = star_match(tokens, names[0], |t| *t == Token::AnyText, one_token, character);
            whole.then_some(1)
        }
    }
}

fn one_token(token: &Token, rest: &[u8]) -> Option<usize> {
    match token {
        Token::Byte(byte) => (rest[0] == *byte).then_some(1),
        Token::AnyCharacter => Some(character(rest)),
        Token::AnyText => None,
    }
}

/// Bytes of the first character; 1 for a byte that is no UTF-8.
fn character(rest: &[u8]) -> usize {
    match rest.utf8_chunks().next() {
        Some(chunk) => chunk.valid().chars().next().map_or(1, char::len_utf8),
        None => 1,
    }
}

/// The usual matching with stars: go on as long as it fits, else let the last star take one item more.
/// `fits` and `step` are only called on what is not empty, and say how many items they take.
fn star_match<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &[T]) -> Option<usize>,
    step: impl Fn(&[T]) -> usize,
) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(part) if is_star(part) => {
                last_star = Some((at, seen));
                at += 1;
                continue;
            }
            Some(part) => {
                if let Some(taken) = fits(part, &text[seen..]) {
                    at += 1;
                    seen += taken;
                    continue;
                }
            }
            None => {}
        }
        let Some((star, from)) = last_star else { return false };
        let from = from + step(&text[from..]);
        last_star = Some((star, from));
        (at, seen) = (star + 1, from);
    }
    pattern[at..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let (path, folder) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        Pattern::new(pattern).unwrap().matches(path.as_bytes(), folder)
    }

    #[test]
    fn what_matches() {
        for (pattern, path) in [
            ("*.log", "a.log"),
            ("*.log", "deep/er/.log"),
            ("logs/", "logs/"),
            ("logs/", "a/logs/"),
            ("/logs", "logs"),
            ("a/*.md", "a/b.md"),
            ("a/**", "a/b/c"),
            ("a/**/z", "a/z"),
            ("a/**/z", "a/b/c/z"),
            ("**/z", "z"),
            ("**/b/**/z", "a/b/b/c/z"),
            ("**", "a/b"),
            ("?", "ü"),
            ("a?c", "abc"),
            ("*a*b*c*", "xxaxxbxxc"),
            ("./a/b", "a/b"),
            ("a**b", "axxb"),
            ("[x]", "[x]"),
            (" a b ", " a b "),
        ] {
            assert!(matches(pattern, path), "{pattern} should match {path}");
        }
        for (pattern, path) in [
            ("*.log", "a.logs"),
            ("logs/", "logs"),
            ("/logs", "a/logs"),
            ("a/*.md", "a/b/c.md"),
            ("a/*.md", "x/a/b.md"),
            ("a/**", "a"),
            ("a/**/z", "a/zz"),
            ("?", "ab"),
            ("?", ""),
            ("a", "A"),
            ("a/b", "a"),
            ("a", "a/b"),
        ] {
            assert!(!matches(pattern, path), "{pattern} should not match {path}");
        }
    }

    #[test]
    fn names_that_are_not_utf8() {
        let pattern = Pattern::new(b"caf?/*\xff").unwrap();
        assert!(pattern.matches(b"caf\xe9/x\xff", false));
        assert!(!pattern.matches(b"caf\xe9\xe9/x\xff", false));
    }

    #[cfg(unix)]
    #[test]
    fn a_backslash_takes_the_meaning_from_a_star() {
        assert!(matches(r"a\*b", "a*b") && !matches(r"a\*b", "axb"));
        assert!(matches(r"a\b", r"a\b"));
    }

    #[test]
    fn typed_paths_count_from_the_top_and_cover_what_is_in_them() {
        let path = |text: &str| SafePath::new(text).unwrap();
        let memory = Pattern::from_top("memory").unwrap();
        assert!(memory.covers(&path("memory/a/b"), false) && memory.covers(&path("memory"), true));
        assert!(!memory.covers(&path("x/memory/a"), false) && !memory.covers(&path("memory2"), false));
        let folder = Pattern::from_top("memory/").unwrap();
        assert!(folder.covers(&path("memory/a"), false) && !folder.covers(&path("memory"), false));
    }

    #[test]
    fn nonsense_is_refused_and_a_hostile_pattern_is_quick() {
        for bad in ["", "/", "./", "a//b", "..", "a/../b", "a\0"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
        let hostile = Pattern::new("*a".repeat(60) + "b").unwrap();
        assert!(!hostile.matches("a".repeat(4000).as_bytes(), false));
        let deep = Pattern::new("**/a/".repeat(40) + "b").unwrap();
        assert!(!deep.matches("a/".repeat(2000).trim_end_matches('/').as_bytes(), false));
    }
}
