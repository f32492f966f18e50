#!/usr/bin/env bash
# What surprised: aio-pika publishes with confirms and `mandatory` unless told otherwise, and awaits both; and when
#   the broker returns a message that reached no queue, `await exchange.publish()` does not raise. It returns an
#   object that has the message in it, where it returns the broker's Ack otherwise. A refused message does raise
#   (DeliveryError). on_return_raises=True, of the channel, makes it an exception.
# Seen with: aio-pika 10.2.1, RabbitMQ 3.10.8 of Debian 12 (Erlang 25), Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: code that awaits a confirmed, mandatory publish and deletes its event after
#   that loses every one of them while the queue is missing: before it is declared, after somebody deleted it.
set -euo pipefail
python=${PYTHON:-python3}
here=$(dirname "$(realpath "$0")")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# shellcheck source=common/rabbitmq.sh
source "$here/common/rabbitmq.sh"
start_rabbitmq
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aio-pika==10.2.1
cd "$folder"

cat > publish.py <<'PYTHON'
import asyncio
import platform
import sys
from importlib.metadata import version

import aio_pika

print("aio-pika", version("aio-pika"), "Python", platform.python_version())


async def main() -> None:
    connection = await aio_pika.connect_robust(f"amqp://127.0.0.1:{sys.argv[1]}/")
    seen = []
    async with connection:
        for options in ({}, {"on_return_raises": True}):
            channel = await connection.channel(**options)
            full = {"x-max-length": 1, "x-overflow": "reject-publish"}
            queue = await channel.declare_queue("full", arguments=full)
            for name in ("full", "full", "there is no such queue"):
                try:
                    answer = await channel.default_exchange.publish(aio_pika.Message(b"an event"), name)
                    said = f"returned {type(answer).__name__}"
                except aio_pika.exceptions.AMQPError as error:
                    said = f"raised {type(error).__name__}"
                seen.append(said)
                print(f"{options or 'as usual'}, to {name!r}: {said}")
            await queue.delete(if_unused=False, if_empty=False)
    sure = ["returned Ack", "raised DeliveryError"]
    if seen != [*sure, "returned DeliveredMessage", *sure, "raised PublishError"]:
        sys.exit("this has changed")


asyncio.run(main())
PYTHON
venv/bin/python publish.py "$amqp_port"
