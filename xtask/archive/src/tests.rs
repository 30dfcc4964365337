//! The format as a whole: what is written comes back, and nothing can be changed unnoticed.

use std::fs;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xtask_testing as in_memory;

use crate::audit::audit;
use crate::base::digest::Digest;
use crate::base::safe_path::SafePath;
use crate::header::{Kind, Meta};
use crate::index::Entry;
use crate::reader::{Archive, Sink};
use crate::reuse::{Broken, Reuse, Reused};
use crate::writer::{CHUNK, Writer};

fn meta(path: &[u8]) -> Meta {
    Meta { path: SafePath::new(path).unwrap(), mode: 0o640, uid: 5, gid: 6, mtime_s: 1_700_000_000 }
}

fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(size)
    .collect()
}

struct Sample {
    _folder: tempfile::TempDir,
    path: PathBuf,
    contents: Vec<(Vec<u8>, Vec<u8>)>,
}

fn write(large: usize, smalls: u32) -> Sample {
    write_with(large, smalls, None)
}

fn write_with(large: usize, smalls: u32, reuse: Option<Arc<Reuse>>) -> Sample {
    write_padded(large, smalls, reuse, None)
}

fn write_padded(large: usize, smalls: u32, reuse: Option<Arc<Reuse>>, block: Option<u64>) -> Sample {
    let folder = in_memory::tempdir().unwrap();
    let path = folder.path().join("a.tar.gz");
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    let mut writer = Writer::new(file, 2, 6, reuse, block).unwrap();
    let mut contents = Vec::new();
    writer.folder(meta(b"backup")).unwrap();
    writer.small(meta(b"backup/empty"), b"").unwrap();
    for i in 0..smalls {
        let name =
            [b"backup/".as_slice(), &vec![b'\xe9'; 1 + 60 * i as usize % 300], i.to_string().as_bytes()]
                .concat();
        let content = noise(i as usize * 37 % 3000, i);
        writer.small(meta(&name), &content).unwrap();
        contents.push((name, content));
    }
    writer.link(meta(b"backup/link"), b"../\xff".to_vec()).unwrap();
    for (name, size) in [("backup/taken back", large), ("backup/large", large), ("backup/nothing", 0)] {
        let content = noise(size, 7);
        writer.begin(meta(name.as_bytes()), 6).unwrap();
        for chunk in content.chunks(CHUNK) {
            writer.chunk(chunk.to_vec()).unwrap();
        }
        if name == "backup/taken back" {
            writer.abort().unwrap();
            continue;
        }
        assert_eq!(writer.end().unwrap(), (size as u64, Digest::of(&content)));
        contents.push((name.into(), content));
    }
    let finished = writer.finish(1_700_000_000).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!((finished.size, finished.digest), (bytes.len() as u64, Digest::of(&bytes)));
    Sample { _folder: folder, path, contents }
}

#[derive(Default)]
struct Collect(Vec<(Vec<u8>, Vec<u8>)>);

