#!/usr/bin/env bash
# What surprised: where one property of an event has a type that Amplitude's client does not take (a Decimal, a
#   datetime, a tuple, a list with None in it), the event is sent without any of its properties. Nothing is raised,
#   and what is logged is "Event sent successfully." A value of None alone is no such case, and drops only itself.
# Seen with: amplitude-analytics 1.3.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: the number that is billed vanishes because of another one that nobody
#   bills, and the event still counts as sent. What cannot be sent has to be refused when it is tracked, with the
#   property's name.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet amplitude-analytics==1.3.0
cd "$folder"

cat > track.py <<'PYTHON'
import json
import logging
import platform
import sys
import threading
from datetime import datetime, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from amplitude import Amplitude, BaseEvent

print("amplitude-analytics", version("amplitude-analytics"), "Python", platform.python_version())
received = {}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        for event in json.loads(self.rfile.read(int(self.headers["Content-Length"])))["events"]:
            received[event["event_type"]] = event.get("event_properties")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"code": 200}')

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
records = []
handler = logging.Handler()
handler.emit = records.append
logging.basicConfig(level=logging.DEBUG, handlers=[handler])
client = Amplitude("key")
client.configuration.server_url = f"http://127.0.0.1:{server.server_port}/"
others = ("text", None, Decimal("0.10"), datetime.now(timezone.utc), ("a", "b"), ["a", None])
for number, other in enumerate(others):
    client.track(BaseEvent(str(number), user_id="customer", event_properties={"calls": 1000, "other": other}))
for future in client.flush():
    future.result()
client.shutdown()
seen = [received[str(number)] for number in range(len(others))]
for other, properties in zip(others, seen):
    print(f"calls: 1000, other: {type(other).__name__:8} -> the server got {properties}")
logged = {record.getMessage() for record in records}
print("all that is logged, from DEBUG on:", *logged)
expected = [{"calls": 1000, "other": "text"}, {"calls": 1000}, None, None, None, None]
if seen != expected or logged != {"Event sent successfully."}:
    sys.exit("this has changed")
PYTHON
venv/bin/python track.py
