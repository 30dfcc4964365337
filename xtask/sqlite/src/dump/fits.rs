//! Whether a value that lies in a column would also be taken by it on an INSERT, unchanged. Normally all are:
//! they came in that way. Not so where somebody edited the schema below its rows (NOT NULL added, a type
//! changed, STRICT), which SQLite's own manual recommends for large tables. Pure.
//!
//! The rules are those of "Datatypes In SQLite", sections 3 and 3.1, and of "STRICT Tables".

use rusqlite::types::ValueRef;

use crate::catalog::{Column, Shape};

/// What one column takes.
pub struct Rule {
    not_null: bool,
    takes: Takes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Everything as it is.
    Anything,
    /// Numbers become text.
    Text,
    /// Text that looks like a number becomes one; a whole REAL becomes an INTEGER.
    Numbers,
    /// Text that looks like a number becomes one. An INTEGER can't be told from a REAL.
    Reals,
    OnlyIntegers,
    OnlyReals,
    OnlyText,
    OnlyBlobs,
}

/// The rules of the columns of a table; none where it takes everything.
pub fn rules(shape: &Shape) -> Vec<Rule> {
    let takes =
        |column: &Column| if shape.strict { strict(&column.declared) } else { affinity(&column.declared) };
    let rule = |(at, column): (usize, &Column)| {
        let is_rowid = shape.rowid_column == Some(at);
        Rule {
            not_null: column.not_null && !is_rowid,
            takes: if is_rowid { Takes::Anything } else { takes(column) },
        }
    };
    let rules: Vec<Rule> = shape.details.iter().enumerate().map(rule).collect();
    let has_one = rules.iter().any(|rule| rule.not_null || rule.takes != Takes::Anything);
    if has_one { rules } else { Vec::new() }
}

fn affinity(declared: &str) -> Takes {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["INT"]) {
        Takes::Numbers
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Takes::Text
    } else if has(&["BLOB"]) || declared.is_empty() {
        Takes::Anything
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Takes::Reals
    } else {
        Takes::Numbers
    }
}

fn strict(declared: &str) -> Takes {
    match declared.to_ascii_uppercase().as_str() {
        "INT" | "INTEGER" => Takes::OnlyIntegers,
        "REAL" => Takes::OnlyReals,
        "TEXT" => Takes::OnlyText,
        "BLOB" => Takes::OnlyBlobs,
        _ => Takes::Anything,
    }
}

impl Rule {
    /// Whether the column takes a value unchanged; `is_text` for text of a UTF-16 database, which comes as a
    /// blob.
    #[inline]
    pub fn fits(&self, value: ValueRef<'_>, is_text: bool) -> bool {
        if self.takes == Takes::Anything {
            return !(self.not_null && value == ValueRef::Null);
        }
        match value {
            ValueRef::Null => !self.not_null,
            ValueRef::Integer(_) => matches!(self.takes, Takes::Numbers | Takes::Reals | Takes::OnlyIntegers),
            ValueRef::Real(value) => match self.takes {
                // They keep whole numbers as integers, which have no -0.
                Takes::Reals | Takes::OnlyReals => value != 0.0 || value.is_sign_positive(),
                Takes::Numbers => value.trunc() != value || value.abs() >= WHOLE_MAX,
                _ => false,
            },
            ValueRef::Text(text) => self.takes_text(text),
            ValueRef::Blob(text) if is_text => self.takes_text(&narrow(text)),
            ValueRef::Blob(_) => {
                matches!(self.takes, Takes::Numbers | Takes::Reals | Takes::Text | Takes::OnlyBlobs)
            }
        }
    }

    fn takes_text(&self, text: &[u8]) -> bool {
        match self.takes {
            Takes::Text | Takes::OnlyText => true,
            Takes::Numbers | Takes::Reals => !is_number(text),
            _ => false,
        }
    }
}

/// From here on no REAL becomes an INTEGER: 2^63.
const WHOLE_MAX: f64 = 9_223_372_036_854_775_808.0;

/// UTF-16 of either order as ASCII; nothing where it is none. A character in the wrong order may pass for a
/// digit, which makes a table a stand-in without need, and does no other harm.
fn narrow(text: &[u8]) -> Vec<u8> {
    let (pairs, _) = text.as_chunks::<2>();
    let one = |pair: &[u8; 2]| match pair {
        [byte, 0] | [0, byte] => Some(*byte),
        _ => None,
    };
    pairs.iter().map(one).collect::<Option<_>>().unwrap_or_default()
}

