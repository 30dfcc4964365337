//! Working files in another encoding than UTF-8 (`working-tree-encoding`, gitattributes(5)), without the git
//! command: Unicode in its other forms, and the two that are the beginning of Unicode. As with git, a content
//! that is not UTF-8 or has no place in the encoding stays as it is.

/// The content in an encoding; `None` where it stays as it is.
///
/// # Errors
/// The encoding's name, where only the git command knows it.
pub(super) fn encode(content: &[u8], name: &str) -> Result<Option<Vec<u8>>, String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper
        .strip_prefix("UTF")
        .map_or(upper.clone(), |rest| format!("UTF-{}", rest.trim_start_matches('-')));
    // Without a byte order in its name the content begins with a mark that tells it: the little end first, as
    // the C library of Linux has it.
    let (width, big, mark) = match bare.as_str() {
        "UTF-8" => return Ok(None),
        "UTF-16" | "UTF-16LE-BOM" => (2, false, true),
        "UTF-16BE-BOM" => (2, true, true),
        "UTF-16LE" => (2, false, false),
        "UTF-16BE" => (2, true, false),
        "UTF-32" => (4, false, true),
        "UTF-32LE" => (4, false, false),
        "UTF-32BE" => (4, true, false),
        "ISO-8859-1" | "ISO8859-1" | "LATIN1" => (1, false, false),
        "US-ASCII" | "ASCII" => (0, false, false),
        _ => return Err(name.to_owned()),
    };
    let Ok(text) = std::str::from_utf8(content) else { return Ok(None) };
    let mut found = Vec::with_capacity(content.len() * 2);
    for c in mark.then_some('\u{feff}').into_iter().chain(text.chars()) {
        let code = u32::from(c);
        match width {
            4 if big => found.extend(code.to_be_bytes()),
            4 => found.extend(code.to_le_bytes()),
            2 => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    found.extend(if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
                }
            }
            width => match u8::try_from(code) {
                Ok(byte) if width == 1 || byte < 0x80 => found.push(byte),
                _ => return Ok(None),
            },
        }
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn each_form_has_its_bytes() {
        for (name, bytes) in [
            ("UTF-16", &b"\xff\xfeA\0=\xd8\0\xde"[..]),
            ("utf16", b"\xff\xfeA\0=\xd8\0\xde"),
            ("UTF-16BE", b"\0A\xd8=\xde\0"),
            ("UTF-16BE-BOM", b"\xfe\xff\0A\xd8=\xde\0"),
            ("UTF-32LE", b"A\0\0\0\0\xf6\x01\0"),
        ] {
            assert_eq!(encode("A😀".as_bytes(), name), Ok(Some(bytes.to_vec())), "{name}");
        }
        assert_eq!(encode("é".as_bytes(), "latin1"), Ok(Some(vec![0xe9])));
        assert_eq!(encode("€".as_bytes(), "ISO-8859-1"), Ok(None));
        assert_eq!(encode(b"\xff", "UTF-16"), Ok(None));
        assert_eq!(encode(b"a", "SHIFT-JIS"), Err("SHIFT-JIS".to_owned()));
    }
}
