"""What an archive takes on the disk, beside `gzip -6` of the same tar stream."""

import os
import subprocess
import zlib

from bench import small


def size(ground):
    it = small.stores(ground)
    ground.note("size of the archive")
    title = f"Size of the archive, {it.size} MB"
    columns = "| | MB | of it padding | `gzip -6`, MB | ours without padding / gzip |"
    lines = [f"## {title}", "", columns, "|---|---|---|---|---|"]
    for tool in it.filled(it.mine, it.dumped):
        archive = max(entry.path for entry in os.scandir(tool.place) if entry.name.endswith(".tar.gz"))
        ours, padding = os.path.getsize(archive), padded(archive)
        script = 'gzip -dc "$1" | gzip -6 | wc -c'
        theirs = int(subprocess.run(["sh", "-c", script, "sh", archive], capture_output=True, check=True).stdout)
        share = (ours - padding) / theirs
        ground.page.compared(f"{title}, {tool.name}", "`gzip -6` of the same stream", (share,) * 3)
        lines.append(f"| {tool.name} | {ours / 1e6:.2f} | {padding / 1e6:.3f} | {theirs / 1e6:.2f} | {share:.3f} |")
    ground.page.add(*lines)


def padded(archive):
    """Bytes of the archive that hold nothing: gzip members that unpack to nothing, and extra fields of the others."""
    total, pending = 0, b""
    with open(archive, "rb") as file:
        while True:
            pending = pending or file.read(1 << 18)
            if not pending:
                return total
            pending += file.read(1 << 16) if len(pending) < 1 << 12 else b""
            extra = 2 + int.from_bytes(pending[10:12], "little") if pending[3] & 4 else 0
            member, length, holds = zlib.decompressobj(31), 0, False
            while not member.eof:
                holds = bool(member.decompress(pending)) or holds
                length += len(pending) - len(member.unused_data)
                pending = member.unused_data if member.eof else file.read(1 << 18)
                if not pending and not member.eof:
                    raise EOFError(f"{archive} ends within a member")
            total += extra if holds else length
