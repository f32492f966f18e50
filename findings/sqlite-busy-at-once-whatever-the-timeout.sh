#!/usr/bin/env bash
# What surprised: `timeout=30` does not mean that a write waits for 30 seconds before it gives up. A transaction that began
#   with a SELECT and then wants to write fails with "database is locked" in no time if anybody has committed since,
#   and nobody holds a lock then. Trying the same statement again fails for ever; only a new transaction helps. The
#   text is the same as after a real wait, the code is another: SQLITE_BUSY_SNAPSHOT, in `sqlite_errorname`.
# Seen with: SQLite 3.40.1 in write-ahead-log mode, Python 3.11.7, on 2026-11-29. (No package is installed.)
# Why it matters to a durable event queue: "look whether there is room, then put" in one transaction loses puts under load
#   although the timeout is long, and retrying the put does not help. BEGIN IMMEDIATE waits as it should.
set -euo pipefail
python=${PYTHON:-python3.11}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "skipped: needs Python 3.11 or later (sqlite_errorname); name one in PYTHON"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > waits.py <<'PYTHON'
import platform
import sqlite3
import sys
import threading
import time

print("SQLite", sqlite3.sqlite_version, "Python", platform.python_version())


def connect() -> sqlite3.Connection:
    connection = sqlite3.connect("queue.db", timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


ours, other = connect(), connect()
ours.execute("CREATE TABLE events (id INTEGER)")
seen = []
for begin in ("BEGIN", "BEGIN IMMEDIATE"):
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO events VALUES (1)")
    if begin == "BEGIN":
        ours.execute(begin)
        ours.execute("SELECT COUNT(*) FROM events").fetchone()
        other.execute("COMMIT")
    else:  # the other one commits while we wait
        threading.Timer(1, other.execute, ("COMMIT",)).start()
    start = time.monotonic()
    try:
        if begin == "BEGIN IMMEDIATE":
            ours.execute(begin)
        ours.execute("INSERT INTO events VALUES (2)")
        result = "written"
        ours.execute("COMMIT")
    except sqlite3.OperationalError as error:
        result = f"{error} ({error.sqlite_errorname})"
        ours.execute("ROLLBACK")
    waited = "waited" if time.monotonic() - start > 0.5 else "at once"
    print(f"{begin}: {result}, {waited}")
    seen.append((result, waited))
if seen != [("database is locked (SQLITE_BUSY_SNAPSHOT)", "at once"), ("written", "waited")]:
    sys.exit("this has changed")
PYTHON
"$python" waits.py
