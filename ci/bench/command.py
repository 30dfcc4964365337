"""What every measuring script needs before it starts: its options, the programs it calls, the executable."""

import argparse
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def options(about, binary=True, **others):
    """Reads the command line. `others`: further options by name, with the default, or a dict for argparse."""
    words = argparse.ArgumentParser(description=about.splitlines()[0])
    words.add_argument("--rounds", type=int, default=5, help="how often each thing is measured")
    if binary:
        words.add_argument("--binary", type=os.path.abspath, help="an executable that is built already")
    for name, default in others.items():
        known = default if isinstance(default, dict) else {"type": type(default), "default": default}
        words.add_argument("--" + name.replace("_", "-"), **known)
    for name in ["BACKUP_ROOT", "REMOTE_BACKUP_DEST"]:  # nothing of the user's own backups has a part in this
        os.environ.pop(name, None)
    return words.parse_args()


def need(options, *tools):
    """Ends the script when one of the programs is missing; cargo is needed only to build."""
    for tool in [*tools] + ([] if options.binary else ["cargo"]):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing")


def built(options):
    """The executable to measure: the one that was named, else that of the development build, built if need be."""
    if options.binary:
        return options.binary
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--package", "xtask"], cwd=ROOT, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug", "xtask")
