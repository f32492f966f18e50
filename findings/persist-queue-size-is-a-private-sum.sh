#!/usr/bin/env bash
# What surprised: SQLiteQueue.qsize() and empty() do not look at the database. They are a sum that each object keeps
#   for itself from what was there when it was opened and what it put and got since. A queue that another process
#   fills stays "empty"; one get() from it makes the sum -1, and then qsize() is 0 while empty() is False.
# Seen with: persist-queue 1.1.0, SQLite 3.40.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: `while not queue.empty()` in a flusher of its own never starts, and a
#   gauge made from qsize() shows 0 pending, or thousands that are long gone. Only a count in SQL is true.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet persist-queue==1.1.0
cd "$folder"

cat > sizes.py <<'PYTHON'
import platform
import sqlite3
import subprocess
import sys
from importlib.metadata import version

from persistqueue import SQLiteQueue

print("persist-queue", version("persist-queue"), "SQLite", sqlite3.sqlite_version, "Python", platform.python_version())


def rows() -> int:
    with sqlite3.connect("shared/data.db") as database:
        return database.execute("SELECT COUNT(*) FROM queue_default").fetchone()[0]


flusher = SQLiteQueue("shared", auto_commit=True)
writer = "from persistqueue import SQLiteQueue; q = SQLiteQueue('shared', auto_commit=True); [q.put(n) for n in range(5)]"
reader = "from persistqueue import SQLiteQueue; q = SQLiteQueue('shared', auto_commit=True); [q.get() for n in range(3)]"
seen = []


def look(when: str) -> None:
    seen.append((rows(), flusher.qsize(), flusher.empty()))
    print(f"{when:42} rows {seen[-1][0]}, qsize() {seen[-1][1]}, empty() {seen[-1][2]}")


look("opened")
subprocess.run([sys.executable, "-c", writer], check=True)
look("another process put 5")
flusher.get(block=False)
look("this one got 1 of them")
flusher.put("own")
flusher.put("own")
subprocess.run([sys.executable, "-c", reader], check=True)
look("this one put 2, another got 3")
if seen != [(0, 0, True), (5, 0, True), (4, 0, False), (3, 1, False)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python sizes.py
