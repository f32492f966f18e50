#!/usr/bin/env bash
# What surprised: to persistqueue.UniqueQ two items are the same if their pickles are the same bytes, which is less
#   than being equal. An event that comes from json.loads() is kept beside the equal one that was written in the code,
#   because in one of them two equal strings are one object, which pickle stores once. Both are then given out.
# Seen with: persist-queue 1.1.0, SQLite 3.40.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "put it in twice, it is billed once" holds in a test with literals and not
#   for what comes over the wire. Uniqueness has to be of an id, or of bytes that do not depend on how an object was
#   made: serializer=persistqueue.serializers.json.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet persist-queue==1.1.0
cd "$folder"

cat > unique.py <<'PYTHON'
import json
import platform
import sqlite3
import sys
from importlib.metadata import version

import persistqueue
from persistqueue.serializers import json as as_json

print("persist-queue", version("persist-queue"), "SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
written = {"id": "call 1", "customer": "acme", "billed_to": "acme"}
received = json.loads(json.dumps(written))
print("equal:", written == received, "- in the same order:", list(written) == list(received))
seen = []
for name, options in (("pickle, as usual", {}), ("json", {"serializer": as_json})):
    queue = persistqueue.UniqueQ(name, auto_commit=True, **options)
    for event in (written, dict(written), received):
        queue.put(event)
    given_out = [queue.get(block=False) for _ in range(queue.qsize())]
    seen.append(given_out)
    print(f"{name}: put three times, given out {len(given_out)} times")
if written != received or seen != [[written, written], [written]]:
    sys.exit("this has changed")
PYTHON
venv/bin/python unique.py
