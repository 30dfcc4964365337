//! What the records of a b-tree must look like: so many values, of the types that the declaration of their columns
//! lets be stored. A record that does not fit is either damaged or none of this tree. Pure.

use rusqlite::types::ValueRef;

/// Which values a column turns into others, by its declared type
/// (<https://www.sqlite.org/datatype3.html>, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Numbers become text.
    Text,
    /// Text that reads as a number becomes one.
    Numeric,
    /// The same, and whole numbers count as REAL.
    Real,
    /// Nothing changes.
    Blob,
}

impl Affinity {
    /// Of a declared type.
    pub fn of(declared: &str) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if has("INT") {
            Affinity::Numeric
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") || declared.is_empty() || declared == "ANY" {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }
}

/// One value of a record.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its column; empty for an expression.
    pub column: String,
    /// What can be stored there.
    pub affinity: Affinity,
    /// Whether NULL can't be.
    pub not_null: bool,
    /// Whether the rowid stands for it, and the record has NULL.
    pub is_rowid: bool,
    /// The declared type, in a STRICT table.
    pub strict: Option<String>,
}

/// The records of a tree.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The values in the order of the record.
    pub fields: Vec<Field>,
    /// Whether each record has all of them: those of tables can lack columns that were added later.
    pub is_exact: bool,
    /// Whether text is UTF-8.
    pub utf8: bool,
}

impl Layout {
    /// Why a record can't be one of this tree; `None` when it can.
    pub fn misfit(&self, values: &[ValueRef<'_>]) -> Option<&'static str> {
        if values.len() > self.fields.len() || (self.is_exact && values.len() != self.fields.len()) {
            return Some("it has another number of values than the table has columns");
        }
        self.fields.iter().zip(values).find_map(|(field, value)| field.misfit(*value, self.utf8))
    }

    /// Why what is in the record looks damaged although it fits.
    pub fn doubt(&self, values: &[ValueRef<'_>]) -> Option<&'static str> {
        let is_broken = |value: &ValueRef<'_>| match value {
            ValueRef::Text(bytes) if self.utf8 => std::str::from_utf8(bytes).is_err(),
            ValueRef::Text(bytes) => bytes.len() % 2 == 1,
            ValueRef::Real(value) => value.is_nan(),
            _ => false,
        };
        values.iter().any(is_broken).then_some("a text is not valid in the encoding of the database")
    }
}

impl Field {
    fn misfit(&self, value: ValueRef<'_>, utf8: bool) -> Option<&'static str> {
        if self.is_rowid {
            let is_fine = value == ValueRef::Null;
            return (!is_fine).then_some("a value stands where the rowid stands for it");
        }
        if self.not_null && value == ValueRef::Null {
            return Some("a column that is NOT NULL is NULL");
        }
        let wrong = match (self.affinity, value) {
            (Affinity::Text, ValueRef::Integer(_) | ValueRef::Real(_)) => true,
            (Affinity::Numeric | Affinity::Real, ValueRef::Text(bytes)) if utf8 => is_plain_number(bytes),
            _ => false,
        };
        let keeps_strict = |declared: &str| {
            matches!(
                (declared, value),
                (_, ValueRef::Null)
                    | ("ANY", _)
                    | ("INT" | "INTEGER" | "REAL", ValueRef::Integer(_))
                    | ("REAL", ValueRef::Real(_))
                    | ("TEXT", ValueRef::Text(_))
                    | ("BLOB", ValueRef::Blob(_))
            )
        };
        let breaks_strict = self.strict.as_deref().is_some_and(|declared| !keeps_strict(declared));
        (wrong || breaks_strict).then_some("a value is of a type that its column can't hold")
    }
}

/// Whether text would have become a number: plain digits only, so that no text of another form is suspected.
fn is_plain_number(text: &[u8]) -> bool {
    (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_decide_as_in_sqlite() {
        for (declared, affinity) in [
            ("INTEGER", Affinity::Numeric),
            ("varchar(10)", Affinity::Text),
            ("", Affinity::Blob),
            ("BLOB", Affinity::Blob),
            ("double precision", Affinity::Real),
            ("DATETIME", Affinity::Numeric),
            ("FLOATING POINT", Affinity::Numeric), // it has INT in it
        ] {
            assert_eq!(Affinity::of(declared), affinity, "{declared}");
        }
    }
}
