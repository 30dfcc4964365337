#!/usr/bin/env python3
"""Measures what the profile in .cargo/config.toml promises: quick rebuilds, and the speed of a release build.

    python3 ci/measure_build.py [--rounds 5]

Works in a copy of the committed state with a target folder of its own (about four minutes of compiling).
Printed: seconds from an edit of a function to the executable, and the same with `cargo check`: on the upper
floors, in a crate below them, and in the one that all others use; then `backup` and `verify --full-test` of a 64 MB project by the
dev build and by the release build in turn, with the median ratio. Needs: cargo, git, sqlite3, Linux.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # nothing of ours appears beside the scripts
from bench.clock import run
from bench.command import ROOT, options
from bench.corpora import make_project

EDITED = {
    "upper floors": "xtask/src/procedures/take.rs",
    "sqlite": "xtask/sqlite/src/dump.rs",
    "base": "xtask/base/src/safe_path.rs",
}


def cargo(folder, *arguments):
    """Seconds that cargo takes."""
    env = dict(os.environ, CARGO_TARGET_DIR=os.path.join(folder, "target"))
    began = time.perf_counter()
    subprocess.run(["cargo", *arguments, "--quiet", "--locked", "--package", "xtask"], cwd=folder, env=env, check=True)
    return time.perf_counter() - began


def edits(folder, command, edited, rounds):
    """The median of the seconds after each of `rounds` edits of the first function with a variable."""
    path = os.path.join(folder, edited)
    with open(path) as file:
        before = file.read()
    seconds = []
    for number in range(rounds + 1):
        with open(path, "w") as file:
            line = f"\n    let _edited = std::hint::black_box({number});"
            file.write(before.replace("\n    let ", line + "\n    let ", 1))
        seconds.append(cargo(folder, command))
    with open(path, "w") as file:
        file.write(before)
    cargo(folder, command)
    return statistics.median(seconds[1:])  # the first one warms up


def main():
    rounds = options(__doc__, binary=False).rounds
    with tempfile.TemporaryDirectory(prefix="measure-") as scratch:
        folder = os.path.join(scratch, "clone")
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        print(f"clean build              {cargo(folder, 'build'):6.1f} s")
        cargo(folder, "check")
        for floor, edited in EDITED.items():
            built, checked = (edits(folder, command, edited, rounds) for command in ["build", "check"])
            print(f"edit, {floor:18} {built:6.1f} s   cargo check {checked:.1f} s")
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
