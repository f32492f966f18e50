"""The ids delivered lately, in the books: rows of one size, *slots*, that are written over in turn, the oldest next.

What is written over in its place changes two pages, and none of those that say where free pages are: an insert and a
delete change eight. It needs no room either, so a full disk stops no settlement for its ids; it only makes fewer of
them known. A slot is::

    serial u64 | time f64 (of the queue's clock) | count u32 | that many keys of 16 bytes, and zeros up to its end

The highest serial was written last; serial 0 was never used. Ids that come one by one go on in the last slot while it
has room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from math import ceil
from struct import Struct

from lotus_durable.values import NamedTuple

from .database import BooksDatabase
from .lately import KEY, LEAST, MOST, SECONDS, DeliveredLately
from .table import DatabaseDamaged

_HOLDS = 500
"""Ids: a batch, as it is by default."""
_FULL = _HOLDS * KEY
_HEAD = Struct("<QdI")
_SIZE = _HEAD.size + _FULL
_AT_ONCE = 16
"""Slots that are made at once, where one transaction may change so many pages."""
_PAGES = 2
"""That a new slot takes, and once for all of them some that lead there."""
_LEADING = 4
_HEADS = f"SELECT slot, CASE WHEN length(ids) = {_SIZE} THEN substr(ids, 1, {_HEAD.size}) END FROM delivered"  # noqa: S608  # ours
_READ = "SELECT ids FROM delivered WHERE slot = ?"


class _Used(NamedTuple):
    slot: int
    at: float
    keys: int


class Write(NamedTuple):
    """What one slot is to hold."""

    slot: int
    serial: int
    at: float
    keys: bytes
    new: bytes
    """Those of the keys that were not there."""
    is_over: bool
    """The oldest keys are written over."""


class Slots:
    """For one open database, and the ids in memory, which are the same.

    Args:
        database: of the books.
        delivered: gets what is in them.
    """

    def __init__(self, database: BooksDatabase, delivered: DeliveredLately) -> None:
        self._database = database
        self._delivered = delivered
        self._used: deque[_Used] = deque()  # the oldest first
        self._free: list[int] = []
        self._serial = 0
        self._last = b""
        self._load()

    def plan(self, keys: bytes, at: float) -> list[Write]:
        """Return what is to be written so that these are known; nothing where the disk has no room for a first slot.

        Raises:
            DatabaseDamaged: (an OSError) the database is.
        """
        if self._used and 0 < len(keys) <= _FULL - len(self._last):
            return [Write(self._used[-1].slot, self._serial, at, self._last + keys, keys, is_over=False)]
        writes: list[Write] = []
        count = len(self._delivered) + len(keys) // KEY
        oldest = deque(islice(self._used, ceil(len(keys) / _FULL)))
        for start in range(0, len(keys), _FULL):
            piece = keys[start : start + _FULL]
            is_over = bool(oldest) and (self._makes_way(oldest[0], count, at) or not self._has_free())
            if is_over:
                count -= oldest[0].keys
                slot = oldest.popleft().slot
            elif self._has_free():
                slot = self._free.pop()
            else:
                break
            writes.append(Write(slot, self._serial + 1 + len(writes), at, piece, piece, is_over))
        self._free += [each.slot for each in writes if not each.is_over]  # until they are written
        return writes

    def write(self, writes: Sequence[Write]) -> list[bytes]:
        """Write, in a transaction; return the keys that were written over."""
        execute = self._database.connection.execute
        gone: list[bytes] = []
        for slot, serial, at, keys, _, is_over in writes:
            if is_over:
                gone += [_keys_in(ids, self._used[len(gone)].keys) for (ids,) in execute(_READ, (slot,))]
            data = (_HEAD.pack(serial, at, len(keys) // KEY) + keys).ljust(_SIZE, b"\0")
            execute("UPDATE delivered SET ids = ? WHERE slot = ?", (data, slot))
        return gone

    def written(self, writes: Sequence[Write], gone: Iterable[bytes]) -> None:
        """Note that it was committed."""
        for keys in gone:
            self._delivered.forget(keys)
        for slot, serial, at, keys, new, is_over in writes:
            if is_over:
                self._used.popleft()
            elif serial == self._serial:
                self._used.pop()
            else:
                self._free.remove(slot)
            self._used.append(_Used(slot, at, len(keys) // KEY))
            self._serial, self._last = serial, keys
            self._delivered.add(new)

    def _makes_way(self, oldest: _Used, count: int, now: float) -> bool:
        is_old = oldest.at <= now - SECONDS and count - oldest.keys >= LEAST
        return is_old or len(self._used) >= MOST // _HOLDS

    def _has_free(self) -> bool:
        """Whether there is a slot that was never used; some are made where there is none, and room."""
        if not self._free:
            count = max(1, min(_AT_ONCE, self._database.reserve.most // _PAGES // 2))
            try:
                self._database.do(lambda: self._database.reserve.ensure(_LEADING + count * _PAGES))
                self._free = self._database.commit(lambda: [self._insert() for _ in range(count)])
            except DatabaseDamaged:
                raise
            except OSError:
                return False
        return True

    def _insert(self) -> int:
        statement = f"INSERT INTO delivered (ids) VALUES (zeroblob({_SIZE}))"  # noqa: S608  # ours
        return int(self._database.connection.execute(statement).lastrowid or 0)

    def _load(self) -> None:
        """Read all of it; a slot that is damaged has no keys, and is written over."""
        read = self._database.connection.execute
        found = []
        for slot, head in read(_HEADS).fetchall():
            serial, at, count = _HEAD.unpack(head) if isinstance(head, bytes) else (0, 0.0, 0)
            if serial and 0 < count <= _HOLDS:
                found.append((serial, slot, at, count))
            else:
                self._free.append(slot)
        for self._serial, slot, at, count in sorted(found):
            [[data]] = read(_READ, (slot,)).fetchall()
            self._last = _keys_in(data, count)
            self._used.append(_Used(slot, at, count))
            self._delivered.add(self._last)


def _keys_in(data: bytes, count: int) -> bytes:
    return data[_HEAD.size : _HEAD.size + count * KEY]
