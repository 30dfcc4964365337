//! How a REAL is written so that every SQLite from 3.40 on reads back the same bits. Pure.
//!
//! SQLite's reading of decimal literals is not exact and differs between versions and machines: 3.40
//! computes `digits / 10^n` in the longest float the compiler has, 3.43 multiplies by inexact powers of ten
//! in 64-bit precision. So a decimal literal is used only where all of these must agree: at most 15
//! digits and a divisor of at most 10^15, both exact in every format, and a quotient that is not near the
//! middle between two doubles, where rounding twice could go wrong. Everything else is written as an integer
//! times or over powers of two, which is exact everywhere.

use std::io::Write;

/// Digits of a decimal literal, and places after its point, at most.
const DIGITS_MAX: usize = 15;

/// How near, in units of a 64-bit mantissa, the quotient may come to the middle between two doubles. The
/// longest chain of multiplications that 3.43 does is off by at most 20 units.
const MARGIN: u64 = 32;

/// Integers up to here are read exactly with all their digits by every version.
const INTEGER_MAX: f64 = 9e17;

/// Appends an SQL expression whose value is exactly `value`. NaN, which SQLite can't hold, becomes NULL.
pub fn push_real(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"NULL");
    }
    if value == 0.0 {
        // A product keeps the sign, which some versions lose in the literal -0.0.
        let text: &[u8] = if value.is_sign_negative() { b"0.0*-1" } else { b"0.0" };
        return out.extend_from_slice(text);
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let size = value.abs();
    if size.is_infinite() {
        out.extend_from_slice(b"9e999");
    } else if size < INTEGER_MAX && size.trunc() == size {
        // Writing to a Vec can't fail.
        let _ = write!(out, "{}.0", size as u64);
    } else if !push_decimal(out, size) {
        push_powers(out, size);
    }
}

/// Appends a plain decimal literal when it is safe; else nothing, and returns false.
fn push_decimal(out: &mut Vec<u8>, size: f64) -> bool {
    if !(1e-15..1e15).contains(&size) {
        return false;
    }
    let start = out.len();
    // The shortest digits that mean this double, without an exponent. Writing to a Vec can't fail.
    let _ = write!(out, "{size}");
    let text = &out[start..];
    let point = text.iter().position(|&b| b == b'.');
    let places = point.map_or(0, |at| text.len() - at - 1);
    let digits = text.iter().filter(|b| **b != b'.').fold((0_u64, 0), |(number, count), digit| {
        // Leading zeros do not count; 20 digits may not fit and are too many anyway.
        let number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        (number, if count == 0 && *digit == b'0' { 0 } else { count + 1 })
    });
    let (number, count) = digits;
    if places > 0 && places <= DIGITS_MAX && count <= DIGITS_MAX && is_clear(number, places) {
        return true;
    }
    out.truncate(start);
    false
}

/// Whether `number / 10^places` lies clear of the middle between two doubles. `number` has at most 15
/// digits and is not 0.
fn is_clear(number: u64, places: usize) -> bool {
    let shift = u128::from(number).leading_zeros();
    let power = (0..places).fold(1_u128, |power, _| power * 10);
    let quotient = (u128::from(number) << shift) / power; // at least 2^127 / 10^15 > 2^77
    let mantissa = quotient >> (64 - quotient.leading_zeros());
    let below = (mantissa & 0x7ff) as u64; // what a double has no room for
    below.abs_diff(0x400) > MARGIN
}

/// Appends `integer.0*(1<<n)…` or `integer.0/(1<<n)…`. Each step only moves the exponent, and no step
/// leaves the range of doubles before the last, so each is exact, down to the smallest denormal.
fn push_powers(out: &mut Vec<u8>, size: f64) {
    let bits = size.to_bits();
    let (field, fraction) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
    let (mut integer, mut exponent) =
        if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) };
    let zeros = integer.trailing_zeros();
    integer >>= zeros;
    exponent += zeros as i32;
    let _ = write!(out, "{integer}.0"); // writing to a Vec can't fail
    let operator = if exponent < 0 { '/' } else { '*' };
    let mut left = exponent.unsigned_abs();
    while left > 0 {
        let step = left.min(62);
        let _ = write!(out, "{operator}(1<<{step})"); // writing to a Vec can't fail
        left -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use std::process::{Command, Stdio};

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        push_real(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    /// Doubles of every kind, the same ones each time.
    fn samples(count: usize) -> Vec<f64> {
        let mut values = vec![0.0, -0.0, 5e-324, -5e-324, f64::MAX, f64::MIN, f64::MIN_POSITIVE];
        values.extend([f64::INFINITY, f64::NEG_INFINITY, 0.1, 1.0 / 3.0, 1e15, 9e17, 9e18, 2e19, 1e22, 1e23]);
        values.extend([9_007_199_254_740_993.0, 0.3, 123.456, 1e-15, 1e-16, 2.5e-10, 99_999.999_999_999_9]);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        while values.len() < count {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let any = f64::from_bits(state);
            let short = ((state >> 20) as f64 / 1e6).round() / 10_f64.powi((state % 16) as i32);
            let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
            let embedding = f64::from(unit as f32) - 0.5;
            let money = ((state % 10_000_000) as f64) / 100.0;
            values.extend([any, short, unit, embedding, money].into_iter().filter(|v| !v.is_nan()));
        }
        values
    }

    #[test]
    fn everyday_numbers_stay_readable() {
        assert_eq!(text(0.5), "0.5");
        assert_eq!(text(-12.25), "-12.25");
        assert_eq!(text(3.0), "3.0");
        assert_eq!(text(0.1), "0.1");
        assert_eq!(text(-0.0), "0.0*-1");
        assert_eq!(text(f64::NEG_INFINITY), "-9e999");
        assert_eq!(text(f64::NAN), "NULL");
        assert_eq!(text(1e23), "2980232238769531.0*(1<<25)");
    }

    #[test]
    fn the_bundled_version_reads_every_bit() {
        let connection = Connection::open_in_memory().unwrap();
        for value in samples(20_000) {
            let expression = text(value);
            let read: f64 = connection.query_row(&format!("SELECT {expression}"), [], |r| r.get(0)).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{expression}");
        }
    }

    #[test]
    fn the_shell_of_this_system_reads_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("real.db");
        let full = std::env::var_os("XTASK_TEST_FULL").is_some_and(|value| value == "1");
        let values = samples(if full { 1_000_000 } else { 100_000 });
        let mut sql = b"BEGIN;CREATE TABLE t(v);\n".to_vec();
        for value in &values {
            sql.extend_from_slice(b"INSERT INTO t VALUES(");
            push_real(&mut sql, *value);
            sql.extend_from_slice(b");\n");
        }
        sql.extend_from_slice(b"COMMIT;");
        let child = Command::new("sqlite3").arg("-bail").arg(&database).stdin(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            eprintln!("SKIPPED: there is no sqlite3 shell on this system");
            return;
        };
        child.stdin.take().unwrap().write_all(&sql).unwrap();
        assert!(child.wait().unwrap().success());
        let connection = Connection::open(&database).unwrap();
        let mut statement = connection.prepare("SELECT v FROM t ORDER BY rowid").unwrap();
        let read: Vec<f64> = statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), values.len());
        for (read, value) in read.iter().zip(&values) {
            assert_eq!(read.to_bits(), value.to_bits(), "{}", text(*value));
        }
        let literal = values.iter().filter(|v| !text(**v).contains("<<")).count();
        assert!(literal * 10 > values.len() * 3, "only {literal} of {} are plain literals", values.len());
    }
}
