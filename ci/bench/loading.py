"""Loading SQL dumps, beside the `sqlite3` shell: both write a new database and sync it at the end."""

import os
import shutil
import subprocess
import sys
import time

from bench.clock import run, start
from bench.command import ROOT
from bench.corpora import DATABASES


def loader(options):
    """The executable of the unit tests that has the loader alone, built if need be; None beside an executable that is
    built already."""
    if options.tests or options.binary:
        return options.tests
    for kind in ["--bins", "--lib"]:  # wherever the loader lives
        command = ["cargo", "test", "--locked", "--workspace", kind, "--no-run"]
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        for line in made.stderr.splitlines():
            candidate = os.path.join(ROOT, line.split("(")[-1].split(")")[0])
            if "Executable" in line and name_of_test(candidate):
                return candidate
    sys.exit(f"the tests of the loader can't be built: {made.stderr}")


def name_of_test(tests):
    listed = subprocess.run([tests, "--list", "--ignored"], capture_output=True, text=True).stdout
    names = [line.split(":  ")[0].removesuffix(": test") for line in listed.splitlines()]
    return next((name for name in names if name.endswith("load::tests::measured")), None)


class Loading:
    """The dumps of a project's newest backup, unpacked, and the ways to load them; each gives (seconds, MiB)."""

    def __init__(self, binary, tests, project, scratch):
        self.binary, self.tests, self.project = binary, tests, project
        self.scratch, self.store = scratch, os.path.join(scratch, "store")
        os.makedirs(scratch)
        run([binary, "backup", "--quiet", "--store", self.store], project)
        self.archive = next(entry.path for entry in os.scandir(self.store) if entry.name.endswith(".tar.gz"))
        self.dumps = self.unpacked(scratch)
        self.size = sum(os.path.getsize(dump) for dump in self.dumps.values())

    def unpacked(self, folder):
        subprocess.run(["tar", "-xzf", self.archive, "-C", folder, "backup/sql"], check=True)
        return {name: os.path.join(folder, f"backup/sql/memory/{name}.db.sql") for name in DATABASES}

    def empty(self, name):
        """A place for a new database."""
        new = os.path.join(self.scratch, name + ".db")
        for ending in ["", "-wal", "-shm", "-journal"]:
            if os.path.exists(new + ending):
                os.unlink(new + ending)
        return new

    def alone(self):
        """Our loader, without anything around it."""
        seconds, peak = 0, 0
        for dump in self.dumps.values():
            env = dict(os.environ, XTASK_MEASURE_DUMP=dump, XTASK_MEASURE_TO=self.empty("ours"))
            one, memory = run([self.tests, "--exact", name_of_test(self.tests), "--ignored"], self.scratch, env)
            seconds, peak = seconds + one, max(peak, memory)
        return seconds, peak

    def restored(self):
        """The command, which also unpacks, checks, and compares with the manifest."""
        to = os.path.join(self.scratch, "to")
        shutil.rmtree(to, ignore_errors=True)
        words = ["restore", "latest", "--sql-only", "--only", "memory", "--to", to, "--quiet", "--store", self.store]
        return run([self.binary, *words], self.project)

    def shell(self, dumps=None, check=False):
        began = start()
        for dump in (dumps or self.dumps).values():
            new = self.empty("theirs")
            with open(dump) as lines:
                subprocess.run(["sqlite3", new], stdin=lines, stdout=subprocess.DEVNULL, check=True)
            if check:
                subprocess.run(["sqlite3", new, "PRAGMA integrity_check"], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began, 0

    def plain(self):
        """Most of what the command does, with plain tools: `tar x` of the dumps, the shell, `PRAGMA integrity_check`."""
        began = start()
        folder = os.path.join(self.scratch, "plain")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        self.shell(self.unpacked(folder), check=True)
        return time.perf_counter() - began, 0
