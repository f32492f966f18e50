#!/usr/bin/env bash
# What surprised: where a quorum queue puts a message that a consumer gives back (reject or nack with requeue) depends
#   on whether the queue has a delivery limit, however high: with one it comes next again, as in a classic queue,
#   without one it goes to the end of the queue.
# Seen with: RabbitMQ 3.10.8 of Debian 12 (Erlang 25), py-amqp 5.4.2, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "the server is away, give it back" keeps the order in one of two queues
#   that look the same, and in the other sends each event behind the whole backlog. Nothing in the option's name is
#   about order.
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

cat > order.py <<'PYTHON'
import platform
import sys
from importlib.metadata import version

import amqp

print("py-amqp", version("amqp"), "Python", platform.python_version())
connection = amqp.Connection(f"127.0.0.1:{sys.argv[1]}", confirm_publish=True)
connection.connect()
channel = connection.channel()
channel.basic_qos(0, 1, False)
seen = []
for name, options in (
    ("classic", {"x-queue-type": "classic"}),
    ("quorum, no limit", {"x-queue-type": "quorum"}),
    ("quorum, limit 1000000", {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}),
):
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=options)
    for number in range(5):
        channel.basic_publish(amqp.Message(str(number)), "", name)
    received: list[int] = []

    def receive(message: amqp.Message) -> None:
        received.append(int(message.body))
        if len(received) == 1:
            channel.basic_reject(message.delivery_tag, requeue=True)
        else:
            channel.basic_ack(message.delivery_tag)

    consumer = channel.basic_consume(name, callback=receive)
    while len(received) < 6:
        connection.drain_events(timeout=20)
    channel.basic_cancel(consumer)
    print(f"{name}: the first one is given back once; received {received}")
    seen.append(received)
connection.close()
if seen != [[0, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 0], [0, 0, 1, 2, 3, 4]]:
    sys.exit("this has changed")
PYTHON
venv/bin/python order.py "$amqp_port"
