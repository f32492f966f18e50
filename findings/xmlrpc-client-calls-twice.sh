#!/usr/bin/env bash
# What surprised: xmlrpc.client of the standard library calls the method a second time, on a new connection, when the
#   server closes the first one without an answer, or resets it; it has no option for that and says nothing. The method
#   has often run by then: it was its work that killed the worker, or ran into the server's time limit.
# Seen with: Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: an RPC that counts or enqueues does so twice for one call that returned
#   normally, or once more for one that raised. http.client, on which it is built, never repeats. Whoever uses it for
#   anything but reading needs an id in the arguments, or a Transport whose request() is single_request().
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > calls.py <<'PYTHON'
import http.client
import platform
import sys
import threading
import xmlrpc.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

print("xmlrpc.client of Python", platform.python_version())
tracked: list[str] = []
hang_ups = 0  # how many of the next calls the worker does not survive


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        global hang_ups
        (event,), _ = xmlrpc.client.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tracked.append(event)  # the work
        if hang_ups:
            hang_ups -= 1
            self.close_connection = True
            return
        body = xmlrpc.client.dumps((len(tracked),), methodresponse=True).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class OneRequest(xmlrpc.client.Transport):
    def request(self, host, handler, request_body, verbose=False):
        return self.single_request(host, handler, request_body, verbose)


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/"
seen = []
for ends, transport in ((1, None), (2, None), (1, OneRequest())):
    tracked.clear()
    hang_ups = ends
    try:
        said = f"returned {xmlrpc.client.ServerProxy(url, transport=transport).track('one event')}"
    except http.client.RemoteDisconnected as error:
        said = f"raised {type(error).__name__}"
    seen.append((said, len(tracked)))
    how = "single_request()" if transport else "as usual"
    print(f"the server hangs up {ends}x, {how:16}: one call {said}, the method ran {len(tracked)}x")
if seen != [("returned 2", 2), ("raised RemoteDisconnected", 2), ("raised RemoteDisconnected", 1)]:
    sys.exit("this has changed")
PYTHON
"$python" calls.py
