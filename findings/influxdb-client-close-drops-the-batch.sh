#!/usr/bin/env bash
# What surprised: InfluxDBClient.close(), also at the end of `with InfluxDBClient(...)`, does not write what its
#   write_api() has gathered: the default of write() is a batch in the background, and only the WriteApi's own close()
#   writes it. A program that ends then loses its last batch with exit code 0; all that tells is a line in its output
#   about futures that cannot be scheduled.
# Seen with: influxdb-client 1.50.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: "close the client" is what everybody writes for "send what is left", and a
#   short job, whose events are all in the last batch, sends none. In a service, a second passes and it works.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet influxdb-client==1.50.0
cd "$folder"

cat > job.py <<'PYTHON'
import sys

from influxdb_client import InfluxDBClient

how, url = sys.argv[1:]
with InfluxDBClient(url=url, token="token", org="org") as client:
    writer = client.write_api()
    for number in range(5):
        writer.write(bucket="usage", record=f"calls,customer=ada value=1i {number}")
    if how == "WriteApi.close()":
        writer.close()
PYTHON
cat > jobs.py <<'PYTHON'
import platform
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

print("influxdb-client", version("influxdb-client"), "Python", platform.python_version())
written: list[str] = []


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        written.extend(self.rfile.read(int(self.headers["Content-Length"])).decode().splitlines())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}"
seen = []
for how in ("the client's with", "WriteApi.close()"):
    written.clear()
    job = subprocess.run([sys.executable, "job.py", how, url], capture_output=True, text=True, timeout=60)
    seen.append((job.returncode, len(written)))
    said = (job.stdout + job.stderr).strip()
    print(f"{how:18} exit code {job.returncode}, written: {len(written)} of 5; said: {said!r}")
if seen != [(0, 0), (0, 5)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python jobs.py
