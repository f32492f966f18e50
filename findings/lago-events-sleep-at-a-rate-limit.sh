#!/usr/bin/env bash
# What surprised: Lago's client takes retry_on_rate_limit=False and max_retries=0, and most of its calls obey. The two
#   that a program makes all the time, events.create() and events.batch_create(), do not: at a 429 they sleep and send
#   three times more, in the caller.
# Seen with: lago-python-client 1.55.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a call that tracks must not wait for the server, least of all for one that
#   asks to be left alone; what has to be tried again is tried by somebody else.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lago-python-client==1.55.0
cd "$folder"

cat > limits.py <<'PYTHON'
import platform
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from lago_python_client.client import Client
from lago_python_client.exceptions import LagoRateLimitError
from lago_python_client.models import BatchEvent, Event

print("lago-python-client", version("lago-python-client"), "Python", platform.python_version())
requests = 0


class Limited(BaseHTTPRequestHandler):
    def answer(self):
        global requests
        requests += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(429)
        for name, value in (("x-ratelimit-limit", "1"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")):
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Limited)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}"
client = Client(api_key="key", api_url=url, retry_on_rate_limit=False, max_retries=0)
event = Event(transaction_id="1", external_subscription_id="s", code="calls", timestamp=1650893379,
              precise_total_amount_cents=None, properties={})
found = {}
for name, call in (
    ("customers.find", lambda: client.customers.find("customer")),
    ("events.create", lambda: client.events.create(event)),
    ("events.batch_create", lambda: client.events.batch_create(BatchEvent(events=[event]))),
):
    requests, begun = 0, time.monotonic()
    try:
        call()
    except LagoRateLimitError:
        found[name] = (requests, time.monotonic() - begun > 1)
    print(name, "sent", requests, "requests", "and slept for seconds" if found[name][1] else "and did not wait")
if found != {"customers.find": (1, False), "events.create": (4, True), "events.batch_create": (4, True)}:
    sys.exit("this has changed")
PYTHON
venv/bin/python limits.py
