#!/usr/bin/env bash
# What surprised: orjson.loads() reads an integer of more than 64 bits as a float, without an error, so different ids
#   become equal; orjson.dumps() refuses the same integer. What another library wrote correctly is read wrongly, and
#   then written again in another form. json, msgspec and pydantic-core read it exactly.
# Seen with: orjson 3.13.0, msgspec 0.23.0, pydantic-core 2.50.5, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: an id that is a UUID or a ULID as a number has 128 bits. Behind orjson two
#   events with one prefix are one for whoever drops repeats by id, and no answer to the sender matches its id.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet orjson==3.13.0 msgspec==0.23.0 pydantic-core==2.50.5
cd "$folder"

cat > ids.py <<'PYTHON'
import json
import platform
import sys
from importlib.metadata import version

import msgspec
import orjson
import pydantic_core

for name in ("orjson", "msgspec", "pydantic-core"):
    print(name, version(name), end=" ")
print("Python", platform.python_version())
IDS = [0x01A229D42E907345952DCEF478B3626B, 0x01A229D42E907345952DCEF478B3626C]  # two UUIDs of one process
seen = {}
for name, loads in (
    ("json", json.loads),
    ("msgspec", msgspec.json.decode),
    ("pydantic-core", pydantic_core.from_json),
    ("orjson", orjson.loads),
):
    read = [loads(json.dumps({"id": number}))["id"] for number in IDS]
    seen[name] = read == IDS, len(set(read))
    print(f"{name:13} reads {read[0]!r}; as written: {seen[name][0]}, different ids: {seen[name][1]}")
try:
    refused = orjson.dumps({"id": IDS[0]}).decode()
except TypeError as error:
    refused = f"TypeError: {error}"
again = orjson.dumps(orjson.loads(json.dumps({"id": IDS[0]}))).decode()
print("orjson writes it:", refused)
print("orjson writes what it has read:", again)
if list(seen.values()) != [(True, 2)] * 3 + [(False, 1)] or not refused.startswith("TypeError") or "e+" not in again:
    sys.exit("this has changed")
PYTHON
venv/bin/python ids.py
