#!/usr/bin/env bash
# What surprised: python-logstash-async keeps events in a SQLite database so that they outlive the process. It marks
#   those that it is about to send, and after each send deletes whatever is marked. So events that were on their way
#   when the process was killed are never tried again, and the first send of the next process deletes them, although no
#   server has them. With one database for two processes, one deletes what the other has not got through yet.
# Seen with: python-logstash-async 4.1.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: "in flight" must be no state on disk. What a server has not confirmed is
#   pending, whoever was about to send it.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet python-logstash-async==4.1.0
cd "$folder"

cat > worker.py <<'PYTHON'
import logging
import sys
import time

from logstash_async.constants import constants
from logstash_async.handler import AsynchronousLogstashHandler

port, names, lives = int(sys.argv[1]), sys.argv[2].split(","), float(sys.argv[3])
constants.QUEUE_CHECK_INTERVAL, constants.QUEUED_EVENTS_FLUSH_INTERVAL = 0.1, 0.5  # instead of 2 s and 10 s
handler = AsynchronousLogstashHandler(
    "127.0.0.1", port, database_path="events.db", transport="logstash_async.transport.HttpTransport", ssl_enable=False)
events = logging.getLogger("events")
events.propagate = False
events.addHandler(handler)
for name in names:
    events.warning("event %s", name)
time.sleep(lives)
handler.close()
PYTHON

cat > run.py <<'PYTHON'
import platform
import re
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

print("python-logstash-async", version("python-logstash-async"), "Python", platform.python_version())
is_slow, asked, stored = True, threading.Event(), []


class Logstash(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if is_slow:  # nothing is stored, and nobody is answered
            asked.set()
            threading.Event().wait(20)
            return
        stored.extend(re.findall(r"event \w+", body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def rows():
    database = sqlite3.connect("events.db")
    found = database.execute("SELECT pending_delete, count(*) FROM event GROUP BY 1").fetchall()
    database.close()
    return {("marked" if marked else "waiting"): count for marked, count in found}


server = ThreadingHTTPServer(("127.0.0.1", 0), Logstash)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
port = str(server.server_address[1])

first = subprocess.Popen([sys.executable, "worker.py", port, "one,two,three", "60"])
asked.wait(30)
first.kill()
first.wait()
left = rows()
print("in the database after the kill:", left)
is_slow = False
subprocess.run([sys.executable, "worker.py", port, "four", "3"], check=True, timeout=60)
after = rows()
print("at the server after the next process:", *stored)
print("in the database:", after or "nothing")
if left != {"marked": 3} or stored != ["event four"] or after:
    sys.exit("this has changed")
PYTHON
venv/bin/python run.py
