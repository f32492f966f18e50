#!/usr/bin/env bash
# What surprised: `Retry(total=2)` with no list of statuses repeats no answer, so it seems, and indeed a 413, 429 or
#   503 comes back at once. If the same answer carries Retry-After, it is repeated all the same, 413 ("too large")
#   included, with the whole body each time; a 500 with Retry-After is not. (For POST: once allowed_methods lets it.)
#   The wait happens inside request(), and no `timeout` bounds it.
# Seen with: urllib3 2.8.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a client that sees to retries itself is put to sleep inside its transport, out
#   of reach of its own deadline, and sends a batch again that can only be refused. Such a client has to pass
#   Retry(total=0), or False, and read Retry-After itself.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet urllib3==2.8.0
cd "$folder"

cat > repeats.py <<'PYTHON'
import platform
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

print("urllib3", urllib3.__version__, "Python", platform.python_version())
requests = []


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        requests.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
        _, status, seconds = self.path.split("/")
        self.send_response(int(status))
        if seconds != "0":
            self.send_header("Retry-After", seconds)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
retries = urllib3.Retry(total=2, allowed_methods=None)
pool = urllib3.PoolManager(retries=retries, timeout=0.5)
seen = {}
for status in (413, 429, 503, 500):
    for seconds in (0, 1):
        requests.clear()
        start = time.monotonic()
        url = f"http://127.0.0.1:{server.server_address[1]}/{status}/{seconds}"
        answer = pool.request("POST", url, body=b"x" * 1000).status
        took = time.monotonic() - start
        print(f"{status}, Retry-After {seconds or 'absent'}: sent {len(requests)} times, {took:.1f} s, timeout=0.5")
        seen[status, seconds] = len(requests)
if seen != {(s, n): 3 if n and s != 500 else 1 for s in (413, 429, 503, 500) for n in (0, 1)}:
    sys.exit("this has changed")
PYTHON
venv/bin/python repeats.py
