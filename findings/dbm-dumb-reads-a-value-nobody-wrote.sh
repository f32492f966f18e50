#!/usr/bin/env bash
# What surprised: dbm.dumb overwrites a value in place at once, but writes the new length only at close() or sync().
#   After a kill in between, a key reads as its new bytes with the rest of the old ones behind them: b"7" over b"1000"
#   is b"7000", a value that was never stored. A key that is new is complete, so a test with new keys sees nothing.
# Seen with: the module of Python 3.11.7, on 2026-11-30. dbm and shelve take it where gdbm, ndbm and (from 3.13) sqlite3
#   are missing.
# Why it matters to a durable event queue: a cursor or a counter kept there is neither the old nor the new one after a
#   crash, and nothing in the file tells. "Up to event 7" becomes "up to event 7000".
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > cursor.py <<'PYTHON'
import dbm.dumb
import os
import platform
import signal
import sys

print("dbm.dumb of Python", platform.python_version())
with dbm.dumb.open("books", "c") as books:
    books["sent up to"], books["name"] = b"1000", b"relay"
if (writer := os.fork()) == 0:
    books = dbm.dumb.open("books", "w")
    books["sent up to"] = b"7"  # the numbers begin again
    books["name"] = b"relay of the second host"
    books["new key"] = b"complete"
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(writer, 0)
with dbm.dumb.open("books", "r") as books:
    seen = {key.decode(): books[key] for key in books.keys()}
for key, value in seen.items():
    print(f"{key}: {value}")
if seen != {"sent up to": b"7000", "name": b"relay", "new key": b"complete"}:
    sys.exit("this has changed")
PYTHON
"$python" cursor.py
