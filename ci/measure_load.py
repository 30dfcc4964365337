#!/usr/bin/env python3
"""Measures loading SQL dumps against the `sqlite3` shell, in turn, on the databases of `measure.py`.

    python3 ci/measure_load.py [--rounds 5] [--megabytes 64] [--binary FILE] [--tests FILE]

Three comparisons. `load`: our loader alone against `sqlite3 new.db < dump`, of the same dumps, both synced at
the end. `restore --sql-only`: the command, which also unpacks, checks and compares with the manifest, against
the shell's loading alone, and against what does most of its work with plain tools: `tar x` of the dumps, the
shell, `PRAGMA integrity_check`. Both sides start from warm caches. Printed: the median of each, how many times as
fast we are in every pair in turn, and the most memory that the tool's own process had. `--megabytes` is the size
of the project, a third of it text rows and a third embeddings. Needs: cargo, git, sqlite3, tar, Linux.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # nothing of ours appears beside the scripts
from measure import ROOT, make_project, run

NAMES = ["index", "vectors"]


def build(options):
    """The binary, and the test binary that has the loader alone."""
    binary, tests = options.binary, options.tests
    if not binary:
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--package", "xtask"], cwd=ROOT, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
        binary = os.path.join(target, "debug", "xtask")
    if not tests and not options.binary:
        for kind in ["--bins", "--lib"]:  # wherever the loader lives
            command = ["cargo", "test", "--locked", "--workspace", kind, "--no-run"]
            made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            for line in made.stderr.splitlines():
                candidate = os.path.join(ROOT, line.split("(")[-1].split(")")[0])
                if "Executable" in line and name_of_test(candidate):
                    tests = candidate
        if not tests:
            sys.exit(f"the tests of the loader can't be built: {made.stderr}")
    return binary, tests


def name_of_test(tests):
    listed = subprocess.run([tests, "--list", "--ignored"], capture_output=True, text=True).stdout
    names = [line.split(":  ")[0].removesuffix(": test") for line in listed.splitlines()]
    return next((name for name in names if name.endswith("load::tests::measured")), None)


def load_alone(tests, dumps, scratch):
    seconds, peak = 0, 0
    for name in NAMES:
        new = os.path.join(scratch, "ours.db")
        remove(new)
        env = dict(os.environ, XTASK_MEASURE_DUMP=dumps[name], XTASK_MEASURE_TO=new)
        one, memory = run([tests, "--exact", name_of_test(tests), "--ignored"], scratch, env)
        seconds, peak = seconds + one, max(peak, memory)
    return seconds, peak


def shell(dumps, scratch, check=False):
    began = time.perf_counter()
    for name in NAMES:
        new = os.path.join(scratch, "theirs.db")
        remove(new)
        with open(dumps[name]) as dump:
            subprocess.run(["sqlite3", new], stdin=dump, stdout=subprocess.DEVNULL, check=True)
        if check:
            subprocess.run(["sqlite3", new, "PRAGMA integrity_check"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def remove(database):
    for ending in ["", "-wal", "-shm", "-journal"]:
        if os.path.exists(database + ending):
            os.unlink(database + ending)


def plain(archive, scratch):
    began = time.perf_counter()
    folder = os.path.join(scratch, "plain")
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    subprocess.run(["tar", "-xzf", archive, "-C", folder, "backup/sql"], check=True)
    dumps = {name: os.path.join(folder, f"backup/sql/memory/{name}.db.sql") for name in NAMES}
    shell(dumps, scratch, check=True)
    return time.perf_counter() - began


def compare(title, rounds, ours, theirs):
    mine, other, ratios, memory = [], [], [], 0
    for number in range(rounds + 1):
        seconds, peak = ours()
        against = theirs()
        if number > 0:  # the first round warms up
            mine.append(seconds)
            other.append(against)
            ratios.append(against / seconds)
            memory = max(memory, peak)
    print(
        f"{title} {statistics.median(mine):6.2f} s   theirs {statistics.median(other):6.2f} s   "
        f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})   "
        f"peak memory {memory:.0f} MiB"
    )


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--megabytes", type=int, default=64)
    arguments.add_argument("--binary", help="an executable that is built already")
    arguments.add_argument("--tests", help="the executable of the unit tests that load; without it that part is left out")
    options = arguments.parse_args()
    for tool in ["git", "sqlite3", "tar"] + ([] if options.binary else ["cargo"]):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing")
    binary, tests = build(options)
    with tempfile.TemporaryDirectory(prefix="measure-") as scratch:
        project, store = os.path.join(scratch, "project"), os.path.join(scratch, "store")
        make_project(project, options.megabytes)
        run([binary, "backup", "--quiet", "--store", store], project)
        archive = next(e.path for e in os.scandir(store) if e.name.endswith(".tar.gz"))
        subprocess.run(["tar", "-xzf", archive, "-C", scratch, "backup/sql"], check=True)
        dumps = {name: os.path.join(scratch, f"backup/sql/memory/{name}.db.sql") for name in NAMES}
        size = sum(os.path.getsize(dump) for dump in dumps.values())
        print(f"{size / 1e6:.0f} MB of dumps, {os.cpu_count()} cores, medians of {options.rounds} rounds in turn")

        def restored():
            to = os.path.join(scratch, "to")
            shutil.rmtree(to, ignore_errors=True)
            words = ["restore", "latest", "--sql-only", "--only", "memory", "--to", to, "--quiet", "--store", store]
            return run([binary] + words, project)

        if tests:
            alone = lambda: load_alone(tests, dumps, scratch)
            compare("load alone, the shell              ", options.rounds, alone, lambda: shell(dumps, scratch))
        compare("restore --sql-only, the shell alone", options.rounds, restored, lambda: shell(dumps, scratch))
        compare("restore --sql-only, plain tools    ", options.rounds, restored, lambda: plain(archive, scratch))


if __name__ == "__main__":
    main()
