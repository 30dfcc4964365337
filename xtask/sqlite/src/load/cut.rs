//! Blobs of a long row while it is being read: their digits become bytes as they come, and are taken out of the text.
//! What stays in the text, `X'…'` with the last digits or none, is another value by itself: whoever reads the row must
//! take what was cut, and a row of which something was cut and not taken is refused (`row`).

use std::cell::Cell;

use anyhow::{Context, Result};
use data_encoding::HEXUPPER_PERMISSIVE;

/// What was taken out of a blob.
pub struct Cut {
    /// Where its quote is opened, in the statement as it was in the dump.
    opened: usize,
    /// And in the text that is left.
    at: usize,
    /// Its first bytes, until they are taken.
    bytes: Cell<Option<Vec<u8>>>,
}

/// Cuts the digits out of the blob in which `text` ends; not when it is another kind of string. `opened` is where its
/// quote is opened in the statement, of which nothing but cuts is missing in the text.
///
/// # Errors
/// When there is anything but digits in it.
pub fn cut(text: &mut Vec<u8>, cuts: &mut Vec<Cut>, opened: usize) -> Result<()> {
    if cuts.last().is_none_or(|cut| cut.opened != opened) {
        let bytes = |cut: &mut Cut| cut.bytes.get_mut().as_ref().map_or(0, Vec::len);
        let gone: usize = cuts.iter_mut().map(|cut| 2 * bytes(cut)).sum();
        let at = opened.checked_sub(gone).context("it has no such place")?;
        if !matches!(at.checked_sub(1).and_then(|before| text.get(before)), Some(b'X' | b'x')) {
            return Ok(());
        }
        cuts.push(Cut { opened, at, bytes: Cell::new(Some(Vec::new())) });
    }
    let Some(cut) = cuts.last_mut() else { return Ok(()) };
    let first = cut.at + 1;
    let digits = text.get(first..).unwrap_or_default();
    let digits = &digits[..digits.len() & !1];
    let bytes = cut.bytes.get_mut().get_or_insert_default();
    let old = bytes.len();
    bytes.resize(old + digits.len() / 2, 0);
    let decoded = HEXUPPER_PERMISSIVE.decode_mut(digits, &mut bytes[old..]);
    decoded.ok().context("it has a blob that is not written in hexadecimal digits")?;
    let last = first + digits.len();
    text.drain(first..last);
    Ok(())
}

/// The first bytes of the blob whose quote is opened at this place of the text; `None` where none were cut.
pub fn take(cuts: &[Cut], at: usize) -> Option<Vec<u8>> {
    // In the order of their places.
    cuts[cuts.partition_point(|cut| cut.at < at)..].first().filter(|cut| cut.at == at)?.bytes.take()
}

/// Whether all that was cut was taken.
pub fn all_taken(cuts: &[Cut]) -> bool {
    cuts.iter().all(|cut| {
        let bytes = cut.bytes.take();
        let is_taken = bytes.is_none();
        cut.bytes.set(bytes);
        is_taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::row::values;
    use crate::statement::Scanner;

    /// Feeds a statement in pieces and cuts after each one.
    fn fed(sql: &str, step: usize) -> Result<(String, Vec<Cut>)> {
        let mut scanner = Scanner::default();
        let (mut text, mut cuts) = (Vec::new(), Vec::new());
        for piece in sql.as_bytes().chunks(step) {
            scanner.feed(piece);
            text.extend_from_slice(piece);
            if let Some(opened) = scanner.open_string() {
                cut(&mut text, &mut cuts, opened)?;
            }
        }
        Ok((String::from_utf8(text).unwrap(), cuts))
    }

    #[test]
    fn a_row_is_read_as_if_nothing_had_been_cut() {
        let head = "INSERT INTO t VALUES(";
        for rest in [
            "1,X'0011223344',x'aAbBcC','X''00aabb',X'ff',X'',CAST(X'616263' AS TEXT),1e5,'x''00');",
            "X'00112233445566778899',replace('X''00','00','x'),X'');",
            "'no blob at all, X');",
            "X'001');",
            "X'00'X'00');",
            "X'00''00');",
            "1X'00');",
        ] {
            let sql = format!("{head}{rest}");
            let expected = values(&sql, head.len(), 0, &[]);
            for step in 1..=sql.len() {
                let (left, cuts) = fed(&sql, step).unwrap();
                assert!(cuts.iter().all(|cut| cut.at < left.len()));
                assert_eq!(values(&left, head.len(), 0, &cuts), expected, "{sql} {step} bytes at a time");
            }
        }
    }

    #[test]
    fn digits_do_not_stay_and_nothing_else_goes() {
        let (left, cuts) = fed("INSERT INTO t VALUES(X'00112233445566778899", 5).unwrap();
        assert!(left == "INSERT INTO t VALUES(X'" && !all_taken(&cuts));
        assert_eq!(take(&cuts, 22).unwrap(), b"\0\x11\x22\x33\x44\x55\x66\x77\x88\x99");
        assert!(all_taken(&cuts) && take(&cuts, 22).is_none());
        let (left, cuts) = fed("INSERT INTO t VALUES('00112233445566778899", 5).unwrap();
        assert!(left.ends_with("'00112233445566778899") && cuts.is_empty());
        assert!(fed("INSERT INTO t VALUES(X'0011g0", 3).is_err());
        // Read at another place, what was cut is missed.
        let (_, cuts) = fed("INSERT INTO t VALUES(X'00', X'11');", 25).unwrap();
        assert!(values("INSERT INTO t VALUES( X'', X'11');", 21, 0, &cuts).is_none());
    }
}
