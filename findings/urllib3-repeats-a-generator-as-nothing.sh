#!/usr/bin/env bash
# What surprised: a POST whose body is a generator (lines of a file, say) and whose first answer is 503 is repeated by
#   Retry with an empty body: the generator is used up, and nothing is raised. When the server takes the empty one,
#   the call returns 200. So it is through requests, too. A list of the same lines is sent twice, a file is rewound.
# Seen with: urllib3 2.8.0, requests 2.34.2, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "200" is what a batch is deleted for, and the server has seen no event of
#   it. A body that may be repeated has to be bytes.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet urllib3==2.8.0 requests==2.34.2
cd "$folder"
printf 'event 1\nevent 2\n' > lines

cat > repeat.py <<'PYTHON'
import platform
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
import urllib3
from requests.adapters import HTTPAdapter

print("urllib3", urllib3.__version__, "requests", requests.__version__, "Python", platform.python_version())
bodies: list[bytes] = []


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = b""
        while size := int(self.rfile.readline(), 16):  # chunked
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        bodies.append(body)
        self.send_response(503 if len(bodies) == 1 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/batch"
retries = urllib3.Retry(total=2, status_forcelist=[503], allowed_methods=None)
pool, session = urllib3.PoolManager(retries=retries), requests.Session()
session.mount("http://", HTTPAdapter(max_retries=retries))
lines = [b"event 1\n", b"event 2\n"]
seen = []
for name, post in (
    ("urllib3, a generator", lambda: pool.request("POST", url, body=(line for line in lines)).status),
    ("requests, a generator", lambda: session.post(url, data=(line for line in lines)).status_code),
    ("urllib3, a list", lambda: pool.request("POST", url, body=lines).status),
    ("urllib3, a file", lambda: pool.request("POST", url, body=open("lines", "rb"), chunked=True).status),
):
    bodies.clear()
    seen.append((post(), *map(len, bodies)))
    print(f"{name}: {seen[-1][0]}; the server was sent {' and then '.join(map(repr, bodies))}")
if seen != [(200, 16, 0), (200, 16, 0), (200, 16, 16), (200, 16, 16)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python repeat.py
