//! File names between raw bytes and the system's own strings: the same on Unix, Unicode only on Windows.

use std::ffi::{OsStr, OsString};

use anyhow::Result;

/// A file name for the system.
///
/// # Errors
/// On Windows, when the bytes are not UTF-8. Never on Unix.
#[cfg(unix)]
pub fn to_os(bytes: &[u8]) -> Result<OsString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(OsStr::from_bytes(bytes).to_os_string())
}

/// A file name for the system.
///
/// # Errors
/// On Windows, when the bytes are not UTF-8. Never on Unix.
#[cfg(windows)]
pub fn to_os(bytes: &[u8]) -> Result<OsString> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(_) => {
            anyhow::bail!("the name {} can't be written on this system", super::escape::escape(bytes))
        }
    }
}

/// The raw bytes of a file name.
///
/// # Errors
/// On Windows, when the name is not Unicode. Never on Unix.
#[cfg(unix)]
pub fn from_os(name: &OsStr) -> Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    Ok(name.as_bytes().to_vec())
}

/// The raw bytes of a file name.
///
/// # Errors
/// On Windows, when the name is not Unicode. Never on Unix.
#[cfg(windows)]
pub fn from_os(name: &OsStr) -> Result<Vec<u8>> {
    match name.to_str() {
        Some(text) => Ok(text.replace('\\', "/").into_bytes()),
        None => anyhow::bail!("the name {name:?} is not Unicode"),
    }
}

/// Why this system would not write a part of a path as it stands; `None` when it would.
#[cfg(unix)]
pub fn refused_part(_part: &[u8]) -> Option<&'static str> {
    None
}

/// Why this system would not write a part of a path as it stands; `None` when it would.
#[cfg(windows)]
pub fn refused_part(part: &[u8]) -> Option<&'static str> {
    if part.iter().any(|b| matches!(b, b'\\' | b':' | b'<' | b'>' | b'"' | b'|' | b'?' | b'*' | 0..=31)) {
        return Some("it has a character that Windows reserves");
    }
    if matches!(part.last(), Some(b'.' | b' ')) {
        return Some("it ends in a dot or a space");
    }
    let stem = part.split(|&b| b == b'.').next().unwrap_or(part).to_ascii_uppercase();
    let device = matches!(stem.as_slice(), b"CON" | b"PRN" | b"AUX" | b"NUL")
        || (stem.len() == 4
            && (stem.starts_with(b"COM") || stem.starts_with(b"LPT"))
            && stem[3].is_ascii_digit());
    device.then_some("it is the name of a device")
}