impl Sink for Collect {
    fn begin(&mut self, entry: &Entry) -> anyhow::Result<()> {
        self.0.push((entry.meta.path.bytes().to_vec(), Vec::new()));
        Ok(())
    }
    fn data(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.0.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }
    fn end(&mut self, _entry: &Entry) -> anyhow::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_written_comes_back() {
    let sample = write(1_000_000, 500);
    let archive = Archive::open(&sample.path).unwrap();
    assert_eq!(audit(&archive, &()).unwrap(), Digest::of(&fs::read(&sample.path).unwrap()));
    let mut all = Collect::default();
    archive.read(|entry| matches!(entry.kind, Kind::File { .. }), &mut all).unwrap();
    for (name, content) in &sample.contents {
        assert!(all.0.contains(&(name.clone(), content.clone())));
        assert_eq!(&archive.content(&SafePath::new(name.as_slice()).unwrap(), 1 << 30).unwrap(), content);
    }
    assert!(archive.entry(&SafePath::new("backup/taken back").unwrap()).is_none());
    let mut links = Collect::default();
    archive.read(|entry| matches!(entry.kind, Kind::Link { .. }), &mut links).unwrap();
    assert_eq!(links.0.len(), 1);
}

/// A stream gives what reading gives, tells of its bytes, and never takes damage for the end.
#[test]
fn a_stream_ends_at_the_end_or_with_an_error() {
    let sample = write(1_000_000, 20);
    let archive = Archive::open(&sample.path).unwrap();
    for (name, content) in &sample.contents {
        let (mut read, told) = (Vec::new(), std::cell::Cell::new(0));
        let tell = |bytes| told.set(told.get() + bytes);
        let path = SafePath::new(name.as_slice()).unwrap();
        archive.stream(&path, &tell, |stream| stream.read_to_end(&mut read)).unwrap().unwrap();
        assert!(read == *content && told.get() == content.len() as u64);
        // Whoever has enough stops.
        let first = archive.stream(&path, &|_| {}, |stream| stream.fill_buf().map(<[u8]>::len)).unwrap();
        assert!(first.unwrap() <= content.len());
    }
    let large = SafePath::new("backup/large").unwrap();
    let member = archive.entry(&large).unwrap().chunks[7].member;
    let mut bytes = fs::read(&sample.path).unwrap();
    let at = archive.index().offsets()[member] + archive.index().members[member].size / 2;
    bytes[usize::try_from(at).unwrap()] ^= 1;
    fs::write(&sample.path, bytes).unwrap();
    let archive = Archive::open(&sample.path).unwrap();
    let mut read = Vec::new();
    let error = archive.stream(&large, &|_| {}, |stream| {
        assert!(stream.read_to_end(&mut read).is_err() && stream.fill_buf().is_err());
    });
    assert_eq!(read.len(), 7 * CHUNK);
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("is damaged"), "{error}");
    for name in ["backup/link", "backup/absent"] {
        assert!(archive.stream(&SafePath::new(name).unwrap(), &|_| {}, |_| {}).is_err(), "{name}");
    }
}

#[test]
fn the_same_input_gives_the_same_members() {
    let members = |sample: &Sample| Archive::open(&sample.path).unwrap().index().members.clone();
    assert_eq!(members(&write(300_000, 400)), members(&write(300_000, 400)));
}

#[test]
fn what_an_earlier_archive_holds_is_taken_over() {
    let earlier = write(300_000, 400);
    let reuse = Arc::new(Reuse::of(Archive::open(&earlier.path).unwrap()));
    let later = write_with(300_000, 400, Some(Arc::clone(&reuse)));
    assert_eq!(fs::read(&later.path).unwrap(), fs::read(&earlier.path).unwrap());
    let Reused { bytes, damaged, .. } = reuse.so_far();
    let size = fs::metadata(&earlier.path).unwrap().len();
    // Not the headers of large files, and neither checksums nor index; `taken back` was handed in, too.
    assert!(damaged == 0 && bytes > size * 3 / 4, "{bytes} of {size} bytes");
    // One file more: its member is another one, and those behind it are the same.
    let reuse = Arc::new(Reuse::of(Archive::open(&earlier.path).unwrap()));
    let later = write_with(300_000, 401, Some(Arc::clone(&reuse)));
    assert!(reuse.so_far().bytes > size / 2, "{:?} of {size} bytes", reuse.so_far());
    let archive = Archive::open(&later.path).unwrap();
    audit(&archive, &()).unwrap();
    for (name, content) in &later.contents {
        assert_eq!(&archive.content(&SafePath::new(name.as_slice()).unwrap(), 1 << 30).unwrap(), content);
    }
}

/// With padding, and without, and each from the other: the same content, and members that end at blocks.
#[test]
fn padded_members_come_back_and_are_taken_over() {
    let reuse = |sample: &Sample| Some(Arc::new(Reuse::of(Archive::open(&sample.path).unwrap())));
    let plain = write(300_000, 400);
    let padded = write_padded(300_000, 400, None, Some(4096));
    let from_plain = write_padded(300_000, 400, reuse(&plain), Some(4096));
    let from_padded = write_padded(300_000, 400, reuse(&padded), Some(4096));
    let back = write_padded(300_000, 400, reuse(&padded), None);
    // Counted once, whether by the kernel or by us; what was taken back is counted, too.
    let counted = reuse(&padded);
    let again = write_padded(300_000, 400, counted.clone(), Some(4096));
    let (bytes, size) = (counted.unwrap().so_far().bytes, fs::metadata(&again.path).unwrap().len());
    assert!(bytes > size / 2 && bytes < size + 320_000, "{bytes} of {size} bytes");
    for sample in [&padded, &from_plain, &from_padded, &back] {
        let archive = Archive::open(&sample.path).unwrap();
        audit(&archive, &()).unwrap();
        for (name, content) in &sample.contents {
            assert!(&archive.content(&SafePath::new(name.as_slice()).unwrap(), 1 << 30).unwrap() == content);
        }
        let ends = archive.index().members.iter().map(|member| member.size % 4096);
        assert_eq!(
            ends.clone().all(|end| end == 0),
            sample.path != back.path,
            "{:?}",
            ends.collect::<Vec<_>>()
        );
    }
    assert!(fs::read(&from_padded.path).unwrap() == fs::read(&padded.path).unwrap());
    assert!(fs::read(&back.path).unwrap() == fs::read(&plain.path).unwrap());
}

