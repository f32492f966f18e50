#!/usr/bin/env bash
# What surprised: a quorum queue's delivery limit counts how often a message was handed to a consumer, not how often
#   one tried it. All that were fetched ahead count, also when the consumer closes its connection in good order. With
#   a limit of 2, three restarts of a consumer with a prefetch of 10 delete ten messages, of which it looked at none.
#   Without a dead-letter exchange they are gone, and no client is told.
# Seen with: RabbitMQ 3.10.8 of Debian 12 (Erlang 25), py-amqp 5.4.2, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: the limit is meant for a message that kills its consumer, and takes along
#   those that lie next to it; so do deploys one after another. In a queue of bills the limit has to be out of reach.
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

cat > restarts.py <<'PYTHON'
import platform
import sys
from importlib.metadata import version

import amqp

print("py-amqp", version("amqp"), "Python", platform.python_version())


def connect() -> amqp.Connection:
    connection = amqp.Connection(f"127.0.0.1:{sys.argv[1]}", confirm_publish=True)
    connection.connect()
    return connection


publisher = connect()
channel = publisher.channel()
options = {"x-queue-type": "quorum", "x-delivery-limit": 2}
channel.queue_declare("events", durable=True, auto_delete=False, arguments=options)
for number in range(10):
    channel.basic_publish(amqp.Message(f"event {number}"), "", "events")
seen = []
for start in range(1, 5):
    consumer = connect()
    fetched: list[amqp.Message] = []
    consumer_channel = consumer.channel()
    consumer_channel.basic_qos(0, 10, False)
    consumer_channel.basic_consume("events", callback=fetched.append)
    try:
        while len(fetched) < 10:
            consumer.drain_events(timeout=3)
    except TimeoutError:
        pass
    counts = {(each.properties.get("application_headers") or {}).get("x-delivery-count", 0) for each in fetched}
    consumer.close()
    print(f"start {start} of the consumer: it is sent {len(fetched)} messages, looks at none, closes; counted {counts}")
    seen.append((len(fetched), counts))
left = channel.queue_declare("events", passive=True).message_count
print("left in the queue:", left)
publisher.close()
if seen != [(10, {0}), (10, {1}), (10, {2}), (0, set())] or left != 0:
    sys.exit("this has changed")
PYTHON
venv/bin/python restarts.py "$amqp_port"
