#!/usr/bin/env bash
# What surprised: diskcache.Cache.push() and pull(), documented as a queue, share the cache's size limit: what is pushed
#   beyond it silently removes the oldest entries that wait, ten at a time. push() goes on returning keys. The limit is
#   1 GB unless one is given (here 2 MB). diskcache.Deque switches that off for itself (eviction_policy="none").
# Seen with: diskcache 5.6.3, SQLite 3.40.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: an hour without the server is when a queue grows, and here that is when it
#   starts to forget what it has acknowledged, oldest first. A full queue has to refuse instead.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet diskcache==5.6.3
cd "$folder"

cat > push.py <<'PYTHON'
import platform
import sqlite3
import sys

import diskcache

print("diskcache", diskcache.__version__, "SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
cache = diskcache.Cache("pushed", size_limit=2_000_000)
deque = diskcache.Deque.fromcache(diskcache.Cache("deque", size_limit=2_000_000, eviction_policy="none"))
padding = "x" * 100_000
keys = []
for number in range(100):
    keys.append(cache.push((number, padding)))
    deque.append((number, padding))
pulled = []
while (item := cache.pull())[0] is not None:
    pulled.append(item[1][0])
print(f"pushed {len(set(keys))} of 100 kB each; pulled {len(pulled)}: {pulled[0]} to {pulled[-1]}")
print("Deque kept", len(deque))
if len(set(keys)) != 100 or len(pulled) > 25 or pulled != list(range(100 - len(pulled), 100)) or len(deque) != 100:
    sys.exit("this has changed")
PYTHON
venv/bin/python push.py
