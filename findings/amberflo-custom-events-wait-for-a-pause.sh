#!/usr/bin/env bash
# What surprised: Amberflo's client has a queue for events of its own form (meter()) and one for those of any form
#   (send_custom()). Its threads look into the second one only when nothing came for the first in half a second. So in a
#   program that meters all the time, if only 50 times a second, a custom event waits until that stops; when its queue
#   has filled up, send_custom() is False for each further one.
# Seen with: amberflo-metering-python 3.3.1, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: events that wait for something else (a customer who is not known yet, say)
#   need a share of the way to the server that new events cannot take.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet amberflo-metering-python==3.3.1
cd "$folder"

cat > custom.py <<'PYTHON'
import gzip
import json
import platform
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from metering.ingest import create_ingest_client
from metering.session import IngestSession

print("amberflo-metering-python", version("amberflo-metering-python"), "Python", platform.python_version())
METERED_FOR = 6.0  # seconds
arrived = []  # when, and whether it is a custom event


class Ingest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        batch = json.loads(gzip.decompress(self.rfile.read(int(self.headers["Content-Length"]))))
        arrived.extend([(time.monotonic(), "schemaDetection" in self.path)] * len(batch))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Ingest)
threading.Thread(target=server.serve_forever, daemon=True).start()
IngestSession.root_url = f"http://127.0.0.1:{server.server_address[1]}"
client = create_ingest_client(api_key="key")
begun = time.monotonic()
metered = 0
while time.monotonic() - begun < METERED_FOR:
    client.meter("calls", 1, int(time.time() * 1000), "customer")
    metered += 1
    if metered == 20:
        accepted, sent = client.send_custom({"any": "form"}), time.monotonic()
    time.sleep(0.02)
ended = time.monotonic()
client.shutdown()
custom = [moment for moment, is_custom in arrived if is_custom]
between = sum(sent + 1 < moment < ended for moment, is_custom in arrived if not is_custom)
print("send_custom() returned", accepted, "and metering went on for more than", int(ended - sent), "s")
print("metered events that came to the server in that time:", "many" if between > 100 else between)
print("custom events that did:", sum(moment < ended for moment in custom), "and after it:", len(custom))
if not accepted or between < 100 or len(custom) != 1 or custom[0] < ended:
    sys.exit("this has changed")
PYTHON
venv/bin/python custom.py
