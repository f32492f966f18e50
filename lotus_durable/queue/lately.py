"""The ids of events that were delivered lately: in memory, and one row a settlement in the books."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

AT_LEAST = 20_000
"""Ids that are kept however old they are."""
AT_MOST = 200_000
"""Ids that are kept however young they are: some 30 MB."""
KEPT_FOR = 60.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class DeliveredBatch:
    """The ids of one settlement."""

    row: int
    time: float
    ids: Sequence[str]


class DeliveredLately:
    """The ids of events that were delivered lately, by the batch."""

    def __init__(self, batches: Iterable[DeliveredBatch] = ()) -> None:
        self._batches: deque[DeliveredBatch] = deque()
        self._rows: dict[str, int] = {}
        self._count = 0
        for batch in batches:
            self.add(batch)

    def __iter__(self) -> Iterator[DeliveredBatch]:
        """Give the batches, oldest first."""
        return iter(self._batches)

    def next_row(self) -> int:
        """Return the number of the next batch."""
        return self._batches[-1].row + 1 if self._batches else 1

    def add(self, batch: DeliveredBatch) -> None:
        """Know these ids from now on."""
        self._batches.append(batch)
        self._rows.update(dict.fromkeys(batch.ids, batch.row))
        self._count += len(batch.ids)

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return those of ``ids`` that were delivered lately."""
        return set(self._rows.keys() & ids)

    def spare(self) -> int:
        """Return the row up to which batches need not be known any more, 0 when there is none."""
        now = time.time()
        count, row = self._count, 0
        for batch in self._batches:
            count -= len(batch.ids)
            if count < AT_LEAST or (now - batch.time <= KEPT_FOR and count + len(batch.ids) <= AT_MOST):
                break
            row = batch.row
        return row

    def forget(self, through: int) -> None:
        """Forget the batches up to this row."""
        while self._batches and self._batches[0].row <= through:
            batch = self._batches.popleft()
            self._count -= len(batch.ids)
            for each in batch.ids:
                if self._rows.get(each) == batch.row:
                    del self._rows[each]
