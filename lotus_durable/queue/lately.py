"""The ids of events that were delivered lately: those of the last minute, within two bounds.

The server of 2022 must not get an id again before it has inserted what came with it, which it does when 1,000 events
have come together: after a minute where many are sent, and after any time where few are. So ids are known for
:data:`SECONDS`, but never fewer than :data:`LEAST` of them, and never more than :data:`MOST`.

Of an id 16 bytes are kept, in memory as in the books (:mod:`.slots`): those of a UUID itself, and of any other id a
digest that has no second one in practice. An id that was taken for another would be an event that is lost. They lie in
*runs*, one for each slot: a set of 200,000 strings would take 27 MB. Where to look for one is found by three more bytes
of each, its *mark*, in buckets small enough for the processor's cache. Bucket and mark are of Python's hash: ids that
somebody counts up are as far apart as others. What is done for each of 500 ids is done by C functions:
all of it would take longer in a loop than what SQLite does for them.
"""

from __future__ import annotations

from binascii import unhexlify
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from itertools import repeat
from operator import itemgetter
from struct import Struct, pack, unpack

SECONDS = 60.0
LEAST = 20_000
MOST = 200_000
KEY = 16
"""Bytes."""

_BUCKETS = 2_048  # with MOST ids some 300 bytes each
_LOW = bytes(range(_BUCKETS // 256)) * (256 * 256 // _BUCKETS)
_ONE = Struct(f"{KEY}s")
_MARK = 3
_MARKS = Struct(f"2x{_MARK}s3x")
_FIRST = itemgetter(0)
_BETWEEN = "\0"  # which no id has
_SHAPE = b"00000000-0000-0000-0000-000000000000\0"
_SHAPES = bytes.maketrans(b"123456789abcdef", b"0" * 15)


class DeliveredLately:
    """The ids in memory; what is in the books is the same.

    Attributes:
        runs: their keys, the oldest first.
    """

    def __init__(self) -> None:
        self.runs: deque[bytes] = deque()
        self._buckets = [bytearray() for _ in range(_BUCKETS)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return those of ``ids`` that were delivered lately."""
        if not self._count:
            return set()
        keys = keys_of(ids)
        found = [*map(bytearray.find, *self._places_of(keys))]
        if max(found, default=-1) < 0:  # as nearly always
            return set()
        return {
            id_
            for number, (id_, place) in enumerate(zip(ids, found, strict=True))
            if place >= 0 and self._is_in_a_run(keys[number * KEY : (number + 1) * KEY])
        }

    def begin(self, keys: bytes) -> None:
        """Know these from now on, as a run of their own."""
        self.runs.append(keys)
        self._note(keys)

    def go_on(self, keys: bytes) -> None:
        """Know these from now on, with those of the last run."""
        self.runs[-1] += keys
        self._note(keys)

    def forget_oldest(self) -> None:
        """Know those of the oldest run no longer: their marks are the first ones in their buckets."""
        keys = self.runs.popleft()
        buckets, _ = self._places_of(keys)
        deque(map(bytearray.__delitem__, buckets, repeat(slice(0, _MARK))), maxlen=0)
        self._count -= len(keys) // KEY

    def _note(self, keys: bytes) -> None:
        deque(map(bytearray.extend, *self._places_of(keys)), maxlen=0)
        self._count += len(keys) // KEY

    def _places_of(self, keys: bytes) -> tuple[list[bytearray], list[bytes]]:
        """Return the bucket of each key, and its mark."""
        count = len(keys) // KEY
        hashes = pack(f"<{count}q", *map(hash, map(_FIRST, _ONE.iter_unpack(keys))))
        numbers = bytearray(2 * count)
        numbers[0::2] = hashes[0::8]
        numbers[1::2] = hashes[1::8].translate(_LOW)
        buckets = map(self._buckets.__getitem__, unpack(f"<{count}H", numbers))
        return [*buckets], [*map(_FIRST, _MARKS.iter_unpack(hashes))]

    def _is_in_a_run(self, key: bytes) -> bool:
        """Whether a key is there; the end of one and the beginning of the next are no key."""
        for run in self.runs:
            place = run.find(key)
            while place >= 0 and place % KEY:
                place = run.find(key, place + 1)
            if place >= 0:
                return True
        return False


def keys_of(ids: Sequence[str]) -> bytes:
    """Return the 16 bytes of each id."""
    encoded = _BETWEEN.join(ids).encode(errors="surrogatepass")
    if encoded.translate(_SHAPES) == (_SHAPE * len(ids))[:-1]:
        return unhexlify(encoded.translate(None, b"-\0"))
    return b"".join(map(_key, ids))


def _key(id_: str) -> bytes:
    encoded = id_.encode(errors="surrogatepass")
    if encoded.translate(_SHAPES) == _SHAPE[:-1]:
        return unhexlify(encoded.translate(None, b"-"))
    return blake2b(encoded, digest_size=KEY).digest()
