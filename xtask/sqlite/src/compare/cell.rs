//! Values: whether two are the same to the last bit, and which comes first. Pure.

use std::cmp::Ordering;

use rusqlite::types::ValueRef;

/// One value of a row.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT, as bytes, which need not be valid.
    Text(&'a [u8]),
    /// BLOB.
    Blob(&'a [u8]),
}

impl<'a> Cell<'a> {
    /// A value as SQLite gives it; `is_text` for text that comes as a blob.
    pub fn new(value: ValueRef<'a>, is_text: bool) -> Cell<'a> {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(value) => Cell::Integer(value),
            ValueRef::Real(value) => Cell::Real(value),
            ValueRef::Text(bytes) => Cell::Text(bytes),
            ValueRef::Blob(bytes) if is_text => Cell::Text(bytes),
            ValueRef::Blob(bytes) => Cell::Blob(bytes),
        }
    }

    /// Whether type and bits are the same.
    pub fn is_same(self, other: Cell<'_>) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Integer(a), Cell::Integer(b)) => a == b,
            (Cell::Real(a), Cell::Real(b)) => a.to_bits() == b.to_bits(),
            (Cell::Text(a), Cell::Text(b)) | (Cell::Blob(a), Cell::Blob(b)) => a == b,
            _ => false,
        }
    }

    /// SQLite's order under the collation BINARY: NULL, numbers of both types by their value, text, blobs.
    pub fn order(self, other: Cell<'_>) -> Ordering {
        match (self, other) {
            (Cell::Integer(a), Cell::Integer(b)) => a.cmp(&b),
            (Cell::Real(a), Cell::Real(b)) => reals(a, b),
            (Cell::Integer(a), Cell::Real(b)) => integer_and_real(a, b),
            (Cell::Real(a), Cell::Integer(b)) => integer_and_real(b, a).reverse(),
            (Cell::Text(a), Cell::Text(b)) | (Cell::Blob(a), Cell::Blob(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    /// The same, and then by type: equal are only values that are the same, and zeros of either sign, which
    /// no SQL tells apart.
    pub fn typed_order(self, other: Cell<'_>) -> Ordering {
        self.order(other).then_with(|| match (self, other) {
            (Cell::Integer(_), Cell::Real(_)) => Ordering::Less,
            (Cell::Real(_), Cell::Integer(_)) => Ordering::Greater,
            _ => Ordering::Equal,
        })
    }

    fn rank(self) -> u8 {
        match self {
            Cell::Null => 0,
            Cell::Integer(_) | Cell::Real(_) => 1,
            Cell::Text(_) => 2,
            Cell::Blob(_) => 3,
        }
    }
}

fn reals(a: f64, b: f64) -> Ordering {
    // SQLite stores no NaN.
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

/// Exactly, although not every integer is a double.
fn integer_and_real(integer: i64, real: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if real < -LIMIT {
        Ordering::Greater
    } else if real >= LIMIT {
        Ordering::Less
    } else {
        let whole = real.trunc();
        integer.cmp(&(whole as i64)).then_with(|| reals(whole, real))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// Every pair, in SQLite's own order and in ours.
    #[test]
    fn the_order_is_that_of_sqlite() {
        let big = 9_007_199_254_740_993_i64; // 2^53 + 1 is no double
        let cells = [
            Cell::Null,
            Cell::Integer(i64::MIN),
            Cell::Integer(-1),
            Cell::Integer(0),
            Cell::Integer(1),
            Cell::Integer(big),
            Cell::Integer(i64::MAX),
            Cell::Real(f64::NEG_INFINITY),
            Cell::Real(-9.3e18),
            Cell::Real(-9_223_372_036_854_775_808.0),
            Cell::Real(-1.5),
            Cell::Real(-1.0),
            Cell::Real(-0.0),
            Cell::Real(0.0),
            Cell::Real(5e-324),
            Cell::Real(1.5),
            Cell::Real(9_007_199_254_740_992.0),
            Cell::Real(9_223_372_036_854_775_808.0),
            Cell::Real(f64::INFINITY),
            Cell::Text(b""),
            Cell::Text(b"A"),
            Cell::Text(b"a"),
            Cell::Text(b"a\0"),
            Cell::Text("é".as_bytes()),
            Cell::Blob(b""),
            Cell::Blob(b"A"),
            Cell::Blob(b"\xff"),
        ];
        let value = |cell: Cell<'_>| match cell {
            Cell::Null => rusqlite::types::Value::Null,
            Cell::Integer(value) => value.into(),
            Cell::Real(value) => value.into(),
            Cell::Text(bytes) => String::from_utf8(bytes.to_vec()).unwrap().into(),
            Cell::Blob(bytes) => bytes.to_vec().into(),
        };
        let connection = Connection::open_in_memory().unwrap();
        let mut less = connection.prepare("SELECT ifnull(?1 < ?2, ?1 IS NULL AND ?2 IS NOT NULL)").unwrap();
        for (i, a) in cells.into_iter().enumerate() {
            for (j, b) in cells.into_iter().enumerate() {
                let mut is_less =
                    |a, b| less.query_row([value(a), value(b)], |row| row.get::<_, bool>(0)).unwrap();
                let wanted = match (is_less(a, b), is_less(b, a)) {
                    (true, false) => Ordering::Less,
                    (false, true) => Ordering::Greater,
                    _ => Ordering::Equal,
                };
                assert_eq!(a.order(b), wanted, "{a:?} {b:?}");
                assert_eq!(a.is_same(b), i == j, "{a:?} {b:?}");
                let zeros = matches!((a, b), (Cell::Real(0.0), Cell::Real(0.0)));
                assert_eq!(a.typed_order(b) == Ordering::Equal, i == j || zeros, "{a:?} {b:?}");
                assert_eq!(a.typed_order(b), b.typed_order(a).reverse());
            }
        }
    }
}
