//! An absolute path of some machine as raw bytes, for files that are read on other machines too: it is
//! compared and shown, never opened. In JSON it is text, or an object with base64 where it is not UTF-8.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::escape::escape;
use super::os_name;

/// An absolute path as raw bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawPath(pub Vec<u8>);

impl RawPath {
    /// The bytes of a path of this machine.
    ///
    /// # Errors
    /// On Windows, when it is not Unicode.
    pub fn of(path: &Path) -> Result<RawPath> {
        Ok(RawPath(os_name::from_os(path.as_os_str())?))
    }
}

impl fmt::Display for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", escape(&self.0))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Raw { text: String, base64: String },
}

impl Serialize for RawPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Form::Text(text.to_owned()),
            Err(_) => Form::Raw { text: escape(&self.0), base64: BASE64.encode(&self.0) },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawPath, D::Error> {
        Ok(RawPath(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into_bytes(),
            Form::Raw { base64, .. } => BASE64.decode(base64.as_bytes()).map_err(serde::de::Error::custom)?,
        }))
    }
}
