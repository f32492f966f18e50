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


class Write(NamedTuple):
    """What one slot is to hold."""

    slot: int
    serial: int
    at: float
    keys: bytes
    new: bytes
    """Those of the keys that were not there."""


class Slots:
    """For one open database, and the ids in memory, which are the same.

    Args:
        database: of the books.
        delivered: gets what is in them.
    """

    def __init__(self, database: BooksDatabase, delivered: DeliveredLately) -> None:
        self._database = database
        self._delivered = delivered
        self._used: deque[tuple[int, float]] = deque()  # of each run: its slot, and when that was written last
        self._free: list[int] = []
        self._serial = 0
        self._load()

    def plan(self, keys: bytes, at: float) -> list[Write]:
        """Return what is to be written so that these are known; nothing where the disk has no room for a first slot.

        Raises:
            DatabaseDamaged: (an OSError) the database is.
        """
        runs = self._delivered.runs
        if runs and 0 < len(keys) <= _FULL - len(runs[-1]):
            return [Write(self._used[-1][0], self._serial, at, runs[-1] + keys, keys)]
        writes: list[Write] = []
        over = fresh = 0
        count = len(self._delivered) + len(keys) // KEY
        for start in range(0, len(keys), _FULL):
            if over < len(runs) and (self._makes_way(over, fresh, count, at) or not self._has_free(fresh)):
                slot = self._used[over][0]
                count -= len(runs[over]) // KEY
                over += 1
            elif self._has_free(fresh):
                fresh += 1
                slot = self._free[-fresh]
            else:
                break
            piece = keys[start : start + _FULL]
            writes.append(Write(slot, self._serial + 1 + len(writes), at, piece, piece))
        return writes

    def write(self, writes: Sequence[Write]) -> None:
        """Write, in a transaction."""
        for slot, serial, at, keys, _ in writes:
            data = (_HEAD.pack(serial, at, len(keys) // KEY) + keys).ljust(_SIZE, b"\0")
            self._database.connection.execute("UPDATE delivered SET ids = ? WHERE slot = ?", (data, slot))

    def written(self, writes: Iterable[Write]) -> None:
        """Note that it was committed."""
        for slot, serial, at, _, new in writes:
            if serial == self._serial:
                self._used[-1] = (slot, at)
                self._delivered.go_on(new)
                continue
            if self._used and slot == self._used[0][0]:
                self._used.popleft()
                self._delivered.forget_oldest()
            else:
                self._free.remove(slot)
            self._used.append((slot, at))
            self._serial = serial
            self._delivered.begin(new)

    def _makes_way(self, over: int, fresh: int, count: int, now: float) -> bool:
        is_old = self._used[over][1] <= now - SECONDS and count - len(self._delivered.runs[over]) // KEY >= LEAST
        return is_old or len(self._used) + fresh >= MOST // _HOLDS

    def _has_free(self, taken: int) -> bool:
        """Whether there are more slots than these that were never used; some are made where there is room."""
        if len(self._free) <= taken:
            count = max(1, min(_AT_ONCE, self._database.reserve.most // _PAGES // 2))
            try:
                self._database.do(lambda: self._database.reserve.ensure(_LEADING + count * _PAGES))
                self._free[:0] = self._database.commit(lambda: [self._insert() for _ in range(count)])
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
            [[data]] = read("SELECT ids FROM delivered WHERE slot = ?", (slot,)).fetchall()
            self._used.append((slot, at))
            self._delivered.begin(data[_HEAD.size : _HEAD.size + count * KEY])
