//! Reads `INSERT INTO t VALUES(…);` of a dump without SQL: the values of a row are known before SQLite sees
//! any of them, so that none of them can be a program. Pure.
//!
//! A value is NULL, a number, a text, a blob, or one of the few expressions that stand for a value a literal
//! can't hold: products and quotients of powers of two, `replace(…)` around text, `CAST(X'…' AS TEXT)`,
//! `unistr('…')`. Everything else is refused. Where only SQLite knows which number a literal means (more than
//! 15 digits, an exponent), or the text encoding matters, the row is
//! [`Values::Asked`]: harmless, and left to it.

use std::borrow::Cow;

use data_encoding::HEXUPPER_PERMISSIVE;
use rusqlite::types::{ToSql, ToSqlOutput, Value as Owned, ValueRef};

use super::cut::{self, Cut};

/// One value, exactly as SQLite would read it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// NULL
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A double; never NaN.
    Real(f64),
    /// Valid UTF-8.
    Text(Cow<'a, str>),
    /// Bytes.
    Blob(Vec<u8>),
    /// The bytes of a text in the encoding of the database, which only SQLite knows: `CAST(X'…' AS TEXT)`.
    Raw(Vec<u8>),
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Null => ToSqlOutput::Owned(Owned::Null),
            Value::Integer(value) => ToSqlOutput::Owned(Owned::Integer(*value)),
            Value::Real(value) => ToSqlOutput::Owned(Owned::Real(*value)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Blob(bytes) | Value::Raw(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// What stands between the brackets after VALUES.
#[derive(Debug, PartialEq)]
pub enum Values<'a> {
    /// All of them, known.
    Known(Vec<Value<'a>>),
    /// Harmless, but SQLite has to say what those are that are raw, or are there as they are written.
    Asked(Vec<Result<Value<'a>, &'a str>>),
}

impl Value<'_> {
    /// The same, in memory of its own.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Integer(value) => Value::Integer(value),
            Value::Real(value) => Value::Real(value),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Blob(bytes) => Value::Blob(bytes),
            Value::Raw(bytes) => Value::Raw(bytes),
        }
    }
}

/// Where a row goes: all up to the bracket after VALUES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of it, with the bracket.
    pub bytes: usize,
    /// The table's name.
    pub table: String,
    /// The columns, where they are named.
    pub columns: Option<Vec<String>>,
}

/// Reads where a row goes; `None` when the statement is not `INSERT INTO name[(names)] VALUES(`.
pub fn head(sql: &str) -> Option<Head> {
    let mut at = Cursor::new(sql, 0, &[]);
    at.space();
    at.word("INSERT")?;
    at.word("INTO")?;
    let table = at.name()?;
    let mut columns = None;
    if at.takes(b'(') {
        let mut names = Vec::new();
        loop {
            names.push(at.name()?);
            at.space();
            if at.takes(b')') {
                break;
            }
            at.takes(b',').then_some(())?;
        }
        columns = Some(names);
        at.space();
    }
    at.word("VALUES")?;
    at.takes(b'(').then_some(())?;
    Some(Head { bytes: at.at, table, columns })
}

/// Reads the values of a row whose head is `head` bytes long, to the semicolon at its end; `None` when
/// anything in them is no value of a dump. `count` is how many there probably are, `cuts` what was taken out of its
/// blobs.
pub fn values<'a>(sql: &'a str, head: usize, count: usize, cuts: &'a [Cut]) -> Option<Values<'a>> {
    let mut at = Cursor::new(sql, head, cuts);
    let mut known = Vec::with_capacity(count);
    let mut asked: Option<Vec<Result<Value<'_>, &str>>> = None;
    loop {
        at.space();
        let start = at.at;
        let value = at.value()?.ok_or(&sql[start..at.at]);
        match (value, &mut asked) {
            (Ok(value), None) if !matches!(value, Value::Raw(_)) => known.push(value),
            (value, None) => {
                asked = Some(known.drain(..).map(Ok).chain([value]).collect());
            }
            (value, Some(list)) => list.push(value),
        }
        at.space();
        if at.takes(b')') {
            break;
        }
        at.takes(b',').then_some(())?;
    }
    at.space();
    at.takes(b';').then_some(())?;
    (at.at == sql.len() && cut::all_taken(cuts)).then(|| asked.map_or(Values::Known(known), Values::Asked))
}

