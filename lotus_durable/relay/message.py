"""What a host and a relay say to each other: the body of a message.

::

    "LOTUS" | version u8 | crc32 u32 | msgpack              little endian; the CRC-32 is of what follows it

    [queue id bytes, key bytes, {source: position}, [record bytes, …]]

The identity of the host's queue, the fingerprint there of the API key under which the events were tracked, up to where
the host's sources are handed over with them, and up to 500 records as that queue has them. A message without records is
a *mark*: whoever receives it is the active relay, and everything that was published before it came before it.

A later version of a body begins with the same six bytes. Whoever does not know a version leaves its messages alone.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from zlib import crc32

import msgpack

from lotus_durable.queue.identity import FINGERPRINT_SIZE, NO_KEY, QUEUE_ID_SIZE
from lotus_durable.values import NamedTuple

VERSION = 1
MOST_EVENTS = 500
MOST_BYTES = 15_000_000
"""Of a body: RabbitMQ 4 takes messages up to 16 MiB, older ones more."""
REPLIES = "amq.rabbitmq.reply-to"
"""What RabbitMQ calls a queue that is none: what is published there goes straight to the channel that has asked."""

_MAGIC = b"LOTUS"
_HEAD = struct.Struct("<5sBI")


class NotOurs(ValueError):
    """It is no such body, or a damaged one; the message says why and quotes nothing."""


class LaterVersion(ValueError):
    """A later version of this package has written it."""


class Events(NamedTuple):
    """Events of one host."""

    queue_id: bytes
    key: bytes
    through: Mapping[str, object]
    records: Sequence[bytes]

    def encode(self) -> bytes:
        """Return the body."""
        content: bytes = msgpack.packb([*self])
        return _HEAD.pack(_MAGIC, VERSION, crc32(content)) + content


def mark() -> bytes:
    """Return the body of a mark; each is another one."""
    return Events(os.urandom(QUEUE_ID_SIZE), NO_KEY, {}, ()).encode()


def decode(body: bytes) -> Events:
    """Return what a body says.

    Raises:
        LaterVersion: it may be read by a later version.
        NotOurs: it cannot be read.
    """
    if len(body) > MOST_BYTES:
        raise NotOurs(f"it has {len(body)} bytes, more than the {MOST_BYTES} that a host puts into one")
    if not body.startswith(_MAGIC):
        raise NotOurs("it is not of lotus-durable")
    if len(body) > len(_MAGIC) and body[len(_MAGIC)] > VERSION:
        raise LaterVersion(f"it is of version {body[len(_MAGIC)]}, this relay knows version {VERSION}")
    if len(body) < _HEAD.size:
        raise NotOurs("it is cut off")
    _, version, checksum = _HEAD.unpack_from(body)
    content = memoryview(body)[_HEAD.size :]
    if version != VERSION or crc32(content) != checksum:
        raise NotOurs("its checksum is wrong")
    try:
        fields = msgpack.unpackb(content)
        queue_id, key, through, records = fields
        is_one = [*map(type, fields)] == [bytes, bytes, dict, list] and {*map(type, records)} <= {bytes}
        if is_one and len(queue_id) == QUEUE_ID_SIZE and len(key) == FINGERPRINT_SIZE:
            return Events(queue_id, key, through, records)
    except (ValueError, TypeError):
        pass
    raise NotOurs("it has other fields")
