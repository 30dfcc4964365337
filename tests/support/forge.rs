//! Takes an archive apart and puts it together again with a consistent seal, footer and index, as somebody
//! would who wants to deceive. Written from `xtask/FORMAT.md`, with nothing of the program's own code.

use std::io::{Read, Write};
use std::path::Path;

use flate2::read::{GzDecoder, MultiGzDecoder};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::tree;

/// Bytes of a tar block.
pub const BLOCK: usize = 512;
/// Bytes of the footer, and of the seal before it.
pub const FOOTER: usize = 51;
pub const SEAL: usize = 61;

/// One entry of the tar stream and its line in the index.
#[derive(Clone, Debug)]
pub struct Record {
    /// Header blocks: long names first, the entry's own block last.
    pub head: Vec<u8>,
    pub content: Vec<u8>,
    /// What follows up to the next block.
    pub padding: Vec<u8>,
    /// The line in the index; none leaves it out there. Place and digests are filled in by [`Forge::bytes`].
    pub line: Option<Map<String, Value>>,
    /// Fields of the line that are written as they are here, after everything was filled in.
    pub lies: Map<String, Value>,
    /// Whether the tar stream has it.
    pub in_tar: bool,
}

/// An archive in pieces.
#[derive(Clone, Debug)]
pub struct Forge {
    pub records: Vec<Record>,
    /// Whether `SHA256SUMS` is made anew.
    pub sums: bool,
    /// Bytes after each entry's member, as a member of their own that the table of members knows.
    pub extra: Option<Vec<u8>>,
}

/// A digest in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The index as it stands in an archive, and where its member starts.
pub fn index(bytes: &[u8]) -> (Value, usize) {
    let footer = &bytes[bytes.len() - FOOTER..];
    let offset = usize::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap();
    let mut tar = Vec::new();
    GzDecoder::new(&bytes[offset..]).read_to_end(&mut tar).unwrap();
    assert!(tar.starts_with(b"stargz.index.json\0"));
    let size = octal(&tar[124..136]);
    (serde_json::from_slice(&tar[BLOCK..BLOCK + size]).unwrap(), offset)
}

fn octal(field: &[u8]) -> usize {
    let text: String = field.iter().filter(|b| b.is_ascii_digit()).map(|&b| char::from(b)).collect();
    usize::from_str_radix(&text, 8).unwrap()
}

/// The first member of these bytes, header and trailer included; its content.
pub fn member(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut out = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    let mut deflate = flate2::write::DeflateEncoder::new(&mut out, flate2::Compression::new(6));
    deflate.write_all(content).unwrap();
    deflate.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(content);
    out.extend(crc.sum().to_le_bytes());
    out.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    out
}

fn empty(name: &[u8; 2], note: &[u8]) -> Vec<u8> {
    let length = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let parts: [&[u8]; 6] =
        [b"\x1f\x8b\x08\x04\0\0\0\0\0\xff", &length(note.len() + 4), name, &length(note.len()), note, &[1]];
    [&parts.concat(), b"\0\0\xff\xff\0\0\0\0\0\0\0\0".as_slice()].concat()
}

/// A header block of GNU's kind with a right checksum.
pub fn header(name: &[u8], kind: u8, size: usize, target: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000644\x000000000\x000000000\x00");
    put(124, format!("{size:011o}\0{:011o}\0", 1_700_000_000).as_bytes());
    put(156, &[kind]);
    put(157, target);
    put(257, b"ustar  \0");
    checksum(&mut block);
    block
}

/// Makes the checksum of a header's last block right again.
pub fn checksum(head: &mut [u8]) {
    let start = head.len() - BLOCK;
    let block = &mut head[start..];
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
}

impl Record {
    /// An entry that is not in the archive yet; `kind` as in a tar header.
    pub fn new(name: &[u8], kind: u8, content: &[u8], target: &[u8]) -> Record {
        let text = std::str::from_utf8(name).unwrap();
        let word = match kind {
            b'0' => "reg",
            b'1' => "hardlink",
            b'2' => "symlink",
            b'3' => "char",
            b'5' => "dir",
            b'6' => "fifo",
            _ => panic!("no kind {kind}"),
        };
        let mut line = Map::new();
        line.insert("name".into(), json!(text));
        line.insert("type".into(), json!(word));
        line.insert("modtime".into(), json!("2023-11-14T22:13:20Z"));
        line.insert("mode".into(), json!(0o644));
        if !target.is_empty() {
            line.insert("linkName".into(), json!(std::str::from_utf8(target).unwrap()));
        }
        let padding = vec![0; content.len().next_multiple_of(BLOCK) - content.len()];
        Record {
            head: header(name, kind, content.len(), target),
            content: content.to_vec(),
            padding,
            line: Some(line),
            lies: Map::new(),
            in_tar: true,
        }
    }

    /// Its name in the index.
    pub fn name(&self) -> &str {
        self.line.as_ref().map_or("", |line| line["name"].as_str().unwrap())
    }

    /// Another content, with the size put right in the header.
    pub fn replace(&mut self, content: &[u8]) {
        let start = self.head.len() - BLOCK;
        let size = format!("{:011o}\0", content.len());
        self.head[start + 124..start + 136].copy_from_slice(size.as_bytes());
        checksum(&mut self.head);
        self.content = content.to_vec();
        self.padding = vec![0; content.len().next_multiple_of(BLOCK) - content.len()];
    }
}

