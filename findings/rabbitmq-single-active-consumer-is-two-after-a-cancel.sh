#!/usr/bin/env bash
# What surprised: the single active consumer of a quorum queue is not single any more once it cancels: the next one is
#   made active, and gets messages, while those of the first are still with it, unacknowledged. Its connection and
#   channel are open, and it may acknowledge them later, so both are at work at the same time, in good order and
#   without an error.
# Seen with: RabbitMQ 3.10.8 of Debian 12 (Erlang 25), py-amqp 5.4.2, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: basic.cancel and then "finish what I have" is how a consumer is shut down
#   gently, and exactly then two of them send to a server that takes one request at a time. Finish first, then cancel,
#   or have the next one wait.
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

cat > active.py <<'PYTHON'
import platform
import sys
from importlib.metadata import version

import amqp

print("py-amqp", version("amqp"), "Python", platform.python_version())


class Consumer:
    def __init__(self) -> None:
        self.connection = amqp.Connection(f"127.0.0.1:{sys.argv[1]}", confirm_publish=True)
        self.connection.connect()
        self.channel = self.connection.channel()
        self.received: list[amqp.Message] = []

    def consume(self) -> None:
        self.channel.basic_qos(0, 3, False)
        self.tag = self.channel.basic_consume("events", callback=self.received.append)

    def wait(self, seconds: float) -> list[str]:
        try:
            while len(self.received) < 3:
                self.connection.drain_events(timeout=seconds)
        except TimeoutError:
            pass
        return [message.body for message in self.received]


first, second = Consumer(), Consumer()
options = {"x-queue-type": "quorum", "x-single-active-consumer": True}
first.channel.queue_declare("events", durable=True, auto_delete=False, arguments=options)
for number in range(6):
    first.channel.basic_publish(amqp.Message(str(number)), "", "events")
first.consume()
print("the first consumer is at work on", active := first.wait(20))
second.consume()
print("the second stands by:", standing_by := second.wait(3))
first.channel.basic_cancel(first.tag)
print("the first cancels and acknowledges nothing; the second gets", at_once := second.wait(20))
for message in first.received:
    first.channel.basic_ack(message.delivery_tag)
second.channel.basic_ack(second.received[-1].delivery_tag, multiple=True)
second.connection.close()
print("both have acknowledged now; left:", left := first.channel.queue_declare("events", passive=True).message_count)
first.connection.close()
if (active, standing_by, at_once, left) != (["0", "1", "2"], [], ["3", "4", "5"], 0):
    sys.exit("this has changed")
PYTHON
venv/bin/python active.py "$amqp_port"
