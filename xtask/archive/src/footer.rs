//! The end of an archive: a seal, which is an empty gzip member that carries the SHA-256 of every byte
//! before it, and the footer of eStargz (containerd's stargz-snapshotter, `docs/estargz.md`, "Footer"), 51
//! bytes that say where the index starts. Both are compared as a whole, so no byte of them is free.

use anyhow::{Result, ensure};

use crate::base::digest::Digest;
use crate::member;

/// Bytes of the footer.
pub const FOOTER_SIZE: u64 = 51;
/// Bytes of the seal.
pub const SEAL_SIZE: u64 = 61;

const SEAL_NAME: [u8; 2] = *b"XT";
const SEAL_DIGEST_AT: usize = 16;

/// The footer of an archive whose index starts at `index_offset`.
pub fn footer(index_offset: u64) -> Vec<u8> {
    member::extra_only(*b"SG", format!("{index_offset:016x}STARGZ").as_bytes())
}

/// The seal over everything before it.
pub fn seal(digest: &Digest) -> Vec<u8> {
    member::extra_only(SEAL_NAME, digest.bytes())
}

/// Where the index starts.
///
/// # Errors
/// When the bytes are not a footer.
pub fn read_footer(bytes: &[u8]) -> Result<u64> {
    let text = bytes.get(16..32).and_then(|hex| std::str::from_utf8(hex).ok());
    let offset = text.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    ensure!(
        offset.is_some_and(|offset| footer(offset) == bytes),
        "it does not end as an archive of this tool does: it is cut short, damaged, or something else"
    );
    Ok(offset.unwrap_or_default())
}

/// The digest that a seal carries.
///
/// # Errors
/// When the bytes are not a seal.
pub fn read_seal(bytes: &[u8]) -> Result<Digest> {
    let digest = bytes.get(SEAL_DIGEST_AT..SEAL_DIGEST_AT + 32).and_then(|d| <[u8; 32]>::try_from(d).ok());
    let digest = Digest::from_bytes(digest.unwrap_or_default());
    ensure!(seal(&digest) == bytes, "its seal is damaged or missing");
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_their_published_size_and_every_byte_counts() {
        let (footer, seal) = (footer(0xabc), seal(&Digest::of(b"x")));
        assert_eq!((footer.len() as u64, seal.len() as u64), (FOOTER_SIZE, SEAL_SIZE));
        assert_eq!(read_footer(&footer).unwrap(), 0xabc);
        assert_eq!(read_seal(&seal).unwrap(), Digest::of(b"x"));
        for at in 0..footer.len() {
            let mut bytes = footer.clone();
            bytes[at] ^= 0x20;
            // A flipped digit is still a digit at most: another offset, which the index then is not at.
            assert!(read_footer(&bytes).map_or(true, |offset| offset != 0xabc), "{at}");
        }
    }
}
