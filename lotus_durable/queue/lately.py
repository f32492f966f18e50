"""The ids of events that were delivered lately: in memory, and in the books as a log in rows of a fixed size.

::

    row     = number u64 | record* | zeros, where there is room    CHUNK_SIZE bytes together
    record  = time f64 | length u32 | ids                          12 + length bytes; newlines between the ids

A row is written piece by piece, in place, until it is full; then the next one is, which is the oldest one if nothing in
it needs to be known any more. ``number`` tells their order; behind the zeros may be what the row held before. So a
settlement of 500 ids writes five pages, and neither frees nor takes any (500 rows of their own take 3.7 ms).
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lotus_durable.values import NamedTuple

AT_LEAST = 20_000
"""Ids that are known however old they are."""
AT_MOST = 200_000
"""Ids that are known however young they are, about: some 30 MB of memory."""
KEPT_FOR = 60.0
"""Seconds."""

CHUNK_SIZE = 60_000
"""Bytes of a row: 15 pages."""

_NUMBER = struct.Struct("<Q")
_RECORD = struct.Struct("<dI")
_END = bytes(_RECORD.size)
_MOST_AT_ONCE = CHUNK_SIZE // 2


@dataclass(slots=True)
class Chunk:
    """One row."""

    row: int
    number: int = 0
    end: int = 0
    """Up to where it is written."""
    newest: float = 0.0
    ids: list[str] = field(default_factory=list)


class Piece(NamedTuple):
    """Ids that are written at once."""

    ids: Sequence[str]
    when: float
    data: bytes


class DeliveredLately:
    """The ids, by the row; ``chunks`` are the rows, oldest first."""

    def __init__(self) -> None:
        self.chunks: deque[Chunk] = deque()
        # Made when somebody asks, and kept up to date from then on: it costs more than all else here.
        self._known: set[str] | None = None
        self._count = 0

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return those of ``ids`` that were delivered lately."""
        if self._known is None:
            self._known = {each for chunk in self.chunks for each in chunk.ids}
        return self._known.intersection(ids)

    def load(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Take in what the rows say."""
        self.chunks.extend(sorted((_chunk(row, data) for row, data in rows), key=lambda chunk: chunk.number))
        self._count = sum(len(chunk.ids) for chunk in self.chunks)

    def next_chunk(self, size: int, *, must_reuse: bool = False) -> Chunk | None:
        """Return the row with room for a piece of this size: an empty one, or None, if there must be another."""
        if self.chunks and (self.chunks[-1].end or _NUMBER.size) + size <= CHUNK_SIZE:
            return self.chunks[-1]
        if self.chunks and (must_reuse or self._is_spare(self.chunks[0])):
            chunk = self.chunks.popleft()
            self._count -= len(chunk.ids)
            if self._known is not None:
                self._known.difference_update(chunk.ids)
            self.add_chunk(chunk.row)
            return self.chunks[-1]
        return None

    def add_chunk(self, row: int) -> None:
        """Take note of an empty row, which is the next one to be written."""
        number = self.chunks[-1].number + 1 if self.chunks else 1
        self.chunks.append(Chunk(row, number))

    def add(self, piece: Piece, chunk: Chunk) -> None:
        """Know these ids from now on; they were written to that row."""
        chunk.end = (chunk.end or _NUMBER.size) + len(piece.data)
        chunk.newest = piece.when
        chunk.ids.extend(piece.ids)
        self._count += len(piece.ids)
        if self._known is not None:
            self._known.update(piece.ids)

    def _is_spare(self, chunk: Chunk) -> bool:
        left = self._count - len(chunk.ids)
        return left >= AT_LEAST and (time.time() - chunk.newest > KEPT_FOR or self._count > AT_MOST)


def pieces(ids: Sequence[str]) -> Iterator[Piece]:
    """Cut ids into pieces that a row has room for; one that is longer than that is not kept."""
    when = time.time()
    text = "\n".join(ids).encode()
    if len(text) <= _MOST_AT_ONCE:
        yield Piece(ids, when, _RECORD.pack(when, len(text)) + text)
    elif len(ids) > 1:
        middle = len(ids) // 2
        yield from pieces(ids[:middle])
        yield from pieces(ids[middle:])


def bytes_to_write(chunk: Chunk, piece: Piece) -> tuple[int, bytes]:
    """Return where in the row to write what; behind a record stands a zero length, for who reads it."""
    start = chunk.end
    data = piece.data if start else _NUMBER.pack(chunk.number) + piece.data
    return start, data + _END[: CHUNK_SIZE - start - len(data)]


def _chunk(row: int, data: bytes) -> Chunk:
    chunk = Chunk(row)
    if len(data) == CHUNK_SIZE:
        [chunk.number] = _NUMBER.unpack_from(data)
        offset = _NUMBER.size
        while offset + _RECORD.size <= CHUNK_SIZE:
            when, length = _RECORD.unpack_from(data, offset)
            if not length:
                break
            offset += _RECORD.size
            chunk.ids.extend(data[offset : offset + length].decode(errors="replace").split("\n"))
            chunk.newest = when
            offset += length
            chunk.end = offset
    return chunk
