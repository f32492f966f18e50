#!/usr/bin/env bash
# What surprised: under freezegun a thread has two monotonic clocks at once, and how deep its call stack is decides
#   which one it reads. A call within a few frames of threading's own code gets the real time.monotonic(), one a few
#   functions further down gets the frozen one, which is not "the real one, stopped" but the frozen date in seconds
#   since 1970. (freezegun looks for modules it leaves alone, `threading` is one, in the nearest callers only.)
# Seen with: freezegun 1.5.5, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a deadline that a flusher thread takes in one function and looks at in
#   another is 56 years away, or long past, in an application's tests: waiting for a drain never ends or never waits.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet freezegun==1.5.5
cd "$folder"

cat > clocks.py <<'PYTHON'
import platform
import sys
import threading
import time
from importlib.metadata import version

from freezegun import freeze_time

print("freezegun", version("freezegun"), "Python", platform.python_version())


def clock(depth: int) -> float:
    return clock(depth - 1) if depth else time.monotonic()


def read() -> None:
    readings.extend(clock(depth) for depth in range(8))


readings: list[float] = []
start = time.monotonic()
with freeze_time("2026-11-29"):
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    in_the_main_thread = time.monotonic()
end = time.monotonic()
print(f"real before: {start:.0f}, frozen in the main thread: {in_the_main_thread:.0f}, real after: {end:.0f}")
kinds = []
for depth, reading in enumerate(readings):
    kinds.append("real" if start <= reading <= end else "frozen" if reading == in_the_main_thread else "?")
    print(f"  in a thread, {depth} functions further down: {reading:.0f} ({kinds[-1]})")
if in_the_main_thread != 1795910400.0 or kinds != ["real"] * kinds.count("real") + ["frozen"] * kinds.count("frozen"):
    sys.exit("this has changed")
if not 0 < kinds.count("real") < 8:
    sys.exit("this has changed: one clock only")
PYTHON
venv/bin/python clocks.py
