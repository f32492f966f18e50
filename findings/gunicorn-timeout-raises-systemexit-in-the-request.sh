#!/usr/bin/env bash
# What surprised: a gunicorn sync worker that is "killed" for its --timeout is not killed at first: its SIGABRT handler
#   raises SystemExit at whatever line the request is at. `finally` blocks run, `except BaseException` sees it, the
#   client gets a 500, and the exit handlers (atexit) run as well.
# Seen with: gunicorn 27.0.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: an append can be left by an exception between any two of its lines that is
#   neither an OSError nor an Exception, with its lock held and its books half written, and exit handlers that need
#   the same lock run next. What is not yet safe at that moment must be safe to leave.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'jobs -p | xargs -r kill; rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gunicorn==27.0.1
cd "$folder"
export HOME=$folder # gunicorn puts its control socket there

cat > application.py <<'PYTHON'
import atexit
import os
import time


def note(what: str) -> None:
    with open("notes", "a") as notes:
        notes.write(f"{os.getpid()} {what}\n")


def app(environ, start_response):
    atexit.register(note, "atexit")
    try:
        time.sleep(60)  # a slow database
    except BaseException as error:
        note(f"except {error!r}")
        raise
    finally:
        note("finally")
PYTHON
cat > request.py <<'PYTHON'
import http.client
import socket
import time

deadline = time.monotonic() + 30
while True:
    connection = http.client.HTTPConnection("localhost", timeout=40)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect("socket")
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
connection.request("GET", "/")
print(connection.getresponse().status)
PYTHON

venv/bin/python -c 'import gunicorn, platform; print("gunicorn", gunicorn.__version__, "Python", platform.python_version())'
venv/bin/gunicorn --bind unix:socket --timeout 2 application:app > log 2>&1 &
status=$(venv/bin/python request.py)
kill $!
wait $!
echo "the client got $status; the worker noted:"
sed 's/^/  /' notes
[[ $status == 500 && $(cut -d' ' -f2- notes | paste -sd,) == "except SystemExit(1),finally,atexit" ]] ||
  { echo "this has changed"; exit 1; }
