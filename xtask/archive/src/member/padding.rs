//! Members that end at multiples of a block: on file systems that can share blocks between files, those that a later
//! archive takes over then cost no room. The zeros that fill the block stand in the gzip header's extra field, in a
//! subfield `PD`, so every reader of gzip passes over them.

use anyhow::{Context, Result, ensure};

use super::{HEADER, HEADER_EXTRA};

/// Name of the subfield.
const NAME: [u8; 2] = *b"PD";
/// Bytes of an extra field with an empty subfield: its length, the subfield's name and length.
const LEAST: usize = 6;
/// The most zeros that one member may have.
const ZEROS_MAX: usize = 8 << 10;

/// The most by which padding makes a member longer, in bytes.
pub const PADDING_MAX: u64 = (LEAST + ZEROS_MAX) as u64;

/// How long the header of a member is, with its padding, in bytes.
///
/// # Errors
/// When it is neither the plain header nor one with this padding and nothing else.
pub(super) fn header_length(member: &[u8]) -> Result<usize> {
    if member.starts_with(&HEADER) {
        return Ok(HEADER.len());
    }
    let wrong = "a gzip header is not as it was written";
    let rest = member.strip_prefix(&HEADER_EXTRA).context(wrong)?;
    let number = |at: usize| rest.get(at..at + 2).map(|two| usize::from(two[0]) | usize::from(two[1]) << 8);
    let (field, zeros) = (number(0).context(wrong)?, number(4).context(wrong)?);
    ensure!(rest.get(2..4) == Some(&NAME) && field == zeros + 4 && zeros <= ZEROS_MAX, wrong);
    let filling = rest.get(LEAST..LEAST + zeros).context(wrong)?;
    ensure!(filling.iter().all(|&byte| byte == 0), "bytes hide in the padding of a gzip header");
    Ok(HEADER_EXTRA.len() + LEAST + zeros)
}

/// The same member, as long as a multiple of `block` bytes, which is at most 4 KiB; without padding where there is no
/// `block`.
///
/// # Errors
/// When it is no member of this format.
pub fn pad(member: Vec<u8>, block: Option<u64>) -> Result<Vec<u8>> {
    let head = header_length(&member)?;
    let Some(block) = block else {
        return Ok(if head == HEADER.len() { member } else { [&HEADER, &member[head..]].concat() });
    };
    let block = usize::try_from(block)?;
    ensure!((1..=ZEROS_MAX / 2).contains(&block), "padding to {block} bytes");
    if member.len().is_multiple_of(block) {
        return Ok(member);
    }
    let least = HEADER_EXTRA.len() + LEAST + member.len() - head;
    let zeros = least.next_multiple_of(block) - least;
    let mut out = Vec::with_capacity(least + zeros);
    out.extend_from_slice(&HEADER_EXTRA);
    // At most as many as fit in a block.
    out.extend_from_slice(&(zeros as u16 + 4).to_le_bytes());
    out.extend_from_slice(&NAME);
    out.extend_from_slice(&(zeros as u16).to_le_bytes());
    out.resize(out.len() + zeros, 0);
    out.extend_from_slice(&member[head..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Compressor, Expander, stored};

    #[test]
    fn members_of_every_length_are_padded_and_come_back() {
        let mut expander = Expander::default();
        for length in (0..9000).step_by(7) {
            let content: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
            let plain = stored(&content);
            let padded = pad(plain.clone(), Some(4096)).unwrap();
            assert_eq!(padded.len() % 4096, 0, "{length}");
            assert!(padded.len() < plain.len() + 4096 + LEAST, "{length}");
            assert_eq!(expander.content(&padded, u64::from(length)).unwrap(), content);
            assert_eq!(pad(padded.clone(), Some(4096)).unwrap(), padded);
            assert_eq!(pad(padded, None).unwrap(), plain);
        }
    }

    #[test]
    fn any_gzip_reader_passes_over_it() {
        let content = b"row of text, ".repeat(9000);
        let member = Compressor::default().member(&content, 4).unwrap();
        let padded = pad(member, Some(4096)).unwrap();
        let mut out = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&padded[..]), &mut out).unwrap();
        assert!(out == content);
    }

    #[test]
    fn no_byte_of_it_is_free() {
        let padded = pad(stored(b"hello"), Some(512)).unwrap();
        let mut expander = Expander::default();
        expander.content(&padded, 5).unwrap();
        for at in 0..padded.len() {
            for bit in 0..8 {
                let mut flipped = padded.clone();
                flipped[at] ^= 1 << bit;
                // A deflate stream has bits that mean nothing; the seal covers them.
                let noticed = expander.content(&flipped, 5).is_err() || at >= padded.len() - 13 - 5;
                assert!(noticed, "byte {at} bit {bit} of {}", padded.len());
            }
        }
        for end in 0..padded.len() {
            assert!(expander.content(&padded[..end], 5).is_err(), "{end}");
        }
    }
}
