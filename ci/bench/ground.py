"""What the sections of one run share: the options, the projects, made once, and the tools."""

import functools
import os
import shutil
import subprocess
import sys
import time

from bench import corpora, tools
from bench.clock import in_turn, run


class Ground:
    def __init__(self, options, page, binary, tests, names, scratch):
        self.options, self.page, self.binary, self.tests = options, page, binary, tests
        self.names, self.scratch = names, scratch
        self.size, self.rounds, self.warm_up = options.megabytes, options.rounds, options.warm_up
        self.small, self.large, self.changes, self.peaks = None, None, 0, {}
        asked = subprocess.run([binary, "help", "backup"], capture_output=True, text=True)
        self.full_read = "--full-read" in asked.stdout

    def note(self, text):
        print(f"… {text}", file=sys.stderr, flush=True)

    def path(self, name):
        return os.path.join(self.scratch, name)

    def project(self, megabytes):
        folder = self.path(f"project-{megabytes}")
        if not os.path.exists(folder):
            self.note(f"making a project of {megabytes} MB")
            corpora.make_project(folder, megabytes)
        return folder

    def settle(self):
        """What was just written may be written again within the same tick of a clock, so tools that go by times must
        read it again. Long enough for all of them, outside of what is measured."""
        time.sleep(self.options.settle)

    def change(self, project):
        """Another 1 % each time."""
        self.changes += 1
        corpora.change(project, self.changes)

    def ours(self, name, place, *options):
        return tools.Ours(name, self.binary, self.path(place), *options)

    def measured(self, tool, command, project, size, ok=(0,)):
        """Runs it; the memory of our own process is kept for the section about memory."""
        taken = run(command[0], project, command[1], ok)
        if isinstance(tool, tools.Ours):
            key = (size, verb(command[0]))
            self.peaks[key] = max(self.peaks.get(key, 0), taken[1])
        return taken

    def compare(self, title, sides, project, size, rounds, warm_up, before=None, after=None, best_of=tools.RIVALS, notes=()):
        """Measures {tool: a function that gives its command} in turn, and shows it. What the function prepares is not
        measured, nor is `before(round number)`, nor `after(tool)`."""
        self.note(title)
        memory = {}

        def side(tool, command):
            taken = self.measured(tool, command(), project, size)
            memory[tool.name] = max(memory.get(tool.name, 0), taken[1])
            if after:
                after(tool)
            return taken

        timed = {tool.name: functools.partial(side, tool, command) for tool, command in sides.items()}
        taken = in_turn(timed, rounds, before, warm_up)
        alone = {tool.name: memory[tool.name] for tool in sides if not isinstance(tool, (tools.Piped, tools.Scripts))}
        self.page.timed(title, taken, best_of, notes, alone)
        return taken

    def emptied(self, name="back"):
        """A place where nothing is."""
        folder = self.path(name)
        shutil.rmtree(folder, ignore_errors=True)
        return folder


def verb(command):
    """`restore latest --sql-only`: the words without places, so that the same work has the same name."""
    words, skip = [], False
    for word in command[1:]:
        if not skip and word != "--quiet":
            words.append(word)
        skip = word in ["--to", "--store", "--only"]
    return " ".join(word for word in words if word != "--store")
