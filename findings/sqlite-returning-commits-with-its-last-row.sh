#!/usr/bin/env bash
# What surprised: in autocommit mode UPDATE … RETURNING (INSERT and DELETE, too) is committed when its *last row is
#   fetched* or its cursor is released, not when execute() returns. Until then other connections see nothing of it and
#   cannot write, although in_transaction says False; closing the connection changes nothing as long as somebody has the
#   cursor. If the process ends in between, all of it is undone, the rows that were handed out included.
# Seen with: SQLite 3.40.1 in write-ahead-log mode, Python 3.11.7, 3.12.1 and 3.13.0, on 2026-11-29. (No package is
#   installed.)
# Why it matters to a durable event queue: `for row in db.execute("UPDATE … SET state = 'taken' … RETURNING …"):
#   send(row)` locks everybody out while it sends, and a kill in the middle makes events that were sent ready to be
#   sent again. fetchall() at once is what commits.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > claim.py <<'PYTHON'
import os
import platform
import sqlite3
import sys

print("SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
READY = "SELECT id FROM events WHERE state = 'ready' LIMIT 3"
CLAIM = f"UPDATE events SET state = 'taken' WHERE id IN ({READY}) RETURNING id"


def connect() -> sqlite3.Connection:
    connection = sqlite3.connect("queue.db", isolation_level=None, timeout=0)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


def look(when: str) -> None:
    taken = other.execute("SELECT COUNT(*) FROM events WHERE state = 'taken'").fetchone()[0]
    try:
        other.execute("INSERT INTO events (state) VALUES ('ready')")
        writes = "can write"
    except sqlite3.OperationalError as error:
        writes = str(error)
    seen.append((taken, writes))
    print(f"{when:47} another connection sees {taken} taken, and {writes}")


seen = []
ours, other = connect(), connect()
ours.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, state TEXT)")
ours.executemany("INSERT INTO events (state) VALUES (?)", [("ready",)] * 5)
rows = ours.execute(CLAIM)
look(f"execute() returned, in_transaction {ours.in_transaction}:")
for (number,) in rows:
    look(f"row {number} was fetched, in_transaction {ours.in_transaction}:")
if (worker := os.fork()) == 0:
    for _ in connect().execute(CLAIM):
        os._exit(0)  # a kill after the first of three was sent
os.waitpid(worker, 0)
look("a worker claimed 3 more, and was killed at one:")
rows = ours.execute(CLAIM)
ours.close()
look("claimed again, and the connection was closed:")
del rows
look("the cursor is gone as well:")
locked, free = "database is locked", "can write"
if seen != [(0, locked), (0, locked), (0, locked), (3, free), (3, free), (3, locked), (6, free)]:
    sys.exit("this has changed")
PYTHON
"$python" claim.py
