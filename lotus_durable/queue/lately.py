"""The ids of events that were delivered lately: those of the last minute, within two bounds.

The server of 2022 must not get an id again before it has inserted what came with it, which it does when 1,000 events
have come together: after a minute where many are sent, and after any time where few are. So ids are known for
:data:`SECONDS`, but never fewer than :data:`LEAST` of them, and never more than :data:`MOST`.

Of an id 16 bytes are kept, in memory as in the books (a row for each settlement): those of a UUID itself, and of any
other id a digest that has no second one in practice. An id that was taken for another would be an event that is lost.
In memory they lie in *buckets*, each a run of 16-byte keys in the order in which they came: a set of 200,000 strings
would take 27 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

SECONDS = 60.0
LEAST = 20_000
MOST = 200_000
LOOK_EVERY = 5.0
"""Seconds between two looks for what is older, so that not every settlement deletes a row."""
ROWS_AT_ONCE = 50
"""Rows that one settlement deletes for their age, at the most; the next one goes on."""

_KEY = 16
_BUCKETS = 8_192  # with MOST ids 400 bytes each, and 33 of its own
_BETWEEN = "\0"  # which no id has
_SHAPE = b"00000000-0000-0000-0000-000000000000\0"
_SHAPES = bytes.maketrans(b"123456789abcdef", b"0" * 15)


class DeliveredLately:
    """The ids in memory; what is in the books is the same."""

    def __init__(self) -> None:
        self._buckets = [b""] * _BUCKETS
        self._count = 0
        self._look_at = 0.0

    def __len__(self) -> int:
        return self._count

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return those of ``ids`` that were delivered lately."""
        buckets, count = self._buckets, len(self._buckets)
        return {
            id_
            for id_, key in zip(ids, _split(keys_of(ids)), strict=True)
            if key in (bucket := buckets[hash(key) % count]) and _place(bucket, key) >= 0
        }

    def add(self, keys: bytes) -> None:
        """Know these from now on, for as long as the books do."""
        buckets, count = self._buckets, len(self._buckets)
        for key in (found := _split(keys)):
            buckets[hash(key) % count] += key
        self._count += len(found)

    def forget(self, keys: bytes) -> None:
        """Know these no longer: they are the oldest."""
        buckets, count = self._buckets, len(self._buckets)
        for key in _split(keys):
            number = hash(key) % count
            bucket = buckets[number]
            if (place := _place(bucket, key)) >= 0:
                buckets[number] = bucket[:place] + bucket[place + _KEY :]
                self._count -= 1

    def outdated(self, rows: Iterable[tuple[int, float, bytes]], more: int, now: float) -> list[tuple[int, bytes]]:
        """Return which of the rows in the books, from the oldest on, make way for so many more ids.

        Args:
            rows: number, time and keys of each; read no further than is needed.
            more: ids.
            now: seconds, by the clock that the rows' times are from.
        """
        left = self._count + more
        if left <= MOST and (left <= LEAST or now < self._look_at):
            return []
        found: list[tuple[int, bytes]] = []
        for number, at, keys in rows:
            count = len(keys) // _KEY
            if left <= MOST:
                if len(found) >= ROWS_AT_ONCE:
                    return found
                if at > now - SECONDS or left - count < LEAST:
                    break
            found.append((number, keys))
            left -= count
        self._look_at = now + LOOK_EVERY
        return found


def rows_of_size(rows: Iterable[tuple[int, float, bytes]], size: int) -> list[tuple[int, bytes]]:
    """Return the oldest of the rows in the books that together take this many bytes; none where all take less."""
    found: list[tuple[int, bytes]] = []
    for number, _, keys in rows:
        found.append((number, keys))
        size -= len(keys)
        if size <= 0:
            return found
    return []


def keys_of(ids: Sequence[str]) -> bytes:
    """Return the 16 bytes of each id."""
    encoded = _BETWEEN.join(ids).encode(errors="surrogatepass")
    if encoded.translate(_SHAPES) == (_SHAPE * len(ids))[:-1]:
        return bytes.fromhex(encoded.translate(None, b"-\0").decode())
    return b"".join(map(_key, ids))


def _key(id_: str) -> bytes:
    encoded = id_.encode(errors="surrogatepass")
    if encoded.translate(_SHAPES) == _SHAPE[:-1]:
        return bytes.fromhex(encoded.translate(None, b"-").decode())
    return blake2b(encoded, digest_size=_KEY).digest()


def _split(keys: bytes) -> list[bytes]:
    return [keys[start : start + _KEY] for start in range(0, len(keys) - _KEY + 1, _KEY)]


def _place(bucket: bytes, key: bytes) -> int:
    """Return where the key begins, -1 if nowhere; the end of one and the beginning of the next are no key."""
    place = bucket.find(key)
    while place >= 0 and place % _KEY:
        place = bucket.find(key, place + 1)
    return place
