"""`list` of a store with 1,000 backups."""

import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys

from bench import corpora
from bench.clock import in_turn, run

ENDINGS = [".json", ".state.json", ".tar.gz", ".tar.gz.sha256"]
FORM = "%Y%m%d_%H%M%S"


def listing(ground):
    """One backup is taken, and stands there under 1,000 ids, one an hour: taking them would say no more."""
    ground.note("a store of many backups")
    project, count = ground.path("tiny"), ground.options.backups
    corpora.make_project(project, 1)
    tool = ground.ours("this tool", "store-many", "--no-sql")
    run(tool.backup()[0], project)
    multiply(tool.place, count)
    command = [ground.binary, "list", "--store", tool.place, "--json"]
    document = json.loads(subprocess.run(command, cwd=project, capture_output=True, check=True).stdout)
    if len(document["backups"]) != count or document["findings"]:
        sys.exit(f"list shows {len(document['backups'])} of {count} backups, and says {document['findings'][:3]}")
    memory = []

    def side():
        taken = run(tool.call("list")[0], project)
        memory.append(taken[1])
        return taken

    taken = in_turn({"list": side}, 2 * ground.rounds, None, ground.warm_up)["list"]
    ground.page.add(
        f"## `list` of {count:,} backups", "",
        f"{statistics.median(taken):.3f} s ({min(taken):.3f} to {max(taken):.3f}), {max(memory):.0f} MiB at most. "
        "Nobody to compare with: to make 1,000 backups with the others would take longer than all of the above.",
    )


def multiply(store, count):
    """Further backups that are copies of the only one: its files under other ids, with the id and time within."""
    real = next(name for name in os.listdir(store) if name.endswith(".tar.gz")).removesuffix(".tar.gz")
    begin = datetime.datetime.strptime(real, FORM)
    iso = lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    for number in range(1, count):
        moment = begin - datetime.timedelta(hours=number)
        for ending in ENDINGS:
            old, new = (os.path.join(store, id + ending) for id in [real, moment.strftime(FORM)])
            if ending == ".tar.gz":
                os.link(old, new)
                continue
            with open(old) as file:
                text = file.read().replace(real, moment.strftime(FORM))
            with open(new, "w") as file:
                file.write(text.replace(iso(begin), iso(moment)))
            shutil.copymode(old, new)
