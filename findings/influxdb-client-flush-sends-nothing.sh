#!/usr/bin/env bash
# What surprised: WriteApi.flush() of InfluxDB's client ("Flush data.") does nothing at all. In batching mode, which
#   write_api() has by default, points that were written before it are not at the server when it returns, and no error
#   says so; only close() sends them.
# Seen with: influxdb-client 1.50.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a flush that returns is taken for a promise. It has to say what was sent, and
#   what remains.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet influxdb-client==1.50.0
cd "$folder"

cat > flush.py <<'PYTHON'
import platform
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import WriteOptions

print("influxdb-client", version("influxdb-client"), "Python", platform.python_version())
lines = []


class Influx(BaseHTTPRequestHandler):
    def do_POST(self):
        lines.extend(self.rfile.read(int(self.headers["Content-Length"])).splitlines())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Influx)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = InfluxDBClient(url=f"http://127.0.0.1:{server.server_address[1]}", token="token", org="org")
api = client.write_api(write_options=WriteOptions(flush_interval=60_000))
for number in range(10):
    api.write("bucket", "org", f"calls,customer=c{number} value=1 {number}")
begun = time.monotonic()
answer = api.flush()
took = time.monotonic() - begun
time.sleep(2)
flushed = len(lines)
api.close()
print("flush() returned", answer, "at once" if took < 0.1 else f"after {took:.1f} s")
print("points at the server two seconds later:", flushed, "and after close():", len(lines))
if answer is not None or flushed or len(lines) != 10:
    sys.exit("this has changed")
PYTHON
venv/bin/python flush.py
