//! One gzip member (RFC 1952) in the single form that this format writes: a ten-byte header without name,
//! time or flags, one deflate stream, CRC and length; where the store's file system can share blocks, with padding.
//! Reading accepts that form and no other, so not one byte of a member is without meaning, and the length that the
//! index promises bounds what is inflated.

use anyhow::{Context, Result, ensure};
use libdeflater::{CompressionLvl, Crc, Decompressor};

mod padding;

pub use self::padding::{PADDING_MAX, pad};

/// Magic, deflate, no flags, no time, no extra flags, unknown system.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The same with an extra field.
const HEADER_EXTRA: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// An empty last stored block, CRC 0, length 0.
const EMPTY_BODY: [u8; 13] = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
/// Bytes of checksum and length behind a deflate stream.
const TRAILER: usize = 8;
/// The most that one member may hold; the writer stays far below.
pub const LENGTH_MAX: u64 = 4 << 20;

/// How hard to compress, from 0 (store) to 9.
pub type Level = u8;

/// Content shorter than this is compressed without looking how far that is worth it.
const PROBE_FROM: usize = 32 << 10;
/// Bytes of each of the three samples that are looked at.
const SAMPLE: usize = 4 << 10;

/// Compresses members one after the other with one set of tables.
pub struct Compressor {
    level: Level,
    engine: Option<libdeflater::Compressor>,
    probe: libdeflater::Compressor,
}

impl Default for Compressor {
    /// Tables are set up on demand.
    fn default() -> Compressor {
        // Level 1, the fastest one that compresses.
        let probe = libdeflater::Compressor::new(CompressionLvl::new(1).unwrap_or_default());
        Compressor { level: 0, engine: None, probe }
    }
}

impl Compressor {
    /// A member that holds `content`; what does not get smaller (packs, pictures) is stored.
    ///
    /// # Errors
    /// When the level is not from 0 to 9, or the deflate library fails.
    pub fn member(&mut self, content: &[u8], level: Level) -> Result<Vec<u8>> {
        let level = if level == 0 { 0 } else { self.worth(content, level)? };
        if level == 0 {
            return Ok(stored(content));
        }
        if level != self.level {
            self.engine = None;
        }
        let engine = match &mut self.engine {
            Some(engine) => engine,
            empty => {
                let known = CompressionLvl::new(i32::from(level)).ok().context("no level of compression")?;
                self.level = level;
                empty.insert(libdeflater::Compressor::new(known))
            }
        };
        let mut out = vec![0; HEADER.len() + engine.deflate_compress_bound(content.len())];
        out[..HEADER.len()].copy_from_slice(&HEADER);
        let size = engine.deflate_compress(content, &mut out[HEADER.len()..]).context("deflate failed")?;
        out.truncate(HEADER.len() + size);
        push_trailer(&mut out, content);
        Ok(out)
    }
}

impl Compressor {
    /// The level that is worth its time, at most `level`: 0 where samples from the start, the middle and the end get
    /// smaller by less than 3 %; 1 where they get smaller by little, as numbers, hexadecimal digits and embeddings do,
    /// from which a higher level gains nothing. It depends on the content alone, so unchanged content still gives an
    /// unchanged member.
    fn worth(&mut self, content: &[u8], level: Level) -> Result<Level> {
        if content.len() < PROBE_FROM {
            return Ok(level);
        }
        let mut sample = Vec::with_capacity(3 * SAMPLE);
        for start in [0, content.len() / 2, content.len() - SAMPLE] {
            sample.extend_from_slice(&content[start..start + SAMPLE]);
        }
        let mut out = vec![0; self.probe.deflate_compress_bound(sample.len())];
        let size = self.probe.deflate_compress(&sample, &mut out).context("deflate failed")?;
        Ok(match sample.len() {
            length if size >= length - length / 32 => 0,
            length if size >= length / 5 * 2 => 1,
            _ => level,
        })
    }
}

/// A member that holds `content` uncompressed. Its size depends on the length of the content only, so a
/// header can be put in its place once it is known.
pub fn stored(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 32 + content.len() / 65_535 * 5);
    out.extend_from_slice(&HEADER);
    let mut blocks = content.chunks(65_535).peekable();
    if blocks.peek().is_none() {
        out.extend_from_slice(&EMPTY_BODY[..5]);
    }
    while let Some(block) = blocks.next() {
        // chunks() bounds the length to 16 bits.
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    push_trailer(&mut out, content);
    out
}

/// An empty member whose extra field carries `data` under a two-letter name.
pub fn extra_only(name: [u8; 2], data: &[u8]) -> Vec<u8> {
    let mut out = HEADER_EXTRA.to_vec();
    // Callers pass a few dozen bytes.
    out.extend_from_slice(&(data.len() as u16 + 4).to_le_bytes());
    out.extend_from_slice(&name);
    out.extend_from_slice(&(data.len() as u16).to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&EMPTY_BODY);
    out
}

fn push_trailer(out: &mut Vec<u8>, content: &[u8]) {
    let mut crc = Crc::new();
    crc.update(content);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    // RFC 1952: the length modulo 2^32.
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
}

/// Inflates members one after the other with one set of tables.
pub struct Expander(Decompressor);

impl Default for Expander {
    fn default() -> Expander {
        Expander(Decompressor::new())
    }
}

impl Expander {
    /// The content of exactly one member, which must be `length` bytes.
    ///
    /// # Errors
    /// When any byte is not as the writer writes it, or the length differs.
    pub fn content(&mut self, member: &[u8], length: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.content_into(member, length, &mut out)?;
        Ok(out)
    }

