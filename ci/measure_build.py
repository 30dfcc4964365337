#!/usr/bin/env python3
"""Measures what the profile in .cargo/config.toml promises: quick rebuilds, and the speed of a release build.

    python3 ci/measure_build.py [--rounds 5]

Works in a copy of the committed state with a target folder of its own (about four minutes of compiling).
Printed: seconds from an edit to the executable, for a comment and for the text of a function that many
call; the same edit with `cargo check`; then `backup` and `verify --full-test` of a 64 MB project by the
dev build and by the release build in turn, with the median ratio. Needs: cargo, git, sqlite3, Linux.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time

from measure import ROOT, make_project, run

EDITED = "xtask/src/ui/format.rs"


def cargo(folder, *arguments):
    """Seconds that cargo takes."""
    env = dict(os.environ, CARGO_TARGET_DIR=os.path.join(folder, "target"))
    began = time.perf_counter()
    subprocess.run(["cargo", *arguments, "--quiet", "--locked", "--package", "xtask"], cwd=folder, env=env, check=True)
    return time.perf_counter() - began


def edits(folder, command, change, rounds):
    """The median of the seconds after each of `rounds` edits; `change` gets the text and the round."""
    path = os.path.join(folder, EDITED)
    with open(path) as file:
        before = file.read()
    seconds = []
    for number in range(rounds + 1):
        with open(path, "w") as file:
            file.write(change(before, number))
        seconds.append(cargo(folder, command))
    with open(path, "w") as file:
        file.write(before)
    cargo(folder, command)
    return statistics.median(seconds[1:])  # the first one warms up


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    rounds = arguments.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="measure-") as scratch:
        folder = os.path.join(scratch, "clone")
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        comment = lambda text, number: text + f"// {number}\n"
        function = lambda text, number: text.replace('format!("', f'format!("{number}')
        print(f"clean build              {cargo(folder, 'build'):6.1f} s")
        print(f"edit of a comment        {edits(folder, 'build', comment, rounds):6.1f} s")
        print(f"edit of a function       {edits(folder, 'build', function, rounds):6.1f} s")
        cargo(folder, "check")
        print(f"the same, cargo check    {edits(folder, 'check', function, rounds):6.1f} s")
        cargo(folder, "build", "--release")
        project = os.path.join(scratch, "project")
        make_project(project, 64)
        profiles, verbs = ["release", "debug"], {"backup": [], "verify --full-test": []}
        for number in range(rounds + 1):
            taken = {}
            for profile in profiles:
                store = os.path.join(scratch, "store")
                shutil.rmtree(store, ignore_errors=True)
                for verb in verbs:
                    binary = os.path.join(folder, "target", profile, "xtask")
                    taken[profile, verb], _ = run([binary, *verb.split(), "--quiet", "--store", store], project)
            for verb in verbs:
                if number > 0:
                    verbs[verb].append((taken["debug", verb], taken["release", verb]))
        for verb, pairs in verbs.items():
            ratio = statistics.median(dev / release for dev, release in pairs)
            seconds = [statistics.median(side) for side in zip(*pairs)]
            print(f"{verb:19} dev {seconds[0]:5.2f} s   release {seconds[1]:5.2f} s   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
