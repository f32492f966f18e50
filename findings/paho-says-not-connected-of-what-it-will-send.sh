#!/usr/bin/env bash
# What surprised: publish() before connect(), or between two connections, answers MQTT_ERR_NO_CONN whatever the QoS.
#   With QoS 1 or 2 the message is in the queue all the same and is sent at the next connect; with QoS 0 it is gone. And
#   the answer stays: after the broker has acknowledged the message and on_publish has been called for it,
#   is_published() and wait_for_publish() go on raising that it failed.
# Seen with: paho-mqtt 2.2.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: who keeps an event until the call succeeds publishes it twice, and who waits
#   by wait_for_publish() never sees it settled. Only on_publish with the message's number tells.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet paho-mqtt==2.2.0
cd "$folder"

cat > publish.py <<'PYTHON'
import platform
import socket
import sys
import threading
from importlib.metadata import version

from paho.mqtt.client import CallbackAPIVersion, Client

print("paho-mqtt", version("paho-mqtt"), "Python", platform.python_version())
received: list[str] = []


def serve(listener: socket.socket) -> None:
    """A broker for one client: accepts it, and acknowledges what it publishes. (Packets are short here.)"""
    connection, _ = listener.accept()
    stream = connection.makefile("rb")
    while head := stream.read(2):
        kind, body = head[0] >> 4, stream.read(head[1])
        if kind == 1:  # CONNECT
            connection.sendall(b"\x20\x02\x00\x00")
        elif kind == 3:  # PUBLISH: topic, number unless QoS 0, payload
            topic = 2 + int.from_bytes(body[:2], "big")
            received.append(body[topic + (2 if head[0] & 6 else 0) :].decode())
            if head[0] & 6:
                connection.sendall(b"\x40\x02" + body[topic : topic + 2])


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
client = Client(CallbackAPIVersion.VERSION2, client_id="billing", clean_session=False)
confirmed: list[int] = []
all_confirmed = threading.Event()


def on_publish(_client, _data, number, _reason, _properties) -> None:
    confirmed.append(number)
    if len(confirmed) == 2:
        all_confirmed.set()


client.on_publish = on_publish
messages = [client.publish("events", text, qos=qos) for text, qos in (("first", 1), ("second", 1), ("QoS 0", 0))]
codes = [message.rc.name for message in messages]
print("before connect() publish() says:", codes)
client.connect("127.0.0.1", listener.getsockname()[1])
client.loop_start()
all_confirmed.wait(30)
print("the broker received:", received, "on_publish was called for", len(confirmed))
said = []
for message in messages[:2]:
    try:
        message.wait_for_publish(5)
        said.append(str(message.is_published()))
    except RuntimeError as error:
        said.append(str(error))
print("wait_for_publish() of these two:", said)
client.disconnect()
client.loop_stop()
if codes != ["MQTT_ERR_NO_CONN"] * 3 or received != ["first", "second"] or len(confirmed) != 2:
    sys.exit("this has changed")
if said != ["Message publish failed: The client is not currently connected."] * 2:
    sys.exit("this has changed")
PYTHON
venv/bin/python publish.py
