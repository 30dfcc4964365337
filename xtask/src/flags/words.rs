//! From raw arguments to options and free words, by the table. pico-args does the taking; what it would
//! get wrong is settled before: a value that looks like an option (`--to --dry-run` would otherwise restore
//! into a folder of that name), `--k=v` whose value is not UTF-8 or is quoted, and `--` as the end of options.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use anyhow::{Result, bail};

use super::table::{self, GLOBAL, Opt, Verb};
use crate::base::escape::escape;
use crate::base::os_name;

/// Options taken out by name, and the free words that are left, in order.
pub struct Words {
    taken: BTreeMap<&'static str, Vec<OsString>>,
    /// What is neither an option nor a value of one.
    pub free: Vec<OsString>,
    /// How many of these stand before `--`.
    pub before_dashes: usize,
}

impl Words {
    /// Whether a switch was given.
    pub fn switch(&self, name: &str) -> bool {
        self.taken.contains_key(name)
    }

    /// The value of an option that may be given once.
    pub fn value(&mut self, name: &str) -> Option<OsString> {
        self.taken.remove(name).and_then(|mut values| values.pop())
    }

    /// The free words as text.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn texts(&self) -> Result<Vec<String>> {
        self.free.iter().map(text).collect()
    }

    /// The values of an option that may be repeated.
    pub fn values(&mut self, name: &str) -> Vec<OsString> {
        self.taken.remove(name).unwrap_or_default()
    }
}

/// A word as text.
///
/// # Errors
/// When it is none.
pub fn text(word: &OsString) -> Result<String> {
    match word.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("{} is no text", escape(word.as_encoded_bytes())),
    }
}

/// Arguments with every `--k=v` in two and nothing left to guess about.
pub struct Prepared {
    arguments: pico_args::Arguments,
    literal: Vec<OsString>,
}

/// Splits `--k=v`, refuses values that look like options, and sets aside what follows `--`.
///
/// # Errors
/// The message for the user.
pub fn prepare(argv: Vec<OsString>) -> std::result::Result<Prepared, String> {
    let mut words = argv.into_iter();
    let mut out = Vec::new();
    let mut literal = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            literal.extend(words.by_ref());
            break;
        }
        let (key, glued) = split(&word);
        let Some(option) = key.to_str().and_then(find) else {
            out.push(word);
            continue;
        };
        let name = option.name;
        match (option.value, glued) {
            (None, None) => {}
            (None, Some(_)) => return Err(format!("{name} takes no value")),
            (Some(what), Some(value)) => {
                // The only values that could still be taken for an option.
                if value.is_empty() || value.to_str().and_then(find).is_some() {
                    return Err(format!("{name} needs a value: {name} {what}"));
                }
                out.extend([key, value]);
                continue;
            }
            (Some(what), None) => match words.next() {
                Some(value) if !value.is_empty() && !value.as_encoded_bytes().starts_with(b"-") => {
                    out.extend([key, value]);
                    continue;
                }
                _ => return Err(format!("{name} needs a value: {name} {what}")),
            },
        }
        out.push(word);
    }
    Ok(Prepared { arguments: pico_args::Arguments::from_vec(out), literal })
}

impl Prepared {
    /// Takes options out.
    ///
    /// # Errors
    /// When one that may be given once is there twice.
    pub fn take(&mut self, options: &[Opt], into: &mut Words) -> std::result::Result<(), String> {
        for option in options.iter().filter(|option| option.value.is_some()) {
            let values = self
                .arguments
                .values_from_os_str(option.name, |value| {
                    Ok::<_, std::convert::Infallible>(value.to_os_string())
                })
                .map_err(|error| error.to_string())?;
            if values.len() > 1 && !option.repeated {
                return Err(format!("{} is given {} times", option.name, values.len()));
            }
            if !values.is_empty() {
                into.taken.insert(option.name, values);
            }
        }
        for option in options.iter().filter(|option| option.value.is_none()) {
            // `-h` is the only short option.
            while self.arguments.contains(option.name)
                || (option.name == "--help" && self.arguments.contains("-h"))
            {
                into.taken.entry(option.name).or_default();
            }
        }
        Ok(())
    }

    /// Takes the rest as free words.
    ///
    /// # Errors
    /// When one of them looks like an option: this one is not known to `verb`.
    pub fn finish(self, verb: Option<&Verb>, into: &mut Words) -> std::result::Result<(), String> {
        let rest = self.arguments.finish();
        if let Some(wrong) = rest.iter().find(|word| word.as_encoded_bytes().starts_with(b"-")) {
            return Err(unknown(wrong, verb));
        }
        into.free.extend(rest);
        into.before_dashes = into.free.len();
        into.free.extend(self.literal);
        Ok(())
    }

    /// The first word that is left, if any: where the verb stands once the global options are out.
    pub fn take_first(&mut self) -> Option<OsString> {
        let first = self
            .arguments
            .opt_free_from_os_str(|word| Ok::<_, std::convert::Infallible>(word.to_os_string()))
            .unwrap_or_default(); // the conversion can't fail
        first.or_else(|| (!self.literal.is_empty()).then(|| self.literal.remove(0)))
    }
}

/// Nothing taken yet.
pub fn none() -> Words {
    Words { taken: BTreeMap::new(), free: Vec::new(), before_dashes: 0 }
}

fn find(name: &str) -> Option<&'static Opt> {
    table::all_options().find(|option| option.name == name)
}

/// `--k=v` in two; anything else as it is.
fn split(word: &OsStr) -> (OsString, Option<OsString>) {
    let whole = || (word.to_os_string(), None);
    let bytes = word.as_encoded_bytes();
    if !bytes.starts_with(b"--") {
        return whole();
    }
    let Some(at) = bytes.iter().position(|&b| b == b'=') else { return whole() };
    match (os_name::to_os(&bytes[..at]), os_name::to_os(&bytes[at + 1..])) {
        (Ok(key), Ok(value)) => (key, Some(value)),
        // On Windows, not Unicode: no option's name, and refused as unknown.
        _ => whole(),
    }
}

/// What to say about an option that nobody knows here.
pub fn unknown(word: &OsStr, verb: Option<&Verb>) -> String {
    let shown = escape(split(word).0.as_encoded_bytes());
    let owners: Vec<&str> = table::VERBS
        .iter()
        .filter(|verb| verb.options.iter().any(|option| option.name == shown))
        .map(|verb| verb.name)
        .collect();
    match (verb, owners.is_empty()) {
        (Some(verb), false) => {
            return format!("{shown} is an option of {}, not of {}", owners.join(" and "), verb.name);
        }
        (None, false) => {
            return format!("{shown} is an option of {}: write it after the verb", owners.join(", "));
        }
        _ => {}
    }
    let known = GLOBAL.iter().chain(verb.map_or(&[][..], |verb| verb.options)).map(|option| option.name);
    match nearest(&shown, known) {
        Some(near) => format!("unknown option {shown}; did you mean {near}?"),
        None => format!("unknown option {shown}"),
    }
}

/// The candidate that is the fewest edits away, if that is near enough to be a slip of the fingers.
pub fn nearest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(typed, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= 1 + candidate.trim_start_matches('-').len() / 4)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Edit distance (insert, remove, replace).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let verbs = || table::VERBS.iter().map(|verb| verb.name);
        for (typed, meant) in [
            ("backpu", Some("backup")),
            ("lst", Some("list")),
            ("restor", Some("restore")),
            ("frobnicate", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, verbs()), meant, "{typed}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
