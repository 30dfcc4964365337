"""The most memory that the tool's own process had, whatever it did, at two sizes."""

import os
import shutil

from bench import corpora

# In this order, each once; a change of 1 % of the rows and of one file comes in between.
AT_REST = [
    "backup", "list", "show latest", "status", "verify latest", "verify latest --full-test", "restore latest --to",
    "restore latest --sql-only --only memory --to", "salvage memory/index.db --to",
]
CHANGED = [
    "diff latest now --rows", "restore-git HEAD --force", "restore latest --force", "undo --force", "guard -- true", "prune",
]


def commands(ground, size):
    """Every command that works on a whole project."""
    project, tool = ground.project(size), ground.ours("this tool", f"store-memory-{size}")
    tool.reset()

    def each(lines):
        for line in lines:
            ground.note(f"memory at {size} MB: {line}")
            to = ground.emptied("memory-to")
            if line.startswith("salvage"):
                os.mkdir(to)
                to = os.path.join(to, "salvaged.db")
            words, separator, command = line.partition(" -- ")
            call, env = tool.call(*words.split(), *([to] if line.endswith("--to") else []))
            call += ["--", command] if separator else []
            ground.measured(tool, (call, env), project, size, ok=(0, 3) if line.startswith("diff") else (0,))

    each(AT_REST)
    ground.change(project)
    corpora.edit(project, "edited")
    each(CHANGED)
    for file in [tool.place, ground.path("memory-to")]:
        shutil.rmtree(file, ignore_errors=True)


def memory(ground):
    for size in dict.fromkeys([ground.size, ground.options.large]):
        commands(ground, size)
    sizes = sorted({size for size, _ in ground.peaks})
    verbs = sorted({verb for _, verb in ground.peaks})
    lines = ["## Memory, most of all runs", "", "| MiB | " + " | ".join(f"{size} MB" for size in sizes) + " |"]
    lines.append("|---|" + "---|" * len(sizes))
    peak = lambda size, verb: f"{ground.peaks[size, verb]:.0f}" if (size, verb) in ground.peaks else ""
    for verb in verbs:
        lines.append(f"| {verb} | " + " | ".join(peak(size, verb) for size in sizes) + " |")
    most = lambda size: max(peak for (at, _), peak in ground.peaks.items() if at == size)
    lines.append("| **most** | " + " | ".join(f"**{most(size):.0f}**" for size in sizes) + " |")
    ground.page.add(*lines, "", "The process of the tool itself, without git's, which it calls. 0: over too soon to be seen.")
