#!/usr/bin/env bash
# What surprised: a single uvicorn process (no --workers) that is stopped by SIGTERM runs the application's
#   lifespan.shutdown to its end and then dies without Python's exit handlers (atexit); stopped by SIGINT it runs
#   both. After its orderly shutdown uvicorn sends itself the signal it had caught, with the old handler in place,
#   and the old handler of SIGTERM is the system's: the process ends on the spot.
# Seen with: uvicorn 0.54.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: SIGTERM is what systemd, Docker and Kubernetes send. A client that gives
#   its last events away in an exit handler never gets to it in production, and always does at Ctrl-C on a desk.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'jobs -p | xargs -r kill; rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0
cd "$folder"

cat > application.py <<'PYTHON'
import atexit


def note(line: str) -> None:
    with open("notes", "a") as notes:
        notes.write(line + "\n")


atexit.register(note, "atexit")


async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        return
    for phase in ("startup", "shutdown"):
        await receive()
        note(phase)
        await send({"type": f"lifespan.{phase}.complete"})
PYTHON

wait_for() { # a line in the notes, 30 seconds at most
  for _ in $(seq 300); do
    grep -qs "$1" notes && return
    sleep 0.1
  done
  echo "no \"$1\" came"
  return 1
}

venv/bin/python -c 'import platform, uvicorn; print("uvicorn", uvicorn.__version__, "Python", platform.python_version())'
seen=""
for signal in INT TERM; do
  rm -f notes
  # A script's background programs have SIGINT ignored; in bash this gives it back.
  (trap - INT; exec venv/bin/uvicorn application:app --uds socket --log-level warning) &
  wait_for startup
  kill -s "$signal" $!
  status=0
  wait $! || status=$?
  echo "SIG$signal: $(paste -sd' ' notes), exit status $status"
  seen+="$signal $(paste -sd' ' notes) $status;"
done
[[ $seen == "INT startup shutdown atexit 0;TERM startup shutdown 143;" ]] || { echo "this has changed"; exit 1; }
