//! Values as SQL literals, byte for byte. Pure.
//!
//! Text is written as text wherever the `sqlite3` shell reads it back unchanged: not with NUL (it ends a
//! statement), not when it is not valid (the tokenizer would take it, other tools would not), and not with a
//! carriage return before the end of a line (the shell drops it).

use std::io::Write;

use data_encoding::HEXUPPER;

pub use super::real::push_real;

/// Stands for a carriage return in a text literal; one that the text itself does not contain is taken.
const RETURN_MARKS: [&str; 3] = ["\\r", "<CR>", "{cr}"];

/// Appends an integer.
pub fn push_integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), value.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `X'…'`.
pub fn push_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"X'");
    push_digits(out, bytes);
    out.push(b'\'');
}

/// Appends what stands in a blob.
pub fn push_digits(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    HEXUPPER.encode_mut(bytes, &mut out[start..]);
}

/// Appends text of a UTF-8 database.
pub fn push_text(out: &mut Vec<u8>, bytes: &[u8]) {
    let valid = std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0);
    if !valid || !push_valid_text(out, bytes) {
        push_cast(out, bytes);
    }
}

/// Appends text of a UTF-16 database; `bytes` are as stored, `big` says which half comes first.
pub fn push_wide_text(out: &mut Vec<u8>, bytes: &[u8], big: bool) {
    let unit = |pair: &[u8; 2]| if big { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) };
    let (pairs, rest) = bytes.as_chunks::<2>();
    let text = char::decode_utf16(pairs.iter().map(unit)).collect::<Result<String, _>>();
    match text {
        // A byte order mark might be taken for one when the text is converted.
        Ok(text) if rest.is_empty() && !text.contains(['\0', '\u{feff}', '\u{fffe}']) => {
            if !push_valid_text(out, text.as_bytes()) {
                push_cast(out, bytes);
            }
        }
        _ => push_cast(out, bytes),
    }
}

/// Appends valid text without NUL; false when it can't be written as a literal.
fn push_valid_text(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    if !bytes.contains(&b'\r') {
        push_quoted(out, bytes, "");
        return true;
    }
    // Valid UTF-8 by contract; were it not, it is cast.
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Some(mark) = RETURN_MARKS.iter().find(|mark| !text.contains(**mark)) else { return false };
    out.extend_from_slice(b"replace(");
    push_quoted(out, bytes, mark);
    let _ = write!(out, ",'{mark}',char(13))"); // writing to a Vec can't fail
    true
}

/// Appends `'…'` with quotes doubled, and with a mark in place of every carriage return.
fn push_quoted(out: &mut Vec<u8>, bytes: &[u8], mark: &str) {
    out.push(b'\'');
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(b'\'', b'\r', rest) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(if from.starts_with(b"'") { b"''" } else { mark.as_bytes() });
        rest = &from[1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

fn push_cast(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"CAST(");
    push_blob(out, bytes);
    out.extend_from_slice(b" AS TEXT)");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        push_text(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_to_both_ends() {
        for value in [0, 7, -7, 10, i64::MAX, i64::MIN, i64::MIN + 1] {
            let mut out = Vec::new();
            push_integer(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn text_stays_text_where_it_can() {
        assert_eq!(text(b"it's"), "'it''s'");
        assert_eq!(text(b"''"), "''''''");
        assert_eq!(text("a\nü;--".as_bytes()), "'a\nü;--'");
        assert_eq!(text(b"a\0b"), "CAST(X'610062' AS TEXT)");
        assert_eq!(text(b"caf\xe9"), "CAST(X'636166E9' AS TEXT)");
        assert_eq!(text(b"a\r\n'b"), "replace('a\\r\n''b','\\r',char(13))");
        assert_eq!(text(b"a\r\\r"), "replace('a<CR>\\r','<CR>',char(13))");
        assert_eq!(text(b"\r\\r<CR>{cr}"), "CAST(X'0D5C723C43523E7B63727D' AS TEXT)");
    }

    #[test]
    fn wide_text_is_converted_only_when_nothing_is_lost() {
        let wide = |bytes: &[u8]| {
            let mut out = Vec::new();
            push_wide_text(&mut out, bytes, false);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(wide(b"a\0'\0"), "'a'''");
        assert_eq!(wide(b"\x00\xd8"), "CAST(X'00D8' AS TEXT)");
        assert_eq!(wide(b"a\0\0\0"), "CAST(X'61000000' AS TEXT)");
        assert_eq!(wide(b"\xff\xfea\0"), "CAST(X'FFFE6100' AS TEXT)");
    }
}
