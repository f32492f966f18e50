#!/usr/bin/env bash
# What surprised: the answer of FluentSender.emit() is wrong in both directions. True: an event that msgpack cannot pack
#   (a Decimal, a datetime) is replaced by a record "Can't output to log", and that was sent. False: the server was not
#   reached, and then the event is most often kept and sent with the next one, so who calls emit() again for it sends it
#   twice; but when the buffer is full, False means that it and all that were kept are gone.
# Seen with: fluent-logger 0.11.1, msgpack 1.2.4, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: neither "count the True ones" nor "repeat the False ones" gives the number of
#   events that arrive. An answer about delivery needs three words: delivered, kept, refused.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fluent-logger==0.11.1 msgpack==1.2.4
cd "$folder"

cat > answers.py <<'PYTHON'
import platform
import socket
import sys
from decimal import Decimal
from importlib.metadata import version

import msgpack
from fluent.sender import FluentSender

print("fluent-logger", version("fluent-logger"), "msgpack", version("msgpack"), "Python", platform.python_version())
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
with socket.socket() as unused:
    unused.bind(("127.0.0.1", 0))
    nobody = unused.getsockname()[1]


def arrived(sender: FluentSender) -> list:
    """What came with the sender's connection, until it is closed."""
    sender.close()
    unpacker, (connection, _) = msgpack.Unpacker(), server.accept()
    while data := connection.recv(65536):
        unpacker.feed(data)
    return [record.get("n", record.get("message")) for _, _, record in unpacker]


sender = FluentSender("events", port=port)
answers = [sender.emit("call", {"n": 0}), sender.emit("call", {"n": 1, "amount": Decimal("9.90")})]
replaced = answers, arrived(sender)

sender = FluentSender("events", port=nobody)
answers = [sender.emit("call", {"n": n}) for n in range(3)]
sender.port = port
answers.append(sender.emit("call", {"n": 3}))
kept = answers, arrived(sender)

sender = FluentSender("events", port=nobody, bufmax=50)
answers = [sender.emit("call", {"n": n}) for n in range(5)]
sender.port = port
answers.append(sender.emit("call", {"n": 5}))
dropped = answers, arrived(sender)

for name, (said, came) in (("a Decimal", replaced), ("server away", kept), ("a full buffer", dropped)):
    print(f"{name:14} emit() said {said}, arrived: {came}")
if (replaced, kept, dropped) != (
    ([True, True], [0, "Can't output to log"]),
    ([False, False, False, True], [0, 1, 2, 3]),
    ([False] * 5 + [True], [3, 4, 5]),
):
    sys.exit("this has changed")
PYTHON
venv/bin/python answers.py
