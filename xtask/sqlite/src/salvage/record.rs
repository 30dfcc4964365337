//! Records: one row or one index entry as bytes (<https://www.sqlite.org/fileformat2.html>, section 2.1). Pure, and
//! safe with any bytes: what does not add up to the last byte is refused, and no length is believed before it is
//! held against what is there.

use rusqlite::types::ValueRef;

/// No table and no index has more columns (SQLITE_MAX_COLUMN is 32767 at most).
const FIELDS_MAX: usize = 32_767;

/// A variable-length integer at the start of the bytes, and its length in bytes.
pub fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().take(9).enumerate() {
        if i == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Appends a variable-length integer.
pub fn push_varint(out: &mut Vec<u8>, value: u64) {
    if value >> 56 != 0 {
        for i in (1..9).rev() {
            out.push((value >> (8 + 7 * (i - 1))) as u8 | 0x80);
        }
        out.push(value as u8);
        return;
    }
    let mut groups = 1;
    while value >> (7 * groups) != 0 {
        groups += 1;
    }
    for i in (0..groups).rev() {
        let group = (value >> (7 * i)) as u8 & 0x7f;
        out.push(if i > 0 { group | 0x80 } else { group });
    }
}

/// How many bytes a value of this serial type takes; `None` for the two that are reserved.
fn width(serial: u64) -> Option<u64> {
    Some(match serial {
        0 | 8 | 9 => 0,
        1..=4 => serial,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        _ => (serial - 12) / 2,
    })
}

/// The header of a record: how long it is, and the serial types; `None` when it is no header or not all there.
fn header(bytes: &[u8]) -> Option<(usize, Vec<u64>)> {
    let (length, mut at) = varint(bytes)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len() && *length >= at)?;
    let mut serials = Vec::new();
    while at < length {
        let (serial, used) = varint(&bytes[at..length])?;
        at += used;
        serials.push(serial);
        if serials.len() > FIELDS_MAX {
            return None;
        }
    }
    Some((length, serials))
}

/// Whether a record that begins so, and has so many bytes in all, adds up. `None` when its header is longer than
/// what is there.
pub fn adds_up(start: &[u8], total: u64) -> Option<bool> {
    let (length, _) = varint(start)?;
    if length > total {
        return Some(false);
    }
    if length > start.len() as u64 {
        return None;
    }
    let Some((length, serials)) = header(start) else { return Some(false) };
    let mut sum = length as u64;
    for serial in serials {
        let Some(more) = width(serial) else { return Some(false) };
        sum = match sum.checked_add(more) {
            Some(sum) if sum <= total => sum,
            _ => return Some(false),
        };
    }
    Some(sum == total)
}

/// How long a record is by its own header, which must be all there.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let (start, serials) = header(bytes)?;
    serials.into_iter().try_fold(start, |sum, serial| sum.checked_add(usize::try_from(width(serial)?).ok()?))
}

/// The values of a record; `None` unless it adds up exactly.
pub fn decode(bytes: &[u8]) -> Option<Vec<ValueRef<'_>>> {
    let (mut at, serials) = header(bytes)?;
    let mut values = Vec::with_capacity(serials.len());
    for serial in serials {
        let end = at.checked_add(usize::try_from(width(serial)?).ok()?)?;
        values.push(value(serial, bytes.get(at..end)?));
        at = end;
    }
    (at == bytes.len()).then_some(values)
}

/// The values of a record of which the end is missing: those that are all there, NULL for the others.
pub fn decode_cut(bytes: &[u8]) -> Option<Vec<ValueRef<'_>>> {
    let (mut at, serials) = header(bytes)?;
    let mut values = Vec::with_capacity(serials.len());
    for serial in serials {
        let end = usize::try_from(width(serial)?).ok().and_then(|width| at.checked_add(width));
        let found = end.and_then(|end| bytes.get(at..end));
        values.push(found.map_or(ValueRef::Null, |bytes| value(serial, bytes)));
        at = end.unwrap_or(usize::MAX);
    }
    Some(values)
}

fn value(serial: u64, bytes: &[u8]) -> ValueRef<'_> {
    match serial {
        0 => ValueRef::Null,
        1..=6 => {
            let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
            let start = if negative { -1 } else { 0 };
            ValueRef::Integer(bytes.iter().fold(start, |sum, byte| sum << 8 | i64::from(*byte)))
        }
        7 => {
            let bits = bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            ValueRef::Real(f64::from_bits(bits))
        }
        8 => ValueRef::Integer(0),
        9 => ValueRef::Integer(1),
        _ if serial % 2 == 1 => ValueRef::Text(bytes),
        _ => ValueRef::Blob(bytes),
    }
}

/// Values as one record.
pub fn encode(values: &[ValueRef<'_>]) -> Vec<u8> {
    let (mut serials, mut body) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            ValueRef::Null => push_varint(&mut serials, 0),
            ValueRef::Integer(value) => {
                push_varint(&mut serials, 6);
                body.extend_from_slice(&value.to_be_bytes());
            }
            ValueRef::Real(value) => {
                push_varint(&mut serials, 7);
                body.extend_from_slice(&value.to_bits().to_be_bytes());
            }
            ValueRef::Text(bytes) => {
                push_varint(&mut serials, 13 + 2 * bytes.len() as u64);
                body.extend_from_slice(bytes);
            }
            ValueRef::Blob(bytes) => {
                push_varint(&mut serials, 12 + 2 * bytes.len() as u64);
                body.extend_from_slice(bytes);
            }
        }
    }
    let mut out = Vec::with_capacity(serials.len() + body.len() + 3);
    // The length counts itself.
    let mut length = serials.len() + 1;
    let mut first = Vec::new();
    push_varint(&mut first, length as u64);
    if first.len() > 1 {
        length = serials.len() + first.len();
        first.clear();
        push_varint(&mut first, length as u64);
        if serials.len() + first.len() != length {
            length = serials.len() + first.len();
            first.clear();
            push_varint(&mut first, length as u64);
        }
    }
    out.append(&mut first);
    out.append(&mut serials);
    out.append(&mut body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        let mut value = 1_u64;
        for shift in 0..64 {
            for value in [value, value - 1, value | 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                push_varint(&mut out, value);
                assert_eq!(varint(&out), Some((value, out.len())), "{value:x}");
                assert_eq!(varint(&out[..out.len() - 1]), None);
            }
            value <<= 1;
        }
    }

    #[test]
    fn a_record_comes_back_and_half_of_one_does_not() {
        let long = vec![b'x'; 300];
        let mut values = vec![
            ValueRef::Null,
            ValueRef::Integer(-1),
            ValueRef::Integer(i64::MIN),
            ValueRef::Real(-0.0),
            ValueRef::Text(b"a\0\xff"),
            ValueRef::Blob(&long),
        ];
        let bytes = encode(&values);
        assert_eq!(decode(&bytes).unwrap(), values);
        assert_eq!(adds_up(&bytes, bytes.len() as u64), Some(true));
        assert_eq!(adds_up(&bytes, bytes.len() as u64 + 1), Some(false));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        let cut = decode_cut(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!((&cut[..5], cut[5]), (&values[..5], ValueRef::Null));
        values.resize(200, ValueRef::Null);
        assert_eq!(decode(&encode(&values)).unwrap(), values);
    }
}
