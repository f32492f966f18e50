#!/usr/bin/env bash
# What surprised: with use_ingest_service Lago's client sends an event to the ingest service, and a batch of events to
#   the API all the same: create() and batch_create() of one client go to two servers.
# Seen with: lago-python-client 1.55.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: which server has an event decides where a repeat of it is recognised. A queue
#   has one place to send to, and says which.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lago-python-client==1.55.0
cd "$folder"

cat > places.py <<'PYTHON'
import json
import platform
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from lago_python_client.client import Client
from lago_python_client.models import BatchEvent, Event

print("lago-python-client", version("lago-python-client"), "Python", platform.python_version())
event = {"transaction_id": "1", "external_subscription_id": "s", "code": "calls", "timestamp": "1650893379"}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        answer = json.dumps({"event": event, "events": [event]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


def start():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.paths = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


(api, api_url), (ingest, ingest_url) = start(), start()
client = Client(api_key="key", api_url=api_url, use_ingest_service=True, ingest_api_url=ingest_url)
one = Event(**event, precise_total_amount_cents=None, properties={})
client.events.create(one)
client.events.batch_create(BatchEvent(events=[one]))
print("the ingest service got:", *ingest.paths)
print("the API got:", *api.paths)
if ingest.paths != ["/api/v1/events"] or api.paths != ["/api/v1/events/batch"]:
    sys.exit("this has changed")
PYTHON
venv/bin/python places.py