impl Forge {
    /// Takes an archive apart.
    pub fn open(path: &Path) -> Forge {
        let bytes = std::fs::read(path).unwrap();
        let (index, offset) = index(&bytes);
        let mut tar = Vec::new();
        MultiGzDecoder::new(&bytes[..offset]).read_to_end(&mut tar).unwrap();
        let mut lines = index["entries"].as_array().unwrap().iter().filter(|line| line["type"] != "chunk");
        let (mut records, mut at) = (Vec::new(), 0);
        while at < tar.len() {
            let start = at;
            while matches!(tar[at + 156], b'L' | b'K') {
                at += BLOCK + octal(&tar[at + 124..at + 136]).next_multiple_of(BLOCK);
            }
            let size = octal(&tar[at + 124..at + 136]);
            at += BLOCK;
            let end = at + size.next_multiple_of(BLOCK);
            records.push(Record {
                head: tar[start..at].to_vec(),
                content: tar[at..at + size].to_vec(),
                padding: tar[at + size..end].to_vec(),
                line: Some(lines.next().unwrap().as_object().unwrap().clone()),
                lies: Map::new(),
                in_tar: true,
            });
            at = end;
        }
        Forge { records, sums: true, extra: None }
    }

    /// Where an entry stands.
    #[track_caller]
    pub fn at(&self, name: &str) -> usize {
        self.records.iter().position(|record| record.name() == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// The entry of a name.
    #[track_caller]
    pub fn record(&mut self, name: &str) -> &mut Record {
        let at = self.at(name);
        &mut self.records[at]
    }

    /// Adds an entry at the end of the files, before the manifest.
    pub fn add(&mut self, record: Record) {
        let at = self.at("backup/manifest.json");
        self.records.insert(at, record);
    }

    /// Changes the manifest.
    pub fn manifest(&mut self, change: impl FnOnce(&mut Value)) {
        let record = self.record("backup/manifest.json");
        let mut manifest: Value = serde_json::from_slice(&record.content).unwrap();
        change(&mut manifest);
        record.replace(&serde_json::to_vec_pretty(&manifest).unwrap());
    }

    /// The archive: each entry with a member of its own, everything consistent but what was made to lie.
    pub fn bytes(&self) -> Vec<u8> {
        let mut records = self.records.clone();
        if self.sums {
            let files = records.iter().filter(|r| r.line.as_ref().is_some_and(|line| line["type"] == "reg"));
            let lines: Vec<String> = files
                .filter(|record| record.name() != "backup/SHA256SUMS")
                .filter_map(|record| Some((record.name().strip_prefix("backup/")?, record)))
                .map(|(name, record)| format!("{}  {name}\n", sha256(&record.content)))
                .collect();
            if let Some(sums) = records.iter_mut().find(|record| record.name() == "backup/SHA256SUMS") {
                sums.replace(lines.concat().as_bytes());
            }
        }
        let (mut out, mut members, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for record in &records {
            let offset = out.len();
            if record.in_tar {
                let content = [record.head.as_slice(), &record.content, &record.padding].concat();
                let bytes = compressed(&content);
                members
                    .push(json!({"size": bytes.len(), "length": content.len(), "digest": sha256(&content)}));
                out.extend(bytes);
            }
            let Some(mut line) = record.line.clone() else { continue };
            for gone in ["offset", "innerOffset", "size", "digest", "chunkSize", "chunkDigest"] {
                line.remove(gone);
            }
            if line["type"] == "reg" {
                let digest = json!(format!("sha256:{}", sha256(&record.content)));
                line.insert("digest".into(), digest.clone());
                if !record.content.is_empty() {
                    for (field, number) in [
                        ("size", record.content.len()),
                        ("offset", offset),
                        ("innerOffset", record.head.len()),
                    ] {
                        line.insert(field.into(), json!(number));
                    }
                    line.insert("chunkDigest".into(), digest);
                }
            }
            line.extend(record.lies.clone());
            entries.push(Value::Object(line));
        }
        if let Some(extra) = &self.extra {
            let bytes = compressed(extra);
            members.push(json!({"size": bytes.len(), "length": extra.len()}));
            out.extend(bytes);
        }
        let list = |values: &[Value]| Value::Array(values.to_vec()).to_string();
        let json =
            format!("{{\"version\":1,\"members\":{},\"entries\":{}}}\n", list(&members), list(&entries));
        let offset = out.len();
        let mut tar = header(b"stargz.index.json", b'0', json.len(), b"");
        tar.extend(json.as_bytes());
        tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
        out.extend(compressed(&tar));
        let seal: Vec<u8> = Sha256::digest(&out).to_vec();
        out.extend(empty(b"XT", &seal));
        out.extend(empty(b"SG", format!("{offset:016x}STARGZ").as_bytes()));
        out
    }
}

/// Puts an archive in place of another one, with a digest file that fits and no summary.
pub fn plant(archive: &Path, bytes: &[u8]) {
    std::fs::write(archive, bytes).unwrap();
    let name = archive.file_name().unwrap().to_str().unwrap();
    std::fs::write(archive.with_file_name(format!("{name}.sha256")), format!("{}  {name}\n", sha256(bytes)))
        .unwrap();
    let summary = archive.with_file_name(name.replace(".tar.gz", ".json"));
    if summary.exists() {
        std::fs::remove_file(summary).unwrap();
    }
    assert_eq!(tree::sha256(archive), sha256(bytes));
}
