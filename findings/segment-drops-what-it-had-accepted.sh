#!/usr/bin/env bash
# What surprised: track() of Segment's client answers True for "it is in the queue". When the server then answers 429
#   ("later, please"), the batch is put back into the queue, and if newer events have filled that meanwhile, the older,
#   accepted ones are dropped. No call raises, track() had said True for all, flush() returns as usual; only a log line
#   (or on_error, if one was given) tells.
# Seen with: segment-analytics-python 2.4.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a limit on the queue has to count what is being sent, too. Otherwise "accepted"
#   is a promise that the next events take back, just when the server is slow.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet segment-analytics-python==2.4.0
cd "$folder"

cat > accept.py <<'PYTHON'
import json
import logging
import platform
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from segment.analytics.client import Client

print("segment-analytics-python", version("segment-analytics-python"), "Python", platform.python_version())
logging.basicConfig(format="  log: %(message)s", stream=sys.stdout)
in_flight, full = threading.Event(), threading.Event()
delivered: list[str] = []


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        batch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["batch"]
        busy = not in_flight.is_set()  # the first request only
        in_flight.set()
        full.wait(30)
        if not busy:
            delivered.extend(message["event"] for message in batch)
        self.send_response(429 if busy else 200)
        self.send_header("Content-Length", "2")
        if busy:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = Client("key", host=f"http://127.0.0.1:{server.server_address[1]}", max_queue_size=10, upload_size=10)
accepted = [client.track("customer", f"old {n}")[0] for n in range(10)]
in_flight.wait(30)
accepted += [client.track("customer", f"new {n}")[0] for n in range(10)]
full.set()
client.flush()
client.shutdown()
print(f"track() said True {accepted.count(True)} times of {len(accepted)};", end=" ")
print("delivered:", {age: sum(event.startswith(age) for event in delivered) for age in ("old", "new")})
if accepted != [True] * 20 or sorted(delivered) != sorted(f"new {n}" for n in range(10)):
    sys.exit("this has changed")
PYTHON
venv/bin/python accept.py
