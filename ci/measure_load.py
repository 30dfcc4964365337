#!/usr/bin/env python3
"""Measures loading SQL dumps against the `sqlite3` shell, in turn, on the databases of `measure.py`.

    python3 ci/measure_load.py [--rounds 5] [--megabytes 64] [--binary FILE] [--tests FILE]

Three comparisons. `load`: our loader alone against `sqlite3 new.db < dump`, of the same dumps, both synced at
the end. `restore --sql-only`: the command, which also unpacks, checks and compares with the manifest, against
the shell's loading alone, and against what does most of its work with plain tools: `tar x` of the dumps, the
shell, `PRAGMA integrity_check`. Both sides start from warm caches. Printed: the median of each, how many times as
fast we are in every pair in turn, and the most memory that the tool's own process had. `--megabytes` is the size
of the project, a third of it text rows and a third embeddings; without `--tests`, the executable of the unit tests,
a `--binary` leaves the loader alone out. Needs: cargo, git, sqlite3, tar, Linux.
"""

import os
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True  # nothing of ours appears beside the scripts
from bench.clock import in_turn, ratio, shown
from bench.command import built, need, options
from bench.corpora import make_project
from bench.loading import Loading, loader


def compare(title, rounds, ours, theirs):
    memory = []

    def remembered():
        taken = ours()
        memory.append(taken[1])
        return taken

    taken = in_turn({"ours": remembered, "theirs": theirs}, rounds)
    print(
        f"{title} {statistics.median(taken['ours']):6.2f} s   theirs {statistics.median(taken['theirs']):6.2f} s   "
        f"{shown(ratio(taken['theirs'], taken['ours']))} times as fast   peak memory {max(memory):.0f} MiB"
    )


def main():
    chosen = options(__doc__, megabytes=64, tests="")
    need(chosen, "git", "sqlite3", "tar")
    binary, tests = built(chosen), loader(chosen)
    with tempfile.TemporaryDirectory(prefix="measure-") as scratch:
        project = os.path.join(scratch, "project")
        make_project(project, chosen.megabytes)
        it = Loading(binary, tests, project, os.path.join(scratch, "loading"))
        print(f"{it.size / 1e6:.0f} MB of dumps, {os.cpu_count()} cores, medians of {chosen.rounds} rounds in turn")
        if tests:
            compare("load alone, the shell              ", chosen.rounds, it.alone, it.shell)
        compare("restore --sql-only, the shell alone", chosen.rounds, it.restored, it.shell)
        compare("restore --sql-only, plain tools    ", chosen.rounds, it.restored, it.plain)


if __name__ == "__main__":
    main()
