//! Rows that are read without SQL: what is known of them is what SQLite reads.

use crate::literal;
use crate::load::row::{Value, Values, head, values};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

fn is_same(value: &Value<'_>, stored: ValueRef<'_>) -> bool {
    match (value, stored) {
        (Value::Null, ValueRef::Null) => true,
        (Value::Integer(a), ValueRef::Integer(b)) => *a == b,
        (Value::Real(a), ValueRef::Real(b)) => a.to_bits() == b.to_bits(),
        (Value::Text(a), ValueRef::Text(b)) => a.as_bytes() == b,
        (Value::Blob(a), ValueRef::Blob(b)) => a == b,
        _ => false,
    }
}

/// Whether it was known; fails when SQLite does not read the same.
#[track_caller]
fn agrees(connection: &Connection, text: &str) -> Option<bool> {
    let sql = format!("INSERT INTO t VALUES({text});");
    let values = values(&sql, "INSERT INTO t VALUES(".len(), 1, &[])?;
    let read = connection.prepare(&format!("SELECT {text}")).and_then(|mut statement| {
        let mut rows = statement.query([])?;
        let row = rows.next()?.unwrap();
        Ok(match &values {
            Values::Known(known) => known.len() == 1 && is_same(&known[0], row.get_ref(0)?),
            Values::Asked(_) => true,
        })
    });
    match read {
        Ok(same) => assert!(same, "{text}: {values:?}"),
        Err(error) => assert!(matches!(values, Values::Asked(_)), "{text}: {values:?}, {error}"),
    }
    Some(matches!(values, Values::Known(_)))
}

#[test]
fn what_is_known_is_what_sqlite_reads() {
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&format!("PRAGMA encoding='{encoding}'; CREATE TABLE x(a)")).unwrap();
        for (text, expected) in [
            ("NULL", Some(true)),
            ("null", Some(true)),
            ("-0", Some(true)),
            ("007", Some(true)),
            ("-9223372036854775808", Some(true)),
            ("9223372036854775808", Some(false)),
            ("5.0", Some(true)),
            ("899999999999999999.0", Some(true)),
            ("900000000000000000.0", Some(false)),
            ("0.1", Some(true)),
            ("-12.25", Some(true)),
            ("0.000000000000001", Some(true)),
            ("0.1234567890123456", Some(false)),
            ("-0.0", Some(false)),
            ("0.0*-1", Some(true)),
            ("9e999", Some(true)),
            ("-9e999", Some(true)),
            ("1e+999", Some(false)),
            ("1.5e3", Some(false)),
            ("3.0/(1<<62)/(1<<62)", Some(true)),
            ("5.", Some(true)),
            ("-5.0*(1<<0)", Some(true)),
            ("5*(1<<3)", Some(false)),
            ("0.0/(1<<3)", Some(true)),
            ("9e999*(1<<3)", Some(true)),
            ("9007199254740993.0*(1<<62)", Some(true)),
            ("''", Some(true)),
            ("'it''s'", Some(true)),
            ("'''\u{fc}''''\u{1f600}'", Some(true)),
            ("'\u{feff}bom'", Some(true)),
            ("X''", Some(true)),
            ("x'00fF'", Some(true)),
            ("replace('a\\rb','\\r',char(13))", Some(true)),
            ("replace(replace('a\\n','\\r',char(13)),'\\n',char(10))", Some(true)),
            ("replace('aXXXb','XX','yy')", Some(true)),
            ("unistr('\\u0041')", Some(false)),
            ("CAST(X'61' AS TEXT)", Some(false)),
            (" 'a' ", Some(true)),
            ("0x10", None),
            ("+1", None),
            ("1e", None),
            ("1 2", None),
            ("X'0'", None),
            ("X'0g'", None),
            ("'a' || 'b'", None),
            ("\"a\"", None),
            ("a", None),
            ("?", None),
            ("(1)", None),
            ("(SELECT 1)", None),
            ("randomblob(9)", None),
            ("1<<2", None),
            ("1.0*(1<<63)", None),
            ("1.0*-1.5", None),
            ("replace('a','',char(1))", None),
            ("replace('a','b',zeroblob(9))", None),
            ("replace('a','b','123456789')", None),
            ("CAST(zeroblob(9) AS TEXT)", None),
            ("CAST(X'61' AS INT)", None),
            ("CURRENT_TIME", None),
            ("1/*", None),
            ("1--", None),
            ("'a", None),
            ("", None),
        ] {
            assert_eq!(agrees(&connection, text), expected, "{text} in {encoding}");
        }
    }
}