    /// As [`content`](Expander::content), in the memory of an earlier one.
    ///
    /// # Errors
    /// As there; what is in `out` then means nothing.
    pub fn content_into(&mut self, member: &[u8], length: u64, out: &mut Vec<u8>) -> Result<()> {
        ensure!(length <= LENGTH_MAX, "a member of {length} bytes is more than this format allows");
        ensure!(member.len() >= HEADER.len() + TRAILER, "a gzip member is cut short");
        let head = padding::header_length(member)?;
        let length = usize::try_from(length)?;
        // One byte more than promised, so that a longer content shows.
        out.resize(length + 1, 0);
        // The library's own words speak of its function calls.
        let found = self.0.gzip_decompress(member, out).ok().context("its bytes can't be unpacked")?;
        ensure!(found == length, "a member holds {found} bytes, not {length}");
        out.truncate(found);
        let mut trailer = Vec::with_capacity(TRAILER);
        push_trailer(&mut trailer, out);
        self.ends_there(&member[head..], &trailer, found)
    }

    /// Whether nothing follows the deflate stream but its trailer, in a member without its header. The library has
    /// found the trailer right behind the stream, but does not tell where that was. When the member ends in the
    /// trailer and has it nowhere else, it was there. When the same eight bytes are inside as well, by chance or because somebody put a second stream
    /// behind the first, the stream must need its very last byte.
    fn ends_there(&mut self, member: &[u8], trailer: &[u8], length: usize) -> Result<()> {
        let stream = member.strip_suffix(trailer).context("bytes follow a gzip member")?;
        let beyond = &member[..member.len() - 1];
        if beyond.windows(TRAILER).any(|bytes| bytes == trailer) {
            let shorter = &stream[..stream.len().saturating_sub(1)];
            let ended = self.0.deflate_decompress(shorter, &mut vec![0; length]);
            ensure!(ended.is_err(), "bytes follow a gzip member");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Vec<u8>> {
        let noise: Vec<u8> = (0u32..200_000).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        vec![vec![], b"x".to_vec(), vec![0; 70_000], noise, b"row of text, ".repeat(9000)]
    }

    #[test]
    fn every_level_comes_back() {
        let (mut compressor, mut expander) = (Compressor::default(), Expander::default());
        for content in samples() {
            for level in [0, 1, 6, 9, 6] {
                let member = compressor.member(&content, level).unwrap();
                assert_eq!(expander.content(&member, content.len() as u64).unwrap(), content);
                assert!(expander.content(&member, content.len() as u64 + 1).is_err());
                if !content.is_empty() {
                    assert!(expander.content(&member, content.len() as u64 - 1).is_err());
                }
            }
        }
    }

    #[test]
    fn what_does_not_get_smaller_is_stored() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = std::iter::repeat_with(&mut next).take(100_000).collect();
        let mut compressor = Compressor::default();
        assert_eq!(compressor.member(&noise, 6).unwrap(), stored(&noise));
        let half: Vec<u8> = noise.iter().enumerate().map(|(i, &b)| if i % 2 == 0 { b } else { 0 }).collect();
        assert!(compressor.member(&half, 6).unwrap().len() < 80_000);
        let digits: Vec<u8> = noise.iter().map(|byte| b"0123456789abcdef"[usize::from(byte & 15)]).collect();
        let text = b"rows of text that say nearly the same ".repeat(3000);
        let worth = |content: &[u8]| Compressor::default().worth(content, 6).unwrap();
        assert_eq!([worth(&noise), worth(&digits), worth(&text), worth(&text[..99])], [0, 1, 6, 6]);
        let member = compressor.member(&digits, 6).unwrap();
        assert_eq!(member, compressor.member(&digits, 1).unwrap());
        assert!(member.len() < 60_000);
    }

    #[test]
    fn a_cut_or_longer_member_is_noticed() {
        let (mut compressor, mut expander) = (Compressor::default(), Expander::default());
        let member = compressor.member(b"hello hello hello hello", 6).unwrap();
        for end in 0..member.len() {
            assert!(expander.content(&member[..end], 23).is_err(), "{end}");
        }
        assert!(expander.content(&[member, vec![0]].concat(), 23).is_err());
    }

    #[test]
    fn a_second_stream_is_noticed_and_the_same_bytes_by_chance_are_not() {
        let mut expander = Expander::default();
        let content = b"row of text, ".repeat(900);
        let (mut compressor, length) = (Compressor::default(), content.len() as u64);
        let mut trailer = Vec::new();
        push_trailer(&mut trailer, &content);
        for level in [0, 1, 6] {
            let member = compressor.member(&content, level).unwrap();
            // Between two trailers: nothing, other bytes, another stream, the same stream.
            for second in [&b""[..], b"?", &member[HEADER.len()..member.len() - TRAILER], &member] {
                let forged = [&member, second, &trailer].concat();
                assert!(expander.content(&forged, length).is_err(), "{level}: {} bytes", second.len());
            }
        }
        // A stored member may hold its own trailer: its last eight bytes can be chosen so, by solving for the CRC; here
        // any eight bytes that are told to be the trailer stand in for them.
        for level in [0, 6] {
            let member = compressor.member(&content, level).unwrap();
            for inside in [&member[12..20], &member[member.len() - 20..member.len() - 12]] {
                let told = [&member[..member.len() - TRAILER], inside].concat();
                expander.ends_there(&told[HEADER.len()..], inside, content.len()).unwrap();
            }
        }
    }

    #[test]
    fn a_stored_member_has_a_size_known_beforehand() {
        assert_eq!(stored(&[1; 512]).len(), stored(&[2; 512]).len());
    }
}
