#!/usr/bin/env bash
# What surprised: a body that is a generator is not read at all under responses: the request "succeeds", and no line of
#   the generator has run, not even one that raises. `calls[0].request.body` is the untouched generator. Under respx
#   (for httpx) and on a real server the body is read and its error comes out.
# Seen with: responses 0.26.3, requests 2.34.2, respx 0.23.1, httpx 0.28.1, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a batch that is streamed from the disk (packed, compressed, marked as sent
#   while it is read) is tested by nothing, and a test that "it was posted" is green with a generator that is broken.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet responses==0.26.3 requests==2.34.2 respx==0.23.1 httpx==0.28.1
cd "$folder"

cat > bodies.py <<'PYTHON'
import platform
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

import httpx
import requests
import responses
import respx

print(*(f"{name} {version(name)}" for name in ("responses", "requests", "respx", "httpx")), end=" ")
print("Python", platform.python_version())
begun: list[bool] = []


def body() -> Iterator[bytes]:
    begun.append(True)
    yield b"event 1\n"
    raise ValueError("event 2 cannot be packed")


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        while int(self.rfile.readline(), 16):
            self.rfile.readline()

    def log_message(self, *args):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except ValueError:  # the client has ended in the middle
            self.close_connection = True


def under_responses() -> int:
    with responses.RequestsMock() as server:
        server.add(responses.POST, "http://server/", body="ok")
        return requests.post("http://server/", data=body()).status_code


def under_respx() -> int:
    with respx.mock:
        respx.post("http://server/").respond(200)
        return httpx.post("http://server/", content=body()).status_code


def on_a_server() -> int:
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.handle_request, daemon=True).start()
    return requests.post(f"http://127.0.0.1:{server.server_address[1]}/", data=body()).status_code


seen = []
for post in (under_responses, under_respx, on_a_server):
    begun.clear()
    try:
        said = str(post())
    except ValueError as error:
        said = f"ValueError: {error}"
    seen.append((said, len(begun)))
    print(f"{post.__name__:15} {said}; the generator was begun: {bool(begun)}")
broken = "ValueError: event 2 cannot be packed"
if seen != [("200", 0), (broken, 1), (broken, 1)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python bodies.py