#[test]
fn every_value_that_a_dump_writes_comes_back() {
    let connection = Connection::open_in_memory().unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut known = 0;
    for round in 0..20_000 {
        let mut out = Vec::new();
        match round % 5 {
            0 => literal::push_integer(&mut out, random(u64::MAX).wrapping_shr(random(64) as u32) as i64),
            1 => literal::push_real(&mut out, f64::from_bits(random(u64::MAX))),
            2 => literal::push_real(&mut out, random(10_000_000) as f64 / 10_f64.powi(random(15) as i32)),
            3 => literal::push_blob(&mut out, &random(u64::MAX).to_le_bytes()[..random(9) as usize]),
            _ => {
                let marks = ["'", "\r", "\n", "a", "\\r", "<CR>", ";", "\u{e9}", "\u{1f600}", "--", "{cr}"];
                let text: String =
                    (0..random(12)).map(|_| marks[random(marks.len() as u64) as usize]).collect();
                literal::push_text(&mut out, text.as_bytes());
            }
        }
        let text = String::from_utf8(out).unwrap();
        let is_known = agrees(&connection, &text).unwrap_or_else(|| panic!("{text} is refused"));
        assert!(is_known || text.starts_with("CAST("), "{text} is not known");
        known += usize::from(is_known);
    }
    assert!(known > 19_000, "{known}");
}

#[test]
fn whatever_is_put_together_is_refused_or_read_alike() {
    let connection = Connection::open_in_memory().unwrap();
    let parts = [
        "1", "0", "9", ".", "e", "-", "+", "*", "/", "(1<<", "62", ")", "(", "'", "''", "a", "X'", "00",
        "NULL", "replace(", "char(", "13", ",", "CAST(", " AS TEXT", "unistr(", "\\", "\r", " ", "*-1",
        "9e999",
    ];
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut read = 0;
    for _ in 0..300_000 {
        let text: String = (0..1 + random(7)).map(|_| parts[random(parts.len())]).collect();
        let one = !text.contains(",") || text.starts_with("replace(");
        read += usize::from(one && agrees(&connection, &text).is_some());
    }
    assert!(read > 10_000, "{read}");
}

#[test]
fn heads_are_names_and_nothing_else() {
    let read = |sql: &str| head(sql).map(|head| (head.bytes, head.table, head.columns));
    let names = |list: &[&str]| Some(list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    for (sql, table, columns) in [
        ("INSERT INTO \"t\" VALUES(", "t", None),
        ("insert into t values(", "t", None),
        ("INSERT INTO t(a,\"b\")VALUES(", "t", names(&["a", "b"])),
        ("INSERT INTO \"a\"\"b;(\"(rowid,\"x,y\") VALUES(", "a\"b;(", names(&["rowid", "x,y"])),
        ("INSERT INTO [a b]( `c` ) VALUES (", "a b", names(&["c"])),
        ("INSERT INTO 'sqlite_schema'(\u{e9}) VALUES(", "sqlite_schema", names(&["\u{e9}"])),
    ] {
        assert_eq!(read(sql), Some((sql.len(), table.to_owned(), columns)), "{sql}");
    }
    for sql in [
        "INSERT INTO t SELECT 1",
        "INSERT OR REPLACE INTO t VALUES(",
        "INSERT INTO main.t VALUES(",
        "INSERT INTO temp.t VALUES(",
        "INSERT INTO t AS x VALUES(",
        "INSERT INTO t DEFAULT VALUES;",
        "INSERT INTO t(a) SELECT * FROM (VALUES(",
        "INSERT INTO t() VALUES(",
        "INSERT INTO 1 VALUES(",
        "INSERT INTO t/**/VALUES(",
        "INSERT INTO \"t VALUES(",
        "INSERT",
        "",
    ] {
        assert_eq!(read(sql), None, "{sql}");
    }
}