/// Promise: damage never travels from an earlier archive, wherever it is.
#[test]
fn damage_is_not_taken_over() {
    let earlier = write(3000, 6);
    let bytes = fs::read(&earlier.path).unwrap();
    let (mut noticed, mut meaningless) = (0, 0);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&earlier.path, &flipped).unwrap();
        // An index that does not verify is no source.
        let Ok(archive) = Archive::open(&earlier.path) else { continue };
        let reuse = Arc::new(Reuse::of(archive));
        let later = write_with(3000, 6, Some(Arc::clone(&reuse)));
        noticed += u64::from(reuse.so_far().damaged > 0);
        if fs::read(&later.path).unwrap() == bytes {
            continue;
        }
        // Deflate has bits that mean nothing, where it fills up a byte; with one of them changed, it is another
        // way to write the same content.
        meaningless += 1;
        let archive = Archive::open(&later.path).unwrap();
        audit(&archive, &()).unwrap();
        for (name, content) in &later.contents {
            assert_eq!(&archive.content(&SafePath::new(name.as_slice()).unwrap(), 1 << 30).unwrap(), content);
        }
    }
    assert!(noticed > 3000 && meaningless < 20, "{noticed} and {meaningless} of {} bytes", bytes.len());
}

/// Everything of an earlier archive carried over, none of it read from anywhere else.
fn carry_all(earlier: &Sample) -> anyhow::Result<(tempfile::TempDir, Archive)> {
    let reuse = Arc::new(Reuse::of(Archive::open(&earlier.path)?));
    let folder = in_memory::tempdir()?;
    let path = folder.path().join("b.tar.gz");
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    let mut writer = Writer::new(file, 2, 6, Some(Arc::clone(&reuse)), None)?;
    for entry in &reuse.archive().index().entries {
        let meta = entry.meta.clone();
        match &entry.kind {
            _ if entry.meta.path.bytes().starts_with(b".no") || entry.meta.path.name() == b"SHA256SUMS" => {}
            Kind::Folder => writer.folder(meta)?,
            Kind::Link { target } => writer.link(meta, target.clone())?,
            Kind::File { size: 0 } => writer.small(meta, b"")?,
            Kind::File { .. } => assert!(writer.carry(meta, entry)?),
        }
    }
    writer.finish(1_700_000_000)?;
    Ok((folder, Archive::open(&path)?))
}

#[test]
fn what_is_carried_over_unread_is_what_was_there() {
    let earlier = write(300_000, 400);
    let (folder, later) = carry_all(&earlier).unwrap();
    audit(&later, &()).unwrap();
    let said = |archive: &Archive| -> Vec<_> {
        let entries = archive.index().entries.iter();
        entries.map(|entry| (entry.meta.clone(), entry.kind.clone(), entry.digest)).collect()
    };
    assert!(said(&later) == said(&Archive::open(&earlier.path).unwrap()));
    drop(folder);
    // And so it is when the members are cut elsewhere: one file less, in front of all others.
    let earlier = write(300_000, 401);
    let reuse = Arc::new(Reuse::of(Archive::open(&earlier.path).unwrap()));
    let folder = in_memory::tempdir().unwrap();
    let path = folder.path().join("b.tar.gz");
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    let mut writer = Writer::new(file, 2, 6, Some(Arc::clone(&reuse)), None).unwrap();
    writer.folder(meta(b"backup")).unwrap();
    let kept = &earlier.contents[3..earlier.contents.len() - 2];
    for (name, _) in kept {
        let entry = reuse.archive().entry(&SafePath::new(name.as_slice()).unwrap()).unwrap();
        assert!(writer.carry(entry.meta.clone(), entry).unwrap());
    }
    writer.finish(1_700_000_000).unwrap();
    let later = Archive::open(&path).unwrap();
    audit(&later, &()).unwrap();
    for (name, content) in kept {
        assert_eq!(&later.content(&SafePath::new(name.as_slice()).unwrap(), 1 << 30).unwrap(), content);
    }
}

