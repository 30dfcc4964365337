#!/usr/bin/env python3
"""Compares this tool with other backup tools on the same work, in turn, and prints medians and ratios.

    python3 ci/compare.py [--rounds 5] [--megabytes 64] [--binary FILE]

The project is that of measure.py, at rest. The others are those of `restic` and `borg` that are installed, as
they come: restic and borg deduplicate and encrypt, and copy the files of a database as they lie on the disk,
which is right only here, where nobody writes. Each step is measured for every tool before the next one:

  first          into an empty store or repository (ours without dumps, and once with)
  unchanged      again, nothing happened in between
  1 % changed    after 1 % of the rows of both databases were changed, most of them recent ones
  verify         every byte of the newest backup is read and checked (ours: `verify latest`)
  restore all    into an empty folder
  one file       one source file into an empty folder

A ratio below 1 means that ours is faster than the best of the others. What is not installed is said. Needs: cargo,
git, sqlite3, Linux; restic and borg are left out where they are missing.
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

from measure import built, make_project, run

STEPS = ["first", "unchanged", "1 % changed", "verify", "restore all", "one file"]
ONE_FILE = "src/part0/file0.rs"


class Ours:
    def __init__(self, binary, scratch, dumps):
        self.name = "this tool" if not dumps else "with dumps"
        self.binary, self.store, self.dumps = binary, os.path.join(scratch, "store-" + str(dumps)), dumps

    def call(self, *arguments):
        return [self.binary, *arguments, "--quiet", "--store", self.store], None

    def reset(self):
        shutil.rmtree(self.store, ignore_errors=True)

    def backup(self):
        return self.call("backup", *([] if self.dumps else ["--no-sql"]))

    def verify(self):
        return self.call("verify", "latest")

    def restore(self, to):
        return self.call("restore", "latest", "--to", to)

    def one_file(self, to):
        return self.call("restore", "latest", "--only", ONE_FILE, "--to", to)


class Restic:
    name = "restic"

    def __init__(self, scratch):
        self.repository = os.path.join(scratch, "restic")
        home = os.path.join(scratch, "restic-home")
        self.env = dict(os.environ, RESTIC_PASSWORD="x", RESTIC_REPOSITORY=self.repository, HOME=home, XDG_CACHE_HOME=home)

    def reset(self):
        shutil.rmtree(self.repository, ignore_errors=True)
        subprocess.run(["restic", "init", "-q"], env=self.env, check=True, stdout=subprocess.DEVNULL)

    def backup(self):
        return ["restic", "-q", "backup", "."], self.env

    def verify(self):
        return ["restic", "-q", "check", "--read-data"], self.env

    def restore(self, to):
        return ["restic", "-q", "restore", "latest", "--target", to], self.env

    def one_file(self, to):
        return ["restic", "-q", "restore", "latest", "--target", to, "--include", ONE_FILE], self.env


class Borg:
    name = "borg"

    def __init__(self, scratch):
        self.repository, self.number = os.path.join(scratch, "borg"), 0
        home = os.path.join(scratch, "borg-home")
        self.env = dict(
            os.environ, BORG_PASSPHRASE="x", BORG_REPO=self.repository, BORG_BASE_DIR=home,
            BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes", BORG_RELOCATED_REPO_ACCESS_IS_OK="yes",
        )

    def reset(self):
        shutil.rmtree(self.repository, ignore_errors=True)
        shutil.rmtree(self.env["BORG_BASE_DIR"], ignore_errors=True)
        subprocess.run(["borg", "init", "-e", "repokey-blake2"], env=self.env, check=True, stderr=subprocess.DEVNULL)

    def backup(self):
        self.number += 1
        return ["borg", "create", f"::{self.number}", "."], self.env

    def verify(self):
        return ["borg", "check", "--verify-data", "--last", "1"], self.env

    def restore(self, to):
        os.makedirs(to)
        return ["sh", "-euc", 'cd "$1" && borg extract "::$2"', "sh", to, str(self.number)], self.env

    def one_file(self, to):
        os.makedirs(to)
        return ["sh", "-euc", 'cd "$1" && borg extract "::$2" "$3"', "sh", to, str(self.number), ONE_FILE], self.env


def change(project, number):
    """Changes 1 % of the rows: nine in ten of them among the newest tenth."""
    rng = random.Random(number)
    for name, table, column in [("index", "learnings", "body"), ("vectors", "embeddings", "vector")]:
        connection = sqlite3.connect(os.path.join(project, "memory", name + ".db"))
        (rows,) = connection.execute(f"SELECT max(id) FROM {table}").fetchone()
        for _ in range(max(1, rows // 100)):
            recent = rng.random() < 0.9
            row = rng.randint(rows - rows // 10, rows) if recent else rng.randint(1, rows)
            value = rng.randbytes(1536) if name == "vectors" else " ".join(str(rng.random()) for _ in range(18))
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (value, row))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()


def size(folder):
    return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(folder) for name in names)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--megabytes", type=int, default=64)
    arguments.add_argument("--binary", help="an executable that is built already")
    options = arguments.parse_args()
    binary = options.binary or built()
    with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
        project, back = os.path.join(scratch, "project"), os.path.join(scratch, "back")
        make_project(project, options.megabytes)
        tools = [Ours(binary, scratch, False), Ours(binary, scratch, True)]
        for tool, make in [("restic", Restic), ("borg", Borg)]:
            if shutil.which(tool):
                tools.append(make(scratch))
                version = subprocess.run([tool, "--version" if tool == "borg" else "version"], capture_output=True, text=True)
                print(version.stdout.strip().split(" compiled")[0])
            else:
                print(f"left out: {tool} is not installed")
        print(f"{options.megabytes} MB, {os.cpu_count()} cores, medians of {options.rounds} rounds in turn, seconds")
        seconds = {(tool.name, step): [] for tool in tools for step in STEPS}
        memory = {tool.name: 0 for tool in tools}

        def measure(tool, step, command, number):
            taken, peak = run(command[0], project, command[1])
            if number > 0:  # the first round warms up
                seconds[tool.name, step].append(taken)
                memory[tool.name] = max(memory[tool.name], peak)

        for number in range(options.rounds + 1):
            for tool in tools:
                tool.reset()
            for step in ["first", "unchanged", "1 % changed"]:
                if step == "1 % changed":
                    change(project, number)
                for tool in tools:
                    measure(tool, step, tool.backup(), number)
            for step in ["verify", "restore all", "one file"]:
                for tool in tools:
                    shutil.rmtree(back, ignore_errors=True)
                    command = {"verify": lambda _: tool.verify(), "restore all": tool.restore, "one file": tool.one_file}
                    measure(tool, step, command[step](back), number)
                    if step != "verify" and not any("file0.rs" in names for _, _, names in os.walk(back)):
                        sys.exit(f"{tool.name} did not restore {ONE_FILE}")
        others = [tool.name for tool in tools[2:]]
        print(f"{'':14}" + "".join(f"{tool.name:>12}" for tool in tools) + ("   ours / best of the others" if others else ""))
        for step in STEPS:
            medians = {tool.name: statistics.median(seconds[tool.name, step]) for tool in tools}
            line = f"{step:14}" + "".join(f"{medians[tool.name]:12.2f}" for tool in tools)
            if others:
                rounds = zip(seconds["this tool", step], *(seconds[name, step] for name in others))
                ratios = [mine / min(rest) for mine, *rest in rounds]
                line += f"   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(line)
        print(f"{'memory, MiB':14}" + "".join(f"{memory[tool.name]:12.0f}" for tool in tools))
        places = {"this tool": tools[0].store, "with dumps": tools[1].store}
        places.update({tool.name: tool.repository for tool in tools[2:]})
        bins = lambda name: size(os.path.join(places[name], "bin")) if os.path.isdir(os.path.join(places[name], "bin")) else 0
        print(f"{'3 backups, MB':14}" + "".join(f"{(size(places[t.name]) - bins(t.name)) / 1e6:12.1f}" for t in tools))


if __name__ == "__main__":
    main()
