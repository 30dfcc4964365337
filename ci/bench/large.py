"""The same at a gigabyte: first backup, verify and restore beside restic; 1 % changed beside rustic, with the copies
of the databases that it needs. Its store serves all of it."""

import functools

from bench import tools
from bench.small import Stores, restored


def stores(ground):
    if ground.large is None:
        ground.large = Stores(ground, ground.options.large, [name for name in ["restic"] if name in ground.names], "-large")
        if not ground.large.others:
            ground.page.leave_out("1 GB against restic: it is not installed, or was not wanted")
    return ground.large


def rounds(ground):
    """Nothing warms up: what is long needs no warming."""
    return {"rounds": ground.options.large_rounds, "warm_up": 0, "best_of": ["restic"]}


def first(ground):
    it = stores(ground)
    sides = {tool: functools.partial(it.first, tool) for tool in [it.mine, *it.others]}
    it.compare(f"First backup, images and files, {it.size} MB", sides, **rounds(ground))


def verify(ground):
    it = stores(ground)
    sides = {tool: tool.verify for tool in it.filled(it.mine, *it.others)}
    it.compare(f"Verify, all data read, {it.size} MB", sides, **rounds(ground))


def restore_all(ground):
    it = stores(ground)
    restored(ground, it, f"Restore all, {it.size} MB", [it.mine, *it.others], rounds(ground))


def changed(ground):
    it = stores(ground)
    rival = [tools.RusticOfCopies(ground.path("rustic-large"))] if "rustic" in ground.names else []
    if not rival:
        ground.page.leave_out("1 % changed at 1 GB against rustic: it is not installed, or was not wanted")
    sides = {tool: tool.backup for tool in it.filled(it.mine, *rival)}
    notes = ["rustic with its copies: `sqlite3 .backup` of both databases, then `rustic backup` of files and copies."]
    settings = {**rounds(ground), "best_of": ["rustic"]}
    it.compare(f"1 % changed, mostly recent rows, {it.size} MB", sides, before=it.change, notes=notes, **settings)
