"""What was measured, as Markdown: printed as it comes, and written to a file after every part, so that a run which is
cut still shows what it had."""

import datetime
import os
import statistics
import subprocess

from bench.clock import ratio, shown
from bench.command import ROOT


class Page:
    def __init__(self, file):
        self.file, self.head, self.parts, self.summary, self.left = file, [], [], [], []

    def begin(self, lines):
        self.head = lines
        print("\n".join(lines), flush=True)

    def add(self, *lines):
        self.parts += [*lines, ""]
        print("\n".join([*lines, ""]), flush=True)
        self.write(["**The run that writes this is not over, or was cut.**", ""])

    def leave_out(self, what):
        self.left.append(f"- {what}")
        print(f"left out: {what}\n", flush=True)

    def compared(self, title, against, ratios):
        """One comparison for the table at the top, whichever way it went. `ratios`: our part of their time or space."""
        verdict = "" if ratios[0] < 1 else "**lost**"
        self.summary.append(f"| {title} | {against} | {shown(ratios)} | {verdict} |")

    def timed(self, title, taken, best_of=(), notes=(), memory=None):
        """A table of what `in_turn` gave, the first side being ours, and our ratio to each other one. `best_of`: the
        sides of which the quickest of each round is what we are compared with in the table at the top. `memory`: MiB
        at most of those sides that are one process."""
        (ours, mine), *rest = taken.items()
        lines = [f"## {title}", "", "| | seconds | from, to | ours / it | MiB |", "|---|---|---|---|---|"]
        for name, seconds in taken.items():
            against = "" if name == ours else shown(ratio(mine, seconds))
            peak = f"{memory[name]:.0f}" if name in (memory or {}) else ""
            times = f"{statistics.median(seconds):.2f} | {min(seconds):.2f}, {max(seconds):.2f}"
            lines.append(f"| {name} | {times} | {against} | {peak} |")
        best = [name for name in best_of if name in taken]
        if best:
            ratios = ratio(mine, *(taken[name] for name in best))
            against = best[0] if len(best) == 1 else "the best of " + ", ".join(best)
            self.compared(title, against, ratios)
            lines += ["", f"{ours} / {against}: **{shown(ratios)}**"]
        self.add(*lines, *(["", *notes] if notes else []))

    def end(self):
        self.write([])
        print("\n".join(self.table()), flush=True)

    def table(self):
        lines = ["| | against | ours / theirs | |", "|---|---|---|---|", *self.summary, ""]
        return lines + (["Left out:", "", *self.left, ""] if self.left else [])

    def write(self, warning):
        if self.file:
            beside = self.file + ".new"
            with open(beside, "w") as out:
                out.write("\n".join([*self.head, *warning, *self.table(), *self.parts]).rstrip() + "\n")
            os.replace(beside, self.file)


def text_of(*command):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def machine(scratch):
    """One line each: the day, the machine, the state of the sources, and how busy the machine was."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), os.uname().machine)
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / (1 << 20)
    load, cores = os.getloadavg()[0], os.cpu_count()
    release = os.uname().release.split("-")[0]
    commit = text_of("git", "describe", "--always", "--dirty") or "no commit"
    busy = ". **Others were at work: these figures say little**" if load > cores / 4 else ""
    return [
        f"- {datetime.date.today()}, commit {commit}",
        f"- {model}, {cores} cores, {memory:.0f} GiB of memory, Linux {release}, "
        f"scratch on {text_of('df', '--output=fstype', scratch).split()[-1]}",
        f"- load at the start {load:.1f}{busy}",
    ]
