#!/usr/bin/env bash
# What surprised: opening a second SQLiteAckQueue on the same folder, even only to count what is in it, hands the
#   items that the first one is working on back to the queue. The first consumer is alive and may still acknowledge,
#   so two consumers get the same item and neither sees an error.
# Why: the constructor's `auto_resume` (on unless told otherwise) turns every "unacknowledged" row into "ready",
#   and a row does not say which process took it.
# Seen with: persist-queue 1.1.0, SQLite 3.40.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a status command or a second worker would make every event in flight be
#   sent, and billed, twice. Whoever opens such a queue beside a consumer has to pass auto_resume=False.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet persist-queue==1.1.0
cd "$folder"

cat > onlooker.py <<'PYTHON'
import sys

from persistqueue import SQLiteAckQueue

queue = SQLiteAckQueue("shared", auto_resume=sys.argv[1] == "resume")
print("  onlooker: ready", queue.ready_count(), "in flight", queue.unack_count())
PYTHON

cat > consumers.py <<'PYTHON'
import platform
import sqlite3
import subprocess
import sys
from importlib.metadata import version

from persistqueue import Empty, SQLiteAckQueue

print("persist-queue", version("persist-queue"), "SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
first = SQLiteAckQueue("shared")
first.put("event 1")
taken = first.get(block=False)
print("first consumer took:", taken)


def second_consumer_gets() -> object:
    try:
        return SQLiteAckQueue("shared", auto_resume=False).get(block=False)
    except Empty:
        return None


seen = []
for mode in ("leave", "resume"):
    subprocess.run([sys.executable, "onlooker.py", mode], check=True)
    seen.append(second_consumer_gets())
    print(f"  after an onlooker with auto_resume={mode == 'resume'}, a second consumer gets:", seen[-1])
print("first consumer acknowledges without an error, id", first.ack(taken))
if seen != [None, "event 1"]:
    sys.exit("this has changed")
PYTHON
venv/bin/python consumers.py
