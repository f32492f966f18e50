"""The ids of events that were delivered lately: in memory, and in the books as a log in rows of a fixed size.

::

    row     = number u64 | record* | zeros, where there is room    CHUNK_SIZE bytes together
    record  = time f64 | length u32 | digests                      12 + length bytes; 8 of each id

A row is written piece by piece, in place, until it is full; then the next one is, which is the oldest one if nothing in
it needs to be known any more. ``number`` tells their order; behind the zeros may be what the row held before. So a
settlement of 500 ids writes two pages, and neither frees nor takes any (500 rows of their own take 3.7 ms).

An id is kept as 8 bytes of its BLAKE2b: 200,000 take 1.6 MB, and that two of them are one another's happens to one
event in ten thousand billions. A set of them would take 15 MB, so most ids are told to be new by a table of bits.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from lotus_durable.values import NamedTuple

AT_LEAST = 20_000
"""Ids that are known however old they are."""
AT_MOST = 200_000
"""Ids that are known however young they are, about."""
KEPT_FOR = 60.0
"""Seconds."""

CHUNK_SIZE = 24_000
"""Bytes of a row: 6 pages, and some 3,000 ids."""

_DIGEST = 8
_BITS_PER_ID = 20
"""Of the table, at least, so that one in ten is set at the most; it has 1 MB at the most."""
_FEWEST_IDS = 3_000
"""The table of which has 8 KB."""
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
    digests: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self.digests) // _DIGEST


class Piece(NamedTuple):
    """Ids that are written at once."""

    digests: bytes
    when: float
    data: bytes


class DeliveredLately:
    """The ids, by the row; ``chunks`` are the rows, oldest first."""

    def __init__(self) -> None:
        self.chunks: deque[Chunk] = deque()
        # Made when somebody asks, and kept up to date from then on. Bits of ids that are known no more stay for a
        # while: all that they cost is a search.
        self._bits: bytearray | None = None
        self._holds = 0
        self._stale = 0
        self._count = 0

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return those of ``ids`` that were delivered lately."""
        is_full = self._count + self._stale > self._holds
        if self._bits is None or is_full or self._stale > max(AT_LEAST, self._count // 2):
            size = 1 << (max(_FEWEST_IDS, self._count) * _BITS_PER_ID // 8).bit_length()
            self._bits, self._holds, self._stale = bytearray(size), size * 8 // _BITS_PER_ID, 0
            for chunk in self.chunks:
                _set(self._bits, chunk.digests)
        return {each for each in ids if self._has(_digest(each))}

    def load(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Take in what the rows say."""
        self.chunks.extend(sorted((_chunk(row, data) for row, data in rows), key=lambda chunk: chunk.number))
        self._count = sum(len(chunk) for chunk in self.chunks)

    def next_chunk(self, size: int, *, must_reuse: bool = False) -> Chunk | None:
        """Return the row with room for a piece of this size: an empty one, or None, if there must be another."""
        if self.chunks and (self.chunks[-1].end or _NUMBER.size) + size <= CHUNK_SIZE:
            return self.chunks[-1]
        if self.chunks and (must_reuse or self._is_spare(self.chunks[0])):
            chunk = self.chunks.popleft()
            self._count -= len(chunk)
            self._stale += len(chunk)
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
        chunk.digests += piece.digests
        self._count += len(piece.digests) // _DIGEST
        if self._bits is not None:
            _set(self._bits, piece.digests)

    def _has(self, digest: bytes) -> bool:
        assert self._bits is not None
        for place in _places(digest, self._bits):
            if not self._bits[place >> 3] >> (place & 7) & 1:
                return False
        return any(_is_in(digest, chunk.digests) for chunk in self.chunks)

    def _is_spare(self, chunk: Chunk) -> bool:
        left = self._count - len(chunk)
        return left >= AT_LEAST and (time.time() - chunk.newest > KEPT_FOR or self._count > AT_MOST)


def pieces(ids: Sequence[str]) -> Iterator[Piece]:
    """Cut ids into pieces that a row has room for."""
    return pieces_of(b"".join(map(_digest, ids)))


def pieces_of(digests: bytes | bytearray) -> Iterator[Piece]:
    """Do the same for what is known of ids."""
    when = time.time()
    for start in range(0, len(digests), _MOST_AT_ONCE):
        part = bytes(digests[start : start + _MOST_AT_ONCE])
        yield Piece(part, when, _RECORD.pack(when, len(part)) + part)


def bytes_to_write(chunk: Chunk, piece: Piece) -> tuple[int, bytes]:
    """Return where in the row to write what; behind a record stands a zero length, for who reads it."""
    start = chunk.end
    data = piece.data if start else _NUMBER.pack(chunk.number) + piece.data
    return start, data + _END[: CHUNK_SIZE - start - len(data)]


def _digest(idempotency_id: str) -> bytes:
    return blake2b(idempotency_id.encode(), digest_size=_DIGEST).digest()


def _places(digest: bytes | bytearray, bits: bytearray) -> tuple[int, int]:
    number, last = int.from_bytes(digest, "little"), len(bits) * 8 - 1
    return number & last, number >> 32 & last


def _set(bits: bytearray, digests: bytes | bytearray) -> None:
    for start in range(0, len(digests), _DIGEST):
        for place in _places(digests[start : start + _DIGEST], bits):
            bits[place >> 3] |= 1 << (place & 7)


def _is_in(digest: bytes, digests: bytearray) -> bool:
    found = digests.find(digest)
    while found >= 0 and found % _DIGEST:
        found = digests.find(digest, found + 1)
    return found >= 0


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
            chunk.digests += data[offset : min(offset + length, CHUNK_SIZE) - length % _DIGEST]
            chunk.newest = when
            offset += length
            chunk.end = offset
    return chunk
