#!/usr/bin/env bash
# What surprised: an exit handler (atexit) that an rq job registers never runs with the ordinary Worker, and neither
#   with SpawnWorker, which starts a fresh interpreter for the job: both end that process by os._exit() as soon as
#   the job has returned and been recorded as finished. With SimpleWorker it runs, but only when the worker stops.
# Seen with: rq 2.12.0, redis-py 8.1.0 against fakeredis 2.41.0's server, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: each job has a process of its own that lives for milliseconds. A client that
#   sends from a thread, and hands over the rest at exit, delivers nothing at all from such jobs, and the job is
#   "finished". What is written to the disk before the call returns is there for somebody else to send.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rq==2.12.0 fakeredis==2.41.0 redis==8.1.0
cd "$folder"

cat > jobs.py <<'PYTHON'
import atexit


def note(line: str) -> None:
    with open("notes", "a") as notes:
        notes.write(line + "\n")


def job() -> None:
    atexit.register(note, "exit handler")
    note("job")
PYTHON
cat > work.py <<'PYTHON'
import logging
import sys
import threading

import jobs
import rq
from fakeredis import TcpFakeServer
from redis import Redis

logging.disable(logging.WARNING)
server = TcpFakeServer(("127.0.0.1", 0))
threading.Thread(target=server.serve_forever, daemon=True).start()
connection = Redis(port=server.server_address[1])
queue = rq.Queue(connection=connection)
job = queue.enqueue(jobs.job)
kind = {"Worker": rq.Worker, "SpawnWorker": rq.worker.SpawnWorker, "SimpleWorker": rq.SimpleWorker}[sys.argv[1]]
kind([queue], connection=connection).work(burst=True)
jobs.note(job.get_status(refresh=True).value)
connection.close()
server.shutdown()
PYTHON

venv/bin/python -c 'import platform; from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("rq", "redis", "fakeredis")), "Python", platform.python_version())'
for worker in Worker SpawnWorker SimpleWorker; do
  rm -f notes
  timeout 60 venv/bin/python work.py "$worker" > log 2>&1 || { cat log; exit 1; }
  echo "$worker: $(paste -sd, notes)" | tee -a seen
done
diff seen - <<'SEEN' || { echo "this has changed"; exit 1; }
Worker: job,finished
SpawnWorker: job,finished
SimpleWorker: job,finished,exit handler
SEEN
