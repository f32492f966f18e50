#!/usr/bin/env bash
# What surprised: a module that is first imported while a cassette is in, and derives a class from urllib3's
#   HTTPConnection, derives it from a stub that belongs to that cassette, for the rest of the process. After the cassette
#   its requests are still answered from it: the server sees none, and no error is raised. Imported before, the same class
#   is neither recorded nor played. (The names in urllib3.connectionpool are left alone.)
# Seen with: vcrpy 9.4.2, urllib3 2.8.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a client that imports its HTTP code at its first call is imported in the middle
#   of somebody's test, and in all tests after it an old answer is taken for the server's word.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet vcrpy==9.4.2 urllib3==2.8.0
cd "$folder"

cat > client.py <<'PYTHON'
from urllib3.connection import HTTPConnection


class Connection(HTTPConnection):
    """As a library derives one."""


def ask(port: int) -> str:
    connection = Connection("127.0.0.1", port)
    connection.request("GET", "/")
    status = connection.getresponse().status
    connection.close()
    return str(status)
PYTHON
cat > look.py <<'PYTHON'
import platform
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import urllib3
import vcr

print("vcrpy", vcr.__version__, "urllib3", urllib3.__version__, "Python", platform.python_version(), sys.argv[1])


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        global asked
        asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
asked = 0
port = server.server_port
with vcr.use_cassette("cassette.yaml"):  # recorded by whoever, in an earlier run of the tests
    connection = urllib3.connection.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/")
    connection.getresponse()
    connection.close()
recorded, asked = asked, 0
if sys.argv[1] == "imported before":
    import client
with vcr.use_cassette("cassette.yaml"):
    import client
answer = client.ask(port)
print(f"  the server saw {recorded} request when it was recorded, and {asked} after the cassette; answer: {answer}")
server.shutdown()
server.server_close()
if (recorded, asked, answer) != (1, 1 if sys.argv[1] == "imported before" else 0, "200"):
    sys.exit("this has changed")
PYTHON
venv/bin/python look.py "imported before"
rm cassette.yaml
venv/bin/python look.py "imported in a cassette"
