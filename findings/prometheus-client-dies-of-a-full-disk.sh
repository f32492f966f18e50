#!/usr/bin/env bash
# What surprised: in multiprocess mode prometheus_client keeps its values in a file that it maps into memory, made in
#   its full size but without the blocks. Where the disk has no room for the next block, inc() raises no exception that
#   anybody could catch: the process gets SIGBUS and is gone, in the middle of a request. The same full disk is an
#   OSError to whoever writes to it.
# Seen with: prometheus-client 0.26.0, Python 3.11.7, Linux 6.18, on 2026-11-30.
# Why it matters to a durable event queue: the directory is often beside the queue, or in a small /dev/shm, so the disk
#   that a backlog has filled kills the workers by way of a counter, and again as soon as they are started again.
#   Metrics need a disk of their own.
set -euo pipefail
if [[ $(id -u) != 0 ]] || ! unshare --mount true 2> /dev/null; then
  echo "skipped: needs root and a mount namespace, for a small disk of its own"
  exit 0
fi
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prometheus-client==0.26.0
cd "$folder"
mkdir disk

cat > worker.py <<'PYTHON'
from pathlib import Path

from prometheus_client import Counter

calls = Counter("calls", "What was called.", ["customer"])
calls.labels("first").inc()
try:
    Path("disk/backlog").write_bytes(b"x" * 10_000_000)
except OSError as error:
    print("the queue's own write:", error.strerror, flush=True)
for number in range(1000):
    try:
        calls.labels(f"customer {number}").inc()
    except Exception as error:
        print("inc():", type(error).__name__, error)
        break
print("the worker goes on", flush=True)
PYTHON
cat > workers.py <<'PYTHON'
import os
import platform
import signal
import subprocess
import sys
from importlib.metadata import version

print("prometheus-client", version("prometheus-client"), "Python", platform.python_version(), end=" ")
print(platform.system(), platform.release())
seen = []
for mode, more in (("multiprocess", {"PROMETHEUS_MULTIPROC_DIR": "disk"}), ("one process", {})):
    worker = subprocess.run([sys.executable, "worker.py"], env=os.environ | more, capture_output=True, text=True)
    ended = signal.Signals(-worker.returncode).name if worker.returncode < 0 else f"exit code {worker.returncode}"
    seen.append((worker.stdout.splitlines(), ended))
    print(f"{mode:12}: said {seen[-1][0]}, {ended}")
full = "the queue's own write: No space left on device"
if seen != [([full], "SIGBUS"), ([full, "the worker goes on"], "exit code 0")]:
    sys.exit("this has changed")
PYTHON
unshare --mount sh -ec 'mount -t tmpfs -o size=4m tmpfs disk && exec venv/bin/python workers.py'
