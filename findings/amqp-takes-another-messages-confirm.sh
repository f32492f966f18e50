#!/usr/bin/env bash
# What surprised: basic_publish() of py-amqp with confirm_publish waits for *a* confirm and does not look whose it is.
#   When some calls have ended by their confirm_timeout (with a TimeoutError, as they should), the confirms of these
#   are still to come, and are taken for those of the next messages: one that the broker refuses is "confirmed", and
#   is nowhere.
# Seen with: py-amqp 5.4.2, RabbitMQ 3.10.8 of Debian 12 (Erlang 25), Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: an event is deleted on the host for a confirm that belonged to another one.
#   After a timeout the channel cannot be trusted any more: open a new one, or compare delivery tags oneself.
set -euo pipefail
python=${PYTHON:-python3}
here=$(dirname "$(realpath "$0")")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# shellcheck source=common/rabbitmq.sh
source "$here/common/rabbitmq.sh"
start_rabbitmq
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet amqp==5.4.2
cd "$folder"

cat > confirms.py <<'PYTHON'
import platform
import socket
import sys
import threading
import time
from importlib.metadata import version

import amqp

print("py-amqp", version("amqp"), "Python", platform.python_version())
answers_come = threading.Event()
answers_come.set()


def carry(source: socket.socket, to: socket.socket, when: threading.Event | None = None) -> None:
    while data := source.recv(4096):
        if when is not None:
            when.wait()
        to.sendall(data)
    to.shutdown(socket.SHUT_WR)


def network(listener: socket.socket) -> None:
    """Carry one connection; what the broker says may have to wait."""
    client, broker = listener.accept()[0], socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=carry, args=(broker, client, answers_come), daemon=True).start()
    carry(client, broker)


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=network, args=(listener,), daemon=True).start()
connection = amqp.Connection(f"127.0.0.1:{listener.getsockname()[1]}", confirm_publish=True)
connection.connect()
channel = connection.channel()
channel.queue_declare("full", auto_delete=False, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
channel.queue_declare("events", auto_delete=False)
seen = []


def publish(queue: str, body: str, seconds: float = 20) -> None:
    try:
        channel.basic_publish(amqp.Message(body), "", queue, confirm_timeout=seconds)
        seen.append("confirmed")
    except (amqp.exceptions.MessageNacked, TimeoutError) as error:
        seen.append(type(error).__name__)
    print(f"{body} to the queue {queue!r}: {seen[-1]}")


publish("full", "first")
publish("full", "second")
answers_come.clear()
for _ in range(3):
    publish("events", "an event", 1)
answers_come.set()
time.sleep(1)
publish("full", "third")
found = [message.body for message in iter(lambda: channel.basic_get("full", True), None)]
print("in the queue 'full':", found)
connection.close()
expected = ["confirmed", "MessageNacked", "TimeoutError", "TimeoutError", "TimeoutError", "confirmed"]
if seen != expected or found != ["first"]:
    sys.exit("this has changed")
PYTHON
venv/bin/python confirms.py "$amqp_port"
