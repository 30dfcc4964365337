"""The tools that are compared, each with the same few abilities, as it comes.

An ability gives (command, environment); the command runs in the project. `reset` makes an empty store or repository
and forgets caches, and is never measured. A tool with a `place` keeps everything there.
"""

import os
import shutil
import subprocess

ONE_FILE = "src/part0/file0.rs"
PIPES = {"pigz": "pigz", "zstd": "zstd -q -T0"}


class Tool:
    def reset(self):
        shutil.rmtree(self.place, ignore_errors=True)


class Ours(Tool):
    def __init__(self, name, binary, place, *options):
        self.name, self.binary, self.place, self.options = name, binary, place, options

    def call(self, *arguments):
        return [self.binary, *arguments, "--quiet", "--store", self.place], None

    def backup(self):
        return self.call("backup", *self.options)

    def verify(self):
        return self.call("verify", "latest")

    def restore(self, to):
        return self.call("restore", "latest", "--to", to)

    def one_file(self, to):
        return self.call("restore", "latest", "--only", ONE_FILE, "--to", to)


class Rival(Tool):
    """A program of others, with a home of its own, so that neither caches nor settings of the user count."""

    init = ()

    def __init__(self, place, home=None):
        self.place, self.home = place, home or place + "-home"
        homes = {name: self.home for name in ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"]}
        self.env = {**os.environ, **homes, **self.settings()}

    def reset(self):
        super().reset()
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home)
        subprocess.run([self.name, *self.init], env=self.env, check=True, capture_output=True)

    def call(self, *arguments):
        return [self.name, *arguments], self.env


class Restic(Rival):
    name, init, version = "restic", ["init", "-q"], "version"

    def settings(self):
        return {"RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": self.place}

    def backup(self):
        return self.call("-q", "backup", ".")

    def verify(self):
        return self.call("-q", "check", "--read-data")

    def restore(self, to):
        return self.call("-q", "restore", "latest", "--target", to)

    def one_file(self, to):
        return self.call("-q", "restore", "latest", "--target", to, "--include", ONE_FILE)


class Borg(Rival):
    name, init, version = "borg", ["init", "-e", "repokey-blake2"], "--version"
    number = 0

    def settings(self):
        yes = ["BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "BORG_RELOCATED_REPO_ACCESS_IS_OK"]
        own = {"BORG_PASSPHRASE": "x", "BORG_REPO": self.place, "BORG_BASE_DIR": self.home}
        return {**own, **dict.fromkeys(yes, "yes")}

    def backup(self):
        self.number += 1
        return self.call("create", f"::{self.number}", ".")

    def verify(self):
        return self.call("check", "--verify-data")

    def restore(self, to):
        return self.extract(to)

    def one_file(self, to):
        return self.extract(to, ONE_FILE)

    def extract(self, to, *paths):
        os.makedirs(to)
        return ["sh", "-euc", 'cd "$1"; shift; exec borg extract "$@"', "sh", to, f"::{self.number}", *paths], self.env


class Rustic(Rival):
    name, init, version = "rustic", ["init"], "--version"

    def settings(self):
        quiet = {"RUSTIC_NO_PROGRESS": "true", "RUSTIC_LOG_LEVEL": "warn"}
        return {"RUSTIC_PASSWORD": "x", "RUSTIC_REPOSITORY": self.place, **quiet}

    def backup(self):
        return self.call("backup", ".")

    def verify(self):
        return self.call("check", "--read-data")

    def restore(self, to):
        return self.call("restore", "latest", to)

    def one_file(self, to):
        return self.call("restore", f"latest:{ONE_FILE}", to + "/")


class RusticOfCopies(Rustic):
    """What rustic needs to be consistent while others write: it saves copies that `sqlite3 .backup` made."""

    def backup(self):
        copies = os.path.join(self.home, "copies")
        script = (
            'mkdir -p "$1"; for d in index vectors; do sqlite3 "memory/$d.db" ".backup \'$1/$d.db\'"; done; '
            'exec rustic backup . "$1" --glob "!$PWD/memory"'
        )
        return ["sh", "-euc", script, "sh", copies], self.env


class Piped(Tool):
    """`sqlite3 .backup` of both databases, then `tar` of files and copies through a compressor; if wanted also
    `sqlite3 .dump` of both into the same archive. A whole archive each time."""

    def __init__(self, name, place, dumps=False):
        self.name, self.place, self.dumps = name, place, dumps
        self.archive = os.path.join(place, "tar")

    def backup(self):
        dump = 'sqlite3 "memory/$d.db" .dump > "$1/memory/$d.sql"; ' if self.dumps else ""
        script = (
            'rm -rf "$1"; mkdir -p "$1/memory"; '
            'for d in index vectors; do sqlite3 "memory/$d.db" ".backup \'$1/memory/$d.db\'"; ' + dump + "done; "
            f'tar -cf - --exclude=./memory . -C "$1" memory | {PIPES[self.name]} > "$1/tar"; rm -r "$1/memory"'
        )
        return ["sh", "-euc", script, "sh", self.place], None

    def verify(self):
        return ["sh", "-euc", f'{PIPES[self.name]} -dc "$1" | tar -tf -', "sh", self.archive], None

    def restore(self, to):
        return self.extract(to)

    def one_file(self, to):
        return self.extract(to, "./" + ONE_FILE)

    def extract(self, to, *paths):
        os.makedirs(to)
        script = f'a="$1"; to="$2"; shift 2; {PIPES[self.name]} -dc "$a" | tar -C "$to" -xf - "$@"'
        return ["sh", "-euc", script, "sh", self.archive, to, *paths], None


class Scripts(Tool):
    """What backup scripts do: dumps, plain copies of the database files, `git archive`, a list of MD5 sums, and
    `tar czf` of it all. The copies are whole only because nobody writes here, and git's history is not in it."""

    name = "shell scripts"

    def __init__(self, place):
        self.place = place

    def backup(self):
        script = (
            'mkdir -p "$1/all"; '
            'for d in index vectors; do sqlite3 "memory/$d.db" .dump > "$1/all/$d.sql"; cp "memory/$d.db" "$1/all"; done; '
            'git archive HEAD | tar -xf - -C "$1/all"; cd "$1"; '
            "find all -type f -exec md5sum {} + > md5; mv md5 all/checksums.md5; tar czf all.tar.gz all; rm -r all"
        )
        return ["sh", "-euc", script, "sh", self.place], None


MAKERS = {maker.name: maker for maker in [Restic, Borg, Rustic]}
RIVALS = list(MAKERS)
OTHERS = [*RIVALS, *PIPES]


def installed(names):
    """Which of the other tools are there: {name: its version}, and the names of those that are not."""
    found, missing = {}, []
    for name in names:
        if not shutil.which(name):
            missing.append(name)
            continue
        word = MAKERS[name].version if name in MAKERS else "--version"
        asked = subprocess.run([name, word], capture_output=True, text=True)
        line = (asked.stdout + asked.stderr).strip().splitlines()[0]
        found[name] = line.split(" compiled")[0].split(" by ")[0].strip("* ,")
    return found, missing


def others(names, scratch):
    """The other tools of these names, each with a place of its own below `scratch`."""
    place = lambda name: os.path.join(scratch, name)
    return [MAKERS[name](place(name)) if name in MAKERS else Piped(name, place(name)) for name in names]