/// Promise: damage never travels, also where nothing was read: it shows while writing or when the result is checked.
#[test]
fn damage_is_not_carried_over() {
    let earlier = write(200_000, 6);
    let bytes = fs::read(&earlier.path).unwrap();
    let mut noticed = 0;
    for at in (0..bytes.len()).step_by(61) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&earlier.path, &flipped).unwrap();
        let carried =
            carry_all(&earlier).and_then(|(folder, later)| audit(&later, &()).map(|_| (folder, later)));
        let Ok((_folder, later)) = carried else {
            noticed += 1;
            continue;
        };
        for (name, content) in &earlier.contents {
            assert_eq!(&later.content(&SafePath::new(name.as_slice()).unwrap(), 1 << 30).unwrap(), content);
        }
    }
    assert!(noticed > 2000, "{noticed} of {}", bytes.len() / 61);
}

/// An earlier archive that goes away, gets shorter or can't be read is told apart from an error of the new one.
#[test]
fn an_earlier_archive_that_goes_away_is_to_blame() {
    let spoilers: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::File::options().write(true).open(path).unwrap().set_len(10).unwrap(),
        |path| fs::File::options().write(true).open(path).unwrap().set_len(150_000).unwrap(),
        |path| {
            // It can be opened where a file can, and not be read.
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
    ];
    for (case, spoil) in spoilers.iter().enumerate() {
        let earlier = write(300_000, 6);
        let reuse = Arc::new(Reuse::of(Archive::open(&earlier.path).unwrap()));
        spoil(&earlier.path);
        let folder = in_memory::tempdir().unwrap();
        let path = folder.path().join("b.tar.gz");
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        let mut writer = Writer::new(file, 2, 6, Some(Arc::clone(&reuse)), None).unwrap();
        writer.folder(meta(b"backup")).unwrap();
        let entry = reuse.archive().entry(&SafePath::new("backup/large").unwrap()).unwrap();
        let carried = writer.carry(entry.meta.clone(), entry);
        let error = carried.and_then(|_| writer.finish(1_700_000_000).map(|_| ())).unwrap_err();
        assert!(error.is::<Broken>(), "case {case}: {error:#}");
    }
}

/// Promise: verify notices every flipped byte, also without the `.sha256` file. There is no exception: gzip
/// headers have one form, and the seal covers what they don't.
#[test]
fn every_flipped_byte_is_noticed() {
    let sample = write(1000, 6);
    let bytes = fs::read(&sample.path).unwrap();
    assert!(bytes.len() < 20_000, "{} bytes are too many for this test", bytes.len());
    for at in 0..bytes.len() {
        for mask in [0xff, 1 << (at % 8)] {
            let mut flipped = bytes.clone();
            flipped[at] ^= mask;
            fs::write(&sample.path, &flipped).unwrap();
            let noticed = Archive::open(&sample.path).and_then(|archive| audit(&archive, &())).is_err();
            assert!(noticed, "byte {at} of {}", bytes.len());
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let sample = write(1000, 3);
    let bytes = fs::read(&sample.path).unwrap();
    for end in 0..bytes.len() {
        fs::write(&sample.path, &bytes[..end]).unwrap();
        let noticed = Archive::open(&sample.path).and_then(|archive| audit(&archive, &())).is_err();
        assert!(noticed, "cut after {end} of {}", bytes.len());
    }
    fs::write(&sample.path, [bytes.as_slice(), &[0]].concat()).unwrap();
    assert!(Archive::open(&sample.path).is_err());
}

/// Promise: who reads one entry, and so not all that the seal covers, never gets another index.
#[test]
fn every_flipped_byte_of_the_index_is_noticed_on_opening() {
    let sample = write(1000, 6);
    let bytes = fs::read(&sample.path).unwrap();
    let archive = Archive::open(&sample.path).unwrap();
    let start = usize::try_from(*archive.index().offsets().last().unwrap()).unwrap();
    let end = usize::try_from(archive.seal_offset).unwrap();
    for at in start..end {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&sample.path, &flipped).unwrap();
        // Two ways to compress the same zeros give the same index; the seal tells them apart.
        let other = Archive::open(&sample.path).is_ok_and(|opened| {
            opened.index().entries != archive.index().entries
                || opened.index().members != archive.index().members
                || at < end - 30
        });
        assert!(!other, "byte {at}, the index is {start}..{end}");
    }
}
