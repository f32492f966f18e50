#!/usr/bin/env bash
# What surprised: rsync compares times by the second, although it sets them to the nanosecond: a file that changes once
#   more in the second in which it was copied, and keeps its size, is never copied again, in no later run, until
#   something else changes it. `--modify-window=-1` compares what was set, `--checksum` the contents.
# Seen with: rsync 3.5.0 of Debian 12, Linux 6.18, on 2026-11-30.
# Why it matters to a durable event queue: the files that keep their size are a queue's own: a database whose pages are
#   written in place, a segment that was made in its full length, a cursor of fixed width. A copy of them may say "sent
#   up to 1" for ever, and a restore from it sends again.
set -euo pipefail
if ! command -v rsync > /dev/null; then
  echo "skipped: rsync is not installed (Debian package rsync)"
  exit 0
fi
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > copies.py <<'PYTHON'
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

first_line = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
print(" ".join(first_line.split()), platform.system(), platform.release())
queue, copy = Path("queue"), Path("copy")
queue.mkdir()


def rsync(*options: str) -> str:
    subprocess.run(["rsync", "--archive", *options, "queue/", "copy/"], check=True)
    return (copy / "cursor").read_text()


seen = []
for second_write in (0.0, 1.0):  # later than the first one, in seconds
    (queue / "cursor").write_text("sent up to 1")
    now = time.time_ns() // 10**9 * 10**9 + 10**8  # one tenth of a second into this second
    os.utime(queue / "cursor", ns=(now, now))
    rsync()
    (queue / "cursor").write_text("sent up to 2")
    now += 3 * 10**8 + round(second_write * 10**9)
    os.utime(queue / "cursor", ns=(now, now))
    seen.append([rsync(), rsync("--modify-window=-1")])
    plain, finer = seen[-1]
    print(f"changed again {0.3 + second_write} s later: rsync leaves {plain!r}, with --modify-window=-1 {finer!r}")
if seen != [["sent up to 1", "sent up to 2"], ["sent up to 2", "sent up to 2"]]:
    sys.exit("this has changed")
PYTHON
"$python" copies.py
