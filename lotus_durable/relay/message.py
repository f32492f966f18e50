"""What a host and a relay say to each other: the body of a message.

::

    "LOTUS" | version u8 | crc32 u32 | msgpack              little endian; the CRC-32 is of what follows it

    [key bytes, [record bytes, …]]

The fingerprint of the API key under which the events were tracked, and up to 500 records as the host's queue has them.
A message without records is a *mark*, with random bytes in the place of the key: whoever receives it is the active
relay, and everything that was published before it came before it.

A later version of a body begins with the same six bytes. Whoever does not know a version leaves its messages alone.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from zlib import crc32

import msgpack

from lotus_durable.queue.identity import FINGERPRINT_SIZE
from lotus_durable.values import NamedTuple

VERSION = 1
MOST_EVENTS = 500
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

    key: bytes
    records: Sequence[bytes]

    def encode(self) -> bytes:
        """Return the body."""
        content: bytes = msgpack.packb([*self])
        return _HEAD.pack(_MAGIC, VERSION, crc32(content)) + content


def mark() -> bytes:
    """Return the body of a mark; each is another one."""
    return Events(os.urandom(FINGERPRINT_SIZE), ()).encode()


def decode(body: bytes) -> Events:
    """Return what a body says.

    Raises:
        LaterVersion: it may be read by a later version.
        NotOurs: it cannot be read.
    """
    if len(body) < _HEAD.size or not body.startswith(_MAGIC):
        raise NotOurs("it is not of lotus-durable")
    _, version, checksum = _HEAD.unpack_from(body)
    if version > VERSION:
        raise LaterVersion(f"it is of version {version}, this relay knows version {VERSION}")
    content = memoryview(body)[_HEAD.size :]
    if version != VERSION or crc32(content) != checksum:
        raise NotOurs("its checksum is wrong")
    with suppress(ValueError, TypeError):
        fields = msgpack.unpackb(content)
        key, records = fields
        if [*map(type, fields)] == [bytes, list] and len(key) == FINGERPRINT_SIZE and {*map(type, records)} <= {bytes}:
            return Events(key, records)
    raise NotOurs("it has other fields")
