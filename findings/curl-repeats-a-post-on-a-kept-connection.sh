#!/usr/bin/env bash
# What surprised: libcurl sends a POST a second time, unasked, when a connection that it had kept ends before a byte of
#   the answer. The first copy may have been read and worked on: that is a worker that was killed, or timed out, between
#   its work and its answer. perform() returns 200 as if there had been one request. On a new connection the same end is
#   error 52, and nothing is repeated. What is built on it does the same (curl_cffi, tornado's curl client); requests
#   and httpx raise in both cases.
# Seen with: pycurl 7.49.0 (libcurl 8.23.0), curl_cffi 0.17.0, requests 2.34.2, httpx 0.28.1, Python 3.11.7, on
#   2026-11-30.
# Why it matters to a durable event queue: the client that posts events one after the other is the one that keeps
#   connections. Without an id in the event it bills twice whenever the server restarts, and no log of the client has a
#   trace of it. FRESH_CONNECT or FORBID_REUSE asks the caller instead.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycurl==7.49.0 curl_cffi==0.17.0 requests==2.34.2 httpx==0.28.1
cd "$folder"

cat > post.py <<'PYTHON'
import io
import platform
import socket
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version

import curl_cffi
import httpx
import pycurl
import requests

print(pycurl.version.split(" Open")[0], "Python", platform.python_version(), end=" ")
print(*(f"{name} {version(name)}" for name in ("curl_cffi", "requests", "httpx")))
EVENTS = ("warm-up", "event")
received: list[str] = []


def answer(connection: socket.socket) -> None:
    """Answers each request, but the first one about the event: that is read, counted, and then the worker dies."""
    with connection, connection.makefile("rb") as stream:
        while stream.readline():
            length = 0
            while (line := stream.readline().strip().lower()) != b"":
                length = int(line.split(b":")[1]) if line.startswith(b"content-length:") else length
            received.append(stream.read(length).decode())
            if received.count("event") == 1 and received[-1] == "event":
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def serve(listener: socket.socket) -> None:
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def by_curl(url: str, *options: int) -> Callable[[str], int]:
    curl = pycurl.Curl()
    curl.setopt(curl.URL, url)
    for option in (curl.POST, *options):
        curl.setopt(option, 1)

    def post(event: str) -> int:
        curl.setopt(curl.POSTFIELDS, event)
        curl.setopt(curl.WRITEDATA, io.BytesIO())
        curl.perform()
        return curl.getinfo(curl.RESPONSE_CODE)

    return post


def by_session(url: str, library: object) -> Callable[[str], int]:
    session = library.Session()
    return lambda event: session.post(url, data=event).status_code


def by_httpx(url: str) -> Callable[[str], int]:
    client = httpx.Client()
    return lambda event: client.post(url, content=event).status_code


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
seen = {}
for name, post, events in (
    ("curl, kept connection", by_curl(url), EVENTS),
    ("curl, first connection", by_curl(url), EVENTS[1:]),
    ("curl, FRESH_CONNECT", by_curl(url, pycurl.FRESH_CONNECT), EVENTS),
    ("curl_cffi, kept connection", by_session(url, curl_cffi), EVENTS),
    ("requests, kept connection", by_session(url, requests), EVENTS),
    ("httpx, kept connection", by_httpx(url), EVENTS),
):
    received.clear()
    try:
        said = [post(event) for event in events][-1]
    except (pycurl.error, requests.ConnectionError, httpx.RemoteProtocolError) as error:
        said = f"{type(error).__name__} {error.args[0]}" if isinstance(error, pycurl.error) else type(error).__name__
    seen[name] = said, received.count("event")
    print(f"{name:26} the call said: {said}; times that the server had the event: {seen[name][1]}")
if list(seen.values()) != [
    (200, 2),
    ("error 52", 1),
    ("error 52", 1),
    (200, 2),
    ("ConnectionError", 1),
    ("RemoteProtocolError", 1),
]:
    sys.exit("this has changed")
PYTHON
venv/bin/python post.py
