//! Tar headers, both ways: POSIX ustar blocks with GNU's long names and sizes, which every tar reads, raw
//! bytes in the names. The `tar` crate knows the fields; here stands which of them this format uses.

use anyhow::{Context, Result, bail, ensure};
use tar::{EntryType, Header};

use crate::base::safe_path::SafePath;

/// Bytes of a tar block.
pub const BLOCK: usize = 512;
const NAME_MAX: usize = 100;
/// Longer names are no names of this format.
const LONG_MAX: u64 = 64 << 10;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes.
    File {
        /// Bytes of content.
        size: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link and the raw bytes it holds.
    Link {
        /// Where it points.
        target: Vec<u8>,
    },
}

/// What a tar header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its path in the archive.
    pub path: SafePath,
    /// Permission bits, at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime_s: i64,
}

/// The blocks of an entry's header: for long names and targets, GNU's extra entries first.
///
/// # Errors
/// When the `tar` crate refuses a field.
pub fn write(meta: &Meta, kind: &Kind) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(BLOCK);
    let mut name = meta.path.bytes().to_vec();
    if matches!(kind, Kind::Folder) {
        name.push(b'/');
    }
    if let Kind::Link { target } = kind
        && target.len() > NAME_MAX
    {
        push_long(&mut out, EntryType::GNULongLink, target);
    }
    if name.len() > NAME_MAX {
        push_long(&mut out, EntryType::GNULongName, &name);
    }
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    copy_cut(&mut old.name, &name);
    let (entry_type, size) = match kind {
        Kind::File { size } => (EntryType::Regular, *size),
        Kind::Folder => (EntryType::Directory, 0),
        Kind::Link { target } => {
            copy_cut(&mut old.linkname, target);
            (EntryType::Symlink, 0)
        }
    };
    header.set_entry_type(entry_type);
    header.set_size(size);
    header.set_mode(meta.mode);
    header.set_uid(u64::from(meta.uid));
    header.set_gid(u64::from(meta.gid));
    // Before 1970 is no time of a tar header that every reader takes.
    header.set_mtime(u64::try_from(meta.mtime_s).unwrap_or(0));
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    Ok(out)
}

fn push_long(out: &mut Vec<u8>, entry_type: EntryType, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    copy_cut(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_entry_type(entry_type);
    header.set_size(bytes.len() as u64 + 1);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(bytes);
    out.push(0);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

fn copy_cut(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// How many zero bytes follow a content of this size.
pub fn padding(size: u64) -> usize {
    // Less than a block.
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

/// What comes next in a tar stream, as far as its first block tells.
#[derive(Debug)]
pub enum Block {
    /// A block of zeros: the end.
    Zero,
    /// So many bytes of a long name (or, when `link`, of a long target) follow, and padding.
    Long {
        /// Whether it is a link's target.
        link: bool,
        /// Bytes, the closing NUL included.
        size: u64,
    },
    /// An entry of its own.
    Entry(Box<Header>),
}

/// Reads one block.
///
/// # Errors
/// When its checksum is wrong or it is of a type that this format does not write.
pub fn read_block(block: &[u8; BLOCK]) -> Result<Block> {
    if block.iter().all(|&b| b == 0) {
        return Ok(Block::Zero);
    }
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(block);
    let sum: u32 =
        block.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u32::from(b) }).sum();
    ensure!(header.cksum().ok() == Some(sum), "a tar header's checksum does not match");
    Ok(match header.entry_type() {
        kind @ (EntryType::GNULongName | EntryType::GNULongLink) => {
            let size = header.entry_size()?;
            ensure!((1..=LONG_MAX).contains(&size), "a name of {size} bytes");
            Block::Long { link: kind == EntryType::GNULongLink, size }
        }
        EntryType::Regular | EntryType::Directory | EntryType::Symlink => Block::Entry(Box::new(header)),
        other => bail!("a tar entry of type {:?}, which this format does not have", other.as_byte() as char),
    })
}

/// What an entry's block says, together with the long name and target that came before it.
///
/// # Errors
/// When the path is no safe one or a field does not parse.
pub fn read_entry(
    header: &Header,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
) -> Result<(Meta, Kind)> {
    let mut name = long_name.unwrap_or_else(|| header.path_bytes().into_owned());
    let kind = match header.entry_type() {
        EntryType::Directory => {
            ensure!(name.pop() == Some(b'/'), "a folder's name does not end in a slash");
            Kind::Folder
        }
        EntryType::Symlink => {
            let short = header.link_name_bytes().map(std::borrow::Cow::into_owned);
            Kind::Link { target: long_link.or(short).context("a link without a target")? }
        }
        _ => Kind::File { size: header.entry_size()? },
    };
    let meta = Meta {
        path: SafePath::new(name)?,
        mode: header.mode()?,
        uid: u32::try_from(header.uid()?)?,
        gid: u32::try_from(header.gid()?)?,
        mtime_s: i64::try_from(header.mtime()?)?,
    };
    Ok((meta, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_the_tar_crate_reads_them() {
        for length in [1, 99, 100, 101, 255, 600] {
            for kind in [Kind::File { size: 3 }, Kind::Folder, Kind::Link { target: vec![b't'; length] }] {
                let path = SafePath::new(vec![b'\xe9'; length]).unwrap();
                let meta = Meta { path, mode: 0o4755, uid: 70_000, gid: 3_000_000, mtime_s: 1_700_000_000 };
                let mut bytes = write(&meta, &kind).unwrap();
                if kind == (Kind::File { size: 3 }) {
                    bytes.extend_from_slice(b"abc");
                    bytes.resize(bytes.len() + padding(3), 0);
                }
                bytes.resize(bytes.len() + 2 * BLOCK, 0);
                let mut archive = tar::Archive::new(bytes.as_slice());
                let entry = archive.entries().unwrap().next().unwrap().unwrap();
                let mut name = entry.path_bytes().into_owned();
                if kind == Kind::Folder {
                    assert_eq!(name.pop(), Some(b'/'));
                }
                assert_eq!(name, meta.path.bytes());
                assert_eq!(entry.header().uid().unwrap(), 70_000);
                if let Kind::Link { target } = &kind {
                    assert_eq!(entry.link_name_bytes().unwrap().as_ref(), target);
                }
            }
        }
    }

    #[test]
    fn sizes_beyond_eight_gigabytes_fit() {
        let meta = Meta { path: SafePath::new("x").unwrap(), mode: 0, uid: 0, gid: 0, mtime_s: 0 };
        let bytes = write(&meta, &Kind::File { size: 20 << 30 }).unwrap();
        let block: &[u8; BLOCK] = bytes.as_slice().try_into().unwrap();
        let Block::Entry(header) = read_block(block).unwrap() else { panic!() };
        assert_eq!(read_entry(&header, None, None).unwrap(), (meta, Kind::File { size: 20 << 30 }));
    }

    #[test]
    fn a_device_is_refused() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Char);
        header.set_cksum();
        assert!(read_block(header.as_bytes()).is_err());
    }
}
