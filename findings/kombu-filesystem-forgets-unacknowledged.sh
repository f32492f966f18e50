#!/usr/bin/env bash
# What surprised: on kombu's filesystem transport a message leaves the disk when it is *received*, not when it is
#   acknowledged. A consumer that ends without acknowledging (and without closing its connection) takes it along,
#   although the same code on RabbitMQ gets it back. Nor is it a queue in order: the file names begin with
#   milliseconds and go on at random, so messages of one millisecond come in any order.
# Seen with: kombu 5.7.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "acknowledge late" looks like at-least-once delivery and is tried out on this
#   transport because it needs no server. What was written for RabbitMQ has to be tested on RabbitMQ.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet kombu==5.7.0
cd "$folder"
mkdir messages

cat > queues.py <<'PYTHON'
import os
import platform
import queue
import sys

import kombu

print("kombu", kombu.__version__, "Python", platform.python_version())
OPTIONS = {"data_folder_in": "messages", "data_folder_out": "messages", "control_folder": "control"}


def connect() -> kombu.Connection:
    return kombu.Connection("filesystem://", transport_options=OPTIONS)


with connect() as connection:
    events = connection.SimpleQueue("events")
    for number in range(200):
        events.put(number)
    events.close()
print("put 200 messages; files:", len(os.listdir("messages")))
consumer = os.fork()
if consumer == 0:
    connect().SimpleQueue("events").get(timeout=5)
    os._exit(0)  # ends before it acknowledges
os.waitpid(consumer, 0)
left = len(os.listdir("messages"))
print("a consumer got one and ended without acknowledging; files:", left)
numbers = []
with connect() as connection:
    events = connection.SimpleQueue("events")
    try:
        while True:
            message = events.get(timeout=1)
            numbers.append(message.payload)
            message.ack()
    except queue.Empty:
        pass
    events.close()
print(f"the next consumer got {len(numbers)}, in order: {numbers == sorted(numbers)}, the first: {numbers[:8]}")
if (left, len(numbers), numbers == sorted(numbers)) != (199, 199, False):
    sys.exit("this has changed")
PYTHON
venv/bin/python queues.py
