#!/usr/bin/env bash
# What surprised: when msgpack's Unpacker refuses an object of a stream (a map with a number as its key, which it does
#   unless told otherwise, or an object_hook that raises), it goes on *inside* that object: what is left of it is
#   given out as objects of the stream, and after them the next real ones. The compiled form begins with a value that
#   is not in the object at all, but one of its bytes; the pure Python one begins elsewhere.
# Seen with: msgpack 1.2.4, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "skip the record that cannot be read" makes records that nobody wrote. If a
#   map is nested in the refused one, it is a whole event. Each record needs its length in front, and an Unpacker of
#   its own.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet msgpack==1.2.4
cd "$folder"

cat > stream.py <<'PYTHON'
import platform
import sys
from importlib.metadata import version

import msgpack
import msgpack.fallback

print("msgpack", version("msgpack"), "Python", platform.python_version())
STREAM = [{"id": 1}, {5: "five", "quoted": {"id": 7, "calls": 1000}}, {"id": 2}]
seen = []
for kind in (msgpack.Unpacker, msgpack.fallback.Unpacker):
    unpacker = kind()
    for each in STREAM:
        unpacker.feed(msgpack.packb(each))
    read = []
    while True:
        try:
            read.append(unpacker.unpack())
        except msgpack.OutOfData:
            break
        except ValueError:
            read.append("refused")
    print(f"{kind.__module__} reads {read}")
    seen.append(read)
first, rest = [{"id": 1}, "refused"], ["quoted", {"id": 7, "calls": 1000}, {"id": 2}]
if seen != [[*first, 0x65, *rest], [*first, "five", *rest]]:
    sys.exit("this has changed")
PYTHON
venv/bin/python stream.py
