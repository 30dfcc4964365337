//! One row that differs, for people: its key, and the values that are not the same, as SQL would write them. Only
//! the beginning of a long value is kept, so that listing rows takes no more memory than counting them.

use anyhow::Result;
use data_encoding::HEXLOWER;
use rusqlite::Row;

use super::cell::Cell;
use super::table::{Key, Layout};

/// So many characters of a value are kept; of a blob half as many bytes.
const VALUE_MAX: usize = 200;

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Its key: names and values. Empty where only the whole row tells it apart.
    pub key: Vec<(String, String)>,
    /// The other values: all of a row that appears or vanishes, else those that are not the same.
    pub fields: Vec<Field>,
    /// Whether it was there.
    pub was: bool,
    /// Whether it is there.
    pub is: bool,
}

/// One value of such a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The column.
    pub column: String,
    /// What it was, as SQL, or the beginning of that and `…`; absent where the row was not there.
    pub before: Option<String>,
    /// What it is.
    pub after: Option<String>,
}

/// How the rows of a table are read.
pub struct Reading<'a> {
    /// Their columns.
    pub columns: &'a [String],
    /// What tells them apart.
    pub key: &'a Key,
    /// Where both stand in a row.
    pub layout: &'a Layout,
    /// How the database stores text.
    pub encoding: &'a str,
}

impl Reading<'_> {
    /// Tells of a row.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn told(&self, old: Option<&Row<'_>>, new: Option<&Row<'_>>) -> Result<RowChange> {
        let mut told =
            RowChange { key: Vec::new(), fields: Vec::new(), was: old.is_some(), is: new.is_some() };
        if let (Key::Rowid(column), Some(row)) = (self.key, new.or(old)) {
            let name = column.as_deref().unwrap_or("rowid");
            told.key.push((name.to_owned(), row.get::<_, i64>(0)?.to_string()));
        }
        for (at, column) in self.columns.iter().enumerate() {
            let cell = |row: &Row<'_>| -> Result<String> { Ok(self.shown(self.layout.cell(row, at)?)) };
            let same = match (old, new) {
                (Some(old), Some(new)) => self.layout.cell(old, at)?.is_same(self.layout.cell(new, at)?),
                _ => false,
            };
            let in_key = match self.key {
                Key::Rowid(key) => key.as_ref().is_some_and(|key| key.eq_ignore_ascii_case(column)),
                Key::Primary(names) => names.iter().any(|name| name.eq_ignore_ascii_case(column)),
                Key::Row => false,
            };
            if in_key {
                if let (Key::Primary(_), Some(row)) = (self.key, new.or(old)) {
                    told.key.push((column.clone(), cell(row)?));
                }
                // 1 and 1.0 are one key and two values.
                if same || old.is_none() || new.is_none() || matches!(self.key, Key::Rowid(_)) {
                    continue;
                }
            }
            if !same {
                let (before, after) = (old.map(cell).transpose()?, new.map(cell).transpose()?);
                told.fields.push(Field { column: column.clone(), before, after });
            }
        }
        Ok(told)
    }

    fn shown(&self, cell: Cell<'_>) -> String {
        match cell {
            Cell::Null => "NULL".to_owned(),
            Cell::Integer(value) => value.to_string(),
            // As SQL writes what no literal stands for.
            Cell::Real(value) if value.is_infinite() => {
                if value > 0.0 { "9e999" } else { "-9e999" }.to_owned()
            }
            Cell::Real(value) => format!("{value:?}"),
            Cell::Blob(bytes) => blob(bytes),
            Cell::Text(bytes) => text(bytes, if self.layout.is_raw() { self.encoding } else { "UTF-8" }),
        }
    }
}

fn blob(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(VALUE_MAX / 2)];
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    format!("x'{}{more}'", HEXLOWER.encode(shown))
}

fn text(bytes: &[u8], encoding: &str) -> String {
    let beginning: Option<String> = if encoding.starts_with("UTF-16") {
        let big = encoding.ends_with("be");
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units =
            pairs.iter().map(|&pair| if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) });
        let text = char::decode_utf16(units).take(VALUE_MAX + 1).collect::<Result<String, _>>().ok();
        text.filter(|_| rest.is_empty())
    } else {
        std::str::from_utf8(bytes).ok().map(|text| text.chars().take(VALUE_MAX + 1).collect())
    };
    let Some(beginning) = beginning else { return format!("CAST({} AS TEXT)", blob(bytes)) };
    let mut out = "'".to_owned();
    for (at, c) in beginning.chars().enumerate() {
        match c {
            _ if at == VALUE_MAX => out.push('…'),
            '\'' => out.push_str("''"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_sql_and_long_ones_are_cut() {
        for (bytes, encoding, shown) in [
            (b"it's".as_slice(), "UTF-8", "'it''s'"),
            (b"", "UTF-8", "''"),
            (b"caf\xe9", "UTF-8", "CAST(x'636166e9' AS TEXT)"),
            (b"a\0\xe9\0", "UTF-16le", "'aé'"),
            (b"\0a\0\xe9", "UTF-16be", "'aé'"),
            (b"\0\xd8", "UTF-16le", "CAST(x'00d8' AS TEXT)"),
            (b"a\0b", "UTF-16le", "CAST(x'610062' AS TEXT)"),
        ] {
            assert_eq!(text(bytes, encoding), shown);
        }
        let long = text("é'".repeat(5000).as_bytes(), "UTF-8");
        assert!(long.ends_with("…'") && long.matches('é').count() == VALUE_MAX / 2, "{long}");
        let whole = text("é".repeat(VALUE_MAX).as_bytes(), "UTF-8");
        assert!(whole.ends_with("é'"), "{whole}");
        assert_eq!(blob(&[0xab; 3]), "x'ababab'");
        assert_eq!(blob(&[0; 5000]).len(), 3 + VALUE_MAX + "…".len());
    }
}
