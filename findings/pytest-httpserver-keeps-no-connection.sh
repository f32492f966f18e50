#!/usr/bin/env bash
# What surprised: pytest-httpserver answers as HTTP/1.0 and closes the connection after each answer, so a
#   requests.Session or an httpx.Client with its pool makes a new one for every request. Whatever goes wrong on kept
#   connections cannot happen under it: one that the server closed while it was idle, a body left unread, a pool that is
#   too small.
# Seen with: pytest-httpserver 1.2.0 (Werkzeug 3.1.9), requests 2.34.2, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a flusher lives on one kept connection for days, and its retries are mostly
#   about that one's end. Tests with this server are green without ever taking that path; a server of http.server with
#   protocol_version "HTTP/1.1" takes it.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pytest-httpserver==1.2.0 Werkzeug==3.1.9 requests==2.34.2
cd "$folder"

cat > connections.py <<'PYTHON'
import logging
import platform
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import requests
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

print(*(f"{name} {version(name)}" for name in ("pytest-httpserver", "Werkzeug", "requests")), end=" ")
print("Python", platform.python_version())
logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
ports: set[int] = set()  # the client's, one for each connection


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        ports.add(self.client_address[1])
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def handle(request: Request) -> Response:
    ports.add(request.environ["REMOTE_PORT"])
    return Response("")


def connections(url: str) -> tuple[int, int]:
    ports.clear()
    with requests.Session() as session:
        for _ in range(10):
            answer = session.post(url, data="event")
    return answer.raw.version, len(ports)


with HTTPServer() as server:
    server.expect_request("/").respond_with_handler(handle)
    mocked = connections(server.url_for("/"))
plain = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=plain.serve_forever, daemon=True).start()
kept = connections(f"http://127.0.0.1:{plain.server_address[1]}/")
for name, (protocol, number) in (("pytest-httpserver", mocked), ("http.server", kept)):
    print(f"{name:18} answers as HTTP/{protocol / 10}; connections of one Session for 10 requests: {number}")
if (mocked, kept) != ((10, 10), (11, 1)):
    sys.exit("this has changed")
PYTHON
venv/bin/python connections.py
