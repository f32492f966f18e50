#!/usr/bin/env bash
# What surprised: Packer(autoreset=False), the way to collect many objects in one buffer, empties the buffer when an
#   object cannot be packed: what pack() had taken before is gone, too. The exception is about the one object, a
#   handler that skips it goes on, and bytes() gives what came after it. Both forms do so, the compiled one and that
#   in pure Python.
# Seen with: msgpack 1.2.4, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "pack until the batch is full, log what cannot be packed" loses up to a
#   whole batch of good events for each bad one, and the log names the bad one only. Pack each event into bytes of its
#   own.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet msgpack==1.2.4
cd "$folder"

cat > batch.py <<'PYTHON'
import platform
import sys
from decimal import Decimal
from importlib.metadata import version

import msgpack
import msgpack.fallback

print("msgpack", version("msgpack"), "Python", platform.python_version())
EVENTS = [{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4, "price": Decimal("0.10")}, {"id": 5}]
seen = []
for kind in (msgpack.Packer, msgpack.fallback.Packer):
    packer = kind(autoreset=False)
    taken, refused = [], []
    for event in EVENTS:
        try:
            packer.pack(event)
            taken.append(event["id"])
        except TypeError:
            refused.append(event["id"])
    unpacker = msgpack.Unpacker()
    unpacker.feed(packer.bytes())
    seen.append((taken, refused, [event["id"] for event in unpacker]))
    print(f"{kind.__module__}: pack() returned for {taken}, raised for {refused}; in the buffer: {seen[-1][2]}")
if seen != [([1, 2, 3, 5], [4], [5])] * 2:
    sys.exit("this has changed")
PYTHON
venv/bin/python batch.py