/// Whether text is a decimal number, perhaps with space around it.
fn is_number(text: &[u8]) -> bool {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = text.iter().take_while(|byte| is_space(byte)).count();
    let end = text.len() - text[start..].iter().rev().take_while(|byte| is_space(byte)).count();
    let (whole, rest) = digits(unsigned(&text[start..end]));
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => digits(rest),
        _ => (0, rest),
    };
    let exponent = match rest {
        [] => true,
        [b'e' | b'E', rest @ ..] => matches!(digits(unsigned(rest)), (1.., [])),
        _ => false,
    };
    whole + fraction > 0 && exponent
}

fn unsigned(text: &[u8]) -> &[u8] {
    match text {
        [b'+' | b'-', rest @ ..] => rest,
        _ => text,
    }
}

/// How many digits it begins with, and what comes after them.
fn digits(text: &[u8]) -> (usize, &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count, &text[count..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use rusqlite::Connection;
    use rusqlite::types::Value;

    /// Asks SQLite itself: a value fits where it comes back as it went in.
    #[test]
    fn the_rules_are_those_of_sqlite() {
        let connection = Connection::open_in_memory().unwrap();
        let types = [
            "INT",
            "TEXT",
            "REAL",
            "NUMERIC",
            "BLOB",
            "",
            "VARCHAR(9)",
            "DOUBLE",
            "DATETIME",
            "FLOATING POINT",
        ];
        let mut columns: Vec<(String, &str)> = types.iter().map(|t| (format!("a {t}"), "")).collect();
        columns
            .extend(["INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"].map(|t| (format!("a {t}"), "STRICT")));
        columns.extend([("a NOT NULL".to_owned(), ""), ("a TEXT NOT NULL".to_owned(), "STRICT")]);
        let texts = [
            "",
            " ",
            "x",
            "1",
            " 12 ",
            "-1",
            "+.5",
            "5.",
            ".",
            "1e5",
            "1e",
            "1e+",
            "1.5e-3 ",
            "0x10",
            "2024-01-01",
            "1 2",
            "e5",
            "9223372036854775808",
            "\u{b}1\u{b}",
            "inf",
            "1_000",
            "12abc",
            "--1",
            "١",
        ];
        let mut values: Vec<Value> = texts.iter().map(|text| Value::Text((*text).to_owned())).collect();
        values.extend([0, 1, -5, i64::MAX, i64::MIN].map(Value::Integer));
        values.extend([0.5, 3.0, -0.0, 1e18, 9.3e18, 1e300, f64::INFINITY].map(Value::Real));
        values.extend([Value::Null, Value::Blob(Vec::new()), Value::Blob(b"12".to_vec())]);
        let (mut fitting, mut others) = (0, 0);
        for (column, option) in &columns {
            connection.execute_batch(&format!("CREATE TABLE t({column}) {option}")).unwrap();
            let anything = Rule { not_null: false, takes: Takes::Anything };
            let rule = rules(&catalog::shape(&connection, "t", true).unwrap()).pop().unwrap_or(anything);
            for value in &values {
                let inserted = connection.execute("INSERT INTO t VALUES(?1)", [value]).is_ok();
                let back = connection.query_row("SELECT a FROM t", [], |row| row.get::<_, Value>(0)).ok();
                let same = match (value, &back) {
                    (Value::Real(a), Some(Value::Real(b))) => a.to_bits() == b.to_bits(),
                    // What a REAL column holds is always read as one.
                    (Value::Integer(_), Some(Value::Real(_))) => {
                        rule.takes == Takes::Reals || rule.takes == Takes::OnlyReals
                    }
                    (value, back) => inserted && back.as_ref() == Some(value),
                };
                // An integer is never read from a STRICT REAL column either, so what is said of it is all the same.
                if !(rule.takes == Takes::OnlyReals && matches!(value, Value::Integer(_))) {
                    assert_eq!(
                        rule.fits(ValueRef::from(value), false),
                        same,
                        "{value:?} in {column} {option}"
                    );
                    if same { fitting += 1 } else { others += 1 }
                }
                connection.execute_batch("DELETE FROM t").unwrap();
            }
            connection.execute_batch("DROP TABLE t").unwrap();
        }
        assert!(fitting > 200 && others > 100, "{fitting} {others}");
    }
}
