"""Thirty daily backups on a file system that can share blocks, beside restic's repository: the room that they take."""

import os
import shutil
import subprocess

from bench import small, tools
from bench.clock import run

MAKE = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}


class Disk:
    """A file system of its own in a file."""

    def __init__(self, kind, scratch, name, gigabytes):
        self.place, self.image = os.path.join(scratch, "mount-" + name), os.path.join(scratch, name + ".image")
        os.mkdir(self.place)
        with open(self.image, "wb") as file:
            file.truncate(gigabytes << 30)
        subprocess.run([*MAKE[kind], self.image], check=True, capture_output=True)
        self.mount = ["mount", "-o", "loop", self.image, self.place]
        subprocess.run(self.mount, check=True, capture_output=True)
        self.empty = self.used()

    def used(self):
        """Bytes in use once everything that is still under way, freeing included, is done: after mounting anew."""
        self.release()
        subprocess.run(self.mount, check=True)
        status = os.statvfs(self.place)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def release(self):
        subprocess.run(["umount", self.place], check=True)


def disks(ground, names):
    """One for each name, or None and a line that says why not."""
    wanted = [ground.options.filesystem] if ground.options.filesystem else list(MAKE)
    kind = next((kind for kind in wanted if shutil.which(MAKE[kind][0])), None)
    if kind is None or os.geteuid() != 0:
        why = "no mkfs for it" if kind is None else "only root can mount"
        ground.page.leave_out(f"daily backups on {' or '.join(wanted)}: {why}")
        return None, {}
    made = {}
    try:
        for name in names:
            made[name] = Disk(kind, ground.scratch, name, ground.options.disk)
    except subprocess.CalledProcessError as error:
        ground.page.leave_out(f"daily backups on {kind}: {error.cmd[0]} failed: {error.stderr.decode().strip()}")
        release(made)
        return None, {}
    return kind, made


def release(made):
    for disk in made.values():
        disk.release()
        os.unlink(disk.image)


def days(ground):
    names = ["ours", "ours-with-dumps"] + [name for name in ["restic"] if name in ground.names]
    kind, made = disks(ground, names)
    if not made:
        return
    try:
        measure(ground, kind, made)
    finally:
        release(made)


def measure(ground, kind, made):
    project, count = ground.project(ground.size), ground.options.days
    inside = lambda name: os.path.join(made[name].place, "store")
    chosen = {
        "ours": ground.ours(small.MINE, inside("ours"), "--no-sql"),
        "ours-with-dumps": ground.ours(small.DUMPED, inside("ours-with-dumps")),
    }
    if "restic" in made:
        chosen["restic"] = tools.Restic(inside("restic"), ground.path("restic-days-home"))
        chosen["restic"].reset()
    ground.note(f"{count} daily backups on {kind}")
    for day in range(count):
        if day > 0:
            ground.change(project)
        for tool in chosen.values():
            command, env = tool.backup()
            run(command, project, env)
    report(ground, f"{count} daily backups on {kind}, 1 % of the rows changed a day, {ground.size} MB", made, chosen)


def report(ground, title, made, chosen):
    columns = "| | MB of the disk | of it the executable | MB of the files | ours / restic |"
    lines = [f"## {title}", "", columns, "|---|---|---|---|---|"]
    executable = {name: executables(tool) for name, tool in chosen.items()}
    sizes = {name: small.occupied(tool) for name, tool in chosen.items()}
    grown = {name: disk.used() - disk.empty for name, disk in made.items()}
    for name, tool in chosen.items():
        against = ""
        if name != "restic" and "restic" in grown:
            share = ((grown[name] - executable[name]) / grown["restic"],) * 3
            against = f"{share[0]:.2f}"
            ground.page.compared(f"{title}: room of {tool.name}", "restic", share)
        columns = [grown[name], executable[name], sizes[name]]
        lines.append(f"| {tool.name} | " + " | ".join(f"{size / 1e6:.0f}" for size in columns) + f" | {against} |")
    ground.page.add(
        *lines, "",
        "On the disk: what the file system has more in use than when it was empty; blocks that files share count once. The "
        "executable, once in each store of ours, is no part of the ratio, restic's cache is not counted either. Every "
        "archive of ours can be read without the others.",
    )


def executables(tool):
    """Bytes of the executable that lies in a store of ours."""
    if not isinstance(tool, tools.Ours):
        return 0
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(os.path.join(tool.place, "bin")))
