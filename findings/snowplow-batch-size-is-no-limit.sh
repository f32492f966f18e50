#!/usr/bin/env bash
# What surprised: the batch_size of Snowplow's Emitter says when to send, not how much. After a failure all events that
#   gather go out in one request, whatever their number; and a 413 for it ("too large") is none of the statuses that are
#   given up, so the same request is repeated for ever. Meanwhile flush() returns at once, without an error and without
#   a request, as long as the next try has not come.
# Seen with: snowplow-tracker 1.1.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: an outage that is long enough never ends by itself. Batches have to be cut by
#   number and size each time, also the repeated ones, and a flush that cannot send has to say so.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet snowplow-tracker==1.1.0
cd "$folder"

cat > outage.py <<'PYTHON'
import json
import logging
import platform
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import snowplow_tracker.emitters
from snowplow_tracker import Emitter, StructuredEvent, Tracker

print("snowplow-tracker", version("snowplow-tracker"), "Python", platform.python_version())
snowplow_tracker.emitters.logger.setLevel(logging.CRITICAL)
down, enough = True, threading.Event()
requests: list[tuple[int, int]] = []  # the number of events, and the answer


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 503 if down else 413 if len(body) > 10_000 else 200  # a proxy's limit, small for the test
        requests.append((len(json.loads(body)["data"]), status))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if len(requests) == 4:
            enough.set()

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_address[1]
emitter = Emitter("127.0.0.1", protocol="http", port=port, batch_size=10, max_retry_delay_seconds=1)
tracker = Tracker("billing", emitter)
with emitter.retry_timer.lock:  # the next try waits here until all events have been tracked
    for number in range(100):
        tracker.track(StructuredEvent("billing", "call", value=number))
    before = len(requests)
    tracker.flush()
    by_flush = len(requests) - before
    down = False
enough.wait(60)
print("requests that flush() made during the outage:", by_flush)
print("requests, as (events, answer):", *requests[:4])
if by_flush != 0 or requests[:4] != [(10, 503), (100, 413), (100, 413), (100, 413)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python outage.py
