"""SQL dumps, written and loaded, beside the `sqlite3` shell."""

import functools
import statistics

from bench import corpora, small
from bench.clock import in_turn, ratio, run, shown
from bench.loading import Loading


def dump(ground):
    """A dump is written only within a backup, so what it takes is what a backup takes longer with dumps; that is,
    compressed, hashed, verified and synced, which the shell's is not."""
    it = small.stores(ground)
    ground.note("dump")
    to = ground.emptied("shell-dumps")
    script = 'mkdir -p "$1"; for d; do test "$d" = "$1" || sqlite3 "memory/$d.db" .dump > "$1/$d.sql"; done'
    shell = ["sh", "-euc", script, "sh", to, *corpora.DATABASES]
    backup = lambda tool: ground.measured(tool, it.first(tool), it.project, it.size)
    sides = {tool.name: functools.partial(backup, tool) for tool in [it.dumped, it.mine]}
    taken = in_turn({**sides, "`sqlite3 .dump`": lambda: run(shell, it.project)}, ground.rounds, None, ground.warm_up)
    more = [both - without for both, without in zip(taken[small.DUMPED], taken[small.MINE])]
    ratios = ratio(more, taken["`sqlite3 .dump`"])
    title = f"Dump, {it.size} MB"
    ground.page.compared(title, "the shell's `.dump`", ratios)
    ground.page.add(
        f"## {title}", "",
        f"A first backup takes {statistics.median(more):.2f} s longer with dumps, which are compressed, hashed, verified "
        f"and synced in this time; `sqlite3 .dump` of both databases into files takes "
        f"{statistics.median(taken['`sqlite3 .dump`']):.2f} s: **{shown(ratios)}**",
    )


def load(ground):
    ground.note("load")
    it = Loading(ground.binary, ground.tests, ground.project(ground.size), ground.emptied("loading"))
    title = f"Load of dumps, {it.size / 1e6:.0f} MB"
    measure = functools.partial(in_turn, rounds=ground.rounds, warm_up=ground.warm_up)
    if ground.tests:
        taken = measure({"our loader": it.alone, "the `sqlite3` shell": it.shell})
        ground.page.timed(title, taken, ["the `sqlite3` shell"])
    else:
        ground.page.leave_out("our loader alone: `--binary` was given, and `--tests` was not")
    taken = measure({"`restore --sql-only`": it.restored, "the `sqlite3` shell": it.shell, "plain tools": it.plain})
    notes = ["The command also unpacks, checks, and compares with the manifest; plain: `tar`, the shell, `integrity_check`."]
    ground.page.timed(title.replace("Load", "The command, load"), taken, ["plain tools"], notes)
