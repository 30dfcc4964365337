"""Reads a backup by its index, as xtask/FORMAT.md describes it and with nothing else.

    python3 read_by_index.py ARCHIVE          checks every digest and lists the entries
    python3 read_by_index.py ARCHIVE NAME     writes one file to stdout; reads the index and the file's chunks only
"""
import base64, hashlib, io, json, struct, sys, tarfile, zlib

def need(truth, what):
    if not truth:
        sys.exit(f"{sys.argv[1]}: {what}")  # exit code 1

def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()

def piece(file, start, size):
    file.seek(start)
    found = file.read(size)
    need(len(found) == size, f"ends within the {size} bytes at {start}")
    return found

def content(file, start, size):
    member, stream = piece(file, start, size), zlib.decompressobj(31)
    zeros = struct.unpack("<H", member[14:16])[0]
    padded = bytes.fromhex("1f8b08040000000000ff") + struct.pack("<H2sH", zeros + 4, b"PD", zeros) + bytes(zeros)
    need(member.startswith((bytes.fromhex("1f8b08000000000000ff"), padded)), f"no member at {start}")
    out = stream.decompress(member)
    need(stream.eof and not stream.unused_data, f"the member at {start} is not {size} bytes long")
    return out

def note(file, start, name, size):  # what an empty member carries
    tail = b"\x01\x00\x00\xff\xff" + bytes(8)
    head = bytes.fromhex("1f8b08040000000000ff") + struct.pack("<H2sH", size + 4, name, size)
    found = piece(file, start, len(head) + size + len(tail))
    need(found.startswith(head) and found.endswith(tail), f"no {name.decode()} member at {start}")
    return found[len(head):-len(tail)]

def load(file):
    end = file.seek(0, 2) - 51 - 61
    need(end > 0, "too short")
    footer = note(file, end + 61, b"SG", 22)
    need(footer[16:] == b"STARGZ", "no footer")
    at = int(footer[:16], 16)
    tar = tarfile.open(fileobj=io.BytesIO(content(file, at, end - at)))
    need(tar.getnames() == ["stargz.index.json"], "the last entry is not the index")
    index, members, start = json.load(tar.extractfile(tar.getmembers()[0])), {}, 0
    for member in index["members"]:
        members[start] = member
        start += member["size"]
    need(index["version"] == 1 and start == at, "the members do not end where the index begins")
    return index["entries"], members, end, note(file, end, b"XT", 32)

def name(entry):
    return base64.b64decode(entry["nameBase64"]) if "nameBase64" in entry else entry["name"].encode()

def main(path, wanted=None):
    file, files, cache = open(path, "rb"), {}, (None, b"")
    entries, members, end, seal = load(file)
    if wanted is None:
        whole = hashlib.sha256()
        for start in range(0, end, 1 << 20):
            whole.update(piece(file, start, min(1 << 20, end - start)))
        need(whole.digest() == seal, "the seal does not match")
        for start, member in members.items():
            inside = content(file, start, member["size"])
            need(len(inside) == member["length"], f"the member at {start} has another length")
            need(member.get("digest", digest(inside)[7:]) == digest(inside)[7:], f"the member at {start} is damaged")
    for entry in entries:
        if entry["type"] not in ("reg", "chunk") or wanted not in (None, name(entry)):
            continue
        (first, whole), start = files.setdefault(name(entry), (entry, bytearray())), entry.get("offset", 0)
        size = entry.get("chunkSize", first.get("size", 0) - len(whole))
        if size:
            if cache[0] != start:
                cache = start, content(file, start, members[start]["size"])
            inner = entry.get("innerOffset", 0)
            chunk = cache[1][inner:inner + size]
            need(len(whole) == entry.get("chunkOffset", 0), f"a chunk of {name(entry)} is missing")
            need(digest(chunk) == entry["chunkDigest"], f"a chunk of {name(entry)} has another digest")
            whole += chunk
    for key, (entry, whole) in files.items():
        need(len(whole) == entry.get("size", 0) and digest(whole) == entry["digest"], f"{key} is damaged")
    if wanted is not None:
        need(wanted in files, f"holds no {wanted}")
        return sys.stdout.buffer.write(files[wanted][1])
    for entry in entries:
        if entry["type"] != "chunk":
            target = entry.get("linkNameBase64")
            target = base64.b64decode(target) if target else entry.get("linkName", "").encode()
            line = b"%s %04o %d " % (entry["type"].encode(), entry.get("mode", 0), entry.get("size", 0))
            sys.stdout.buffer.write(line + name(entry) + (b" -> " + target if target else b"") + b"\n")

main(sys.argv[1], *(argument.encode("utf-8", "surrogateescape") for argument in sys.argv[2:3]))
