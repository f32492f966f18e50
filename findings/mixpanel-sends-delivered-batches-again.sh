#!/usr/bin/env bash
# What surprised: BufferedConsumer empties its buffer after the last batch of a flush, not batch by batch. When a flush
#   of several batches fails at a later one, all batches before it, which the server took, stay in the buffer, and every
#   further send() begins by sending them again.
# Seen with: mixpanel 5.4.1, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: several batches wait just when a server had been down, so it is the end of an
#   outage that counts twice. Events carry an $insert_id, by which a server may tell; people_increment() has none, so a
#   customer's usage grows with each try.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mixpanel==5.4.1
cd "$folder"

cat > increments.py <<'PYTHON'
import contextlib
import json
import platform
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from urllib.parse import parse_qs

import mixpanel

print("mixpanel", version("mixpanel"), "Python", platform.python_version())
answers: list[int] = []  # of the next requests; 200 after them
usage: dict[str, int] = {}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        status = answers.pop(0) if answers else 200
        if status == 200:
            for update in json.loads(form["data"][0]):
                name = update["$distinct_id"]
                usage[name] = usage.get(name, 0) + update["$add"]["calls"]
        body = json.dumps({"status": int(status == 200), "error": "" if status == 200 else "busy"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/engage"
consumer = mixpanel.BufferedConsumer(max_size=2, people_url=url, retry_limit=0)
client = mixpanel.Mixpanel("token", consumer)

answers += [503] * 3  # the outage: 2 updates fill the buffer, and each further one tries again
for name in ("ada", "ben", "eva", "ida"):
    with contextlib.suppress(mixpanel.MixpanelException):
        client.people_increment(name, {"calls": 1})
print("after the outage:", usage)
for _ in range(3):
    answers += [200, 503]  # the first batch is taken, the second not
    try:
        consumer.flush()
    except mixpanel.MixpanelException as error:
        print("flush():", type(error).__name__, "- counted so far:", usage)
consumer.flush()
print("each called once; counted in the end:", usage)
if usage != {"ada": 4, "ben": 4, "eva": 1, "ida": 1}:
    sys.exit("this has changed")
PYTHON
venv/bin/python increments.py
