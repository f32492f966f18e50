#!/usr/bin/env bash
# What surprised: a process that holds a fasteners.InterProcessLock loses it, without a word, as soon as it opens and
#   closes the lock file for any other reason, for instance to read who holds it. A second process then takes the
#   lock as well, and the first one's `acquired` still says True.
# Why: fasteners locks with fcntl's record locks. These belong to the process and the file, not to the open
#   descriptor, and the kernel drops all of them when the process closes any descriptor of that file.
# Seen with: fasteners 0.20, Linux 6.18, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "one flusher only" rests on the lock. A status call that reads the lock
#   file in the flusher's process, or a backup that copies the folder there, makes two flushers of one. A lock by
#   flock() (filelock's UnixFileLock) is not lost that way.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fasteners==0.20 filelock==4.3.1
cd "$folder"

cat > holders.py <<'PYTHON'
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import fasteners
import filelock

print("fasteners", version("fasteners"), platform.system(), platform.release(), "Python", platform.python_version())
FASTENERS = "import fasteners; print(fasteners.InterProcessLock('a.lock').acquire(blocking=False))"
FILELOCK = """
import filelock
try:
    print(filelock.FileLock('b.lock').acquire(blocking=False).lock.is_locked)
except filelock.Timeout:
    print(False)
"""


def another_process_gets_it(code: str) -> bool:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "True\n"


ours, flocked = fasteners.InterProcessLock("a.lock"), filelock.FileLock("b.lock")
ours.acquire(blocking=False)
flocked.acquire(blocking=False)
seen = []
for when in ("both locks held", "after the holder has read both lock files"):
    seen.append((another_process_gets_it(FASTENERS), another_process_gets_it(FILELOCK), ours.acquired))
    print(f"{when}: another process gets fasteners' lock: {seen[-1][0]}, filelock's: {seen[-1][1]};", end=" ")
    print("the holder's `acquired`:", seen[-1][2])
    Path("a.lock").read_bytes()
    Path("b.lock").read_bytes()
if seen != [(False, False, True), (True, False, True)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python holders.py
