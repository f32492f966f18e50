#!/usr/bin/env bash
# What surprised: at SIGTERM honcho passes the signal on and waits, but from the moment that the first of its processes
#   has ended the others have five seconds, and then come SIGKILLs. No option changes that. How long a process may take
#   to end is so decided by its quickest neighbour: alone, the same process ends in peace after any time.
# Seen with: honcho 2.0.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: the flusher beside a web server is the slow one to end, as it sends what is
#   left, and is killed in the middle of a batch because the web server was quick. Tested alone it never is.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet honcho==2.0.0
cd "$folder"

cat > web.py <<'PYTHON'
import signal
import threading

signal.signal(signal.SIGTERM, lambda *_: exit(0))
threading.Event().wait(100)
PYTHON
cat > flusher.py <<'PYTHON'
import signal
import threading
from pathlib import Path


def flush(*_) -> None:
    threading.Event().wait(9)  # a slow last batch
    Path("flushed").touch()
    exit(0)


signal.signal(signal.SIGTERM, flush)
Path("ready").touch()
threading.Event().wait(100)
PYTHON
cat > stop.py <<'PYTHON'
import platform
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

print("honcho", version("honcho"), "Python", platform.python_version())
seen = {}
for neighbours in ("flusher", "flusher web"):
    for file in ("ready", "flushed"):
        Path(file).unlink(missing_ok=True)
    lines = [f"{name}: exec {sys.executable} {name}.py\n" for name in neighbours.split()]
    Path("Procfile").write_text("".join(lines))
    honcho = subprocess.Popen([sys.executable, "-m", "honcho", "start"], stdout=subprocess.PIPE, text=True)
    while not Path("ready").exists():
        threading.Event().wait(0.05)
    threading.Event().wait(1)  # the other one has started, too
    honcho.terminate()
    start = time.monotonic()
    killed = "SIGKILL" in honcho.communicate(timeout=60)[0]
    took = time.monotonic() - start
    flushed = Path("flushed").exists()
    seen[neighbours] = flushed, killed
    print(f"{neighbours:11} ended after {took:.0f} s; flushed: {flushed}, SIGKILL: {killed}")
if seen != {"flusher": (True, False), "flusher web": (False, True)}:
    sys.exit("this has changed")
PYTHON
venv/bin/python stop.py
