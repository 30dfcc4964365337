#!/usr/bin/env python3
"""Measures `restore-git` against git itself, in turn, on a history made for it.

    python3 ci/measure_git.py [--rounds 5] [--commits 40000] [--files 2000] [--binary FILE]

The history: 2,000 files of about 4 KB, 40,000 commits that each change one of them, and a database that git
ignores. Printed: the time of `restore-git list`; then `restore-git HEAD~100 --force` beside `git restore
--source=HEAD~100 --worktree .` followed by the same safety backup (`backup --no-sql --kind safety` can't be
typed, so it is `backup --no-sql`), with the ratio of every pair. Both sides start from the same working tree
and sync nothing but what they sync themselves. Needs: cargo, git, sqlite3, Linux.
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

from measure import built, run


def make_project(folder, commits, files):
    rng = random.Random(11)
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    line = lambda: f"let {rng.getrandbits(40):x} = {rng.getrandbits(60):x};\n"
    content = lambda: "".join(line() for _ in range(100)).encode()
    path = lambda number: f"src/part{number % 40}/file{number}.rs"
    child = subprocess.Popen(["git", "-C", folder, "fast-import", "--quiet"], stdin=subprocess.PIPE)
    out = child.stdin.write
    for commit in range(commits):
        message = f"commit {commit}".encode()
        out(b"commit refs/heads/main\ncommitter A <a@localhost> %d +0000\n" % (1_700_000_000 + 60 * commit))
        out(b"data %d\n%s\n" % (len(message), message))
        changed = range(files) if commit == 0 else [rng.randrange(files)]
        for number in changed:
            data = content()
            out(b"M 644 inline %s\ndata %d\n%s\n" % (path(number).encode(), len(data), data))
        if commit == 0:
            out(b"M 644 inline .gitignore\ndata 8\nmemory/\n\n")
    child.stdin.close()
    if child.wait() != 0:
        sys.exit("git fast-import failed")
    subprocess.run(["git", "-C", folder, "reset", "-q", "--hard"], check=True)
    memory = os.path.join(folder, "memory")
    os.makedirs(memory)
    index = sqlite3.connect(os.path.join(memory, "index.db"))
    index.execute("CREATE TABLE learnings(id INTEGER PRIMARY KEY, body TEXT)")
    index.executemany("INSERT INTO learnings(body) VALUES(?)", ((line() * 20,) for _ in range(5000)))
    index.commit()
    index.close()
    subprocess.run(["sync"], check=True)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--commits", type=int, default=40_000)
    arguments.add_argument("--files", type=int, default=2_000)
    arguments.add_argument("--binary", help="an executable that is built already")
    options = arguments.parse_args()
    binary = options.binary or built()
    with tempfile.TemporaryDirectory(prefix="measure-") as scratch:
        project, store = os.path.join(scratch, "project"), os.path.join(scratch, "store")
        make_project(project, options.commits, options.files)
        back = min(100, options.commits - 1)
        ours = [binary, "restore-git", f"HEAD~{back}", "--force", "--quiet", "--store", store]
        backup = [binary, "backup", "--no-sql", "--quiet", "--store", store]
        theirs = ["sh", "-euc", f'"$@" && git restore --source=HEAD~{back} --worktree .', "sh", *backup]
        reset = ["git", "-C", project, "reset", "-q", "--hard"]
        run(backup, project)
        lists, pairs = [], []
        for number in range(options.rounds + 1):
            listed, _ = run([binary, "restore-git", "list", "--store", store], project)
            times = {}
            for name, command in [("ours", ours), ("theirs", theirs)]:
                subprocess.run(reset, check=True)
                times[name], _ = run(command, project)
                left = subprocess.run(["git", "-C", project, "diff", "--quiet", f"HEAD~{back}"])
                if left.returncode != 0:
                    sys.exit(f"{name}: the working tree is not HEAD~{back}")
            shutil.rmtree(os.path.join(store, "safety"), ignore_errors=True)
            if number > 0:  # the first round warms up
                lists.append(listed)
                pairs.append((times["ours"], times["theirs"]))
        ratios = [mine / other for mine, other in pairs]
        print(f"{options.commits} commits, {options.files} files, {os.cpu_count()} cores, {options.rounds} rounds in turn")
        print(f"restore-git list       {statistics.median(lists):5.2f} s ({min(lists):.2f} to {max(lists):.2f})")
        print(
            f"restore-git HEAD~{back}   {statistics.median(mine for mine, _ in pairs):5.2f} s   "
            f"backup, then git restore {statistics.median(other for _, other in pairs):5.2f} s   "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
