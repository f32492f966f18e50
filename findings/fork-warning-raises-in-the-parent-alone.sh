#!/usr/bin/env bash
# What surprised: with warnings as errors, os.fork() beside another thread raises DeprecationWarning on Python 3.15 in
#   the parent *after* the child was made: the child runs on as if nothing had happened, and the parent has an
#   exception and no process id, so it cannot wait for it. 3.12 to 3.14 print or swallow the same warning, and fork()
#   returns.
# Seen with: Python 3.15.2 (raises), 3.14.10 and 3.12.1 (do not), on 2026-11-29 (no package is installed).
# Why it matters to a durable event queue: a client library with a thread of its own in the application's process turns
#   the application's forks into exceptions there, and doubles its work: both go on. A test suite that turns warnings
#   into errors, which is usual, is where it shows.
set -euo pipefail
python=${PYTHON:-python3.15}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
  echo "skipped: needs Python 3.15, or from 3.12 on to compare; name one in PYTHON"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > forks.py <<'PYTHON'
import os
import sys
import threading

stop = threading.Event()
threading.Thread(target=stop.wait, args=(20,), daemon=True).start()
reading, writing = os.pipe()
try:
    child = os.fork()
except DeprecationWarning:
    told = "raised in the parent"
else:
    if child == 0:
        os.write(writing, b"the child lives on")
        os._exit(0)
    told = "returned in the parent"
os.close(writing)
lives = os.read(reading, 100).decode()
met, _ = os.wait()
stop.set()
print(f"{sys.version.split()[0]}: fork() {told}; {lives or 'there is no child'}")
PYTHON
# 3.12 to 3.14 say on standard error that they ignore what was raised.
"$python" -W error forks.py 2>/dev/null | tee output
expected="returned in the parent; the child lives on"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 15))' && expected="raised in the parent; the child lives on"
grep -q "fork() $expected\$" output || { echo "this has changed"; exit 1; }
