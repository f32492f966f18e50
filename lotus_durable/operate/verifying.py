"""Asking Lotus whether it has stored what it accepted, and putting back what it does not know.

The server answers "accepted" before an event is stored. Some time later it can be asked about the events in segments
that are kept (``keep_delivered``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain, islice

from lotus_durable.calls.caller import Caller
from lotus_durable.calls.service import verify_idems_received
from lotus_durable.config import Config
from lotus_durable.event.record import RecordError, unpack_record
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.kept import kept_files, undelivered
from lotus_durable.queue.protocol import Settlement
from lotus_durable.queue.reader import START, Position
from lotus_durable.values import NamedTuple

from . import WAITING, Waiting, Watch, unwatched
from .holding import held
from .pending import headers, read_known, records_of
from .segment_file import NewSegments
from .stored import Stored, stored_events

INGESTION_TAKES = 120.0
"""Seconds in which the server stores what it has accepted; younger events are not asked about."""
_AT_ONCE = 500
_LOOKBACK = 31  # days; the server takes nothing that is older than 30


class Verified(NamedTuple):
    """What the server said."""

    asked: int
    """Events that it was asked about."""
    unknown: list[str]
    """Ids that it does not know."""
    too_young: int
    """Events that it may not have stored yet."""
    resent: int = 0
    """Events that are pending again."""


def verify(
    config: Config,
    *,
    newer_than: float | None = None,
    ingestion_takes: float = INGESTION_TAKES,
    resend: bool = False,
    waiting: Waiting = WAITING,
    watch: Watch = unwatched,
) -> Verified:
    """Ask about everything that is kept.

    Args:
        config: with the API key.
        newer_than: only events that were accepted so many seconds ago or later.
        ingestion_takes: seconds; see :data:`INGESTION_TAKES`.
        resend: have what is unknown delivered again, with its ids and times. It counts as delivered no more until then.
        waiting: for a flusher in the middle of a request; only with ``resend``.
        watch: told how many were asked about.

    Raises:
        APIError: the server did not answer, is of 2022, or cannot be believed.
        QueueInUse: the flusher does not let go of the queue.
        OSError: the disk refuses.
    """
    directory = QueueDirectory(config.queue_dir)
    now = time.time()
    too_young = 0

    def old_enough() -> Iterator[str]:
        nonlocal too_young
        for id_, accepted_at, _, _ in _delivered(directory):
            if newer_than is not None and now - accepted_at > newer_than:
                continue
            if now - accepted_at < ingestion_takes:
                too_young += 1
            else:
                yield id_

    with closing(Caller(config)) as caller:
        asked, unknown = _unknown(caller, old_enough(), watch)
        elsewhere = _elsewhere(directory, unknown)
        # Once more: it may have been on its way.
        _, still = _unknown(caller, [each for each in unknown if each not in elsewhere])
    resent = _put_back(config, directory, set(still), waiting) if resend and still else 0
    return Verified(asked, still, too_young, resent)


def _put_back(config: Config, directory: QueueDirectory, ids: set[str], waiting: Waiting) -> int:
    """Have events delivered again: they leave what is delivered and are pending, in one transaction."""
    with held(config, waiting=waiting) as queue, NewSegments(directory) as new:
        # Not what one that was killed has put back: it is pending now that the books are open.
        missing = ids - _elsewhere(directory, ids, queue.beating)
        for id_, _, record, key in queue.beating(_delivered(directory)):
            if id_ in missing:
                new.add(key, record)
        # Of a fleet's host: it has handed them over.
        by_broker = min(new.events, queue.consumer.progress().counts.handed_over)
        queue.consumer.settle(
            Settlement(
                cursors=new.finish(), accepted=-new.events, delivered=by_broker - new.events, handed_over=-by_broker
            )
        )
        queue.consumer.make_safe()
        new.publish()
    return new.events


def _unknown(caller: Caller, ids: Iterable[str], watch: Watch = unwatched) -> tuple[int, list[str]]:
    """Return how many these ids are, and those that the server does not know."""
    asked, unknown, left = 0, dict[str, None](), iter(ids)
    while batch := list(islice(left, _AT_ONCE)):
        answer = verify_idems_received(caller, idempotency_ids=batch, number_days_lookback=_LOOKBACK)
        unknown.update(dict.fromkeys(answer.get("ids_not_found") or ()))
        asked += len(batch)
        watch(asked)
    return asked, list(unknown)


def _elsewhere(
    directory: QueueDirectory,
    ids: Collection[str],
    each: Callable[[Iterator[Stored]], Iterable[Stored]] = lambda stored: stored,
) -> set[str]:
    """Return those of these ids that were never delivered: they are parked, dead letters, pending, or thrown away."""
    if not ids:
        return set()
    wanted = frozenset(ids)
    stored = each(stored_events(directory, ["pending", "parked", "dead_letter"]))
    found = {one.event.idempotency_id for one in stored if one.event and one.event.idempotency_id in wanted}
    return found | undelivered(directory, ids)


def _delivered(directory: QueueDirectory) -> Iterator[tuple[str, float, bytes, bytes]]:
    """Give (id, when it was accepted, record, key) of the events that are settled and still there, each once."""
    known = read_known(directory, lambda _: None)
    seen: set[str] = set()
    kept: list[tuple[str, Position | None]] = [(file.path, None) for file in sorted(kept_files(directory))]
    segments = ((path, known.cursor(header.id) if header else START) for path, header in headers(directory))
    for path, ends in chain(kept, segments):
        for record, key in records_of(path, ends):
            with suppress(RecordError):
                id_, *_, accepted_at = unpack_record(record)
                if id_ not in seen:
                    seen.add(id_)
                    yield id_, accepted_at, record, key
