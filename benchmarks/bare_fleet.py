"""The least that a fleet can cost: a host and a relay of a few lines each, over the same broker with the same messages.

The host reads frames, publishes 500 at a time and waits for each confirm; the relay unpacks, encodes with orjson, posts
over a socket and acknowledges. No checksum is looked at, nothing is settled, and what comes twice is posted twice.
Each runs in a process of its own: ``python -m benchmarks.bare_fleet host QUEUE_DIR URL`` and ``relay URL LOTUS``.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp
import msgpack
from amqp.exceptions import MessageNacked

from benchmarks.bare import BATCH, as_json, post, records
from lotus_durable.relay.address import address_of
from lotus_durable.relay.connection import ARGUMENTS

_PREFETCH = 500
_NICE = 5
"""As nice as the flusher of an application."""


def host(queue_dir: str, url: str) -> None:
    """Publish all that is pending."""
    os.nice(_NICE)
    channel, queue = _opened(url)
    batch: list[bytes] = []
    for record in records(Path(queue_dir)):
        batch.append(record)
        if len(batch) == BATCH:
            _publish(channel, queue, batch)
            batch = []
    if batch:
        _publish(channel, queue, batch)


def relay(url: str, lotus: str) -> None:
    """Post what comes, for ever."""
    channel, queue = _opened(url)
    channel.basic_qos(0, _PREFETCH, a_global=False)
    address = urlsplit(lotus)
    with socket.create_connection((address.hostname or "", address.port or 80)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def take(message: Any) -> None:  # noqa: ANN401  # the library's
            post(connection, [as_json(record) for record in msgpack.unpackb(message.body)])
            channel.basic_ack(message.delivery_tag)

        channel.basic_consume(queue, callback=take)
        while True:
            channel.connection.drain_events()


def _publish(channel: Any, queue: str, batch: list[bytes]) -> None:  # noqa: ANN401  # the library's
    message = amqp.Message(msgpack.packb(batch), delivery_mode=2)
    while True:
        try:
            channel.basic_publish_confirm(message, "", queue, mandatory=True)
        except MessageNacked:  # a queue that was made a moment ago has no leader yet
            continue
        return


def _opened(url: str) -> tuple[Any, str]:
    address = address_of(url)
    connection = amqp.Connection(str(address.nodes[0]), address.user, address.password)
    connection.connect()
    channel = connection.channel()
    channel.auto_decode = False
    channel.queue_declare(address.queue, durable=True, auto_delete=False, arguments=ARGUMENTS)
    return channel, address.queue


if __name__ == "__main__":
    {"host": host, "relay": relay}[sys.argv[1]](*sys.argv[2:])
