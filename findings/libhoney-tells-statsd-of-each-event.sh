#!/usr/bin/env bash
# What surprised: Honeycomb's client tells a StatsD server about each event that it queues, whether there is one or not:
#   two datagrams to port 8125 of this machine at each send(), before anything goes to Honeycomb. No option turns that
#   off.
# Seen with: libhoney 2.4.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: what a call costs, and whom it tells, is the application's to know. Whoever
#   listens on that port of a shared machine counts its events.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet libhoney==2.4.0
cd "$folder"

cat > datagrams.py <<'PYTHON'
import os
import platform
import socket
import sys
from collections import Counter
from importlib.metadata import version

import libhoney

print("libhoney", version("libhoney"), "Python", platform.python_version())
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    listener.bind(("127.0.0.1", 8125))
except OSError:
    print("skipped: something listens on port 8125 here")
    sys.exit()
listener.settimeout(1)
# Nothing of it goes to Honeycomb: nobody listens on that port.
libhoney.init(writekey="key", dataset="usage", api_host="http://127.0.0.1:9", send_frequency=60)
for number in range(10):
    libhoney.send_now({"customer": number})
names = Counter()
try:
    while True:
        names[listener.recv(2048).partition(b":")[0].decode()] += 1
except TimeoutError:
    pass
queued = {name: count for name, count in names.items() if name != "libhoney.send_errors"}  # these come later
print("datagrams for ten events:", queued, flush=True)
has_changed = queued != {"libhoney.queue_length": 10, "libhoney.messages_queued": 10}
if has_changed:
    print("this has changed", file=sys.stderr)
os._exit(has_changed)  # its thread would try to send for minutes
PYTHON
timeout 60 venv/bin/python datagrams.py
