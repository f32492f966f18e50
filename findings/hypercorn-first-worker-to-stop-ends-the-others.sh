#!/usr/bin/env bash
# What surprised: at SIGTERM to hypercorn with two workers, the worker that is done first cuts the other one off: the
#   main process waits for any one of them and then terminates all that are left. A lifespan.shutdown that takes
#   longer than the quickest worker's is never finished, whatever graceful_timeout (here 30 s) says, and its exit
#   handlers do not run. The main process still ends with status 0.
# Seen with: hypercorn 0.18.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "flush in lifespan.shutdown" works with one worker and in every test, and
#   with two it is luck: an idle worker ends the busy one, which is the one with events left.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'jobs -p | xargs -r kill; rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hypercorn==0.18.0
cd "$folder"

cat > application.py <<'PYTHON'
import asyncio
import os

try:
    os.mkdir("one is busy")  # whoever makes it is the worker with something left to send
    name, seconds = "busy", 3
except FileExistsError:
    name, seconds = "idle", 0


def note(what: str) -> None:
    with open("notes", "a") as notes:
        notes.write(f"{name} {what}\n")


async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    note("started")
    await receive()
    note("shutting down")
    await asyncio.sleep(seconds)
    note("shut down")
    await send({"type": "lifespan.shutdown.complete"})
PYTHON
echo 'graceful_timeout = 30' > settings.toml

venv/bin/python -c 'import platform; from importlib.metadata import version
print("hypercorn", version("hypercorn"), "Python", platform.python_version())'
venv/bin/hypercorn application:app --config settings.toml --workers 2 --bind unix:socket > log 2>&1 &
for _ in $(seq 300); do
  [[ $(grep -cs started notes) == 2 ]] && break
  sleep 0.1
done
kill -s TERM $!
status=0
wait $! || status=$?
sed 's/^/  /' notes
echo "exit status of hypercorn: $status"
grep -q "idle shut down" notes && ! grep -q "busy shut down" notes && [[ $status == 0 ]] ||
  { echo "this has changed"; exit 1; }
