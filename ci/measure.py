#!/usr/bin/env python3
"""Measures `backup` against the plain tools that do the same work, in turn, on a project made for it.

    python3 ci/measure.py [--rounds 5] [--megabytes 64] [--binary FILE]

The project: a third text rows, a third embeddings, a third source files (2,000 at 64 MB), one commit. The
plain tools: `sqlite3 .backup` of both databases, then `tar | pigz` of files and copies; for the comparison
with dumps also `sqlite3 .dump` of both into the same archive. Both sides start from warm caches and sync
nothing but what they sync themselves. Printed: the median of each, the ratio of every pair in turn, and
the most memory that the tool's own process had. Needs: cargo, git, sqlite3, pigz, tar, Linux.
"""

import os
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True  # nothing of ours appears beside the scripts
from bench.clock import in_turn, ratio, run, shown
from bench.command import built, need, options
from bench.corpora import make_project
from bench.tools import Ours, Piped


def main():
    chosen = options(__doc__, megabytes=64)
    need(chosen, "git", "sqlite3", "pigz", "tar")
    binary = built(chosen)
    with tempfile.TemporaryDirectory(prefix="measure-") as scratch:
        project = os.path.join(scratch, "project")
        make_project(project, chosen.megabytes)
        print(f"{chosen.megabytes} MB, {os.cpu_count()} cores, medians of {chosen.rounds} rounds in turn")
        for dumps in [False, True]:
            name = "backup           " if dumps else "backup --no-sql  "
            ours = Ours(name, binary, os.path.join(scratch, "store"), *([] if dumps else ["--no-sql"]))
            plain = Piped("pigz", os.path.join(scratch, "plain"), dumps)
            memory = []

            def backup():
                ours.reset()
                taken = run(ours.backup()[0], project)
                memory.append(taken[1])
                return taken

            taken = in_turn({"ours": backup, "theirs": lambda: run(plain.backup()[0], project)}, chosen.rounds)
            archive = next(entry for entry in os.scandir(ours.place) if entry.name.endswith(".tar.gz")).stat().st_size
            print(
                f"{name} {statistics.median(taken['ours']):6.2f} s   plain tools {statistics.median(taken['theirs']):6.2f} s   "
                f"ratio {shown(ratio(taken['ours'], taken['theirs']))}   "
                f"archive {archive / 1e6:.1f} MB, theirs {os.path.getsize(plain.archive) / 1e6:.1f} MB   "
                f"peak memory {max(memory):.0f} MiB"
            )


if __name__ == "__main__":
    main()
