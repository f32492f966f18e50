"""Ids that the server of 2022 may have and that are not settled: whoever comes after us must know them.

That server collects about 1,000 events, then forgets their ids and begins to insert them together. An id that comes
again before the insert is over is accepted once more, and then all of these events are lost.

A request without an answer (its sender was killed, say) is sent again. That does no harm if all its events come in one
request again: the server then either still knows the ids or has inserted them. If they come in two requests it does
harm: the first may complete the 1,000, and the second comes during the insert. So a request with such an id is sent
only when an insert that an earlier request began must be over.

The ids are in the heartbeat from before their request is sent until they are settled, as a CRC-32 each. If two ids have
the same one, that only costs a wait for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

_SIZE = 4
_MOST = 2_500
"""Marks that are remembered: more than two requests with as many events as the server inserts at once."""


class UnsettledIds:
    """Marks of ids; those that an earlier one has encoded, at first."""

    def __init__(self, encoded: bytes = b"") -> None:
        self._marks = {encoded[start : start + _SIZE]: None for start in range(0, len(encoded), _SIZE)}

    def add(self, ids: Iterable[str]) -> tuple[list[str], bool]:
        """Add ids; return those that are new, and whether another one was there before."""
        marks = self._marks
        new = []
        is_known = False
        for each in ids:
            mark = _mark(each)
            if mark in marks:
                is_known = True
            else:
                new.append(each)
                marks[mark] = None
        return new, is_known

    def discard(self, ids: Iterable[str]) -> None:
        """Remove ids, those too that are not there."""
        for each in ids:
            self._marks.pop(_mark(each), None)

    def encode(self) -> bytes:
        """Return them as bytes; the last ones, where there are too many."""
        return b"".join(list(self._marks)[-_MOST:])


@lru_cache(_MOST)  # of each id it is asked when that is sent, and when it is settled
def _mark(idempotency_id: str) -> bytes:
    return crc32(idempotency_id.encode("utf-8", "surrogatepass")).to_bytes(_SIZE)
