//! The words of a statement in a schema, as far as this program asks what one says: which collations it
//! names, and which module a virtual table needs. The rules are those of SQLite's `tokenize.c`. Pure.

use std::collections::BTreeSet;

/// One token.
#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A keyword, a bare name or a number.
    Word(&'a [u8]),
    /// A string or a quoted name, without its quotes.
    Quoted(Vec<u8>),
    /// Any other byte.
    Other,
}

/// Collations that SQLite has itself.
const BUILT_IN: [&str; 3] = ["BINARY", "NOCASE", "RTRIM"];

/// Whether SQLite has a collation itself.
pub fn is_built_in(collation: &str) -> bool {
    BUILT_IN.iter().any(|name| name.eq_ignore_ascii_case(collation))
}

/// The collations that a statement names and SQLite does not have.
pub fn foreign_collations(sql: &[u8]) -> BTreeSet<String> {
    let tokens = tokens(sql);
    let names = tokens.windows(2).filter_map(|pair| match pair {
        [Token::Word(word), name] if word.eq_ignore_ascii_case(b"collate") => name_of(name),
        _ => None,
    });
    names.filter(|name| !is_built_in(name)).collect()
}

/// The module of a virtual table, as `CREATE VIRTUAL TABLE` says.
pub fn module(sql: &[u8]) -> Option<String> {
    let tokens = tokens(sql);
    let using = tokens
        .iter()
        .position(|token| matches!(token, Token::Word(w) if w.eq_ignore_ascii_case(b"using")))?;
    name_of(tokens.get(using + 1)?)
}

/// Whether a string or name, other than `name`, has a line end of Windows in it.
pub fn quotes_return(sql: &[u8], name: &str) -> bool {
    let has = |text: &Vec<u8>| text != name.as_bytes() && text.windows(2).any(|pair| pair == b"\r\n");
    tokens(sql).iter().any(|token| matches!(token, Token::Quoted(text) if has(text)))
}

fn name_of(token: &Token<'_>) -> Option<String> {
    match token {
        Token::Word(word) => Some(String::from_utf8_lossy(word).into_owned()),
        Token::Quoted(name) => Some(String::from_utf8_lossy(name).into_owned()),
        Token::Other => None,
    }
}

fn tokens(sql: &[u8]) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let [first, later @ ..] = rest {
        rest = match *first {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => later,
            b'-' if later.first() == Some(&b'-') => after(rest, b"\n"),
            b'/' if later.first() == Some(&b'*') => after(&later[1..], b"*/"),
            quote @ (b'\'' | b'"' | b'`' | b'[') => {
                let end = if quote == b'[' { b']' } else { quote };
                let (name, after) = quoted(later, end);
                tokens.push(Token::Quoted(name));
                after
            }
            byte if is_word(byte) => {
                let length = rest.iter().take_while(|byte| is_word(**byte)).count();
                let (word, after) = rest.split_at(length);
                tokens.push(Token::Word(word));
                after
            }
            _ => {
                tokens.push(Token::Other);
                later
            }
        };
    }
    tokens
}

/// What comes after the first `end`; nothing without one.
fn after<'a>(bytes: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = bytes.windows(end.len()).position(|window| window == end);
    at.map_or(&[], |at| &bytes[at + end.len()..])
}

/// A quoted name, in which a doubled quote stands for one, and what comes after it. `]` is never doubled.
fn quoted(bytes: &[u8], end: u8) -> (Vec<u8>, &[u8]) {
    let mut name = Vec::new();
    let mut rest = bytes;
    while let [first, later @ ..] = rest {
        rest = later;
        if *first == end {
            if end == b']' || later.first() != Some(&end) {
                break;
            }
            rest = &later[1..];
        }
        name.push(*first);
    }
    (name, rest)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collations_are_found_where_they_are_named_and_nowhere_else() {
        let names = |sql: &str| foreign_collations(sql.as_bytes()).into_iter().collect::<Vec<_>>();
        assert_eq!(
            names("CREATE TABLE t(a TEXT COLLATE uca, b collate\n\"two words\", c COLLATE nocase)"),
            ["two words", "uca"]
        );
        assert_eq!(
            names("CREATE INDEX i ON t(a COLLATE [x] DESC, b COLLATE/**/'y''z', c Collate `w`)"),
            ["w", "x", "y'z"]
        );
        assert!(
            names(
                "CREATE TABLE t(\"collate\" u, b DEFAULT 'COLLATE x', c -- COLLATE y\n, d /* COLLATE z */)"
            )
            .is_empty()
        );
        assert!(names("CREATE TABLE t(collated x, a COLLATE").is_empty());
        assert!(names("COLLATE (x) /* open").is_empty());
    }

    #[test]
    fn line_ends_in_quotes_are_told_from_others() {
        let quotes = |sql: &str| quotes_return(sql.as_bytes(), "i\r\nj");
        assert!(
            quotes("CREATE INDEX i\r\nON t(\"a\r\nb\")")
                && quotes("CREATE INDEX i ON t(a) WHERE b <> 'x\r\n'")
        );
        assert!(
            !quotes("CREATE INDEX \"i\r\nj\" ON\r\n t(a) -- it's\r\n")
                && !quotes("CREATE INDEX \"a\rb\" ON t(c)")
        );
    }

    #[test]
    fn the_module_of_a_virtual_table_is_its_word_after_using() {
        let module = |sql: &str| module(sql.as_bytes());
        assert_eq!(module("CREATE VIRTUAL TABLE v USING vec0(a float[3])").as_deref(), Some("vec0"));
        assert_eq!(
            module("create virtual table if not exists \"using x\" using 'fts5' (a)").as_deref(),
            Some("fts5")
        );
        assert_eq!(module("CREATE TABLE t(a)"), None);
        assert_eq!(module("CREATE VIRTUAL TABLE v USING"), None);
    }
}
