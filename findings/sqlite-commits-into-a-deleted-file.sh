#!/usr/bin/env bash
# What surprised: after its database file was deleted, an open SQLite connection goes on as if nothing had happened: commits
#   succeed, its own reads find the rows, integrity_check says ok. Whoever connects next makes a new, empty database
#   of the same name, which works as well. When the first connection closes, its rows are gone; no call ever failed.
# Seen with: SQLite 3.40.1 in write-ahead-log mode with synchronous=FULL, Python 3.11.7, Linux, on 2026-11-29.
#   (No package is installed.)
# Why it matters to a durable event queue: a cleaner of temporary files, a re-created volume or `git clean` turns
#   "committed" into "lost" for as long as the process lives. Nothing but comparing the file's device and inode with
#   those at its path shows it, and "it can be read back" proves nothing.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > commits.py <<'PYTHON'
import os
import platform
import sqlite3
import sys

print("SQLite", sqlite3.sqlite_version, "Python", platform.python_version())


def connect() -> sqlite3.Connection:
    connection = sqlite3.connect("queue.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS events (id INTEGER)")
    connection.commit()
    return connection


def rows(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT COUNT(*) FROM events").fetchone()[0]


first = connect()
for name in os.listdir():
    if name.startswith("queue.db"):
        os.unlink(name)
for number in range(100):
    first.execute("INSERT INTO events VALUES (?)", (number,))
    first.commit()
seen = [rows(first), first.execute("PRAGMA integrity_check").fetchone()[0]]
print("100 commits after the file was deleted: rows", *seen)
second = connect()
second.execute("INSERT INTO events VALUES (100)")
second.commit()
seen += [rows(second), rows(first)]
print("a second connection to the same path, one commit: it sees", seen[2], "the first sees", seen[3])
first.close()
second.close()
third = connect()
seen.append(rows(third))
print("both closed; a third connection sees", seen[4])
if seen != [100, "ok", 1, 100, 1]:
    sys.exit("this has changed")
PYTHON
"$python" commits.py