/// What `UPDATE sqlite_schema SET [name=…,tbl_name=…,]sql=… WHERE type=… AND name IN (…);` says.
#[derive(Debug, PartialEq)]
pub struct Mend<'a> {
    /// The new name and table, where there are any.
    pub renamed: Option<[Value<'a>; 2]>,
    /// The new statement; absent where only the name changes.
    pub sql: Option<Value<'a>>,
    /// Which lines it is about.
    pub names: Vec<Value<'a>>,
}

/// Reads how a line of the schema is put right; `None` when the statement is anything else.
pub fn mend(sql: &str) -> Option<Mend<'_>> {
    let mut at = Cursor::new(sql, 0, &[]);
    at.word("UPDATE")?;
    (at.letters("sqlite_schema") || at.letters("sqlite_master")).then(|| at.space())?;
    at.word("SET")?;
    let mut renamed = None;
    if at.letters("name=") {
        let name = at.known_text()?;
        (at.takes(b',') && at.letters("tbl_name=")).then_some(())?;
        renamed = Some([name, at.known_text()?]);
    }
    let mut text = None;
    if renamed.is_none() || at.takes(b',') {
        at.letters("sql=").then_some(())?;
        text = Some(at.known_text()?);
    }
    at.space();
    at.word("WHERE")?;
    at.letters("type=").then_some(())?;
    at.known_text()?;
    at.space();
    at.word("AND")?;
    at.letters("name").then(|| at.space())?;
    let mut names = Vec::new();
    if at.takes(b'=') {
        names.push(at.known_text()?);
    } else {
        at.word("IN")?;
        at.takes(b'(').then_some(())?;
        names.push(at.known_text()?);
        while at.takes(b',') {
            names.push(at.known_text()?);
        }
        at.takes(b')').then_some(())?;
    }
    (at.takes(b';') && at.at == sql.len()).then_some(Mend { renamed, sql: text, names })
}

/// The table of `DELETE FROM name;`.
pub fn emptied(sql: &str) -> Option<String> {
    let mut at = Cursor::new(sql, 0, &[]);
    at.word("DELETE")?;
    at.word("FROM")?;
    let table = at.name()?;
    (at.takes(b';') && at.at == sql.len()).then_some(table)
}

/// Digits of a decimal literal, and places after its point, that every reader agrees on: both numbers are
/// exact as doubles, so one division gives the nearest one.
const DIGITS_MAX: usize = 15;

/// An integer with a point is exact up to here.
const INTEGER_MAX: u64 = 900_000_000_000_000_000;

/// `replace` within `replace`, at most.
const NESTED_MAX: usize = 4;

/// Bytes of what `replace` looks for and puts there, at most: what it makes grows no further than this.
const REPLACED_MAX: usize = 8;

/// A place in a statement. Each method takes what it reads, or gives `None` and the row is refused.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    sql: &'a str,
    at: usize,
    cuts: &'a [Cut],
}

