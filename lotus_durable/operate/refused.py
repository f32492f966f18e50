"""Events that the server refused, parked or for good: look at them, put them back, purge them."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from lotus_durable.config import Config
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.kept import note_undelivered
from lotus_durable.queue.protocol import Settlement, StoredEvent, Table
from lotus_durable.queue.requests import ask
from lotus_durable.values import NamedTuple

from . import ANY, WAITING, Waiting, Watch, Where, refuse, unwatched
from .stored import TABLES, State, Stored, as_stored, stored_events, takes

if TYPE_CHECKING:
    from .holding import Held

PAGE = 500
"""Rows changed in one transaction."""


class Changed(NamedTuple):
    """What a change did."""

    changed: int
    """Events that were put back, or purged."""
    left: int = 0
    """Events that were meant and cannot be sent: nothing of them can be read."""


class RefusedEvents:
    """The parked events, or the dead letters, of one queue that match a filter. Nothing is read until it is asked for.

    Iterating gives them one by one. Every method may raise ``OSError`` (the disk refuses) and ``QueueDamaged``.
    """

    def __init__(self, config: Config, state: State, where: Where = ANY) -> None:
        self._config = config
        self._directory = QueueDirectory(config.queue_dir)
        self._state = state
        self._table: Table = TABLES[state]
        self._where = where

    def __iter__(self) -> Iterator[Stored]:
        return self._behind(0)

    def _behind(self, row: int) -> Iterator[Stored]:
        return stored_events(self._directory, [self._state], self._where, refuse, row)

    def page(self, after: int = 0, limit: int = 100) -> tuple[list[Stored], int | None]:
        """Return up to ``limit`` of them after row ``after``, and the row to go on from; None at the end."""
        found = list(islice(self._behind(after), limit + 1))
        return found[:limit], found[limit].row - 1 if len(found) > limit else None

    def count_by_reason(self) -> dict[str, int]:
        """Return how many there are for each reason, the most frequent first."""
        return dict(Counter(each.reason for each in self).most_common())

    def count(self) -> int:
        """Return how many there are."""
        return sum(1 for _ in self)

    def as_of_now(self) -> tuple[int, RefusedEvents]:
        """Return how many there are, and these: without those that are refused later, while a person is asked."""
        number = last = 0
        for number, each in enumerate(self, 1):  # noqa: B007  # how many they are
            last = each.row
        return number, RefusedEvents(self._config, self._state, self._where._replace(up_to=last))

    def retry(self, *, waiting: Waiting = WAITING, watch: Watch = unwatched) -> Changed:
        """Have them tried again by whoever flushes next, as if for the first time, with their ids and times.

        Raises:
            QueueInUse: the flusher does not pause as long as ``waiting`` says.
        """
        return self._change(waiting, watch, again=True)

    def purge(self, *, waiting: Waiting = WAITING, watch: Watch = unwatched) -> Changed:
        """Throw them away; they count as discarded. Arguments and errors are those of :meth:`retry`."""
        return self._change(waiting, watch, again=False)

    def _change(self, waiting: Waiting, watch: Watch, *, again: bool) -> Changed:
        from .holding import held  # with filelock: who only looks, an application's page, does without

        with held(self._config, waiting=waiting) as queue:
            result = change(queue, self._table, self._where, watch, again=again)
            if again and result.changed:
                with contextlib.suppress(OSError):
                    ask(queue.directory, "drain")  # of whoever flushes next: parked events, too
        return result


def change(queue: Held, table: Table, where: Where, watch: Watch = unwatched, *, again: bool) -> Changed:
    """Put back what is meant, where it is to be tried again and something of it can be read; else throw it away."""
    now = time.time()
    changed = left = after = 0
    consumer = queue.consumer
    last = consumer.last_parked() if table == "parked" else inf
    # What is put back has higher rows than these. Each page is one transaction: a kill leaves it done or not.
    while rows := [row for row in consumer.page(table, after, PAGE) if row.id <= last]:
        after = rows[-1].id
        meant = [(row, stored) for row in rows if takes(where, stored := as_stored(row, table), now)]
        chosen = [row for row, _ in meant if row.record or not again]
        left += len(meant) - len(chosen)
        if chosen:
            taken = Settlement(resolved=chosen) if table == "parked" else Settlement(raised=chosen)
            if again:
                consumer.settle(taken._replace(parked=[_as_if_first(row) for row in chosen]))
            else:
                ids = [stored.event.idempotency_id for _, stored in meant if stored.event is not None]
                note_undelivered(queue.directory, ids)
                consumer.settle(taken._replace(discarded=len(chosen)))
            changed += len(chosen)
            watch(changed)
        queue.control.beat_if_due()
    return Changed(changed, left)


def _as_if_first(row: StoredEvent) -> StoredEvent:
    return row._replace(attempts=0, since=time.time(), tried=0.0, id=0, parked_at=0.0, tried_at=0.0)
