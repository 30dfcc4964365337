"""One backup's life beside the other tools, step by step, in one project of medium size (64 MB)."""

import functools
import os
import sys

from bench import tools
from bench.clock import ratio, shown, run

MINE, DUMPED = "this tool", "this tool, with dumps"


class Stores:
    """The tools of a project, each with a store that holds a backup of it."""

    def __init__(self, ground, size, names, suffix=""):
        self.ground, self.size, self.project, self.ready = ground, size, ground.project(size), set()
        self.mine = ground.ours(MINE, "store" + suffix, "--no-sql")
        self.dumped = ground.ours(DUMPED, "store-dumps" + suffix)
        self.others = tools.others(names, ground.path("others" + suffix))

    def first(self, tool):
        """Into an empty store."""
        tool.reset()
        self.ready.add(tool.name)
        return tool.backup()

    def filled(self, *chosen):
        """The same tools, each with a backup now."""
        for tool in chosen:
            if tool.name not in self.ready:
                command, env = self.first(tool)
                run(command, self.project, env)
        return chosen

    def change(self, _):
        """Before a round that looks for what is new."""
        self.ground.change(self.project)
        self.ground.settle()

    def compare(self, title, sides, **more):
        return self.ground.compare(title, sides, self.project, self.size, **more)


def stores(ground):
    if ground.small is None:
        ground.small = Stores(ground, ground.size, ground.names)
    return ground.small


def small_round(ground, **more):
    return dict(rounds=ground.rounds, warm_up=ground.warm_up, **more)


def first(ground):
    it = stores(ground)
    sides = {tool: functools.partial(it.first, tool) for tool in [it.mine, *it.others]}
    notes = ["pigz and zstd: `sqlite3 .backup` of both databases, `tar` of files and copies. No dumps anywhere."]
    it.compare(f"First backup, images and files, {it.size} MB", sides, notes=notes, **small_round(ground))
    sizes = ", ".join(f"{tool.name} {occupied(tool) / 1e6:.1f} MB" for tool in sides)
    ground.page.add(f"What each then has in its store: {sizes} (ours without its copy of the executable).")


def occupied(tool):
    """Bytes of all files, without the executable that lies in our store."""
    total = 0
    for top, folders, names in os.walk(tool.place):
        if top == tool.place and "bin" in folders and isinstance(tool, tools.Ours):
            folders.remove("bin")
        total += sum(os.path.getsize(os.path.join(top, name)) for name in names)
    return total


def first_dump(ground):
    it = stores(ground)
    scripts = tools.Scripts(ground.path("scripts"))
    piped = [name for name in ground.names if name in tools.PIPES]
    pipes = [tools.Piped(name, ground.path("dumped-" + name), True) for name in piped]
    sides = {tool: functools.partial(it.first, tool) for tool in [it.dumped, scripts, *pipes]}
    notes = [
        "shell scripts: `sqlite3 .dump`, `cp`, `git archive`, `md5sum`, `tar czf`. pigz and zstd: `sqlite3 .backup` and "
        "`.dump`, then `tar`."
    ]
    title = f"First backup with dumps, {it.size} MB"
    it.compare(title, sides, best_of=[scripts.name], notes=notes, **small_round(ground))


def unchanged(ground):
    it = stores(ground)
    full = ground.ours("this tool, full read", "store-full", "--no-sql", "--full-read")
    chosen = it.filled(it.mine, it.dumped, *([full] if ground.full_read else []), *it.others)
    sides = {tool: tool.backup for tool in chosen}
    title = f"Nothing changed, {it.size} MB"
    taken = it.compare(title, sides, before=lambda _: ground.settle(), **small_round(ground))
    best = [name for name in tools.RIVALS if name in taken]
    if not ground.full_read:
        ground.page.leave_out("nothing changed, full read: this build has no `backup --full-read`")
    elif best:
        ratios = ratio(taken[full.name], *(taken[name] for name in best))
        ground.page.compared(f"{title}, full read", "the best of " + ", ".join(best), ratios)
        ground.page.add(f"{full.name} / the best of the others: **{shown(ratios)}**")


def changed(ground):
    it = stores(ground)
    sides = {tool: tool.backup for tool in it.filled(it.mine, it.dumped, *it.others)}
    it.compare(f"1 % changed, mostly recent rows, {it.size} MB", sides, before=it.change, **small_round(ground))


def verify(ground):
    it = stores(ground)
    notes = ["pigz and zstd can only unpack: they have no sums but the compressor's."]
    sides = {tool: tool.verify for tool in it.filled(it.mine, it.dumped, *it.others)}
    it.compare(f"Verify, all data read, {it.size} MB", sides, notes=notes, **small_round(ground))


def restore_all(ground):
    it = stores(ground)
    restored(ground, it, f"Restore all, {it.size} MB", [it.mine, it.dumped, *it.others], small_round(ground))


def one_file(ground):
    it = stores(ground)
    title = f"Restore one file, {it.size} MB"
    back(ground, it, title, [it.mine, *it.others], small_round(ground), "one_file", {"file0.rs"})


def restored(ground, it, title, chosen, rounds):
    """All of it, into an empty folder."""
    back(ground, it, title, chosen, rounds, "restore", {"file0.rs", "index.db", "vectors.db"})


def back(ground, it, title, chosen, rounds, ability, expected):
    """Restores into an empty folder, and looks whether that is there which should be."""

    def after(tool):
        there = {name for _, _, names in os.walk(ground.path("back")) for name in names}
        if not there >= expected:
            sys.exit(f"{tool.name} did not restore {sorted(expected - there)}")

    sides = {tool: (lambda tool=tool: getattr(tool, ability)(ground.emptied())) for tool in it.filled(*chosen)}
    it.compare(title, sides, after=after, **rounds)
