#!/usr/bin/env bash
# What surprised: with `sqlite3.connect(..., autocommit=False)`, the mode that the manual of Python recommends since
#   3.12, a connection that only reads gets the answer of its first SELECT for ever: a transaction is always open.
#   Worse, while it lives no checkpoint can shorten the write-ahead log, which grows with each commit of the others.
#   With the old default the same code reads what is there, since a SELECT opened no transaction.
# Seen with: SQLite 3.40.1 in write-ahead-log mode, Python 3.12.1 and 3.13.0, on 2026-11-29. (No package is
#   installed.)
# Why it matters to a durable event queue: a metrics page that counts what is pending shows one number until it is
#   restarted, so no alert is ever raised, and fills the disk of the queue that it watches. A reader needs
#   autocommit=True, or a commit() after each look.
set -euo pipefail
python=${PYTHON:-python3.12}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
  echo "skipped: needs Python 3.12 or later; name one in PYTHON"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > monitor.py <<'PYTHON'
import os
import platform
import sqlite3
import sys

print("SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
seen = {}
for name, mode in (("old default", sqlite3.LEGACY_TRANSACTION_CONTROL), ("False", False), ("True", True)):
    path = f"{name}.db"
    writer = sqlite3.connect(path, autocommit=True)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA synchronous=OFF")  # only to be quick
    writer.execute("CREATE TABLE events (event TEXT)")
    monitor = sqlite3.connect(path, autocommit=mode)
    counts = []
    for _ in range(3):
        counts.append(monitor.execute("SELECT COUNT(*) FROM events").fetchone()[0])
        for _ in range(2000):
            writer.execute("INSERT INTO events VALUES (?)", ("x" * 1000,))
    log = os.path.getsize(f"{path}-wal") / 1e6
    busy = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    print(f"autocommit {name}: the monitor counts {counts}; the log has {log:.0f} MB, checkpoint refused: {busy == 1}")
    seen[name] = (counts, log > 10, busy)
    monitor.close()
    writer.close()
if seen != {
    "old default": ([0, 2000, 4000], False, 0),
    "False": ([0, 0, 0], True, 1),
    "True": ([0, 2000, 4000], False, 0),
}:
    sys.exit("this has changed")
PYTHON
"$python" monitor.py
