"""The ids of events that were delivered lately: those of the last minute, within two bounds.

The server of 2022 must not get an id again before it has inserted what came with it, which it does when 1,000 events
have come together: after a minute where many are sent, and after any time where few are. So ids are known for
:data:`SECONDS`, but never fewer than :data:`LEAST` of them, and never more than :data:`MOST`.

Of an id 16 bytes are kept, in memory as in the books (:mod:`.slots`): those of a UUID itself, and of any other id a
digest that has no second one in practice. An id that was taken for another would be an event that is lost. In memory
they lie in *buckets*, each a run of 16-byte keys in the order in which they came: a set of 200,000 strings would take
27 MB. What is done for each of 500 ids is done by C functions: a loop took four times as long, and more than all that
SQLite does for them.
"""

from __future__ import annotations

from binascii import unhexlify
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from itertools import repeat
from operator import itemgetter
from struct import Struct

SECONDS = 60.0
LEAST = 20_000
MOST = 200_000
KEY = 16
"""Bytes."""

_BUCKETS = 2_048  # with MOST ids some 1,600 bytes each; more are found faster, and filled slower
_LOW = bytes(range(_BUCKETS // 256)) * (256 * 256 // _BUCKETS)
_ONE = Struct(f"{KEY}s")
_FIRST = itemgetter(0)
_BETWEEN = "\0"  # which no id has
_SHAPE = b"00000000-0000-0000-0000-000000000000\0"
_SHAPES = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_VERSION = _SHAPE.index(b"-", 9) + 1
_SPREAD = b"3457"
"""Versions of UUIDs whose last bytes differ from one to the next: they choose the bucket."""


class DeliveredLately:
    """The ids in memory; what is in the books is the same."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(_BUCKETS)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return those of ``ids`` that were delivered lately."""
        if not self._count:
            return set()
        keys = keys_of(ids)
        buckets, split = self._buckets_of(keys), _split(keys)
        if max(map(bytearray.find, buckets, split), default=-1) < 0:  # as nearly always
            return set()
        each = zip(ids, buckets, split, strict=True)
        return {id_ for id_, bucket, key in each if _is_in(bucket, key)}

    def add(self, keys: bytes) -> None:
        """Know these from now on, for as long as the books do."""
        split = _split(keys)
        deque(map(bytearray.extend, self._buckets_of(keys), split), maxlen=0)
        self._count += len(split)

    def forget(self, keys: bytes) -> None:
        """Know these no longer: they are the oldest, and so the first ones in their buckets."""
        buckets = self._buckets_of(keys)
        deque(map(bytearray.__delitem__, buckets, repeat(slice(0, KEY))), maxlen=0)
        self._count -= len(buckets)

    def _buckets_of(self, keys: bytes) -> Sequence[bytearray]:
        numbers = bytearray(len(keys) // KEY * 2)
        numbers[0::2] = keys[KEY - 2 :: KEY]
        numbers[1::2] = keys[KEY - 1 :: KEY].translate(_LOW)
        return [*map(self._buckets.__getitem__, memoryview(numbers).cast("H"))]


def keys_of(ids: Sequence[str]) -> bytes:
    """Return the 16 bytes of each id."""
    encoded = _BETWEEN.join(ids).encode(errors="surrogatepass")
    if _are_uuids(encoded, len(ids)):
        return unhexlify(encoded.translate(None, b"-\0"))
    return b"".join(map(_key, ids))


def _key(id_: str) -> bytes:
    encoded = id_.encode(errors="surrogatepass")
    if _are_uuids(encoded, 1):
        return unhexlify(encoded.translate(None, b"-"))
    return blake2b(encoded, digest_size=KEY).digest()


def _are_uuids(encoded: bytes, count: int) -> bool:
    return encoded.translate(_SHAPES) == (_SHAPE * count)[:-1] and not encoded[_VERSION :: len(_SHAPE)].translate(
        None, _SPREAD
    )


def _split(keys: bytes) -> list[bytes]:
    return [*map(_FIRST, _ONE.iter_unpack(keys))]


def _is_in(bucket: bytearray, key: bytes) -> bool:
    """Whether the key is there; the end of one and the beginning of the next are no key."""
    place = bucket.find(key)
    while place >= 0 and place % KEY:
        place = bucket.find(key, place + 1)
    return place >= 0
