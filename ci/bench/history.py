"""One new commit in a repository with a long history: what the history adds to the next backup."""

import os
import shutil
import statistics
import subprocess

from bench import corpora
from bench.clock import in_turn, ratio, run, shown

WITHOUT = "[workspace.metadata.backup]\nhistory = false\n"
# About 10 KB of a commit can't be compressed away.
LINES = 640


def history(ground):
    """Two copies of one repository, one of which leaves its history out: the difference is the history's part."""
    ground.note("making a history")
    places = {name: ground.path("history-" + name) for name in ["with", "without"]}
    corpora.make_history(places["with"], ground.options.commits, 200, LINES)
    shutil.copytree(places["with"], places["without"], symlinks=True)
    with open(os.path.join(places["without"], "Cargo.toml"), "w") as file:
        file.write(WITHOUT)
    tools = {name: ground.ours(name, "history-store-" + name, "--no-sql") for name in places}
    for name, tool in tools.items():
        run(tool.backup()[0], places[name])

    def before(number):
        for place in places.values():
            corpora.commit_one(place, number)
        ground.settle()

    bundle = ground.path("all.bundle")
    sides = {name: (lambda name=name, tool=tool: run(tool.backup()[0], places[name])) for name, tool in tools.items()}
    sides["whole"] = lambda: run(["git", "bundle", "create", "-q", bundle, "--all", "--reflog"], places["with"])
    sides["new"] = lambda: run(["git", "bundle", "create", "-q", bundle, "--all", "^HEAD~1"], places["with"])
    ground.note("one new commit")
    taken = in_turn(sides, ground.rounds, before, ground.warm_up)
    part = [both - without for both, without in zip(taken["with"], taken["without"])]
    whole = ratio(part, taken["whole"])
    packs = sum(os.path.getsize(file) for file in files(os.path.join(places["with"], ".git", "objects")))
    title = f"One new commit on {packs / 1e6:.0f} MB of history, the history's part"
    ground.page.compared(title, "`git bundle` of all", whole)
    median = {name: f"{statistics.median(seconds):.2f} s" for name, seconds in [*taken.items(), ("part", part)]}
    ground.page.add(
        f"## {title}", "",
        f"{ground.options.commits} commits. The next backup takes {median['with']}, without history "
        f"{median['without']}; the difference, round by round, is {median['part']}.",
        f"`git bundle create` of all takes {median['whole']}: **{shown(whole)}**; of the new commit alone "
        f"{median['new']}. In the newest archive are {bundles(tools['with'].place)}.",
    )


def files(folder):
    return [os.path.join(top, name) for top, _, names in os.walk(folder) for name in names]


def bundles(store):
    newest = max(entry.path for entry in os.scandir(store) if entry.name.endswith(".tar.gz"))
    listed = subprocess.run(["tar", "-tvzf", newest], capture_output=True, text=True, check=True).stdout
    sizes = [int(line.split()[2]) for line in listed.splitlines() if line.endswith(".bundle")]
    return f"{len(sizes)} bundles, the newest of them {sizes[-1] / 1e3:.1f} KB, all together {sum(sizes) / 1e6:.1f} MB"
