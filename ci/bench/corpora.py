"""The projects that are measured, made from fixed seeds: the same bytes on every machine."""

import os
import random
import sqlite3
import subprocess
import sys

DATABASES = ["index", "vectors"]


def words_of(rng):
    words = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 10))) for _ in range(4000)]
    return words, lambda count: " ".join(rng.choices(words, k=count))


def git(folder, *arguments):
    """Without the user's own settings."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-C", folder, *arguments]
    subprocess.run(command, env=env, check=True)


def database(folder, name, schema, insert, rows):
    """A database in WAL mode below `memory/`, which git ignores."""
    os.makedirs(os.path.join(folder, "memory"), exist_ok=True)
    connection = sqlite3.connect(os.path.join(folder, "memory", name + ".db"))
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(schema)
    connection.executemany(insert, rows)
    return connection


def closed(connection):
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def make_project(folder, megabytes):
    """A third text rows, a third embeddings, a third source files (2,000 at 64 MB), one commit."""
    rng = random.Random(7)
    third = megabytes * 1_000_000 // 3
    words, text = words_of(rng)
    index = database(
        folder, "index",
        "CREATE TABLE learnings(id INTEGER PRIMARY KEY, title TEXT, body TEXT, weight REAL, at TEXT)",
        "INSERT INTO learnings(title, body, weight, at) VALUES(?,?,?,?)",
        ((text(6), text(50), round(rng.random(), 3), "2025-12-01T12:00:00") for _ in range(third // 420)),
    )
    index.execute("CREATE INDEX by_at ON learnings(at)")
    closed(index)
    closed(database(
        folder, "vectors",
        "CREATE TABLE embeddings(id INTEGER PRIMARY KEY, vector BLOB)",
        "INSERT INTO embeddings(vector) VALUES(?)", ((rng.randbytes(1536),) for _ in range(third // 1600)),
    ))
    files = max(1, 2000 * megabytes // 64)
    for number in range(files):
        part = os.path.join(folder, "src", f"part{number % 50}")
        os.makedirs(part, exist_ok=True)
        lines, size = [], 0
        while size < third // files:
            name = f"{rng.choice(words)}_{rng.randint(0, 999)}"
            lines.append(f"    let {name} = {rng.choice(words)}({rng.choice(words)}, {rng.randint(0, 99999)});\n")
            size += len(lines[-1])
        with open(os.path.join(part, f"file{number}.rs"), "w") as file:
            file.writelines(lines)
    with open(os.path.join(folder, ".gitignore"), "w") as file:
        file.write("memory/\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    os.sync()


def change(project, number):
    """Changes 1 % of the rows of both databases, nine in ten of them among the newest tenth. Nothing else."""
    rng = random.Random(number)
    _, text = words_of(rng)
    for name, table, column in [("index", "learnings", "body"), ("vectors", "embeddings", "vector")]:
        connection = sqlite3.connect(os.path.join(project, "memory", name + ".db"))
        (rows,) = connection.execute(f"SELECT max(id) FROM {table}").fetchone()
        for _ in range(max(1, rows // 100)):
            row = rng.randint(rows - rows // 10, rows) if rng.random() < 0.9 else rng.randint(1, rows)
            value = rng.randbytes(1536) if name == "vectors" else text(50)
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (value, row))
        closed(connection)


def make_history(folder, commits, files, lines=100):
    """A first commit of `files` files of about 30 bytes a line, then commits that each change one of them, and a
    database that git ignores. What the lines say can't be compressed to less than half."""
    rng = random.Random(11)
    os.makedirs(folder)
    git(folder, "init", "-q", "-b", "main")
    line = lambda: f"let {rng.getrandbits(40):x} = {rng.getrandbits(60):x};\n"
    content = lambda: "".join(line() for _ in range(lines)).encode()
    path = lambda number: f"src/part{number % 40}/file{number}.rs"
    child = subprocess.Popen(["git", "-C", folder, "fast-import", "--quiet"], stdin=subprocess.PIPE)
    out = child.stdin.write
    for commit in range(commits):
        message = f"commit {commit}".encode()
        out(b"commit refs/heads/main\ncommitter A <a@localhost> %d +0000\n" % (1_700_000_000 + 60 * commit))
        out(b"data %d\n%s\n" % (len(message), message))
        changed = range(files) if commit == 0 else [rng.randrange(files)]
        for number in changed:
            data = content()
            out(b"M 644 inline %s\ndata %d\n%s\n" % (path(number).encode(), len(data), data))
        if commit == 0:
            out(b"M 644 inline .gitignore\ndata 8\nmemory/\n\n")
    child.stdin.close()
    if child.wait() != 0:
        sys.exit("git fast-import failed")
    git(folder, "reset", "-q", "--hard")
    schema = "CREATE TABLE learnings(id INTEGER PRIMARY KEY, body TEXT)"
    rows = ((line() * 20,) for _ in range(5000))
    closed(database(folder, "index", schema, "INSERT INTO learnings(body) VALUES(?)", rows))
    os.sync()


def edit(project, text):
    """A line more in one file."""
    with open(os.path.join(project, "src", "part0", "file0.rs"), "a") as file:
        file.write(f"// {text}\n")


def commit_one(project, number):
    """One more commit of one edit."""
    edit(project, number)
    git(project, "commit", "-qam", f"change {number}")
