#!/usr/bin/env bash
# What surprised: a portalocker.Lock stays taken after the process that took it has died, for as long as any child
#   that was forked meanwhile lives, although the child never heard of the lock. filelock, which uses the same
#   flock(), closes its descriptor in the child and is free at once.
# Seen with: portalocker 4.4.2, filelock 4.3.1, Linux 6.18, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: workers take over from a leader by waiting for its lock. If the leader is
#   killed while a child of it (a pool worker, a long export) goes on, nobody takes over, and events stay on the
#   disk until that child ends.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet portalocker==4.4.2 filelock==4.3.1
cd "$folder"

cat > owner.py <<'PYTHON'
import os
import time

import filelock
import portalocker

portalocker_lock, filelock_lock = portalocker.Lock("a.lock", timeout=0), filelock.FileLock("b.lock")
portalocker_lock.acquire()
filelock_lock.acquire(blocking=False)
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(100)  # in the child: any work that goes on without its parent
PYTHON
cat > heirs.py <<'PYTHON'
import os
import platform
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import filelock
import portalocker

print("portalocker", version("portalocker"), "filelock", version("filelock"), platform.system(), platform.release())
owner = subprocess.Popen([sys.executable, "owner.py"], stdout=subprocess.PIPE, text=True)
child = int(owner.stdout.readline())


def free(lock: object) -> bool:
    try:
        lock.acquire()
        lock.release()
        return True
    except (portalocker.LockException, filelock.Timeout):
        return False


def look() -> tuple[bool, bool]:
    return free(portalocker.Lock("a.lock", timeout=0)), free(filelock.FileLock("b.lock", timeout=0))


seen = [look()]
owner.kill()
owner.wait()
seen.append(look())
os.kill(child, signal.SIGKILL)
deadline = time.monotonic() + 20
while not look()[0] and time.monotonic() < deadline:
    time.sleep(0.05)
seen.append(look())
for when, (by_portalocker, by_filelock) in zip(("owner lives", "owner killed", "its child killed too"), seen):
    print(f"{when:21} portalocker's lock is free: {by_portalocker}, filelock's: {by_filelock}")
if seen != [(False, False), (False, True), (True, True)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python heirs.py
