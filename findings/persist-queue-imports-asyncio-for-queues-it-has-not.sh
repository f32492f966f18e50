#!/usr/bin/env bash
# What surprised: `import persistqueue` imports asyncio in every program, also where its asynchronous queues cannot be
#   used: their module imports asyncio first and aiofiles, which is not installed, after it. The package takes the
#   ImportError and goes on without them, but asyncio, with some thirty modules, stays.
# Seen with: persist-queue 1.1.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a process that only wants the SQLite queue starts later and takes more memory.
#   `sys.modules["persistqueue.async_queue"] = None` before the import has the same ImportError come first.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet persist-queue==1.1.0
cd "$folder"

cat > imported.py <<'PYTHON'
import sys

if sys.argv[1] == "without":
    sys.modules["persistqueue.async_queue"] = None
before = set(sys.modules)
import persistqueue

more = [name for name in sys.modules if name not in before]
asyncio = [name for name in more if name.partition(".")[0] == "asyncio"]
has = hasattr(persistqueue, "AsyncQueue")
print(f"{sys.argv[1]}: {len(more)} modules, {len(asyncio)} of asyncio; AsyncQueue: {has}", file=sys.stderr)
print(bool(asyncio), has, hasattr(persistqueue, "SQLiteQueue"))
PYTHON
usual=$(venv/bin/python imported.py usual)
without=$(venv/bin/python imported.py without)
[ "$usual" = "True False True" ] && [ "$without" = "False False True" ] || { echo "this has changed"; exit 1; }
