#!/usr/bin/env python3
"""Measures `restore-git` against git itself, in turn, on a history made for it.

    python3 ci/measure_git.py [--rounds 5] [--commits 40000] [--files 2000] [--binary FILE]

The history: 2,000 files of about 4 KB, 40,000 commits that each change one of them, and a database that git
ignores. Printed: the time of `restore-git list`; then `restore-git HEAD~100 --force` beside `git restore
--source=HEAD~100 --worktree .` followed by the same safety backup (`backup --no-sql --kind safety` can't be
typed, so it is `backup --no-sql`), with the ratio of every pair. Both sides start from the same working tree
and sync nothing but what they sync themselves. Needs: cargo, git, sqlite3, Linux.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # nothing of ours appears beside the scripts
from bench.clock import in_turn, ratio, run, shown
from bench.command import built, need, options
from bench.corpora import make_history


def main():
    chosen = options(__doc__, commits=40_000, files=2_000)
    need(chosen, "git", "sqlite3")
    binary = built(chosen)
    with tempfile.TemporaryDirectory(prefix="measure-") as scratch:
        project, store = os.path.join(scratch, "project"), os.path.join(scratch, "store")
        make_history(project, chosen.commits, chosen.files)
        back = min(100, chosen.commits - 1)
        ours = [binary, "restore-git", f"HEAD~{back}", "--force", "--quiet", "--store", store]
        backup = [binary, "backup", "--no-sql", "--quiet", "--store", store]
        theirs = ["sh", "-euc", f'"$@" && git restore --source=HEAD~{back} --worktree .', "sh", *backup]
        run(backup, project)

        def gone_back(name, command):
            subprocess.run(["git", "-C", project, "reset", "-q", "--hard"], check=True)
            taken = run(command, project)
            if subprocess.run(["git", "-C", project, "diff", "--quiet", f"HEAD~{back}"]).returncode != 0:
                sys.exit(f"{name}: the working tree is not HEAD~{back}")
            return taken

        sides = {
            "list": lambda: run([binary, "restore-git", "list", "--store", store], project),
            "ours": lambda: gone_back("ours", ours),
            "theirs": lambda: gone_back("theirs", theirs),
        }
        clean = lambda _: shutil.rmtree(os.path.join(store, "safety"), ignore_errors=True)
        taken = in_turn(sides, chosen.rounds, clean)
        median = {name: statistics.median(seconds) for name, seconds in taken.items()}
        print(f"{chosen.commits} commits, {chosen.files} files, {os.cpu_count()} cores, {chosen.rounds} rounds in turn")
        print(f"restore-git list       {median['list']:5.2f} s ({min(taken['list']):.2f} to {max(taken['list']):.2f})")
        print(
            f"restore-git HEAD~{back}   {median['ours']:5.2f} s   backup, then git restore {median['theirs']:5.2f} s   "
            f"ratio {shown(ratio(taken['ours'], taken['theirs']))}"
        )


if __name__ == "__main__":
    main()
