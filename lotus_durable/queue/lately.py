"""The ids of events that were delivered lately: in memory, and in rows of the books.

A row holds what some settlements delivered, 8 bytes of BLAKE2b for each id, and is written anew until it fills about a
page; then the next one is begun, and the oldest are deleted in the same transaction if nothing in them needs to be
known any more. So a settlement of 500 ids writes few pages (500 rows of their own take 3.7 ms).

That two ids have one digest happens to one event in ten thousand billions. 200,000 take 1.6 MB; a set of them would
take 15 MB, so most ids are told to be new by a table of bits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from lotus_durable.values import NamedTuple

AT_LEAST = 20_000
"""Ids that are known however old they are."""
AT_MOST = 200_000
"""Ids that are known however young they are, about."""
KEPT_FOR = 60.0
"""Seconds."""

_ROW = 4_000
"""Bytes; with what SQLite adds it fits into a page."""
_DIGEST = 8
_BITS_PER_ID = 20
"""Of the table, at least, so that one in ten is set at the most; it has 1 MB at the most."""
_FEWEST_IDS = 3_000
"""The table of which has 8 KB."""


class Change(NamedTuple):
    """What a settlement changes in the rows."""

    row: int
    """The one that is written, and"""
    when: float
    digests: bytes
    """what is in it then."""
    new: int
    """How many bytes of that are new."""
    first: int
    """The oldest row that stays."""


class DeliveredLately:
    """The ids in memory, oldest first."""

    def __init__(self) -> None:
        self._rows: deque[tuple[int, float, int]] = deque()  # number, when it was written last, bytes
        self._digests = bytearray()  # of all rows
        # Made when somebody asks, and kept up to date from then on. Bits of ids that are known no more stay for a
        # while: all that they cost is a search.
        self._bits: bytearray | None = None
        self._holds = 0
        self._stale = 0

    def __len__(self) -> int:
        return len(self._digests) // _DIGEST

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return those of ``ids`` that were delivered lately."""
        count = len(self)
        if self._bits is None or count + self._stale > self._holds or self._stale > max(AT_LEAST, count // 2):
            size = 1 << (max(_FEWEST_IDS, count) * _BITS_PER_ID // 8).bit_length()
            self._bits, self._holds, self._stale = bytearray(size), size * 8 // _BITS_PER_ID, 0
            _set(self._bits, self._digests)
        return {each for each in ids if self._has(_digest(each), self._bits)}

    def load(self, rows: Iterable[tuple[int, object, object]]) -> None:
        """Take in what the rows say, in their order; one that is damaged says nothing."""
        for row, when, digests in rows:
            if isinstance(when, float) and isinstance(digests, bytes) and not len(digests) % _DIGEST:
                self._rows.append((row, when, len(digests)))
                self._digests += digests

    def rows(self) -> Iterator[tuple[int, float, bytes]]:
        """Give the rows, to be written anew."""
        start = 0
        for row, when, size in self._rows:
            yield row, when, bytes(self._digests[start : start + size])
            start += size

    def change(self, ids: Sequence[str], *, must_reuse: bool = False) -> Change:
        """Return what is to be written for these ids; if there is no room for more, the oldest go, however young."""
        new = b"".join(map(_digest, ids))
        row, _, size = self._rows[-1] if self._rows else (0, 0.0, 0)
        last = self._digests[len(self._digests) - size :]
        if not row or size + len(new) > _ROW:
            row, last = row + 1, bytearray()
        now = time.time()
        left, freed, first = len(self), 0, row
        for first, when, size in self._rows:  # noqa: B007  # the last one stays in any case
            left -= size // _DIGEST
            is_spare = left >= AT_LEAST and (now - when > KEPT_FOR or left > AT_MOST)
            if not is_spare and (not must_reuse or freed >= len(new)):
                break
            freed += size
        return Change(row, now, bytes(last) + new, len(new), first)

    def add(self, change: Change) -> None:
        """Know these ids from now on; they were written."""
        while self._rows and self._rows[0][0] < change.first:
            _, _, size = self._rows.popleft()
            del self._digests[:size]
            self._stale += size // _DIGEST
        if self._rows and self._rows[-1][0] == change.row:
            self._rows.pop()
        self._rows.append((change.row, change.when, len(change.digests)))
        new = change.digests[len(change.digests) - change.new :]
        self._digests += new
        if self._bits is not None:
            _set(self._bits, new)

    def _has(self, digest: bytes, bits: bytearray) -> bool:
        if not all(bits[place >> 3] >> (place & 7) & 1 for place in _places(digest, bits)):
            return False
        found = self._digests.find(digest)
        while found >= 0 and found % _DIGEST:
            found = self._digests.find(digest, found + 1)
        return found >= 0


def _digest(idempotency_id: str) -> bytes:
    return blake2b(idempotency_id.encode(), digest_size=_DIGEST).digest()


def _places(digest: bytes | bytearray, bits: bytearray) -> tuple[int, int]:
    number, last = int.from_bytes(digest, "little"), len(bits) * 8 - 1
    return number & last, number >> 32 & last


def _set(bits: bytearray, digests: bytes | bytearray) -> None:
    for start in range(0, len(digests), _DIGEST):
        for place in _places(digests[start : start + _DIGEST], bits):
            bits[place >> 3] |= 1 << (place & 7)
