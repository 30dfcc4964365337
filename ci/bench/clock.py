"""How a command is measured: its time, the memory of its own process, and one side against another in turn."""

import os
import statistics
import subprocess
import sys
import threading
import time


calm = True  # False where a script only tries whether it works


def start():
    """Now; what others have left unwritten is written first, so that nobody pays for it who syncs."""
    if calm:
        os.sync()
    return time.perf_counter()


def run(command, cwd, env=None, ok=(0,)):
    """Seconds, and the most memory in MiB that the process itself had. Any other exit code than `ok` ends the script."""
    began = start()
    child = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak, ended = [0], threading.Event()
    watch = threading.Thread(target=highest, args=(child.pid, peak, ended))
    watch.start()
    errors = child.stderr.read()
    child.wait()
    seconds = time.perf_counter() - began
    ended.set()
    watch.join()
    if child.returncode not in ok:
        sys.exit(f"{command} failed ({child.returncode}): {errors.decode(errors='replace')}")
    return seconds, peak[0] / 1024


def highest(process, peak, ended):
    """The kernel keeps the maximum itself, so looking now and then is enough: at first often, for what ends soon."""
    pause = 0.0003
    while True:
        try:
            with open(f"/proc/{process}/status") as status:
                lines = [line for line in status if line.startswith("VmHWM")]
        except (FileNotFoundError, ProcessLookupError):
            return
        peak[0] = max([peak[0], *(int(line.split()[1]) for line in lines)])
        if ended.wait(pause):
            return
        pause = min(0.005, 1.2 * pause)


def in_turn(sides, rounds, before=None, warm_up=1):
    """Calls each side once a round, in order; {name: seconds of each round}. Rounds that warm up don't count.

    `sides`: {name: a function that gives (seconds, MiB)}. `before(number)` comes before each round and is not
    measured."""
    taken = {name: [] for name in sides}
    for number in range(rounds + warm_up):
        if before:
            before(number)
        for name, side in sides.items():
            seconds, _ = side()
            if number >= warm_up:
                taken[name].append(seconds)
    return taken


def ratio(mine, *others):
    """How our time compares with the shortest of the others, round by round: median, lowest, highest."""
    ratios = [one / min(rest) for one, *rest in zip(mine, *others)]
    return statistics.median(ratios), min(ratios), max(ratios)


def shown(ratios):
    """`0.87 (0.80 to 0.95)`"""
    median, low, high = ratios
    return f"{median:.2f} ({low:.2f} to {high:.2f})"
