//! Bytes of names for people: one line, unambiguous, and without power over a terminal.

/// Bytes for people: UTF-8 stays, control characters and other bytes become `\n`, `\t`, `\xNN`; a backslash
/// is doubled only where something else had to be escaped, so ordinary names look as they are.
pub fn escape(bytes: &[u8]) -> String {
    let plain = std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control));
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\\' if !plain => out.push_str("\\\\"),
                c if c.is_control() => {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        out.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_names_are_one_line_and_unambiguous() {
        assert_eq!(escape(b"a\\b"), "a\\b");
        assert_eq!(escape(b"a\\b\n"), "a\\\\b\\n");
        assert_eq!(escape(b"caf\xe9"), "caf\\xe9");
        assert_eq!(escape(b"\x1b[31m"), "\\x1b[31m");
    }
}
