#!/usr/bin/env bash
# What surprised: two clients of billing services come out of the same generator, and repeat a POST twice when its answer
#   does not come in time. Orb's sends one Idempotency-Key with all three, Metronome's sends nothing by which the server
#   could tell them from three calls: a customer whose creation took too long may be there three times.
# Seen with: metronome-sdk 4.12.0, orb-billing 4.90.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a call that creates something may be repeated after a byte of it has arrived
#   only if it carries an id that was fixed before the first try.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet metronome-sdk==4.12.0 orb-billing==4.90.0
cd "$folder"

cat > creates.py <<'PYTHON'
import platform
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import metronome
import orb

print("metronome-sdk", version("metronome-sdk"), "orb-billing", version("orb-billing"), "Python", platform.python_version())
ids = []


class Slow(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        ids.append(self.headers.get("Idempotency-Key"))  # a customer is made here; the answer takes its time
        time.sleep(3)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}"
found = {}
for name, error, create in (
    ("metronome", metronome.APITimeoutError, lambda: metronome.Metronome(
        bearer_token="token", base_url=url, timeout=1).v1.customers.create(name="Corporation")),
    ("orb", orb.APITimeoutError, lambda: orb.Orb(
        api_key="key", base_url=url, timeout=1).customers.create(name="Corporation", email="billing@corporation.example")),
):
    ids.clear()
    try:
        create()
    except error:
        found[name] = (len(ids), len({each for each in ids if each is not None}))
    print(f"{name}: {found[name][0]} requests for one call, with {found[name][1]} idempotency keys")
if found != {"metronome": (3, 0), "orb": (3, 1)}:
    sys.exit("this has changed")
PYTHON
venv/bin/python creates.py
