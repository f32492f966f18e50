#!/usr/bin/env bash
# What surprised: LiteQueue's maxsize becomes a trigger in the database when a queue is first opened with one, and stays
#   there. Whoever opens the file later with a larger maxsize, or with none, still gets the first limit, while its
#   full() answers by the number that it was given: full() is False, and put() raises. A smaller maxsize is no limit.
# Seen with: litequeue 0.9, SQLite 3.40.1, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a limit that was raised in the configuration, because the queue ran full,
#   changes nothing; the error comes from SQLite as an IntegrityError, not as queue.Full.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litequeue==0.9
cd "$folder"

cat > limits.py <<'PYTHON'
import platform
import sqlite3
import sys
from importlib.metadata import version

from litequeue import LiteQueue

print("litequeue", version("litequeue"), "SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
seen = []
for maxsize in (3, 100, None, 1):
    queue = LiteQueue("queue.db", maxsize=maxsize)
    while queue.pop():
        pass
    accepted, full = 0, []
    for number in range(10):
        full.append(queue.full())
        try:
            queue.put(f"event {number}")
            accepted += 1
        except sqlite3.IntegrityError as error:
            said = f"{type(error).__name__}: {error}"
    seen.append((maxsize, accepted, full.index(True) if True in full else None))
    print(f"opened with maxsize {maxsize}: accepted {accepted} of 10, full() is first True at {seen[-1][2]}; {said}")
    queue.close()
if seen != [(3, 3, 3), (100, 3, None), (None, 3, None), (1, 3, 1)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python limits.py
