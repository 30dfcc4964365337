#!/usr/bin/env python3
"""Compares this tool with other backup tools on the same work, in turn, and prints medians and ratios.

    python3 ci/compare.py [--write BENCHMARKS.md] [--only first,unchanged] [--quick] [--scratch DIR] [--binary FILE]

Everything that is measured stands in SECTIONS below, in order; `--only` takes some of it. It makes its own projects
(a third text rows, a third embeddings, a third source files), at rest while it measures. The others are those of
restic, borg, rustic, pigz and zstd that are installed; what is left out is said, and why. Each thing is done by
every tool before the next round begins; a first round warms up. A ratio below 1 means that ours is faster, or smaller.
`--quick` only proves that it all works, in seconds. Needs: cargo, git, sqlite3, tar, Linux; root, and mkfs.xfs or
mkfs.btrfs, for the daily backups.
"""

import os
import shutil
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # nothing of ours appears beside the scripts
from bench import archive, clock, days, dumps, history, large, listing, memory, small, tools
from bench.command import built, need, options
from bench.ground import Ground
from bench.loading import loader
from bench.page import Page, machine

SECTIONS = {
    "first": small.first,
    "first-dump": small.first_dump,
    "unchanged": small.unchanged,
    "verify": small.verify,
    "restore": small.restore_all,
    "one-file": small.one_file,
    "size": archive.size,
    "changed": small.changed,
    "dump": dumps.dump,
    "load": dumps.load,
    "history": history.history,
    "list": listing.listing,
    "days": days.days,
    "large-first": large.first,
    "large-verify": large.verify,
    "large-restore": large.restore_all,
    "large-changed": large.changed,
    "memory": memory.memory,
}
QUICK = dict(rounds=1, large_rounds=1, warm_up=0, megabytes=2, large=2, settle=0, commits=20, backups=20, days=2, disk=1)
FAIR = [
    "Each tool works as it comes, from warm caches, into the same file system. restic, borg and rustic deduplicate "
    "across backups and **encrypt**; ours does not encrypt, and each archive is whole without the others. Ours **syncs** "
    "what it wrote, and reads all of it back to verify it before it gets its name, within the time given; restic, borg "
    "and rustic sync too, and verify nothing; the pipelines do neither. restic, borg and rustic copy the files of a "
    "database as they lie on the disk, which is right only here, where nobody writes, except where it says "
    "`sqlite3 .backup`.",
    "",
    "Every ratio is between runs of one round: the median, and in brackets the lowest and highest of all rounds. Below "
    "1 ours is the faster or the smaller one.",
]


def understood():
    chosen = options(
        __doc__, scratch=tempfile.gettempdir(), write="", only="", tools="", tests="", filesystem="",
        quick={"action": "store_true"}, megabytes=64, large=1000, large_rounds=3, warm_up=1, settle=3.0,
        commits=10_000, backups=1000, days=30, disk=8,
    )
    if chosen.quick:
        vars(chosen).update(QUICK)
        clock.calm = False
    chosen.only, chosen.tools = known("section", chosen.only, SECTIONS), known("tool", chosen.tools, tools.OTHERS)
    return chosen


def known(what, words, there_are):
    """The names in a list with commas, all of them when it is empty."""
    chosen = words.split(",") if words else list(there_are)
    unknown = [name for name in chosen if name not in there_are]
    if unknown:
        sys.exit(f"no {what} {', '.join(unknown)}; there are: {', '.join(there_are)}")
    return chosen


def main():
    chosen, began = understood(), time.monotonic()
    need(chosen, "git", "sqlite3", "tar", "gzip")
    binary, page = built(chosen), Page(chosen.write)
    tests = loader(chosen) if "load" in chosen.only else None
    found, missing = tools.installed(chosen.tools)
    with tempfile.TemporaryDirectory(prefix="compare-", dir=chosen.scratch) as scratch:
        rounds = f"{chosen.rounds} rounds, {chosen.large_rounds} at {chosen.large} MB"
        page.begin([
            "# Benchmarks", "", "Made by `python3 ci/compare.py --write BENCHMARKS.md`.", "", *machine(scratch),
            f"- {rounds}; beside {', '.join(found.values()) or 'nobody'}", "", *FAIR, "",
        ])
        for name in missing:
            page.leave_out(f"{name}: it is not installed")
        if len(chosen.only) < len(SECTIONS):
            page.leave_out("everything but " + ", ".join(chosen.only))
        ground = Ground(chosen, page, binary, tests, list(found), scratch)
        for name, section in SECTIONS.items():
            if name in chosen.only:
                started = time.monotonic()
                section(ground)
                ground.note(f"{name} took {time.monotonic() - started:.0f} s")
        page.end()
    ground.note(f"all of it took {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
