#!/usr/bin/env python3
"""Measures `backup` against the plain tools that do the same work, in turn, on a project made for it.

    python3 ci/measure.py [--rounds 5] [--megabytes 64] [--binary FILE]

The project: a third text rows, a third embeddings, a third source files (2,000 at 64 MB), one commit. The
plain tools: `sqlite3 .backup` of both databases, then `tar | pigz` of files and copies; for the comparison
with dumps also `sqlite3 .dump` of both into the same archive. Both sides start from warm caches and sync
nothing but what they sync themselves. Printed: the median of each, the ratio of every pair in turn, and
the most memory that the tool's own process had. Needs: cargo, git, sqlite3, pigz, tar, Linux.
"""

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def make_project(folder, megabytes):
    rng = random.Random(7)
    third = megabytes * 1_000_000 // 3
    memory = os.path.join(folder, "memory")
    os.makedirs(memory)
    words = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 10))) for _ in range(4000)]
    text = lambda n: " ".join(rng.choices(words, k=n))
    index = sqlite3.connect(os.path.join(memory, "index.db"))
    index.execute("PRAGMA journal_mode=WAL")
    index.execute("CREATE TABLE learnings(id INTEGER PRIMARY KEY, title TEXT, body TEXT, weight REAL, at TEXT)")
    row = 420
    index.executemany(
        "INSERT INTO learnings(title, body, weight, at) VALUES(?,?,?,?)",
        ((text(6), text(50), round(rng.random(), 3), "2025-12-01T12:00:00") for _ in range(third // row)),
    )
    index.execute("CREATE INDEX by_at ON learnings(at)")
    index.commit()
    index.close()
    vectors = sqlite3.connect(os.path.join(memory, "vectors.db"))
    vectors.execute("PRAGMA journal_mode=WAL")
    vectors.execute("CREATE TABLE embeddings(id INTEGER PRIMARY KEY, vector BLOB)")
    vectors.executemany(
        "INSERT INTO embeddings(vector) VALUES(?)", ((rng.randbytes(1536),) for _ in range(third // 1600))
    )
    vectors.commit()
    vectors.close()
    source = os.path.join(folder, "src")
    files = max(1, 2000 * megabytes // 64)
    for number in range(files):
        part = os.path.join(source, f"part{number % 50}")
        os.makedirs(part, exist_ok=True)
        lines, size = [], 0
        while size < third // files:
            line = f"    let {rng.choice(words)}_{rng.randint(0, 999)} = {rng.choice(words)}({rng.choice(words)}, {rng.randint(0, 99999)});\n"
            lines.append(line)
            size += len(line)
        with open(os.path.join(part, f"file{number}.rs"), "w") as file:
            file.writelines(lines)
    with open(os.path.join(folder, ".gitignore"), "w") as file:
        file.write("memory/\n")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-C", folder]
    subprocess.run(git + ["init", "-q"], check=True)
    subprocess.run(git + ["add", "-A"], check=True)
    subprocess.run(git + ["commit", "-qm", "all"], check=True)
    subprocess.run(["sync"], check=True)


def run(command, cwd, env=None):
    """Seconds, and the most memory in MiB that the process itself had."""
    began = time.perf_counter()
    child = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    while child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/status") as status:
                for line in status:
                    if line.startswith("VmHWM"):
                        peak = max(peak, int(line.split()[1]))
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.005)
    seconds = time.perf_counter() - began
    if child.returncode != 0:
        sys.exit(f"{command} failed: {child.stderr.read().decode()}")
    return seconds, peak / 1024


def plain(project, target, dumps):
    dump = 'sqlite3 "$P/memory/$d.db" .dump > "$T/$d.sql"; ' if dumps else ""
    return [
        "sh", "-euc",
        f'P="{project}"; T="{target}"; rm -rf "$T"; mkdir "$T"; '
        f'for d in index vectors; do sqlite3 "$P/memory/$d.db" ".backup \'$T/$d.db\'"; {dump}done; '
        f'tar -C / -cf - --exclude=memory "${{P#/}}" "${{T#/}}" | pigz > "$T.tar.gz"',
    ]


def built():
    """The executable of the development build, built if need be."""
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--package", "xtask"], cwd=ROOT, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug", "xtask")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--megabytes", type=int, default=64)
    arguments.add_argument("--binary", help="an executable that is built already")
    options = arguments.parse_args()
    for tool in ["git", "sqlite3", "pigz", "tar"] + ([] if options.binary else ["cargo"]):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing")
    binary = options.binary or built()
    with tempfile.TemporaryDirectory(prefix="measure-") as scratch:
        project = os.path.join(scratch, "project")
        make_project(project, options.megabytes)
        print(f"{options.megabytes} MB, {os.cpu_count()} cores, medians of {options.rounds} rounds in turn")
        for dumps in [False, True]:
            ours, theirs, ratios, memory = [], [], [], 0
            for number in range(options.rounds + 1):
                store = os.path.join(scratch, "store")
                shutil.rmtree(store, ignore_errors=True)
                command = [binary, "backup", "--quiet", "--store", store] + ([] if dumps else ["--no-sql"])
                mine, peak = run(command, project)
                other, _ = run(plain(project, os.path.join(scratch, "plain"), dumps), project)
                if number > 0:  # the first round warms up
                    ours.append(mine)
                    theirs.append(other)
                    ratios.append(mine / other)
                    memory = max(memory, peak)
            archive = next(e for e in os.scandir(store) if e.name.endswith(".tar.gz")).stat().st_size
            copy = os.path.getsize(os.path.join(scratch, "plain.tar.gz"))
            name = "backup           " if dumps else "backup --no-sql  "
            print(
                f"{name} {statistics.median(ours):6.2f} s   plain tools {statistics.median(theirs):6.2f} s   "
                f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})   "
                f"archive {archive / 1e6:.1f} MB, theirs {copy / 1e6:.1f} MB   peak memory {memory:.0f} MiB"
            )


if __name__ == "__main__":
    main()