impl<'a> Cursor<'a> {
    fn new(sql: &'a str, at: usize, cuts: &'a [Cut]) -> Cursor<'a> {
        Cursor { sql, at, cuts }
    }

    fn peek(&self) -> u8 {
        self.sql.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is = self.peek() == byte && self.at < self.sql.len();
        self.at += usize::from(is);
        is
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t') {
            self.at += 1;
        }
    }

    /// Takes these letters, in any case, when they are next.
    fn letters(&mut self, word: &str) -> bool {
        let next = self.sql.as_bytes().get(self.at..self.at + word.len());
        let is = next.is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        self.at += if is { word.len() } else { 0 };
        is
    }

    /// A keyword and the space behind it.
    fn word(&mut self, word: &str) -> Option<()> {
        (self.letters(word) && !is_name(self.peek())).then(|| self.space())
    }

    /// A name as SQL writes them, and the space behind it.
    fn name(&mut self) -> Option<String> {
        self.space();
        let end = match self.peek() {
            quote @ (b'"' | b'`' | b'\'') => quote,
            b'[' => b']',
            _ => {
                let rest = &self.sql[self.at..];
                let length = rest.bytes().position(|byte| !is_name(byte)).unwrap_or(rest.len());
                self.at += length;
                self.space();
                return (length > 0 && !rest.as_bytes()[0].is_ascii_digit())
                    .then(|| rest[..length].to_owned());
            }
        };
        self.at += 1;
        let name = self.quoted(end, end != b']')?.into_owned();
        self.space();
        Some(name)
    }

    /// All up to a closing quote, which is taken, too; a doubled one stands for itself.
    fn quoted(&mut self, end: u8, doubled: bool) -> Option<Cow<'a, str>> {
        let find = |text: &str| memchr::memchr(end, text.as_bytes());
        let rest = &self.sql[self.at..];
        let first = find(rest)?;
        self.at += first + 1;
        if !doubled || self.peek() != end {
            return Some(Cow::Borrowed(&rest[..first]));
        }
        let mut text = rest[..=first].to_owned();
        loop {
            self.at += 1; // the second of two quotes
            let rest = &self.sql[self.at..];
            let next = find(rest)?;
            self.at += next + 1;
            if self.peek() != end {
                text.push_str(&rest[..next]);
                return Some(Cow::Owned(text));
            }
            text.push_str(&rest[..=next]);
        }
    }

    /// One value; `Some(None)` when SQLite has to say what it is.
    fn value(&mut self) -> Option<Option<Value<'a>>> {
        match self.peek() {
            b'0'..=b'9' | b'-' => self.number(),
            b'\'' => Some(Some(Value::Text(self.text(0)??))),
            b'X' | b'x' => Some(Some(Value::Blob(self.blob()?))),
            b'N' | b'n' => {
                self.word("NULL")?;
                Some(Some(Value::Null))
            }
            b'C' | b'c' => Some(Some(Value::Raw(self.cast()?))),
            _ => Some(self.text(0)?.map(Value::Text)),
        }
    }

    fn blob(&mut self) -> Option<Vec<u8>> {
        self.letters("X").then_some(())?;
        let opened = self.at;
        self.takes(b'\'').then_some(())?;
        let digits = self.quoted(b'\'', false)?;
        let rest = HEXUPPER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
        let Some(mut bytes) = cut::take(self.cuts, opened) else { return Some(rest) };
        bytes.extend_from_slice(&rest);
        Some(bytes)
    }

    /// `CAST(X'…' AS TEXT)`.
    fn cast(&mut self) -> Option<Vec<u8>> {
        (self.letters("CAST") && self.takes(b'(')).then_some(())?;
        let bytes = self.blob()?;
        self.space();
        self.word("AS")?;
        self.word("TEXT")?;
        self.takes(b')').then_some(bytes)
    }

    /// A text whose bytes are known.
    fn known_text(&mut self) -> Option<Value<'a>> {
        self.value()?.filter(|value| matches!(value, Value::Text(_) | Value::Raw(_)))
    }

    /// `'…'`, `replace(text,'…',char(n))` or `unistr('…')`; `Some(None)` when SQLite has to say what it is.
    fn text(&mut self, depth: usize) -> Option<Option<Cow<'a, str>>> {
        if self.takes(b'\'') {
            return Some(Some(self.quoted(b'\'', true)?));
        }
        if self.letters("unistr(") {
            self.takes(b'\'').then_some(())?;
            self.quoted(b'\'', true)?;
            return self.takes(b')').then_some(None);
        }
        (depth < NESTED_MAX && self.letters("replace(")).then_some(())?;
        let text = self.text(depth + 1)?;
        (self.takes(b',') && self.takes(b'\'')).then_some(())?;
        let mark = self.quoted(b'\'', true)?;
        self.takes(b',').then_some(())?;
        self.space();
        let with = if self.letters("char(") {
            let code = self.digits();
            self.takes(b')').then_some(())?;
            code.parse().ok().and_then(char::from_u32).filter(|char| *char != '\0')?.to_string()
        } else {
            self.takes(b'\'').then_some(())?;
            self.quoted(b'\'', true)?.into_owned()
        };
        let fits = !mark.is_empty() && mark.len() <= REPLACED_MAX && with.len() <= REPLACED_MAX;
        (fits && self.takes(b')')).then_some(())?;
        Some(text.map(|text| Cow::Owned(text.replace(&*mark, &with))))
    }

    fn digits(&mut self) -> &'a str {
        let rest = &self.sql[self.at..];
        let length = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn number(&mut self) -> Option<Option<Value<'a>>> {
        let start = self.at;
        let negative = self.takes(b'-');
        let whole = self.digits();
        (!whole.is_empty()).then_some(())?;
        if !matches!(self.peek(), b'.' | b'e' | b'E' | b'*' | b'/') {
            // One that does not fit is a real number, of which SQLite says which one.
            return Some(self.sql[start..self.at].parse().ok().map(Value::Integer));
        }
        let mut real = self.real(negative, whole)?;
        while let operator @ (b'*' | b'/') = self.peek() {
            self.at += 1;
            let factor = self.factor()?;
            real = real.map(|value| if operator == b'*' { value * factor } else { value / factor });
        }
        Some(real.filter(|value| !value.is_nan()).map(Value::Real))
    }

    /// A decimal literal whose whole part was read; `Some(None)` when SQLite has to say what it is.
    fn real(&mut self, negative: bool, whole: &'a str) -> Option<Option<f64>> {
        let start = self.at - whole.len();
        let places = if self.takes(b'.') { self.digits() } else { "" };
        let end = self.at;
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            let signed = self.takes(b'+') || self.takes(b'-');
            let exponent = self.digits();
            (!exponent.is_empty()).then_some(())?;
            // The sign of infinity for every reader, and nothing else with an exponent is.
            let infinite = (whole, places, exponent, signed) == ("9", "", "999", false);
            let size = if negative { f64::NEG_INFINITY } else { f64::INFINITY };
            return Some(infinite.then_some(size));
        }
        if end == start + whole.len() {
            return Some(None); // an integer before an operator: not what a dump writes, and harmless
        }
        let significant =
            if whole == "0" { places.trim_start_matches('0').len() } else { whole.len() + places.len() };
        let is_integer = places.bytes().all(|digit| digit == b'0')
            && places.len() <= DIGITS_MAX
            && whole.parse::<u64>().is_ok_and(|whole| whole < INTEGER_MAX);
        let is_short = significant <= DIGITS_MAX && places.len() <= DIGITS_MAX;
        let size = self.sql[start..end].parse::<f64>().ok()?;
        // Versions differ about -0.0.
        let known = (is_integer || is_short) && !(negative && size == 0.0);
        Some(known.then_some(if negative { -size } else { size }))
    }

    /// `-1` or `(1<<n)`, with n from 0 to 62.
    fn factor(&mut self) -> Option<f64> {
        if self.letters("-1") {
            return (!is_name(self.peek()) && self.peek() != b'.').then_some(-1.0);
        }
        self.letters("(1<<").then_some(())?;
        let shift: u32 = self.digits().parse().ok().filter(|shift| *shift <= 62)?;
        self.takes(b')').then_some((1_u64 << shift) as f64)
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
